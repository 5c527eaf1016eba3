//! Flooding in trees and in networks with loops, ours alone and with members of 0.23.

use std::collections::{BTreeMap, BinaryHeap};

use proptest::{collection::vec, prelude::*};

use super::*;

/// Neighbour number of the program at each node.
const PROGRAM: Neighbour = Neighbour(1000);

/// A packet under way: the lowest time first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    at: std::cmp::Reverse<(Instant, u64)>,
    to: usize,
    from: Neighbour,
    packet: Vec<u8>,
}

/// Nodes with a program each, joined by links that take some time.
struct Net {
    now: Instant,
    nodes: Vec<Flood>,
    /// Nodes that run 0.23: they pass on everything.
    old: Vec<usize>,
    /// Where each neighbour of a node leads, and how it is called there.
    links: BTreeMap<(usize, Neighbour), (usize, Neighbour)>,
    under_way: BinaryHeap<UnderWay>,
    sent: u64,
    heard: Vec<BTreeMap<Vec<u8>, usize>>,
    events: Vec<(usize, Event)>,
}

impl Net {
    fn new(nodes: usize, links: &[(usize, usize)]) -> Self {
        let now = Instant::now();
        let mut net = Self {
            now,
            nodes: (0..nodes)
                .map(|seed| Flood::new(seed as u64, now))
                .collect(),
            old: Vec::new(),
            links: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
            heard: vec![BTreeMap::new(); nodes],
            events: Vec::new(),
        };
        for node in &mut net.nodes {
            node.add(PROGRAM, Kind::Program).unwrap();
        }
        for (number, &(one, other)) in links.iter().enumerate() {
            net.connect(number, one, other);
        }
        net
    }

    fn connect(&mut self, number: usize, one: usize, other: usize) {
        let neighbour = Neighbour(u32::try_from(number).unwrap());
        // A link of a node to itself has two ends there.
        let far = if one == other {
            Neighbour(neighbour.0 + 500)
        } else {
            neighbour
        };
        self.nodes[one].add(neighbour, Kind::Member).unwrap();
        self.nodes[other].add(far, Kind::Member).unwrap();
        self.links.insert((one, neighbour), (other, far));
        self.links.insert((other, far), (one, neighbour));
    }

    fn disconnect(&mut self, number: u32, one: usize, other: usize) {
        for node in [one, other] {
            assert!(self.nodes[node].remove(Neighbour(number)));
            self.links.remove(&(node, Neighbour(number)));
        }
    }

    fn arrive(&mut self, node: usize, from: Neighbour, packet: &[u8]) {
        let verdict = self.nodes[node].packet(self.now, from, packet);
        while let Some(event) = self.nodes[node].poll_event() {
            self.events.push((node, event));
        }
        let drops = verdict == Verdict::Drop && !self.old.contains(&node);
        if drops {
            return;
        }
        let others: Vec<_> = self.nodes[node].others(from).collect();
        for neighbour in others {
            if neighbour == PROGRAM {
                *self.heard[node].entry(packet.to_vec()).or_default() += 1;
            } else if let Some(&(to, from)) = self.links.get(&(node, neighbour)) {
                self.sent += 1;
                let at = self.now + Duration::from_micros(20);
                self.under_way.push(UnderWay {
                    at: std::cmp::Reverse((at, self.sent)),
                    to,
                    from,
                    packet: packet.to_vec(),
                });
            }
        }
    }

    fn send(&mut self, node: usize, packet: &[u8]) {
        self.arrive(node, PROGRAM, packet);
    }

    /// Lets time pass; at most `limit` arrivals.
    fn run(&mut self, time: Duration, limit: usize) {
        let end = self.now + time;
        for _ in 0..limit {
            if self.under_way.peek().is_none_or(|next| next.at.0.0 > end) {
                self.now = end;
                return;
            }
            let UnderWay {
                at,
                to,
                from,
                packet,
            } = self.under_way.pop().unwrap();
            self.now = at.0.0;
            self.arrive(to, from, &packet);
        }
        panic!("more than {limit} packets: the layer melts down");
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_packet_goes_to_all_others_in_their_order() {
    let now = Instant::now();
    let mut flood = Flood::new(1, now);
    for number in [3, 1, 2] {
        flood.add(Neighbour(number), Kind::Member).unwrap();
    }
    flood.add(PROGRAM, Kind::Program).unwrap();
    assert_eq!(flood.packet(now, Neighbour(1), b"x"), Verdict::Forward);
    let others: Vec<_> = flood.others(Neighbour(1)).collect();
    assert_eq!(others, [Neighbour(3), Neighbour(2), PROGRAM]);
    assert!(flood.remove(Neighbour(3)) && !flood.remove(Neighbour(3)));
    assert_eq!(flood.others(PROGRAM).count(), 2);
    // Signs of life go nowhere.
    assert_eq!(flood.packet(now, PROGRAM, b""), Verdict::Drop);
    assert_eq!(flood.stats().empty, 1);
}

#[test]
fn neighbours_are_bounded() {
    let mut flood = Flood::new(1, Instant::now());
    for number in 0..NEIGHBOURS_MAX as u32 {
        flood.add(Neighbour(number), Kind::Program).unwrap();
    }
    assert_eq!(
        flood.add(PROGRAM.max(Neighbour(9999)), Kind::Member),
        Err(Full)
    );
    // One that is there may be added again.
    flood.add(Neighbour(7), Kind::Member).unwrap();
}

/// In a tree nothing is ever dropped, whatever programs say and however often: all beat with the same bytes.
#[test]
fn in_a_tree_all_hear_everything() {
    let mut net = Net::new(6, &[(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)]);
    let mut beats = 0;
    for round in 0..100_u32 {
        for node in 0..6 {
            let own = [node as u8, round as u8];
            net.send(node, &own);
            if round % 10 == node as u32 {
                net.send(node, b"alive");
                beats += 1;
            }
        }
        net.run(20 * MS, 1000);
    }
    assert_eq!(net.events, []);
    for (node, heard) in net.heard.iter().enumerate() {
        assert_eq!(heard[&b"alive"[..]], beats - 10, "node {node}");
        assert_eq!(heard.len(), 1 + 5 * 100, "node {node}");
    }
    assert!(net.nodes.iter().all(|node| node.stats().dropped == 0));
}

/// The acceptance of all loops here: hundreds of packets, each heard by all, no meltdown, an end when the
/// loop ends.
fn survives(mut net: Net, what: &str) -> Net {
    let nodes = net.nodes.len();
    for number in 0..300_u32 {
        let packet = number.to_be_bytes();
        net.send(number as usize % nodes, &packet);
        net.run(10 * MS, 200_000);
    }
    net.run(1000 * MS, 200_000);
    assert!(net.under_way.is_empty(), "{what}: packets go round");
    for (node, heard) in net.heard.iter().enumerate() {
        for number in 0..300_u32 {
            let packet = number.to_be_bytes();
            if number as usize % nodes != node {
                assert!(
                    heard.contains_key(&packet[..]),
                    "{what}: {node} misses {number}"
                );
            }
        }
        // Once the loop is known each comes once.
        let often = heard.values().filter(|times| **times > 1).count();
        assert!(often < 40, "{what}: {often} packets came twice at {node}");
    }
    net
}

#[test]
fn loops_are_detected_and_broken() {
    survives(Net::new(3, &[(0, 1), (1, 2), (2, 0)]), "ring of three");
    survives(Net::new(2, &[(0, 1), (0, 1)]), "parallel connections");
    let ring: Vec<_> = (0..20).map(|node| (node, (node + 1) % 20)).collect();
    survives(Net::new(20, &ring), "ring of twenty");
    let mesh: Vec<_> = (0..8)
        .flat_map(|one| (0..one).map(move |other| (one, other)))
        .collect();
    survives(Net::new(8, &mesh), "full mesh");
    let tail = [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (4, 5)];
    survives(Net::new(6, &tail), "a loop with tails");
}

/// A member that is connected to itself.
#[test]
fn a_connection_to_oneself_is_harmless() {
    let net = survives(Net::new(2, &[(0, 1), (0, 0)]), "a loop at one node");
    assert!(net.events.iter().any(|(node, _)| *node == 0));
}

/// One of ours in a loop is enough. A packet that goes round one way comes back once per second at most.
#[test]
fn a_loop_of_members_of_0_23_is_broken_where_it_passes_ours() {
    let mut net = Net::new(3, &[(0, 1), (1, 2), (2, 0)]);
    net.old = vec![1, 2];
    for number in 0..100_u32 {
        net.send(number as usize % 3, &number.to_be_bytes());
        net.run(10 * MS, 100_000);
    }
    let before = net.sent;
    net.run(1000 * MS, 1000);
    assert!(net.sent - before < 1000, "{} sent", net.sent - before);
    for number in 0..100_u32 {
        for node in 0..3 {
            if number as usize % 3 != node {
                assert!(net.heard[node].contains_key(&number.to_be_bytes()[..]));
            }
        }
    }
}

#[test]
fn a_loop_that_is_gone_is_forgotten() {
    let mut net = Net::new(3, &[(0, 1), (1, 2), (2, 0)]);
    net.send(0, b"round and round");
    net.run(100 * MS, 10_000);
    let found = |event: &(usize, Event)| matches!(event.1, Event::LoopFound { .. });
    assert!(net.events.iter().any(found));
    let found = net.events.len();
    // Told once.
    for number in 0..200_u32 {
        net.send(0, &number.to_be_bytes());
        net.run(10 * MS, 10_000);
    }
    assert!(net.events.len() <= 3, "{:?}", net.events);
    assert!(net.events.len() >= found);
    net.disconnect(2, 2, 0);
    net.run(QUIET + MS, 10_000);
    // What is said again and again is heard again and again.
    net.heard[2].clear();
    for _ in 0..20 {
        net.send(0, b"alive");
        net.run(50 * MS, 100);
    }
    assert_eq!(net.heard[2][&b"alive"[..]], 20);
    for node in 0..3 {
        let now = net.now;
        assert!(!net.nodes[node].is_looping(now));
    }
    assert!(net.events.contains(&(1, Event::LoopGone)));
}

/// While there is a loop, programs here may say the same as often as they like.
#[test]
fn programs_repeat_themselves_in_a_loop() {
    let mut net = Net::new(3, &[(0, 1), (1, 2), (2, 0)]);
    net.send(0, b"round and round");
    net.run(100 * MS, 10_000);
    for _ in 0..10 {
        net.send(0, b"alive");
        net.run(1010 * MS, 10_000);
    }
    assert!(net.heard[1][&b"alive"[..]] >= 10);
    assert!(net.under_way.is_empty());
}

/// Where less is said than [`ECHOES`] a second, all that are in the loop find it too: what comes twice because
/// another member has broken the loop does not do so for long.
#[test]
fn a_loop_is_found_where_little_is_said() {
    let mut net = Net::new(3, &[(0, 1), (1, 2), (2, 0)]);
    for number in 0..1200_u32 {
        net.send(number as usize % 3, &number.to_be_bytes());
        net.run(50 * MS, 10_000);
    }
    for node in 0..3 {
        let now = net.now;
        assert!(net.nodes[node].is_looping(now), "{node}");
        let late = net.heard[node].range(1000_u32.to_be_bytes().to_vec()..);
        assert!(late.into_iter().all(|(_, times)| *times == 1));
    }
}

/// A program that answers with what it hears, now and then: its answers are heard.
#[test]
fn a_program_that_repeats_what_it_hears_is_heard() {
    let mut net = Net::new(3, &[(0, 1), (1, 2)]);
    for number in 0..600_u32 {
        let packet = number.to_be_bytes();
        net.send(0, &packet);
        net.run(MS, 100);
        net.send(2, &packet);
        net.run(199 * MS, 100);
        assert_eq!(net.heard[0][&packet[..]], 1);
        assert_eq!(net.heard[1][&packet[..]], 2);
    }
    assert_eq!(net.events, []);
}

#[test]
fn a_leaf_remembers_nothing() {
    let mut flood = Flood::new(1, Instant::now());
    flood.add(Neighbour(1), Kind::Member).unwrap();
    for number in 2..100 {
        flood.add(Neighbour(number), Kind::Program).unwrap();
    }
    assert!(flood.seen.is_empty());
    flood.add(Neighbour(100), Kind::Member).unwrap();
    assert_eq!(flood.seen.len(), SLOTS);
    flood.remove(Neighbour(1));
    assert!(flood.seen.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any network of some nodes, with loops or not: all that are connected hear all, and it ends.
    #[test]
    fn any_network_works(links in vec((0..6_usize, 0..6_usize), 5..12)) {
        let tree = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        let all: Vec<_> = tree.into_iter().chain(links).collect();
        survives(Net::new(6, &all), "random");
    }
}
