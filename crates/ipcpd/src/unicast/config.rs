//! The configuration of a layer, from the daemon's form to that of members.

use o7s::{
    Error, ErrorKind, Name, Result,
    control::{self, IpcpConfig},
};
use o7s_wire::{
    dt::Address,
    enroll::{
        AddressPolicy, CongestionPolicy, DhtConfig, DtConfig, Layer, LayerConfig, LinkStateConfig,
        LinkStatePolicy, UnicastConfig,
    },
    hash::DirHash,
};

/// What the daemon wants the layer to be.
///
/// # Errors
/// [`ErrorKind::Invalid`]; the text names the field.
pub(super) fn layer(config: &IpcpConfig) -> Result<LayerConfig> {
    config.check()?;
    let invalid = |text: String| Error::new(ErrorKind::Invalid, text);
    let unicast = config
        .unicast
        .as_ref()
        .ok_or_else(|| invalid("the configuration has no part for IPCP type unicast".into()))?;
    let hash = DirHash::from_number(config.layer.dir_hash).ok_or_else(|| {
        invalid(format!(
            "there is no directory hash {}",
            config.layer.dir_hash
        ))
    })?;
    let octet = |field: &str, value: u32| {
        u8::try_from(value).map_err(|_| invalid(format!("{field} is {value}; it must fit 8 bits")))
    };
    let (dt, routing, dht) = (&unicast.dt, &unicast.dt.routing.ls, &unicast.dir.dht);
    Ok(LayerConfig {
        name: Name::new(&config.layer.name)?,
        hash,
        layer: Layer::Unicast(UnicastConfig {
            dt: DtConfig {
                eid_size: octet("eid_size", dt.eid_size)?,
                max_ttl: octet("max_ttl", dt.max_ttl)?,
                routing: LinkStateConfig {
                    policy: match routing.pol() {
                        control::LinkStatePolicy::Simple => LinkStatePolicy::Simple,
                        control::LinkStatePolicy::Lfa => LinkStatePolicy::Lfa,
                        control::LinkStatePolicy::Ecmp => LinkStatePolicy::Ecmp,
                    },
                    t_recalc: routing.t_recalc,
                    t_update: routing.t_update,
                    t_timeo: routing.t_timeo,
                },
            },
            dht: DhtConfig {
                alpha: dht.alpha,
                k: dht.k,
                t_expire: dht.t_expire,
                t_refresh: dht.t_refresh,
                t_replicate: dht.t_replicate,
                peer: Address::INVALID,
            },
            addresses: AddressPolicy::FlatRandom,
            congestion: match unicast.cong_avoid() {
                control::CongestionPolicy::None => CongestionPolicy::None,
                control::CongestionPolicy::MbEcn => CongestionPolicy::MultiBitEcn,
            },
        }),
    })
}
