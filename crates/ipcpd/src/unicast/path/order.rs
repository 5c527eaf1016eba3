//! What management orders, and what the data path tells of its state.

use std::{sync::Arc, time::Duration};

use o7s::Flow;
use o7s_proto::{
    congestion::SenderState,
    dt,
    forwarding::Table,
    unicast::{Lower, Role},
};
use o7s_wire::dt::{Address, Eid, QosCube};

use super::super::user::Counters;
use crate::{data::End, framework::Operation, lower::Serial};

/// What management orders.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "as in the framework: orders are few"
)]
pub enum Order {
    /// The IPCP is a member.
    Start(dt::Config),
    /// An N-1 flow, as yet without a role.
    Add(Serial, Flow),
    /// Give an N-1 flow back.
    Remove(Lower),
    /// Whether an N-1 flow is down: packets take another one while it is.
    Down(Lower, bool),
    /// Where the packets of an N-1 flow go.
    Role(Lower, Role),
    /// The table from now on.
    Table(Arc<Table>),
    /// A packet as it is.
    SendOnLower(Lower, Vec<u8>),
    /// A packet that came before its flow had its role.
    Arrived(Lower, Vec<u8>),
    /// A packet of a component.
    Send {
        /// Destination.
        dst: Address,
        /// Class.
        cube: QosCube,
        /// Component.
        eid: Eid,
        /// Payload.
        payload: Vec<u8>,
        /// User flow that it is about.
        flow: Option<Eid>,
    },
    /// Packets for this user flow may come.
    Open(Eid, End),
    /// Packets of this user flow may be sent.
    Up {
        /// The flow.
        flow: Eid,
        /// Address of the other end.
        remote: Address,
        /// EID of the other end.
        remote_eid: Eid,
        /// Class.
        cube: QosCube,
        /// How long the other end took to answer the request, if it was this member's.
        answer: Option<Duration>,
    },
    /// The flow was refused: the daemon knows.
    Drop(Eid),
    /// The flow is over: the daemon is to be told.
    Close(Eid),
    /// The other end reports congestion.
    Congestion(Eid, u16),
    /// Tell the state.
    Status(Operation),
}

/// The state of the data path, for people.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counters of data transfer.
    pub dt: dt::Counters,
    /// N-1 flows that carry data, with the packets that wait for each.
    pub queues: Vec<(Lower, usize)>,
    /// User flows.
    pub flows: Vec<FlowState>,
    /// Packets for components dropped because management had too many.
    pub overruns: u64,
}

/// A user flow.
#[derive(Debug, Clone)]
pub struct FlowState {
    /// Own EID.
    pub eid: Eid,
    /// Address and EID of the other end.
    pub remote: Option<(Address, Eid)>,
    /// What it carried.
    pub counters: Counters,
    /// Congestion that it meets here.
    pub level: u16,
    /// Its rate controller.
    pub sender: SenderState,
}
