//! The requests that `irm` makes, with a scripted daemon: also for IPCP types that are to come, and
//! for failures in the middle of a command.

mod common;

use std::{net::Ipv4Addr, os::unix::net::UnixListener, thread};

use common::{run_in, scripted};
use o7s::{
    ErrorKind, QosSpec,
    control::{
        BindProcess, Body, BootstrapIpcp, CongestionPolicy, ConnectIpcp, CreateIpcp, DhtConfig,
        DirConfig, DtConfig, Empty, EnrollIpcp, EthConfig, Failure, IpcpConfig, IpcpInfo, IpcpList,
        IpcpStatus, IpcpType, LayerInfo, LinkStateConfig, LinkStatePolicy, NameInfo, NameList, Pid,
        RegName, RoutingConfig, StatusSection, Udp4Config, Udp4Host, Udp6Config, Udp6Host,
        UnicastConfig,
    },
};

fn failure() -> Body {
    Body::Failure(Failure {
        errno: ErrorKind::Ipcp.errno(),
        message: "no such luck".to_owned(),
    })
}

fn done() -> Body {
    Body::Done(Empty {})
}

fn ipcp(pid: i32, ipcp_type: IpcpType, name: &str, layer: &str) -> IpcpInfo {
    IpcpInfo {
        pid,
        ipcp_type: ipcp_type.into(),
        name: name.to_owned(),
        layer: layer.to_owned(),
        ..IpcpInfo::default()
    }
}

fn list(ipcps: &[IpcpInfo]) -> Body {
    Body::Ipcps(IpcpList {
        ipcps: ipcps.to_vec(),
        ..IpcpList::default()
    })
}

fn layer(name: &str) -> Body {
    Body::Layer(LayerInfo {
        name: name.to_owned(),
        dir_hash: 1,
    })
}

fn binding(name: &str) -> BindProcess {
    BindProcess {
        pid: 9,
        name: Some(name.to_owned()),
    }
}

#[test]
fn a_new_ipcp_that_cannot_be_bootstrapped_is_destroyed() {
    let (ran, requests) = scripted::run("i b t udp6 n u l lan ip ::1", |body| match body {
        Body::ListIpcps(_) => list(&[]),
        Body::CreateIpcp(_) => Body::Pid(Pid { pid: 9 }),
        Body::BootstrapIpcp(_) => failure(),
        _ => done(),
    });
    let error = ran.failed(1);
    assert_eq!(
        error,
        "Failed to bootstrap IPCP u in layer lan.\nno such luck\n"
    );
    let [
        Body::CreateIpcp(CreateIpcp { name, ipcp_type }),
        Body::BootstrapIpcp(BootstrapIpcp { pid: 9, config }),
        Body::DestroyIpcp(Pid { pid: 9 }),
    ] = &requests[..]
    else {
        panic!("{requests:?}");
    };
    assert_eq!((name.as_str(), *ipcp_type), ("u", IpcpType::Udp6 as i32));
    assert_eq!(config.ipcp_type, IpcpType::Udp6 as i32);
    // UDP layers use MD5.
    assert_eq!(
        (config.layer.name.as_str(), config.layer.dir_hash),
        ("lan", 5)
    );
}

#[test]
fn an_ipcp_that_was_there_stays_and_loses_only_the_new_bindings() {
    let (ran, requests) = scripted::run("i b n u l lan autobind", |body| match body {
        Body::ListIpcps(_) => list(&[ipcp(9, IpcpType::Unicast, "u", "")]),
        Body::BootstrapIpcp(_) => failure(),
        _ => done(),
    });
    ran.failed(1);
    assert!(
        matches!(
            &requests[..],
            [
                Body::BindProcess(first),
                Body::BindProcess(second),
                Body::BootstrapIpcp(_),
                Body::UnbindProcess(third),
                Body::UnbindProcess(fourth),
            ] if [first, second, third, fourth]
                == [&binding("u"), &binding("lan"), &binding("u"), &binding("lan")]
        ),
        "{requests:?}"
    );

    let (ran, requests) = scripted::run("i b n u l lan autobind", |body| match body {
        Body::ListIpcps(_) => list(&[ipcp(9, IpcpType::Unicast, "u", "")]),
        Body::BindProcess(bind) if bind.name.as_deref() == Some("lan") => failure(),
        _ => done(),
    });
    assert_eq!(ran.failed(1), "Failed to bind 9 to lan.\nno such luck\n");
    assert!(
        matches!(
            &requests[..],
            [Body::BindProcess(_), Body::BindProcess(_), Body::UnbindProcess(undone)]
                if *undone == binding("u")
        ),
        "{requests:?}"
    );
}

#[test]
fn enrollment_makes_binds_and_checks() {
    let make = |body: &Body| match body {
        // One of another type with the name is not taken.
        Body::ListIpcps(_) => list(&[ipcp(3, IpcpType::Local, "n1", "")]),
        Body::CreateIpcp(_) => Body::Pid(Pid { pid: 9 }),
        Body::EnrollIpcp(_) => layer("lan"),
        _ => done(),
    };
    let (ran, requests) = scripted::run("i e n n1 l lan d n2 autobind", make);
    assert_eq!(ran.ok(), "");
    let [
        Body::CreateIpcp(_),
        Body::EnrollIpcp(EnrollIpcp { pid: 9, dst }),
        Body::BindProcess(first),
        Body::BindProcess(second),
    ] = &requests[..]
    else {
        panic!("{requests:?}");
    };
    assert_eq!(dst, "n2");
    assert_eq!([first, second], [&binding("n1"), &binding("lan")]);

    // It stays enrolled.
    let (ran, requests) = scripted::run("i e n n1 l other", make);
    let error = ran.failed(1);
    assert!(
        error.starts_with("Enrollment destination does not match requested layer.\n"),
        "{error}"
    );
    assert!(
        matches!(&requests[..], [Body::CreateIpcp(_), Body::EnrollIpcp(_)]),
        "{requests:?}"
    );

    let (ran, requests) = scripted::run("i e n n1 l lan", move |body| match body {
        Body::EnrollIpcp(_) => failure(),
        body => make(body),
    });
    assert_eq!(ran.failed(1), "Failed to enroll IPCP.\nno such luck\n");
    assert!(
        matches!(
            &requests[..],
            [
                Body::CreateIpcp(_),
                Body::EnrollIpcp(_),
                Body::DestroyIpcp(Pid { pid: 9 })
            ]
        ),
        "{requests:?}"
    );
}

#[test]
fn components_are_connected_in_their_order() {
    let answer = |body: &Body| match body {
        Body::ListIpcps(_) => list(&[ipcp(9, IpcpType::Unicast, "u", "lan")]),
        _ => done(),
    };
    let connect = |component: &str, qos: Option<QosSpec>| ConnectIpcp {
        pid: 9,
        dst: "v".to_owned(),
        component: component.to_owned(),
        qos: qos.map(Into::into),
    };
    let (ran, requests) = scripted::run("i co n u d v q voice", answer);
    ran.ok();
    assert_eq!(
        requests,
        [
            Body::ConnectIpcp(connect("Management", Some(QosSpec::RAW))),
            Body::ConnectIpcp(connect(
                "Data Transfer",
                Some(QosSpec::by_name("voice").unwrap())
            )),
        ]
    );
    let (ran, requests) = scripted::run("i di n u d v", answer);
    ran.ok();
    assert_eq!(
        requests,
        [
            Body::DisconnectIpcp(connect("Data Transfer", None)),
            Body::DisconnectIpcp(connect("Management", None)),
        ]
    );
    let (ran, requests) = scripted::run("i co n u d v", move |body| match body {
        Body::ConnectIpcp(_) => failure(),
        body => answer(body),
    });
    assert_eq!(
        ran.failed(1),
        "Failed to connect Management to v.\nno such luck\n"
    );
    assert_eq!(requests.len(), 1);
    // What is there already is no failure.
    let (ran, requests) = scripted::run("i co n u d v", move |body| match body {
        Body::ConnectIpcp(of) if of.component == "Management" => Body::Failure(Failure {
            errno: ErrorKind::Exists.errno(),
            message: "there already".to_owned(),
        }),
        body => answer(body),
    });
    assert_eq!(ran.ok(), "Management is connected to v already.\n");
    assert_eq!(requests.len(), 2);
}

#[test]
fn a_broadcast_ipcp_is_connected_without_management() {
    let answer = |body: &Body| match body {
        Body::ListIpcps(_) => list(&[ipcp(9, IpcpType::Broadcast, "b", "bc")]),
        _ => done(),
    };
    let asked = |line: &str| {
        let (ran, requests) = scripted::run(line, answer);
        ran.ok();
        requests
            .iter()
            .map(|request| match request {
                Body::ConnectIpcp(of) | Body::DisconnectIpcp(of) => of.component.clone(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(asked("i co n b d v"), ["Data Transfer"]);
    assert_eq!(asked("i di n b d v"), ["Data Transfer"]);
    // Whoever asks for it gets the daemon's answer.
    assert_eq!(asked("i co n b d v c mgmt"), ["Management"]);
}

#[test]
fn the_state_of_an_ipcp_is_shown() {
    let answer = |body: &Body| match body {
        Body::ListIpcps(_) => list(&[ipcp(9, IpcpType::Unicast, "u", "lan")]),
        Body::ShowIpcp(Pid { pid: 9 }) => {
            let mut section = StatusSection::new("neighbours", &["address", "cost"]);
            section.push([&"0a000001", &12]);
            Body::IpcpStatus(IpcpStatus {
                sections: vec![section],
            })
        }
        other => panic!("{other:?}"),
    };
    let (ran, _) = scripted::run("i s n u", answer);
    assert_eq!(
        ran.ok(),
        "neighbours:\n  address   cost\n  0a000001    12\n"
    );
    let (ran, _) = scripted::run("ipcp show name u --json", answer);
    let value: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"neighbours": [{"address": "0a000001", "cost": 12}]})
    );
}

#[test]
fn registration_stops_at_the_first_failure() {
    let answer = |body: &Body| match body {
        Body::ListIpcps(_) => list(&[
            ipcp(1, IpcpType::Local, "a", "one"),
            ipcp(2, IpcpType::Local, "b", "two"),
            ipcp(3, IpcpType::Local, "c", "three"),
            // Not meant by a pattern: it has no names.
            ipcp(4, IpcpType::Broadcast, "d", "four"),
        ]),
        Body::ListNames(_) => Body::Names(NameList {
            names: vec![NameInfo {
                name: "known".to_owned(),
                ..NameInfo::default()
            }],
        }),
        Body::RegName(RegName { pid: 2, .. }) => failure(),
        _ => done(),
    };
    let (ran, requests) = scripted::run("n r known l * i *", answer);
    assert_eq!(ran.failed(1), "Failed to register with two\nno such luck\n");
    let register = |pid| {
        Body::RegName(RegName {
            name: "known".to_owned(),
            pid,
        })
    };
    assert_eq!(requests, [register(1), register(2)]);
    let (ran, requests) = scripted::run("n r known l t*", answer);
    ran.failed(1);
    assert_eq!(requests, [register(2)]);
    let (ran, requests) = scripted::run("n r known l four", answer);
    ran.ok();
    assert_eq!(requests, [register(4)]);
    // An unknown name is created first.
    let (ran, requests) = scripted::run("n r new l one", answer);
    ran.ok();
    assert!(
        matches!(&requests[..], [Body::CreateName(info), Body::RegName(_)] if info.name == "new"),
        "{requests:?}"
    );
}

/// A daemon that goes away in the middle.
#[test]
fn a_lost_daemon_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("irm.sock")).unwrap();
    let daemon = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = run_in(dir.path(), "irm", "i l").failed(1);
    daemon.join().unwrap();
    assert!(
        error
            .starts_with("Failed to communicate with the Ouroboros IPC Resource Manager daemon.\n"),
        "{error}"
    );
}

/// What `bootstrap` sends for these words, which must be the same written out and abbreviated.
fn layer_of(long: &str, short: &str) -> IpcpConfig {
    let config = |line: &str| {
        let (ran, requests) = scripted::run(line, |body| match body {
            Body::ListIpcps(_) => list(&[]),
            Body::CreateIpcp(_) => Body::Pid(Pid { pid: 9 }),
            Body::BootstrapIpcp(_) => layer("lan"),
            _ => done(),
        });
        assert_eq!(ran.ok(), "", "{line}");
        match requests.into_iter().next_back() {
            Some(Body::BootstrapIpcp(boot)) => boot.config,
            other => panic!("{line}: {other:?}"),
        }
    };
    let sent = config(&format!("ipcp bootstrap name n layer lan {long}"));
    assert_eq!(config(&format!("i b n n l lan {short}")), sent, "{short}");
    sent
}

#[test]
fn every_option_of_a_layer_is_sent() {
    // Without options: the defaults.
    for (long, short, kind) in [
        ("type local", "t l", IpcpType::Local),
        ("type unicast", "t u", IpcpType::Unicast),
        ("type broadcast", "t b", IpcpType::Broadcast),
    ] {
        assert_eq!(
            layer_of(long, short),
            IpcpConfig::new(kind, "lan"),
            "{long}"
        );
    }
    assert_eq!(
        layer_of(
            "type unicast hash SHA3_224 addr 4 eid 7 ttl 50 addr_auth flat directory DHT \
             dht_alpha 1 dht_k 2 dht_t_expire 10 dht_t_refresh 4 dht_t_replicate 5 routing ecmp \
             ls_t_timeo 3 ls_t_update 2 ls_t_recalc 1 congestion none",
            "c none ls_t_r 1 ls_t_u 2 ls_ 3 r ecmp dht_t_rep 5 dht_t_r 4 dht_t_expiry 10 dht_k 2 \
             dht_ 1 di dht addr_ flat tt 50 ei 7 a 4 h SHA3_224 t u",
        ),
        IpcpConfig {
            layer: LayerInfo {
                name: "lan".to_owned(),
                dir_hash: 0,
            },
            unicast: Some(UnicastConfig {
                dt: DtConfig {
                    addr_size: 4,
                    eid_size: 7,
                    max_ttl: 50,
                    routing: RoutingConfig {
                        pol: 0,
                        ls: LinkStateConfig {
                            pol: LinkStatePolicy::Ecmp.into(),
                            t_recalc: 1,
                            t_update: 2,
                            t_timeo: 3,
                        },
                    },
                },
                dir: DirConfig {
                    pol: 0,
                    dht: DhtConfig {
                        alpha: 1,
                        k: 2,
                        t_expire: 10,
                        t_refresh: 4,
                        t_replicate: 5,
                    },
                },
                addr_auth: 0,
                cong_avoid: CongestionPolicy::None.into(),
            }),
            ..IpcpConfig::new(IpcpType::Unicast, "lan")
        }
    );
    let lfa = layer_of(
        "type unicast routing lfa congestion mb-ecn",
        "t u r lfa c mb_ecn",
    );
    let unicast = lfa.unicast.unwrap();
    assert_eq!(unicast.dt.routing.ls.pol(), LinkStatePolicy::Lfa);
    assert_eq!(unicast.cong_avoid(), CongestionPolicy::MbEcn);

    let eth = |ethertype| {
        Some(EthConfig {
            dev: "eth0".to_owned(),
            ethertype,
        })
    };
    let dix = layer_of(
        "type eth-dix device eth0 ethertype 0xA007 hash SHA3_512",
        "h SHA3_512 e A007 dev eth0 t e",
    );
    assert_eq!((dix.eth, dix.layer.dir_hash), (eth(0xa007), 3));
    let llc = layer_of("type eth-llc device eth0", "de eth0 t eth-l");
    assert_eq!((llc.ipcp_type(), llc.eth), (IpcpType::EthLlc, eth(0xa000)));

    let udp = layer_of(
        "type udp4 ip 10.0.0.1 dns 9.9.9.9 port 7",
        "p 7 d 9.9.9.9 i 10.0.0.1 t ud",
    );
    let dns = Ipv4Addr::new(9, 9, 9, 9);
    let expected = Udp4Config::new(Ipv4Addr::new(10, 0, 0, 1), Some(dns), 7);
    assert_eq!((udp.udp4, udp.layer.dir_hash), (Some(expected), 5));
    let udp = layer_of(
        "type udp4 ip 10.0.0.1 host oping=10.0.0.2 host a=b=10.0.0.3:4000",
        "ho oping=10.0.0.2 ho a=b=10.0.0.3:4000 i 10.0.0.1 t ud",
    );
    assert_eq!(
        udp.udp4.unwrap().hosts,
        [
            Udp4Host::new("oping", Ipv4Addr::new(10, 0, 0, 2), None),
            Udp4Host::new("a=b", Ipv4Addr::new(10, 0, 0, 3), Some(4000)),
        ]
    );
    let udp = layer_of(
        "type udp6 ip ::1 host oping=2001:db8::7 host b=[::2]:9",
        "ho oping=2001:db8::7 ho b=[::2]:9 i ::1 t udp6",
    );
    assert_eq!(
        udp.udp6.unwrap().hosts,
        [
            Udp6Host::new("oping", "2001:db8::7".parse().unwrap(), None),
            Udp6Host::new("b", "::2".parse().unwrap(), Some(9)),
        ]
    );
    let udp = layer_of("type udp6 ip 2001:db8::1", "i 2001:db8::1 t udp6");
    let ip = "2001:db8::1".parse().unwrap();
    assert_eq!(udp.udp6, Some(Udp6Config::new(ip, None, 3435)));
}
