//! A unicast node among hostile neighbours, with a driver that gives it commands in any order: no panic,
//! bounded memory, one outcome for each operation, N-1 flows that are given back once, and a next deadline
//! that is not in the past.
//!
//! Each step is an action and three bytes; packets are taken from what follows. Used by the tests and by
//! the fuzz target `unicast_node`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use o7s_proto::unicast::{
    Command, Component, Lower, LowerError, LowerEvent, Node, Op, Output, Request, Settings,
};
use o7s_wire::{
    cep::Identity,
    dt::{Address, Eid},
    enroll::{Layer, LayerConfig, UnicastConfig},
    hash::DirHash,
    linkstate::Lsu,
    name::Name,
    qos::QosSpec,
};

/// Few addresses, so that they meet.
fn address(byte: u8) -> Address {
    Address::new(u64::from(byte % 8) + 1)
}

fn component(byte: u8) -> Component {
    if byte.is_multiple_of(2) {
        Component::Data
    } else {
        Component::Management
    }
}

/// What the driver knows.
#[derive(Default)]
struct Driver {
    operations: BTreeSet<Op>,
    next_op: u64,
    requests: BTreeSet<Request>,
    lowers: BTreeSet<Lower>,
    next_lower: u32,
    arrived: BTreeSet<Eid>,
    opened: BTreeMap<Eid, bool>,
}

impl Driver {
    fn op(&mut self) -> Op {
        self.next_op += 1;
        self.operations.insert(Op(self.next_op));
        Op(self.next_op)
    }

    fn lower(&mut self) -> Lower {
        self.next_lower += 1;
        self.lowers.insert(Lower(self.next_lower));
        Lower(self.next_lower)
    }

    fn pick<T: Copy>(set: impl IntoIterator<Item = T>, byte: u8) -> Option<T> {
        let all: Vec<_> = set.into_iter().collect();
        (!all.is_empty()).then(|| all[usize::from(byte) % all.len()])
    }

    fn drain(&mut self, node: &mut Node) {
        let mut outputs = 0;
        while let Some(output) = node.poll_output() {
            outputs += 1;
            match output {
                Output::Done { op, outcome } => {
                    assert!(self.operations.remove(&op), "{op:?} again: {outcome:?}");
                }
                Output::AllocateLower { request, .. } => {
                    assert!(self.requests.insert(request));
                }
                Output::CancelLower { request } => assert!(self.requests.remove(&request)),
                Output::DeallocateLower { lower } => {
                    assert!(self.lowers.remove(&lower), "{lower:?} is none");
                }
                Output::Role { lower, .. }
                | Output::LowerDown { lower, .. }
                | Output::SendOnLower { lower, .. }
                | Output::Arrived { lower, .. } => {
                    assert!(self.lowers.contains(&lower), "{lower:?} is none");
                }
                Output::FlowRequest(request) => assert!(self.arrived.insert(request.flow)),
                Output::FlowExpired { flow } => drop(self.arrived.remove(&flow)),
                Output::FlowOpened { flow, .. } => {
                    assert_eq!(self.opened.insert(flow, false), None);
                }
                Output::FlowUp { flow, .. } => {
                    assert_eq!(self.opened.insert(flow, true), Some(false));
                }
                Output::FlowClosed { flow } => assert!(self.opened.remove(&flow).is_some()),
                Output::SendDt { dst, payload, .. } => {
                    assert!(dst.is_valid() && payload.len() < 4096);
                }
                Output::Started { .. }
                | Output::Table(_)
                | Output::Congestion { .. }
                | Output::Parted { .. }
                | Output::Warning(_) => {}
            }
        }
        assert!(outputs < 20_000);
    }
}

/// Does what the bytes say.
pub(crate) fn run(input: &[u8]) {
    let mut now = Instant::now();
    let settings = Settings {
        seed: [7; 32],
        wall: Duration::from_secs(1_800_000_000),
    };
    let mut node = Node::new(settings, now).greeting();
    let mut driver = Driver::default();
    let name = Name::new("neighbour").expect("a name");
    let mut rest = input;
    while let Some((&[action, one, two, three], tail)) = rest.split_first_chunk() {
        rest = tail;
        let mut bytes = |count: u8| {
            let (taken, left) = rest.split_at(usize::from(count).min(rest.len()));
            rest = left;
            taken
        };
        let hash = DirHash::Sha3_256.digest(&[one % 8]);
        match action % 26 {
            0 => {
                let op = driver.op();
                let config = LayerConfig {
                    name: name.clone(),
                    hash: DirHash::Sha3_256,
                    layer: Layer::Unicast(UnicastConfig::default()),
                };
                node.command(now, Command::Bootstrap { op, config });
            }
            1 => {
                let (op, dst) = (driver.op(), name.clone());
                node.command(now, Command::Enroll { op, dst });
            }
            2 => {
                let command = Command::Connect {
                    op: driver.op(),
                    dst: name.clone(),
                    component: component(one),
                    qos: QosSpec::RAW,
                };
                node.command(now, command);
            }
            3 => {
                let command = Command::Disconnect {
                    op: driver.op(),
                    dst: name.clone(),
                    component: component(one),
                };
                node.command(now, command);
            }
            4 => node.command(
                now,
                Command::Register {
                    op: driver.op(),
                    hash,
                },
            ),
            5 => node.command(
                now,
                Command::Unregister {
                    op: driver.op(),
                    hash,
                },
            ),
            6 => node.command(
                now,
                Command::Query {
                    op: driver.op(),
                    hash,
                },
            ),
            7 => {
                let command = Command::Alloc {
                    op: driver.op(),
                    hash,
                    qos: QosSpec::DATA,
                    data: bytes(three).to_vec(),
                };
                node.command(now, command);
            }
            8 => {
                if let Some(op) = Driver::pick(driver.operations.iter().copied(), one) {
                    node.command(now, Command::Cancel { op });
                }
            }
            9 => {
                if let Some(flow) = Driver::pick(driver.arrived.iter().copied(), one) {
                    driver.arrived.remove(&flow);
                    let command = Command::Respond {
                        flow,
                        response: -i32::from(two % 3),
                        data: bytes(three).to_vec(),
                    };
                    node.command(now, command);
                }
            }
            10 => {
                if let Some(flow) = Driver::pick(driver.opened.keys().copied(), one) {
                    node.command(now, Command::Dealloc { flow });
                }
            }
            11 => {
                if let Some(flow) = Driver::pick(driver.opened.keys().copied(), one) {
                    let level = u16::from(two);
                    node.command(now, Command::Report { flow, level });
                }
            }
            12 => {
                if let Some(request) = Driver::pick(driver.requests.iter().copied(), one) {
                    driver.requests.remove(&request);
                    let outcome = if two % 4 == 0 {
                        Err(LowerError("no".to_owned()))
                    } else {
                        Ok(driver.lower())
                    };
                    node.lower_allocated(now, request, outcome);
                }
            }
            13 => {
                let lower = driver.lower();
                node.lower_accepted(now, lower, QosSpec::VOICE);
            }
            14 => {
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    let event = [LowerEvent::Up, LowerEvent::Down, LowerEvent::Gone];
                    let event = event[usize::from(two) % 3];
                    if event == LowerEvent::Gone {
                        driver.lowers.remove(&lower);
                    }
                    node.lower_event(now, lower, event);
                }
            }
            24 => {
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    // Mostly one with a short promise, else nonsense.
                    let hello = [1, 0, 0, 50];
                    let payload = if two % 4 == 0 { bytes(three) } else { &hello };
                    node.lower_hello(now, lower, payload);
                }
            }
            25 => {
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    node.lower_heard(now, lower);
                }
            }
            15 | 16 => {
                // What opens a connection.
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    let identity = [
                        Identity::UNICAST_DATA,
                        Identity::MANAGEMENT,
                        Identity::ENROLLMENT,
                    ];
                    let message = identity[usize::from(two) % 3].message(address(three));
                    if let Ok(packet) = message.emit() {
                        node.lower_packet(now, lower, &packet);
                    }
                }
            }
            17 => {
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    let update = Lsu {
                        source: address(two),
                        destination: address(three),
                        seqno: u64::from(two),
                    };
                    node.lower_packet(now, lower, &update.emit());
                }
            }
            18 => {
                if let Some(lower) = Driver::pick(driver.lowers.iter().copied(), one) {
                    node.lower_packet(now, lower, bytes(three));
                }
            }
            19 | 20 => node.dt_packet(now, Eid(u64::from(one % 3)), two, bytes(three)),
            21 => node.unsent(now, address(one), Eid(u64::from(two % 2)), None),
            _ => now += Duration::from_millis(u64::from(one) * u64::from(two)),
        }
        if node.poll_timeout().is_some_and(|at| at <= now) {
            node.handle_timeout(now);
            driver.drain(&mut node);
            assert!(node.poll_timeout().is_none_or(|at| at > now));
        }
        driver.drain(&mut node);
        drop(node.status(now));
    }
}
