//! When routes are calculated anew.
//!
//! The first change after a quiet time is followed soon, so that an update of some links costs one
//! calculation; while changes go on, the time between two calculations doubles up to `t_recalc`, as link-state
//! routers of other networks do. A local adjacency that goes down, or comes up, waits for nothing.

use std::time::{Duration, Instant};

/// Delay between a change after a quiet time and the calculation.
pub const FIRST_DELAY: Duration = Duration::from_millis(10);

/// Least time between the first two calculations of a series.
pub const FIRST_HOLD: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Recalculation {
    t_recalc: Duration,
    due: Option<Instant>,
    last: Option<Instant>,
    hold: Duration,
    /// The next calculation is beside the series.
    beside: bool,
}

impl Recalculation {
    pub(super) fn new(t_recalc: Duration) -> Self {
        Self {
            t_recalc,
            due: None,
            last: None,
            hold: FIRST_HOLD.min(t_recalc),
            beside: false,
        }
    }

    /// The graph has changed.
    pub(super) fn request(&mut self, now: Instant) {
        if self.due.is_some() {
            return;
        }
        let soon = now + FIRST_DELAY.min(self.t_recalc);
        let Some(last) = self.last else {
            self.due = Some(soon);
            return;
        };
        if now.saturating_duration_since(last) >= self.t_recalc {
            self.hold = FIRST_HOLD.min(self.t_recalc);
        }
        self.due = Some(soon.max(last + self.hold));
    }

    /// An own link went down.
    pub(super) fn request_at_once(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// An own link works. As a rule more changes follow, which must not wait for longer because of this.
    pub(super) fn request_beside(&mut self, now: Instant) {
        self.due = Some(now);
        self.beside = true;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time; then the request is done with.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = None;
        if std::mem::take(&mut self.beside) {
            return true;
        }
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.t_recalc)
        {
            self.hold = (2 * self.hold).min(self.t_recalc);
        }
        self.last = Some(now);
        true
    }
}
