//! Joining broadcast layers, and every way in which that ends.

use o7s::{
    DirHash, Error, ErrorKind,
    control::{Body, Failure, FlowEnd, FlowJoin, FlowResponse, IpcpFlowJoin, IpcpType},
};

use super::network::{give_back, told_of};
use crate::core::{ConnId, Side, lab::*, limits};

fn join_body(layer: &str) -> Body {
    Body::FlowJoin(FlowJoin {
        layer: layer.to_owned(),
        timeout_ns: None,
    })
}

/// The IPCP is asked to let a program in.
fn asked_in(lab: &mut Lab, channel: ConnId) -> (u64, IpcpFlowJoin) {
    match lab.asked(channel) {
        (id, Body::IpcpFlowJoin(join)) => (id, join),
        other => panic!("{other:?}"),
    }
}

fn let_in(lab: &mut Lab, channel: ConnId, flow_id: u64, refusal: Option<ErrorKind>) {
    let reply = FlowResponse {
        flow_id,
        refusal: refusal.map(|kind| Failure::from(&Error::new(kind, "not today"))),
        mpl_ms: 100,
        max_packet: 1400,
        ..FlowResponse::default()
    };
    lab.send(channel, 0, Body::FlowAllocReply(reply));
}

#[test]
fn a_program_joins_a_broadcast_layer_and_leaves_it() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.layer_of(IpcpType::Broadcast, "bc", false);
    let (_, second) = lab.layer_of(IpcpType::Broadcast, "bc2", false);
    let client = lab.process(11, "obc");
    let id = lab.start(client, join_body("bc"));
    let (call, join) = asked_in(&mut lab, channel);
    assert_eq!(join.hash, DirHash::Sha3_256.digest(b"bc").as_bytes());
    assert_eq!((join.end.flow_id, join.end.side), (join.flow_id, 1));
    assert_eq!((join.end.peer_pid, join.end.new_bell), (11, true));
    lab.done(channel, call);
    assert!(lab.answer(client, id).is_none());
    let_in(&mut lab, channel, join.flow_id, None);
    let info = lab.flow(client, id);
    assert_eq!((info.side, info.peer_pid, info.direct), (0, pid, false));
    assert_eq!(
        (info.mpl_ms, info.max_packet, &*info.name),
        (100, 1400, "bc")
    );
    assert_eq!((info.qos.loss, info.qos.in_order), (u32::MAX, 0));
    assert!(lab.fake.sent.iter().all(|(to, ..)| *to != second));
    assert!(lab.core.layer_allocs.is_empty());

    lab.call(client, dealloc_body(&info)).unwrap();
    let told = told_of(&mut lab, channel);
    assert_eq!((told.flow_id, told.side), (info.flow_id, 1));
    give_back(&mut lab, channel, told);
    assert!(lab.core.flows.is_empty());
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn a_refusal_gives_everything_back() {
    let mut lab = Lab::new();
    let (_, channel) = lab.layer_of(IpcpType::Broadcast, "bc", false);
    let client = lab.process(11, "obc");
    // At once, and later.
    let id = lab.start(client, join_body("bc"));
    let (call, _) = asked_in(&mut lab, channel);
    lab.refuse(channel, call, ErrorKind::NoMemory);
    assert_eq!(lab.failure(client, id), ErrorKind::NoMemory);
    lab.fake.sent.clear();
    let id = lab.start(client, join_body("bc"));
    let (call, join) = asked_in(&mut lab, channel);
    lab.done(channel, call);
    let_in(&mut lab, channel, join.flow_id, Some(ErrorKind::Permission));
    assert_eq!(lab.failure(client, id), ErrorKind::Permission);
    assert!(lab.core.flows.is_empty());
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn whoever_gives_up_or_dies_leaves_nothing() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.layer_of(IpcpType::Broadcast, "bc", false);
    let client = lab.process(11, "obc");
    // Too late: the IPCP is told, and gives its end back; its late word changes nothing.
    let id = lab.start(client, join_body("bc"));
    let (call, join) = asked_in(&mut lab, channel);
    lab.done(channel, call);
    lab.advance(limits::ALLOC);
    let error = lab.outcome(client, id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("broadcast layer \"bc\""),
        "{error}"
    );
    let told = told_of(&mut lab, channel);
    assert_eq!(told.flow_id, join.flow_id);
    let_in(&mut lab, channel, join.flow_id, None);
    give_back(&mut lab, channel, told);
    assert!(lab.core.flows.is_empty());

    // The program dies while it is a member.
    let other = lab.process(12, "obc");
    let id = lab.start(other, join_body("bc"));
    let (call, join) = asked_in(&mut lab, channel);
    lab.done(channel, call);
    let_in(&mut lab, channel, join.flow_id, None);
    lab.flow(other, id);
    lab.disconnect(other);
    let told = told_of(&mut lab, channel);
    give_back(&mut lab, channel, told);
    assert!(lab.core.flows.is_empty());

    // The IPCP dies: while a program waits, and with a member.
    let id = lab.start(client, join_body("bc"));
    let (call, join) = asked_in(&mut lab, channel);
    lab.done(channel, call);
    let_in(&mut lab, channel, join.flow_id, None);
    let info = lab.flow(client, id);
    let waiting = lab.start(client, join_body("bc"));
    asked_in(&mut lab, channel);
    lab.child_exited(pid);
    lab.disconnect(channel);
    assert_eq!(lab.failure(client, waiting), ErrorKind::Ipcp);
    assert!(lab.fake.down_ends.contains(&(info.flow_id, Side::B)));
    lab.notices(client);
    let end = FlowEnd {
        flow_id: info.flow_id,
        side: 0,
        ..FlowEnd::default()
    };
    lab.call(client, Body::FlowDealloc(end)).unwrap();
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn only_broadcast_layers_are_joined() {
    let mut lab = Lab::new();
    lab.layer("home");
    lab.ipcp(IpcpType::Broadcast, "early");
    let client = lab.process(11, "obc");
    let error = lab.call(client, join_body("home")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("of type local"), "{error}");
    let error = lab.call(client, join_body("early")).unwrap_err();
    assert!(error.to_string().contains("no broadcast layer"), "{error}");
    assert!(lab.call(client, join_body("")).is_err());
}
