//! Where a flow's packets come from: the ring as they are, the ring through the guard, or FRCP.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use o7s_ring::{Corrupt, Packet, Receiver};

use super::{engine::Engine, guard::Guard, to_usize};

/// The receiving side of a flow, one packet after the other.
pub(super) enum Source {
    /// Packets lie in the ring as the reader gets them.
    Plain(Receiver),
    /// Packets are checked and decrypted first.
    Guarded(Guarded),
    /// Packets are those of FRCP; messages come out of it.
    Frcp {
        engine: Arc<Engine>,
        /// The message at the front, taken from FRCP.
        front: Vec<u8>,
        /// Whether there is one.
        present: bool,
    },
}

/// A ring whose packets must be opened.
pub(super) struct Guarded {
    receiver: Receiver,
    guard: Arc<Guard>,
    /// A packet as it came out of the ring.
    packet: Vec<u8>,
    /// Where it is decrypted.
    plain: Vec<u8>,
    /// The front packet.
    front: Vec<u8>,
    present: bool,
    /// Packets that were read or dropped.
    done: Arc<AtomicU64>,
}

/// A packet that is about to be taken.
pub(super) enum Front<'a> {
    /// In the ring.
    Ring(Packet<'a>),
    /// In memory of this process.
    Bytes(&'a [u8]),
}

impl Front<'_> {
    /// Appends the packet to `bytes`.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Ring(packet) => packet.append_to(bytes),
            Self::Bytes(packet) => bytes.extend_from_slice(packet),
        }
    }
}

impl Source {
    pub(super) fn guarded(receiver: Receiver, guard: Arc<Guard>, done: Arc<AtomicU64>) -> Self {
        Self::Guarded(Guarded {
            receiver,
            guard,
            packet: Vec::new(),
            plain: Vec::new(),
            front: Vec::new(),
            present: false,
            done,
        })
    }

    pub(super) fn frcp(engine: Arc<Engine>) -> Self {
        Self::Frcp {
            engine,
            front: Vec::new(),
            present: false,
        }
    }

    /// The length of the front packet, if there is one.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Option<usize>, Corrupt> {
        match self {
            Self::Plain(receiver) => receiver.peek(),
            Self::Guarded(guarded) => guarded.peek(),
            Self::Frcp {
                engine,
                front,
                present,
            } => {
                if !*present {
                    *present = engine.next_message(front)?;
                }
                Ok(present.then_some(front.len()))
            }
        }
    }

    /// Copies bytes of the front packet from `offset`; returns how many.
    #[inline]
    pub(super) fn copy_out(&mut self, offset: usize, dst: &mut [u8]) -> usize {
        let bytes = match self {
            Self::Plain(receiver) => return receiver.copy_out(offset, dst),
            Self::Guarded(guarded) => &guarded.front,
            Self::Frcp { front, .. } => front,
        };
        let rest = bytes.get(offset..).unwrap_or_default();
        let copied = rest.len().min(dst.len());
        dst[..copied].copy_from_slice(&rest[..copied]);
        copied
    }

    /// Drops the front packet.
    #[inline]
    pub(super) fn consume(&mut self) {
        match self {
            Self::Plain(receiver) => receiver.consume(),
            Self::Guarded(guarded) => guarded.consume(),
            Self::Frcp { present, .. } => *present = false,
        }
    }

    /// Takes the front packet, at which [`Source::peek`] has looked, whole.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut packet = Vec::new();
        match self {
            // It was there a moment ago and nobody else takes it.
            Self::Plain(receiver) => drop(receiver.try_recv_vec(&mut packet)),
            Self::Guarded(guarded) => {
                packet = std::mem::take(&mut guarded.front);
                guarded.consume();
            }
            Self::Frcp { front, present, .. } => {
                *present = false;
                return std::mem::take(front);
            }
        }
        packet
    }

    /// Hands up to `max` packets to `each`; returns how many.
    pub(super) fn recv_many(
        &mut self,
        max: usize,
        mut each: impl FnMut(Front<'_>),
    ) -> Result<usize, Corrupt> {
        if let Self::Plain(receiver) = self {
            return receiver.recv_many(max, |packet| each(Front::Ring(packet)));
        }
        let mut count = 0;
        while count < max {
            match self.peek() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(corrupt) if count == 0 => return Err(corrupt),
                Err(_) => break,
            }
            match self {
                Self::Plain(_) => {}
                Self::Guarded(guarded) => each(Front::Bytes(&guarded.front)),
                Self::Frcp { front, .. } => each(Front::Bytes(front)),
            }
            self.consume();
            count += 1;
        }
        Ok(count)
    }

    /// The front packet where it lies in shared memory, if it lies there.
    pub(super) fn peek_ptr(&self) -> Option<(*const u8, usize)> {
        match self {
            Self::Plain(receiver) => receiver.peek_ptr(),
            Self::Guarded(_) | Self::Frcp { .. } => None,
        }
    }

    /// Whether the front packet is no longer where waiting readers look for it.
    pub(super) fn holds_front(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Guarded(guarded) => guarded.present,
            Self::Frcp { present, .. } => *present,
        }
    }

    /// Packets read since the flow began.
    pub(super) fn packets_read(&self) -> u64 {
        match self {
            Self::Plain(receiver) => receiver.packets_read(),
            Self::Guarded(guarded) => guarded.done.load(Ordering::Relaxed),
            Self::Frcp {
                engine, present, ..
            } => engine.counts().1 - u64::from(*present),
        }
    }

    /// Packets that wait to be read.
    pub(super) fn queued(&self) -> usize {
        match self {
            Self::Plain(receiver) => receiver.queued_packets().map_or(0, to_usize),
            Self::Guarded(guarded) => {
                let in_ring = guarded.receiver.queued_packets().map_or(0, to_usize);
                in_ring + usize::from(guarded.present)
            }
            Self::Frcp {
                engine, present, ..
            } => {
                let (arrived, read) = engine.counts();
                to_usize(arrived - read) + usize::from(*present)
            }
        }
    }
}

impl Guarded {
    fn peek(&mut self) -> Result<Option<usize>, Corrupt> {
        while !self.present {
            self.packet.clear();
            if self.receiver.try_recv_vec(&mut self.packet)?.is_none() {
                return Ok(None);
            }
            let opened = self.guard.open(&self.packet, &mut self.plain);
            match opened.map(<[u8]>::len) {
                Some(length) => {
                    // Where the payload ended up depends on whether it was encrypted.
                    let decrypted = self.guard.decrypts();
                    let from = if decrypted {
                        &mut self.plain
                    } else {
                        &mut self.packet
                    };
                    from.truncate(length);
                    std::mem::swap(from, &mut self.front);
                    self.present = true;
                }
                None => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(Some(self.front.len()))
    }

    fn consume(&mut self) {
        if std::mem::take(&mut self.present) {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}
