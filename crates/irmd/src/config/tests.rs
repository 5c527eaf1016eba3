//! The schema of the configuration file, statement by statement (`spec/irm-tools.md` §9).

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use o7s::irm::{
    Balance, CongestionPolicy, DIR_HASH_MD5, Impairment, IpcpConfig, IpcpType, LinkStatePolicy,
    NameInfo, Udp4Host, Udp6Host, UnicastConfig,
};
use proptest::prelude::*;

mod mistakes;

use super::{At, Config, Entry, IpcpEntry, Item, Join, NameEntry, ProgramEntry};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("irmd.conf"), text).map_err(|unusable| unusable.0)
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap()
}

fn ipcp(entry: &Entry) -> &IpcpEntry {
    match &entry.item {
        Item::Ipcp(ipcp) => ipcp,
        Item::Name(name) => panic!("{name:?} is no IPCP"),
    }
}

fn name(entry: &Entry) -> &NameEntry {
    match &entry.item {
        Item::Name(name) => name,
        Item::Ipcp(ipcp) => panic!("{ipcp:?} is no name"),
    }
}

/// The layer that the only entry starts.
#[track_caller]
fn layer(text: &str) -> IpcpConfig {
    let config = good(text);
    assert_eq!(config.warnings, [""; 0], "{text}");
    match ipcp(&config.entries[0])
        .join
        .as_ref()
        .map(|join| &join.value)
    {
        Some(Join::Bootstrap(config)) => {
            config.check().unwrap();
            (**config).clone()
        }
        other => panic!("{other:?} starts no layer"),
    }
}

fn unicast(options: &str) -> UnicastConfig {
    layer(&format!("[unicast.n]\nbootstrap = \"lan\"\n{options}"))
        .unicast
        .unwrap()
}

#[test]
fn entries_come_in_the_order_of_the_file() {
    let config = good(
        "[local.z]\n[name.b]\n[local.a]\n[name.a]\n[broadcast.c]\n\
         # Tables of one kind belong together, where the first stands.\n",
    );
    let order: Vec<&str> = config
        .entries
        .iter()
        .map(|entry| match &entry.item {
            Item::Name(name) => name.info.name.as_str(),
            Item::Ipcp(ipcp) => ipcp.name.as_str(),
        })
        .collect();
    assert_eq!(order, ["z", "a", "b", "a", "c"]);
    let lines: Vec<usize> = config.entries.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [1, 3, 2, 4, 5]);
    assert_eq!(config.summary(), "irmd.conf: good: 2 names, 3 IPCPs");
    assert_eq!(good("").entries, []);
}

#[test]
fn names() {
    let config = good(
        "[name.\"a b\"]\n[name.c]\nlb = \"round-robin\"\n\
         prog = [\"/usr/bin/x\", \"y\", \"/z\"]\nargs = [\"-l  --now\", ]\n\
         [name.d]\nlb = \"spillover\"\nprog = [\"/x\", \"/y\"]\nargs = [\"\"]\n",
    );
    let [first, second, third] = &config.entries[..] else {
        panic!("{config:?}");
    };
    // Policy spill unless another is said.
    let info = NameInfo {
        name: "a b".to_owned(),
        balance: Balance::Spill.into(),
        ..NameInfo::default()
    };
    assert_eq!(
        (&name(first).info, &name(first).programs[..]),
        (&info, &[][..])
    );
    assert_eq!(name(second).info.balance, Balance::RoundRobin as i32);
    let program = |line, path: &str, args: Option<&[&str]>| At {
        line,
        value: ProgramEntry {
            path: path.to_owned(),
            args: args.map(|args| args.iter().map(|arg| (*arg).to_owned()).collect()),
        },
    };
    // Split at spaces; a shorter list leaves the rest not started.
    assert_eq!(
        name(second).programs,
        [
            program(4, "/usr/bin/x", Some(&["-l", "--now"])),
            program(4, "y", None),
            program(4, "/z", None),
        ]
    );
    assert_eq!(name(third).info.balance, Balance::Spill as i32);
    assert_eq!(
        name(third).programs,
        [program(8, "/x", Some(&[])), program(8, "/y", None)]
    );
}

#[test]
fn security_files_must_be_there_and_get_their_full_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pem");
    std::fs::write(&file, "").unwrap();
    let full = file.canonicalize().unwrap().display().to_string();
    let given = format!("{}/./key.pem", dir.path().display());
    for (key, place) in [
        ("server_enc_file", 0),
        ("server_crt_file", 1),
        ("server_key_file", 2),
        ("client_enc_file", 3),
        ("client_crt_file", 4),
        ("client_key_file", 5),
    ] {
        let config = good(&format!("[name.a]\n{key} = \"{given}\""));
        let info = &name(&config.entries[0]).info;
        let paths = [&info.server, &info.client].map(|paths| {
            let paths = paths.clone().unwrap_or_default();
            [paths.encryption, paths.certificate, paths.key]
        });
        let mut expected = [""; 6];
        expected[place] = &full;
        assert_eq!(paths.as_flattened(), expected, "{key}");

        let error = parse(&format!("[name.a]\n{key} = \"/nowhere/x\"")).unwrap_err();
        assert!(error.contains("cannot find \"/nowhere/x\""), "{error}");
        assert!(error.contains("irmd.conf:2:19"), "{error}");
    }
    assert_eq!(name(&good("[name.a]").entries[0]).info.server, None);
}

#[test]
fn ipcps_come_into_layers() {
    let entry = |text: &str| ipcp(&good(text).entries[0]).clone();
    // Neither word: only made.
    let alone = entry("[local.x]");
    assert_eq!((alone.join, alone.autobind), (None, false));
    let all = entry(
        "[unicast.x]\nenrol = \"dst\"\nautobind = true\nreg = [\"a\", \"b\"]\nconn = [\"c\"]",
    );
    assert_eq!(
        all.join,
        Some(At {
            line: 2,
            value: Join::Enroll("dst".to_owned())
        })
    );
    assert!(all.autobind);
    let words =
        |list: &[At<String>]| -> Vec<String> { list.iter().map(|at| at.value.clone()).collect() };
    assert_eq!(words(&all.reg), ["a", "b"]);
    assert_eq!(words(&all.conn), ["c"]);
    // The other spelling; false is false.
    let other = entry("[broadcast.x]\nenroll = \"dst\"\nautobind = false");
    assert!(matches!(other.join.unwrap().value, Join::Enroll(_)));
    assert!(!other.autobind);

    // Both: as enrol. conn without enrol: ignored. Both are told.
    let both = good("[unicast.x]\nenrol = \"dst\"\nbootstrap = \"lan\"");
    assert!(matches!(
        ipcp(&both.entries[0]).join.as_ref().unwrap().value,
        Join::Enroll(_)
    ));
    assert_eq!(
        both.warnings,
        ["irmd.conf:3:13: bootstrap is ignored: the entry has enrol too; remove one of the two"]
    );
    let conn = good("[unicast.x]\nbootstrap = \"lan\"\nconn = [\"c\"]");
    assert_eq!(ipcp(&conn.entries[0]).conn, []);
    assert_eq!(conn.warnings.len(), 1);
    // Without a layer there is nothing to bind or register.
    assert_eq!(
        good("[local.x]\nautobind = true\nreg = [\"a\"]")
            .warnings
            .len(),
        2
    );
}

#[test]
fn layers_without_options_have_the_defaults() {
    for (kind, option) in [
        (IpcpType::Local, ""),
        (IpcpType::Unicast, ""),
        (IpcpType::Broadcast, ""),
        (IpcpType::EthLlc, "dev = \"eth0\""),
        (IpcpType::EthDix, "dev = \"eth0\""),
        (IpcpType::Udp4, "ip = \"192.0.2.1\""),
        (IpcpType::Udp6, "ip = \"2001:db8::1\""),
    ] {
        let config = layer(&format!(
            "[{}.x]\nbootstrap = \"lan\"\n{option}",
            kind.as_str()
        ));
        let mut expected = IpcpConfig::new(kind, "lan");
        if let Some(eth) = &mut expected.eth {
            eth.dev = "eth0".to_owned();
        }
        if let Some(udp) = &mut expected.udp4 {
            udp.ip_addr = 0xc000_0201;
        }
        if let Some(udp) = &mut expected.udp6 {
            // Stored, unlike in 0.23.
            udp.ip_addr = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        }
        assert_eq!(config, expected, "{kind:?}");
    }
}

#[test]
fn every_option_of_eth_and_udp() {
    for (word, number) in [
        ("SHA3_224", 0),
        ("SHA3_256", 1),
        ("SHA3_384", 2),
        ("SHA3_512", 3),
    ] {
        for kind in ["local", "eth-llc", "eth-dix"] {
            let dev = if kind == "local" { "" } else { "dev = \"lo\"" };
            let config = layer(&format!(
                "[{kind}.x]\nbootstrap = \"l\"\nhash = \"{word}\"\n{dev}"
            ));
            assert_eq!(config.layer.dir_hash, number, "{kind} {word}");
        }
    }
    let eth = layer("[eth-dix.x]\nbootstrap = \"l\"\ndev = \"lo\"\nethertype = 0xA007");
    assert_eq!(eth.eth.unwrap().ethertype, 0xa007);
    let udp =
        layer("[udp4.x]\nbootstrap = \"l\"\nip = \"127.0.0.1\"\ndns = \"9.9.9.9\"\nport = 1_000");
    assert_eq!(udp.layer.dir_hash, DIR_HASH_MD5);
    let udp = udp.udp4.unwrap();
    assert_eq!((udp.dns().unwrap().octets(), udp.port), ([9; 4], 1000));
    let udp = layer("[udp6.x]\nbootstrap = \"l\"\nip = \"::1\"\ndns = \"::2\"\nport = 9");
    let udp = udp.udp6.unwrap();
    assert_eq!(udp.ip().unwrap(), Ipv6Addr::LOCALHOST);
    assert_eq!((udp.dns().unwrap().unwrap().octets()[15], udp.port), (2, 9));
}

#[test]
fn hosts_and_impairments() {
    let udp = layer(
        "[udp4.x]\nbootstrap = \"l\"\nip = \"127.0.0.1\"\n\
         hosts = { oping = \"192.0.2.7\", \"a b\" = \"192.0.2.8:4000\" }",
    );
    assert_eq!(
        udp.udp4.unwrap().hosts,
        [
            Udp4Host::new("oping", Ipv4Addr::new(192, 0, 2, 7), None),
            Udp4Host::new("a b", Ipv4Addr::new(192, 0, 2, 8), Some(4000)),
        ]
    );
    let udp = layer(
        "[udp6.x]\nbootstrap = \"l\"\nip = \"::1\"\n[udp6.x.hosts]\n\
         oping = [\"[::2]:9\", \"::3\"]\nnone = []",
    );
    let [two, three] = ["::2", "::3"].map(|ip| ip.parse().unwrap());
    assert_eq!(
        udp.udp6.unwrap().hosts,
        [
            Udp6Host::new("oping", two, Some(9)),
            Udp6Host::new("oping", three, None)
        ]
    );

    let local = |options: &str| layer(&format!("[local.x]\nbootstrap = \"l\"\n{options}")).local;
    assert_eq!(local(""), None);
    assert_eq!(local("loss = 0"), Some(Impairment::default()));
    assert_eq!(
        local(
            "loss = 0.5\ndelay = 20\njitter = 0.25\nreorder = \"1%\"\nduplicate = \"500ppm\"\n\
             corrupt = 100\nmtu = 1400\nseed = 7"
        ),
        Some(Impairment {
            loss: 5_000,
            delay_us: 20_000,
            jitter_us: 250,
            reorder: 10_000,
            duplicate: 500,
            corrupt: 1_000_000,
            mtu: 1400,
            seed: 7,
        })
    );
}

#[test]
fn every_option_of_unicast() {
    let all = unicast(
        "addr_size = 4\neid_size = 7\nmax_ttl = 50\ndirectory = \"dht\"\ndht_alpha = 2\n\
         dht_k = 9\ndht_t_expire = 10\ndht_t_refresh = 3\ndht_t_replicate = 4\n\
         routing = \"ecmp\"\nls_t_recalc = 1\nls_t_update = 2\nls_t_timeo = 3\n\
         addr-auth = \"flat\"\ncongestion = \"none\"",
    );
    let (dt, dht) = (all.dt, all.dir.dht);
    assert_eq!((dt.addr_size, dt.eid_size, dt.max_ttl), (4, 7, 50));
    assert_eq!((dht.alpha, dht.k, dht.t_expire), (2, 9, 10));
    assert_eq!((dht.t_refresh, dht.t_replicate), (3, 4));
    let ls = dt.routing.ls;
    assert_eq!((ls.t_recalc, ls.t_update, ls.t_timeo), (1, 2, 3));
    assert_eq!(ls.pol(), LinkStatePolicy::Ecmp);
    assert_eq!(all.cong_avoid(), CongestionPolicy::None);
    // Every spelling of the file, of irm and of the sample file.
    for (option, pol) in [
        ("routing = \"link-state\"", LinkStatePolicy::Simple),
        ("routing = \"link_state\"", LinkStatePolicy::Simple),
        ("routing = \"lfa\"", LinkStatePolicy::Lfa),
    ] {
        assert_eq!(unicast(option).dt.routing.ls.pol(), pol, "{option}");
    }
    for option in ["\"mb-ecn\"", "\"mb_ecn\"", "\"lfa\""] {
        let unicast = unicast(&format!("congestion = {option}"));
        assert_eq!(unicast.cong_avoid(), CongestionPolicy::MbEcn, "{option}");
    }
    assert_eq!(unicast("dht_t_expiry = 11").dir.dht.t_expire, 11);
    assert_eq!(
        unicast("addr_auth = \"flat\"\ndirectory = \"DHT\""),
        UnicastConfig::default()
    );
}
