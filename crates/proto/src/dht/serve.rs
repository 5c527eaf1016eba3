//! What others ask of a member (`spec/directory-enrollment.md` §5.7, §5.8).

use std::time::{Duration, Instant};

use o7s_wire::{
    address::Address,
    dht::{Body, Contact, Find, Key, Nodes, Value},
};

use super::{
    Dht, PROBES, STRANGERS, after,
    requests::Purpose,
    store::{PER_KEY, Put},
    table::{Claim, Entry, PER_CONTACT},
};

/// A contact whose address another one claims is asked at most once in this time.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(10);

/// A value that its registrant stored too far from its key is passed on after this time.
const FORWARD_AFTER: Duration = Duration::from_millis(300);

/// How much later than the layer's `t_expire` a value may expire, s: for clocks that differ.
const CLOCK_SLACK: u64 = 60;

impl Dht {
    /// Whether this sender may make us do something now.
    pub(super) fn allow(&mut self, now: Instant, src: &Contact) -> bool {
        match self.table.get_mut(src.address) {
            Some(entry) if entry.proven && entry.contact.id == src.id => {
                entry.allowance.take(PER_CONTACT, now)
            }
            _ => self.strangers.take(STRANGERS, now),
        }
    }

    pub(super) fn handle_request(&mut self, now: Instant, src: Contact, body: Body) {
        self.meet(now, src);
        match body {
            Body::FindNodeReq(find) => self.answer(src, find, None),
            Body::FindValueReq(find) => {
                let values = self.values_for(now, &find.key);
                self.answer(src, find, Some(values));
            }
            Body::Store { key, value, expiry } => self.keep(now, src, key, &value, expiry),
            // Answers have been dealt with.
            Body::FindNodeRsp(_) | Body::FindValueRsp { .. } => {}
        }
    }

    /// The sender says who it is (§5.4): it is asked, and then believed.
    fn meet(&mut self, now: Instant, src: Contact) {
        let own = self.own.id;
        match self.table.claim(src, now) {
            Claim::New => self.probe(now, src.address, own),
            Claim::Conflict => {
                let due = self.table.get_mut(src.address).is_some_and(|entry| {
                    let due = entry
                        .challenged
                        .is_none_or(|at| now.saturating_duration_since(at) >= CHALLENGE_PAUSE);
                    if due {
                        entry.challenged = Some(now);
                    }
                    due
                });
                if due {
                    self.probe(now, src.address, own);
                }
            }
            Claim::Known | Claim::Refused => {}
        }
    }

    /// The own registration first: it is certain.
    fn values_for(&self, now: Instant, key: &Key) -> Vec<Value> {
        let own = self.names.contains_key(key).then_some(self.own.address);
        let stored = self.store.values(key, self.unix(now));
        own.into_iter()
            .chain(stored)
            .take(PER_KEY)
            .map(Value::Address)
            .collect()
    }

    fn answer(&mut self, src: Contact, find: Find, values: Option<Vec<Value>>) {
        let room = self.room_for_contacts(values.as_ref().map_or(0, Vec::len));
        let n = self.config.k().min(room);
        let mut contacts = self.table.closest(&find.key, n, |entry: &Entry| {
            entry.is_good() && entry.contact.address != src.address
        });
        if contacts.is_empty() {
            // Never none: a member of 0.23 in a debug build would abort (§5.7).
            contacts.push(src);
        }
        let nodes = Nodes {
            cookie: find.cookie,
            key: find.key,
            contacts,
        };
        let body = match values {
            Some(values) => Body::FindValueRsp { nodes, values },
            None => Body::FindNodeRsp(nodes),
        };
        self.send(src.address, body);
    }

    /// How many contacts fit into an answer with so many values (§5.2: nothing is fragmented).
    fn room_for_contacts(&self, values: usize) -> usize {
        let key = self.config.hash.len();
        // Identifier, key, cookie, address, and the tags and lengths around them; at most.
        let fixed = 2 * key + 48;
        let contact = key + 14;
        let value = 10;
        let left = self
            .config
            .max_message
            .saturating_sub(fixed + values * value);
        (left / contact).max(1)
    }

    /// STORE (§5.8).
    fn keep(&mut self, now: Instant, src: Contact, key: Key, value: &Value, expiry: u32) {
        let unix = self.unix(now);
        let own_word = value.address() == Some(src.address);
        let Some(address) = value.address() else {
            self.stats.refused += 1;
            return;
        };
        if address == self.own.address {
            // What is registered here is known better here.
            return;
        }
        if u64::from(expiry) < unix {
            if own_word && self.store.has(&key, address) {
                self.validate(now, key, address);
            }
            self.stats.refused += 1;
            return;
        }
        let latest = unix + u64::from(self.config.t_expire) + CLOCK_SLACK;
        let expiry = expiry.min(u32::try_from(latest).unwrap_or(u32::MAX));
        let turn = self.replication_turn(now);
        let put = self
            .store
            .put((now, unix), &key, address, expiry, own_word, turn);
        match put {
            Put::New if own_word && self.is_misplaced(&key) => {
                // A member of 0.23 does not store by distance (§5.5): those who look it up do.
                if self.probes.take(PROBES, now) {
                    let soon = after(now, FORWARD_AFTER);
                    self.store.hasten(&key, address, soon);
                }
            }
            Put::New | Put::Known => {}
            Put::Refused => self.stats.refused += 1,
        }
    }

    /// Whether `k` contacts are closer to the key than we are.
    fn is_misplaced(&self, key: &Key) -> bool {
        let own = key.distance(&self.own.id);
        let closer = |entry: &&Entry| entry.is_good() && key.distance(&entry.contact.id) < own;
        self.table.entries().iter().filter(closer).count() >= self.config.k()
    }

    /// Asks a registrant whether it has the name.
    pub(super) fn validate(&mut self, now: Instant, key: Key, address: Address) {
        if self.probes.take(PROBES, now) {
            self.ask(now, address, key, true, Purpose::Validate);
        }
    }

    /// When a value that arrives now is passed on, unless its registrant renews it before.
    fn replication_turn(&mut self, now: Instant) -> Instant {
        let period = self.config.replicate();
        let jitter = self.random.up_to(period / 4);
        after(now, period + period / 16 + jitter)
    }

    /// Passes values on whose turn it is, with the expiry that they have (§5.12).
    pub(super) fn pass_on(&mut self, now: Instant) {
        /// Values per sweep.
        const MOST: usize = 64;
        if self.store.due().is_none_or(|due| due > now) {
            return;
        }
        let unix = self.unix(now);
        let period = self.config.replicate();
        let period = period + self.random.up_to(period / 4);
        let width = self.width();
        for (key, address, expiry) in self.store.sweep(now, unix, period, MOST) {
            let holders = self.table.closest(&key, width, |entry: &Entry| {
                entry.is_good() && entry.contact.address != address
            });
            for holder in holders {
                self.send(
                    holder.address,
                    Body::Store {
                        key,
                        value: Value::Address(address),
                        expiry,
                    },
                );
            }
        }
    }

    /// A member is new: it gets the values that it will be asked for, from the one who is closest to them now.
    pub(super) fn hand_over(&mut self, now: Instant, to: Contact) {
        /// Keys that are looked at.
        const MOST: usize = 128;
        let unix = self.unix(now);
        let mut values = Vec::new();
        for (key, stored) in self.store.iter().take(MOST) {
            let own = key.distance(&self.own.id);
            let small = self.table.is_small();
            if !small && key.distance(&to.id) > own {
                continue;
            }
            let other_is_closer = self.table.entries().iter().any(|entry| {
                entry.is_good()
                    && entry.contact.address != to.address
                    && key.distance(&entry.contact.id) < own
            });
            if other_is_closer {
                continue;
            }
            for value in stored {
                if !value.gone && value.address != to.address && u64::from(value.expiry) >= unix {
                    values.push((key, value.address, value.expiry));
                }
            }
        }
        for (key, address, expiry) in values {
            self.send(
                to.address,
                Body::Store {
                    key,
                    value: Value::Address(address),
                    expiry,
                },
            );
        }
    }
}
