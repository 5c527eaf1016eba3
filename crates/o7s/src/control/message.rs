//! The messages of the control protocol.
//!
//! Names and hashes arrive here as they were sent; the receiver checks them once, when it turns a
//! message into values of its own.

use super::{
    BindProcess, BindProgram, BootstrapIpcp, Cancel, ConnectIpcp, EnrollIpcp, FlowAccept,
    FlowAlloc, FlowEnd, FlowId, FlowInfo, FlowJoin, FlowReqArr, FlowResponse, Hash, IpcpConfig,
    IpcpFlowAlloc, IpcpFlowJoin, IpcpJoined, IpcpStatus, LayerInfo, NameInfo, NameList, NameRef,
    RegName, UnbindProgram,
};
use crate::{Error, ErrorKind, QosSpec};

/// What travels in one frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// Request id, chosen by the asker (from 1); its answer has the same. 0 = notification.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// File descriptors that travel with the frame.
    #[prost(uint32, tag = "2")]
    pub fds: u32,
    /// Request, answer or notification.
    #[prost(
        oneof = "Body",
        tags = "3, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, \
                35, 36, 37, 38, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, \
                60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70"
    )]
    pub body: Option<Body>,
}

/// Every kind of message.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// First message of every connection.
    #[prost(message, tag = "3")]
    Hello(Hello),

    // Programs: flows.
    /// Allocate a flow; answered by [`Body::Flow`].
    #[prost(message, tag = "10")]
    FlowAlloc(FlowAlloc),
    /// Wait for a flow; answered by [`Body::Flow`].
    #[prost(message, tag = "11")]
    FlowAccept(FlowAccept),
    /// Join a broadcast layer; answered by [`Body::Flow`].
    #[prost(message, tag = "12")]
    FlowJoin(FlowJoin),
    /// Give an end of a flow back; answered by [`Body::Done`]. From an IPCP a notification, also
    /// for an arrived request that is over.
    #[prost(message, tag = "13")]
    FlowDealloc(FlowEnd),
    /// Drop the request with this id of this connection; the request is answered "interrupted".
    #[prost(message, tag = "14")]
    Cancel(Cancel),

    // Management.
    /// Start an IPCP; answered by [`Body::Pid`].
    #[prost(message, tag = "20")]
    CreateIpcp(CreateIpcp),
    /// Stop an IPCP.
    #[prost(message, tag = "21")]
    DestroyIpcp(Pid),
    /// Start a layer in an IPCP.
    #[prost(message, tag = "22")]
    BootstrapIpcp(BootstrapIpcp),
    /// Enroll an IPCP in a layer.
    #[prost(message, tag = "23")]
    EnrollIpcp(EnrollIpcp),
    /// Connect a component to a neighbour.
    #[prost(message, tag = "24")]
    ConnectIpcp(ConnectIpcp),
    /// Disconnect a component from a neighbour (`qos` unused).
    #[prost(message, tag = "25")]
    DisconnectIpcp(ConnectIpcp),
    /// List the IPCPs; answered by [`Body::Ipcps`].
    #[prost(message, tag = "26")]
    ListIpcps(Empty),
    /// Bind a program to a name.
    #[prost(message, tag = "27")]
    BindProgram(BindProgram),
    /// Undo it.
    #[prost(message, tag = "28")]
    UnbindProgram(UnbindProgram),
    /// Bind a process to a name.
    #[prost(message, tag = "29")]
    BindProcess(BindProcess),
    /// Undo it.
    #[prost(message, tag = "30")]
    UnbindProcess(BindProcess),
    /// Create a name.
    #[prost(message, tag = "31")]
    CreateName(NameInfo),
    /// Forget a name.
    #[prost(message, tag = "32")]
    DestroyName(NameRef),
    /// List the names; answered by [`Body::Names`].
    #[prost(message, tag = "33")]
    ListNames(Empty),
    /// Register a name with an IPCP's layer.
    #[prost(message, tag = "34")]
    RegName(RegName),
    /// Undo it.
    #[prost(message, tag = "35")]
    UnregName(RegName),
    /// What the daemon holds; answered by [`Body::StatusReply`].
    #[prost(message, tag = "36")]
    Status(Empty),
    /// The state of an IPCP; answered by [`Body::IpcpStatus`].
    #[prost(message, tag = "37")]
    ShowIpcp(Pid),
    /// Keep an IPCP of the configuration file no longer; stop it, should it run.
    #[prost(message, tag = "38")]
    ForgetIpcp(NameRef),

    // Answers.
    /// It worked and there is nothing to say.
    #[prost(message, tag = "40")]
    Done(Empty),
    /// It did not work.
    #[prost(message, tag = "41")]
    Failure(Failure),
    /// Answer to [`Body::Hello`].
    #[prost(message, tag = "42")]
    HelloOk(HelloOk),
    /// One end of a flow, with its segment (and perhaps a doorbell) as file descriptors.
    #[prost(message, tag = "43")]
    Flow(FlowInfo),
    /// A process id.
    #[prost(message, tag = "44")]
    Pid(Pid),
    /// The IPCPs.
    #[prost(message, tag = "45")]
    Ipcps(IpcpList),
    /// The names.
    #[prost(message, tag = "46")]
    Names(NameList),
    /// What the daemon holds.
    #[prost(message, tag = "47")]
    StatusReply(Status),
    /// The layer that an IPCP is now a member of (answer to bootstrap and enroll).
    #[prost(message, tag = "48")]
    Layer(LayerInfo),
    /// The id of the flow that an arrived request belongs to from now on.
    #[prost(message, tag = "49")]
    FlowId(FlowId),

    // Daemon to IPCP.
    /// Start a layer; answered by [`Body::IpcpJoined`].
    #[prost(message, tag = "50")]
    IpcpBootstrap(IpcpConfig),
    /// Enroll; answered by [`Body::IpcpJoined`].
    #[prost(message, tag = "51")]
    IpcpEnroll(NameRef),
    /// Connect a component.
    #[prost(message, tag = "52")]
    IpcpConnect(ConnectIpcp),
    /// Disconnect a component.
    #[prost(message, tag = "53")]
    IpcpDisconnect(ConnectIpcp),
    /// The IPCP is a member of a layer now (answer of an IPCP to bootstrap and enroll).
    #[prost(message, tag = "54")]
    IpcpJoined(IpcpJoined),
    /// Tell your state; answered by [`Body::IpcpStatus`].
    #[prost(message, tag = "55")]
    IpcpShow(Empty),
    /// The state of an IPCP (its answer to `IpcpShow`, and the daemon's to `ShowIpcp`).
    #[prost(message, tag = "56")]
    IpcpStatus(IpcpStatus),
    /// Add a name's hash to the directory.
    #[prost(message, tag = "60")]
    IpcpReg(Hash),
    /// Remove a name's hash from the directory.
    #[prost(message, tag = "61")]
    IpcpUnreg(Hash),
    /// Is this hash reachable in the layer? [`Body::Done`] or [`Body::Failure`].
    #[prost(message, tag = "62")]
    IpcpQuery(Hash),
    /// Allocate a flow over the layer; `Done` = request sent, the outcome comes later as
    /// [`Body::FlowAllocReply`]. With the IPCP's end, unless the layer shares segments.
    #[prost(message, tag = "63")]
    IpcpFlowAlloc(IpcpFlowAlloc),
    /// The accepting side's answer to [`Body::FlowReqArr`]. A granted flow comes with the IPCP's
    /// end, unless the layer shares segments; `Failure` gives that end back unopened.
    #[prost(message, tag = "64")]
    IpcpFlowAllocResp(FlowResponse),
    /// The program gave its end of the flow back, or died. Names the IPCP's end, which the IPCP
    /// gives back with [`Body::FlowDealloc`] once it has carried on what was written before.
    #[prost(message, tag = "65")]
    IpcpFlowDealloc(FlowEnd),

    /// Let a program join the broadcast layer, with the IPCP's end; `Done` = under way, the outcome
    /// comes as [`Body::FlowAllocReply`].
    #[prost(message, tag = "68")]
    IpcpFlowJoin(IpcpFlowJoin),

    // IPCP to daemon.
    /// A flow request arrived over the layer; answered by [`Body::FlowId`].
    #[prost(message, tag = "66")]
    FlowReqArr(FlowReqArr),
    /// Outcome of [`Body::IpcpFlowAlloc`]. A notification.
    #[prost(message, tag = "67")]
    FlowAllocReply(FlowResponse),

    /// A connection that [`Body::IpcpConnect`] made is over, and not by [`Body::IpcpDisconnect`] (`pid` and
    /// `qos` unused). A notification.
    #[prost(message, tag = "69")]
    IpcpParted(ConnectIpcp),

    // Daemon to program.
    /// The state of these flows changed; look at them. A notification.
    #[prost(message, tag = "70")]
    FlowsChanged(FlowsChanged),
}

/// No content.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// Who connects. The daemon takes pid, user and group from the socket, never from here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// [`super::VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Program name (see [`crate::program`]).
    #[prost(string, tag = "2")]
    pub program: String,
    /// Random number of this copy of the library: distinguishes it from others in the process, and
    /// a program from the one that ran under the same pid before `exec`.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
    /// True on a process' first connection: it lives as long as the process, and the daemon sends
    /// its notifications there. False on further connections, and on those of mere management
    /// tools, which are no processes in the daemon's tables.
    #[prost(bool, tag = "4")]
    pub announce: bool,
    /// Equal in all copies of the library in one process image, and different after `exec`: a
    /// process may have a copy in the C library and one in a Python module. 0 = not known.
    #[prost(fixed64, tag = "5")]
    pub image: u64,
}

/// Answer to [`Hello`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HelloOk {
    /// The daemon's pid.
    #[prost(int32, tag = "1")]
    pub daemon_pid: i32,
    /// The daemon's product version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Random number of this daemon: flow and doorbell ids are unique within it only.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
}

/// A failed request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failure {
    /// Positive `errno` value ([`ErrorKind::errno`]).
    #[prost(int32, tag = "1")]
    pub errno: i32,
    /// What was tried, why it failed, what to do.
    #[prost(string, tag = "2")]
    pub message: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            errno: error.errno(),
            message: error.message().to_owned(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(ErrorKind::from_errno(failure.errno), failure.message)
    }
}

/// [`QosSpec`] as a message; `availability` and `in_order` must fit 8 bits.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Qos {
    /// ms
    #[prost(uint32, tag = "1")]
    pub delay: u32,
    /// bit/s
    #[prost(uint64, tag = "2")]
    pub bandwidth: u64,
    /// class of nines
    #[prost(uint32, tag = "3")]
    pub availability: u32,
    /// 0 = retransmission
    #[prost(uint32, tag = "4")]
    pub loss: u32,
    /// 0 = CRC
    #[prost(uint32, tag = "5")]
    pub ber: u32,
    /// not 0 = FRCP
    #[prost(uint32, tag = "6")]
    pub in_order: u32,
    /// ms
    #[prost(uint32, tag = "7")]
    pub max_gap: u32,
    /// ms, 0 = never
    #[prost(uint32, tag = "8")]
    pub timeout: u32,
    /// bits, 0 = none asked
    #[prost(uint32, tag = "9")]
    pub cypher_s: u32,
}

impl From<QosSpec> for Qos {
    fn from(qos: QosSpec) -> Self {
        Self {
            delay: qos.delay,
            bandwidth: qos.bandwidth,
            availability: qos.availability.into(),
            loss: qos.loss,
            ber: qos.ber,
            in_order: qos.in_order.into(),
            max_gap: qos.max_gap,
            timeout: qos.timeout,
            cypher_s: qos.cypher_s.into(),
        }
    }
}

impl TryFrom<Qos> for QosSpec {
    type Error = Error;

    fn try_from(qos: Qos) -> Result<Self, Error> {
        let narrow = |field: &str, value: u32| {
            u8::try_from(value).map_err(|_| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("QoS field {field} is {value}; it must be 0 to 255"),
                )
            })
        };
        Ok(Self {
            delay: qos.delay,
            bandwidth: qos.bandwidth,
            availability: narrow("availability", qos.availability)?,
            loss: qos.loss,
            ber: qos.ber,
            in_order: narrow("in_order", qos.in_order)?,
            max_gap: qos.max_gap,
            timeout: qos.timeout,
            cypher_s: u16::try_from(qos.cypher_s)
                .ok()
                .filter(|bits| *bits <= 256)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Invalid,
                        format!("cypher_s is {} bits; it must be 0 to 256", qos.cypher_s),
                    )
                })?,
        })
    }
}

/// A process id.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Pid {
    /// The pid.
    #[prost(int32, tag = "1")]
    pub pid: i32,
}

/// Request of a new IPCP.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateIpcp {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// [`IpcpType`].
    #[prost(enumeration = "IpcpType", tag = "2")]
    pub ipcp_type: i32,
}

/// IPCP types; the order of the numbers is the order in which layers are tried
/// (`spec/irm-tools.md` §3.1, §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum IpcpType {
    /// One machine.
    Local = 0,
    /// A layer over flows of lower layers.
    Unicast = 1,
    /// Flooding over flows of lower layers.
    Broadcast = 2,
    /// Ethernet with 802.2 LLC.
    EthLlc = 3,
    /// Ethernet II.
    EthDix = 4,
    /// UDP over IPv4.
    Udp4 = 5,
    /// UDP over IPv6.
    Udp6 = 6,
}

impl IpcpType {
    /// All types in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Local,
        Self::Unicast,
        Self::Broadcast,
        Self::EthLlc,
        Self::EthDix,
        Self::Udp4,
        Self::Udp6,
    ];

    /// The word that `irm` uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Unicast => "unicast",
            Self::Broadcast => "broadcast",
            Self::EthLlc => "eth-llc",
            Self::EthDix => "eth-dix",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
        }
    }

    /// The type with exactly this word.
    #[must_use]
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// State of an IPCP (`spec/irm-tools.md` §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum IpcpState {
    /// Unknown.
    Null = 0,
    /// Process started, not yet connected to the daemon.
    Init = 1,
    /// Ready for bootstrap or enrollment.
    Boot = 2,
    /// Bootstrapped.
    Bootstrapped = 3,
    /// Enrolled.
    Enrolled = 4,
    /// Member of a layer.
    Operational = 5,
    /// Ending.
    Shutdown = 6,
}

impl IpcpState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "unknown",
            Self::Init => "init",
            Self::Boot => "boot",
            Self::Bootstrapped => "bootstrapped",
            Self::Enrolled => "enrolled",
            Self::Operational => "operational",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The IPCPs, sorted by type number and pid.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpList {
    /// One entry per IPCP.
    #[prost(message, repeated, tag = "1")]
    pub ipcps: Vec<IpcpInfo>,
    /// Those of the configuration file that do not run now, without pid.
    #[prost(message, repeated, tag = "2")]
    pub absent: Vec<IpcpInfo>,
}

/// One IPCP.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IpcpInfo {
    /// Its pid.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Its type.
    #[prost(enumeration = "IpcpType", tag = "2")]
    pub ipcp_type: i32,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Its layer's name; empty while it is in none.
    #[prost(string, tag = "4")]
    pub layer: String,
    /// Number of the layer's directory hash.
    #[prost(uint32, tag = "5")]
    pub dir_hash: u32,
    /// Its state.
    #[prost(enumeration = "IpcpState", tag = "6")]
    pub state: i32,
    /// What an IPCP of the configuration file waits for, for people; empty if for nothing.
    #[prost(string, tag = "7")]
    pub waits: String,
}

/// How much the daemon holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// The daemon's pid.
    #[prost(int32, tag = "1")]
    pub daemon_pid: i32,
    /// IPCPs.
    #[prost(uint64, tag = "2")]
    pub ipcps: u64,
    /// Names.
    #[prost(uint64, tag = "3")]
    pub names: u64,
    /// Programs with bindings.
    #[prost(uint64, tag = "4")]
    pub programs: u64,
    /// Announced processes, IPCPs not counted.
    #[prost(uint64, tag = "5")]
    pub processes: u64,
    /// Flows: allocated, or with one end given back.
    #[prost(uint64, tag = "6")]
    pub flows: u64,
    /// Flow requests and accepts that wait.
    #[prost(uint64, tag = "7")]
    pub pending: u64,
    /// Doorbells.
    #[prost(uint64, tag = "8")]
    pub bells: u64,
    /// Open file descriptors of the daemon.
    #[prost(uint64, tag = "9")]
    pub descriptors: u64,
}

/// Flows whose state changed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowsChanged {
    /// The ends of this process.
    #[prost(message, repeated, tag = "1")]
    pub ends: Vec<FlowEnd>,
}
