//! The structures of the C headers (`spec/api.md` A2). Enumerations are plain numbers here: C
//! programs can put any value there.

use std::{
    ffi::{c_char, c_uint},
    mem::{offset_of, size_of},
};

use o7s::QosSpec;

/// `qosspec_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Qos {
    /// ms
    pub delay: u32,
    /// bit/s
    pub bandwidth: u64,
    /// class of nines
    pub availability: u8,
    /// 0 = retransmission
    pub loss: u32,
    /// 0 = CRC
    pub ber: u32,
    /// not 0 = FRCP
    pub in_order: u8,
    /// ms
    pub max_gap: u32,
    /// ms, 0 = never
    pub timeout: u32,
}

impl From<QosSpec> for Qos {
    fn from(qos: QosSpec) -> Self {
        Self {
            delay: qos.delay,
            bandwidth: qos.bandwidth,
            availability: qos.availability,
            loss: qos.loss,
            ber: qos.ber,
            in_order: qos.in_order,
            max_gap: qos.max_gap,
            timeout: qos.timeout,
        }
    }
}

impl From<Qos> for QosSpec {
    fn from(qos: Qos) -> Self {
        Self {
            delay: qos.delay,
            bandwidth: qos.bandwidth,
            availability: qos.availability,
            loss: qos.loss,
            ber: qos.ber,
            in_order: qos.in_order,
            max_gap: qos.max_gap,
            timeout: qos.timeout,
            ..Self::RAW
        }
    }
}

/// `struct proto_field`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProtoField {
    /// Number of the field.
    pub fid: usize,
    /// Bytes, or -1 absent, 0 variable.
    pub len: isize,
}

/// `struct conn_info`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConnInfo {
    /// Name of the component.
    pub comp_name: [c_char; 129],
    /// Name of its protocol.
    pub protocol: [c_char; 129],
    /// Version of the protocol.
    pub pref_version: u32,
    /// Number of the syntax.
    pub pref_syntax: c_uint,
    /// Neither sent nor filled.
    pub fixed_conc_syntax: [ProtoField; 128],
    /// Neither sent nor filled.
    pub num_fields: usize,
    /// Address in the layer.
    pub addr: u64,
}

/// `struct name_sec_paths`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NameSecPaths {
    /// Encryption configuration.
    pub enc: [c_char; 512],
    /// Private key.
    pub key: [c_char; 512],
    /// Certificate.
    pub crt: [c_char; 512],
}

/// `struct name_info`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NameInfo {
    /// The name.
    pub name: [c_char; 256],
    /// Number of the balance policy.
    pub pol_lb: c_uint,
    /// Files of servers.
    pub server: NameSecPaths,
    /// Files of clients.
    pub client: NameSecPaths,
}

/// `struct ipcp_list_info`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IpcpListInfo {
    /// Pid of the IPCP.
    pub pid: i32,
    /// Number of its type.
    pub ipcp_type: c_uint,
    /// Its name.
    pub name: [c_char; 255],
    /// Its layer.
    pub layer: [c_char; 255],
}

/// `struct ls_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LsConfig {
    /// Number of the policy.
    pub pol: c_uint,
    /// s
    pub t_recalc: libc::time_t,
    /// s
    pub t_update: libc::time_t,
    /// s
    pub t_timeo: libc::time_t,
}

/// `struct routing_config`; its union has one member.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RoutingConfig {
    /// Number of the policy.
    pub pol: c_uint,
    /// Of link-state routing.
    pub ls: LsConfig,
}

/// `struct dt_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DtConfig {
    /// Bytes of an address.
    pub addr_size: u8,
    /// Bytes of an endpoint id.
    pub eid_size: u8,
    /// Hops.
    pub max_ttl: u8,
    /// Routing.
    pub routing: RoutingConfig,
}

/// `struct dir_dht_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DirDhtConfig {
    /// Parallel requests.
    pub alpha: u32,
    /// Replicas.
    pub k: u32,
    /// s
    pub t_expire: u32,
    /// s
    pub t_refresh: u32,
    /// s
    pub t_replicate: u32,
    /// Not used.
    pub peer: u64,
}

/// `struct dir_config`; its union has one member.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DirConfig {
    /// Number of the policy.
    pub pol: c_uint,
    /// Of the DHT.
    pub dht: DirDhtConfig,
}

/// `struct uni_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct UniConfig {
    /// Data transfer.
    pub dt: DtConfig,
    /// Directory.
    pub dir: DirConfig,
    /// Number of the address policy.
    pub addr_auth_type: c_uint,
    /// Number of the congestion policy.
    pub cong_avoid: c_uint,
}

/// `struct eth_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EthConfig {
    /// Network device.
    pub dev: [c_char; 256],
    /// Host order.
    pub ethertype: u16,
}

/// `struct udp4_config` and `struct udp6_config`, whose addresses have `N` bytes: in network order, aligned as
/// C has them.
#[repr(C, align(4))]
#[derive(Debug, Clone, Copy)]
pub struct UdpConfig<const N: usize> {
    /// Own address.
    pub ip_addr: [u8; N],
    /// Name server.
    pub dns_addr: [u8; N],
    /// Host order.
    pub port: u16,
}

/// `struct udp4_config`.
pub type Udp4Config = UdpConfig<4>;

/// `struct udp6_config`.
pub type Udp6Config = UdpConfig<16>;

/// `struct layer_info`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LayerInfo {
    /// Name of the layer.
    pub name: [c_char; 256],
    /// Number of the directory hash.
    pub dir_hash_algo: c_uint,
}

/// The union in `struct ipcp_config`: every member is plain numbers, so that any bytes are a value
/// of each.
#[repr(C)]
#[derive(Clone, Copy)]
pub union TypeConfig {
    /// Type unicast.
    pub unicast: UniConfig,
    /// Type udp4.
    pub udp4: Udp4Config,
    /// Type udp6.
    pub udp6: Udp6Config,
    /// Types eth-llc and eth-dix.
    pub eth: EthConfig,
}

/// `struct ipcp_config`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IpcpConfig {
    /// The layer.
    pub layer_info: LayerInfo,
    /// Number of the type.
    pub ipcp_type: c_uint,
    /// What the type needs.
    pub of_type: TypeConfig,
}

// The table of the specification, for the machines that it is given for. The tests compare what the
// C compiler says with the same table.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Qos>() == 40 && offset_of!(Qos, timeout) == 36);
    assert!(size_of::<ConnInfo>() == 2336 && offset_of!(ConnInfo, addr) == 2328);
    assert!(size_of::<NameSecPaths>() == 1536);
    assert!(size_of::<NameInfo>() == 3332 && offset_of!(NameInfo, client) == 1796);
    assert!(size_of::<IpcpListInfo>() == 520 && offset_of!(IpcpListInfo, layer) == 263);
    assert!(size_of::<LsConfig>() == 32 && offset_of!(LsConfig, t_timeo) == 24);
    assert!(size_of::<RoutingConfig>() == 40 && offset_of!(RoutingConfig, ls) == 8);
    assert!(size_of::<DtConfig>() == 48 && offset_of!(DtConfig, routing) == 8);
    assert!(size_of::<DirDhtConfig>() == 32 && offset_of!(DirDhtConfig, peer) == 24);
    assert!(size_of::<DirConfig>() == 40 && offset_of!(DirConfig, dht) == 8);
    assert!(size_of::<UniConfig>() == 96 && offset_of!(UniConfig, cong_avoid) == 92);
    assert!(size_of::<EthConfig>() == 258 && offset_of!(EthConfig, ethertype) == 256);
    assert!(size_of::<Udp4Config>() == 12 && offset_of!(Udp4Config, port) == 8);
    assert!(size_of::<Udp6Config>() == 36 && offset_of!(Udp6Config, port) == 32);
    assert!(size_of::<LayerInfo>() == 260);
    assert!(size_of::<IpcpConfig>() == 528 && offset_of!(IpcpConfig, of_type) == 264);
};
