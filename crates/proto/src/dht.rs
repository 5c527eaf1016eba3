//! The directory of a unicast layer (`spec/directory-enrollment.md` §5): which member has a name.
//!
//! [`Dht`] does no I/O and has no clock. Its driver
//!
//! 1. gives it commands ([`register`](Dht::register), [`unregister`](Dht::unregister),
//!    [`query`](Dht::query)), every payload that arrives for EID 1
//!    ([`handle_message`](Dht::handle_message)), and what it knows of reachability
//!    ([`reachable`](Dht::reachable), [`unreachable`](Dht::unreachable)),
//! 2. calls [`handle_timeout`](Dht::handle_timeout) at [`poll_timeout`](Dht::poll_timeout),
//! 3. after each call takes messages to send from [`poll_transmit`](Dht::poll_transmit) and events from
//!    [`poll_event`](Dht::poll_event) until there are none.
//!
//! ```text
//!  query ───► search ─┐            ┌─ serve ◄── requests and STOREs of others
//!  register ► publish ┼─► Requests ┤
//!  time ────► care ───┘      │     └─ Table (contacts), Store (values of others)
//!                            └─► answers, retries, giving up
//! ```
//!
//! # What differs from 0.23
//!
//! Nothing on the wire; members of both kinds find each other's names.
//!
//! | 0.23 | here |
//! | --- | --- |
//! | asks α contacts, follows nobody | iterative look-up by distance; in small layers everybody is asked |
//! | stores at α contacts | at the `k` closest of the layer, in small layers at all; each is then asked whether it has the value ([`Event::Published`]) |
//! | nothing is repeated | a request is sent up to three times, others are asked meanwhile |
//! | no contact is ever forgotten | who does not answer is given up, unless nobody answers |
//! | a value lives for `t_expire` (a day) | own names are stored for 2½ `t_replicate` and renewed each `t_replicate` |
//! | nothing takes a value back | a STORE that is past, from the registrant itself, makes members of ours ask it; 0.23 refuses it, as it should |
//! | a newcomer gets no old names | names and values are handed on to it |

mod allowance;
mod care;
mod config;
mod lookup;
mod publish;
mod random;
mod requests;
mod search;
mod serve;
mod stats;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    dht::{Body, Contact, Find, Key, Message, Value},
    hash::NameHash,
};

pub use config::Config;
pub use stats::{ContactView, KeyView, Sizes, Stats, View};

use allowance::{Allowance, Rate};
use care::Care;
use lookup::{Goal, Lookup};
use publish::{Own, Publishing};
use random::Random;
use requests::{Purpose, Request, Requests};
use search::Query;
use store::Store;
use table::Table;

/// Messages per second of all that are no contacts together.
const STRANGERS: Rate = Rate(2_048);

/// Requests per second that others make us send.
const PROBES: Rate = Rate(64);

/// What the machine has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A query is answered.
    Found {
        /// What was asked for.
        name: NameHash,
        /// Members that have it, the likeliest first; never the own address. Empty: nobody.
        addresses: Vec<Address>,
    },
    /// A name that was registered is stored where others find it (or nobody else is there). Comes once.
    Published {
        /// The name.
        name: NameHash,
        /// Members known to have stored it.
        copies: usize,
    },
}

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A hash that is not as long as the layer's.
    #[error("the hash has {len} bytes, not the {expected} of the layer's algorithm")]
    HashLength {
        /// Its length.
        len: usize,
        /// That of the layer.
        expected: usize,
    },
    /// The name is not registered here.
    #[error("the name is not registered at this member")]
    NotRegistered,
    /// Too many names.
    #[error("this member has {0} names registered, the most there may be; unregister some")]
    TooMany(usize),
}

/// The directory at one member.
#[derive(Debug)]
pub struct Dht {
    config: Config,
    own: Contact,
    random: Random,
    /// Wall clock, in Unix seconds, at an instant.
    clock: (Instant, u64),
    table: Table,
    store: Store,
    requests: Requests,
    lookups: BTreeMap<u64, Lookup>,
    lookups_started: u64,
    queries: BTreeMap<Key, Query>,
    /// What queries found, until then.
    cache: BTreeMap<Key, (Instant, Vec<Address>)>,
    /// Values that proved wrong, until then.
    doubts: BTreeMap<(Key, Address), Instant>,
    names: BTreeMap<Key, Own>,
    renewals: BTreeSet<(Instant, Key)>,
    publishing: Publishing,
    care: Care,
    strangers: Allowance,
    probes: Allowance,
    out: VecDeque<(Address, Message)>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Dht {
    /// A new machine, which joins at once. `seed` must be random; `unix` is the wall clock at `now`, in
    /// seconds since the Unix epoch.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: u64) -> Self {
        let config = config.sane();
        let mut random = Random::new(seed);
        let own = Contact {
            id: random.key(config.hash.len()),
            address: config.address,
        };
        Self {
            care: Care::new(&config, &mut random, now),
            table: Table::new(own, config.k()),
            store: Store::new(own.id),
            requests: Requests::new(),
            lookups: BTreeMap::new(),
            lookups_started: 0,
            queries: BTreeMap::new(),
            cache: BTreeMap::new(),
            doubts: BTreeMap::new(),
            names: BTreeMap::new(),
            renewals: BTreeSet::new(),
            publishing: Publishing::new(now),
            strangers: Allowance::new(STRANGERS, now),
            probes: Allowance::new(PROBES, now),
            out: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
            clock: (now, unix),
            config,
            own,
            random,
        }
    }

    /// Sets the wall clock: `unix` seconds since the Unix epoch at `now`. Cheap.
    pub fn set_wall_clock(&mut self, now: Instant, unix: u64) {
        self.clock = (now, unix);
    }

    fn unix(&self, now: Instant) -> u64 {
        let (at, unix) = self.clock;
        unix.saturating_add(now.saturating_duration_since(at).as_secs())
    }

    /// The own identifier and address.
    #[must_use]
    pub fn own(&self) -> Contact {
        self.own
    }

    /// Whether it has joined: the neighbourhood is known, or this is the first member.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.care.is_joined()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How much it holds.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            contacts: self.table.len(),
            proven: self.table.entries().iter().filter(|e| e.proven).count(),
            names: self.names.len(),
            keys: self.store.keys(),
            values: self.store.len(),
            requests: self.requests.len(),
            lookups: self.lookups.len(),
        }
    }

    /// The members that it knows, for people.
    #[must_use]
    pub fn contacts(&self) -> Vec<ContactView> {
        let entries = self.table.entries().iter();
        entries
            .map(|entry| ContactView {
                contact: entry.contact,
                proven: entry.proven,
                failures: entry.failures,
            })
            .collect()
    }

    /// Everything, for people.
    #[must_use]
    pub fn view(&self) -> View {
        let mut keys: BTreeMap<Key, KeyView> = BTreeMap::new();
        let empty = |key, own| KeyView {
            key,
            own,
            values: Vec::new(),
        };
        for key in self.names.keys() {
            keys.insert(*key, empty(*key, true));
        }
        for (key, values) in self.store.iter() {
            let view = keys.entry(key).or_insert_with(|| empty(key, false));
            view.values = values
                .iter()
                .filter(|value| !value.gone)
                .map(|value| (value.address, value.expiry))
                .collect();
        }
        View {
            own: self.own,
            joined: self.is_joined(),
            contacts: self.contacts(),
            keys: keys.into_values().collect(),
        }
    }

    /// The key of a name, if it is one of this layer.
    fn key(&self, name: &NameHash) -> Result<Key, CommandError> {
        let expected = self.config.hash.len();
        let wrong = CommandError::HashLength {
            len: name.as_bytes().len(),
            expected,
        };
        if name.as_bytes().len() != expected {
            return Err(wrong);
        }
        Key::try_from(name).map_err(|()| wrong)
    }

    fn send(&mut self, to: Address, body: Body) {
        self.stats.sent[stats::code(&body)] += 1;
        let src = self.own;
        self.out.push_back((to, Message { src, body }));
    }

    fn send_find(&mut self, to: Address, cookie: u64, key: Key, value: bool) {
        let find = Find { cookie, key };
        let body = if value {
            Body::FindValueReq(find)
        } else {
            Body::FindNodeReq(find)
        };
        self.send(to, body);
    }

    /// Asks a member. False: too much is under way.
    fn ask(&mut self, now: Instant, to: Address, key: Key, value: bool, purpose: Purpose) -> bool {
        if self.requests.is_full() {
            return false;
        }
        let cookie = self.random.cookie();
        self.requests.start(now, cookie, to, key, value, purpose);
        self.send_find(to, cookie, key, value);
        true
    }

    /// Asks whether somebody is at this address, if the rate allows.
    fn probe(&mut self, now: Instant, to: Address, key: Key) {
        if to != self.own.address
            && !self.requests.asks(to, Purpose::Probe)
            && self.probes.take(PROBES, now)
        {
            self.ask(now, to, key, false, Purpose::Probe);
        }
    }

    /// A message arrived for EID 1. (Data transfer tells no source; who sent it stands in the message.)
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes, self.config.hash.len()) else {
            self.stats.malformed += 1;
            return;
        };
        let Message { src, body } = message;
        if src.address == self.own.address || src.id == self.own.id {
            self.stats.malformed += 1;
            return;
        }
        let code = stats::code(&body);
        match body {
            Body::FindNodeRsp(nodes) => self.handle_answer(now, src, &nodes, None),
            Body::FindValueRsp { nodes, values } => {
                let values = values.iter().filter_map(Value::address);
                let values = values.take(store::PER_KEY).collect();
                self.handle_answer(now, src, &nodes, Some(values));
            }
            body => {
                if !self.allow(now, &src) {
                    self.stats.excessive += 1;
                    return;
                }
                self.handle_request(now, src, body);
            }
        }
        self.stats.received[code] += 1;
        self.go_on_publishing(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted; `None`: not before something else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.requests.due(),
            self.renewals.first().map(|(at, _)| *at),
            self.store.due(),
            self.care.due(),
            self.publishing.due(),
            self.queries.values().filter_map(Query::until).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.requests.expire(now) {
            match expired {
                Ok((cookie, request)) => self.repeat(now, cookie, &request),
                Err(request) => self.give_up(now, &request),
            }
        }
        self.abandon_queries(now);
        self.renew(now);
        self.go_on_publishing(now);
        self.pass_on(now);
        self.take_care(now);
    }

    /// A request was not answered in time: it is sent again.
    fn repeat(&mut self, now: Instant, cookie: u64, request: &Request) {
        self.stats.repeated += 1;
        if request.purpose == Purpose::Confirm {
            self.store_own(now, request.to, request.key);
        }
        self.send_find(request.to, cookie, request.key, request.value);
        if let Purpose::Lookup(id) = request.purpose {
            if let Some(lookup) = self.lookups.get_mut(&id) {
                lookup.late(request.to);
            }
            self.advance(now, id);
        }
    }

    /// A request was not answered.
    fn give_up(&mut self, now: Instant, request: &Request) {
        self.stats.unanswered += 1;
        self.contact_failed(now, request.to);
        match request.purpose {
            Purpose::Lookup(id) => {
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.failed(request.to);
                }
                self.advance(now, id);
            }
            Purpose::Confirm => self.not_confirmed(now, request.key, request.to),
            Purpose::Join => self.join_failed(now),
            Purpose::Probe | Purpose::Validate => {}
        }
    }

    /// Puts the next message to send into `out`, whose content is replaced, and gives its destination: data
    /// transfer with QoS cube 0 to EID 1.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Address> {
        out.clear();
        let (to, message) = self.out.pop_front()?;
        message.emit_to(out);
        Some(to)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many of the closest are asked and stored at.
    fn width(&self) -> usize {
        if self.table.is_small() {
            self.config.k().max(table::SMALL)
        } else {
            self.config.k()
        }
    }

    fn start_lookup(&mut self, now: Instant, key: Key, goal: Goal) -> u64 {
        let mut lookup = Lookup::new(self.own, key, goal, now);
        let width = self.width().max(self.config.alpha());
        let mut start = self.table.closest(&key, width, |entry| entry.failures == 0);
        if start.is_empty() {
            start = self.table.closest(&key, width, |_| true);
        }
        for contact in start {
            lookup.add(contact, self.own.address);
        }
        let id = self.lookups_started;
        self.lookups_started += 1;
        self.lookups.insert(id, lookup);
        id
    }
}

/// A time from now on that a driver can add.
fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}
