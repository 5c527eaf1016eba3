//! The state of a flow as one endpoint sees it, and waiting for it to change.

use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::bell::BellHandle;
use crate::error::{Corrupt, Corruption};
use crate::layout::{CLOSED, Direction, GONE, HEADER_LEN, REFUSES, Side, SideState, max_message};
use crate::ring::fits;
use crate::segment::SegmentMap;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::wait::{self, Limit, Spin, SystemFutex, WaitOutcome};

/// What all handles of one endpoint share. All but the map is private to the process.
#[derive(Debug)]
pub(crate) struct Local {
    map: SegmentMap,
    side: Side,
    /// What the receiver has done, for those who do not hold it.
    pub(crate) read: ReadMirror,
    /// What the sender has done, for those who do not hold it.
    pub(crate) written: WriteMirror,
    /// A [`Corruption`], or 0.
    corrupt: AtomicU8,
    /// Our `down` word; the one in the segment is a copy.
    down: Mutex<u32>,
    bell: RwLock<Option<BellHandle>>,
    /// The peer asked for its bell when we had none.
    bell_missed: AtomicU32,
    read_spin: Spin,
    write_spin: Spin,
}

/// The receiver's position and count.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReadMirror {
    pub(crate) head: AtomicU64,
    pub(crate) packets: AtomicU64,
}

/// The sender's positions.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WriteMirror {
    pub(crate) tail: AtomicU64,
    pub(crate) base: AtomicU64,
}

impl Local {
    pub(crate) fn new(map: SegmentMap, side: Side) -> Self {
        Self {
            map,
            side,
            read: ReadMirror::default(),
            written: WriteMirror::default(),
            corrupt: AtomicU8::new(0),
            down: Mutex::new(0),
            bell: RwLock::new(None),
            bell_missed: AtomicU32::new(0),
            read_spin: Spin::new(),
            write_spin: Spin::new(),
        }
    }

    pub(crate) fn map(&self) -> &SegmentMap {
        &self.map
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// The control words of the direction in which we send.
    pub(crate) fn outgoing(&self) -> &Direction {
        &self.map.control().directions[self.side.index()]
    }

    /// The control words of the direction in which we receive.
    pub(crate) fn incoming(&self) -> &Direction {
        &self.map.control().directions[self.side.peer().index()]
    }

    fn own(&self) -> &SideState {
        &self.map.control().sides[self.side.index()]
    }

    /// The status bits of the peer.
    #[inline]
    pub(crate) fn peer_status(&self) -> u32 {
        // Sync point: what the peer published before it closed is visible from here on.
        self.map.control().sides[self.side.peer().index()]
            .status
            .load(Ordering::Acquire)
    }

    /// The corruption that was found in this flow, if any.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Corrupt> {
        match self.corrupt.load(Ordering::Relaxed) {
            0 => Ok(()),
            code => Err(Corrupt::new(
                Corruption::from_u8(code).unwrap_or(Corruption::RecordKind),
            )),
        }
    }

    /// Downs the flow for good.
    #[cold]
    pub(crate) fn set_corrupt(&self, corrupt: Corrupt) {
        let first = self.corrupt.compare_exchange(
            0,
            corrupt.what as u8,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if first.is_ok() {
            self.kick();
        }
    }

    /// Wakes a peer that waits for data, after publishing some.
    #[inline]
    pub(crate) fn wake_reader(&self) {
        if wait::wake(&self.outgoing().reader.word, &SystemFutex) {
            self.ring_bell();
        }
    }

    /// Wakes a peer that waits for space, after publishing some.
    #[inline]
    pub(crate) fn wake_writer(&self) {
        if wait::wake(&self.incoming().writer.word, &SystemFutex) {
            self.ring_bell();
        }
    }

    /// Wakes the peer whatever it waits for, after a change of our state.
    fn wake_peer(&self) {
        let data = wait::wake(&self.outgoing().reader.word, &SystemFutex);
        let space = wait::wake(&self.incoming().writer.word, &SystemFutex);
        if data || space {
            self.ring_bell();
        }
    }

    /// Wakes the threads of this process that wait on the flow.
    fn kick(&self) {
        wait::kick(&self.incoming().reader.word, &SystemFutex);
        wait::kick(&self.outgoing().writer.word, &SystemFutex);
    }

    #[cold]
    fn ring_bell(&self) {
        let bell = self.bell.read().unwrap_or_else(PoisonError::into_inner);
        match &*bell {
            Some(bell) => bell.ring(),
            // Under the lock, so that `set_bell` does not miss it.
            None => self.bell_missed.store(1, Ordering::Relaxed),
        }
    }

    fn set_bell(&self, bell: Option<BellHandle>) {
        let mut current = self.bell.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = &bell
            && self.bell_missed.swap(0, Ordering::Relaxed) != 0
        {
            bell.ring();
        }
        *current = bell;
    }
}

/// What one side knows of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerState {
    /// The peer has deallocated the flow.
    pub closed: bool,
    /// The peer's process is dead.
    pub gone: bool,
    /// The peer has set the flow down.
    pub down: bool,
    /// Changes with each change of `down`, so that none is overlooked.
    pub down_epoch: u32,
    /// The peer does not read: sending to it is refused.
    pub refuses: bool,
}

/// The state of a flow, seen and set by one endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) local: Arc<Local>,
}

impl State {
    /// Which end this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.local.side
    }

    /// The bytes per direction.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.local.capacity()
    }

    /// The longest packet in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        max_message(self.local.capacity())
    }

    /// The state of the other end.
    ///
    /// A receiver that sees `closed` or `gone` here and then finds its ring empty has received
    /// everything that the peer ever sent.
    #[must_use]
    pub fn peer(&self) -> PeerState {
        let status = self.local.peer_status();
        let down = self.local.map().control().sides[self.local.side.peer().index()]
            .down
            .load(Ordering::Acquire);
        PeerState {
            closed: status & CLOSED != 0,
            gone: status & GONE != 0,
            down: down & 1 != 0,
            down_epoch: down,
            refuses: status & REFUSES != 0,
        }
    }

    /// Whether the other end has set the flow down.
    #[inline]
    #[must_use]
    pub fn is_peer_down(&self) -> bool {
        let side = self.local.side.peer().index();
        self.local.map().control().sides[side]
            .down
            .load(Ordering::Acquire)
            & 1
            != 0
    }

    /// Tells the peer that this end is deallocated; wakes it, and the threads of this process
    /// that wait on the flow.
    pub fn close(&self) {
        self.set_status(CLOSED, true);
        self.local.kick();
    }

    /// Sets the flow down or up (`FLOWFDOWN`); the peer sees each change.
    pub fn set_down(&self, down: bool) {
        let mut word = self
            .local
            .down
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if (*word & 1 != 0) == down {
            return;
        }
        *word = word.wrapping_add(1);
        self.local.own().down.store(*word, Ordering::Release);
        self.local.wake_peer();
    }

    /// True if this end has set the flow down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        *self
            .local
            .down
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            & 1
            != 0
    }

    /// Forbids the peer to send, or allows it again.
    pub fn set_refuse(&self, refuse: bool) {
        self.set_status(REFUSES, refuse);
    }

    fn set_status(&self, bit: u32, on: bool) {
        let status = &self.local.own().status;
        // Sync point: what we sent before is visible to a peer that sees the bit.
        let old = if on {
            status.fetch_or(bit, Ordering::AcqRel)
        } else {
            status.fetch_and(!bit, Ordering::AcqRel)
        };
        if (old & bit != 0) != on {
            self.local.wake_peer();
        }
    }

    /// The corruption that was found, if any. It stays.
    #[must_use]
    pub fn corrupt(&self) -> Option<Corrupt> {
        self.local.check().err()
    }

    /// Wakes the threads of this process that wait on the flow, so that they look at their
    /// conditions again.
    pub fn kick(&self) {
        self.local.kick();
    }

    /// Sets how to ring the peer's doorbell. If the peer has asked for it before, it is rung now.
    pub fn set_bell(&self, bell: Option<BellHandle>) {
        self.local.set_bell(bell);
    }

    /// What threads that wait for packets need.
    #[must_use]
    pub fn read_waiter(&self) -> ReadWaiter {
        ReadWaiter {
            local: Arc::clone(&self.local),
        }
    }

    /// What threads that wait for space need.
    #[must_use]
    pub fn write_waiter(&self) -> WriteWaiter {
        WriteWaiter {
            local: Arc::clone(&self.local),
        }
    }
}

/// Waits for packets, without holding the [`Receiver`](crate::Receiver). Cheap to clone.
///
/// Changes of the peer's state wake it as well, so a `ready` predicate can also look at
/// [`State::peer`].
#[derive(Debug, Clone)]
pub struct ReadWaiter {
    local: Arc<Local>,
}

impl ReadWaiter {
    /// True if the receiver has something to look at: records, or a corruption.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> bool {
        let tail = self.local.incoming().producer.tail.load(Ordering::Acquire);
        tail != self.local.read.head.load(Ordering::Relaxed) || self.local.check().is_err()
    }

    /// Where the peer will write next, in bytes since the flow began: it changes with everything
    /// that the peer sends, keepalives included. A sign of life, nothing more: not checked.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.local.incoming().producer.tail.load(Ordering::Acquire)
    }

    /// Bytes of the ring that records not yet consumed take up, as far as the peer tells the truth.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let head = self.local.read.head.load(Ordering::Relaxed);
        self.position()
            .saturating_sub(head)
            .min(u64::from(self.local.capacity()))
    }

    /// Data packets that were consumed since the flow began.
    #[must_use]
    pub fn packets_read(&self) -> u64 {
        self.local.read.packets.load(Ordering::Acquire)
    }

    /// Data packets that the peer has written since the flow began: at least as many as were
    /// consumed.
    ///
    /// # Errors
    ///
    /// The flow is corrupt.
    pub fn packets_written(&self) -> Result<u64, Corrupt> {
        self.local.check()?;
        // The writer's count first: packets that are read in between must not make it too large.
        let written = self
            .local
            .incoming()
            .producer
            .packets
            .load(Ordering::Acquire);
        let read = self.packets_read();
        if written <= read {
            return Ok(read);
        }
        // Our count is stored after the space was given back, so it may lag by a full ring.
        if written - read > u64::from(2 * (self.local.capacity() / HEADER_LEN)) {
            let corrupt = Corrupt::new(Corruption::PacketCount);
            self.local.set_corrupt(corrupt);
            return Err(corrupt);
        }
        Ok(written)
    }

    /// Waits until `ready` holds: spins for a while, then sleeps.
    ///
    /// `ready` and `cancel` are called many times and should be cheap; when both hold, `ready`
    /// wins. A change of what `cancel` looks at needs a [`State::kick`].
    pub fn wait(
        &self,
        limit: impl Into<Limit>,
        ready: impl Fn() -> bool,
        cancel: impl Fn() -> bool,
    ) -> WaitOutcome {
        let word = &self.local.incoming().reader.word;
        wait_on(word, &self.local.read_spin, limit.into(), ready, cancel)
    }

    /// Asks the peer to ring the doorbell once, at the next packet or change of state. Returns
    /// true, and asks for nothing, if `ready` holds already.
    #[must_use]
    pub fn arm_bell(&self, ready: impl Fn() -> bool) -> bool {
        wait::arm_bell(&self.local.incoming().reader.word, ready)
    }

    /// Takes back [`arm_bell`](Self::arm_bell); a ring may be on its way.
    pub fn disarm_bell(&self) {
        wait::disarm_bell(&self.local.incoming().reader.word);
    }
}

/// Waits for space, without holding the [`Sender`](crate::Sender). Cheap to clone.
///
/// Changes of the peer's state wake it as well, so a `ready` predicate should also look at
/// [`State::peer`].
#[derive(Debug, Clone)]
pub struct WriteWaiter {
    local: Arc<Local>,
}

impl WriteWaiter {
    /// Where this end will write next, in bytes since the flow began: it changes with everything
    /// that is sent, keepalives included.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.local.written.tail.load(Ordering::Acquire)
    }

    /// True if a packet of `len` bytes fits into the ring now, or trying it gives an error.
    #[inline]
    #[must_use]
    pub fn writable(&self, len: usize) -> bool {
        let written = &self.local.written;
        let head = self.local.outgoing().consumer.head.load(Ordering::Acquire);
        fits(
            self.local.capacity(),
            written.tail.load(Ordering::Acquire),
            written.base.load(Ordering::Acquire),
            head,
            len,
        ) || self.local.check().is_err()
            || len > max_message(self.local.capacity())
    }

    /// Waits until `ready` holds; see [`ReadWaiter::wait`].
    pub fn wait(
        &self,
        limit: impl Into<Limit>,
        ready: impl Fn() -> bool,
        cancel: impl Fn() -> bool,
    ) -> WaitOutcome {
        let word = &self.local.outgoing().writer.word;
        wait_on(word, &self.local.write_spin, limit.into(), ready, cancel)
    }

    /// Asks the peer to ring the doorbell once, when it next reads or changes state. Returns
    /// true, and asks for nothing, if `ready` holds already.
    #[must_use]
    pub fn arm_bell(&self, ready: impl Fn() -> bool) -> bool {
        wait::arm_bell(&self.local.outgoing().writer.word, ready)
    }

    /// Takes back [`arm_bell`](Self::arm_bell); a ring may be on its way.
    pub fn disarm_bell(&self) {
        wait::disarm_bell(&self.local.outgoing().writer.word);
    }
}

fn wait_on(
    word: &AtomicU32,
    spin: &Spin,
    limit: Limit,
    ready: impl Fn() -> bool,
    cancel: impl Fn() -> bool,
) -> WaitOutcome {
    if ready() {
        return WaitOutcome::Ready;
    }
    if cancel() {
        return WaitOutcome::Cancelled;
    }
    if spin.until(limit, || ready() || cancel()) && ready() {
        return WaitOutcome::Ready;
    }
    wait::park(word, &SystemFutex, limit, ready, cancel)
}
