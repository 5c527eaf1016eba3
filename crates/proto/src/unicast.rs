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
mod output;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use o7s_wire::{dt::Eid, qos::QosSpec};

pub use command::{Command, Component, Lower, LowerError, LowerEvent, Op, Request};
pub use o7s_wire::dt::Address;
pub use output::{FlowRequest, NodeError, Outcome, Output, Role, Status};

/// What a node starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seed of everything that the node draws: addresses, identifiers, cookies. Must be random, unless runs
    /// are to be repeated.
    pub seed: u64,
    /// Wall clock at the start: time since the Unix epoch.
    pub wall: Duration,
}

/// The management side of a member of a unicast layer.
#[derive(Debug)]
pub struct Node {
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that waits for bootstrap or enrollment.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let _ = (settings, now);
        Self {
            outputs: VecDeque::new(),
        }
    }

    /// Sets the wall clock (time since the Unix epoch), from which it goes on with `now`.
    pub fn set_wall_clock(&mut self, now: Instant, wall: Duration) {
        let _ = (now, wall);
    }

    /// Takes a command; each one with an [`Op`] is answered by one [`Output::Done`].
    pub fn command(&mut self, now: Instant, command: Command) {
        let _ = (now, command);
    }

    /// The outcome of [`Output::AllocateLower`]. The driver chooses the number of the flow; it must not be
    /// that of one that is there.
    pub fn lower_allocated(
        &mut self,
        now: Instant,
        request: Request,
        outcome: Result<Lower, LowerError>,
    ) {
        let _ = (now, request, outcome);
    }

    /// Another IPCP allocated an N-1 flow to this one. `qos` is what was negotiated.
    pub fn lower_accepted(&mut self, now: Instant, lower: Lower, qos: QosSpec) {
        let _ = (now, lower, qos);
    }

    /// Something happened to an N-1 flow.
    pub fn lower_event(&mut self, now: Instant, lower: Lower, event: LowerEvent) {
        let _ = (now, lower, event);
    }

    /// A packet arrived on an N-1 flow whose role is not [`Role::Data`] (as far as the driver's data path
    /// knew: one that came too early comes back as [`Output::Arrived`]).
    pub fn lower_packet(&mut self, now: Instant, lower: Lower, packet: &[u8]) {
        let _ = (now, lower, packet);
    }

    /// The payload of a DT packet to this member's address arrived for a component. `ecn` is
    /// what its header said.
    pub fn dt_packet(&mut self, now: Instant, eid: Eid, ecn: u8, payload: &[u8]) {
        let _ = (now, eid, ecn, payload);
    }

    /// When [`Node::handle_timeout`] is wanted; none = not before something else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The own address; none before bootstrap or enrollment.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        None
    }

    /// What there is to know about the node.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let _ = now;
        Status::default()
    }
}
