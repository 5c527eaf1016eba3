//! The management side of a broadcast IPCP without I/O (`spec/shims.md` §8, §9): joining, connections,
//! enrolling others.
//!
//! Its driver gives it commands and what happens to N-1 flows, and does what [`Member::poll_output`] says,
//! after each call. Packets on an N-1 flow come to [`Member::lower_packet`] until [`Output::Neighbour`] names
//! the flow; from then on they are flooded ([`super::Flood`]).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use o7s_wire::{
    address::Address,
    cep::Identity,
    enroll::{EnrollmentId, LayerConfig, WallTime},
    name::Name,
    qos::QosSpec,
};

use crate::{
    cep::{self, Component, Handshakes, Role},
    enrollment::{self, ClockWarning, Enrollee, Enroller, Kind, Trouble},
    unicast::{Lower, LowerError, Op, Request},
};

/// Connections of one member, made here or there.
pub const CONNECTIONS_MAX: usize = super::NEIGHBOURS_MAX;

const ENROLLMENT: Component = Component {
    identity: Identity::ENROLLMENT,
    address: Address::INVALID,
};
const DATA: Component = Component {
    identity: Identity::BROADCAST_DATA,
    address: Address::INVALID,
};

/// What the driver is to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// An operation is over; with the layer if it was an enrollment.
    Done {
        /// Its number.
        op: Op,
        /// How it ended.
        outcome: Result<Option<LayerConfig>, Failure>,
    },
    /// The IPCP is a member: accept N-1 flows from now on.
    Started(LayerConfig),
    /// Allocate an N-1 flow; answered by [`Member::lower_allocated`].
    AllocateLower {
        /// Number of the request.
        request: Request,
        /// Name of the destination.
        dst: Name,
        /// QoS.
        qos: QosSpec,
    },
    /// Send a packet on an N-1 flow as it is.
    Send {
        /// The flow.
        lower: Lower,
        /// The packet.
        packet: Vec<u8>,
    },
    /// Deallocate an N-1 flow, after what was sent on it; its number is free.
    Deallocate {
        /// The flow.
        lower: Lower,
    },
    /// The flow is connected for data: it is a neighbour from now on.
    Neighbour {
        /// The flow.
        lower: Lower,
        /// Name that was connected to; none if the other side began.
        dst: Option<Name>,
    },
    /// A connection that [`Member::connect`] made to this name is over, and not by [`Member::disconnect`].
    Parted(Name),
    /// A packet that [`Member::lower_packet`] got is one to be flooded, as if it arrived now.
    Arrived {
        /// The neighbour.
        lower: Lower,
        /// The packet.
        packet: Vec<u8>,
    },
    /// Something for the log.
    Notice(Notice),
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The IPCP is a member already, or not yet.
    #[error("{0}")]
    State(&'static str),
    /// No N-1 flow.
    #[error("no flow to the member: {0}")]
    Lower(#[from] LowerError),
    /// The N-1 flow ended meanwhile.
    #[error("the other end gave the flow up; is there a member behind the name?")]
    Gone,
    /// The components are not connected.
    #[error("{0}")]
    Component(#[from] cep::Failure),
    /// No enrollment.
    #[error("{0}")]
    Enrollment(#[from] enrollment::Failure),
    /// It is connected to the member, which is what was wanted.
    #[error("data transfer is connected to {0} already; disconnect it first to connect it anew")]
    Connected(Name),
    /// Too many connections.
    #[error("this member has {CONNECTIONS_MAX} connections already")]
    Full,
}

/// What happens without anybody having asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A peer that connected to this member failed.
    #[error("a peer was not connected: {0}")]
    Peer(cep::Failure),
    /// Another IPCP became a member through this one.
    #[error("an IPCP was enrolled (enrollment {0})")]
    Enrolled(EnrollmentId),
    /// One had trouble with it.
    #[error("{0}")]
    Enrollee(Trouble),
    /// The clocks are apart.
    #[error("{0}")]
    Clock(ClockWarning),
    /// A neighbour is gone.
    #[error("the connection to a neighbour is gone")]
    NeighbourGone,
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On the clock of deadlines.
    pub now: Instant,
    /// On the wall clock, which enrollees compare with theirs.
    pub wall: WallTime,
}

/// Why an N-1 flow is, or is to be, there.
#[derive(Debug, Clone)]
enum Purpose {
    Enroll(Op, EnrollmentId),
    Connect(Op, Name),
}

#[derive(Debug)]
struct Connection {
    lower: Lower,
    dst: Option<Name>,
}

/// The management side of one IPCP.
#[derive(Debug)]
pub struct Member {
    config: Option<LayerConfig>,
    handshakes: Handshakes<Lower>,
    enroller: Option<Enroller<Lower>>,
    /// Requests for N-1 flows.
    requests: BTreeMap<Request, Purpose>,
    /// Flows on which this side introduces itself.
    introducing: BTreeMap<Lower, Purpose>,
    /// The enrollment that waits for its response.
    enrolling: Option<(Lower, Op, Enrollee)>,
    /// In the order in which they were made.
    connections: Vec<Connection>,
    next_request: u64,
    outputs: VecDeque<Output>,
}

impl Default for Member {
    fn default() -> Self {
        Self::new()
    }
}

impl Member {
    /// An IPCP that waits for bootstrap or enrollment.
    #[must_use]
    pub fn new() -> Self {
        let mut handshakes = Handshakes::new();
        handshakes.register(ENROLLMENT);
        handshakes.register(DATA);
        Self {
            config: None,
            handshakes,
            enroller: None,
            requests: BTreeMap::new(),
            introducing: BTreeMap::new(),
            enrolling: None,
            connections: Vec::new(),
            next_request: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The layer, once the IPCP is a member.
    #[must_use]
    pub fn config(&self) -> Option<&LayerConfig> {
        self.config.as_ref()
    }

    /// Starts a layer, as its first member.
    ///
    /// # Errors
    /// [`Failure::State`].
    pub fn bootstrap(&mut self, layer: Name) -> Result<(), Failure> {
        self.check_boot()?;
        self.start(LayerConfig::broadcast(layer));
        Ok(())
    }

    fn check_boot(&self) -> Result<(), Failure> {
        if self.config.is_some() {
            return Err(Failure::State("the IPCP is a member of a layer already"));
        }
        let enrolls = |purpose: &Purpose| matches!(purpose, Purpose::Enroll(..));
        if self.enrolling.is_some()
            || self.requests.values().any(enrolls)
            || self.introducing.values().any(enrolls)
        {
            return Err(Failure::State("the IPCP is being enrolled"));
        }
        Ok(())
    }

    fn start(&mut self, config: LayerConfig) {
        self.enroller = Some(Enroller::new(config.clone()));
        self.config = Some(config.clone());
        self.outputs.push_back(Output::Started(config));
    }

    /// Becomes a member of the layer of `dst`; `id` must be random.
    pub fn enroll(&mut self, op: Op, dst: Name, id: EnrollmentId) {
        if let Err(failure) = self.check_boot() {
            self.done(op, Err(failure));
            return;
        }
        self.allocate(Purpose::Enroll(op, id), dst, QosSpec::RAW);
    }

    /// Connects data transfer with that of the member behind `dst`.
    pub fn connect(&mut self, op: Op, dst: Name, qos: QosSpec) {
        if self.config.is_none() {
            let why = "the IPCP is in no layer yet; bootstrap or enroll it first";
            self.done(op, Err(Failure::State(why)));
            return;
        }
        let mut connections = self.connections.iter();
        if connections.any(|connection| connection.dst.as_ref() == Some(&dst)) {
            self.done(op, Err(Failure::Connected(dst)));
            return;
        }
        let mut under_way = self.requests.values().chain(self.introducing.values());
        if under_way.any(|purpose| matches!(purpose, Purpose::Connect(_, to) if *to == dst)) {
            let why = "this connection is being made already; wait until that is done";
            self.done(op, Err(Failure::State(why)));
            return;
        }
        self.allocate(Purpose::Connect(op, dst.clone()), dst, qos);
    }

    /// Ends the latest connection that was made to `dst`; none is a success (§3.6 of
    /// `spec/directory-enrollment.md`).
    pub fn disconnect(&mut self, op: Op, dst: &Name) {
        let made = |connection: &Connection| connection.dst.as_ref() == Some(dst);
        if let Some(at) = self.connections.iter().rposition(made) {
            let Connection { lower, .. } = self.connections.remove(at);
            self.outputs.push_back(Output::Deallocate { lower });
        }
        self.done(op, Ok(None));
    }

    fn allocate(&mut self, purpose: Purpose, dst: Name, qos: QosSpec) {
        self.next_request += 1;
        let request = Request(self.next_request);
        self.requests.insert(request, purpose);
        self.outputs
            .push_back(Output::AllocateLower { request, dst, qos });
    }

    /// The outcome of [`Output::AllocateLower`]. The driver chooses the number of the flow; it must not be
    /// that of one that is there.
    pub fn lower_allocated(
        &mut self,
        at: Moment,
        request: Request,
        outcome: Result<Lower, LowerError>,
    ) {
        let purpose = self.requests.remove(&request);
        match (purpose, outcome) {
            (None, Ok(lower)) => self.outputs.push_back(Output::Deallocate { lower }),
            (None, Err(_)) => {}
            (Some(purpose), Err(error)) => self.done(purpose.op(), Err(error.into())),
            (Some(purpose), Ok(lower)) => {
                let component = match purpose {
                    Purpose::Enroll(..) => ENROLLMENT,
                    Purpose::Connect(..) => DATA,
                };
                self.introducing.insert(lower, purpose);
                self.handshakes.connect(at.now, lower, component);
                self.after_handshakes(at);
            }
        }
    }

    /// Another IPCP allocated an N-1 flow to this one.
    pub fn lower_accepted(&mut self, at: Moment, lower: Lower) {
        if self.config.is_none() {
            self.outputs.push_back(Output::Deallocate { lower });
            return;
        }
        self.handshakes.accept(at.now, lower);
        self.after_handshakes(at);
    }

    /// An N-1 flow is gone: deallocated by the other end, or broken. Its number is free.
    pub fn lower_gone(&mut self, lower: Lower) {
        self.handshakes.forget(lower);
        if let Some(purpose) = self.introducing.remove(&lower) {
            self.done(purpose.op(), Err(Failure::Gone));
        }
        if let Some((_, op, _)) = self.enrolling.take_if(|(flow, ..)| *flow == lower) {
            self.done(op, Err(Failure::Gone));
        }
        let enroller = self.enroller.as_mut();
        if let Some(trouble) = enroller.and_then(|enroller| enroller.gone(lower)) {
            self.notice(Notice::Enrollee(trouble));
        }
        let mut connections = self.connections.iter();
        if let Some(at) = connections.position(|connection| connection.lower == lower) {
            let gone = self.connections.remove(at);
            self.notice(Notice::NeighbourGone);
            if let Some(dst) = gone.dst {
                self.outputs.push_back(Output::Parted(dst));
            }
        }
    }

    /// A packet arrived on an N-1 flow that is no neighbour, as far as the driver's data path knew.
    pub fn lower_packet(&mut self, at: Moment, lower: Lower, packet: Vec<u8>) {
        if packet.is_empty() {
            return;
        }
        if self.handshakes.contains(lower) {
            self.handshakes.handle_packet(lower, &packet);
            self.after_handshakes(at);
        } else if let Some((_, op, enrollee)) = self.enrolling.take_if(|(flow, ..)| *flow == lower)
        {
            match enrollee.handle_packet(at.now, &packet) {
                Some(outcome) => self.enrolled(lower, op, outcome),
                None => self.enrolling = Some((lower, op, enrollee)),
            }
        } else if self.is_connected(lower) {
            self.outputs.push_back(Output::Arrived { lower, packet });
        } else if let Some(enroller) = &mut self.enroller {
            enroller.handle_packet(at.now, at.wall, lower, &packet);
            self.after_enroller();
        }
    }

    fn is_connected(&self, lower: Lower) -> bool {
        let mut connections = self.connections.iter();
        connections.any(|connection| connection.lower == lower)
    }

    fn enrolled(
        &mut self,
        lower: Lower,
        op: Op,
        outcome: Result<enrollment::Enrolled, enrollment::Failure>,
    ) {
        let outcome = match outcome {
            Ok(enrolled) => {
                if let Some(warning) = enrolled.clock {
                    self.notice(Notice::Clock(warning));
                }
                self.start(enrolled.config.clone());
                let packet = enrolled.ack();
                self.outputs.push_back(Output::Send { lower, packet });
                Ok(Some(enrolled.config))
            }
            Err(failure) => Err(failure.into()),
        };
        self.outputs.push_back(Output::Deallocate { lower });
        self.done(op, outcome);
    }

    fn after_handshakes(&mut self, at: Moment) {
        while let Some(output) = self.handshakes.poll_output() {
            match output {
                cep::Output::Send { flow, packet } => {
                    let lower = flow;
                    self.outputs.push_back(Output::Send { lower, packet });
                }
                cep::Output::Connected {
                    flow,
                    identity,
                    role,
                    ..
                } => match (role, self.introducing.remove(&flow)) {
                    (Role::Initiator, Some(Purpose::Enroll(op, id))) => {
                        let (enrollee, packet) =
                            Enrollee::start(at.now, at.wall, id, Kind::Broadcast);
                        self.outputs.push_back(Output::Send {
                            lower: flow,
                            packet,
                        });
                        self.enrolling = Some((flow, op, enrollee));
                    }
                    (Role::Initiator, Some(Purpose::Connect(op, dst))) => {
                        let outcome = self.connected(flow, Some(dst));
                        self.done(op, outcome.map(|()| None));
                    }
                    _ if identity == Identity::ENROLLMENT => {
                        if let Some(enroller) = &mut self.enroller {
                            enroller.connected(at.now, flow);
                        }
                        self.after_enroller();
                    }
                    _ => {
                        // A refusal has given the flow back.
                        let _ = self.connected(flow, None);
                    }
                },
                cep::Output::Failed { flow, failure, .. } => {
                    self.outputs.push_back(Output::Deallocate { lower: flow });
                    match self.introducing.remove(&flow) {
                        Some(purpose) => self.done(purpose.op(), Err(failure.into())),
                        None => self.notice(Notice::Peer(failure)),
                    }
                }
            }
        }
    }

    fn connected(&mut self, lower: Lower, dst: Option<Name>) -> Result<(), Failure> {
        if self.connections.len() >= CONNECTIONS_MAX {
            self.outputs.push_back(Output::Deallocate { lower });
            return Err(Failure::Full);
        }
        let connection = Connection {
            lower,
            dst: dst.clone(),
        };
        self.connections.push(connection);
        self.outputs.push_back(Output::Neighbour { lower, dst });
        Ok(())
    }

    fn after_enroller(&mut self) {
        while let Some(output) = self.enroller.as_mut().and_then(Enroller::poll_output) {
            match output {
                enrollment::Output::Send { flow, packet } => {
                    let lower = flow;
                    self.outputs.push_back(Output::Send { lower, packet });
                }
                enrollment::Output::Close { flow, outcome } => {
                    self.outputs.push_back(Output::Deallocate { lower: flow });
                    self.notice(match outcome {
                        Ok(id) => Notice::Enrolled(id),
                        Err(trouble) => Notice::Enrollee(trouble),
                    });
                }
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let enroller = self.enroller.as_ref().and_then(Enroller::poll_timeout);
        let enrollee = self.enrolling.as_ref();
        let enrollee = enrollee.map(|(_, _, enrollee)| enrollee.poll_timeout());
        let handshakes = self.handshakes.poll_timeout();
        handshakes.into_iter().chain(enroller).chain(enrollee).min()
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, at: Moment) {
        let now = at.now;
        self.handshakes.handle_timeout(now);
        self.after_handshakes(at);
        if let Some(enroller) = &mut self.enroller {
            enroller.handle_timeout(now);
            self.after_enroller();
        }
        let overdue = self.enrolling.as_ref();
        let overdue = overdue.and_then(|(_, _, enrollee)| enrollee.handle_timeout(now));
        if let (Some(failure), Some((lower, op, _))) = (overdue, self.enrolling.take_if(|_| true)) {
            self.enrolled(lower, op, Err(failure));
        }
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn done(&mut self, op: Op, outcome: Result<Option<LayerConfig>, Failure>) {
        self.outputs.push_back(Output::Done { op, outcome });
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }
}

impl Purpose {
    fn op(&self) -> Op {
        match self {
            Self::Enroll(op, _) | Self::Connect(op, _) => *op,
        }
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
