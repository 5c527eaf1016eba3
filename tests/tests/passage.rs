//! Flows that pass through a local IPCP: real programs, real deaths, nothing left.

use std::{
    thread,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, EventKind, EventQueue, Flow, FlowSet, QosSpec, control::Impairment};
use o7s_tests::{Peer, TestNode, bulk, digest, qos};

/// A raw flow within this process.
fn pair(test: &TestNode, name: &str) -> (Flow, Flow) {
    pair_with(test, name, QosSpec::RAW)
}

/// A flow within this process.
fn pair_with(test: &TestNode, name: &str, qos: QosSpec) -> (Flow, Flow) {
    thread::scope(|scope| {
        let accept = scope.spawn(|| test.node().accept(None).unwrap());
        let client = test.node().alloc(name, qos, None).unwrap();
        (client, accept.join().unwrap())
    })
}

fn serve(impairment: Impairment) -> TestNode {
    let test = TestNode::start_impaired(impairment);
    test.serve_here("svc");
    test
}

/// Descriptors of a process.
fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

#[test]
fn without_loss_everything_arrives_in_order() {
    const PACKETS: u32 = 100_000;
    let test = serve(Impairment::default());
    let (client, server) = pair(&test, "svc");
    assert_eq!(client.peer_pid(), test.ipcp());
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PACKETS {
                client.write(&number.to_le_bytes()).unwrap();
            }
            client.dealloc().unwrap();
        });
        for number in 0..PACKETS {
            assert_eq!(server.read_packet().unwrap(), number.to_le_bytes());
        }
        let over = server.read_packet().unwrap_err();
        assert_eq!(over.kind(), ErrorKind::FlowDown);
    });
    server.dealloc().unwrap();
    test.until_status(|status| status.flows == 0);
}

#[test]
fn with_total_loss_nothing_arrives() {
    let test = serve(Impairment {
        loss: 1_000_000,
        ..Impairment::default()
    });
    let (client, server) = pair(&test, "svc");
    for _ in 0..100 {
        client.write(b"lost").unwrap();
        // A sign of life, lost too.
        client.write(b"").unwrap();
    }
    client.dealloc().unwrap();
    let over = server.read_packet().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::FlowDown);
}

#[test]
fn a_reliable_encrypted_flow_arrives_whole_over_a_bad_layer() {
    const TOTAL: usize = 300_000;
    let test = serve(Impairment {
        loss: 20_000,
        delay_us: 1_000,
        jitter_us: 500,
        reorder: 20_000,
        duplicate: 20_000,
        corrupt: 10_000,
        mtu: 1_400,
        seed: 7,
    });
    let qos = qos(&["loss=0", "ber=0", "in_order=1", "cypher_s=256"]);
    let (client, server) = pair_with(&test, "svc", qos);
    for flow in [&client, &server] {
        assert_eq!(flow.qos().unwrap().cypher_s, 256);
        assert_eq!(flow.peer_pid(), test.ipcp());
    }
    thread::scope(|scope| {
        let written = scope.spawn(|| {
            // Longer than a packet: in fragments.
            let written = bulk(&client, TOTAL, 10_000).unwrap();
            client.dealloc().unwrap();
            written
        });
        assert_eq!(digest(&server, TOTAL).unwrap(), written.join().unwrap());
    });
    server.dealloc().unwrap();
    test.until_status(|status| status.flows == 0);
}

#[test]
fn a_delay_is_kept() {
    let test = serve(Impairment {
        delay_us: 50_000,
        ..Impairment::default()
    });
    let (client, server) = pair(&test, "svc");
    let start = Instant::now();
    client.write(b"ping").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"ping");
    server.write(b"pong").unwrap();
    assert_eq!(client.read_packet().unwrap(), b"pong");
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_killed_client_ends_the_flow_after_its_last_packet() {
    let test = serve(Impairment {
        delay_us: 20_000,
        ..Impairment::default()
    });
    let mut client = Peer::start(test.dir());
    client.send("alloc svc 1");
    let server = test.node().accept(None).unwrap();
    assert_eq!(client.line(), "allocated 1");
    assert_eq!(client.ask("write last words"), "ok");
    client.kill();
    assert_eq!(server.read_packet().unwrap(), b"last words");
    let over = server.read_packet().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::FlowDown);
    drop(server);
    test.until_status(|status| status.flows == 0 && status.processes == 1);
}

#[test]
fn a_killed_server_ends_the_flow() {
    let test = TestNode::start_impaired(Impairment::default());
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("doomed", server.pid());
    server.send("accept 1");
    let flow = test.node().alloc("doomed", QosSpec::RAW, None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    let set = FlowSet::new().unwrap();
    set.add(&flow).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| flow.read_packet());
        server.kill();
        let over = reader.join().unwrap().unwrap_err();
        assert_eq!(over.kind(), ErrorKind::FlowDown);
    });
    drop((set, flow));
    test.until_status(|status| status.flows == 0);
}

#[test]
fn a_killed_ipcp_takes_its_flows_down() {
    let test = serve(Impairment {
        mtu: 1500,
        ..Impairment::default()
    });
    let (client, server) = pair(&test, "svc");
    let set = FlowSet::new().unwrap();
    set.add(&client).unwrap();
    let pid = rustix::process::Pid::from_raw(test.ipcp()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let queue = EventQueue::new();
    set.wait(&queue, Some(Duration::from_secs(20))).unwrap();
    assert_eq!(queue.next_event().unwrap().kind, EventKind::Down);
    for flow in [&client, &server] {
        let error = flow.read_packet().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FlowDown);
        flow.dealloc().unwrap();
    }
    test.until_status(|status| (status.flows, status.ipcps) == (0, 0));
}

#[test]
fn a_hundred_flows_at_once_leave_nothing() {
    const FLOWS: usize = 100;
    let test = TestNode::start_impaired(Impairment {
        delay_us: 1_000,
        jitter_us: 500,
        ..Impairment::default()
    });
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("many", server.pid());
    // The first flow makes the doorbells, which stay as long as the processes.
    server.send("accept-read 1");
    let first = test.node().alloc("many", QosSpec::RAW, None).unwrap();
    first.write(b"first").unwrap();
    assert_eq!(server.line(), "accepted 1");
    let before = (descriptors(test.pid()), descriptors(test.ipcp()));
    for _ in 0..3 {
        server.send(&format!("accept-read {FLOWS}"));
        let flows: Vec<Flow> = thread::scope(|scope| {
            let threads: Vec<_> = (0..FLOWS)
                .map(|_| {
                    scope.spawn(|| {
                        let flow = test.node().alloc("many", QosSpec::RAW, None).unwrap();
                        flow.write(b"hello").unwrap();
                        flow
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|flow| flow.join().unwrap())
                .collect()
        });
        assert!(server.line().starts_with("accepted "));
        assert!(test.irm().status().unwrap().flows >= 2 * FLOWS as u64);
        drop(flows);
    }
    assert_eq!(server.ask("dealloc"), "ok");
    drop(first);
    test.until_status(|status| (status.flows, status.pending) == (0, 0));
    // Connections of threads that are gone are seen in the daemon's own time.
    test.until_status(|_| descriptors(test.pid()) <= before.0 + 16);
    assert_eq!(descriptors(test.ipcp()), before.1);
}

#[test]
fn a_request_that_is_given_up_leaves_nothing() {
    let test = TestNode::start_impaired(Impairment::default());
    test.serve_here("deserted");
    for _ in 0..20 {
        let limit = Some(Duration::from_millis(5));
        let error = test
            .node()
            .alloc("deserted", QosSpec::RAW, limit)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    test.until_status(|status| (status.flows, status.pending) == (0, 0));
    // The queue forgot them: the next flow is that of who asks next.
    let (client, server) = pair(&test, "deserted");
    client.write(b"here").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"here");
}
