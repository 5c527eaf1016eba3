//! Queries, and the look-ups that answer them (`spec/directory-enrollment.md` §5.10).

use std::time::{Duration, Instant};

use o7s_wire::{
    address::Address,
    dht::{Contact, Key, Nodes},
    hash::NameHash,
};

use super::{
    CommandError, Dht, Event, after,
    lookup::Goal,
    requests::{Purpose, Request},
    store,
};

/// Most queries at a time.
const MAX_QUERIES: usize = 256;

/// How long a query waits for a first contact.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer is used again: the flow allocation that follows a query asks the same. A name that was
/// taken back is found for so much longer.
const CACHE_LIFE: Duration = Duration::from_secs(10);

/// Most answers that are kept.
const MAX_CACHE: usize = 1_024;

/// How long a value that proved wrong is not given.
const DOUBT_LIFE: Duration = Duration::from_secs(10);

/// Most doubts.
const MAX_DOUBTS: usize = 256;

/// A query under way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    /// There is no contact yet.
    Waiting(Instant),
    /// A look-up is under way.
    Running,
}

impl Query {
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Waiting(until) => Some(*until),
            Self::Running => None,
        }
    }
}

impl Dht {
    /// Looks a name up; answered by one [`Event::Found`] for all queries of the name until then, perhaps at
    /// once, at most after some seconds.
    ///
    /// # Errors
    /// [`CommandError::HashLength`].
    pub fn query(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let key = self.key(name)?;
        let stored = self.store.values(&key, self.unix(now));
        let known = self.likely(now, &key, stored);
        let known = if known.is_empty() {
            self.cached(now, &key)
        } else {
            known
        };
        if !known.is_empty() {
            self.answer_query(key, known);
        } else if self.queries.contains_key(&key) {
            // Its answer is that of this one.
        } else if self.queries.len() >= MAX_QUERIES {
            self.answer_query(key, Vec::new());
        } else if self.table.len() > 0 {
            self.search(now, key);
        } else if self.is_joined() && !self.requests.await_contact() {
            self.answer_query(key, Vec::new());
        } else {
            let until = after(now, PATIENCE);
            self.queries.insert(key, Query::Waiting(until));
        }
        Ok(())
    }

    /// The member at `address`, found under `name`, did not answer a flow request, or does not know the
    /// name: it is not given again for a while, and asked whether it has the name.
    pub fn suspect(&mut self, now: Instant, name: &NameHash, address: Address) {
        let Ok(key) = self.key(name) else {
            return;
        };
        if let Some((_, cached)) = self.cache.get_mut(&key) {
            cached.retain(|known| *known != address);
        }
        self.doubts.retain(|_, until| *until > now);
        if self.doubts.len() < MAX_DOUBTS {
            let until = after(now, DOUBT_LIFE);
            self.doubts.insert((key, address), until);
        }
        if self.store.has(&key, address) {
            self.validate(now, key, address);
        }
    }

    /// Addresses that may answer a query: neither the own one nor one in doubt.
    fn likely(&self, now: Instant, key: &Key, addresses: Vec<Address>) -> Vec<Address> {
        let mut likely = Vec::new();
        for address in addresses {
            let doubt = self.doubts.get(&(*key, address));
            if address != self.own.address
                && doubt.is_none_or(|until| *until <= now)
                && !likely.contains(&address)
            {
                likely.push(address);
            }
        }
        likely
    }

    fn cached(&mut self, now: Instant, key: &Key) -> Vec<Address> {
        match self.cache.get(key) {
            Some((until, addresses)) if *until > now => addresses.clone(),
            Some(_) => {
                self.cache.remove(key);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn answer_query(&mut self, key: Key, addresses: Vec<Address>) {
        self.queries.remove(&key);
        if addresses.is_empty() {
            self.stats.not_found += 1;
        } else {
            self.stats.found += 1;
        }
        self.events.push_back(Event::Found {
            name: (&key).into(),
            addresses,
        });
    }

    fn search(&mut self, now: Instant, key: Key) {
        let id = self.start_lookup(now, key, Goal::Values);
        self.queries.insert(key, Query::Running);
        self.advance(now, id);
    }

    /// There is a contact: queries that waited for one begin.
    pub(super) fn begin_queries(&mut self, now: Instant) {
        let waiting: Vec<Key> = self
            .queries
            .iter()
            .filter(|(_, query)| query.until().is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.search(now, key);
        }
    }

    /// Ends queries that found no contact in time.
    pub(super) fn abandon_queries(&mut self, now: Instant) {
        let late: Vec<Key> = self
            .queries
            .iter()
            .filter(|(_, query)| query.until().is_some_and(|until| until <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.answer_query(key, Vec::new());
        }
    }

    /// Asks whom a look-up has to ask next; ends it when it is over.
    pub(super) fn advance(&mut self, now: Instant, id: u64) {
        let (alpha, window) = (self.config.alpha(), self.width());
        while let Some(lookup) = self.lookups.get_mut(&id) {
            let (key, value) = (lookup.key, lookup.wants_values());
            let Some(to) = lookup.next(alpha, window) else {
                if lookup.is_over(now, window) {
                    self.finish(now, id);
                }
                return;
            };
            if !self.ask(now, to, key, value, Purpose::Lookup(id))
                && let Some(lookup) = self.lookups.get_mut(&id)
            {
                lookup.failed(to);
            }
        }
    }

    fn finish(&mut self, now: Instant, id: u64) {
        let Some(lookup) = self.lookups.remove(&id) else {
            return;
        };
        match lookup.goal {
            Goal::Values => self.answer_query(lookup.key, Vec::new()),
            Goal::Publish => {
                let mut holders = lookup.closest(self.config.k());
                if self.table.is_small() {
                    // A member of 0.23 asks any of those that it knows (§9).
                    for contact in self.table.closest(&lookup.key, usize::MAX, |_| true) {
                        if !holders.contains(&contact) {
                            holders.push(contact);
                        }
                    }
                }
                self.publish_at(now, lookup.key, &holders);
            }
            Goal::Neighbours => self.know_neighbours(now),
        }
    }

    /// A member has answered a request (§5.4: or says so).
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        src: Contact,
        nodes: &Nodes,
        values: Option<Vec<Address>>,
    ) {
        let answered =
            self.requests
                .answer(now, nodes.cookie, &nodes.key, src.address, values.is_some());
        let Some(request) = answered else {
            self.stats.unasked += 1;
            return;
        };
        self.contact_proven(now, src);
        let named = &nodes.contacts[..nodes.contacts.len().min(self.config.k().max(8))];
        let values = values.unwrap_or_default();
        match request.purpose {
            Purpose::Lookup(id) => self.lookup_answered(now, id, &request, named, values),
            Purpose::Probe => self.learn_named(now, named),
            Purpose::Confirm => self.confirmed(now, src, request.key, &values),
            Purpose::Validate => {
                if !values.contains(&request.to) {
                    self.store.withdraw(&request.key, request.to);
                }
            }
            Purpose::Join => {
                self.learn_named(now, named);
                self.join_answered(now, named);
            }
        }
    }

    fn lookup_answered(
        &mut self,
        now: Instant,
        id: u64,
        request: &Request,
        named: &[Contact],
        values: Vec<Address>,
    ) {
        let likely = self.likely(now, &request.key, values);
        if let Some(lookup) = self.lookups.get_mut(&id) {
            lookup.answered(request.to);
            for contact in named {
                lookup.add(*contact, request.to);
            }
        }
        if request.value && !likely.is_empty() {
            self.remember(now, request.key, &likely);
            // Only one that still runs has a query that waits.
            if self.lookups.remove(&id).is_some() {
                self.answer_query(request.key, likely);
            }
            return;
        }
        self.advance(now, id);
    }

    /// Keeps what a query found, with what other answers said.
    fn remember(&mut self, now: Instant, key: Key, addresses: &[Address]) {
        if self.cache.len() >= MAX_CACHE {
            self.cache.retain(|_, (until, _)| *until > now);
        }
        if self.cache.len() >= MAX_CACHE {
            return;
        }
        let until = after(now, CACHE_LIFE);
        let (_, cached) = self
            .cache
            .entry(key)
            .and_modify(|cached| {
                if cached.0 <= now {
                    *cached = (until, Vec::new());
                }
            })
            .or_insert_with(|| (until, Vec::new()));
        for address in addresses {
            if cached.len() < store::PER_KEY && !cached.contains(address) {
                cached.push(*address);
            }
        }
    }
}
