//! How many warnings there may be: what they tell of is done by others, who may do it as often as they like.

use std::time::{Duration, Instant};

/// Warnings in a [`PERIOD`]; further ones are counted.
pub(super) const MOST: u32 = 64;
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// The warnings of a node.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    since: Option<Instant>,
    told: u32,
    withheld: u64,
}

impl Warnings {
    /// The text to be told, if any. The first of a period tells how many were not.
    pub(super) fn pass(&mut self, now: Instant, text: String) -> Option<String> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= PERIOD;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told >= MOST {
            self.withheld = self.withheld.saturating_add(1);
            return None;
        }
        self.told += 1;
        match std::mem::take(&mut self.withheld) {
            0 => Some(text),
            withheld => Some(format!(
                "{text} ({withheld} warnings before it were not told)"
            )),
        }
    }
}
