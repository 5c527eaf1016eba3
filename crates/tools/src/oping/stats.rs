//! Statistics of a ping, and the lines that show them.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use super::spread::Spread;

/// Round-trip times below this, in ms, are shown in µs.
const MICROS_BELOW: f64 = 0.1;

/// Round trips so far, by running update.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stats {
    pub(super) received: u64,
    pub(super) out_of_order: u64,
    /// Highest id seen + 1.
    pub(super) next: u32,
    min: f64,
    max: f64,
    mean: f64,
    m2: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: 0,
            out_of_order: 0,
            next: 0,
            min: f64::INFINITY,
            max: 0.0,
            mean: 0.0,
            m2: 0.0,
        }
    }
}

impl Stats {
    /// Counts a reply with its round-trip time in ms; true if it came out of order.
    pub(super) fn record(&mut self, id: u32, rtt: f64) -> bool {
        self.received += 1;
        let late = id < self.next;
        if late {
            self.out_of_order += 1;
        } else {
            self.next = id.saturating_add(1);
        }
        self.min = self.min.min(rtt);
        self.max = self.max.max(rtt);
        let delta = rtt - self.mean;
        self.mean += delta / count(self.received);
        self.m2 += delta * (rtt - self.mean);
        late
    }

    /// Standard deviation of the sample, NaN for one.
    fn mdev(&self) -> f64 {
        (self.m2 / (count(self.received) - 1.0)).sqrt()
    }

    /// The classic summary, with the empty line before it.
    pub(super) fn summary(&self, name: &str, sent: u64, time: Duration) -> String {
        let mut out = format!(
            "\n--- {name} ping statistics ---\n\
             {sent} packets transmitted, {} received, {} out-of-order, {}% packet loss, \
             time: {:.3} ms\n",
            self.received,
            self.out_of_order,
            loss(sent, self.received),
            millis(time),
        );
        if self.received > 0 {
            let (factor, unit) = unit(self.mean);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "rtt min/avg/max/mdev = {:.3}/{:.3}/{:.3}/{:.3} {unit}",
                self.min * factor,
                self.mean * factor,
                self.max * factor,
                self.mdev() * factor,
            );
        }
        out
    }

    /// The summary as a JSON object. Times are in ms; `mdev` is null for one reply.
    pub(super) fn json(
        &self,
        name: &str,
        sent: u64,
        time: Duration,
        spread: Option<&Spread>,
    ) -> String {
        let mdev = self.mdev();
        let summary = Summary {
            name,
            transmitted: sent,
            received: self.received,
            out_of_order: self.out_of_order,
            loss_percent: loss(sent, self.received),
            time_ms: millis(time),
            rtt_ms: (self.received > 0).then_some(Rtt {
                min: self.min,
                avg: self.mean,
                max: self.max,
                mdev: mdev.is_finite().then_some(mdev),
            }),
            spread,
        };
        // Strings and finite numbers only: it cannot fail.
        let mut text = serde_json::to_string(&summary).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    transmitted: u64,
    received: u64,
    out_of_order: u64,
    loss_percent: u32,
    time_ms: f64,
    rtt_ms: Option<Rtt>,
    #[serde(flatten)]
    spread: Option<&'a Spread>,
}

#[derive(Serialize)]
struct Rtt {
    min: f64,
    avg: f64,
    max: f64,
    mdev: Option<f64>,
}

/// A reply as its line shows it.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) length: usize,
    pub(super) name: &'a str,
    pub(super) id: u32,
    /// ms
    pub(super) rtt: f64,
    pub(super) late: bool,
    /// Time of day since 1970.
    pub(super) at: Option<Duration>,
}

impl std::fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(at) = self.at {
            write!(f, "[{}.{:06}] ", at.as_secs(), at.subsec_micros())?;
        }
        let (factor, unit) = unit(self.rtt);
        write!(
            f,
            "{} bytes from {}: seq={} time={:.3} {unit}",
            self.length,
            self.name,
            self.id,
            self.rtt * factor
        )?;
        if self.late {
            f.write_str(" [out-of-order]")?;
        }
        Ok(())
    }
}

/// Round-trip time in ms from two readings of the monotonic clock (s, ns), truncated to whole µs.
/// The earlier one comes from a peer: nonsense gives 0 or a large number, not an overflow.
pub(super) fn rtt(now: (u64, u64), then: (u64, u64)) -> f64 {
    let nanos = |(sec, nsec): (u64, u64)| u128::from(sec) * 1_000_000_000 + u128::from(nsec);
    let micros = nanos(now).saturating_sub(nanos(then)) / 1000;
    count(u64::try_from(micros).unwrap_or(u64::MAX)) / 1000.0
}

/// Lost packets in per cent, rounded up; the quotient in single precision as ever.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the value is 0 to 100, and the precision is the specified one"
)]
fn loss(sent: u64, received: u64) -> u32 {
    if sent == 0 {
        return 0;
    }
    (100.0 - 100.0 * (received as f32 / sent as f32))
        .ceil()
        .max(0.0) as u32
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(super) fn unit(ms: f64) -> (f64, &'static str) {
    if ms < MICROS_BELOW {
        (1000.0, "µs")
    } else {
        (1.0, "ms")
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verified example of `spec/irm-tools.md` §15.
    #[test]
    fn the_example_of_the_specification() {
        let mut stats = Stats::default();
        assert!(!stats.record(0, 0.102));
        assert!(!stats.record(2, 0.136));
        assert_eq!(
            stats.summary("srv", 3, Duration::from_micros(2_301_050)),
            "\n--- srv ping statistics ---\n\
             3 packets transmitted, 2 received, 0 out-of-order, 34% packet loss, time: 2301.050 ms\n\
             rtt min/avg/max/mdev = 0.102/0.119/0.136/0.024 ms\n"
        );
    }

    #[test]
    fn small_times_are_in_microseconds() {
        let mut stats = Stats::default();
        stats.record(0, 0.012);
        let summary = stats.summary("s", 1, Duration::from_millis(1));
        assert!(
            summary.ends_with(
                "0% packet loss, time: 1.000 ms\n\
                               rtt min/avg/max/mdev = 12.000/12.000/12.000/NaN µs\n"
            ),
            "{summary}"
        );
        let none = Stats::default().summary("s", 0, Duration::ZERO);
        assert!(none.ends_with(
            "0 packets transmitted, 0 received, 0 out-of-order, 0% packet loss, time: 0.000 ms\n"
        ));
    }

    #[test]
    fn loss_is_rounded_up() {
        for (sent, received, expected) in [
            (0, 0, 0),
            (3, 3, 0),
            (3, 2, 34),
            (3, 1, 67),
            (3, 0, 100),
            (1000, 999, 1),
            (2, 5, 0),
        ] {
            assert_eq!(loss(sent, received), expected, "{received} of {sent}");
        }
    }

    #[test]
    fn lines_of_replies() {
        let mut reply = Reply {
            length: 64,
            name: "srv",
            id: 7,
            rtt: 0.1,
            late: false,
            at: None,
        };
        assert_eq!(reply.to_string(), "64 bytes from srv: seq=7 time=0.100 ms");
        reply.rtt = 0.052;
        reply.late = true;
        reply.at = Some(Duration::new(12, 34_567_000));
        assert_eq!(
            reply.to_string(),
            "[12.034567] 64 bytes from srv: seq=7 time=52.000 µs [out-of-order]"
        );
    }

    #[test]
    fn order_and_time() {
        let mut stats = Stats::default();
        assert!(!stats.record(1, 1.0));
        assert!(stats.record(0, 1.0));
        assert!(stats.record(1, 1.0));
        assert!(!stats.record(u32::MAX, 1.0));
        assert_eq!((stats.received, stats.out_of_order), (4, 2));
        assert!((rtt((5, 1_999), (5, 0)) - 0.001).abs() < 1e-12);
        assert!((rtt((6, 0), (5, 999_999_000)) - 0.001).abs() < 1e-12);
        assert!(rtt((5, 0), (6, 0)) == 0.0);
        assert!(rtt((5, 0), (u64::MAX, u64::MAX)) == 0.0);
        assert!(rtt((u64::MAX, 0), (0, 0)).is_finite());
    }

    #[test]
    fn json_summary() {
        let mut stats = Stats::default();
        stats.record(0, 0.5);
        let text = stats.json("srv", 2, Duration::from_millis(3), None);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"name": "srv", "transmitted": 2, "received": 1, "out_of_order": 0,
                "loss_percent": 50, "time_ms": 3.0,
                "rtt_ms": {"min": 0.5, "avg": 0.5, "max": 0.5, "mdev": null}})
        );
        let none: serde_json::Value =
            serde_json::from_str(&Stats::default().json("s", 0, Duration::ZERO, None)).unwrap();
        assert!(none["rtt_ms"].is_null());
    }

    proptest! {
        /// The running update gives what the formulas of the textbook give.
        #[test]
        fn running_update_equals_two_passes(times in proptest::collection::vec(0.001..50.0_f64, 2..50)) {
            let mut stats = Stats::default();
            for (id, time) in (0..).zip(&times) {
                stats.record(id, *time);
            }
            let n = count(times.len() as u64);
            let mean = times.iter().sum::<f64>() / n;
            let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0);
            prop_assert!((stats.mean - mean).abs() < 1e-9);
            prop_assert!((stats.mdev() - variance.sqrt()).abs() < 1e-9);
        }
    }
}
