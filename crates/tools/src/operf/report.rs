//! What `operf` counts, and the lines that show it.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::load::{megabits, per_second};

/// What the client says at the end.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    pub(super) name: &'a str,
    pub(super) test: &'static str,
    pub(super) size: usize,
    pub(super) transmitted: u64,
    /// Replies; none in a unidirectional test.
    pub(super) received: Option<u64>,
    pub(super) loss_percent: Option<u64>,
    pub(super) time_ms: f64,
    pub(super) packets_per_second: f64,
    pub(super) bandwidth_mbps: f64,
}

impl<'a> Summary<'a> {
    pub(super) fn new(
        name: &'a str,
        size: usize,
        transmitted: u64,
        received: Option<u64>,
        time: Duration,
    ) -> Self {
        let counted = received.unwrap_or(transmitted);
        Self {
            name,
            test: if received.is_some() { "bi" } else { "uni" },
            size,
            transmitted,
            received,
            loss_percent: received.map(|received| loss(transmitted, received)),
            time_ms: millis(time),
            packets_per_second: per_second(counted, time),
            bandwidth_mbps: megabits(counted.saturating_mul(size as u64), time),
        }
    }
}

/// Milliseconds in whole microseconds.
#[allow(clippy::cast_precision_loss, reason = "below 2^53 for centuries")]
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Lost packets in per cent, rounded up.
fn loss(sent: u64, received: u64) -> u64 {
    if sent == 0 {
        return 0;
    }
    let received = u128::from(received.min(sent)) * 100 / u128::from(sent);
    100 - u64::try_from(received).unwrap_or(100)
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\n--- {} perf statistics ---\n{} packets transmitted, ",
            self.name, self.transmitted
        )?;
        if let (Some(received), Some(loss)) = (self.received, self.loss_percent) {
            write!(f, "{received} received, {loss}% packet loss, ")?;
        }
        write!(
            f,
            "time: {:.3} ms, bandwidth: {:.3} Mb/s.",
            self.time_ms, self.bandwidth_mbps
        )
    }
}

/// What came so far on a flow of the server, or within an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) out_of_order: u64,
    /// Highest sequence number + 1, not wrapped at 2³².
    expected: u64,
}

impl Count {
    /// Counts a packet.
    pub(super) fn record(&mut self, sequence: u32, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        // The nearest number that ends in these 32 bits.
        #[allow(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
        let expected = self.expected as u32;
        let ahead = sequence.wrapping_sub(expected);
        if ahead <= u32::MAX / 2 {
            self.expected += u64::from(ahead) + 1;
        } else {
            self.out_of_order += 1;
        }
    }

    /// Packets that are missing so far. Duplicates count as what they are duplicates of.
    pub(super) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.packets)
    }

    /// What came since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            out_of_order: self.out_of_order - before.out_of_order,
            expected: self.expected - before.expected,
        }
    }

    /// As it is shown.
    pub(super) fn received(&self, fd: i32, time: Duration) -> Received {
        let lost = self.lost();
        Received {
            fd,
            packets: self.packets,
            bytes: self.bytes,
            lost,
            loss_percent: percent(lost, self.expected),
            out_of_order: self.out_of_order,
            time_ms: millis(time),
            packets_per_second: per_second(self.packets, time),
            bandwidth_mbps: megabits(self.bytes, time),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

/// What a flow of the server received in a time.
#[derive(Debug, Serialize)]
pub(super) struct Received {
    pub(super) fd: i32,
    packets: u64,
    bytes: u64,
    lost: u64,
    loss_percent: f64,
    out_of_order: u64,
    time_ms: f64,
    packets_per_second: f64,
    bandwidth_mbps: f64,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets received, {} lost ({:.2}%), {} out-of-order, time: {:.3} ms, bandwidth: \
             {:.3} Mb/s.",
            self.packets,
            self.lost,
            self.loss_percent,
            self.out_of_order,
            self.time_ms,
            self.bandwidth_mbps
        )
    }
}

/// A line of the client's progress.
#[derive(Debug)]
pub(super) struct Progress {
    /// Since the test began.
    pub(super) at: Duration,
    /// Since the line before.
    pub(super) time: Duration,
    pub(super) size: usize,
    pub(super) sent: u64,
    /// In a bidirectional test.
    pub(super) received: Option<u64>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |packets: u64| megabits(packets.saturating_mul(self.size as u64), self.time);
        write!(
            f,
            "{:>8.3} s: {} packets sent, {:.3} Mb/s",
            self.at.as_secs_f64(),
            self.sent,
            rate(self.sent)
        )?;
        if let Some(received) = self.received {
            write!(f, "; {received} received, {:.3} Mb/s", rate(received))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The form of `spec/irm-tools.md` §12.3.
    #[test]
    fn statistics_of_both_tests() {
        let time = Duration::from_millis(1500);
        let bi = Summary::new("srv", 1000, 3, Some(2), time);
        assert_eq!(
            bi.to_string(),
            "\n--- srv perf statistics ---\n\
             3 packets transmitted, 2 received, 34% packet loss, time: 1500.000 ms, bandwidth: \
             0.011 Mb/s."
        );
        let uni = Summary::new("srv", 1000, 3000, None, time);
        assert_eq!(
            uni.to_string(),
            "\n--- srv perf statistics ---\n\
             3000 packets transmitted, time: 1500.000 ms, bandwidth: 16.000 Mb/s."
        );
        let json = serde_json::to_value(&uni).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"name": "srv", "test": "uni", "size": 1000, "transmitted": 3000,
                "received": null, "loss_percent": null, "time_ms": 1500.0,
                "packets_per_second": 2000.0, "bandwidth_mbps": 16.0})
        );
    }

    #[test]
    fn loss_is_rounded_up() {
        for (sent, received, expected) in [
            (0, 0, 0),
            (3, 3, 0),
            (3, 2, 34),
            (3, 0, 100),
            (1000, 999, 1),
            (2, 5, 0),
            (u64::MAX, u64::MAX - 1, 1),
        ] {
            assert_eq!(loss(sent, received), expected, "{received} of {sent}");
        }
    }

    #[test]
    fn gaps_and_late_packets() {
        let mut count = Count::default();
        for sequence in [0, 1, 4, 3] {
            count.record(sequence, 100);
        }
        assert_eq!((count.lost(), count.out_of_order), (1, 1));
        let before = count;
        count.record(7, 50);
        assert_eq!(
            count
                .since(&before)
                .received(64, Duration::from_secs(1))
                .to_string(),
            "1 packets received, 2 lost (66.67%), 0 out-of-order, time: 1000.000 ms, bandwidth: \
             0.000 Mb/s."
        );
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut count = Count {
            expected: u64::from(u32::MAX) - 1,
            packets: u64::from(u32::MAX) - 1,
            ..Count::default()
        };
        for sequence in [u32::MAX - 1, u32::MAX, 0, 2] {
            count.record(sequence, 1);
        }
        assert_eq!((count.lost(), count.out_of_order), (1, 0));
    }

    proptest! {
        /// Whatever a client numbers its packets, nothing overflows.
        #[test]
        fn arbitrary_sequences(sequences in proptest::collection::vec(any::<u32>(), 0..100)) {
            let mut count = Count::default();
            for sequence in &sequences {
                let before = count;
                count.record(*sequence, 7);
                let _ = count.since(&before).received(64, Duration::ZERO).to_string();
            }
            prop_assert_eq!(count.packets, sequences.len() as u64);
        }
    }
}
