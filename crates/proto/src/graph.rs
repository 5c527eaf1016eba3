//! The graph of a unicast layer and the next hops that follow from it (`spec/unicast.md` §5).
//!
//! A link is announced by each end for itself and is usable when both do. All links cost 1.
//!
//! Adding and removing an announcement costs O(log E), a table of next hops O(E + V log V); with
//! loop-free alternates that for each neighbour of the own node, with equal-cost paths
//! [`DEGREE_MAX`] / 64 times that at worst.

mod paths;

use std::collections::BTreeMap;

use o7s_wire::address::Address;

/// Usable links of one node. 0.23 has no more flows in a process; further ones are not used.
pub const DEGREE_MAX: usize = 4096;

/// Index of a node in [`Graph::nodes`].
type NodeId = u32;

/// What is announced of the link between two nodes.
#[derive(Debug, Clone, Copy)]
struct Edge {
    /// Number of the announcement that made the edge: the order in which edges were learned.
    learned: u64,
    /// [`FROM_LOW`] and [`FROM_HIGH`].
    sides: u8,
}

/// Announced by the end with the lower id, by that with the higher one.
const FROM_LOW: u8 = 1;
const FROM_HIGH: u8 = 2;
const BOTH: u8 = FROM_LOW | FROM_HIGH;

#[derive(Debug, Clone)]
struct Node {
    address: Address,
    /// Edges of any kind; the node goes with the last.
    edges: u32,
    /// Far ends of usable edges, in the order in which they were learned.
    usable: Vec<(u64, NodeId)>,
}

/// Which nodes announce links to which.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    ids: BTreeMap<Address, NodeId>,
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// By the lower and the higher id of the ends.
    edges: BTreeMap<(NodeId, NodeId), Edge>,
    learned: u64,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nodes that announce a link or to which one is announced.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.ids.len()
    }

    /// Pairs of nodes with a link, usable or not.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// `source` announces its link to `destination`. Whether that makes a link usable.
    pub fn announce(&mut self, source: Address, destination: Address) -> bool {
        if source == destination {
            return false;
        }
        let (source, destination) = (self.intern(source), self.intern(destination));
        let (key, side) = edge_key(source, destination);
        self.learned += 1;
        let learned = self.learned;
        let edge = self.edges.entry(key).or_insert(Edge { learned, sides: 0 });
        let before = edge.sides;
        edge.sides |= side;
        let edge = *edge;
        if before == 0 {
            self.nodes[source as usize].edges += 1;
            self.nodes[destination as usize].edges += 1;
        }
        before != BOTH && edge.sides == BOTH && self.join(edge.learned, source, destination)
    }

    /// `source` takes its announcement back. Whether that makes a link unusable.
    pub fn withdraw(&mut self, source: Address, destination: Address) -> bool {
        let (Some(&source), Some(&destination)) =
            (self.ids.get(&source), self.ids.get(&destination))
        else {
            return false;
        };
        let (key, side) = edge_key(source, destination);
        let Some(edge) = self.edges.get_mut(&key) else {
            return false;
        };
        let before = edge.sides;
        edge.sides &= !side;
        let edge = *edge;
        let changed =
            before == BOTH && edge.sides != BOTH && self.part(edge.learned, source, destination);
        if edge.sides == 0 {
            self.edges.remove(&key);
            self.release(source);
            self.release(destination);
        }
        changed
    }

    /// Whether the link between the two is usable.
    #[must_use]
    pub fn is_usable(&self, one: Address, other: Address) -> bool {
        let (Some(&one), Some(&other)) = (self.ids.get(&one), self.ids.get(&other)) else {
            return false;
        };
        let edge = self.edges.get(&edge_key(one, other).0);
        edge.is_some_and(|edge| {
            self.nodes[one as usize]
                .usable
                .binary_search_by_key(&edge.learned, |(learned, _)| *learned)
                .is_ok()
        })
    }

    fn intern(&mut self, address: Address) -> NodeId {
        if let Some(&id) = self.ids.get(&address) {
            return id;
        }
        let node = Node {
            address,
            edges: 0,
            usable: Vec::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId::try_from(self.nodes.len() - 1).expect("announcements are bounded")
            }
        };
        self.ids.insert(address, id);
        id
    }

    fn release(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        node.edges -= 1;
        if node.edges == 0 {
            node.usable = Vec::new();
            self.ids.remove(&node.address);
            self.free.push(id);
        }
    }

    /// Makes an edge usable, if both ends have room.
    fn join(&mut self, learned: u64, one: NodeId, other: NodeId) -> bool {
        let full = |id: NodeId| self.nodes[id as usize].usable.len() >= DEGREE_MAX;
        if full(one) || full(other) {
            return false;
        }
        for (id, far) in [(one, other), (other, one)] {
            let usable = &mut self.nodes[id as usize].usable;
            let at = usable.partition_point(|(known, _)| *known < learned);
            usable.insert(at, (learned, far));
        }
        true
    }

    fn part(&mut self, learned: u64, one: NodeId, other: NodeId) -> bool {
        let mut changed = false;
        for id in [one, other] {
            let usable = &mut self.nodes[id as usize].usable;
            if let Ok(at) = usable.binary_search_by_key(&learned, |(known, _)| *known) {
                usable.remove(at);
                changed = true;
            }
        }
        changed
    }
}

/// Key of the edge between two nodes, and the side from which `source` announces it.
fn edge_key(source: NodeId, destination: NodeId) -> ((NodeId, NodeId), u8) {
    if source < destination {
        ((source, destination), FROM_LOW)
    } else {
        ((destination, source), FROM_HIGH)
    }
}

#[cfg(test)]
mod tests;
