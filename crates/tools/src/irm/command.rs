//! What `irm` can be asked to do: the outcome of parsing, checked as far as that needs no daemon.

use std::net::IpAddr;

use o7s::{
    DirHash, QosSpec,
    control::Impairment,
    irm::{
        Balance, CongestionPolicy, DT_COMP, DhtConfig, DirConfig, DtConfig, EthConfig, IpcpConfig,
        IpcpType, LinkStateConfig, LinkStatePolicy, MGMT_COMP, RoutingConfig, Udp4Config, Udp4Host,
        Udp6Config, Udp6Host, UnicastConfig,
    },
};

use super::grammar::{Group, Operation};

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
    /// Show an IPCP's state.
    ShowIpcp { name: String },
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
    /// UDP: names with their addresses, as given.
    pub hosts: Vec<(String, String)>,
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
        let mut config = IpcpConfig::new(ipcp_type, &self.layer);
        match ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => self.udp(&mut config, ipcp_type)?,
            IpcpType::EthDix | IpcpType::EthLlc => {
                let Some(device) = options.device.clone() else {
                    return Err(format!(
                        "Missing option \"device\": a layer of type {} needs a network interface.",
                        ipcp_type.as_str()
                    ));
                };
                let default = EthConfig::default();
                config.eth = Some(EthConfig {
                    dev: device,
                    ethertype: options.ethertype.map_or(default.ethertype, u32::from),
                });
            }
            IpcpType::Broadcast if options.hash.is_some_and(|hash| hash != DirHash::Sha3_256) => {
                return Err("A broadcast layer uses SHA3_256; leave \"hash\" out.".to_owned());
            }
            IpcpType::Unicast => config.unicast = Some(options.unicast()),
            IpcpType::Local => config.local = options.impairment,
            IpcpType::Broadcast => {}
        }
        if !matches!(ipcp_type, IpcpType::Udp4 | IpcpType::Udp6) {
            config.layer.dir_hash = options.hash.unwrap_or_default() as u32;
        }
        config
            .check()
            .map_err(|error| format!("Invalid configuration: {}.", error.message()))?;
        Ok(config)
    }

    /// The part of the types udp4 and udp6.
    fn udp(&self, config: &mut IpcpConfig, ipcp_type: IpcpType) -> Result<(), String> {
        let options = &self.options;
        let v4 = ipcp_type == IpcpType::Udp4;
        let family = if v4 { "IPv4" } else { "IPv6" };
        let Some(ip) = options.ip else {
            return Err(format!(
                "Missing option \"ip\": a layer of type {} needs this machine's {family} address.",
                ipcp_type.as_str()
            ));
        };
        if ip.is_unspecified() && ip.is_ipv4() == v4 {
            return Err(format!(
                "Cannot use {family} address: \"{ip}\".\nGive an address of this machine."
            ));
        }
        let wrong = |what: &str, address: IpAddr| {
            Err(format!("Invalid {what}{family} address: \"{address}\"."))
        };
        let port = options.port.unwrap_or(o7s::irm::UDP_PORT);
        match (v4, ip, options.dns) {
            (true, IpAddr::V4(ip), None) => config.udp4 = Some(Udp4Config::new(ip, None, port)),
            (true, IpAddr::V4(ip), Some(IpAddr::V4(dns))) => {
                config.udp4 = Some(Udp4Config::new(ip, Some(dns), port));
            }
            (false, IpAddr::V6(ip), None) => config.udp6 = Some(Udp6Config::new(ip, None, port)),
            (false, IpAddr::V6(ip), Some(IpAddr::V6(dns))) => {
                config.udp6 = Some(Udp6Config::new(ip, Some(dns), port));
            }
            (_, ip, Some(dns)) if ip.is_ipv4() == v4 => return wrong("DNS ", dns),
            (_, ip, _) => return wrong("", ip),
        }
        let text = |error: o7s::Error| format!("Invalid host: {}.", error.message());
        let hosts = options.hosts.iter();
        if let Some(udp) = &mut config.udp4 {
            let hosts = hosts.map(|(name, address)| Udp4Host::parse(name, address));
            udp.hosts = hosts.collect::<Result<_, _>>().map_err(text)?;
        } else if let Some(udp) = &mut config.udp6 {
            let hosts = hosts.map(|(name, address)| Udp6Host::parse(name, address));
            udp.hosts = hosts.collect::<Result<_, _>>().map_err(text)?;
        }
        Ok(())
    }

    /// The given options that mean nothing to this type.
    #[must_use]
    pub fn foreign_options(&self, ipcp_type: IpcpType) -> Vec<&'static str> {
        let mut given = self.options.given.clone();
        given.retain(|word| !has_option(ipcp_type, word));
        given
    }
}

impl LayerOptions {
    /// The part of type unicast.
    fn unicast(&self) -> UnicastConfig {
        let default = UnicastConfig::default();
        let (dt, dir) = (default.dt, default.dir);
        let (ls, dht) = (dt.routing.ls, dir.dht);
        let pol = match self.routing {
            Some("lfa") => LinkStatePolicy::Lfa,
            Some("ecmp") => LinkStatePolicy::Ecmp,
            _ => LinkStatePolicy::Simple,
        };
        let cong_avoid = match self.congestion {
            Some("none") => CongestionPolicy::None,
            _ => CongestionPolicy::MbEcn,
        };
        UnicastConfig {
            dt: DtConfig {
                addr_size: self.addr_size.map_or(dt.addr_size, u32::from),
                eid_size: self.eid_size.map_or(dt.eid_size, u32::from),
                max_ttl: self.max_ttl.map_or(dt.max_ttl, u32::from),
                routing: RoutingConfig {
                    ls: LinkStateConfig {
                        pol: pol.into(),
                        t_recalc: self.ls_t_recalc.unwrap_or(ls.t_recalc),
                        t_update: self.ls_t_update.unwrap_or(ls.t_update),
                        t_timeo: self.ls_t_timeo.unwrap_or(ls.t_timeo),
                    },
                    ..dt.routing
                },
            },
            dir: DirConfig {
                dht: DhtConfig {
                    alpha: self.dht_alpha.unwrap_or(dht.alpha),
                    k: self.dht_k.unwrap_or(dht.k),
                    t_expire: self.dht_t_expire.unwrap_or(dht.t_expire),
                    t_refresh: self.dht_t_refresh.unwrap_or(dht.t_refresh),
                    t_replicate: self.dht_t_replicate.unwrap_or(dht.t_replicate),
                },
                ..dir
            },
            cong_avoid: cong_avoid.into(),
            ..default
        }
    }
}

/// Whether a type has this option of [`LayerOptions`].
fn has_option(ipcp_type: IpcpType, word: &str) -> bool {
    let udp = matches!(ipcp_type, IpcpType::Udp4 | IpcpType::Udp6);
    match word {
        "hash" => !udp,
        "ip" | "dns" | "port" | "host" => udp,
        "device" => matches!(ipcp_type, IpcpType::EthDix | IpcpType::EthLlc),
        "ethertype" => ipcp_type == IpcpType::EthDix,
        word if Impairment::OPTIONS.contains(&word) => ipcp_type == IpcpType::Local,
        _ => ipcp_type == IpcpType::Unicast,
    }
}
