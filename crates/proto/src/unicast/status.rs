//! What there is to know about a node, for people and tests.

use std::time::{Duration, Instant};

use o7s_wire::{
    dt::{Address, QosCube},
    hash::NameHash,
    name::Name,
};

use super::{Component, Lower, Node, Phase};
use crate::{dht, fa, forwarding::Route, linkstate};

/// State of a node.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// Own address; none before bootstrap or enrollment.
    pub address: Option<Address>,
    /// Name of the layer.
    pub layer: Option<Name>,
    /// Connections to neighbours.
    pub neighbours: Vec<Neighbour>,
    /// The link-state database: directed links.
    pub links: Vec<linkstate::Link>,
    /// How members are reached.
    pub routes: Vec<Route>,
    /// Names registered at this member.
    pub registered: Vec<NameHash>,
    /// User flows and flow requests of all kinds.
    pub flows: usize,
    /// How much the directory holds.
    pub directory: dht::Sizes,
    /// The members that the directory knows.
    pub contacts: Vec<dht::ContactView>,
    /// Messages of link state.
    pub routing: linkstate::Stats,
    /// Messages of the flow allocator.
    pub allocator: fa::Counters,
}

/// A connection to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The N-1 flow.
    pub lower: Lower,
    /// Its component.
    pub component: Component,
    /// Its address.
    pub address: Address,
    /// Name to which this side connected; none if the other side did.
    pub dst: Option<Name>,
    /// Class of the flow.
    pub cube: QosCube,
    /// How long it has been connected.
    pub age: Duration,
    /// It was silent for too long, or its N-1 flow is down.
    pub down: bool,
}

impl Node {
    /// What there is to know about the node.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let neighbours = self.lowers.connections().map(|(lower, it)| Neighbour {
            lower,
            component: it.component,
            address: it.peer,
            dst: it.dst.clone(),
            cube: it.cube,
            age: now.saturating_duration_since(it.since),
            down: !self.lowers.is_live(it),
        });
        let status = Status {
            neighbours: neighbours.collect(),
            ..Status::default()
        };
        let Phase::Member(member) = &self.phase else {
            return status;
        };
        Status {
            address: Some(member.address),
            layer: Some(member.config.name.clone()),
            links: member.links(now),
            routes: member.routes.clone(),
            registered: member.lookups.registered.iter().cloned().collect(),
            flows: member.fa.len(),
            directory: member.dht.sizes(),
            contacts: member.dht.contacts(),
            routing: *member.routing.stats(),
            allocator: *member.fa.counters(),
            ..status
        }
    }
}
