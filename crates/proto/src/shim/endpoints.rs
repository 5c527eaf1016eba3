//! Our endpoint ids: in use, at rest, free (`spec/shims.md` §4.7).
//!
//! 0.23 hands out an id at once again, so that what belongs to a dead flow reaches a new one (defect 9).
//! Here an id rests after use, and ids are handed out in a circle.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use crate::random::Random;

/// Most ids at rest; the oldest become free beyond.
const MAX_RESTING: usize = 1 << 16;

/// Draws before the circle is searched.
const DRAWS: usize = 16;

#[derive(Debug)]
pub(super) struct Endpoints {
    range: RangeInclusive<u32>,
    random: bool,
    quarantine: Duration,
    least: Duration,
    used: BTreeSet<u32>,
    resting: BTreeSet<u32>,
    /// The resting ones, and since when, the longest first.
    order: VecDeque<(Instant, u32)>,
    next: u32,
}

impl Endpoints {
    pub(super) fn new(
        range: RangeInclusive<u32>,
        random: bool,
        quarantine: Duration,
        least: Duration,
    ) -> Self {
        Self {
            next: *range.start(),
            range,
            random,
            quarantine,
            least,
            used: BTreeSet::new(),
            resting: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> usize {
        let (start, end) = (*self.range.start(), *self.range.end());
        end.checked_sub(start).map_or(0, |span| span as usize + 1)
    }

    pub(super) fn used(&self) -> usize {
        self.used.len()
    }

    pub(super) fn is_resting(&self, eid: u32) -> bool {
        self.resting.contains(&eid)
    }

    fn is_free(&self, eid: u32) -> bool {
        !self.used.contains(&eid) && !self.resting.contains(&eid)
    }

    fn wake(&mut self, rest: Duration, now: Instant) -> Option<u32> {
        let &(since, eid) = self.order.front()?;
        if now.saturating_duration_since(since) < rest {
            return None;
        }
        self.order.pop_front();
        self.resting.remove(&eid);
        Some(eid)
    }

    /// Takes an id into use; `None` if all are in use or were until a moment ago.
    pub(super) fn take(&mut self, now: Instant, random: &mut Random) -> Option<u32> {
        while self.wake(self.quarantine, now).is_some() {}
        let eid = self.draw(random).or_else(|| self.search());
        let eid = match eid {
            Some(eid) => eid,
            None => self.wake(self.least, now)?,
        };
        self.used.insert(eid);
        Some(eid)
    }

    fn draw(&mut self, random: &mut Random) -> Option<u32> {
        if !self.random {
            return None;
        }
        let total = self.total() as u64;
        (0..DRAWS)
            .filter_map(|_| {
                let at = u32::try_from(random.below(total.max(1))).ok()?;
                self.range.start().checked_add(at)
            })
            .find(|eid| self.is_free(*eid))
    }

    fn search(&mut self) -> Option<u32> {
        let total = self.total();
        if self.used.len() + self.resting.len() >= total {
            return None;
        }
        for _ in 0..total {
            let eid = self.next;
            self.next = if eid >= *self.range.end() {
                *self.range.start()
            } else {
                eid + 1
            };
            if self.is_free(eid) {
                return Some(eid);
            }
        }
        None
    }

    /// Puts an id to rest.
    pub(super) fn release(&mut self, eid: u32, now: Instant) {
        if !self.used.remove(&eid) {
            return;
        }
        self.resting.insert(eid);
        self.order.push_back((now, eid));
        if self.order.len() > MAX_RESTING {
            self.wake(Duration::ZERO, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sap(quarantine: u64) -> Endpoints {
        Endpoints::new(
            2..=4,
            false,
            Duration::from_secs(quarantine),
            Duration::from_secs(1),
        )
    }

    #[test]
    fn ids_go_round_and_rest() {
        let (mut random, now) = (Random::new([0; 32]), Instant::now());
        let mut saps = sap(120);
        assert_eq!(saps.take(now, &mut random), Some(2));
        saps.release(2, now);
        assert!(saps.is_resting(2));
        assert_eq!(saps.take(now, &mut random), Some(3));
        assert_eq!(saps.take(now, &mut random), Some(4));
        // All others are in use: a short rest must do, but not none.
        assert_eq!(saps.take(now, &mut random), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(saps.take(later, &mut random), Some(2));
        assert_eq!(
            saps.take(later + Duration::from_secs(999), &mut random),
            None
        );
        assert_eq!(saps.used(), 3);
        // A second release of the same id is none (trap 10).
        saps.release(3, later);
        saps.release(3, later);
        assert_eq!(saps.used(), 2);
    }

    #[test]
    fn drawn_ids_are_in_the_range_and_differ() {
        let (mut random, now) = (Random::new([7; 32]), Instant::now());
        let second = Duration::from_secs(1);
        let mut eids = Endpoints::new(64..=1063, true, second, second);
        let taken: BTreeSet<_> = (0..1000)
            .map_while(|_| eids.take(now, &mut random))
            .collect();
        assert_eq!(taken, (64..=1063).collect());
        assert_eq!(eids.take(now, &mut random), None);
    }
}
