//! How much a peer may make us do: a bucket of tokens that fills with time.

use std::time::{Duration, Instant};

/// Tokens per second, and the most that are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub(super) u32);

/// A bucket, full at first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    tokens: u32,
    filled: Instant,
}

impl Allowance {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.0,
            filled: now,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        if passed >= Duration::from_secs(1) {
            self.tokens = rate.0;
            self.filled = now;
        } else {
            // Below one second: no overflow.
            let gained = passed.as_nanos() * u128::from(rate.0) / 1_000_000_000;
            if gained > 0 {
                let gained = u32::try_from(gained).unwrap_or(rate.0);
                self.tokens = self.tokens.saturating_add(gained).min(rate.0);
                self.filled = now;
            }
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_what_the_rate_says() {
        let rate = Rate(10);
        let mut now = Instant::now();
        let mut allowance = Allowance::new(rate, now);
        let mut granted = 0;
        for _ in 0..1_000 {
            granted += u32::from(allowance.take(rate, now));
            now += Duration::from_millis(10);
        }
        // Ten seconds, and the full bucket at first.
        assert!((100..=111).contains(&granted), "{granted}");
    }
}
