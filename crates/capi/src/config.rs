//! The configuration of a layer as C programs give it.

use std::ffi::c_uint;

use o7s::{
    DirHash, Error, ErrorKind, Result,
    irm::{
        DIR_HASH_MD5, DhtConfig, DirConfig, DtConfig, ETHERTYPE, EthConfig, IpcpConfig, IpcpType,
        LayerInfo, LinkStateConfig, RoutingConfig, Udp4Config, Udp6Config, UnicastConfig,
    },
};

use crate::{
    boundary::{invalid, text_in},
    layout,
};

/// The type with a number.
///
/// # Errors
/// [`ErrorKind::IpcpType`] if there is none.
pub fn ipcp_type(number: c_uint) -> Result<IpcpType> {
    let known = i32::try_from(number).ok();
    known
        .and_then(|number| IpcpType::try_from(number).ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::IpcpType,
                format!("there is no IPCP type with number {number}"),
            )
        })
}

/// The configuration, with the part that its type needs; [`IpcpConfig::check`] looks at the values.
///
/// UDP layers hash with MD5 and broadcast layers with SHA3-256, whatever the structure says.
///
/// # Errors
/// [`ErrorKind::IpcpType`]; [`ErrorKind::Invalid`] for texts that are no UTF-8 and times that are
/// no seconds.
pub fn from_c(config: &layout::IpcpConfig) -> Result<IpcpConfig> {
    let kind = ipcp_type(config.ipcp_type)?;
    let dir_hash = match kind {
        IpcpType::Udp4 | IpcpType::Udp6 => DIR_HASH_MD5,
        IpcpType::Broadcast => DirHash::default() as u32,
        _ => config.layer_info.dir_hash_algo,
    };
    let mut to = IpcpConfig {
        ipcp_type: kind.into(),
        layer: LayerInfo {
            name: text_in(&config.layer_info.name, "the name of the layer")?.to_owned(),
            dir_hash,
        },
        ..IpcpConfig::default()
    };
    let part = &config.of_type;
    // SAFETY, for all that follow: every member of the union consists of numbers, for which any
    // bytes are values.
    match kind {
        IpcpType::Local | IpcpType::Broadcast => {}
        // SAFETY: see above.
        IpcpType::Unicast => to.unicast = Some(unicast(unsafe { &part.unicast })?),
        IpcpType::EthLlc | IpcpType::EthDix => {
            // SAFETY: see above.
            let eth = unsafe { &part.eth };
            to.eth = Some(EthConfig {
                dev: text_in(&eth.dev, "the name of the device")?.to_owned(),
                ethertype: match kind {
                    IpcpType::EthDix => eth.ethertype.into(),
                    _ => ETHERTYPE.into(),
                },
            });
        }
        IpcpType::Udp4 => {
            // SAFETY: see above.
            let udp = unsafe { &part.udp4 };
            let dns = (udp.dns_addr != [0; 4]).then(|| udp.dns_addr.into());
            to.udp4 = Some(Udp4Config::new(udp.ip_addr.into(), dns, udp.port));
        }
        IpcpType::Udp6 => {
            // SAFETY: see above.
            let udp = unsafe { &part.udp6 };
            let dns = (udp.dns_addr != [0; 16]).then(|| udp.dns_addr.into());
            to.udp6 = Some(Udp6Config::new(udp.ip_addr.into(), dns, udp.port));
        }
    }
    Ok(to)
}

fn unicast(config: &layout::UniConfig) -> Result<UnicastConfig> {
    let layout::UniConfig { dt, dir, .. } = config;
    let ls = &dt.routing.ls;
    Ok(UnicastConfig {
        dt: DtConfig {
            addr_size: dt.addr_size.into(),
            eid_size: dt.eid_size.into(),
            max_ttl: dt.max_ttl.into(),
            routing: RoutingConfig {
                pol: policy(dt.routing.pol),
                ls: LinkStateConfig {
                    pol: policy(ls.pol),
                    t_recalc: seconds("t_recalc", ls.t_recalc)?,
                    t_update: seconds("t_update", ls.t_update)?,
                    t_timeo: seconds("t_timeo", ls.t_timeo)?,
                },
            },
        },
        dir: DirConfig {
            pol: policy(dir.pol),
            dht: DhtConfig {
                alpha: dir.dht.alpha,
                k: dir.dht.k,
                t_expire: dir.dht.t_expire,
                t_refresh: dir.dht.t_refresh,
                t_replicate: dir.dht.t_replicate,
            },
        },
        addr_auth: policy(config.addr_auth_type),
        cong_avoid: policy(config.cong_avoid),
    })
}

/// Numbers beyond those of any policy stay so.
fn policy(number: c_uint) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn seconds(field: &str, time: libc::time_t) -> Result<u32> {
    u32::try_from(time).map_err(|_| invalid(format!("{field} is {time} s; it must be from 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::put_text;

    fn config(kind: IpcpType) -> layout::IpcpConfig {
        // SAFETY: it consists of numbers, for which zeros are values.
        let mut config: layout::IpcpConfig = unsafe { std::mem::zeroed() };
        put_text(&mut config.layer_info.name, "lan");
        config.layer_info.dir_hash_algo = 1;
        config.ipcp_type = kind as c_uint;
        config
    }

    #[test]
    fn every_type_takes_its_part() {
        for kind in [IpcpType::Local, IpcpType::Broadcast] {
            assert_eq!(from_c(&config(kind)).unwrap(), IpcpConfig::new(kind, "lan"));
        }
        let mut c = config(IpcpType::Unicast);
        let ls = layout::LsConfig {
            pol: 0,
            t_recalc: 4,
            t_update: 15,
            t_timeo: 60,
        };
        c.of_type.unicast = layout::UniConfig {
            dt: layout::DtConfig {
                addr_size: 4,
                eid_size: 8,
                max_ttl: 60,
                routing: layout::RoutingConfig { pol: 0, ls },
            },
            dir: layout::DirConfig {
                pol: 0,
                dht: layout::DirDhtConfig {
                    alpha: 3,
                    k: 8,
                    t_expire: 86_400,
                    t_refresh: 900,
                    t_replicate: 900,
                    peer: 7,
                },
            },
            addr_auth_type: 0,
            cong_avoid: 1,
        };
        let defaults = IpcpConfig::new(IpcpType::Unicast, "lan");
        assert_eq!(from_c(&c).unwrap(), defaults);
        c.of_type.unicast.dt.routing.ls.t_update = -1;
        assert_eq!(from_c(&c).unwrap_err().errno(), libc::EINVAL);
        c.of_type.unicast.dt.routing.ls.t_update = 1;
        c.of_type.unicast.cong_avoid = u32::MAX;
        assert_eq!(
            from_c(&c).unwrap().check().unwrap_err().errno(),
            libc::EINVAL
        );

        for (kind, ethertype) in [(IpcpType::EthDix, 0xa001), (IpcpType::EthLlc, 0xa000)] {
            let mut c = config(kind);
            let mut dev = [0; 256];
            put_text(&mut dev, "eth0");
            c.of_type.eth = layout::EthConfig {
                dev,
                ethertype: 0xa001,
            };
            let eth = from_c(&c).unwrap().eth.unwrap();
            assert_eq!((&*eth.dev, eth.ethertype), ("eth0", ethertype));
        }

        let mut c = config(IpcpType::Udp4);
        c.of_type.udp4 = layout::Udp4Config {
            ip_addr: [127, 0, 0, 1],
            dns_addr: [9, 9, 9, 9],
            port: 3435,
        };
        let to = from_c(&c).unwrap();
        to.check().unwrap();
        assert_eq!(to.layer.dir_hash, DIR_HASH_MD5);
        assert_eq!(
            to.udp4.unwrap(),
            Udp4Config::new([127, 0, 0, 1].into(), Some([9, 9, 9, 9].into()), 3435)
        );

        let mut c = config(IpcpType::Udp6);
        c.of_type.udp6 = layout::Udp6Config {
            ip_addr: std::net::Ipv6Addr::LOCALHOST.octets(),
            dns_addr: [0; 16],
            port: 9,
        };
        let to = from_c(&c).unwrap();
        to.check().unwrap();
        assert_eq!(to.udp6.unwrap().dns(), Ok(None));

        c.ipcp_type = 7;
        assert_eq!(from_c(&c).unwrap_err().errno(), 1001);
    }
}
