//! What link-state routing tells people: the database, counters, and warnings.

use std::time::Duration;

use o7s_wire::linkstate::{LSU_LEN, Lsu};

use super::{LINKS_MAX, UPDATES_BURST};

/// An entry of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The link, with its present number.
    pub lsu: Lsu,
    /// Time since its last update.
    pub age: Duration,
    /// It was taken back: the entry only keeps older updates away.
    pub gone: bool,
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Updates received, of any kind below.
    pub received: u64,
    /// Updates sent, those passed on included.
    pub sent: u64,
    /// Received ones whose number was known, as flooding brings them.
    pub old: u64,
    /// Packets that were no updates.
    pub malformed: u64,
    /// Updates with addresses that no member can have.
    pub impossible: u64,
    /// Updates with numbers that leave their owner no room.
    pub absurd: u64,
    /// Updates dropped because a link had too many.
    pub too_often: u64,
    /// Links dropped because the database was full.
    pub full: u64,
    /// Updates of links of this node that it does not have.
    pub stale_own: u64,
    /// Updates of links of this node with numbers beyond its own.
    pub exceeded: u64,
    /// Links forgotten because of their age, or because their node could not be reached when the database
    /// was full.
    pub expired: u64,
    /// Calculations of routes.
    pub recalculations: u64,
}

/// Something that a neighbour, or somebody behind it, does and should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// No update.
    #[error("packets that are no link-state updates ({0} bytes instead of {LSU_LEN}); dropped")]
    Malformed(usize),
    /// Addresses that no member can have.
    #[error("an update with impossible addresses ({0}); dropped")]
    Impossible(Lsu),
    /// Too many updates.
    #[error("more than {UPDATES_BURST} updates per second of one link ({0}); dropped")]
    TooOften(Lsu),
    /// Too many links.
    #[error("more than {LINKS_MAX} links; new ones are dropped. Is a member inventing nodes?")]
    Full,
    /// A link of this node that is not there.
    #[error(
        "an update of a link that this member does not have ({0}): a copy that will age out, or another \
         member with the same address; not passed on"
    )]
    OwnLink(Lsu),
    /// A number so high that there is no room above it for the owner.
    #[error("an update with an absurd sequence number ({0}); dropped")]
    Absurd(Lsu),
}

impl Warning {
    /// A bit for the kind.
    pub(super) fn bit(self) -> u8 {
        match self {
            Self::Malformed(_) => 1,
            Self::Impossible(_) => 2,
            Self::TooOften(_) => 4,
            Self::Full => 8,
            Self::OwnLink(_) => 16,
            Self::Absurd(_) => 32,
        }
    }
}
