//! Flow sets and event queues.

use std::{thread, time::Duration};

use o7s::{ErrorKind, Event, EventKind, EventQueue, Flow, FlowFlags, FlowSet, Node, QosSpec};
use o7s_tests::{Peer, TestNode};

fn pair(node: &Node) -> (Flow, Flow) {
    thread::scope(|scope| {
        let server = scope.spawn(|| node.accept(None).expect("a flow arrives"));
        let client = node
            .alloc("here", QosSpec::RAW, None)
            .expect("a flow is allocated");
        (client, server.join().expect("the server thread"))
    })
}

fn started() -> (TestNode, Flow, Flow) {
    let test = TestNode::start();
    test.serve_here("here");
    let (client, server) = pair(&test.node());
    (test, client, server)
}

/// All events that `queue` holds.
fn events(queue: &EventQueue) -> Vec<(Flow, EventKind)> {
    std::iter::from_fn(|| queue.next_event())
        .map(|Event { flow, kind }| (flow, kind))
        .collect()
}

/// Waits for events and returns them.
fn wait(set: &FlowSet) -> Vec<(Flow, EventKind)> {
    let queue = EventQueue::new();
    set.wait(&queue, Some(Duration::from_secs(20)))
        .expect("events");
    events(&queue)
}

fn assert_nothing(set: &FlowSet) {
    let error = set
        .wait(&EventQueue::new(), Some(Duration::ZERO))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// `spec/frcp.md` §18.2 with the demands of §14.5: one event per packet, those that waited before
/// the flow joined included, none for an empty packet.
#[test]
fn one_event_per_packet() {
    let (_test, client, server) = started();
    for _ in 0..3 {
        client.write(b"ab").unwrap();
    }
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    assert_eq!(set.add(&server).unwrap_err().kind(), ErrorKind::Permission);
    let packet = (server.clone(), EventKind::Packet);
    assert_eq!(wait(&set), vec![packet.clone(); 3]);
    client.write(b"").unwrap();
    assert_nothing(&set);
    client.write(b"cd").unwrap();
    assert_eq!(wait(&set), vec![packet]);
    for _ in 0..4 {
        server.try_read_packet().unwrap();
    }
    assert_eq!(
        server.try_read_packet().unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert_nothing(&set);
}

#[test]
fn packets_read_before_the_wait_give_no_event() {
    let (_test, client, server) = started();
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    client.write(b"1").unwrap();
    server.read_packet().unwrap();
    client.write(b"2").unwrap();
    assert_eq!(wait(&set).len(), 1);
}

#[test]
fn a_queue_with_events_is_not_refilled() {
    let (_test, client, server) = started();
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    let queue = EventQueue::new();
    client.write(b"1").unwrap();
    set.wait(&queue, None).unwrap();
    client.write(b"2").unwrap();
    set.wait(&queue, None).unwrap();
    assert_eq!(events(&queue).len(), 1);
    set.wait(&queue, None).unwrap();
    assert_eq!(events(&queue).len(), 1);
}

#[test]
fn members_come_and_go() {
    let (test, client, server) = started();
    let set = FlowSet::new().unwrap();
    let other = FlowSet::new().unwrap();
    assert!(set.is_empty());
    set.add(&client).unwrap();
    set.add(&server).unwrap();
    assert_eq!(set.len(), 2);
    assert!(set.contains(&server) && !other.contains(&server));
    assert_eq!(
        other.add(&server).unwrap_err().kind(),
        ErrorKind::Permission
    );
    set.remove(&server);
    other.remove(&server);
    assert!(!set.contains(&server));
    other.add(&server).unwrap();
    client.write(b"x").unwrap();
    assert_nothing(&set);
    assert_eq!(wait(&other).len(), 1);
    set.clear();
    assert!(set.is_empty());
    drop(other);
    set.add(&server).unwrap();
    server.dealloc().unwrap();
    assert!(set.is_empty(), "a deallocated flow leaves its set");
    assert_eq!(
        set.add(&server).unwrap_err().kind(),
        ErrorKind::NotAllocated
    );
    // A later flow with the same number is not in the old set.
    let (_client, again) = pair(&test.node());
    assert!(!set.contains(&again));
}

#[test]
fn events_of_a_flow_deallocated_meanwhile_are_skipped() {
    let (test, client, server) = started();
    let (second, kept) = pair(&test.node());
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    set.add(&kept).unwrap();
    client.write(b"1").unwrap();
    second.write(b"2").unwrap();
    let queue = EventQueue::new();
    set.wait(&queue, None).unwrap();
    server.dealloc().unwrap();
    assert_eq!(events(&queue), [(kept, EventKind::Packet)]);
}

#[test]
fn down_up_and_dealloc_of_the_other_end_are_events() {
    let (_test, client, server) = started();
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    let down = FlowFlags(FlowFlags::DEFAULT.0 | FlowFlags::DOWN.0);
    client.set_flags(down).unwrap();
    assert_eq!(wait(&set), [(server.clone(), EventKind::Down)]);
    client.set_flags(down).unwrap();
    assert_nothing(&set);
    client.set_flags(FlowFlags::DEFAULT).unwrap();
    assert_eq!(wait(&set), [(server.clone(), EventKind::Up)]);
    client.set_flags(FlowFlags::DEFAULT).unwrap();
    assert_nothing(&set);
    client.write(b"last").unwrap();
    client.dealloc().unwrap();
    assert_eq!(
        wait(&set),
        [
            (server.clone(), EventKind::Packet),
            (server.clone(), EventKind::Dealloc)
        ]
    );
    assert_nothing(&set);
}

#[test]
fn a_killed_peer_is_an_event() {
    let test = TestNode::start();
    test.serve_here("here");
    let mut peer = Peer::start(test.dir());
    peer.send("alloc here 1");
    let server = test.node().accept(None).unwrap();
    assert_eq!(peer.line(), "allocated 1");
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    peer.kill();
    assert_eq!(wait(&set), [(server.clone(), EventKind::Peer)]);
    assert_eq!(
        server.read_packet().unwrap_err().kind(),
        ErrorKind::FlowPeer
    );
}

#[test]
fn asynchronous_allocation_raises_its_outcome() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let set = FlowSet::new().unwrap();
    let flow = Flow::pending(node.start_alloc("here", QosSpec::RAW, None).unwrap()).unwrap();
    set.add(&flow).unwrap();
    assert_nothing(&set);
    let server = node.accept(None).unwrap();
    assert_eq!(wait(&set), [(flow.clone(), EventKind::Alloc)]);
    server.write(b"x").unwrap();
    assert_eq!(wait(&set), [(flow.clone(), EventKind::Packet)]);

    let limit = Some(Duration::from_millis(1));
    let failing = Flow::pending(node.start_alloc("here", QosSpec::RAW, limit).unwrap()).unwrap();
    set.add(&failing).unwrap();
    assert_eq!(wait(&set), [(failing.clone(), EventKind::Dealloc)]);
    assert_eq!(failing.finish().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn waiters_of_different_sets_are_woken_by_their_own_flows() {
    const ROUNDS: usize = 500;
    let test = TestNode::start();
    test.serve_here("here");
    let pairs: Vec<_> = (0..3).map(|_| pair(&test.node())).collect();
    thread::scope(|scope| {
        for (client, server) in &pairs {
            scope.spawn(move || {
                let set = FlowSet::new().unwrap();
                set.add(server).unwrap();
                for _ in 0..ROUNDS {
                    for (flow, kind) in wait(&set) {
                        assert_eq!((&flow, kind), (server, EventKind::Packet));
                        flow.write(&flow.try_read_packet().unwrap()).unwrap();
                    }
                }
            });
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    client.write(&round.to_le_bytes()).unwrap();
                    assert_eq!(client.read_packet().unwrap(), round.to_le_bytes());
                }
            });
        }
    });
}

#[test]
fn a_set_has_a_descriptor() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let (_test, client, server) = started();
    let set = FlowSet::new().unwrap();
    set.add(&server).unwrap();
    let ready = |wait: i64| {
        let fd = set.fileno().unwrap();
        let timeout = Timespec {
            tv_sec: wait,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    assert!(!ready(0));
    for _ in 0..1000 {
        client.write(b"x").unwrap();
        assert!(ready(10));
        assert_eq!(wait(&set).len(), 1);
        server.try_read_packet().unwrap();
        assert!(!ready(0));
    }
}
