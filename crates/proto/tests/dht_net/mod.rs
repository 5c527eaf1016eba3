//! Directories of many members over simulated links: delay, loss, partitions, crashes, all from a seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use o7s_proto::dht::{Config, Dht, Event};
use o7s_wire::{
    address::Address,
    hash::{DirHash, NameHash},
};

/// Wall clock at the start, Unix seconds.
pub(crate) const UNIX: u64 = 1_800_000_000;

/// A generator for the network itself (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.number() % 1_000 < per_mille
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival(Address, Vec<u8>),
    Timer(Address),
}

pub(crate) struct Member {
    pub(crate) dht: Dht,
    pub(crate) events: Vec<Event>,
    timer: Option<Instant>,
    side: u8,
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) dice: Dice,
    pub(crate) members: BTreeMap<Address, Member>,
    agenda: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    order: u64,
    /// Lost packets of a thousand.
    pub(crate) loss: u64,
    pub(crate) config: Config,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    next_address: u32,
    /// Members of different sides do not reach each other.
    pub(crate) split: bool,
    /// A message to a member that is gone is told to its sender, as routing would.
    pub(crate) routing_tells: bool,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            now: start,
            start,
            dice: Dice(seed),
            members: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            order: 0,
            loss: 0,
            config: Config::new(Address::new(1), None),
            messages: 0,
            bytes: 0,
            next_address: 1,
            split: false,
            routing_tells: false,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn plan(&mut self, at: Instant, what: Happening) {
        self.order += 1;
        self.agenda.push(Reverse((at, self.order, what)));
    }

    /// A new member, enrolled by a random one.
    pub(crate) fn add(&mut self) -> Address {
        let peer = self.any();
        let address = Address::from(self.next_address);
        self.next_address += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.dice.number().to_be_bytes());
        let config = Config {
            address,
            peer,
            ..self.config
        };
        let unix = UNIX + self.elapsed().as_secs();
        let member = Member {
            dht: Dht::new(config, seed, self.now, unix),
            events: Vec::new(),
            timer: None,
            side: u8::from(self.dice.chance(500)),
        };
        self.members.insert(address, member);
        self.settle(address);
        address
    }

    /// A random member.
    pub(crate) fn any(&mut self) -> Option<Address> {
        let count = self.members.len();
        (count > 0).then(|| {
            let at = self.dice.below(count);
            *self.members.keys().nth(at).unwrap()
        })
    }

    pub(crate) fn crash(&mut self, address: Address) {
        self.members.remove(&address);
    }

    pub(crate) fn dht(&mut self, address: Address) -> &mut Dht {
        &mut self.members.get_mut(&address).unwrap().dht
    }

    /// Takes what a member has to send and to say, and its deadline.
    pub(crate) fn settle(&mut self, address: Address) {
        let Some(mut member) = self.members.remove(&address) else {
            return;
        };
        let mut bytes = Vec::new();
        while let Some(to) = member.dht.poll_transmit(&mut bytes) {
            assert_ne!(to, address, "a member sends to itself");
            assert!(bytes.len() <= self.config.max_message, "too long");
            self.messages += 1;
            self.bytes += bytes.len() as u64;
            let reached = self
                .members
                .get(&to)
                .map(|other| !self.split || other.side == member.side);
            if reached != Some(true) {
                if self.routing_tells {
                    member.dht.unreachable(self.now, to);
                }
                continue;
            }
            if self.dice.chance(self.loss) {
                continue;
            }
            let delay = Duration::from_micros(1_000 + self.dice.number() % 19_000);
            self.plan(self.now + delay, Happening::Arrival(to, bytes.clone()));
        }
        while let Some(event) = member.dht.poll_event() {
            member.events.push(event);
        }
        let timer = member.dht.poll_timeout();
        if let Some(at) = timer
            && member.timer.is_none_or(|planned| at < planned)
        {
            member.timer = Some(at);
            self.plan(at.max(self.now), Happening::Timer(address));
        }
        self.members.insert(address, member);
    }

    /// Lets happen what happens next, if it does until `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        match self.agenda.peek() {
            Some(Reverse((at, ..))) if *at <= limit => {}
            _ => {
                self.now = limit.max(self.now);
                return false;
            }
        }
        let Some(Reverse((at, _, what))) = self.agenda.pop() else {
            return false;
        };
        self.now = at.max(self.now);
        let now = self.now;
        let address = match what {
            Happening::Arrival(to, bytes) => {
                if let Some(member) = self.members.get_mut(&to) {
                    member.dht.handle_message(now, &bytes);
                }
                to
            }
            Happening::Timer(whose) => {
                if let Some(member) = self.members.get_mut(&whose) {
                    member.timer = None;
                    if member.dht.poll_timeout().is_some_and(|at| at <= now) {
                        member.dht.handle_timeout(now);
                    }
                }
                whose
            }
        };
        self.settle(address);
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Runs until `done`, at most for `time`. Whether it came to that.
    pub(crate) fn run_until(
        &mut self,
        time: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> bool {
        let limit = self.now + time;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(limit) {
                return false;
            }
        }
    }

    /// A layer of `n` members that have joined one after the other.
    pub(crate) fn grow(&mut self, n: usize, pause: Duration) {
        for _ in 0..n {
            self.add();
            self.run(pause);
        }
        self.run(Duration::from_secs(5));
    }

    /// Registers a name and waits until it is published. The copies.
    pub(crate) fn register(&mut self, at: Address, name: &NameHash) -> usize {
        let now = self.now;
        self.dht(at).register(now, name).unwrap();
        self.settle(at);
        let mut copies = None;
        self.run_until(Duration::from_secs(20), |network| {
            copies = network.members[&at]
                .events
                .iter()
                .find_map(|event| match event {
                    Event::Published {
                        name: which,
                        copies,
                    } if which == name => Some(*copies),
                    _ => None,
                });
            copies.is_some()
        });
        copies.expect("never published")
    }

    /// Looks a name up: what is found, and in which time.
    pub(crate) fn query(&mut self, at: Address, name: &NameHash) -> (Vec<Address>, Duration) {
        let asked = self.now;
        self.members.get_mut(&at).unwrap().events.clear();
        self.dht(at).query(asked, name).unwrap();
        self.settle(at);
        let mut found = None;
        self.run_until(Duration::from_secs(20), |network| {
            found = network.members[&at]
                .events
                .iter()
                .find_map(|event| match event {
                    Event::Found {
                        name: which,
                        addresses,
                    } if which == name => Some(addresses.clone()),
                    _ => None,
                });
            found.is_some()
        });
        (found.expect("a query without an answer"), self.now - asked)
    }
}

pub(crate) fn name(n: u64) -> NameHash {
    DirHash::Sha3_256.digest(&n.to_be_bytes())
}
