//! The writing end of a ring.

use super::{Kind, Memory, PUBLISH_PART, record_len};
use crate::error::{Corrupt, Corruption, SendError};
use crate::layout::{ALIGN, HEADER_LEN, REWIND_AFTER, REWIND_RETRY, max_message};
use crate::ring::Consumer;
use crate::sync::Ordering;

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
