//! The management side of a unicast IPCP without I/O (`spec/unicast.md` §10): one [`Node`] per member.
//!
//! A node composes the components of a member: connections of components (CEP), enrollment, addresses,
//! link-state routing, directory, flow allocator. Its driver, a daemon or a simulator,
//!
//! 1. gives it commands ([`Node::command`]), what happens to N-1 flows ([`Node::lower_allocated`],
//!    [`Node::lower_accepted`], [`Node::lower_event`]), packets for it ([`Node::lower_packet`] from N-1 flows
//!    that carry no data, [`Node::dt_packet`] for its components) and calls [`Node::handle_timeout`] at
//!    [`Node::poll_timeout`],
//! 2. carries out what [`Node::poll_output`] says, in its order, until there is nothing, after each such call.
//!
//! Data packets do not pass through a node: the driver forwards them by the tables that the node publishes.
//! What it knows of a packet on an N-1 flow is the flow's [`Role`]:
//!
//! | role | packets on it |
//! | --- | --- |
//! | [`Role::Setup`], [`Role::Management`] | [`Node::lower_packet`] |
//! | [`Role::Data`] | DT packets: forwarded, or for a user flow, or for a component: [`Node::dt_packet`] |
//!
//! A packet of 0 bytes on an N-1 flow is that flow's sign of life and goes nowhere (`spec/unicast.md` §2.1).

mod command;
mod connect;
mod liveness;
mod lookups;
mod lowers;
mod member;
mod output;
mod replies;
mod status;
mod warnings;

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use o7s_wire::{
    cep::Identity,
    dt::Eid,
    enroll::{Layer, LayerConfig, WallTime},
};

pub use command::{Command, Component, Lower, LowerError, LowerEvent, Op, Request};
pub use liveness::{GREETING, MISSES, PERIOD};
pub use o7s_wire::dt::Address;
pub use output::{FlowRequest, NodeError, Outcome, Output, Role};
pub use status::{Neighbour, Status};

use crate::{cep::Handshakes, linkstate, random::Random};
use liveness::Liveness;
use lowers::Lowers;
use member::Member;
use warnings::Warnings;

/// What a node starts with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seed of everything that the node draws: addresses, identifiers, cookies. Must be random, unless runs
    /// are to be repeated.
    pub seed: [u8; 32],
    /// Wall clock at the start: time since the Unix epoch.
    pub wall: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who knows the seed knows all identifiers.
        f.debug_struct("Settings")
            .field("wall", &self.wall)
            .finish_non_exhaustive()
    }
}

/// Where a node is in its life.
#[derive(Debug)]
enum Phase {
    /// Waits for bootstrap or enrollment.
    Boot,
    /// Enrollment goes on.
    Joining,
    /// Member of a layer.
    Member(Box<Member>),
}

/// The management side of a member of a unicast layer.
#[derive(Debug)]
pub struct Node {
    random: Random,
    /// A moment, and the wall clock at it.
    wall: (Instant, Duration),
    phase: Phase,
    handshakes: Handshakes<Lower>,
    lowers: Lowers,
    liveness: Liveness,
    outputs: VecDeque<Output>,
    warnings: Warnings,
    /// When it last had something to do.
    settled: Instant,
}

impl Node {
    /// A node that waits for bootstrap or enrollment.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            random: Random::new(settings.seed),
            wall: (now, settings.wall),
            phase: Phase::Boot,
            handshakes: Handshakes::new(),
            lowers: Lowers::default(),
            liveness: Liveness::default(),
            outputs: VecDeque::new(),
            warnings: Warnings::default(),
            settled: now,
        }
    }

    /// Greets neighbours from now on, and notices those that die silently. The driver must tell of hellos
    /// ([`Node::lower_hello`]) and should of other packets ([`Node::lower_heard`]).
    #[must_use]
    pub fn greeting(mut self) -> Self {
        self.liveness.enable();
        self
    }

    /// Sets the wall clock (time since the Unix epoch), from which it goes on with `now`.
    pub fn set_wall_clock(&mut self, now: Instant, wall: Duration) {
        self.wall = (now, wall);
        if let Phase::Member(member) = &mut self.phase {
            member.dht.set_wall_clock(now, wall.as_secs());
        }
    }

    fn wall(&self, now: Instant) -> Duration {
        let (at, wall) = self.wall;
        wall + now.saturating_duration_since(at)
    }

    fn wall_time(&self, now: Instant) -> WallTime {
        let wall = self.wall(now);
        WallTime {
            sec: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX),
            nsec: wall.subsec_nanos(),
        }
    }

    /// Takes a command; each one with an [`Op`] is answered by one [`Output::Done`].
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Bootstrap { op, config } => {
                let outcome = self.bootstrap(now, config).map(Outcome::Joined);
                self.done(op, outcome);
            }
            Command::Enroll { op, dst } => self.enroll(op, dst),
            Command::Connect {
                op,
                dst,
                component,
                qos,
            } => self.connect(op, dst, component, qos),
            Command::Disconnect { op, dst, component } => {
                self.disconnect(now, op, &dst, component);
            }
            Command::Cancel { op } => self.cancel(op),
            command => {
                let Phase::Member(member) = &mut self.phase else {
                    if let Some(op) = command.op() {
                        self.done(op, Err(NOT_A_MEMBER));
                    }
                    return;
                };
                member.command(now, command, &mut self.outputs);
            }
        }
        self.settle(now);
    }

    /// Begins a layer.
    fn bootstrap(&mut self, now: Instant, config: LayerConfig) -> Result<LayerConfig, NodeError> {
        match self.phase {
            Phase::Boot => self.start(now, config, None),
            Phase::Joining => Err(JOINING),
            Phase::Member(_) => Err(IS_A_MEMBER),
        }
    }

    /// Initialises and starts the components (`spec/unicast.md` §10.1). `peer` is the member that enrolled
    /// this one.
    fn start(
        &mut self,
        now: Instant,
        mut config: LayerConfig,
        peer: Option<Address>,
    ) -> Result<LayerConfig, NodeError> {
        let Layer::Unicast(unicast) = &mut config.layer else {
            return Err(NodeError::Config(
                "the configuration is not that of a unicast layer".to_owned(),
            ));
        };
        // What would not work is refused (`spec/unicast.md` §14 trap 17).
        let routing = linkstate::Config::new(&unicast.dt.routing)
            .map_err(|error| NodeError::Config(error.to_string()))?;
        let mut address = self.random.address();
        while Some(address) == peer {
            address = self.random.address();
        }
        // What the members that this one enrolls are told.
        unicast.dht.peer = address;
        let unicast = *unicast;
        let seed = self.random.bytes();
        let wall = self.wall(now).as_secs();
        let member = Member::start(
            now,
            address,
            config.clone(),
            unicast,
            routing,
            peer,
            seed,
            wall,
        );
        self.handshakes.register(crate::cep::Component {
            identity: Identity::ENROLLMENT,
            address: Address::INVALID,
        });
        for component in [Component::Management, Component::Data] {
            self.handshakes.register(crate::cep::Component {
                identity: component.identity(),
                address,
            });
        }
        self.phase = Phase::Member(Box::new(member));
        self.outputs.push_back(Output::Started {
            address,
            config: config.clone(),
        });
        Ok(config)
    }

    fn done(&mut self, op: Op, outcome: Result<Outcome, NodeError>) {
        self.outputs.push_back(Output::Done { op, outcome });
    }

    /// The payload of a DT packet to this member's address arrived for a component. `ecn` is what its header
    /// said.
    pub fn dt_packet(&mut self, now: Instant, eid: Eid, ecn: u8, payload: &[u8]) {
        let _ = ecn;
        if let Phase::Member(member) = &mut self.phase {
            member.dt_packet(now, eid, payload);
        }
        self.settle(now);
    }

    /// The packet of an [`Output::SendDt`] could not leave: there is no way to its destination now.
    pub fn unsent(&mut self, now: Instant, dst: Address, eid: Eid, flow: Option<Eid>) {
        if let Phase::Member(member) = &mut self.phase {
            member.unsent(now, dst, eid, flow);
        }
        self.settle(now);
    }

    /// When [`Node::handle_timeout`] is wanted; none = not before something else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let member = match &self.phase {
            Phase::Member(member) => member.poll_timeout(),
            _ => None,
        };
        [
            self.handshakes.poll_timeout(),
            self.enrolling_timeout(),
            self.liveness.poll_timeout(),
            member,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handshakes.handle_timeout(now);
        self.expire_enrolling(now);
        for change in self.liveness.timeout(now) {
            self.liveness_changed(now, change);
        }
        if let Phase::Member(member) = &mut self.phase {
            member.handle_timeout(now, &mut self.outputs);
        }
        self.settle(now);
    }

    /// Carries what the components say to one another and to the driver, until they are silent.
    fn settle(&mut self, now: Instant) {
        self.settled = now;
        self.settle_handshakes(now);
        self.settle_member(now);
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.outputs.pop_front()? {
                Output::Warning(text) => {
                    if let Some(text) = self.warnings.pass(self.settled, text) {
                        return Some(Output::Warning(text));
                    }
                }
                output => return Some(output),
            }
        }
    }

    /// The own address; none before bootstrap or enrollment.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match &self.phase {
            Phase::Member(member) => Some(member.address),
            _ => None,
        }
    }
}

const NOT_A_MEMBER: NodeError =
    NodeError::State("the IPCP is in no layer yet; bootstrap or enroll it first");
const IS_A_MEMBER: NodeError = NodeError::State(
    "the IPCP is a member of a layer already; create another IPCP for another layer",
);
const JOINING: NodeError =
    NodeError::State("the IPCP is about to join a layer; wait until that is done");

#[cfg(test)]
mod tests;
