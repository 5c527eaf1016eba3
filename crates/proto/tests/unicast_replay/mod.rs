//! A unicast member of ours in the place of a captured one.
//!
//! The peers are played byte for byte, but for the identifiers that the captured member had drawn, in whose
//! place those of ours stand ([`identifiers`]). What the captured member was told to do, as the capture shows
//! it, ours is told at the same time; what it says is put beside what the captured one said.
//!
//! Our directory asks more than that of 0.23. Peers answer what they were not asked in the capture as
//! `spec/directory-enrollment.md` §5.5 says: with the one who asks as contact, and with the values that it
//! stored.

mod beside;
mod identifiers;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::{Duration, Instant},
};

use o7s_proto::{
    congestion::{Policy, Receiver},
    dt::{self, Dt, Verdict},
    forwarding::FlowToken,
    unicast::{Command, Component, FlowRequest, Lower, Node, Op, Output, Request, Role, Settings},
};
use o7s_wire::{
    dht::{Body, Contact, Key, Value},
    dt::{Address, Eid, QosCube, Repr},
    enroll::{Layer, LayerConfig},
    fa::Message as Allocation,
    hash::{DirHash, NameHash},
    name::Name,
    qos::QosSpec,
};

use crate::conversation::{Event, Step, conversation};
use beside::Line;
pub(crate) use beside::Report;
pub(crate) use identifiers::{Id, Place, Said};
use identifiers::{Visitor, allocation};

/// Names in the captures.
const NAMES: [&str; 4] = ["uni", "uniA", "uniB", "uniC"];

/// Whose packet it is.
#[derive(Debug, Clone, Copy)]
enum Speaker {
    Peer,
    Captured,
    Ours,
}

/// What an N-1 flow is to the captured member and to ours.
#[derive(Debug)]
struct Flow {
    /// What is connected over it.
    component: Vec<u8>,
    role: Option<Role>,
    /// Whether each speaker has said what it is.
    connected: [bool; 3],
}

impl Flow {
    /// What a packet on it is; the first of each speaker says who is there.
    fn place(&mut self, speaker: Speaker) -> Place {
        let connected = &mut self.connected[speaker as usize];
        if !std::mem::replace(connected, true) {
            return Place::Connecting;
        }
        match &self.component[..] {
            b"Enrollment" => Place::Enrollment,
            b"Management" => Place::Management,
            b"Data Transfer" => Place::Data,
            other => panic!("component {}", other.escape_ascii()),
        }
    }
}

/// A member that nobody reached for a while.
pub(crate) struct Cut {
    /// Its address in the capture.
    pub(crate) member: Address,
    /// N-1 flows from this number on led to it; what was said on them then is not in the capture.
    pub(crate) flows: usize,
    /// When, since the first frame.
    pub(crate) time: Range<Duration>,
}

/// Who plays.
pub(crate) struct Part {
    pub(crate) captures: &'static [&'static str],
    /// MAC addresses of the member's host.
    pub(crate) host: &'static [[u8; 6]],
    /// The layer that the member starts; none if it enrolls.
    pub(crate) bootstrap: Option<LayerConfig>,
    /// What cannot be seen in the capture: the member leaves its neighbour at this time.
    pub(crate) leaves: Option<Duration>,
    pub(crate) cut: Option<Cut>,
}

pub(crate) struct Replay {
    part: Part,
    base: Instant,
    /// Wall clock at the first frame.
    wall: Duration,
    /// Now: since the first frame.
    time: Duration,
    pub(crate) node: Node,
    dt: Option<Dt>,
    flows: BTreeMap<usize, Flow>,
    script: Vec<Line>,
    /// Identifiers of the captured member, and ours in their place.
    ours: BTreeMap<Id, Id>,
    theirs: BTreeMap<Id, Id>,
    next_op: u64,
    wanted: VecDeque<(Request, Name, QosSpec)>,
    registered: Vec<NameHash>,
    /// Members in the directory, with the captured identifiers.
    members: BTreeMap<Address, Key>,
    /// What our member stored at others.
    stored: Vec<(Address, Key, Value)>,
    /// Answers of peers that are not in the capture.
    answers: VecDeque<(Duration, Lower, Said)>,
    requests: VecDeque<FlowRequest>,
    /// User flows: where their packets go, and whether reports of congestion are due.
    users: BTreeMap<Eid, (Address, Eid, QosCube, Receiver)>,
    report: Report,
}

fn map(ids: &BTreeMap<Id, Id>, said: Said) -> Said {
    Visitor(&mut |id| ids.get(&id).cloned().unwrap_or(id)).visit(said)
}

pub(crate) fn hash(name: &str) -> NameHash {
    DirHash::Sha3_256.digest(name.as_bytes())
}

/// Plays the whole conversation.
pub(crate) fn replay(part: Part) -> Report {
    let steps = conversation(part.captures, part.host);
    let mut replay = Replay::new(part, &steps);
    for step in steps {
        let time = step.time - replay.wall;
        replay.pass(time);
        replay.step(step);
    }
    replay.end()
}

impl Replay {
    fn new(part: Part, steps: &[Step]) -> Self {
        let wall = steps[0].time;
        let base = Instant::now();
        let settings = Settings {
            seed: [7; 32],
            wall,
        };
        let mut replay = Self {
            part,
            base,
            wall,
            time: Duration::ZERO,
            node: Node::new(settings, base),
            dt: None,
            flows: BTreeMap::new(),
            script: Vec::new(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            next_op: 0,
            wanted: VecDeque::new(),
            registered: Vec::new(),
            members: BTreeMap::new(),
            stored: Vec::new(),
            answers: VecDeque::new(),
            requests: VecDeque::new(),
            users: BTreeMap::new(),
            report: Report::default(),
        };
        replay.read(steps);
        if let Some(config) = replay.part.bootstrap.clone() {
            replay.command(|op| Command::Bootstrap { op, config });
        }
        replay
    }

    /// What the captured member said, to be compared.
    fn read(&mut self, steps: &[Step]) {
        for step in steps {
            let Event::Packet { ours, bytes } = &step.event else {
                continue;
            };
            let flow = self.flows.entry(step.flow).or_insert_with(|| {
                let Said::Cep(message) = Said::parse(Place::Connecting, bytes) else {
                    panic!("{:?}: no connection", step.frame);
                };
                Flow {
                    component: message.component,
                    role: None,
                    connected: [false; 3],
                }
            });
            if bytes.is_empty() {
                continue;
            }
            let speaker = if *ours {
                Speaker::Captured
            } else {
                Speaker::Peer
            };
            let said = Said::parse(flow.place(speaker), bytes);
            if let Said::Directory(_, message) = &said {
                let others: &[Contact] = match &message.body {
                    Body::FindNodeRsp(nodes) => &nodes.contacts,
                    _ => &[],
                };
                for Contact { id, address } in others.iter().chain([&message.src]) {
                    self.members.insert(*address, *id);
                }
            }
            // The join of 0.23 is sent twice (§5.11).
            let again = |line: &Line| line.said == said && line.said.is_join();
            if *ours && !self.script.iter().any(again) {
                self.script.push(Line {
                    frame: step.frame,
                    flow: step.flow,
                    said,
                    matched: false,
                });
            }
        }
        for flow in self.flows.values_mut() {
            flow.connected = [false; 3];
        }
    }

    fn now(&self) -> Instant {
        self.base + self.time
    }

    /// Lets time pass, timeout by timeout.
    fn pass(&mut self, until: Duration) {
        loop {
            let due = self.node.poll_timeout().map(|at| at - self.base);
            let answer = self.answers.front().map(|(at, ..)| *at);
            let leaves = self.part.leaves;
            match [due, answer, leaves].into_iter().flatten().min() {
                Some(next) if next <= until => self.time = self.time.max(next),
                _ => break,
            }
            if answer.is_some_and(|at| at <= self.time) {
                if let Some((_, lower, said)) = self.answers.pop_front() {
                    self.arrive(lower, map(&self.ours, said).emit());
                    self.settle();
                }
            } else if leaves.is_some_and(|at| at <= self.time) {
                self.part.leaves = None;
                self.leave();
            } else {
                self.node.handle_timeout(self.now());
                self.settle();
            }
        }
        self.time = until;
    }

    fn command(&mut self, command: impl FnOnce(Op) -> Command) {
        self.next_op += 1;
        let op = Op(self.next_op);
        self.node.command(self.now(), command(op));
        self.settle();
    }

    /// Disconnects from A, as `irm ipcp disconnect` does.
    fn leave(&mut self) {
        for component in [Component::Data, Component::Management] {
            let dst = Name::new("uniA").expect("a name");
            self.command(|op| Command::Disconnect { op, dst, component });
        }
    }

    fn step(&mut self, step: Step) {
        let flow = step.flow;
        let lower = Lower(u32::try_from(flow).expect("few flows"));
        match step.event {
            Event::Request { by_us, hash, qos } => {
                if by_us {
                    self.ask(flow, &hash, qos);
                }
                // Whoever accepts it hears of it with the reply.
                self.flows.get_mut(&flow).expect("used").connected = [false; 3];
            }
            Event::Reply => match self.wanted.pop_front() {
                Some((request, ..)) => {
                    self.node.lower_allocated(self.now(), request, Ok(lower));
                    self.settle();
                }
                None => {
                    self.node.lower_accepted(self.now(), lower, QosSpec::RAW);
                    self.settle();
                }
            },
            Event::Packet { ours: true, bytes } => {
                if !bytes.is_empty() {
                    self.prompt(step.frame, flow, &bytes);
                }
            }
            Event::Packet { ours: false, bytes } => self.hear(flow, lower, &bytes),
        }
    }

    /// The captured member asked for an N-1 flow: ours is told to do what that was for.
    fn ask(&mut self, flow: usize, hashed: &[u8], qos: QosSpec) {
        let name = NAMES
            .into_iter()
            .find(|name| hash(name).as_bytes() == hashed)
            .expect("a known name");
        let dst = Name::new(name).expect("a name");
        let to = dst.clone();
        match &self.flows[&flow].component[..] {
            b"Enrollment" => self.command(|op| Command::Enroll { op, dst }),
            component => {
                let component = std::str::from_utf8(component).expect("ASCII");
                let component = Component::by_name(component).expect("a component");
                self.command(|op| Command::Connect {
                    op,
                    dst,
                    component,
                    qos,
                });
            }
        }
        let (_, asked, wanted) = self.wanted.back().expect("an N-1 flow is asked for");
        assert_eq!((asked, *wanted), (&to, qos));
    }

    /// The captured member says something of itself: ours is told to do the same, where it cannot know.
    fn prompt(&mut self, frame: (&'static str, usize), flow: usize, bytes: &[u8]) {
        let place = self
            .flows
            .get_mut(&flow)
            .expect("there")
            .place(Speaker::Captured);
        let said = Said::parse(place, bytes);
        match said {
            Said::Directory(_, message) => match message.body {
                Body::Store {
                    key,
                    value: Value::Address(_),
                    ..
                } => {
                    let hash = NameHash::from_bytes(key.as_bytes());
                    if !self.registered.contains(&hash) && self.is_own(message.src.address) {
                        self.registered.push(hash.clone());
                        self.command(|op| Command::Register { op, hash });
                    }
                }
                Body::FindValueReq(find) if self.is_own(message.src.address) => {
                    let hash = NameHash::from_bytes(find.key.as_bytes());
                    self.command(|op| Command::Query { op, hash });
                }
                _ => {}
            },
            Said::FlowRequest(_, bytes) => {
                let Allocation::Request {
                    source,
                    qos,
                    hash,
                    data,
                    ..
                } = allocation(&bytes)
                else {
                    panic!("{frame:?}");
                };
                if self.is_own(source) {
                    let (hash, data) = (NameHash::from_bytes(hash), data.to_vec());
                    self.command(|op| Command::Alloc {
                        op,
                        hash,
                        qos,
                        data,
                    });
                }
            }
            Said::FlowReply(header, bytes) => {
                let Allocation::Reply { response, data, .. } = allocation(&bytes) else {
                    panic!("{frame:?}");
                };
                // One in transit has lost a hop.
                if header.ttl == 60 {
                    let request = self.requests.pop_front();
                    let flow = request
                        .unwrap_or_else(|| panic!("{frame:?}: no request"))
                        .flow;
                    let data = data.to_vec();
                    self.command(|_| Command::Respond {
                        flow,
                        response,
                        data,
                    });
                }
            }
            Said::User(header, payload) if header.ttl == 60 => self.send(header, &payload),
            _ => {}
        }
    }

    /// Whether an address of the capture is that of our member.
    fn is_own(&self, captured: Address) -> bool {
        let id = Id::Number(captured.get());
        let ours = Id::Number(self.node.address().unwrap_or_default().get());
        self.ours.get(&id) == Some(&ours)
    }

    /// A user of our member sends what one of the captured member sent.
    fn send(&mut self, header: Repr, payload: &[u8]) {
        let users = self.users.values();
        let (address, eid, cube) = users
            .map(|(address, eid, cube, _)| (*address, *eid, *cube))
            .find(|(_, eid, _)| *eid == header.eid)
            .expect("a flow to there");
        self.originate(address, cube, eid, payload, usize::from(header.ecn) * 16);
    }

    fn originate(&mut self, to: Address, cube: QosCube, eid: Eid, payload: &[u8], queued: usize) {
        let dt = self.dt.as_mut().expect("a member");
        let mut packet = vec![0; dt.header_len()];
        packet.extend_from_slice(payload);
        let flow = dt.send(to, cube, eid, &mut packet).expect("a way");
        dt.mark(&mut packet, queued);
        self.say(Lower(flow.0), &packet);
    }

    /// A peer said something.
    fn hear(&mut self, flow: usize, lower: Lower, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let place = self
            .flows
            .get_mut(&flow)
            .expect("there")
            .place(Speaker::Peer);
        let said = map(&self.ours, Said::parse(place, bytes));
        self.arrive(lower, said.emit());
        self.settle();
    }

    fn arrive(&mut self, lower: Lower, mut packet: Vec<u8>) {
        let now = self.now();
        let role = self.flows.get(&(lower.0 as usize)).and_then(|it| it.role);
        let (Some(Role::Data { .. }), Some(dt)) = (role, &mut self.dt) else {
            return self.node.lower_packet(now, lower, &packet);
        };
        let header = dt.header_len();
        match dt.receive(FlowToken(lower.0), &mut packet) {
            Verdict::Component { component, ecn } => {
                self.node
                    .dt_packet(now, component.eid(), ecn, &packet[header..]);
            }
            Verdict::User { eid, ecn, .. } => {
                let (.., receiver) = self.users.get_mut(&eid).expect("a flow of ours");
                self.report.received += 1;
                if let Some(level) = receiver.packet(ecn) {
                    self.node.command(now, Command::Report { flow: eid, level });
                }
            }
            Verdict::Forward { flow, .. } => self.say(Lower(flow.0), &packet),
            other => panic!("{other:?}: {packet:02x?}"),
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        let now = self.now();
        match output {
            Output::Done { outcome, .. } => self.report.done.push(outcome),
            Output::Started { address, config } => {
                let Layer::Unicast(unicast) = config.layer else {
                    panic!("a unicast layer")
                };
                assert_eq!(unicast.dht.peer, address);
                self.dt = Some(Dt::new(dt::Config {
                    max_ttl: unicast.dt.max_ttl,
                    ..dt::Config::new(address)
                }));
            }
            Output::AllocateLower { request, dst, qos } => {
                self.wanted.push_back((request, dst, qos));
            }
            Output::Role { lower, role } => {
                let flow = self.flows.get_mut(&(lower.0 as usize)).expect("there");
                flow.role = Some(role);
                if let (Role::Data { cube, .. }, Some(dt)) = (role, &mut self.dt) {
                    dt.add_flow(FlowToken(lower.0), cube);
                }
            }
            Output::SendOnLower { lower, packet } => self.say(lower, &packet),
            Output::Arrived { lower, packet } => self.arrive(lower, packet),
            Output::SendDt {
                dst,
                cube,
                eid,
                payload,
                flow,
            } => {
                if self.is_reachable(dst, eid) {
                    self.originate(dst, cube, eid, &payload, 0);
                } else {
                    self.node.unsent(now, dst, eid, flow);
                }
            }
            Output::Table(table) => {
                if let Some(dt) = &mut self.dt {
                    dt.set_table(table);
                }
            }
            Output::FlowUp {
                flow,
                remote,
                remote_eid,
                cube,
                ..
            } => {
                let receiver = Receiver::new(Policy::MultiBitEcn);
                self.users
                    .insert(flow, (remote, remote_eid, cube, receiver));
            }
            Output::FlowRequest(request) => self.requests.push_back(request),
            Output::Congestion { level, .. } => self.report.levels.push(level),
            Output::Warning(text) => self.report.warnings.push(text),
            Output::DeallocateLower { lower } => {
                if let (Some(dt), Some(Role::Data { .. })) =
                    (&mut self.dt, self.flows[&(lower.0 as usize)].role)
                {
                    dt.remove_flow(FlowToken(lower.0));
                }
            }
            Output::LowerDown { lower, .. } => panic!("{lower:?} is down"),
            Output::Parted { .. }
            | Output::CancelLower { .. }
            | Output::FlowOpened { .. }
            | Output::FlowClosed { .. }
            | Output::FlowExpired { .. } => {}
        }
    }

    fn is_reachable(&mut self, to: Address, eid: Eid) -> bool {
        let dt = self.dt.as_mut().expect("a member");
        let mut header = vec![0; dt.header_len()];
        dt.send(to, QosCube::BestEffort, eid, &mut header).is_ok()
    }

    fn end(mut self) -> Report {
        let unsaid = self.script.drain(..).filter(|line| !line.matched);
        self.report.unsaid = unsaid.map(|line| (line.frame, line.said)).collect();
        self.report
    }
}
