//! The ring: a single-producer single-consumer queue of records of any length.
//!
//! Positions count bytes since the flow began and never wrap in practice. Position `p` lies at
//! offset `(p - base) mod capacity`, where `base` is the position at which the writer last found
//! the ring empty and started over at offset 0. Records are 8-byte aligned and never cross the end
//! of the ring; a pad record fills what is left there.
//!
//! Each side holds its own position in private memory and publishes it. Of the other side it
//! holds the last position that it validated:
//!
//! - the writer writes within `[tail, head + capacity)` only, where `head` is validated to lie in
//!   `[previous head, tail]`, so the free space is never more than the capacity;
//! - the reader reads within `[head, tail)` only, where `tail` is validated to lie in
//!   `[previous tail, head + capacity]`, and all of a record is validated to lie there too.
//!
//! Every offset is masked and every record is checked against the end of the ring, so that no
//! access is out of bounds even if all the words of the peer are arbitrary.

mod consumer;
mod producer;

pub use consumer::{Consumer, Record};
pub use producer::Producer;

use crate::error::{Corrupt, Corruption};
use crate::layout::{ALIGN, Direction, HEADER_LEN};
use crate::sync::Ordering;

/// A batch is published after each of so many parts of the ring, so that both sides work at the
/// same time on batches that fill it.
const PUBLISH_PART: u64 = 8;

/// The memory of one direction.
///
/// # Safety
///
/// For offsets and lengths within the capacity the accesses must be valid as long as the value
/// lives, and `capacity` must be constant and accepted by [`crate::layout::valid_capacity`] (models
/// may have a smaller power of two).
pub unsafe trait Memory {
    /// The control words.
    fn control(&self) -> &Direction;

    /// The length of the ring in bytes, a power of two.
    fn capacity(&self) -> u32;

    /// Loads the record header at `offset`, once.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 and `offset + 8` at most the capacity.
    unsafe fn load_header(&self, offset: u32) -> u64;

    /// Stores the record header at `offset`.
    ///
    /// # Safety
    ///
    /// As for `load_header`.
    unsafe fn store_header(&self, offset: u32, header: u64);

    /// Copies `len` bytes from `src` to `offset`.
    ///
    /// # Safety
    ///
    /// `src` is valid for `len` bytes and outside of the ring; `offset + len` is at most the
    /// capacity.
    unsafe fn copy_in(&self, offset: u32, src: *const u8, len: usize);

    /// Copies `len` bytes from `offset` to `dst`.
    ///
    /// # Safety
    ///
    /// `dst` is valid for writes of `len` bytes and outside of the ring; `offset + len` is at most
    /// the capacity.
    unsafe fn copy_out(&self, offset: u32, dst: *mut u8, len: usize);

    /// The address of `offset`, which is at most the capacity.
    fn pointer(&self, offset: u32) -> *const u8;
}

/// What a record is. The bits above the low 8 of the header's second word are for flags, all zero
/// in this version. Zero is no kind, so that memory never written is not taken for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A packet.
    Data = 1,
    /// A sign of life without payload.
    Keepalive = 2,
    /// Fills the end of the ring.
    Pad = 3,
}

impl Kind {
    fn header(self, len: u32) -> u64 {
        u64::from(len) | u64::from(self as u32) << 32
    }
}

/// The bytes that a payload of `len` takes in the ring.
fn record_len(len: u32) -> u64 {
    u64::from(HEADER_LEN) + u64::from(len).next_multiple_of(u64::from(ALIGN))
}

/// True if a record with a payload of `len` bytes fits between the positions, pad included.
///
/// `head` may be anything; the answer is a hint for a waiting writer, and true when `head` is
/// impossible, so that it comes back to find out.
#[must_use]
pub fn fits(capacity: u32, tail: u64, base: u64, head: u64, len: usize) -> bool {
    let used = tail.wrapping_sub(head);
    if used > u64::from(capacity) || used == 0 {
        return true;
    }
    let Ok(len) = u32::try_from(len) else {
        return true;
    };
    let size = record_len(len);
    let offset = tail.wrapping_sub(base) & u64::from(capacity - 1);
    let left = u64::from(capacity) - offset;
    let pad = if size > left { left } else { 0 };
    u64::from(capacity) - used >= size + pad
}

/// Data packets written as the writer says, given that `read` were consumed.
pub fn packets_written<M: Memory>(memory: &M, read: u64) -> Result<u64, Corrupt> {
    let written = memory.control().producer.packets.load(Ordering::Acquire);
    // The count is stored after the position, so it may lag behind what was read already.
    if written <= read {
        return Ok(read);
    }
    if written - read > u64::from(memory.capacity() / HEADER_LEN) {
        return Err(Corrupt::new(Corruption::PacketCount));
    }
    Ok(written)
}
