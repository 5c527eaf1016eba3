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

use crate::error::{Corrupt, Corruption, SendError};
use crate::layout::{ALIGN, Direction, HEADER_LEN, REWIND_AFTER, REWIND_RETRY, max_message};
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

/// The writing end of a ring.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    capacity: u64,
    max: usize,
    /// Up to where records are written, published or not.
    tail: u64,
    /// Up to where records are published.
    published: u64,
    /// The position of offset 0.
    base: u64,
    /// The last valid position of the reader.
    head: u64,
    /// From this position on, look whether to start over.
    rewind_at: u64,
    /// [`REWIND_AFTER`] and [`REWIND_RETRY`], or less in a small ring.
    rewind_after: u64,
    rewind_retry: u64,
    /// Data packets written.
    packets: u64,
    /// The last valid count of packets read.
    packets_read: u64,
    corrupt: Option<Corrupt>,
}

impl<M: Memory> Producer<M> {
    /// The writing end of a ring that was never used.
    pub fn new(memory: M) -> Self {
        let capacity = memory.capacity();
        let rewind_after = REWIND_AFTER.min(u64::from(capacity) / 4);
        Self {
            capacity: capacity.into(),
            max: max_message(capacity),
            memory,
            tail: 0,
            published: 0,
            base: 0,
            head: 0,
            rewind_at: rewind_after,
            rewind_after,
            rewind_retry: REWIND_RETRY.min(u64::from(capacity) / 4),
            packets: 0,
            packets_read: 0,
            corrupt: None,
        }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The longest packet in bytes.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The position up to which records are written.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The position of offset 0.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Data packets written.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Data packets written and not read yet, as the reader says.
    pub fn queued_packets(&mut self) -> Result<u64, Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        let read = self
            .memory
            .control()
            .consumer
            .packets
            .load(Ordering::Acquire);
        if read < self.packets_read || read > self.packets {
            return Err(self.fail(Corruption::PacketCount));
        }
        self.packets_read = read;
        // The count lags behind the position for a moment, so allow one ring more.
        if self.packets - read > 2 * self.capacity / u64::from(HEADER_LEN) {
            return Err(self.fail(Corruption::PacketCount));
        }
        Ok(self.packets - read)
    }

    /// Writes a packet, unpublished.
    #[inline]
    pub fn push(&mut self, packet: &[u8]) -> Result<(), SendError> {
        let offset = self.reserve(packet.len(), Kind::Data)?;
        // SAFETY: `reserve` gave room for the packet's length at this offset; a slice of the
        // caller is valid, and no reference into the ring exists that it could be.
        unsafe {
            self.memory.copy_in(offset, packet.as_ptr(), packet.len());
        }
        self.packets += 1;
        Ok(())
    }

    /// Writes a packet made of `parts`, unpublished.
    #[inline]
    pub fn push_parts<T: std::ops::Deref<Target = [u8]>>(
        &mut self,
        parts: &[T],
    ) -> Result<(), SendError> {
        let len = parts
            .iter()
            .fold(0usize, |len, part| len.saturating_add(part.len()));
        let mut offset = self.reserve(len, Kind::Data)?;
        let mut left = len;
        for part in parts {
            // A strange `Deref` may give another slice each time; never write more than reserved.
            let part: &[u8] = part;
            let part = &part[..part.len().min(left)];
            // SAFETY: as in `push`; the parts' lengths sum up to at most the reserved `len`.
            unsafe { self.memory.copy_in(offset, part.as_ptr(), part.len()) };
            offset += part.len() as u32;
            left -= part.len();
        }
        self.packets += 1;
        Ok(())
    }

    /// Writes the packet that was peeked at in `from`, unpublished: one copy from ring to ring. A
    /// keepalive stays one. Nothing peeked at, nothing written.
    #[inline]
    pub fn push_from<N: Memory>(&mut self, from: &Consumer<N>) -> Result<(), SendError> {
        let Some(current) = from.current else {
            return Ok(());
        };
        if current.keepalive {
            return self.push_keepalive();
        }
        let len = current.len as usize;
        let offset = self.reserve(len, Kind::Data)?;
        // SAFETY: `reserve` gave room for the packet's length at this offset of our ring, which
        // is writable memory and not the other ring; whatever a peer writes there meanwhile is
        // what it gets.
        unsafe { from.copy_out_raw(0, self.memory.pointer(offset).cast_mut(), len) };
        self.packets += 1;
        Ok(())
    }

    /// Writes a keepalive, unpublished.
    pub fn push_keepalive(&mut self) -> Result<(), SendError> {
        self.reserve(0, Kind::Keepalive).map(drop)
    }

    /// True if the reader does not know yet of all that was written.
    #[inline]
    pub fn unpublished(&self) -> bool {
        self.tail != self.published
    }

    /// True if so much was written without being published that the reader should get to work.
    #[inline]
    pub fn publish_due(&self) -> bool {
        self.tail - self.published >= self.capacity / PUBLISH_PART
    }

    /// Makes all that was written visible to the reader. The caller then wakes it.
    #[inline]
    pub fn publish(&mut self) {
        self.published = self.tail;
        let producer = &self.memory.control().producer;
        // Sync point: what was written before, payload, header and `base`, is visible to a
        // reader that acquires this tail.
        producer.tail.store(self.tail, Ordering::Release);
        // A reader that acquires this count sees at least as many packets in the ring.
        producer.packets.store(self.packets, Ordering::Release);
    }

    /// Writes the header of a record and returns the offset of its payload.
    #[inline]
    fn reserve(&mut self, len: usize, kind: Kind) -> Result<u32, SendError> {
        if len > self.max {
            return Err(SendError::TooLarge { len, max: self.max });
        }
        let len = len as u32;
        let size = record_len(len);
        if self.tail >= self.rewind_at {
            self.try_rewind()?;
        }
        let mut offset = self.offset();
        let left = self.capacity - offset;
        let mut pad = if size > left { left } else { 0 };
        if self.capacity - (self.tail - self.head) < size + pad {
            self.refresh_head()?;
            if self.head == self.tail {
                self.rewind();
                offset = 0;
                pad = 0;
            } else if self.capacity - (self.tail - self.head) < size + pad {
                return Err(SendError::Full);
            }
        }
        if pad != 0 {
            // SAFETY: `offset` is masked and aligned, and less than the capacity, so at least 8
            // bytes are left.
            unsafe {
                self.memory
                    .store_header(offset as u32, Kind::Pad.header(pad as u32 - HEADER_LEN));
            }
            self.tail += pad;
            offset = 0;
        }
        // SAFETY: `offset` is masked and aligned, and `offset + size` is at most the capacity:
        // either `size <= left` or `offset` is 0.
        unsafe { self.memory.store_header(offset as u32, kind.header(len)) };
        self.tail += size;
        Ok(offset as u32 + HEADER_LEN)
    }

    #[inline]
    fn offset(&self) -> u64 {
        (self.tail - self.base) & (self.capacity - 1)
    }

    /// Starts over at offset 0 if the reader has read everything. Fails once corrupt.
    #[cold]
    fn try_rewind(&mut self) -> Result<(), Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        self.rewind_at = self.tail + self.rewind_retry;
        if self.offset() >= self.rewind_after {
            self.refresh_head()?;
            if self.head == self.tail {
                self.rewind();
            }
        }
        Ok(())
    }

    /// Starts over at offset 0. The ring must be empty.
    fn rewind(&mut self) {
        debug_assert_eq!(self.head, self.tail);
        self.base = self.tail;
        self.rewind_at = self.tail + self.rewind_after;
        // Sync point: ordered before the next record by the release of `tail`. A reader that has
        // read everything does not look at `base` until it sees a new tail, and a reader that has
        // not read everything keeps `base` from changing.
        self.memory
            .control()
            .producer
            .base
            .store(self.base, Ordering::Relaxed);
    }

    /// Loads and validates the reader's position.
    fn refresh_head(&mut self) -> Result<(), Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        // Sync point: the reader's copies out of what it consumed are done before we overwrite it.
        let head = self.memory.control().consumer.head.load(Ordering::Acquire);
        if head < self.head || head > self.tail || !head.is_multiple_of(u64::from(ALIGN)) {
            return Err(self.fail(Corruption::HeadPosition));
        }
        self.head = head;
        Ok(())
    }

    fn fail(&mut self, what: Corruption) -> Corrupt {
        let corrupt = Corrupt::new(what);
        self.corrupt = Some(corrupt);
        // Every reservation comes to `try_rewind` from now on.
        self.rewind_at = 0;
        corrupt
    }
}

/// What [`Consumer::peek_record`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A packet of so many bytes.
    Data(usize),
    /// A sign of life.
    Keepalive,
}

/// The packet at the head of the ring.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// The offset of its payload.
    offset: u32,
    /// The length of its payload.
    len: u32,
    /// It is a keepalive, which only [`Consumer::peek_record`] stops at.
    keepalive: bool,
}

/// The reading end of a ring.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    capacity: u64,
    max: u32,
    /// Up to where records were consumed, published or not.
    head: u64,
    /// Up to where the writer was told that records were consumed.
    published: u64,
    /// The last valid position of the writer.
    tail: u64,
    /// The position of offset 0.
    base: u64,
    /// Data packets consumed.
    packets: u64,
    /// Keepalives consumed.
    keepalives: u64,
    current: Option<Current>,
    corrupt: Option<Corrupt>,
}

impl<M: Memory> Consumer<M> {
    /// The reading end of a ring that was never used.
    pub fn new(memory: M) -> Self {
        let capacity = memory.capacity();
        Self {
            capacity: capacity.into(),
            max: max_message(capacity) as u32,
            memory,
            head: 0,
            published: 0,
            tail: 0,
            base: 0,
            packets: 0,
            keepalives: 0,
            current: None,
            corrupt: None,
        }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The position up to which records were consumed.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Data packets consumed.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Keepalives consumed.
    pub fn keepalives(&self) -> u64 {
        self.keepalives
    }

    /// Data packets written since the flow began, as the writer says: at least as many as were
    /// consumed.
    pub fn packets_written(&self) -> Result<u64, Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        packets_written(&self.memory, self.packets)
    }

    /// The length of the next packet, if there is one.
    ///
    /// Skips pads and keepalives; the caller must [`publish`](Self::publish) afterwards if
    /// [`unpublished`](Self::unpublished).
    #[inline]
    pub fn peek(&mut self) -> Result<Option<usize>, Corrupt> {
        if let Some(current) = self.current {
            if !current.keepalive {
                return Ok(Some(current.len as usize));
            }
            self.consume();
        }
        Ok(self.find::<false>()?.map(|current| current.len as usize))
    }

    /// The next packet or keepalive, if there is one.
    ///
    /// Skips pads; publish as after [`peek`](Self::peek).
    #[inline]
    pub fn peek_record(&mut self) -> Result<Option<Record>, Corrupt> {
        let current = match self.current {
            Some(current) => Some(current),
            None => self.find::<true>()?,
        };
        Ok(current.map(|current| {
            if current.keepalive {
                Record::Keepalive
            } else {
                Record::Data(current.len as usize)
            }
        }))
    }

    /// Goes on to the next record that is to be stopped at.
    #[inline]
    fn find<const KEEPALIVES: bool>(&mut self) -> Result<Option<Current>, Corrupt> {
        // Each turn goes on by at least a header within what was written; a writer that goes on
        // writing records without data cannot keep us longer than two refreshes.
        let mut refreshes = 0;
        loop {
            if self.head == self.tail {
                if refreshes == 2 || !self.refresh_tail()? {
                    return Ok(None);
                }
                refreshes += 1;
            }
            let offset = (self.head.wrapping_sub(self.base) & (self.capacity - 1)) as u32;
            // SAFETY: `offset` is masked; it is aligned since `head` and `base` are.
            let header = unsafe { self.memory.load_header(offset) };
            let len = header as u32;
            let kind = (header >> 32) as u32;
            let size = record_len(len);
            let left = self.capacity - u64::from(offset);
            if size > left || size > self.tail - self.head {
                return Err(self.fail(Corruption::RecordLength));
            }
            if kind == Kind::Data as u32 {
                if len > self.max {
                    return Err(self.fail(Corruption::RecordLength));
                }
                self.current = Some(Current {
                    offset: offset + HEADER_LEN,
                    len,
                    keepalive: false,
                });
                return Ok(self.current);
            }
            if kind == Kind::Pad as u32 {
                if size != left {
                    return Err(self.fail(Corruption::RecordLength));
                }
            } else if kind == Kind::Keepalive as u32 {
                if len != 0 {
                    return Err(self.fail(Corruption::RecordLength));
                }
                if KEEPALIVES {
                    self.current = Some(Current {
                        offset: offset + HEADER_LEN,
                        len,
                        keepalive: true,
                    });
                    return Ok(self.current);
                }
                self.keepalives += 1;
            } else {
                return Err(self.fail(Corruption::RecordKind));
            }
            self.head += size;
        }
    }

    /// The address and length of the packet that was peeked at.
    pub fn current(&self) -> Option<(*const u8, usize)> {
        self.current
            .map(|current| (self.memory.pointer(current.offset), current.len as usize))
    }

    /// Copies bytes from `offset` on out of the packet that was peeked at; returns how many.
    #[inline]
    pub fn copy_out(&self, offset: usize, dst: &mut [u8]) -> usize {
        let len = self.remaining(offset, dst.len());
        // SAFETY: a mutable slice is valid for writes of its length, of which `len` is no more,
        // and is not in the ring.
        unsafe { self.copy_out_raw(offset, dst.as_mut_ptr(), len) };
        len
    }

    /// How many bytes of the packet follow `offset`, at most `max`.
    #[inline]
    pub fn remaining(&self, offset: usize, max: usize) -> usize {
        self.current.map_or(0, |current| {
            (current.len as usize).saturating_sub(offset).min(max)
        })
    }

    /// Copies `len` bytes from `offset` on, which [`remaining`](Self::remaining) must have
    /// allowed.
    ///
    /// # Safety
    ///
    /// `dst` is valid for writes of `len` bytes and outside of the ring.
    #[inline]
    pub unsafe fn copy_out_raw(&self, offset: usize, dst: *mut u8, len: usize) {
        if let Some(current) = self.current
            && self.remaining(offset, len) == len
        {
            // SAFETY: the record was validated to lie in the ring and `offset + len` to lie in the
            // record; `dst` is the caller's promise.
            unsafe {
                self.memory
                    .copy_out(current.offset + offset as u32, dst, len);
            }
        }
    }

    /// Consumes the packet that was peeked at, unpublished.
    #[inline]
    pub fn consume(&mut self) {
        if let Some(current) = self.current.take() {
            self.head += record_len(current.len);
            if current.keepalive {
                self.keepalives += 1;
            } else {
                self.packets += 1;
            }
        }
    }

    /// True if the writer does not know yet of all that was consumed.
    #[inline]
    pub fn unpublished(&self) -> bool {
        self.head != self.published
    }

    /// True if so much was consumed without being published that the writer should get to work.
    #[inline]
    pub fn publish_due(&self) -> bool {
        self.head - self.published >= self.capacity / PUBLISH_PART
    }

    /// Gives the space of all that was consumed back to the writer. The caller then wakes it.
    #[inline]
    pub fn publish(&mut self) {
        self.published = self.head;
        let consumer = &self.memory.control().consumer;
        // Sync point: our copies are done before the writer, acquiring this head, overwrites.
        consumer.head.store(self.head, Ordering::Release);
        consumer.packets.store(self.packets, Ordering::Release);
    }

    /// Loads and validates the writer's position; returns true if there is something to read.
    fn refresh_tail(&mut self) -> Result<bool, Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        let producer = &self.memory.control().producer;
        // Sync point: what was written before this tail is visible from here on.
        let tail = producer.tail.load(Ordering::Acquire);
        if tail == self.tail {
            return Ok(false);
        }
        if tail < self.tail
            || tail - self.head > self.capacity
            || !tail.is_multiple_of(u64::from(ALIGN))
        {
            return Err(self.fail(Corruption::TailPosition));
        }
        // Sync point: see `Producer::rewind`. Until we publish a head equal to this tail, `base`
        // does not change.
        let base = producer.base.load(Ordering::Relaxed);
        if base < self.base || base > self.head || !base.is_multiple_of(u64::from(ALIGN)) {
            return Err(self.fail(Corruption::BasePosition));
        }
        self.tail = tail;
        self.base = base;
        Ok(true)
    }

    fn fail(&mut self, what: Corruption) -> Corrupt {
        let corrupt = Corrupt::new(what);
        self.corrupt = Some(corrupt);
        // Nothing to read from now on: every look comes to `refresh_tail`.
        self.tail = self.head;
        self.current = None;
        corrupt
    }
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
