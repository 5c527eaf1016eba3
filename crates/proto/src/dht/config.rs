//! What a layer and its driver decide about the directory, and the limits of a member.

use std::time::Duration;

use o7s_wire::{address::Address, hash::DirHash};

/// Parameters of the directory of one member (`spec/directory-enrollment.md` §2.3 `dir_dht_config_msg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Own address.
    pub address: Address,
    /// Algorithm of the layer's hashes: gives the length of keys and identifiers.
    pub hash: DirHash,
    /// Parallel requests of a look-up; at least 1.
    pub alpha: u32,
    /// Replicas of a value, and contacts in an answer; at least 1.
    pub k: u32,
    /// Longest life of a value, s.
    pub t_expire: u32,
    /// Period in which contacts are looked after, s.
    pub t_refresh: u32,
    /// Period in which values are stored again, s.
    pub t_replicate: u32,
    /// The member that enrolled this one; none for the first member of a layer.
    pub peer: Option<Address>,
    /// Longest message that the layer carries, in bytes. Answers are cut to it.
    pub max_message: usize,
}

impl Config {
    /// The defaults of the specification.
    #[must_use]
    pub fn new(address: Address, peer: Option<Address>) -> Self {
        Self {
            address,
            hash: DirHash::default(),
            alpha: 3,
            k: 8,
            t_expire: 86_400,
            t_refresh: 900,
            t_replicate: 900,
            peer,
            max_message: 1_400,
        }
    }

    /// Values within which the machine works whatever was configured.
    pub(super) fn sane(mut self) -> Self {
        self.alpha = self.alpha.clamp(1, 10);
        self.k = self.k.clamp(1, 20);
        self.t_expire = self.t_expire.max(10);
        self.t_refresh = self.t_refresh.clamp(3, 86_400);
        self.t_replicate = self.t_replicate.clamp(3, 86_400);
        self
    }

    pub(super) fn refresh(&self) -> Duration {
        Duration::from_secs(self.t_refresh.into())
    }

    pub(super) fn replicate(&self) -> Duration {
        Duration::from_secs(self.t_replicate.into())
    }

    pub(super) fn alpha(&self) -> usize {
        self.alpha as usize
    }

    pub(super) fn k(&self) -> usize {
        self.k as usize
    }

    /// For how long the own names are stored, s. Nothing on the wire takes a value back, so it is as short as
    /// two lost renewals allow (§5.8 rule 3).
    pub(super) fn lifetime(&self) -> u32 {
        (self.t_replicate.saturating_mul(5) / 2 + 10).min(self.t_expire)
    }
}
