//! What `irm` can be asked to do: the outcome of parsing, checked as far as that needs no daemon.

use std::net::IpAddr;

use o7s::{
    DirHash, QosSpec,
    control::Impairment,
    irm::{Balance, DT_COMP, IpcpConfig, IpcpType, LayerInfo, MGMT_COMP},
};

use super::grammar::{Group, Operation};

/// Names of the directory hashes that can be chosen.
pub const HASHES: &[&str] = &["SHA3_224", "SHA3_256", "SHA3_384", "SHA3_512"];

/// Names of the QoS cubes (`spec/irm-tools.md` §12.1).
pub const QOS_NAMES: &[&str] = &["raw", "best", "video", "voice", "data"];

/// Options that let the flows of a local layer pass through its IPCP.
pub const IMPAIRMENTS: &[&str] = &[
    "loss",
    "delay",
    "jitter",
    "reorder",
    "duplicate",
    "corrupt",
    "mtu",
    "seed",
];

/// Number of MD5 in layer configurations: the directory hash of UDP layers (§3.1).
pub const MD5: u32 = 5;

/// A command line, understood.
#[derive(Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// Whether the output is to be JSON.
    pub json: bool,
    /// What the user should know although the command goes on.
    pub warnings: Vec<String>,
}

/// What to do.
#[derive(Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the words of the command line")]
pub enum Command {
    /// Start an IPCP.
    CreateIpcp { name: String, ipcp_type: IpcpType },
    /// Stop an IPCP.
    DestroyIpcp { name: String },
    /// Start a layer.
    BootstrapIpcp(Box<Bootstrap>),
    /// Become a member of a layer.
    EnrollIpcp(Enroll),
    /// Connect components to a neighbour, in this order.
    ConnectIpcp {
        name: String,
        dst: String,
        components: Vec<Component>,
        qos: QosSpec,
    },
    /// Disconnect components from a neighbour, in this order.
    DisconnectIpcp {
        name: String,
        dst: String,
        components: Vec<Component>,
    },
    /// List IPCPs.
    ListIpcps {
        ipcp_type: Option<IpcpType>,
        name: Option<String>,
        layer: Option<String>,
    },
    /// Bind a program.
    BindProgram {
        program: String,
        name: String,
        auto: bool,
        args: Vec<String>,
    },
    /// Bind a process.
    BindProcess { pid: i32, name: String },
    /// Bind an IPCP.
    BindIpcp { ipcp: String, name: String },
    /// Unbind a program.
    UnbindProgram {
        program: String,
        name: Option<String>,
    },
    /// Unbind a process.
    UnbindProcess { pid: i32, name: Option<String> },
    /// Unbind an IPCP.
    UnbindIpcp { ipcp: String, name: Option<String> },
    /// Create a name.
    CreateName {
        name: String,
        balance: Balance,
        server: Paths,
        client: Paths,
    },
    /// Forget a name.
    DestroyName { name: String },
    /// Register a name with all selected layers.
    RegisterName { name: String, selection: Selection },
    /// Undo it.
    UnregisterName { name: String, selection: Selection },
    /// List names.
    ListNames { filter: Option<String> },
    /// What the daemon holds.
    Status,
    /// Help.
    Help(Topic),
    /// Version.
    Version,
    /// A completion script.
    Completions(&'static str),
    /// Candidates for the last of these words.
    Complete(Vec<String>),
}

/// What help is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The whole of `irm`.
    Irm,
    /// A group.
    Group(&'static Group),
    /// An operation.
    Operation(&'static Operation),
}

/// A component of an IPCP that connects to neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Management.
    Mgmt,
    /// Data transfer.
    Dt,
}

impl Component {
    /// The word of the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Mgmt => "mgmt",
            Self::Dt => "dt",
        }
    }

    /// The name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mgmt => MGMT_COMP,
            Self::Dt => DT_COMP,
        }
    }
}

/// Layers chosen by their names or those of their IPCPs; all may be patterns.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// Layers.
    pub layers: Vec<String>,
    /// IPCPs.
    pub ipcps: Vec<String>,
}

/// Security files as given, not looked at yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Encryption configuration.
    pub encryption: Option<String>,
    /// Certificate.
    pub certificate: Option<String>,
    /// Private key.
    pub key: Option<String>,
}

/// Enrollment.
#[derive(Debug, PartialEq, Eq)]
pub struct Enroll {
    /// Name or pattern of the IPCP.
    pub name: String,
    /// Its type.
    pub ipcp_type: IpcpType,
    /// The layer that is expected.
    pub layer: Option<String>,
    /// The member (or layer) to enroll with.
    pub dst: String,
    /// Whether to bind the IPCP to its name and layer.
    pub autobind: bool,
}

/// Bootstrap (`spec/irm-tools.md` §7.4).
#[derive(Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Name or pattern of the IPCP.
    pub name: String,
    /// Name of the layer.
    pub layer: String,
    /// Its type, if given.
    pub ipcp_type: Option<IpcpType>,
    /// Whether to bind the IPCP to its name and layer.
    pub autobind: bool,
    /// The layer's options.
    pub options: LayerOptions,
}

/// Options of a layer; `None` = the default.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// Directory hash.
    pub hash: Option<DirHash>,
    /// UDP: own address.
    pub ip: Option<IpAddr>,
    /// UDP: name server.
    pub dns: Option<IpAddr>,
    /// UDP: port.
    pub port: Option<u16>,
    /// Ethernet: interface.
    pub device: Option<String>,
    /// Ethernet II: type.
    pub ethertype: Option<u16>,
    /// Unicast: bytes of an address.
    pub addr_size: Option<u8>,
    /// Unicast: bytes of an endpoint id.
    pub eid_size: Option<u8>,
    /// Unicast: hops.
    pub max_ttl: Option<u8>,
    /// Unicast: addressing policy.
    pub addr_auth: Option<&'static str>,
    /// Unicast: directory policy.
    pub directory: Option<&'static str>,
    /// Unicast: DHT parallelism.
    pub dht_alpha: Option<u32>,
    /// Unicast: DHT replication.
    pub dht_k: Option<u32>,
    /// Unicast: DHT expiry, s.
    pub dht_t_expire: Option<u32>,
    /// Unicast: DHT refresh, s.
    pub dht_t_refresh: Option<u32>,
    /// Unicast: DHT replication interval, s.
    pub dht_t_replicate: Option<u32>,
    /// Unicast: routing policy.
    pub routing: Option<&'static str>,
    /// Unicast: link-state timeout, s.
    pub ls_t_timeo: Option<u32>,
    /// Unicast: link-state update interval, s.
    pub ls_t_update: Option<u32>,
    /// Unicast: delay of recalculation, s.
    pub ls_t_recalc: Option<u32>,
    /// Unicast: congestion avoidance.
    pub congestion: Option<&'static str>,
    /// Local: what the layer does to packets, if they pass through its IPCP.
    pub impairment: Option<Impairment>,
    /// The type-dependent options that were given, as their keywords.
    pub given: Vec<&'static str>,
}

impl Bootstrap {
    /// The configuration for an IPCP of this type.
    ///
    /// # Errors
    /// What is missing or does not fit the type, as a text for the user.
    pub fn config(&self, ipcp_type: IpcpType) -> Result<IpcpConfig, String> {
        let options = &self.options;
        match ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => {
                let v4 = ipcp_type == IpcpType::Udp4;
                let family = if v4 { "IPv4" } else { "IPv6" };
                let Some(ip) = options.ip else {
                    return Err(format!(
                        "Missing option \"ip\": a layer of type {} needs this machine's {family} \
                         address.",
                        ipcp_type.as_str()
                    ));
                };
                if ip.is_ipv4() != v4 {
                    return Err(format!("Invalid {family} address: \"{ip}\"."));
                }
                if ip.is_unspecified() {
                    return Err(format!(
                        "Cannot use {family} address: \"{ip}\".\nGive an address of this machine."
                    ));
                }
                if let Some(dns) = options.dns.filter(|dns| dns.is_ipv4() != v4) {
                    return Err(format!("Invalid DNS {family} address: \"{dns}\"."));
                }
            }
            IpcpType::EthDix | IpcpType::EthLlc if options.device.is_none() => {
                return Err(format!(
                    "Missing option \"device\": a layer of type {} needs a network interface.",
                    ipcp_type.as_str()
                ));
            }
            IpcpType::Broadcast if options.hash.is_some_and(|hash| hash != DirHash::Sha3_256) => {
                return Err("A broadcast layer uses SHA3_256; leave \"hash\" out.".to_owned());
            }
            _ => {}
        }
        let dir_hash = match ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => MD5,
            _ => options.hash.unwrap_or_default() as u32,
        };
        Ok(IpcpConfig {
            ipcp_type: ipcp_type.into(),
            layer: LayerInfo {
                name: self.layer.clone(),
                dir_hash,
            },
            local: options.impairment.filter(|_| ipcp_type == IpcpType::Local),
        })
    }

    /// The given options that mean nothing to this type.
    #[must_use]
    pub fn foreign_options(&self, ipcp_type: IpcpType) -> Vec<&'static str> {
        let mut given = self.options.given.clone();
        given.retain(|word| !has_option(ipcp_type, word));
        given
    }
}

/// Whether a type has this option of [`LayerOptions`].
fn has_option(ipcp_type: IpcpType, word: &str) -> bool {
    let udp = matches!(ipcp_type, IpcpType::Udp4 | IpcpType::Udp6);
    match word {
        "hash" => !udp,
        "ip" | "dns" | "port" => udp,
        "device" => matches!(ipcp_type, IpcpType::EthDix | IpcpType::EthLlc),
        "ethertype" => ipcp_type == IpcpType::EthDix,
        word if IMPAIRMENTS.contains(&word) => ipcp_type == IpcpType::Local,
        _ => ipcp_type == IpcpType::Unicast,
    }
}
