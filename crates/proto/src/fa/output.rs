//! What a flow allocator says: outputs, outcomes, counters.

use std::time::Duration;

use o7s_wire::{
    dt::{Address, Eid, QosCube},
    fa::FaError,
    qos::QosSpec,
};

/// What the driver is to do, in this order. A flow is named by its own EID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message to the flow allocator of another member. If that fails at once and the message is
    /// about a flow, say so by [`super::FlowAllocator::undeliverable`].
    Send {
        /// The member.
        destination: Address,
        /// Class of the packet.
        cube: QosCube,
        /// The message.
        message: Vec<u8>,
        /// The flow that does not come about without it.
        flow: Option<Eid>,
    },
    /// A request arrived: ask the daemon, and tell its answer by [`super::FlowAllocator::respond`].
    Requested {
        /// The flow, if it is accepted.
        flow: Eid,
        /// Who asks, as the message says.
        peer: Address,
        /// Hash of the name that is asked for; has the right length.
        hash: Vec<u8>,
        /// Quality of service.
        qos: QosSpec,
        /// For the daemon.
        data: Vec<u8>,
    },
    /// Nobody answered this request in time: it is refused, forget it.
    Expired {
        /// The flow that it would have been.
        flow: Eid,
    },
    /// Packets may arrive for this flow.
    Opened {
        /// The flow.
        flow: Eid,
    },
    /// A request of this node was accepted; [`Output::Up`] follows.
    Granted {
        /// The flow.
        flow: Eid,
        /// For the daemon.
        data: Vec<u8>,
    },
    /// A request of this node came to nothing; [`Output::Closed`] follows.
    Refused {
        /// The flow that it would have been.
        flow: Eid,
        /// Why.
        reason: Refusal,
        /// For the daemon; 0.23 sends none.
        data: Vec<u8>,
    },
    /// Packets of this flow may be sent.
    Up {
        /// The flow.
        flow: Eid,
        /// Address of the other end.
        peer: Address,
        /// EID of the other end.
        peer_eid: Eid,
        /// Class of its packets.
        cube: QosCube,
        /// How long the answer to the request of this node took: at least as long as a packet there and
        /// one back. None: the request was the other end's.
        answer: Option<Duration>,
    },
    /// The flow was opened and is over: no packet of it is sent or taken any more.
    Closed {
        /// The flow.
        flow: Eid,
    },
    /// The other end reports congestion: to the flow's [`crate::congestion::Sender`].
    Congestion {
        /// The flow.
        flow: Eid,
        /// Level.
        level: u16,
    },
}

/// Why a request of this node came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The other end refused, with this error number (below 0).
    #[error("the other end refused the flow (error {0})")]
    Peer(i32),
    /// No reply came. 0.23 leaves requests that it does not want unanswered.
    #[error(
        "the other end did not answer in time; it may be gone, or nobody there accepts flows to this name"
    )]
    TimedOut,
    /// The request could not be sent.
    #[error(
        "there is no way to the member that has the name; wait for routing, or connect more members"
    )]
    NoPath,
}

impl Refusal {
    /// The error number for the daemon, below 0.
    #[must_use]
    pub const fn response(self) -> i32 {
        match self {
            Self::Peer(response) => response,
            Self::TimedOut => super::TIMED_OUT,
            Self::NoPath => super::FAILED,
        }
    }
}

/// Why a request cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// The name is at this member.
    #[error("the name is registered by this member itself; its flows do not go through the layer")]
    Own,
    /// What the directory gave is no address.
    #[error("the directory gave {0}, which is no address of this layer")]
    Address(Address),
    /// Not a hash of this layer.
    #[error("a hash of this layer has {need} bytes, got {got}")]
    Hash {
        /// Length of the layer's hashes.
        need: usize,
        /// Length of this one.
        got: usize,
    },
    /// No more flows.
    #[error("all {0} flows of this member are in use; deallocate some")]
    Full(usize),
    /// The message would be too long.
    #[error(transparent)]
    Message(#[from] FaError),
}

/// Why a request cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// It expired, was given up, or was answered before.
    #[error(
        "there is no request for flow {0} any more; it was answered, given up, or waited too long"
    )]
    Unknown(Eid),
    /// The reply would be too long; the request was refused.
    #[error(transparent)]
    Message(#[from] FaError),
}

/// What happened to messages. They wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests that arrived, good or not.
    pub requests: u64,
    /// Messages that are none.
    pub malformed: u64,
    /// Requests and replies with addresses or EIDs that nobody can have.
    pub impossible: u64,
    /// Copies of requests that are known.
    pub copies: u64,
    /// Requests refused since there were too many.
    pub too_many: u64,
    /// Refusals sent, for any reason.
    pub refusals_sent: u64,
    /// Replies to nothing.
    pub unknown_replies: u64,
    /// Updates for no active flow.
    pub unknown_updates: u64,
    /// Updates sent.
    pub updates_sent: u64,
    /// Updates for active flows.
    pub updates_received: u64,
}
