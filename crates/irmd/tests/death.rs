//! Processes that die: the other ends learn it, and nothing stays behind.

mod support;

use std::{
    io::{BufRead, BufReader},
    os::fd::AsFd,
    process::Stdio,
};

use o7s::control::{Body, Connection, Empty, FlowsChanged};
use o7s_ring::{Endpoint, Side};
use support::*;

const FLOWS: usize = 1000;

#[test]
fn a_thousand_flows_to_a_process_that_is_killed() {
    let daemon = start();
    let dir = daemon.dir();
    let mut announced = announce(dir, "client");
    let idle = status(&mut announced);

    let own = std::env::current_exe().unwrap();
    let mut victim = child(&own, "as_victim", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().ends_with("bound") {}

    let mut client = further(dir, "client");
    let mut flows = Vec::new();
    let mut waiters = Vec::new();
    for _ in 0..FLOWS {
        let alloc = client.start(alloc_body("victim", None)).unwrap();
        let (info, fds) = flow(&mut client, alloc).unwrap();
        let (_, _, state) = Endpoint::open(fds[0].as_fd(), Side::A).unwrap().split();
        let waiter = state.read_waiter();
        // As a flow set that waits for packets does it.
        assert!(!waiter.arm_bell(|| false));
        flows.push((info, state));
        waiters.push(waiter);
    }
    let busy = status(&mut announced);
    assert_eq!((busy.processes, busy.flows), (2, FLOWS as u64));
    // A flow costs the daemon no descriptor.
    assert!(busy.descriptors < idle.descriptors + 16, "{busy:?}");

    victim.kill().unwrap();
    victim.wait().unwrap();
    let mut told = std::collections::BTreeSet::new();
    while told.len() < FLOWS {
        told.extend(changed(&mut announced).ends.iter().map(|end| end.flow_id));
    }
    for (info, state) in &flows {
        assert!(told.contains(&info.flow_id));
        assert!(state.peer().gone, "{info:?}");
    }
    for (info, _) in &flows {
        dealloc(&mut client, info);
    }
    let after = status(&mut announced);
    assert_eq!((after.processes, after.flows), (1, 0));
    assert_eq!((after.bells, after.pending), (0, 0));
    drop(client);
    drop(manager(dir));
    // The closed connections are seen in the daemon's own time.
    while status(&mut announced).descriptors > idle.descriptors {}
}

/// Waits for a notification.
fn changed(connection: &mut Connection) -> FlowsChanged {
    loop {
        if let Some((0, Body::FlowsChanged(changed), _)) = connection.next().unwrap() {
            return changed;
        }
        let mut fds = [rustix::event::PollFd::new(
            connection,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, None).unwrap();
    }
}

#[test]
#[ignore = "run by a_thousand_flows_to_a_process_that_is_killed"]
fn as_victim() {
    let dir = child_dir();
    let mut announced = announce(&dir, "victim");
    bind_own(&mut announced, "victim");
    println!("bound");
    let mut held = Vec::new();
    loop {
        let accept = announced.start(accept_body(None)).unwrap();
        let (_, fds) = flow(&mut announced, accept).unwrap();
        let (tx, rx, state) = Endpoint::open(fds[0].as_fd(), Side::B).unwrap().split();
        held.push((tx, rx, state));
    }
}

#[test]
fn a_connection_that_closes_on_its_flow() {
    let daemon = start();
    let dir = daemon.dir();
    let mut announced = announce(dir, "p");
    bind_own(&mut announced, "svc");
    // An accept whose answer is never read.
    let mut server = further(dir, "p");
    server.start(accept_body(None)).unwrap();
    announced.call(Body::ListNames(Empty {})).unwrap();
    let mut client = further(dir, "p");
    let alloc = client.start(alloc_body("svc", None)).unwrap();
    let (info, _fds) = flow(&mut client, alloc).unwrap();
    drop(server);
    dealloc(&mut client, &info);
    while status(&mut announced).flows > 0 {}
}
