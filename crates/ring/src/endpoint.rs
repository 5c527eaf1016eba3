//! One end of a flow: its sender, its receiver and its state.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::error::{Corrupt, OpenError, RingError, SendError};
use crate::layout::{CLOSED, GONE, REFUSES, Side};
use crate::ring::{Consumer, Producer, Record};
use crate::segment::{SegmentMap, SharedRing};
use crate::state::{Local, State};
use crate::sync::Ordering;

/// One end of a flow.
///
/// A side of a segment must be opened once only in its life: positions are private and begin at
/// zero.
#[derive(Debug)]
pub struct Endpoint {
    local: Arc<Local>,
}

impl Endpoint {
    /// Maps a segment as `side` of its flow.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(fd: BorrowedFd<'_>, side: Side) -> Result<Self, OpenError> {
        let map = SegmentMap::open(fd, false)?;
        Ok(Self {
            local: Arc::new(Local::new(map, side)),
        })
    }

    /// The handles, each of which may go to its own thread.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver, State) {
        let local = self.local;
        let state = State {
            local: Arc::clone(&local),
        };
        let side = state.side();
        // SAFETY: sender and receiver hold `local`, and with it the mapping, for longer than
        // their rings: `local` is declared after the ring, and fields drop in order.
        let (outgoing, incoming) =
            unsafe { (local.map().ring(side), local.map().ring(side.peer())) };
        let sender = Sender {
            ring: Producer::new(outgoing),
            local: Arc::clone(&local),
        };
        let receiver = Receiver {
            ring: Consumer::new(incoming),
            local,
        };
        (sender, receiver, state)
    }
}

/// The sending half of an endpoint.
#[derive(Debug)]
pub struct Sender {
    ring: Producer<SharedRing>,
    local: Arc<Local>,
}

impl Sender {
    /// Sends a packet, or says why not.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; never blocks.
    #[inline]
    pub fn try_send(&mut self, packet: &[u8]) -> Result<(), SendError> {
        self.check()?;
        let pushed = self.ring.push(packet);
        self.finish(pushed)
    }

    /// Sends one packet made of `parts`.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.check()?;
        let pushed = self.ring.push_parts(parts);
        self.finish(pushed)
    }

    /// Sends packets in order until one cannot be sent; publishes and wakes once, or a few times if
    /// the batch is a good part of the ring.
    ///
    /// Returns how many were sent, and why not the next.
    pub fn try_send_batch<T: AsRef<[u8]>>(&mut self, packets: &[T]) -> (usize, Option<SendError>) {
        if let Err(error) = self.check() {
            return (0, Some(error));
        }
        let mut sent = 0;
        let mut failed = None;
        for packet in packets {
            if let Err(error) = self.ring.push(packet.as_ref()) {
                failed = Some(error);
                break;
            }
            sent += 1;
            if self.ring.publish_due() {
                self.publish();
            }
        }
        if sent != 0 {
            self.publish();
        }
        if let Some(SendError::Corrupt(corrupt)) = failed {
            self.local.set_corrupt(corrupt);
        }
        (sent, failed)
    }

    /// Sends the packet or keepalive that was peeked at in `from`, which keeps it, unpublished: the
    /// peer learns of it with [`flush`](Self::flush). One copy, from ring to ring.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_forward(&mut self, from: &Receiver) -> Result<(), SendError> {
        self.check()?;
        let pushed = self.ring.push_from(&from.ring);
        if let Err(SendError::Corrupt(corrupt)) = pushed {
            self.local.set_corrupt(corrupt);
        }
        if pushed.is_ok() && self.ring.publish_due() {
            self.publish();
        }
        pushed
    }

    /// [`try_send`](Self::try_send) without publishing; an empty packet becomes a keepalive.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_stage(&mut self, packet: &[u8]) -> Result<(), SendError> {
        self.check()?;
        let pushed = if packet.is_empty() {
            self.ring.push_keepalive()
        } else {
            self.ring.push(packet)
        };
        if let Err(SendError::Corrupt(corrupt)) = pushed {
            self.local.set_corrupt(corrupt);
        }
        if pushed.is_ok() && self.ring.publish_due() {
            self.publish();
        }
        pushed
    }

    /// Publishes what was forwarded or staged, and wakes the peer once for all of it.
    #[inline]
    pub fn flush(&mut self) {
        if self.ring.unpublished() {
            self.publish();
        }
    }

    /// Sends a sign of life, which the receiver counts and does not deliver.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    pub fn try_keepalive(&mut self) -> Result<(), SendError> {
        self.check()?;
        let pushed = self.ring.push_keepalive();
        self.finish(pushed)
    }

    /// The longest packet in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.ring.max()
    }

    /// Packets that the peer has not read yet.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    pub fn queued_packets(&mut self) -> Result<u64, RingError> {
        self.local.check()?;
        let queued = self.ring.queued_packets();
        queued.inspect_err(|&corrupt| self.local.set_corrupt(corrupt))
    }

    /// Packets sent since the flow began.
    #[must_use]
    pub fn packets_written(&self) -> u64 {
        self.ring.packets()
    }

    #[inline]
    fn check(&self) -> Result<(), SendError> {
        let status = self.local.peer_status();
        if status & (CLOSED | GONE | REFUSES) != 0 {
            return Err(refusal(status));
        }
        Ok(self.local.check()?)
    }

    #[inline]
    fn finish(&mut self, pushed: Result<(), SendError>) -> Result<(), SendError> {
        match pushed {
            Ok(()) => self.publish(),
            Err(SendError::Corrupt(corrupt)) => self.local.set_corrupt(corrupt),
            Err(_) => {}
        }
        pushed
    }

    #[inline]
    fn publish(&mut self) {
        self.ring.publish();
        let mirror = &self.local.written;
        mirror.base.store(self.ring.base(), Ordering::Relaxed);
        mirror.tail.store(self.ring.tail(), Ordering::Release);
        self.local.wake_reader();
    }
}

#[cold]
fn refusal(status: u32) -> SendError {
    if status & CLOSED != 0 {
        SendError::PeerClosed
    } else if status & GONE != 0 {
        SendError::PeerGone
    } else {
        SendError::Refused
    }
}

/// What [`Receiver::try_recv`] received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recv {
    /// The bytes that were copied.
    pub copied: usize,
    /// The length of the packet; what was not copied of it is lost.
    pub total: usize,
}

/// The receiving half of an endpoint.
#[derive(Debug)]
pub struct Receiver {
    ring: Consumer<SharedRing>,
    local: Arc<Local>,
}

impl Receiver {
    /// The length of the next packet, if there is one. Keepalives are counted and skipped.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<usize>, RingError> {
        self.local.check()?;
        match self.ring.peek() {
            Ok(Some(len)) => Ok(Some(len)),
            Ok(None) => {
                if self.ring.unpublished() {
                    self.publish();
                }
                Ok(None)
            }
            Err(corrupt) => Err(self.fail(corrupt)),
        }
    }

    /// The next packet or keepalive, if there is one: for those who carry both on in their order.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    #[inline]
    pub fn peek_record(&mut self) -> Result<Option<Record>, RingError> {
        self.local.check()?;
        match self.ring.peek_record() {
            Ok(Some(record)) => Ok(Some(record)),
            Ok(None) => {
                self.flush();
                Ok(None)
            }
            Err(corrupt) => Err(self.fail(corrupt)),
        }
    }

    /// Consumes what was peeked at; the peer gets its space back with [`flush`](Self::flush), or
    /// when it is a good part of the ring.
    #[inline]
    pub fn consume_staged(&mut self) {
        self.ring.consume();
        if self.ring.publish_due() {
            self.publish();
        }
    }

    /// Gives the space of all that was consumed back to the peer, and wakes it once.
    #[inline]
    pub fn flush(&mut self) {
        if self.ring.unpublished() {
            self.publish();
        }
    }

    /// Appends the packet that was peeked at to `buf`; returns its length.
    pub fn append_to(&self, buf: &mut Vec<u8>) -> usize {
        let len = self.ring.remaining(0, usize::MAX);
        self.packet(len).append_to(buf);
        len
    }

    /// Copies bytes out of the packet that was peeked at, beginning at its byte `offset`; returns
    /// how many.
    ///
    /// The peer can change the bytes between two calls.
    #[inline]
    pub fn copy_out(&mut self, offset: usize, dst: &mut [u8]) -> usize {
        self.ring.copy_out(offset, dst)
    }

    /// The address and length of the packet that was peeked at, valid until it is consumed.
    ///
    /// The peer can write there at any time: never make a reference of it.
    #[must_use]
    pub fn peek_ptr(&self) -> Option<(*const u8, usize)> {
        self.ring.current()
    }

    /// Consumes the packet that was peeked at, if any.
    #[inline]
    pub fn consume(&mut self) {
        self.ring.consume();
        if self.ring.unpublished() {
            self.publish();
        }
    }

    /// Receives the next packet, if there is one, into `buf`; cuts off what does not fit.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    #[inline]
    pub fn try_recv(&mut self, buf: &mut [u8]) -> Result<Option<Recv>, RingError> {
        let Some(total) = self.peek()? else {
            return Ok(None);
        };
        let copied = self.ring.copy_out(0, buf);
        self.consume();
        Ok(Some(Recv { copied, total }))
    }

    /// Receives the next packet, if there is one, at the end of `buf`; returns its length.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    pub fn try_recv_vec(&mut self, buf: &mut Vec<u8>) -> Result<Option<usize>, RingError> {
        let Some(len) = self.peek()? else {
            return Ok(None);
        };
        self.packet(len).append_to(buf);
        self.consume();
        Ok(Some(len))
    }

    /// Hands up to `max` packets to `each` and gives their space back together; returns how many.
    ///
    /// # Errors
    ///
    /// The flow is corrupt and no packet was handed out.
    pub fn recv_many(
        &mut self,
        max: usize,
        mut each: impl FnMut(Packet<'_>),
    ) -> Result<usize, RingError> {
        self.local.check()?;
        let mut count = 0;
        let mut failed = None;
        while count < max {
            match self.ring.peek() {
                Ok(Some(len)) => each(self.packet(len)),
                Ok(None) => break,
                Err(corrupt) => {
                    failed = Some(self.fail(corrupt));
                    break;
                }
            }
            self.ring.consume();
            count += 1;
            if self.ring.publish_due() {
                self.publish();
            }
        }
        if self.ring.unpublished() {
            self.publish();
        }
        match failed {
            Some(corrupt) if count == 0 => Err(corrupt),
            _ => Ok(count),
        }
    }

    /// Packets that wait to be received.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    pub fn queued_packets(&self) -> Result<u64, RingError> {
        Ok(self.packets_written()? - self.ring.packets())
    }

    /// Packets that the peer has sent since the flow began.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    pub fn packets_written(&self) -> Result<u64, RingError> {
        self.local.check()?;
        let written = self.ring.packets_written();
        written.inspect_err(|&corrupt| self.local.set_corrupt(corrupt))
    }

    /// Packets received since the flow began.
    #[must_use]
    pub fn packets_read(&self) -> u64 {
        self.ring.packets()
    }

    /// Keepalives seen since the flow began.
    #[must_use]
    pub fn keepalives(&self) -> u64 {
        self.ring.keepalives()
    }

    fn packet(&self, len: usize) -> Packet<'_> {
        Packet {
            ring: &self.ring,
            len,
        }
    }

    #[inline]
    fn publish(&mut self) {
        self.ring.publish();
        let mirror = &self.local.read;
        mirror.head.store(self.ring.head(), Ordering::Relaxed);
        mirror.packets.store(self.ring.packets(), Ordering::Release);
        self.local.wake_writer();
    }

    #[cold]
    fn fail(&self, corrupt: Corrupt) -> Corrupt {
        self.local.set_corrupt(corrupt);
        corrupt
    }
}

/// A packet that still lies in the ring, where the peer can change it.
#[derive(Debug)]
pub struct Packet<'a> {
    ring: &'a Consumer<SharedRing>,
    len: usize,
}

impl Packet<'_> {
    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the payload. Never make a reference of it.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.ring
            .current()
            .map_or(std::ptr::null(), |(pointer, _)| pointer)
    }

    /// Copies bytes out, beginning at byte `offset`; returns how many.
    pub fn copy_out(&self, offset: usize, dst: &mut [u8]) -> usize {
        self.ring.copy_out(offset, dst)
    }

    /// Appends the payload to `buf`.
    pub fn append_to(&self, buf: &mut Vec<u8>) {
        let len = self.ring.remaining(0, self.len);
        buf.reserve(len);
        // SAFETY: `reserve` made room for `len` bytes after the vector's length, all of which are
        // written before the length is set.
        unsafe {
            self.ring
                .copy_out_raw(0, buf.as_mut_ptr().add(buf.len()), len);
            buf.set_len(buf.len() + len);
        }
    }
}
