//! The errors of flow segments.

use thiserror::Error;

/// What the peer wrote that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Corruption {
    /// The writer's position went back, is unaligned, or is further ahead than the ring is long.
    TailPosition = 1,
    /// The reader's position went back, is unaligned, or is ahead of the writer's.
    HeadPosition = 2,
    /// The position at which the writer last started over from offset 0 is impossible.
    BasePosition = 3,
    /// A record's length does not fit in the ring or in what was written.
    RecordLength = 4,
    /// A record is of an unknown kind or carries unknown flags.
    RecordKind = 5,
    /// More packets are said to be queued than the ring can hold.
    PacketCount = 6,
}

impl Corruption {
    /// The inverse of `as u8`.
    #[cfg(not(loom))]
    pub(crate) fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::TailPosition,
            2 => Self::HeadPosition,
            3 => Self::BasePosition,
            4 => Self::RecordLength,
            5 => Self::RecordKind,
            6 => Self::PacketCount,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Self::TailPosition => "impossible position of the writer",
            Self::HeadPosition => "impossible position of the reader",
            Self::BasePosition => "impossible start of the ring",
            Self::RecordLength => "impossible length of a record",
            Self::RecordKind => "unknown kind of record",
            Self::PacketCount => "impossible number of queued packets",
        }
    }
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// The peer broke the flow segment; the flow cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("the other endpoint corrupted the flow's memory: {what}")]
pub struct Corrupt {
    /// What was found.
    pub what: Corruption,
}

impl Corrupt {
    pub(crate) const fn new(what: Corruption) -> Self {
        Self { what }
    }
}

/// What can go wrong when receiving.
pub type RingError = Corrupt;

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no space in the ring now; wait with a [`WriteWaiter`](crate::WriteWaiter).
    #[error("the flow's ring is full")]
    Full,
    /// The packet is longer than the ring ever takes.
    #[error("a packet of {len} bytes is longer than the {max} bytes that the flow takes")]
    TooLarge {
        /// The packet's length in bytes.
        len: usize,
        /// The longest packet, in bytes.
        max: usize,
    },
    /// The other endpoint deallocated the flow.
    #[error("the other endpoint deallocated the flow")]
    PeerClosed,
    /// The process of the other endpoint died.
    #[error("the process at the other endpoint is gone")]
    PeerGone,
    /// The other endpoint does not read (its access mode is write-only).
    #[error("the other endpoint does not read from the flow")]
    Refused,
    /// The ring is corrupt.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Why a file descriptor was not accepted as a flow segment or a bell.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A system call failed.
    #[error("cannot map the shared memory: {0}")]
    Io(#[from] std::io::Error),
    /// The memory could be truncated by the peer: it lacks the seals against resizing.
    #[error("the shared memory is not sealed against resizing")]
    NotSealed,
    /// The memory's size does not belong to its header.
    #[error("the shared memory has {size} bytes where {expected} were expected")]
    Size {
        /// The size of the file in bytes.
        size: u64,
        /// The size it should have in bytes.
        expected: u64,
    },
    /// The memory does not start with the magic number of a flow segment.
    #[error("the shared memory is not a flow segment")]
    Magic,
    /// The memory is of another version of the layout.
    #[error("version {0} of the shared memory layout is not known")]
    Version(u32),
    /// The capacity in the header is not a power of two in the accepted range.
    #[error("a ring of {0} bytes is not possible")]
    Capacity(u32),
}

#[cfg(not(loom))]
impl From<rustix::io::Errno> for OpenError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}
