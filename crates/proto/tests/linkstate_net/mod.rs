//! Networks of link-state machines over links that lose and delay, repeatable from a seed.
//!
//! Each edge of the network is one management and one data adjacency. Time is virtual.

#![allow(unreachable_pub, reason = "a module of tests")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use o7s_proto::{
    forwarding::Route,
    linkstate::{Config, LinkState, Output, Warning},
};
use o7s_wire::{
    address::Address,
    enroll::{LinkStateConfig, LinkStatePolicy},
    linkstate::LSU_LEN,
};

/// A small generator of numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True with this probability, in thousandths.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.next() % 1000 < thousandths
    }
}

/// A flow as a node sees it: the far end, and which life of the edge it belongs to.
pub type Flow = (usize, u32);

struct Member {
    state: LinkState<Flow>,
    routes: BTreeMap<Address, Vec<Address>>,
    alive: bool,
    /// The time for which a wake-up is in the queue.
    awake: Option<Instant>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Arrive {
        to: usize,
        flow: Flow,
        packet: [u8; LSU_LEN],
    },
}

pub struct Net {
    pub now: Instant,
    pub start: Instant,
    pub random: Random,
    /// Of packets, in thousandths.
    pub loss: u64,
    members: Vec<Member>,
    /// Edges by their ends, the lower first: life, and whether it carries.
    edges: BTreeMap<(usize, usize), (u32, bool)>,
    lives: u32,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
    pub delivered: u64,
    pub warnings: Vec<(usize, Warning)>,
    config: LinkStateConfig,
}

/// Addresses are scattered, so that their order is not that of the nodes.
pub fn address(node: usize) -> Address {
    Address::new((node as u64 + 1).wrapping_mul(0x9e37_79b1) & 0xffff_ffff)
}

impl Net {
    pub fn new(nodes: usize, seed: u64, policy: LinkStatePolicy) -> Self {
        let config = LinkStateConfig {
            policy,
            ..LinkStateConfig::default()
        };
        let now = Instant::now();
        let mut net = Self {
            now,
            start: now,
            random: Random(seed),
            loss: 0,
            members: Vec::new(),
            edges: BTreeMap::new(),
            lives: 0,
            queue: BinaryHeap::new(),
            order: 0,
            delivered: 0,
            warnings: Vec::new(),
            config,
        };
        for node in 0..nodes {
            let state = net.machine(node);
            net.members.push(Member {
                state,
                routes: BTreeMap::new(),
                alive: true,
                awake: None,
            });
        }
        net
    }

    fn machine(&self, node: usize) -> LinkState<Flow> {
        let config = Config::new(&self.config).unwrap();
        LinkState::new(config, address(node), self.now)
    }

    fn key(one: usize, other: usize) -> (usize, usize) {
        (one.min(other), one.max(other))
    }

    /// Both adjacencies between two nodes, seen by both.
    pub fn connect(&mut self, one: usize, other: usize) {
        self.lives += 1;
        let life = self.lives;
        if one == other
            || self
                .edges
                .insert(Self::key(one, other), (life, true))
                .is_some()
        {
            panic!("{one} and {other} cannot be connected now");
        }
        for (at, far) in [(one, other), (other, one)] {
            let state = &mut self.members[at].state;
            state.management_up(self.now, (far, life));
            state.data_up(self.now, (far, life), address(far));
        }
        for at in [one, other] {
            self.settle(at);
        }
    }

    pub fn is_connected(&self, one: usize, other: usize) -> bool {
        self.edges.contains_key(&Self::key(one, other))
    }

    /// Both ends notice that the adjacencies are gone.
    pub fn disconnect(&mut self, one: usize, other: usize) {
        let (life, _) = self.edges.remove(&Self::key(one, other)).unwrap();
        for (at, far) in [(one, other), (other, one)] {
            if self.members[at].alive {
                let state = &mut self.members[at].state;
                state.management_down((far, life));
                state.data_down(self.now, (far, life));
                self.settle(at);
            }
        }
    }

    /// The edge carries nothing any more, or again, and nobody is told.
    pub fn cut(&mut self, one: usize, other: usize, carries: bool) {
        self.edges.get_mut(&Self::key(one, other)).unwrap().1 = carries;
    }

    /// A node ends; its neighbours notice.
    pub fn kill(&mut self, node: usize) {
        self.members[node].alive = false;
        for far in self.neighbours(node) {
            self.disconnect(node, far);
        }
        self.members[node].routes.clear();
    }

    /// A node that ended starts again, with its old address and nothing else.
    pub fn revive(&mut self, node: usize) {
        self.members[node].state = self.machine(node);
        self.members[node].alive = true;
        self.settle(node);
    }

    pub fn neighbours(&self, node: usize) -> Vec<usize> {
        let ends = self.edges.keys().filter_map(|(one, other)| {
            if *one == node {
                Some(*other)
            } else if *other == node {
                Some(*one)
            } else {
                None
            }
        });
        ends.collect()
    }

    /// An update that arrives at `to` from its neighbour `from`, whoever made it.
    pub fn inject(&mut self, from: usize, to: usize, packet: &[u8]) {
        let (life, _) = self.edges[&Self::key(from, to)];
        let state = &mut self.members[to].state;
        state.handle_packet(self.now, (from, life), packet);
        self.settle(to);
    }

    /// Takes what a node says, and sets its alarm.
    fn settle(&mut self, node: usize) {
        while let Some(output) = self.members[node].state.poll_output() {
            match output {
                Output::Send {
                    flow: (far, life),
                    packet,
                } => self.send(node, far, life, packet),
                Output::Routes(routes) => {
                    let routes = routes.into_iter();
                    self.members[node].routes = routes
                        .map(
                            |Route {
                                 destination,
                                 next_hops,
                             }| (destination, next_hops),
                        )
                        .collect();
                }
                Output::Warning { warning, .. } => self.warnings.push((node, warning)),
            }
        }
        let member = &mut self.members[node];
        let due = member.state.poll_timeout().max(self.now);
        if member.awake.is_none_or(|awake| due < awake) {
            member.awake = Some(due);
            self.order += 1;
            self.queue
                .push(Reverse((due, self.order, Event::Wake(node))));
        }
    }

    fn send(&mut self, from: usize, to: usize, life: u32, packet: [u8; LSU_LEN]) {
        let carried = self.edges.get(&Self::key(from, to)) == Some(&(life, true));
        if !carried || self.random.chance(self.loss) {
            return;
        }
        let delay = Duration::from_micros(200 + self.random.next() % 5000);
        self.order += 1;
        let event = Event::Arrive {
            to,
            flow: (from, life),
            packet,
        };
        self.queue
            .push(Reverse((self.now + delay, self.order, event)));
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(at);
            match event {
                Event::Wake(node) => {
                    if self.members[node].awake == Some(at) {
                        self.members[node].awake = None;
                    }
                    if self.members[node].alive {
                        self.members[node].state.handle_timeout(self.now);
                        self.settle(node);
                    }
                }
                Event::Arrive { to, flow, packet } => {
                    let edge = self.edges.get(&Self::key(to, flow.0));
                    if self.members[to].alive && edge.is_some_and(|(life, _)| *life == flow.1) {
                        self.delivered += 1;
                        self.members[to]
                            .state
                            .handle_packet(self.now, flow, &packet);
                        self.settle(to);
                    }
                }
            }
        }
        self.now = end;
    }

    /// Distances over edges that carry.
    pub fn distances(&self, from: usize) -> BTreeMap<usize, usize> {
        let mut near: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (&(one, other), &(_, carries)) in &self.edges {
            if carries {
                near.entry(one).or_default().push(other);
                near.entry(other).or_default().push(one);
            }
        }
        let mut distances = BTreeMap::from([(from, 0)]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for &far in near.get(&at).into_iter().flatten() {
                if !distances.contains_key(&far) {
                    distances.insert(far, distances[&at] + 1);
                    queue.push_back(far);
                }
            }
        }
        distances
    }

    /// Whether every node has exactly the routes it should have, and packets that follow first next
    /// hops arrive on shortest paths. What is wrong, if something is.
    pub fn check(&self) -> Result<(), String> {
        let nodes: BTreeMap<Address, usize> = (0..self.members.len())
            .map(|node| (address(node), node))
            .collect();
        for from in 0..self.members.len() {
            if !self.members[from].alive {
                continue;
            }
            let distances = self.distances(from);
            let known = self.members[from].routes.len();
            if known != distances.len() - 1 {
                let (now, wanted) = (self.now - self.start, distances.len() - 1);
                return Err(format!(
                    "{from} has {known} routes instead of {wanted} at {now:?}"
                ));
            }
            for (to, hops) in &distances {
                let (mut at, mut left) = (from, *hops);
                while at != *to {
                    let next = self.members[at].routes.get(&address(*to));
                    let Some(next) = next.and_then(|hops| nodes.get(&hops[0])) else {
                        return Err(format!("{at} has no route to {to}, on the way from {from}"));
                    };
                    if left == 0 || !self.is_connected(at, *next) {
                        return Err(format!("{at} sends to {next} for {to}, from {from}"));
                    }
                    at = *next;
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    /// How long it takes until all routes are right, looking every 10 ms.
    pub fn converge(&mut self, most: Duration) -> Duration {
        let start = self.now;
        loop {
            let wrong = match self.check() {
                Ok(()) => return self.now - start,
                Err(wrong) => wrong,
            };
            assert!(self.now - start < most, "{wrong}");
            self.run(Duration::from_millis(10));
        }
    }
}

/// A connected random network: a tree and some more edges.
pub fn random_net(nodes: usize, more: usize, seed: u64, policy: LinkStatePolicy) -> Net {
    let mut net = Net::new(nodes, seed, policy);
    for node in 1..nodes {
        let far = net.random.below(node);
        net.connect(node, far);
    }
    for _ in 0..more {
        let (one, other) = (net.random.below(nodes), net.random.below(nodes));
        if one != other && !net.is_connected(one, other) {
            net.connect(one, other);
        }
    }
    net
}
