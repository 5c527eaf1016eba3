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

#[test]
fn mistakes_are_shown_with_their_place_and_what_is_allowed() {
    let long = "n".repeat(256);
    let unicast = |option: &str| format!("[unicast.x]\nbootstrap = \"l\"\n{option}");
    for (text, place, message) in [
        (
            "[lokal.x]".to_owned(),
            "1:2",
            "did you mean \"local\"? allowed are name, local,",
        ),
        (
            "name = 3".to_owned(),
            "1:8",
            "name must be a table of tables",
        ),
        (
            "[name]\na = 3".to_owned(),
            "2:5",
            "\"a\" must be a table, not an integer",
        ),
        (
            "[name.\"\"]".to_owned(),
            "1:7",
            "this is no name: a name must not be empty",
        ),
        (format!("[local.{long}]"), "1:8", "the limit is 255 bytes"),
        (
            "[name.a]\nlb = \"x\"".to_owned(),
            "2:6",
            "allowed are \"spill\", \"round-robin\"",
        ),
        (
            "[name.a]\nlb = 1".to_owned(),
            "2:6",
            "lb must be a string, not an integer",
        ),
        (
            "[name.a]\nprog = [1]".to_owned(),
            "2:9",
            "prog must be an array of strings",
        ),
        (
            "[name.a]\nprog = [\"\"]".to_owned(),
            "2:9",
            "\"\" is no path of a program",
        ),
        (
            "[name.a]\nprog = [\"x\"]\nargs = [\"\"]".to_owned(),
            "2:9",
            "\"x\" cannot be started: it is no absolute path",
        ),
        (
            "[local.x]\n[unicast.x]".to_owned(),
            "2:10",
            "there are two IPCPs named \"x\"",
        ),
        (
            "[local.x]\nenrol = \"y\"".to_owned(),
            "2:9",
            "an IPCP of type local cannot enroll",
        ),
        (
            format!("[local.x]\nbootstrap = \"{long}\""),
            "2:13",
            "this is no name of a layer",
        ),
        (
            "[local.x]\nautobind = \"yes\"".to_owned(),
            "2:12",
            "autobind must be true or false",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nreg = [\"\"]".to_owned(),
            "3:8",
            "this is no name",
        ),
        (
            "[unicast.x]\nenrol = \"a\"\nenroll = \"b\"".to_owned(),
            "3:1",
            "\"enroll\" is another spelling of \"enrol\", which is there too",
        ),
        (
            "[eth-dix.x]\nbootstrap = \"l\"".to_owned(),
            "2:13",
            "a layer of type eth-dix needs dev",
        ),
        (
            "[eth-llc.x]\nbootstrap = \"l\"\ndev = \"\"".to_owned(),
            "3:7",
            "has 1 to 255 bytes",
        ),
        (
            "[eth-dix.x]\nbootstrap = \"l\"\ndev = \"lo\"\nethertype = 0xFFFF".to_owned(),
            "4:13",
            "allowed are 1536 to 65534",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"".to_owned(),
            "2:13",
            "a layer of type udp4 needs ip",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"::1\"".to_owned(),
            "3:6",
            "is no IPv4 address",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"0.0.0.0\"".to_owned(),
            "3:6",
            "cannot be used",
        ),
        (
            "[udp6.x]\nbootstrap = \"l\"\nip = \"::\"".to_owned(),
            "3:6",
            "cannot be used",
        ),
        (
            "[udp6.x]\nbootstrap = \"l\"\nip = \"::1\"\ndns = \"x\"".to_owned(),
            "4:7",
            "\"x\" is no IPv6 address",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nport = 0".to_owned(),
            "4:8",
            "allowed are 1 to 65535",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = \"a=1.1.1.2\"".to_owned(),
            "4:9",
            "write hosts = { oping = \"192.0.2.7\" }",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = { a = \"::1\" }".to_owned(),
            "4:15",
            "the host \"a\" has the address \"::1\"",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = { a = [\"1.1.1.2\", 7] }"
                .to_owned(),
            "4:27",
            "a string",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nloss = 101".to_owned(),
            "3:8",
            "\"101\" is no value of loss",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\ndelay = true".to_owned(),
            "3:9",
            "delay must be a number or a string",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nmtu = 0".to_owned(),
            "3:7",
            "allowed are 1 to 1048560",
        ),
        (
            unicast("addr_size = 8"),
            "3:13",
            "addr_size is out of range",
        ),
        (unicast("eid_size = 9"), "3:12", "allowed are 1 to 8"),
        (unicast("max_ttl = 256"), "3:11", "allowed are 1 to 255"),
        (unicast("dht_alpha = 11"), "3:13", "allowed are 1 to 10"),
        (unicast("dht_k = 21"), "3:9", "allowed are 1 to 20"),
        (unicast("dht_k = \"8\""), "3:9", "write dht_k = 8"),
        (
            unicast("dht_t_expire = 9"),
            "3:16",
            "allowed are 10 to 86400",
        ),
        (
            unicast("dht_t_refresh = 3601"),
            "3:17",
            "allowed are 3 to 3600",
        ),
        (
            unicast("dht_t_replicate = -1"),
            "3:19",
            "allowed are 3 to 3600",
        ),
        (unicast("ls_t_recalc = 0"), "3:15", "allowed are 1 to"),
        (unicast("ls_t_update = 0"), "3:15", "allowed are 1 to"),
        (
            unicast("ls_t_timeo = 99999999999999999999"),
            "3:14",
            "allowed are 1 to",
        ),
        (unicast("directory = \"x\""), "3:13", "allowed are \"DHT\""),
        (unicast("directory = DHT"), "3:13", "string"),
        (
            unicast("routing = \"x\""),
            "3:11",
            "\"link-state\", \"lfa\", \"ecmp\"",
        ),
        (unicast("addr-auth = \"x\""), "3:13", "allowed are \"flat\""),
        (
            unicast("congestion = \"x\""),
            "3:14",
            "allowed are \"none\", \"mb-ecn\"",
        ),
        ("[name.a]\n[name.a]".to_owned(), "2:7", "duplicate key"),
        ("[name.a".to_owned(), "1:8", "unclosed table"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(
            error.contains(&format!("--> irmd.conf:{place}\n")),
            "{text}\n{error}"
        );
        assert!(error.contains(message), "{text}\n{error}");
        assert!(error.contains(" | ") && error.contains('^'), "{error}");
        assert!(error.ends_with("irmd.conf: 1 error\n"), "{text}\n{error}");
    }
    // Not endlessly many; the number is that of all.
    let many: String = (0..60).map(|n| format!("[lokal{n}.x]\n")).collect();
    let error = parse(&many).unwrap_err();
    assert_eq!(error.matches("-->").count(), 50);
    assert!(
        error.ends_with("… and 10 more\n\nirmd.conf: 60 errors\n"),
        "{error}"
    );
    // All at once.
    let error = parse("[lokal.x]\n[name.a]\nlb = 1\n").unwrap_err();
    assert!(error.ends_with("irmd.conf: 2 errors\n"), "{error}");
}

#[test]
fn what_has_no_effect_is_told_and_the_file_is_used() {
    for (text, expected) in [
        (
            "[name.a]\nprogs = []",
            "irmd.conf:2:1: unknown key \"progs\" is ignored; did you mean \"prog\"? keys of a \
             name are",
        ),
        (
            "[name.a]\nhash = \"SHA3_256\"",
            "irmd.conf:2:1: hash has no effect on a name; remove it",
        ),
        (
            "[local.a]\nbootstrap = \"l\"\ndev = \"lo\"",
            "irmd.conf:3:1: dev has no effect on an IPCP of type local",
        ),
        (
            "[unicast.a]\nbootstrap = \"l\"\nhash = \"SHA3_512\"",
            "irmd.conf:3:1: hash has no effect on an IPCP of type unicast",
        ),
        (
            "[eth-llc.a]\nbootstrap = \"l\"\ndev = \"lo\"\nethertype = 1",
            "irmd.conf:4:1: ethertype has no effect on an IPCP of type eth-llc",
        ),
        (
            "[name.a]\nprog = []\nargs = [\"-l\"]",
            "irmd.conf:3:9: these arguments have no program",
        ),
    ] {
        let config = good(text);
        assert_eq!(config.warnings.len(), 1, "{config:?}");
        assert!(config.warnings[0].starts_with(expected), "{config:?}");
        assert!(config.summary().ends_with("; 1 warning"), "{config:?}");
    }
    // Unicast and broadcast layers use SHA3-256 whatever the file says.
    let unicast = good("[unicast.a]\nbootstrap = \"l\"\nhash = \"SHA3_512\"");
    let Some(Join::Bootstrap(config)) = ipcp(&unicast.entries[0])
        .join
        .as_ref()
        .map(|join| &join.value)
    else {
        panic!("{unicast:?}");
    };
    assert_eq!(config.layer.dir_hash, 1);
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "(\\[(name|local|unicast|udp4)\\.[a-c]\\]|\n|[a-z]{2,5} = |[\"\\[\\]]|enrol|bootstrap|lan|[0-9]|\\PC){0,30}") {
        match parse(&text) {
            Ok(config) => prop_assert!(config.entries.len() <= text.len()),
            Err(error) => prop_assert!(error.contains("error: ")),
        }
    }
}
