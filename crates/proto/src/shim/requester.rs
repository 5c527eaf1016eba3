//! Allocations of this machine's programs: requests that leave, replies that come
//! (`spec/shims.md` §5.4, §6.4).

use std::time::{Duration, Instant};

use o7s_wire::{hash::NameHash, qos::QosSpec, shim::Message};

use super::{
    Address, CommandError, Data, Discard, DownReason, ENAME, Event, Flow, FlowKey, Path,
    QueryError, Refusal, Shim, State, attempts::Attempts, timers::Timer,
};

/// An allocation under way.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) hash: NameHash,
    qos: QosSpec,
    piggyback: Vec<u8>,
    pub(super) attempts: Attempts,
    /// Why the last one who was asked cannot give the flow.
    pub(super) refused: Option<Refusal>,
    started: Instant,
    /// When to find out whether the name has moved.
    pub(super) recheck: Option<Instant>,
    expires: Instant,
    /// What came before the reply.
    early: Vec<(Address, Option<u32>, Vec<u8>)>,
}

impl Asking {
    fn due(&self) -> Instant {
        [self.attempts.due(), self.recheck]
            .into_iter()
            .flatten()
            .fold(self.expires, Instant::min)
    }

    /// Whether a reply is awaited from somebody.
    pub(super) fn has_target(&self) -> bool {
        self.attempts.awaits_any()
    }

    fn early_bytes(&self) -> usize {
        self.early.iter().map(|(_, _, packet)| packet.len()).sum()
    }
}

impl Shim {
    /// Asks for a flow to a name; the answer is [`Event::Granted`] or [`Event::Refused`].
    ///
    /// # Errors
    /// [`CommandError`]: nothing has happened.
    pub fn alloc(
        &mut self,
        now: Instant,
        flow: FlowKey,
        hash: NameHash,
        qos: QosSpec,
        piggyback: &[u8],
    ) -> Result<(), CommandError> {
        self.check_hash(&hash)?;
        self.check_new_flow(flow)?;
        if !self.link {
            return Err(CommandError::LinkDown);
        }
        let message = Message::FlowRequest {
            requester: 0,
            qos,
            hash: hash.as_bytes(),
            piggyback,
            repeats: false,
        };
        self.check_size(&message)?;
        let eid = self.take_endpoint(now)?;
        let asking = Asking {
            hash: hash.clone(),
            qos,
            piggyback: piggyback.to_vec(),
            attempts: Attempts::default(),
            refused: None,
            started: now,
            recheck: None,
            expires: now + self.config.times.allocation,
            early: Vec::new(),
        };
        let state = State::Asking(Box::new(asking));
        self.insert_flow(flow, Flow { eid, state });
        match self.directory.addresses(now, &hash).first() {
            Some(address) => self.send_request(now, flow, *address),
            None => {
                if let Err(error) = self.ask_for_flow(now, &hash, flow) {
                    self.refuse_flow(now, flow, error.into());
                }
            }
        }
        self.arm_flow(flow);
        Ok(())
    }

    pub(super) fn asking(&mut self, flow: FlowKey) -> Option<(u32, &mut Asking)> {
        match self.flows.get_mut(&flow) {
            Some(Flow {
                eid,
                state: State::Asking(asking),
            }) => Some((*eid, asking)),
            _ => None,
        }
    }

    pub(super) fn arm_flow(&mut self, flow: FlowKey) {
        let due = match self.flows.get(&flow).map(|flow| &flow.state) {
            Some(State::Asking(asking)) => Some(asking.due()),
            Some(State::Up { ends, .. }) => *ends,
            None => None,
        };
        self.timers.set(Timer::Flow(flow), due);
    }

    /// Sends the request to an address for the first time.
    pub(super) fn send_request(&mut self, now: Instant, flow: FlowKey, to: Address) {
        let times = self.config.times;
        // Over UDP the second time may be a question whether the peer is one of ours.
        let asks_all = self.config.format.layout().has_name_queries();
        let repeats = self.config.repeats && (!asks_all || self.marked.contains(&to));
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let first = !asking.attempts.has_begun();
        let again = repeats.then_some((now + times.request_again, times.request_again * 2));
        let next = times.next_address.map(|after| now + after);
        asking.attempts.ask(to, again, next);
        asking.recheck = Some(now + times.recheck);
        if first {
            self.stats.requests_sent += 1;
        } else {
            self.stats.requests_repeated += 1;
        }
        self.transmit_request(flow, to);
    }

    pub(super) fn transmit_request(&mut self, flow: FlowKey, to: Address) {
        let repeats = self.config.repeats;
        let Some((eid, asking)) = self.asking(flow) else {
            return;
        };
        let (hash, qos) = (asking.hash.clone(), asking.qos);
        let piggyback = std::mem::take(&mut asking.piggyback);
        let message = Message::FlowRequest {
            requester: eid,
            qos,
            hash: hash.as_bytes(),
            piggyback: &piggyback,
            repeats,
        };
        // It fitted when it came; if the MTU has become smaller it is as good as lost.
        let _ = self.transmit(to, &message, true);
        if let Some((_, asking)) = self.asking(flow) {
            asking.piggyback = piggyback;
        }
    }

    /// Somebody has the name of an allocation. True: the allocation needs no more answers.
    pub(super) fn target_found(&mut self, now: Instant, flow: FlowKey, address: Address) -> bool {
        let Some((_, asking)) = self.asking(flow) else {
            return true;
        };
        if let Some(current) = asking.attempts.latest() {
            // A recheck: if the one that was asked still has the name, it is a matter of time.
            return current == address;
        }
        if !asking.attempts.may_ask(address) {
            return false;
        }
        self.send_request(now, flow, address);
        self.arm_flow(flow);
        true
    }

    /// The query of an allocation has ended without an answer from the one that was asked.
    pub(super) fn target_moved(&mut self, now: Instant, flow: FlowKey, answers: &[Address]) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let other = answers
            .iter()
            .find(|address| asking.attempts.may_ask(**address));
        let hash = asking.hash.clone();
        let silent = asking.attempts.latest();
        let reason = asking.refused.unwrap_or(Refusal::Peer(ENAME));
        match other {
            Some(other) => {
                if let Some(silent) = silent {
                    self.directory.drop_address(&hash, silent);
                }
                self.send_request(now, flow, *other);
                self.arm_flow(flow);
            }
            None if silent.is_none() => self.refuse_flow(now, flow, reason),
            None => {}
        }
    }

    /// Nobody has the name of an allocation.
    pub(super) fn target_missing(&mut self, now: Instant, flow: FlowKey, error: QueryError) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        if !asking.attempts.awaits_any() {
            let reason = asking.refused.unwrap_or(error.into());
            self.refuse_flow(now, flow, reason);
        }
        // Else the one that was asked may be busy: one of 0.23 answers no query while it waits for its
        // daemon (trap 16).
    }

    /// An allocation is due: to repeat the request, to ask another address, to query its name, to fail.
    pub(super) fn asking_due(&mut self, now: Instant, flow: FlowKey) {
        let most = self.config.times.request_again_most;
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let hash = asking.hash.clone();
        if asking.expires <= now {
            let after = now.saturating_duration_since(asking.started);
            for silent in asking.attempts.silent() {
                self.directory.drop_address(&hash, silent);
            }
            self.stats.unanswered += 1;
            self.refuse_flow(now, flow, Refusal::Silence { after });
            return;
        }
        let next = asking.attempts.take_next(now);
        for address in asking.attempts.take_due(now, most) {
            if self.marked.contains(&address) {
                self.stats.requests_repeated += 1;
                self.transmit_request(flow, address);
            } else {
                self.probe(&hash, address);
            }
        }
        if next {
            self.ask_next(now, flow, &hash);
        }
        if let Some((_, asking)) = self.asking(flow)
            && asking.recheck.is_some_and(|at| at <= now)
        {
            asking.recheck = None;
            // If it cannot be asked, the allocation waits as it would without.
            let _ = self.ask_for_flow(now, &hash, flow);
        }
        self.arm_flow(flow);
    }

    /// Ends an allocation with an event.
    pub(super) fn refuse_flow(&mut self, now: Instant, flow: FlowKey, reason: Refusal) {
        if self.drop_asking(now, flow) {
            self.events.push_back(Event::Refused { flow, reason });
        }
    }

    /// Ends an allocation. Late replies find a resting endpoint.
    pub(super) fn drop_asking(&mut self, now: Instant, flow: FlowKey) -> bool {
        let Some((_, asking)) = self.asking(flow) else {
            return false;
        };
        let (hash, early) = (asking.hash.clone(), asking.early_bytes());
        self.stats.early_bytes = self.stats.early_bytes.saturating_sub(early);
        self.forget_flow_query(&hash, flow);
        self.remove_flow(now, flow);
        true
    }

    /// The reply to a request.
    pub(super) fn flow_reply(
        &mut self,
        now: Instant,
        from: Address,
        reply: &Reply<'_>,
    ) -> Result<(), Discard> {
        let eid = reply.requester;
        let flow = match self.flow_of(eid) {
            Ok(flow) => flow,
            Err(discard) => {
                if self.endpoints.is_resting(eid) {
                    self.give_back(now, from, reply);
                }
                return Err(discard);
            }
        };
        if let Some(State::Up { path, .. }) = self.flows.get(&flow).map(|flow| &flow.state) {
            let path = *path;
            return self.reply_to_flow(now, from, flow, path, reply);
        }
        let Some((_, asking)) = self.asking(flow) else {
            return Err(Discard::Duplicate);
        };
        if !asking.attempts.awaits(from) {
            return Err(Discard::WrongPeer(eid));
        }
        let refused = reply.response != 0;
        if !refused && !self.is_peer_endpoint(reply.acceptor) {
            return Err(Discard::BadEndpoint(reply.acceptor));
        }
        self.mark(from, reply.repeats);
        if refused {
            self.stats.refused += 1;
            self.refused_by(now, flow, from, reply);
            return Ok(());
        }
        self.stats.granted += 1;
        let path = Path {
            local: eid,
            address: from,
            peer: reply.acceptor,
        };
        self.establish(now, flow, path, reply.piggyback);
        Ok(())
    }

    fn establish(&mut self, now: Instant, flow: FlowKey, path: Path, piggyback: &[u8]) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let early = std::mem::take(&mut asking.early);
        let hash = asking.hash.clone();
        let held: usize = early.iter().map(|(_, _, packet)| packet.len()).sum();
        self.stats.early_bytes = self.stats.early_bytes.saturating_sub(held);
        self.forget_flow_query(&hash, flow);
        self.flow_up(now, flow, path);
        let piggyback = piggyback.to_vec();
        self.events.push_back(Event::Granted { flow, piggyback });
        for (source, source_eid, packet) in early {
            if source == path.address && source_eid.is_none_or(|eid| eid == path.peer) {
                self.events.push_back(Event::Early { flow, packet });
            }
        }
    }

    /// A packet that is not for a flow of the driver's map: kept if its flow is about to come up.
    pub(super) fn stray_data(&mut self, data: &Data, packet: &[u8]) -> Result<(), Discard> {
        let eid = data.eid;
        let flow = self.flow_of(eid)?;
        let limits = self.config.limits;
        let room = limits.early_bytes.saturating_sub(self.stats.early_bytes);
        match self.flows.get_mut(&flow).map(|flow| &mut flow.state) {
            Some(State::Up { path, .. }) if path.accepts(data) => {
                // The driver's map is behind.
                let packet = packet.to_vec();
                self.events.push_back(Event::Early { flow, packet });
                Ok(())
            }
            Some(State::Asking(asking)) if asking.attempts.awaits(data.source) => {
                if asking.early.len() >= limits.early || packet.len() > room {
                    return Err(Discard::NoRoom);
                }
                asking
                    .early
                    .push((data.source, data.source_eid, packet.to_vec()));
                self.stats.early_bytes += packet.len();
                self.stats.early += 1;
                Ok(())
            }
            _ => Err(Discard::WrongPeer(eid)),
        }
    }

    fn flow_of(&self, eid: u32) -> Result<FlowKey, Discard> {
        match self.by_eid.get(&eid) {
            Some(flow) => Ok(*flow),
            None if self.endpoints.is_resting(eid) => Err(Discard::StaleEndpoint(eid)),
            None => Err(Discard::UnknownEndpoint(eid)),
        }
    }

    /// Ends a flow after `linger`, with [`Event::FlowDown`]; or gives up an allocation that is under way, at
    /// once and without an event. Nothing of it is told to the peer: the protocol has no word for it.
    ///
    /// # Errors
    /// [`CommandError::NoFlow`].
    pub fn dealloc(
        &mut self,
        now: Instant,
        flow: FlowKey,
        linger: Duration,
    ) -> Result<(), CommandError> {
        if self.drop_asking(now, flow) {
            return Ok(());
        }
        match self.flows.get_mut(&flow).map(|flow| &mut flow.state) {
            Some(State::Up { ends, .. }) => {
                let at = now + linger.min(MAX_LINGER);
                *ends = Some(ends.map_or(at, |ends| ends.min(at)));
            }
            _ => return Err(CommandError::NoFlow(flow)),
        }
        if linger.is_zero() {
            self.flow_down(now, flow, DownReason::Deallocated);
        }
        self.arm_flow(flow);
        Ok(())
    }
}

/// Longest linger.
const MAX_LINGER: Duration = Duration::from_secs(3600);

/// The fields of a flow reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) requester: u32,
    pub(super) acceptor: u32,
    pub(super) response: i32,
    pub(super) piggyback: &'a [u8],
    pub(super) repeats: bool,
}
