//! One end of an allocated flow: the data path of `read` and `write`.
//!
//! Only attempts are made here, never waiting; [`crate::Flow`] waits between them. Rules of
//! `spec/frcp.md` §13.1, §13.2.
//!
//! ```text
//! program ── Link ─┬─────────────────────── Plain ── ring    raw, and reliable between two
//!                  │                                         processes that share the segment
//!                  ├────────────── Guard ────────── ring    encrypted, CRC
//!                  └── Engine (FRCP) ── Guard ───── ring    ordered or reliable over a layer
//! ```

mod engine;
mod guard;
mod open;
mod reason;
mod sink;
mod source;
mod tend;
#[cfg(test)]
mod tests;
mod vigil;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
};

use o7s_ring::{ReadWaiter, State, WriteWaiter};

use crate::{
    Error, ErrorKind, FlowFlags, Node, QosSpec, Result, control::FlowEnd, doorbell::PeerBell,
    process::lock, service::Alarm,
};

use self::{
    engine::Engine,
    guard::Guard,
    reason::{FLOW_DOWN, NOTHING_TO_READ, VIEWED, broken},
    sink::Sink,
    source::Source,
    vigil::Vigil,
};
pub(crate) use self::{reason::too_large, tend::Remains};

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
    /// Longest message that can be written.
    pub(crate) max_packet: usize,
    pub(crate) alarm: Arc<Alarm>,
    /// Name with which the other end authenticated itself.
    pub(crate) peer_name: String,
    guard: Arc<Guard>,
    /// FRCP, if this flow runs it.
    engine: Option<Arc<Engine>>,
    /// Packets of a guarded flow that were read or dropped.
    opened: Option<Arc<AtomicU64>>,
    vigil: Option<Vigil>,
    frct_flags: AtomicU16,
    /// The service thread hears doorbells for this flow.
    is_heard: AtomicBool,
    /// The doorbell's other end was found closed: the peer's process is gone.
    vanished: AtomicBool,
    tx: Mutex<Outgoing>,
    rx: Mutex<Incoming>,
    /// This end has taken the flow down.
    own_down: AtomicBool,
    /// A read has something to return that is not in the ring.
    left: AtomicBool,
}

/// The sending side.
struct Outgoing {
    sink: Sink,
    bytes: u64,
}

/// The receiving side, with what is left of a packet that was read in part.
pub(crate) struct Incoming {
    source: Source,
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
    /// Packets that wait to be read at the other end, or to be acknowledged by it.
    pub tx_queue: usize,
    /// Packets that arrived damaged or forged and were dropped.
    pub packets_discarded: u64,
}

impl Link {
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
        let received = rx.source.recv_many(rest, |packet| {
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
        let received = rx.source.recv_many(rest, |packet| {
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
        let (sent, failed) = tx.sink.try_send_batch(packets);
        let bytes: usize = packets[..sent]
            .iter()
            .map(|packet| packet.as_ref().len())
            .sum();
        tx.bytes += bytes as u64;
        drop(tx);
        (sent, failed.map(|error| self.or_ended(error)))
    }

    /// The front packet where it lies: address and length. It stays there, and reads of the flow
    /// fail, until [`Link::release_view`].
    pub(crate) fn try_view(&self) -> Result<(*const u8, usize)> {
        let mut rx = lock(&self.rx);
        let left = self.front(&mut rx)?;
        rx.end_mark = false;
        let in_place = match rx.source.peek_ptr() {
            Some(place) if rx.offset == 0 && rx.stash.is_empty() => Some(place),
            _ => None,
        };
        let place = if let Some(place) = in_place {
            rx.viewed = View::InPlace;
            place
        } else {
            // The rest of a packet, or one that was decrypted, has no place in the ring.
            let rest = rx.take(left);
            rx.viewed = View::Copy(rest.into_boxed_slice());
            match &rx.viewed {
                View::Copy(rest) => (rest.as_ptr(), rest.len()),
                _ => (std::ptr::null(), 0),
            }
        };
        self.note_left(&rx);
        rx.bytes += left as u64;
        Ok(place)
    }

    /// Gives the space of the viewed packet back.
    pub(crate) fn release_view(&self) {
        let mut rx = lock(&self.rx);
        if matches!(std::mem::take(&mut rx.viewed), View::InPlace) {
            rx.source.consume();
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
        let left = rx.end_mark || !rx.stash.is_empty() || rx.source.holds_front();
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
        if let Some(length) = rx.source.peek().map_err(broken)? {
            return Ok(length - rx.offset);
        }
        let why = self.why_ended();
        if why.is_some()
            && let Some(length) = rx.source.peek().map_err(broken)?
        {
            // It came in before the end did.
            return Ok(length - rx.offset);
        }
        Err(why.unwrap_or(NOTHING_TO_READ))
    }

    /// Whether a read would not wait, as far as can be seen without the lock.
    pub(crate) fn is_readable(&self) -> bool {
        let has_message = |engine: &Arc<Engine>| engine.is_readable();
        self.reader.readable()
            || self.left.load(Ordering::Acquire)
            || self.engine.as_ref().is_some_and(has_message)
            || self.why_ended().is_some()
    }

    /// Whether a write of `length` bytes would not wait.
    pub(crate) fn is_writable(&self, length: usize) -> bool {
        let has_room = match &self.engine {
            None => self.writer.writable(length + self.guard.overhead()),
            Some(engine) => engine.is_writable(length),
        };
        has_room || self.why_unwritable().is_some()
    }

    /// One attempt to write a packet.
    pub(crate) fn try_write(&self, buf: &[u8]) -> Result<usize> {
        // The sink itself looks at all else that can be in the way.
        if self.is_down() {
            return Err(self.why_unwritable().unwrap_or(FLOW_DOWN));
        }
        if buf.len() > self.max_packet {
            return Err(too_large(buf.len(), self.max_packet));
        }
        // FRCP would keep the message for an end that nobody reads.
        if self.engine.is_some()
            && let Some(why) = self.why_unwritable()
        {
            return Err(why);
        }
        let mut tx = lock(&self.tx);
        let sent = if buf.is_empty() {
            tx.sink.try_keepalive()
        } else {
            tx.sink.try_send(buf)
        };
        match sent {
            Ok(()) => {
                tx.bytes += buf.len() as u64;
                Ok(buf.len())
            }
            // A keepalive that finds no room is not needed: the queue says that we live.
            Err(error) if buf.is_empty() && error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => {
                drop(tx);
                Err(self.or_ended(error))
            }
        }
    }

    /// The error, or what is behind it if there will never be room.
    #[cold]
    fn or_ended(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::WouldBlock
            && let Some(why) = self.why_unwritable()
        {
            return why;
        }
        error
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
        rx.source.queued() + stashed
    }

    /// Packets that wait to be read at the other end.
    pub(crate) fn tx_queue_len(&self) -> usize {
        lock(&self.tx).sink.queued()
    }

    /// Packets that have ever arrived here, and how many of them have been read. A broken ring
    /// has no more than were read.
    pub(crate) fn arrivals(&self) -> (u64, u64) {
        if let Some(engine) = &self.engine {
            engine.pump();
            return engine.counts();
        }
        let read = match &self.opened {
            None => self.reader.packets_read(),
            Some(opened) => opened.load(Ordering::Acquire),
        };
        let arrived = self.reader.packets_written();
        (arrived.map_or(read, |arrived| arrived.max(read)), read)
    }

    pub(crate) fn stats(&self) -> FlowStats {
        let (packets_read, bytes_read) = {
            let rx = lock(&self.rx);
            (rx.source.packets_read(), rx.bytes)
        };
        let (packets_written, bytes_written) = {
            let tx = lock(&self.tx);
            (tx.sink.packets_written(), tx.bytes)
        };
        FlowStats {
            packets_read,
            bytes_read,
            packets_written,
            bytes_written,
            rx_queue: self.rx_queue_len(),
            tx_queue: self.tx_queue_len(),
            packets_discarded: self.guard.discarded(),
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
            self.source.copy_out(self.offset, &mut buf[..read]);
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
        if self.offset == 0 {
            return self.source.take();
        }
        let mut packet = vec![0; left];
        self.source.copy_out(self.offset, &mut packet);
        self.discard();
        packet
    }

    /// Drops the front.
    fn discard(&mut self) {
        if self.stash.is_empty() {
            self.source.consume();
            self.offset = 0;
        } else {
            self.stash.clear();
        }
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
