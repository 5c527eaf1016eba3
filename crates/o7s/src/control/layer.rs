//! The configuration of a layer, for every IPCP type (`spec/irm-tools.md` §3.1, §7.4, §9).
//!
//! The defaults are those of the specification: `UnicastConfig::default()` is a complete
//! configuration. Numbers are as they were sent; [`IpcpConfig::check`] looks at them once.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::{Impairment, IpcpConfig, IpcpType, LayerInfo};
use crate::{DirHash, Error, ErrorKind, Name, Result};

/// Number of MD5 in layer configurations: the directory hash of UDP layers, which have no choice.
pub const DIR_HASH_MD5: u32 = DirHash::Md5 as u32;

/// Longest name of a network device in bytes.
pub const DEVICE_MAX: usize = 255;

/// UDP port of layers of type udp4 and udp6.
pub const UDP_PORT: u16 = 3435;

/// Most names with fixed addresses in the configuration of a UDP layer.
pub const UDP_HOSTS_MAX: usize = 256;

/// Ethertype of layers of type eth-dix.
pub const ETHERTYPE: u16 = 0xa000;

/// How addresses are assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AddressPolicy {
    /// Random numbers.
    FlatRandom = 0,
}

/// How routes are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum RoutingPolicy {
    /// Every member knows the whole graph.
    LinkState = 0,
}

/// What link-state routing does with the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum LinkStatePolicy {
    /// Shortest paths.
    Simple = 0,
    /// Loop-free alternates.
    Lfa = 1,
    /// Paths of equal cost share the load.
    Ecmp = 2,
}

/// How congestion is avoided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CongestionPolicy {
    /// Not at all.
    None = 0,
    /// Multi-bit explicit congestion notification.
    MbEcn = 1,
}

/// How names are found in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum DirectoryPolicy {
    /// A distributed hash table.
    Dht = 0,
}

/// Link-state routing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LinkStateConfig {
    /// What is made of the graph.
    #[prost(enumeration = "LinkStatePolicy", tag = "1")]
    pub pol: i32,
    /// Delay between a change and the new routes, s, from 1.
    #[prost(uint32, tag = "2", default = "4")]
    pub t_recalc: u32,
    /// Interval of updates, s, from 1.
    #[prost(uint32, tag = "3", default = "15")]
    pub t_update: u32,
    /// Age at which a link is forgotten, s, from 1.
    #[prost(uint32, tag = "4", default = "60")]
    pub t_timeo: u32,
}

/// Routing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RoutingConfig {
    /// The policy.
    #[prost(enumeration = "RoutingPolicy", tag = "1")]
    pub pol: i32,
    /// Of link-state routing.
    #[prost(message, required, tag = "2")]
    pub ls: LinkStateConfig,
}

/// Data transfer.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DtConfig {
    /// Bytes of an address; 4.
    #[prost(uint32, tag = "1", default = "4")]
    pub addr_size: u32,
    /// Bytes of an endpoint id, 1 to 8; 8 is used whatever it says (`spec/unicast.md` §1).
    #[prost(uint32, tag = "2", default = "8")]
    pub eid_size: u32,
    /// Hops of a packet, 1 to 255.
    #[prost(uint32, tag = "3", default = "60")]
    pub max_ttl: u32,
    /// Routing.
    #[prost(message, required, tag = "4")]
    pub routing: RoutingConfig,
}

/// The distributed hash table.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DhtConfig {
    /// Parallel requests, 1 to 10.
    #[prost(uint32, tag = "1", default = "3")]
    pub alpha: u32,
    /// Replicas, 1 to 20.
    #[prost(uint32, tag = "2", default = "8")]
    pub k: u32,
    /// Age at which an entry is forgotten, s, 10 to 86,400.
    #[prost(uint32, tag = "3", default = "86400")]
    pub t_expire: u32,
    /// Interval at which buckets are refreshed, s, 3 to 3600.
    #[prost(uint32, tag = "4", default = "900")]
    pub t_refresh: u32,
    /// Interval at which entries are replicated, s, 3 to 3600.
    #[prost(uint32, tag = "5", default = "900")]
    pub t_replicate: u32,
}

/// The directory.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DirConfig {
    /// The policy.
    #[prost(enumeration = "DirectoryPolicy", tag = "1")]
    pub pol: i32,
    /// Of the DHT.
    #[prost(message, required, tag = "2")]
    pub dht: DhtConfig,
}

/// A layer of type unicast.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UnicastConfig {
    /// Data transfer.
    #[prost(message, required, tag = "1")]
    pub dt: DtConfig,
    /// Directory.
    #[prost(message, required, tag = "2")]
    pub dir: DirConfig,
    /// Addresses.
    #[prost(enumeration = "AddressPolicy", tag = "3")]
    pub addr_auth: i32,
    /// Congestion avoidance.
    #[prost(enumeration = "CongestionPolicy", tag = "4", default = "MbEcn")]
    pub cong_avoid: i32,
}

/// A layer of type eth-llc or eth-dix.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EthConfig {
    /// Network device, 1 to 255 bytes.
    #[prost(string, tag = "1")]
    pub dev: String,
    /// Of eth-dix: 0x0600 to 0xFFFE.
    #[prost(uint32, tag = "2", default = "40960")]
    pub ethertype: u32,
}

/// Where a name is served, for layers of type udp4 without name server.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Udp4Host {
    /// The name, as programs allocate flows to it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Address of the member that serves it, as [`Udp4Config::ip_addr`]; not 0.
    #[prost(fixed32, tag = "2")]
    pub ip_addr: u32,
    /// Its UDP port; 0 = that of the layer.
    #[prost(uint32, tag = "3")]
    pub port: u32,
}

/// Where a name is served, for layers of type udp6 without name server.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Udp6Host {
    /// The name, as programs allocate flows to it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Address of the member that serves it, 16 bytes in network order; not all 0.
    #[prost(bytes = "vec", tag = "2")]
    pub ip_addr: Vec<u8>,
    /// Its UDP port; 0 = that of the layer.
    #[prost(uint32, tag = "3")]
    pub port: u32,
}

/// A layer of type udp4.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Udp4Config {
    /// Own address as a number (127.0.0.1 is 0x7f000001); not 0.
    #[prost(fixed32, tag = "1")]
    pub ip_addr: u32,
    /// Name server; 0 = none.
    #[prost(fixed32, tag = "2")]
    pub dns_addr: u32,
    /// UDP port, 1 to 65,535.
    #[prost(uint32, tag = "3", default = "3435")]
    pub port: u32,
    /// Names with fixed addresses, asked before any name server; at most [`UDP_HOSTS_MAX`].
    #[prost(message, repeated, tag = "4")]
    pub hosts: Vec<Udp4Host>,
}

/// A layer of type udp6.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Udp6Config {
    /// Own address, 16 bytes in network order; not all 0.
    #[prost(bytes = "vec", tag = "1")]
    pub ip_addr: Vec<u8>,
    /// Name server, 16 bytes; none or all 0 = none.
    #[prost(bytes = "vec", tag = "2")]
    pub dns_addr: Vec<u8>,
    /// UDP port, 1 to 65,535.
    #[prost(uint32, tag = "3", default = "3435")]
    pub port: u32,
    /// Names with fixed addresses, asked before any name server; at most [`UDP_HOSTS_MAX`].
    #[prost(message, repeated, tag = "4")]
    pub hosts: Vec<Udp6Host>,
}

impl Udp4Host {
    /// A name at an address, at a port or the layer's.
    #[must_use]
    pub fn new(name: &str, ip: Ipv4Addr, port: Option<u16>) -> Self {
        Self {
            name: name.to_owned(),
            ip_addr: ip.into(),
            port: port.map_or(0, Into::into),
        }
    }

    /// A name at an address as people write it: `192.0.2.7` or `192.0.2.7:4000`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for any other text.
    pub fn parse(name: &str, address: &str) -> Result<Self> {
        if let Ok(ip) = address.parse() {
            return Ok(Self::new(name, ip, None));
        }
        let address: SocketAddrV4 = address.parse().map_err(|_| {
            invalid(format!(
                "the host {name:?} has the address {address:?}; write an IPv4 address like \
                 192.0.2.7, or 192.0.2.7:4000 with its port"
            ))
        })?;
        Ok(Self::new(name, *address.ip(), Some(address.port())))
    }

    /// The address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip_addr.into()
    }
}

impl Udp6Host {
    /// A name at an address, at a port or the layer's.
    #[must_use]
    pub fn new(name: &str, ip: Ipv6Addr, port: Option<u16>) -> Self {
        Self {
            name: name.to_owned(),
            ip_addr: ip.octets().to_vec(),
            port: port.map_or(0, Into::into),
        }
    }

    /// A name at an address as people write it: `2001:db8::7` or `[2001:db8::7]:4000`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for any other text.
    pub fn parse(name: &str, address: &str) -> Result<Self> {
        if let Ok(ip) = address.parse() {
            return Ok(Self::new(name, ip, None));
        }
        let address: SocketAddrV6 = address.parse().map_err(|_| {
            invalid(format!(
                "the host {name:?} has the address {address:?}; write an IPv6 address like \
                 2001:db8::7, or [2001:db8::7]:4000 with its port"
            ))
        })?;
        Ok(Self::new(name, *address.ip(), Some(address.port())))
    }

    /// The address.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless it has 16 bytes.
    pub fn ip(&self) -> Result<Ipv6Addr> {
        address6("ip_addr", &self.ip_addr)
    }
}

impl Udp4Config {
    /// With this address, perhaps a name server, and a port.
    #[must_use]
    pub fn new(ip: Ipv4Addr, dns: Option<Ipv4Addr>, port: u16) -> Self {
        Self {
            ip_addr: ip.into(),
            dns_addr: dns.map_or(0, Into::into),
            port: port.into(),
            hosts: Vec::new(),
        }
    }

    /// Own address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip_addr.into()
    }

    /// Name server.
    #[must_use]
    pub fn dns(&self) -> Option<Ipv4Addr> {
        (self.dns_addr != 0).then(|| self.dns_addr.into())
    }
}

impl Udp6Config {
    /// With this address, perhaps a name server, and a port.
    #[must_use]
    pub fn new(ip: Ipv6Addr, dns: Option<Ipv6Addr>, port: u16) -> Self {
        Self {
            ip_addr: ip.octets().to_vec(),
            dns_addr: dns.map_or_else(Vec::new, |dns| dns.octets().to_vec()),
            port: port.into(),
            hosts: Vec::new(),
        }
    }

    /// Own address.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless it has 16 bytes.
    pub fn ip(&self) -> Result<Ipv6Addr> {
        address6("ip_addr", &self.ip_addr)
    }

    /// Name server.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless it has 16 bytes, or none.
    pub fn dns(&self) -> Result<Option<Ipv6Addr>> {
        if self.dns_addr.is_empty() {
            return Ok(None);
        }
        let dns = address6("dns_addr", &self.dns_addr)?;
        Ok((!dns.is_unspecified()).then_some(dns))
    }
}

fn address6(field: &str, bytes: &[u8]) -> Result<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes)
        .map(Ipv6Addr::from)
        .map_err(|_| {
            invalid(format!(
                "{field} has {} bytes; an IPv6 address has 16",
                bytes.len()
            ))
        })
}

impl IpcpConfig {
    /// The defaults of a type for a layer of this name. Types eth-* still need a device, types udp*
    /// an address.
    #[must_use]
    pub fn new(ipcp_type: IpcpType, layer: &str) -> Self {
        let udp = matches!(ipcp_type, IpcpType::Udp4 | IpcpType::Udp6);
        let mut config = Self {
            ipcp_type: ipcp_type.into(),
            layer: LayerInfo {
                name: layer.to_owned(),
                dir_hash: if udp {
                    DIR_HASH_MD5
                } else {
                    DirHash::default() as u32
                },
            },
            ..Self::default()
        };
        match ipcp_type {
            IpcpType::Unicast => config.unicast = Some(UnicastConfig::default()),
            IpcpType::EthLlc | IpcpType::EthDix => config.eth = Some(EthConfig::default()),
            IpcpType::Udp4 => config.udp4 = Some(Udp4Config::default()),
            IpcpType::Udp6 => config.udp6 = Some(Udp6Config::default()),
            IpcpType::Local | IpcpType::Broadcast => {}
        }
        config
    }

    /// Sets the directory hash of types that have no choice of it: MD5 for udp4 and udp6, SHA3-256
    /// for broadcast (`spec/shims.md` §1.4 item 3).
    pub fn force_hash(&mut self) {
        match IpcpType::try_from(self.ipcp_type) {
            Ok(IpcpType::Udp4 | IpcpType::Udp6) => self.layer.dir_hash = DIR_HASH_MD5,
            Ok(IpcpType::Broadcast) => self.layer.dir_hash = DirHash::Sha3_256 as u32,
            _ => {}
        }
    }

    /// Fails unless everything that the type needs is there and every value is allowed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::IpcpType`]; the text names the field, its value and
    /// what is allowed.
    pub fn check(&self) -> Result<()> {
        Name::new(&self.layer.name)?;
        let ipcp_type = IpcpType::try_from(self.ipcp_type).map_err(|_| {
            Error::new(
                ErrorKind::IpcpType,
                format!("there is no IPCP type with number {}", self.ipcp_type),
            )
        })?;
        let kind = ipcp_type.as_str();
        let missing = || {
            invalid(format!(
                "the configuration has no part for IPCP type {kind}"
            ))
        };
        let udp = matches!(ipcp_type, IpcpType::Udp4 | IpcpType::Udp6);
        let hash = DirHash::from_number(self.layer.dir_hash);
        if hash.is_none_or(|hash| (hash == DirHash::Md5) != udp) {
            let known = if udp {
                "MD5 (5)"
            } else {
                "one of SHA3 (0 to 3)"
            };
            return Err(invalid(format!(
                "the directory hash has the number {}; a layer of type {kind} has {known}",
                self.layer.dir_hash
            )));
        }
        match ipcp_type {
            IpcpType::Local => self.local.as_ref().map_or(Ok(()), Impairment::check),
            IpcpType::Broadcast if self.layer.dir_hash != DirHash::Sha3_256 as u32 => {
                Err(invalid("a broadcast layer uses the hash SHA3_256".into()))
            }
            IpcpType::Broadcast => Ok(()),
            IpcpType::Unicast => self.unicast.as_ref().ok_or_else(missing)?.check(),
            IpcpType::EthLlc | IpcpType::EthDix => self.eth.as_ref().ok_or_else(missing)?.check(),
            IpcpType::Udp4 => {
                let udp = self.udp4.as_ref().ok_or_else(missing)?;
                check_udp(udp.ip_addr == 0, &udp.ip(), udp.port)?;
                check_hosts(udp.hosts.len())?;
                udp.hosts.iter().try_for_each(|host| {
                    check_host(&host.name, host.ip_addr == 0, &host.ip(), host.port)
                })
            }
            IpcpType::Udp6 => {
                let udp = self.udp6.as_ref().ok_or_else(missing)?;
                let ip = udp.ip()?;
                udp.dns()?;
                check_udp(ip.is_unspecified(), &ip, udp.port)?;
                check_hosts(udp.hosts.len())?;
                udp.hosts.iter().try_for_each(|host| {
                    let ip = host.ip()?;
                    check_host(&host.name, ip.is_unspecified(), &ip, host.port)
                })
            }
        }
    }
}

impl UnicastConfig {
    fn check(&self) -> Result<()> {
        let Self { dt, dir, .. } = self;
        let (ls, dht) = (&dt.routing.ls, &dir.dht);
        within("addr_size", dt.addr_size, 4, 4)?;
        within("eid_size", dt.eid_size, 1, 8)?;
        within("max_ttl", dt.max_ttl, 1, 255)?;
        within("t_recalc", ls.t_recalc, 1, u32::MAX)?;
        within("t_update", ls.t_update, 1, u32::MAX)?;
        within("t_timeo", ls.t_timeo, 1, u32::MAX)?;
        within("dht alpha", dht.alpha, 1, 10)?;
        within("dht k", dht.k, 1, 20)?;
        within("dht t_expire", dht.t_expire, 10, 86_400)?;
        within("dht t_refresh", dht.t_refresh, 3, 3600)?;
        within("dht t_replicate", dht.t_replicate, 3, 3600)?;
        policy::<AddressPolicy>("address", self.addr_auth)?;
        policy::<CongestionPolicy>("congestion avoidance", self.cong_avoid)?;
        policy::<RoutingPolicy>("routing", dt.routing.pol)?;
        policy::<LinkStatePolicy>("link-state", ls.pol)?;
        policy::<DirectoryPolicy>("directory", dir.pol)
    }
}

impl EthConfig {
    fn check(&self) -> Result<()> {
        if self.dev.is_empty() || self.dev.len() > DEVICE_MAX {
            return Err(invalid(format!(
                "the name of the network device has {} bytes; it must have 1 to {DEVICE_MAX}",
                self.dev.len()
            )));
        }
        if (0x0600..=0xfffe).contains(&self.ethertype) {
            return Ok(());
        }
        Err(invalid(format!(
            "ethertype is {:#06x}; it must be 0x0600 to 0xfffe, best 0xa000 to 0xefff",
            self.ethertype
        )))
    }
}

fn check_udp(unspecified: bool, ip: &dyn std::fmt::Display, port: u32) -> Result<()> {
    if unspecified {
        return Err(invalid(format!(
            "the address {ip} cannot be used; give an address of this machine"
        )));
    }
    within("port", port, 1, u16::MAX.into())
}

fn check_hosts(number: usize) -> Result<()> {
    if number <= UDP_HOSTS_MAX {
        return Ok(());
    }
    Err(invalid(format!(
        "the configuration has {number} hosts; there may be {UDP_HOSTS_MAX}: use a name server"
    )))
}

fn check_host(name: &str, unspecified: bool, ip: &dyn std::fmt::Display, port: u32) -> Result<()> {
    Name::new(name)?;
    if unspecified {
        return Err(invalid(format!(
            "the host {name} cannot have the address {ip}; give the address of the machine that \
             serves the name"
        )));
    }
    within("port of a host", port, 0, u16::MAX.into())
}

pub(super) fn within(field: &str, value: u32, from: u32, to: u32) -> Result<()> {
    if (from..=to).contains(&value) {
        return Ok(());
    }
    Err(invalid(if from == to {
        format!("{field} is {value}; it must be {from}")
    } else {
        format!("{field} is {value}; it must be {from} to {to}")
    }))
}

fn policy<P: TryFrom<i32>>(what: &str, number: i32) -> Result<()> {
    match P::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(format!(
            "there is no {what} policy with number {number}"
        ))),
    }
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
