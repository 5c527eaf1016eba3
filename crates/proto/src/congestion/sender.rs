//! The sending end of a flow: bytes per slot of time, and when the next packet may go
//! (`spec/unicast.md` §7.4).

use std::time::{Duration, Instant};

use super::Policy;

/// log2 of the ns of the first slots: 16.8 ms.
const START_EXPONENT: u32 = 24;

/// Slots are at least 1 µs and at most 1.1 s long: shorter ones are below the grain of clocks, longer ones
/// above the longest delay. (0.23 has no bounds.)
const EXPONENTS: std::ops::RangeInclusive<u32> = 10..=30;

/// Bytes per slot at the start, and by how many they grow: about 4 MB/s.
const START_WINDOW: u64 = 65_536;

/// A slot with fewer packets is too short.
const FEW_PACKETS: u64 = 8;

/// A slot with more packets is too long.
const MANY_PACKETS: u64 = 64;

/// Packets after which a report is too old.
const REPORT_LIFE: u32 = 32;

/// A report of this level would take the whole window.
const FULL_LEVEL: u64 = 8192;

/// The highest level that counts: it halves the window. Honest receivers report less than 2048; in 0.23 a
/// level above [`FULL_LEVEL`] makes the window wrap around.
const MAX_LEVEL: u64 = FULL_LEVEL / 2;

/// Longest time that a packet is held back.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// What the controller does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// No report came yet: the window doubles.
    SlowStart,
    /// The last report told congestion: the window shrinks by a fraction.
    MultiplicativeDecrease,
    /// No congestion: the window grows by a constant.
    AdditiveIncrease,
}

/// Variables of the controller, for displays (`spec/unicast.md` §11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderState {
    /// Level that was last reported, 0 when that was too long ago.
    pub level: u16,
    /// Packets since that report.
    pub since_report: u32,
    /// log2 of the length of a slot in ns.
    pub exponent: u32,
    /// Number of the present slot.
    pub slot: u64,
    /// Packets in it.
    pub packets: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes allowed in it.
    pub window: u64,
    /// By how many bytes the window grows per slot.
    pub increase: u64,
    /// What the controller does.
    pub regime: Regime,
}

/// Rate of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    policy: Policy,
    epoch: Instant,
    exponent: u32,
    slot: u64,
    window: u64,
    increase: u64,
    bytes: u64,
    packets: u64,
    level: u16,
    since_report: u32,
    avoiding: bool,
    /// The packet at the head of the queue has been counted and may go then.
    pub(super) held: Option<Instant>,
}

impl Sender {
    /// A flow that has sent nothing. Slots are aligned to `epoch`, which lies before `now`; which time it
    /// is does not matter.
    #[must_use]
    pub fn new(policy: Policy, epoch: Instant, now: Instant) -> Self {
        Self {
            policy,
            epoch,
            exponent: START_EXPONENT,
            slot: nanos(epoch, now) >> START_EXPONENT,
            window: START_WINDOW,
            increase: START_WINDOW,
            bytes: 0,
            packets: 0,
            level: 0,
            since_report: 0,
            avoiding: false,
            held: None,
        }
    }

    /// The other end reported this level of congestion.
    pub fn update(&mut self, level: u16) {
        self.level = level;
        self.since_report = 0;
        self.avoiding = true;
    }

    /// Whether the packet at the head of the flow's queue, of so many bytes without the header of data
    /// transfer, may go now. After `Ok` it must be sent or dropped; each `Ok` is for one packet.
    ///
    /// # Errors
    /// The time at which to ask again for the same packet, at most 1 s from when it was first asked for.
    #[inline]
    pub fn may_send(&mut self, now: Instant, bytes: usize) -> Result<(), Instant> {
        if self.policy == Policy::None {
            return Ok(());
        }
        if let Some(until) = self.held {
            if now < until {
                return Err(until);
            }
            self.held = None;
            return Ok(());
        }
        let delay = self.count(nanos(self.epoch, now), bytes as u64);
        if delay.is_zero() {
            return Ok(());
        }
        let until = now + delay.min(MAX_DELAY);
        self.held = Some(until);
        Err(until)
    }

    /// Counts a packet and says for how long to hold it.
    fn count(&mut self, now: u64, bytes: u64) -> Duration {
        self.since_report = self.since_report.saturating_add(1);
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.since_report > REPORT_LIFE {
            self.level = 0;
        }
        let slot = now >> self.exponent;
        if slot > self.slot {
            self.slot = slot;
            self.next_window();
            if !self.scale() {
                self.bytes = 0;
                self.packets = 0;
            }
        }
        if self.bytes <= self.window {
            return Duration::ZERO;
        }
        let end = (self.slot + 1) << self.exponent;
        Duration::from_nanos(end.saturating_sub(now))
    }

    fn next_window(&mut self) {
        if !self.avoiding {
            if self.bytes > self.window {
                self.window = self.window.saturating_mul(2);
            }
        } else if self.level > 0 {
            let level = u64::from(self.level).min(MAX_LEVEL);
            // As window * level / 8192, without overflow.
            let whole = self.window / FULL_LEVEL * level;
            self.window -= whole + self.window % FULL_LEVEL * level / FULL_LEVEL;
        } else {
            self.window = self.bytes.saturating_add(self.increase);
        }
    }

    /// Fits the length of slots to the packets in the one that ended; true if what it counted goes over
    /// to the new, longer one.
    fn scale(&mut self) -> bool {
        if self.packets < FEW_PACKETS {
            // At least one packet is counted, so that this ends.
            let wanted = (0..4).find(|by| self.packets << by >= FEW_PACKETS);
            let by = wanted.unwrap_or(3).min(EXPONENTS.end() - self.exponent);
            self.exponent += by;
            self.slot >>= by;
            self.window = self.window.saturating_mul(1 << by);
            self.increase <<= by;
            if by > 0 && self.slot & ((1 << by) - 1) == 0 {
                self.slot += 1;
                return true;
            }
        } else if self.packets > MANY_PACKETS {
            let mut by = 0;
            while self.packets >> by > MANY_PACKETS && self.exponent - by > *EXPONENTS.start() {
                by += 1;
            }
            self.exponent -= by;
            self.slot <<= by;
            self.window >>= by;
            self.increase >>= by;
        }
        false
    }

    /// The variables.
    #[must_use]
    pub fn state(&self) -> SenderState {
        SenderState {
            level: self.level,
            since_report: self.since_report,
            exponent: self.exponent,
            slot: self.slot,
            packets: self.packets,
            bytes: self.bytes,
            window: self.window,
            increase: self.increase,
            regime: match (self.avoiding, self.level) {
                (false, _) => Regime::SlowStart,
                (true, 0) => Regime::AdditiveIncrease,
                (true, _) => Regime::MultiplicativeDecrease,
            },
        }
    }
}

/// 584 years in 64 bits.
#[inline]
fn nanos(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}
