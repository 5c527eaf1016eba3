//! Processes that die, daemons that die, many processes at once, and no descriptors left.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, QosSpec};
use o7s_tests::{Peer, TestNode, own_pid, program};

#[test]
fn a_reader_that_blocks_learns_that_its_peer_was_killed() {
    let test = TestNode::start();
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("doomed", server.pid());
    server.send("accept 1");
    let flow = test.node().alloc("doomed", QosSpec::RAW, None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    thread::scope(|scope| {
        let reader = scope.spawn(|| flow.read_packet());
        server.kill();
        assert_eq!(
            reader.join().unwrap().unwrap_err().kind(),
            ErrorKind::FlowPeer
        );
    });
}

#[test]
fn a_hundred_processes_allocate_to_one_name_at_once() {
    const CLIENTS: usize = 100;
    let test = TestNode::start();
    test.serve_here("popular");
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| Peer::start(test.dir())).collect();
    for client in &mut clients {
        client.send("alloc popular 1");
    }
    let flows: Vec<Flow> = (0..CLIENTS)
        .map(|_| test.node().accept(None).unwrap())
        .collect();
    for client in &mut clients {
        assert_eq!(client.line(), "allocated 1");
        assert_eq!(client.ask("write hello"), "ok");
    }
    for flow in &flows {
        assert_eq!(flow.read_packet().unwrap(), b"hello");
    }
    // And the name serves on.
    clients[0].send("alloc popular 1");
    test.node().accept(None).unwrap();
    assert_eq!(clients[0].line(), "allocated 2");
}

#[test]
fn four_thousand_flows_close() {
    const FLOWS: usize = 4000;
    let test = TestNode::start();
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("many", server.pid());
    server.send(&format!("accept {FLOWS}"));
    let flows: Vec<Flow> = (0..FLOWS)
        .map(|_| test.node().alloc("many", QosSpec::RAW, None).unwrap())
        .collect();
    assert_eq!(server.line(), format!("accepted {FLOWS}"));
    let start = Instant::now();
    for flow in &flows {
        flow.dealloc().unwrap();
    }
    println!("closing {FLOWS} flows took {:?}", start.elapsed());
    assert_eq!(server.ask("dealloc"), "ok");
    test.until_status(|status| status.flows == 0);
}

#[test]
fn flows_go_on_without_their_daemon_and_a_new_one_starts_in_its_place() {
    let mut test = TestNode::start();
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("orphan", server.pid());
    server.send("echo");
    let flow = test.node().alloc("orphan", QosSpec::RAW, None).unwrap();
    flow.write(b"before").unwrap();
    assert_eq!(flow.read_packet().unwrap(), b"before");
    let blocked = test.node().start_accept(None).unwrap();

    test.kill();
    for round in 0..1000_u16 {
        flow.write(&round.to_le_bytes()).unwrap();
        assert_eq!(flow.read_packet().unwrap(), round.to_le_bytes());
    }
    let mut blocked = blocked;
    assert_eq!(blocked.wait(None).unwrap_err().kind(), ErrorKind::Daemon);
    let error = test.node().alloc("orphan", QosSpec::RAW, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Daemon);
    assert!(
        error.to_string().contains("start one with 'irmd'"),
        "{error}"
    );

    // No cleaning by hand, no restart of this process.
    let again = TestNode::start_in(test.dir());
    again.serve_here("again");
    let (client, second) = thread::scope(|scope| {
        let accept = scope.spawn(|| again.node().accept(None).unwrap());
        (
            again.node().alloc("again", QosSpec::RAW, None).unwrap(),
            accept.join().unwrap(),
        )
    });
    client.write(b"new").unwrap();
    assert_eq!(second.read_packet().unwrap(), b"new");

    // The old flow has the id of the new one; its end concerns nobody but its peer.
    assert_eq!(flow.id(), client.id());
    flow.dealloc().unwrap();
    assert_eq!(server.line(), "echoed 1001");
    assert_eq!(again.irm().status().unwrap().flows, 1);
    client.write(b"on").unwrap();
    assert_eq!(second.read_packet().unwrap(), b"on");
}

#[test]
fn a_process_without_descriptors_gets_an_error_and_recovers() {
    let test = TestNode::start();
    test.serve_here("wide");
    // Few descriptors: each thread's connection and each doorbell costs one.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 5; exec \"$0\""])
        .arg(program("o7s-peer"))
        .env(o7s::runtime::ENV, test.dir().path());
    let mut peer = Peer::spawn(&mut command);
    thread::scope(|scope| {
        // The acceptor may get the end of the request that failed; that end is over at once.
        let accept = scope.spawn(|| {
            loop {
                if let Ok(packet) = test.node().accept(None).unwrap().read_packet() {
                    return packet;
                }
            }
        });
        let answer = peer.ask("alloc wide 1");
        assert!(answer.starts_with("error 24 "), "{answer}");
        assert!(answer.contains("ulimit -n"), "{answer}");
        let mut fit = Peer::start(test.dir());
        assert_eq!(fit.ask("alloc wide 1"), "allocated 1");
        assert_eq!(fit.ask("write hello"), "ok");
        assert_eq!(accept.join().unwrap(), b"hello");
    });
    drop(peer);
    test.until_status(|status| status.flows == 0 && status.pending == 0);
}

#[test]
fn names_need_no_creation_where_they_are_only_used() {
    let test = TestNode::start();
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.irm().bind_process(server.pid(), "just-bound").unwrap();
    server.send("accept 1");
    let _flow = test.node().alloc("just-bound", QosSpec::RAW, None).unwrap();
    assert_eq!(server.line(), "accepted 1");
}

#[test]
fn both_ends_in_different_processes_over_the_layer() {
    let test = TestNode::start_with(&["--no-direct"]);
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("layered", server.pid());
    server.send("echo");
    let flow = test.node().alloc("layered", QosSpec::RAW, None).unwrap();
    for round in 0..100_u8 {
        flow.write(&[round]).unwrap();
        assert_eq!(flow.read_packet().unwrap(), [round]);
    }
    flow.dealloc().unwrap();
    assert_eq!(server.line(), "echoed 100");
    test.until_status(|status| status.flows == 0);
    // Nobody accepts: the refusal or the time limit comes back over the layer.
    test.register("deserted");
    test.irm().bind_process(own_pid(), "deserted").unwrap();
    let limit = Some(Duration::from_millis(50));
    let error = test
        .node()
        .alloc("deserted", QosSpec::RAW, limit)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}
