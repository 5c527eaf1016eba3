//! A flow: the handle that programs read from and write to.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use o7s_ring::{Limit, WaitOutcome};

use crate::{
    Error, ErrorKind, FlowFlags, FrctFlags, Node, Pending, QosSpec, Result,
    life::{DEALLOCATED, FlowInner, NO_TIMEOUT, new_eventfd},
    link::{FlowStats, Link, too_large},
    process::{lock, process},
    view::PacketView,
};

/// A blocked call looks this often whether the peer's process is still there. It learns of its end
/// from the daemon, at once; this is for the case that the daemon is gone too.
const WAIT_SLICE: Duration = Duration::from_secs(1);
/// How often lingering looks at the flow although nothing arrives.
const LINGER_SLICE: Duration = Duration::from_millis(20);

/// A flow, or one that is being allocated.
///
/// Clones are the same flow; it is deallocated by [`Flow::dealloc`] or when the last clone goes.
/// All methods may be called from any thread, several at a time.
#[derive(Clone)]
pub struct Flow {
    inner: Arc<FlowInner>,
}

/// Where a flow is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowState {
    /// Asynchronous allocation goes on.
    Pending,
    /// In use.
    Allocated,
    /// The other end deallocated it, or one end took it down.
    Down,
    /// The process at the other end died.
    PeerGone,
    /// Deallocated here, or its allocation failed.
    Deallocated,
}

impl Flow {
    /// [`Node::alloc`] on the current node.
    ///
    /// # Errors
    /// As there.
    pub fn alloc(name: &str, qos: QosSpec, timeout: Option<Duration>) -> Result<Self> {
        Node::current().alloc(name, qos, timeout)
    }

    /// [`Node::accept`] on the current node.
    ///
    /// # Errors
    /// As there.
    pub fn accept(timeout: Option<Duration>) -> Result<Self> {
        Node::current().accept(timeout)
    }

    /// [`Node::join`] on the current node.
    ///
    /// # Errors
    /// As there.
    pub fn join(layer: &str, timeout: Option<Duration>) -> Result<Self> {
        Node::current().join(layer, timeout)
    }

    /// A flow whose request is still under way.
    ///
    /// Until it is answered the flow's state is [`FlowState::Pending`] and I/O fails with
    /// [`ErrorKind::InProgress`]. In a set, the outcome raises [`crate::EventKind::Alloc`] or
    /// [`crate::EventKind::Dealloc`].
    ///
    /// # Errors
    /// No descriptor or memory left.
    pub fn pending(mut request: Pending) -> Result<Self> {
        if let Some(flow) = request.try_finish()? {
            return Ok(flow);
        }
        let name = request.name().to_owned();
        let inner = Arc::new(FlowInner::new(request.node().clone(), name));
        let token = match request.fd() {
            Some(fd) => Some(
                process()
                    .doorbells()?
                    .add_request(fd, Arc::downgrade(&inner))?,
            ),
            None => None,
        };
        *lock(&inner.request) = Some((request, token));
        Ok(Self { inner })
    }

    pub(crate) fn from_link(link: Link) -> Self {
        let inner = Arc::new(FlowInner::new(link.node.clone(), link.name.clone()));
        inner.install(link);
        Self { inner }
    }

    pub(crate) fn from_inner(inner: Arc<FlowInner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<FlowInner> {
        &self.inner
    }

    /// For a pending flow, whether it is allocated now.
    ///
    /// # Errors
    /// The allocation failed.
    pub fn finish(&self) -> Result<bool> {
        self.inner.complete();
        if let Some(error) = self.inner.failure.get() {
            return Err(error.clone());
        }
        Ok(self.inner.link.get().is_some())
    }

    /// Flow descriptor: a small number from 64, lowest free first. Not a descriptor of the
    /// operating system; for that see [`Flow::fileno`].
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.inner.number
    }

    /// The daemon's flow id, 0 while the flow is pending.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.link.get().map_or(0, |link| link.end.flow_id)
    }

    /// The name that the flow was allocated to.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner
            .link
            .get()
            .map_or(&self.inner.name, |link| &link.name)
    }

    /// Pid of the process at the other end of the segment, 0 while the flow is pending.
    #[must_use]
    pub fn peer_pid(&self) -> i32 {
        self.inner.link.get().map_or(0, |link| link.peer_pid)
    }

    /// The node that the flow was allocated through.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// Where the flow is in its life.
    #[must_use]
    pub fn state(&self) -> FlowState {
        self.inner.complete();
        match self.inner.link() {
            Err(error) if error.kind() == ErrorKind::InProgress => FlowState::Pending,
            Err(_) => FlowState::Deallocated,
            Ok(link) => match link.why_ended() {
                None => FlowState::Allocated,
                Some(error) if error.kind() == ErrorKind::FlowPeer => FlowState::PeerGone,
                Some(_) => FlowState::Down,
            },
        }
    }

    /// QoS of the flow.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn qos(&self) -> Result<QosSpec> {
        Ok(self.inner.link()?.qos)
    }

    /// Largest packet in bytes.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn max_packet(&self) -> Result<usize> {
        Ok(self.inner.link()?.max_packet)
    }

    /// Reads from the front packet.
    ///
    /// A packet that is longer than `buf` is read in parts; a read that ends exactly with the
    /// packet is followed by one that returns 0. With [`FlowFlags::NO_PARTIAL_READ`] such a packet
    /// is an error. Waits at most the read timeout, not at all with
    /// [`FlowFlags::NON_BLOCKING_READ`]; signals do not interrupt it.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`], [`ErrorKind::TimedOut`], [`ErrorKind::MessageSize`];
    /// [`ErrorKind::FlowDown`] and [`ErrorKind::FlowPeer`] once all packets are read;
    /// [`ErrorKind::NotAllocated`].
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.reading(|| self.try_read(buf))
    }

    /// Reads one whole packet, or what is left of one that was read in part.
    ///
    /// # Errors
    /// As [`Flow::read`].
    pub fn read_packet(&self) -> Result<Vec<u8>> {
        self.reading(|| self.try_read_packet())
    }

    /// Reads up to `max` packets: waits for the first as [`Flow::read_packet`] does, and takes what
    /// else is there.
    ///
    /// # Errors
    /// As [`Flow::read`], with no packet read.
    pub fn read_packets(&self, max: usize) -> Result<Vec<Vec<u8>>> {
        self.reading(|| self.try_read_packets(max))
    }

    /// One attempt of [`Flow::read_packets`], whatever the flags.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there; else as [`Flow::read`].
    pub fn try_read_packets(&self, max: usize) -> Result<Vec<Vec<u8>>> {
        let inner = &*self.inner;
        let mut packets = Vec::new();
        let read = inner.link()?.try_read_many(max, &mut packets);
        inner.after_read();
        read.map(|()| packets)
    }

    /// [`Flow::try_read_packets`] that appends the packets to `bytes` and their lengths to
    /// `lengths`, which spares an allocation per packet.
    ///
    /// # Errors
    /// As there, with nothing appended.
    pub fn try_read_appended(
        &self,
        max: usize,
        bytes: &mut Vec<u8>,
        lengths: &mut Vec<usize>,
    ) -> Result<()> {
        let inner = &*self.inner;
        let read = inner.link()?.try_read_appended(max, bytes, lengths);
        inner.after_read();
        read
    }

    /// Takes the front packet as a view of where it lies, without copying, whatever the flags.
    ///
    /// Other reads of the flow fail with [`ErrorKind::Busy`] until the view is dropped. The other
    /// end can change the bytes at any time: check nothing in them twice.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there; else as [`Flow::read`].
    pub fn try_view_packet(&self) -> Result<PacketView> {
        let (address, length) = self.inner.link()?.try_view()?;
        Ok(PacketView {
            flow: self.clone(),
            address: address.expose_provenance(),
            length,
        })
    }

    fn reading<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let nonblocking = self.has_flags(FlowFlags::NON_BLOCKING_READ);
        // An attempt that would only find out what can be seen without the lock is left out.
        if nonblocking || self.inner.link()?.is_readable() {
            let first = attempt();
            if nonblocking || !would_block(&first) {
                return first;
            }
        }
        let deadline = deadline(&self.inner.read_timeout);
        loop {
            self.wait_again(deadline, |deadline| self.wait_readable(deadline))?;
            let outcome = attempt();
            if !would_block(&outcome) {
                return outcome;
            }
        }
    }

    /// One attempt of [`Flow::read`], whatever the flags.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there; else as [`Flow::read`].
    pub fn try_read(&self, buf: &mut [u8]) -> Result<usize> {
        let inner = &*self.inner;
        let read = inner.link()?.try_read(buf, inner.flags());
        inner.after_read();
        read
    }

    /// One attempt of [`Flow::read_packet`], whatever the flags.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there; else as [`Flow::read`].
    pub fn try_read_packet(&self) -> Result<Vec<u8>> {
        let inner = &*self.inner;
        let packet = inner.link()?.try_read_packet();
        inner.after_read();
        packet
    }

    /// Puts bytes back: the next reads return them first, as the rest of a packet.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn unread(&self, rest: &[u8]) -> Result<()> {
        let link = self.inner.link()?;
        link.unread(rest);
        self.inner.kick(link);
        Ok(())
    }

    /// Whether a read would not wait, as far as can be seen without a lock: for loops that look often.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.inner.link().map_or(true, Link::is_readable)
    }

    /// Waits until a read would not wait.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::Interrupted`] when a signal arrived,
    /// [`ErrorKind::NotAllocated`].
    pub fn wait_readable(&self, deadline: Option<Instant>) -> Result<()> {
        let link = self.inner.link()?;
        loop {
            let outcome = link.waiting_to_read(|| {
                link.reader.wait(
                    slice(deadline),
                    || link.is_readable(),
                    || self.inner.is_over(),
                )
            });
            if is_over(outcome, deadline, link) {
                return self.waited(outcome);
            }
        }
    }

    /// Writes one packet and returns its length.
    ///
    /// An empty packet is a sign of life that the other end never sees. Waits for room at most the
    /// write timeout, not at all with [`FlowFlags::NON_BLOCKING_WRITE`]; signals do not interrupt
    /// it.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] on a read-only flow or towards a write-only end;
    /// [`ErrorKind::MessageSize`] past [`Flow::max_packet`]; [`ErrorKind::WouldBlock`],
    /// [`ErrorKind::TimedOut`]; [`ErrorKind::FlowDown`], [`ErrorKind::FlowPeer`];
    /// [`ErrorKind::NotAllocated`].
    pub fn write(&self, buf: &[u8]) -> Result<usize> {
        let first = self.try_write(buf);
        if !would_block(&first) || self.has_flags(FlowFlags::NON_BLOCKING_WRITE) {
            return first;
        }
        let deadline = deadline(&self.inner.write_timeout);
        loop {
            self.wait_again(deadline, |deadline| self.wait_writable(buf.len(), deadline))?;
            let outcome = self.try_write(buf);
            if !would_block(&outcome) {
                return outcome;
            }
        }
    }

    /// One attempt of [`Flow::write`], whatever the flags.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if there is no room; else as [`Flow::write`].
    pub fn try_write(&self, buf: &[u8]) -> Result<usize> {
        self.writable_link()?.try_write(buf)
    }

    /// One attempt to write `packets` in order, whatever the flags, with one wake-up of the reader.
    /// Returns how many were accepted; the error says why not the next.
    pub fn try_write_packets<T: AsRef<[u8]>>(&self, packets: &[T]) -> (usize, Option<Error>) {
        let link = match self.writable_link() {
            Ok(link) => link,
            Err(error) => return (0, Some(error)),
        };
        link.try_write_many(packets)
    }

    /// The open end, if its access mode allows writing.
    fn writable_link(&self) -> Result<&Link> {
        let link = self.inner.link()?;
        if self.inner.flags().0 & FlowFlags::ACCESS_MODE.0 == FlowFlags::READ_ONLY.0 {
            return Err(READ_ONLY);
        }
        Ok(link)
    }

    /// Waits until a packet of `length` bytes can be written, or never will be.
    ///
    /// # Errors
    /// As [`Flow::wait_readable`]; [`ErrorKind::MessageSize`].
    pub fn wait_writable(&self, length: usize, deadline: Option<Instant>) -> Result<()> {
        let link = self.inner.link()?;
        if length > link.max_packet {
            return Err(too_large(length, link.max_packet));
        }
        loop {
            let outcome = link.wait_writable(length, slice(deadline), || self.inner.is_over());
            if is_over(outcome, deadline, link) {
                return self.waited(outcome);
            }
        }
    }

    fn waited(&self, outcome: WaitOutcome) -> Result<()> {
        match outcome {
            WaitOutcome::Ready => Ok(()),
            WaitOutcome::Cancelled => self.inner.link().map(drop),
            WaitOutcome::TimedOut => Err(TIMED_OUT),
            WaitOutcome::Interrupted => Err(INTERRUPTED),
        }
    }

    /// Waits on although signals arrive.
    fn wait_again(
        &self,
        deadline: Option<Instant>,
        wait: impl Fn(Option<Instant>) -> Result<()>,
    ) -> Result<()> {
        loop {
            match wait(deadline) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// Time limit of reads, none = wait for ever.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn read_timeout(&self) -> Result<Option<Duration>> {
        self.inner.link()?;
        Ok(load(&self.inner.read_timeout))
    }

    /// Sets the time limit of reads; zero = do not wait.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.inner.link()?;
        store(&self.inner.read_timeout, timeout);
        Ok(())
    }

    /// Time limit of writes, none = wait for ever.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn write_timeout(&self) -> Result<Option<Duration>> {
        self.inner.link()?;
        Ok(load(&self.inner.write_timeout))
    }

    /// Sets the time limit of writes; zero = do not wait.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.inner.link()?;
        store(&self.inner.write_timeout, timeout);
        Ok(())
    }

    /// The flags as last set, with [`FlowFlags::DOWN`] only if set here.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn flags(&self) -> Result<FlowFlags> {
        self.inner.link()?;
        Ok(self.inner.flags())
    }

    /// Replaces all flags; 16 bits are kept.
    ///
    /// The access mode is part of them: [`FlowFlags::NON_BLOCKING`] alone makes the flow
    /// read-only. [`FlowFlags::WRITE_ONLY`] forbids the other end to write, [`FlowFlags::DOWN`]
    /// takes the flow down for both until it is cleared.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_flags(&self, flags: FlowFlags) -> Result<()> {
        let link = self.inner.link()?;
        let flags = FlowFlags(flags.0 & 0xffff);
        self.inner.flags.store(flags.0, Ordering::Relaxed);
        let access = flags.0 & FlowFlags::ACCESS_MODE.0;
        link.state.set_refuse(access == FlowFlags::WRITE_ONLY.0);
        link.set_down(flags.contains(FlowFlags::DOWN));
        self.inner.kick(link);
        Ok(())
    }

    /// FRCP flags.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] on a flow without FRCP.
    pub fn frct_flags(&self) -> Result<FrctFlags> {
        Ok(self.frcp_link()?.frct_flags())
    }

    /// Sets the FRCP flags that the user may set: [`FrctFlags::RES_CNTL`] and
    /// [`FrctFlags::LINGER`]; [`FrctFlags::RETRANSMIT`] stays as the QoS says.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] on a flow without FRCP.
    pub fn set_frct_flags(&self, flags: FrctFlags) -> Result<()> {
        self.frcp_link()?.set_frct_flags(flags);
        Ok(())
    }

    /// The open end, if its QoS asked for FRCP.
    fn frcp_link(&self) -> Result<&Link> {
        let link = self.inner.link()?;
        if link.qos.needs_frcp() {
            Ok(link)
        } else {
            Err(NO_FRCP)
        }
    }

    /// Name in the certificate with which the other end proved who it is; empty if it did not.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn peer_name(&self) -> Result<&str> {
        Ok(&self.inner.link()?.peer_name)
    }

    /// Packets that wait to be read here.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn rx_queue_len(&self) -> Result<usize> {
        Ok(self.inner.link()?.rx_queue_len())
    }

    /// Packets that wait to be read at the other end.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn tx_queue_len(&self) -> Result<usize> {
        Ok(self.inner.link()?.tx_queue_len())
    }

    /// What has gone over the flow, and what waits.
    #[must_use]
    pub fn stats(&self) -> FlowStats {
        self.inner
            .link
            .get()
            .map(|link| link.stats())
            .unwrap_or_default()
    }

    /// Ends the flow here. The other end reads what was written and then learns of it; threads
    /// that wait on the flow in this process return with an error.
    ///
    /// A reliable flow over a layer waits until the other end has acknowledged everything, unless
    /// [`FrctFlags::LINGER`] is off; see [`Flow::linger`].
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`] if that has been done already.
    pub fn dealloc(&self) -> Result<()> {
        self.inner.check_fork()?;
        loop {
            match self.linger(None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return self.start_dealloc(),
            }
        }
    }

    /// Waits until the other end has acknowledged everything that was written, or never will; at
    /// once on flows that do not retransmit, and on those whose ends share their memory: what was
    /// written there cannot be lost.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::Interrupted`] when a signal arrived,
    /// [`ErrorKind::NotAllocated`].
    pub fn linger(&self, deadline: Option<Instant>) -> Result<()> {
        let link = self.inner.link()?;
        let Some(limit) = link.linger_limit() else {
            return Ok(());
        };
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        while link.must_linger() {
            let ready = || link.reader.readable() || link.why_ended().is_some();
            let slice = until.min(Instant::now() + LINGER_SLICE);
            match link
                .reader
                .wait(Some(slice), ready, || self.inner.is_over())
            {
                WaitOutcome::Cancelled => return self.inner.link().map(drop),
                WaitOutcome::Interrupted => return Err(INTERRUPTED),
                WaitOutcome::TimedOut if Instant::now() >= until => {
                    return if until == limit {
                        Ok(())
                    } else {
                        Err(TIMED_OUT)
                    };
                }
                WaitOutcome::Ready | WaitOutcome::TimedOut => {}
            }
        }
        Ok(())
    }

    /// [`Flow::dealloc`] that does not wait: what is not yet acknowledged is looked after by a
    /// thread of the library, as long as the process lives.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`] if that has been done already.
    pub fn start_dealloc(&self) -> Result<()> {
        self.inner.check_fork()?;
        if self.inner.end() {
            Ok(())
        } else {
            Err(DEALLOCATED)
        }
    }

    /// A descriptor of the operating system for `poll` and its like: readable while a read would
    /// not wait. Made at the first call; lives as long as the flow object.
    ///
    /// # Errors
    /// The flow is not allocated; no descriptor left.
    pub fn fileno(&self) -> Result<BorrowedFd<'_>> {
        let link = self.inner.link()?;
        if self.inner.watch.eventfd.get().is_none() {
            let fd = new_eventfd()?;
            // Lost races drop their descriptor again.
            let _ = self.inner.watch.eventfd.set(fd);
            self.inner.be_heard()?;
            self.inner.refresh_eventfd(link);
        }
        match self.inner.watch.eventfd.get() {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(DEALLOCATED),
        }
    }

    /// Wakes `waker` when a read may succeed; true if one may already.
    ///
    /// # Errors
    /// The flow is not allocated.
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "used by async functions")
    )]
    pub(crate) fn wake_readable(&self, waker: &Waker) -> Result<bool> {
        self.inner.link()?;
        self.inner.be_heard()?;
        self.arm_readable(waker)
    }

    /// [`Flow::wake_readable`] for somebody who hears the doorbells himself.
    pub(crate) fn arm_readable(&self, waker: &Waker) -> Result<bool> {
        let link = self.inner.link()?;
        enlist(&self.inner.watch.readers, waker);
        Ok(link
            .reader
            .arm_bell(|| link.is_readable() || self.inner.is_over()))
    }

    /// Wakes `waker` when a packet of `length` bytes may be written; true if it may already.
    ///
    /// # Errors
    /// The flow is not allocated.
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "used by async functions")
    )]
    pub(crate) fn wake_writable(&self, length: usize, waker: &Waker) -> Result<bool> {
        self.inner.link()?;
        self.inner.be_heard()?;
        self.arm_writable(length, waker)
    }

    /// [`Flow::wake_writable`] for somebody who hears the doorbells himself.
    pub(crate) fn arm_writable(&self, length: usize, waker: &Waker) -> Result<bool> {
        let link = self.inner.link()?;
        if length > link.max_packet {
            return Err(too_large(length, link.max_packet));
        }
        enlist(&self.inner.watch.writers, waker);
        Ok(link.arm_writable(length, || self.inner.is_over()))
    }

    fn has_flags(&self, flags: FlowFlags) -> bool {
        self.inner.flags().contains(flags)
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("fd", &self.fd())
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Flow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Flow {}

/// Adds a waker unless it waits already: whoever gives up waiting leaves it there.
fn enlist(waiting: &Mutex<Vec<Waker>>, waker: &Waker) {
    let mut waiting = lock(waiting);
    if !waiting.iter().any(|known| known.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}

/// A part of a long wait, after which the peer's process is looked for. One without a deadline
/// costs no look at the clock.
fn slice(deadline: Option<Instant>) -> Limit {
    match deadline {
        None => Limit::Within(WAIT_SLICE),
        Some(deadline) => Limit::At(deadline.min(Instant::now() + WAIT_SLICE)),
    }
}

/// Whether a wait is over; looks for the peer if only its slice is.
fn is_over(outcome: WaitOutcome, deadline: Option<Instant>, link: &Link) -> bool {
    let over = outcome != WaitOutcome::TimedOut
        || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if !over {
        link.check_peer();
    }
    over
}

fn would_block<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn load(timeout: &AtomicU64) -> Option<Duration> {
    let nanos = timeout.load(Ordering::Relaxed);
    (nanos != NO_TIMEOUT).then(|| Duration::from_nanos(nanos))
}

fn store(slot: &AtomicU64, timeout: Option<Duration>) {
    let nanos = timeout.map_or(NO_TIMEOUT, |timeout| {
        u64::try_from(timeout.as_nanos()).unwrap_or(NO_TIMEOUT)
    });
    slot.store(nanos, Ordering::Relaxed);
}

/// The deadline of a call that starts now; a limit past the clock's end is none.
fn deadline(timeout: &AtomicU64) -> Option<Instant> {
    load(timeout).and_then(|timeout| Instant::now().checked_add(timeout))
}

const TIMED_OUT: Error = Error::fixed(
    ErrorKind::TimedOut,
    "the time limit of the flow's read or write passed",
);
const INTERRUPTED: Error = Error::fixed(ErrorKind::Interrupted, "interrupted by a signal");
const READ_ONLY: Error = Error::fixed(
    ErrorKind::Permission,
    "cannot write: the flow is read-only; set flags that include ReadWrite",
);
const NO_FRCP: Error = Error::fixed(
    ErrorKind::Permission,
    "the flow has no FRCP: its QoS did not ask for it",
);
