//! A captured exchange, of which one side is a node of ours with all its programs and the other side is
//! played from the capture.
//!
//! What the other side says goes out byte for byte, but for what depends on what was answered: our
//! endpoints, the times and hashes of the allocation exchange (an old request is refused as a replay), and
//! numbers of FRCP that count our packets. What our side says must be the captured bytes, with the same
//! exceptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use o7s::{Flow, irm::IpcpType};
use o7s_captures::{datagrams, frames};
use o7s_crypto::algorithm::Hash;
use o7s_proto::shim::{Arrived, Data, Format};
use o7s_tests::{TestNode, hand::Hand, netns::Netns, networks, own_pid};
use o7s_wire::{
    eth::MacAddr,
    frcp::{Flags, HEADER_LEN},
    hash::{DirHash, NameHash},
    oap,
    shim::Message,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const ETHERTYPE: u16 = 0xa000;
const LLC: u16 = 4;
/// Names that occur in the captures, which have their hashes only.
const NAMES: [&str; 14] = [
    "oping", "operf", "echo", "slow", "sink", "nosuch", "hello", "uni", "uniA", "uniB", "uniC",
    "bcA", "bcB", "bcC",
];

/// The four types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dix,
    Llc,
    Udp4,
    Udp6,
}

impl Kind {
    fn is_udp(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6)
    }

    fn hash(self) -> DirHash {
        if self.is_udp() {
            DirHash::Md5
        } else {
            DirHash::Sha3_256
        }
    }

    fn format(self, mac: MacAddr) -> Format {
        match self {
            Self::Dix => Format::Dix {
                mac,
                ethertype: ETHERTYPE,
            },
            Self::Llc => Format::Llc { mac },
            _ => Format::Udp,
        }
    }
}

/// A frame or datagram of a capture.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) number: usize,
    /// Whether the first one who spoke sent it.
    pub(crate) first: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The frames of a capture that are of the layer.
pub(crate) fn steps(kind: Kind, name: &str) -> Vec<Step> {
    let frames = frames(name);
    if kind.is_udp() {
        let datagrams = datagrams(&frames);
        let first = datagrams[0].from;
        let steps = datagrams.into_iter().map(|datagram| Step {
            number: datagram.frame,
            first: datagram.from == first,
            bytes: datagram.bytes,
        });
        return steps.collect();
    }
    let first = frames[0].bytes[6..12].to_vec();
    let steps = frames.into_iter().enumerate().map(|(at, frame)| Step {
        number: at + 1,
        first: frame.bytes[6..12] == first,
        bytes: frame.bytes,
    });
    steps.collect()
}

/// What came of a replay; each number counts frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Messages that we sent, as the capture has them.
    pub(crate) messages: usize,
    /// Packets that we sent, as the capture has them.
    pub(crate) packets: usize,
    /// Packets of the other side that our program read.
    pub(crate) read: usize,
    /// Flows that we asked for and got.
    pub(crate) granted: usize,
    /// Flows that we accepted.
    pub(crate) accepted: usize,
}

/// A flow that is up.
#[derive(Debug)]
struct Open {
    flow: Flow,
    /// Our endpoint in the capture, and here.
    captured: u32,
    own: u32,
    peer: u32,
    frcp: bool,
    /// The number of our first packet in the capture, and here.
    numbers: Option<(u32, u32)>,
}

/// An allocation of ours that is under way.
#[derive(Debug)]
struct Asking {
    hash: NameHash,
    thread: JoinHandle<o7s::Result<Flow>>,
}

/// One side of an exchange.
pub(crate) struct Replay {
    kind: Kind,
    /// Whether we play the one who spoke first.
    first: bool,
    pub(crate) test: TestNode,
    pub(crate) ipcp: i32,
    pub(crate) hand: Hand,
    mac: MacAddr,
    flows: Vec<Open>,
    /// Endpoint of our request in the capture and here, and its allocation message.
    requested: Option<(u32, u32, Vec<u8>)>,
    asking: Option<Asking>,
    /// Endpoint of the last request of the other side, and its allocation message.
    arrived: Option<(u32, Vec<u8>)>,
    /// What our first flow to a name asks for.
    qos: BTreeMap<Vec<u8>, o7s::QosSpec>,
    pub(crate) summary: Summary,
    /// Namespaces; they live as long as their nodes.
    _netns: Vec<Netns>,
}

impl Replay {
    /// A node that plays one side of these steps: the first one who spoke, or the other; with the names
    /// that this side has in the capture.
    pub(crate) fn new(kind: Kind, first: bool, steps: &[Step]) -> Self {
        let mut netns = Vec::new();
        let mac = |first: bool| {
            let step = steps.iter().find(|step| step.first == first);
            let bytes = &step.expect("two sides").bytes;
            MacAddr(bytes[6..12].try_into().expect("six bytes"))
        };
        let (test, ipcp, hand, own) = if kind.is_udp() {
            let test = TestNode::start();
            let (own, socket) = addresses(kind);
            let there = socket.local_addr().expect("it has one");
            let hosts = NAMES.map(|name| (name, there));
            let ipcp = networks::internet(&test, own, &hosts);
            (test, ipcp, Hand::Datagrams(socket, own), MacAddr::default())
        } else {
            let (a, b) = (Netns::new(), Netns::new());
            a.cable("eth0", &b, "eth0", 1500);
            a.ip(&format!("link set eth0 address {}", mac(first)));
            b.ip(&format!("link set eth0 address {}", mac(!first)));
            let test = TestNode::start_inside(&a);
            let (ipcp_type, protocol) = match kind {
                Kind::Llc => (IpcpType::EthLlc, LLC),
                _ => (IpcpType::EthDix, ETHERTYPE),
            };
            let ipcp = networks::ethernet(&test, ipcp_type, "eth0");
            let hand = Hand::on(&b, "eth0", protocol);
            netns.extend([a, b]);
            (test, ipcp, hand, mac(first))
        };
        test.node().announce().expect("this process is known");
        let mut replay = Self {
            kind,
            first,
            test,
            ipcp,
            hand,
            mac: own,
            flows: Vec::new(),
            requested: None,
            asking: None,
            arrived: None,
            qos: BTreeMap::new(),
            summary: Summary::default(),
            _netns: netns,
        };
        let mut names = BTreeSet::new();
        for step in steps {
            match replay.message(&step.bytes) {
                Some(Message::NameReply { hash, .. }) if step.first == first => {
                    names.insert(name_of(kind, hash));
                }
                Some(Message::FlowRequest { hash, .. }) if step.first != first => {
                    names.insert(name_of(kind, hash));
                }
                Some(Message::FlowRequest { hash, qos, .. }) => {
                    replay.qos.entry(hash.to_vec()).or_insert(qos);
                }
                _ => {}
            }
        }
        for name in names {
            networks::serve(&replay.test, replay.ipcp, name, own_pid());
        }
        replay
    }

    /// Lets our programs accept for a name only as this `enc.conf` says.
    pub(crate) fn secure(&self, name: &str, conf: &std::path::Path) {
        let irm = self.test.irm();
        irm.unreg_name(name, self.ipcp).expect("it is registered");
        irm.destroy_name(name).expect("it is there");
        let server = o7s::irm::SecurityPaths {
            encryption: conf.to_str().expect("a path").to_owned(),
            ..Default::default()
        };
        let info = o7s::irm::NameInfo {
            name: name.to_owned(),
            server: Some(server),
            ..Default::default()
        };
        irm.create_name(&info).expect("it is created");
        irm.reg_name(name, self.ipcp).expect("it is registered");
        irm.bind_process(own_pid(), name).expect("it is bound");
    }

    /// What a frame of either side is.
    fn classify(&self, bytes: &[u8]) -> Arrived {
        let mac = MacAddr(bytes[..6].try_into().unwrap_or_default());
        let from = self
            .kind
            .is_udp()
            .then(|| SocketAddr::from(([127, 0, 0, 1], 1)));
        let format = self.kind.format(mac);
        format.classify(bytes, from).expect("one of this layer")
    }

    pub(crate) fn message<'a>(&self, bytes: &'a [u8]) -> Option<Message<'a>> {
        let Arrived::Management(management) = self.classify(bytes) else {
            return None;
        };
        let layout = self.kind.format(self.mac).layout();
        let payload = &bytes[management.payload];
        let message = Message::parse(layout, payload, self.kind.hash().len());
        Some(message.expect("a message"))
    }

    /// The frame with this message instead of the one that it has.
    pub(crate) fn with_message(&self, bytes: &[u8], message: &Message<'_>) -> Vec<u8> {
        let Arrived::Management(management) = self.classify(bytes) else {
            panic!("no message");
        };
        let layout = self.kind.format(self.mac).layout();
        let mut frame = bytes[..management.payload.start].to_vec();
        message.emit(layout, &mut frame).expect("it fits");
        let length = (frame.len() - management.payload.start) as u16;
        match self.kind {
            Kind::Dix => frame[16..18].copy_from_slice(&length.to_be_bytes()),
            Kind::Llc => frame[12..14].copy_from_slice(&(length + 3).to_be_bytes()),
            _ => {}
        }
        frame
    }

    /// Plays a step.
    pub(crate) fn play(&mut self, step: &Step) {
        match self.message(&step.bytes) {
            Some(message) if step.first == self.first => self.our_message(step, &message),
            Some(message) => self.their_message(step, &message),
            None => {
                let Arrived::Data(data) = self.classify(&step.bytes) else {
                    unreachable!("it is no message");
                };
                if step.first == self.first {
                    self.our_packet(step, &data);
                } else {
                    self.their_packet(step, &data);
                }
            }
        }
    }

    /// The next frame from the node that `wanted` takes; queries that it repeats, signs of life and
    /// acknowledgements may come before it.
    pub(crate) fn next(&self, step: &Step, wanted: impl Fn(&Arrived, &[u8]) -> bool) -> Vec<u8> {
        loop {
            let frame = self.hand.receive(PATIENCE);
            let frame = frame.unwrap_or_else(|| panic!("nothing instead of {}", step.number));
            let arrived = self.classify(&frame);
            if wanted(&arrived, &frame) {
                return frame;
            }
            let may_come = match arrived {
                Arrived::Management(_) => {
                    matches!(self.message(&frame), Some(Message::NameQuery { .. }))
                }
                Arrived::Data(data) => {
                    let payload = &frame[data.payload];
                    payload.is_empty() || (payload.len() == HEADER_LEN && !is_data(payload))
                }
            };
            assert!(may_come, "instead of frame {}: {frame:02x?}", step.number);
        }
    }

    pub(crate) fn next_message(&self, step: &Step, like: &Message<'_>) -> Vec<u8> {
        self.next(step, |_, frame| {
            let message = self.message(frame);
            message.is_some_and(|message| kind_of(&message) == kind_of(like))
        })
    }

    /// Lets this process ask for a flow, unless it does.
    fn ask(&mut self, hash: &[u8], qos: o7s::QosSpec) {
        let hash = NameHash::from_bytes(hash);
        if self
            .asking
            .as_ref()
            .is_some_and(|asking| asking.hash == hash)
        {
            return;
        }
        let (node, name) = (self.test.node(), name_of(self.kind, hash.as_bytes()));
        let thread = std::thread::spawn(move || node.alloc(name, qos, Some(PATIENCE)));
        self.asking = Some(Asking { hash, thread });
    }

    fn our_message(&mut self, step: &Step, message: &Message<'_>) {
        match *message {
            Message::NameQuery { hash, .. } => {
                let qos = self.qos.get(hash).copied();
                self.ask(hash, qos.unwrap_or(o7s::QosSpec::RAW));
                let marked = Message::NameQuery {
                    hash,
                    repeats: true,
                };
                // Queries for a name that nobody has may still come.
                let frame = self.next(step, |_, frame| self.message(frame) == Some(marked));
                assert_eq!(frame, self.with_message(&step.bytes, &marked));
            }
            Message::NameReply { .. } => {
                // Nothing is marked for those who do not mark their question.
                assert_eq!(self.next_message(step, message), step.bytes);
            }
            Message::FlowRequest {
                requester,
                qos,
                hash,
                piggyback,
                ..
            } => {
                self.ask(hash, qos);
                let frame = self.next_message(step, message);
                let Some(Message::FlowRequest {
                    requester: own,
                    piggyback: exchange,
                    ..
                }) = self.message(&frame)
                else {
                    unreachable!("it is a request");
                };
                check_request(piggyback, exchange);
                let expected = Message::FlowRequest {
                    requester: own,
                    qos,
                    hash,
                    piggyback: exchange,
                    repeats: true,
                };
                assert_eq!(frame, self.with_message(&step.bytes, &expected));
                self.requested = Some((requester, own, exchange.to_vec()));
            }
            Message::FlowReply {
                requester,
                acceptor,
                response,
                piggyback,
                ..
            } => {
                let (asked, exchange) = self.arrived.take().expect("a request");
                assert_eq!(response, 0, "refusals have tests of their own");
                let flow = self.test.node().accept(Some(PATIENCE)).expect("a flow");
                let frame = self.next_message(step, message);
                let Some(Message::FlowReply {
                    acceptor: own,
                    piggyback: answer,
                    ..
                }) = self.message(&frame)
                else {
                    unreachable!("it is a reply");
                };
                check_response(piggyback, &exchange, answer);
                let mut expected = self.with_message(
                    &step.bytes,
                    &Message::FlowReply {
                        requester: asked,
                        acceptor: own,
                        response,
                        piggyback: answer,
                        repeats: false,
                    },
                );
                if requester == 0xffff {
                    // Defect 1: 0.23 answered before it had stored who asked.
                    expected[..6].copy_from_slice(&frame[..6]);
                    assert_eq!(frame[6..12], self.mac.0);
                } else {
                    assert_eq!(asked, requester);
                }
                assert_eq!(frame, expected);
                self.summary.accepted += 1;
                self.open(flow, acceptor, own, asked);
            }
        }
        self.summary.messages += 1;
    }

    fn open(&mut self, flow: Flow, captured: u32, own: u32, peer: u32) {
        flow.set_read_timeout(Some(PATIENCE)).expect("a flow");
        let frcp = flow.qos().expect("a flow").in_order != 0;
        self.flows.push(Open {
            flow,
            captured,
            own,
            peer,
            frcp,
            numbers: None,
        });
    }

    fn their_message(&mut self, step: &Step, message: &Message<'_>) {
        match *message {
            Message::NameQuery { .. } | Message::NameReply { .. } => self.hand.send(&step.bytes),
            Message::FlowRequest {
                requester,
                qos,
                hash,
                piggyback,
                ..
            } => {
                let exchange = fresh_request(piggyback);
                let fresh = Message::FlowRequest {
                    requester,
                    qos,
                    hash,
                    piggyback: &exchange,
                    repeats: false,
                };
                self.hand.send(&self.with_message(&step.bytes, &fresh));
                self.arrived = Some((requester, exchange));
            }
            Message::FlowReply {
                acceptor,
                response,
                piggyback,
                ..
            } => {
                let (captured, own, request) = self.requested.take().expect("a request");
                let answer = if response == 0 {
                    fresh_response(piggyback, &request)
                } else {
                    piggyback.to_vec()
                };
                let fresh = Message::FlowReply {
                    requester: own,
                    acceptor,
                    response,
                    piggyback: &answer,
                    repeats: false,
                };
                self.hand.send(&self.with_message(&step.bytes, &fresh));
                if response == 0 {
                    let flow = self.outcome().expect("it is granted");
                    self.summary.granted += 1;
                    self.open(flow, captured, own, acceptor);
                }
            }
        }
    }

    /// What our program was told of its allocation.
    pub(crate) fn outcome(&mut self) -> o7s::Result<Flow> {
        let asking = self.asking.take().expect("an allocation");
        asking.thread.join().expect("the thread ends")
    }

    /// Our program's end of the latest flow.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flows.last().expect("a flow").flow
    }

    /// The latest flow of which this holds.
    fn find(&self, step: &Step, is: impl Fn(&Open) -> bool) -> usize {
        let found = self.flows.iter().rposition(is);
        found.unwrap_or_else(|| panic!("no flow for frame {}", step.number))
    }

    fn their_packet(&mut self, step: &Step, data: &Data) {
        let at = self.find(step, |open| open.captured == data.eid);
        let open = &self.flows[at];
        let mut bytes = step.bytes.clone();
        match self.kind {
            Kind::Dix => bytes[14..16].copy_from_slice(&(open.own as u16).to_be_bytes()),
            Kind::Llc => bytes[14] = (open.own as u8).reverse_bits(),
            _ => bytes[..4].copy_from_slice(&open.own.to_be_bytes()),
        }
        let packet = &mut bytes[data.payload.clone()];
        let mut message = &step.bytes[data.payload.clone()];
        if open.frcp && !packet.is_empty() {
            if let Some((captured, own)) = open.numbers {
                shift(packet, own.wrapping_sub(captured));
            }
            if !is_data(message) {
                message = &[];
            } else {
                message = &message[HEADER_LEN..];
            }
        }
        self.hand.send(&bytes);
        if !message.is_empty() {
            let read = open.flow.read_packet().expect("a packet");
            assert_eq!(read, message, "frame {}", step.number);
            self.summary.read += 1;
        }
    }

    fn our_packet(&mut self, step: &Step, data: &Data) {
        let packet = &step.bytes[data.payload.clone()];
        let at = self.find(step, |open| open.peer == data.eid);
        let open = &self.flows[at];
        // Signs of life and acknowledgements come when the library finds that they should.
        if packet.is_empty() || (open.frcp && !is_data(packet)) {
            return;
        }
        let message = if open.frcp {
            &packet[HEADER_LEN..]
        } else {
            packet
        };
        open.flow.write(message).expect("it can be written");
        let peer = open.peer;
        let frame = self.next(step, |arrived, frame| match arrived {
            Arrived::Data(data) => data.eid == peer && frame.ends_with(message),
            Arrived::Management(_) => false,
        });
        let mut expected = step.bytes.clone();
        if self.kind == Kind::Llc {
            // Our endpoint is the source SAP (§4.2).
            expected[15] = (open.own as u8).reverse_bits();
        }
        let header = data.payload.start..data.payload.start + HEADER_LEN;
        if open.frcp {
            let (ours, captured) = (&frame[header.clone()], &step.bytes[header.clone()]);
            assert!(is_data(ours), "{ours:02x?}");
            let (ours, captured) = (seqno(ours), seqno(captured));
            let (first_captured, first) = *self.flows[at].numbers.get_or_insert((captured, ours));
            assert_eq!(
                ours.wrapping_sub(first),
                captured.wrapping_sub(first_captured),
                "frame {}",
                step.number
            );
            expected[header.clone()].copy_from_slice(&frame[header]);
        }
        assert_eq!(frame, expected, "frame {}", step.number);
        self.summary.packets += 1;
    }
}

/// Addresses of UDP: of the node, and a socket of the other side.
fn addresses(kind: Kind) -> (SocketAddr, UdpSocket) {
    use std::sync::atomic::{AtomicU8, Ordering};
    /// Addresses that tests of this process have taken.
    static TAKEN: AtomicU8 = AtomicU8::new(1);
    if kind == Kind::Udp4 {
        let number = TAKEN.fetch_add(2, Ordering::Relaxed);
        let own = SocketAddr::from((networks::own_ip(number), 3435));
        let other = UdpSocket::bind((networks::own_ip(number + 1), 3435));
        return (own, other.expect("a loopback address"));
    }
    // There is one loopback address only: two ports.
    let free = UdpSocket::bind("[::1]:0").expect("a port");
    let other = UdpSocket::bind("[::1]:0").expect("a port");
    (free.local_addr().expect("it has one"), other)
}

fn name_of(kind: Kind, hash: &[u8]) -> &'static str {
    let digest = |name: &&str| kind.hash().digest(name.as_bytes());
    let found = NAMES
        .into_iter()
        .find(|name| digest(name).as_bytes() == hash);
    found.expect("a name of the captures")
}

fn kind_of(message: &Message<'_>) -> u8 {
    match message {
        Message::FlowRequest { .. } => 0,
        Message::FlowReply { .. } => 1,
        Message::NameQuery { .. } => 2,
        Message::NameReply { .. } => 3,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("a clock").as_nanos()).expect("a time")
}

/// An allocation request of now.
pub(crate) fn fresh_request(captured: &[u8]) -> Vec<u8> {
    let mut request = captured.to_vec();
    request[16..24].copy_from_slice(&now().to_be_bytes());
    request
}

/// The answer to an allocation request of ours (`spec/oap-crypto.md` §2).
fn fresh_response(captured: &[u8], request: &[u8]) -> Vec<u8> {
    let mut response = request[..oap::ID_LEN].to_vec();
    response.extend_from_slice(&now().to_be_bytes());
    response.extend_from_slice(&captured[24..oap::FIXED_LEN]);
    response.extend_from_slice(&Hash::Sha384.digest(request));
    assert_eq!(response.len(), captured.len());
    response
}

fn check_request(captured: &[u8], ours: &[u8]) {
    let captured = oap::Message::parse_request(captured).expect("a request");
    let ours = oap::Message::parse_request(ours).expect("a request");
    assert_eq!(
        (ours.cipher_nid(), ours.kdf_nid(), ours.md_nid()),
        (captured.cipher_nid(), captured.kdf_nid(), captured.md_nid())
    );
    assert_eq!((ours.certificate(), ours.kex()), (&[][..], &[][..]));
    let age = now().abs_diff(ours.timestamp());
    assert!(u128::from(age) < PATIENCE.as_nanos(), "{age}");
}

/// Our answer to `request` has what that of 0.23 had, and no more: the same choices, a key of the same kind
/// if there is one, the hash of the request.
fn check_response(captured: &[u8], request: &[u8], ours: &[u8]) {
    assert_eq!(ours.len(), captured.len());
    assert_eq!(ours[..oap::ID_LEN], request[..oap::ID_LEN]);
    assert_eq!(ours[24..oap::FIXED_LEN], captured[24..oap::FIXED_LEN]);
    let digest = oap::Message::parse_request(request)
        .expect("a request")
        .md_nid();
    let ours = oap::Message::parse_response(ours, digest).expect("a response");
    let hash = Hash::from_nid(digest).unwrap_or(Hash::Sha384);
    assert_eq!(ours.request_hash(), hash.digest(request));
    assert_eq!((ours.certificate(), ours.signature()), (&[][..], &[][..]));
}

fn is_data(packet: &[u8]) -> bool {
    packet.len() >= HEADER_LEN && Flags::from_bits(packet[0]).contains(Flags::DATA)
}

fn seqno(header: &[u8]) -> u32 {
    u32::from_be_bytes(header[4..8].try_into().expect("four bytes"))
}

/// Moves the numbers of a packet that count those of the other side (`spec/frcp.md` §2).
fn shift(packet: &mut [u8], by: u32) {
    let flags = Flags::from_bits(packet[0]);
    if flags.contains(Flags::FC) {
        let mut window = [0; 4];
        window[1..].copy_from_slice(&packet[1..4]);
        let window = u32::from_be_bytes(window).wrapping_add(by).to_be_bytes();
        packet[1..4].copy_from_slice(&window[1..]);
    }
    if flags.contains(Flags::ACK) {
        let ackno: [u8; 4] = packet[8..12].try_into().expect("four bytes");
        let ackno = u32::from_be_bytes(ackno).wrapping_add(by);
        packet[8..12].copy_from_slice(&ackno.to_be_bytes());
    }
}
