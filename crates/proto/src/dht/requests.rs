//! Requests that wait for their answer: one per asked member, sent again until it answers or is given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use o7s_wire::{address::Address, dht::Key};

/// Most requests at a time.
pub(super) const MAX_REQUESTS: usize = 1_024;

/// How often a request is sent.
pub(super) const TRIES: u8 = 3;

/// Bounds of the time after which a request is sent again, and where it starts.
const MIN_WAIT: Duration = Duration::from_millis(40);
const MAX_WAIT: Duration = Duration::from_millis(800);
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Part of a look-up.
    Lookup(u64),
    /// Is the contact there, and whom does it know?
    Probe,
    /// Has it stored what we registered?
    Confirm,
    /// Does the registrant still have the name?
    Validate,
    /// The member that enrolled us.
    Join,
}

/// A request under way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) to: Address,
    pub(super) key: Key,
    /// Asks for values.
    pub(super) value: bool,
    pub(super) purpose: Purpose,
    pub(super) tries: u8,
    sent: Instant,
    due: Instant,
}

/// All requests under way, by their cookies.
#[derive(Debug)]
pub(super) struct Requests {
    by_cookie: BTreeMap<u64, Request>,
    due: BTreeSet<(Instant, u64)>,
    /// Smoothed time to an answer and its deviation, over all contacts.
    mean: Duration,
    deviation: Duration,
    sampled: bool,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            by_cookie: BTreeMap::new(),
            due: BTreeSet::new(),
            mean: FIRST_WAIT,
            deviation: Duration::ZERO,
            sampled: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_cookie.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_cookie.len() >= MAX_REQUESTS
    }

    /// Whether this member is being asked for that purpose.
    pub(super) fn asks(&self, to: Address, purpose: Purpose) -> bool {
        self.by_cookie
            .values()
            .any(|request| request.to == to && request.purpose == purpose)
    }

    /// Whether a member is being asked that becomes a contact when it answers.
    pub(super) fn await_contact(&self) -> bool {
        let mut requests = self.by_cookie.values();
        requests.any(|request| matches!(request.purpose, Purpose::Probe | Purpose::Join))
    }

    /// How long to wait before sending again.
    fn wait(&self) -> Duration {
        if self.sampled {
            (self.mean + 4 * self.deviation).clamp(MIN_WAIT, MAX_WAIT)
        } else {
            FIRST_WAIT
        }
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        cookie: u64,
        to: Address,
        key: Key,
        value: bool,
        purpose: Purpose,
    ) {
        let due = now + self.wait();
        let request = Request {
            to,
            key,
            value,
            purpose,
            tries: 1,
            sent: now,
            due,
        };
        if let Some(old) = self.by_cookie.insert(cookie, request) {
            self.due.remove(&(old.due, cookie));
        }
        self.due.insert((due, cookie));
    }

    /// An answer: the request that it answers.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        cookie: u64,
        key: &Key,
        from: Address,
        values: bool,
    ) -> Option<Request> {
        let request = self.by_cookie.get(&cookie)?;
        if request.key != *key || request.to != from || request.value != values {
            return None;
        }
        let request = self.by_cookie.remove(&cookie)?;
        self.due.remove(&(request.due, cookie));
        if request.tries == 1 {
            self.sample(now.saturating_duration_since(request.sent));
        }
        Some(request)
    }

    fn sample(&mut self, took: Duration) {
        if !self.sampled {
            (self.mean, self.deviation, self.sampled) = (took, took / 2, true);
            return;
        }
        let error = took.abs_diff(self.mean);
        self.deviation = (3 * self.deviation + error) / 4;
        self.mean = (7 * self.mean + took) / 8;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next request that is due: with its cookie to be sent again, or (`Err`) given up.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Result<(u64, Request), Request>> {
        let &(at, cookie) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, cookie));
        let wait = self.wait();
        let request = self.by_cookie.get_mut(&cookie)?;
        if request.tries >= TRIES {
            return self.by_cookie.remove(&cookie).map(Err);
        }
        request.tries += 1;
        // The last try waits longest: what is lost by giving up is more than what is lost by waiting.
        request.due = now + wait * (u32::from(request.tries) - 1);
        self.due.insert((request.due, cookie));
        Some(Ok((cookie, request.clone())))
    }

    /// There is no way to this member: its requests are to be given up at once.
    pub(super) fn hasten(&mut self, now: Instant, to: Address) {
        for (cookie, request) in &mut self.by_cookie {
            if request.to == to {
                self.due.remove(&(request.due, *cookie));
                (request.due, request.tries) = (now, TRIES);
                self.due.insert((now, *cookie));
            }
        }
    }
}
