//! How round-trip times are spread: percentiles and a histogram.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::stats::unit;

/// Longest time that is told from longer ones, µs: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Significant decimal digits that are kept.
const DIGITS: u8 = 3;
/// Percentiles that are shown.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// Width of the longest bar.
const BAR: u64 = 40;

/// Round-trip times so far, in bounded memory whatever their number.
#[derive(Debug)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).ok())
    }
}

impl Times {
    /// Counts a time in ms.
    pub(super) fn record(&mut self, rtt: f64) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and what is too large saturates"
        )]
        let micros = (rtt * 1000.0).round() as u64;
        if let Some(times) = &mut self.0 {
            times.saturating_record(micros.max(1));
        }
    }
}

/// A row of the histogram: `count` times from `from_ms` up to but without `to_ms`.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    from_ms: f64,
    to_ms: f64,
    count: u64,
}

/// The spread, ready to be shown.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// As many as [`QUANTILES`], or none without replies.
    percentiles_ms: serde_json::Map<String, serde_json::Value>,
    histogram: Vec<Row>,
}

impl Spread {
    /// The spread of these times, in rows of 1-2-5 steps.
    pub(super) fn of(times: &Times) -> Self {
        let mut spread = Self {
            percentiles_ms: serde_json::Map::new(),
            histogram: Vec::new(),
        };
        let Some(times) = times.0.as_ref().filter(|times| !times.is_empty()) else {
            return spread;
        };
        for (name, quantile) in QUANTILES {
            let time = millis(times.value_at_quantile(quantile));
            spread.percentiles_ms.insert(name.to_owned(), time.into());
        }
        let mut values = times.iter_recorded().peekable();
        let (mut from, mut steps) = (0, [1, 2, 5].into_iter().cycle());
        let mut decade = 1_u64;
        while values.peek().is_some() {
            let step = steps.next().unwrap_or(1);
            let to = decade.saturating_mul(step);
            if step == 5 {
                decade = decade.saturating_mul(10);
            }
            let mut count = 0;
            while let Some(value) =
                values.next_if(|value| value.value_iterated_to() < to || to == u64::MAX)
            {
                count += value.count_at_value();
            }
            // Rows before the first time are left out.
            if count > 0 || !spread.histogram.is_empty() {
                spread.histogram.push(Row {
                    from_ms: millis(from),
                    to_ms: millis(to),
                    count,
                });
            }
            from = to;
        }
        spread
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.histogram.is_empty() {
            return Ok(());
        }
        let times: Vec<f64> = QUANTILES
            .iter()
            .filter_map(|(name, _)| self.percentiles_ms.get(*name)?.as_f64())
            .collect();
        let (factor, word) = unit(times.first().copied().unwrap_or_default());
        let names: Vec<&str> = QUANTILES.iter().map(|(name, _)| *name).collect();
        let shown: Vec<String> = times
            .iter()
            .map(|time| format!("{:.3}", time * factor))
            .collect();
        writeln!(f, "rtt {} = {} {word}\n", names.join("/"), shown.join("/"))?;
        let most = self
            .histogram
            .iter()
            .map(|row| row.count)
            .max()
            .unwrap_or(1);
        for row in &self.histogram {
            let bar = (row.count * BAR).div_ceil(most.max(1));
            let bar = "#".repeat(usize::try_from(bar).unwrap_or(0));
            let line = format!(
                "{:>10.3} to {:>10.3} {word} {:>10} {bar}",
                row.from_ms * factor,
                row.to_ms * factor,
                row.count
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "at most an hour in µs")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(times: &[f64]) -> Spread {
        let mut all = Times::default();
        for time in times {
            all.record(*time);
        }
        Spread::of(&all)
    }

    #[test]
    fn rows_of_one_two_five() {
        let spread = spread(&[0.003, 0.003, 0.004, 0.019, 0.020]);
        let rows: Vec<_> = spread
            .histogram
            .iter()
            .map(|row| (row.from_ms, row.to_ms, row.count))
            .collect();
        assert_eq!(
            rows,
            [
                (0.002, 0.005, 3),
                (0.005, 0.01, 0),
                (0.01, 0.02, 1),
                (0.02, 0.05, 1)
            ]
        );
        assert_eq!(
            spread.to_string(),
            "rtt p50/p90/p99/p99.9 = 4.000/20.000/20.000/20.000 µs\n\n\
             \x20    2.000 to      5.000 µs          3 ########################################\n\
             \x20    5.000 to     10.000 µs          0\n\
             \x20   10.000 to     20.000 µs          1 ##############\n\
             \x20   20.000 to     50.000 µs          1 ##############\n"
        );
        let json = serde_json::to_value(&spread).unwrap();
        assert_eq!(json["percentiles_ms"]["p99.9"], 0.02);
        assert_eq!(json["histogram"][2]["count"], 1);
    }

    #[test]
    fn every_time_is_in_a_row() {
        let spread = spread(&[0.0, 0.001, 999.0, 1e7, f64::MAX]);
        let counted: u64 = spread.histogram.iter().map(|row| row.count).sum();
        assert_eq!(counted, 5);
        assert_eq!(super::Spread::of(&Times::default()).to_string(), "");
    }
}
