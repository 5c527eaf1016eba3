//! The messages about flows between programs and the daemon, and what the end of a flow is.

use zeroize::Zeroize as _;

use super::Qos;

/// Request of a flow to a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowAlloc {
    /// Destination name.
    #[prost(string, tag = "1")]
    pub dst: String,
    /// Requested QoS.
    #[prost(message, required, tag = "2")]
    pub qos: Qos,
    /// Limit in ns from arrival; none = the daemon's (20 s).
    #[prost(uint64, optional, tag = "3")]
    pub timeout_ns: Option<u64>,
    /// Key exchange that the flow must have at least (`spec/oap-crypto.md` §4.1); empty = as
    /// `qos.cypher_s` and the name's configuration say.
    #[prost(string, tag = "4")]
    pub kex: String,
}

/// Request to wait for a flow to any name bound to the process.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FlowAccept {
    /// Limit in ns from arrival; none = for ever; 0 = only what is there.
    #[prost(uint64, optional, tag = "1")]
    pub timeout_ns: Option<u64>,
}

/// Request to join a broadcast layer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowJoin {
    /// Name of the layer.
    #[prost(string, tag = "1")]
    pub layer: String,
    /// Limit in ns from arrival; none = the daemon's (20 s).
    #[prost(uint64, optional, tag = "2")]
    pub timeout_ns: Option<u64>,
}

/// Names a request to drop.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Cancel {
    /// Id of the request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// One end of a flow.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FlowEnd {
    /// Flow id.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
    /// 0 = side A (allocator), 1 = side B (acceptor).
    #[prost(uint32, tag = "2")]
    pub side: u32,
    /// Seconds that the layer keeps the flow for retransmissions; 0 without FRCP.
    #[prost(uint32, tag = "3")]
    pub linger_s: u32,
    /// The end was never opened, for want of descriptors or memory: the other end must be told, and
    /// the doorbell may be lost too, so that further flows need a new one.
    #[prost(bool, tag = "4")]
    pub bell_lost: bool,
}

/// Names a flow.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FlowId {
    /// Flow id.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
}

/// One end of an allocated flow.
///
/// File descriptors, in this order: the segment's memory; then, if `new_bell`, the doorbell's
/// socket and the doorbell's memory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowInfo {
    /// Flow id, unique while the daemon runs.
    #[prost(uint64, tag = "1")]
    pub flow_id: u64,
    /// 0 = side A (allocator), 1 = side B (acceptor).
    #[prost(uint32, tag = "2")]
    pub side: u32,
    /// QoS of the flow.
    #[prost(message, required, tag = "3")]
    pub qos: Qos,
    /// Maximum packet lifetime of the layer, ms.
    #[prost(uint32, tag = "4")]
    pub mpl_ms: u32,
    /// The name that the flow was allocated to.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Pid of the process at the other end of the segment.
    #[prost(int32, tag = "6")]
    pub peer_pid: i32,
    /// Doorbell of the two processes: its id, unique while the daemon runs.
    #[prost(uint64, tag = "7")]
    pub bell_id: u64,
    /// This process' side of the doorbell, 0 = A, 1 = B.
    #[prost(uint32, tag = "8")]
    pub bell_side: u32,
    /// Slot of this flow at the doorbell: both ends ring and hear this number. When both ends are
    /// in one process the doorbell has two open sides there.
    #[prost(uint32, tag = "9")]
    pub bell_slot: u32,
    /// Whether the doorbell's descriptors come along: until the daemon knows that the process has
    /// them. A process that has the doorbell drops them.
    #[prost(bool, tag = "10")]
    pub new_bell: bool,
    /// The two processes share the segment, and nothing between them loses, reorders or damages
    /// packets: FRCP and CRC have nothing to do. False for a flow over a layer.
    #[prost(bool, tag = "11")]
    pub direct: bool,
    /// Longest packet that the layer carries, bytes, as it is written to the segment; 0 = what the
    /// segment can hold.
    #[prost(uint32, tag = "12")]
    pub max_packet: u32,
    /// How packets are protected; none = in clear.
    #[prost(message, optional, tag = "13")]
    pub secret: Option<FlowSecret>,
    /// What both ends can do beyond the protocols of 0.23.
    #[prost(message, optional, tag = "14")]
    pub extensions: Option<Extensions>,
    /// Name in the certificate with which the other end proved who it is; empty = it did not.
    #[prost(string, tag = "15")]
    pub peer_name: String,
}

/// The key of a flow. Never logged; overwritten when dropped.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct FlowSecret {
    /// Cipher (`spec/oap-crypto.md` §2.3).
    #[prost(uint32, tag = "1")]
    pub cipher: u32,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

impl std::fmt::Debug for FlowSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowSecret")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl Drop for FlowSecret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// What the two ends of a flow agreed on beyond the protocols of 0.23.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Extensions {
    /// Messages larger than a packet travel as fragments.
    #[prost(bool, tag = "1")]
    pub fragments: bool,
    /// Acknowledgements may list what arrived out of order.
    #[prost(bool, tag = "2")]
    pub selective: bool,
    /// Largest receive window of the other end, packets; 0 = that of 0.23.
    #[prost(uint32, tag = "3")]
    pub window: u32,
}
