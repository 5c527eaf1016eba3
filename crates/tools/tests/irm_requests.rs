//! The requests that `irm` makes, with a scripted daemon: also for IPCP types that are to come, and
//! for failures in the middle of a command.

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use common::{Ran, run_in};
use o7s::{
    ErrorKind, QosSpec,
    control::{
        BindProcess, Body, BootstrapIpcp, ConnectIpcp, CreateIpcp, Decoder, Empty, EnrollIpcp,
        Envelope, Failure, HelloOk, IpcpInfo, IpcpList, IpcpType, LayerInfo, NameInfo, NameList,
        Pid, REQUEST_MAX, RegName, encode,
    },
};

/// Runs `irm` with a daemon that answers so; returns also the requests, but for lists.
fn scripted(line: &str, answer: impl Fn(&Body) -> Body + Send + 'static) -> (Ran, Vec<Body>) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("irm.sock")).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut decoder = Decoder::new(REQUEST_MAX);
        let mut requests = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).unwrap();
            if length == 0 {
                return requests;
            }
            decoder.push(&buffer[..length], []);
            while let Some((envelope, _)) = decoder.next_envelope().unwrap() {
                let body = envelope.body.unwrap();
                let answer = match &body {
                    Body::Hello(_) => Body::HelloOk(HelloOk::default()),
                    body => answer(body),
                };
                if !matches!(
                    body,
                    Body::Hello(_) | Body::ListIpcps(_) | Body::ListNames(_)
                ) {
                    requests.push(body);
                }
                let frame = encode(&Envelope {
                    id: envelope.id,
                    fds: 0,
                    body: Some(answer),
                });
                stream.write_all(&frame).unwrap();
            }
        }
    });
    let ran = run_in(dir.path(), "irm", line);
    (ran, daemon.join().unwrap())
}

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
    let (ran, requests) = scripted("i b t udp6 n u l lan ip ::1", |body| match body {
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
    let (ran, requests) = scripted("i b n u l lan autobind", |body| match body {
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

    let (ran, requests) = scripted("i b n u l lan autobind", |body| match body {
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
    let (ran, requests) = scripted("i e n n1 l lan d n2 autobind", make);
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
    let (ran, requests) = scripted("i e n n1 l other", make);
    let error = ran.failed(1);
    assert!(
        error.starts_with("Enrollment destination does not match requested layer.\n"),
        "{error}"
    );
    assert!(
        matches!(&requests[..], [Body::CreateIpcp(_), Body::EnrollIpcp(_)]),
        "{requests:?}"
    );

    let (ran, requests) = scripted("i e n n1 l lan", move |body| match body {
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
    let (ran, requests) = scripted("i co n u d v q voice", answer);
    ran.ok();
    assert_eq!(
        requests,
        [
            Body::ConnectIpcp(connect("Management", Some(QosSpec::RAW))),
            Body::ConnectIpcp(connect("Data Transfer", Some(QosSpec::VOICE))),
        ]
    );
    let (ran, requests) = scripted("i di n u d v", answer);
    ran.ok();
    assert_eq!(
        requests,
        [
            Body::DisconnectIpcp(connect("Data Transfer", None)),
            Body::DisconnectIpcp(connect("Management", None)),
        ]
    );
    let (ran, requests) = scripted("i co n u d v", move |body| match body {
        Body::ConnectIpcp(_) => failure(),
        body => answer(body),
    });
    assert_eq!(
        ran.failed(1),
        "Failed to connect Management to v.\nno such luck\n"
    );
    assert_eq!(requests.len(), 1);
}

#[test]
fn registration_stops_at_the_first_failure() {
    let answer = |body: &Body| match body {
        Body::ListIpcps(_) => list(&[
            ipcp(1, IpcpType::Local, "a", "one"),
            ipcp(2, IpcpType::Local, "b", "two"),
            ipcp(3, IpcpType::Local, "c", "three"),
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
    let (ran, requests) = scripted("n r known l * i *", answer);
    assert_eq!(ran.failed(1), "Failed to register with two\nno such luck\n");
    let register = |pid| {
        Body::RegName(RegName {
            name: "known".to_owned(),
            pid,
        })
    };
    assert_eq!(requests, [register(1), register(2)]);
    // An unknown name is created first.
    let (ran, requests) = scripted("n r new l one", answer);
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
