//! Small networks of nodes, with a data path of [`Dt`]s and without loss.

use std::{collections::BTreeMap, sync::Arc};

use o7s_wire::{
    dt::{Eid, QosCube},
    enroll::{Layer, UnicastConfig},
    hash::DirHash,
    name::Name,
    qos::QosSpec,
};

use super::*;
use crate::{
    dt::{self, Dt, Verdict},
    forwarding::FlowToken,
};

mod silence;

/// Where an N-1 flow ends.
type Far = (usize, Lower);

/// A node with its data path.
struct Member {
    node: Node,
    dt: Option<Dt>,
    roles: BTreeMap<Lower, Role>,
    far: BTreeMap<Lower, Far>,
    next_lower: u32,
    /// What became of operations.
    done: BTreeMap<Op, Result<Outcome, NodeError>>,
    requests: Vec<FlowRequest>,
    up: BTreeMap<Eid, (Address, Eid)>,
    opened: Vec<(Option<Op>, Eid)>,
    closed: Vec<Eid>,
    received: Vec<(Eid, Vec<u8>)>,
    parted: Vec<(Name, Component)>,
}

struct Net {
    now: Instant,
    members: Vec<Member>,
    /// Names that N-1 flows are allocated to.
    names: BTreeMap<Name, usize>,
    next_op: u64,
    /// Packets on their way: to whom.
    wire: VecDeque<(Far, Vec<u8>)>,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn config() -> LayerConfig {
    LayerConfig {
        name: name("layer"),
        hash: DirHash::Sha3_256,
        layer: Layer::Unicast(UnicastConfig::default()),
    }
}

impl Net {
    fn new(count: usize) -> Self {
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
    fn line(count: usize) -> Self {
        let mut net = Self::new(count);
        net.join_line();
        net
    }

    fn join_line(&mut self) {
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

    fn connect(&mut self, from: usize, to: usize) {
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
    fn run(
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

    fn begin(&mut self, at: usize, command: impl FnOnce(Op) -> Command) -> Op {
        self.next_op += 1;
        let op = Op(self.next_op);
        let now = self.now;
        self.members[at].node.command(now, command(op));
        self.settle();
        op
    }

    /// Lets time pass, timeout by timeout.
    fn wait(&mut self, time: Duration) {
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

    fn settle(&mut self) {
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

    fn lower(&mut self, at: usize) -> Lower {
        let member = &mut self.members[at];
        member.next_lower += 1;
        Lower(member.next_lower)
    }

    fn carry_out(&mut self, at: usize, output: Output) {
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

    fn remove(&mut self, at: usize, lower: Lower) {
        let member = &mut self.members[at];
        if let (Some(Role::Data { .. }), Some(dt)) = (member.roles.remove(&lower), &mut member.dt) {
            dt.remove_flow(FlowToken(lower.0));
        }
    }

    fn settle_wire(&mut self, to: usize, lower: Lower) {
        let (due, rest) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(far, _)| *far == (to, lower));
        self.wire = rest;
        for (_, packet) in due {
            self.arrive(to, lower, packet);
        }
    }

    fn send(&mut self, at: usize, dst: Address, cube: QosCube, eid: Eid, payload: &[u8]) -> bool {
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

    fn arrive(&mut self, at: usize, lower: Lower, mut packet: Vec<u8>) {
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
    fn kill(&mut self, at: usize) {
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

fn hash(name: &str) -> o7s_wire::hash::NameHash {
    DirHash::Sha3_256.digest(name.as_bytes())
}

#[test]
fn two_members_allocate_a_flow_each_way() {
    let mut net = Net::line(2);
    for (server, client) in [(0, 1), (1, 0)] {
        let hash = hash(&format!("server {server}"));
        let registered = net.run(server, |op| Command::Register {
            op,
            hash: hash.clone(),
        });
        assert_eq!(registered, Ok(Outcome::Done));
        let query = net.run(client, |op| Command::Query {
            op,
            hash: hash.clone(),
        });
        assert_eq!(query, Ok(Outcome::Done));
        let op = net.begin(client, |op| Command::Alloc {
            op,
            hash: hash.clone(),
            qos: QosSpec::DATA,
            data: b"request".to_vec(),
        });
        net.wait(Duration::from_millis(100));
        let request = net.members[server]
            .requests
            .pop()
            .expect("a request arrived");
        assert_eq!((&request.hash, &*request.data), (&hash, &b"request"[..]));
        // Its data may come before the answer.
        let (opened, flow) = net.members[client].opened.pop().expect("opened");
        assert_eq!(opened, Some(op));
        let now = net.now;
        net.members[server].node.command(
            now,
            Command::Respond {
                flow: request.flow,
                response: 0,
                data: b"answer".to_vec(),
            },
        );
        net.settle();
        let outcome = net.members[client].done.remove(&op).expect("answered");
        assert_eq!(
            outcome,
            Ok(Outcome::Allocated {
                flow,
                data: b"answer".to_vec()
            })
        );
        let (remote, eid) = net.members[client].up[&flow];
        assert_eq!(
            (Some(remote), eid),
            (net.members[server].node.address(), request.flow)
        );
        assert!(net.send(client, remote, QosCube::BestEffort, eid, b"hello"));
        net.settle();
        assert_eq!(
            net.members[server].received.pop(),
            Some((eid, b"hello".to_vec()))
        );
    }
}

#[test]
fn a_line_of_three_forwards_and_knows_names() {
    let mut net = Net::line(3);
    let status = net.members[0].node.status(net.now);
    assert_eq!((status.routes.len(), status.links.len()), (2, 4));
    assert_eq!(status.neighbours.len(), 2);
    let hash = hash("far");
    assert!(
        net.run(2, |op| Command::Register {
            op,
            hash: hash.clone()
        })
        .is_ok()
    );
    assert!(
        net.run(0, |op| Command::Query {
            op,
            hash: hash.clone()
        })
        .is_ok()
    );
    let refused = net.begin(0, |op| Command::Alloc {
        op,
        hash: hash.clone(),
        qos: QosSpec::RAW,
        data: Vec::new(),
    });
    net.wait(Duration::from_millis(100));
    let request = net.members[2].requests.pop().expect("a request arrived");
    let now = net.now;
    let respond = Command::Respond {
        flow: request.flow,
        response: -1009,
        data: Vec::new(),
    };
    net.members[2].node.command(now, respond);
    net.settle();
    let outcome = net.members[0].done.remove(&refused);
    assert_eq!(
        outcome,
        Some(Err(NodeError::Refused(crate::fa::Refusal::Peer(-1009))))
    );
    assert_eq!(net.members[0].closed.len(), 1);
}

#[test]
fn what_is_unknown_is_said_to_be() {
    let mut net = Net::line(2);
    let unknown = net.run(0, |op| Command::Query {
        op,
        hash: hash("nobody"),
    });
    assert_eq!(unknown, Err(NodeError::Unreachable));
    let nowhere = net.run(0, |op| Command::Connect {
        op,
        dst: name("nowhere"),
        component: Component::Data,
        qos: QosSpec::RAW,
    });
    assert!(matches!(nowhere, Err(NodeError::Lower(_))));
    let again = net.run(0, |op| Command::Bootstrap {
        op,
        config: config(),
    });
    assert_eq!(again, Err(IS_A_MEMBER));
    // Not connected to itself.
    let itself = net.run(0, |op| Command::Connect {
        op,
        dst: name("n0"),
        component: Component::Data,
        qos: QosSpec::RAW,
    });
    assert!(matches!(itself, Err(NodeError::Peer(_))));
}

#[test]
fn disconnection_and_death_take_routes_away() {
    let mut net = Net::line(3);
    net.kill(1);
    net.wait(Duration::from_secs(1));
    assert_eq!(net.members[0].node.status(net.now).routes, []);
    assert_eq!(net.members[2].node.status(net.now).neighbours, []);
    net.connect(0, 2);
    net.wait(Duration::from_secs(5));
    assert_eq!(net.members[2].node.status(net.now).routes.len(), 1);
    for component in [Component::Data, Component::Management] {
        let dst = name("n2");
        let outcome = net.run(0, |op| Command::Disconnect { op, dst, component });
        assert_eq!(outcome, Ok(Outcome::Done));
    }
    net.wait(Duration::from_secs(1));
    assert_eq!(net.members[2].node.status(net.now).routes, []);
}

#[test]
fn a_node_that_is_no_member_answers() {
    let mut net = Net::new(2);
    for command in [
        Command::Query {
            op: Op(90),
            hash: hash("x"),
        },
        Command::Connect {
            op: Op(91),
            dst: name("n1"),
            component: Component::Data,
            qos: QosSpec::RAW,
        },
    ] {
        let op = command.op().expect("has one");
        let now = net.now;
        net.members[0].node.command(now, command);
        net.settle();
        assert_eq!(net.members[0].done.remove(&op), Some(Err(NOT_A_MEMBER)));
    }
    // Enrollment at somebody who is no member fails, and another attempt is possible.
    for _ in 0..2 {
        let outcome = net.run(0, |op| Command::Enroll {
            op,
            dst: name("n1"),
        });
        assert!(matches!(outcome, Err(NodeError::Peer(_))), "{outcome:?}");
    }
    assert!(
        net.run(0, |op| Command::Bootstrap {
            op,
            config: config()
        })
        .is_ok()
    );
    let _: &Arc<_> = net.members[0].dt.as_ref().expect("started").table();
}

/// The role of a flow and its first data packet may cross.
#[test]
fn a_data_packet_that_came_too_early_goes_back() {
    let mut net = Net::line(2);
    let now = net.now;
    let member = &mut net.members[0];
    let data = |role: &Role| matches!(role, Role::Data { .. });
    let (lower, _) = member.roles.iter().find(|it| data(it.1)).expect("there");
    let lower = *lower;
    member.node.lower_packet(now, lower, b"early");
    let output = member.node.poll_output();
    assert!(
        matches!(&output, Some(Output::Arrived { lower: at, packet }) if *at == lower && packet == b"early"),
        "{output:?}"
    );
    // The keepalive of an N-1 flow goes nowhere.
    member.node.lower_packet(now, lower, b"");
    assert!(member.node.poll_output().is_none());
}

#[test]
fn operations_can_be_given_up() {
    let mut net = Net::line(2);
    let hash = hash("slow");
    let registered = net.run(1, |op| Command::Register {
        op,
        hash: hash.clone(),
    });
    assert_eq!(registered, Ok(Outcome::Done));
    let op = net.begin(0, |op| Command::Alloc {
        op,
        hash,
        qos: QosSpec::RAW,
        data: Vec::new(),
    });
    net.wait(Duration::from_millis(100));
    assert_eq!(net.members[1].requests.len(), 1, "nobody answers");
    let now = net.now;
    net.members[0].node.command(now, Command::Cancel { op });
    net.settle();
    let outcome = net.members[0].done.remove(&op);
    assert_eq!(outcome, Some(Err(NodeError::Cancelled)));
    assert_eq!(net.members[0].closed.len(), 1);
    // The other side gives up after its own time, and refuses what is gone.
    net.wait(Duration::from_secs(30));
    assert_eq!(net.members[1].requests.len(), 0);
    assert_eq!(net.members[1].node.status(net.now).flows, 0);
}

/// Defect 6: a member answers those who come whatever others did before.
#[test]
fn silent_neighbours_keep_nobody_away() {
    let mut net = Net::line(1);
    for _ in 0..300 {
        let lower = net.lower(0);
        let now = net.now;
        net.members[0].node.lower_accepted(now, lower, QosSpec::RAW);
        net.settle();
    }
    net.wait(Duration::from_secs(2));
    assert_eq!(net.members[0].node.status(net.now).neighbours, []);
    let mut late = Net::line(2);
    late.wait(Duration::from_secs(1));
    assert_eq!(late.members[0].node.status(late.now).routes.len(), 1);
}
