//! What a node says to its driver.

use o7s_wire::{
    dt::{Eid, QosCube},
    enroll::LayerConfig,
    hash::NameHash,
    name::Name,
    qos::QosSpec,
};

use super::{Address, Lower, Op, Request};

/// What the driver is to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// An operation is over.
    Done {
        /// Its number.
        op: Op,
        /// How it ended.
        outcome: Result<Outcome, NodeError>,
    },
    /// The node is a member: what the data path must know. Comes before anything that needs it.
    Started {
        /// Own address.
        address: Address,
        /// The layer.
        config: LayerConfig,
    },
    /// Allocate an N-1 flow; answered by [`super::Node::lower_allocated`].
    AllocateLower {
        /// Number of the request.
        request: Request,
        /// Name of the destination.
        dst: Name,
        /// QoS.
        qos: QosSpec,
    },
    /// The request is given up; a flow that comes of it is to be deallocated, without another word.
    CancelLower {
        /// Number of the request.
        request: Request,
    },
    /// Deallocate an N-1 flow, after what was sent on it; its number is free.
    DeallocateLower {
        /// The flow.
        lower: Lower,
    },
    /// Where packets of this N-1 flow go from now on.
    Role {
        /// The flow.
        lower: Lower,
        /// Its role.
        role: Role,
    },
    /// Send a packet on an N-1 flow as it is.
    SendOnLower {
        /// The flow.
        lower: Lower,
        /// The packet.
        packet: Vec<u8>,
    },
    /// A packet that [`super::Node::lower_packet`] got is one of the data path: to be treated as one that
    /// arrives there.
    Arrived {
        /// The N-1 flow.
        lower: Lower,
        /// The packet.
        packet: Vec<u8>,
    },
    /// Send a DT packet of a component.
    SendDt {
        /// Destination.
        dst: Address,
        /// QoS cube.
        cube: QosCube,
        /// EID at the destination.
        eid: Eid,
        /// Payload.
        payload: Vec<u8>,
    },
    /// A flow request left: packets for this flow may arrive.
    FlowOpened {
        /// Operation that asked for the flow.
        op: Op,
        /// The flow.
        flow: Eid,
    },
    /// Packets of this flow may be sent, to `remote`.
    FlowUp {
        /// The flow.
        flow: Eid,
        /// Address of the other end.
        remote: Address,
        /// EID at the other end.
        remote_eid: Eid,
    },
    /// A flow request arrived; answered by [`super::Command::Respond`].
    FlowRequest(FlowRequest),
    /// The flow's request is over, without answer in time: forget it.
    FlowExpired {
        /// The flow.
        flow: Eid,
    },
    /// The receiver of this flow reports congestion.
    Congestion {
        /// The flow.
        flow: Eid,
        /// Level, 32 times the average mark.
        ece: u16,
    },
}

/// Role of an N-1 flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is being connected, or enrollment goes on.
    Setup,
    /// Link-state messages.
    Management,
    /// Data.
    Data {
        /// Address of the neighbour.
        neighbour: Address,
        /// QoS cube of the flow.
        cube: QosCube,
    },
}

/// Success of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing to add.
    Done,
    /// Bootstrapped or enrolled: member of this layer.
    Joined(LayerConfig),
    /// The flow is allocated.
    Allocated {
        /// The flow.
        flow: Eid,
        /// Piggybacked data of the answer.
        data: Vec<u8>,
    },
}

/// A flow request that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRequest {
    /// The flow.
    pub flow: Eid,
    /// Hash of the destination.
    pub hash: NameHash,
    /// Requested QoS.
    pub qos: QosSpec,
    /// Piggybacked data.
    pub data: Vec<u8>,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Given up by the driver.
    #[error("the operation was given up")]
    Cancelled,
    /// The node is a member already, or not yet.
    #[error("{0}")]
    State(&'static str),
    /// No address is known for the name.
    #[error("no member of the layer has the name registered")]
    Unreachable,
    /// The other end refused the flow.
    #[error("the other end refused the flow (error {0})")]
    Refused(i32),
    /// No answer came.
    #[error("no answer in time: {0}")]
    TimedOut(&'static str),
    /// No N-1 flow.
    #[error("no N-1 flow: {0}")]
    Lower(String),
    /// The peer did what it must not.
    #[error("{0}")]
    Peer(String),
    /// A configuration that cannot be.
    #[error("{0}")]
    Config(String),
    /// A table is full.
    #[error("{0}")]
    Full(&'static str),
}

/// What there is to know about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Own address.
    pub address: Option<Address>,
}
