//! Round-trip time and retransmission time-out (`spec/frcp.md` §8.3, with a floor as §11 I11 asks).

/// Nanoseconds since the flow began.
pub(super) type Nanos = u64;

pub(super) const MILLIS: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000 * MILLIS;

/// Time-out before the first measurement. Less than the second of 0.23, since until the first packet of a
/// run arrives the peer drops all others and cannot say so.
const INITIAL_RTO: Nanos = 300 * MILLIS;

/// Well above the 10 to 16 ms after which a peer of 0.23 acknowledges.
const MIN_RTO: Nanos = 50 * MILLIS;

/// The least that is added to the round-trip time: it covers the peer's delay, and lets other ways of
/// noticing a loss come first.
const MARGIN: Nanos = 30 * MILLIS;

/// Neither a long measurement nor back-off stretches the pause between two attempts beyond this: a flow
/// that lives must notice within seconds that the path is back.
const MAX_RTO: Nanos = 5 * SECOND;

/// The estimator.
#[derive(Debug)]
pub(super) struct Rtt {
    smoothed: Option<Nanos>,
    deviation: Nanos,
    minimum: Nanos,
    backoff: u32,
}

impl Rtt {
    pub(super) fn new() -> Self {
        Self {
            smoothed: None,
            deviation: 0,
            minimum: Nanos::MAX,
            backoff: 0,
        }
    }

    /// Takes the time from the only transmission of a packet to its acknowledgement (Karn), and
    /// ends back-off.
    pub(super) fn sample(&mut self, measured: Nanos) {
        self.backoff = 0;
        self.minimum = self.minimum.min(measured);
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(measured);
            self.deviation = measured / 2;
            return;
        };
        let error = measured.abs_diff(smoothed);
        self.smoothed = Some(smoothed - smoothed / 8 + measured / 8);
        // A deviation that sinks does so slowly: a time-out that is too short costs more than one
        // that is too long.
        if error > self.deviation {
            self.deviation += (error - self.deviation) / 4;
        } else {
            self.deviation -= (self.deviation - error) / 32;
        }
    }

    /// Doubles the time-out.
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// Ends back-off: something arrived, though not to be measured by.
    pub(super) fn relax(&mut self) {
        self.backoff = 0;
    }

    /// Whether the time-out is longer than measurements ask for.
    pub(super) fn backed_off(&self) -> bool {
        self.backoff > 0
    }

    /// Time-out of a packet sent now.
    pub(super) fn timeout(&self) -> Nanos {
        let base = self.smoothed.map_or(INITIAL_RTO, |smoothed| {
            (smoothed + (4 * self.deviation).max(MARGIN)).clamp(MIN_RTO, MAX_RTO)
        });
        (base << self.backoff).min(MAX_RTO.max(base))
    }

    pub(super) fn smoothed(&self) -> Option<Nanos> {
        self.smoothed
    }

    /// Shortest time measured.
    pub(super) fn minimum(&self) -> Option<Nanos> {
        self.smoothed.map(|_| self.minimum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_follows_the_measurements_above_the_floor() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.timeout(), INITIAL_RTO);
        rtt.sample(MILLIS);
        assert_eq!(rtt.timeout(), MIN_RTO);
        let mut rtt = Rtt::new();
        rtt.sample(200 * MILLIS);
        assert_eq!(rtt.timeout(), 600 * MILLIS);
        for _ in 0..1000 {
            rtt.sample(200 * MILLIS);
        }
        let settled = rtt.timeout();
        assert!(
            (200 * MILLIS..=230 * MILLIS).contains(&settled),
            "{settled}"
        );
    }

    #[test]
    fn back_off_doubles_up_to_a_bound_and_a_sample_ends_it() {
        let mut rtt = Rtt::new();
        rtt.sample(100 * MILLIS);
        let base = rtt.timeout();
        rtt.back_off();
        assert_eq!(rtt.timeout(), 2 * base);
        for _ in 0..100 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), MAX_RTO);
        rtt.sample(100 * MILLIS);
        assert!(rtt.timeout() <= base);
    }

    #[test]
    fn absurd_measurements_do_not_overflow() {
        let mut rtt = Rtt::new();
        rtt.sample(0);
        rtt.sample(3_600 * SECOND);
        rtt.sample(0);
        assert!(rtt.timeout() <= MAX_RTO);
    }
}
