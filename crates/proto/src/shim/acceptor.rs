//! Requests of strangers: admission, the daemon's answer, repeated requests (`spec/shims.md` §5.4, §6.4).

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use o7s_wire::{hash::NameHash, qos::QosSpec, shim::Message};

use super::{
    Address, CommandError, Discard, EBUSY, ECONNRESET, EMSGSIZE, ENAME, ENOSPC, Event, FlowKey,
    Path, RequestKey, Shim, admission::Source, timers::Timer,
};

/// Answers to one repeated request.
const MAX_REPEATS: u8 = 32;

/// Who asks: address and endpoint.
pub(super) type Peer = (Address, u32);

/// The fields of a flow request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) requester: u32,
    pub(super) qos: QosSpec,
    pub(super) hash: &'a [u8],
    pub(super) piggyback: &'a [u8],
    pub(super) repeats: bool,
}

impl Request<'_> {
    /// Tells one request from another.
    fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.hash, self.piggyback).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether an equal request would be the same: without a piggyback, which has a random id, only those
    /// of ours are known not to use their endpoint again soon.
    fn is_unique(&self) -> bool {
        self.repeats || !self.piggyback.is_empty()
    }
}

/// A request that waits for the daemon.
#[derive(Debug)]
struct Arrival {
    peer: Peer,
    content: u64,
    repeats: bool,
}

/// Requests that wait for the daemon.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    by_key: BTreeMap<RequestKey, Arrival>,
    by_peer: BTreeMap<Peer, RequestKey>,
    per_source: BTreeMap<Source, usize>,
    last: u64,
}

impl Arrivals {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn of(&self, peer: &Peer) -> Option<(RequestKey, &Arrival)> {
        let key = *self.by_peer.get(peer)?;
        Some((key, self.by_key.get(&key)?))
    }

    fn insert(&mut self, arrival: Arrival) -> RequestKey {
        self.last += 1;
        let key = RequestKey(self.last);
        self.by_peer.insert(arrival.peer, key);
        *self
            .per_source
            .entry(Source::from(arrival.peer.0))
            .or_default() += 1;
        self.by_key.insert(key, arrival);
        key
    }

    fn remove(&mut self, key: RequestKey) -> Option<Arrival> {
        let arrival = self.by_key.remove(&key)?;
        self.by_peer.remove(&arrival.peer);
        let source = Source::from(arrival.peer.0);
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(arrival)
    }
}

/// An answer, for a repeated request.
#[derive(Debug)]
struct Answer {
    content: u64,
    /// The frame that was sent, if it may be sent again.
    frame: Vec<u8>,
    repeats: bool,
    left: u8,
    expires: Instant,
}

/// Answers that were given lately.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_peer: BTreeMap<Peer, Answer>,
    order: VecDeque<(Instant, Peer)>,
    bytes: usize,
}

impl Answers {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, peer: &Peer) {
        if let Some(answer) = self.by_peer.remove(peer) {
            self.bytes -= answer.frame.len();
        }
    }

    fn insert(&mut self, peer: Peer, answer: Answer) {
        self.remove(&peer);
        self.bytes += answer.frame.len();
        self.order.push_back((answer.expires, peer));
        self.by_peer.insert(peer, answer);
    }

    /// Drops what has expired and what is too much, the oldest first.
    fn trim(&mut self, now: Instant, max: usize, max_bytes: usize) {
        while let Some((expires, peer)) = self.order.front().copied() {
            // An answer that was replaced or dropped has left its place in the order behind.
            let is_current = self
                .by_peer
                .get(&peer)
                .is_some_and(|answer| answer.expires == expires);
            let full = self.order.len() > max || self.bytes > max_bytes;
            if is_current && expires > now && !full {
                break;
            }
            self.order.pop_front();
            if is_current {
                self.remove(&peer);
            }
        }
    }
}

impl Shim {
    /// Someone asks for a flow.
    pub(super) fn flow_request(
        &mut self,
        now: Instant,
        from: Address,
        request: &Request<'_>,
    ) -> Result<(), Discard> {
        if !self.is_peer_endpoint(request.requester) {
            return Err(Discard::BadEndpoint(request.requester));
        }
        if !self.admission.admit(Source::from(from), now) {
            return Err(Discard::RateLimit);
        }
        let peer = (from, request.requester);
        self.drop_duplicate(now, &peer, request)?;
        let hash = NameHash::from_bytes(request.hash);
        if !self.names.contains(&hash) {
            self.refuse(&peer, request, ENAME);
            return Err(Discard::UnknownName);
        }
        let limits = self.config.limits;
        let of_source = self.arrivals.per_source.get(&Source::from(from));
        if self.arrivals.len() >= limits.arrived
            || of_source.is_some_and(|count| *count >= limits.arrived_per_source)
            || self.flows.len() >= limits.flows
        {
            self.refuse(&peer, request, EBUSY);
            return Err(Discard::NoRoom);
        }
        let key = self.arrivals.insert(Arrival {
            peer,
            content: request.content(),
            repeats: request.repeats,
        });
        let due = now + self.config.times.arrived;
        self.timers.set(Timer::Request(key), Some(due));
        self.stats.requests_arrived += 1;
        self.events.push_back(Event::RequestArrived {
            request: key,
            hash,
            qos: request.qos,
            piggyback: request.piggyback.to_vec(),
        });
        Ok(())
    }

    /// Finds out whether the request came before, and if so repeats its answer.
    fn drop_duplicate(
        &mut self,
        now: Instant,
        peer: &Peer,
        request: &Request<'_>,
    ) -> Result<(), Discard> {
        let content = request.content();
        if let Some((key, arrival)) = self.arrivals.of(peer) {
            if arrival.content == content {
                return Err(Discard::Duplicate);
            }
            // The peer has given that one up and uses its endpoint for another.
            self.arrivals.remove(key);
            self.timers.set(Timer::Request(key), None);
            self.events.push_back(Event::RequestGone { request: key });
        }
        let limits = self.config.limits;
        self.answers.trim(now, limits.answers, limits.answer_bytes);
        let Some(answer) = self.answers.by_peer.get_mut(peer) else {
            return Ok(());
        };
        if answer.content != content || !request.is_unique() {
            return Ok(());
        }
        // One of 0.23 sends a request once; what comes twice was doubled on the way, and so would be
        // the answer.
        if request.repeats && answer.repeats && answer.left > 0 {
            answer.left -= 1;
            let frame = answer.frame.clone();
            self.push_frame(peer.0, frame, false);
        }
        Err(Discard::Duplicate)
    }

    /// Refuses at once: with endpoint 0 (trap 8). Never longer than the request.
    fn refuse(&mut self, peer: &Peer, request: &Request<'_>, response: i32) {
        self.stats.requests_refused += 1;
        // Not kept: the same request is refused again. What does not fit now is silence, as of 0.23.
        let repeats = request.repeats && self.config.repeats;
        let message = Message::FlowReply {
            requester: peer.1,
            acceptor: 0,
            response,
            piggyback: &[],
            repeats,
        };
        let _ = self.transmit(peer.0, &message, false);
    }

    fn send_reply(
        &mut self,
        now: Instant,
        asked: &Asked,
        acceptor: u32,
        response: i32,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        let repeats = asked.repeats && self.config.repeats;
        let (address, requester) = asked.peer;
        let message = Message::FlowReply {
            requester,
            acceptor,
            response,
            piggyback,
            repeats,
        };
        let frame = self.frame(address, &message)?;
        let limits = self.config.limits;
        let kept = if repeats { frame.clone() } else { Vec::new() };
        self.push_frame(address, frame, acceptor != 0);
        self.answers.insert(
            asked.peer,
            Answer {
                content: asked.content,
                frame: kept,
                repeats,
                left: MAX_REPEATS,
                expires: now + self.config.times.answer,
            },
        );
        self.answers.trim(now, limits.answers, limits.answer_bytes);
        Ok(())
    }

    /// Answers [`Event::RequestArrived`]: `Ok(flow)` accepts, as this flow, and [`Event::FlowUp`] follows;
    /// `Err` refuses with a negative error number. Refusals may carry a piggyback too.
    ///
    /// # Errors
    /// [`CommandError`]. There is no flow then; the peer was refused if it can be. After
    /// [`CommandError::FlowExists`] the request still waits.
    pub fn respond(
        &mut self,
        now: Instant,
        request: RequestKey,
        answer: Result<FlowKey, i32>,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        if let Ok(flow) = answer
            && self.flows.contains_key(&flow)
        {
            return Err(CommandError::FlowExists(flow));
        }
        let arrival = self
            .arrivals
            .remove(request)
            .ok_or(CommandError::NoRequest(request))?;
        self.timers.set(Timer::Request(request), None);
        let asked = Asked {
            peer: arrival.peer,
            content: arrival.content,
            repeats: arrival.repeats,
        };
        match answer {
            Ok(flow) => self.accept(now, &asked, flow, piggyback),
            // 0 would accept.
            Err(0) => self.send_reply(now, &asked, 0, EBUSY, piggyback),
            Err(code) => self.send_reply(now, &asked, 0, -code.saturating_abs(), piggyback),
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        asked: &Asked,
        flow: FlowKey,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        let eid = self
            .check_new_flow(flow)
            .and_then(|()| self.take_endpoint(now));
        let eid = match eid {
            Ok(eid) => eid,
            Err(error) => {
                let _ = self.send_reply(now, asked, 0, ENOSPC, &[]);
                return Err(error);
            }
        };
        let (address, peer) = asked.peer;
        let path = Path {
            local: eid,
            address,
            peer,
        };
        let result = self.send_reply(now, asked, eid, 0, piggyback);
        if let Err(error) = result {
            self.endpoints.release(eid, now);
            let _ = self.send_reply(now, asked, 0, EMSGSIZE, &[]);
            return Err(error);
        }
        // The driver takes this event before it sends the reply (defect 1).
        self.flow_up(now, flow, path);
        Ok(())
    }

    /// The daemon has not answered a request.
    pub(super) fn request_due(&mut self, request: RequestKey) {
        if self.arrivals.remove(request).is_some() {
            self.stats.requests_expired += 1;
            // Nothing is told: the peer has given up, and may use its endpoint for another flow.
            self.events.push_back(Event::RequestGone { request });
        }
    }

    /// Whether a flow is one of a request that was accepted a short time ago.
    pub(super) fn was_accepted_lately(&self, now: Instant, path: &Path) -> bool {
        let answer = self.answers.by_peer.get(&(path.address, path.peer));
        answer.is_some_and(|answer| answer.expires > now)
    }

    /// A flow that was accepted is over: who repeats its request now gets no.
    pub(super) fn answer_over(&mut self, path: &Path) {
        let peer = (path.address, path.peer);
        let Some(answer) = self.answers.by_peer.get(&peer) else {
            return;
        };
        let repeats = answer.repeats;
        let message = Message::FlowReply {
            requester: path.peer,
            acceptor: 0,
            response: ECONNRESET,
            piggyback: &[],
            repeats,
        };
        if let (true, Ok(frame)) = (repeats, self.frame(path.address, &message))
            && let Some(answer) = self.answers.by_peer.get_mut(&peer)
        {
            self.answers.bytes = self.answers.bytes - answer.frame.len() + frame.len();
            answer.frame = frame;
        }
    }
}

/// To whom a reply goes, and to which request.
#[derive(Debug)]
struct Asked {
    peer: Peer,
    content: u64,
    repeats: bool,
}
