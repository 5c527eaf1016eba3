//! The controller of our own: a rate that settles where all flows of a bottleneck have the same
//! (`docs/architecture.md`, congestion).
//!
//! With the mark m that packets get now ([`super::echoes`]) the logarithm u of the rate changes by
//!
//! ```text
//!  du/dt = (goal(m) - u) / SETTLING        goal(m) = TOP - STEEPNESS * m, at least BOTTOM
//! ```
//!
//! so u is an average of goal(m) over the last 13 seconds or so. All flows of a bottleneck see the same queue and
//! hence the same goals: their rates become the same, wherever they came from, however far their ends are
//! apart, and even while the queue swings. The queue settles where the rates add up to the bottleneck's.
//! The logarithm has four orders of rates between 20 and 120 packets of queue.
//!
//! What keeps queue and rates from swinging:
//!
//! - A part of the mark that is above its average acts at once ([`DAMPING`]).
//! - While packets are marked, the rate does not fall far below what gets through ([`SHARE_KEPT`]): what
//!   was slowed down already is not slowed down again by reports that are older.
//! - Each time the queue has been long after it was short, both get slower ([`Rate::calm`]): how old reports
//!   are is not known, and on long paths they are older than on short ones.

use super::echoes::{Echoes, GRAIN};

/// How fast rates follow the goal, seconds: SETTLING is this divided by [`PULL`] and by the calm.
const TIME_CONSTANT: f64 = 2.0;

/// How much of the way to the goal is gone in a time constant.
const PULL: f64 = 0.15;

/// Goal without marks: 485 MB/s, or e times the rate of a flow that is faster. Such flows settle where
/// packets are marked now and then.
const TOP: f64 = 20.0;

/// By how much the goal falls per mark, that is 16 packets: 1 MB/s is the goal at 62 packets, 31 kB/s at 97.
const STEEPNESS: f64 = 1.6;

/// The lowest goal: 55 bytes/s, below [`LEAST`]. Where a queue is longer, all goals are the same.
const BOTTOM: f64 = 4.0;

/// By how much the rate is lower per mark above the average.
const DAMPING: f64 = 0.0625;

/// Of what gets through, a rate that falls keeps this part.
const SHARE_KEPT: f64 = 0.7;

/// From this mark on (640 packets) less is sent than gets through, down to a half at the highest.
const LONG_QUEUE: f64 = 40.0;
const HIGHEST_MARK: f64 = 63.0;

/// A queue that was shorter than 128 packets and gets longer than 480 swings.
const SWING: std::ops::Range<f64> = 8.0..30.0;

/// What is left of the speed of the controller after a swing; the least that is left; and the time in which
/// it grows by a factor e, seconds.
const AFTER_SWING: f64 = 0.8;
const CALMEST: f64 = 0.05;
const RECOVERY: f64 = 60.0;

/// Time constants without marks after which the rate grows faster: others have left.
const QUIET: f64 = 2.0;

/// Seconds after the first report in which the rate may fall by half in the time in which it doubled.
const NEWCOMER: f64 = 1.0;

/// The time constant of newcomers is this part of the time since the first report, but at least so many
/// doublings of the start, which depend on how long answers take.
const PART_OF_AGE: f64 = 0.15;
const FIRST_DOUBLINGS: f64 = 4.0;

/// Bytes/s at the start.
const START: f64 = 128_000.0;

/// In this time the rate doubles until a first report, seconds, unless it is known how long an answer takes:
/// then in twice that time and the time for which a mark is not believed, but at most in the longest.
const DOUBLING: f64 = 0.1;
const LONGEST_DOUBLING: f64 = 1.0;

/// Seconds in 2^24 ns: the window for which use is measured.
pub(super) const SLOT: f64 = 0.016_777_216;
pub(super) const SLOT_EXPONENT: u32 = 24;

/// Bytes/s that every flow may have.
const LEAST: f64 = 2000.0;

/// How far sending may catch up after a pause: ns (the grain of timers), or bytes if that is more.
const BURST: f64 = 2_000_000.0;
const BURST_BYTES: f64 = 16_384.0;

/// Longest time that a packet is held back, ns.
const SECOND: u64 = 1_000_000_000;

/// The longest step of the integration, seconds.
const STEP: f64 = 0.01;

/// The most steps after a pause: then the rate is forgotten anyway.
const MAX_STEPS: usize = 50;

/// State of one flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    /// Logarithm of the rate before damping, in bytes/s.
    log: f64,
    /// ns per byte at the rate.
    pace: f64,
    echoes: Echoes,
    /// The mark that packets get, and its average.
    mark: f64,
    mean: f64,
    /// Seconds since the last mark.
    quiet: f64,
    /// Seconds since the first report; none: there was none.
    age: Option<f64>,
    /// Seconds in which the rate doubles until then.
    doubling: f64,
    /// 1: the speed of the constants. Lower, the more the queue has swung.
    calm: f64,
    /// The queue has been short since it was long.
    was_short: bool,
    /// Bytes of a packet, on average.
    size: f64,
    /// Bytes/s that were lately really sent.
    used: f64,
    /// Time up to which the rate is known, ns.
    time: u64,
    /// When the next packet may go, ns.
    next: u64,
    pub(super) slot: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Rate {
    pub(super) fn new(now: u64) -> Self {
        Self {
            log: START.ln(),
            pace: 1e9 / START,
            echoes: Echoes::new(now),
            mark: 0.0,
            mean: 0.0,
            quiet: 0.0,
            age: None,
            doubling: DOUBLING,
            calm: 1.0,
            was_short: false,
            size: 1000.0,
            used: 0.0,
            time: now,
            next: now.saturating_sub(SECOND),
            slot: now >> SLOT_EXPONENT,
            packets: 0,
            bytes: 0,
        }
    }

    /// An answer from the other end takes at most so many seconds.
    pub(super) fn answer_takes(&mut self, seconds: f64) {
        self.doubling = (2.0 * (seconds + GRAIN)).min(LONGEST_DOUBLING);
    }

    /// Bytes/s.
    pub(super) fn allowed(&self) -> f64 {
        1e9 / self.pace
    }

    /// The other end reported this level.
    pub(super) fn report(&mut self, level: u16, now: u64) {
        self.advance(now);
        self.age.get_or_insert(0.0);
        self.mark = self.echoes.take(level, now, self.size, self.allowed());
        let delivered = self.echoes.delivered().map(|rate| rate.max(1.0));
        if let Some(rate) = delivered
            && self.mark > LONG_QUEUE
        {
            let excess = (self.mark - LONG_QUEUE) / (HIGHEST_MARK - LONG_QUEUE);
            self.log = self.log.min((rate * (1.0 - excess / 2.0)).ln());
        }
        if self.mark < SWING.start {
            self.was_short = true;
        } else if self.mark > SWING.end && self.was_short {
            self.was_short = false;
            self.calm = (self.calm * AFTER_SWING).max(CALMEST);
        }
        self.set_pace();
    }

    /// Nothing was reported for long.
    pub(super) fn silence(&mut self) {
        self.echoes.silence();
        self.mark = 0.0;
        self.was_short = true;
    }

    /// Counts a packet and says when it may go, ns.
    #[inline]
    pub(super) fn count(&mut self, now: u64, bytes: u64) -> u64 {
        let slot = now >> SLOT_EXPONENT;
        if slot > self.slot {
            self.end_slots(slot);
        }
        // Steps of 1/16 slot: some µs of error do not matter.
        if now.saturating_sub(self.time) >= 1 << 20 {
            self.advance(now);
            self.set_pace();
        }
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.size += (bytes as f64 - self.size) / 16.0;
        // A packet waits at most a second, whatever its length, and its successors for no debt beyond.
        let burst = BURST.max(BURST_BYTES * self.pace) as u64;
        let earliest = now.saturating_sub(burst);
        let at = self.next.clamp(earliest, now.saturating_add(SECOND));
        let time = bytes as f64 * self.pace;
        self.next = at.saturating_add((time as u64).min(SECOND));
        at
    }

    /// The rate at `now`.
    fn advance(&mut self, now: u64) {
        let mut left = now.saturating_sub(self.time) as f64 / 1e9;
        self.time = now;
        for _ in 0..MAX_STEPS {
            let step = left.min(STEP);
            left -= step;
            match self.age {
                Some(age) => self.follow(age, step),
                None => self.log += step * std::f64::consts::LN_2 / self.doubling,
            }
            if left <= 0.0 {
                break;
            }
        }
        // A rate that is not used proves nothing about the path.
        self.log = self.log.min((2.0 * self.used).max(START).ln());
    }

    /// A step of some seconds towards the goal.
    fn follow(&mut self, age: f64, step: f64) {
        self.age = Some(age + step);
        self.quiet = if self.mark > 0.0 {
            0.0
        } else {
            self.quiet + step
        };
        let first = FIRST_DOUBLINGS * self.doubling;
        let time = (TIME_CONSTANT / self.calm).min(first.max(PART_OF_AGE * age));
        let part = (step / time).min(1.0);
        let goal = if self.mark > 0.0 {
            (TOP - STEEPNESS * self.mark).max(BOTTOM)
        } else {
            TOP.max(self.log + 1.0)
        };
        let mut way = PULL * (goal - self.log);
        if way > 0.0 {
            way *= 1.0 + (self.quiet / time - QUIET).max(0.0) / QUIET;
        }
        let before = self.log;
        self.log = (before + way * part).max(LEAST.ln());
        if self.mark > 0.0 && age < NEWCOMER {
            // What the start was too fast by goes as fast as it came.
            let least = before - step * std::f64::consts::LN_2 / self.doubling;
            self.log = self.log.min((goal + 1.0).max(least));
        }
        if self.mark > 0.0
            && let Some(rate) = self.echoes.delivered()
        {
            let kept = (SHARE_KEPT * rate).max(LEAST).ln();
            self.log = self.log.max(kept.min(before));
        }
        self.mean += (self.mark - self.mean) * part;
        self.calm = (self.calm * (1.0 + step / RECOVERY)).min(1.0);
    }

    fn set_pace(&mut self) {
        let damping = DAMPING * self.calm * self.calm * (self.mark - self.mean);
        self.pace = 1e9 / (self.log - damping).exp().max(LEAST);
    }

    #[cold]
    fn end_slots(&mut self, slot: u64) {
        let idle = slot - self.slot - 1;
        let sent = self.bytes as f64 / SLOT;
        self.used = (self.used * 0.875).max(sent);
        // What was used is forgotten in a pause: in half a second.
        for _ in 0..idle.min(32) {
            self.used *= 0.875;
        }
        self.slot = slot;
        self.packets = 0;
        self.bytes = 0;
    }
}
