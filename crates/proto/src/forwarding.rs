//! Forwarding: which N-1 flow a packet for an address goes to (`spec/unicast.md` §6).
//!
//! Routing gives [`Route`]s; the node builds a [`Table`] from them, which never changes and can be shared
//! with the data path. What changes between two tables, the N-1 flows that are down, is a [`DownFlows`]
//! beside it, so that a failure acts on the very next packet without a new table.
//!
//! | policy | flows of a destination | chosen |
//! | --- | --- | --- |
//! | simple | those to the next hop | the first that is up |
//! | loop-free alternates | those to the next hop, then those to the alternates | the first that is up |
//! | equal-cost multipath | those to all next hops | by a hash of destination and endpoint, so that a flow keeps its order (0.23 takes turns per packet); the next one that is up if it is down |
//!
//! Parallel N-1 flows to one neighbour stand in for each other in all of them.

mod table;
#[cfg(test)]
mod tests;

use o7s_wire::address::Address;

pub use table::{MAX_PATHS, Table};

/// How one destination is reached (`spec/unicast.md` §4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The member to be reached.
    pub destination: Address,
    /// Neighbours to send to, the preferred one first; not empty.
    pub next_hops: Vec<Address>,
}

/// The node's number of an N-1 flow that is a data adjacency: a small index that it gives again when the
/// flow is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowToken(pub u32);

/// How next hops are used: the link-state policy of the layer (`spec/unicast.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum Policy {
    /// One next hop.
    #[default]
    Simple = 0,
    /// One next hop, and alternates for the time that all flows to it are down.
    LoopFreeAlternates = 1,
    /// All next hops at once.
    EqualCost = 2,
}

impl Policy {
    /// The policy with this number in the configuration of a layer.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Simple),
            1 => Some(Self::LoopFreeAlternates),
            2 => Some(Self::EqualCost),
            _ => None,
        }
    }
}

/// Why there is no N-1 flow for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoPath {
    /// The table does not know the destination.
    #[error(
        "no member with this address is known; it may have left, or routing has not learnt of it yet"
    )]
    Unknown,
    /// All N-1 flows towards it are down.
    #[error(
        "every flow towards this member is down; wait for routing, or connect to another neighbour"
    )]
    Down,
}

/// The N-1 flows that are down now.
#[derive(Debug, Clone, Default)]
pub struct DownFlows {
    words: Vec<u64>,
}

impl DownFlows {
    /// Sets whether the flow is down; true if that is news.
    pub fn set(&mut self, flow: FlowToken, down: bool) -> bool {
        let (at, bit) = Self::place(flow);
        if at >= self.words.len() {
            if !down {
                return false;
            }
            self.words.resize(at + 1, 0);
        }
        let word = &mut self.words[at];
        let news = (*word & bit != 0) != down;
        *word = if down { *word | bit } else { *word & !bit };
        news
    }

    /// Whether the flow is down.
    #[inline]
    #[must_use]
    pub fn contains(&self, flow: FlowToken) -> bool {
        let (at, bit) = Self::place(flow);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    #[inline]
    fn place(flow: FlowToken) -> (usize, u64) {
        (flow.0 as usize / 64, 1 << (flow.0 % 64))
    }
}
