//! Values that others have stored here (`spec/directory-enrollment.md` §5.8).
//!
//! Only addresses are kept: nothing else is an answer to a query (§5.10 rule 3). A key has [`PER_KEY`] values,
//! as many as an answer carries; a registrant that stores its own address displaces one that was only
//! reported by others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    dht::{Distance, Key},
};

/// Most values of a key.
pub(super) const PER_KEY: usize = 8;

/// Most values in all.
pub(super) const MAX_VALUES: usize = 32_768;

/// Most names of one registrant.
const PER_REGISTRANT: u32 = 8_192;

/// Sweeps are at least this far apart.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

/// One value.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) address: Address,
    /// Unix seconds.
    pub(super) expiry: u32,
    /// The registrant itself stored it.
    pub(super) own_word: bool,
    /// The registrant has taken it back: kept, so that others who have not heard of it do not bring it back.
    pub(super) gone: bool,
    /// When it is to be passed on again.
    pub(super) replicate: Instant,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    New,
    Known,
    Refused,
}

/// The values by how far their keys are from the own identifier.
#[derive(Debug)]
pub(super) struct Store {
    own: Key,
    keys: BTreeMap<Distance, Vec<Stored>>,
    count: usize,
    registrants: BTreeMap<Address, u32>,
    /// When there is something to sweep or to pass on.
    due: Option<Instant>,
}

impl Store {
    pub(super) fn new(own: Key) -> Self {
        Self {
            own,
            keys: BTreeMap::new(),
            count: 0,
            registrants: BTreeMap::new(),
            due: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Keys with their values, the nearest to the own identifier first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &[Stored])> {
        self.keys
            .iter()
            .map(|(distance, values)| (self.own.at(distance), values.as_slice()))
    }

    /// Addresses under the key that are valid at `unix`, those that registrants stored themselves first.
    pub(super) fn values(&self, key: &Key, unix: u64) -> Vec<Address> {
        let Some(values) = self.keys.get(&self.own.distance(key)) else {
            return Vec::new();
        };
        let valid = |stored: &&Stored| !stored.gone && u64::from(stored.expiry) >= unix;
        let mut valid: Vec<_> = values.iter().filter(valid).collect();
        valid.sort_by_key(|stored| !stored.own_word);
        valid.into_iter().map(|stored| stored.address).collect()
    }

    pub(super) fn has(&self, key: &Key, address: Address) -> bool {
        self.keys
            .get(&self.own.distance(key))
            .is_some_and(|values| values.iter().any(|v| v.address == address && !v.gone))
    }

    /// Keeps a value until `expiry`; `own_word`: the registrant says so. It is passed on at `replicate`.
    pub(super) fn put(
        &mut self,
        (now, unix): (Instant, u64),
        key: &Key,
        address: Address,
        expiry: u32,
        own_word: bool,
        replicate: Instant,
    ) -> Put {
        let distance = self.own.distance(key);
        if let Some(values) = self.keys.get_mut(&distance) {
            if let Some(stored) = values.iter_mut().find(|v| v.address == address) {
                if stored.gone && !own_word {
                    return Put::Refused;
                }
                let was_gone = std::mem::replace(&mut stored.gone, false);
                stored.expiry = if was_gone {
                    expiry
                } else {
                    stored.expiry.max(expiry)
                };
                stored.own_word |= own_word;
                stored.replicate = replicate;
                return if was_gone { Put::New } else { Put::Known };
            }
            let (registrants, count) = (&mut self.registrants, &mut self.count);
            values.retain(|stored| {
                let keep = u64::from(stored.expiry) >= unix;
                if !keep {
                    forget(registrants, stored.address);
                    *count -= 1;
                }
                keep
            });
            if values.len() >= PER_KEY {
                let hearsay = values
                    .iter()
                    .enumerate()
                    .filter(|(_, stored)| own_word && (!stored.own_word || stored.gone))
                    .min_by_key(|(_, stored)| stored.expiry)
                    .map(|(at, _)| at);
                let Some(at) = hearsay else {
                    return Put::Refused;
                };
                let gone = values.swap_remove(at);
                self.drop_one(gone.address);
            }
        }
        let names = self.registrants.get(&address).copied().unwrap_or(0);
        if names >= PER_REGISTRANT || !self.make_room(&distance) {
            return Put::Refused;
        }
        self.keys.entry(distance).or_default().push(Stored {
            address,
            expiry,
            own_word,
            gone: false,
            replicate,
        });
        self.count += 1;
        *self.registrants.entry(address).or_default() += 1;
        let left = u64::from(expiry).saturating_sub(unix);
        let turn = replicate.min(now + Duration::from_secs(left + 1));
        self.due = Some(self.due.map_or(turn, |due| due.min(turn)));
        Put::New
    }

    /// The registrant does not have the name any more.
    pub(super) fn withdraw(&mut self, key: &Key, address: Address) {
        if let Some(values) = self.keys.get_mut(&self.own.distance(key)) {
            for stored in values.iter_mut().filter(|v| v.address == address) {
                stored.gone = true;
            }
        }
    }

    /// Room for one more: when full, what is farthest from the own identifier goes, if it is farther.
    fn make_room(&mut self, distance: &Distance) -> bool {
        while self.count >= MAX_VALUES {
            let Some(mut farthest) = self.keys.last_entry() else {
                return false;
            };
            if farthest.key() <= distance {
                return false;
            }
            // None of a key whose values have expired.
            let gone = farthest.get_mut().pop();
            if farthest.get().is_empty() {
                farthest.remove();
            }
            if let Some(gone) = gone {
                self.drop_one(gone.address);
            }
        }
        true
    }

    fn drop_one(&mut self, address: Address) {
        self.count -= 1;
        forget(&mut self.registrants, address);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Brings a value's turn to be passed on forward to `at`.
    pub(super) fn hasten(&mut self, key: &Key, address: Address, at: Instant) {
        if let Some(values) = self.keys.get_mut(&self.own.distance(key)) {
            for stored in values.iter_mut().filter(|v| v.address == address) {
                stored.replicate = at;
                self.due = Some(self.due.map_or(at, |due| due.min(at)));
            }
        }
    }

    /// Removes what is past, gives up to `most` values that are to be passed on, and sets their next turn,
    /// `period` later.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        unix: u64,
        period: Duration,
        most: usize,
    ) -> Vec<(Key, Address, u32)> {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        let (registrants, count, own) = (&mut self.registrants, &mut self.count, self.own);
        self.keys.retain(|distance, values| {
            values.retain_mut(|stored| {
                let Some(left) = u64::from(stored.expiry).checked_sub(unix) else {
                    forget(registrants, stored.address);
                    *count -= 1;
                    return false;
                };
                if stored.replicate <= now && due.len() < most {
                    if !stored.gone {
                        due.push((own.at(distance), stored.address, stored.expiry));
                    }
                    stored.replicate = now + period;
                }
                let expires = now + Duration::from_secs(left + 1);
                let at = stored.replicate.min(expires);
                next = Some(next.map_or(at, |next| next.min(at)));
                true
            });
            !values.is_empty()
        });
        self.due = next.map(|next| next.max(now + SWEEP_PAUSE));
        due
    }
}

fn forget(registrants: &mut BTreeMap<Address, u32>, address: Address) {
    if let Some(names) = registrants.get_mut(&address) {
        *names = names.saturating_sub(1);
        if *names == 0 {
            registrants.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn expiry_is_only_ever_extended_and_past_values_are_not_given() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        let a = Address::new(5);
        assert_eq!(store.put((now, 100), &key(1), a, 200, true, now), Put::New);
        assert_eq!(
            store.put((now, 100), &key(1), a, 150, true, now),
            Put::Known
        );
        assert_eq!(store.values(&key(1), 200), [a]);
        assert!(store.values(&key(1), 201).is_empty());
        store.sweep(now, 201, SWEEP_PAUSE, 9);
        assert_eq!((store.len(), store.keys()), (0, 0));
        assert!(store.registrants.is_empty());
    }

    #[test]
    fn a_registrant_displaces_hearsay_and_hearsay_displaces_nothing() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        for n in 1..=PER_KEY as u64 {
            store.put((now, 0), &key(1), Address::new(n), 100, false, now);
        }
        let (late, true_one) = (Address::new(98), Address::new(99));
        assert_eq!(
            store.put((now, 0), &key(1), late, 100, false, now),
            Put::Refused
        );
        assert_eq!(
            store.put((now, 0), &key(1), true_one, 100, true, now),
            Put::New
        );
        assert_eq!(store.values(&key(1), 0)[0], true_one);
        assert_eq!(store.len(), PER_KEY);
    }

    #[test]
    fn what_was_taken_back_comes_back_by_its_registrant_only() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        let a = Address::new(5);
        store.put((now, 0), &key(1), a, 100, true, now);
        store.withdraw(&key(1), a);
        assert!(store.values(&key(1), 0).is_empty());
        assert_eq!(
            store.put((now, 0), &key(1), a, 200, false, now),
            Put::Refused
        );
        assert_eq!(store.put((now, 0), &key(1), a, 200, true, now), Put::New);
        assert_eq!(store.values(&key(1), 0), [a]);
    }

    #[test]
    fn one_registrant_cannot_fill_the_store() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        for n in 0..PER_REGISTRANT + 5 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let key = Key::from_bytes(&bytes).unwrap();
            let put = store.put((now, 0), &key, Address::new(1), 100, true, now);
            assert_eq!(put == Put::New, n < PER_REGISTRANT);
        }
    }

    #[test]
    fn a_full_store_keeps_what_is_near() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        for n in 0..MAX_VALUES as u32 + 1_000 {
            let mut bytes = [0; 32];
            // The later the nearer.
            bytes[..4].copy_from_slice(&(u32::MAX - n).to_be_bytes());
            let key = Key::from_bytes(&bytes).unwrap();
            let address = Address::from(1 + n % 64);
            assert_eq!(store.put((now, 0), &key, address, 100, true, now), Put::New);
        }
        assert_eq!(store.len(), MAX_VALUES);
        let refused = store.put((now, 0), &key(0xff), Address::new(99), 100, true, now);
        assert_eq!(refused, Put::Refused);
        store.sweep(now, 101, SWEEP_PAUSE, 9);
        assert_eq!((store.len(), store.registrants.len()), (0, 0));
    }

    /// A key whose only value expired is no room for another value.
    #[test]
    fn a_full_store_does_not_grow_by_keys_without_values() {
        let now = Instant::now();
        let mut store = Store::new(key(0));
        let near = |n: u32| {
            let mut bytes = [0; 32];
            bytes[4..8].copy_from_slice(&(n + 1).to_be_bytes());
            Key::from_bytes(&bytes).unwrap()
        };
        for n in 0..MAX_VALUES as u32 - 1 {
            let address = Address::from(if n < PER_REGISTRANT { 9 } else { 10 + n % 64 });
            store.put((now, 0), &near(n), address, 200, true, now);
        }
        let far = key(0xff);
        store.put((now, 0), &far, Address::new(5), 100, true, now);
        assert_eq!(store.len(), MAX_VALUES);
        // It expired, and this registrant has too many names.
        let refused = store.put((now, 101), &far, Address::new(9), 200, true, now);
        assert_eq!((refused, store.len()), (Put::Refused, MAX_VALUES - 1));
        for n in 0..4 {
            let new = near(MAX_VALUES as u32 + n);
            store.put((now, 101), &new, Address::new(6), 200, true, now);
            assert!(store.len() <= MAX_VALUES, "{}", store.len());
        }
    }
}
