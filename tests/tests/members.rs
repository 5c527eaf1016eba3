//! Names with several members, and members that are not there: on an Ethernet segment and over UDP.

use std::{
    net::{SocketAddr, UdpSocket},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, Node, QosSpec, irm::IpcpType};
use o7s_tests::{
    TestNode,
    hand::Hand,
    netns::{Netns, skipped},
    networks::{counter, ethernet, internet, own_ip, serve},
    own_pid,
};

/// What an allocator gives a flow by default; nothing may take that long.
const LIMIT: Duration = Duration::from_secs(20);
const NAME: &str = "svc";
const PORT: u16 = 3435;

/// Answers each flow with `letter`, until the node is gone; keeps the flows.
fn answer(node: Node, letter: u8) -> JoinHandle<Vec<Flow>> {
    std::thread::spawn(move || {
        let mut flows = Vec::new();
        while let Ok(flow) = node.accept(None) {
            // The requester may have its flow from another member.
            let _ = flow.write(&[letter]);
            flows.push(flow);
        }
        flows
    })
}

/// A flow to the name, who has the other end, and how long it took.
fn ask(test: &TestNode) -> (Flow, u8, Duration) {
    let begin = Instant::now();
    let flow = test.node().alloc(NAME, QosSpec::RAW, Some(LIMIT)).unwrap();
    let took = begin.elapsed();
    flow.set_read_timeout(Some(LIMIT)).unwrap();
    let letter = flow.read_packet().unwrap();
    (flow, letter[0], took)
}

/// Two members of a name: flows go to one of them, and when that one is killed to the other.
fn one_of_two_dies(client: &TestNode, mut members: [(TestNode, i32); 2]) {
    for ((test, ipcp), letter) in members.iter().zip(*b"bc") {
        test.node().announce().unwrap();
        serve(test, *ipcp, NAME, own_pid());
        answer(test.node(), letter);
    }
    client.node().announce().unwrap();
    let (_first, letter, _) = ask(client);
    let at = usize::from(letter == b'c');
    members[at].0.kill();
    let (_second, other, took) = ask(client);
    assert_eq!(
        [letter, other].map(|it| it == b'b' || it == b'c'),
        [true; 2]
    );
    assert_ne!(letter, other);
    eprintln!("the other member has the flow after {took:?}");
    assert!(took < LIMIT / 2, "{took:?}");
    // And from now on without a wait.
    let (_third, letter, took) = ask(client);
    assert_eq!(letter, other);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn the_other_member_of_a_segment_takes_over() {
    if skipped("the_other_member_of_a_segment_takes_over") {
        return;
    }
    for ipcp_type in [IpcpType::EthDix, IpcpType::EthLlc] {
        let switch = Netns::new();
        switch.ip("link add br0 type bridge forward_delay 0");
        switch.ip("link set br0 addrgenmode none up");
        let machines = [0, 1, 2].map(|number| {
            let netns = Netns::new();
            let port = format!("port{number}");
            netns.cable("eth0", &switch, &port, 1500);
            switch.ip(&format!("link set {port} master br0"));
            netns
        });
        let [client, one, two] = machines.each_ref().map(|netns| {
            let test = TestNode::start_inside(netns);
            let ipcp = ethernet(&test, ipcp_type, "eth0");
            (test, ipcp)
        });
        one_of_two_dies(&client.0, [one, two]);
    }
}

fn udp(number: u8) -> SocketAddr {
    (own_ip(number), PORT).into()
}

fn member(number: u8, hosts: &[(&str, SocketAddr)]) -> (TestNode, i32) {
    let test = TestNode::start();
    let ipcp = internet(&test, udp(number), hosts);
    (test, ipcp)
}

#[test]
fn the_other_address_of_a_name_takes_over() {
    let members = [member(102, &[]), member(103, &[])];
    let (client, _) = member(101, &[(NAME, udp(102)), (NAME, udp(103))]);
    one_of_two_dies(&client, members);
}

/// The first address takes datagrams and says nothing.
#[test]
fn the_next_address_is_asked_while_the_first_is_silent() {
    let silent = UdpSocket::bind(udp(112)).unwrap();
    let heard = Hand::Datagrams(silent, udp(111));
    let (test, ipcp) = member(113, &[]);
    let (client, asking) = member(111, &[(NAME, udp(112)), (NAME, udp(113))]);
    test.node().announce().unwrap();
    serve(&test, ipcp, NAME, own_pid());
    answer(test.node(), b'c');
    client.node().announce().unwrap();
    let (_flow, letter, took) = ask(&client);
    assert_eq!(letter, b'c');
    eprintln!("the second address has the flow after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(heard.receive(LIMIT).is_some(), "it was asked first");
    assert!(counter(&client, asking, "protocol", "requests_repeated") > 0);
}

#[test]
fn an_address_where_nobody_is_is_told_at_once() {
    for (own, gone) in [
        (udp(121), udp(122)),
        ("[::1]:0".parse().unwrap(), "[::1]:0".parse().unwrap()),
    ] {
        // Ports that are free, on the only loopback address of IPv6.
        let [own, gone]: [SocketAddr; 2] = if own.is_ipv6() {
            let Ok(free) = [own, gone]
                .map(UdpSocket::bind)
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
            else {
                eprintln!("udp6 is skipped: there is no IPv6 here");
                continue;
            };
            [free[0].local_addr().unwrap(), free[1].local_addr().unwrap()]
        } else {
            [own, gone]
        };
        let test = TestNode::start();
        let ipcp = internet(&test, own, &[(NAME, gone)]);
        test.node().announce().unwrap();
        for round in 1..=3 {
            let begin = Instant::now();
            let outcome = test.node().alloc(NAME, QosSpec::RAW, Some(LIMIT));
            let refused = outcome.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Other(111), "{refused}");
            assert!(refused.to_string().contains(&gone.to_string()), "{refused}");
            assert!(begin.elapsed() < LIMIT / 2);
            let told = counter(&test, ipcp, "counters", "datagrams_not_delivered");
            assert_eq!(told, round);
        }
    }
}

/// A way that loses the first datagram in one direction.
fn lossy_way(way: SocketAddr, client: SocketAddr, server: SocketAddr, loses_request: bool) {
    let socket = UdpSocket::bind(way).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut lost = false;
        // Until the process ends.
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let (to, loses) = if from == server {
                (client, !loses_request)
            } else {
                (server, loses_request)
            };
            if loses && !lost {
                lost = true;
                continue;
            }
            let _ = socket.send_to(&buffer[..length], to);
        }
    });
}

/// Nothing is known of a peer before its first answer, and a request to one of 0.23 must not be repeated.
#[test]
fn a_lost_first_request_or_reply_costs_no_allocation() {
    for (number, loses_request) in [(130, true), (140, false)] {
        let [client, way, server] = [1, 2, 3].map(|at| udp(number + at));
        lossy_way(way, client, server, loses_request);
        let (test, ipcp) = member(number + 3, &[]);
        let (client, asking) = member(number + 1, &[(NAME, way)]);
        test.node().announce().unwrap();
        serve(&test, ipcp, NAME, own_pid());
        let accepted = answer(test.node(), b'c');
        client.node().announce().unwrap();
        let (_flow, letter, took) = ask(&client);
        assert_eq!(letter, b'c');
        eprintln!("request lost: {loses_request}; the flow is there after {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        for name in ["probes_sent", "requests_repeated"] {
            assert!(counter(&client, asking, "protocol", name) > 0, "{name}");
        }
        // One flow, not two.
        assert_eq!(counter(&test, ipcp, "protocol", "requests_arrived"), 1);
        drop(accepted);
    }
}

/// Both members accept, the first one late: its program is told that the flow is over.
#[test]
fn a_late_acceptance_is_given_back() {
    let slow = member(152, &[]);
    let fast = member(153, &[]);
    let (client, _) = member(151, &[(NAME, udp(152)), (NAME, udp(153))]);
    for (test, ipcp) in [&slow, &fast] {
        test.node().announce().unwrap();
        serve(test, *ipcp, NAME, own_pid());
    }
    answer(fast.0.node(), b'c');
    client.node().announce().unwrap();
    let (flow, letter, _) = ask(&client);
    assert_eq!(letter, b'c');
    // The request has waited for this program.
    let late = slow.0.node().accept(Some(LIMIT)).unwrap();
    late.set_read_timeout(Some(LIMIT)).unwrap();
    let over = late.read_packet().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::FlowDown, "{over}");
    assert_eq!(counter(&slow.0, slow.1, "protocol", "given_back"), 1);
    flow.write(b"still there").unwrap();
}
