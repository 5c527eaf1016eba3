//! Devices of Ethernet layers that change while there are flows: another name, another address, none.

use std::time::{Duration, Instant};

use o7s::{ErrorKind, Flow, QosSpec, irm::IpcpType};
use o7s_tests::{
    TestNode,
    netns::{Netns, skipped},
    networks::{ethernet, serve},
    own_pid,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Two machines with a cable, of which the second serves a name.
struct Pair {
    netns: [Netns; 2],
    tests: [(TestNode, i32); 2],
}

impl Pair {
    fn start() -> Self {
        let netns = [Netns::new(), Netns::new()];
        netns[0].cable("eth0", &netns[1], "eth0", 1500);
        let tests = netns.each_ref().map(|netns| {
            let test = TestNode::start_inside(netns);
            let ipcp = ethernet(&test, IpcpType::EthDix, "eth0");
            test.node().announce().unwrap();
            (test, ipcp)
        });
        serve(&tests[1].0, tests[1].1, "svc", own_pid());
        Self { netns, tests }
    }

    /// Both ends of a flow.
    fn connect(&self) -> (Flow, Flow) {
        let [(client, _), (server, _)] = &self.tests;
        let (client, server) = (client.node(), server.node());
        std::thread::scope(|scope| {
            let accept = scope.spawn(|| server.accept(Some(LIMIT)).unwrap());
            let flow = client.alloc("svc", QosSpec::RAW, Some(LIMIT)).unwrap();
            (flow, accept.join().unwrap())
        })
    }

    /// Waits until the first machine shows its device so: name, state, address.
    fn until_shown(&self, is: impl Fn(&str, &str, &str) -> bool) {
        let (test, ipcp) = &self.tests[0];
        let limit = Instant::now() + LIMIT;
        loop {
            let status = test.irm().show_ipcp(*ipcp).unwrap();
            let device = status.sections.iter().find(|it| it.name == "device");
            let cells = &device.unwrap().rows[0].cells;
            if is(&cells[0], &cells[1], &cells[2]) {
                return;
            }
            assert!(Instant::now() < limit, "{cells:?}");
            std::thread::yield_now();
        }
    }
}

fn crosses(from: &Flow, to: &Flow) {
    to.set_read_timeout(Some(LIMIT)).unwrap();
    from.write(b"hello").unwrap();
    assert_eq!(to.read_packet().unwrap(), b"hello");
}

#[test]
fn a_renamed_device_goes_on() {
    if skipped("a_renamed_device_goes_on") {
        return;
    }
    let pair = Pair::start();
    let (client, server) = pair.connect();
    pair.netns[0].ip("link set eth0 down");
    pair.until_shown(|name, state, _| (name, state) == ("eth0", "down"));
    assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::FlowDown);
    pair.netns[0].ip("link set eth0 name lan7");
    pair.netns[0].ip("link set lan7 up");
    pair.until_shown(|name, state, _| (name, state) == ("lan7", "up"));
    crosses(&client, &server);
    crosses(&server, &client);
}

#[test]
fn a_device_with_another_address_makes_flows_from_there() {
    if skipped("a_device_with_another_address_makes_flows_from_there") {
        return;
    }
    let pair = Pair::start();
    let (client, server) = pair.connect();
    crosses(&client, &server);
    pair.netns[0].ip("link set eth0 address 02:00:00:00:77:01");
    pair.until_shown(|_, _, address| address == "02:00:00:00:77:01");
    // The peer knows the old one: the flow is over here at once.
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let over = client.read_packet().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::FlowDown, "{over}");
    let (client, server) = pair.connect();
    crosses(&client, &server);
    crosses(&server, &client);
}

#[test]
fn a_removed_device_takes_its_flows_down() {
    if skipped("a_removed_device_takes_its_flows_down") {
        return;
    }
    let pair = Pair::start();
    let (client, server) = pair.connect();
    crosses(&client, &server);
    pair.netns[0].ip("link del eth0");
    pair.until_shown(|name, state, _| (name, state) == ("eth0", "gone"));
    for (flow, test) in [(&client, &pair.tests[0]), (&server, &pair.tests[1])] {
        // The other end of the cable is gone with it.
        let limit = Instant::now() + LIMIT;
        while flow.write(b"x").is_ok() {
            assert!(Instant::now() < limit, "the flow is still up");
        }
        let down = flow.write(b"x").unwrap_err();
        assert_eq!(down.kind(), ErrorKind::FlowDown, "{down}");
        assert!(test.0.irm().show_ipcp(test.1).is_ok(), "the IPCP lives");
    }
    let (client, _) = &pair.tests[0];
    let begin = Instant::now();
    let none = client.node().alloc("svc", QosSpec::RAW, Some(LIMIT));
    assert!(none.is_err() && begin.elapsed() < LIMIT / 2);
}
