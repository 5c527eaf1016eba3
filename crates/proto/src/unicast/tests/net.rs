//! A small network of nodes, with a data path of [`Dt`]s and without loss.

use std::collections::BTreeMap;

use o7s_wire::{
    dt::{Eid, QosCube},
    enroll::{Layer, UnicastConfig},
    hash::DirHash,
    name::Name,
    qos::QosSpec,
};

use super::super::*;
use crate::{
    dt::{self, Dt, Verdict},
    forwarding::FlowToken,
};

/// Where an N-1 flow ends.
pub(super) type Far = (usize, Lower);

/// A node with its data path.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) dt: Option<Dt>,
    pub(super) roles: BTreeMap<Lower, Role>,
    pub(super) far: BTreeMap<Lower, Far>,
    pub(super) next_lower: u32,
    /// What became of operations.
    pub(super) done: BTreeMap<Op, Result<Outcome, NodeError>>,
    pub(super) requests: Vec<FlowRequest>,
    pub(super) up: BTreeMap<Eid, (Address, Eid)>,
    pub(super) opened: Vec<(Option<Op>, Eid)>,
    pub(super) closed: Vec<Eid>,
    pub(super) received: Vec<(Eid, Vec<u8>)>,
    pub(super) parted: Vec<(Name, Component)>,
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) members: Vec<Member>,
    /// Names that N-1 flows are allocated to.
    pub(super) names: BTreeMap<Name, usize>,
    pub(super) next_op: u64,
    /// Packets on their way: to whom.
    pub(super) wire: VecDeque<(Far, Vec<u8>)>,
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(super) fn config() -> LayerConfig {
    LayerConfig {
        name: name("layer"),
        hash: DirHash::Sha3_256,
        layer: Layer::Unicast(UnicastConfig::default()),
    }
}

impl Net {
    pub(super) fn new(count: usize) -> Self {
        let now = Instant::now();
        let members = (0..count).map(|number| {
            let settings = Settings {
                seed: [u8::try_from(number).expect("few") + 1; 32],
                wall: Duration::from_secs(1_800_000_000),
            };
            Member {
                node: Node::new(settings, now).greeting(),
                dt: None,
                roles: BTreeMap::new(),
                far: BTreeMap::new(),
                next_lower: 0,
                done: BTreeMap::new(),
                requests: Vec::new(),
                up: BTreeMap::new(),
                opened: Vec::new(),
                closed: Vec::new(),
                received: Vec::new(),
                parted: Vec::new(),
            }
        });
        let mut net = Self {
            now,
            members: members.collect(),
            names: BTreeMap::new(),
            next_op: 0,
            wire: VecDeque::new(),
        };
        for number in 0..count {
            net.names.insert(name(&format!("n{number}")), number);
        }
        net
    }

    /// A line of members, connected both ways.
    pub(super) fn line(count: usize) -> Self {
        let mut net = Self::new(count);
        net.join_line();
        net
    }

    pub(super) fn join_line(&mut self) {
        let count = self.members.len();
        let net = self;
        assert!(
            net.run(0, |op| Command::Bootstrap {
                op,
                config: config()
            })
            .is_ok()
        );
        for number in 1..count {
            let dst = name(&format!("n{}", number - 1));
            let enrolled = net.run(number, |op| Command::Enroll {
                op,
                dst: dst.clone(),
            });
            assert!(matches!(enrolled, Ok(Outcome::Joined(_))), "{enrolled:?}");
            net.connect(number, number - 1);
        }
        net.wait(Duration::from_secs(10));
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        for component in [Component::Management, Component::Data] {
            let dst = name(&format!("n{to}"));
            let outcome = self.run(from, |op| Command::Connect {
                op,
                dst,
                component,
                qos: QosSpec::RAW,
            });
            assert_eq!(outcome, Ok(Outcome::Done));
        }
    }

    /// Gives a command and waits for its outcome.
    pub(super) fn run(
        &mut self,
        at: usize,
        command: impl FnOnce(Op) -> Command,
    ) -> Result<Outcome, NodeError> {
        let op = self.begin(at, command);
        for _ in 0..100 {
            if let Some(outcome) = self.members[at].done.remove(&op) {
                return outcome;
            }
            self.wait(Duration::from_millis(500));
        }
        panic!("operation {op:?} has no outcome");
    }

    pub(super) fn begin(&mut self, at: usize, command: impl FnOnce(Op) -> Command) -> Op {
        self.next_op += 1;
        let op = Op(self.next_op);
        let now = self.now;
        self.members[at].node.command(now, command(op));
        self.settle();
        op
    }

    /// Lets time pass, timeout by timeout.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self
                .members
                .iter()
                .filter_map(|it| it.node.poll_timeout())
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            for member in &mut self.members {
                if member.node.poll_timeout().is_some_and(|at| at <= now) {
                    member.node.handle_timeout(now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..self.members.len() {
                while let Some(output) = self.members[at].node.poll_output() {
                    quiet = false;
                    self.carry_out(at, output);
                }
            }
            if let Some(((to, lower), packet)) = self.wire.pop_front() {
                quiet = false;
                self.arrive(to, lower, packet);
            }
            if quiet {
                return;
            }
        }
    }

    pub(super) fn lower(&mut self, at: usize) -> Lower {
        let member = &mut self.members[at];
        member.next_lower += 1;
        Lower(member.next_lower)
    }

    pub(super) fn carry_out(&mut self, at: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Done { op, outcome } => {
                assert!(self.members[at].done.insert(op, outcome).is_none());
            }
            Output::Started { address, config } => {
                let Layer::Unicast(unicast) = config.layer else {
                    panic!("a unicast layer")
                };
                self.members[at].dt = Some(Dt::new(dt::Config {
                    max_ttl: unicast.dt.max_ttl,
                    ..dt::Config::new(address)
                }));
            }
            Output::AllocateLower { request, dst, qos } => {
                let Some(&to) = self.names.get(&dst) else {
                    let error = LowerError("nobody has the name".into());
                    self.members[at]
                        .node
                        .lower_allocated(now, request, Err(error));
                    return;
                };
                let (mine, theirs) = (self.lower(at), self.lower(to));
                self.members[at].far.insert(mine, (to, theirs));
                self.members[to].far.insert(theirs, (at, mine));
                self.members[to].node.lower_accepted(now, theirs, qos);
                self.members[at]
                    .node
                    .lower_allocated(now, request, Ok(mine));
            }
            Output::CancelLower { .. } => {}
            Output::DeallocateLower { lower } => {
                if let Some((to, theirs)) = self.members[at].far.remove(&lower) {
                    self.remove(at, lower);
                    // What was sent on it arrives first.
                    self.settle_wire(to, theirs);
                    if self.members[to].far.remove(&theirs).is_some() {
                        self.remove(to, theirs);
                        self.members[to]
                            .node
                            .lower_event(now, theirs, LowerEvent::Gone);
                    }
                }
            }
            Output::Role { lower, role } => {
                let member = &mut self.members[at];
                member.roles.insert(lower, role);
                if let (Role::Data { cube, .. }, Some(dt)) = (role, &mut member.dt) {
                    dt.add_flow(FlowToken(lower.0), cube);
                }
            }
            Output::SendOnLower { lower, packet } => {
                // One that was killed has no flows.
                let far = self.members[at].far.get(&lower).copied();
                self.wire.extend(far.map(|far| (far, packet)));
            }
            Output::Arrived { lower, packet } => self.arrive(at, lower, packet),
            Output::SendDt {
                dst,
                cube,
                eid,
                payload,
                flow,
            } => {
                if !self.send(at, dst, cube, eid, &payload) {
                    self.members[at].node.unsent(now, dst, eid, flow);
                }
            }
            Output::Table(table) => {
                if let Some(dt) = &mut self.members[at].dt {
                    dt.set_table(table);
                }
            }
            Output::FlowOpened { op, flow } => self.members[at].opened.push((op, flow)),
            Output::FlowUp {
                flow,
                remote,
                remote_eid,
                ..
            } => drop(self.members[at].up.insert(flow, (remote, remote_eid))),
            Output::FlowClosed { flow } => {
                self.members[at].up.remove(&flow);
                self.members[at].closed.push(flow);
            }
            Output::FlowRequest(request) => self.members[at].requests.push(request),
            Output::FlowExpired { flow } => {
                self.members[at]
                    .requests
                    .retain(|request| request.flow != flow);
            }
            Output::LowerDown { lower, down } => {
                if let Some(dt) = &mut self.members[at].dt {
                    dt.set_down(FlowToken(lower.0), down);
                }
            }
            Output::Parted { dst, component } => self.members[at].parted.push((dst, component)),
            Output::Congestion { .. } | Output::Warning(_) => {}
        }
    }

    pub(super) fn remove(&mut self, at: usize, lower: Lower) {
        let member = &mut self.members[at];
        if let (Some(Role::Data { .. }), Some(dt)) = (member.roles.remove(&lower), &mut member.dt) {
            dt.remove_flow(FlowToken(lower.0));
        }
    }

    pub(super) fn settle_wire(&mut self, to: usize, lower: Lower) {
        let (due, rest) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(far, _)| *far == (to, lower));
        self.wire = rest;
        for (_, packet) in due {
            self.arrive(to, lower, packet);
        }
    }

    pub(super) fn send(
        &mut self,
        at: usize,
        dst: Address,
        cube: QosCube,
        eid: Eid,
        payload: &[u8],
    ) -> bool {
        let member = &mut self.members[at];
        let Some(dt) = &mut member.dt else {
            return false;
        };
        let mut packet = vec![0; dt.header_len()];
        packet.extend_from_slice(payload);
        let Ok(flow) = dt.send(dst, cube, eid, &mut packet) else {
            return false;
        };
        let far = member.far.get(&Lower(flow.0)).copied();
        self.wire.extend(far.map(|far| (far, packet)));
        true
    }

    pub(super) fn arrive(&mut self, at: usize, lower: Lower, mut packet: Vec<u8>) {
        let now = self.now;
        let member = &mut self.members[at];
        let (Some(Role::Data { .. }), Some(dt)) = (member.roles.get(&lower), &mut member.dt) else {
            return member.node.lower_packet(now, lower, &packet);
        };
        let header = dt.header_len();
        match dt.receive(FlowToken(lower.0), &mut packet) {
            Verdict::Component { component, ecn } => {
                member
                    .node
                    .dt_packet(now, component.eid(), ecn, &packet[header..]);
            }
            Verdict::User { eid, .. } => member.received.push((eid, packet[header..].to_vec())),
            Verdict::Forward { flow, .. } => {
                let far = member.far.get(&Lower(flow.0)).copied();
                self.wire.extend(far.map(|far| (far, packet)));
            }
            Verdict::Hello => member.node.lower_hello(now, lower, &packet[header..]),
            Verdict::Keepalive | Verdict::Drop(_) => {}
        }
    }

    /// The whole member ends; others see their N-1 flows gone.
    pub(super) fn kill(&mut self, at: usize) {
        let now = self.now;
        let flows = std::mem::take(&mut self.members[at].far);
        for (to, theirs) in flows.into_values() {
            self.members[to].far.remove(&theirs);
            self.remove(to, theirs);
            self.members[to]
                .node
                .lower_event(now, theirs, LowerEvent::Gone);
        }
        self.settle();
    }
}

pub(super) fn hash(name: &str) -> o7s_wire::hash::NameHash {
    DirHash::Sha3_256.digest(name.as_bytes())
}
