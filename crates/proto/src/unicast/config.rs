//! The configuration of a unicast layer as typed values (`spec/unicast.md` §1).

use o7s_wire::{hash::DirHash, name::Name};

/// Configuration of a layer, equal in all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerConfig {
    /// Name of the layer.
    pub name: Name,
    /// Algorithm of the directory's hashes.
    pub dir_hash: DirHash,
    /// Hops that a packet may take, 1 to 255.
    pub max_ttl: u8,
    /// Link-state routing.
    pub routing: LinkStateConfig,
    /// Congestion avoidance.
    pub congestion: Congestion,
    /// The directory.
    pub dht: DhtConfig,
}

/// Parameters of link-state routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStateConfig {
    /// How next hops are chosen.
    pub policy: RoutingPolicy,
    /// Period of recalculation, s.
    pub t_recalc: u32,
    /// Period of refreshes, s.
    pub t_update: u32,
    /// Life time of an entry, s; above `t_update`.
    pub t_timeo: u32,
}

/// How next hops are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoutingPolicy {
    /// Shortest path.
    #[default]
    Simple,
    /// Shortest path, with loop-free alternates.
    Lfa,
    /// All shortest paths in turn.
    Ecmp,
}

/// Congestion avoidance of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// None.
    None,
    /// Multi-bit ECN.
    #[default]
    MbEcn,
}

/// Parameters of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhtConfig {
    /// Parallel requests, 1 or more.
    pub alpha: u32,
    /// Replicas of a value, 1 or more.
    pub k: u32,
    /// Life time of a value, s.
    pub t_expire: u32,
    /// Refresh of contacts, s.
    pub t_refresh: u32,
    /// Replication, s.
    pub t_replicate: u32,
}

impl LayerConfig {
    /// The defaults of the specification.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            dir_hash: DirHash::default(),
            max_ttl: 60,
            routing: LinkStateConfig {
                policy: RoutingPolicy::Simple,
                t_recalc: 4,
                t_update: 15,
                t_timeo: 60,
            },
            congestion: Congestion::MbEcn,
            dht: DhtConfig {
                alpha: 3,
                k: 8,
                t_expire: 86_400,
                t_refresh: 900,
                t_replicate: 900,
            },
        }
    }
}
