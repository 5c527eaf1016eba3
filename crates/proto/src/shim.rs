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
//!                 _ => drop(self.shim.handle_frame(now, bytes, from)),
//!             },
//!             Ok(Arrived::Management(_)) => drop(self.shim.handle_frame(now, bytes, from)),
//!             Err(_) => return, // other traffic of the interface
//!         }
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
//!   node of 0.23 would make a second flow of it.
//! - An address that does not answer a request for [`Times::recheck`] is queried afresh; if others have the
//!   name and it says nothing, the request goes to them.
//! - Endpoints rest after use; what strangers can make us do and keep is limited ([`Limits`]).

mod config;
mod event;
mod format;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use o7s_wire::{hash::NameHash, qos::QosSpec};

pub use config::{Config, Limits, Rate, Times};
pub use event::{
    CommandError, DownReason, Event, FlowKey, QueryError, QueryKey, Refusal, RequestKey,
};
pub use format::{Address, Arrived, Data, Foreign, Format, Header, Management, Path};

/// One IPCP of a layer on a real network.
#[derive(Debug)]
pub struct Shim {
    config: Config,
}

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dropped")]
pub struct Discard;

/// The name under which UDP layers publish a hash: its hexadecimal digits (`spec/shims.md` §6.5).
#[must_use]
pub fn host_name(hash: &NameHash) -> String {
    hash.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[allow(
    unused_variables,
    clippy::needless_pass_by_value,
    clippy::ptr_arg,
    reason = "skeleton"
)]
impl Shim {
    /// A new machine with its link up. `seed` must be random: endpoints and times come from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        Self { config }
    }

    /// Makes a name of ours reachable. A second time changes nothing.
    ///
    /// # Errors
    /// [`CommandError::HashLen`], [`CommandError::TooMany`].
    pub fn register(&mut self, hash: NameHash) -> Result<(), CommandError> {
        todo!()
    }

    /// Undoes [`register`](Self::register); a name that is not there changes nothing.
    pub fn unregister(&mut self, hash: &NameHash) {
        todo!()
    }

    /// Asks whether a name is reachable; the answer is [`Event::QueryResult`], within `patience`, at once
    /// if an address is known.
    pub fn query(&mut self, now: Instant, query: QueryKey, hash: NameHash, patience: Duration) {
        todo!()
    }

    /// The addresses of a name, for [`Event::Resolve`]; none: it has none. Their port is that of the layer.
    pub fn resolved(&mut self, now: Instant, hash: &NameHash, addresses: &[Address]) {
        todo!()
    }

    /// Asks for a flow to a name; the answer is [`Event::Granted`] or [`Event::Refused`].
    ///
    /// # Errors
    /// [`CommandError`]: nothing has happened.
    pub fn alloc(
        &mut self,
        now: Instant,
        flow: FlowKey,
        hash: NameHash,
        qos: QosSpec,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        todo!()
    }

    /// Answers [`Event::RequestArrived`]: `Ok(flow)` accepts, as this flow, and [`Event::FlowUp`] follows;
    /// `Err` refuses with a negative error number. Refusals may carry a piggyback too.
    ///
    /// # Errors
    /// [`CommandError`]. There is no flow then; the peer was refused if it can be.
    pub fn respond(
        &mut self,
        now: Instant,
        request: RequestKey,
        answer: Result<FlowKey, i32>,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        todo!()
    }

    /// Ends a flow after `linger`, with [`Event::FlowDown`]; or gives up an allocation that is under way, at
    /// once and without an event. Nothing of it is told to the peer: the protocol has no word for it.
    ///
    /// # Errors
    /// [`CommandError::NoFlow`].
    pub fn dealloc(
        &mut self,
        now: Instant,
        flow: FlowKey,
        linger: Duration,
    ) -> Result<(), CommandError> {
        todo!()
    }

    /// Takes a frame (whole, without `from`) or a datagram with its sender.
    ///
    /// # Errors
    /// Why it was dropped; counted, and nothing needs to be done about it.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: Option<SocketAddr>,
    ) -> Result<(), Discard> {
        todo!()
    }

    /// The link is up or down (`spec/shims.md` §5.7).
    pub fn set_link(&mut self, now: Instant, up: bool) {
        todo!()
    }

    /// The MTU of the interface has changed.
    pub fn set_mtu(&mut self, mtu: usize) {
        todo!()
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

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Puts the next frame or datagram into `out`, whose content is replaced, and says where it goes.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Address> {
        todo!()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
}
