//! Packets on their way into N-1 flows: gathered for each, marked by what waits there, written at once.

use std::collections::VecDeque;

use o7s_proto::{dt::SendError, forwarding::FlowToken};
use o7s_wire::dt::{Address, Eid, QosCube};

use super::{BATCH, Forwarder, HEADER, QUEUE_MAX};
use crate::data::Context;

/// Packets for an N-1 flow that are about to be written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    /// Packets that waited in front of them; known while there are any.
    pub(super) queued: usize,
    /// User flows that wait for room.
    pub(super) waiting: VecDeque<Eid>,
}

impl Forwarder {
    /// Sends a packet of a component.
    pub(super) fn originate(
        &mut self,
        dst: Address,
        cube: QosCube,
        eid: Eid,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let Some(dt) = &mut self.dt else {
            return Err(SendError::Own);
        };
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        packet.resize(HEADER, 0);
        packet.extend_from_slice(payload);
        let sent = dt.send(dst, cube, eid, &mut packet);
        if let Ok(flow) = sent
            && !self.enqueue(flow.0, &packet, QUEUE_MAX)
            && let Some(dt) = &mut self.dt
        {
            dt.write_failed(flow, packet.len());
        }
        self.scratch = packet;
        sent.map(drop)
    }

    /// Puts a packet behind those for an N-1 flow, unless `limit` wait already.
    #[inline]
    pub(super) fn enqueue(&mut self, number: u32, packet: &[u8], limit: usize) -> bool {
        let Some(ahead) = self.ahead(number) else {
            return false;
        };
        if ahead >= limit {
            return false;
        }
        let out = &mut self.outgoing[number as usize];
        out.bytes.extend_from_slice(packet);
        out.ends.push(out.bytes.len());
        if out.ends.len() == 1 {
            self.touched.push(number);
        }
        true
    }

    /// Packets that wait for an N-1 flow, those about to be written included.
    #[inline]
    pub(super) fn ahead(&mut self, number: u32) -> Option<usize> {
        let at = number as usize;
        if self.adjacent.get(at)?.is_none() {
            return None;
        }
        if self.outgoing.len() <= at {
            self.outgoing.resize_with(at + 1, Outgoing::default);
        }
        let out = &mut self.outgoing[at];
        if out.ends.is_empty() {
            out.queued = self.lower.queued(number);
        }
        Some(out.queued + out.ends.len())
    }

    /// Writes what was gathered, and publishes what was given to users.
    pub(super) fn flush(&mut self, cx: &mut Context) {
        while let Some(number) = self.touched.pop() {
            self.write(number);
        }
        while let Some(token) = self.written.pop() {
            if let Some(end) = cx.end(token) {
                end.tx.flush();
            }
        }
    }

    fn write(&mut self, number: u32) {
        let Some(out) = self.outgoing.get_mut(number as usize) else {
            return;
        };
        let Some(dt) = &mut self.dt else { return };
        let flow = FlowToken(number);
        let mut start = 0;
        for end in &out.ends {
            dt.mark(&mut out.bytes[start..*end], out.queued);
            start = *end;
        }
        let mut start = 0;
        for ends in out.ends.chunks(BATCH) {
            let mut packets = [&[][..]; BATCH];
            for (packet, end) in packets.iter_mut().zip(ends) {
                *packet = &out.bytes[start..*end];
                start = *end;
            }
            let packets = &packets[..ends.len()];
            let sent = self.lower.write(number, packets);
            for (position, packet) in packets.iter().enumerate() {
                if position < sent {
                    dt.written(flow, packet.len());
                } else {
                    dt.write_failed(flow, packet.len());
                }
            }
        }
        out.bytes.clear();
        out.ends.clear();
    }
}
