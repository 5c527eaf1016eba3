//! Nodes that are what their configuration files say: they come up in any order, die in any way, and are whole
//! again without a hand.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, QosSpec, irm::IpcpType};
use o7s_tests::{
    machine::{Machine, PATIENCE, echo, echo_for, kill, layer, network, pair, until_whole},
    netns::skipped,
    qos,
};

const RELIABLE: &[&str] = &["in_order=1", "loss=0"];
const TRIANGLE: &[(usize, usize)] = &[(0, 1), (1, 2), (0, 2)];

#[test]
fn a_triangle_comes_up_in_any_order_and_outlives_the_death_of_each_daemon() {
    if skipped("a_triangle_comes_up_in_any_order_and_outlives_the_death_of_each_daemon") {
        return;
    }
    let mut net = network(&["a", "b", "c"], TRIANGLE, "");
    // The last one first: it waits for its neighbours.
    for number in [2, 1, 0] {
        net[number].start();
    }
    until_whole(&net);
    net[2].serve("svc");
    let (passing, far_end) = pair(&net[0], &net[2], "svc", qos(RELIABLE));
    net[1].serve("mid");
    let (ending, near_end) = pair(&net[0], &net[1], "mid", qos(&["timeout=2000"]));
    echo(&ending, &near_end, 0);
    // The one in the middle dies with all of its IPCPs.
    let old = net[1].address();
    net[1].kill_daemon();
    // Who is on its machine hears it at once, the other end when the flow is silent for its timeout.
    let error = near_end.read_packet().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FlowDown, "{error}");
    let error = ending.read_packet().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FlowPeer, "{error}");
    // What passed another way goes on.
    let longest = echo_for(&passing, &far_end, Duration::from_secs(1));
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    until_whole([&net[0], &net[2]]);
    net[1].start();
    until_whole(&net);
    assert_ne!(net[1].address(), old);
    echo(&passing, &far_end, 1);
    // And so does the one that began the layer.
    net[0].kill_daemon();
    net[0].start();
    until_whole(&net);
    // Its directory is a new one, and knows what the others have.
    let (client, server) = pair(&net[0], &net[2], "svc", QosSpec::RAW);
    echo(&client, &server, 2);
}

#[test]
fn a_killed_ipcp_is_started_again_and_connected() {
    if skipped("a_killed_ipcp_is_started_again_and_connected") {
        return;
    }
    let mut net = network(&["a", "b", "c"], &[(0, 1), (1, 2)], "");
    for machine in &mut net {
        machine.start();
    }
    until_whole(&net);
    net[2].serve("svc");
    // The member in the middle of the line.
    let (before, member) = net[1].ipcps();
    kill(member.unwrap());
    net[1].until("it is another process", || {
        net[1].ipcps().1.is_some_and(|pid| Some(pid) != member)
    });
    until_whole(&net);
    let (after, _) = net[1].ipcps();
    let (before, after) = (BTreeSet::from_iter(before), BTreeSet::from_iter(after));
    assert_eq!(before.difference(&after).count(), 1, "only that one");
    let (client, server) = pair(&net[0], &net[2], "svc", qos(RELIABLE));
    echo(&client, &server, 0);
    // What it stands on.
    let cable = *after
        .iter()
        .find(|pid| Some(**pid) != net[1].ipcps().1)
        .unwrap();
    kill(cable);
    net[1].until("it is another process", || {
        let (now, _) = net[1].ipcps();
        now.len() == 3 && !now.contains(&cable)
    });
    until_whole(&net);
    echo(&client, &server, 1);
    let log = net[1].log();
    let told = log.matches("cannot create the IPCP").count();
    assert!(told <= 2, "one line per death: {log}");
}

/// A program of this machine in its broadcast layer, once that is there.
fn join(machine: &Machine) -> Flow {
    let begin = Instant::now();
    loop {
        match machine.node.join("net", Some(PATIENCE)) {
            Ok(flow) => return flow,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}: {}", machine.log()),
        }
    }
}

/// Sends until something comes.
fn until_heard(from: &Flow, to: &Flow) {
    let begin = Instant::now();
    to.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    loop {
        from.write(b"hello").unwrap();
        match to.read_packet() {
            Ok(packet) => return assert_eq!(packet, b"hello"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
        assert!(begin.elapsed() < PATIENCE, "nothing came");
    }
}

/// The one that knows of the connection is not told that the other one died: on Ethernet nobody tells.
#[test]
fn a_broadcast_layer_is_whole_again_after_the_death_of_a_daemon() {
    if skipped("a_broadcast_layer_is_whole_again_after_the_death_of_a_daemon") {
        return;
    }
    let mut net = layer(IpcpType::Broadcast, &["a", "b"], &[(0, 1)], "");
    for machine in &mut net {
        machine.start();
    }
    let flows = [join(&net[0]), join(&net[1])];
    until_heard(&flows[0], &flows[1]);
    net[0].kill_daemon();
    net[0].start();
    let again = join(&net[0]);
    until_heard(&again, &flows[1]);
    until_heard(&flows[1], &again);
}
