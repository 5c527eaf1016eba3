//! Where names are: what queries and the resolver have told (`spec/shims.md` §5.2).
//!
//! Entries age, and an address that did not answer an allocation is dropped (trap 23).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_wire::hash::NameHash;

use super::Address;

#[derive(Debug, Clone, Copy)]
struct Known {
    address: Address,
    told: Instant,
}

#[derive(Debug)]
pub(super) struct Directory {
    names: BTreeMap<NameHash, Vec<Known>>,
    max_names: usize,
    max_addresses: usize,
    believed: Duration,
}

impl Directory {
    pub(super) fn new(max_names: usize, max_addresses: usize, believed: Duration) -> Self {
        Self {
            names: BTreeMap::new(),
            max_names: max_names.max(1),
            max_addresses: max_addresses.max(1),
            believed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Learns an address, or that it is still right.
    pub(super) fn learn(&mut self, now: Instant, hash: &NameHash, address: Address) {
        if !self.names.contains_key(hash) && self.names.len() >= self.max_names {
            self.make_room(now);
        }
        let known = self.names.entry(hash.clone()).or_default();
        known.retain(|entry| entry.address != address);
        known.insert(0, Known { address, told: now });
        known.truncate(self.max_addresses);
    }

    fn make_room(&mut self, now: Instant) {
        let believed = self.believed;
        self.names
            .retain(|_, known| known.iter().any(|entry| entry.is_good(now, believed)));
        if self.names.len() >= self.max_names {
            let told = |known: &Vec<Known>| known.first().map(|entry| entry.told);
            let oldest = self.names.iter().min_by_key(|(_, known)| told(known));
            if let Some(oldest) = oldest.map(|(hash, _)| hash.clone()) {
                self.names.remove(&oldest);
            }
        }
    }

    /// The addresses of a name, the latest first.
    pub(super) fn addresses(&mut self, now: Instant, hash: &NameHash) -> Vec<Address> {
        let Some(known) = self.names.get_mut(hash) else {
            return Vec::new();
        };
        known.retain(|entry| entry.is_good(now, self.believed));
        let addresses: Vec<_> = known.iter().map(|entry| entry.address).collect();
        if addresses.is_empty() {
            self.names.remove(hash);
        }
        addresses
    }

    pub(super) fn knows(&self, hash: &NameHash, address: Address) -> bool {
        self.names
            .get(hash)
            .is_some_and(|known| known.iter().any(|entry| entry.address == address))
    }

    /// The address was of no use.
    pub(super) fn drop_address(&mut self, hash: &NameHash, address: Address) {
        if let Some(known) = self.names.get_mut(hash) {
            known.retain(|entry| entry.address != address);
            if known.is_empty() {
                self.names.remove(hash);
            }
        }
    }
}

impl Known {
    fn is_good(&self, now: Instant, believed: Duration) -> bool {
        now.saturating_duration_since(self.told) < believed
    }
}

#[cfg(test)]
mod tests {
    use o7s_wire::eth::MacAddr;

    use super::*;

    fn hash(number: u8) -> NameHash {
        NameHash::from_bytes(&[number; 4])
    }

    fn mac(number: u8) -> Address {
        Address::Mac(MacAddr([2, 0, 0, 0, 0, number]))
    }

    #[test]
    fn entries_age_and_are_bounded() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut directory = Directory::new(3, 2, second * 10);
        for number in 1..=3 {
            directory.learn(now, &hash(1), mac(number));
        }
        assert_eq!(directory.addresses(now, &hash(1)), [mac(3), mac(2)]);
        directory.learn(now + second * 5, &hash(1), mac(2));
        let later = now + second * 10;
        assert_eq!(directory.addresses(later, &hash(1)), [mac(2)]);
        directory.drop_address(&hash(1), mac(2));
        assert_eq!(directory.len(), 0);
        for number in 0..5 {
            directory.learn(now + second * number, &hash(number as u8), mac(1));
        }
        assert_eq!(directory.len(), 3);
        assert!(directory.knows(&hash(4), mac(1)) && !directory.knows(&hash(0), mac(1)));
    }
}
