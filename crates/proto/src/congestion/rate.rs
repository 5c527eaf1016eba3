//! The controller of our own: a rate that settles where all flows of a bottleneck have the same
//! (`docs/architecture.md`, congestion).
//!
//! With the level E that the receiver reports, the rate r changes by
//!
//! ```text
//!  dr/dt = r / T * (1 - r * E^2 / K)
//! ```
//!
//! It grows as long as r is below K / E^2 and shrinks above it. All flows of a bottleneck see the same
//! queue and hence the same E: they settle at the same r, wherever they came from, and the queue at that
//! where the rates add up to the bottleneck's. The square keeps the queue between some and some hundred
//! packets over four orders of rates. A part of E acts at once, which damps the swing between rates and
//! queue.

/// T: how fast rates change, seconds.
const TIME_CONSTANT: f64 = 0.5;

/// The shortest time in which a rate shrinks by a factor e, seconds.
const FASTEST_DECREASE: f64 = 0.08;

/// K: bytes/s times the square of a level. At 1.25 MB/s a flow settles at level 200, a queue of 100.
const BALANCE: f64 = 1.25e6 * 200.0 * 200.0;

/// The level that halves the rate at once.
const DAMPING: f64 = 512.0;

/// Until a first report the rate grows by a factor e in this time, seconds: doubles in a slot of 0.23.
const SLOW_START: f64 = 0.0242;

/// Bytes/s at the start: the first window of 0.23.
const START: f64 = 65_536.0 / SLOT;

/// Seconds in 2^24 ns: the window for which use is measured.
pub(super) const SLOT: f64 = 0.016_777_216;
pub(super) const SLOT_EXPONENT: u32 = 24;

/// Bytes/s that every flow may have.
const LEAST: f64 = 2000.0;

/// How far sending may catch up after a pause, ns: the grain of timers.
const BURST: u64 = 2_000_000;

/// Longest time that a packet is held back, ns.
const SECOND: u64 = 1_000_000_000;

/// The longest step of the integration, seconds.
const STEP: f64 = 0.01;

/// The most steps after a pause: then the rate is forgotten anyway.
const MAX_STEPS: usize = 50;

/// State of one flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    /// Bytes/s before damping.
    rate: f64,
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
            rate: START,
            used: 0.0,
            time: now,
            next: now,
            slot: now >> SLOT_EXPONENT,
            packets: 0,
            bytes: 0,
        }
    }

    /// Bytes/s at this level.
    pub(super) fn allowed(&self, level: u16) -> f64 {
        self.rate / (1.0 + f64::from(level) / DAMPING)
    }

    /// Counts a packet and says when it may go, ns.
    #[inline]
    pub(super) fn count(&mut self, now: u64, bytes: u64, level: u16, avoiding: bool) -> u64 {
        self.advance(now, level, avoiding);
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        // A packet waits at most a second, whatever its length, and its successors for no debt beyond.
        let earliest = now.saturating_sub(BURST);
        let at = self.next.clamp(earliest, now.saturating_add(SECOND));
        let time = bytes as f64 * 1e9 / self.allowed(level);
        self.next = at.saturating_add((time as u64).min(SECOND));
        at
    }

    /// The rate at `now`.
    #[inline]
    fn advance(&mut self, now: u64, level: u16, avoiding: bool) {
        let slot = now >> SLOT_EXPONENT;
        if slot > self.slot {
            self.end_slots(slot);
        }
        // Steps of 1/16 slot: some µs of error do not matter.
        if now.saturating_sub(self.time) < 1 << 20 {
            return;
        }
        let mut left = (now - self.time) as f64 / 1e9;
        self.time = now;
        for _ in 0..MAX_STEPS {
            let step = left.min(STEP);
            left -= step;
            let change = if avoiding {
                let level_squared = f64::from(level) * f64::from(level);
                let balance = self.allowed(level) * level_squared / BALANCE;
                ((1.0 - balance) / TIME_CONSTANT).max(-1.0 / FASTEST_DECREASE)
            } else {
                1.0 / SLOW_START
            };
            self.rate = (self.rate * (1.0 + change * step)).max(LEAST);
            if left <= 0.0 {
                break;
            }
        }
        // A rate that is not used proves nothing about the path.
        self.rate = self.rate.min((2.0 * self.used).max(START));
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
