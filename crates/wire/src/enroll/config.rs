//! The configuration of a layer that an enroller hands to an enrollee
//! (`spec/directory-enrollment.md` §2.3, §4.6).
//!
//! The schema has parts for all IPCP types, but only unicast and broadcast IPCPs enroll, so only those
//! cross a machine and only those are values here. What is parsed can be used: an enrollee of 0.23
//! would fail later, or crash.

use std::fmt;

use super::EnrollError;
use crate::{address::Address, hash::DirHash, name::Name};

const UNICAST: u32 = 1;
const BROADCAST: u32 = 2;

/// The configuration of a layer that has members on several machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerConfig {
    /// Name of the layer.
    pub name: Name,
    /// Hash of its directory; SHA3-256 in broadcast layers.
    pub hash: DirHash,
    /// What else depends on the type.
    pub layer: Layer,
}

/// The type of a layer, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// IPCP type 1.
    Unicast(UnicastConfig),
    /// IPCP type 2.
    Broadcast,
}

/// How members get their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressPolicy {
    /// Each draws 32 random bits other than 0.
    #[default]
    FlatRandom = 0,
}

/// What link-state routing makes of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LinkStatePolicy {
    /// Shortest paths.
    #[default]
    Simple = 0,
    /// Shortest paths, with loop-free alternates behind them.
    Lfa = 1,
    /// All first hops of equal cost.
    Ecmp = 2,
}

/// How congestion is avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CongestionPolicy {
    /// Not at all.
    None = 0,
    /// Multi-bit explicit congestion notification.
    #[default]
    MultiBitEcn = 1,
}

/// How names are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectoryPolicy {
    /// A distributed hash table.
    #[default]
    Dht = 0,
}

/// Link-state routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStateConfig {
    /// What is made of the graph.
    pub policy: LinkStatePolicy,
    /// Longest delay between a change of the graph and new routes, s; not 0.
    pub t_recalc: u32,
    /// Period of announcements, s; not 0.
    pub t_update: u32,
    /// Age at which an announcement is forgotten, s; not 0.
    pub t_timeo: u32,
}

/// Data transfer. Addresses have 4 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtConfig {
    /// Octets of an endpoint id; 8 is used whatever it says.
    pub eid_size: u8,
    /// TTL of a packet at its source; not 0.
    pub max_ttl: u8,
    /// Routing.
    pub routing: LinkStateConfig,
}

/// The distributed hash table; no value but `peer` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhtConfig {
    /// Parallel requests.
    pub alpha: u32,
    /// Contacts of a bucket, and copies of a value.
    pub k: u32,
    /// Life time of a value, s.
    pub t_expire: u32,
    /// Period in which contacts are refreshed, s.
    pub t_refresh: u32,
    /// Period in which values are replicated, s.
    pub t_replicate: u32,
    /// Whom to contact for joining: the enroller's own address. 0: nobody, the first member.
    pub peer: Address,
}

/// The parameters of a unicast layer, the same in all its members but for `dht.peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnicastConfig {
    /// Data transfer.
    pub dt: DtConfig,
    /// Directory; the only policy.
    pub dht: DhtConfig,
    /// Addresses.
    pub addresses: AddressPolicy,
    /// Congestion avoidance.
    pub congestion: CongestionPolicy,
}

impl Default for LinkStateConfig {
    fn default() -> Self {
        Self {
            policy: LinkStatePolicy::Simple,
            t_recalc: 4,
            t_update: 15,
            t_timeo: 60,
        }
    }
}

impl Default for DtConfig {
    fn default() -> Self {
        Self {
            eid_size: 8,
            max_ttl: 60,
            routing: LinkStateConfig::default(),
        }
    }
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            alpha: 3,
            k: 8,
            t_expire: 86_400,
            t_refresh: 900,
            t_replicate: 900,
            peer: Address::INVALID,
        }
    }
}

/// Octets of an address in the data transfer header; no other number is possible.
const ADDR_SIZE: u32 = 4;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RawLayerInfo {
    #[prost(bytes = "vec", optional, tag = "1")]
    name: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    dir_hash_algo: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawLinkState {
    #[prost(uint32, optional, tag = "1")]
    pol: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    t_recalc: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    t_update: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    t_timeo: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawRouting {
    #[prost(uint32, optional, tag = "1")]
    pol: Option<u32>,
    #[prost(message, optional, tag = "2")]
    ls: Option<RawLinkState>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawDt {
    #[prost(uint32, optional, tag = "1")]
    addr_size: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    eid_size: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    max_ttl: Option<u32>,
    #[prost(message, optional, tag = "4")]
    routing: Option<RawRouting>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawDht {
    #[prost(uint32, optional, tag = "1")]
    alpha: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    k: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    t_expire: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    t_refresh: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    t_replicate: Option<u32>,
    #[prost(uint64, optional, tag = "6")]
    peer: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawDir {
    #[prost(uint32, optional, tag = "1")]
    pol: Option<u32>,
    #[prost(message, optional, tag = "2")]
    dht: Option<RawDht>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawUnicast {
    #[prost(message, optional, tag = "1")]
    dt: Option<RawDt>,
    #[prost(message, optional, tag = "2")]
    dir: Option<RawDir>,
    #[prost(uint32, optional, tag = "3")]
    addr_auth_type: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    cong_avoid: Option<u32>,
}

/// `ipcp_config_msg`. Required fields are optional here, since the decoder takes a default for one that
/// is missing; the parts of types that do not enroll are unknown fields.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RawConfig {
    #[prost(message, optional, tag = "1")]
    layer_info: Option<RawLayerInfo>,
    #[prost(uint32, optional, tag = "2")]
    ipcp_type: Option<u32>,
    #[prost(message, optional, tag = "3")]
    unicast: Option<RawUnicast>,
}

/// The field of that name, which must be there.
fn need<T>(field: &'static str, value: Option<T>) -> Result<T, EnrollError> {
    value.ok_or(EnrollError::Missing(field))
}

/// A number that must be there and not 0.
fn positive(field: &'static str, value: Option<u32>) -> Result<u32, EnrollError> {
    let value = need(field, value)?;
    within(field, value, value != 0, "it must not be 0")?;
    Ok(value)
}

/// A number that must be there and fit 8 bits.
fn octet(field: &'static str, value: Option<u32>) -> Result<u8, EnrollError> {
    let value = need(field, value)?;
    u8::try_from(value).map_err(|_| EnrollError::Value {
        field,
        value: value.into(),
        allowed: "it must fit 8 bits",
    })
}

fn within(
    field: &'static str,
    value: u32,
    is: bool,
    allowed: &'static str,
) -> Result<(), EnrollError> {
    if is {
        return Ok(());
    }
    Err(EnrollError::Value {
        field,
        value: value.into(),
        allowed,
    })
}

impl LayerConfig {
    /// A broadcast layer of this name.
    #[must_use]
    pub fn broadcast(name: Name) -> Self {
        Self {
            name,
            hash: DirHash::Sha3_256,
            layer: Layer::Broadcast,
        }
    }

    pub(super) fn from_raw(raw: RawConfig) -> Result<Self, EnrollError> {
        let info = need("layer_info", raw.layer_info)?;
        let name = Name::from_bytes(&need("name", info.name)?)?;
        let number = need("dir_hash_algo", info.dir_hash_algo)?;
        let hash = DirHash::from_number(number).ok_or(EnrollError::Value {
            field: "dir_hash_algo",
            value: number.into(),
            allowed: "a directory hash has a number of 0 to 3",
        })?;
        let layer = match need("ipcp_type", raw.ipcp_type)? {
            UNICAST => Layer::Unicast(UnicastConfig::from_raw(need("unicast", raw.unicast)?)?),
            BROADCAST => {
                let right = hash == DirHash::Sha3_256;
                within(
                    "dir_hash_algo",
                    number,
                    right,
                    "a broadcast layer has 1 (SHA3-256)",
                )?;
                Layer::Broadcast
            }
            other => return Err(EnrollError::IpcpType(other)),
        };
        Ok(Self { name, hash, layer })
    }

    pub(super) fn to_raw(&self) -> RawConfig {
        let (ipcp_type, unicast) = match &self.layer {
            Layer::Unicast(config) => (UNICAST, Some(config.to_raw())),
            Layer::Broadcast => (BROADCAST, None),
        };
        RawConfig {
            layer_info: Some(RawLayerInfo {
                name: Some(self.name.as_str().into()),
                dir_hash_algo: Some(self.hash as u32),
            }),
            ipcp_type: Some(ipcp_type),
            unicast,
        }
    }
}

impl UnicastConfig {
    fn from_raw(raw: RawUnicast) -> Result<Self, EnrollError> {
        let dt = need("dt", raw.dt)?;
        let dir = need("dir", raw.dir)?;
        let routing = need("routing", dt.routing)?;
        let pol = need("routing.pol", routing.pol)?;
        within("routing.pol", pol, pol == 0, "it must be 0 (link state)")?;
        let ls = need("ls", routing.ls)?;
        let pol = need("ls.pol", ls.pol)?;
        let policy = match pol {
            0 => LinkStatePolicy::Simple,
            1 => LinkStatePolicy::Lfa,
            2 => LinkStatePolicy::Ecmp,
            _ => {
                return Err(EnrollError::Value {
                    field: "ls.pol",
                    value: pol.into(),
                    allowed: "it must be 0 (simple), 1 (LFA) or 2 (ECMP)",
                });
            }
        };
        let routing = LinkStateConfig {
            policy,
            t_recalc: positive("t_recalc", ls.t_recalc)?,
            t_update: positive("t_update", ls.t_update)?,
            t_timeo: positive("t_timeo", ls.t_timeo)?,
        };
        let addr_size = need("addr_size", dt.addr_size)?;
        within(
            "addr_size",
            addr_size,
            addr_size == ADDR_SIZE,
            "it must be 4",
        )?;
        let max_ttl = octet("max_ttl", dt.max_ttl)?;
        within("max_ttl", max_ttl.into(), max_ttl != 0, "it must not be 0")?;
        let dt = DtConfig {
            eid_size: octet("eid_size", dt.eid_size)?,
            max_ttl,
            routing,
        };
        let pol = need("dir.pol", dir.pol)?;
        within("dir.pol", pol, pol == 0, "it must be 0 (DHT)")?;
        let dht = need("dht", dir.dht)?;
        let dht = DhtConfig {
            alpha: positive("alpha", dht.alpha)?,
            k: positive("k", dht.k)?,
            t_expire: positive("t_expire", dht.t_expire)?,
            t_refresh: positive("t_refresh", dht.t_refresh)?,
            t_replicate: positive("t_replicate", dht.t_replicate)?,
            peer: need("peer", dht.peer)?.into(),
        };
        let policy = need("addr_auth_type", raw.addr_auth_type)?;
        within(
            "addr_auth_type",
            policy,
            policy == 0,
            "it must be 0 (flat random)",
        )?;
        let congestion = match need("cong_avoid", raw.cong_avoid)? {
            0 => CongestionPolicy::None,
            1 => CongestionPolicy::MultiBitEcn,
            other => {
                return Err(EnrollError::Value {
                    field: "cong_avoid",
                    value: other.into(),
                    allowed: "it must be 0 (none) or 1 (multi-bit ECN)",
                });
            }
        };
        Ok(Self {
            dt,
            dht,
            addresses: AddressPolicy::FlatRandom,
            congestion,
        })
    }

    fn to_raw(self) -> RawUnicast {
        let Self {
            dt,
            dht,
            addresses,
            congestion,
        } = self;
        let ls = RawLinkState {
            pol: Some(dt.routing.policy as u32),
            t_recalc: Some(dt.routing.t_recalc),
            t_update: Some(dt.routing.t_update),
            t_timeo: Some(dt.routing.t_timeo),
        };
        RawUnicast {
            dt: Some(RawDt {
                addr_size: Some(ADDR_SIZE),
                eid_size: Some(dt.eid_size.into()),
                max_ttl: Some(dt.max_ttl.into()),
                routing: Some(RawRouting {
                    pol: Some(0),
                    ls: Some(ls),
                }),
            }),
            dir: Some(RawDir {
                pol: Some(DirectoryPolicy::Dht as u32),
                dht: Some(RawDht {
                    alpha: Some(dht.alpha),
                    k: Some(dht.k),
                    t_expire: Some(dht.t_expire),
                    t_refresh: Some(dht.t_refresh),
                    t_replicate: Some(dht.t_replicate),
                    peer: Some(dht.peer.get()),
                }),
            }),
            addr_auth_type: Some(addresses as u32),
            cong_avoid: Some(congestion as u32),
        }
    }
}

impl fmt::Display for LayerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, hash, layer } = self;
        write!(f, "layer \"{name}\" hash {hash} ")?;
        match layer {
            Layer::Broadcast => f.write_str("broadcast"),
            Layer::Unicast(UnicastConfig {
                dt,
                dht,
                congestion,
                ..
            }) => write!(
                f,
                "unicast eid_size {} ttl {} routing {:?} {}/{}/{} s dht alpha {} k {} \
                 {}/{}/{} s peer {} congestion {congestion:?}",
                dt.eid_size,
                dt.max_ttl,
                dt.routing.policy,
                dt.routing.t_recalc,
                dt.routing.t_update,
                dt.routing.t_timeo,
                dht.alpha,
                dht.k,
                dht.t_expire,
                dht.t_refresh,
                dht.t_replicate,
                dht.peer
            ),
        }
    }
}
