//! Names that are registered here: kept stored at the members that will be asked for them
//! (`spec/directory-enrollment.md` §5.9, §5.12).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    dht::{Body, Contact, Key, Value},
    hash::NameHash,
};

use super::{
    CommandError, Dht, Event, after,
    allowance::{Allowance, Rate},
    lookup::Goal,
    requests::{MAX_REQUESTS, Purpose},
    store,
};

/// Most names.
const MAX_NAMES: usize = 65_536;

/// Most names whose holders are looked for at a time.
const MAX_SEARCHES: usize = 32;

/// Names published per second: a quarter of what a holder takes from one member.
const PUBLISH: Rate = Rate(512);

/// How long names wait when too much is under way.
const PUBLISH_PAUSE: Duration = Duration::from_millis(50);

/// Up to so many names, holders are asked on each renewal whether they have them.
const CONFIRM_ALWAYS: usize = 64;

/// Names that a new member is looked at for at once; the others come with their renewal.
const AT_ONCE: usize = 512;

/// How often a holder that does not have the value after all gets it again.
const MAX_AGAIN: u8 = 24;

/// An expiry that is past by every clock: "ask me whether I still have it".
const WITHDRAWN: u32 = 1;

/// A name.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// When it is stored again.
    next: Option<Instant>,
    /// [`Event::Published`] has been given.
    announced: bool,
    /// Its holders are being looked for, or it waits for that.
    searching: bool,
    /// Where it is stored.
    holders: Vec<Contact>,
    /// Holders that have not said whether they have it.
    unconfirmed: usize,
    /// Holders that have said so in this round.
    copies: usize,
    /// How often a holder may still get it again.
    again: u8,
    /// Holders that have gone since it was stored.
    lost: usize,
}

/// Names that wait to be published.
#[derive(Debug)]
pub(super) struct Publishing {
    queue: VecDeque<Key>,
    /// When to go on.
    at: Option<Instant>,
    allowance: Allowance,
}

impl Publishing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            at: None,
            allowance: Allowance::new(PUBLISH, now),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }
}

impl Dht {
    /// Publishes a name until it is unregistered. [`Event::Published`] says when others can find it.
    ///
    /// # Errors
    /// [`CommandError::HashLength`], [`CommandError::TooMany`].
    pub fn register(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let key = self.key(name)?;
        if self.names.contains_key(&key) {
            self.events.push_back(Event::Published {
                name: name.clone(),
                copies: self.names.get(&key).map_or(0, |own| own.copies),
            });
            return Ok(());
        }
        if self.names.len() >= MAX_NAMES {
            return Err(CommandError::TooMany(MAX_NAMES));
        }
        self.names.insert(key, Own::default());
        self.publish(now, key);
        Ok(())
    }

    /// Takes a name back. Members of ours that have it stored ask whether that is so, and forget it; others
    /// keep it until it expires (§5.9).
    ///
    /// # Errors
    /// [`CommandError::HashLength`], [`CommandError::NotRegistered`].
    pub fn unregister(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let key = self.key(name)?;
        let own = self.names.remove(&key).ok_or(CommandError::NotRegistered)?;
        if let Some(next) = own.next {
            self.renewals.remove(&(next, key));
        }
        let _ = now;
        for holder in own.holders {
            let value = Value::Address(self.own.address);
            self.send(
                holder.address,
                Body::Store {
                    key,
                    value,
                    expiry: WITHDRAWN,
                },
            );
        }
        Ok(())
    }

    /// Names whose time it is.
    pub(super) fn renew(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.renewals.first() {
            if at > now {
                return;
            }
            self.renewals.remove(&(at, key));
            if let Some(own) = self.names.get_mut(&key) {
                own.next = None;
                self.publish(now, key);
            }
        }
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        if let Some(own) = self.names.get_mut(&key) {
            if let Some(old) = own.next {
                if old <= at {
                    return;
                }
                self.renewals.remove(&(old, key));
            }
            own.next = Some(at);
            self.renewals.insert((at, key));
        }
    }

    /// Looks for the members that are to store a name, as soon as it is its turn.
    fn publish(&mut self, now: Instant, key: Key) {
        if let Some(own) = self.names.get_mut(&key)
            && !std::mem::replace(&mut own.searching, true)
        {
            self.publishing.queue.push_back(key);
            self.go_on_publishing(now);
        }
    }

    /// Publishes the next names, if not too much is under way.
    pub(super) fn go_on_publishing(&mut self, now: Instant) {
        if self.publishing.queue.is_empty() || self.publishing.at.is_some_and(|at| at > now) {
            return;
        }
        self.publishing.at = None;
        while !self.publishing.queue.is_empty() {
            let searches = self.lookups.values().filter(|l| l.goal == Goal::Publish);
            if self.requests.len() >= MAX_REQUESTS / 2
                || searches.count() >= MAX_SEARCHES
                || !self.publishing.allowance.take(PUBLISH, now)
            {
                self.publishing.at = Some(after(now, PUBLISH_PAUSE));
                return;
            }
            let Some(key) = self.publishing.queue.pop_front() else {
                return;
            };
            if !self.names.contains_key(&key) {
                continue;
            }
            let id = self.start_lookup(now, key, Goal::Publish);
            self.advance(now, id);
        }
    }

    /// Stores a name at its holders, and sees to the next time.
    pub(super) fn publish_at(&mut self, now: Instant, key: Key, holders: &[Contact]) {
        let confirm = self.names.len() <= CONFIRM_ALWAYS;
        let Some(own) = self.names.get_mut(&key) else {
            return;
        };
        own.searching = false;
        own.again = MAX_AGAIN;
        own.lost = 0;
        own.copies = 0;
        own.holders.clear();
        let confirm = confirm || !own.announced;
        for holder in holders {
            self.store_at(now, key, *holder, confirm);
        }
        let period = self.config.replicate();
        let jitter = self.random.up_to(period / 8);
        self.schedule(key, after(now, period - jitter));
        self.announce(key);
    }

    fn store_at(&mut self, now: Instant, key: Key, holder: Contact, confirm: bool) {
        self.store_own(now, holder.address, key);
        let asked = confirm && self.ask(now, holder.address, key, true, Purpose::Confirm);
        if let Some(own) = self.names.get_mut(&key) {
            own.unconfirmed += usize::from(asked);
            if !own.holders.contains(&holder) {
                own.holders.push(holder);
            }
        }
    }

    /// Sends the STORE of a name that is registered here.
    pub(super) fn store_own(&mut self, now: Instant, to: Address, key: Key) {
        if !self.names.contains_key(&key) {
            return;
        }
        let expiry = self.unix(now) + u64::from(self.config.lifetime());
        let expiry = u32::try_from(expiry).unwrap_or(u32::MAX);
        let value = Value::Address(self.own.address);
        self.send(to, Body::Store { key, value, expiry });
    }

    /// A holder has said what it has stored.
    pub(super) fn confirmed(
        &mut self,
        now: Instant,
        holder: Contact,
        key: Key,
        values: &[Address],
    ) {
        let Some(own) = self.names.get_mut(&key) else {
            return;
        };
        own.unconfirmed = own.unconfirmed.saturating_sub(1);
        if values.contains(&self.own.address) {
            own.copies += 1;
        } else if values.len() < store::PER_KEY && own.again > 0 {
            own.again -= 1;
            self.store_at(now, key, holder, true);
        }
        self.announce(key);
    }

    /// A holder did not answer.
    pub(super) fn not_confirmed(&mut self, now: Instant, key: Key, holder: Address) {
        let Some(own) = self.names.get_mut(&key) else {
            return;
        };
        own.unconfirmed = own.unconfirmed.saturating_sub(1);
        own.holders.retain(|contact| contact.address != holder);
        self.holder_lost(now, key);
        self.announce(key);
    }

    /// Says that a name is published, once all holders have said so. Who is about to get a first contact
    /// waits for it: nobody else could find the name yet.
    fn announce(&mut self, key: Key) {
        if self.table.len() == 0 && self.requests.await_contact() {
            return;
        }
        if let Some(own) = self.names.get_mut(&key)
            && own.unconfirmed == 0
            && !own.searching
            && !std::mem::replace(&mut own.announced, true)
        {
            let copies = own.copies;
            self.events.push_back(Event::Published {
                name: (&key).into(),
                copies,
            });
        }
    }

    /// When a quarter of the holders has gone, others are looked for.
    fn holder_lost(&mut self, now: Instant, key: Key) {
        let tolerated = self.config.k() / 4;
        let Some(own) = self.names.get_mut(&key) else {
            return;
        };
        own.lost += 1;
        if own.lost > tolerated && !self.table.is_small() {
            own.lost = 0;
            let wait = Duration::from_millis(500) + self.random.up_to(Duration::from_secs(2));
            self.schedule(key, after(now, wait));
        }
    }

    /// A contact has gone.
    pub(super) fn holder_gone(&mut self, now: Instant, gone: Address) {
        let mut keys = Vec::new();
        for (key, own) in &mut self.names {
            let before = own.holders.len();
            own.holders.retain(|holder| holder.address != gone);
            if own.holders.len() < before {
                keys.push(*key);
            }
        }
        for key in keys {
            self.holder_lost(now, key);
        }
    }

    /// There is a new contact: it stores the names that it will be asked for.
    pub(super) fn offer(&mut self, now: Instant, to: Contact) {
        let (small, k) = (self.table.is_small(), self.config.k());
        let mut keys = Vec::new();
        for (key, own) in self.names.iter().take(AT_ONCE) {
            let farthest = own
                .holders
                .iter()
                .map(|holder| key.distance(&holder.id))
                .max();
            let closer = farthest.is_none_or(|farthest| key.distance(&to.id) < farthest);
            let known = own.holders.iter().any(|h| h.address == to.address);
            if !known && !own.searching && (small || closer || own.holders.len() < k) {
                keys.push(*key);
            }
        }
        for key in keys {
            self.store_at(now, key, to, true);
        }
    }
}
