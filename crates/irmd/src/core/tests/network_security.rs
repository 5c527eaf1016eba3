//! Key exchange and authentication of flows that end in an IPCP.

use std::time::Duration;

use o7s::{
    ErrorKind,
    control::{Body, Cancel, FlowEnd, FlowInfo, FlowResponse, IpcpFlowAlloc, NameRef},
};

use super::network::*;
use crate::core::{
    ConnId, Side,
    lab::*,
    limits,
    security::{Agreed, EXTENSIONS, Outcome, Role, Work},
};

const X25519: &str = "kex=X25519\n";

/// The layer grants a flow; `change` is what somebody on the way does to the response.
fn grant(
    lab: &mut Lab,
    channel: ConnId,
    request: &IpcpFlowAlloc,
    change: impl FnOnce(&mut Vec<u8>),
) -> Agreed {
    let (mut piggyback, server) = lab.far_response("n", request.piggyback.clone());
    change(&mut piggyback);
    let reply = FlowResponse {
        flow_id: request.flow_id,
        mpl_ms: 60,
        max_packet: 1400,
        piggyback,
        ..FlowResponse::default()
    };
    lab.send(channel, 0, Body::FlowAllocReply(reply));
    server
}

fn assert_protected(info: &FlowInfo, other: &Agreed) {
    assert!(info.secret.is_some());
    assert_eq!(info.secret, other.secret);
    assert_eq!(info.qos.cypher_s, 256);
    assert_eq!(info.extensions, Some(EXTENSIONS));
    assert_eq!(
        (info.mpl_ms, info.max_packet, info.direct),
        (60, 1400, false)
    );
}

#[test]
fn a_flow_into_a_network_is_as_secret_as_its_server_says() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    lab.configure(Role::Client, "n", X25519);
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("n"));
    let (query, _) = lab.asked(channel);
    lab.done(channel, query);
    // The IPCP is asked once there is a request, and gets its end with it.
    assert_eq!(lab.fake.work.len(), 1);
    assert!(lab.fake.flows.is_empty());
    assert!(!lab.fake.sent.iter().any(|(to, ..)| *to == channel));
    lab.work();
    let (id, request) = match lab.asked(channel) {
        (id, Body::IpcpFlowAlloc(request)) => (id, request),
        other => panic!("{other:?}"),
    };
    lab.done(channel, id);
    assert!(request.piggyback.len() >= 80);
    let ipcp_end = request.end.clone().unwrap();
    let server = grant(&mut lab, channel, &request, |_| ());
    assert!(lab.answer(client, alloc).is_none());
    // Whatever else the layer says meanwhile changes nothing.
    let again = request_again(&lab, &request);
    grant(&mut lab, channel, &again, |_| ());
    assert_eq!(lab.fake.work.len(), 1);
    lab.work();
    let info = lab.flow(client, alloc);
    assert_protected(&info, &server);
    // The IPCP carries the bytes unread.
    assert_eq!((ipcp_end.secret, ipcp_end.extensions), (None, None));
    lab.call(client, dealloc_body(&info)).unwrap();
    let told = told_of(&mut lab, channel);
    give_back(&mut lab, channel, told);
    lab.end(&[client]);
}

/// Another request for the same flow, which a server would answer.
fn request_again(lab: &Lab, request: &IpcpFlowAlloc) -> IpcpFlowAlloc {
    IpcpFlowAlloc {
        piggyback: lab.far_request("n").0,
        ..request.clone()
    }
}

#[test]
fn a_request_of_a_network_is_checked_before_anybody_hears_of_it() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.network("lan");
    lab.configure(Role::Client, "n", X25519);
    lab.configure(Role::Server, "n", X25519);
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let accept = lab.start(server, accept_body(None));
    let (request, pending) = lab.far_request("n");
    bring(&mut lab, channel, "n", request);
    assert_eq!(lab.fake.work.len(), 1);
    assert!(lab.answer(channel, 77).is_none());
    assert!(lab.answer(server, accept).is_none());
    assert!(lab.fake.flows.is_empty());
    lab.work();
    let Some(Body::FlowId(flow)) = lab.answer(channel, 77) else {
        panic!("no flow id");
    };
    let info = lab.flow(server, accept);
    assert_eq!((info.flow_id, info.peer_pid), (flow.flow_id, pid));
    let (id, granted) = response(&mut lab, channel);
    lab.done(channel, id);
    assert_eq!(granted.flow_id, flow.flow_id);
    let ipcp_end = granted.end.unwrap();
    assert_eq!((ipcp_end.secret, ipcp_end.side), (None, 0));
    let work = Work::Complete {
        pending,
        response: granted.piggyback,
    };
    match lab.fake.engine.run(work) {
        Ok(Outcome::Completed(client)) => assert_protected(&info, &client),
        other => panic!("{other:?}"),
    }
    lab.call(server, dealloc_body(&info)).unwrap();
    let told = told_of(&mut lab, channel);
    give_back(&mut lab, channel, told);
    lab.end(&[server]);
}

#[test]
fn a_request_that_is_refused_is_the_answer_to_the_ipcp_and_nothing_else() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let accept = lab.start(server, accept_body(None));
    let (clear, _) = lab.far_request("n");
    let (seen, _) = lab.far_request("n");
    lab.far_response("n", seen.clone());
    lab.configure(Role::Server, "n", X25519);
    for (bytes, kind) in [
        (Vec::new(), ErrorKind::Auth),
        (clear[..35].to_vec(), ErrorKind::Auth),
        (seen, ErrorKind::Auth),
        (clear, ErrorKind::Crypt),
    ] {
        bring(&mut lab, channel, "n", bytes);
        lab.work_all();
        let Some(Body::Failure(failure)) = lab.answer(channel, 77) else {
            panic!("a bad request is taken in");
        };
        assert_eq!(failure.errno, kind.errno(), "{}", failure.message);
        assert!(lab.answer(server, accept).is_none());
        assert!(!lab.fake.sent.iter().any(|(to, ..)| *to == channel));
        assert!(lab.core.layer_allocs.is_empty());
        lab.assert_consistent();
    }
    lab.end(&[server]);
}

#[test]
fn strangers_have_a_queue_of_steps_for_each_layer() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    lab.configure(Role::Client, "n", X25519);
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let full = limits::STEPS_RUNNING + limits::STEPS_PER_LAYER;
    for _ in 0..full {
        let (request, _) = lab.far_request("n");
        bring(&mut lab, channel, "n", request);
        assert!(lab.answer(channel, 77).is_none());
    }
    let (request, _) = lab.far_request("n");
    bring(&mut lab, channel, "n", request);
    let Some(Body::Failure(failure)) = lab.answer(channel, 77) else {
        panic!("no refusal");
    };
    assert_eq!(failure.errno, ErrorKind::Busy.errno());
    lab.work_all();
    for _ in 0..full {
        assert!(matches!(lab.answer(channel, 77), Some(Body::FlowId(_))));
    }
}

#[test]
fn a_response_that_is_refused_ends_the_end_of_the_ipcp() {
    for at in [0, 24, 100] {
        let mut lab = Lab::new();
        let (_, channel) = lab.network("lan");
        lab.configure(Role::Client, "n", X25519);
        let client = lab.process(11, "c");
        let alloc = lab.start(client, alloc_body("n"));
        let (request, _) = asked_for(&mut lab, channel);
        grant(&mut lab, channel, &request, |bytes| bytes[at] ^= 1);
        lab.work_all();
        let error = lab.outcome(client, alloc).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Auth | ErrorKind::Crypt),
            "{error}"
        );
        assert_eq!(lab.fake.gone_ends, [(request.flow_id, Side::A)]);
        let told = told_of(&mut lab, channel);
        assert_eq!((told.flow_id, told.side), (request.flow_id, 1));
        give_back(&mut lab, channel, told);
        assert!(lab.core.flows.is_empty());
        lab.end(&[client]);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Cancel,
    Die,
    TimeOut,
    /// The IPCP dies.
    Layer,
    /// The IPCP gives its end back.
    GivenBack,
}

#[test]
fn an_allocation_over_a_network_may_end_while_a_worker_is_busy() {
    for completing in [false, true] {
        for how in [
            How::Cancel,
            How::Die,
            How::TimeOut,
            How::Layer,
            How::GivenBack,
        ] {
            if how == How::GivenBack && !completing {
                continue;
            }
            let mut lab = Lab::new();
            let (pid, channel) = lab.network("lan");
            lab.configure(Role::Client, "n", X25519);
            let client = lab.process(11, "c");
            let further = lab.further(11);
            let alloc = lab.start(further, alloc_body("n"));
            if completing {
                let (request, _) = asked_for(&mut lab, channel);
                grant(&mut lab, channel, &request, |_| ());
            } else {
                let (query, _) = lab.asked(channel);
                lab.done(channel, query);
            }
            assert_eq!(lab.fake.work.len(), 1);
            match how {
                How::Cancel => {
                    lab.send(further, 0, Body::Cancel(Cancel { id: alloc }));
                    assert_eq!(lab.failure(further, alloc), ErrorKind::Interrupted);
                }
                How::Die => lab.core.process_exited(&mut lab.fake, 11, 11),
                How::TimeOut => {
                    lab.advance(limits::ALLOC + Duration::from_secs(1));
                    let error = lab.outcome(further, alloc).unwrap_err();
                    assert!(error.to_string().contains("key exchange"), "{error}");
                }
                How::Layer => {
                    lab.child_exited(pid);
                    assert_eq!(lab.failure(further, alloc), ErrorKind::Ipcp);
                }
                How::GivenBack => {
                    let flow_id = *lab.fake.flows.first().unwrap();
                    let back = FlowEnd {
                        flow_id,
                        side: 1,
                        ..FlowEnd::default()
                    };
                    give_back(&mut lab, channel, back);
                }
            }
            lab.assert_consistent();
            lab.work_all();
            lab.assert_consistent();
            match how {
                // What the server wrote before it went can be read.
                How::GivenBack => {
                    let info = lab.flow(further, alloc);
                    lab.call(client, dealloc_body(&info)).unwrap();
                }
                How::Layer => {}
                _ if completing => {
                    let told = told_of(&mut lab, channel);
                    give_back(&mut lab, channel, told);
                }
                _ => assert!(!lab.fake.sent.iter().any(|(to, ..)| *to == channel)),
            }
            assert!(lab.fake.flows.is_empty(), "{how:?} {completing}");
            lab.end(&[client, further]);
        }
    }
}

#[test]
fn a_request_of_a_network_may_end_while_a_worker_is_busy() {
    for how in 0..4 {
        let mut lab = Lab::new();
        let (pid, channel) = lab.network("lan");
        lab.configure(Role::Client, "n", X25519);
        let server = lab.process(10, "s");
        lab.bind(server, 10, "n");
        let accept = lab.start(server, accept_body(None));
        let (request, _) = lab.far_request("n");
        bring(&mut lab, channel, "n", request);
        assert_eq!(lab.fake.work.len(), 1);
        match how {
            0 => lab.child_exited(pid),
            1 => lab.core.process_exited(&mut lab.fake, 10, 10),
            2 => lab.advance(limits::ALLOC),
            _ => {
                let name = "n".to_owned();
                lab.call(server, Body::DestroyName(NameRef { name }))
                    .unwrap();
            }
        }
        lab.assert_consistent();
        lab.work_all();
        lab.assert_consistent();
        let answer = lab.answer(channel, 77);
        let errno = match &answer {
            Some(Body::Failure(failure)) => Some(failure.errno),
            _ => None,
        };
        match how {
            0 => assert!(lab.core.ipcps.is_empty()),
            // It was good, but nobody is left who could accept it.
            1 => {
                assert!(matches!(answer, Some(Body::FlowId(_))), "{answer:?}");
                let (_, refused) = response(&mut lab, channel);
                assert!(refused.refusal.is_some() && refused.end.is_none());
            }
            2 => assert_eq!(errno, Some(ErrorKind::TimedOut.errno())),
            _ => assert_eq!(errno, Some(ErrorKind::Name.errno())),
        }
        if how != 1 {
            assert!(lab.answer(server, accept).is_none());
        }
        assert!(lab.fake.flows.is_empty());
        lab.end(&[server]);
    }
}
