//! IPCPs of type broadcast: every packet goes to all members (`spec/shims.md` §9).
//!
//! ```text
//!  daemon ── Broadcast: Member (o7s_proto::broadcast) ── lower::Requests ── daemon (as a program)
//!              │ flows, roles            ▲ packets of flows that are being connected, what is over
//!              ▼                         │
//!  programs ── Flooder: Flood (o7s_proto::broadcast), N-1 flows ── neighbours
//! ```
//!
//! Management ([`Broadcast`]) enrolls, connects and lets programs join; the data thread
//! ([`path::Flooder`]) floods and never waits for management.

pub mod path;

mod status;

use std::time::{Instant, SystemTime};

use o7s::{
    DirHash, Error, ErrorKind, Flow, Name, Node, QosSpec, Result,
    control::{
        ConnectIpcp, FlowEnd, FlowResponse, IpcpConfig, IpcpFlowAlloc, IpcpStatus, IpcpType,
        LayerInfo,
    },
};
use o7s_proto::{
    broadcast::{Event as LoopEvent, Failure, Member, Moment, Output as Said},
    unicast::{Lower, LowerError, Op, Request},
};
use o7s_wire::{
    cep::Identity,
    enroll::{EnrollmentId, WallTime},
    hash::NameHash,
};

use crate::{
    data::{self, End, Handle},
    framework::{Answer, Directory, FlowAllocator, Ipcp, Operation, Outcome, Output, Post, Turn},
    lower::{News, Present, Requests, Serial},
    random::random,
};
use path::{Flooder, Order};

/// Maximum packet lifetime, ms (`spec/shims.md` §9).
const MPL_MS: u32 = 100;

/// What threads tell management.
#[derive(Debug)]
pub enum Told {
    /// Of N-1 flows.
    Lower(News),
    /// By the data thread.
    Path(PathNews),
}

/// What the data thread tells management.
#[derive(Debug)]
pub enum PathNews {
    /// A packet on an N-1 flow that is no neighbour yet.
    Packet(Serial, Vec<u8>),
    /// An N-1 flow is over, and was given back.
    Over(Serial, Error),
    /// A loop was found, or is gone: the names of the neighbours.
    Loop(LoopEvent, [String; 2]),
    /// The state of the data path.
    Status(Operation, Box<path::Snapshot>),
}

/// An IPCP of type broadcast.
#[derive(Debug)]
pub struct Broadcast {
    member: Member,
    post: Post<Told>,
    requests: Requests,
    /// The data thread, once the IPCP has an N-1 flow or is a member.
    data: Option<Handle<Order>>,
    /// N-1 flows; in the data thread.
    lowers: Present<()>,
    /// Hash of the layer's name.
    hash: Option<NameHash>,
}

impl Broadcast {
    /// An IPCP that waits for bootstrap or enrollment.
    #[must_use]
    pub fn new(post: Post<Told>) -> Self {
        let teller = post.clone();
        let requests = Requests::new(Node::current(), move |news| teller.send(Told::Lower(news)));
        Self {
            member: Member::new(),
            post,
            requests,
            data: None,
            lowers: Present::default(),
            hash: None,
        }
    }

    /// The data thread, which is started if there is none yet.
    fn data(&mut self) -> Result<&Handle<Order>> {
        if self.data.is_none() {
            let post = self.post.clone();
            let seed = u64::from_ne_bytes(random()?);
            let flooder = Flooder::new(seed, move |news| post.send(Told::Path(news)))?;
            self.data = Some(data::start(flooder, self.post.events())?);
        }
        self.data
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Ipcp, "there is no data thread"))
    }

    /// Tells the data thread that is there.
    fn order(&self, order: Order) {
        if let Some(data) = &self.data {
            data.send(order);
        }
    }

    /// Takes an N-1 flow in: into the data thread.
    fn take_in(&mut self, flow: Flow) -> Result<Lower> {
        self.data()?;
        let serial = self.lowers.insert(&flow, ())?;
        self.order(Order::Add(serial, flow));
        Ok(serial.lower)
    }

    fn lower_news(&mut self, at: Moment, news: News) {
        match news {
            News::Allocated { request, outcome } => {
                let outcome = outcome
                    .and_then(|flow| self.take_in(flow))
                    .map_err(|error| LowerError(error.to_string()));
                self.member.lower_allocated(at, Request(request), outcome);
            }
            News::Accepted(flow) => match self.take_in(flow) {
                Ok(lower) => self.member.lower_accepted(at, lower),
                Err(error) => tracing::warn!("An N-1 flow was not accepted: {error}."),
            },
        }
    }

    fn path_news(&mut self, at: Moment, news: PathNews, turn: &mut Turn) {
        match news {
            PathNews::Packet(serial, packet) => {
                if self.lowers.is_current(serial) {
                    self.member.lower_packet(at, serial.lower, packet);
                }
            }
            PathNews::Over(serial, error) => {
                if let Some(known) = self.lowers.over(serial) {
                    tracing::debug!("The N-1 flow {:?} is over: {error}.", known.name);
                    self.member.lower_gone(serial.lower);
                }
            }
            PathNews::Loop(LoopEvent::LoopFound { .. }, [first, back]) => tracing::warn!(
                "There is a loop in the layer: packets that came from {first} come back from {back}. \
                 The connections of a broadcast layer must form a tree; disconnect one of the loop. \
                 Until then packets that were seen within a second are dropped."
            ),
            PathNews::Loop(LoopEvent::LoopGone, _) => {
                tracing::info!("The loop in the layer is gone.");
            }
            PathNews::Status(operation, snapshot) => {
                let status = status::status(self.member.config(), &snapshot);
                turn.done(operation, Ok(Outcome::Status(status)));
            }
        }
    }

    /// Does what the member says.
    fn carry_out(&mut self, turn: &mut Turn) {
        while let Some(said) = self.member.poll_output() {
            match said {
                Said::Done { op, outcome } => {
                    let outcome = match outcome {
                        Ok(None) => Ok(Outcome::Done),
                        Ok(Some(config)) => Ok(Outcome::Joined(LayerInfo {
                            name: config.name.as_str().to_owned(),
                            dir_hash: config.hash as u32,
                        })),
                        Err(failure) => Err(error(&failure)),
                    };
                    turn.done(Operation(op.0), outcome);
                }
                Said::Started(config) => {
                    let name = config.name.as_str();
                    self.hash = Some(DirHash::Sha3_256.digest(name.as_bytes()));
                    if let Err(error) = self.requests.listen() {
                        tracing::error!("Nobody can connect to this IPCP: {error}.");
                    }
                }
                Said::AllocateLower { request, dst, qos } => {
                    self.requests.allocate(request.0, &dst, qos);
                }
                Said::Send { lower, packet } => self.order(Order::Send(lower, packet)),
                Said::Deallocate { lower } => {
                    self.lowers.remove(lower);
                    self.order(Order::Remove(lower));
                }
                Said::Neighbour { lower, dst } => {
                    let name = match (dst, self.lowers.get(lower)) {
                        (Some(dst), _) => dst.as_str().to_owned(),
                        (None, Some(known)) => format!("one that connected to {}", known.name),
                        (None, None) => String::new(),
                    };
                    tracing::info!("Connected: {name}.");
                    self.order(Order::Neighbour(lower, name));
                }
                Said::Parted(dst) => turn.push(Output::Parted(ConnectIpcp {
                    dst: dst.as_str().to_owned(),
                    component: Identity::BROADCAST_DATA.component.to_owned(),
                    ..ConnectIpcp::default()
                })),
                Said::Arrived { lower, packet } => self.order(Order::Arrived(lower, packet)),
                Said::Notice(notice) => tracing::info!("{notice}."),
            }
        }
    }

    /// Longest packet that all present N-1 flows carry; 0 = what a segment can hold.
    fn max_packet(&self) -> u32 {
        let longest = self.lowers.max_packet(|()| true);
        longest.map_or(0, |longest| u32::try_from(longest).unwrap_or(0))
    }
}

impl Ipcp for Broadcast {
    type Event = Told;

    fn ipcp_type(&self) -> IpcpType {
        IpcpType::Broadcast
    }

    fn bootstrap(&mut self, _: Operation, config: &IpcpConfig, turn: &mut Turn) -> Result<Answer> {
        self.data()?;
        let layer = Name::new(&config.layer.name)?;
        self.member
            .bootstrap(layer)
            .map_err(|failure| error(&failure))?;
        self.carry_out(turn);
        Ok(Answer::Now(()))
    }

    fn enrolls(&self) -> bool {
        true
    }

    fn enroll(
        &mut self,
        operation: Operation,
        dst: &Name,
        turn: &mut Turn,
    ) -> Result<Answer<LayerInfo>> {
        let id = EnrollmentId(random()?);
        self.data()?;
        self.member.enroll(Op(operation.0), dst.clone(), id);
        self.carry_out(turn);
        Ok(Answer::Later)
    }

    fn connect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let dst = neighbour(connect)?;
        let qos = match connect.qos {
            Some(qos) => QosSpec::try_from(qos)?,
            None => QosSpec::RAW,
        };
        self.member.connect(Op(operation.0), dst, qos);
        self.carry_out(turn);
        Ok(Answer::Later)
    }

    fn disconnect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let dst = neighbour(connect)?;
        self.member.disconnect(Op(operation.0), &dst);
        self.carry_out(turn);
        Ok(Answer::Later)
    }

    fn status(&mut self, operation: Operation, _: &mut Turn) -> Result<Answer<IpcpStatus>> {
        let Some(data) = &self.data else {
            return Ok(Answer::Now(IpcpStatus::default()));
        };
        data.send(Order::Status(operation));
        Ok(Answer::Later)
    }

    fn directory(&mut self) -> Option<&mut dyn Directory> {
        None
    }

    fn flows(&mut self) -> Option<&mut dyn FlowAllocator> {
        Some(self)
    }

    fn event(&mut self, event: Told, turn: &mut Turn) -> Result<()> {
        let at = moment(turn.now());
        match event {
            Told::Lower(news) => self.lower_news(at, news),
            Told::Path(news) => self.path_news(at, news, turn),
        }
        self.carry_out(turn);
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.member.poll_timeout()
    }

    fn timeout(&mut self, turn: &mut Turn) {
        self.member.handle_timeout(moment(turn.now()));
        self.carry_out(turn);
    }
}

impl FlowAllocator for Broadcast {
    fn alloc(&mut self, _: IpcpFlowAlloc, _: Option<End>, _: &mut Turn) -> Result<()> {
        Err(Error::new(
            ErrorKind::NotSupported,
            "flows are not allocated in a layer of type broadcast; join it by its name",
        ))
    }

    fn join(&mut self, flow_id: u64, hash: &NameHash, end: End, turn: &mut Turn) -> Result<()> {
        // Trap 14: 0.23 lets in everybody whose hash is not the larger one.
        if self.hash.as_ref() != Some(hash) {
            return Err(Error::new(
                ErrorKind::Name,
                format!("flow {flow_id} wants to join another layer than this IPCP's"),
            ));
        }
        self.data()?.send(Order::Join(Box::new(end)));
        turn.push(Output::Reply(FlowResponse {
            flow_id,
            mpl_ms: MPL_MS,
            max_packet: self.max_packet(),
            ..FlowResponse::default()
        }));
        Ok(())
    }

    fn request_answered(&mut self, _: u64, _: Result<u64>, _: &mut Turn) {
        // This type asks for no flows.
    }

    fn respond(&mut self, response: FlowResponse, _: Option<End>, _: &mut Turn) -> Result<()> {
        Err(Error::new(
            ErrorKind::NotAllocated,
            format!("no flow request {} waits for an answer", response.flow_id),
        ))
    }

    fn dealloc(&mut self, end: FlowEnd, _: &mut Turn) -> Result<()> {
        self.data()?.dealloc(end);
        Ok(())
    }
}

/// The name of a connection's neighbour; only data transfer can be connected.
fn neighbour(connect: &ConnectIpcp) -> Result<Name> {
    if connect.component != Identity::BROADCAST_DATA.component {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "an IPCP of type broadcast has no component {:?} to connect; use \"{}\" (component dt)",
                connect.component,
                Identity::BROADCAST_DATA.component
            ),
        ));
    }
    Ok(Name::new(&connect.dst)?)
}

fn moment(now: Instant) -> Moment {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Moment {
        now,
        wall: WallTime {
            sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nsec: since.subsec_nanos(),
        },
    }
}

/// The daemon's word for why an operation failed.
fn error(failure: &Failure) -> Error {
    let kind = match failure {
        Failure::State(_) => ErrorKind::IpcpState,
        Failure::Full => ErrorKind::Busy,
        Failure::Connected(_) => ErrorKind::Exists,
        _ => ErrorKind::Ipcp,
    };
    Error::new(kind, failure.to_string())
}
