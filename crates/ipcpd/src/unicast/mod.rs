//! IPCPs of type unicast: members of layers of their own, over flows of the layers below
//! (`spec/unicast.md`).
//!
//! ```text
//!  daemon ── Unicast: Node (o7s_proto::unicast) ── lower::Requests ── daemon (as a program)
//!              │ tables, roles, flows   ▲ packets of components, what is over
//!              ▼                        │
//!  programs ── Forwarder: Dt (o7s_proto::dt), user flows, N-1 flows ── neighbours
//! ```
//!
//! Management ([`Unicast`]) drives the node and never touches a data packet; the data thread
//! ([`path::Forwarder`]) carries packets by the tables that it is given and never waits for management.

pub mod path;

mod alloc;
mod carry;
mod config;
mod signs;
mod status;
mod user;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use o7s::{
    Error, ErrorKind, Flow, Name, Node as Local, QosSpec, Result,
    control::{ConnectIpcp, IpcpConfig, IpcpStatus, IpcpType, LayerInfo},
};
use o7s_proto::{
    fa::Refusal,
    unicast::{Command, Component, Lower, LowerError, LowerEvent, Node, NodeError, Op, Settings},
};
use o7s_wire::{
    dt::{Address, Eid},
    hash::NameHash,
};

use crate::{
    data::{self, Handle},
    framework::{Answer, Directory, FlowAllocator, Ipcp, Operation, Post, Turn, refused_by_peer},
    lower::{News, Present, Requests, Serial},
};
use alloc::Allocations;
use path::{Forwarder, Order};
pub use signs::Signs;

/// Packets that wait for management at most; more are dropped where they arrive.
const WAITING_MAX: usize = 4096;
/// How long the wall clock may go on without being read.
const CLOCK_PERIOD: Duration = Duration::from_secs(60);

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
    /// A packet on an N-1 flow that carries no data.
    Packet(Serial, Vec<u8>),
    /// A packet for a component.
    Component {
        /// The component.
        eid: Eid,
        /// Congestion that it met.
        ecn: u8,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The payload of a hello on an N-1 flow that carries data.
    Hello(Serial, Vec<u8>),
    /// An N-1 flow is over, and was given back.
    Over(Serial, Error),
    /// A packet of a component could not leave.
    Unsent {
        /// Destination.
        dst: Address,
        /// Component.
        eid: Eid,
        /// The user flow that it was about.
        flow: Option<Eid>,
    },
    /// A user flow was given back by its program.
    Closed(Eid),
    /// The state of the data path.
    Status(Operation, Box<path::Snapshot>),
}

/// How many packets wait for management.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Whether one more may wait; it is counted then.
    fn take(&self) -> bool {
        if self.0.load(Ordering::Relaxed) >= WAITING_MAX {
            return false;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Whether there is no room.
    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= WAITING_MAX
    }

    fn give(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An IPCP of type unicast.
#[derive(Debug)]
pub struct Unicast {
    node: Node,
    post: Post<Told>,
    requests: Requests,
    waiting: Waiting,
    signs: Signs,
    /// The data thread, once the IPCP has an N-1 flow or is a member.
    data: Option<Handle<Order>>,
    /// N-1 flows; in the data thread.
    lowers: Present<Service>,
    /// What the daemon waits for.
    operations: HashMap<Op, Waits>,
    next_op: u64,
    flows: Allocations,
    /// Of the bootstrap that is under way.
    started: Option<Result<()>>,
    clock: Instant,
}

/// What an N-1 flow does for the layer.
#[derive(Debug)]
struct Service {
    /// Strength of its encryption, bits.
    encryption: u16,
    /// It carries data.
    carries: bool,
}

/// Whoever waits for an operation of the node.
#[derive(Debug)]
enum Waits {
    /// An operation of the framework.
    Framework(Operation),
    /// Enrollment.
    Enroll(Operation),
    /// The allocation of a flow.
    Alloc(u64),
    /// [`Ipcp::bootstrap`], at once.
    Bootstrap,
}

impl Unicast {
    /// An IPCP that waits for bootstrap or enrollment. `seed` is random.
    #[must_use]
    pub fn new(seed: [u8; 32], post: Post<Told>) -> Self {
        let now = Instant::now();
        let teller = post.clone();
        let requests = Requests::new(Local::current(), move |news| teller.send(Told::Lower(news)));
        Self {
            node: Node::new(Settings { seed, wall: wall() }, now).greeting(),
            post,
            requests,
            waiting: Waiting::default(),
            signs: Signs::default(),
            data: None,
            lowers: Present::default(),
            operations: HashMap::new(),
            next_op: 0,
            flows: Allocations::default(),
            started: None,
            clock: now,
        }
    }

    /// Gives the node a command, and does what it says.
    fn command(&mut self, waits: Waits, turn: &mut Turn, command: impl FnOnce(Op) -> Command) {
        self.next_op += 1;
        let op = Op(self.next_op);
        self.operations.insert(op, waits);
        self.node.command(turn.now(), command(op));
        self.carry_out(turn);
    }

    /// The data thread, which is started if there is none yet.
    fn data(&mut self) -> Result<&Handle<Order>> {
        let data = match self.data.take() {
            Some(data) => data,
            None => {
                let post = self.post.clone();
                let forwarder = Forwarder::new(
                    move |news| post.send(Told::Path(news)),
                    self.waiting.clone(),
                    self.signs.clone(),
                )?;
                data::start(forwarder, self.post.events())?
            }
        };
        Ok(self.data.insert(data))
    }

    /// Sends the data thread an order; starts it if there is none yet.
    fn order(&mut self, order: Order) -> Result<()> {
        self.data()?.send(order);
        Ok(())
    }

    /// Takes an N-1 flow in: into the data thread.
    fn take_in(&mut self, flow: Flow) -> Result<Lower> {
        let service = Service {
            encryption: flow.qos()?.cypher_s,
            carries: false,
        };
        self.data()?;
        let serial = self.lowers.insert(&flow, service)?;
        self.order(Order::Add(serial, flow))?;
        Ok(serial.lower)
    }

    fn lower_news(&mut self, news: News, turn: &mut Turn) {
        let now = turn.now();
        match news {
            News::Allocated { request, outcome } => {
                let outcome = outcome
                    .and_then(|flow| self.take_in(flow))
                    .map_err(|error| LowerError(error.to_string()));
                let request = o7s_proto::unicast::Request(request);
                self.node.lower_allocated(now, request, outcome);
            }
            News::Accepted(flow) => {
                let taken = flow.qos().and_then(|qos| Ok((self.take_in(flow)?, qos)));
                match taken {
                    Ok((lower, qos)) => self.node.lower_accepted(now, lower, qos),
                    Err(error) => tracing::warn!("An N-1 flow was not accepted: {error}."),
                }
            }
        }
    }

    fn path_news(&mut self, news: PathNews, turn: &mut Turn) {
        let now = turn.now();
        match news {
            PathNews::Packet(serial, packet) => {
                self.waiting.give();
                if self.lowers.is_current(serial) {
                    self.node.lower_packet(now, serial.lower, &packet);
                }
            }
            PathNews::Component { eid, ecn, payload } => {
                self.waiting.give();
                self.node.dt_packet(now, eid, ecn, &payload);
            }
            PathNews::Hello(serial, payload) => {
                self.waiting.give();
                if self.lowers.is_current(serial) {
                    self.node.lower_hello(now, serial.lower, &payload);
                }
            }
            PathNews::Over(serial, error) => {
                if let Some(known) = self.lowers.over(serial) {
                    if known.more.carries {
                        tracing::warn!("The flow to neighbour {:?} is over: {error}.", known.name);
                    }
                    self.node.lower_event(now, serial.lower, LowerEvent::Gone);
                }
            }
            PathNews::Unsent { dst, eid, flow } => self.node.unsent(now, dst, eid, flow),
            PathNews::Closed(flow) => self.node.command(now, Command::Dealloc { flow }),
            PathNews::Status(operation, snapshot) => {
                let status = self.report(now, Some(&snapshot));
                turn.done(operation, Ok(crate::framework::Outcome::Status(status)));
            }
        }
    }

    /// The longest packet of a user: what every N-1 flow here carries, and networks do as a rule.
    fn max_packet(&self) -> u32 {
        let longest = self.lowers.max_packet(|service| service.carries);
        let longest = longest.unwrap_or(usize::MAX).saturating_sub(path::HEADER);
        u32::try_from(longest).unwrap_or(u32::MAX).min(USUAL_MAX)
    }
}

/// A packet of this length passes an Ethernet through some layers, with their headers and encryption.
/// Nobody tells what the N-1 flows of others carry, and longer packets would vanish there.
const USUAL_MAX: u32 = 1400;

impl Ipcp for Unicast {
    type Event = Told;

    fn ipcp_type(&self) -> IpcpType {
        IpcpType::Unicast
    }

    fn bootstrap(&mut self, _: Operation, config: &IpcpConfig, turn: &mut Turn) -> Result<Answer> {
        let config = config::layer(config)?;
        self.command(Waits::Bootstrap, turn, |op| Command::Bootstrap {
            op,
            config,
        });
        match self.started.take() {
            Some(outcome) => outcome.map(Answer::Now),
            None => Err(Error::new(ErrorKind::Ipcp, "the layer did not start")),
        }
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
        let dst = dst.clone();
        self.command(Waits::Enroll(operation), turn, |op| Command::Enroll {
            op,
            dst,
        });
        Ok(Answer::Later)
    }

    fn connect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let (dst, component) = neighbour(connect)?;
        let qos = match connect.qos {
            Some(qos) => QosSpec::try_from(qos)?,
            None => QosSpec::RAW,
        };
        self.command(Waits::Framework(operation), turn, |op| Command::Connect {
            op,
            dst,
            component,
            qos,
        });
        Ok(Answer::Later)
    }

    fn disconnect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let (dst, component) = neighbour(connect)?;
        self.command(Waits::Framework(operation), turn, |op| {
            Command::Disconnect { op, dst, component }
        });
        Ok(Answer::Later)
    }

    fn status(&mut self, operation: Operation, turn: &mut Turn) -> Result<Answer<IpcpStatus>> {
        if self.data.is_none() {
            return Ok(Answer::Now(self.report(turn.now(), None)));
        }
        self.order(Order::Status(operation))?;
        Ok(Answer::Later)
    }

    fn directory(&mut self) -> Option<&mut dyn Directory> {
        Some(self)
    }

    fn flows(&mut self) -> Option<&mut dyn FlowAllocator> {
        Some(self)
    }

    fn event(&mut self, event: Told, turn: &mut Turn) -> Result<()> {
        match event {
            Told::Lower(news) => self.lower_news(news, turn),
            Told::Path(news) => self.path_news(news, turn),
        }
        self.carry_out(turn);
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }

    fn timeout(&mut self, turn: &mut Turn) {
        let now = turn.now();
        // The system's clock may be set meanwhile; the directory stores absolute times.
        if now.saturating_duration_since(self.clock) >= CLOCK_PERIOD {
            self.clock = now;
            self.node.set_wall_clock(now, wall());
        }
        for (lower, known) in self.lowers.iter() {
            if known.more.carries && self.signs.take(lower) {
                self.node.lower_heard(now, lower);
            }
        }
        self.node.handle_timeout(now);
        self.carry_out(turn);
    }
}

impl Directory for Unicast {
    fn register(
        &mut self,
        operation: Operation,
        hash: NameHash,
        turn: &mut Turn,
    ) -> Result<Answer> {
        self.command(Waits::Framework(operation), turn, |op| Command::Register {
            op,
            hash,
        });
        Ok(Answer::Later)
    }

    fn unregister(
        &mut self,
        operation: Operation,
        hash: &NameHash,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let hash = hash.clone();
        self.command(Waits::Framework(operation), turn, |op| {
            Command::Unregister { op, hash }
        });
        Ok(Answer::Later)
    }

    fn query(&mut self, operation: Operation, hash: &NameHash, turn: &mut Turn) -> Result<Answer> {
        let hash = hash.clone();
        self.command(Waits::Framework(operation), turn, |op| Command::Query {
            op,
            hash,
        });
        Ok(Answer::Later)
    }
}

/// Name and component of a connection.
fn neighbour(connect: &ConnectIpcp) -> Result<(Name, Component)> {
    let component = Component::by_name(&connect.component).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "an IPCP of type unicast has no component {:?}; use \"Data Transfer\" or \"Management\"",
                connect.component
            ),
        )
    })?;
    Ok((Name::new(&connect.dst)?, component))
}

/// Time since the Unix epoch.
fn wall() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The daemon's word for why an operation failed.
fn error(error: &NodeError) -> Error {
    let kind = match error {
        NodeError::Cancelled => ErrorKind::FlowDown,
        NodeError::State(_) => ErrorKind::IpcpState,
        NodeError::Connected { .. } => ErrorKind::Exists,
        NodeError::Unreachable => ErrorKind::Name,
        NodeError::Refused(Refusal::Peer(number)) => return refused_by_peer(*number),
        NodeError::Refused(refusal) => ErrorKind::from_errno(refusal.response().saturating_neg()),
        NodeError::Left(_) => ErrorKind::TimedOut,
        NodeError::Config(_) | NodeError::Directory(_) => ErrorKind::Invalid,
        NodeError::Full(_) => ErrorKind::Busy,
        _ => ErrorKind::Ipcp,
    };
    Error::new(kind, error.to_string())
}
