//! What routing hands to forwarding.

use o7s_wire::address::Address;

/// How one destination is reached (`spec/unicast.md` §4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The member to be reached.
    pub destination: Address,
    /// Neighbours to send to, the preferred one first; not empty.
    pub next_hops: Vec<Address>,
}
