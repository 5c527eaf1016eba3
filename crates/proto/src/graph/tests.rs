//! The vectors of `spec/unicast.md` §5.5, and properties against definitions written down naively.

use std::collections::{BTreeMap, BTreeSet};

use o7s_wire::enroll::LinkStatePolicy::{self, Ecmp, Lfa, Simple};
use proptest::{collection::vec, prelude::*};

use super::*;

type Table = BTreeMap<u64, Vec<u64>>;

fn address(number: u64) -> Address {
    Address::new(number)
}

fn graph(links: &[(u64, u64)]) -> Graph {
    let mut graph = Graph::new();
    for &(one, other) in links {
        graph.announce(address(one), address(other));
        graph.announce(address(other), address(one));
    }
    graph
}

fn table(graph: &Graph, own: u64, policy: LinkStatePolicy) -> Table {
    let routes = graph.routes(address(own), policy);
    routes
        .into_iter()
        .map(|route| {
            let next_hops = route.next_hops.iter().map(|hop| hop.get()).collect();
            (route.destination.get(), next_hops)
        })
        .collect()
}

/// A table as the specification writes it, `2: 2; 4: 2 3 2`. What repeats the primary is left out (§5.3).
fn written(text: &str) -> Table {
    text.split(';')
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| {
            let (destination, hops) = entry.split_once(':').unwrap();
            let mut seen = BTreeSet::new();
            let hops = hops
                .split_whitespace()
                .map(|hop| hop.parse().unwrap())
                .filter(|hop| seen.insert(*hop))
                .collect();
            (destination.trim().parse().unwrap(), hops)
        })
        .collect()
}

/// Links in the order in which they are learned, policy, table of node 1.
type Case<'a> = (&'a [(u64, u64)], LinkStatePolicy, &'a str);

#[test]
fn vectors_of_the_specification() {
    const SQUARE: &[(u64, u64)] = &[(1, 2), (1, 3), (2, 4), (3, 4)];
    const CROSSED: &[(u64, u64)] = &[(1, 2), (1, 3), (2, 4), (3, 4), (2, 3)];
    const RING: &[(u64, u64)] = &[(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)];
    const MESH: &[(u64, u64)] = &[
        (1, 2),
        (2, 3),
        (1, 3),
        (3, 4),
        (4, 5),
        (2, 6),
        (6, 7),
        (3, 7),
    ];
    let mesh = "2: 2; 3: 3; 4: 3; 5: 3; 6: 2; 7: 3";
    let cases: &[Case<'_>] = &[
        (&[(1, 2)], Simple, "2: 2"),
        (&[(1, 2)], Lfa, "2: 2"),
        (&[(1, 2)], Ecmp, "2: 2"),
        (SQUARE, Simple, "2: 2; 3: 3; 4: 2"),
        (SQUARE, Lfa, "2: 2; 3: 3; 4: 2 3 2"),
        (SQUARE, Ecmp, "2: 2; 3: 3; 4: 3 2"),
        (CROSSED, Simple, "2: 2; 3: 3; 4: 2"),
        (CROSSED, Lfa, "2: 2 3; 3: 3 2; 4: 2 3 2"),
        (CROSSED, Ecmp, "2: 2; 3: 3; 4: 3 2"),
        (RING, Simple, "2: 2; 3: 2; 4: 2; 5: 6; 6: 6"),
        (RING, Lfa, "2: 2; 3: 2 2; 4: 2 6 2; 5: 6 6; 6: 6"),
        (RING, Ecmp, "2: 2; 3: 2; 4: 6 2; 5: 6; 6: 6"),
        (MESH, Simple, mesh),
        (
            MESH,
            Lfa,
            "2: 2 3; 3: 3 2; 4: 3 3 2; 5: 3 3 2; 6: 2 3 2; 7: 3 3 2",
        ),
        (MESH, Ecmp, mesh),
        (&[(1, 2), (3, 4)], Simple, "2: 2"),
        (&[(1, 2), (3, 4)], Lfa, "2: 2"),
        (&[(1, 2), (3, 4)], Ecmp, "2: 2"),
    ];
    for (links, policy, expected) in cases {
        let found = table(&graph(links), 1, *policy);
        assert_eq!(found, written(expected), "{links:?} {policy:?}");
    }
    // The same links in another order.
    let square = graph(&[(3, 4), (2, 4), (1, 3), (1, 2)]);
    assert_eq!(table(&square, 1, Lfa)[&4], [2, 3]);
    assert_eq!(table(&square, 1, Ecmp)[&4], [2, 3]);
}

#[test]
fn a_link_that_one_end_announces_is_not_used() {
    let mut graph = Graph::new();
    assert!(!graph.announce(address(1), address(2)));
    for policy in [Simple, Lfa, Ecmp] {
        assert_eq!(table(&graph, 1, policy), Table::new());
    }
    assert!(graph.announce(address(2), address(1)));
    assert!(!graph.announce(address(2), address(1)));
    assert!(graph.is_usable(address(1), address(2)));
    assert!(graph.withdraw(address(1), address(2)));
    assert!(!graph.withdraw(address(1), address(2)));
    assert!(!graph.is_usable(address(2), address(1)));
    assert_eq!((graph.nodes(), graph.edges()), (2, 1));
    assert!(!graph.withdraw(address(2), address(1)));
    assert_eq!((graph.nodes(), graph.edges()), (0, 0));
    assert!(!graph.announce(address(1), address(1)));
    assert_eq!(graph.nodes(), 0);
}

/// More links of one node than any process can have are not used, and harm no others.
#[test]
fn the_links_of_a_node_are_bounded() {
    let mut graph = Graph::new();
    let most = DEGREE_MAX as u64;
    for far in 2..most + 12 {
        graph.announce(address(1), address(far));
        let used = graph.announce(address(far), address(1));
        assert_eq!(used, far < most + 2);
    }
    assert_eq!(table(&graph, 1, Ecmp).len(), DEGREE_MAX);
    assert!(!graph.withdraw(address(1), address(most + 5)));
    assert!(graph.withdraw(address(1), address(5)));
    assert_eq!(table(&graph, 1, Simple).len(), DEGREE_MAX - 1);
}

/// Definitions, as slow as they are plain.
struct Naive {
    nodes: BTreeSet<u64>,
    announced: BTreeSet<(u64, u64)>,
    /// Edges in the order in which they were learned.
    learned: Vec<(u64, u64)>,
}

impl Naive {
    fn usable(&self, one: u64, other: u64) -> bool {
        self.announced.contains(&(one, other)) && self.announced.contains(&(other, one))
    }

    /// By relaxation until nothing changes.
    fn distances(&self, from: u64) -> BTreeMap<u64, u64> {
        let mut distance = BTreeMap::from([(from, 0)]);
        loop {
            let mut next = distance.clone();
            for &(one, other) in &self.announced {
                if let Some(&hops) = distance.get(&one)
                    && self.usable(one, other)
                {
                    let known = next.entry(other).or_insert(hops + 1);
                    *known = (*known).min(hops + 1);
                }
            }
            if next == distance {
                return distance;
            }
            distance = next;
        }
    }

    /// Follows the lowest-addressed predecessor back.
    fn first_hop(&self, own: u64, to: u64, distance: &BTreeMap<u64, u64>) -> u64 {
        let mut at = to;
        loop {
            let before = self
                .nodes
                .iter()
                .find(|node| {
                    self.usable(**node, at)
                        && distance
                            .get(node)
                            .is_some_and(|hops| hops + 1 == distance[&at])
                })
                .unwrap();
            if *before == own {
                return at;
            }
            at = *before;
        }
    }

    /// Neighbours, the last learned first.
    fn neighbours(&self, own: u64) -> Vec<u64> {
        let ends = self.learned.iter().rev().filter_map(|(one, other)| {
            let far = if *one == own {
                *other
            } else if *other == own {
                *one
            } else {
                return None;
            };
            self.usable(own, far).then_some(far)
        });
        ends.collect()
    }

    fn table(&self, own: u64, policy: LinkStatePolicy) -> Table {
        let distance = self.distances(own);
        let reached = distance.keys().copied().filter(|node| *node != own);
        reached
            .map(|to| {
                let primary = self.first_hop(own, to, &distance);
                let others = self.neighbours(own).into_iter().filter(|&neighbour| {
                    let far = self.distances(neighbour)[&to];
                    match policy {
                        Simple => false,
                        Lfa => neighbour != to && neighbour != primary && far < 1 + distance[&to],
                        Ecmp => far + 1 == distance[&to],
                    }
                });
                let mut hops: Vec<u64> = others.collect();
                if policy != Ecmp {
                    hops.insert(0, primary);
                }
                (to, hops)
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Announcements come and go in any order; at the end all tables are those of the definitions.
    #[test]
    fn tables_are_those_of_the_definitions(
        steps in vec((any::<bool>(), 1..9_u64, 1..9_u64), 1..120),
    ) {
        let mut graph = Graph::new();
        let mut naive = Naive {
            nodes: (1..9).collect(),
            announced: BTreeSet::new(),
            learned: Vec::new(),
        };
        for (add, source, destination) in steps {
            if source == destination {
                continue;
            }
            let edge = (source.min(destination), source.max(destination));
            let before = naive.usable(source, destination);
            let changed = if add {
                naive.announced.insert((source, destination));
                if !naive.learned.contains(&edge) {
                    naive.learned.push(edge);
                }
                graph.announce(address(source), address(destination))
            } else {
                naive.announced.remove(&(source, destination));
                if !naive.announced.contains(&(destination, source)) {
                    naive.learned.retain(|known| *known != edge);
                }
                graph.withdraw(address(source), address(destination))
            };
            let usable = naive.usable(source, destination);
            prop_assert_eq!(changed, before != usable);
            prop_assert_eq!(graph.is_usable(address(destination), address(source)), usable);
        }
        prop_assert_eq!(graph.edges(), naive.learned.len());
        for own in 1..9 {
            for policy in [Simple, Lfa, Ecmp] {
                prop_assert_eq!(
                    table(&graph, own, policy),
                    naive.table(own, policy),
                    "own {} {:?}", own, policy
                );
            }
            let distance = naive.distances(own);
            let reached = graph.reached(address(own));
            for to in 1..9 {
                if to != own {
                    prop_assert_eq!(reached(address(to)), distance.contains_key(&to));
                }
            }
        }
    }
}
