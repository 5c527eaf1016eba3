//! The directories of many members alone: everybody reaches everybody, with delay and loss.
//!
//! Routing costs each member memory and messages for each other one; the directory does not. Here it can be
//! seen at sizes at which routing could not run, and without what routing adds to it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_proto::dht::{CommandError, Config, Dht, Event};
use o7s_wire::{dt::Address, hash::NameHash};

use crate::{
    agenda::{Agenda, Time, Trace},
    dice::Dice,
    link::nanos,
};

/// Wall clock at the start, Unix seconds.
const WALL: u64 = 1_800_000_000;

/// Shortest time that a message takes, and how much longer it may take.
const DELAY: Time = 1_000_000;
const SPREAD: Time = 19_000_000;

enum What {
    Message { to: Address, bytes: Vec<u8> },
    Timer(Address),
}

struct Member {
    dht: Dht,
    events: Vec<Event>,
    timer: Option<Time>,
    side: bool,
}

/// The directories.
pub struct Directory {
    epoch: Instant,
    agenda: Agenda<What>,
    trace: Trace,
    /// The random numbers of the run.
    pub dice: Dice,
    members: BTreeMap<Address, Member>,
    /// Addresses, for draws.
    addresses: Vec<Address>,
    next_address: u32,
    /// What members are configured with; address and peer are set for each.
    pub config: Config,
    /// Probability that a message is lost.
    pub loss: f64,
    /// The members of one half do not reach those of the other.
    pub split: bool,
    /// A message to a member that is not reached is told to its sender, as routing would.
    pub routing_tells: bool,
    messages: u64,
    bytes: u64,
}

impl Directory {
    /// Nobody yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            epoch: Instant::now(),
            agenda: Agenda::default(),
            trace: Trace::default(),
            dice: Dice::new(seed),
            members: BTreeMap::new(),
            addresses: Vec::new(),
            next_address: 1,
            config: Config::new(Address::new(1), None),
            loss: 0.0,
            split: false,
            routing_tells: false,
            messages: 0,
            bytes: 0,
        }
    }

    /// Messages sent so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hash of all that has happened.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.agenda.now())
    }

    fn now(&self) -> Instant {
        self.epoch + self.elapsed()
    }

    /// The machines of all members.
    pub fn machines(&self) -> impl Iterator<Item = &Dht> {
        self.members.values().map(|member| &member.dht)
    }

    /// The addresses of all members.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// A random member.
    pub fn any(&mut self) -> Option<Address> {
        self.dice.one_of(&self.addresses).copied()
    }

    /// A new member, enrolled by a random one.
    pub fn add(&mut self) -> Address {
        let peer = self.any();
        let address = Address::from(self.next_address);
        self.next_address += 1;
        let config = Config {
            address,
            peer,
            ..self.config
        };
        let seed = self.dice.seed();
        let unix = WALL + self.elapsed().as_secs();
        let member = Member {
            dht: Dht::new(config, seed, self.now(), unix),
            events: Vec::new(),
            timer: None,
            side: self.dice.chance(0.5),
        };
        self.members.insert(address, member);
        self.addresses.push(address);
        self.settle(address);
        address
    }

    /// Kills a member.
    pub fn crash(&mut self, address: Address) {
        self.members.remove(&address);
        self.addresses.retain(|other| *other != address);
    }

    /// Takes what a member has to send and to say, and its deadline.
    fn settle(&mut self, address: Address) {
        let now = self.now();
        let mut bytes = Vec::new();
        loop {
            let Some(member) = self.members.get_mut(&address) else {
                return;
            };
            let Some(to) = member.dht.poll_transmit(&mut bytes) else {
                break;
            };
            assert_ne!(to, address, "a member sends to itself");
            assert!(bytes.len() <= self.config.max_message, "too long a message");
            let side = member.side;
            self.messages += 1;
            self.bytes += bytes.len() as u64;
            let reached = self
                .members
                .get(&to)
                .is_some_and(|other| !self.split || other.side == side);
            if !reached {
                if self.routing_tells
                    && let Some(member) = self.members.get_mut(&address)
                {
                    member.dht.unreachable(now, to);
                }
            } else if !self.dice.chance(self.loss) {
                let at = self.agenda.now() + DELAY + self.dice.number() % SPREAD;
                let bytes = std::mem::take(&mut bytes);
                self.agenda.plan(at, What::Message { to, bytes });
            }
        }
        let epoch = self.epoch;
        let Some(member) = self.members.get_mut(&address) else {
            return;
        };
        while let Some(event) = member.dht.poll_event() {
            member.events.push(event);
        }
        if let Some(at) = member.dht.poll_timeout() {
            let at = nanos(at.saturating_duration_since(epoch)).max(self.agenda.now());
            if member.timer.is_none_or(|planned| at < planned) {
                member.timer = Some(at);
                self.agenda.plan(at, What::Timer(address));
            }
        }
    }

    /// Lets happen what happens next, if it does until `limit`.
    fn step(&mut self, limit: Time) -> bool {
        let Some(what) = self.agenda.next(limit) else {
            return false;
        };
        self.trace.add(self.agenda.now());
        let now = self.now();
        let address = match what {
            What::Message { to, bytes } => {
                self.trace.add_bytes(&bytes);
                if let Some(member) = self.members.get_mut(&to) {
                    member.dht.handle_message(now, &bytes);
                }
                to
            }
            What::Timer(whose) => {
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

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let limit = self.agenda.now() + nanos(time);
        while self.step(limit) {}
    }

    /// Lets `n` members join, one after the other, and settle.
    pub fn grow(&mut self, n: usize, pause: Duration) {
        for _ in 0..n {
            self.add();
            self.run(pause);
        }
        self.run(Duration::from_secs(5));
    }

    /// Gives a member's machine a command, if it is there.
    fn command(
        &mut self,
        at: Address,
        command: impl FnOnce(&mut Dht, Instant) -> Result<(), CommandError>,
    ) {
        let now = self.now();
        if let Some(member) = self.members.get_mut(&at) {
            member.events.clear();
            let outcome = command(&mut member.dht, now);
            assert_eq!(outcome, Ok(()), "the machine refuses");
        }
        self.settle(at);
    }

    /// Runs until a member has said this, at most for 20 s.
    fn wait<T>(&mut self, at: Address, of: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let limit = self.agenda.now() + nanos(Duration::from_secs(20));
        loop {
            let events = &self.members.get(&at)?.events;
            if let Some(found) = events.iter().find_map(&of) {
                return Some(found);
            }
            if !self.step(limit) {
                return None;
            }
        }
    }

    /// Registers a name and waits until it is published: how many members have it.
    pub fn register(&mut self, at: Address, name: &NameHash) -> Option<usize> {
        self.command(at, |dht, now| dht.register(now, name));
        self.wait(at, |event| match event {
            Event::Published {
                name: which,
                copies,
            } if which == name => Some(*copies),
            _ => None,
        })
    }

    /// Takes a name back.
    pub fn unregister(&mut self, at: Address, name: &NameHash) {
        self.command(at, |dht, now| dht.unregister(now, name));
    }

    /// Looks a name up: what is found, and in which time.
    pub fn query(&mut self, at: Address, name: &NameHash) -> (Vec<Address>, Duration) {
        let asked = self.elapsed();
        self.command(at, |dht, now| dht.query(now, name));
        let found = self.wait(at, |event| match event {
            Event::Found {
                name: which,
                addresses,
            } if which == name => Some(addresses.clone()),
            _ => None,
        });
        (found.unwrap_or_default(), self.elapsed() - asked)
    }
}
