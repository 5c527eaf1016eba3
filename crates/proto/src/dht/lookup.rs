//! An iterative look-up: whom to ask next, and when it is over.
//!
//! The members closest to the key are asked, some at a time; each names closer ones. It is over when those
//! that answered are the closest of all that were named, or when there is a value.
//!
//! Hostile members can name members that do not exist. Each member may name `k` per answer, and the more of
//! those that one named fail, the later the rest of them is asked.

use std::time::{Duration, Instant};

use o7s_wire::{
    address::Address,
    dht::{Contact, Distance, Key},
};

/// Longest time of a look-up.
pub(super) const LIFE: Duration = Duration::from_secs(5);

/// Most members that a look-up asks.
const MAX_ASKED: usize = 96;

/// Most members that a look-up remembers.
const MAX_CANDIDATES: usize = 160;

/// Why a look-up runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The values of the key, for a query.
    Values,
    /// The members where a name registered here is to be stored.
    Publish,
    /// The own neighbourhood.
    Neighbours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asked,
    /// Asked, and the answer is late: others are asked meanwhile.
    Late,
    Answered,
    Failed,
}

#[derive(Debug, Clone)]
struct Candidate {
    distance: Distance,
    contact: Contact,
    state: State,
    /// Who named it; the own address: the table.
    named_by: Address,
}

/// A look-up under way.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) key: Key,
    pub(super) goal: Goal,
    pub(super) deadline: Instant,
    /// The closest first.
    candidates: Vec<Candidate>,
    asked: usize,
    own: Contact,
}

impl Lookup {
    pub(super) fn new(own: Contact, key: Key, goal: Goal, now: Instant) -> Self {
        Self {
            key,
            goal,
            deadline: now + LIFE,
            candidates: Vec::new(),
            asked: 0,
            own,
        }
    }

    /// Whether values are asked for.
    pub(super) fn wants_values(&self) -> bool {
        self.goal == Goal::Values
    }

    /// `named_by` names this contact.
    pub(super) fn add(&mut self, contact: Contact, named_by: Address) {
        if contact.address == self.own.address || contact.id == self.own.id {
            return;
        }
        let known = |c: &Candidate| c.contact.address == contact.address;
        if self.candidates.iter().any(known) {
            return;
        }
        let distance = self.key.distance(&contact.id);
        let at = self.candidates.partition_point(|c| c.distance < distance);
        self.candidates.insert(
            at,
            Candidate {
                distance,
                contact,
                state: State::New,
                named_by,
            },
        );
        if self.candidates.len() > MAX_CANDIDATES
            && let Some(last) = self.candidates.iter().rposition(|c| c.state == State::New)
        {
            self.candidates.remove(last);
        }
    }

    fn set(&mut self, address: Address, state: State) {
        if let Some(candidate) = self
            .candidates
            .iter_mut()
            .find(|c| c.contact.address == address)
        {
            candidate.state = state;
        }
    }

    pub(super) fn late(&mut self, address: Address) {
        self.set(address, State::Late);
    }

    pub(super) fn answered(&mut self, address: Address) {
        self.set(address, State::Answered);
    }

    pub(super) fn failed(&mut self, address: Address) {
        self.set(address, State::Failed);
    }

    /// How many of those whom this one named did not answer.
    fn mistrust(&self, named_by: Address) -> usize {
        if named_by == self.own.address {
            return 0;
        }
        self.candidates
            .iter()
            .filter(|c| c.named_by == named_by && matches!(c.state, State::Failed | State::Late))
            .count()
    }

    /// The next member to ask, if one is to be asked now: at most `alpha` at a time, among the `window`
    /// closest that have not failed.
    pub(super) fn next(&mut self, alpha: usize, window: usize) -> Option<Address> {
        let waiting = self
            .candidates
            .iter()
            .filter(|c| c.state == State::Asked)
            .count();
        if waiting >= alpha || self.asked >= MAX_ASKED {
            return None;
        }
        let at = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.state != State::Failed)
            .take(window)
            .filter(|(_, c)| c.state == State::New)
            .min_by_key(|(at, c)| (self.mistrust(c.named_by), *at))
            .map(|(at, _)| at)?;
        self.asked += 1;
        self.candidates[at].state = State::Asked;
        Some(self.candidates[at].contact.address)
    }

    /// Whether nothing is to be waited for: none of the `window` closest that have not failed has been asked
    /// without having answered. (Call [`next`](Self::next) before.)
    pub(super) fn is_over(&self, now: Instant, window: usize) -> bool {
        now >= self.deadline
            || !self
                .candidates
                .iter()
                .filter(|c| c.state != State::Failed)
                .take(window)
                .any(|c| matches!(c.state, State::Asked | State::Late))
    }

    /// The up to `n` closest that answered.
    pub(super) fn closest(&self, n: usize) -> Vec<Contact> {
        self.candidates
            .iter()
            .filter(|c| c.state == State::Answered)
            .take(n)
            .map(|c| c.contact)
            .collect()
    }
}
