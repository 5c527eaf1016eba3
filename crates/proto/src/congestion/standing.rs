//! Which part of a queue stands, and which only passes.

use std::time::{Duration, Instant};

/// What stands for so long counts, up to twice that long.
const WINDOW: Duration = Duration::from_millis(2);

/// The shortest that a queue was lately, as looked at before something is added to it.
///
/// Packets come in batches, and whoever takes them has to get a processor first: for that short time a queue
/// is long on a link that is all but idle. A congested link has a queue that does not go away (compare RFC
/// 8289 §3.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// Since when `shortest` is watched.
    since: Option<Instant>,
    shortest: usize,
    /// That of the window before, if it was just before.
    before: usize,
}

impl Standing {
    /// There are `queued` packets at `now`, which does not go back; how many of them stand.
    pub fn look(&mut self, now: Instant, queued: usize) -> usize {
        let elapsed = self.since.map(|since| now.saturating_duration_since(since));
        match elapsed {
            Some(elapsed) if elapsed < WINDOW => self.shortest = self.shortest.min(queued),
            _ => {
                // Nobody looked for long: what there is has stood since.
                let just = elapsed.is_some_and(|elapsed| elapsed < 2 * WINDOW);
                self.before = if just { self.shortest } else { queued };
                self.shortest = queued;
                self.since = Some(now);
            }
        }
        self.before.min(self.shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fifth of a window.
    const PART: Duration = Duration::from_micros(400);

    #[test]
    fn bursts_pass_and_queues_stand() {
        let start = Instant::now();
        let mut standing = Standing::default();
        // Bursts, gone before the next but one.
        for part in 0..100_u32 {
            let queued = if part % 3 == 0 { 0 } else { 64 };
            assert_eq!(standing.look(start + part * PART, queued), 0, "{part}");
        }
        // From here on it is never below 40: that counts within two windows.
        let mut counted = None;
        for part in 100..130_u32 {
            if standing.look(start + part * PART, 40 + (part % 3) as usize) > 0 {
                counted.get_or_insert(part);
            }
        }
        assert!(counted.is_some_and(|part| part <= 110));
        assert_eq!(standing.look(start + 130 * PART, 50), 40);
        // Gone at once when it is gone.
        assert_eq!(standing.look(start + 131 * PART, 3), 3);
    }

    #[test]
    fn whoever_looks_seldom_sees_what_is_there() {
        let start = Instant::now();
        let mut standing = Standing::default();
        for (part, queued) in [(0, 7), (40, 90), (80, 100), (120, 0), (160, 30)] {
            assert_eq!(standing.look(start + part * PART, queued), queued);
        }
    }
}
