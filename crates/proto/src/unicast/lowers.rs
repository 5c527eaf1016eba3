//! The N-1 flows of a node: asked for, being connected, and connected.

use std::{collections::BTreeMap, time::Instant};

use o7s_wire::{
    cep::Identity,
    dt::{Address, QosCube},
    name::Name,
    qos::QosSpec,
};

use super::{Component, Lower, Op, Request, Role};
use crate::enrollment::Enrollee;

/// N-1 flows that a node has at most.
pub(super) const LOWERS_MAX: usize = 4096;

/// What an N-1 flow was asked for.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// [`super::Command::Enroll`].
    Enroll { op: Op },
    /// [`super::Command::Connect`].
    Connect {
        op: Op,
        dst: Name,
        component: Component,
        qos: QosSpec,
    },
}

impl Wish {
    pub(super) fn op(&self) -> Op {
        match self {
            Self::Enroll { op } | Self::Connect { op, .. } => *op,
        }
    }
}

/// A wish for a connection that is there: the neighbour must say hello once more to prove it.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The data adjacency to the neighbour.
    pub(super) lower: Lower,
    pub(super) op: Op,
    pub(super) dst: Name,
    pub(super) component: Component,
    pub(super) qos: QosSpec,
}

/// What an N-1 flow is used for.
#[derive(Debug)]
pub(super) enum Use {
    /// This side connects a component.
    Connecting(Wish),
    /// The other side connects a component. The QoS is that of the flow.
    Accepting(QosSpec),
    /// This side enrolls.
    Enrolling { op: Op, enrollee: Enrollee },
    /// The other side enrolls.
    Enroller,
    /// Connected.
    Connected(Connection),
}

/// A connected component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) component: Component,
    pub(super) peer: Address,
    /// Name by which this side connected; none if the other side did.
    pub(super) dst: Option<Name>,
    pub(super) cube: QosCube,
    pub(super) since: Instant,
    /// Its N-1 flow does not work for now.
    pub(super) down: bool,
    /// Which of those to one name came last.
    pub(super) number: u64,
}

impl Connection {
    pub(super) fn role(&self) -> Role {
        match self.component {
            Component::Management => Role::Management,
            Component::Data => Role::Data {
                neighbour: self.peer,
                cube: self.cube,
            },
        }
    }
}

/// All N-1 flows of a node, and the requests for more.
#[derive(Debug, Default)]
pub(super) struct Lowers {
    pub(super) wishes: BTreeMap<Request, Wish>,
    pub(super) doubts: Vec<Doubt>,
    next_request: u64,
    pub(super) uses: BTreeMap<Lower, Use>,
    connections: u64,
}

impl Lowers {
    /// Notes a wish; the number of the request.
    pub(super) fn wish(&mut self, wish: Wish) -> Request {
        self.next_request += 1;
        let request = Request(self.next_request);
        self.wishes.insert(request, wish);
        request
    }

    /// The connection of a flow.
    pub(super) fn connection(&self, lower: Lower) -> Option<&Connection> {
        match self.uses.get(&lower) {
            Some(Use::Connected(connection)) => Some(connection),
            _ => None,
        }
    }

    /// All connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = (Lower, &Connection)> {
        self.uses.iter().filter_map(|(lower, used)| match used {
            Use::Connected(connection) => Some((*lower, connection)),
            _ => None,
        })
    }

    /// Makes a flow connected.
    pub(super) fn connect(&mut self, lower: Lower, mut connection: Connection) {
        self.connections += 1;
        connection.number = self.connections;
        self.uses.insert(lower, Use::Connected(connection));
    }

    /// Whether a connection works as far as this side can tell. Of management only the data adjacencies to
    /// the same neighbour can tell.
    pub(super) fn is_live(&self, connection: &Connection) -> bool {
        match connection.component {
            Component::Data => !connection.down,
            Component::Management => !self.is_silent(connection.peer),
        }
    }

    /// Whether there are data adjacencies to a neighbour, and all are down.
    pub(super) fn is_silent(&self, peer: Address) -> bool {
        let mut data = self
            .connections()
            .filter(|(_, it)| it.component == Component::Data && it.peer == peer)
            .peekable();
        data.peek().is_some() && data.all(|(_, it)| it.down)
    }

    /// Whether a connection to this name is being made, or looked at.
    pub(super) fn is_connecting(&self, to: &Name, of: Component) -> bool {
        let same = |wish: &Wish| matches!(wish, Wish::Connect { dst, component, .. } if dst == to && *component == of);
        let doubted = |doubt: &Doubt| doubt.dst == *to && doubt.component == of;
        self.doubts.iter().any(doubted)
            || self.wishes.values().any(same)
            || self
                .uses
                .values()
                .any(|used| matches!(used, Use::Connecting(wish) if same(wish)))
    }

    /// The data adjacencies that tell whether a connection works, but for those that are down.
    pub(super) fn witnesses(&self, lower: Lower) -> Vec<Lower> {
        let Some(connection) = self.connection(lower) else {
            return Vec::new();
        };
        if connection.component == Component::Data {
            return vec![lower];
        }
        self.connections()
            .filter(|(_, it)| {
                it.component == Component::Data && it.peer == connection.peer && !it.down
            })
            .map(|(lower, _)| lower)
            .collect()
    }

    /// The connections that were made to this name.
    pub(super) fn made(&self, dst: &Name, component: Component) -> Vec<Lower> {
        self.connections()
            .filter(|(_, it)| it.component == component && it.dst.as_ref() == Some(dst))
            .map(|(lower, _)| lower)
            .collect()
    }

    /// The connection of a flow, to be changed.
    pub(super) fn connection_mut(&mut self, lower: Lower) -> Option<&mut Connection> {
        match self.uses.get_mut(&lower) {
            Some(Use::Connected(connection)) => Some(connection),
            _ => None,
        }
    }

    /// The latest connection that was made to this name.
    pub(super) fn latest(&self, dst: &Name, component: Component) -> Option<Lower> {
        self.connections()
            .filter(|(_, it)| it.component == component && it.dst.as_ref() == Some(dst))
            .max_by_key(|(_, it)| it.number)
            .map(|(lower, _)| lower)
    }

    /// The request or flow of an operation.
    pub(super) fn of_operation(&self, op: Op) -> (Option<Request>, Option<Lower>) {
        let request = self.wishes.iter().find(|(_, wish)| wish.op() == op);
        let lower = self.uses.iter().find(|(_, used)| match used {
            Use::Connecting(wish) => wish.op() == op,
            Use::Enrolling { op: enrolls, .. } => *enrolls == op,
            _ => false,
        });
        (
            request.map(|(request, _)| *request),
            lower.map(|(lower, _)| *lower),
        )
    }
}

/// The component with this identity.
pub(super) fn component(identity: &Identity) -> Option<Component> {
    if *identity == Identity::UNICAST_DATA {
        Some(Component::Data)
    } else if *identity == Identity::MANAGEMENT {
        Some(Component::Management)
    } else {
        None
    }
}

impl Component {
    /// How it introduces itself.
    #[must_use]
    pub fn identity(self) -> Identity {
        match self {
            Self::Data => Identity::UNICAST_DATA,
            Self::Management => Identity::MANAGEMENT,
        }
    }

    /// The component with this full name (`spec/directory-enrollment.md` §3.6).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Data, Self::Management]
            .into_iter()
            .find(|component| component.identity().component == name)
    }
}
