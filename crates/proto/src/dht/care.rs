//! Joining, and looking after contacts (`spec/directory-enrollment.md` §5.11, §5.12).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    dht::{Contact, Key},
};

use super::{
    Config, Dht, after,
    lookup::Goal,
    random::Random,
    requests::Purpose,
    table::{Claim, Entry, MAX_FAILURES},
};

/// Between two attempts to join: doubled up to the second.
const JOIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_JOIN_PAUSE: Duration = Duration::from_secs(8);

/// Contacts that are remembered after they were given up, in case they come back.
const MAX_LOST: usize = 32;

/// Contacts asked per round of care, and the time between rounds at least.
const PER_ROUND: usize = 4;
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// A contact that was only named, or did not answer, is asked after this time.
const UNPROVEN_WAIT: Duration = Duration::from_secs(20);

/// Buckets that are filled after joining.
const MAX_FILLED: u32 = 24;

/// So many contacts are sought among the members that routing knows.
const FEW: usize = 4;

/// Somebody has answered within this time: we are not cut off.
const RECENT: Duration = Duration::from_secs(3);

/// State of joining and of care.
#[derive(Debug)]
pub(super) struct Care {
    joined: bool,
    /// When the member that enrolled us is asked.
    join_at: Option<Instant>,
    join_pause: Duration,
    /// Next round.
    round: Option<Instant>,
    /// When the neighbourhood is looked up.
    neighbours: Option<Instant>,
    /// Somebody answered last.
    proof: Option<Instant>,
    /// Contacts stay in the table only because it is not known whether we are cut off.
    doubtful: bool,
    /// Proven contacts that were given up, the latest last.
    lost: VecDeque<Contact>,
}

impl Care {
    pub(super) fn new(config: &Config, random: &mut Random, now: Instant) -> Self {
        Self {
            joined: config.peer.is_none(),
            join_at: config.peer.map(|_| now),
            join_pause: JOIN_PAUSE,
            round: None,
            neighbours: Some(after(
                now,
                config.refresh() + random.up_to(config.refresh() / 4),
            )),
            proof: None,
            doubtful: false,
            lost: VecDeque::new(),
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.joined
    }

    pub(super) fn due(&self) -> Option<Instant> {
        [self.join_at, self.round, self.neighbours]
            .into_iter()
            .flatten()
            .min()
    }

    fn no_later(&mut self, at: Instant) {
        self.round = Some(self.round.map_or(at, |round| round.min(at)));
    }
}

impl Dht {
    /// There is a (new) way to this member.
    pub fn reachable(&mut self, now: Instant, address: Address) {
        if address == self.own.address {
            return;
        }
        if self.config.peer == Some(address) && self.care.join_at.is_some() {
            self.care.join_at = Some(now);
            self.care.join_pause = JOIN_PAUSE;
        }
        let lost = self.care.lost.len();
        self.care.lost.retain(|lost| lost.address != address);
        if self.care.lost.len() < lost || self.table.len() < FEW {
            let own = self.own.id;
            self.probe(now, address, own);
        }
    }

    /// There is no way to this member: a message could not be sent, or routing lost it.
    pub fn unreachable(&mut self, now: Instant, address: Address) {
        self.requests.hasten(now, address);
        self.remove(now, address);
    }

    fn remove(&mut self, now: Instant, address: Address) {
        if let Some(entry) = self.table.remove(address) {
            if entry.proven {
                if self.care.lost.len() >= MAX_LOST {
                    self.care.lost.pop_front();
                }
                self.care.lost.push_back(entry.contact);
                self.care.no_later(after(now, self.config.refresh() / 4));
            }
            self.holder_gone(now, address);
            self.check_alone(now);
        }
    }

    /// Without any contact the member that enrolled us is asked again.
    fn check_alone(&mut self, now: Instant) {
        if self.table.len() == 0 && self.config.peer.is_some() && self.care.join_at.is_none() {
            self.care.join_pause = JOIN_PAUSE;
            self.care.join_at = Some(after(now, JOIN_PAUSE));
        }
    }

    /// A contact has answered.
    pub(super) fn contact_proven(&mut self, now: Instant, contact: Contact) {
        self.care.proof = Some(now);
        if std::mem::replace(&mut self.care.doubtful, false) {
            let silent: Vec<Address> = self
                .table
                .entries()
                .iter()
                .filter(|e| e.failures >= MAX_FAILURES && e.contact.address != contact.address)
                .map(|e| e.contact.address)
                .collect();
            for address in silent {
                self.remove(now, address);
            }
        }
        if self.table.prove(contact, now) {
            self.care
                .lost
                .retain(|lost| lost.address != contact.address);
            self.care.no_later(after(now, self.config.refresh()));
            self.begin_queries(now);
            self.offer(now, contact);
            self.hand_over(now, contact);
        }
    }

    /// A contact has not answered.
    pub(super) fn contact_failed(&mut self, now: Instant, address: Address) {
        let Some(entry) = self.table.get_mut(address) else {
            return;
        };
        let proven = entry.proven;
        if self.table.fail(address).is_none() {
            self.care.no_later(after(now, UNPROVEN_WAIT));
            return;
        }
        let recent = |at: Instant| now.saturating_duration_since(at) < RECENT;
        if !proven || self.care.proof.is_some_and(recent) {
            self.remove(now, address);
            return;
        }
        // Perhaps it is we who are cut off: another one tells.
        self.care.doubtful = true;
        let other = self.table.closest(&self.own.id, 1, Entry::is_good);
        if let Some(other) = other.first() {
            let own = self.own.id;
            self.probe(now, other.address, own);
        }
    }

    /// Contacts that others have named.
    pub(super) fn learn_named(&mut self, now: Instant, named: &[Contact]) {
        for contact in named {
            if self.table.claim(*contact, now) == Claim::New {
                if self.table.is_small() {
                    let own = self.own.id;
                    self.probe(now, contact.address, own);
                }
                self.care.no_later(after(now, UNPROVEN_WAIT));
            }
        }
    }

    pub(super) fn take_care(&mut self, now: Instant) {
        if self.care.join_at.is_some_and(|at| at <= now) {
            self.join(now);
        }
        if self.care.neighbours.is_some_and(|at| at <= now) {
            let jitter = self.random.up_to(self.config.refresh() / 4);
            self.care.neighbours = Some(after(now, self.config.refresh() + jitter));
            self.look_around(now);
        }
        if self.care.round.is_some_and(|at| at <= now) {
            self.round(now);
        }
    }

    fn join(&mut self, now: Instant) {
        self.care.join_at = None;
        if let Some(peer) = self.config.peer
            && !self.requests.asks(peer, Purpose::Join)
        {
            let own = self.own.id;
            if !self.ask(now, peer, own, false, Purpose::Join) {
                self.join_failed(now);
            }
        }
    }

    pub(super) fn join_failed(&mut self, now: Instant) {
        if !self.table.has_good() {
            let pause = self.care.join_pause;
            self.care.join_pause = (pause * 2).min(MAX_JOIN_PAUSE);
            let jitter = self.random.up_to(pause / 4);
            self.care.join_at = Some(after(now, pause + jitter));
        }
    }

    pub(super) fn join_answered(&mut self, now: Instant, named: &[Contact]) {
        self.care.join_at = None;
        let own = self.own.id;
        let id = self.start_lookup(now, own, Goal::Neighbours);
        if let (Some(lookup), Some(peer)) = (self.lookups.get_mut(&id), self.config.peer) {
            for contact in named {
                lookup.add(*contact, peer);
            }
        }
        self.advance(now, id);
    }

    fn look_around(&mut self, now: Instant) {
        if self.table.len() > 0 {
            let own = self.own.id;
            let id = self.start_lookup(now, own, Goal::Neighbours);
            self.advance(now, id);
        }
    }

    /// The closest members are known; now some of those that are farther.
    pub(super) fn know_neighbours(&mut self, now: Instant) {
        self.care.joined = true;
        if self.table.is_small() {
            return;
        }
        let near = self
            .table
            .closest(&self.own.id, self.config.k(), Entry::is_good);
        let depth = near
            .last()
            .map_or(0, |contact| self.table.bucket(&contact.id))
            .min(MAX_FILLED);
        for bucket in 0..depth {
            let full = self.table.entries().iter().filter(|entry| {
                entry.failures == 0 && self.table.bucket(&entry.contact.id) == bucket
            });
            if full.count() >= self.config.k() {
                continue;
            }
            let target = self.target(bucket);
            if let Some(contact) = self.table.closest(&target, 1, Entry::is_good).first() {
                self.ask(now, contact.address, target, false, Purpose::Probe);
            }
        }
    }

    /// A random key in a bucket.
    fn target(&mut self, bucket: u32) -> Key {
        let bits = self.random.key(self.config.hash.len());
        self.own.id.in_bucket(bucket, &bits)
    }

    /// Asks the contacts that have been silent for longest, for members of their bucket.
    fn round(&mut self, now: Instant) {
        let refresh = self.config.refresh();
        let soon = UNPROVEN_WAIT.min(refresh);
        let due_at = |entry: &Entry| {
            let wait = if entry.is_good() { refresh } else { soon };
            after(entry.heard, wait)
        };
        let mut due: Vec<(Instant, Contact)> = self
            .table
            .entries()
            .iter()
            .map(|entry| (due_at(entry), entry.contact))
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort();
        for (_, contact) in due.into_iter().take(PER_ROUND) {
            if let Some(entry) = self.table.get_mut(contact.address) {
                entry.heard = now;
            }
            let bucket = self.table.bucket(&contact.id);
            let target = self.target(bucket);
            self.ask(now, contact.address, target, false, Purpose::Probe);
        }
        if let Some(lost) = self.care.lost.pop_front() {
            // Back of the queue: it is forgotten when others are lost.
            self.care.lost.push_back(lost);
            let own = self.own.id;
            self.ask(now, lost.address, own, false, Purpose::Probe);
        }
        let mut next = self.table.entries().iter().map(due_at).min();
        if !self.care.lost.is_empty() {
            let at = after(now, refresh / 4);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.care.round = next.map(|next| next.max(after(now, ROUND_PAUSE)));
    }
}
