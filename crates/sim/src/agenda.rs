//! The event queue, and the hash of what has happened.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Virtual time: nanoseconds since the start.
pub type Time = u64;

/// A second.
pub const SECOND: Time = 1_000_000_000;

struct Entry<E> {
    at: Time,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest; what was planned first comes first.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What is going to happen, in the order of time.
pub struct Agenda<E> {
    now: Time,
    planned: BinaryHeap<Entry<E>>,
    count: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            now: 0,
            planned: BinaryHeap::new(),
            count: 0,
        }
    }
}

impl<E> Agenda<E> {
    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many events have been planned.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Plans an event; one of the past comes now.
    pub fn plan(&mut self, at: Time, event: E) {
        self.planned.push(Entry {
            at: at.max(self.now),
            order: self.count,
            event,
        });
        self.count += 1;
    }

    /// The next event up to `limit`, whose time it then is; else it is `limit`.
    pub fn next(&mut self, limit: Time) -> Option<E> {
        match self.planned.peek() {
            Some(entry) if entry.at <= limit => {
                let entry = self.planned.pop()?;
                self.now = entry.at;
                Some(entry.event)
            }
            _ => {
                self.now = self.now.max(limit);
                None
            }
        }
    }
}

/// A hash over all events (FNV-1a): two runs with the same one went alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Takes a number in.
    pub fn add(&mut self, number: u64) {
        self.add_bytes(&number.to_le_bytes());
    }

    /// Takes bytes in.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_then_of_planning() {
        let mut agenda = Agenda::default();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            agenda.plan(at, event);
        }
        let order: String = std::iter::from_fn(|| agenda.next(5)).collect();
        assert_eq!(order, "abcd");
        assert_eq!((agenda.now(), agenda.next(9)), (5, None));
        assert_eq!(agenda.now(), 9);
    }
}
