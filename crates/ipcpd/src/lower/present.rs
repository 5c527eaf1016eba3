//! The N-1 flows that are there, as management knows them, and their numbers.
//!
//! Numbers are small and used again: tables of the data thread are indexed by them. What that thread tells
//! of a flow carries its [`Serial`], so that news of a flow that is over never hit its successor.

use std::collections::BTreeMap;

use o7s::{Flow, Result};
use o7s_proto::unicast::Lower;

/// An N-1 flow of the data thread: its number, and one that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// The number by which protocol and tables know it.
    pub lower: Lower,
    /// Tells it from others that had the number before.
    pub serial: u64,
}

/// What management knows of an N-1 flow; `more` is what its type of IPCP wants to know.
#[derive(Debug)]
pub struct Known<T> {
    serial: u64,
    /// Name of the flow, for people.
    pub name: String,
    /// Longest packet that it carries, bytes.
    pub max_packet: usize,
    /// What the type of the IPCP knows of it.
    pub more: T,
}

/// The N-1 flows by number.
#[derive(Debug)]
pub struct Present<T> {
    flows: BTreeMap<Lower, Known<T>>,
    last_serial: u64,
}

impl<T> Default for Present<T> {
    fn default() -> Self {
        Self {
            flows: BTreeMap::new(),
            last_serial: 0,
        }
    }
}

impl<T> Present<T> {
    /// Takes a flow in under the lowest free number.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn insert(&mut self, flow: &Flow, more: T) -> Result<Serial> {
        let (name, max_packet) = (flow.name().to_owned(), flow.max_packet()?);
        Ok(self.number(name, max_packet, more))
    }

    fn number(&mut self, name: String, max_packet: usize, more: T) -> Serial {
        let free = (0..).find(|number| !self.flows.contains_key(&Lower(*number)));
        let lower = Lower(free.unwrap_or(u32::MAX));
        self.last_serial += 1;
        let serial = self.last_serial;
        let known = Known {
            serial,
            name,
            max_packet,
            more,
        };
        self.flows.insert(lower, known);
        Serial { lower, serial }
    }

    /// Forgets a flow.
    pub fn remove(&mut self, lower: Lower) -> Option<Known<T>> {
        self.flows.remove(&lower)
    }

    /// Forgets a flow of which the data thread told that it is over; none if it is an earlier one.
    pub fn over(&mut self, serial: Serial) -> Option<Known<T>> {
        if self.is_current(serial) {
            self.flows.remove(&serial.lower)
        } else {
            None
        }
    }

    /// Whether news are of a flow that is there.
    #[must_use]
    pub fn is_current(&self, serial: Serial) -> bool {
        self.get(serial.lower)
            .is_some_and(|known| known.serial == serial.serial)
    }

    /// A flow.
    #[must_use]
    pub fn get(&self, lower: Lower) -> Option<&Known<T>> {
        self.flows.get(&lower)
    }

    /// A flow.
    pub fn get_mut(&mut self, lower: Lower) -> Option<&mut Known<T>> {
        self.flows.get_mut(&lower)
    }

    /// All flows, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Lower, &Known<T>)> {
        self.flows.iter().map(|(lower, known)| (*lower, known))
    }

    /// The longest packet, bytes, that all flows carry for which `counts` holds; none if there is no such
    /// flow.
    #[must_use]
    pub fn max_packet(&self, counts: impl Fn(&T) -> bool) -> Option<usize> {
        let counted = self.flows.values().filter(|known| counts(&known.more));
        counted.map(|known| known.max_packet).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number<T>(present: &mut Present<T>, max_packet: usize, more: T) -> Serial {
        present.number("flow".to_owned(), max_packet, more)
    }

    #[test]
    fn numbers_are_used_again_and_serials_are_not() {
        let mut present = Present::default();
        let first = number(&mut present, 100, ());
        let second = number(&mut present, 100, ());
        assert_eq!((first.lower, second.lower), (Lower(0), Lower(1)));
        assert!(present.remove(first.lower).is_some());
        assert!(!present.is_current(first));
        let third = number(&mut present, 100, ());
        assert_eq!(third.lower, first.lower);
        assert_ne!(third.serial, first.serial);
        assert!(present.over(first).is_none(), "news of the one before");
        assert!(present.is_current(third));
        assert!(present.over(third).is_some());
        assert!(present.get(third.lower).is_none());
        assert!(present.is_current(second));
    }

    #[test]
    fn the_longest_packet_is_that_of_the_flows_that_count() {
        let mut present = Present::default();
        assert_eq!(present.max_packet(|_| true), None);
        number(&mut present, 50, false);
        number(&mut present, 200, true);
        number(&mut present, 100, true);
        assert_eq!(present.max_packet(|_| true), Some(50));
        assert_eq!(present.max_packet(|counts| *counts), Some(100));
    }
}
