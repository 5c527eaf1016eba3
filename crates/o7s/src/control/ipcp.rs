//! The messages between the daemon and its IPCPs, and the configuration of a layer.

use super::{
    EthConfig, Failure, FlowInfo, Impairment, IpcpType, Qos, Udp4Config, Udp6Config, UnicastConfig,
};

/// Configuration of a layer. Options of a type take tags from 10 (local) and from 30 (all others).
/// Of the types' parts that of `ipcp_type` is looked at; local and broadcast have none.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpConfig {
    /// The IPCP's type; must be that of the IPCP.
    #[prost(enumeration = "IpcpType", tag = "1")]
    pub ipcp_type: i32,
    /// Name and directory hash.
    #[prost(message, required, tag = "2")]
    pub layer: LayerInfo,
    /// Type local: let flows pass through the IPCP's process; none = programs share segments.
    #[prost(message, optional, tag = "10")]
    pub local: Option<Impairment>,
    /// For type unicast.
    #[prost(message, optional, tag = "30")]
    pub unicast: Option<UnicastConfig>,
    /// For types eth-llc and eth-dix.
    #[prost(message, optional, tag = "31")]
    pub eth: Option<EthConfig>,
    /// For type udp4.
    #[prost(message, optional, tag = "32")]
    pub udp4: Option<Udp4Config>,
    /// For type udp6.
    #[prost(message, optional, tag = "33")]
    pub udp6: Option<Udp6Config>,
}

/// What an IPCP says when it is a member of a layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpJoined {
    /// The layer.
    #[prost(message, required, tag = "1")]
    pub layer: LayerInfo,
    /// The two programs of a flow share its segment: the IPCP gets no ends.
    #[prost(bool, tag = "2")]
    pub shares_segments: bool,
}

/// Hash of a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hash {
    /// The hash; its length is that of the layer's algorithm.
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
}

/// Request to an IPCP to allocate a flow over its layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpFlowAlloc {
    /// Flow id of the requesting end.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
    /// Hash of the destination.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
    /// Requested QoS.
    #[prost(message, required, tag = "3")]
    pub qos: Qos,
    /// OAP request, carried unread to the other side.
    #[prost(bytes = "vec", tag = "4")]
    pub piggyback: Vec<u8>,
    /// The IPCP's end of the flow, with descriptors as for a program; none if the layer shares
    /// segments. A refusal, at once or later, gives it back.
    #[prost(message, optional, tag = "5")]
    pub end: Option<FlowInfo>,
}

/// Request to an IPCP of type broadcast to let a program join its layer; `Done` = under way, the
/// outcome comes as `FlowAllocReply`, without piggyback (`spec/shims.md` §1.4 item 9).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpFlowJoin {
    /// Flow id.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
    /// Hash of the layer's name.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
    /// The IPCP's end of the flow (side B), with descriptors as for a program. A refusal, at once
    /// or later, gives it back.
    #[prost(message, required, tag = "3")]
    pub end: FlowInfo,
}

/// A flow request that arrived over a layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowReqArr {
    /// Hash of the destination.
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
    /// Requested QoS.
    #[prost(message, required, tag = "2")]
    pub qos: Qos,
    /// Maximum packet lifetime of the layer, ms.
    #[prost(uint32, tag = "3")]
    pub mpl_ms: u32,
    /// OAP request.
    #[prost(bytes = "vec", tag = "4")]
    pub piggyback: Vec<u8>,
    /// Set by IPCPs of type local: the requesting end's flow id. Both ends are on this machine and
    /// share its segment.
    #[prost(uint64, optional, tag = "5")]
    pub local_flow_id: Option<u64>,
    /// Longest packet that the layer carries, bytes; 0 = what the segment can hold.
    #[prost(uint32, tag = "6")]
    pub max_packet: u32,
}

/// Outcome of a flow request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowResponse {
    /// Flow id.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
    /// None = granted.
    #[prost(message, optional, tag = "2")]
    pub refusal: Option<Failure>,
    /// Maximum packet lifetime of the layer, ms.
    #[prost(uint32, tag = "3")]
    pub mpl_ms: u32,
    /// OAP response.
    #[prost(bytes = "vec", tag = "4")]
    pub piggyback: Vec<u8>,
    /// Longest packet that the layer carries, bytes; 0 = what the segment can hold. From IPCPs.
    #[prost(uint32, tag = "5")]
    pub max_packet: u32,
    /// From the daemon, for a granted flow: the IPCP's end, with descriptors as for a program;
    /// none if the layer shares segments.
    #[prost(message, optional, tag = "6")]
    pub end: Option<FlowInfo>,
}

/// Request to start a layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BootstrapIpcp {
    /// The IPCP.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The layer's configuration.
    #[prost(message, required, tag = "2")]
    pub config: IpcpConfig,
}

/// Request to enroll.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnrollIpcp {
    /// The IPCP.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Name of a member (or of the layer).
    #[prost(string, tag = "2")]
    pub dst: String,
}

/// Request to connect or disconnect a component.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConnectIpcp {
    /// The IPCP.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Name of the neighbour.
    #[prost(string, tag = "2")]
    pub dst: String,
    /// `Data Transfer` or `Management`.
    #[prost(string, tag = "3")]
    pub component: String,
    /// QoS of the flow.
    #[prost(message, optional, tag = "4")]
    pub qos: Option<Qos>,
}

/// The state of an IPCP, for people and programs: what `irm ipcp show` shows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpStatus {
    /// Tables, in the order in which they are to be read.
    #[prost(message, repeated, tag = "1")]
    pub sections: Vec<StatusSection>,
}

/// A table.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusSection {
    /// What the table is about, in lower case: `flows`, `directory`, `neighbours`, …
    #[prost(string, tag = "1")]
    pub name: String,
    /// Titles of the columns, in lower case with `_` between words.
    #[prost(string, repeated, tag = "2")]
    pub columns: Vec<String>,
    /// The rows; each has a cell per column.
    #[prost(message, repeated, tag = "3")]
    pub rows: Vec<StatusRow>,
}

/// A row.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusRow {
    /// The cells as texts; numbers in decimal, without unit (it stands in the column's title).
    #[prost(string, repeated, tag = "1")]
    pub cells: Vec<String>,
}

impl StatusSection {
    /// An empty table.
    #[must_use]
    pub fn new(name: &str, columns: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            columns: columns.iter().map(|title| (*title).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell per column.
    pub fn push<const N: usize>(&mut self, cells: [&dyn std::fmt::Display; N]) {
        debug_assert_eq!(N, self.columns.len(), "{}", self.name);
        self.rows.push(StatusRow {
            cells: cells.iter().map(ToString::to_string).collect(),
        });
    }
}

/// What is known of a layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LayerInfo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number of the directory hash ([`crate::DirHash`]).
    #[prost(uint32, tag = "2")]
    pub dir_hash: u32,
}
