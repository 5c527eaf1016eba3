//! What a driver says to a node.

use o7s_wire::{dt::Eid, enroll::LayerConfig, hash::NameHash, name::Name, qos::QosSpec};

/// Number of an operation, chosen by the driver, unique among those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u64);

/// Number of an N-1 flow, chosen by the driver: small, unique among those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lower(pub u32);

/// Number of a request for an N-1 flow, chosen by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u64);

/// A component that is connected by command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// `Data Transfer`.
    Data,
    /// `Management`: link state.
    Management,
}

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Starts a layer. Outcome: [`super::Outcome::Joined`].
    Bootstrap {
        /// Number of the operation.
        op: Op,
        /// The layer.
        config: LayerConfig,
    },
    /// Becomes a member of the layer of `dst`. Outcome: [`super::Outcome::Joined`].
    Enroll {
        /// Number of the operation.
        op: Op,
        /// Name of a member.
        dst: Name,
    },
    /// Connects a component to that of a neighbour.
    Connect {
        /// Number of the operation.
        op: Op,
        /// Name of the neighbour.
        dst: Name,
        /// The component.
        component: Component,
        /// QoS of the N-1 flow.
        qos: QosSpec,
    },
    /// Ends the latest connection that [`Command::Connect`] made to `dst`; none is a success.
    Disconnect {
        /// Number of the operation.
        op: Op,
        /// Name of the neighbour.
        dst: Name,
        /// The component.
        component: Component,
    },
    /// Adds a name to the directory.
    Register {
        /// Number of the operation.
        op: Op,
        /// Its hash.
        hash: NameHash,
    },
    /// Takes a name out of the directory.
    Unregister {
        /// Number of the operation.
        op: Op,
        /// Its hash.
        hash: NameHash,
    },
    /// Whether a name is reachable.
    Query {
        /// Number of the operation.
        op: Op,
        /// Its hash.
        hash: NameHash,
    },
    /// Asks for a flow. A user flow is named by its own EID: 64 or more, unpredictable, not used again. [`super::Output::FlowOpened`] comes when the request leaves, the outcome
    /// [`super::Outcome::Allocated`] with the answer.
    Alloc {
        /// Number of the operation.
        op: Op,
        /// Hash of the destination.
        hash: NameHash,
        /// Requested QoS.
        qos: QosSpec,
        /// Piggybacked data (OAP), carried unread.
        data: Vec<u8>,
    },
    /// Gives an operation up that is under way: its outcome is [`super::NodeError::Cancelled`].
    Cancel {
        /// The operation.
        op: Op,
    },
    /// Answers a flow request that arrived.
    Respond {
        /// The flow of the request.
        flow: Eid,
        /// 0 = accepted; negative = refused with this error number.
        response: i32,
        /// Piggybacked data.
        data: Vec<u8>,
    },
    /// Ends a user flow, or an arrived request, without telling anybody.
    Dealloc {
        /// The flow.
        flow: Eid,
    },
    /// The receiver of a flow has a level of congestion to report
    /// ([`crate::congestion::Receiver::packet`]).
    Report {
        /// The flow.
        flow: Eid,
        /// The level.
        level: u16,
    },
}

impl Command {
    /// The number of the operation, if it has an outcome.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        match self {
            Self::Bootstrap { op, .. }
            | Self::Enroll { op, .. }
            | Self::Connect { op, .. }
            | Self::Disconnect { op, .. }
            | Self::Register { op, .. }
            | Self::Unregister { op, .. }
            | Self::Query { op, .. }
            | Self::Alloc { op, .. } => Some(*op),
            Self::Cancel { .. }
            | Self::Respond { .. }
            | Self::Dealloc { .. }
            | Self::Report { .. } => None,
        }
    }
}

/// Why there is no N-1 flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LowerError(pub String);

/// What happens to an N-1 flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerEvent {
    /// It works again.
    Up,
    /// It does not work for now.
    Down,
    /// It is gone: deallocated by the other end, its end died or timed out. The number is free.
    Gone,
}
