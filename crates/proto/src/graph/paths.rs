//! Shortest paths, loop-free alternates and equal-cost paths (`spec/unicast.md` §5.2 to §5.4).
//!
//! All links cost 1, so breadth-first search does.

use o7s_wire::{address::Address, enroll::LinkStatePolicy};

use super::{Graph, NodeId};
use crate::forwarding::Route;

const UNREACHED: u32 = u32::MAX;

/// Shortest paths from one node.
struct Search {
    /// Distance of each node.
    distance: Vec<u32>,
    /// Reached nodes, the own one first, by distance and then address.
    settled: Vec<NodeId>,
    /// First hop to each reached node other than the own one.
    first: Vec<NodeId>,
}

impl Graph {
    /// Next hops from `own` to all that it reaches, by the policy of the layer; the own address is no
    /// destination.
    #[must_use]
    pub fn routes(&self, own: Address, policy: LinkStatePolicy) -> Vec<Route> {
        let Some(&own) = self.ids.get(&own) else {
            return Vec::new();
        };
        let search = self.search(own);
        match policy {
            LinkStatePolicy::Simple => self.simple(&search),
            LinkStatePolicy::Lfa => self.alternates(own, &search),
            LinkStatePolicy::Ecmp => self.equal_cost(own, &search),
        }
    }

    /// Whether each node is reached from `own`.
    pub fn reached(&self, own: Address) -> impl Fn(Address) -> bool + use<'_> {
        let distance = self.ids.get(&own).map(|own| self.distances(*own));
        move |address| {
            let (Some(distance), Some(id)) = (&distance, self.ids.get(&address)) else {
                return false;
            };
            distance[*id as usize] != UNREACHED
        }
    }

    fn neighbours(&self, id: NodeId) -> impl DoubleEndedIterator<Item = NodeId> + '_ {
        let usable = &self.nodes[id as usize].usable;
        usable.iter().map(|(_, far)| *far)
    }

    fn address(&self, id: NodeId) -> Address {
        self.nodes[id as usize].address
    }

    /// A node keeps the first predecessor that reaches it; those of one distance come by address.
    fn search(&self, own: NodeId) -> Search {
        let mut distance = vec![UNREACHED; self.nodes.len()];
        let mut first = vec![own; self.nodes.len()];
        let mut settled = vec![own];
        distance[own as usize] = 0;
        let (mut level, mut hops) = (0, 0);
        while level < settled.len() {
            let end = settled.len();
            settled[level..end].sort_unstable_by_key(|id| self.address(*id));
            hops += 1;
            for at in level..end {
                let node = settled[at];
                for far in self.neighbours(node) {
                    if distance[far as usize] == UNREACHED {
                        distance[far as usize] = hops;
                        first[far as usize] = if node == own {
                            far
                        } else {
                            first[node as usize]
                        };
                        settled.push(far);
                    }
                }
            }
            level = end;
        }
        Search {
            distance,
            settled,
            first,
        }
    }

    fn distances(&self, from: NodeId) -> Vec<u32> {
        let mut distance = vec![UNREACHED; self.nodes.len()];
        let mut reached = vec![from];
        distance[from as usize] = 0;
        let mut at = 0;
        while let Some(&node) = reached.get(at) {
            at += 1;
            for far in self.neighbours(node) {
                if distance[far as usize] == UNREACHED {
                    distance[far as usize] = distance[node as usize] + 1;
                    reached.push(far);
                }
            }
        }
        distance
    }

    fn simple(&self, search: &Search) -> Vec<Route> {
        let reached = search.settled.iter().skip(1);
        reached
            .map(|&id| Route {
                destination: self.address(id),
                next_hops: vec![self.address(search.first[id as usize])],
            })
            .collect()
    }

    /// The primary, then each other neighbour that is nearer to the destination than the way back over
    /// the own node, the last learned one first.
    fn alternates(&self, own: NodeId, search: &Search) -> Vec<Route> {
        let mut routes = self.simple(search);
        for neighbour in self.neighbours(own).rev() {
            let distance = self.distances(neighbour);
            for (route, &id) in routes.iter_mut().zip(&search.settled[1..]) {
                let known = id == neighbour || search.first[id as usize] == neighbour;
                // Both reach the own node, so both distances are finite.
                if !known && distance[id as usize] <= search.distance[id as usize] {
                    route.next_hops.push(self.address(neighbour));
                }
            }
        }
        routes
    }

    /// All neighbours on shortest paths, the last learned one first.
    fn equal_cost(&self, own: NodeId, search: &Search) -> Vec<Route> {
        let neighbours: Vec<NodeId> = self.neighbours(own).rev().collect();
        let words = neighbours.len().div_ceil(64);
        // For each node a set of first hops.
        let mut sets = vec![0_u64; words * self.nodes.len()];
        for (bit, &neighbour) in neighbours.iter().enumerate() {
            sets[neighbour as usize * words + bit / 64] |= 1 << (bit % 64);
        }
        for &node in search.settled.iter().skip(1) {
            let hops = search.distance[node as usize];
            for far in self.neighbours(node) {
                if search.distance[far as usize] == hops + 1 {
                    for word in 0..words {
                        sets[far as usize * words + word] |= sets[node as usize * words + word];
                    }
                }
            }
        }
        let reached = search.settled.iter().skip(1);
        reached
            .map(|&id| {
                let set = &sets[id as usize * words..][..words];
                let next_hops = neighbours
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| set[bit / 64] >> (bit % 64) & 1 == 1)
                    .map(|(_, neighbour)| self.address(*neighbour))
                    .collect();
                Route {
                    destination: self.address(id),
                    next_hops,
                }
            })
            .collect()
    }
}
