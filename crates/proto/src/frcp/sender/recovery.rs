//! How a sender notices that packets are lost (`spec/frcp.md` §8.4, §11 I11).
//!
//! Loss is noticed in three ways. With selective acknowledgements, a packet is lost when one that was
//! sent sufficiently later has arrived (as RACK does it: order and time of transmission, not sequence
//! numbers, so retransmissions count too). Without them, when three acknowledgements in a row ask for it,
//! or when an acknowledgement of a retransmission stops at it. And always when its own time-out expires.
//! Loss does not shrink the send window, since congestion is the layer's affair; silence does.

use super::super::outstanding::State;
use super::super::rtt::{MILLIS, Nanos, SECOND};
use super::super::seq::before;
use super::Sender;

/// Acknowledgements in a row that ask for the same packet before it is taken for lost.
const DUPLICATE_ACKS: u32 = 3;
/// Reordering that is expected even on the shortest path.
const LEAST_PATIENCE: Nanos = MILLIS / 2;
/// Packets in flight after silence.
const SMALL_WINDOW: u32 = 4;

impl Sender {
    /// A packet that was sent once arrived after packets that were sent later.
    pub(super) fn note_reordering(&mut self, seqno: u32, sent: Nanos) {
        if before(seqno, self.highest_delivered)
            && let Some((arrived, ..)) = self.arrived
        {
            let late = arrived.saturating_sub(sent);
            self.reordering = self.reordering.max(late + late / 4);
        }
    }

    pub(super) fn note_arrival(&mut self, now: Nanos, seqno: u32, sent: Nanos) {
        if self
            .arrived
            .is_none_or(|(latest, other, _)| (latest, other) < (sent, seqno))
        {
            self.arrived = Some((sent, seqno, now.saturating_sub(sent)));
        }
    }

    /// A packet that was sent more than once arrived: which of the copies is known only if the latest
    /// had time to, or had not.
    pub(super) fn arrived_again(&mut self, now: Nanos, seqno: u32, first_sent: Nanos, sent: Nanos) {
        let Some(minimum) = self.rtt.minimum() else {
            return;
        };
        if now.saturating_sub(sent) >= minimum / 2 {
            self.note_arrival(now, seqno, sent);
        } else {
            // It was only late. Be more patient.
            self.reordering = self.patience() * 2;
            self.sample(now, first_sent);
        }
    }

    /// How much earlier than an arrived packet one must have been sent to be lost.
    pub(super) fn patience(&self) -> Nanos {
        let smoothed = self.rtt.smoothed().unwrap_or(SECOND);
        self.reordering.min(smoothed).max(LEAST_PATIENCE)
    }

    /// When the packet sent longest ago counts as lost because of later arrivals.
    pub(super) fn loss_deadline(&self) -> Option<Nanos> {
        if !self.selective {
            return None;
        }
        let (arrived, number, trip) = self.arrived?;
        let (seqno, slot) = self.held.oldest()?;
        let earlier = slot.sent < arrived || (slot.sent == arrived && before(seqno, number));
        earlier.then(|| slot.sent + trip + self.patience())
    }

    pub(super) fn detect_lost(&mut self, now: Nanos) {
        while self.loss_deadline().is_some_and(|deadline| deadline <= now) {
            self.take_oldest_for_lost();
        }
    }

    pub(super) fn take_oldest_for_lost(&mut self) {
        if let Some((seqno, _)) = self.held.oldest() {
            self.held.take_for_lost(seqno);
        }
    }

    /// Without selective acknowledgements: the packet at which the acknowledgement of a
    /// retransmission stops, if it was sent before that, is lost.
    pub(super) fn after_progress(&mut self, now: Nanos) {
        if self.selective || self.held.una == self.held.nxt {
            return;
        }
        let Some((arrived, ..)) = self.arrived else {
            return;
        };
        let slot = self.held.slot(self.held.una);
        if slot.state == State::InFlight
            && slot.sent + self.patience() < arrived
            && slot.sent + self.rtt.minimum().unwrap_or(SECOND) / 2 < now
        {
            self.held.take_for_lost(self.held.una);
        }
    }

    pub(super) fn duplicate_ack(&mut self, now: Nanos) {
        self.duplicate_acks += 1;
        self.detect_hole(now);
    }

    pub(super) fn duplicate_threshold(&self) -> u32 {
        let sent = self.held.nxt.wrapping_sub(self.held.una);
        sent.saturating_sub(1).clamp(1, DUPLICATE_ACKS)
    }

    /// Without selective acknowledgements: when the packet that the peer asks for again and again counts as
    /// lost. A retransmission has a round trip's time before its loss is suspected.
    pub(super) fn hole_deadline(&self) -> Option<Nanos> {
        if self.selective
            || self.held.una == self.held.nxt
            || self.duplicate_acks < self.duplicate_threshold()
        {
            return None;
        }
        let slot = self.held.slot(self.held.una);
        let pause = if slot.retransmitted {
            self.rtt.smoothed().unwrap_or(SECOND) + self.patience()
        } else {
            self.reordering
        };
        (slot.state == State::InFlight).then(|| slot.sent + pause)
    }

    pub(super) fn detect_hole(&mut self, now: Nanos) {
        if self.hole_deadline().is_some_and(|deadline| deadline <= now) {
            self.duplicate_acks = 0;
            self.held.take_for_lost(self.held.una);
        }
    }

    pub(super) fn time_out(&mut self, now: Nanos) -> u64 {
        let timeout = self.rtt.timeout();
        let mut count = 0;
        let mut silent = false;
        let mut oldest_sent = None;
        while let Some((seqno, slot)) = self.held.oldest() {
            let sent = slot.sent;
            if sent + timeout > now {
                break;
            }
            oldest_sent.get_or_insert(sent);
            // One packet may be lost, a handful or a second round are silence.
            silent |= self.last_feedback.is_none_or(|heard| heard <= sent)
                && (count >= 3 || self.rtt.backed_off());
            self.held.take_for_lost(seqno);
            count += 1;
        }
        if oldest_sent.is_some_and(|sent| self.last_sample < sent) {
            // The estimate is older than the packet: it may be too short by now (Karn).
            self.rtt.back_off();
        }
        if silent {
            self.window = SMALL_WINDOW;
        }
        count
    }
}
