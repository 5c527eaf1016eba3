//! Single rules of the layers on Ethernet and UDP: endpoints, sizes, links, commands. Defects are rows of
//! `spec/reference-defects.md`, traps those of `spec/shims.md` §13.

mod shim_rig;

use std::{net::SocketAddr, time::Duration};

use o7s_proto::shim::{
    Address, Arrived, CommandError, Discard, DownReason, Event, FlowKey, Foreign, QueryError,
    QueryKey, RequestKey, host_name,
};
use o7s_wire::{hash::NameHash, qos::QosSpec};
use shim_rig::{
    KINDS, Kind, MS, Manner, Net, Outcome, S,
    messages::{frame, give, node, reply, request, source},
    socket,
};

/// Defect 9: an endpoint rests after its flow. Trap 6: 62 SAPs, no more.
#[test]
fn endpoints_rest_and_run_out() {
    let mut net = Net::new(Kind::Llc, 2, 5);
    net.register(1, "oping");
    for flow in 0..62 {
        net.alloc(0, flow, "oping");
    }
    net.run(S);
    let granted = |net: &Net, flow| matches!(net.outcome(0, flow), Some((_, Outcome::Granted(_))));
    assert!((0..62).all(|flow| granted(&net, flow)));
    let saps: Vec<_> = (0..62)
        .map(|flow| net.nodes[0].path(FlowKey(flow)).expect("up").local)
        .collect();
    assert_eq!(saps, (2..=63).collect::<Vec<_>>());
    let alloc = |net: &mut Net, flow| {
        let (now, hash) = (net.now, Kind::Llc.hash("oping"));
        let shim = &mut net.nodes[0].shim;
        shim.alloc(now, FlowKey(flow), hash, QosSpec::RAW, b"oap")
    };
    assert_eq!(alloc(&mut net, 100), Err(CommandError::NoEndpoint(62)));
    let now = net.now;
    net.nodes[0]
        .shim
        .dealloc(now, FlowKey(7), Duration::ZERO)
        .expect("it is up");
    // Not at once; after a moment it must do. The acceptor has none and says so.
    assert_eq!(alloc(&mut net, 100), Err(CommandError::NoEndpoint(62)));
    net.run(S);
    net.start = net.now;
    assert_eq!(alloc(&mut net, 100), Ok(()));
    net.run(S);
    let refused = Outcome::Refused(o7s_proto::shim::Refusal::Peer(-28));
    assert_eq!(net.outcome(0, 100), Some((MS * 2, refused)));
}

/// Trap 9 and 21, defect 14: what does not fit is refused here, and leaves nothing.
#[test]
fn large_piggybacks() {
    for (kind, in_request, in_reply) in [
        (Kind::Dix, 1425, 1457),
        (Kind::Llc, 1428, 1460),
        (Kind::Udp, 1985, 2001),
    ] {
        let mut net = Net::new(kind, 2, 6);
        net.register(1, "oping");
        let (now, hash) = (net.now, kind.hash("oping"));
        let large = vec![7; 10_000];
        let shim = &mut net.nodes[0].shim;
        let mut alloc = |len: usize| {
            shim.alloc(
                now,
                FlowKey(len as u64),
                hash.clone(),
                QosSpec::RAW,
                &large[..len],
            )
        };
        assert!(
            matches!(alloc(in_request + 1), Err(CommandError::TooLarge { .. })),
            "{kind:?}"
        );
        assert_eq!(alloc(in_request), Ok(()));
        net.nodes[1].manner = Manner::Wait;
        net.run(S);
        let now = net.now;
        let requests = net.nodes[1].requests.clone();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].3.len(), in_request);
        let shim = &mut net.nodes[1].shim;
        let answer = shim.respond(now, requests[0].0, Ok(FlowKey(1)), &large[..=in_reply]);
        assert!(matches!(answer, Err(CommandError::TooLarge { .. })));
        net.run(S);
        let refused = Outcome::Refused(o7s_proto::shim::Refusal::Peer(-90));
        assert_eq!(
            net.outcome(0, in_request as u64)
                .map(|(_, outcome)| outcome),
            Some(refused)
        );
        assert_eq!(net.nodes[1].shim.stats().endpoints, 0);
        net.alloc(0, 5, "oping");
        net.run(S);
        let now = net.now;
        let request = net.nodes[1].requests[1].0;
        let shim = &mut net.nodes[1].shim;
        shim.respond(now, request, Ok(FlowKey(2)), &large[..in_reply])
            .expect("it fits");
        net.run(S);
        assert!(matches!(net.outcome(0, 5), Some((_, Outcome::Granted(_)))));
        let longest = net.log.iter().map(|(.., frame)| frame.len()).max();
        let most = if kind == Kind::Udp { 2048 } else { 1514 };
        assert_eq!(longest, Some(most));
    }
}

#[test]
fn sizes_follow_the_mtu() {
    for (kind, mtu, payload) in [
        (Kind::Dix, 9000, 8996),
        (Kind::Dix, 100_000, 65_531),
        (Kind::Llc, 9000, 1497),
        (Kind::Llc, 576, 573),
        (Kind::Udp, 8952, 8948),
        (Kind::Dix, 3, 0),
    ] {
        let (mut node, _) = node(kind, |_| {});
        node.shim.set_mtu(mtu);
        assert_eq!(node.shim.max_payload(), payload);
        let event = node.shim.poll_event();
        let changed = payload != 1497 || kind != Kind::Llc;
        assert_eq!(
            event,
            changed.then_some(Event::MaxPayload { bytes: payload })
        );
    }
}

#[test]
fn a_link_that_is_down() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 8);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        net.run(S);
        let (now, hash) = (net.now, kind.hash("oping"));
        let shim = &mut net.nodes[0].shim;
        shim.set_link(false);
        shim.set_link(false);
        assert_eq!(shim.poll_event(), Some(Event::Link { up: false }));
        assert_eq!(shim.poll_event(), None);
        let result = shim.alloc(now, FlowKey(2), hash.clone(), QosSpec::RAW, b"oap");
        assert_eq!(result, Err(CommandError::LinkDown));
        shim.query(now, QueryKey(1), kind.hash("other"), S);
        let expected = Event::QueryResult {
            query: QueryKey(1),
            result: Err(QueryError::LinkDown),
        };
        assert_eq!(shim.poll_event(), Some(expected));
        let result = give(&mut net.nodes[0], kind, now, &request(70, &hash, b"oap"));
        assert_eq!(result, Err(Discard::LinkDown));
        // The flow survives.
        net.nodes[0].shim.set_link(true);
        net.run(S);
        assert!(net.other_end(0, 1).is_some());
        net.alloc(0, 2, "oping");
        net.run(S);
        assert!(net.other_end(0, 2).is_some());
    }
}

/// A single IPCP on the loopback device has both ends of a flow (`spec/shims.md` §5.1.4).
#[test]
fn both_ends_in_one_ipcp() {
    for kind in KINDS {
        let mut net = Net::new(kind, 1, 9);
        net.register(0, "oping");
        let now = net.now;
        let hash = kind.hash("oping");
        let shim = &mut net.nodes[0].shim;
        shim.alloc(now, FlowKey(1), hash, QosSpec::RAW, b"oap")
            .expect("it starts");
        // The driver hears what it sends.
        for _ in 0..10 {
            net.nodes[0].after(now);
            for hash in std::mem::take(&mut net.nodes[0].resolves) {
                let own = [kind.address(0)];
                net.nodes[0].shim.resolved(now, &hash, &own);
            }
            for (_, frame) in net.nodes[0].sent() {
                net.nodes[0].receive(now, &frame, source(kind, 0));
            }
        }
        assert_eq!(net.nodes[0].flows().len(), 2, "{kind:?}");
        let (to, frame) = net.nodes[0].packet(FlowKey(1), b"hello");
        assert_eq!(to, kind.address(0));
        net.nodes[0].receive(now, &frame, source(kind, 0));
        assert_eq!(net.nodes[0].received.len(), 1);
        assert_ne!(net.nodes[0].received[0].0, FlowKey(1));
    }
}

/// Defect 9: a peer that uses its endpoint for another flow has left the old one.
#[test]
fn a_peer_that_left_is_noticed() {
    for kind in KINDS {
        let (mut node, now) = node(kind, |_| {});
        let hash = kind.hash("oping");
        for (flow, oap) in [(1, b"oap 1"), (2, b"oap 2")] {
            assert_eq!(give(&mut node, kind, now, &request(9, &hash, oap)), Ok(()));
            let request = node.requests.last().expect("it arrived").0;
            node.shim
                .respond(now, request, Ok(FlowKey(flow)), b"")
                .expect("it waits");
            node.after(now);
        }
        assert_eq!(node.downs, [(FlowKey(1), DownReason::PeerLeft)], "{kind:?}");
        assert_eq!(node.flows().into_iter().collect::<Vec<_>>(), [FlowKey(2)]);
    }
}

/// Trap 20: scope and flow label differ between what is resolved and what the socket says.
#[test]
fn trap_20_link_local_addresses() {
    let (mut node, now) = node(Kind::Udp, |config| config.random_eids = false);
    let address =
        |scope| std::net::SocketAddrV6::new("fe80::1".parse().expect("an address"), 3435, 0, scope);
    let hash = Kind::Udp.hash("far");
    node.shim
        .alloc(now, FlowKey(1), hash.clone(), QosSpec::RAW, b"oap")
        .expect("it starts");
    node.after(now);
    assert_eq!(node.resolves, std::slice::from_ref(&hash));
    let resolved = [Address::Udp(address(3).into())];
    node.shim.resolved(now, &hash, &resolved);
    node.after(now);
    let (to, _) = node.sent().remove(0);
    let Address::Udp(SocketAddr::V6(to)) = to else {
        panic!("{to}");
    };
    assert_eq!(to.scope_id(), 3);
    let answer = frame(Kind::Udp, 1, 0, &reply(64, 70, 0));
    let from = Some(address(0).into());
    assert_eq!(node.shim.handle_frame(now, &answer, from), Ok(()));
    let other = SocketAddr::from((*to.ip(), 3436));
    assert_ne!(Address::Udp(other), Address::Udp(to.into()));
    assert_eq!(
        host_name(&Kind::Udp.hash("oping")),
        "7862c6fec5ecaef4aa2e3934725e23b3"
    );
}

#[test]
fn allocations_can_be_given_up() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 12);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        let now = net.now;
        net.nodes[0]
            .shim
            .dealloc(now, FlowKey(1), S)
            .expect("it is under way");
        net.run(S * 30);
        assert_eq!(net.outcome(0, 1), None, "{kind:?}");
        assert_eq!(net.nodes[0].downs, []);
        let stats = net.nodes[0].shim.stats();
        assert_eq!((stats.flows, stats.endpoints, stats.queries), (0, 0, 0));
        let result = net.nodes[0].shim.dealloc(now, FlowKey(1), S);
        assert_eq!(result, Err(CommandError::NoFlow(FlowKey(1))));
    }
}

#[test]
fn commands_that_make_no_sense() {
    let (mut node, now) = node(Kind::Dix, |_| {});
    let short = NameHash::from_bytes(&[1; 28]);
    let (need, got) = (32, 28);
    let wrong = Err(CommandError::HashLen { need, got });
    assert_eq!(node.shim.register(short.clone()), wrong);
    let result = node
        .shim
        .alloc(now, FlowKey(1), short.clone(), QosSpec::RAW, b"");
    assert_eq!(result, wrong);
    node.shim.query(now, QueryKey(1), short, S);
    node.after(now);
    assert_eq!(
        node.queries[&QueryKey(1)].1,
        Err(QueryError::HashLen { need, got })
    );
    let none = RequestKey(1);
    let result = node.shim.respond(now, none, Err(-1), b"");
    assert_eq!(result, Err(CommandError::NoRequest(none)));
    let hash = Kind::Dix.hash("far");
    let shim = &mut node.shim;
    assert_eq!(
        shim.alloc(now, FlowKey(1), hash.clone(), QosSpec::RAW, b""),
        Ok(())
    );
    let twice = shim.alloc(now, FlowKey(1), hash, QosSpec::RAW, b"");
    assert_eq!(twice, Err(CommandError::FlowExists(FlowKey(1))));
    assert_eq!(shim.poll_timeout().map(|at| at <= now + S), Some(true));
}

/// Trap 24, and the fast path: what a frame is depends on the format alone.
#[test]
fn the_fast_path_needs_no_machine() {
    let format = Kind::Udp.config(0).format;
    assert_eq!(format.classify(&[0; 8], None), Err(Foreign::Source));
    let Ok(Arrived::Data(data)) = format.classify(&[0, 0, 0, 7, 1], Some(socket(1))) else {
        panic!("no packet");
    };
    assert_eq!((data.eid, data.payload), (7, 4..5));
    let dix = Kind::Dix.config(0).format;
    assert_eq!(
        dix.classify(&[0; 60], Some(socket(1))),
        Err(Foreign::Source)
    );
}
