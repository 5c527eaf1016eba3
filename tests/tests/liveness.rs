//! Peers that are silent, stopped or killed, with and without a daemon that could tell.

use std::thread;

use o7s::{ErrorKind, EventKind, EventQueue, FlowFlags, FlowSet, QosSpec};
use o7s_tests::{Peer, TestNode};

/// A raw flow whose ends expect a sign of life within `timeout` ms.
fn watched(timeout: u32) -> QosSpec {
    QosSpec {
        timeout,
        ..QosSpec::RAW
    }
}

fn served(test: &TestNode, name: &str) -> Peer {
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve(name, server.pid());
    server
}

#[test]
fn a_peer_that_is_stopped_for_longer_than_the_timeout_is_dead_to_readers_and_sets() {
    let test = TestNode::start();
    let mut server = served(&test, "stopped");
    server.send("accept 2");
    let flow = test.node().alloc("stopped", watched(400), None).unwrap();
    let other = test.node().alloc("stopped", watched(400), None).unwrap();
    assert_eq!(server.line(), "accepted 2");
    let set = FlowSet::new().unwrap();
    set.add(&other).unwrap();
    server.stop();
    let error = flow.read_packet().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FlowPeer);
    assert!(error.to_string().contains("400ms"), "{error}");
    let queue = EventQueue::new();
    set.wait(&queue, None).unwrap();
    assert_eq!(queue.next_event().unwrap().kind, EventKind::Peer);
    // The mark is for good, writing is still possible, and what comes can be read (K4).
    assert_eq!(flow.write(b"are you there?").unwrap(), 14);
    server.go_on();
    assert_eq!(server.ask("write late"), "ok");
    assert_eq!(flow.read_packet().unwrap(), b"late");
    assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowPeer);
}

#[test]
fn a_peer_that_is_stopped_within_the_timeout_loses_nothing() {
    const PACKETS: usize = 20_000;
    let test = TestNode::start();
    let mut server = served(&test, "pausing");
    server.send("accept 1");
    let flow = test.node().alloc("pausing", watched(60_000), None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PACKETS as u64 {
                flow.write(&number.to_be_bytes()).unwrap();
            }
        });
        server.send(&format!("count {PACKETS}"));
        for _ in 0..10 {
            server.stop();
            server.go_on();
        }
        assert_eq!(server.line(), format!("counted {PACKETS}"));
    });
    assert_eq!(server.ask("write whole"), "ok");
    assert_eq!(flow.read_packet().unwrap(), b"whole");
}

#[test]
fn quiet_flows_stay_alive() {
    let test = TestNode::start();
    let mut server = served(&test, "quiet");
    server.send("accept 1");
    let flow = test.node().alloc("quiet", watched(200), None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    // Much longer than the timeout, in which neither program does anything with the flow. The time
    // is that of a second flow which has none to talk to.
    server.send("accept 1");
    let clock = test.node().alloc("quiet", watched(0), None).unwrap();
    assert_eq!(server.line(), "accepted 2");
    clock
        .set_read_timeout(Some(std::time::Duration::from_millis(1500)))
        .unwrap();
    assert_eq!(clock.read_packet().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(server.ask("write alive"), "ok");
    assert_eq!(flow.read_packet().unwrap(), b"alive");
    flow.set_flags(FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING)
        .unwrap();
    assert_eq!(
        flow.read_packet().unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn a_blocked_reader_learns_of_a_death_that_no_daemon_can_tell() {
    let mut test = TestNode::start();
    let mut server = served(&test, "orphan");
    server.send("accept 1");
    let flow = test.node().alloc("orphan", QosSpec::RAW, None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    test.kill();
    assert_eq!(server.ask("write last"), "ok");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            assert_eq!(flow.read_packet().unwrap(), b"last");
            flow.read_packet().unwrap_err().kind()
        });
        server.kill();
        assert_eq!(reader.join().unwrap(), ErrorKind::FlowPeer);
    });
    assert_eq!(
        flow.write(b"nobody").unwrap_err().kind(),
        ErrorKind::FlowPeer
    );
}
