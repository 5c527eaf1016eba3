//! Flows that end in an IPCP: allocation both ways, and every order in which the ends go.

use o7s::{
    ErrorKind, QosSpec,
    control::{Body, Failure, FlowEnd, FlowInfo, FlowReqArr, FlowResponse, IpcpFlowAlloc},
};

use crate::core::{ConnId, Side, lab::*, limits};

/// The layer says that it reaches the destination, and gets the request with its end.
pub(super) fn asked_for(lab: &mut Lab, channel: ConnId) -> (IpcpFlowAlloc, FlowInfo) {
    let request = lab.reached(channel);
    let end = request.end.clone().unwrap();
    assert_eq!((end.flow_id, end.side), (request.flow_id, 1));
    (request, end)
}

/// The layer grants a flow to "far".
fn grant(lab: &mut Lab, channel: ConnId, request: &IpcpFlowAlloc) {
    let (piggyback, _) = lab.far_response("far", request.piggyback.clone());
    let reply = FlowResponse {
        flow_id: request.flow_id,
        mpl_ms: 60,
        max_packet: 1400,
        piggyback,
        ..FlowResponse::default()
    };
    lab.send(channel, 0, Body::FlowAllocReply(reply));
}

/// A flow of a client over the network, granted.
fn granted(lab: &mut Lab, client: ConnId, channel: ConnId) -> FlowInfo {
    let alloc = lab.start(client, alloc_body("far"));
    let (request, _) = asked_for(lab, channel);
    grant(lab, channel, &request);
    lab.flow(client, alloc)
}

/// A request comes in from the network, as message 77.
pub(super) fn bring(lab: &mut Lab, channel: ConnId, name: &str, piggyback: Vec<u8>) {
    let arrived = FlowReqArr {
        hash: hash(name),
        qos: QosSpec::RAW.into(),
        mpl_ms: 60,
        piggyback,
        local_flow_id: None,
        max_packet: 1400,
    };
    lab.send(channel, 77, Body::FlowReqArr(arrived));
}

/// A request comes in from the network: its flow id, or why not.
fn arrive(lab: &mut Lab, channel: ConnId, name: &str) -> Result<u64, ErrorKind> {
    let (request, _) = lab.far_request(name);
    bring(lab, channel, name, request);
    match lab.answer(channel, 77).unwrap() {
        Body::FlowId(flow) => Ok(flow.flow_id),
        Body::Failure(failure) => Err(o7s::Error::from(failure).kind()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn response(lab: &mut Lab, channel: ConnId) -> (u64, FlowResponse) {
    match lab.asked(channel) {
        (id, Body::IpcpFlowAllocResp(response)) => (id, response),
        other => panic!("{other:?}"),
    }
}

/// The IPCP is told that the other end is over.
pub(super) fn told_of(lab: &mut Lab, channel: ConnId) -> FlowEnd {
    match lab.asked(channel) {
        (id, Body::IpcpFlowDealloc(end)) => {
            lab.done(channel, id);
            end
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn give_back(lab: &mut Lab, channel: ConnId, end: FlowEnd) {
    lab.send(channel, 0, Body::FlowDealloc(end));
}

fn ipcp_end(info: &FlowInfo) -> FlowEnd {
    FlowEnd {
        flow_id: info.flow_id,
        side: 1 - info.side,
        ..FlowEnd::default()
    }
}

#[test]
fn a_flow_over_a_network_ends_in_the_ipcp() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.network("lan");
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("far"));
    let (request, end) = asked_for(&mut lab, channel);
    assert_eq!(request.hash, hash("far"));
    assert_eq!((end.peer_pid, end.new_bell, end.direct), (11, true, false));
    // The client waits for the layer's word.
    assert!(lab.answer(client, alloc).is_none());
    grant(&mut lab, channel, &request);
    let info = lab.flow(client, alloc);
    assert_eq!((info.side, info.peer_pid, info.direct), (0, pid, false));
    assert_eq!((info.mpl_ms, info.max_packet), (60, 1400));
    assert_eq!((info.bell_id, info.bell_slot), (end.bell_id, end.bell_slot));
    assert_ne!(info.bell_side, end.bell_side);

    // A second flow has the same doorbell, which the IPCP has already.
    let second = lab.start(client, alloc_body("far"));
    let (request, again) = asked_for(&mut lab, channel);
    assert!(!again.new_bell && again.bell_id == end.bell_id);
    grant(&mut lab, channel, &request);
    let second = lab.flow(client, second);
    assert_eq!(lab.core.flows.len(), 2);

    // The program goes first, with time to linger; then the IPCP.
    let dealloc = FlowEnd {
        flow_id: info.flow_id,
        side: 0,
        linger_s: 7,
        bell_lost: false,
    };
    lab.call(client, Body::FlowDealloc(dealloc)).unwrap();
    let told = told_of(&mut lab, channel);
    assert_eq!(
        (told.flow_id, told.side, told.linger_s),
        (info.flow_id, 1, 7)
    );
    assert_eq!(lab.core.flows.len(), 2);
    give_back(&mut lab, channel, told);
    assert_eq!(lab.core.flows.len(), 1);
    // A second time changes nothing.
    give_back(&mut lab, channel, told);

    // The IPCP goes first; then the program, of which the IPCP need not hear.
    give_back(&mut lab, channel, ipcp_end(&second));
    assert_eq!(
        lab.fake.closed_ends.last(),
        Some(&(second.flow_id, Side::B))
    );
    assert_eq!(lab.notices(client)[0].flow_id, second.flow_id);
    lab.call(client, dealloc_body(&second)).unwrap();
    assert!(lab.core.flows.is_empty());
    assert!(!lab.fake.sent.iter().any(|(to, ..)| *to == channel));
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn a_request_of_the_network_finds_a_server() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.network("lan");
    let server = lab.process(10, "s");
    assert_eq!(arrive(&mut lab, channel, "n"), Err(ErrorKind::Name));
    lab.bind(server, 10, "n");

    // It waits for an accept.
    let flow = arrive(&mut lab, channel, "n").unwrap();
    assert_eq!(lab.core.flows.len(), 0);
    let accept = lab.start(server, accept_body(None));
    let there = lab.flow(server, accept);
    assert_eq!((there.flow_id, there.side, there.peer_pid), (flow, 1, pid));
    assert_eq!(
        (there.mpl_ms, there.max_packet, there.direct),
        (60, 1400, false)
    );
    let (id, granted) = response(&mut lab, channel);
    lab.done(channel, id);
    let end = granted.end.unwrap();
    assert_eq!((end.flow_id, end.side, end.new_bell), (flow, 0, true));
    assert_eq!(granted.refusal, None);
    lab.call(server, dealloc_body(&there)).unwrap();
    let told = told_of(&mut lab, channel);
    assert_eq!((told.flow_id, told.side), (flow, 0));
    give_back(&mut lab, channel, told);

    // Nobody accepts: it is refused in the end, and nothing is left of it.
    let late = arrive(&mut lab, channel, "n").unwrap();
    lab.advance(limits::ALLOC);
    let (_, refused) = response(&mut lab, channel);
    assert_eq!(refused.flow_id, late);
    assert_eq!(refused.refusal.unwrap().errno, ErrorKind::TimedOut.errno());

    // The asker gives up: the queue forgets it.
    let over = arrive(&mut lab, channel, "n").unwrap();
    give_back(
        &mut lab,
        channel,
        FlowEnd {
            flow_id: over,
            ..FlowEnd::default()
        },
    );
    let accept = lab.start(server, accept_body(None));
    assert!(lab.answer(server, accept).is_none());
    lab.disconnect(server);
    lab.assert_empty();
}

#[test]
fn an_ipcp_that_cannot_take_an_accepted_flow_ends_it() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let accept = lab.start(server, accept_body(None));
    let flow = arrive(&mut lab, channel, "n").unwrap();
    let there = lab.flow(server, accept);
    let (id, _) = response(&mut lab, channel);
    lab.refuse(channel, id, ErrorKind::NoDescriptors);
    assert_eq!(lab.fake.closed_ends, [(flow, Side::A)]);
    assert_eq!(lab.notices(server)[0].flow_id, flow);
    // Its doorbell may be lost with it: the next flow has another one.
    let accept = lab.start(server, accept_body(None));
    arrive(&mut lab, channel, "n").unwrap();
    let next = lab.flow(server, accept);
    assert!(next.new_bell && next.bell_id != there.bell_id);
    lab.call(server, dealloc_body(&there)).unwrap();
    assert_eq!(lab.core.flows.len(), 1);
}

#[test]
fn refusals_of_the_network_leave_nothing() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    let client = lab.process(11, "c");
    // At once.
    let alloc = lab.start(client, alloc_body("far"));
    let (query, _) = lab.asked(channel);
    lab.done(channel, query);
    let (id, _) = lab.asked(channel);
    lab.refuse(channel, id, ErrorKind::Invalid);
    assert_eq!(lab.failure(client, alloc), ErrorKind::Invalid);
    // The end that was given up is told to an IPCP that may still hold it; it has refused.
    told_of(&mut lab, channel);
    assert!(lab.core.flows.is_empty());
    // Later.
    let alloc = lab.start(client, alloc_body("far"));
    let (request, _) = asked_for(&mut lab, channel);
    let reply = FlowResponse {
        flow_id: request.flow_id,
        refusal: Some(Failure {
            errno: ErrorKind::Name.errno(),
            message: "unknown there".to_owned(),
        }),
        ..FlowResponse::default()
    };
    lab.send(channel, 0, Body::FlowAllocReply(reply));
    assert_eq!(lab.failure(client, alloc), ErrorKind::Name);
    told_of(&mut lab, channel);
    // No memory for the segment.
    let alloc = lab.start(client, alloc_body("far"));
    let (query, _) = lab.asked(channel);
    lab.fake.no_descriptors = true;
    lab.done(channel, query);
    assert_eq!(lab.failure(client, alloc), ErrorKind::NoDescriptors);
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn a_client_that_gives_up_leaves_the_network() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    let client = lab.process(11, "c");
    for how in 0..3 {
        let thread = lab.further(11);
        let alloc = lab.start(thread, alloc_body("far"));
        let (request, end) = asked_for(&mut lab, channel);
        match how {
            0 => {
                lab.send(thread, 0, Body::Cancel(o7s::control::Cancel { id: alloc }));
                assert_eq!(lab.failure(thread, alloc), ErrorKind::Interrupted);
            }
            1 => {
                lab.advance(limits::ALLOC);
                assert_eq!(lab.failure(thread, alloc), ErrorKind::TimedOut);
            }
            _ => {}
        }
        lab.disconnect(thread);
        let told = told_of(&mut lab, channel);
        assert_eq!((told.flow_id, told.side), (end.flow_id, 1));
        assert_eq!(lab.fake.gone_ends.last(), Some(&(end.flow_id, Side::A)));
        // The layer's late word comes before it gives the end back, and changes nothing.
        grant(&mut lab, channel, &request);
        assert_eq!(lab.core.flows.len(), 1);
        give_back(&mut lab, channel, told);
        assert!(lab.core.flows.is_empty());
    }
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn a_program_that_dies_is_told_to_the_ipcp() {
    let mut lab = Lab::new();
    let (_, channel) = lab.network("lan");
    let client = lab.process(11, "c");
    let info = granted(&mut lab, client, channel);
    lab.core.process_exited(&mut lab.fake, 11, 11);
    assert_eq!(lab.fake.gone_ends, [(info.flow_id, Side::A)]);
    let told = told_of(&mut lab, channel);
    assert_eq!(
        (told.flow_id, told.side, told.linger_s),
        (info.flow_id, 1, 0)
    );
    give_back(&mut lab, channel, told);
    lab.disconnect(client);
    lab.assert_empty();
}

#[test]
fn the_death_of_an_ipcp_takes_its_flows_down() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.network("lan");
    let client = lab.process(11, "c");
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let info = granted(&mut lab, client, channel);
    let closed = granted(&mut lab, client, channel);
    lab.call(client, dealloc_body(&closed)).unwrap();
    let accept = lab.start(server, accept_body(None));
    arrive(&mut lab, channel, "n").unwrap();
    let there = lab.flow(server, accept);
    // One request waits in the queue, and one for the layer.
    arrive(&mut lab, channel, "n").unwrap();
    let waiting = lab.start(client, alloc_body("far"));
    let (query, _) = {
        // Answers to what was sent to the IPCP before are of no interest.
        lab.fake
            .sent
            .retain(|(to, _, body)| *to != channel || matches!(body, Body::IpcpQuery(_)));
        lab.asked(channel)
    };
    lab.done(channel, query);
    lab.child_exited(pid);
    lab.disconnect(channel);
    assert_eq!(lab.failure(client, waiting), ErrorKind::Ipcp);
    let mut down = lab.fake.down_ends.clone();
    down.retain(|(flow, _)| *flow == info.flow_id || *flow == there.flow_id);
    assert_eq!(down, [(info.flow_id, Side::B), (there.flow_id, Side::A)]);
    assert_eq!(lab.notices(client)[0].flow_id, info.flow_id);
    assert_eq!(lab.notices(server)[0].flow_id, there.flow_id);
    assert!(lab.core.layer_allocs.is_empty());
    // The ends of the programs are theirs to give back.
    lab.call(client, dealloc_body(&info)).unwrap();
    lab.call(server, dealloc_body(&there)).unwrap();
    let accept = lab.start(server, accept_body(None));
    assert!(lab.answer(server, accept).is_none());
    for conn in [client, server] {
        lab.disconnect(conn);
    }
    lab.assert_empty();
}

#[test]
fn nobody_gives_back_the_end_of_another() {
    let mut lab = Lab::new();
    let (_, one) = lab.network("one");
    let (_, two) = lab.network("two");
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("far"));
    let (query, _) = lab.asked(two);
    lab.refuse(two, query, ErrorKind::Name);
    let (request, _) = asked_for(&mut lab, one);
    grant(&mut lab, one, &request);
    let info = lab.flow(client, alloc);
    give_back(&mut lab, two, ipcp_end(&info));
    for end in [
        ipcp_end(&info),
        FlowEnd {
            side: 0,
            ..ipcp_end(&info)
        },
    ] {
        let error = lab.call(client, Body::FlowDealloc(FlowEnd { side: 1, ..end }));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Permission);
    }
    give_back(
        &mut lab,
        one,
        FlowEnd {
            side: 0,
            ..ipcp_end(&info)
        },
    );
    assert!(lab.fake.closed_ends.is_empty());
    assert_eq!(lab.core.flows.len(), 1);
}

#[test]
fn a_layer_that_said_yes_and_died_gets_no_flow() {
    let mut lab = Lab::new();
    let (_, slow) = lab.network("slow");
    let (pid, quick) = lab.network("quick");
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("far"));
    let (first, _) = lab.asked(slow);
    let (second, _) = lab.asked(quick);
    lab.done(quick, second);
    lab.child_exited(pid);
    lab.disconnect(quick);
    // Its word still stands when the one before it says no.
    lab.refuse(slow, first, ErrorKind::Name);
    assert_eq!(lab.failure(client, alloc), ErrorKind::Ipcp);
    lab.assert_consistent();
    lab.disconnect(client);
    lab.assert_empty();
}
