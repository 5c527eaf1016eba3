//! Enrollment and connections: what a node does with N-1 flows until they have a role.

use std::time::Instant;

use o7s_wire::{
    cep::Identity,
    dt::{Address, QosCube, Sizes},
    enroll::EnrollmentId,
    hello::Hello,
    name::Name,
    qos::QosSpec,
};

use super::{
    Component, IS_A_MEMBER, JOINING, Lower, LowerError, LowerEvent, NOT_A_MEMBER, Node, NodeError,
    Op, Outcome, Output, Phase, Request, Role,
    liveness::{Change, PERIOD},
    lowers::{Connection, Doubt, LOWERS_MAX, Use, Wish, component},
};
use crate::{
    cep,
    enrollment::{Enrollee, Kind},
};

impl Node {
    pub(super) fn enroll(&mut self, op: Op, dst: Name) {
        match self.phase {
            Phase::Boot => {}
            Phase::Joining => return self.done(op, Err(JOINING)),
            Phase::Member(_) => return self.done(op, Err(IS_A_MEMBER)),
        }
        self.phase = Phase::Joining;
        self.ask_for(Wish::Enroll { op }, dst, QosSpec::RAW);
    }

    pub(super) fn connect(&mut self, op: Op, dst: Name, component: Component, qos: QosSpec) {
        if !matches!(self.phase, Phase::Member(_)) {
            return self.done(op, Err(NOT_A_MEMBER));
        }
        if self.lowers.is_connecting(&dst, component) {
            return self.done(op, Err(CONNECTING));
        }
        let mut live = self.lowers.made(&dst, component).into_iter();
        let live = live.find(|lower| {
            let connection = self.lowers.connection(*lower);
            connection.is_some_and(|connection| self.lowers.is_live(connection))
        });
        if let Some(live) = live {
            // The neighbour may have died just now, and another one taken its place: its next hello tells.
            let mut witnesses = self.lowers.witnesses(live).into_iter();
            let witness = witnesses.find(|lower| self.liveness.promises(*lower));
            let Some(lower) = witness else {
                return self.done(op, Err(already(&dst, component)));
            };
            return self.lowers.doubts.push(Doubt {
                lower,
                op,
                dst,
                component,
                qos,
            });
        }
        let wish = Wish::Connect {
            op,
            dst: dst.clone(),
            component,
            qos,
        };
        self.ask_for(wish, dst, qos);
    }

    fn ask_for(&mut self, wish: Wish, dst: Name, qos: QosSpec) {
        if self.lowers.uses.len() + self.lowers.wishes.len() >= LOWERS_MAX {
            return self.fail(&wish, TOO_MANY);
        }
        let request = self.lowers.wish(wish);
        self.outputs
            .push_back(Output::AllocateLower { request, dst, qos });
    }

    /// The operation of a wish failed.
    fn fail(&mut self, wish: &Wish, error: NodeError) {
        if matches!(wish, Wish::Enroll { .. }) && matches!(self.phase, Phase::Joining) {
            self.phase = Phase::Boot;
        }
        self.done(wish.op(), Err(error));
    }

    pub(super) fn disconnect(&mut self, now: Instant, op: Op, dst: &Name, component: Component) {
        if let Some(lower) = self.lowers.latest(dst, component) {
            self.part(now, lower);
            self.outputs.push_back(Output::DeallocateLower { lower });
        }
        self.done(op, Ok(Outcome::Done));
    }

    /// A neighbour lives, or not: what was doubtful is not any more.
    fn resolve(&mut self, lower: Lower, lives: bool) {
        let doubts = self.lowers.doubts.extract_if(.., |it| it.lower == lower);
        for doubt in doubts.collect::<Vec<_>>() {
            if lives {
                self.done(doubt.op, Err(already(&doubt.dst, doubt.component)));
            } else {
                self.connect(doubt.op, doubt.dst, doubt.component, doubt.qos);
            }
        }
    }

    pub(super) fn cancel(&mut self, op: Op) {
        let doubts = &mut self.lowers.doubts;
        if let Some(at) = doubts.iter().position(|doubt| doubt.op == op) {
            doubts.swap_remove(at);
            return self.done(op, Err(NodeError::Cancelled));
        }
        let (request, lower) = self.lowers.of_operation(op);
        let wish = request.and_then(|request| {
            self.outputs.push_back(Output::CancelLower { request });
            self.lowers.wishes.remove(&request)
        });
        let used = lower.and_then(|lower| {
            self.handshakes.forget(lower);
            self.outputs.push_back(Output::DeallocateLower { lower });
            self.lowers.uses.remove(&lower)
        });
        let wish = wish.or(match used {
            Some(Use::Connecting(wish)) => Some(wish),
            Some(Use::Enrolling { op, .. }) => Some(Wish::Enroll { op }),
            _ => None,
        });
        if let Some(wish) = wish {
            return self.fail(&wish, NodeError::Cancelled);
        }
        if let Phase::Member(member) = &mut self.phase {
            member.cancel(op, &mut self.outputs);
        }
    }

    /// The outcome of [`Output::AllocateLower`]. The driver chooses the number of the flow; it must not be
    /// that of one that is there.
    pub fn lower_allocated(
        &mut self,
        now: Instant,
        request: Request,
        outcome: Result<Lower, LowerError>,
    ) {
        let Some(wish) = self.lowers.wishes.remove(&request) else {
            // Given up while the flow was on its way to here.
            if let Ok(lower) = outcome {
                self.outputs.push_back(Output::DeallocateLower { lower });
            }
            return;
        };
        match outcome {
            Err(error) => self.fail(&wish, NodeError::Lower(error.0)),
            Ok(lower) => {
                let ours = match &wish {
                    Wish::Enroll { .. } => cep::Component {
                        identity: Identity::ENROLLMENT,
                        address: Address::INVALID,
                    },
                    Wish::Connect { component, .. } => cep::Component {
                        identity: component.identity(),
                        address: self.address().unwrap_or(Address::INVALID),
                    },
                };
                self.set_up(lower, Use::Connecting(wish));
                self.handshakes.connect(now, lower, ours);
            }
        }
        self.settle(now);
    }

    /// Another IPCP allocated an N-1 flow to this one. `qos` is what was negotiated.
    pub fn lower_accepted(&mut self, now: Instant, lower: Lower, qos: QosSpec) {
        if self.lowers.uses.len() >= LOWERS_MAX {
            self.outputs.push_back(Output::DeallocateLower { lower });
            return;
        }
        self.set_up(lower, Use::Accepting(qos));
        self.handshakes.accept(now, lower);
        self.settle(now);
    }

    fn set_up(&mut self, lower: Lower, used: Use) {
        self.lowers.uses.insert(lower, used);
        self.outputs.push_back(Output::Role {
            lower,
            role: Role::Setup,
        });
    }

    /// Something happened to an N-1 flow.
    pub fn lower_event(&mut self, now: Instant, lower: Lower, event: LowerEvent) {
        match event {
            LowerEvent::Up => self.set_down(now, lower, false),
            LowerEvent::Down => self.set_down(now, lower, true),
            LowerEvent::Gone => self.gone(now, lower),
        }
        self.settle(now);
    }

    /// A packet, whatever it says, came on a data adjacency.
    pub fn lower_heard(&mut self, now: Instant, lower: Lower) {
        if let Some(change) = self.liveness.heard(now, lower) {
            self.liveness_changed(now, change);
            self.settle(now);
        }
    }

    /// A hello with this payload came on a data adjacency.
    pub fn lower_hello(&mut self, now: Instant, lower: Lower, payload: &[u8]) {
        let Some(hello) = Hello::parse(payload) else {
            return;
        };
        if let Some(change) = self.liveness.hello(now, lower, hello) {
            self.liveness_changed(now, change);
        }
        self.resolve(lower, true);
        self.settle(now);
    }

    pub(super) fn liveness_changed(&mut self, now: Instant, change: Change) {
        let peer = |lower| {
            let connection = self.lowers.connection(lower);
            connection.map(|it| it.peer).unwrap_or_default()
        };
        match change {
            Change::Greet(lower) => {
                let hello = Hello { period: PERIOD };
                if let Ok(packet) = hello.to_packet(Sizes::DEFAULT) {
                    self.outputs
                        .push_back(Output::SendOnLower { lower, packet });
                }
            }
            Change::Down(lower, silent) => {
                let peer = peer(lower);
                self.outputs.push_back(Output::Warning(format!(
                    "Neighbour {peer} has been silent for {} ms: no packet takes the way over it.",
                    silent.as_millis()
                )));
                self.set_down(now, lower, true);
            }
            Change::Up(lower) => {
                let peer = peer(lower);
                self.outputs
                    .push_back(Output::Warning(format!("Neighbour {peer} is heard again.")));
                self.set_down(now, lower, false);
            }
        }
    }

    /// The N-1 flow of a data connection is down, or up again.
    fn set_down(&mut self, now: Instant, lower: Lower, down: bool) {
        let connection = self.lowers.connection_mut(lower);
        let Some(connection) = connection.filter(|it| it.component == Component::Data) else {
            return;
        };
        if std::mem::replace(&mut connection.down, down) == down {
            return;
        }
        let (peer, dst) = (connection.peer, connection.dst.clone());
        self.outputs.push_back(Output::LowerDown { lower, down });
        if let Phase::Member(member) = &mut self.phase {
            member.set_down(now, lower, peer, down);
        }
        if !down {
            return;
        }
        self.resolve(lower, false);
        if let Some(dst) = dst {
            let component = Component::Data;
            self.outputs.push_back(Output::Parted { dst, component });
        }
        if self.lowers.is_silent(peer) {
            let management = self.lowers.connections().filter_map(|(_, it)| {
                let of_peer = it.component == Component::Management && it.peer == peer;
                it.dst.clone().filter(|_| of_peer)
            });
            for dst in management.collect::<Vec<_>>() {
                let component = Component::Management;
                self.outputs.push_back(Output::Parted { dst, component });
            }
        }
    }

    fn gone(&mut self, now: Instant, lower: Lower) {
        self.handshakes.forget(lower);
        match self.lowers.uses.get(&lower) {
            Some(Use::Connected(connection)) => {
                // Of one that is down that was told already.
                let told = connection.down || connection.dst.is_none();
                let dst = connection.dst.clone().filter(|_| !told);
                let component = connection.component;
                self.part(now, lower);
                if let Some(dst) = dst {
                    self.outputs.push_back(Output::Parted { dst, component });
                }
            }
            Some(_) => {
                let used = self.lowers.uses.remove(&lower);
                match used {
                    Some(Use::Connecting(wish)) => self.fail(&wish, PEER_LEFT),
                    Some(Use::Enrolling { op, .. }) => self.fail(&Wish::Enroll { op }, PEER_LEFT),
                    Some(Use::Enroller) => {
                        if let Phase::Member(member) = &mut self.phase {
                            member.enroller.gone(lower);
                        }
                    }
                    _ => {}
                }
            }
            None => {}
        }
    }

    /// A connection is over: the components are told.
    fn part(&mut self, now: Instant, lower: Lower) {
        let Some(Use::Connected(connection)) = self.lowers.uses.remove(&lower) else {
            return;
        };
        self.liveness.disconnected(lower);
        if let Phase::Member(member) = &mut self.phase {
            member.disconnected(now, lower, &connection);
        }
        self.resolve(lower, false);
    }

    /// A packet arrived on an N-1 flow whose role is not [`Role::Data`] (as far as the driver's data path
    /// knew: one that came too early comes back as [`Output::Arrived`]).
    pub fn lower_packet(&mut self, now: Instant, lower: Lower, packet: &[u8]) {
        if packet.is_empty() {
            return;
        }
        match self.lowers.uses.get(&lower) {
            Some(Use::Connecting(_) | Use::Accepting(_)) => {
                self.handshakes.handle_packet(lower, packet);
            }
            Some(Use::Enrolling { .. }) => self.enrolled(now, lower, packet),
            Some(Use::Enroller) => {
                let wall = self.wall_time(now);
                if let Phase::Member(member) = &mut self.phase {
                    member.enroller.handle_packet(now, wall, lower, packet);
                }
            }
            Some(Use::Connected(connection)) => match connection.component {
                Component::Data => self.outputs.push_back(Output::Arrived {
                    lower,
                    packet: packet.to_vec(),
                }),
                Component::Management => {
                    if let Phase::Member(member) = &mut self.phase {
                        member.management_packet(now, lower, packet);
                    }
                }
            },
            None => {}
        }
        self.settle(now);
    }

    /// The response of the member that enrolls this node, as it seems.
    fn enrolled(&mut self, now: Instant, lower: Lower, packet: &[u8]) {
        let Some(Use::Enrolling { op, enrollee }) = self.lowers.uses.get(&lower) else {
            return;
        };
        let op = *op;
        let Some(outcome) = enrollee.handle_packet(now, packet) else {
            return;
        };
        self.lowers.uses.remove(&lower);
        let outcome = outcome.map_err(|failure| NodeError::Peer(failure.to_string()));
        let started = outcome.and_then(|enrolled| {
            if let Some(warning) = enrolled.clock {
                self.outputs.push_back(Output::Warning(warning.to_string()));
            }
            let peer = match &enrolled.config.layer {
                o7s_wire::enroll::Layer::Unicast(unicast) => Some(unicast.dht.peer),
                o7s_wire::enroll::Layer::Broadcast => None,
            };
            let config = self.start(now, enrolled.config.clone(), peer)?;
            self.outputs.push_back(Output::SendOnLower {
                lower,
                packet: enrolled.ack(),
            });
            Ok(config)
        });
        self.outputs.push_back(Output::DeallocateLower { lower });
        match started {
            Ok(config) => self.done(op, Ok(Outcome::Joined(config))),
            Err(error) => self.fail(&Wish::Enroll { op }, error),
        }
    }

    pub(super) fn enrolling_timeout(&self) -> Option<Instant> {
        let uses = self.lowers.uses.values();
        uses.filter_map(|used| match used {
            Use::Enrolling { enrollee, .. } => Some(enrollee.poll_timeout()),
            _ => None,
        })
        .min()
    }

    pub(super) fn expire_enrolling(&mut self, now: Instant) {
        let uses = self.lowers.uses.iter();
        let due = uses.filter_map(|(lower, used)| match used {
            Use::Enrolling { op, enrollee } => {
                Some((*lower, *op, enrollee.handle_timeout(now)?.to_string()))
            }
            _ => None,
        });
        for (lower, op, failure) in due.collect::<Vec<_>>() {
            self.lowers.uses.remove(&lower);
            self.outputs.push_back(Output::DeallocateLower { lower });
            self.fail(&Wish::Enroll { op }, NodeError::Peer(failure));
        }
    }

    /// Does what the handshakes say.
    pub(super) fn settle_handshakes(&mut self, now: Instant) {
        let mut outputs = Vec::new();
        while let Some(output) = self.handshakes.poll_output() {
            outputs.push(output);
        }
        // Before the peer hears that it is connected the data path must know: its first packet may come at
        // once.
        for output in &outputs {
            if let cep::Output::Connected {
                flow,
                identity,
                peer,
                ..
            } = output
            {
                self.connected(now, *flow, identity, *peer);
            }
        }
        for output in outputs {
            match output {
                cep::Output::Send { flow, packet } => {
                    self.outputs.push_back(Output::SendOnLower {
                        lower: flow,
                        packet,
                    });
                }
                cep::Output::Connected { flow, .. } => self.begin(now, flow),
                cep::Output::Failed { flow, failure, .. } => {
                    let used = self.lowers.uses.remove(&flow);
                    self.outputs
                        .push_back(Output::DeallocateLower { lower: flow });
                    match used {
                        Some(Use::Connecting(wish)) => {
                            self.fail(&wish, NodeError::Peer(failure.to_string()));
                        }
                        _ => self
                            .outputs
                            .push_back(Output::Warning(format!("A neighbour: {failure}"))),
                    }
                }
            }
        }
    }

    /// A component is connected: the flow gets its role.
    fn connected(&mut self, now: Instant, lower: Lower, identity: &Identity, peer: Address) {
        let (qos, dst, op) = match self.lowers.uses.remove(&lower) {
            Some(Use::Connecting(Wish::Enroll { op })) => {
                let id = EnrollmentId(self.random.number().to_be_bytes());
                let wall = self.wall_time(now);
                let (enrollee, packet) = Enrollee::start(now, wall, id, Kind::Unicast);
                self.outputs
                    .push_back(Output::SendOnLower { lower, packet });
                self.lowers
                    .uses
                    .insert(lower, Use::Enrolling { op, enrollee });
                return;
            }
            Some(Use::Connecting(Wish::Connect { op, dst, qos, .. })) => (qos, Some(dst), Some(op)),
            Some(Use::Accepting(qos)) => (qos, None, None),
            _ => return,
        };
        let Some(component) = component(identity) else {
            self.lowers.uses.insert(lower, Use::Enroller);
            return;
        };
        let connection = Connection {
            component,
            peer,
            dst,
            cube: QosCube::of(&qos),
            since: now,
            down: false,
            number: 0,
        };
        // What is left of a connection whose neighbour seemed dead.
        let old = connection.dst.as_ref();
        let old = old.map(|dst| self.lowers.made(dst, component));
        let role = connection.role();
        self.lowers.connect(lower, connection);
        self.outputs.push_back(Output::Role { lower, role });
        for old in old.into_iter().flatten() {
            let before = self.lowers.connection(old).map(|it| it.peer);
            self.part(now, old);
            self.outputs
                .push_back(Output::DeallocateLower { lower: old });
            if let Some(before) = before.filter(|before| *before != peer) {
                self.leave(now, before);
            }
        }
        if let Some(op) = op {
            self.done(op, Ok(Outcome::Done));
        }
    }

    /// Another member is where this one was: what is left of the connections to it is of no use.
    fn leave(&mut self, now: Instant, peer: Address) {
        if self
            .lowers
            .connections()
            .any(|(_, it)| it.peer == peer && it.component == Component::Data && !it.down)
        {
            return;
        }
        let left = self.lowers.connections().filter(|(_, it)| it.peer == peer);
        for lower in left.map(|(lower, _)| lower).collect::<Vec<_>>() {
            let connection = self.lowers.connection(lower);
            let told = connection.and_then(|it| Some((it.dst.clone()?, it.component)));
            self.part(now, lower);
            self.outputs.push_back(Output::DeallocateLower { lower });
            if let Some((dst, component)) = told {
                self.outputs.push_back(Output::Parted { dst, component });
            }
        }
    }

    /// The component begins to use its new flow, after the peer was told that it is connected.
    fn begin(&mut self, now: Instant, lower: Lower) {
        let Phase::Member(member) = &mut self.phase else {
            return;
        };
        match self.lowers.uses.get(&lower) {
            Some(Use::Enroller) => member.enroller.connected(now, lower),
            Some(Use::Connected(connection)) => {
                member.connected(now, lower, connection);
                if connection.component == Component::Data {
                    self.liveness.connected(now, lower);
                }
            }
            _ => {}
        }
    }
}

/// The component is connected to the neighbour.
fn already(dst: &Name, component: Component) -> NodeError {
    NodeError::Connected {
        component: component.identity().component,
        dst: dst.as_str().to_owned(),
    }
}

const TOO_MANY: NodeError =
    NodeError::Full("the IPCP has the most N-1 flows that it may have; disconnect some");
const CONNECTING: NodeError =
    NodeError::State("this connection is being made already; wait until that is done");
const PEER_LEFT: NodeError =
    NodeError::Left("the other IPCP deallocated the flow, or died; is it a member of the layer?");
