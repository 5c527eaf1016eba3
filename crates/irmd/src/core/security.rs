//! Security of flow allocation: which end's files are used, and the steps of the exchange between
//! the two ends' daemons (`spec/oap-crypto.md` §3.1, §3.3, §3.4).
//!
//! A step that costs little is done at once; any other waits for a worker, and its outcome comes
//! back as an event. Every user and every layer has a queue of his own, and the queues take turns.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    ops::Bound,
};

use o7s::{
    Error, ErrorKind, Result,
    control::{Extensions, FlowAlloc, FlowInfo, FlowSecret, IpcpType, SecurityPaths},
};

use super::{
    Conn, ConnId, Context, Core, limits,
    request::{Alloc, Key, Route},
};
use crate::security::Pending;

/// Receive window that our library offers, packets.
pub const WINDOW: u32 = 8192;

/// What our library can do beyond the protocols of 0.23.
pub const EXTENSIONS: Extensions = Extensions {
    fragments: true,
    selective: true,
    window: WINDOW,
};

/// On which side of a flow a name is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Its programs accept flows.
    Server,
    /// Flows are allocated to it.
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// One half of a name's security: the files of one role (§9.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// The role.
    pub role: Role,
    /// The name.
    pub name: String,
    /// Its files; an empty path stands for the default.
    pub paths: SecurityPaths,
}

/// What the allocating program asks of the protection of its flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// Strength, bits; 0 = whatever the name's configuration says.
    pub cypher_s: u32,
    /// The weakest key exchange allowed, by its name in `enc.conf`; empty = none named.
    pub kex: String,
}

impl Demand {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cypher_s == 0 && self.kex.is_empty()
    }
}

/// What one end learns from an exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Cipher and key; none = in clear.
    pub secret: Option<FlowSecret>,
    /// Key bits of the cipher; 0 = in clear.
    pub cypher_s: u32,
    /// What both ends can do beyond the protocols of 0.23.
    pub extensions: Option<Extensions>,
    /// Name in the certificate of the other end; empty = it showed none.
    pub peer_name: String,
}

impl Agreed {
    /// Two ends that share nothing but memory.
    #[must_use]
    pub fn clear() -> Self {
        Self {
            extensions: Some(EXTENSIONS),
            ..Self::default()
        }
    }

    /// Writes it into what an end is told of its flow.
    pub(super) fn apply(self, info: &mut FlowInfo) {
        info.qos.cypher_s = self.cypher_s;
        info.secret = self.secret;
        info.extensions = self.extensions;
        info.peer_name = self.peer_name;
    }
}

/// A step of an exchange.
#[derive(Debug)]
pub enum Work {
    /// The client makes its request.
    Request {
        /// Its files.
        client: Half,
        /// What its program asks for.
        demand: Demand,
        /// Most bytes of a request in the layer.
        max: usize,
    },
    /// The server checks a request and makes its response.
    Respond {
        /// Its files.
        server: Half,
        /// The request as it arrived.
        request: Vec<u8>,
        /// Most bytes of a response in the layer.
        max: usize,
        /// When it arrived, ns since 1970, once its time and repetition have been checked.
        arrived: Option<u64>,
    },
    /// The client checks the response.
    Complete {
        /// What it kept of its request.
        pending: Box<Pending>,
        /// The response as it arrived.
        response: Vec<u8>,
    },
    /// All of it: both ends are here.
    Direct {
        /// The client's files.
        client: Half,
        /// The server's.
        server: Half,
        /// What the client's program asks for.
        demand: Demand,
    },
}

/// What came of a step that succeeded.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Work::Request`]: the request, and what its sender keeps of it.
    Requested(Vec<u8>, Box<Pending>),
    /// Of [`Work::Respond`]: the response, and what the server learned.
    Responded(Vec<u8>, Agreed),
    /// Of [`Work::Complete`]: what the client learned.
    Completed(Agreed),
    /// Of [`Work::Direct`]: what client and server learned.
    Met([Agreed; 2]),
}

/// How far the exchange of an allocation has come.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub demand: Demand,
    /// The step under way, and its number if a worker has it or will have it.
    step: Option<(Step, Option<u64>)>,
    /// What the client keeps of its request.
    pending: Option<Box<Pending>>,
    /// The server's response, until somebody accepts the flow.
    pub response: Vec<u8>,
    /// What the ends learned: client, server.
    pub agreed: [Agreed; 2],
}

impl Exchange {
    pub(super) fn new(alloc: &FlowAlloc) -> Self {
        Self {
            demand: Demand {
                cypher_s: alloc.qos.cypher_s,
                kex: alloc.kex.clone(),
            },
            ..Self::default()
        }
    }

    /// Whether a step is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.step.is_some()
    }

    /// The layer's question that waits for the step under way.
    pub(super) fn asked(&self) -> Option<(ConnId, u64)> {
        match self.step {
            Some((Step::Respond(conn, id), _)) => Some((conn, id)),
            _ => None,
        }
    }
}

/// The step under way of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Direct,
    Request,
    /// For this question of an IPCP.
    Respond(ConnId, u64),
    Complete,
}

/// For whom a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A user of this machine.
    User(u32),
    /// Strangers in the layer of this IPCP.
    Layer(i32),
}

impl Owner {
    fn limit(self) -> usize {
        match self {
            Self::User(_) => limits::STEPS_PER_USER,
            Self::Layer(_) => limits::STEPS_PER_LAYER,
        }
    }
}

/// Steps that are not done at once.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    next: u64,
    /// With the workers: the request, or none if nobody waits for the outcome any more.
    running: HashMap<u64, Option<Key>>,
    /// Not yet, by owner, oldest first. No queue is empty.
    waiting: BTreeMap<Owner, VecDeque<Waiting>>,
    /// Whose turn it was last.
    last: Option<Owner>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    key: Key,
    work: Work,
}

impl Jobs {
    /// Enters a step into the queue of its owner.
    fn enter(&mut self, owner: Owner, key: Key, work: Work) -> Result<u64> {
        let queue = self.waiting.entry(owner).or_default();
        if queue.len() >= owner.limit() {
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "{} key exchanges wait for {} already, the limit; try again later",
                    queue.len(),
                    match owner {
                        Owner::User(uid) => format!("user {uid}"),
                        Owner::Layer(pid) => format!("the layer of IPCP {pid}"),
                    }
                ),
            ));
        }
        self.next += 1;
        let number = self.next;
        queue.push_back(Waiting { number, key, work });
        Ok(number)
    }

    /// The next step for a worker, if one is free: the owners take turns.
    fn next(&mut self) -> Option<(u64, Work)> {
        if self.running.len() >= limits::STEPS_RUNNING {
            return None;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range((after, Bound::Unbounded));
        let owner = *later.next().or_else(|| self.waiting.iter().next())?.0;
        self.last = Some(owner);
        let queue = self.waiting.get_mut(&owner)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&owner);
        }
        let Waiting { number, key, work } = first?;
        self.running.insert(number, Some(key));
        Some((number, work))
    }

    /// Nobody waits for the outcome of a step any more.
    fn cancel(&mut self, number: u64) {
        if let Some(key) = self.running.get_mut(&number) {
            // The worker goes on, and counts until it has done.
            *key = None;
            return;
        }
        self.waiting.retain(|_, queue| {
            queue.retain(|waiting| waiting.number != number);
            !queue.is_empty()
        });
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (
            self.running.len(),
            self.waiting.values().map(VecDeque::len).sum(),
        )
    }
}

impl Core {
    /// The files of a role of a name; a name that is not known here has the defaults.
    pub(super) fn half(&self, role: Role, name: &str) -> Half {
        let info = self.names.get(name).map(|entry| &entry.info);
        let paths = info.and_then(|info| match role {
            Role::Server => info.server.clone(),
            Role::Client => info.client.clone(),
        });
        Half {
            role,
            name: name.to_owned(),
            paths: paths.unwrap_or_default(),
        }
    }

    /// On whose account the steps of a request go: that of its user, or of the layer that brought
    /// it.
    fn owner(&self, key: Key) -> Owner {
        let conn = self.requests.get(&key).map(|request| request.conn);
        match conn.and_then(|conn| self.conns.get(&conn)) {
            Some(Conn {
                role: super::Role::Ipcp { pid },
                ..
            }) => Owner::Layer(*pid),
            Some(conn) => Owner::User(conn.peer.uid),
            None => Owner::User(self.settings.trust.owner),
        }
    }

    /// Most bytes of request and response in the layer that an allocation goes over (§2.6).
    fn message_max(&mut self, key: Key) -> [usize; 2] {
        let Some(Alloc {
            route: Route::Layer { ipcp, .. },
            ..
        }) = self.alloc_mut(key)
        else {
            return [usize::MAX; 2];
        };
        let ipcp = *ipcp;
        let hash = self.ipcp_hash(ipcp).len();
        self.ipcp_type(ipcp)
            .map_or([usize::MAX; 2], |kind| message_max(kind, hash))
    }

    /// Two ends in this daemon agree, before anybody is asked to accept.
    pub(super) fn agree_directly(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let (name, demand) = (alloc.name.clone(), alloc.exchange.demand.clone());
        let work = Work::Direct {
            client: self.half(Role::Client, &name),
            server: self.half(Role::Server, &name),
            demand,
        };
        self.step(cx, key, Step::Direct, work);
    }

    /// Makes the request that goes into a layer.
    pub(super) fn make_request(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let (name, demand) = (alloc.name.clone(), alloc.exchange.demand.clone());
        let work = Work::Request {
            client: self.half(Role::Client, &name),
            demand,
            max: self.message_max(key)[0],
        };
        self.step(cx, key, Step::Request, work);
    }

    /// Checks a request that came out of a layer, before anybody is asked to accept. `question` is
    /// the IPCP's message, which is answered when it has been checked.
    pub(super) fn check_request(
        &mut self,
        cx: &mut dyn Context,
        key: Key,
        question: (ConnId, u64),
        request: Vec<u8>,
    ) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let name = alloc.name.clone();
        let work = Work::Respond {
            server: self.half(Role::Server, &name),
            request,
            max: self.message_max(key)[1],
            arrived: None,
        };
        self.step(cx, key, Step::Respond(question.0, question.1), work);
    }

    /// Checks the response to a request, before its program gets the flow.
    pub(super) fn check_response(&mut self, cx: &mut dyn Context, key: Key, response: Vec<u8>) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let Some(pending) = alloc.exchange.pending.take() else {
            return;
        };
        let work = Work::Complete { pending, response };
        self.step(cx, key, Step::Complete, work);
    }

    /// Does a step now, or lets a worker do it.
    fn step(&mut self, cx: &mut dyn Context, key: Key, step: Step, work: Work) {
        let owner = self.owner(key);
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        debug_assert!(!alloc.exchange.is_busy(), "one step at a time");
        alloc.exchange.step = Some((step, None));
        let outcome = match cx.try_work(work) {
            Ok(outcome) => outcome,
            Err(work) => match self.jobs.enter(owner, key, *work) {
                Ok(number) => {
                    if let Some(alloc) = self.alloc_mut(key) {
                        alloc.exchange.step = Some((step, Some(number)));
                    }
                    self.start_work(cx);
                    return;
                }
                Err(error) => Err(error),
            },
        };
        self.stepped(cx, key, outcome);
    }

    /// Keeps the workers busy.
    fn start_work(&mut self, cx: &mut dyn Context) {
        while let Some((number, work)) = self.jobs.next() {
            cx.start_work(number, work);
        }
    }

    /// A worker has done a step ([`Context::start_work`]).
    pub fn work_done(&mut self, cx: &mut dyn Context, number: u64, outcome: Result<Outcome>) {
        let Some(key) = self.jobs.running.remove(&number) else {
            return;
        };
        self.start_work(cx);
        if let Some(key) = key {
            self.stepped(cx, key, outcome);
        }
    }

    /// The step under way of an allocation is done.
    fn stepped(&mut self, cx: &mut dyn Context, key: Key, outcome: Result<Outcome>) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let Some((step, _)) = alloc.exchange.step.take() else {
            return;
        };
        if let Err(error) = &outcome {
            tracing::info!("Key exchange for {} failed: {error}.", alloc.name);
        }
        match (step, outcome) {
            (Step::Direct, Ok(Outcome::Met(agreed))) => {
                alloc.exchange.agreed = agreed;
                self.agreed_directly(cx, key);
            }
            (Step::Request, Ok(Outcome::Requested(request, pending))) => {
                alloc.exchange.pending = Some(pending);
                self.request_made(cx, key, request);
            }
            (Step::Respond(conn, id), Ok(Outcome::Responded(response, server))) => {
                alloc.exchange.response = response;
                alloc.exchange.agreed[1] = server;
                self.request_checked(cx, key, (conn, id), Ok(()));
            }
            (Step::Complete, Ok(Outcome::Completed(client))) => {
                alloc.exchange.agreed[0] = client;
                self.response_checked(cx, key);
            }
            (step, outcome) => {
                let error = outcome.err().unwrap_or_else(|| {
                    Error::new(
                        ErrorKind::Crypt,
                        format!("the key exchange was done in the wrong order ({step:?})"),
                    )
                });
                match step {
                    Step::Respond(conn, id) => {
                        self.request_checked(cx, key, (conn, id), Err(error));
                    }
                    _ => self.answer(cx, key, Err(error)),
                }
            }
        }
    }

    /// The allocation of a step is over.
    pub(super) fn leave_exchange(&mut self, alloc: &Alloc) {
        if let Some((_, Some(number))) = alloc.exchange.step {
            self.jobs.cancel(number);
        }
    }
}

/// Most bytes of request and response in layers of a type whose hashes have `hash` bytes (§2.6).
fn message_max(ipcp_type: IpcpType, hash: usize) -> [usize; 2] {
    let both = match ipcp_type {
        // Nothing but the frames of the control channel limits them.
        IpcpType::Local | IpcpType::Broadcast => return [LOCAL_MAX; 2],
        IpcpType::Unicast => 2048 - 61,
        IpcpType::Udp4 | IpcpType::Udp6 => 2048 - 47,
        IpcpType::EthDix => 1500 - 43,
        IpcpType::EthLlc => 1500 - 40,
    };
    [both - hash, both]
}

/// Most bytes of request and response in a local layer: some room in a frame is for the rest.
const LOCAL_MAX: usize = o7s::control::REQUEST_MAX - 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        let client = Half {
            role: Role::Client,
            name: "n".to_owned(),
            paths: SecurityPaths::default(),
        };
        Work::Request {
            client,
            demand: Demand::default(),
            max: 0,
        }
    }

    #[test]
    fn strangers_fill_their_own_queue_only() {
        let mut jobs = Jobs::default();
        let stranger = Owner::Layer(7);
        for number in 0..limits::STEPS_PER_LAYER {
            jobs.enter(stranger, Key(number as u64), work()).unwrap();
        }
        let error = jobs.enter(stranger, Key(1_000), work()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        let user = jobs.enter(Owner::User(1), Key(1_001), work()).unwrap();
        let other = jobs.enter(Owner::Layer(8), Key(1_002), work()).unwrap();
        let turns: Vec<u64> = (0..4).map(|_| jobs.next().unwrap().0).collect();
        assert_eq!(turns, [user, 1, other, 2]);
        // There is room again.
        jobs.enter(stranger, Key(1_003), work()).unwrap();
        while jobs.next().is_some() {}
        assert_eq!(jobs.counts().0, limits::STEPS_RUNNING);
        jobs.cancel(user);
        assert_eq!(jobs.counts().0, limits::STEPS_RUNNING);
        assert_eq!(jobs.running.remove(&user), Some(None));
        assert!(jobs.next().is_some());
    }

    #[test]
    fn messages_fit_their_layers() {
        // With hashes of 32 bytes: the table of §2.6.
        for (kind, request, response) in [
            (IpcpType::Unicast, 1955, 1987),
            (IpcpType::Udp4, 1969, 2001),
            (IpcpType::Udp6, 1969, 2001),
            (IpcpType::EthDix, 1425, 1457),
            (IpcpType::EthLlc, 1428, 1460),
        ] {
            assert_eq!(message_max(kind, 32), [request, response]);
        }
    }
}
