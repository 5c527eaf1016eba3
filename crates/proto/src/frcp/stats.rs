//! Counters of one flow end.

use std::time::Duration;

use super::Discard;

/// What has happened since the flow began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Data packets sent for the first time.
    pub data_sent: u64,
    /// Data packets sent again.
    pub retransmitted: u64,
    /// Of those, the ones sent again because they were not acknowledged in time.
    pub timeouts: u64,
    /// Packets without data sent: acknowledgements, window updates, rendezvous.
    pub control_sent: u64,
    /// Of those, rendezvous.
    pub rendezvous_sent: u64,
    /// Data packets received, duplicates included.
    pub data_received: u64,
    /// Packets without data received.
    pub control_received: u64,
    /// Data packets that arrived before their predecessors and were kept.
    pub out_of_order: u64,
    /// Messages made readable.
    pub messages_arrived: u64,
    /// Messages read.
    pub messages_read: u64,
    /// Sequence numbers skipped in an unreliable flow.
    pub skipped: u64,
    /// Packets dropped, by reason.
    pub discarded: Discards,
    /// Smoothed round-trip time, when measured.
    pub rtt: Option<Duration>,
    /// Present retransmission time-out.
    pub rto: Duration,
    /// Packets sent, and neither acknowledged nor taken for lost.
    pub in_flight: u32,
    /// Packets that the sender may have in flight by its own rules.
    pub send_window: u32,
    /// Bytes held for sending.
    pub send_bytes: usize,
    /// Bytes held that were received.
    pub receive_bytes: usize,
}

/// Packets dropped, by reason: see [`Discard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    missing_docs,
    reason = "each is the counter of the reason of the same name"
)]
pub struct Discards {
    pub short: u64,
    pub flags: u64,
    pub no_run: u64,
    pub duplicate: u64,
    pub out_of_window: u64,
    pub buffer_full: u64,
    pub bad_ack: u64,
    pub bad_ranges: u64,
    pub bad_fragment: u64,
    pub down: u64,
}

impl Discards {
    pub(crate) fn count(&mut self, why: Discard) {
        let counter = match why {
            Discard::Empty => return,
            Discard::Short(_) => &mut self.short,
            Discard::Flags(_) => &mut self.flags,
            Discard::NoRun => &mut self.no_run,
            Discard::Duplicate => &mut self.duplicate,
            Discard::OutOfWindow => &mut self.out_of_window,
            Discard::BufferFull => &mut self.buffer_full,
            Discard::BadAck => &mut self.bad_ack,
            Discard::BadRanges => &mut self.bad_ranges,
            Discard::BadFragment => &mut self.bad_fragment,
            Discard::Down => &mut self.down,
        };
        *counter += 1;
    }
}
