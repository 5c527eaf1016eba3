//! Nodes on a simulated network: machine, fast path and daemon of each, with time that the test makes.

#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use o7s_proto::shim::{
    Address, Arrived, Config, DownReason, Event, FlowKey, Format, Path, QueryError, QueryKey,
    Refusal, RequestKey, Shim,
};
use o7s_wire::{
    eth::MacAddr,
    hash::{DirHash, NameHash},
    qos::QosSpec,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const S: Duration = Duration::from_secs(1);

/// The four types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dix,
    Llc,
    Udp,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Dix, Kind::Llc, Kind::Udp];

pub(crate) fn mac(node: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, 0x0a + node as u8])
}

pub(crate) fn socket(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 7, 0, 1 + node as u8], 3435))
}

impl Kind {
    pub(crate) fn config(self, node: usize) -> Config {
        match self {
            Self::Dix => Config::dix(mac(node), 0xa000, 1500, DirHash::Sha3_256),
            Self::Llc => Config::llc(mac(node), 1500, DirHash::Sha3_256),
            Self::Udp => Config::udp4(),
        }
    }

    pub(crate) fn address(self, node: usize) -> Address {
        match self {
            Self::Udp => socket(node).into(),
            _ => mac(node).into(),
        }
    }

    pub(crate) fn hash(self, name: &str) -> NameHash {
        match self {
            Self::Udp => DirHash::Md5.digest(name.as_bytes()),
            _ => DirHash::Sha3_256.digest(name.as_bytes()),
        }
    }
}

/// What a node's daemon does with requests of strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Accepts after a while, with "re:" before the piggyback.
    Accept(Duration),
    /// Refuses.
    Refuse(i32),
    /// Leaves it to the test.
    Wait,
}

/// The outcome of an allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted(Vec<u8>),
    Refused(Refusal),
}

/// One IPCP with its driver and daemon.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) shim: Shim,
    pub(crate) format: Format,
    pub(crate) manner: Manner,
    pub(crate) outcomes: BTreeMap<FlowKey, (Instant, Outcome)>,
    pub(crate) queries: BTreeMap<QueryKey, (Instant, Result<(), QueryError>)>,
    pub(crate) requests: Vec<(RequestKey, NameHash, QosSpec, Vec<u8>)>,
    pub(crate) gone: Vec<RequestKey>,
    pub(crate) downs: Vec<(FlowKey, DownReason)>,
    pub(crate) received: Vec<(FlowKey, Vec<u8>)>,
    pub(crate) resolves: Vec<NameHash>,
    pub(crate) others: Vec<Event>,
    paths: BTreeMap<FlowKey, Path>,
    by_eid: BTreeMap<u32, FlowKey>,
    /// Answers of the daemon that are due.
    answers: Vec<(Instant, RequestKey, Vec<u8>)>,
    next_flow: u64,
}

impl Node {
    pub(crate) fn new(config: Config, seed: u8, now: Instant) -> Self {
        let shim = Shim::new(config, [seed; 32], now);
        Self {
            format: shim.format(),
            shim,
            manner: Manner::Accept(Duration::ZERO),
            outcomes: BTreeMap::new(),
            queries: BTreeMap::new(),
            requests: Vec::new(),
            gone: Vec::new(),
            downs: Vec::new(),
            received: Vec::new(),
            resolves: Vec::new(),
            others: Vec::new(),
            paths: BTreeMap::new(),
            by_eid: BTreeMap::new(),
            answers: Vec::new(),
            next_flow: 1_000_000,
        }
    }

    /// What arrives, as the driver of the module's documentation takes it.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8], from: Option<SocketAddr>) {
        if let Ok(Arrived::Data(data)) = self.format.classify(bytes, from)
            && let Some(flow) = self.by_eid.get(&data.eid)
            && self.paths[flow].accepts(&data)
        {
            self.received.push((*flow, bytes[data.payload].to_vec()));
            return;
        }
        let _ = self.shim.handle_frame(now, bytes, from);
        self.after(now);
    }

    /// The frame of a packet of a flow.
    pub(crate) fn packet(&self, flow: FlowKey, packet: &[u8]) -> (Address, Vec<u8>) {
        let path = &self.paths[&flow];
        assert!(packet.len() <= self.shim.max_payload());
        let header = self.format.header(path, packet.len());
        (path.address, [&header[..], packet].concat())
    }

    pub(crate) fn path(&self, flow: FlowKey) -> Option<Path> {
        let path = self.paths.get(&flow).copied();
        assert_eq!(path, self.shim.path(flow));
        path
    }

    pub(crate) fn flows(&self) -> BTreeSet<FlowKey> {
        self.paths.keys().copied().collect()
    }

    /// Takes the events.
    pub(crate) fn after(&mut self, now: Instant) {
        while let Some(event) = self.shim.poll_event() {
            match event {
                Event::FlowUp { flow, path } => {
                    assert_eq!(self.paths.insert(flow, path), None);
                    assert_eq!(self.by_eid.insert(path.local, flow), None);
                }
                Event::FlowDown { flow, reason } => {
                    let path = self.paths.remove(&flow).expect("it was up");
                    assert_eq!(self.by_eid.remove(&path.local), Some(flow));
                    self.downs.push((flow, reason));
                }
                Event::Granted { flow, piggyback } => {
                    assert!(self.paths.contains_key(&flow), "up before granted");
                    self.outcome(now, flow, Outcome::Granted(piggyback));
                }
                Event::Refused { flow, reason } => {
                    self.outcome(now, flow, Outcome::Refused(reason));
                }
                Event::Early { flow, packet } => {
                    assert!(self.paths.contains_key(&flow));
                    self.received.push((flow, packet));
                }
                Event::QueryResult { query, result } => {
                    assert_eq!(self.queries.insert(query, (now, result)), None);
                }
                Event::RequestArrived {
                    request,
                    hash,
                    qos,
                    piggyback,
                } => {
                    self.requests.push((request, hash, qos, piggyback.clone()));
                    match self.manner {
                        Manner::Accept(after) => {
                            let reply = [b"re:", &piggyback[..]].concat();
                            self.answers.push((now + after, request, reply));
                        }
                        Manner::Refuse(code) => {
                            self.shim
                                .respond(now, request, Err(code), b"")
                                .expect("it waits");
                        }
                        Manner::Wait => {}
                    }
                }
                Event::RequestGone { request } => {
                    self.answers.retain(|(_, key, _)| *key != request);
                    self.gone.push(request);
                }
                Event::Resolve { hash } => self.resolves.push(hash),
                other => self.others.push(other),
            }
            self.answer(now);
        }
    }

    fn outcome(&mut self, now: Instant, flow: FlowKey, outcome: Outcome) {
        assert_eq!(
            self.outcomes.insert(flow, (now, outcome)),
            None,
            "one outcome"
        );
    }

    /// What the daemon answers now.
    fn answer(&mut self, now: Instant) {
        while let Some(at) = self.answers.iter().position(|(due, ..)| *due <= now) {
            let (_, request, piggyback) = self.answers.remove(at);
            self.next_flow += 1;
            let flow = FlowKey(self.next_flow);
            // It fails if there is no room, and the peer is told.
            let _ = self.shim.respond(now, request, Ok(flow), &piggyback);
        }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        let answers = self.answers.iter().map(|(due, ..)| *due);
        answers.chain(self.shim.poll_timeout()).min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        self.answer(now);
        self.shim.handle_timeout(now);
        self.after(now);
    }

    /// What is to be sent.
    pub(crate) fn sent(&mut self) -> Vec<(Address, Vec<u8>)> {
        let mut frame = Vec::new();
        std::iter::from_fn(|| {
            let to = self.shim.poll_transmit(&mut frame)?;
            Some((to, frame.clone()))
        })
        .collect()
    }
}

/// Numbers that repeat with their seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A segment, or an internet, that treats frames badly.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) kind: Kind,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) dice: Dice,
    /// Nodes that hear and say nothing.
    pub(crate) dead: BTreeSet<usize>,
    /// Names of UDP: what the resolver says.
    pub(crate) hosts: BTreeMap<NameHash, Vec<Address>>,
    /// Frames sent so far, by sender.
    pub(crate) log: Vec<(usize, Address, Vec<u8>)>,
    under_way: Vec<(Instant, u64, usize, usize, Vec<u8>)>,
    number: u64,
}

impl Net {
    pub(crate) fn new(kind: Kind, nodes: usize, seed: u64) -> Self {
        Self::with(kind, nodes, seed, |_| {})
    }

    pub(crate) fn with(kind: Kind, nodes: usize, seed: u64, change: impl Fn(&mut Config)) -> Self {
        let now = Instant::now();
        let nodes = (0..nodes).map(|node| {
            let mut config = kind.config(node);
            change(&mut config);
            Node::new(config, seed as u8 ^ (node as u8) << 4, now)
        });
        Self {
            kind,
            now,
            start: now,
            nodes: nodes.collect(),
            loss: 0,
            duplicates: 0,
            delay: MS,
            jitter: Duration::ZERO,
            dice: Dice::new(seed + 1),
            dead: BTreeSet::new(),
            hosts: BTreeMap::new(),
            log: Vec::new(),
            under_way: Vec::new(),
            number: 0,
        }
    }

    /// Registers a name at a node (and, for UDP, with the resolver).
    pub(crate) fn register(&mut self, node: usize, name: &str) {
        let hash = self.kind.hash(name);
        self.nodes[node].shim.register(hash.clone()).expect("room");
        let address = self.kind.address(node);
        self.hosts.entry(hash).or_default().push(address);
    }

    pub(crate) fn alloc(&mut self, node: usize, flow: u64, name: &str) {
        self.alloc_with(node, flow, name, format!("oap of {node}/{flow}").as_bytes());
    }

    pub(crate) fn alloc_with(&mut self, node: usize, flow: u64, name: &str, piggyback: &[u8]) {
        let hash = self.kind.hash(name);
        let now = self.now;
        self.nodes[node]
            .shim
            .alloc(now, FlowKey(flow), hash, QosSpec::RAW, piggyback)
            .expect("it starts");
        self.flush();
    }

    pub(crate) fn query(&mut self, node: usize, query: u64, name: &str, patience: Duration) {
        let hash = self.kind.hash(name);
        let now = self.now;
        self.nodes[node]
            .shim
            .query(now, QueryKey(query), hash, patience);
        self.flush();
    }

    /// Sends a packet of a flow.
    pub(crate) fn send(&mut self, node: usize, flow: FlowKey, packet: &[u8]) {
        let (to, frame) = self.nodes[node].packet(flow, packet);
        self.carry(node, to, frame);
    }

    /// Puts a frame on the network.
    pub(crate) fn carry(&mut self, from: usize, to: Address, frame: Vec<u8>) {
        self.log.push((from, to, frame.clone()));
        let receivers = (0..self.nodes.len()).filter(|node| {
            to == self.kind.address(*node) || (to == Address::BROADCAST && *node != from)
        });
        for node in receivers.collect::<Vec<_>>() {
            let copies = 1 + u32::from(self.dice.percent(self.duplicates));
            for _ in 0..copies {
                if self.dice.percent(self.loss)
                    || self.dead.contains(&node)
                    || self.dead.contains(&from)
                {
                    continue;
                }
                let micros = self.jitter.as_micros() as u64;
                let jitter = Duration::from_micros(self.dice.below(micros));
                self.number += 1;
                let at = self.now + self.delay + jitter;
                self.under_way
                    .push((at, self.number, from, node, frame.clone()));
            }
        }
    }

    /// Events and frames of all nodes.
    pub(crate) fn flush(&mut self) {
        loop {
            let mut any = false;
            for node in 0..self.nodes.len() {
                self.nodes[node].after(self.now);
                for hash in std::mem::take(&mut self.nodes[node].resolves) {
                    let addresses = self.hosts.get(&hash).cloned().unwrap_or_default();
                    self.nodes[node].shim.resolved(self.now, &hash, &addresses);
                    any = true;
                }
                for (to, frame) in self.nodes[node].sent() {
                    self.carry(node, to, frame);
                    any = true;
                }
            }
            if !any {
                return;
            }
        }
    }

    /// Time of the next thing that happens.
    fn next(&self) -> Option<Instant> {
        let frames = self.under_way.iter().map(|(at, ..)| *at);
        let nodes = self.nodes.iter().filter_map(Node::due);
        frames.chain(nodes).min()
    }

    /// Goes on for a time.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.flush();
        while let Some(at) = self.next() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            let now = self.now;
            while let Some(first) = (0..self.under_way.len())
                .filter(|i| self.under_way[*i].0 <= now)
                .min_by_key(|i| (self.under_way[*i].0, self.under_way[*i].1))
            {
                let (_, _, from, to, frame) = self.under_way.remove(first);
                let from = (self.kind == Kind::Udp).then(|| socket(from));
                self.nodes[to].receive(now, &frame, from);
            }
            for node in &mut self.nodes {
                if node.due().is_some_and(|due| due <= now) {
                    node.timeout(now);
                    assert!(node.due().is_none_or(|due| due > now), "it was done");
                }
            }
            self.flush();
        }
        self.now = end;
    }

    /// The outcome of an allocation, and after which time since the start.
    pub(crate) fn outcome(&self, node: usize, flow: u64) -> Option<(Duration, Outcome)> {
        let (at, outcome) = self.nodes[node].outcomes.get(&FlowKey(flow))?;
        Some((*at - self.start, outcome.clone()))
    }

    /// The accepting end of a flow of `node`, which is up.
    pub(crate) fn other_end(&self, node: usize, flow: u64) -> Option<(usize, FlowKey)> {
        let path = self.nodes[node].path(FlowKey(flow))?;
        let other = (0..self.nodes.len()).find(|at| self.kind.address(*at) == path.address)?;
        let found = self.nodes[other].flows().into_iter().find(|key| {
            let back = self.nodes[other].path(*key).expect("it is up");
            back.local == path.peer
                && back.peer == path.local
                && back.address == self.kind.address(node)
        })?;
        Some((other, found))
    }
}
