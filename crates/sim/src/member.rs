//! One member: the node and the data transfer that the daemon has, and its end of each N-1 flow.

use std::collections::BTreeMap;

use o7s_proto::{
    dt::{self, Dt},
    forwarding::FlowToken,
    unicast::{Lower, Node, NodeError, Op, Outcome, Role, Settings},
};
use o7s_wire::dt::Address;
use o7s_wire::enroll::{Layer, LayerConfig};

use crate::agenda::Time;

/// An end of an N-1 flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The link that carries it.
    pub(crate) link: usize,
    /// The member at the other end, and its number of the flow.
    pub(crate) peer: usize,
    pub(crate) far: Lower,
    pub(crate) role: Role,
}

/// What a member is about to do of what everybody does at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits until a neighbour is a member.
    Outside,
    /// Enrolls.
    Enrolling(Op),
    /// Is a member.
    Inside,
}

/// A member that runs.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) dt: Option<Dt>,
    pub(crate) ends: BTreeMap<Lower, End>,
    next_lower: u32,
    pub(crate) stage: Stage,
    /// The deadline that is planned.
    pub(crate) timer: Option<Time>,
    /// Outcomes of operations that were asked for from outside.
    pub(crate) done: BTreeMap<Op, Result<Outcome, NodeError>>,
    /// Connections that are being made: the link, and which of the two.
    pub(crate) connecting: BTreeMap<Op, (usize, bool)>,
    /// Counts up with each start of this member: what is on its way to an earlier one is dropped.
    pub(crate) life: u32,
}

impl Member {
    pub(crate) fn new(settings: Settings, now: std::time::Instant, life: u32) -> Self {
        Self {
            node: Node::new(settings, now),
            dt: None,
            ends: BTreeMap::new(),
            next_lower: 0,
            stage: Stage::Outside,
            timer: None,
            done: BTreeMap::new(),
            connecting: BTreeMap::new(),
            life,
        }
    }

    pub(crate) fn new_lower(&mut self) -> Lower {
        // The data path keeps arrays by this number: small ones are used again.
        while self.ends.contains_key(&Lower(self.next_lower)) {
            self.next_lower += 1;
        }
        let lower = Lower(self.next_lower);
        self.next_lower += 1;
        lower
    }

    pub(crate) fn start(&mut self, address: Address, config: &LayerConfig) {
        if let Layer::Unicast(unicast) = &config.layer {
            self.dt = Some(Dt::new(dt::Config {
                max_ttl: unicast.dt.max_ttl,
                ..dt::Config::new(address)
            }));
        }
    }

    pub(crate) fn set_role(&mut self, lower: Lower, role: Role) {
        if let Some(end) = self.ends.get_mut(&lower) {
            end.role = role;
            if let (Role::Data { cube, .. }, Some(dt)) = (role, &mut self.dt) {
                dt.add_flow(FlowToken(lower.0), cube);
            }
        }
    }

    pub(crate) fn remove(&mut self, lower: Lower) -> Option<End> {
        let end = self.ends.remove(&lower)?;
        if let (Role::Data { .. }, Some(dt)) = (end.role, &mut self.dt) {
            dt.remove_flow(FlowToken(lower.0));
        }
        Some(end)
    }
}
