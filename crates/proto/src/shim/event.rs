//! What a machine tells its driver, and why it refuses.

use std::time::Duration;

use o7s_wire::{hash::NameHash, qos::QosSpec};

use super::{Address, Path};

/// A flow of this machine; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey(pub u64);

/// A query of the driver; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub u64);

/// A request of a stranger; chosen by the machine, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub u64);

/// What the driver should know or do. Take all events before the frames that are to be sent: a flow is up
/// before the peer hears of it (defect 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer to [`Shim::query`](super::Shim::query).
    QueryResult {
        /// The query.
        query: QueryKey,
        /// Whether the name is reachable.
        result: Result<(), QueryError>,
    },
    /// UDP: find the addresses of a name ([`host_name`](super::host_name)) and give them to
    /// [`Shim::resolved`](super::Shim::resolved), also when there are none.
    Resolve {
        /// The hash of the name.
        hash: NameHash,
    },
    /// A stranger asks for a flow to a name of ours; answer with
    /// [`Shim::respond`](super::Shim::respond).
    RequestArrived {
        /// The request.
        request: RequestKey,
        /// Hash of the name.
        hash: NameHash,
        /// Quality of service.
        qos: QosSpec,
        /// OAP.
        piggyback: Vec<u8>,
    },
    /// A request was not answered in time, or its sender has gone over to another: forget it.
    RequestGone {
        /// The request.
        request: RequestKey,
    },
    /// From now on packets go and come on this path. Comes before `Granted`, and before the reply leaves.
    FlowUp {
        /// The flow.
        flow: FlowKey,
        /// Its path.
        path: Path,
    },
    /// The answer to [`Shim::alloc`](super::Shim::alloc): accepted.
    Granted {
        /// The flow.
        flow: FlowKey,
        /// OAP.
        piggyback: Vec<u8>,
    },
    /// The answer to [`Shim::alloc`](super::Shim::alloc): no. The flow is over.
    Refused {
        /// The flow.
        flow: FlowKey,
        /// Why.
        reason: Refusal,
    },
    /// A packet that arrived before the answer to our request; give it to the flow, after `FlowUp`.
    Early {
        /// The flow.
        flow: FlowKey,
        /// The packet, which may be empty.
        packet: Vec<u8>,
    },
    /// The flow is over: take its path away.
    FlowDown {
        /// The flow.
        flow: FlowKey,
        /// Why.
        reason: DownReason,
    },
    /// The link went down or came up: flows refuse packets with `EFLOWDOWN` meanwhile, and survive.
    Link {
        /// Whether packets go.
        up: bool,
    },
    /// The largest packet has changed.
    MaxPayload {
        /// Bytes.
        bytes: usize,
    },
}

/// Why a name is not reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nobody answered within the time of the query.
    #[error(
        "nobody on the network answered for the name within {0:?}; is it registered in the layer?"
    )]
    Silence(Duration),
    /// The resolver knows no address.
    #[error("the name has no address; publish it in DNS or put its hash into the hosts file")]
    NoAddress,
    /// The link is down.
    #[error("the link is down; check the cable and the interface")]
    LinkDown,
    /// Too many queries are under way.
    #[error("{0} queries are under way, which is the limit; try again later")]
    TooMany(usize),
    /// The hash is not of this layer.
    #[error("hashes of this layer have {need} bytes, got {got}")]
    HashLen {
        /// Bytes in this layer.
        need: usize,
        /// Bytes given.
        got: usize,
    },
}

/// Why a flow is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other side said no; a negative error number.
    #[error("the other side refused the flow with error {0}")]
    Peer(i32),
    /// Nobody has the name.
    #[error("the name was not found: {0}")]
    Name(#[from] QueryError),
    /// No answer: the other side is gone, has nobody who accepts, or is one of 0.23, which does not say so.
    #[error(
        "{name} did not answer the request within {after:?}",
        name = "the other side"
    )]
    Silence {
        /// How long.
        after: Duration,
    },
    /// Nobody is there: the network said so.
    #[error(
        "nobody listens at {0}, where the name should be; is that node up, and its IPCP in this layer?"
    )]
    Unreachable(Address),
    /// The answer makes no flow: it names no endpoint.
    #[error("the other side accepted the flow without an endpoint")]
    NoPeerEndpoint,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The hash is not of this layer.
    #[error("hashes of this layer have {need} bytes, got {got}")]
    HashLen {
        /// Bytes in this layer.
        need: usize,
        /// Bytes given.
        got: usize,
    },
    /// The message does not fit: there is no fragmentation of management messages (trap 27).
    #[error(
        "the allocation message has {len} bytes, but {max} is the most that this network and its peers \
         take; use smaller certificates or keys"
    )]
    TooLarge {
        /// Bytes of the message.
        len: usize,
        /// Most bytes.
        max: usize,
    },
    /// All endpoints are in use or rest.
    #[error("all {0} endpoints of this layer are in use; close flows, or use another layer")]
    NoEndpoint(usize),
    /// A limit was reached.
    #[error("{0} of them is the limit of this layer")]
    TooMany(usize),
    /// The link is down.
    #[error("the link is down; check the cable and the interface")]
    LinkDown,
    /// The flow exists already.
    #[error("flow {0:?} exists already")]
    FlowExists(FlowKey),
    /// There is no such flow.
    #[error("there is no flow {0:?}")]
    NoFlow(FlowKey),
    /// There is no such request: it was answered, or is over.
    #[error("there is no request {0:?}; it was answered or has expired")]
    NoRequest(RequestKey),
}

/// Why a flow is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownReason {
    /// The driver wanted it.
    Deallocated,
    /// The peer uses its endpoint for another flow, or has the flow from another member: it has left this
    /// one.
    PeerLeft,
    /// Our interface has another address, which peers do not know.
    AddressChanged,
}
