//! Whatever a network brings, at full rate: random bytes, and captured frames with some bytes changed. The
//! IPCPs live, do not grow, and the flows of their programs go on.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, QosSpec, irm::IpcpType};
use o7s_tests::{
    TestNode, bulk, digest,
    hand::Hand,
    netns::{Netns, skipped},
    networks::{counter, ethernet, internet, own_ip, serve},
    own_pid, qos,
};

/// How long anything may take, beside the storm.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes that a reliable flow carries meanwhile.
const TOTAL: usize = 1_000_000;
/// Most bytes by which a process may grow: tables have their limits.
const GROWTH: usize = 16 << 20;
const ETHERTYPE: u16 = 0xa000;
const DIX: &[&str] = &[
    "01-eth-dix.pcap",
    "04-eth-dix-qos.pcap",
    "x1-flow-reply-race.pcap",
];
const LLC: &[&str] = &["02-eth-llc.pcap"];
const UDP: &[&str] = &["03-udp4.pcap", "03b-udp6.pcap"];

/// Numbers that repeat with their seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// Where frames go: a socket on the way to a node, and the node's Ethernet address, if it has one.
struct Target {
    hand: Hand,
    mac: Option<[u8; 6]>,
}

/// What is thrown.
struct Storm {
    dice: Dice,
    captured: Vec<Vec<u8>>,
    frame: Vec<u8>,
}

impl Storm {
    fn new(seed: u64, captures: &[&str], ethernet: bool) -> Self {
        let frames = |name: &&str| -> Vec<Vec<u8>> {
            let frames = o7s_captures::frames(name);
            if ethernet {
                return frames.into_iter().map(|frame| frame.bytes).collect();
            }
            let datagrams = o7s_captures::datagrams(&frames).into_iter();
            datagrams.map(|datagram| datagram.bytes).collect()
        };
        Self {
            dice: Dice(seed),
            captured: captures.iter().flat_map(frames).collect(),
            frame: Vec::new(),
        }
    }

    /// The next one to a node.
    fn make(&mut self, mac: Option<[u8; 6]>) -> &[u8] {
        let dice = &mut self.dice;
        let header = if mac.is_some() { 18 } else { 4 };
        if dice.below(4) == 0 {
            let length = header + dice.below(1400);
            self.frame.resize(length, 0);
            dice.fill(&mut self.frame);
            match dice.below(3) {
                // Of the layer, to its management.
                0 if mac.is_some() => {
                    self.frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
                    self.frame[14..16].fill(0);
                    let payload = (length - header) as u16;
                    self.frame[16..18].copy_from_slice(&payload.to_be_bytes());
                }
                1 if mac.is_some() => {
                    self.frame[12..14].copy_from_slice(&((length - 14) as u16).to_be_bytes());
                    self.frame[14..17].copy_from_slice(&[0x80, 0x80, 3]);
                }
                0 | 1 => self.frame[..4].fill(0),
                _ => {}
            }
        } else {
            let at = dice.below(self.captured.len());
            self.frame.clone_from(&self.captured[at]);
            for _ in 0..dice.below(4) {
                let at = dice.below(self.frame.len());
                self.frame[at] = dice.next() as u8;
            }
            match dice.below(8) {
                0 => self
                    .frame
                    .truncate(header + dice.below(self.frame.len() - header.min(self.frame.len()))),
                1 => self.frame.resize(self.frame.len() + dice.below(500), 7),
                _ => {}
            }
        }
        if let Some(mac) = mac {
            let to = if dice.below(10) == 0 { [0xff; 6] } else { mac };
            self.frame[..6].copy_from_slice(&to);
            // Not the peer's: who can speak in its name can take its place.
            self.frame[6] = 0x0a;
        }
        &self.frame
    }

    /// Throws at all targets in turn; how many.
    fn throw(&mut self, targets: &[Target], time: Duration) -> u64 {
        let end = Instant::now() + time;
        let mut count = 0;
        while Instant::now() < end {
            for _ in 0..32 {
                for target in targets {
                    let frame = self.make(target.mac);
                    // A full queue is what a flood finds.
                    count += u64::from(target.hand.try_send(frame).is_ok());
                }
            }
        }
        count
    }
}

/// Resident memory of a process, bytes.
fn resident(pid: i32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it lives");
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// A flow from the first to the second node.
fn connect(nodes: &[(TestNode, i32); 2], qos: QosSpec) -> (Flow, Flow) {
    let (client, server) = (nodes[0].0.node(), nodes[1].0.node());
    std::thread::scope(|scope| {
        let accept = scope.spawn(|| server.accept(Some(LIMIT)).unwrap());
        let flow = client.alloc("svc", qos, Some(LIMIT)).unwrap();
        (flow, accept.join().unwrap())
    })
}

/// Sends packets there and back until told to stop; how many came back.
fn ping(client: &Flow, server: &Flow, stop: &AtomicBool) -> usize {
    let wait = Some(Duration::from_millis(50));
    client.set_read_timeout(wait).unwrap();
    server.set_read_timeout(wait).unwrap();
    let mut came = 0;
    while !stop.load(Ordering::Relaxed) {
        client.write(b"ping").unwrap();
        let back = server
            .read_packet()
            .and_then(|packet| server.write(&packet))
            .and_then(|_| client.read_packet());
        match back {
            Ok(packet) => {
                assert_eq!(packet, b"ping");
                came += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
    }
    came
}

/// Two nodes with flows in a storm.
fn weather(
    kind: &str,
    nodes: &[(TestNode, i32); 2],
    targets: &[Target],
    mut storm: Storm,
    time: Duration,
) {
    let seed = storm.dice.0;
    for (test, ipcp) in nodes {
        test.node().announce().unwrap();
        // A name that the captured requests ask for.
        serve(test, *ipcp, "oping", own_pid());
    }
    serve(&nodes[1].0, nodes[1].1, "svc", own_pid());
    let reliable = connect(nodes, qos(&["in_order=1", "loss=0"]));
    let raw = connect(nodes, QosSpec::RAW);
    let pids: Vec<i32> = nodes
        .iter()
        .flat_map(|(test, ipcp)| [*ipcp, test.pid()])
        .collect();
    let before: Vec<usize> = pids.iter().map(|pid| resident(*pid)).collect();
    let stop = AtomicBool::new(false);
    let (thrown, came) = std::thread::scope(|scope| {
        let (stop, raw, reliable) = (&stop, &raw, &reliable);
        let pings = scope.spawn(move || ping(&raw.0, &raw.1, stop));
        let read = scope.spawn(move || digest(&reliable.1, TOTAL).unwrap());
        let sent = scope.spawn(move || bulk(&reliable.0, TOTAL, 1000).unwrap());
        let thrown = storm.throw(targets, time);
        stop.store(true, Ordering::Relaxed);
        let came = pings.join().unwrap();
        assert_eq!(
            read.join().unwrap(),
            sent.join().unwrap(),
            "{kind} seed {seed}"
        );
        (thrown, came)
    });
    for (pid, before) in pids.iter().zip(before) {
        let after = resident(*pid);
        let grown = after.saturating_sub(before);
        eprintln!("{kind}: process {pid} has {after} bytes, {grown} more than before");
        assert!(grown < GROWTH, "{kind} seed {seed}: {grown} bytes more");
    }
    eprintln!("{kind}: {thrown} thrown in {time:?}, {came} packets there and back meanwhile");
    assert!(came > 0, "{kind} seed {seed}");
    for (test, ipcp) in nodes {
        let count = |section: &str, name: &str| counter(test, *ipcp, section, name);
        let heard = count("counters", "messages_heard");
        let reasons = [
            "malformed",
            "bad_endpoint",
            "unknown_endpoint",
            "unknown_name",
            "duplicate",
            "wrong_peer",
            "rate_limit",
            "no_room",
        ];
        let dropped = reasons.map(|reason| count("protocol", &format!("dropped_{reason}")));
        let foreign = count("counters", "messages_foreign");
        let overruns = count("counters", "socket_overruns");
        eprintln!(
            "{kind}: {heard} heard, {foreign} foreign, {overruns} overruns, {dropped:?} dropped"
        );
        assert!(dropped[0] > 0 && dropped[2] > 0, "{kind} seed {seed}");
        let told: u64 = dropped.iter().sum::<u64>() + foreign;
        assert!(told > heard / 10, "{kind} seed {seed}: {told} of {heard}");
    }
    // And afterwards as if nothing had been.
    let (client, server) = connect(nodes, QosSpec::RAW);
    for (from, to) in [(&client, &server), (&raw.0, &raw.1), (&raw.1, &raw.0)] {
        to.set_read_timeout(Some(LIMIT)).unwrap();
        from.write(b"after").unwrap();
        while to.read_packet().unwrap() != b"after" {}
    }
}

fn on_a_cable(ipcp_type: IpcpType, captures: &[&str], time: Duration) {
    let netns = [Netns::new(), Netns::new()];
    netns[0].cable("eth0", &netns[1], "eth0", 1500);
    let macs = [[2, 0, 0, 0, 0x55, 1], [2, 0, 0, 0, 0x55, 2]];
    for (netns, mac) in netns.iter().zip(macs) {
        let mac = o7s_wire::eth::MacAddr(mac);
        netns.ip(&format!("link set eth0 address {mac}"));
    }
    let nodes = netns.each_ref().map(|netns| {
        let test = TestNode::start_inside(netns);
        let ipcp = ethernet(&test, ipcp_type, "eth0");
        (test, ipcp)
    });
    // What leaves one device arrives at the other.
    let targets = [0, 1].map(|at| Target {
        hand: Hand::on(&netns[1 - at], "eth0", 0x88b5),
        mac: Some(macs[at]),
    });
    let storm = Storm::new(0x5707_0001, captures, true);
    weather(ipcp_type.as_str(), &nodes, &targets, storm, time);
}

fn over_udp(addresses: [SocketAddr; 2], strangers: [SocketAddr; 2], time: Duration) {
    let [one, two] = addresses;
    let nodes = [(one, two), (two, one)].map(|(own, other)| {
        let test = TestNode::start();
        let ipcp = internet(&test, own, &[("svc", other)]);
        (test, ipcp)
    });
    let mut hands = strangers
        .map(|own| UdpSocket::bind(own).unwrap())
        .into_iter();
    let targets = addresses.map(|to| Target {
        hand: Hand::Datagrams(hands.next().unwrap(), to),
        mac: None,
    });
    let kind = if one.is_ipv6() { "udp6" } else { "udp4" };
    weather(
        kind,
        &nodes,
        &targets,
        Storm::new(0x5707_0002, UDP, false),
        time,
    );
}

/// One after another, since each takes all there is of the processors.
#[test]
fn flows_go_on_in_a_storm() {
    let udp = |number| SocketAddr::from((own_ip(number), 3435));
    over_udp(
        [udp(201), udp(202)],
        [udp(203), udp(204)],
        Duration::from_secs(2),
    );
    let six = ["[::1]:0"; 2].map(|text| UdpSocket::bind(text).and_then(|it| it.local_addr()));
    if let [Ok(one), Ok(two)] = six {
        let any: SocketAddr = "[::1]:0".parse().unwrap();
        over_udp([one, two], [any, any], Duration::from_secs(2));
    } else {
        eprintln!("udp6 is left out: there is no IPv6 here");
    }
    if skipped("flows_go_on_in_a_storm on Ethernet") {
        return;
    }
    let both = [DIX, LLC].concat();
    on_a_cable(IpcpType::EthLlc, &both, Duration::from_secs(2));
    on_a_cable(IpcpType::EthDix, &both, Duration::from_secs(10));
}
