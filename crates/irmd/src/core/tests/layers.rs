//! IPCPs, and allocation over layers.

use o7s::{
    ErrorKind,
    control::{
        Body, BootstrapIpcp, CreateIpcp, Empty, Failure, FlowReqArr, FlowResponse, IpcpConfig,
        IpcpFlowAlloc, IpcpState, IpcpType, Pid, UnicastConfig,
    },
};

use crate::core::{ConnId, Side, Signal, lab::*, limits};

/// Brings the request back out of the layer; the daemon's answer.
fn arrive(lab: &mut Lab, channel: ConnId, request: &IpcpFlowAlloc) -> Body {
    let arrived = FlowReqArr {
        hash: request.hash.clone(),
        qos: request.qos,
        mpl_ms: 100,
        piggyback: request.piggyback.clone(),
        local_flow_id: Some(request.flow_id),
        max_packet: 0,
    };
    lab.send(channel, 77, Body::FlowReqArr(arrived));
    lab.answer(channel, 77).unwrap()
}

#[test]
fn a_flow_over_a_layer_shares_one_segment() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let server = lab.process_as(10, STRANGER, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("n"));
    let request = lab.reached(channel);
    assert_eq!(request.hash, hash("n"));
    assert!(matches!(
        arrive(&mut lab, channel, &request),
        Body::FlowId(flow) if flow.flow_id == request.flow_id
    ));
    let accept = lab.start(server, accept_body(None));
    let there = lab.flow(server, accept);
    // The client waits for the layer's word.
    assert!(lab.answer(client, alloc).is_none());
    let reply = lab.responded(channel);
    assert_eq!(reply.refusal, None);
    lab.send(channel, 0, Body::FlowAllocReply(reply));
    let here = lab.flow(client, alloc);
    assert_eq!(here.flow_id, there.flow_id);
    assert_eq!((here.mpl_ms, there.mpl_ms), (100, 100));
    assert_eq!(lab.fake.flows.len(), 1);
    lab.call(client, dealloc_body(&here)).unwrap();
    lab.call(server, dealloc_body(&there)).unwrap();
    for conn in [client, server] {
        lab.disconnect(conn);
    }
    lab.assert_empty();
}

#[test]
fn users_that_share_no_memory_need_a_layer() {
    let mut lab = Lab::new();
    let server = lab.process_as(10, STRANGER, "s");
    lab.bind(server, 10, "n");
    lab.start(server, accept_body(None));
    let client = lab.process(11, "c");
    let error = lab.call(client, alloc_body("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("not directly"), "{error}");
    let (_, channel) = lab.layer("home");
    let alloc = lab.start(client, alloc_body("n"));
    let request = lab.reached(channel);
    arrive(&mut lab, channel, &request);
    let reply = lab.responded(channel);
    lab.send(channel, 0, Body::FlowAllocReply(reply));
    assert_eq!(lab.flow(client, alloc).peer_pid, 10);
}

#[test]
fn layers_are_taken_in_registry_order() {
    let mut lab = Lab::new();
    let (_, first) = lab.layer("one");
    let (_, second) = lab.layer("two");
    let client = lab.process(11, "c");

    // The second says yes at once; the first has the word.
    let alloc = lab.start(client, alloc_body("far"));
    let (q1, _) = lab.asked(first);
    let (q2, _) = lab.asked(second);
    lab.done(second, q2);
    assert!(lab.fake.sent.is_empty());
    lab.refuse(first, q1, ErrorKind::Name);
    let (id, body) = lab.asked(second);
    assert!(matches!(body, Body::IpcpFlowAlloc(_)));
    lab.refuse(second, id, ErrorKind::IpcpState);
    assert_eq!(lab.failure(client, alloc), ErrorKind::IpcpState);

    // Silence is a no, soon after another one said yes.
    let alloc = lab.start(client, alloc_body("far"));
    lab.asked(first);
    let (q2, _) = lab.asked(second);
    lab.advance(limits::QUERY / 2);
    lab.done(second, q2);
    lab.advance(limits::QUERY_GRACE / 2);
    assert!(lab.fake.sent.is_empty());
    lab.advance(limits::QUERY_GRACE / 2);
    assert!(matches!(lab.asked(second), (_, Body::IpcpFlowAlloc(_))));
    assert!(lab.answer(client, alloc).is_none());

    let alloc = lab.start(client, alloc_body("nowhere"));
    for channel in [first, second] {
        let (query, _) = lab.asked(channel);
        lab.refuse(channel, query, ErrorKind::Name);
    }
    let error = lab.outcome(client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
    assert!(
        error.to_string().contains("2 layers asked: one, two"),
        "{error}"
    );
}

#[test]
fn refusals_are_told_at_once() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let client = lab.process(11, "c");

    // Registered, but no such name here; then a name without binding.
    for kind in [ErrorKind::Name, ErrorKind::Ipcp] {
        let alloc = lab.start(client, alloc_body("n"));
        let request = lab.reached(channel);
        let Body::Failure(failure) = arrive(&mut lab, channel, &request) else {
            panic!("not refused");
        };
        assert_eq!(failure.errno, kind.errno());
        let reply = FlowResponse {
            flow_id: request.flow_id,
            refusal: Some(failure),
            ..FlowResponse::default()
        };
        lab.send(channel, 0, Body::FlowAllocReply(reply));
        assert_eq!(lab.failure(client, alloc), kind);
        let manager = lab.manager();
        let body = name_body("n", o7s::control::Balance::Spill);
        lab.call(manager, body).unwrap();
        lab.disconnect(manager);
    }
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn a_request_that_is_given_up_leaves_the_layer() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");

    // While it waits for an acceptor.
    let alloc = lab.start(client, alloc_body("n"));
    let request = lab.reached(channel);
    arrive(&mut lab, channel, &request);
    lab.advance(limits::ALLOC);
    assert_eq!(lab.failure(client, alloc), ErrorKind::TimedOut);
    let reply = lab.responded(channel);
    assert_eq!(reply.flow_id, request.flow_id);
    assert!(reply.refusal.is_some());
    // The layer's late word changes nothing.
    lab.send(channel, 0, Body::FlowAllocReply(reply));

    // After the acceptor has its end.
    let thread = lab.further(11);
    lab.start(thread, alloc_body("n"));
    let request = lab.reached(channel);
    arrive(&mut lab, channel, &request);
    let accept = lab.start(server, accept_body(None));
    let there = lab.flow(server, accept);
    lab.disconnect(thread);
    assert_eq!(lab.fake.gone_ends, [(there.flow_id, Side::A)]);
    lab.call(server, dealloc_body(&there)).unwrap();

    // Before the layer has brought it.
    let thread = lab.further(11);
    lab.start(thread, alloc_body("n"));
    lab.responded(channel);
    let request = lab.reached(channel);
    lab.disconnect(thread);
    assert!(matches!(
        arrive(&mut lab, channel, &request),
        Body::Failure(_)
    ));
    for conn in [client, server] {
        lab.disconnect(conn);
    }
    lab.assert_empty();
}

#[test]
fn the_death_of_an_ipcp_ends_what_waits_for_it() {
    let mut lab = Lab::with(false);
    let (pid, channel) = lab.layer("home");
    let manager = lab.manager();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    lab.bind(manager, pid, "n");
    let asked = lab.start(server, alloc_body("n"));
    lab.asked(channel);
    let under_way = lab.start(server, alloc_body("n"));
    let request = lab.reached(channel);
    arrive(&mut lab, channel, &request);
    let reg = lab.start(manager, reg_body("n", pid));
    lab.child_exited(pid);
    lab.disconnect(channel);
    // The one that was still being asked about is in no layer now.
    assert_eq!(lab.failure(server, asked), ErrorKind::Ipcp);
    assert_eq!(lab.failure(server, under_way), ErrorKind::Ipcp);
    assert_eq!(lab.failure(manager, reg), ErrorKind::Ipcp);
    assert!(lab.core.ipcps.is_empty() && lab.core.layer_allocs.is_empty());
    assert!(!lab.core.names.get("n").unwrap().processes.contains(&pid));
}

#[test]
fn an_ipcp_that_does_not_come_up_is_killed() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    let create = |name: &str, ipcp_type: i32| {
        Body::CreateIpcp(CreateIpcp {
            name: name.to_owned(),
            ipcp_type,
        })
    };
    let error = lab.call(manager, create("e", 12)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IpcpType);

    let id = lab.start(manager, create("l", 0));
    let pid = lab.fake.next_child;
    let error = lab.call(manager, create("l", 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    lab.advance(limits::IPCP_BOOT);
    assert_eq!(lab.fake.children[&pid], [Signal::Kill]);
    assert!(lab.answer(manager, id).is_none());
    lab.child_exited(pid);
    assert_eq!(lab.failure(manager, id), ErrorKind::Ipcp);

    // One that says why it cannot run.
    let id = lab.start(manager, create("l", 0));
    let (pid, channel) = (lab.fake.next_child, ConnId(1_000_002));
    let failure = Failure::from(&o7s::Error::new(
        ErrorKind::NotSupported,
        "not in this version",
    ));
    lab.send(channel, 0, Body::Failure(failure));
    assert_eq!(lab.failure(manager, id), ErrorKind::NotSupported);
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate]);
    lab.child_exited(pid);

    lab.fake.no_program = true;
    let error = lab.call(manager, create("l", 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn destroying_an_ipcp_ends_in_time() {
    let mut lab = Lab::new();
    let (pid, _) = lab.layer("home");
    let manager = lab.manager();
    let other = lab.manager();
    let error = lab.call(manager, Body::DestroyIpcp(Pid { pid: 3 }));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    let id = lab.start(manager, Body::DestroyIpcp(Pid { pid }));
    let too = lab.start(other, Body::DestroyIpcp(Pid { pid }));
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate]);
    lab.advance(limits::KILL_GRACE);
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate, Signal::Kill]);
    lab.child_exited(pid);
    assert_eq!(lab.outcome(manager, id).unwrap(), Body::Done(Empty {}));
    assert_eq!(lab.outcome(other, too).unwrap(), Body::Done(Empty {}));
    assert!(lab.core.ipcps.is_empty());
}

#[test]
fn an_ipcp_that_does_not_answer_fails_the_call() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.layer("home");
    let manager = lab.manager();
    lab.call(manager, name_body("n", o7s::control::Balance::Spill))
        .unwrap();
    let id = lab.start(manager, reg_body("n", pid));
    lab.advance(limits::IPCP_REMOTE_CALL);
    assert_eq!(lab.failure(manager, id), ErrorKind::Ipcp);
    // Late, wrong and unasked answers.
    let (call, _) = lab.asked(channel);
    lab.done(channel, call);
    lab.done(channel, 4_711);
    let id = lab.start(manager, reg_body("n", pid));
    let (call, _) = lab.asked(channel);
    let joined = o7s::control::IpcpJoined::default();
    lab.send(channel, call, Body::IpcpJoined(joined));
    assert_eq!(lab.failure(manager, id), ErrorKind::Ipcp);
    lab.send(channel, 5, Body::Status(Empty {}));
    let list = lab.core.list_ipcps(lab.fake.now);
    assert_eq!(list.ipcps[0].state(), IpcpState::Operational);
}

#[test]
fn a_lost_channel_ends_the_ipcp() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.layer("home");
    lab.disconnect(channel);
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate]);
    lab.child_exited(pid);
    assert!(lab.core.ipcps.is_empty());
}

#[test]
fn an_orderly_stop_ends_the_children() {
    let mut lab = Lab::new();
    let (pid, _) = lab.layer("home");
    let manager = lab.manager();
    lab.core.stop(&mut lab.fake);
    lab.core.stop(&mut lab.fake);
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate]);
    assert!(!lab.core.is_stopped());
    let error = lab.call(manager, Body::Status(Empty {})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Daemon);
    lab.advance(limits::KILL_GRACE);
    assert_eq!(lab.fake.children[&pid], [Signal::Terminate, Signal::Kill]);
    lab.child_exited(pid);
    assert!(lab.core.is_stopped());
}

#[test]
fn every_option_of_a_layer_reaches_the_ipcp_and_a_wrong_one_does_not() {
    let mut lab = Lab::with(false);
    let manager = lab.manager();
    let create = CreateIpcp {
        name: "i".to_owned(),
        ipcp_type: IpcpType::Local.into(),
    };
    let id = lab.start(manager, Body::CreateIpcp(create));
    // The first child and its channel.
    let (pid, channel) = (lab.fake.next_child, ConnId(1_000_001));
    lab.hello(channel, "ipcpd", 0, false);
    assert!(lab.outcome(manager, id).is_ok());
    let mut config = IpcpConfig::new(IpcpType::Local, "home");
    let mut unicast = UnicastConfig::default();
    unicast.dt.max_ttl = 9;
    config.unicast = Some(unicast);

    let mut wrong = config.clone();
    wrong.layer.name = "n".repeat(256);
    let boot = BootstrapIpcp { pid, config: wrong };
    let error = lab.call(manager, Body::BootstrapIpcp(boot)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);

    let boot = BootstrapIpcp {
        pid,
        config: config.clone(),
    };
    lab.start(manager, Body::BootstrapIpcp(boot));
    assert_eq!(lab.asked(channel).1, Body::IpcpBootstrap(config));
}
