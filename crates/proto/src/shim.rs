//! Layers on real networks: eth-dix, eth-llc, udp4 and udp6 (`spec/shims.md` §4 to §6).
//!
//! One machine, [`Shim`], for all four types: registered names, name queries, the directory, flow
//! allocation, endpoints. It does no I/O and has no clock. Packets of flows do not pass through it: the
//! driver has a map of its own, filled by [`Event::FlowUp`] and [`Event::FlowDown`], and needs only
//! [`Format`] for them, which is a small copyable value.
//!
//! # How a driver uses it
//!
//! ```
//! # use std::{collections::HashMap, net::SocketAddr, time::{Duration, Instant}};
//! # use o7s_proto::shim::{Address, Arrived, Config, Event, FlowKey, Format, Path, Shim};
//! # struct Socket; impl Socket { fn send(&self, _: Address, _: &[u8]) {} }
//! # struct Ring; impl Ring { fn put(&self, _: FlowKey, _: &[u8]) {} }
//! struct Driver {
//!     shim: Shim,                              // management
//!     format: Format,                          // fast path, a copy
//!     by_eid: HashMap<u32, (FlowKey, Path)>,   // fast path, replaced or patched by events
//!     paths: HashMap<FlowKey, Path>,
//! #   socket: Socket, ring: Ring,
//! }
//!
//! impl Driver {
//!     /// A frame (whole, from the destination address on; no `from`) or a datagram.
//!     fn receive(&mut self, now: Instant, bytes: &[u8], from: Option<SocketAddr>) {
//!         match self.format.classify(bytes, from) {
//!             Ok(Arrived::Data(data)) => match self.by_eid.get(&data.eid) {
//!                 Some((flow, path)) if path.accepts(&data) => {
//!                     self.ring.put(*flow, &bytes[data.payload]); // also empty ones: keepalives
//!                     return;
//!                 }
//!                 // The machine keeps what comes before the answer to our request, and counts the rest.
//!                 _ => {}
//!             },
//!             Ok(Arrived::Management(_)) => {}
//!             Err(_) => return, // other traffic of the interface
//!         }
//!         let _ = self.shim.handle_frame(now, bytes, from);
//!         self.after(now);
//!     }
//!
//!     /// A packet of a program, at most `shim.max_payload()` bytes.
//!     fn send(&self, flow: FlowKey, packet: &[u8]) {
//!         let path = &self.paths[&flow];
//!         let header = self.format.header(path, packet.len());
//!         // With `sendmsg` of two parts, or where packets have room before them:
//!         self.socket.send(path.address, &[&header[..], packet].concat());
//!     }
//!
//!     /// After every call that takes `&mut Shim`: events first, then frames, then the timer.
//!     fn after(&mut self, now: Instant) -> Option<Instant> {
//!         while let Some(event) = self.shim.poll_event() {
//!             match event {
//!                 Event::FlowUp { flow, path } => {
//!                     self.by_eid.insert(path.local, (flow, path));
//!                     self.paths.insert(flow, path);
//!                 }
//!                 Event::FlowDown { flow, .. } => {
//!                     if let Some(path) = self.paths.remove(&flow) {
//!                         self.by_eid.remove(&path.local);
//!                     }
//!                 }
//!                 Event::Early { flow, packet } => self.ring.put(flow, &packet),
//!                 _ => {} // answers for the daemon
//!             }
//!         }
//!         let mut frame = Vec::new();
//!         while let Some(to) = self.shim.poll_transmit(&mut frame) {
//!             self.socket.send(to, &frame);
//!         }
//!         self.shim.poll_timeout() // call handle_timeout then
//!     }
//! }
//! ```
//!
//! An allocation of a program is [`Shim::alloc`]; the name need not have been queried: if it is not in the
//! directory it is asked for first, and the request leaves with the answer. Its outcome is
//! [`Event::Granted`] or [`Event::Refused`]. A request of a stranger is [`Event::RequestArrived`], answered
//! by [`Shim::respond`]. [`Shim::dealloc`] ends flows, and gives up allocations that are under way.
//!
//! For UDP the driver resolves names: see [`Event::Resolve`].
//!
//! # Beyond 0.23
//!
//! - Refusals are told at once, with endpoint 0 when none was allocated (trap 8). Silence stays possible.
//! - Peers of ours mark their messages ([`o7s_wire::shim::MARK`]). Requests to those are repeated, since they
//!   take a repeated request for the same one and repeat their answer. Requests to others are sent once: a
//!   node of 0.23 would make a second flow of it. Over UDP, where no query comes first, a silent peer is asked
//!   whether it is one of ours by a message that 0.23 drops.
//! - Over UDP the next address of a name is asked after [`Times::next_address`], or when one refuses or is
//!   said to be [unreachable](Shim::unreachable). The first that accepts has the flow; to one of ours that
//!   accepts later it is given back.
//! - An address that does not answer a request for [`Times::recheck`] is queried afresh; if others have the
//!   name and it says nothing, the request goes to them.
//! - Endpoints rest after use; what strangers can make us do and keep is limited ([`Limits`]).

mod acceptor;
mod admission;
mod attempts;
mod config;
mod directory;
mod elsewhere;
mod endpoints;
mod event;
mod format;
mod query;
mod requester;
mod stats;
mod timers;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use o7s_wire::{eth::MacAddr, hash::NameHash, shim::Message};

pub use config::{Config, Limits, Rate, Times};
pub use event::{
    CommandError, DownReason, Event, FlowKey, QueryError, QueryKey, Refusal, RequestKey,
};
pub use format::{Address, Arrived, Data, Foreign, Format, Header, Management, Path};
pub use stats::{Discard, Discards, Stats};

use crate::random::Random;
use acceptor::{Answers, Arrivals, Peer, Request};
use admission::Admission;
use directory::Directory;
use endpoints::Endpoints;
use query::Query;
use requester::{Asking, Reply};
use timers::{Timer, Timers};

/// Error of a refusal: the name is not here (`spec/shims.md`, conventions).
pub const ENAME: i32 = -1007;
/// Error of a refusal: the two ends do not agree on encryption.
const ECRYPT: i32 = -1008;
/// Error of a refusal: the one who asks is not who may.
const EAUTH: i32 = -1009;
/// Error of a refusal: too many requests wait.
const EBUSY: i32 = -16;
/// Error of a refusal: no endpoint is free.
const ENOSPC: i32 = -28;
/// Error of a refusal: the answer does not fit.
const EMSGSIZE: i32 = -90;
/// Error of a refusal: the flow was there, and is over.
const ECONNRESET: i32 = -104;

/// Most peers of whom is remembered that they know repeated requests, or that they were asked.
const MAX_MARKED: usize = 4096;

/// One IPCP of a layer on a real network.
#[derive(Debug)]
pub struct Shim {
    config: Config,
    link: bool,
    random: Random,
    names: BTreeSet<NameHash>,
    directory: Directory,
    queries: BTreeMap<NameHash, Query>,
    endpoints: Endpoints,
    flows: BTreeMap<FlowKey, Flow>,
    by_eid: BTreeMap<u32, FlowKey>,
    by_peer: BTreeMap<Peer, FlowKey>,
    arrivals: Arrivals,
    answers: Answers,
    /// Peers that know repeated requests.
    marked: BTreeSet<Address>,
    /// Peers over UDP that were asked whether they are of ours, and have not answered.
    probed: BTreeSet<Address>,
    admission: Admission,
    timers: Timers,
    events: VecDeque<Event>,
    transmits: VecDeque<(Address, Vec<u8>)>,
    stats: Stats,
}

#[derive(Debug)]
struct Flow {
    eid: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Our request is under way.
    Asking(Box<Asking>),
    /// Packets go.
    Up {
        path: Path,
        /// When the linger is over.
        ends: Option<Instant>,
    },
}

/// The name under which UDP layers publish a hash: its hexadecimal digits (`spec/shims.md` §6.5).
#[must_use]
pub fn host_name(hash: &NameHash) -> String {
    hash.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Shim {
    /// A new machine with its link up. `seed` must be random: endpoints and times come from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let mut random = Random::new(seed);
        let (times, limits) = (config.times, config.limits);
        Self {
            link: true,
            names: BTreeSet::new(),
            directory: Directory::new(limits.directory, limits.addresses, times.directory),
            queries: BTreeMap::new(),
            endpoints: Endpoints::new(
                config.eids.clone(),
                config.random_eids,
                times.quarantine,
                times.least_quarantine,
            ),
            flows: BTreeMap::new(),
            by_eid: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            arrivals: Arrivals::default(),
            answers: Answers::default(),
            marked: BTreeSet::new(),
            probed: BTreeSet::new(),
            admission: Admission::new(limits.source_rate, limits.total_rate, &mut random, now),
            timers: Timers::default(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            stats: Stats::default(),
            random,
            config,
        }
    }

    /// Takes a frame (whole, from the destination address on, without `from`) or a datagram with its sender.
    /// Packets of flows belong here only if the driver knows no flow for them.
    ///
    /// # Errors
    /// Why it was dropped; counted, and nothing needs to be done about it.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: Option<SocketAddr>,
    ) -> Result<(), Discard> {
        let result = self.take_frame(now, bytes, from);
        if let Err(why) = result {
            self.stats.discarded.count(why);
        }
        result
    }

    fn take_frame(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: Option<SocketAddr>,
    ) -> Result<(), Discard> {
        if !self.link {
            return Err(Discard::LinkDown);
        }
        let management = match self.config.format.classify(bytes, from)? {
            Arrived::Data(data) => return self.stray_data(&data, &bytes[data.payload.clone()]),
            Arrived::Management(management) => management,
        };
        let layout = self.config.format.layout();
        let payload = &bytes[management.payload];
        let from = management.source;
        let message = Message::parse(layout, payload, self.config.hash_len)?;
        if management.broadcast && !matches!(message, Message::NameQuery { .. }) {
            return Err(Discard::Broadcast);
        }
        match message {
            Message::FlowRequest {
                requester,
                qos,
                hash,
                piggyback,
                repeats,
            } => {
                let request = Request {
                    requester,
                    qos,
                    hash,
                    piggyback,
                    repeats,
                };
                self.flow_request(now, from, &request)
            }
            Message::FlowReply {
                requester,
                acceptor,
                response,
                piggyback,
                repeats,
            } => {
                let reply = Reply {
                    requester,
                    acceptor,
                    response,
                    piggyback,
                    repeats,
                };
                self.flow_reply(now, from, &reply)
            }
            Message::NameQuery { hash, repeats } => {
                self.name_query(now, from, &NameHash::from_bytes(hash), repeats)
            }
            Message::NameReply { hash, repeats } => {
                self.name_reply(now, from, &NameHash::from_bytes(hash), repeats)
            }
        }
    }

    /// The link is up or down (`spec/shims.md` §5.7). While it is down frames are dropped and commands that
    /// need it fail at once; flows, and allocations under way, survive.
    pub fn set_link(&mut self, up: bool) {
        if self.link != up {
            self.link = up;
            self.events.push_back(Event::Link { up });
        }
    }

    /// The MTU of the interface has changed.
    pub fn set_mtu(&mut self, mtu: usize) {
        let before = self.max_payload();
        self.config.mtu = mtu;
        let bytes = self.max_payload();
        if bytes != before {
            self.events.push_back(Event::MaxPayload { bytes });
        }
    }

    /// The interface has another address (Ethernet). Flows end, since their peers send to the old one, and
    /// drop what comes from the new one; allocations under way go on, and their requests are repeated.
    pub fn set_mac(&mut self, now: Instant, address: MacAddr) {
        match &mut self.config.format {
            Format::Dix { mac, .. } | Format::Llc { mac } => {
                if std::mem::replace(mac, address) == address {
                    return;
                }
            }
            Format::Udp => return,
        }
        let (asking, up): (Vec<_>, Vec<_>) = self.flows.keys().copied().partition(|flow| {
            let state = self.flows.get(flow).map(|flow| &flow.state);
            matches!(state, Some(State::Asking(_)))
        });
        for flow in up {
            self.flow_down(now, flow, DownReason::AddressChanged);
        }
        for flow in asking {
            self.ask_anew(now, flow);
        }
    }

    /// Largest packet of a flow, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.config.format.max_payload(self.config.mtu)
    }

    /// The format, for the fast path.
    #[must_use]
    pub fn format(&self) -> Format {
        self.config.format
    }

    /// The path of a flow that is up.
    #[must_use]
    pub fn path(&self, flow: FlowKey) -> Option<Path> {
        match self.flows.get(&flow)?.state {
            State::Up { path, .. } => Some(path),
            State::Asking(_) => None,
        }
    }

    /// Counters, and what is there now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            flows: self.flows.len(),
            arrived: self.arrivals.len(),
            names: self.names.len(),
            directory: self.directory.len(),
            queries: self.queries.len(),
            endpoints: self.endpoints.used(),
            answer_bytes: self.answers.bytes(),
            ..self.stats
        }
    }

    /// The next event. Take all before the frames.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Puts the next frame or datagram into `out`, whose content is replaced, and says where it goes.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Address> {
        out.clear();
        let (to, frame) = self.transmits.pop_front()?;
        *out = frame;
        Some(to)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Query(hash) => self.query_due(now, &hash),
                Timer::Request(request) => self.request_due(request),
                Timer::Flow(flow) => match self.flows.get(&flow).map(|flow| &flow.state) {
                    Some(State::Asking(_)) => self.asking_due(now, flow),
                    Some(State::Up { .. }) => self.flow_down(now, flow, DownReason::Deallocated),
                    None => {}
                },
            }
        }
    }

    fn check_new_flow(&self, flow: FlowKey) -> Result<(), CommandError> {
        if self.flows.contains_key(&flow) {
            return Err(CommandError::FlowExists(flow));
        }
        let limit = self.config.limits.flows;
        if self.flows.len() >= limit {
            return Err(CommandError::TooMany(limit));
        }
        Ok(())
    }

    fn take_endpoint(&mut self, now: Instant) -> Result<u32, CommandError> {
        self.endpoints
            .take(now, &mut self.random)
            .ok_or_else(|| CommandError::NoEndpoint(self.endpoints.total()))
    }

    /// Endpoints that a peer may have; the reserved ones mean "management" or "unknown".
    fn is_peer_endpoint(&self, eid: u32) -> bool {
        match self.config.format {
            Format::Dix { .. } => (1..0xffff).contains(&eid),
            Format::Llc { .. } => (2..0x80).contains(&eid),
            Format::Udp => (1..u32::MAX).contains(&eid),
        }
    }

    /// Remembers whether a peer knows repeated requests.
    fn mark(&mut self, peer: Address, repeats: bool) {
        if !repeats {
            self.marked.remove(&peer);
        } else if self.config.repeats {
            if self.marked.len() >= MAX_MARKED {
                // They are learned again with their next answers.
                self.marked.clear();
            }
            self.marked.insert(peer);
        }
    }

    fn insert_flow(&mut self, key: FlowKey, flow: Flow) {
        self.by_eid.insert(flow.eid, key);
        self.flows.insert(key, flow);
    }

    fn remove_flow(&mut self, now: Instant, key: FlowKey) -> Option<Flow> {
        let flow = self.flows.remove(&key)?;
        self.timers.set(Timer::Flow(key), None);
        self.by_eid.remove(&flow.eid);
        self.endpoints.release(flow.eid, now);
        if let State::Up { path, .. } = &flow.state {
            let peer = (path.address, path.peer);
            if self.by_peer.get(&peer) == Some(&key) {
                self.by_peer.remove(&peer);
            }
        }
        Some(flow)
    }

    fn flow_up(&mut self, now: Instant, key: FlowKey, path: Path) {
        // A peer has one flow on an endpoint: if it makes another, the old one is over (defect 9).
        if let Some(old) = self.by_peer.get(&(path.address, path.peer)).copied() {
            self.flow_down(now, old, DownReason::PeerLeft);
        }
        self.by_peer.insert((path.address, path.peer), key);
        let state = State::Up { path, ends: None };
        let eid = path.local;
        self.insert_flow(key, Flow { eid, state });
        self.timers.set(Timer::Flow(key), None);
        self.events.push_back(Event::FlowUp { flow: key, path });
    }

    fn flow_down(&mut self, now: Instant, key: FlowKey, reason: DownReason) {
        let Some(flow) = self.remove_flow(now, key) else {
            return;
        };
        if let State::Up { path, .. } = flow.state {
            if reason == DownReason::Deallocated {
                self.answer_over(&path);
            }
            self.events.push_back(Event::FlowDown { flow: key, reason });
        }
    }

    fn check_size(&self, message: &Message<'_>) -> Result<(), CommandError> {
        let len = message.emitted_len(self.config.format.layout());
        let max = self.config.format.max_management(self.config.mtu);
        if len <= max {
            Ok(())
        } else {
            Err(CommandError::TooLarge { len, max })
        }
    }

    fn frame(&self, to: Address, message: &Message<'_>) -> Result<Vec<u8>, CommandError> {
        self.check_size(message)?;
        let format = self.config.format;
        let layout = format.layout();
        let len = message.emitted_len(layout);
        let mut frame = format.management_header(to, len).to_vec();
        // Endpoints come from the configured range or from a message of the same layout.
        message
            .emit(layout, &mut frame)
            .map_err(|_| CommandError::NoEndpoint(self.endpoints.total()))?;
        Ok(frame)
    }

    /// Sends a message; whether it waits in the queue now.
    fn transmit(
        &mut self,
        to: Address,
        message: &Message<'_>,
        ours: bool,
    ) -> Result<bool, CommandError> {
        let frame = self.frame(to, message)?;
        Ok(self.push_frame(to, frame, ours))
    }

    /// Half of the queue is for what our own programs want.
    fn push_frame(&mut self, to: Address, frame: Vec<u8>, ours: bool) -> bool {
        let limit = self.config.limits.transmits;
        let limit = if ours { limit } else { limit / 2 };
        let room = self.link && self.transmits.len() < limit;
        if room {
            self.transmits.push_back((to, frame));
        } else {
            self.stats.transmits_dropped += 1;
        }
        room
    }
}
