//! The sending half: window, transmission, loss detection (`spec/frcp.md` §6, §8, §9).

mod recovery;

use o7s_wire::frcp::Ranges;

use super::config::{Config, DELTA_T_RTX, MAX_WINDOW, START_WINDOW};
use super::outstanding::{Outstanding, State};
use super::rtt::{MILLIS, Nanos, Rtt, SECOND};
use super::seq::{before, nearest_edge};
use super::{Failure, Stats};

/// Interval of rendezvous while the window is shut (`spec/frcp.md` §4).
const RENDEZVOUS: Nanos = 100 * MILLIS;
/// Least time between the rendezvous of two short closures.
const RENDEZVOUS_GAP: Nanos = 10 * MILLIS;
/// An unreliable sender goes on after its window was shut this long (`spec/frcp.md` §11 I8).
const SHUT_LIMIT: Nanos = SECOND;
/// Packets that are held at most, whatever the peer's window.
const MAX_HELD: u32 = 2 * MAX_WINDOW;

/// When the window was found shut, and what was done about it.
#[derive(Debug, Clone, Copy)]
struct Shut {
    since: Nanos,
    next_rendezvous: Nanos,
}

/// The state of the sending half.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) held: Outstanding,
    reliable: bool,
    selective: bool,
    resource_control: bool,
    inactivity: Nanos,
    buffer: usize,
    /// First seqno that the peer does not allow.
    edge: u32,
    /// How far beyond the edge an unreliable sender goes, to make up for a peer whose edge does not
    /// move over lost packets.
    beyond: u32,
    /// Packets that may be in flight by our own rules.
    window: u32,
    /// Any packet with one of our seqnos has been sent.
    pub(super) started: bool,
    /// When new data was last sent.
    pub(super) last_new: Option<Nanos>,
    /// When a valid acknowledgement last arrived.
    last_feedback: Option<Nanos>,
    rtt: Rtt,
    /// When the round-trip time was last measured.
    last_sample: Nanos,
    /// Transmission time, seqno and round trip of the latest transmission known to have arrived.
    arrived: Option<(Nanos, u32, Nanos)>,
    /// How much later than their successors packets have been seen to arrive.
    reordering: Nanos,
    highest_delivered: u32,
    duplicate_acks: u32,
    /// Bytes and packets of the message that was last refused, until there is room for it.
    refused: Option<(usize, u32)>,
    shut: Option<Shut>,
    last_rendezvous: Option<Nanos>,
    rendezvous_due: bool,
    pub(super) failure: Option<Failure>,
}

/// What a valid acknowledgement of a packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acked {
    /// Nothing is known to be wrong with it.
    Valid,
    /// Of packets never sent, or outdated: the window of the packet must not be believed either.
    Ignored,
}

impl Sender {
    pub(super) fn new(config: &Config, isn: u32) -> Self {
        Self {
            held: Outstanding::new(isn),
            reliable: config.reliable,
            selective: config.extensions.selective && config.reliable,
            resource_control: true,
            inactivity: nanos(config.sender_inactivity()),
            buffer: config.buffer,
            edge: isn.wrapping_add(START_WINDOW),
            beyond: 0,
            window: START_WINDOW,
            started: false,
            last_new: None,
            last_feedback: None,
            rtt: Rtt::new(),
            arrived: None,
            reordering: 0,
            highest_delivered: isn,
            duplicate_acks: 0,
            refused: None,
            last_sample: 0,
            shut: None,
            last_rendezvous: None,
            rendezvous_due: false,
            failure: None,
        }
    }

    /// First seqno that may not be sent.
    #[inline]
    fn limit(&self) -> u32 {
        if self.resource_control {
            self.edge.wrapping_add(self.beyond)
        } else {
            self.held.una.wrapping_add(MAX_WINDOW)
        }
    }

    /// Whether a message of `bytes` in `packets` can be taken now.
    #[inline]
    pub(super) fn has_room(&self, bytes: usize, packets: u32) -> bool {
        let held = self.held.held_bytes();
        before(self.held.end, self.limit())
            && self.held.len().saturating_add(packets) <= MAX_HELD
            && (held == 0 || held.saturating_add(bytes) <= self.buffer)
    }

    /// Notes that a write was refused, so that a shut window is asked about.
    pub(super) fn refuse(&mut self, now: Nanos, bytes: usize, packets: u32) {
        self.refused = Some((bytes, packets));
        self.watch_window(now);
    }

    /// No more will be written.
    pub(super) fn finish(&mut self) {
        self.refused = None;
    }

    pub(super) fn set_resource_control(&mut self, on: bool) {
        self.resource_control = on;
    }

    pub(super) fn resource_control(&self) -> bool {
        self.resource_control
    }

    /// Whether everything written has been sent and, if reliable, acknowledged.
    pub(super) fn is_drained(&self) -> bool {
        self.held.una == self.held.end
    }

    /// The next data packet to send; the caller sends it.
    #[inline]
    pub(super) fn next(&mut self, now: Nanos) -> Option<u32> {
        let in_flight = self.held.in_flight();
        if in_flight >= self.window {
            return None;
        }
        if let Some(seqno) = self.held.first_lost() {
            return Some(seqno);
        }
        if self.held.queued() == 0 {
            if self.refused.is_some() {
                self.watch_window(now);
            }
            return None;
        }
        if self.held.una == self.held.nxt {
            self.restart_if_inactive(now);
        }
        if before(self.held.nxt, self.limit()) {
            return Some(self.held.nxt);
        }
        self.watch_window(now);
        None
    }

    /// S3: after inactivity the window starts afresh; the numbering goes on (I2).
    fn restart_if_inactive(&mut self, now: Nanos) {
        let expired =
            |last: Nanos| now / SECOND - last.min(now) / SECOND > self.inactivity / SECOND;
        if self.last_new.is_some_and(expired) {
            self.edge = self.held.una.wrapping_add(START_WINDOW);
            self.beyond = 0;
            self.window = START_WINDOW;
            self.last_new = None;
            self.shut = None;
        }
    }

    /// Notes that `seqno`, given by [`next`](Self::next), is being sent. Whether it was sent before.
    #[inline]
    pub(super) fn transmitted(&mut self, seqno: u32, now: Nanos) -> bool {
        let again = seqno != self.held.nxt;
        self.started = true;
        self.held.transmitted(seqno, now);
        if !again {
            self.last_new = Some(now);
        }
        again
    }

    /// Unreliable: what was sent is forgotten (S8).
    pub(super) fn forget_sent(&mut self) {
        while self.held.release().is_some() {}
    }

    /// Keeps track of whether the window is shut against something that waits.
    fn watch_window(&mut self, now: Nanos) {
        let waiting = self.held.queued() > 0 || self.refused.is_some();
        if !waiting || before(self.held.nxt, self.limit()) {
            if self
                .refused
                .is_some_and(|(bytes, packets)| self.has_room(bytes, packets))
            {
                self.refused = None;
            }
            self.shut = None;
            self.rendezvous_due = false;
        } else if self.shut.is_none() {
            let earliest = self
                .last_rendezvous
                .map_or(now, |last| last + RENDEZVOUS_GAP);
            self.shut = Some(Shut {
                since: now,
                next_rendezvous: earliest.max(now),
            });
            self.on_shut(now);
        }
    }

    fn on_shut(&mut self, now: Nanos) {
        let Some(shut) = &mut self.shut else { return };
        if shut.next_rendezvous <= now {
            self.rendezvous_due = true;
            shut.next_rendezvous = now + RENDEZVOUS;
        }
        if !self.reliable && now >= shut.since + SHUT_LIMIT {
            // The peer does not enforce its window here, and its edge may have fallen behind for
            // good (traps T3, T4).
            self.beyond = self
                .held
                .nxt
                .wrapping_sub(self.edge)
                .wrapping_add(START_WINDOW);
            self.watch_window(now);
        }
    }

    /// Whether a rendezvous is to be sent now; asked once, it counts as sent.
    pub(super) fn take_rendezvous(&mut self, now: Nanos) -> bool {
        let due = std::mem::take(&mut self.rendezvous_due);
        if due {
            self.last_rendezvous = Some(now);
        }
        due
    }

    /// R4b: takes the acknowledgement of everything before `ackno` and of the `ranges`. `pure` is an
    /// acknowledgement without data.
    pub(super) fn acknowledged(
        &mut self,
        now: Nanos,
        ackno: u32,
        ranges: Option<Ranges<'_>>,
        pure: bool,
    ) -> Acked {
        if !self.started {
            return Acked::Ignored;
        }
        if !self.reliable {
            // Nothing waits for it, but garbage is told by it.
            return if self.held.nxt.wrapping_sub(ackno) <= MAX_WINDOW {
                Acked::Valid
            } else {
                Acked::Ignored
            };
        }
        let sent = self.held.nxt.wrapping_sub(self.held.una);
        let news = ackno.wrapping_sub(self.held.una);
        if news > sent {
            return Acked::Ignored;
        }
        self.last_feedback = Some(now);
        if sent == 0 {
            return Acked::Valid;
        }
        if news > 0 {
            self.release(now, news);
        }
        if let Some(ranges) = ranges {
            self.deliver(now, ackno, ranges);
        }
        if news == 0 && pure && ranges.is_none() {
            self.duplicate_ack(now);
        } else if news > 0 {
            self.after_progress(now);
        }
        if self.selective {
            self.detect_lost(now);
        }
        Acked::Valid
    }

    /// Whether `ackno`, which was ignored, is of packets acknowledged before: it was overtaken.
    pub(super) fn is_outdated(&self, ackno: u32) -> bool {
        self.started && self.held.una.wrapping_sub(ackno) <= MAX_HELD
    }

    fn release(&mut self, now: Nanos, news: u32) {
        self.duplicate_acks = 0;
        let was_in_flight = self.held.in_flight();
        let mut again = false;
        let mut latest = None;
        for position in 0..news {
            let seqno = self.held.una;
            let Some(slot) = self.held.release() else {
                break;
            };
            if slot.retransmitted {
                if position == 0 && slot.state != State::Delivered {
                    self.arrived_again(now, seqno, slot.first_sent, slot.sent);
                }
                again = true;
            } else if slot.state != State::Delivered {
                latest = Some((seqno, slot.sent));
                if !again {
                    self.note_reordering(seqno, slot.sent);
                }
            }
        }
        match latest {
            // What follows a retransmission may have waited for it at the peer.
            Some((seqno, sent)) if !again => {
                self.sample(now, sent);
                self.note_arrival(now, seqno, sent);
            }
            _ => self.rtt.relax(),
        }
        self.widen(news, was_in_flight);
        if self.is_drained() {
            self.held.shrink();
        }
    }

    fn sample(&mut self, now: Nanos, sent: Nanos) {
        self.rtt.sample(now.saturating_sub(sent));
        self.last_sample = now;
    }

    /// More may be in flight as acknowledgements come, if that much was used.
    fn widen(&mut self, by: u32, was_in_flight: u32) {
        if self.window <= was_in_flight.saturating_mul(2) {
            self.window = (self.window + by).min(MAX_WINDOW);
        }
    }

    fn deliver(&mut self, now: Nanos, ackno: u32, ranges: Ranges<'_>) {
        let was_in_flight = self.held.in_flight();
        let mut count = 0;
        let mut latest: Option<(Nanos, u32)> = None;
        let mut again: Option<(Nanos, u32, Nanos)> = None;
        let mut late: Nanos = 0;
        let arrived = self.arrived.map_or(0, |(sent, ..)| sent);
        let highest = self.highest_delivered;
        let mut new_highest = highest;
        for range in ranges.iter() {
            let from = ackno.wrapping_add(range.start);
            let to = ackno.wrapping_add(range.end);
            if range.end > self.held.nxt.wrapping_sub(ackno) || before(from, self.held.una) {
                continue;
            }
            self.held.deliver(from, to, |seqno, slot| {
                count += 1;
                if slot.retransmitted {
                    again = again.max(Some((slot.sent, seqno, slot.first_sent)));
                } else {
                    latest = latest.max(Some((slot.sent, seqno)));
                    if before(seqno, highest) {
                        late = late.max(arrived.saturating_sub(slot.sent));
                    }
                }
                if before(new_highest, seqno) {
                    new_highest = seqno;
                }
            });
        }
        self.highest_delivered = new_highest;
        self.reordering = self.reordering.max(late + late / 4);
        if let Some((sent, seqno)) = latest {
            self.sample(now, sent);
            self.note_arrival(now, seqno, sent);
        }
        if let Some((sent, seqno, first_sent)) = again {
            self.arrived_again(now, seqno, first_sent, sent);
        }
        if count > 0 {
            self.rtt.relax();
        }
        self.widen(count, was_in_flight);
    }

    /// R4c, §9.1: takes the peer's edge, forward only. False if it is no possible edge.
    pub(super) fn set_edge(&mut self, now: Nanos, field: u32) -> bool {
        if !self.started {
            return false;
        }
        let edge = nearest_edge(self.edge, field);
        let ahead = edge.wrapping_sub(self.held.nxt).cast_signed();
        if ahead > MAX_WINDOW.cast_signed() {
            return false;
        }
        if before(self.edge, edge) {
            self.edge = edge;
            if ahead > START_WINDOW.cast_signed() {
                self.beyond = 0;
            }
            self.duplicate_acks = 0;
            if self.refused.is_some() || self.shut.is_some() {
                self.watch_window(now);
            }
        }
        true
    }

    /// The next time something happens by itself.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        if self.failure.is_some() {
            return None;
        }
        let mut deadline = None;
        if self.reliable && self.held.una != self.held.nxt {
            deadline = Some(self.held.slot(self.held.una).first_sent + nanos(DELTA_T_RTX) + 1);
            if let Some((_, slot)) = self.held.oldest() {
                deadline = earlier(deadline, Some(slot.sent + self.rtt.timeout()));
                deadline = earlier(deadline, self.loss_deadline());
                deadline = earlier(deadline, self.hole_deadline());
            }
        }
        if let Some(shut) = self.shut {
            deadline = earlier(deadline, Some(shut.next_rendezvous));
            if !self.reliable {
                deadline = earlier(deadline, Some(shut.since + SHUT_LIMIT));
            }
        }
        deadline
    }

    /// Does what is due; returns the packets that timed out.
    pub(super) fn handle_timeout(&mut self, now: Nanos) -> u64 {
        let mut timeouts = 0;
        if self.reliable && self.held.una != self.held.nxt {
            let first_sent = self.held.slot(self.held.una).first_sent;
            if now.saturating_sub(first_sent) > nanos(DELTA_T_RTX) {
                self.failure = Some(Failure::NotAcknowledged);
                return 0;
            }
            self.detect_lost(now);
            self.detect_hole(now);
            timeouts = self.time_out(now);
        }
        if self.shut.is_some() {
            self.on_shut(now);
        }
        timeouts
    }

    pub(super) fn fill(&self, stats: &mut Stats) {
        let duration = std::time::Duration::from_nanos;
        stats.rtt = self.rtt.smoothed().map(duration);
        stats.rto = duration(self.rtt.timeout());
        stats.in_flight = self.held.in_flight();
        stats.send_window = self.window;
        stats.send_bytes = self.held.held_bytes();
    }
}

pub(super) fn nanos(duration: std::time::Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

pub(super) fn earlier(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}
