//! The reading end of a ring, which takes everything that the writer says for hostile.

use super::{Kind, Memory, PUBLISH_PART, packets_written, record_len};
use crate::error::{Corrupt, Corruption};
use crate::layout::{ALIGN, HEADER_LEN, max_message};
use crate::sync::Ordering;

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
pub(super) struct Current {
    /// The offset of its payload.
    offset: u32,
    /// The length of its payload.
    pub(super) len: u32,
    /// It is a keepalive, which only [`Consumer::peek_record`] stops at.
    pub(super) keepalive: bool,
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
    pub(super) current: Option<Current>,
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
