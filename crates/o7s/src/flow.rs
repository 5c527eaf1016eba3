//! A flow: the handle that programs read from and write to.

mod end;
mod readiness;
mod settings;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use o7s_ring::{Limit, WaitOutcome};

use crate::{
    Error, ErrorKind, FlowFlags, Node, Pending, QosSpec, Result,
    life::{FlowInner, NO_TIMEOUT},
    link::{FlowStats, Link, too_large},
    process::{lock, process},
    view::PacketView,
};

/// A blocked call looks this often whether the peer's process is still there. It learns of its end
/// from the daemon, at once; this is for the case that the daemon is gone too.
const WAIT_SLICE: Duration = Duration::from_secs(1);

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
