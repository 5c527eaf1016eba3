//! Names: who has one, and who wants to know (`spec/shims.md` §5.2, §5.3, §6.5).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use o7s_wire::{hash::NameHash, shim::Message};

use super::{
    Address, CommandError, Discard, Event, FlowKey, QueryError, QueryKey, Shim, State,
    admission::Source, timers::Timer,
};

/// A name that is asked for.
#[derive(Debug)]
pub(super) struct Query {
    started: Instant,
    /// Those who wait for the answer, and until when.
    waiters: BTreeSet<(Instant, QueryKey)>,
    /// Allocations that want an address, or another one.
    flows: BTreeSet<FlowKey>,
    /// Who has the name.
    answers: Vec<Address>,
    /// When to ask again, and after which time the next time.
    again: Option<(Instant, Duration)>,
    until: Instant,
}

impl Query {
    fn due(&self) -> Instant {
        let waiter = self.waiters.first().map(|(at, _)| *at);
        let again = self.again.map(|(at, _)| at);
        [waiter, again]
            .into_iter()
            .flatten()
            .fold(self.until, Instant::min)
    }
}

impl Shim {
    /// Makes a name of ours reachable. A second time changes nothing.
    ///
    /// # Errors
    /// [`CommandError::HashLen`], [`CommandError::TooMany`].
    pub fn register(&mut self, hash: NameHash) -> Result<(), CommandError> {
        self.check_hash(&hash)?;
        let limit = self.config.limits.names;
        if self.names.len() >= limit && !self.names.contains(&hash) {
            return Err(CommandError::TooMany(limit));
        }
        self.names.insert(hash);
        Ok(())
    }

    /// Undoes [`register`](Self::register); a name that is not there changes nothing.
    pub fn unregister(&mut self, hash: &NameHash) {
        self.names.remove(hash);
    }

    pub(super) fn check_hash(&self, hash: &NameHash) -> Result<(), CommandError> {
        let (need, got) = (self.config.hash_len, hash.as_bytes().len());
        if need == got {
            Ok(())
        } else {
            Err(CommandError::HashLen { need, got })
        }
    }

    /// Asks whether a name is reachable; the answer is [`Event::QueryResult`], within `patience`, at once
    /// if an address is known.
    pub fn query(&mut self, now: Instant, query: QueryKey, hash: NameHash, patience: Duration) {
        if let Err(CommandError::HashLen { need, got }) = self.check_hash(&hash) {
            return self.answer_query(query, Err(QueryError::HashLen { need, got }));
        }
        if !self.directory.addresses(now, &hash).is_empty() {
            return self.answer_query(query, Ok(()));
        }
        if let Err(error) = self.ask(now, &hash) {
            return self.answer_query(query, Err(error));
        }
        let limit = self.config.limits.waiters;
        if let Some(asked) = self.queries.get_mut(&hash) {
            if asked.waiters.len() >= limit {
                return self.answer_query(query, Err(QueryError::TooMany(limit)));
            }
            let until = now + patience.min(self.config.times.allocation);
            asked.waiters.insert((until, query));
        }
        self.arm_query(&hash);
    }

    /// Nobody waits for this query any more; its event does not come.
    pub fn cancel_query(&mut self, query: QueryKey) {
        for asked in self.queries.values_mut() {
            asked.waiters.retain(|(_, key)| *key != query);
        }
    }

    fn answer_query(&mut self, query: QueryKey, result: Result<(), QueryError>) {
        self.events.push_back(Event::QueryResult { query, result });
    }

    /// Asks for a name, unless that is being done.
    fn ask(&mut self, now: Instant, hash: &NameHash) -> Result<(), QueryError> {
        if !self.link {
            return Err(QueryError::LinkDown);
        }
        if self.queries.contains_key(hash) {
            return Ok(());
        }
        let limit = self.config.limits.queries;
        if self.queries.len() >= limit {
            return Err(QueryError::TooMany(limit));
        }
        let times = self.config.times;
        let names = self.config.format.layout().has_name_queries();
        let (again, lasts) = if names {
            (Some((now, times.query_again)), times.query)
        } else {
            let hash = hash.clone();
            self.events.push_back(Event::Resolve { hash });
            (None, times.allocation)
        };
        let query = Query {
            started: now,
            waiters: BTreeSet::new(),
            flows: BTreeSet::new(),
            answers: Vec::new(),
            again,
            until: now + lasts,
        };
        self.queries.insert(hash.clone(), query);
        self.query_again(now, hash);
        self.arm_query(hash);
        Ok(())
    }

    /// Asks for the address of an allocation; an answer comes to
    /// [`target_found`](Self::target_found) or [`target_missing`](Self::target_missing).
    pub(super) fn ask_for_flow(
        &mut self,
        now: Instant,
        hash: &NameHash,
        flow: FlowKey,
    ) -> Result<(), QueryError> {
        self.ask(now, hash)?;
        if let Some(query) = self.queries.get_mut(hash) {
            query.flows.insert(flow);
        }
        Ok(())
    }

    /// The allocation is over.
    pub(super) fn forget_flow_query(&mut self, hash: &NameHash, flow: FlowKey) {
        if let Some(query) = self.queries.get_mut(hash) {
            query.flows.remove(&flow);
        }
    }

    fn arm_query(&mut self, hash: &NameHash) {
        let due = self.queries.get(hash).map(Query::due);
        self.timers.set(Timer::Query(hash.clone()), due);
    }

    /// Sends the query if it is time.
    fn query_again(&mut self, now: Instant, hash: &NameHash) {
        let Some(query) = self.queries.get_mut(hash) else {
            return;
        };
        let Some((at, after)) = query.again else {
            return;
        };
        if !query.answers.is_empty() {
            query.again = None;
            return;
        }
        if at > now {
            return;
        }
        let jitter = Duration::from_micros(self.random.below(1000));
        query.again = Some((now + after + jitter, after * 2));
        let message = Message::NameQuery {
            hash: hash.as_bytes(),
            repeats: self.config.repeats,
        };
        self.stats.queries_sent += 1;
        let sent = self.transmit(Address::BROADCAST, &message, true);
        debug_assert!(sent.is_ok(), "a name query fits into every MTU");
    }

    /// A query is due: to ask again, to give up on behalf of someone, or to end.
    pub(super) fn query_due(&mut self, now: Instant, hash: &NameHash) {
        self.query_again(now, hash);
        let Some(query) = self.queries.get_mut(hash) else {
            return;
        };
        let silence = QueryError::Silence(now.saturating_duration_since(query.started));
        let mut late = Vec::new();
        while let Some((at, key)) = query.waiters.first().copied() {
            if at > now {
                break;
            }
            query.waiters.pop_first();
            late.push(key);
        }
        for key in late {
            self.answer_query(key, Err(silence));
        }
        if self
            .queries
            .get(hash)
            .is_some_and(|query| query.until <= now)
        {
            self.end_query(now, hash, silence);
        } else {
            self.arm_query(hash);
        }
    }

    fn end_query(&mut self, now: Instant, hash: &NameHash, error: QueryError) {
        self.timers.set(Timer::Query(hash.clone()), None);
        let Some(query) = self.queries.remove(hash) else {
            return;
        };
        let result = if query.answers.is_empty() {
            Err(error)
        } else {
            Ok(())
        };
        for (_, key) in query.waiters {
            self.answer_query(key, result);
        }
        for flow in query.flows {
            match result {
                Ok(()) => self.target_moved(now, flow, &query.answers),
                Err(error) => self.target_missing(now, flow, error),
            }
        }
    }

    /// Somebody has the name.
    fn name_found(&mut self, now: Instant, hash: &NameHash, address: Address) {
        let most = self.config.limits.addresses;
        let collect = now + self.config.times.query_collect;
        let Some(query) = self.queries.get_mut(hash) else {
            return;
        };
        if query.answers.len() < most && !query.answers.contains(&address) {
            query.answers.push(address);
        }
        let waiters = std::mem::take(&mut query.waiters);
        query.again = None;
        let flows: Vec<_> = query.flows.iter().copied().collect();
        for (_, key) in waiters {
            self.answer_query(key, Ok(()));
        }
        for flow in flows {
            if self.target_found(now, flow, address) {
                self.forget_flow_query(hash, flow);
            }
        }
        if let Some(query) = self.queries.get_mut(hash) {
            let rechecks = |flow| match self.flows.get(flow).map(|flow| &flow.state) {
                Some(State::Asking(asking)) => asking.has_target(),
                _ => false,
            };
            if !query.flows.iter().any(rechecks) {
                // Nobody needs to know that an address stays silent: only take in who answers late.
                query.until = query.until.min(collect);
            }
        }
        self.arm_query(hash);
    }

    /// The addresses of a name, for [`Event::Resolve`]; none: it has none. Their port is that of the layer.
    pub fn resolved(&mut self, now: Instant, hash: &NameHash, addresses: &[Address]) {
        if self.check_hash(hash).is_err() {
            return;
        }
        // The first is the best: learned last, it is tried first.
        for address in addresses.iter().rev() {
            self.directory.learn(now, hash, *address);
        }
        for address in addresses {
            self.name_found(now, hash, *address);
        }
        self.end_query(now, hash, QueryError::NoAddress);
    }

    /// Someone asks for a name.
    pub(super) fn name_query(
        &mut self,
        now: Instant,
        from: Address,
        hash: &NameHash,
        repeats: bool,
    ) -> Result<(), Discard> {
        let asks_all = self.config.format.layout().has_name_queries();
        if !self.names.contains(hash) || !(asks_all || (repeats && self.config.repeats)) {
            return Err(Discard::UnknownName);
        }
        if !self.admission.admit(Source::from(from), now) {
            return Err(Discard::RateLimit);
        }
        let answer = Message::NameReply {
            hash: hash.as_bytes(),
            repeats: repeats && self.config.repeats,
        };
        match self.transmit(from, &answer, false) {
            Ok(true) => {
                self.stats.queries_answered += 1;
                Ok(())
            }
            _ => Err(Discard::NoRoom),
        }
    }

    /// Someone says that he has a name.
    pub(super) fn name_reply(
        &mut self,
        now: Instant,
        from: Address,
        hash: &NameHash,
        repeats: bool,
    ) -> Result<(), Discard> {
        if !self.config.format.layout().has_name_queries() {
            // Over UDP an address comes from the resolver only; this one was asked and is one of ours.
            return match repeats {
                true => self.probe_answered(now, from, hash),
                false => Err(Discard::NotAsked),
            };
        }
        let asked = self.queries.contains_key(hash);
        if !asked && !self.directory.knows(hash, from) {
            return Err(Discard::NotAsked);
        }
        if asked {
            self.mark(from, repeats);
        }
        self.directory.learn(now, hash, from);
        self.name_found(now, hash, from);
        Ok(())
    }
}
