//! The configuration of a layer: defaults, the way through a message, what is refused.

use super::*;
use prost::Message;

#[test]
fn the_defaults_are_those_of_the_specification() {
    let unicast = UnicastConfig::default();
    let (dt, dir) = (unicast.dt, unicast.dir);
    assert_eq!((dt.addr_size, dt.eid_size, dt.max_ttl), (4, 8, 60));
    let ls = dt.routing.ls;
    assert_eq!(
        (ls.pol, ls.t_recalc, ls.t_update, ls.t_timeo),
        (LinkStatePolicy::Simple as i32, 4, 15, 60)
    );
    let dht = dir.dht;
    assert_eq!((dht.alpha, dht.k, dht.t_expire), (3, 8, 86_400));
    assert_eq!((dht.t_refresh, dht.t_replicate), (900, 900));
    assert_eq!(unicast.cong_avoid(), CongestionPolicy::MbEcn);
    assert_eq!(EthConfig::default().ethertype, ETHERTYPE.into());
    assert_eq!(Udp4Config::default().port, UDP_PORT.into());
    assert_eq!(Udp6Config::default().port, UDP_PORT.into());
    for kind in IpcpType::ALL {
        let hash = IpcpConfig::new(kind, "x").layer.dir_hash;
        let udp = matches!(kind, IpcpType::Udp4 | IpcpType::Udp6);
        assert_eq!(hash, if udp { 5 } else { 1 }, "{kind:?}");
    }
}

#[test]
fn every_value_survives_the_way_through_a_message() {
    let mut config = IpcpConfig::new(IpcpType::Unicast, "lan");
    // A zero is a value like others, also where the default is another.
    let unicast = config.unicast.as_mut().unwrap();
    unicast.set_cong_avoid(CongestionPolicy::None);
    unicast.dt.max_ttl = 0;
    unicast.dir.dht.k = 4;
    config.udp6 = Some(Udp6Config::new(Ipv6Addr::LOCALHOST, None, 9));
    config.udp4 = Some(Udp4Config::new(
        Ipv4Addr::LOCALHOST,
        Some(Ipv4Addr::new(9, 9, 9, 9)),
        7,
    ));
    config.eth = Some(EthConfig {
        dev: "lo".to_owned(),
        ethertype: 0,
    });
    let back = IpcpConfig::decode(&*config.encode_to_vec()).unwrap();
    assert_eq!(back, config);
    let udp = back.udp4.unwrap();
    assert_eq!(udp.ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(udp.dns(), Some(Ipv4Addr::new(9, 9, 9, 9)));
    assert_eq!(back.udp6.unwrap().dns(), Ok(None));
}

#[test]
fn hosts_are_addresses_with_or_without_a_port() {
    let host = Udp4Host::parse("oping", "192.0.2.7:4000").unwrap();
    assert_eq!(
        host,
        Udp4Host::new("oping", Ipv4Addr::new(192, 0, 2, 7), Some(4000))
    );
    assert_eq!(Udp4Host::parse("oping", "127.0.0.1").unwrap().port, 0);
    let host = Udp6Host::parse("oping", "[::1]:4000").unwrap();
    assert_eq!(
        host,
        Udp6Host::new("oping", Ipv6Addr::LOCALHOST, Some(4000))
    );
    assert_eq!(
        Udp6Host::parse("oping", "::1").unwrap().ip(),
        Ok(Ipv6Addr::LOCALHOST)
    );
    for text in [
        "",
        "::1",
        "192.0.2",
        "192.0.2.7:",
        "192.0.2.7:70000",
        "host",
    ] {
        assert!(Udp4Host::parse("n", text).is_err(), "{text}");
    }
    assert!(Udp6Host::parse("n", "::1:4000:").is_err());

    let mut config = IpcpConfig::new(IpcpType::Udp4, "net");
    let udp = config.udp4.as_mut().unwrap();
    udp.ip_addr = 1;
    udp.hosts = vec![host4("a"); UDP_HOSTS_MAX];
    config.check().unwrap();
    let refused = |hosts: Vec<Udp4Host>| {
        let mut config = config.clone();
        config.udp4.as_mut().unwrap().hosts = hosts;
        config.check().unwrap_err().message().to_owned()
    };
    let many = refused(vec![host4("a"); UDP_HOSTS_MAX + 1]);
    assert!(
        many.starts_with("the configuration has 257 hosts"),
        "{many}"
    );
    let nowhere = refused(vec![Udp4Host::new("a", Ipv4Addr::UNSPECIFIED, None)]);
    assert!(nowhere.starts_with("the host a cannot"), "{nowhere}");
    assert!(!refused(vec![host4("")]).is_empty());
}

fn host4(name: &str) -> Udp4Host {
    Udp4Host::new(name, Ipv4Addr::LOCALHOST, None)
}

#[test]
fn a_hash_that_a_type_cannot_have_is_forced_or_refused() {
    let mut config = IpcpConfig::new(IpcpType::Unicast, "lan");
    config.layer.dir_hash = DIR_HASH_MD5;
    let error = config.check().unwrap_err();
    assert!(error.message().contains("one of SHA3"), "{error}");
    config.force_hash();
    assert_eq!(config.layer.dir_hash, DIR_HASH_MD5);
    for (kind, hash) in [(IpcpType::Udp6, DIR_HASH_MD5), (IpcpType::Broadcast, 1)] {
        let mut config = IpcpConfig::new(kind, "x");
        config.layer.dir_hash = 0;
        config.force_hash();
        assert_eq!(config.layer.dir_hash, hash);
    }
}

/// Sets one field to one value, and says what the refusal must begin with.
type Case = (IpcpType, fn(&mut IpcpConfig), &'static str);

#[test]
fn what_is_missing_or_not_allowed_is_named() {
    fn unicast(config: &mut IpcpConfig) -> &mut UnicastConfig {
        config.unicast.as_mut().unwrap()
    }
    fn eth(config: &mut IpcpConfig) -> &mut EthConfig {
        config.eth.as_mut().unwrap()
    }
    let good = |kind| {
        let mut config = IpcpConfig::new(kind, "lan");
        if let Some(eth) = &mut config.eth {
            eth.dev = "lo".to_owned();
        }
        if let Some(udp) = &mut config.udp4 {
            udp.ip_addr = Ipv4Addr::LOCALHOST.into();
        }
        if let Some(udp) = &mut config.udp6 {
            udp.ip_addr = Ipv6Addr::LOCALHOST.octets().to_vec();
        }
        config
    };
    for kind in IpcpType::ALL {
        good(kind).check().unwrap();
    }
    let cases: &[Case] = &[
        (IpcpType::Local, |c| c.layer.name.clear(), "a name must"),
        (
            IpcpType::Local,
            |c| c.ipcp_type = 7,
            "there is no IPCP type",
        ),
        (IpcpType::Broadcast, |c| c.layer.dir_hash = 0, "a broadcast"),
        (
            IpcpType::Unicast,
            |c| c.unicast = None,
            "the configuration has no part",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dt.addr_size = 2,
            "addr_size is 2; it must be 4",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dt.eid_size = 9,
            "eid_size is 9; it must be 1 to 8",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dt.max_ttl = 0,
            "max_ttl is 0",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dt.routing.ls.t_update = 0,
            "t_update is 0",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dt.routing.ls.pol = 3,
            "there is no link-state",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dir.dht.alpha = 11,
            "dht alpha is 11",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dir.dht.k = 21,
            "dht k is 21",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).dir.dht.t_expire = 9,
            "dht t_expire is 9",
        ),
        (
            IpcpType::Unicast,
            |c| unicast(c).cong_avoid = 2,
            "there is no congestion",
        ),
        (
            IpcpType::EthLlc,
            |c| c.eth = None,
            "the configuration has no part",
        ),
        (
            IpcpType::EthLlc,
            |c| eth(c).dev.clear(),
            "the name of the network device",
        ),
        (
            IpcpType::EthDix,
            |c| eth(c).ethertype = 0xffff,
            "ethertype is 0xffff",
        ),
        (
            IpcpType::Udp4,
            |c| c.udp4 = Some(Udp4Config::default()),
            "the address 0.0.0.0",
        ),
        (
            IpcpType::Udp6,
            |c| c.udp6 = Some(Udp6Config::default()),
            "ip_addr has 0 bytes",
        ),
        (
            IpcpType::Udp6,
            |c| c.udp6 = Some(Udp6Config::new(Ipv6Addr::UNSPECIFIED, None, 1)),
            "the address ::",
        ),
        (
            IpcpType::Udp4,
            |c| c.udp4 = Some(Udp4Config::new(Ipv4Addr::LOCALHOST, None, 0)),
            "port is 0",
        ),
    ];
    for (kind, spoil, expected) in cases {
        let mut config = good(*kind);
        spoil(&mut config);
        let error = config.check().unwrap_err();
        assert!(error.message().starts_with(expected), "{error}");
    }
}
