//! Matching requests with acceptors, and the ends of flows.

use std::{collections::BTreeSet, time::Duration};

use o7s::{
    ErrorKind, QosSpec,
    control::{Balance, Body, FlowAlloc, FlowEnd, FlowJoin},
};

use crate::core::{Side, lab::*, limits};

#[test]
fn a_hundred_requests_at_once_are_all_served() {
    for accept_first in [true, false] {
        let mut lab = Lab::new();
        let server = lab.process(1000, "server");
        lab.bind(server, 1000, "n");
        let clients: Vec<_> = (0..100).map(|pid| lab.process(pid + 1, "c")).collect();
        let mut accepts = Vec::new();
        let mut allocs = Vec::new();
        for phase in [accept_first, !accept_first] {
            if phase {
                accepts = (0..100)
                    .map(|_| lab.start(server, accept_body(None)))
                    .collect();
            } else {
                allocs = clients
                    .iter()
                    .map(|client| lab.start(*client, alloc_body("n")))
                    .collect();
            }
        }
        let mut ids = BTreeSet::new();
        for (client, id) in clients.iter().zip(allocs) {
            assert!(ids.insert(lab.flow(*client, id).flow_id));
        }
        for accept in accepts {
            let info = lab.flow(server, accept);
            assert!(ids.remove(&info.flow_id));
            assert_eq!(info.side, 1);
        }
        assert!(ids.is_empty());
        assert_eq!(lab.core.bells.len(), 100);
        lab.assert_consistent();
    }
}

#[test]
fn requests_are_served_in_their_order() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    lab.bind(server, 10, "n");
    lab.bind(server, 10, "m");
    let client = lab.process(11, "client");
    let allocs: Vec<_> = ["n", "m", "n", "m"]
        .into_iter()
        .map(|name| lab.start(client, alloc_body(name)))
        .collect();
    for alloc in allocs {
        let accept = lab.start(server, accept_body(None));
        let there = lab.flow(server, accept);
        let here = lab.flow(client, alloc);
        assert_eq!(here.flow_id, there.flow_id);
    }
}

/// The pids that serve four requests when 10 and 11 accept in turn.
fn served(balance: Balance) -> Vec<i32> {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, name_body("n", balance)).unwrap();
    let servers = [lab.process(10, "s"), lab.process(11, "s")];
    for (server, pid) in servers.into_iter().zip([10, 11]) {
        lab.bind(server, pid, "n");
    }
    for _ in 0..2 {
        for server in servers {
            lab.start(server, accept_body(None));
        }
    }
    let client = lab.process(12, "c");
    (0..4)
        .map(|_| {
            let alloc = lab.start(client, alloc_body("n"));
            lab.flow(client, alloc).peer_pid
        })
        .collect()
}

#[test]
fn balance_policies() {
    assert_eq!(served(Balance::RoundRobin), [10, 11, 10, 11]);
    assert_eq!(served(Balance::Spill), [11, 10, 11, 10]);
}

#[test]
fn time_limits() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "client");

    let limited = lab.start(client, alloc_within("n", Some(Duration::from_millis(5))));
    let plain = lab.start(client, alloc_body("n"));
    let endless = lab.start(
        client,
        alloc_within("n", Some(Duration::from_nanos(u64::MAX))),
    );
    lab.advance(Duration::from_millis(5));
    let error = lab.outcome(client, limited).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("within 5ms"), "{error}");
    lab.advance(limits::ALLOC - Duration::from_millis(6));
    assert!(lab.answer(client, plain).is_none());
    lab.advance(Duration::from_millis(1));
    assert_eq!(lab.failure(client, plain), ErrorKind::TimedOut);
    lab.advance(Duration::from_secs(1_000_000));

    let polled = lab.call(server, accept_body(Some(Duration::ZERO)));
    assert!(matches!(polled, Ok(Body::Flow(_))));
    lab.flow(client, endless);
    let polled = lab.call(server, accept_body(Some(Duration::ZERO)));
    assert_eq!(polled.unwrap_err().kind(), ErrorKind::TimedOut);
    let accept = lab.start(server, accept_body(Some(Duration::from_secs(1))));
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.failure(server, accept), ErrorKind::TimedOut);
}

#[test]
fn names_that_nobody_serves() {
    let mut lab = Lab::new();
    let client = lab.process(11, "client");
    let error = lab.call(client, alloc_body("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
    assert!(error.to_string().contains("in no layer"), "{error}");

    lab.call(client, name_body("x", Balance::Spill)).unwrap();
    let error = lab.call(client, alloc_body("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("irm bind program"), "{error}");

    // A program that may be started by hand is waited for.
    lab.call(client, program_body("/bin/srv", "x", false))
        .unwrap();
    let alloc = lab.start(client, alloc_body("x"));
    assert!(lab.answer(client, alloc).is_none());
    let server = lab.process(10, "srv");
    let accept = lab.start(server, accept_body(None));
    lab.flow(client, alloc);
    lab.flow(server, accept);
}

#[test]
fn what_this_version_lacks_is_refused() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    lab.bind(server, 10, "n");
    lab.start(server, accept_body(None));
    let ordered = QosSpec {
        in_order: 1,
        ..QosSpec::RAW
    };
    let encrypted = QosSpec {
        cypher_s: 256,
        ..QosSpec::RAW
    };
    for qos in [ordered, encrypted] {
        let alloc = Body::FlowAlloc(FlowAlloc {
            dst: "n".to_owned(),
            qos: qos.into(),
            timeout_ns: None,
            kex: String::new(),
        });
        let error = lab.call(server, alloc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert!(error.to_string().contains("not available yet"), "{error}");
    }
    let mut absurd: o7s::control::Qos = QosSpec::RAW.into();
    absurd.in_order = 256;
    let alloc = Body::FlowAlloc(FlowAlloc {
        dst: "n".to_owned(),
        qos: absurd,
        timeout_ns: None,
        kex: String::new(),
    });
    assert_eq!(
        lab.call(server, alloc).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    let join = Body::FlowJoin(FlowJoin {
        layer: "b".to_owned(),
        timeout_ns: None,
    });
    let error = lab.call(server, join).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("no broadcast layer"), "{error}");
}

#[test]
fn an_acceptor_that_is_gone_does_not_lose_the_request() {
    let mut lab = Lab::new();
    let first = lab.process(10, "s");
    let second = lab.process(11, "s");
    for (conn, pid) in [(first, 10), (second, 11)] {
        lab.bind(conn, pid, "n");
    }
    let client = lab.process(12, "c");
    lab.start(second, accept_body(None));
    // Spill: the last is asked first, and its connection is broken.
    lab.start(first, accept_body(None));
    lab.fake.broken.insert(first);
    let alloc = lab.start(client, alloc_body("n"));
    assert_eq!(lab.flow(client, alloc).peer_pid, 11);
    lab.assert_consistent();

    // With nobody else it waits for the next.
    lab.start(first, accept_body(None));
    let alloc = lab.start(client, alloc_body("n"));
    assert!(lab.answer(client, alloc).is_none());
    let accept = lab.start(second, accept_body(None));
    lab.flow(second, accept);
    lab.flow(client, alloc);
    lab.assert_consistent();
}

#[test]
fn a_client_that_is_gone_leaves_an_ended_flow() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("n"));
    lab.fake.broken.insert(client);
    let accept = lab.start(server, accept_body(None));
    let info = lab.flow(server, accept);
    assert_eq!(lab.fake.gone_ends, [(info.flow_id, Side::A)]);
    assert_eq!(lab.notices(server).len(), 1);
    lab.call(server, dealloc_body(&info)).unwrap();
    assert!(lab.core.flows.is_empty());
}

#[test]
fn an_end_that_was_never_read_is_taken_back() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    let thread = lab.further(10);
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    let accept = lab.start(thread, accept_body(None));
    let alloc = lab.start(client, alloc_body("n"));
    let there = lab.flow(thread, accept);
    let here = lab.flow(client, alloc);
    let unread = [(there.flow_id, Side::B)];
    lab.core.disconnected(&mut lab.fake, thread, false, &unread);
    assert_eq!(lab.notices(client).len(), 1);
    // The doorbell may be lost with it: a new one comes with the next flow.
    let accept = lab.start(server, accept_body(None));
    let alloc = lab.start(client, alloc_body("n"));
    let next = lab.flow(client, alloc);
    assert!(lab.flow(server, accept).new_bell);
    assert_ne!(next.bell_id, here.bell_id);
    lab.call(client, dealloc_body(&here)).unwrap();
    assert_eq!(lab.core.flows.len(), 1);
    assert_eq!(lab.core.bells.len(), 1);
}

#[test]
fn no_descriptors_fails_the_request_and_nothing_else() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let accept = lab.start(server, accept_body(None));
    let client = lab.process(11, "c");
    lab.fake.no_descriptors = true;
    let error = lab.call(client, alloc_body("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDescriptors);
    assert!(lab.answer(server, accept).is_none());
    lab.assert_consistent();
    lab.fake.no_descriptors = false;
    let alloc = lab.start(client, alloc_body("n"));
    lab.flow(client, alloc);
    lab.flow(server, accept);
}

#[test]
fn ends_belong_to_their_process() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    let other = lab.process(12, "o");
    let accept = lab.start(server, accept_body(None));
    let alloc = lab.start(client, alloc_body("n"));
    let (a, b) = (lab.flow(client, alloc), lab.flow(server, accept));
    let error = lab.call(other, dealloc_body(&a)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    let error = lab.call(client, dealloc_body(&b)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    lab.call(client, dealloc_body(&a)).unwrap();
    let twice = lab.call(client, dealloc_body(&a)).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NotAllocated);
    for (flow_id, side) in [(9_999, 0), (b.flow_id, 2)] {
        let end = FlowEnd {
            flow_id,
            side,
            ..FlowEnd::default()
        };
        let error = lab.call(server, Body::FlowDealloc(end)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAllocated);
    }
    lab.call(server, dealloc_body(&b)).unwrap();
    lab.assert_consistent();
    assert!(lab.core.flows.is_empty());
}

#[test]
fn doorbells_and_slots() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    lab.bind(client, 11, "back");
    let pair = |lab: &mut Lab, from, to, name: &str| {
        let accept = lab.start(to, accept_body(None));
        let alloc = lab.start(from, alloc_body(name));
        (lab.flow(from, alloc), lab.flow(to, accept))
    };
    let (a1, b1) = pair(&mut lab, client, server, "n");
    assert!(a1.new_bell && b1.new_bell);
    assert_eq!((a1.bell_side, b1.bell_side), (0, 1));
    // Asking again shows that the doorbell arrived.
    let (a2, b2) = pair(&mut lab, client, server, "n");
    assert!(!a2.new_bell && !b2.new_bell);
    assert_eq!(a2.bell_id, a1.bell_id);
    assert_eq!(lab.fake.bells[&a1.bell_id], [false; 2]);
    assert_ne!(a2.bell_slot, a1.bell_slot);
    // The other way round it is the same doorbell.
    let (a3, b3) = pair(&mut lab, server, client, "back");
    assert_eq!((a3.bell_id, a3.bell_side, b3.bell_side), (a1.bell_id, 1, 0));
    // A slot is free when both ends are.
    lab.call(client, dealloc_body(&a1)).unwrap();
    let (a4, _) = pair(&mut lab, client, server, "n");
    assert_ne!(a4.bell_slot, a1.bell_slot);
    lab.call(server, dealloc_body(&b1)).unwrap();
    let (a5, _) = pair(&mut lab, client, server, "n");
    assert_eq!(a5.bell_slot, a1.bell_slot);
    // A client without descriptors lost it.
    let lost = FlowEnd {
        flow_id: a2.flow_id,
        side: 0,
        linger_s: 0,
        bell_lost: true,
    };
    lab.call(client, Body::FlowDealloc(lost)).unwrap();
    let (a6, b6) = pair(&mut lab, client, server, "n");
    assert!(a6.new_bell && b6.new_bell);
    assert_ne!(a6.bell_id, a1.bell_id);
    assert_eq!(lab.core.bells.len(), 2);
    lab.assert_consistent();
    let _ = b2;
}

#[test]
fn a_queue_has_an_end() {
    let mut lab = Lab::new();
    let server = lab.process(10, "s");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "c");
    for _ in 0..limits::QUEUE_PER_NAME {
        let id = lab.start(client, alloc_body("n"));
        assert!(lab.answer(client, id).is_none());
    }
    let error = lab.call(client, alloc_body("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("too many"), "{error}");
}
