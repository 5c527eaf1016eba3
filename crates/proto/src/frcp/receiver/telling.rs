//! What a receiver tells its peer, and when: acknowledgements, ranges, edges (`spec/frcp.md` §8, §9, §11 I3, I7,
//! I9, I11).

use o7s_wire::frcp::{Flags, Offsets};

use super::super::config::DELTA_T_ACK;
use super::super::reorder::OVERHEAD;
use super::super::rtt::{MILLIS, Nanos};
use super::super::sender::{earlier, nanos};
use super::Receiver;

/// Duplicates are answered at most once in this time (I11).
const TICK: Nanos = 5 * MILLIS;
/// Packets read in an unreliable flow before the edge is told unasked (I7).
const VOLUNTEER: u32 = 32;

impl Receiver {
    pub(super) fn acknowledge_duplicate(&mut self, now: Nanos) {
        if !self.reliable {
            return;
        }
        match self.last_duplicate_ack {
            Some(last) if now < last + TICK => {
                self.ack_due = earlier(self.ack_due, Some(last + TICK));
            }
            _ => {
                self.last_duplicate_ack = Some(now);
                self.ack_now = true;
            }
        }
    }

    /// R4a: a rendezvous asks for the edge.
    pub(in crate::frcp) fn rendezvous(&mut self) {
        if self.run.is_some() {
            self.answer = true;
        }
    }

    /// The reader took a message: tells the edge when enough has opened (I7).
    #[inline]
    pub(in crate::frcp) fn consumed(&mut self) {
        self.refresh_edge();
        let Some(run) = self.run else { return };
        let opened = run.edge.wrapping_sub(run.told);
        if self.reliable {
            let left = run.told.wrapping_sub(run.nxt);
            if opened > 0 && left < self.window / 2 && opened >= self.quarter() {
                self.ack_now = true;
            }
        } else if opened >= VOLUNTEER.min(self.quarter()) {
            self.answer = true;
        }
    }

    /// A quarter of the window that memory allows.
    pub(super) fn quarter(&self) -> u32 {
        let by_bytes = self.buffer / (self.packet_size + OVERHEAD) / 4;
        u32::try_from(by_bytes)
            .unwrap_or(u32::MAX)
            .min(self.window / 4)
            .max(1)
    }

    /// The flags, ackno and edge of a data packet to send now (S5, S6). They count as told.
    #[inline]
    pub(in crate::frcp) fn piggyback(&mut self, now: Nanos) -> (Flags, u32, u32) {
        let (flags, ackno, edge) = self.news(now);
        // Data packets carry no ranges.
        if flags.contains(Flags::ACK) && (self.reorder.is_empty() || !self.selective) {
            self.unacked = 0;
            self.ack_due = None;
            self.ack_now = false;
        }
        if flags.contains(Flags::FC) {
            self.answer = false;
        }
        (flags, ackno, edge)
    }

    #[inline]
    pub(super) fn news(&mut self, now: Nanos) -> (Flags, u32, u32) {
        self.refresh_edge();
        let Some(run) = &mut self.run else {
            return (Flags::empty(), 0, 0);
        };
        if now.saturating_sub(run.active) > self.inactivity {
            let active = run.active;
            if self.expired(now, active) {
                self.end_run();
                return (Flags::empty(), 0, 0);
            }
        }
        let Some(run) = &mut self.run else {
            return (Flags::empty(), 0, 0);
        };
        run.told = run.edge;
        let (nxt, edge) = (run.nxt, run.edge);
        let mut flags = Flags::FC;
        let mut ackno = 0;
        if self.reliable && self.heard.is_some_and(|heard| recent(now, heard)) {
            flags |= Flags::ACK;
            ackno = nxt;
        }
        (flags, ackno, edge)
    }

    /// Whether an acknowledgement with ranges must go before any data.
    #[inline]
    pub(in crate::frcp) fn ranges_due(&self) -> bool {
        self.ack_now && self.selective && !self.reorder.is_empty()
    }

    /// Whether a packet of its own is due for acknowledgement or edge.
    #[inline]
    pub(in crate::frcp) fn control_due(&self) -> bool {
        self.ack_now || self.answer
    }

    /// Flags, ackno and edge of a control packet to send now. Nothing else is due then.
    pub(in crate::frcp) fn control(&mut self, now: Nanos) -> (Flags, u32, u32) {
        let answer_only = !self.ack_now;
        let (mut flags, mut ackno, edge) = self.news(now);
        if answer_only {
            flags = flags.intersection(Flags::FC);
            ackno = 0;
        } else {
            self.unacked = 0;
            self.ack_due = None;
        }
        self.ack_now = false;
        self.answer = false;
        (flags, ackno, edge)
    }

    /// The ranges for the control packet just made, at most `most`. If that is not all, another packet
    /// is due.
    pub(in crate::frcp) fn ranges(&mut self, most: usize, emit: impl FnMut(Offsets)) {
        if let Some(run) = self.run
            && self.selective
            && !self.reorder.is_empty()
        {
            self.ack_now = self.reorder.ranges(run.nxt, most, emit);
        }
    }

    /// What the last acknowledgement says, if the peer may wait for one.
    pub(in crate::frcp) fn last_ack(&self, now: Nanos) -> Option<u32> {
        let run = self.run?;
        (self.reliable && recent(now, run.active)).then_some(run.nxt)
    }
}

/// S6: an acknowledgement is given within A of the last packet, in whole seconds.
#[inline]
fn recent(now: Nanos, heard: Nanos) -> bool {
    let elapsed = now.saturating_sub(heard);
    elapsed <= nanos(DELTA_T_ACK)
}
