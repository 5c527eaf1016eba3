//! The data path: from N-1 flows to N-1 flows, and between them and the flows of users
//! (`spec/unicast.md` §2, §3.7, §3.8, §7, §8).
//!
//! Everything runs to completion in the data thread, in batches, by an immutable table. A turn serves the
//! N-1 flows with packets, those of a higher cube first and with a larger share, so that none starves; a
//! packet that is carried on is copied once, from ring to ring through a buffer that is always the same.
//!
//! Back-pressure: a user flow whose N-1 flow has [`LOCAL_MAX`] packets waiting is not read until it has
//! room. Packets in transit are dropped at [`queue_max`] of their cube; marks tell their senders long before.

mod order;
mod outgoing;
mod send;

use std::{
    cmp::Reverse,
    fmt,
    time::{Duration, Instant},
};

use o7s_proto::{
    congestion::Policy,
    dt::{Component, Dt, Verdict},
    forwarding::FlowToken,
    unicast::Role,
};
use o7s_ring::SendError as NotSent;
use o7s_wire::{
    dt::{Eid, QosCube, Sizes},
    fa::Message,
    hash::DirHash,
};

pub use order::{FlowState, Order, Snapshot};

use super::{
    PathNews, Signs, Waiting,
    user::{Remote, User, Users},
};
use crate::{
    data::{Context, DataPath, End, Progress, Token},
    lower::{Batch, Flows, Read, Serial},
};
use outgoing::Outgoing;

/// Bytes of the header of data transfer.
pub(super) const HEADER: usize = Sizes::DEFAULT.header_len();
/// Packets read at once from an N-1 flow of the lowest cube, and from a user flow.
const BATCH: usize = 64;
/// Packets that wait for an N-1 flow at most, as in the transmit rings of 0.23.
const QUEUE_MAX: usize = 1023;
/// Packets that wait for an N-1 flow when the users here stop being read: less than what packets in
/// transit may use.
const LOCAL_MAX: usize = 512;
/// The N-1 flows in the thread's epoll instance.
const LOWER: u64 = 1;
/// Longest wait for room, for the case that the neighbour stopped.
const ROOM_LOOK: Duration = Duration::from_millis(2);

/// Packets of a cube that may wait for an N-1 flow: the last places are kept for higher cubes.
const fn queue_max(cube: QosCube) -> usize {
    match cube {
        QosCube::BestEffort => QUEUE_MAX - 128,
        QosCube::Video => QUEUE_MAX - 64,
        QosCube::Voice => QUEUE_MAX,
    }
}

/// What an N-1 flow is to the path.
#[derive(Debug, Clone, Copy)]
struct Adjacent {
    serial: Serial,
    role: Role,
}

impl Adjacent {
    fn cube(self) -> QosCube {
        match self.role {
            Role::Data { cube, .. } => cube,
            // Management goes first.
            Role::Setup | Role::Management => QosCube::Voice,
        }
    }
}

/// The data path of a member.
pub struct Forwarder {
    tell: Box<dyn Fn(PathNews) + Send>,
    waiting: Waiting,
    signs: Signs,
    lower: Flows,
    adjacent: Vec<Option<Adjacent>>,
    dt: Option<Dt>,
    users: Users,
    outgoing: Vec<Outgoing>,
    /// N-1 flows with packets to be written.
    touched: Vec<u32>,
    /// Ends of users with packets to be published.
    written: Vec<Token>,
    /// N-1 flows for whose room users wait.
    full: Vec<u32>,
    batch: Batch,
    order: Vec<(QosCube, u32)>,
    scratch: Vec<u8>,
    epoch: Instant,
    overruns: u64,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("lower", &self.lower)
            .finish_non_exhaustive()
    }
}

impl Forwarder {
    /// A path that knows nobody. It calls `tell` with news, and counts packets among them in `waiting`; in
    /// `signs` it marks the N-1 flows that were heard.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new(
        tell: impl Fn(PathNews) + Send + 'static,
        waiting: Waiting,
        signs: Signs,
    ) -> o7s::Result<Self> {
        Ok(Self {
            tell: Box::new(tell),
            waiting,
            signs,
            lower: Flows::new()?,
            adjacent: Vec::new(),
            dt: None,
            users: Users::default(),
            outgoing: Vec::new(),
            touched: Vec::new(),
            written: Vec::new(),
            full: Vec::new(),
            batch: Batch::default(),
            order: Vec::new(),
            scratch: Vec::new(),
            epoch: Instant::now(),
            overruns: 0,
        })
    }

    fn adjacent(&self, number: u32) -> Option<Adjacent> {
        *self.adjacent.get(number as usize)?
    }

    /// Reads and carries on a batch of an N-1 flow.
    fn serve(&mut self, cx: &mut Context, number: u32) -> Progress {
        let Some(adjacent) = self.adjacent(number) else {
            return Progress::None;
        };
        let carries = matches!(adjacent.role, Role::Data { .. });
        if !carries && self.waiting.is_full() {
            // It stays where it is until management has caught up.
            return Progress::None;
        }
        let share = match adjacent.cube() {
            QosCube::BestEffort => BATCH,
            QosCube::Video => 2 * BATCH,
            QosCube::Voice => 4 * BATCH,
        };
        let mut batch = std::mem::take(&mut self.batch);
        let progress = match self.lower.read(number, share, &mut batch) {
            Read::Some => {
                self.signs.set(adjacent.serial.lower);
                batch.for_each(|packet| self.arrived(cx, adjacent, packet));
                Progress::Some
            }
            Read::None => Progress::None,
            Read::Over(error) => {
                self.remove(number);
                (self.tell)(PathNews::Over(adjacent.serial, error));
                Progress::Some
            }
        };
        self.batch = batch;
        progress
    }

    /// Forgets an N-1 flow; packets take another way from now on.
    fn remove(&mut self, number: u32) {
        if let Some(adjacent) = self.adjacent.get_mut(number as usize) {
            *adjacent = None;
        }
        // Deallocated when it is dropped; what is unacknowledged is looked after.
        drop(self.lower.remove(number));
        if let Some(dt) = &mut self.dt {
            dt.remove_flow(FlowToken(number));
        }
    }

    /// A packet came on an N-1 flow.
    #[inline]
    fn arrived(&mut self, cx: &mut Context, from: Adjacent, packet: &mut [u8]) {
        let (Role::Data { .. }, Some(dt)) = (from.role, &mut self.dt) else {
            if !packet.is_empty() {
                self.for_management(|| PathNews::Packet(from.serial, packet.to_vec()));
            }
            return;
        };
        let token = FlowToken(from.serial.lower.0);
        match dt.receive(token, packet) {
            Verdict::Forward { flow, cube } => {
                if !self.enqueue(flow.0, packet, queue_max(cube))
                    && let Some(dt) = &mut self.dt
                {
                    dt.write_failed(flow, packet.len());
                }
            }
            Verdict::User { eid, ecn, .. } => {
                if !self.deliver(cx, eid, ecn, packet)
                    && let Some(dt) = &mut self.dt
                {
                    dt.unknown_eid(token, packet.len());
                }
            }
            Verdict::Component { component, ecn } => {
                let payload = packet.get(HEADER..).unwrap_or_default();
                if component == Component::FlowAllocator
                    && self.congestion_update(cx.now(), payload)
                {
                    return;
                }
                let eid = component.eid();
                self.for_management(|| PathNews::Component {
                    eid,
                    ecn,
                    payload: payload.to_vec(),
                });
            }
            Verdict::Hello => {
                let payload = packet.get(HEADER..).unwrap_or_default();
                self.for_management(|| PathNews::Hello(from.serial, payload.to_vec()));
            }
            Verdict::Keepalive | Verdict::Drop(_) => {}
        }
    }

    /// Tells management of a packet, unless it has too many.
    fn for_management(&mut self, news: impl FnOnce() -> PathNews) {
        if self.waiting.take() {
            (self.tell)(news());
        } else {
            self.overruns += 1;
        }
    }

    /// Reports of congestion are for the path itself; whether it was one.
    fn congestion_update(&mut self, now: Instant, payload: &[u8]) -> bool {
        // The hash length matters to requests only.
        let Ok(Message::Update { eid, ece }) = Message::parse(payload, DirHash::Sha3_256) else {
            return false;
        };
        let user = self.users.get_mut(eid);
        let Some(user) = user.filter(|user| user.remote.is_some()) else {
            // Somebody guesses: counted there.
            return false;
        };
        user.sender.update(now, ece);
        user.counters.reports_received += 1;
        true
    }

    /// Gives a packet to a user flow; false if there is none.
    #[inline]
    fn deliver(&mut self, cx: &mut Context, eid: Eid, ecn: u8, packet: &[u8]) -> bool {
        let Some(user) = self.users.get_mut(eid) else {
            return false;
        };
        let payload = packet.get(HEADER..).unwrap_or_default();
        let report = user.receiver.packet(ecn);
        let token = user.token;
        if let Some(answered) = user.answered.take() {
            user.first_packet(cx.now().saturating_duration_since(answered));
        }
        if let Some(end) = cx.end(token) {
            match end.tx.try_stage(payload) {
                Ok(()) => {
                    user.counters.received += 1;
                    user.counters.received_bytes += payload.len() as u64;
                    if self.written.last() != Some(&token) {
                        self.written.push(token);
                    }
                }
                // The program does not read fast enough.
                Err(NotSent::Full) if payload.is_empty() => {}
                Err(_) => user.counters.no_room += 1,
            }
        }
        if let (Some(level), Some(remote)) = (report, user.remote) {
            user.counters.reports_sent += 1;
            let update = Message::Update {
                eid: remote.eid,
                ece: level,
            };
            if let Ok(message) = update.to_bytes() {
                let _ = self.originate(
                    remote.address,
                    QosCube::BestEffort,
                    Eid::FLOW_ALLOCATOR,
                    &message,
                );
            }
        }
        true
    }

    /// A user flow is over for its program: the daemon and management are told.
    fn close(&mut self, cx: &mut Context, eid: Eid) {
        if let Some(user) = self.users.remove(eid) {
            cx.remove(user.token);
            (self.tell)(PathNews::Closed(eid));
        }
    }

    fn open(&mut self, cx: &mut Context, eid: Eid, mut end: End) {
        end.pause(true);
        let now = cx.now();
        let policy = self
            .dt
            .as_ref()
            .map_or(Policy::None, |dt| dt.config().congestion);
        match cx.add(end) {
            Some(token) => {
                let user = User::new(token, policy, self.epoch, now);
                self.users.insert(eid, user);
            }
            None => (self.tell)(PathNews::Closed(eid)),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let numbers = self.adjacent.iter().flatten();
        let carrying = numbers.filter(|adjacent| matches!(adjacent.role, Role::Data { .. }));
        Snapshot {
            dt: self
                .dt
                .as_ref()
                .map(|dt| dt.counters().clone())
                .unwrap_or_default(),
            queues: carrying
                .map(|adjacent| adjacent.serial.lower)
                .map(|lower| (lower, self.lower.queued(lower.0)))
                .collect(),
            flows: self
                .users
                .iter()
                .map(|(eid, user)| FlowState {
                    eid,
                    remote: user.remote.map(|remote| (remote.address, remote.eid)),
                    counters: user.counters,
                    level: user.receiver.level(),
                    sender: user.sender.state(),
                })
                .collect(),
            overruns: self.overruns,
        }
    }
}

impl DataPath for Forwarder {
    type Command = Order;

    fn command(&mut self, cx: &mut Context, order: Order) {
        match order {
            Order::Start(config) => self.dt = Some(Dt::new(config)),
            Order::Add(serial, flow) => {
                let number = serial.lower.0;
                if let Err(error) = self.lower.insert(cx, LOWER, number, flow) {
                    return (self.tell)(PathNews::Over(serial, error));
                }
                let at = number as usize;
                if self.adjacent.len() <= at {
                    self.adjacent.resize(at + 1, None);
                }
                self.adjacent[at] = Some(Adjacent {
                    serial,
                    role: Role::Setup,
                });
            }
            Order::Remove(lower) => self.remove(lower.0),
            Order::Down(lower, down) => {
                if let Some(dt) = &mut self.dt
                    && self
                        .adjacent
                        .get(lower.0 as usize)
                        .is_some_and(Option::is_some)
                {
                    dt.set_down(FlowToken(lower.0), down);
                }
            }
            Order::Role(lower, role) => {
                if let Some(Some(adjacent)) = self.adjacent.get_mut(lower.0 as usize) {
                    adjacent.role = role;
                    if let (Role::Data { cube, .. }, Some(dt)) = (role, &mut self.dt) {
                        dt.add_flow(FlowToken(lower.0), cube);
                    }
                }
            }
            Order::Table(table) => {
                if let Some(dt) = &mut self.dt {
                    dt.set_table(table);
                }
            }
            Order::SendOnLower(lower, packet) => {
                // What finds no room is lost, as on any flow that loses packets.
                self.lower.write(lower.0, &[packet]);
            }
            Order::Arrived(lower, mut packet) => {
                if let Some(adjacent) = self.adjacent(lower.0) {
                    self.arrived(cx, adjacent, &mut packet);
                    self.flush(cx);
                }
            }
            Order::Send {
                dst,
                cube,
                eid,
                payload,
                flow,
            } => {
                if self.originate(dst, cube, eid, &payload).is_err() {
                    (self.tell)(PathNews::Unsent { dst, eid, flow });
                }
                self.flush(cx);
            }
            Order::Open(eid, end) => self.open(cx, eid, end),
            Order::Up {
                flow,
                remote,
                remote_eid,
                cube,
                answer,
            } => {
                if let Some(user) = self.users.get_mut(flow) {
                    user.remote = Some(Remote {
                        address: remote,
                        eid: remote_eid,
                        cube,
                    });
                    match answer {
                        Some(answer) => user.sender.answer_takes(answer),
                        None => user.answered = Some(cx.now()),
                    }
                    let token = user.token;
                    if let Some(end) = cx.end(token) {
                        end.pause(false);
                    }
                    cx.activate(token);
                }
            }
            Order::Drop(eid) => {
                if let Some(user) = self.users.remove(eid) {
                    drop(cx.take(user.token));
                }
            }
            Order::Close(eid) => {
                if let Some(user) = self.users.remove(eid) {
                    cx.remove(user.token);
                }
            }
            Order::Congestion(eid, level) => {
                if let Some(user) = self.users.get_mut(eid) {
                    user.sender.update(cx.now(), level);
                    user.counters.reports_received += 1;
                }
            }
            Order::Status(operation) => {
                (self.tell)(PathNews::Status(operation, Box::new(self.snapshot())));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context, flow: Token) -> Progress {
        let progress = self.send(cx, flow);
        self.flush(cx);
        progress
    }

    fn dealloc(&mut self, _cx: &mut Context, _flow: Token, _linger: Duration) {
        // The end itself says that it is over, and EIDs are not used again.
    }

    fn readable(&mut self, _cx: &mut Context, _source: u64) -> Progress {
        self.lower.hear();
        Progress::None
    }

    fn turn(&mut self, cx: &mut Context) -> Progress {
        let mut progress = self.release(cx);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for number in self.lower.active() {
            let cube = self
                .adjacent(*number)
                .map_or(QosCube::BestEffort, Adjacent::cube);
            order.push((cube, *number));
        }
        order.sort_unstable_by_key(|(cube, _)| Reverse(*cube));
        for (_, number) in &order {
            if self.serve(cx, *number) == Progress::Some {
                progress = Progress::Some;
            }
        }
        self.order = order;
        self.flush(cx);
        self.lower.settle();
        progress
    }

    fn is_active(&self) -> bool {
        !self.lower.active().is_empty()
    }

    fn is_ready(&self) -> bool {
        self.lower.is_ready()
    }

    fn arm(&mut self, _cx: &mut Context) -> bool {
        self.lower.arm()
    }
}
