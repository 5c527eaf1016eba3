//! Allocations of this machine's programs: requests that leave, replies that come
//! (`spec/shims.md` §5.4, §6.4).

use std::time::{Duration, Instant};

use o7s_wire::{hash::NameHash, qos::QosSpec, shim::Message};

use super::{
    Address, CommandError, Data, Discard, DownReason, ENAME, Event, Flow, FlowKey, Path,
    QueryError, Refusal, Shim, State, timers::Timer,
};

/// How many addresses of a name are asked for one allocation.
const MAX_ASKED: usize = 4;

/// An allocation under way.
#[derive(Debug)]
pub(super) struct Asking {
    hash: NameHash,
    qos: QosSpec,
    piggyback: Vec<u8>,
    /// Who was asked; a reply of any of them counts. The last is the one from whom it is awaited.
    asked: Vec<Address>,
    /// Who refused in a way that means "not here".
    refused: Vec<Address>,
    started: Instant,
    /// When to send the request again, and after which time the next time.
    again: Option<(Instant, Duration)>,
    /// When to find out whether the name has moved.
    recheck: Option<Instant>,
    expires: Instant,
    /// What came before the reply.
    early: Vec<(Address, Option<u32>, Vec<u8>)>,
}

impl Asking {
    fn due(&self) -> Instant {
        [self.again.map(|(at, _)| at), self.recheck]
            .into_iter()
            .flatten()
            .fold(self.expires, Instant::min)
    }

    /// Whether a reply is awaited from somebody.
    pub(super) fn has_target(&self) -> bool {
        !self.asked.is_empty()
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
            asked: Vec::new(),
            refused: Vec::new(),
            started: now,
            again: None,
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

    fn asking(&mut self, flow: FlowKey) -> Option<(u32, &mut Asking)> {
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
    fn send_request(&mut self, now: Instant, flow: FlowKey, to: Address) {
        let times = self.config.times;
        let repeats = self.config.repeats && self.marked.contains(&to);
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let first = asking.asked.is_empty();
        asking.asked.retain(|asked| *asked != to);
        asking.asked.push(to);
        asking.again = repeats.then_some((now + times.request_again, times.request_again * 2));
        asking.recheck = Some(now + times.recheck);
        if first {
            self.stats.requests_sent += 1;
        } else {
            self.stats.requests_repeated += 1;
        }
        self.transmit_request(flow, to);
    }

    fn transmit_request(&mut self, flow: FlowKey, to: Address) {
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
        if asking.refused.contains(&address) {
            return false;
        }
        if let Some(current) = asking.asked.last() {
            // A recheck: if the one that was asked still has the name, it is a matter of time.
            return *current == address;
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
            .find(|address| !asking.asked.contains(address) && !asking.refused.contains(address));
        let hash = asking.hash.clone();
        let silent = asking.asked.last().copied();
        let full = asking.asked.len() + asking.refused.len() >= MAX_ASKED;
        match other {
            Some(other) if !full => {
                if let Some(silent) = silent {
                    self.directory.drop_address(&hash, silent);
                }
                self.send_request(now, flow, *other);
                self.arm_flow(flow);
            }
            _ if silent.is_none() => self.refuse_flow(now, flow, Refusal::Peer(ENAME)),
            _ => {}
        }
    }

    /// Nobody has the name of an allocation.
    pub(super) fn target_missing(&mut self, now: Instant, flow: FlowKey, error: QueryError) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        if asking.asked.is_empty() {
            let reason = if asking.refused.is_empty() {
                error.into()
            } else {
                Refusal::Peer(ENAME)
            };
            self.refuse_flow(now, flow, reason);
        }
        // Else the one that was asked may be busy: one of 0.23 answers no query while it waits for its
        // daemon (trap 16).
    }

    /// An allocation is due: to repeat the request, to query its name, to fail.
    pub(super) fn asking_due(&mut self, now: Instant, flow: FlowKey) {
        let most = self.config.times.request_again_most;
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        let target = asking.asked.last().copied();
        if asking.expires <= now {
            let after = now.saturating_duration_since(asking.started);
            if let Some(target) = target {
                let hash = asking.hash.clone();
                self.directory.drop_address(&hash, target);
            }
            self.stats.unanswered += 1;
            self.refuse_flow(now, flow, Refusal::Silence { after });
            return;
        }
        if let Some((at, after)) = asking.again
            && at <= now
        {
            asking.again = target.map(|_| (now + after, (after * 2).min(most)));
            if let Some(target) = target {
                self.stats.requests_repeated += 1;
                self.transmit_request(flow, target);
            }
        }
        if let Some((_, asking)) = self.asking(flow)
            && asking.recheck.is_some_and(|at| at <= now)
        {
            asking.recheck = None;
            let hash = asking.hash.clone();
            // If it cannot be asked, the allocation waits as it would without.
            let _ = self.ask_for_flow(now, &hash, flow);
        }
        self.arm_flow(flow);
    }

    /// Ends an allocation with an event.
    fn refuse_flow(&mut self, now: Instant, flow: FlowKey, reason: Refusal) {
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
        let flow = self.flow_of(eid)?;
        let Some((_, asking)) = self.asking(flow) else {
            return Err(Discard::Duplicate);
        };
        if !asking.asked.contains(&from) {
            return Err(Discard::WrongPeer(eid));
        }
        let refused = reply.response != 0;
        if !refused && !self.is_peer_endpoint(reply.acceptor) {
            return Err(Discard::BadEndpoint(reply.acceptor));
        }
        self.mark(from, reply.repeats);
        if refused {
            self.stats.refused += 1;
            if reply.response == ENAME && reply.piggyback.is_empty() {
                self.try_elsewhere(now, flow, from);
            } else {
                self.refuse_flow(now, flow, Refusal::Peer(reply.response));
            }
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

    /// The one that was asked does not have the name (any more): who else?
    fn try_elsewhere(&mut self, now: Instant, flow: FlowKey, gone: Address) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        asking.asked.retain(|address| *address != gone);
        asking.refused.push(gone);
        asking.again = None;
        asking.recheck = None;
        let hash = asking.hash.clone();
        let refused = asking.refused.clone();
        self.directory.drop_address(&hash, gone);
        self.forget_flow_query(&hash, flow);
        let other = self.directory.addresses(now, &hash);
        let other = other.iter().find(|address| !refused.contains(address));
        if refused.len() >= MAX_ASKED {
            self.refuse_flow(now, flow, Refusal::Peer(ENAME));
        } else if let Some(other) = other {
            self.send_request(now, flow, *other);
        } else if self.ask_for_flow(now, &hash, flow).is_err() {
            self.refuse_flow(now, flow, Refusal::Peer(ENAME));
        }
        self.arm_flow(flow);
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
            Some(State::Asking(asking)) if asking.asked.contains(&data.source) => {
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
