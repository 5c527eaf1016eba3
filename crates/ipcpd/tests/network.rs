//! Layers over UDP on the loopback device, and over Ethernet between virtual devices.

mod support;

use std::net::Ipv4Addr;

use o7s::{
    ErrorKind, QosSpec,
    control::{
        Body, Empty, EthConfig, Failure, IpcpConfig, IpcpType, Udp4Config, Udp4Host, Udp6Config,
        Udp6Host,
    },
};
use support::{
    namespace::{cable, ip, own_network},
    node::{Node, connect, next},
};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn udp4(own: Ipv4Addr, port: u16, name: &str, at: Ipv4Addr) -> IpcpConfig {
    let mut udp = Udp4Config::new(own, None, port);
    udp.hosts.push(Udp4Host::new(name, at, None));
    let mut config = IpcpConfig::new(IpcpType::Udp4, "net");
    config.udp4 = Some(udp);
    config
}

/// Two members of a layer of type udp4; the second has the name.
fn udp_pair(port: u16, name: &str) -> (Node, Node) {
    let one = Node::start(&udp4(ONE, port, name, TWO)).unwrap();
    let mut two = Node::start(&udp4(TWO, port, name, TWO)).unwrap();
    two.register(name);
    (one, two)
}

fn eth(kind: IpcpType, dev: &str) -> IpcpConfig {
    let mut config = IpcpConfig::new(kind, "segment");
    config.eth = Some(EthConfig {
        dev: dev.to_owned(),
        ..EthConfig::default()
    });
    config
}

/// Packets of all sizes, both ways and in order; then the end of the flow.
fn exercise(one: &mut Node, two: &mut Node, name: &str, largest: usize) {
    let ((asked, mut a), (accepted, mut b)) = connect(one, two, name);
    for size in [1, 0, 40, 46, 60, 1400, largest, 2] {
        let packet = vec![u8::try_from(size % 251).unwrap(); size];
        for back in [false, true] {
            let (from, to) = if back {
                (&mut b, &mut a)
            } else {
                (&mut a, &mut b)
            };
            if size == 0 {
                // A sign of life goes the whole way.
                from.tx.try_keepalive().unwrap();
                let before = to.rx.keepalives();
                from.tx.try_send(b"behind").unwrap();
                assert_eq!(next(to), b"behind");
                assert_eq!(to.rx.keepalives(), before + 1);
            } else {
                from.tx.try_send(&packet).unwrap();
                assert_eq!(next(to), packet);
            }
        }
    }
    // One byte more is too much.
    let before = one.counter("packets_too_long");
    a.tx.try_send(&vec![1; largest + 1]).unwrap();
    a.tx.try_send(b"next").unwrap();
    assert_eq!(next(&mut b), b"next");
    assert_eq!(one.counter("packets_too_long"), before + 1);
    // Many at once.
    for number in 0..500_u32 {
        a.tx.try_send(&number.to_be_bytes()).unwrap();
    }
    for number in 0..500_u32 {
        assert_eq!(next(&mut b), number.to_be_bytes());
    }
    // What was written before the end is carried on.
    a.tx.try_send(b"last").unwrap();
    a.state.close();
    one.dealloc(asked);
    one.ended(asked);
    assert_eq!(next(&mut b), b"last");
    b.state.close();
    two.dealloc(accepted);
    two.ended(accepted);
    let flows = one.status().sections.remove(1);
    assert_eq!((&*flows.name, flows.rows.len()), ("flows", 0));
}

#[test]
fn flows_over_udp4() {
    let (mut one, mut two) = udp_pair(23_435, "n");
    for _ in 0..2 {
        exercise(&mut one, &mut two, "n", 8976);
    }
}

#[test]
fn flows_over_udp6() {
    let port = 23_436;
    let ip = std::net::Ipv6Addr::LOCALHOST;
    let mut udp = Udp6Config::new(ip, None, port);
    udp.hosts.push(Udp6Host::new("n", ip, None));
    let mut config = IpcpConfig::new(IpcpType::Udp6, "net");
    config.udp6 = Some(udp);
    if std::net::UdpSocket::bind((ip, 0)).is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    // One address, one member: it has both ends.
    let mut node = Node::start(&config).unwrap();
    node.register("n");
    assert_eq!(node.query("n"), Body::Done(Empty {}));
    let (asked, mut a) = node.ask("n", QosSpec::DATA);
    let (id, _) = node.arrival();
    let accepted = node.take(id);
    let mut b = node.accept(accepted);
    assert_eq!(node.outcome(asked).refusal, None);
    a.tx.try_send(b"there").unwrap();
    assert_eq!(next(&mut b), b"there");
    b.tx.try_send(b"back").unwrap();
    assert_eq!(next(&mut a), b"back");
}

#[test]
fn refusals_come_at_once() {
    let (mut one, mut two) = udp_pair(23_437, "n");
    let failure = |kind: ErrorKind| Failure {
        errno: kind.errno(),
        message: "no".to_owned(),
    };
    assert_eq!(one.query("n"), Body::Done(Empty {}));
    // The daemon there knows nobody.
    let (asked, a) = one.ask("n", QosSpec::RAW);
    let (id, _) = two.arrival();
    two.refuse(id, failure(ErrorKind::Name));
    let refusal = one.outcome(asked).refusal.unwrap();
    assert_eq!(refusal.errno, ErrorKind::Name.errno(), "{refusal:?}");
    assert!(a.state.peer().closed);
    // The program there does not want it.
    let (asked, _a) = one.ask("n", QosSpec::RAW);
    let (id, _) = two.arrival();
    let accepted = two.take(id);
    two.reject(accepted, failure(ErrorKind::Auth));
    let refusal = one.outcome(asked).refusal.unwrap();
    assert_eq!(refusal.errno, ErrorKind::Auth.errno(), "{refusal:?}");
    // Who asked gives up; the answer that comes then is none.
    let (asked, a) = one.ask("n", QosSpec::RAW);
    let (id, _) = two.arrival();
    a.state.close();
    one.dealloc(asked);
    one.ended(asked);
    let accepted = two.take(id);
    let _b = two.accept(accepted);
    // A name that nobody has.
    match one.query("nowhere") {
        Body::Failure(failure) => assert_eq!(failure.errno, ErrorKind::Name.errno()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_keeps_a_udp_layer_from_starting_is_said() {
    let refused = |config: &IpcpConfig| match Node::start(config) {
        Ok(_) => panic!("it started"),
        Err(failure) => failure.message,
    };
    let foreign = udp4(Ipv4Addr::new(192, 0, 2, 1), 23_438, "n", TWO);
    assert!(refused(&foreign).contains("none of this machine's"));
    let _taken = std::net::UdpSocket::bind((ONE, 23_439)).unwrap();
    let message = refused(&udp4(ONE, 23_439, "n", TWO));
    assert!(message.contains("different ports"), "{message}");
    let message = refused(&eth(IpcpType::EthDix, "no-such-dev"));
    assert!(message.contains("no network device"), "{message}");
}

#[test]
fn flows_over_eth_dix() {
    if !cable() {
        return;
    }
    let mut one = Node::start(&eth(IpcpType::EthDix, "left")).unwrap();
    let mut two = Node::start(&eth(IpcpType::EthDix, "right")).unwrap();
    two.register("n");
    for _ in 0..2 {
        exercise(&mut one, &mut two, "n", 1496);
    }
    assert_eq!(two.counter("messages_foreign"), 0);
}

#[test]
fn flows_over_eth_llc() {
    if !cable() {
        return;
    }
    let mut one = Node::start(&eth(IpcpType::EthLlc, "left")).unwrap();
    let mut two = Node::start(&eth(IpcpType::EthLlc, "right")).unwrap();
    two.register("n");
    exercise(&mut one, &mut two, "n", 1497);
}

#[test]
fn one_member_on_the_loopback_device_has_both_ends() {
    if !own_network() {
        return;
    }
    let mut node = Node::start(&eth(IpcpType::EthDix, "lo")).unwrap();
    node.register("n");
    assert_eq!(node.query("n"), Body::Done(Empty {}));
    let (asked, mut a) = node.ask("n", QosSpec::RAW);
    let (id, arrived) = node.arrival();
    assert_eq!(arrived.max_packet, 8996);
    let accepted = node.take(id);
    let mut b = node.accept(accepted);
    assert_eq!(node.outcome(asked).refusal, None);
    a.tx.try_send(&[7; 8996]).unwrap();
    assert_eq!(next(&mut b), [7; 8996]);
}

#[test]
fn flows_survive_a_link_that_goes_down_and_comes_up() {
    if !cable() {
        return;
    }
    let mut one = Node::start(&eth(IpcpType::EthDix, "left")).unwrap();
    let mut two = Node::start(&eth(IpcpType::EthDix, "right")).unwrap();
    two.register("n");
    let ((_, mut a), (_, mut b)) = connect(&mut one, &mut two, "n");
    let waiter = a.state.read_waiter();
    let down = |down: bool| {
        let state = &a.state;
        let limit = Some(std::time::Instant::now() + support::node::LONG);
        while state.is_peer_down() != down {
            let outcome = waiter.wait(limit, || state.is_peer_down() == down, || false);
            assert_ne!(outcome, o7s_ring::WaitOutcome::TimedOut);
        }
    };
    assert!(ip("link set right down"));
    down(true);
    assert!(ip("link set right up"));
    down(false);
    a.tx.try_send(b"again").unwrap();
    assert_eq!(next(&mut b), b"again");
    // A device with a larger MTU takes larger packets.
    assert!(ip("link set left mtu 4000") && ip("link set right mtu 4000"));
    loop {
        a.tx.try_send(&[3; 3996]).unwrap();
        a.tx.try_send(b"mark").unwrap();
        if next(&mut b).len() == 3996 {
            break;
        }
    }
}
