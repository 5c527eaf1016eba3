//! Which neighbours live: hellos on data adjacencies, and what their silence means.
//!
//! A layer below may tell nobody that a member died: on Ethernet and UDP the flow is just silent, and its own
//! timeout is 2 minutes. So members say hello every [`PERIOD`]. Whoever said hello once is expected to be heard,
//! by hellos or any other packet, within [`MISSES`] of its periods; else the adjacency counts as down until it
//! is heard again. A neighbour that never says hello, as those of 0.23, is never expected to be heard, and is
//! greeted no longer than for [`GREETING`].
//!
//! Only silence that this member could have heard counts: when it was stopped itself, its neighbours get the
//! time once more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_wire::hello::Hello;

use super::Lower;

/// Time between two hellos.
pub const PERIOD: Duration = Duration::from_millis(300);
/// Periods of the neighbour without a sign of life after which it counts as dead.
pub const MISSES: u32 = 4;
/// How long a neighbour is greeted that does not greet back.
pub const GREETING: Duration = Duration::from_secs(10);

/// Shortest and longest period that a neighbour may promise.
const PERIODS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// What is known of an adjacency.
#[derive(Debug)]
struct Adjacent {
    since: Instant,
    heard: Instant,
    /// The neighbour's promise; none = it makes none.
    period: Option<Duration>,
    down: bool,
}

impl Adjacent {
    /// When the neighbour counts as dead.
    fn deadline(&self) -> Option<Instant> {
        let period = self.period.filter(|_| !self.down)?;
        Some(self.heard + period * MISSES)
    }
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Say hello on this adjacency.
    Greet(Lower),
    /// The neighbour has been silent for this time.
    Down(Lower, Duration),
    /// It is heard again.
    Up(Lower),
}

/// The data adjacencies of a member. Does nothing unless it is enabled.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    enabled: bool,
    adjacent: BTreeMap<Lower, Adjacent>,
    /// When the next hellos are due.
    next: Option<Instant>,
}

impl Liveness {
    pub(super) fn enable(&mut self) {
        self.enabled = true;
    }

    /// A new adjacency: hellos begin with the next [`Self::timeout`], which is due at once.
    pub(super) fn connected(&mut self, now: Instant, lower: Lower) {
        if !self.enabled {
            return;
        }
        let adjacent = Adjacent {
            since: now,
            heard: now,
            period: None,
            down: false,
        };
        self.adjacent.insert(lower, adjacent);
        self.next = Some(now);
    }

    pub(super) fn disconnected(&mut self, lower: Lower) {
        self.adjacent.remove(&lower);
        if self.adjacent.is_empty() {
            self.next = None;
        }
    }

    /// A sign of life of any kind.
    pub(super) fn heard(&mut self, now: Instant, lower: Lower) -> Option<Change> {
        let adjacent = self.adjacent.get_mut(&lower)?;
        adjacent.heard = now;
        std::mem::take(&mut adjacent.down).then_some(Change::Up(lower))
    }

    /// A hello.
    pub(super) fn hello(&mut self, now: Instant, lower: Lower, hello: Hello) -> Option<Change> {
        let [shortest, longest] = PERIODS;
        let adjacent = self.adjacent.get_mut(&lower)?;
        adjacent.period = Some(hello.period.clamp(shortest, longest));
        self.heard(now, lower)
    }

    /// Whether the neighbour says hellos there.
    pub(super) fn promises(&self, lower: Lower) -> bool {
        let adjacent = self.adjacent.get(&lower);
        adjacent.is_some_and(|adjacent| adjacent.period.is_some())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.adjacent.values().filter_map(Adjacent::deadline);
        deadlines.chain(self.next).min()
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(next) = self.next.filter(|next| *next <= now) {
            // This member itself was late: so may be what it has to hear.
            let late = now - next;
            if late > PERIOD {
                for adjacent in self.adjacent.values_mut() {
                    adjacent.heard = (adjacent.heard + late).min(now);
                }
            }
            self.next = Some(now + PERIOD);
            for (lower, adjacent) in &self.adjacent {
                if adjacent.period.is_some() || now <= adjacent.since + GREETING {
                    changes.push(Change::Greet(*lower));
                }
            }
        }
        for (lower, adjacent) in &mut self.adjacent {
            if adjacent.deadline().is_some_and(|deadline| deadline <= now) {
                adjacent.down = true;
                changes.push(Change::Down(*lower, now - adjacent.heard));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lower = Lower(3);
    const HELLO: Hello = Hello { period: PERIOD };

    fn liveness(now: Instant) -> Liveness {
        let mut liveness = Liveness::default();
        liveness.enable();
        liveness.connected(now, A);
        liveness
    }

    /// Lets time pass, with a hello of the neighbour after every step that says so; changes but greetings.
    fn run(
        liveness: &mut Liveness,
        now: &mut Instant,
        time: Duration,
        mut says_hello: impl FnMut(Duration) -> bool,
    ) -> Vec<(Duration, Change)> {
        let (begin, end) = (*now, *now + time);
        let mut changes = Vec::new();
        while let Some(at) = liveness.poll_timeout().filter(|at| *at <= end) {
            *now = at;
            let news = liveness.timeout(*now);
            let greets = news.contains(&Change::Greet(A));
            let other = news.into_iter().filter(|it| *it != Change::Greet(A));
            changes.extend(other.map(|change| (*now - begin, change)));
            // The neighbour's clock ticks as ours does.
            if greets && says_hello(*now - begin) {
                let up = liveness.hello(*now, A, HELLO);
                changes.extend(up.map(|change| (*now - begin, change)));
            }
        }
        *now = end;
        changes
    }

    #[test]
    fn silence_after_hellos_is_noticed_and_so_is_the_end_of_it() {
        let mut now = Instant::now();
        let mut liveness = liveness(now);
        let lives = run(&mut liveness, &mut now, Duration::from_secs(60), |_| true);
        assert_eq!(lives, []);
        let changes = run(&mut liveness, &mut now, Duration::from_secs(30), |at| {
            at >= Duration::from_secs(20)
        });
        let [(down, Change::Down(A, silent)), (up, Change::Up(A))] = changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(silent, PERIOD * MISSES);
        assert!(down <= PERIOD * (MISSES + 1), "{down:?}");
        assert!(up >= Duration::from_secs(20) && up <= Duration::from_secs(21));
    }

    #[test]
    fn a_neighbour_without_hellos_is_never_down_and_not_greeted_for_ever() {
        let mut now = Instant::now();
        let mut liveness = liveness(now);
        let mut greetings = 0;
        let changes = run(&mut liveness, &mut now, Duration::from_secs(3600), |_| {
            greetings += 1;
            false
        });
        assert_eq!(changes, []);
        let expected = GREETING.as_millis() / PERIOD.as_millis() + 1;
        assert_eq!(greetings, expected);
    }

    #[test]
    fn any_packet_is_a_sign_of_life() {
        let mut now = Instant::now();
        let mut liveness = liveness(now);
        liveness.hello(now, A, HELLO);
        for _ in 0..20 {
            assert_eq!(liveness.heard(now, A), None);
            let changes = run(&mut liveness, &mut now, Duration::from_secs(1), |_| false);
            assert_eq!(changes, []);
        }
    }

    #[test]
    fn who_was_stopped_himself_gives_the_others_time() {
        let mut now = Instant::now();
        let mut liveness = liveness(now);
        run(&mut liveness, &mut now, Duration::from_secs(5), |_| true);
        now += Duration::from_secs(100);
        assert_eq!(liveness.timeout(now), [Change::Greet(A)]);
        // The neighbour has died meanwhile.
        let changes = run(&mut liveness, &mut now, Duration::from_secs(5), |_| false);
        assert!(
            matches!(changes[..], [(at, Change::Down(..))] if at <= PERIOD * (MISSES + 1)),
            "{changes:?}"
        );
    }

    #[test]
    fn a_promise_is_bounded_and_ends_with_the_adjacency() {
        let now = Instant::now();
        let mut liveness = liveness(now);
        for (said, taken) in [(1, 100), (60_000, 10_000)] {
            let period = Duration::from_millis(said);
            liveness.hello(now, A, Hello { period });
            let deadline = liveness.adjacent[&A].deadline().unwrap();
            assert_eq!(deadline - now, Duration::from_millis(taken) * MISSES);
        }
        liveness.disconnected(A);
        assert_eq!(liveness.poll_timeout(), None);
        assert_eq!(liveness.hello(now, A, HELLO), None);
        // Without being enabled nothing is done.
        let mut off = Liveness::default();
        off.connected(now, A);
        assert_eq!(off.poll_timeout(), None);
    }
}
