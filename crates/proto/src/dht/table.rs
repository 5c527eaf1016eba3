//! The contacts of a member (`spec/directory-enrollment.md` §5.5).
//!
//! Buckets by the number of leading bits that an identifier shares with the own one, of `k` contacts each, as
//! Kademlia has them; a layer of up to [`SMALL`] others is known completely.
//!
//! A contact is *proven* once it has answered a request of ours: then it is at its address. Only proven
//! contacts are handed out, and a claim about an address never replaces a proven contact. That bounds what a
//! hostile member can do with identifiers and addresses that it makes up.

use std::time::Instant;

use o7s_wire::{
    address::Address,
    dht::{Contact, Key},
};

use super::allowance::{Allowance, Rate};

/// Up to so many contacts are kept whatever their bucket, and all are asked and stored at.
pub(super) const SMALL: usize = 32;

/// Most contacts.
const MAX_CONTACTS: usize = 1_024;

/// Most contacts that are not proven.
const MAX_UNPROVEN: usize = 96;

/// Requests without answer after which a contact is given up.
pub(super) const MAX_FAILURES: u8 = 2;

/// Messages per second that a contact may send.
pub(super) const PER_CONTACT: Rate = Rate(2_048);

/// One contact.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) contact: Contact,
    /// Has answered.
    pub(super) proven: bool,
    /// Requests in a row that it did not answer.
    pub(super) failures: u8,
    /// When it was proven last, or learned, or asked by the refresh.
    pub(super) heard: Instant,
    /// When a conflicting claim made us ask it.
    pub(super) challenged: Option<Instant>,
    pub(super) allowance: Allowance,
}

impl Entry {
    fn new(contact: Contact, proven: bool, now: Instant) -> Self {
        Self {
            contact,
            proven,
            failures: 0,
            heard: now,
            challenged: None,
            allowance: Allowance::new(PER_CONTACT, now),
        }
    }

    /// May be handed out.
    pub(super) fn is_good(&self) -> bool {
        self.proven && self.failures == 0
    }
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is in the table now, not proven.
    New,
    /// It was there.
    Known,
    /// A proven contact says otherwise.
    Conflict,
    /// No room, or it is ourselves.
    Refused,
}

/// The contacts.
#[derive(Debug)]
pub(super) struct Table {
    own: Contact,
    k: usize,
    entries: Vec<Entry>,
}

impl Table {
    pub(super) fn new(own: Contact, k: usize) -> Self {
        Self {
            own,
            k,
            entries: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all members may be known.
    pub(super) fn is_small(&self) -> bool {
        self.entries.len() <= SMALL.max(self.k)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn get_mut(&mut self, address: Address) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.contact.address == address)
    }

    pub(super) fn has_good(&self) -> bool {
        self.entries.iter().any(Entry::is_good)
    }

    /// Number of the bucket of an identifier.
    pub(super) fn bucket(&self, id: &Key) -> u32 {
        self.own.id.distance(id).common_bits()
    }

    /// Up to `n` contacts that pass `filter`, the closest to `key` first.
    pub(super) fn closest(
        &self,
        key: &Key,
        n: usize,
        filter: impl Fn(&Entry) -> bool,
    ) -> Vec<Contact> {
        let mut found: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| filter(entry))
            .map(|entry| (key.distance(&entry.contact.id), entry.contact))
            .collect();
        if found.len() > n {
            found.select_nth_unstable_by(n, |a, b| a.0.cmp(&b.0));
            found.truncate(n);
        }
        found.sort_unstable_by_key(|found| found.0);
        found.into_iter().map(|(_, contact)| contact).collect()
    }

    fn is_own(&self, contact: &Contact) -> bool {
        contact.address == self.own.address || contact.id == self.own.id
    }

    /// Somebody says that there is this contact.
    pub(super) fn claim(&mut self, contact: Contact, now: Instant) -> Claim {
        if self.is_own(&contact) {
            return Claim::Refused;
        }
        let related = |entry: &Entry| {
            entry.contact.address == contact.address || entry.contact.id == contact.id
        };
        if let Some(entry) = self.entries.iter().find(|entry| related(entry)) {
            if entry.contact == contact {
                return Claim::Known;
            }
            if self
                .entries
                .iter()
                .any(|entry| related(entry) && entry.proven)
            {
                return Claim::Conflict;
            }
            self.entries.retain(|entry| !related(entry));
        }
        let unproven = self.entries.iter().filter(|entry| !entry.proven).count();
        if unproven >= MAX_UNPROVEN || !self.make_room(&contact, |entry| entry.failures > 0) {
            return Claim::Refused;
        }
        self.entries.push(Entry::new(contact, false, now));
        Claim::New
    }

    /// This contact has answered. True: it was not proven before, and is in the table now.
    pub(super) fn prove(&mut self, contact: Contact, now: Instant) -> bool {
        if self.is_own(&contact) {
            return false;
        }
        if let Some(entry) = self.get_mut(contact.address)
            && entry.contact.id == contact.id
        {
            entry.heard = now;
            entry.failures = 0;
            return !std::mem::replace(&mut entry.proven, true);
        }
        // Who answers at an address is the one who is there now.
        self.entries.retain(|entry| {
            entry.contact.address != contact.address && entry.contact.id != contact.id
        });
        if !self.make_room(&contact, |entry| !entry.is_good()) {
            return false;
        }
        self.entries.push(Entry::new(contact, true, now));
        true
    }

    /// Whether there is room for a contact, perhaps in place of the one of its bucket that was heard least
    /// recently among those that may go.
    fn make_room(&mut self, contact: &Contact, may_go: impl Fn(&Entry) -> bool) -> bool {
        if self.entries.len() < SMALL {
            return true;
        }
        let bucket = self.bucket(&contact.id);
        let in_bucket: Vec<usize> = (0..self.entries.len())
            .filter(|&at| self.bucket(&self.entries[at].contact.id) == bucket)
            .collect();
        if in_bucket.len() < self.k && self.entries.len() < MAX_CONTACTS {
            return true;
        }
        let worst = in_bucket
            .into_iter()
            .filter(|&at| may_go(&self.entries[at]))
            .max_by_key(|&at| {
                let entry = &self.entries[at];
                (
                    entry.failures,
                    !entry.proven,
                    std::cmp::Reverse(entry.heard),
                )
            });
        match worst {
            Some(at) => {
                self.entries.swap_remove(at);
                true
            }
            None => false,
        }
    }

    /// A request to this address was not answered. Gives the contact if that makes it one to give up.
    pub(super) fn fail(&mut self, address: Address) -> Option<Contact> {
        let entry = self.get_mut(address)?;
        entry.failures = entry.failures.saturating_add(1);
        (entry.failures >= MAX_FAILURES || !entry.proven).then_some(entry.contact)
    }

    pub(super) fn remove(&mut self, address: Address) -> Option<Entry> {
        let at = self
            .entries
            .iter()
            .position(|entry| entry.contact.address == address)?;
        Some(self.entries.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8, rest: u8) -> Key {
        let mut bytes = [rest; 32];
        bytes[0] = first;
        Key::from_bytes(&bytes).unwrap()
    }

    fn contact(first: u8, address: u32) -> Contact {
        Contact {
            id: key(first, u8::try_from(address % 251).unwrap()),
            address: address.into(),
        }
    }

    fn table() -> Table {
        Table::new(contact(0, 250), 8)
    }

    #[test]
    fn a_bucket_of_a_large_table_takes_k_and_prefers_those_that_answer() {
        let (mut table, now) = (table(), Instant::now());
        for n in 1..=SMALL as u32 {
            assert_eq!(table.claim(contact(0x80, n), now), Claim::New);
        }
        assert_eq!(table.claim(contact(0x80, 99), now), Claim::Refused);
        assert!(table.prove(contact(0x80, 99), now));
        assert_eq!(table.len(), SMALL);
        assert!(!table.prove(contact(0x80, 99), now));
        // Another bucket has room.
        assert_eq!(table.claim(contact(0x40, 100), now), Claim::New);
    }

    #[test]
    fn claims_do_not_replace_a_proven_contact_but_its_answer_does() {
        let (mut table, now) = (table(), Instant::now());
        table.prove(contact(0x80, 1), now);
        let other = Contact {
            id: key(0x10, 9),
            address: 1_u32.into(),
        };
        assert_eq!(table.claim(other, now), Claim::Conflict);
        let moved = Contact {
            address: 77_u32.into(),
            ..contact(0x80, 1)
        };
        assert_eq!(table.claim(moved, now), Claim::Conflict);
        assert!(table.prove(other, now));
        assert_eq!(table.len(), 1);
        assert_eq!(table.entries()[0].contact, other);
    }

    #[test]
    fn the_own_contact_is_never_in_the_table() {
        let (mut table, now) = (table(), Instant::now());
        assert_eq!(table.claim(contact(0, 250), now), Claim::Refused);
        assert!(!table.prove(contact(7, 250), now));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_closest_come_first() {
        let (mut table, now) = (table(), Instant::now());
        for n in 1..20_u8 {
            table.prove(contact(n, n.into()), now);
        }
        let found = table.closest(&key(5, 0), 3, Entry::is_good);
        let firsts: Vec<_> = found.iter().map(|c| c.id.as_bytes()[0]).collect();
        assert_eq!(firsts, [5, 4, 7]);
    }
}
