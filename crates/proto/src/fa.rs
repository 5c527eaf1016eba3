//! The flow allocator of a unicast IPCP (`spec/unicast.md` §3): who has which end of which flow.
//!
//! [`FlowAllocator`] is the management of flows; their packets never pass through it. A flow is named by
//! its own EID, which is random and never used again. The driver calls it for what its users want, gives it
//! the messages that arrive at [`Eid::FLOW_ALLOCATOR`], calls
//! [`handle_timeout`](FlowAllocator::handle_timeout) at [`poll_timeout`](FlowAllocator::poll_timeout), and
//! after each such call carries out what [`poll_output`](FlowAllocator::poll_output) gives.
//!
//! ```text
//!  allocate ─► Opened ─ Send request ─►     ─► Requested ── respond(0) ─► Opened ─ Send reply ─► Up
//!                │                                 ├──────── respond(<0) ─► Send reply (refusal)
//!                │◄──── reply 0 ─► Granted, Up     └──────── no answer ──► Expired, Send reply (refusal)
//!                │◄──── reply <0 ─► Refused, Closed
//!                └───── no reply ─► Refused, Closed
//! ```
//!
//! Against members that mean harm: a request takes memory for as long as it waits for its answer, so that
//! their number is bounded, for each address and in all; what is beyond is refused. A reply or an update
//! counts only with the EID of a live flow in the right state (traps 8 and 9), which nobody but the other
//! end knows. A copy of a request makes no second flow. Requests do not wait for each other (trap 11).
//!
//! Beyond 0.23, on its wire: a request that nobody answers or wants is refused at once, not left to its
//! timeout (trap 10).

mod endpoints;
mod output;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use o7s_wire::{
    dt::{Address, Eid, QosCube, Sizes},
    fa::{FaError, Message},
    hash::DirHash,
    qos::QosSpec,
};

use endpoints::Numbers;

pub use endpoints::{Endpoints, MAX_ENDPOINTS};
pub use output::{AllocError, Counters, Output, Refusal, RespondError};

/// Maximum packet lifetime of a unicast layer, as the daemon is told it with requests and replies.
pub const MPL: Duration = Duration::from_millis(100);

/// "Try again later": the answer to requests that are too many. `EBUSY`.
const BUSY: i32 = -16;

/// The answer to a request of which nobody has said anything in time. `ETIMEDOUT`.
const TIMED_OUT: i32 = -110;

/// What a refusal without a reason becomes. `EPERM`, the -1 of 0.23.
const FAILED: i32 = -1;

/// What is fixed for a member, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Own address.
    pub address: Address,
    /// Widths of addresses and EIDs.
    pub sizes: Sizes,
    /// Directory hash of the layer, of which requests have one.
    pub hash: DirHash,
    /// How long a request waits for its reply, and one that arrived for its answer. The daemons of 0.23
    /// wait 20 s.
    pub timeout: Duration,
    /// Most flows and requests of all kinds together; at most [`MAX_ENDPOINTS`].
    pub max_flows: usize,
    /// Most requests that arrived and wait for an answer.
    pub max_requests: usize,
    /// Most of those of one address.
    pub max_requests_per_source: usize,
}

impl Config {
    /// The usual ones.
    #[must_use]
    pub const fn new(address: Address, hash: DirHash) -> Self {
        Self {
            address,
            sizes: Sizes::DEFAULT,
            hash,
            timeout: Duration::from_secs(20),
            max_flows: 16_384,
            max_requests: 1024,
            max_requests_per_source: 128,
        }
    }
}

/// The other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Remote {
    address: Address,
    eid: Eid,
}

/// `spec/unicast.md` §3.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The request was sent to this member.
    PendingOut {
        peer: Address,
        deadline: Instant,
        asked: Instant,
    },
    /// The request arrived from there.
    PendingIn { remote: Remote, deadline: Instant },
    /// Both ends agreed.
    Active { remote: Remote },
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    state: State,
    cube: QosCube,
}

/// Flows of one member.
pub struct FlowAllocator {
    config: Config,
    /// Random numbers for EIDs.
    random: Box<dyn FnMut() -> u64 + Send>,
    numbers: Numbers,
    flows: Endpoints<Flow>,
    /// Pending flows by the end of their time.
    deadlines: BTreeSet<(Instant, Eid)>,
    /// The other ends of flows that were requested from there, to know a copy of a request.
    remotes: BTreeSet<Remote>,
    /// Requests that wait for an answer, by address.
    requests: BTreeMap<Address, usize>,
    pending_in: usize,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl fmt::Debug for FlowAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowAllocator")
            .field("config", &self.config)
            .field("flows", &self.flows.len())
            .field("pending_in", &self.pending_in)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl FlowAllocator {
    /// An allocator without flows. `random` gives the numbers that make EIDs unpredictable: those of the
    /// system, or of a seed where runs are to be repeated.
    #[must_use]
    pub fn new(config: Config, random: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self {
            config,
            random: Box::new(random),
            numbers: Numbers::new(config.sizes, config.max_flows),
            flows: Endpoints::default(),
            deadlines: BTreeSet::new(),
            remotes: BTreeSet::new(),
            requests: BTreeMap::new(),
            pending_in: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What is fixed.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Flows and requests of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is no flow and no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The other end of an active flow.
    #[must_use]
    pub fn remote(&self, flow: Eid) -> Option<(Address, Eid)> {
        match self.flows.get(flow)?.state {
            State::Active { remote } => Some((remote.address, remote.eid)),
            State::PendingOut { .. } | State::PendingIn { .. } => None,
        }
    }

    /// Asks the member at `peer`, where the directory says the name is, for a flow. Its outcome is
    /// [`Output::Granted`] or [`Output::Refused`].
    ///
    /// # Errors
    /// [`AllocError`]: nothing was sent, no flow is there.
    pub fn allocate(
        &mut self,
        now: Instant,
        peer: Address,
        hash: &[u8],
        qos: &QosSpec,
        data: &[u8],
    ) -> Result<Eid, AllocError> {
        if peer == self.config.address {
            return Err(AllocError::Own);
        }
        if !(peer.is_valid() && self.config.sizes.fits(peer)) {
            return Err(AllocError::Address(peer));
        }
        let need = self.config.hash.len();
        if hash.len() != need {
            return Err(AllocError::Hash {
                need,
                got: hash.len(),
            });
        }
        let deadline = now + self.config.timeout;
        let flow = Flow {
            state: State::PendingOut {
                peer,
                deadline,
                asked: now,
            },
            cube: QosCube::of(qos),
        };
        // Stored first, then sent (trap 8).
        let eid = self
            .insert(flow)
            .ok_or(AllocError::Full(self.config.max_flows))?;
        let request = Message::Request {
            source: self.config.address,
            source_eid: eid,
            qos: *qos,
            hash,
            data,
        };
        let message = request.to_bytes().inspect_err(|_| {
            self.flows.remove(eid);
            self.numbers.release(eid);
        })?;
        self.deadlines.insert((deadline, eid));
        self.outputs.push_back(Output::Opened { flow: eid });
        self.send(peer, message, Some(eid));
        Ok(eid)
    }

    /// The daemon's answer to a request that arrived: 0 accepts it; everything else refuses it, and what is
    /// not below 0 as -1. Data goes to the other daemon, in an acceptance only.
    ///
    /// # Errors
    /// [`RespondError`]: there is no such request any more, or its answer cannot be sent and has become a
    /// refusal; there is no flow.
    pub fn respond(&mut self, flow: Eid, response: i32, data: &[u8]) -> Result<(), RespondError> {
        let Some(State::PendingIn { remote, deadline }) = self.flows.get(flow).map(|it| it.state)
        else {
            return Err(RespondError::Unknown(flow));
        };
        if response != 0 {
            self.remove(flow);
            self.refuse(remote, response);
            return Ok(());
        }
        let reply = Message::Reply {
            eid: remote.eid,
            source_eid: flow,
            response,
            data,
        };
        let message = reply.to_bytes().inspect_err(|_| {
            self.remove(flow);
            self.refuse(remote, FAILED);
        })?;
        self.answered(remote.address);
        self.deadlines.remove(&(deadline, flow));
        self.outputs.push_back(Output::Opened { flow });
        self.send(remote.address, message, Some(flow));
        self.activate(flow, remote, None);
        Ok(())
    }

    /// Ends a flow, or gives up a request of either direction. The other end is not told: no message for
    /// that exists, except for a request that arrived, which is refused. True if there was such a flow.
    pub fn deallocate(&mut self, flow: Eid) -> bool {
        let Some(Flow { state, .. }) = self.remove(flow) else {
            return false;
        };
        if let State::PendingIn { remote, .. } = state {
            self.refuse(remote, FAILED);
        }
        true
    }

    /// The message of an [`Output::Send`] that named this flow could not be sent: there is no way to its
    /// other end now. A flow that was not active yet, or was only about to be, is over.
    pub fn undeliverable(&mut self, flow: Eid) {
        match self.flows.get(flow).map(|it| it.state) {
            Some(State::PendingOut { .. }) => self.refused(flow, Refusal::NoPath, Vec::new()),
            Some(State::Active { .. }) => {
                self.remove(flow);
            }
            Some(State::PendingIn { .. }) | None => {}
        }
    }

    /// The receiver of an active flow has this level to report ([`crate::congestion::Receiver::packet`]).
    pub fn report(&mut self, flow: Eid, level: u16) {
        let Some(State::Active { remote }) = self.flows.get(flow).map(|it| it.state) else {
            return;
        };
        let update = Message::Update {
            eid: remote.eid,
            ece: level,
        };
        if let Ok(message) = update.to_bytes() {
            self.counters.updates_sent += 1;
            self.send(remote.address, message, None);
        }
    }

    /// A message came to [`Eid::FLOW_ALLOCATOR`]. What is wrong with one is counted, and for a log the
    /// result.
    ///
    /// # Errors
    /// [`FaError`]: it was no message.
    pub fn receive(&mut self, now: Instant, message: &[u8]) -> Result<(), FaError> {
        let message = Message::parse(message, self.config.hash).inspect_err(|_| {
            self.counters.malformed += 1;
        })?;
        match message {
            Message::Request {
                source,
                source_eid,
                qos,
                hash,
                data,
            } => {
                let remote = Remote {
                    address: source,
                    eid: source_eid,
                };
                self.requested(now, remote, qos, hash, data);
            }
            Message::Reply {
                eid,
                source_eid,
                response,
                data,
            } => self.replied(now, eid, source_eid, response, data),
            Message::Update { eid, ece } => self.updated(eid, ece),
        }
        Ok(())
    }

    fn requested(&mut self, now: Instant, remote: Remote, qos: QosSpec, hash: &[u8], data: &[u8]) {
        self.counters.requests += 1;
        let from = remote.address;
        let possible = from.is_valid()
            && from != self.config.address
            && self.config.sizes.fits(from)
            && !remote.eid.is_component()
            && remote.eid != Eid::NONE;
        if !possible {
            self.counters.impossible += 1;
            return;
        }
        if self.remotes.contains(&remote) {
            self.counters.copies += 1;
            return;
        }
        let waiting = self.requests.get(&from).copied().unwrap_or(0);
        let deadline = now + self.config.timeout;
        let flow = Flow {
            state: State::PendingIn { remote, deadline },
            cube: QosCube::of(&qos),
        };
        let room = waiting < self.config.max_requests_per_source
            && self.pending_in < self.config.max_requests;
        let stored = room.then(|| self.insert(flow));
        let Some(eid) = stored.flatten() else {
            self.counters.too_many += 1;
            self.refuse(remote, BUSY);
            return;
        };
        self.deadlines.insert((deadline, eid));
        self.remotes.insert(remote);
        self.requests.insert(from, waiting + 1);
        self.pending_in += 1;
        self.outputs.push_back(Output::Requested {
            flow: eid,
            peer: from,
            hash: hash.to_vec(),
            qos,
            data: data.to_vec(),
        });
    }

    fn replied(&mut self, now: Instant, flow: Eid, source_eid: Eid, response: i32, data: &[u8]) {
        let Some(State::PendingOut {
            peer,
            deadline,
            asked,
        }) = self.flows.get(flow).map(|it| it.state)
        else {
            // Too late, a copy, or a guess.
            self.counters.unknown_replies += 1;
            return;
        };
        if response != 0 {
            // The daemons take 0 alone for success.
            let code = if response < 0 { response } else { FAILED };
            self.refused(flow, Refusal::Peer(code), data.to_vec());
            return;
        }
        if source_eid.is_component() || source_eid == Eid::NONE {
            self.counters.impossible += 1;
            self.refused(flow, Refusal::Peer(FAILED), Vec::new());
            return;
        }
        self.deadlines.remove(&(deadline, flow));
        self.outputs.push_back(Output::Granted {
            flow,
            data: data.to_vec(),
        });
        let remote = Remote {
            address: peer,
            eid: source_eid,
        };
        let answer = now.saturating_duration_since(asked);
        self.activate(flow, remote, Some(answer));
    }

    fn updated(&mut self, flow: Eid, ece: u16) {
        match self.flows.get(flow).map(|it| it.state) {
            Some(State::Active { .. }) => {
                self.counters.updates_received += 1;
                self.outputs
                    .push_back(Output::Congestion { flow, level: ece });
            }
            Some(State::PendingOut { .. } | State::PendingIn { .. }) | None => {
                self.counters.unknown_updates += 1;
            }
        }
    }

    fn activate(&mut self, flow: Eid, remote: Remote, answer: Option<Duration>) {
        let Some(entry) = self.flows.get_mut(flow) else {
            return;
        };
        entry.state = State::Active { remote };
        let cube = entry.cube;
        self.outputs.push_back(Output::Up {
            flow,
            peer: remote.address,
            peer_eid: remote.eid,
            cube,
            answer,
        });
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted; none: nothing is pending.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(deadline, flow)) = self.deadlines.first()
            && deadline <= now
        {
            match self.flows.get(flow).map(|it| it.state) {
                Some(State::PendingOut { .. }) => {
                    self.refused(flow, Refusal::TimedOut, Vec::new());
                }
                Some(State::PendingIn { remote, .. }) => {
                    self.remove(flow);
                    self.outputs.push_back(Output::Expired { flow });
                    self.refuse(remote, TIMED_OUT);
                }
                Some(State::Active { .. }) | None => {}
            }
            self.deadlines.remove(&(deadline, flow));
        }
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The end of a request of this node.
    fn refused(&mut self, flow: Eid, reason: Refusal, data: Vec<u8>) {
        self.outputs
            .push_back(Output::Refused { flow, reason, data });
        self.remove(flow);
    }

    /// Sends a refusal.
    fn refuse(&mut self, remote: Remote, response: i32) {
        let reply = Message::Reply {
            eid: remote.eid,
            source_eid: Eid(0),
            response: if response < 0 { response } else { FAILED },
            data: &[],
        };
        if let Ok(message) = reply.to_bytes() {
            self.counters.refusals_sent += 1;
            self.send(remote.address, message, None);
        }
    }

    fn insert(&mut self, flow: Flow) -> Option<Eid> {
        let eid = self.numbers.next((self.random)())?;
        self.flows.insert(eid, flow);
        Some(eid)
    }

    /// Forgets a flow in any state.
    fn remove(&mut self, flow: Eid) -> Option<Flow> {
        let entry = self.flows.remove(flow)?;
        self.numbers.release(flow);
        match entry.state {
            State::PendingOut { deadline, .. } => {
                self.deadlines.remove(&(deadline, flow));
                self.outputs.push_back(Output::Closed { flow });
            }
            State::PendingIn { remote, deadline } => {
                self.deadlines.remove(&(deadline, flow));
                self.remotes.remove(&remote);
                self.answered(remote.address);
            }
            State::Active { remote } => {
                self.remotes.remove(&remote);
                self.outputs.push_back(Output::Closed { flow });
            }
        }
        Some(entry)
    }

    /// A request from there waits no longer.
    fn answered(&mut self, from: Address) {
        self.pending_in = self.pending_in.saturating_sub(1);
        if let Some(waiting) = self.requests.get_mut(&from) {
            *waiting -= 1;
            if *waiting == 0 {
                self.requests.remove(&from);
            }
        }
    }

    fn send(&mut self, destination: Address, message: Vec<u8>, flow: Option<Eid>) {
        self.outputs.push_back(Output::Send {
            destination,
            cube: QosCube::BestEffort,
            message,
            flow,
        });
    }
}
