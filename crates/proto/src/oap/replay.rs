//! The time window of requests, and the memory of those seen within it (`spec/oap-crypto.md` §3.6).

use std::collections::HashSet;

use o7s_wire::oap::Id;

use super::Cause;

/// How far a client's clock may be ahead of the server's, in milliseconds.
pub const SLACK_MS: u64 = 100;

/// How old a request may be, in milliseconds.
pub const WINDOW_MS: u64 = 20_000;

/// A request is remembered until its timestamp is this old, in nanoseconds: a little longer than
/// the window (§12, 13).
const KEEP_NS: u64 = (WINDOW_MS + 1000) * 1_000_000;

/// Least time between two clean-ups, in nanoseconds, so that their cost is spread over many
/// requests.
const CLEAN_NS: u64 = 1_000_000_000;

/// Requests remembered, if not said otherwise: some 12,000 a second.
const CAPACITY: usize = 1 << 18;

/// The requests of the last 21 seconds.
#[derive(Debug)]
pub struct ReplayWindow {
    seen: HashSet<(Id, u64)>,
    /// When outdated entries were last removed.
    cleaned: u64,
    capacity: usize,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl ReplayWindow {
    /// An empty window that remembers at most `capacity` requests, and refuses more.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            seen: HashSet::new(),
            cleaned: 0,
            capacity,
        }
    }

    /// Number of requests remembered, outdated ones that were not removed yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no request is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Checks a request of `timestamp` at the own time `now`, both in nanoseconds since the Unix
    /// epoch, and remembers it.
    ///
    /// # Errors
    /// [`Cause::Future`], [`Cause::Old`], [`Cause::Replay`], [`Cause::ReplayFull`].
    pub fn check(&mut self, id: Id, timestamp: u64, now: u64) -> Result<(), Cause> {
        // Milliseconds are truncated toward zero, as the C implementation does.
        let ahead_ms = timestamp.saturating_sub(now) / 1_000_000;
        if ahead_ms > SLACK_MS {
            return Err(Cause::Future { ahead_ms });
        }
        let age_ms = now.saturating_sub(timestamp) / 1_000_000;
        if age_ms > WINDOW_MS {
            return Err(Cause::Old { age_ms });
        }
        let entry = (id, timestamp);
        if self.seen.contains(&entry) {
            return Err(Cause::Replay(id));
        }
        let full = self.seen.len() >= self.capacity;
        let wait = if full { CLEAN_NS } else { KEEP_NS };
        // A clock that was set back counts as the time to clean up.
        if now.checked_sub(self.cleaned).is_none_or(|age| age >= wait) {
            self.seen
                .retain(|(_, timestamp)| timestamp.saturating_add(KEEP_NS) >= now);
            self.cleaned = now;
        }
        if self.seen.len() >= self.capacity {
            return Err(Cause::ReplayFull(self.capacity));
        }
        self.seen.insert(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    fn id(number: u8) -> Id {
        Id([number; 16])
    }

    #[test]
    fn entries_outlive_the_window() {
        let mut window = ReplayWindow::default();
        // Far in the future of the clock as it may be: the longest life.
        let stamp = START + 100_999_999;
        window.check(id(1), stamp, START).unwrap();
        for step in 1..=20_100 {
            let now = START + step * 1_000_000;
            window.check(id(2), now, now).unwrap();
            let again = window.check(id(1), stamp, now);
            assert_eq!(again, Err(Cause::Replay(id(1))), "{step}");
        }
        let late = stamp + 20_001 * 1_000_000;
        assert_eq!(
            window.check(id(1), stamp, late),
            Err(Cause::Old { age_ms: 20_001 })
        );
    }

    #[test]
    fn old_requests_are_forgotten() {
        let mut window = ReplayWindow::default();
        for second in 0..200 {
            let now = START + second * SECOND;
            window.check(id(7), now, now).unwrap();
            assert!(window.len() <= 44, "{}", window.len());
        }
    }

    #[test]
    fn a_full_window_refuses_and_recovers() {
        let mut window = ReplayWindow::with_capacity(2);
        window.check(id(1), START, START).unwrap();
        window.check(id(2), START, START).unwrap();
        assert_eq!(window.check(id(3), START, START), Err(Cause::ReplayFull(2)));
        assert_eq!(window.check(id(1), START, START), Err(Cause::Replay(id(1))));
        let later = START + 22 * SECOND;
        window.check(id(3), later, later).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing() {
        let mut window = ReplayWindow::default();
        window.check(id(1), START, START).unwrap();
        let hour = 3600 * SECOND;
        assert!(matches!(
            window.check(id(1), START, START - hour),
            Err(Cause::Future { .. })
        ));
        window.check(id(2), START - hour, START - hour).unwrap();
        assert_eq!(
            window.check(id(1), START, START + SECOND),
            Err(Cause::Replay(id(1)))
        );
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut window = ReplayWindow::default();
        assert!(window.check(id(1), u64::MAX, 0).is_err());
        assert!(window.check(id(1), 0, u64::MAX).is_err());
        assert!(window.check(id(1), u64::MAX, u64::MAX).is_ok());
        assert!(window.check(id(1), 0, 0).is_ok());
    }
}
