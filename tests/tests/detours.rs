//! Unicast layers with more than one way: flows are spread over equal ones, and take another when a cable is
//! pulled or a member dies. How long a reliable flow is interrupted is printed (`--nocapture`).

use std::{
    thread,
    time::{Duration, Instant},
};

use o7s::{Flow, QosSpec};
use o7s_tests::{
    machine::{Machine, echo, network, pair, until_whole},
    netns::skipped,
    qos,
};

const RELIABLE: &[&str] = &["in_order=1", "loss=0"];
const SQUARE: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 3), (0, 3)];
const RING: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)];

/// A network that is up, with the name `svc` at machine `server`.
fn start(names: &[&str], cables: &[(usize, usize)], routing: &str, server: usize) -> Vec<Machine> {
    let options = format!("routing = {routing:?}\nls_t_recalc = 1\n");
    let mut net = network(names, cables, &options);
    for machine in &mut net {
        machine.start();
    }
    until_whole(&net);
    net[server].serve("svc");
    net
}

/// Data packets that a member sent to its neighbours.
fn sent(machine: &Machine) -> u64 {
    let numbers = machine.column("neighbours", "sent").into_iter();
    numbers.map(|number| number.parse::<u64>().unwrap()).sum()
}

/// A message there and back on each flow, all at once; the longest time that one took.
fn echo_all(flows: &[(Flow, Flow)]) -> Duration {
    thread::scope(|scope| {
        let echoes = flows.iter().zip(0..);
        let echoes = echoes
            .map(|((client, server), number)| scope.spawn(move || echo(client, server, number)));
        let echoes: Vec<_> = echoes.collect();
        let times = echoes.into_iter().map(|echo| echo.join().unwrap());
        times.max().unwrap()
    })
}

#[test]
fn equal_ways_share_the_flows_and_stand_in_for_each_other() {
    if skipped("equal_ways_share_the_flows_and_stand_in_for_each_other") {
        return;
    }
    let mut net = start(&["a", "b", "c", "d"], SQUARE, "ecmp", 2);
    let flows: Vec<_> = (0..12)
        .map(|_| pair(&net[0], &net[2], "svc", qos(RELIABLE)))
        .collect();
    let before = [1, 3].map(|at| sent(&net[at]));
    for _ in 0..50 {
        echo_all(&flows);
    }
    // Each of the two members between them carries some: 600 messages, and as many back.
    for (at, before) in [1, 3].into_iter().zip(before) {
        let carried = sent(&net[at]) - before;
        assert!(carried >= 100, "{} carried {carried}", net[at].name);
    }
    // A cable is pulled: both of its ends know at once.
    net[0].netns.ip("link set to-b down");
    let pulled = echo_all(&flows);
    eprintln!("square, ecmp: cable pulled: {pulled:?}");
    assert!(pulled < Duration::from_secs(2), "{pulled:?}");
    net[0].netns.ip("link set to-b up");
    until_whole(&net);
    net[0].until("both ways are there", || {
        let hops = net[0].column("routes", "next_hops");
        hops.iter().any(|hops| hops.contains(' '))
    });
    echo_all(&flows);
    // A member dies, and nobody is told.
    net[3].kill_daemon();
    let killed = echo_all(&flows);
    eprintln!("square, ecmp: member killed: {killed:?}");
    assert!(killed < Duration::from_secs(5), "{killed:?}");
}

#[test]
fn the_way_around_a_ring_of_six() {
    if skipped("the_way_around_a_ring_of_six") {
        return;
    }
    let mut net = start(&["a", "b", "c", "d", "e", "f"], RING, "lfa", 3);
    let flows: Vec<_> = (0..4)
        .map(|_| pair(&net[0], &net[3], "svc", qos(RELIABLE)))
        .collect();
    echo_all(&flows);
    let first = |net: &[Machine]| {
        // Which neighbour of the first is on the way: the one that carries.
        let before = [1, 5].map(|at| sent(&net[at]));
        for _ in 0..20 {
            echo_all(&flows);
        }
        let now = [1, 5].map(|at| sent(&net[at]));
        if now[0] - before[0] > now[1] - before[1] {
            1
        } else {
            5
        }
    };
    let way = first(&net);
    let begin = Instant::now();
    net[way].kill_daemon();
    let killed = echo_all(&flows);
    eprintln!("ring of six, lfa: neighbour killed: {killed:?}");
    assert!(killed < Duration::from_secs(5), "{killed:?}");
    until_whole(net.iter().filter(|machine| machine.name != net[way].name));
    eprintln!("ring of six: all know after {:?}", begin.elapsed());
    // It comes again, and flows end on the other side of the ring too.
    net[way].start();
    until_whole(&net);
    // The next one on the way, two hops from the client: its death is told by others.
    let next = if way == 1 { 4 } else { 2 };
    net[next].kill_daemon();
    let killed = echo_all(&flows);
    eprintln!("ring of six, lfa: member two hops away killed: {killed:?}");
    assert!(killed < Duration::from_secs(8), "{killed:?}");
    drop(pair(&net[0], &net[3], "svc", QosSpec::RAW));
}

#[test]
fn a_flow_goes_on_when_the_only_member_on_its_way_is_killed() {
    if skipped("a_flow_goes_on_when_the_only_member_on_its_way_is_killed") {
        return;
    }
    // The two ends are connected over the middle, and over two further members.
    let cables = &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)];
    let mut net = start(&["a", "m", "b", "x", "y"], cables, "link-state", 2);
    let flow = [pair(&net[0], &net[2], "svc", qos(RELIABLE))];
    let mut times = Vec::new();
    for _ in 0..3 {
        echo_all(&flow);
        net[1].kill_daemon();
        let killed = echo_all(&flow);
        eprintln!("shortest path: middle member killed: {killed:?}");
        times.push(killed);
        net[1].start();
        until_whole(&net);
        // The way over it is there again, not only the other one.
        for (one, other) in [(0, 2), (2, 0)] {
            let (to, middle) = (net[other].address(), net[1].address());
            net[one].until("the short way", || {
                let hops = net[one].column("routes", "next_hops");
                let all = net[one].column("routes", "destination");
                all.iter()
                    .zip(hops)
                    .any(|(it, hops)| *it == to && hops == middle)
            });
        }
    }
    assert!(
        times.iter().all(|time| *time < Duration::from_secs(4)),
        "{times:?}"
    );
}
