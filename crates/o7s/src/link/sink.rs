//! Where a flow's packets go: to the ring as they are, to the ring through the guard, or to FRCP.

use std::sync::Arc;

use o7s_ring::{Sender, WriteWaiter};

use super::{
    engine::Engine,
    guard::Guard,
    reason::{NO_ROOM, not_sent},
    to_usize,
};
use crate::{Error, Result};

/// The sending side of a flow.
pub(super) enum Sink {
    /// Packets go into the ring as they are.
    Plain(Sender),
    /// Packets are encrypted or get a CRC first.
    Guarded {
        sender: Sender,
        guard: Arc<Guard>,
        writer: WriteWaiter,
        packet: Vec<u8>,
    },
    /// Messages become packets of FRCP.
    Frcp { engine: Arc<Engine>, written: u64 },
}

impl Sink {
    pub(super) fn guarded(sender: Sender, guard: Arc<Guard>, writer: WriteWaiter) -> Self {
        Self::Guarded {
            sender,
            guard,
            writer,
            packet: Vec::new(),
        }
    }

    pub(super) fn frcp(engine: Arc<Engine>) -> Self {
        Self::Frcp { engine, written: 0 }
    }

    /// Sends one packet that is not empty.
    #[inline]
    pub(super) fn try_send(&mut self, payload: &[u8]) -> Result<()> {
        match self {
            Self::Plain(sender) => sender.try_send(payload).map_err(not_sent),
            Self::Guarded {
                sender,
                guard,
                writer,
                packet,
            } => {
                // Encrypting what finds no room would be a waste.
                if !writer.writable(payload.len() + guard.overhead()) {
                    return Err(NO_ROOM);
                }
                guard.protect(payload, packet)?;
                sender.try_send(packet).map_err(not_sent)
            }
            Self::Frcp { engine, written } => {
                engine.send(payload)?;
                *written += 1;
                Ok(())
            }
        }
    }

    /// Sends packets in order until one cannot be sent; how many were, and why not the next.
    pub(super) fn try_send_batch<T: AsRef<[u8]>>(
        &mut self,
        packets: &[T],
    ) -> (usize, Option<Error>) {
        match self {
            Self::Plain(sender) => {
                let (sent, failed) = sender.try_send_batch(packets);
                (sent, failed.map(not_sent))
            }
            Self::Guarded { .. } => {
                for (sent, packet) in packets.iter().enumerate() {
                    if let Err(error) = self.try_send(packet.as_ref()) {
                        return (sent, Some(error));
                    }
                }
                (packets.len(), None)
            }
            Self::Frcp { engine, written } => {
                let (sent, failed) = engine.send_batch(packets);
                *written += sent as u64;
                (sent, failed)
            }
        }
    }

    /// Sends a sign of life.
    pub(super) fn try_keepalive(&mut self) -> Result<()> {
        match self {
            Self::Plain(sender) | Self::Guarded { sender, .. } => {
                sender.try_keepalive().map_err(not_sent)
            }
            Self::Frcp { engine, .. } => engine.keepalive(),
        }
    }

    /// Packets that the other side of the ring has not taken, and those of FRCP on their way.
    pub(super) fn queued(&mut self) -> usize {
        match self {
            Self::Plain(sender) | Self::Guarded { sender, .. } => {
                sender.queued_packets().map_or(0, to_usize)
            }
            Self::Frcp { engine, .. } => engine.unfinished(),
        }
    }

    /// Packets written since the flow began.
    pub(super) fn packets_written(&self) -> u64 {
        match self {
            Self::Plain(sender) | Self::Guarded { sender, .. } => sender.packets_written(),
            Self::Frcp { written, .. } => *written,
        }
    }
}
