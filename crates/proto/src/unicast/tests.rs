//! What nodes do in small networks.

mod net;
mod silence;

use std::{collections::BTreeMap, sync::Arc};

use o7s_wire::{dt::QosCube, qos::QosSpec};

use super::*;
use net::*;

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

/// Whoever may allocate flows to a member cannot fill its log.
#[test]
fn warnings_that_others_cause_are_bounded() {
    let mut net = Net::line(1);
    let mut now = net.now;
    let node = &mut net.members[0].node;
    let mut fail = |now, times| {
        let mut told = Vec::new();
        for _ in 0..times {
            node.lower_accepted(now, Lower(1000), QosSpec::RAW);
            node.lower_packet(now, Lower(1000), b"no message");
            while let Some(output) = node.poll_output() {
                if let Output::Warning(text) = output {
                    told.push(text);
                }
            }
        }
        told
    };
    assert_eq!(fail(now, 1000).len(), 64);
    now += Duration::from_secs(60);
    let told = fail(now, 2);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("936 warnings"), "{told:?}");
    assert!(!told[1].contains("not told"), "{told:?}");
}
