//! The layout of a flow segment.
//!
//! ```text
//! 0      control page: header, state of the sides, control words of the two directions
//! 4096   ring A → B, `capacity` bytes
//! …      ring B → A, `capacity` bytes
//! ```
//!
//! All words are in the byte order of the machine. What one side writes often is 128 bytes away
//! from what the other side writes, so that the pairs of cache lines that processors prefetch are
//! not shared either.

use crate::sync::{AtomicU32, AtomicU64};

/// The first word of a flow segment: `o7s flow` in ASCII, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"o7s flow");
/// The version of this layout.
pub const VERSION: u32 = 1;
/// The length of the control page in bytes; the rings follow.
pub const CONTROL_LEN: usize = 4096;
/// The usual capacity of a ring in bytes. Only pages that were written take memory.
pub const DEFAULT_CAPACITY: u32 = 2 << 20;
/// The smallest ring in bytes.
pub const MIN_CAPACITY: u32 = 4096;
/// The largest ring in bytes.
pub const MAX_CAPACITY: u32 = 1 << 30;
/// The length of a record's header: `u32` length of the payload, `u32` kind and flags.
pub const HEADER_LEN: u32 = 8;
/// Records start at multiples of this.
pub const ALIGN: u32 = 8;
/// A writer that finds the ring empty starts over at offset 0 when it is beyond this offset, so
/// that a flow that is used lightly stays in few pages and in the cache. A quarter of the ring if
/// that is less.
pub const REWIND_AFTER: u64 = 32 << 10;
/// How many bytes a writer goes on before it looks again whether it can start over. A quarter of
/// the ring if that is less.
pub const REWIND_RETRY: u64 = 4 << 10;

/// The longest packet in bytes that a ring of `capacity` bytes takes.
///
/// A packet that long fits into an empty ring wherever the ring's positions stand.
#[must_use]
pub const fn max_message(capacity: u32) -> usize {
    (capacity / 2) as usize - 16
}

/// True for the capacities that a segment may have.
#[must_use]
pub const fn valid_capacity(capacity: u32) -> bool {
    capacity.is_power_of_two() && capacity >= MIN_CAPACITY && capacity <= MAX_CAPACITY
}

/// The length in bytes of a segment with two rings of `capacity` bytes.
#[must_use]
pub const fn segment_len(capacity: u32) -> usize {
    CONTROL_LEN + 2 * capacity as usize
}

/// One end of a flow. The daemon decides who is which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first endpoint.
    A = 0,
    /// The second endpoint.
    B = 1,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The index of this side's words, and of the direction in which it sends.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a segment is. Written once before the memory is shared.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Bytes per ring.
    pub capacity: AtomicU32,
}

/// The state of one side, written by that side and by the daemon.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct SideState {
    /// Bits [`CLOSED`], [`REFUSES`] and [`GONE`].
    pub status: AtomicU32,
    /// Low bit: this side set the flow down. Increments with each change.
    pub down: AtomicU32,
}

/// Bit of [`SideState::status`]: the endpoint was deallocated.
pub const CLOSED: u32 = 1;
/// Bit of [`SideState::status`]: this side does not read, the peer must not write.
pub const REFUSES: u32 = 2;
/// Bit of [`SideState::status`], set by the daemon: the process of this side is dead.
pub const GONE: u32 = 4;

/// What the writer of a ring publishes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct ProducerWords {
    /// The position up to which records are complete, in bytes since the flow began.
    pub tail: AtomicU64,
    /// The position that lies at offset 0; changes only while the ring is empty.
    pub base: AtomicU64,
    /// Data packets written since the flow began; stored after `tail`.
    pub packets: AtomicU64,
}

/// What the reader of a ring publishes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct ConsumerWords {
    /// The position up to which records were consumed.
    pub head: AtomicU64,
    /// Data packets consumed since the flow began; stored after `head`.
    pub packets: AtomicU64,
}

/// A futex word with its flags (see [`crate::wait`]).
#[repr(C, align(128))]
#[derive(Debug)]
pub struct WaitWord {
    /// Flags in the low two bits, a sequence above.
    pub word: AtomicU32,
}

/// The control words of one direction.
#[repr(C)]
#[derive(Debug)]
pub struct Direction {
    /// The writer's words.
    pub producer: ProducerWords,
    /// The reader's words.
    pub consumer: ConsumerWords,
    /// Where the reader waits for data.
    pub reader: WaitWord,
    /// Where the writer waits for space.
    pub writer: WaitWord,
}

impl Direction {
    /// The words of an empty ring, outside of a segment.
    #[must_use]
    pub fn new() -> Self {
        Self {
            producer: ProducerWords {
                tail: AtomicU64::new(0),
                base: AtomicU64::new(0),
                packets: AtomicU64::new(0),
            },
            consumer: ConsumerWords {
                head: AtomicU64::new(0),
                packets: AtomicU64::new(0),
            },
            reader: WaitWord {
                word: AtomicU32::new(0),
            },
            writer: WaitWord {
                word: AtomicU32::new(0),
            },
        }
    }
}

impl Default for Direction {
    fn default() -> Self {
        Self::new()
    }
}

/// The control page. Memory that is all zero is a valid one, but for its header.
#[repr(C)]
#[derive(Debug)]
pub struct Control {
    /// What the segment is.
    pub header: Header,
    /// The state of side A and of side B.
    pub sides: [SideState; 2],
    /// The directions A → B and B → A.
    pub directions: [Direction; 2],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Direction>() == 512);
    assert!(size_of::<Control>() == 128 + 2 * 128 + 2 * 512);
    assert!(size_of::<Control>() <= CONTROL_LEN);
    assert!(max_message(DEFAULT_CAPACITY) == 1_048_560);
};
