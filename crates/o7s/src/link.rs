//! One end of an allocated flow: the data path of `read` and `write`.
//!
//! Only attempts are made here, never waiting; [`crate::Flow`] waits between them. Rules of
//! `spec/frcp.md` §13.1, §13.2.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use o7s_ring::{
    BellHandle, Corrupt, Endpoint, ReadWaiter, Receiver, SendError, Sender, State, WriteWaiter,
};

use crate::{
    Error, ErrorKind, FlowFlags, Node, QosSpec, Result,
    control::{FlowEnd, FlowInfo},
    doorbell::PeerBell,
    node::end_of,
    process::lock,
};

/// An open end.
pub(crate) struct Link {
    pub(crate) node: Node,
    /// Random number of the daemon that made the flow.
    pub(crate) daemon: u64,
    pub(crate) end: FlowEnd,
    pub(crate) name: String,
    pub(crate) peer_pid: i32,
    pub(crate) qos: QosSpec,
    pub(crate) state: State,
    pub(crate) reader: ReadWaiter,
    pub(crate) writer: WriteWaiter,
    pub(crate) bell: Arc<PeerBell>,
    pub(crate) slot: u32,
    pub(crate) max_packet: usize,
    tx: Mutex<Outgoing>,
    rx: Mutex<Incoming>,
    /// This end has taken the flow down.
    own_down: AtomicBool,
    /// A read has something to return that is not in the ring.
    left: AtomicBool,
}

/// The sending side.
struct Outgoing {
    sender: Sender,
    bytes: u64,
}

/// The receiving side, with what is left of a packet that was read in part.
pub(crate) struct Incoming {
    receiver: Receiver,
    /// Bytes of the front packet that have been read.
    offset: usize,
    /// Bytes put back: they come before anything in the ring.
    stash: Vec<u8>,
    /// The last read filled its buffer exactly with the end of a packet.
    end_mark: bool,
    viewed: View,
    bytes: u64,
}

/// Whether the front packet is on view.
#[derive(Default)]
enum View {
    #[default]
    None,
    /// In the ring.
    InPlace,
    /// A copy of what was left of it.
    Copy(Box<[u8]>),
}

/// What has gone over a flow, and what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowStats {
    /// Packets read whole.
    pub packets_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Packets written.
    pub packets_written: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Packets that wait to be read here.
    pub rx_queue: usize,
    /// Packets that wait to be read at the other end.
    pub tx_queue: usize,
}

impl Link {
    pub(crate) fn new(
        node: Node,
        daemon: u64,
        info: &FlowInfo,
        qos: QosSpec,
        endpoint: Endpoint,
        bell: Arc<PeerBell>,
    ) -> Self {
        let (sender, receiver, state) = endpoint.split();
        state.set_bell(Some(BellHandle {
            bell: bell.bell.clone(),
            slot: info.bell_slot,
        }));
        Self {
            node,
            daemon,
            end: end_of(info),
            name: info.name.clone(),
            peer_pid: info.peer_pid,
            qos,
            reader: state.read_waiter(),
            writer: state.write_waiter(),
            max_packet: state.max_message(),
            state,
            bell,
            slot: info.bell_slot,
            tx: Mutex::new(Outgoing { sender, bytes: 0 }),
            rx: Mutex::new(Incoming {
                receiver,
                offset: 0,
                stash: Vec::new(),
                end_mark: false,
                viewed: View::None,
                bytes: 0,
            }),
            own_down: AtomicBool::new(false),
            left: AtomicBool::new(false),
        }
    }

    /// One attempt to read into `buf`, by the rules of partial reads.
    pub(crate) fn try_read(&self, buf: &mut [u8], flags: FlowFlags) -> Result<usize> {
        let partial = !flags.contains(FlowFlags::NO_PARTIAL_READ);
        let mut rx = lock(&self.rx);
        if self.left.load(Ordering::Relaxed) && std::mem::take(&mut rx.end_mark) {
            self.note_left(&rx);
            return Ok(0);
        }
        let left = self.front(&mut rx)?;
        if left > buf.len() && !partial {
            rx.discard();
            self.note_left(&rx);
            return Err(Error::new(
                ErrorKind::MessageSize,
                format!(
                    "a packet of {left} bytes does not fit the buffer of {} bytes and partial \
                     reads are off; the packet is discarded",
                    buf.len()
                ),
            ));
        }
        let read = rx.copy(left, buf);
        rx.end_mark = partial && read == left && read == buf.len();
        self.note_left(&rx);
        rx.bytes += read as u64;
        Ok(read)
    }

    /// One attempt to read the front packet, or what is left of it, whole.
    pub(crate) fn try_read_packet(&self) -> Result<Vec<u8>> {
        let mut rx = lock(&self.rx);
        rx.end_mark = false;
        let left = self.front(&mut rx)?;
        let packet = rx.take(left);
        self.note_left(&rx);
        rx.bytes += packet.len() as u64;
        Ok(packet)
    }

    /// One attempt to read up to `max` packets, the first perhaps the rest of one, into `packets`;
    /// one lock, and one wake-up of the writer for all.
    pub(crate) fn try_read_many(&self, max: usize, packets: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut rx = lock(&self.rx);
        rx.end_mark = false;
        let left = self.front(&mut rx)?;
        let before = packets.len();
        if max > 0 && (rx.offset > 0 || !rx.stash.is_empty()) {
            packets.push(rx.take(left));
        }
        self.note_left(&rx);
        let rest = max.saturating_sub(packets.len() - before);
        let received = rx.receiver.recv_many(rest, |packet| {
            let mut bytes = Vec::new();
            packet.append_to(&mut bytes);
            packets.push(bytes);
        });
        let bytes: usize = packets[before..].iter().map(Vec::len).sum();
        rx.bytes += bytes as u64;
        // A ring that breaks after the first packets says so at the next read.
        if packets.len() == before {
            received.map(drop).map_err(broken)
        } else {
            Ok(())
        }
    }

    /// [`Link::try_read_many`] into one vector, with the lengths of the packets.
    pub(crate) fn try_read_appended(
        &self,
        max: usize,
        bytes: &mut Vec<u8>,
        lengths: &mut Vec<usize>,
    ) -> Result<()> {
        let mut rx = lock(&self.rx);
        rx.end_mark = false;
        let left = self.front(&mut rx)?;
        let (before, mut rest) = (bytes.len(), max);
        if max > 0 && (rx.offset > 0 || !rx.stash.is_empty()) {
            bytes.extend_from_slice(&rx.take(left));
            lengths.push(left);
            rest -= 1;
        }
        self.note_left(&rx);
        let received = rx.receiver.recv_many(rest, |packet| {
            let start = bytes.len();
            packet.append_to(bytes);
            lengths.push(bytes.len() - start);
        });
        rx.bytes += (bytes.len() - before) as u64;
        // A ring that breaks after the first packets says so at the next read.
        if lengths.is_empty() {
            received.map(drop).map_err(broken)
        } else {
            Ok(())
        }
    }

    /// One attempt to write `packets` in order; how many were accepted, and why not the next.
    pub(crate) fn try_write_many<T: AsRef<[u8]>>(&self, packets: &[T]) -> (usize, Option<Error>) {
        if let Some(why) = self.why_unwritable() {
            return (0, Some(why));
        }
        let mut tx = lock(&self.tx);
        let (sent, failed) = tx.sender.try_send_batch(packets);
        let bytes: usize = packets[..sent]
            .iter()
            .map(|packet| packet.as_ref().len())
            .sum();
        tx.bytes += bytes as u64;
        (sent, failed.map(not_sent))
    }

    /// The front packet where it lies: address and length. It stays there, and reads of the flow
    /// fail, until [`Link::release_view`].
    pub(crate) fn try_view(&self) -> Result<(*const u8, usize)> {
        let mut rx = lock(&self.rx);
        let left = self.front(&mut rx)?;
        rx.end_mark = false;
        if rx.offset > 0 || !rx.stash.is_empty() {
            // The rest of a packet has no place of its own.
            let rest = rx.take(left);
            rx.viewed = View::Copy(rest.into_boxed_slice());
        } else {
            rx.viewed = View::InPlace;
        }
        self.note_left(&rx);
        rx.bytes += left as u64;
        match &rx.viewed {
            View::Copy(rest) => Ok((rest.as_ptr(), rest.len())),
            _ => Ok(rx.receiver.peek_ptr().unwrap_or((std::ptr::null(), 0))),
        }
    }

    /// Gives the space of the viewed packet back.
    pub(crate) fn release_view(&self) {
        let mut rx = lock(&self.rx);
        if matches!(std::mem::take(&mut rx.viewed), View::InPlace) {
            rx.receiver.consume();
        }
    }

    /// Puts `rest` in front of everything: the next reads return it first.
    pub(crate) fn unread(&self, rest: &[u8]) {
        let mut rx = lock(&self.rx);
        rx.end_mark = false;
        rx.stash.splice(..0, rest.iter().copied());
        self.note_left(&rx);
    }

    /// Says outside the lock whether a read has something to return that is not in the ring.
    #[inline]
    fn note_left(&self, rx: &Incoming) {
        let left = rx.end_mark || !rx.stash.is_empty();
        if left != self.left.load(Ordering::Relaxed) {
            self.left.store(left, Ordering::Release);
        }
    }

    /// Length of what the next read returns; an error if there is nothing and why.
    fn front(&self, rx: &mut MutexGuard<'_, Incoming>) -> Result<usize> {
        if !matches!(rx.viewed, View::None) {
            return Err(VIEWED);
        }
        if !rx.stash.is_empty() {
            return Ok(rx.stash.len());
        }
        if let Some(length) = rx.receiver.peek().map_err(broken)? {
            return Ok(length - rx.offset);
        }
        let why = self.why_ended();
        if why.is_some()
            && let Some(length) = rx.receiver.peek().map_err(broken)?
        {
            // It came in before the end did.
            return Ok(length - rx.offset);
        }
        Err(why.unwrap_or(NOTHING_TO_READ))
    }

    /// Whether a read would not wait, as far as can be seen without the lock.
    pub(crate) fn is_readable(&self) -> bool {
        self.reader.readable() || self.left.load(Ordering::Acquire) || self.why_ended().is_some()
    }

    /// Whether a write of `length` bytes would not wait.
    pub(crate) fn is_writable(&self, length: usize) -> bool {
        self.writer.writable(length) || self.why_unwritable().is_some()
    }

    /// One attempt to write a packet.
    pub(crate) fn try_write(&self, buf: &[u8]) -> Result<usize> {
        // The sender itself looks at all else that can be in the way.
        if self.is_down() {
            return Err(self.why_unwritable().unwrap_or(FLOW_DOWN));
        }
        let mut tx = lock(&self.tx);
        let sent = if buf.is_empty() {
            tx.sender.try_keepalive()
        } else {
            tx.sender.try_send(buf)
        };
        match sent {
            Ok(()) => {
                tx.bytes += buf.len() as u64;
                Ok(buf.len())
            }
            // A keepalive that finds no room is not needed: the queue says that we live.
            Err(SendError::Full) if buf.is_empty() => Ok(0),
            Err(error) => Err(not_sent(error)),
        }
    }

    /// Whether one end has taken the flow down.
    #[inline]
    fn is_down(&self) -> bool {
        self.own_down.load(Ordering::Relaxed) || self.state.is_peer_down()
    }

    /// Why a write cannot succeed now or later, if so.
    fn why_unwritable(&self) -> Option<Error> {
        let peer = self.state.peer();
        if peer.refuses {
            return Some(REFUSED);
        }
        self.ended_by(peer.closed, peer.gone, peer.down)
    }

    /// Why nothing can come any more, if so.
    pub(crate) fn why_ended(&self) -> Option<Error> {
        let peer = self.state.peer();
        self.ended_by(peer.closed, peer.gone, peer.down)
    }

    #[inline]
    fn ended_by(&self, closed: bool, gone: bool, down: bool) -> Option<Error> {
        if !(closed || gone || down || self.own_down.load(Ordering::Relaxed) || self.is_broken()) {
            return None;
        }
        Some(if let Some(corrupt) = self.state.corrupt() {
            broken(corrupt)
        } else if closed {
            FLOW_CLOSED
        } else if gone {
            PEER_GONE
        } else if down {
            FLOW_DOWN
        } else {
            OWN_DOWN
        })
    }

    /// Whether the peer broke the ring, which downs the flow for good.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.corrupt().is_some()
    }

    /// Takes the flow down for both ends, or up again.
    pub(crate) fn set_down(&self, down: bool) {
        self.own_down.store(down, Ordering::Relaxed);
        self.state.set_down(down);
    }

    /// Packets that wait to be read here.
    pub(crate) fn rx_queue_len(&self) -> usize {
        let rx = lock(&self.rx);
        let stashed = usize::from(!rx.stash.is_empty() && rx.offset == 0);
        rx.receiver
            .queued_packets()
            .map_or(0, |queued| to_usize(queued) + stashed)
    }

    /// Packets that wait to be read at the other end.
    pub(crate) fn tx_queue_len(&self) -> usize {
        lock(&self.tx).sender.queued_packets().map_or(0, to_usize)
    }

    /// Packets that have ever arrived here, and how many of them have been read. A broken ring
    /// has no more than were read.
    pub(crate) fn arrivals(&self) -> (u64, u64) {
        let arrived = self.reader.packets_written();
        let read = self.reader.packets_read();
        (arrived.map_or(read, |arrived| arrived.max(read)), read)
    }

    pub(crate) fn stats(&self) -> FlowStats {
        let (packets_read, bytes_read) = {
            let rx = lock(&self.rx);
            (rx.receiver.packets_read(), rx.bytes)
        };
        let (packets_written, bytes_written) = {
            let tx = lock(&self.tx);
            (tx.sender.packets_written(), tx.bytes)
        };
        FlowStats {
            packets_read,
            bytes_read,
            packets_written,
            bytes_written,
            rx_queue: self.rx_queue_len(),
            tx_queue: self.tx_queue_len(),
        }
    }
}

impl Incoming {
    /// Copies as much of the front, of which `left` bytes are left, as fits `buf`.
    fn copy(&mut self, left: usize, buf: &mut [u8]) -> usize {
        let read = left.min(buf.len());
        if !self.stash.is_empty() {
            buf[..read].copy_from_slice(&self.stash[..read]);
            self.stash.drain(..read);
        } else {
            self.receiver.copy_out(self.offset, &mut buf[..read]);
            self.offset += read;
            if read == left {
                self.discard();
            }
        }
        read
    }

    /// Takes the front, of which `left` bytes are left, whole.
    fn take(&mut self, left: usize) -> Vec<u8> {
        if !self.stash.is_empty() {
            return std::mem::take(&mut self.stash);
        }
        let mut packet = Vec::new();
        if self.offset == 0 {
            // It was there a moment ago and nobody else takes it.
            let _ = self.receiver.try_recv_vec(&mut packet);
        } else {
            packet.resize(left, 0);
            self.receiver.copy_out(self.offset, &mut packet);
            self.discard();
        }
        packet
    }

    /// Drops the front.
    fn discard(&mut self) {
        if self.stash.is_empty() {
            self.receiver.consume();
            self.offset = 0;
        } else {
            self.stash.clear();
        }
    }
}

/// A packet that no flow of this kind can carry.
pub(crate) fn too_large(length: usize, max: usize) -> Error {
    Error::new(
        ErrorKind::MessageSize,
        format!(
            "cannot write a packet of {length} bytes: the flow carries at most {max} bytes; write \
             it in parts"
        ),
    )
}

/// Why a packet was not sent, in the terms of a flow.
fn not_sent(error: SendError) -> Error {
    match error {
        SendError::Full => NO_ROOM,
        SendError::TooLarge { len, max } => too_large(len, max),
        SendError::PeerClosed => FLOW_CLOSED,
        SendError::PeerGone => PEER_GONE,
        SendError::Refused => REFUSED,
        SendError::Corrupt(corrupt) => broken(corrupt),
    }
}

/// The ring is broken: the flow is down for good, with the reason.
#[cold]
fn broken(corrupt: Corrupt) -> Error {
    Error::new(
        ErrorKind::FlowDown,
        format!("the flow is down: {corrupt}; deallocate it and allocate anew"),
    )
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Errors of the hot path, made without allocating.
const fn fixed(kind: ErrorKind, message: &'static str) -> Error {
    Error::fixed(kind, message)
}

const REFUSED: Error = fixed(
    ErrorKind::Permission,
    "cannot write: the other end of the flow is write-only (its flags say so)",
);
const VIEWED: Error = fixed(
    ErrorKind::Busy,
    "cannot read: a view of the flow's front packet is open; release it first",
);
const NOTHING_TO_READ: Error = fixed(
    ErrorKind::WouldBlock,
    "nothing to read on the flow now; wait or try again",
);
const NO_ROOM: Error = fixed(
    ErrorKind::WouldBlock,
    "no room for the packet now: the other end does not read fast enough; wait or try again",
);
const FLOW_CLOSED: Error = fixed(
    ErrorKind::FlowDown,
    "the flow is down: the other end deallocated it; deallocate this end too",
);
const PEER_GONE: Error = fixed(
    ErrorKind::FlowPeer,
    "the process at the other end of the flow died; deallocate this end and allocate anew",
);
const FLOW_DOWN: Error = fixed(
    ErrorKind::FlowDown,
    "the other end took the flow down (flag Down); it may come up again",
);
const OWN_DOWN: Error = fixed(
    ErrorKind::FlowDown,
    "this end took the flow down (flag Down); set the flags without it to go on",
);
