//! Captures of the C implementation 0.23: each side of each exchange is played against the machine, which must
//! send the same frames, but for the endpoints that it chooses itself.

mod shim_rig;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use o7s_captures::{datagrams, frames};
use o7s_proto::shim::{Address, Arrived, Config, Event, FlowKey, Path, QueryKey, Refusal};
use o7s_wire::{hash::NameHash, shim::Message};
use shim_rig::{Kind, Manner, Node, Outcome, S, mac};

/// A frame or datagram of a capture.
struct Step {
    number: usize,
    time: Duration,
    from: Address,
    to: Address,
    /// For datagrams: as the driver gets it.
    source: Option<SocketAddr>,
    bytes: Vec<u8>,
}

fn steps(kind: Kind, name: &str) -> Vec<Step> {
    let frames = frames(name);
    if kind == Kind::Udp {
        let datagrams = datagrams(&frames).into_iter();
        return datagrams
            .map(|datagram| Step {
                number: datagram.frame,
                time: datagram.time,
                from: datagram.from.into(),
                to: datagram.to.into(),
                source: Some(datagram.from),
                bytes: datagram.bytes,
            })
            .collect();
    }
    let address =
        |bytes: &[u8]| Address::Mac(o7s_wire::eth::MacAddr(bytes.try_into().expect("six bytes")));
    let steps = frames.into_iter().enumerate();
    steps
        .map(|(at, frame)| Step {
            number: at + 1,
            time: frame.time,
            from: address(&frame.bytes[6..12]),
            to: address(&frame.bytes[..6]),
            source: None,
            bytes: frame.bytes,
        })
        .collect()
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    /// Frames that we sent as the capture has them.
    sent: usize,
    /// Packets that reached a flow.
    received: usize,
    /// Messages of the other side.
    messages: usize,
    granted: usize,
    refused: usize,
    accepted: usize,
    /// Flows of which the machine saw that the peer had left them.
    left: usize,
    /// Frames that 0.23 sent and we do not, by number.
    unsent: Vec<usize>,
    /// Frames that were dropped, by number.
    dropped: Vec<usize>,
}

struct Replay {
    kind: Kind,
    me: Address,
    node: Node,
    start: Instant,
    /// Our endpoint in the capture, and here.
    own: BTreeMap<u32, u32>,
    flows: u64,
    /// What waits to be compared.
    sent: Vec<(Address, Vec<u8>)>,
    summary: Summary,
}

impl Replay {
    fn new(kind: Kind, node: usize, me: Address, steps: &[Step]) -> Self {
        let mut config: Config = kind.config(node);
        config.repeats = false;
        config.random_eids = false;
        let start = Instant::now();
        let mut node = Node::new(config, 1, start);
        node.manner = Manner::Wait;
        let mut replay = Self {
            kind,
            me,
            node,
            start,
            own: BTreeMap::new(),
            flows: 0,
            sent: Vec::new(),
            summary: Summary::default(),
        };
        // What we have, according to the capture.
        let mut names = BTreeSet::new();
        for step in steps {
            match replay.message(&step.bytes, step.source) {
                Some(Message::NameReply { hash, .. }) if step.from == me => names.insert(hash),
                Some(Message::FlowRequest { hash, .. }) if step.to == me && kind == Kind::Udp => {
                    names.insert(hash)
                }
                _ => continue,
            };
        }
        for hash in names {
            let hash = NameHash::from_bytes(hash);
            replay.node.shim.register(hash).expect("room");
        }
        replay
    }

    /// The format as everybody's, so that frames of both sides are understood.
    fn classify(&self, bytes: &[u8], source: Option<SocketAddr>) -> Arrived {
        use o7s_proto::shim::Format::{Dix, Llc, Udp};
        let destination = bytes[..6].try_into().map(o7s_wire::eth::MacAddr);
        let mac = destination.expect("six bytes");
        let format = match self.node.format {
            Dix { ethertype, .. } => Dix { mac, ethertype },
            Llc { .. } => Llc { mac },
            Udp => Udp,
        };
        let source = source.or((self.kind == Kind::Udp).then(|| SocketAddr::from(([0; 4], 0))));
        format.classify(bytes, source).expect("one of this layer")
    }

    fn message<'a>(&self, bytes: &'a [u8], source: Option<SocketAddr>) -> Option<Message<'a>> {
        let Arrived::Management(management) = self.classify(bytes, source) else {
            return None;
        };
        let hash_len = self.kind.hash("").as_bytes().len();
        let payload = &bytes[management.payload];
        let message = Message::parse(self.node.format.layout(), payload, hash_len);
        Some(message.expect("a message"))
    }

    /// The frame with another message of the same length.
    fn with_message(&self, bytes: &[u8], message: &Message<'_>) -> Vec<u8> {
        let layout = self.node.format.layout();
        let mut frame = bytes[..bytes.len() - message.emitted_len(layout)].to_vec();
        message.emit(layout, &mut frame).expect("it fits");
        frame
    }

    fn after(&mut self, now: Instant, target: Option<Address>) {
        self.node.after(now);
        for hash in std::mem::take(&mut self.node.resolves) {
            let addresses: Vec<_> = target.into_iter().collect();
            self.node.shim.resolved(now, &hash, &addresses);
            self.node.after(now);
        }
        let sent = self.node.sent();
        self.sent.extend(sent);
    }

    /// The next frame that we sent. Queries that 0.23 does not repeat come before it.
    fn next_sent(&mut self, wanted: &Message<'_>) -> (Address, Vec<u8>) {
        loop {
            assert!(!self.sent.is_empty(), "nothing sent instead of {wanted}");
            let (to, frame) = self.sent.remove(0);
            let query = matches!(self.message(&frame, None), Some(Message::NameQuery { .. }));
            if !query || matches!(wanted, Message::NameQuery { .. }) {
                return (to, frame);
            }
        }
    }

    fn play(&mut self, step: &Step) {
        let now = self.start + step.time;
        while let Some(due) = self.node.due().filter(|due| *due <= now) {
            self.node.timeout(due);
            self.after(due, None);
        }
        if step.from == self.me {
            self.ours(now, step);
        } else {
            self.theirs(now, step);
        }
    }

    fn ours(&mut self, now: Instant, step: &Step) {
        let Some(message) = self.message(&step.bytes, step.source) else {
            return self.our_packet(step);
        };
        let mut expected = (step.to, step.bytes.clone());
        match message {
            Message::NameQuery { hash, .. } => {
                let hash = NameHash::from_bytes(hash);
                self.sent.clear();
                self.node
                    .shim
                    .query(now, QueryKey(step.number as u64), hash, S);
                self.after(now, None);
            }
            Message::NameReply { .. } => {}
            Message::FlowRequest {
                requester,
                qos,
                hash,
                piggyback,
                ..
            } => {
                self.flows += 1;
                let flow = FlowKey(self.flows);
                let key = NameHash::from_bytes(hash);
                let shim = &mut self.node.shim;
                shim.alloc(now, flow, key, qos, piggyback)
                    .expect("it starts");
                self.after(now, Some(step.to));
                let Some(Message::FlowRequest { requester: eid, .. }) = self
                    .sent
                    .last()
                    .and_then(|(_, frame)| self.message(frame, None))
                else {
                    panic!("no request: {:?}", self.sent);
                };
                self.own.insert(requester, eid);
                let again = Message::FlowRequest {
                    requester: eid,
                    qos,
                    hash,
                    piggyback,
                    repeats: false,
                };
                expected.1 = self.with_message(&step.bytes, &again);
            }
            Message::FlowReply {
                mut requester,
                acceptor,
                response,
                piggyback,
                ..
            } => {
                self.flows += 1;
                let flow = FlowKey(self.flows);
                let (request, ..) = self.node.requests.remove(0);
                let answer = if response == 0 {
                    Ok(flow)
                } else {
                    Err(response)
                };
                let shim = &mut self.node.shim;
                shim.respond(now, request, answer, piggyback)
                    .expect("it waits");
                self.after(now, None);
                let mut eid = 0;
                if response == 0 {
                    self.summary.accepted += 1;
                    let path: Path = self.node.path(flow).expect("it is up");
                    eid = path.local;
                    self.own.insert(acceptor, eid);
                    if requester == 0xffff {
                        // Defect 1: 0.23 answered before it had stored who asked.
                        requester = path.peer;
                        expected.0 = path.address;
                        if let Address::Mac(mac) = path.address {
                            expected.1[..6].copy_from_slice(&mac.0);
                        }
                    }
                }
                let again = Message::FlowReply {
                    requester,
                    acceptor: eid,
                    response,
                    piggyback,
                    repeats: false,
                };
                expected.1 = self.with_message(&expected.1, &again);
            }
        }
        assert_eq!(
            self.next_sent(&message),
            expected,
            "frame {}: {message}",
            step.number
        );
        self.summary.sent += 1;
    }

    fn our_packet(&mut self, step: &Step) {
        let Arrived::Data(data) = self.classify(&step.bytes, step.source) else {
            unreachable!("it is no message");
        };
        let flow = self.node.flows().into_iter().find(|flow| {
            let path = self.node.path(*flow).expect("it is up");
            (path.address, path.peer) == (step.to, data.eid)
        });
        let fits = data.payload.len() <= self.node.shim.max_payload();
        let Some(flow) = flow.filter(|_| fits) else {
            return self.summary.unsent.push(step.number);
        };
        let (to, mut frame) = self.node.packet(flow, &step.bytes[data.payload]);
        if let Some(eid) = data.source_eid {
            // The source SAP is ours; it is at this place (§4.2).
            assert_eq!(u32::from(frame[15].reverse_bits()), self.own[&eid]);
            frame[15] = step.bytes[15];
        }
        assert_eq!(
            (to, frame),
            (step.to, step.bytes.clone()),
            "{}",
            step.number
        );
        self.summary.sent += 1;
    }

    /// A frame of the other side, to our endpoints as they are here.
    fn theirs(&mut self, now: Instant, step: &Step) {
        let mut bytes = step.bytes.clone();
        self.summary.messages += 1;
        match self.message(&step.bytes, step.source) {
            Some(Message::FlowReply {
                requester,
                acceptor,
                response,
                piggyback,
                ..
            }) => {
                let again = Message::FlowReply {
                    requester: self.own.get(&requester).copied().unwrap_or(requester),
                    acceptor,
                    response,
                    piggyback,
                    repeats: false,
                };
                bytes = self.with_message(&step.bytes, &again);
            }
            Some(_) => {}
            None => {
                self.summary.messages -= 1;
                let Arrived::Data(data) = self.classify(&step.bytes, step.source) else {
                    unreachable!("it is no message");
                };
                let eid = self.own.get(&data.eid).copied().unwrap_or(data.eid);
                match self.kind {
                    Kind::Dix => bytes[14..16].copy_from_slice(&(eid as u16).to_be_bytes()),
                    Kind::Llc => bytes[14] = (eid as u8).reverse_bits(),
                    Kind::Udp => bytes[..4].copy_from_slice(&eid.to_be_bytes()),
                }
            }
        }
        let dropped = |node: &Node| {
            let why = node.shim.stats().discarded;
            why.foreign + why.stale_endpoint + why.unknown_endpoint + why.wrong_peer + why.duplicate
        };
        let before = dropped(&self.node);
        self.node.receive(now, &bytes, step.source);
        if dropped(&self.node) > before {
            self.summary.dropped.push(step.number);
        }
        self.after(now, None);
    }

    fn finish(mut self) -> Summary {
        for (_, outcome) in self.node.outcomes.values() {
            match outcome {
                Outcome::Granted(_) => self.summary.granted += 1,
                Outcome::Refused(_) => self.summary.refused += 1,
            }
        }
        self.summary.received = self.node.received.len();
        self.summary.left = self.node.downs.len();
        self.summary
    }
}

fn replay(kind: Kind, name: &str, node: usize) -> Summary {
    let steps = steps(kind, name);
    let first = steps.first().expect("a frame").from;
    let other = steps.iter().find(|step| step.from != first);
    let me = if node == 0 {
        first
    } else {
        other.expect("two sides").from
    };
    let mut replay = Replay::new(kind, node, me, &steps);
    for step in &steps {
        replay.play(step);
    }
    replay.finish()
}

/// Query, three allocations, pings. The server keeps its ends for 10 s, and the client's endpoint 64 is used
/// again at once: the machine sees that the peer has left the older flow.
#[test]
fn capture_01_eth_dix_and_02_eth_llc() {
    for (kind, name) in [
        (Kind::Dix, "01-eth-dix.pcap"),
        (Kind::Llc, "02-eth-llc.pcap"),
    ] {
        let client = Summary {
            sent: 9,
            received: 5,
            messages: 4,
            granted: 3,
            left: 1,
            ..Summary::default()
        };
        assert_eq!(replay(kind, name, 0), client, "{name}");
        let server = Summary {
            sent: 9,
            received: 5,
            messages: 4,
            accepted: 3,
            left: 2,
            ..Summary::default()
        };
        assert_eq!(replay(kind, name, 1), server, "{name}");
    }
}

#[test]
fn capture_03_udp4_and_03b_udp6() {
    for name in ["03-udp4.pcap", "03b-udp6.pcap"] {
        let client = Summary {
            sent: 8,
            received: 5,
            messages: 2,
            granted: 2,
            ..Summary::default()
        };
        assert_eq!(replay(Kind::Udp, name, 0), client, "{name}");
        let server = Summary {
            sent: 7,
            received: 6,
            messages: 2,
            accepted: 2,
            left: 1,
            ..Summary::default()
        };
        assert_eq!(replay(Kind::Udp, name, 1), server, "{name}");
    }
}

/// What 0.23 does not answer: the machine does not wait for ever, and refuses at once as a server.
#[test]
fn capture_01e_failures() {
    let steps = steps(Kind::Dix, "01e-eth-dix-errors.pcap");
    let mut client = Replay::new(Kind::Dix, 0, mac(0).into(), &steps);
    for step in &steps[..8] {
        client.play(step);
    }
    let until = |client: &mut Replay, end: Instant| {
        while let Some(due) = client.node.due().filter(|due| *due <= end) {
            client.node.timeout(due);
            client.after(due, None);
        }
    };
    let end = client.start + steps[7].time + S * 21;
    until(&mut client, end);
    let nobody = client.node.queries[&QueryKey(1)].1;
    assert!(nobody.is_err());
    let refused = |client: &Replay, flow| match client.node.outcomes[&FlowKey(flow)].1 {
        Outcome::Refused(reason) => reason,
        Outcome::Granted(_) => panic!("granted"),
    };
    assert!(matches!(refused(&client, 2), Refusal::Silence { .. }));
    // The place that said nothing is forgotten: where frames 9 and 10 take 20 s each, the name is asked for.
    let hash = Kind::Dix.hash("oping");
    let shim = &mut client.node.shim;
    let qos = o7s_wire::qos::QosSpec::RAW;
    shim.alloc(end, FlowKey(3), hash, qos, b"oap")
        .expect("it starts");
    until(&mut client, end + S * 2);
    assert!(matches!(refused(&client, 3), Refusal::Name(_)));
    // Nothing leaks (trap 9): one flow is up.
    let stats = client.node.shim.stats();
    assert_eq!((stats.flows, stats.endpoints), (1, 1));

    let mut server = Replay::new(Kind::Dix, 1, mac(1).into(), &steps);
    for step in &steps[..7] {
        server.play(step);
    }
    // Frame 8: no process accepts. Frame 9: the name is not registered any more.
    server.play(&steps[7]);
    let (request, hash, ..) = server.node.requests.remove(0);
    let now = server.start + steps[7].time;
    server
        .node
        .shim
        .respond(now, request, Err(-1007), b"")
        .expect("it waits");
    server.node.shim.unregister(&hash);
    server.after(now, None);
    server.play(&steps[8]);
    for (to, frame) in &server.sent {
        assert_eq!(*to, mac(0).into());
        let Some(Message::FlowReply {
            requester,
            acceptor,
            response,
            piggyback,
            ..
        }) = server.message(frame, None)
        else {
            panic!("no reply");
        };
        assert!([64, 65].contains(&requester));
        assert_eq!((acceptor, response, piggyback), (0, -1007, &b""[..]));
        // Never more than was asked.
        assert!(frame.len() < steps[7].bytes.len());
    }
    assert_eq!(server.sent.len(), 2);
}

#[test]
fn captures_of_flows_on_eth_dix() {
    for (name, client_flows) in [
        ("04-eth-dix-qos.pcap", 6),
        ("05b-frct-window.pcap", 1),
        ("09a-enc-p256-aes256gcm.pcap", 2),
        ("09c-auth-server.pcap", 2),
        ("09d-enc-auth-mutual.pcap", 2),
        ("11-keepalive-peer-timeout.pcap", 2),
        ("13-crc32.pcap", 3),
        ("x3-best-effort-stall.pcap", 1),
    ] {
        let total = steps(Kind::Dix, name).len();
        let client = replay(Kind::Dix, name, 0);
        let server = replay(Kind::Dix, name, 1);
        assert_eq!(client.granted, client_flows, "{name} {client:?}");
        assert_eq!(server.accepted, client_flows, "{name} {server:?}");
        for side in [client, server] {
            assert_eq!((side.unsent, side.dropped), (vec![], vec![]), "{name}");
            assert_eq!(side.sent + side.received + side.messages, total, "{name}");
        }
    }
}

#[test]
fn capture_09e_refused() {
    let client = replay(Kind::Dix, "09e-enc-client-missing.pcap", 0);
    assert_eq!((client.granted, client.refused), (0, 1));
    let steps = steps(Kind::Dix, "09e-enc-client-missing.pcap");
    let mut server = Replay::new(Kind::Dix, 1, mac(1).into(), &steps);
    for step in &steps[..3] {
        server.play(step);
    }
    let request = server.node.requests[0].0;
    let now = server.start + steps[3].time;
    let shim = &mut server.node.shim;
    shim.respond(now, request, Err(-1008), b"")
        .expect("it waits");
    server.after(now, None);
    // As 0.23 but for the endpoint: there it takes one for a refusal too, here it is 0.
    let (_, frame) = server.sent.pop().expect("a refusal");
    let mut expected = steps[3].bytes.clone();
    expected[18..20].copy_from_slice(&[0, 0]);
    assert_eq!(frame, expected);
}

/// Packets of 1496 bytes; what is larger never left. B's keepalives of dead flows go to an endpoint that A
/// uses again in 0.23 (27 to 34, defect 9).
#[test]
fn capture_10_sizes() {
    let name = "10-large-eth-dix-mtu1500.pcap";
    let client = replay(Kind::Dix, name, 0);
    assert_eq!(client.dropped, Vec::<usize>::new());
    let server = replay(Kind::Dix, name, 1);
    assert_eq!(server.dropped, Vec::<usize>::new());
    // The server still holds flows that the client has left, and sends keepalives on them to what is the
    // endpoint of another flow; the machine knows that they are over.
    assert_eq!((server.accepted, server.left), (7, 5));
    let node = Node::new(Kind::Dix.config(0), 1, Instant::now());
    assert_eq!(node.shim.max_payload(), 1496);
    // A message of 8977 bytes, of which 0.23 receives 8976: a write of that size fails here (defect 14).
    let client = replay(Kind::Udp, "10b-large-udp4.pcap", 0);
    assert_eq!((client.granted, client.unsent), (5, vec![39]));
    let server = replay(Kind::Udp, "10b-large-udp4.pcap", 1);
    assert_eq!((server.accepted, server.unsent), (5, vec![]));
    assert_eq!((client.dropped, server.dropped), (vec![], vec![]));
}

/// Frame 28 answers a request with a zero address and endpoint 65535 (defect 1). As A the machine drops it;
/// as B it sends what it should have been.
#[test]
fn capture_x1_reply_race() {
    let client = replay(Kind::Dix, "x1-flow-reply-race.pcap", 0);
    assert_eq!(client.dropped, [28]);
    assert_eq!(client.granted, 3);
    let server = replay(Kind::Dix, "x1-flow-reply-race.pcap", 1);
    assert_eq!(server.accepted, 4);
    assert_eq!(server.dropped, Vec::<usize>::new());
}

/// A query answered after 0.1 ms (defect 7): the one who waits is told.
#[test]
fn capture_x4_query_race() {
    let steps = steps(Kind::Dix, "x4-query-race.pcap");
    let mut asker = Replay::new(Kind::Dix, 1, mac(1).into(), &steps);
    for step in &steps {
        asker.play(step);
    }
    for frame in [1, 10] {
        let (at, result) = asker.node.queries[&QueryKey(frame)];
        assert_eq!(result, Ok(()));
        assert_eq!(at, asker.start + steps[frame as usize].time);
    }
    // What nobody has.
    for frame in [16, 17] {
        assert!(asker.node.queries[&QueryKey(frame)].1.is_err());
    }
}

#[test]
fn events_are_all_taken() {
    // The rig keeps what it does not expect; a replay has nothing of that kind.
    let steps = steps(Kind::Dix, "01-eth-dix.pcap");
    let mut client = Replay::new(Kind::Dix, 0, mac(0).into(), &steps);
    for step in &steps {
        client.play(step);
    }
    assert_eq!(client.node.others, Vec::<Event>::new());
}
