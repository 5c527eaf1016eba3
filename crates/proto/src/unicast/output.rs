//! What a node says to its driver.

use std::{sync::Arc, time::Duration};

use o7s_wire::{
    dt::{Eid, QosCube},
    enroll::LayerConfig,
    hash::NameHash,
    name::Name,
    qos::QosSpec,
};

use crate::forwarding::Table;

use super::{Address, Component, Lower, Op, Request};

/// What the driver is to do, in this order.
#[derive(Debug, Clone)]
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
    /// Packets take another way than this N-1 flow, or may take it again.
    LowerDown {
        /// The flow.
        lower: Lower,
        /// Whether it is down.
        down: bool,
    },
    /// A connection that [`super::Command::Connect`] made is over, or its neighbour dead as it seems; not by
    /// [`super::Command::Disconnect`]. It can be made anew.
    Parted {
        /// Name of the neighbour.
        dst: Name,
        /// The component.
        component: Component,
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
        /// The user flow that does not come about without it, if any; for [`super::Node::unsent`].
        flow: Option<Eid>,
    },
    /// The forwarding table from now on: to be given to the data path as it is.
    Table(Arc<Table>),
    /// Packets for this flow may arrive, before anything about it is sent.
    FlowOpened {
        /// Operation that asked for the flow; none if it was asked for from elsewhere.
        op: Option<Op>,
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
        /// Class of its packets.
        cube: QosCube,
        /// How long the answer to the request of this node took, for
        /// [`crate::congestion::Sender::answer_takes`]; none if the request was the other end's.
        answer: Option<Duration>,
    },
    /// The flow was opened and is over: no packet of it is sent or taken any more.
    FlowClosed {
        /// The flow.
        flow: Eid,
    },
    /// A flow request arrived; answered by [`super::Command::Respond`].
    FlowRequest(FlowRequest),
    /// Nobody answered the request for this flow in time, or the answer could not be sent: forget it.
    FlowExpired {
        /// The flow.
        flow: Eid,
    },
    /// The receiver of this flow reports congestion.
    Congestion {
        /// The flow.
        flow: Eid,
        /// Level, 32 times the average mark.
        level: u16,
    },
    /// Something for the log.
    Warning(String),
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
    /// Who asks, as the request says.
    pub peer: Address,
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
    /// The component is connected to the neighbour, which is what was wanted.
    #[error("{component} is connected to {dst:?} already; disconnect it first to connect it anew")]
    Connected {
        /// Name of the component.
        component: &'static str,
        /// Name of the neighbour.
        dst: String,
    },
    /// No address is known for the name.
    #[error("no member of the layer has the name registered")]
    Unreachable,
    /// The flow was refused, or nobody answered.
    #[error(transparent)]
    Refused(#[from] crate::fa::Refusal),
    /// The other IPCP went away.
    #[error("{0}")]
    Left(&'static str),
    /// No N-1 flow.
    #[error("no N-1 flow: {0}")]
    Lower(String),
    /// The peer did what it must not.
    #[error("{0}")]
    Peer(String),
    /// A configuration that cannot be.
    #[error("{0}")]
    Config(String),
    /// The directory refused.
    #[error(transparent)]
    Directory(#[from] crate::dht::CommandError),
    /// The flow allocator refused.
    #[error(transparent)]
    Alloc(#[from] crate::fa::AllocError),
    /// A table is full.
    #[error("{0}")]
    Full(&'static str),
}
