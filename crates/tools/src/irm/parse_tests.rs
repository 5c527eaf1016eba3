//! Every operation of the grammar, its abbreviations and its mistakes.

use o7s::{DirHash, control::Impairment};

use super::*;
use crate::irm::command::Bootstrap;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn command(line: &str) -> Command {
    parse(&words(line))
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
        .command
}

fn failure(line: &str) -> ParseError {
    match parse(&words(line)) {
        Err(error) => error,
        Ok(invocation) => panic!("{line}: {invocation:?}"),
    }
}

fn bootstrap(line: &str) -> Bootstrap {
    match command(line) {
        Command::BootstrapIpcp(bootstrap) => *bootstrap,
        other => panic!("{line}: {other:?}"),
    }
}

fn selection(layers: &[&str], ipcps: &[&str]) -> Selection {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Selection {
        layers: owned(layers),
        ipcps: owned(ipcps),
    }
}

/// `spec/irm-tools.md` §7.1.
#[test]
fn the_documented_equivalences() {
    for (short, long) in [
        (
            "i b t local n local l local",
            "ipcp bootstrap type local name local layer local",
        ),
        ("n r oecho l local", "name register oecho layer local"),
        ("b prog ./x n oecho", "bind program ./x name oecho"),
        ("i c n x t local", "ipcp create type local name x"),
        ("i d n x", "ipcp destroy name x"),
        ("i co n x d y", "ipcp connect name x dst y"),
        (
            "i di n x d y c dt",
            "ipcp disconnect name x dst y component dt",
        ),
        ("i e n x l lan", "ipcp enroll name x layer lan"),
        ("i enrol n x l lan", "ipcp enroll name x layer lan"),
        ("i l t local", "ipcp list type local"),
        ("i s n x", "ipcp show name x"),
        ("i s x", "ipcp show name x"),
        ("b pro ./x n o", "bind program ./x name o"),
        ("b proc 1 n o", "bind process 1 name o"),
        ("b i x n o", "bind ipcp x name o"),
        ("u prog x n o", "unbind program x name o"),
        ("u proc 1 n o", "unbind process 1 name o"),
        ("u i x n o", "unbind ipcp x name o"),
        ("n c x lb spill", "name create x lb spillover"),
        ("n d x", "name destroy x"),
        ("n u x i y", "name unregister x ipcp y"),
        ("n l", "name list"),
        ("n l l o", "name list o"),
        ("s", "status"),
        ("h", "help"),
        ("c fish", "completions fish"),
        (
            "i b type u n a l b ip 10.0.0.1 type local",
            "i b n a l b t local ip 10.0.0.1",
        ),
    ] {
        assert_eq!(command(short), command(long), "{short}");
    }
    // The empty word matches the first keyword.
    assert_eq!(command(" l"), command("ipcp list"));
}

#[test]
fn every_operation_is_understood() {
    let own = str::to_owned;
    assert_eq!(
        command("ipcp create name loc1 type local"),
        Command::CreateIpcp {
            name: own("loc1"),
            ipcp_type: IpcpType::Local
        }
    );
    assert_eq!(
        command("ipcp destroy name a name b"),
        Command::DestroyIpcp { name: own("b") }
    );
    assert_eq!(
        command("ipcp enroll name n1 type broadcast dst n2 layer bc autobind"),
        Command::EnrollIpcp(Enroll {
            name: own("n1"),
            ipcp_type: IpcpType::Broadcast,
            layer: Some(own("bc")),
            dst: own("n2"),
            autobind: true
        })
    );
    assert_eq!(
        command("ipcp connect name a dst b qos voice"),
        Command::ConnectIpcp {
            name: own("a"),
            dst: own("b"),
            components: vec![Component::Mgmt, Component::Dt],
            qos: QosSpec::by_name("voice").unwrap()
        }
    );
    assert_eq!(
        command("ipcp disconnect name a dst b"),
        Command::DisconnectIpcp {
            name: own("a"),
            dst: own("b"),
            components: vec![Component::Dt, Component::Mgmt]
        }
    );
    assert_eq!(
        command("ipcp list layer l* name x type eth-dix"),
        Command::ListIpcps {
            ipcp_type: Some(IpcpType::EthDix),
            name: Some(own("x")),
            layer: Some(own("l*"))
        }
    );
    assert_eq!(
        command("bind program /x/y name n auto -- -l --json --help"),
        Command::BindProgram {
            program: own("/x/y"),
            name: own("n"),
            auto: true,
            args: vec![own("-l"), own("--json"), own("--help")]
        }
    );
    assert_eq!(
        command("unbind program y"),
        Command::UnbindProgram {
            program: own("y"),
            name: None
        }
    );
    assert_eq!(
        command("bind process 42 name n"),
        Command::BindProcess {
            pid: 42,
            name: own("n")
        }
    );
    assert_eq!(
        command("name create n sencpath a scrtpath b skeypath c cencpath d ccrtpath e ckeypath f"),
        Command::CreateName {
            name: own("n"),
            balance: Balance::RoundRobin,
            server: Paths {
                encryption: Some(own("a")),
                certificate: Some(own("b")),
                key: Some(own("c"))
            },
            client: Paths {
                encryption: Some(own("d")),
                certificate: Some(own("e")),
                key: Some(own("f"))
            }
        }
    );
    assert_eq!(
        command("name register n layer a ipcp b layer c*"),
        Command::RegisterName {
            name: own("n"),
            selection: selection(&["a", "c*"], &["b"])
        }
    );
    assert_eq!(
        command("name unregister n ipcp *"),
        Command::UnregisterName {
            name: own("n"),
            selection: selection(&[], &["*"])
        }
    );
    assert_eq!(command("name list"), Command::ListNames { filter: None });
    assert_eq!(
        command("__complete --json x --"),
        Command::Complete(vec![own("--json"), own("x"), own("--")])
    );
}

#[test]
fn bootstrap_options_in_their_order() {
    let options = bootstrap(
        "i b t unicast n u l lan h SHA3_512 a 4 e a00f eid 4 ttl 9 au di DHT dht_a 1 dht_k 2 \
         dht_t_expiry 99 dht_t_ref 30 dht_t_rep 31 r link-state ls_t_t 1 ls_t_u 2 ls_t_r 3 c none",
    );
    assert!(options.autobind);
    assert_eq!(options.ipcp_type, Some(IpcpType::Unicast));
    let layer = &options.options;
    assert_eq!(layer.hash, Some(DirHash::Sha3_512));
    assert_eq!(layer.ethertype, Some(0xa00f));
    assert_eq!(
        (layer.addr_size, layer.eid_size, layer.max_ttl),
        (Some(4), Some(4), Some(9))
    );
    assert_eq!((layer.dht_alpha, layer.dht_k), (Some(1), Some(2)));
    assert_eq!(
        (
            layer.dht_t_expire,
            layer.dht_t_refresh,
            layer.dht_t_replicate
        ),
        (Some(99), Some(30), Some(31))
    );
    assert_eq!(
        (layer.routing, layer.congestion),
        (Some("link_state"), Some("none"))
    );
    assert_eq!(
        (layer.ls_t_timeo, layer.ls_t_update, layer.ls_t_recalc),
        (Some(1), Some(2), Some(3))
    );
    assert_eq!(options.foreign_options(IpcpType::Unicast), ["ethertype"]);
    let config = options.config(IpcpType::Unicast).unwrap();
    assert_eq!(
        (config.layer.name.as_str(), config.layer.dir_hash),
        ("lan", 3)
    );

    for (word, expected) in [
        ("u", IpcpType::Unicast),
        ("b", IpcpType::Broadcast),
        ("local", IpcpType::Local),
        ("l", IpcpType::Local),
    ] {
        let line = format!("i b n a l b t {word}");
        assert_eq!(bootstrap(&line).ipcp_type, Some(expected), "{word}");
    }
    let udp = bootstrap("i b t udp n a l b ip 127.0.0.1 dns 1.1.1.1 p 99 ls_t_u 5");
    assert_eq!(udp.ipcp_type, Some(IpcpType::Udp4));
    assert_eq!(udp.options.port, Some(99));
    assert_eq!(udp.config(IpcpType::Udp4).unwrap().layer.dir_hash, 5);
    assert!(
        udp.config(IpcpType::Udp6)
            .unwrap_err()
            .contains("Invalid IPv6 address")
    );
    assert_eq!(udp.foreign_options(IpcpType::Udp4), ["ls_t_update"]);
    let eth = bootstrap("i b t eth n a l b dev lo ethertype 0xEFFF");
    assert_eq!(eth.ipcp_type, Some(IpcpType::EthDix));
    assert_eq!(eth.options.device.as_deref(), Some("lo"));
    // Without a type the IPCP decides, once it is known.
    let open = bootstrap("i b n a l b ip ::1");
    assert!(open.config(IpcpType::Udp6).is_ok());
    assert!(
        open.config(IpcpType::EthLlc)
            .unwrap_err()
            .contains("\"device\"")
    );
}

#[test]
fn impairments_of_a_local_layer() {
    let parsed = bootstrap(
        "i b t local n x l y loss 0.5 del 20 ji 0.25 reo 1% dup 500ppm cor 100 mtu 1400 seed 7",
    );
    let config = parsed.config(IpcpType::Local).unwrap();
    let expected = Impairment {
        loss: 5_000,
        delay_us: 20_000,
        jitter_us: 250,
        reorder: 10_000,
        duplicate: 500,
        corrupt: 1_000_000,
        mtu: 1400,
        seed: 7,
    };
    assert_eq!(config.local, Some(expected));
    assert!(parsed.foreign_options(IpcpType::Local).is_empty());
    assert_eq!(parsed.config(IpcpType::Unicast).unwrap().local, None);
    assert_eq!(parsed.foreign_options(IpcpType::Unicast).len(), 8);
    // Options at all let flows pass through, values or not.
    let plain = bootstrap("i b t local n x l y loss 0");
    let config = plain.config(IpcpType::Local).unwrap();
    assert_eq!(config.local, Some(Impairment::default()));
    let shared = bootstrap("i b t local n x l y");
    assert_eq!(shared.config(IpcpType::Local).unwrap().local, None);
    for wrong in [
        "loss 101",
        "loss -1",
        "loss 0.00001",
        "loss .5",
        "loss ppm",
        "loss 1000001ppm",
        "loss x",
        "delay 60001",
        "delay 1e3",
        "delay 1s",
        "mtu 0",
        "mtu 1048561",
        "seed -1",
    ] {
        let error = failure(&format!("i b t local n x l y {wrong}"));
        let value = wrong.split(' ').nth(1).unwrap();
        assert!(
            error.message.contains(&format!("\"{value}\"")),
            "{wrong}: {error:?}"
        );
    }
}

/// `spec/irm-tools.md` §7.2, §7.4: what is wrong, in the words that scripts may look for.
#[test]
fn wrong_words_get_the_classic_texts() {
    for (line, expected) in [
        ("foo", "\"foo\" is unknown, try \"irm help\"."),
        ("ipcp foo", "\"foo\" is unknown, try \"irm ipcp help\"."),
        ("name foo", "\"foo\" is unknown, try \"irm name help\"."),
        ("bind foo", "\"foo\" is unknown, try \"irm bind help\"."),
        ("unbind foo", "\"foo\" is unknown, try \"irm unbind help\"."),
        (
            "ipcp create foo x",
            "\"foo\" is unknown, try \"irm ipcp create\".",
        ),
        (
            "ipcp list foo x",
            "\"foo\" is unknown, try \"irm ipcp list\".",
        ),
        (
            "bind program p foo",
            "\"foo\" is unknown, try \"irm bind program\".",
        ),
        (
            "name register n foo x",
            "\"foo\" is unknown, try \"irm name register\".",
        ),
        ("name list a b", "\"b\" is unknown, try \"irm name list\"."),
        ("status now", "\"now\" is unknown, try \"irm help\"."),
        ("i b foo x", "Unknown option: \"foo\"."),
        (
            "i c t loca n x",
            "IPCP type \"loca\" is unknown.\nDid you mean \"local\"?",
        ),
        ("i b t x n a l b", "IPCP type \"x\" is unknown."),
        ("i b t udp4 n a l b", "Missing option \"ip\""),
        (
            "i b t udp4 n a l b ip ::1",
            "Invalid IPv4 address: \"::1\".",
        ),
        (
            "i b t udp6 n a l b ip 1.2.3.4",
            "Invalid IPv6 address: \"1.2.3.4\".",
        ),
        (
            "i b t udp4 n a l b ip 0.0.0.0",
            "Cannot use IPv4 address: \"0.0.0.0\".",
        ),
        (
            "i b t udp4 n a l b ip 1.1.1.1 dns x",
            "Invalid DNS IPv4 address: \"x\".",
        ),
        ("i b t eth-llc n a l b", "Missing option \"device\""),
        (
            "i b t eth-dix n a l b dev x ethertype 5FF",
            "Invalid Ethertype: \"5FF\".\nRecommended range: 0xA000-0xEFFF.",
        ),
        ("i b n a l b ethertype FFFF", "Invalid Ethertype: \"FFFF\"."),
        (
            "i b n a l b ethertype 12A000",
            "Invalid Ethertype: \"12A000\".",
        ),
        (
            "i b n a l b hash MD5",
            "Unknown parameter for hash: \"MD5\".",
        ),
        (
            "i b n a l b routing rip",
            "Unknown parameter for routing: \"rip\".",
        ),
        (
            "i b n a l b congestion x",
            "Unknown parameter for congestion: \"x\".",
        ),
        (
            "i b n a l b addr_auth x",
            "Unknown parameter for addr_auth: \"x\".",
        ),
        (
            "i b n a l b directory x",
            "Unknown parameter for directory: \"x\".",
        ),
        ("i b n a l b addr 300", "Invalid value for addr: \"300\"."),
        ("i b n a l b port 0", "Invalid value for port: \"0\"."),
        (
            "i b t broadcast n a l b hash SHA3_224",
            "A broadcast layer uses SHA3_256",
        ),
        ("bind process x name n", "\"x\" is not a valid process id."),
        (
            "bind process -4 name n",
            "\"-4\" is not a valid process id.",
        ),
        ("i co n a d b c foo", "There is no component \"foo\""),
        (
            "i e n a t local l b",
            "IPCPs of type \"local\" cannot enroll",
        ),
        ("n c n lb foo", "Unknown load balancing policy \"foo\""),
        (
            "completions csh",
            "There is no completion script for \"csh\"",
        ),
        ("--json n c x", "--json is for"),
    ] {
        let error = failure(line);
        assert!(
            error.message.starts_with(expected),
            "{line}: {}",
            error.message
        );
        assert_eq!(error.status, 1, "{line}");
    }
    let long = "n".repeat(256);
    let error = failure(&format!("name create {long}"));
    assert!(
        error.message.starts_with("Name too long."),
        "{}",
        error.message
    );
    let error = failure(&format!("i b n a l {long}"));
    assert!(
        error.message.starts_with("Layer name too long."),
        "{}",
        error.message
    );
    let error = failure(&format!("i b n a l b dev {long}"));
    assert!(
        error.message.starts_with("Device name too long."),
        "{}",
        error.message
    );
    let many = "layer x ".repeat(129);
    let error = failure(&format!("n r x {}", many.trim_end()));
    assert!(
        error.message.contains("the limit is 128"),
        "{}",
        error.message
    );
}

/// Trap 20: a missing last value crashed.
#[test]
fn missing_words_are_named_and_usage_shown() {
    for (line, expected) in [
        ("ipcp", "\"irm ipcp\" needs an operation."),
        ("ipcp create", "Missing option \"type\"."),
        ("ipcp create type local", "Missing option \"name\"."),
        ("ipcp create type", "Option \"type\" needs a value."),
        ("i b n a l", "Option \"layer\" needs a value."),
        ("i b n a l b h", "Option \"hash\" needs a value."),
        ("i b n a", "Missing option \"layer\"."),
        ("i e n a", "Missing option \"layer\" or \"dst\"."),
        ("i co n a", "Missing option \"dst\"."),
        ("i s", "Missing option \"name\"."),
        ("bind program", "Missing the PROGRAM."),
        ("bind program x", "Missing option \"name\"."),
        ("bind process 1", "Missing option \"name\"."),
        ("unbind ipcp", "Missing the IPCP."),
        ("name create", "Missing the NAME."),
        ("name create n lb", "Option \"lb\" needs a value."),
        ("name register n", "Missing option \"layer\" or \"ipcp\"."),
        ("completions", "Missing the shell"),
    ] {
        let error = failure(line);
        assert!(
            error.message.starts_with(expected),
            "{line}: {}",
            error.message
        );
        assert!(error.usage.is_some(), "{line}");
        assert_eq!(error.status, 1, "{line}");
    }
    let error = parse(&[]).unwrap_err();
    assert_eq!((error.status, error.usage), (255, Some(Topic::Irm)));
}

#[test]
fn near_misses_are_suggested() {
    for (line, expected) in [
        ("ipcps list", "Did you mean \"ipcp\"?"),
        ("ipcp craete", "Did you mean \"create\"?"),
        ("i b lyer x", "Did you mean \"layer\"?"),
        ("name register n layr x", "Did you mean \"layer\"?"),
        ("ipcp show nmae x", "Did you mean \"name\"?"),
    ] {
        let error = failure(line);
        assert!(
            error.message.contains(expected),
            "{line}: {}",
            error.message
        );
    }
    assert!(!failure("xyzzy").message.contains("Did you mean"));
}

#[test]
fn options_of_irm_stand_anywhere_before_the_arguments() {
    for line in ["--json ipcp list", "ipcp --json list", "i l --json"] {
        assert!(parse(&words(line)).unwrap().json, "{line}");
    }
    assert_eq!(command("--version"), Command::Version);
    assert_eq!(command("-h"), Command::Help(Topic::Irm));
    let group = &GROUPS[0];
    let operation = &group.operations[0];
    for line in [
        "ipcp --help",
        "i help",
        "help ipcp",
        "--help i",
        "ipcp foo -h",
    ] {
        assert_eq!(command(line), Command::Help(Topic::Group(group)), "{line}");
    }
    for line in ["i c --help", "i help create", "help i c", "i c t local -h"] {
        assert_eq!(
            command(line),
            Command::Help(Topic::Operation(operation)),
            "{line}"
        );
    }
}

#[test]
fn doubtful_words_give_a_warning() {
    let invocation = parse(&words("i co n a d b q gold")).unwrap();
    assert!(invocation.warnings[0].starts_with("Unknown QoS cube, defaulting to raw."));
    assert!(matches!(
        invocation.command,
        Command::ConnectIpcp {
            qos: QosSpec::RAW,
            ..
        }
    ));
    let invocation = parse(&words("b prog x n y -- -l")).unwrap();
    assert!(invocation.warnings[0].contains("\"auto\""));
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_never_panic(
            line in proptest::collection::vec(
                prop_oneof!["[a-z]{0,4}", "--?[a-z]{0,4}", "[ -~]{0,8}", any::<String>()],
                0..10,
            )
        ) {
            if let Err(error) = parse(&line) {
                prop_assert!(error.usage.is_some() || !error.message.is_empty());
                prop_assert!(error.status != 0);
            }
        }
    }
}
