//! The controller of 0.23: bytes per slot of time (`spec/unicast.md` §7.4).
//!
//! Flows that share a bottleneck do not get equal shares by it: slots hold 8 to 64 packets, so that a fast
//! flow has more of them in a time than a slow one, and each brings the same increase. It is here for
//! layers in which it is wanted, and to be measured beside.

use std::time::Duration;

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

/// A report of this level would take the whole window.
const FULL_LEVEL: u64 = 8192;

/// The highest level that counts: it halves the window. Honest receivers report less than 2048; in 0.23 a
/// level above [`FULL_LEVEL`] makes the window wrap around.
const MAX_LEVEL: u64 = FULL_LEVEL / 2;

/// State of one flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slots {
    pub(super) exponent: u32,
    pub(super) slot: u64,
    pub(super) window: u64,
    pub(super) increase: u64,
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

impl Slots {
    pub(super) fn new(now: u64) -> Self {
        Self {
            exponent: START_EXPONENT,
            slot: now >> START_EXPONENT,
            window: START_WINDOW,
            increase: START_WINDOW,
            bytes: 0,
            packets: 0,
        }
    }

    /// Counts a packet and says for how long to hold it.
    pub(super) fn count(&mut self, now: u64, bytes: u64, level: u16, avoiding: bool) -> Duration {
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let slot = now >> self.exponent;
        if slot > self.slot {
            self.slot = slot;
            self.next_window(level, avoiding);
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

    fn next_window(&mut self, level: u16, avoiding: bool) {
        if !avoiding {
            if self.bytes > self.window {
                self.window = self.window.saturating_mul(2);
            }
        } else if level > 0 {
            let level = u64::from(level).min(MAX_LEVEL);
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
}
