//! A shim of ours in the place of a captured one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::shim_rig::{Kind, Manner, Node, Outcome, S};
use o7s_captures::{datagrams, frames};
use o7s_proto::shim::{Address, Arrived, Config, FlowKey, Path, QueryKey};
use o7s_wire::{hash::NameHash, shim::Message};

/// A frame or datagram of a capture.
pub(crate) struct Step {
    pub(crate) number: usize,
    pub(crate) time: Duration,
    pub(crate) from: Address,
    pub(crate) to: Address,
    /// For datagrams: as the driver gets it.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn steps(kind: Kind, name: &str) -> Vec<Step> {
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
pub(crate) struct Summary {
    /// Frames that we sent as the capture has them.
    pub(crate) sent: usize,
    /// Packets that reached a flow.
    pub(crate) received: usize,
    /// Messages of the other side.
    pub(crate) messages: usize,
    pub(crate) granted: usize,
    pub(crate) refused: usize,
    pub(crate) accepted: usize,
    /// Flows of which the machine saw that the peer had left them.
    pub(crate) left: usize,
    /// Frames that 0.23 sent and we do not, by number.
    pub(crate) unsent: Vec<usize>,
    /// Frames that were dropped, by number.
    pub(crate) dropped: Vec<usize>,
}

pub(crate) struct Replay {
    pub(crate) kind: Kind,
    pub(crate) me: Address,
    pub(crate) node: Node,
    pub(crate) start: Instant,
    /// Our endpoint in the capture, and here.
    pub(crate) own: BTreeMap<u32, u32>,
    pub(crate) flows: u64,
    /// What waits to be compared.
    pub(crate) sent: Vec<(Address, Vec<u8>)>,
    pub(crate) summary: Summary,
}

impl Replay {
    pub(crate) fn new(kind: Kind, node: usize, me: Address, steps: &[Step]) -> Self {
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
    pub(crate) fn classify(&self, bytes: &[u8], source: Option<SocketAddr>) -> Arrived {
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

    pub(crate) fn message<'a>(
        &self,
        bytes: &'a [u8],
        source: Option<SocketAddr>,
    ) -> Option<Message<'a>> {
        let Arrived::Management(management) = self.classify(bytes, source) else {
            return None;
        };
        let hash_len = self.kind.hash("").as_bytes().len();
        let payload = &bytes[management.payload];
        let message = Message::parse(self.node.format.layout(), payload, hash_len);
        Some(message.expect("a message"))
    }

    /// The frame with another message of the same length.
    pub(crate) fn with_message(&self, bytes: &[u8], message: &Message<'_>) -> Vec<u8> {
        let layout = self.node.format.layout();
        let mut frame = bytes[..bytes.len() - message.emitted_len(layout)].to_vec();
        message.emit(layout, &mut frame).expect("it fits");
        frame
    }

    pub(crate) fn after(&mut self, now: Instant, target: Option<Address>) {
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
    pub(crate) fn next_sent(&mut self, wanted: &Message<'_>) -> (Address, Vec<u8>) {
        loop {
            assert!(!self.sent.is_empty(), "nothing sent instead of {wanted}");
            let (to, frame) = self.sent.remove(0);
            let query = matches!(self.message(&frame, None), Some(Message::NameQuery { .. }));
            if !query || matches!(wanted, Message::NameQuery { .. }) {
                return (to, frame);
            }
        }
    }

    pub(crate) fn play(&mut self, step: &Step) {
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

    pub(crate) fn ours(&mut self, now: Instant, step: &Step) {
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

    pub(crate) fn our_packet(&mut self, step: &Step) {
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
    pub(crate) fn theirs(&mut self, now: Instant, step: &Step) {
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

    pub(crate) fn finish(mut self) -> Summary {
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

pub(crate) fn replay(kind: Kind, name: &str, node: usize) -> Summary {
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
