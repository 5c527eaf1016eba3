//! A thousand flows at once, and the death of the process at their other end. Alone in its process,
//! because it counts the descriptors of that process.

use std::{
    fs,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, EventKind, EventQueue, Flow, FlowSet, QosSpec};
use o7s_tests::{Peer, TestNode};

fn own_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_flows_whose_peer_is_killed_while_all_are_busy() {
    const FLOWS: usize = 1000;
    let test = TestNode::start();
    let before = test.irm().status().unwrap();
    // A server process of its own: descriptors of this one are counted by other tests too.
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve("busy", server.pid());
    test.node().announce().unwrap();
    let idle = own_descriptors();

    server.send(&format!("accept {FLOWS}"));
    let flows: Vec<Flow> = (0..FLOWS)
        .map(|_| test.node().alloc("busy", QosSpec::RAW, None).unwrap())
        .collect();
    assert_eq!(server.line(), format!("accepted {FLOWS}"));
    let open = own_descriptors();
    assert!(
        open < idle + 10,
        "{FLOWS} flows cost {} descriptors",
        open - idle
    );

    let set = FlowSet::new().unwrap();
    for flow in &flows {
        set.add(flow).unwrap();
    }
    assert_eq!(server.ask("flood"), "flooding");
    let queue = EventQueue::new();
    set.wait(&queue, None).unwrap();
    server.kill();
    let killed = Instant::now();

    let mut ended = 0;
    while ended < FLOWS {
        while let Some(event) = queue.next_event() {
            match event.kind {
                EventKind::Packet => drop(event.flow.try_read_packet()),
                EventKind::Peer => ended += 1,
                other => panic!("{other:?}"),
            }
        }
        if ended < FLOWS {
            set.wait(&queue, Some(Duration::from_secs(20))).unwrap();
        }
    }
    println!(
        "all {FLOWS} ends told {:?} after the kill",
        killed.elapsed()
    );
    for flow in &flows {
        while flow.try_read_packet().is_ok() {}
        assert_eq!(
            flow.try_read_packet().unwrap_err().kind(),
            ErrorKind::FlowPeer
        );
        assert_eq!(flow.write(b"x").unwrap_err().kind(), ErrorKind::FlowPeer);
    }
    drop((set, queue));
    drop(flows);
    test.until_status(|status| {
        status.flows == 0 && status.bells == 0 && status.pending == 0 && status.processes == 1
    });
    let after = test.irm().status().unwrap();
    // The daemon holds this process' connections, and nothing of the dead one.
    assert!(
        after.descriptors <= before.descriptors + 4,
        "{before:?} then {after:?}"
    );
    let mut left: Vec<_> = fs::read_dir(test.dir().path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["irm.sock", "irmd.lock"]);
}
