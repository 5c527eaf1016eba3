//! The configuration of a layer as `ouroboros.irm` has it, turned into the message of the library.
//!
//! The classes are read by their attributes; ranges are checked by the library
//! (`o7s::irm::IpcpConfig::check`).

use std::{collections::BTreeMap, str::FromStr};

use o7s::{
    Error, ErrorKind, Result,
    irm::{self, DIR_HASH_MD5, IpcpType},
};
use pyo3::{exceptions::PyOverflowError, prelude::*};

/// An int that should fit 32 bits without sign; else its text.
struct Number(std::result::Result<u32, String>);

impl<'a, 'py> FromPyObject<'a, 'py> for Number {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<u32>() {
            Ok(number) => Ok(Self(Ok(number))),
            // Too large, or negative: not of the wrong type, but of the wrong value.
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                Ok(Self(Err(object.str()?.to_string())))
            }
            Err(error) => Err(error),
        }
    }
}

impl Number {
    fn get(self, field: &str) -> Result<u32> {
        self.0
            .map_err(|text| invalid(format!("{field} is {text}; it must be 0 to {}", u32::MAX)))
    }

    /// For policies, whose numbers the library knows.
    fn policy(self, field: &str) -> Result<i32> {
        let number = self.get(field)?;
        i32::try_from(number).map_err(|_| invalid(format!("there is no {field} {number}")))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// `LinkStateConfig`.
#[derive(FromPyObject)]
struct LinkState {
    pol: Number,
    t_recalc: Number,
    t_update: Number,
    t_timeo: Number,
}

/// `RoutingConfig`.
#[derive(FromPyObject)]
struct Routing {
    pol: Number,
    ls: LinkState,
}

/// `DtConfig`.
#[derive(FromPyObject)]
struct Dt {
    addr_size: Number,
    eid_size: Number,
    max_ttl: Number,
    routing: Routing,
}

/// `DhtConfig`.
#[derive(FromPyObject)]
struct Dht {
    alpha: Number,
    k: Number,
    t_expire: Number,
    t_refresh: Number,
    t_replicate: Number,
}

/// `DirConfig`.
#[derive(FromPyObject)]
struct Dir {
    pol: Number,
    dht: Dht,
}

/// `UnicastConfig`.
#[derive(FromPyObject)]
struct Unicast {
    dt: Dt,
    dir: Dir,
    addr_auth: Number,
    cong_avoid: Number,
}

/// `EthConfig`.
#[derive(FromPyObject)]
struct Eth {
    dev: String,
    ethertype: Number,
}

/// `LocalConfig`.
#[derive(FromPyObject)]
struct Local {
    loss: f64,
    delay: f64,
    jitter: f64,
    reorder: f64,
    duplicate: f64,
    corrupt: f64,
    mtu: Number,
    seed: u64,
}

/// `Udp4Config` and `Udp6Config`.
#[derive(FromPyObject)]
struct Udp {
    /// A dictionary has an order, but no two names alike.
    hosts: BTreeMap<String, Addresses>,
    ip_addr: String,
    dns_addr: String,
    port: Number,
}

/// Where a name is.
#[derive(FromPyObject)]
enum Addresses {
    One(String),
    Several(Vec<String>),
}

/// `IpcpConfig`.
#[derive(FromPyObject)]
pub(crate) struct LayerConfig {
    ipcp_type: Number,
    layer_name: String,
    dir_hash_algo: Number,
    local: Option<Local>,
    unicast: Option<Unicast>,
    eth: Option<Eth>,
    udp4: Option<Udp>,
    udp6: Option<Udp>,
}

impl LayerConfig {
    /// The message of the library. Parts of other types are left out, a missing one of this type
    /// has the defaults.
    pub(crate) fn message(self) -> Result<irm::IpcpConfig> {
        let number = self.ipcp_type.policy("IPCP type")?;
        let ipcp_type = IpcpType::try_from(number).map_err(|_| {
            Error::new(
                ErrorKind::IpcpType,
                format!("there is no IPCP type number {number}"),
            )
        })?;
        let mut config = irm::IpcpConfig::new(ipcp_type, &self.layer_name);
        // UDP layers have no choice.
        if config.layer.dir_hash != DIR_HASH_MD5 {
            config.layer.dir_hash = self.dir_hash_algo.get("directory hash")?;
        }
        match ipcp_type {
            IpcpType::Broadcast => {}
            IpcpType::Local => config.local = self.local.map(Local::message).transpose()?,
            IpcpType::Unicast => {
                if let Some(unicast) = self.unicast {
                    config.unicast = Some(unicast.message()?);
                }
            }
            IpcpType::EthLlc | IpcpType::EthDix => {
                if let Some(eth) = self.eth {
                    config.eth = Some(irm::EthConfig {
                        dev: eth.dev,
                        ethertype: eth.ethertype.get("ethertype")?,
                    });
                }
            }
            IpcpType::Udp4 => {
                if let Some(udp) = self.udp4 {
                    let (ip, dns, port, hosts) = udp.parse("IPv4", irm::Udp4Host::parse)?;
                    config.udp4 = Some(irm::Udp4Config {
                        hosts,
                        ..irm::Udp4Config::new(ip, Some(dns), port)
                    });
                }
            }
            IpcpType::Udp6 => {
                if let Some(udp) = self.udp6 {
                    let (ip, dns, port, hosts) = udp.parse("IPv6", irm::Udp6Host::parse)?;
                    config.udp6 = Some(irm::Udp6Config {
                        hosts,
                        ..irm::Udp6Config::new(ip, Some(dns), port)
                    });
                }
            }
        }
        Ok(config)
    }
}

impl Unicast {
    fn message(self) -> Result<irm::UnicastConfig> {
        let (dt, dir) = (self.dt, self.dir);
        let routing = dt.routing;
        let (ls, dht) = (routing.ls, dir.dht);
        Ok(irm::UnicastConfig {
            dt: irm::DtConfig {
                addr_size: dt.addr_size.get("addr_size")?,
                eid_size: dt.eid_size.get("eid_size")?,
                max_ttl: dt.max_ttl.get("max_ttl")?,
                routing: irm::RoutingConfig {
                    pol: routing.pol.policy("routing policy")?,
                    ls: irm::LinkStateConfig {
                        pol: ls.pol.policy("link-state policy")?,
                        t_recalc: ls.t_recalc.get("t_recalc")?,
                        t_update: ls.t_update.get("t_update")?,
                        t_timeo: ls.t_timeo.get("t_timeo")?,
                    },
                },
            },
            dir: irm::DirConfig {
                pol: dir.pol.policy("directory policy")?,
                dht: irm::DhtConfig {
                    alpha: dht.alpha.get("dht alpha")?,
                    k: dht.k.get("dht k")?,
                    t_expire: dht.t_expire.get("dht t_expire")?,
                    t_refresh: dht.t_refresh.get("dht t_refresh")?,
                    t_replicate: dht.t_replicate.get("dht t_replicate")?,
                },
            },
            addr_auth: self.addr_auth.policy("address policy")?,
            cong_avoid: self.cong_avoid.policy("congestion avoidance policy")?,
        })
    }
}

impl Udp {
    /// Address, name server (all 0 = none), port and hosts.
    fn parse<A: FromStr, H>(
        self,
        family: &str,
        host: fn(&str, &str) -> Result<H>,
    ) -> Result<(A, A, u16, Vec<H>)> {
        let address = |what: &str, text: &str| {
            text.parse()
                .map_err(|_| invalid(format!("{what} is {text:?}, which is no {family} address")))
        };
        let port = self.port.get("port")?;
        let port = u16::try_from(port)
            .map_err(|_| invalid(format!("port is {port}; it must be 1 to 65535")))?;
        Ok((
            address("ip_addr", &self.ip_addr)?,
            address("dns_addr", &self.dns_addr)?,
            port,
            (self.hosts.iter())
                .flat_map(|(name, addresses)| match addresses {
                    Addresses::One(address) => vec![host(name, address)],
                    Addresses::Several(addresses) => {
                        let addresses = addresses.iter();
                        addresses.map(|address| host(name, address)).collect()
                    }
                })
                .collect::<Result<_>>()?,
        ))
    }
}

impl Local {
    fn message(self) -> Result<irm::Impairment> {
        Ok(irm::Impairment {
            loss: scaled("loss", self.loss, 1e6)?,
            delay_us: scaled("delay", self.delay, 1e6)?,
            jitter_us: scaled("jitter", self.jitter, 1e6)?,
            reorder: scaled("reorder", self.reorder, 1e6)?,
            duplicate: scaled("duplicate", self.duplicate, 1e6)?,
            corrupt: scaled("corrupt", self.corrupt, 1e6)?,
            mtu: self.mtu.get("mtu")?,
            seed: self.seed,
        })
    }
}

/// A probability or a time in s as the millionths of the message.
fn scaled(field: &str, value: f64, factor: f64) -> Result<u32> {
    let scaled = (value * factor).round();
    if (0.0..=f64::from(u32::MAX)).contains(&scaled) {
        // Whole and in range.
        Ok(scaled as u32)
    } else {
        Err(invalid(format!(
            "{field} is {value}; it must be 0 or more, and not that large"
        )))
    }
}
