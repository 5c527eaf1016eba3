//! Flow allocators that talk over a network that loses, delays, reorders and repeats messages: whatever
//! happens, both ends of a flow agree on each other, nothing waits for ever, and nothing is left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use o7s_proto::fa::{Config, FlowAllocator, Output};
use o7s_wire::{
    dt::{Address, Eid},
    hash::DirHash,
    qos::QosSpec,
};

const MEMBERS: u64 = 4;
const HASH: [u8; 32] = [1; 32];

/// A sequence of numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405);
        (self.0 >> 33) % below
    }
}

struct Network {
    now: Instant,
    random: Random,
    /// Of a hundred messages.
    loss: u64,
    members: Vec<FlowAllocator>,
    /// By time of arrival.
    messages: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    number: u64,
    /// Requests that the daemons have not answered.
    asked: Vec<(usize, Eid)>,
    /// Flows that are up: own end, and where the other one should be.
    up: BTreeMap<(Address, Eid), (Address, Eid)>,
    open: BTreeSet<(Address, Eid)>,
    /// All ends that ever were open.
    ever: BTreeSet<(Address, Eid)>,
    granted: u32,
    refused: u32,
}

impl Network {
    fn new(seed: u64, loss: u64) -> Self {
        let members = (1..=MEMBERS).map(|address| {
            let mut random = Random(seed ^ address << 32);
            let config = Config::new(Address::new(address), DirHash::Sha3_256);
            FlowAllocator::new(config, move || {
                random.next(u64::MAX) << 24 ^ random.next(u64::MAX)
            })
        });
        Self {
            now: Instant::now(),
            random: Random(seed),
            loss,
            members: members.collect(),
            messages: BTreeMap::new(),
            number: 0,
            asked: Vec::new(),
            up: BTreeMap::new(),
            open: BTreeSet::new(),
            ever: BTreeSet::new(),
            granted: 0,
            refused: 0,
        }
    }

    fn send(&mut self, to: Address, message: &[u8]) {
        for _ in 0..=u64::from(self.random.next(10) == 0) {
            if self.random.next(100) < self.loss {
                continue;
            }
            let arrival = self.now + Duration::from_millis(1 + self.random.next(200));
            self.number += 1;
            let to = to.get() as usize - 1;
            self.messages
                .insert((arrival, self.number), (to, message.to_vec()));
        }
    }

    /// Carries out what a member wants.
    fn settle(&mut self, member: usize) {
        let own = self.members[member].config().address;
        while let Some(output) = self.members[member].poll_output() {
            match output {
                Output::Send {
                    destination,
                    message,
                    ..
                } => self.send(destination, &message),
                Output::Requested { flow, .. } => self.asked.push((member, flow)),
                Output::Expired { flow } => self.asked.retain(|asked| *asked != (member, flow)),
                Output::Opened { flow } => {
                    self.ever.insert((own, flow));
                    assert!(self.open.insert((own, flow)));
                }
                Output::Granted { .. } => self.granted += 1,
                Output::Refused { .. } => self.refused += 1,
                Output::Up {
                    flow,
                    peer,
                    peer_eid,
                    ..
                } => {
                    assert!(self.open.contains(&(own, flow)));

                    self.up.insert((own, flow), (peer, peer_eid));
                }
                Output::Closed { flow } => {
                    assert!(self.open.remove(&(own, flow)));
                    self.up.remove(&(own, flow));
                }
                Output::Congestion { flow, .. } => assert!(self.up.contains_key(&(own, flow))),
            }
        }
    }

    /// What comes next: a message or a timeout.
    fn step(&mut self) -> bool {
        let message = self.messages.first_key_value().map(|(key, _)| key.0);
        let timeout = self
            .members
            .iter()
            .filter_map(FlowAllocator::poll_timeout)
            .min();
        let Some(next) = message.into_iter().chain(timeout).min() else {
            return false;
        };
        self.now = self.now.max(next);
        if message.is_some_and(|message| message <= self.now) {
            if let Some((_, (to, message))) = self.messages.pop_first() {
                self.members[to]
                    .receive(self.now, &message)
                    .expect("a message");
                self.settle(to);
            }
        } else {
            for member in 0..self.members.len() {
                self.members[member].handle_timeout(self.now);
                self.settle(member);
            }
        }
        true
    }

    /// A program or a daemon does something.
    fn act(&mut self) {
        let member = self.random.next(MEMBERS) as usize;
        match self.random.next(8) {
            0..3 => {
                let peer = Address::new(1 + self.random.next(MEMBERS));
                let own = self.members[member].config().address;
                let made =
                    self.members[member].allocate(self.now, peer, &HASH, &QosSpec::RAW, b"data");
                assert_eq!(made.is_err(), peer == own);
            }
            3..6 if !self.asked.is_empty() => {
                let at = self.random.next(self.asked.len() as u64) as usize;
                let (member, flow) = self.asked.swap_remove(at);
                let response = if self.random.next(3) == 0 { -1 } else { 0 };
                self.members[member]
                    .respond(flow, response, b"data")
                    .expect("it waits");
                self.settle(member);
            }
            6 => {
                let ends: Vec<_> = self.up.keys().copied().collect();
                if let Some(&(address, flow)) = ends.get(self.random.next(8) as usize) {
                    let member = address.get() as usize - 1;
                    self.members[member].report(flow, 7);
                    self.settle(member);
                }
            }
            _ => {
                let ends: Vec<_> = self.open.iter().copied().collect();
                if let Some(&(address, flow)) = ends.get(self.random.next(12) as usize) {
                    let member = address.get() as usize - 1;
                    assert!(self.members[member].deallocate(flow));
                    self.settle(member);
                }
            }
        }
        self.settle(member);
    }
}

fn run(seed: u64, loss: u64) -> (u32, u32) {
    let mut network = Network::new(seed, loss);
    for _ in 0..2000 {
        if network.random.next(3) == 0 {
            network.act();
        } else {
            network.step();
        }
    }
    let start = network.now;
    while network.step() {}
    // Nothing waits longer than its time, and a message.
    assert!(
        network.now <= start + Duration::from_secs(21),
        "seed {seed}"
    );
    // An end that is up names one that was open at least (its reply may be lost), and that names it.
    for (own, peer) in &network.up {
        if let Some(back) = network.up.get(peer) {
            assert_eq!(back, own, "seed {seed}");
        }
        let member = &network.members[own.0.get() as usize - 1];
        assert_eq!(member.remote(own.1), Some(*peer), "seed {seed}");
        assert!(network.ever.contains(peer), "seed {seed}");
    }
    assert_eq!(network.open.len(), network.up.len(), "seed {seed}");
    for (address, flow) in network.open.clone() {
        let member = address.get() as usize - 1;
        assert!(network.members[member].deallocate(flow));
        network.settle(member);
    }
    assert!(
        network.members.iter().all(FlowAllocator::is_empty),
        "seed {seed}"
    );
    (network.granted, network.refused)
}

#[test]
fn ends_agree_whatever_happens_to_messages() {
    let (mut granted, mut refused) = (0, 0);
    for seed in 0..60 {
        let outcome = run(seed, seed % 4 * 15);
        granted += outcome.0;
        refused += outcome.1;
    }
    assert!(granted > 500 && refused > 500, "{granted} {refused}");
}
