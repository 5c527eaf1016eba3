//! Flows through a real daemon: directly and over a local layer.

mod support;

use std::os::fd::AsFd;

use o7s::{
    ErrorKind,
    control::{
        Body, BootstrapIpcp, CreateIpcp, Empty, IpcpConfig, IpcpState, IpcpType, LayerInfo, RegName,
    },
    irm::Irm,
};
use o7s_ring::{Endpoint, Side};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use support::*;

#[test]
fn a_direct_flow_carries_bytes_and_leaves_nothing() {
    let daemon = start();
    let dir = daemon.dir();
    let mut announced = announce(dir, "flows-test");
    bind_own(&mut announced, "svc");
    let before = status(&mut announced).descriptors;

    let mut server = further(dir, "flows-test");
    let mut client = further(dir, "flows-test");
    let accept = server.start(accept_body(None)).unwrap();
    let alloc = client.start(alloc_body("svc", None)).unwrap();
    let (b, b_fds) = flow(&mut server, accept).unwrap();
    let (a, a_fds) = flow(&mut client, alloc).unwrap();
    assert_eq!((a.flow_id, a.side, b.side), (b.flow_id, 0, 1));
    assert_eq!((a.bell_id, a.bell_slot), (b.bell_id, b.bell_slot));
    assert_ne!(a.bell_side, b.bell_side);
    assert!(a.new_bell && b.new_bell);
    assert_eq!((a_fds.len(), b_fds.len()), (3, 3));
    assert_eq!((a.peer_pid, &*b.name), (own_pid(), "svc"));

    let (mut tx, _, _) = Endpoint::open(a_fds[0].as_fd(), Side::A).unwrap().split();
    let (_, mut rx, _) = Endpoint::open(b_fds[0].as_fd(), Side::B).unwrap().split();
    tx.try_send(b"hello").unwrap();
    let mut packet = Vec::new();
    assert_eq!(rx.try_recv_vec(&mut packet).unwrap(), Some(5));
    assert_eq!(packet, b"hello");

    dealloc(&mut client, &a);
    assert_eq!(status(&mut announced).flows, 1);
    dealloc(&mut server, &b);
    let after = status(&mut announced);
    assert_eq!((after.flows, after.pending), (0, 0));
    // The two further connections are all that is new.
    assert_eq!(after.descriptors, before + 2);
}

#[test]
fn a_local_layer_from_creation_to_destruction() {
    ipcpd();
    for direct in [true, false] {
        let builder = builder();
        let builder = if direct {
            builder
        } else {
            builder.arg("--no-direct")
        };
        let daemon = builder.start().unwrap();
        let dir = daemon.dir();
        let mut manager = manager(dir);
        let create = CreateIpcp {
            name: "local".to_owned(),
            ipcp_type: IpcpType::Local.into(),
        };
        let pid = match manager.call(Body::CreateIpcp(create.clone())).unwrap() {
            (Body::Pid(o7s::control::Pid { pid }), _) => pid,
            other => panic!("{other:?}"),
        };
        let twice = manager.call(Body::CreateIpcp(create)).unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::Exists);

        let irm = Irm::at(dir.clone());
        let reg = RegName {
            name: "svc".to_owned(),
            pid,
        };
        let early = manager.call(Body::RegName(reg.clone())).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::IpcpState);
        let boot = BootstrapIpcp {
            pid,
            config: IpcpConfig {
                ipcp_type: IpcpType::Local.into(),
                layer: LayerInfo {
                    name: "home".to_owned(),
                    dir_hash: 1,
                },
                ..IpcpConfig::default()
            },
        };
        let layer = irm.bootstrap_ipcp(pid, &boot.config).unwrap();
        assert_eq!(layer, boot.config.layer);
        let again = irm.bootstrap_ipcp(pid, &boot.config).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::IpcpState);
        let enroll = irm.enroll_ipcp(pid, "home").unwrap_err();
        assert_eq!(enroll.kind(), ErrorKind::NotSupported);
        assert!(enroll.to_string().contains("of type local"), "{enroll}");
        let list = irm.list_ipcps().unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].state(), IpcpState::Operational);
        assert_eq!((&*list[0].layer, list[0].dir_hash), ("home", 1));

        let unknown = manager.call(Body::RegName(reg.clone())).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Name);
        let mut announced = announce(dir, "flows-test");
        bind_own(&mut announced, "svc");
        manager.call(Body::RegName(reg)).unwrap();

        // The request comes first and waits.
        let mut client = further(dir, "flows-test");
        let mut server = further(dir, "flows-test");
        let alloc = client.start(alloc_body("svc", None)).unwrap();
        let accept = server.start(accept_body(None)).unwrap();
        let (a, _a) = flow(&mut client, alloc).unwrap();
        let (b, _b) = flow(&mut server, accept).unwrap();
        assert_eq!(a.flow_id, b.flow_id);
        let mpl = if direct { 1 } else { 100 };
        assert_eq!((a.mpl_ms, b.mpl_ms), (mpl, mpl));
        dealloc(&mut client, &a);
        dealloc(&mut server, &b);

        // Refused by timeout: nothing stays behind, in the IPCP neither.
        let alloc = client.start(alloc_body("svc", Some(1_000_000))).unwrap();
        let error = flow(&mut client, alloc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("none calls accept"), "{error}");

        let alloc = client.start(alloc_body("nowhere", None)).unwrap();
        let error = flow(&mut client, alloc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Name);
        assert!(error.to_string().contains("1 layer asked: home"), "{error}");

        irm.destroy_ipcp(pid).unwrap();
        assert!(irm.list_ipcps().unwrap().is_empty());
        let gone = irm.destroy_ipcp(pid).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        let status = status(&mut manager);
        assert_eq!((status.ipcps, status.pending, status.flows), (0, 0, 0));
        manager.call(Body::ListNames(Empty {})).unwrap();
    }
}

#[test]
fn a_program_is_started_for_its_name_and_ends_with_the_daemon() {
    let mut daemon = start();
    let dir = daemon.dir().clone();
    let irm = Irm::at(dir.clone());
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "as_server", "--ignored", "--test-threads", "1"].map(str::to_owned);
    irm.bind_program(&program, "auto", true, &args).unwrap();
    let mut client = announce(&dir, "client");
    let mut servers = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let alloc = client.start(alloc_body("auto", None)).unwrap();
        servers.insert(flow(&mut client, alloc).unwrap().0.peer_pid);
    }
    assert_eq!(servers.len(), 1, "one instance");
    let server = Pid::from_raw(servers.pop_first().unwrap()).unwrap();
    assert!(daemon.stop().unwrap().success());
    // It could not ignore the signal: its mask was clear. And it was reaped.
    assert_eq!(test_kill_process(server), Err(Errno::SRCH));
}

#[test]
#[ignore = "run by a_program_is_started_for_its_name_and_ends_with_the_daemon"]
fn as_server() {
    let mut announced = announce(&child_dir(), "renamed");
    loop {
        let accept = announced.start(accept_body(None)).unwrap();
        flow(&mut announced, accept).unwrap();
    }
}

#[test]
fn a_program_that_cannot_serve_is_an_answer() {
    let daemon = start();
    let irm = Irm::at(daemon.dir().clone());
    irm.bind_program("/nowhere/at/all".as_ref(), "missing", true, &[])
        .unwrap();
    irm.bind_program("/bin/false".as_ref(), "vain", true, &[])
        .unwrap();
    let mut client = announce(daemon.dir(), "client");
    for (name, expected) in [("missing", "/nowhere/at/all"), ("vain", "exit status 1")] {
        let alloc = client.start(alloc_body(name, None)).unwrap();
        let error = flow(&mut client, alloc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ipcp);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
