//! Percentiles, and the words for numbers.

use std::time::Duration;

/// The value below which `percent` of the samples are. Sorts them.
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples
        .get((samples.len() * percent / 100).min(last))
        .copied()
        .unwrap_or_default()
}

/// Messages per second, in words.
pub(crate) fn rate(messages: u64, time: Duration) -> String {
    let rate = messages as f64 / time.as_secs_f64();
    if rate >= 1e6 {
        format!("{:.2} M/s", rate / 1e6)
    } else {
        format!("{:.0} k/s", rate / 1e3)
    }
}

/// Bytes per second, in words.
pub(crate) fn bandwidth(bytes: u64, time: Duration) -> String {
    format!("{:.2} GB/s", bytes as f64 / time.as_secs_f64() / 1e9)
}

/// A short time, in words.
pub(crate) fn micros(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}
