//! Machines that talk to each other: in order, and over a network that loses, delays, doubles and reorders.

mod shim_rig;

use std::time::Duration;

use o7s_proto::shim::{Address, DownReason, FlowKey, QueryError, QueryKey, Refusal};
use shim_rig::{Dice, KINDS, Kind, MS, Manner, Net, Outcome, S};

/// Remote allocation costs a round trip for the name and one for the flow, with no fixed wait (defect 16);
/// a second one costs one.
#[test]
fn an_allocation_costs_its_round_trips() {
    for kind in KINDS {
        let mut net = Net::new(kind, 3, 1);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        net.run(S);
        let trips = if kind == Kind::Udp { 2 } else { 4 };
        let granted = Outcome::Granted(b"re:oap of 0/1".to_vec());
        assert_eq!(net.outcome(0, 1), Some((MS * trips, granted)), "{kind:?}");
        let (other, end) = net.other_end(0, 1).expect("both ends");
        assert_eq!(other, 1);
        net.start = net.now;
        net.alloc(0, 2, "oping");
        net.run(S);
        assert_eq!(net.outcome(0, 2).expect("an outcome").0, MS * 2);
        // Packets go both ways, empty ones too.
        for packet in [&b"hello"[..], b""] {
            net.send(0, FlowKey(1), packet);
            net.send(1, end, packet);
        }
        net.run(S);
        let expected = |flow| vec![(flow, b"hello".to_vec()), (flow, Vec::new())];
        assert_eq!(net.nodes[1].received, expected(end));
        assert_eq!(net.nodes[0].received, expected(FlowKey(1)));
        // The third node, which has nothing to do with it, answered nothing and has nothing.
        assert!(net.log.iter().all(|(from, ..)| *from != 2));
        assert_eq!(net.nodes[2].shim.stats().flows, 0);
    }
}

#[test]
fn the_peer_may_send_before_its_reply_arrives() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 2);
        net.register(1, "oping");
        net.query(0, 1, "oping", S);
        net.run(S);
        net.nodes[1].manner = Manner::Wait;
        net.alloc(0, 1, "oping");
        net.run(MS);
        let request = net.nodes[1].requests[0].0;
        let (now, end) = (net.now, FlowKey(9));
        net.nodes[1]
            .shim
            .respond(now, request, Ok(end), b"oap")
            .expect("it waits");
        net.nodes[1].after(now);
        // The packets overtake the reply.
        for number in 0..3 {
            let (_, frame) = net.nodes[1].packet(end, &[number]);
            let from = (kind == Kind::Udp).then(|| shim_rig::socket(1));
            net.nodes[0].receive(now, &frame, from);
        }
        assert_eq!(net.nodes[0].received, []);
        net.run(S);
        let expected: Vec<_> = (0..3).map(|number| (FlowKey(1), vec![number])).collect();
        assert_eq!(net.nodes[0].received, expected, "{kind:?}");
        assert_eq!(net.nodes[0].shim.stats().early_bytes, 0);
    }
}

#[test]
fn refusals_are_told_at_once() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 3);
        net.register(1, "oping");
        net.query(0, 1, "oping", S);
        net.run(S);
        net.start = net.now;
        net.nodes[1].manner = Manner::Refuse(-1009);
        net.alloc(0, 1, "oping");
        net.run(S);
        let refused = Outcome::Refused(Refusal::Peer(-1009));
        assert_eq!(net.outcome(0, 1), Some((MS * 2, refused)), "{kind:?}");
        // Also when the daemon says that nobody there has the name: the layer looks for others, not long.
        net.start = net.now;
        net.nodes[1].manner = Manner::Refuse(-1007);
        net.alloc(0, 3, "oping");
        net.run(S * 5);
        let (after, outcome) = net.outcome(0, 3).expect("an outcome");
        assert_eq!(outcome, Outcome::Refused(Refusal::Peer(-1007)));
        assert!(after < MS * 300, "{after:?}");
        net.query(0, 2, "oping", S);
        net.run(S);
        // A name that has moved away: the old place says no, and the new one is found (trap 23).
        let hash = kind.hash("oping");
        net.nodes[1].shim.unregister(&hash);
        net.start = net.now;
        net.alloc(0, 2, "oping");
        net.run(S * 5);
        let (after, outcome) = net.outcome(0, 2).expect("an outcome");
        assert_eq!(outcome, Outcome::Refused(Refusal::Peer(-1007)));
        assert!(after < S * 3, "{after:?}");
        for node in &net.nodes {
            assert_eq!(
                (node.shim.stats().flows, node.shim.stats().endpoints),
                (0, 0)
            );
        }
    }
}

#[test]
fn a_name_that_moved_is_found_again() {
    for dies in [true, false] {
        let mut net = Net::new(Kind::Dix, 3, 4);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        net.run(S);
        net.nodes[1].shim.unregister(&Kind::Dix.hash("oping"));
        net.register(2, "oping");
        if dies {
            net.dead.insert(1);
        }
        net.start = net.now;
        net.alloc(0, 2, "oping");
        net.run(S * 10);
        let (after, outcome) = net.outcome(0, 2).expect("an outcome");
        assert_eq!(outcome, Outcome::Granted(b"re:oap of 0/2".to_vec()));
        // At once if the old place says no; else after the check of the name.
        assert!(after < if dies { S * 4 } else { MS * 10 }, "{after:?}");
        assert_eq!(net.other_end(0, 2).map(|(node, _)| node), Some(2));
        net.start = net.now;
        net.alloc(0, 3, "oping");
        net.run(S);
        assert_eq!(net.outcome(0, 3).expect("an outcome").0, MS * 2);
    }
}

#[test]
fn all_who_ask_are_answered() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 5);
        net.register(1, "oping");
        for query in 0..20 {
            net.query(0, query, "oping", MS * 200);
        }
        net.query(0, 99, "nobody", MS * 200);
        net.run(S * 5);
        for query in 0..20 {
            let (at, result) = net.nodes[0].queries[&QueryKey(query)];
            assert_eq!(result, Ok(()), "{kind:?}");
            assert!(at - net.start <= MS * 2);
        }
        let (at, result) = net.nodes[0].queries[&QueryKey(99)];
        match kind {
            Kind::Udp => assert_eq!(result, Err(QueryError::NoAddress)),
            _ => {
                assert_eq!(result, Err(QueryError::Silence(MS * 200)));
                assert_eq!(at - net.start, MS * 200);
                // One query for all, and those for nobody at growing distances.
                let asked = net
                    .log
                    .iter()
                    .filter(|(_, to, _)| *to == Address::BROADCAST);
                assert_eq!(asked.count(), 1 + 6);
            }
        }
        assert_eq!(net.nodes[0].shim.stats().queries, 0);
    }
}

#[test]
fn a_late_answer_helps_the_next_one() {
    let mut net = Net::new(Kind::Llc, 2, 6);
    net.register(1, "oping");
    net.delay = MS * 300;
    net.query(0, 1, "oping", MS * 200);
    net.run(S);
    assert!(net.nodes[0].queries[&QueryKey(1)].1.is_err());
    net.query(0, 2, "oping", MS * 200);
    let (at, result) = net.nodes[0].queries[&QueryKey(2)];
    assert_eq!((at, result), (net.now, Ok(())));
}

#[test]
fn a_silent_peer_costs_the_time_of_an_allocation_and_its_place_in_the_directory() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 7);
        net.register(1, "oping");
        net.query(0, 1, "oping", S);
        net.run(S);
        net.dead.insert(1);
        net.start = net.now;
        net.alloc(0, 1, "oping");
        net.run(S * 30);
        let (after, outcome) = net.outcome(0, 1).expect("an outcome");
        assert_eq!(after, S * 21);
        assert_eq!(
            outcome,
            Outcome::Refused(Refusal::Silence { after: S * 21 })
        );
        let stats = net.nodes[0].shim.stats();
        assert_eq!((stats.flows, stats.directory, stats.endpoints), (0, 0, 0));
    }
}

#[test]
fn linger_ends_a_flow_later() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 8);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        net.run(S);
        let (_, end) = net.other_end(0, 1).expect("both ends");
        let now = net.now;
        net.nodes[0]
            .shim
            .dealloc(now, FlowKey(1), S * 3)
            .expect("it is up");
        net.run(S * 2);
        net.send(1, end, b"late");
        net.run(MS * 500);
        assert_eq!(net.nodes[0].received, [(FlowKey(1), b"late".to_vec())]);
        net.run(S);
        assert_eq!(net.nodes[0].downs, [(FlowKey(1), DownReason::Deallocated)]);
        // What still comes reaches nobody (defect 9), and is counted.
        net.send(1, end, b"too late");
        net.alloc(0, 2, "oping");
        net.run(S);
        assert_eq!(net.nodes[0].received.len(), 1);
        assert_eq!(net.nodes[0].shim.stats().discarded.stale_endpoint, 1);
    }
}

/// Every allocation has exactly one outcome; a granted one has two ends that agree, and packets that reach
/// the right flow or none. With peers of ours all succeed in spite of the loss.
#[test]
fn bad_networks() {
    for kind in KINDS {
        for seed in 0..40 {
            bad_network(kind, seed);
        }
    }
}

fn bad_network(kind: Kind, seed: u64) {
    let context = format!("{kind:?} seed {seed}");
    let mut net = Net::new(kind, 3, seed);
    let mut dice = Dice::new(seed * 7 + 3);
    for name in ["a", "b", "c"] {
        let node = dice.below(3) as usize;
        net.register(node, name);
    }
    net.jitter = Duration::from_millis(dice.below(40));
    net.duplicates = dice.below(20);
    for node in &mut net.nodes {
        node.manner = Manner::Accept(Duration::from_millis(dice.below(700)));
    }
    // While it is quiet the nodes learn of each other that they know repeated requests.
    let hosts = |net: &Net, name: &str| net.hosts[&kind.hash(name)][0];
    let mut flows = Vec::new();
    for (phase, loss) in [(0, 0), (1, 30)] {
        net.loss = loss;
        for at in 0..8 {
            let name = ["a", "b", "c"][dice.below(3) as usize];
            let node = dice.below(3) as usize;
            let far = kind.address(node) != hosts(&net, name);
            // Later only to whom it has talked before.
            let known = flows
                .iter()
                .any(|(other, known, _)| (node, name) == (*other, *known));
            if far && (phase == 0 || known) {
                let flow = phase * 100 + at;
                net.alloc(node, flow, name);
                flows.push((node, name, flow));
            }
            net.run(Duration::from_millis(dice.below(300)));
        }
        net.run(S * 30);
    }
    net.loss = 0;
    let mut expected = vec![Vec::new(); 3];
    for (node, _, flow) in &flows {
        let (_, outcome) = net.outcome(*node, *flow).expect(&context);
        let oap = format!("re:oap of {node}/{flow}").into_bytes();
        assert_eq!(outcome, Outcome::Granted(oap), "{context} flow {flow}");
        let (other, end) = net.other_end(*node, *flow).expect(&context);
        net.send(*node, FlowKey(*flow), format!("{node}/{flow}").as_bytes());
        net.send(other, end, format!("back to {node}/{flow}").as_bytes());
        expected[other].push((end, format!("{node}/{flow}").into_bytes()));
        expected[*node].push((
            FlowKey(*flow),
            format!("back to {node}/{flow}").into_bytes(),
        ));
    }
    net.duplicates = 0;
    net.run(S);
    for (node, expected) in net.nodes.iter_mut().zip(&mut expected) {
        node.received.sort();
        node.received.dedup();
        expected.sort();
        assert_eq!(node.received, *expected, "{context}");
        let stats = node.shim.stats();
        assert_eq!(stats.flows, node.flows().len(), "{context}");
        assert_eq!((stats.queries, stats.early_bytes), (0, 0), "{context}");
    }
    // No more flows than allocations: nobody made two of one request.
    let ends: usize = net.nodes.iter().map(|node| node.flows().len()).sum();
    assert_eq!(ends, 2 * flows.len(), "{context}");
}

/// Over UDP nothing is known of a peer before its first answer: with loss from the beginning all allocations
/// succeed too, and nobody makes two flows of one.
#[test]
fn first_requests_over_bad_networks() {
    for seed in 0..60 {
        let context = format!("seed {seed}");
        let mut net = Net::new(Kind::Udp, 3, seed);
        net.register(1, "a");
        net.register(2, "a");
        net.register(2, "b");
        net.loss = 30;
        net.duplicates = 10;
        net.jitter = MS * 30;
        for flow in 0..6 {
            net.alloc(0, flow, if flow % 2 == 0 { "a" } else { "b" });
            net.run(MS * 100);
        }
        net.run(S * 30);
        net.loss = 0;
        net.run(S * 5);
        for flow in 0..6 {
            let (_, outcome) = net.outcome(0, flow).expect(&context);
            assert!(
                matches!(outcome, Outcome::Granted(_)),
                "{context}: {outcome:?}"
            );
            assert!(net.other_end(0, flow).is_some(), "{context}");
        }
        // A refusal that gives a late answer back may be lost: then that end goes by its timeout.
        let ends = net.nodes[1].flows().len() + net.nodes[2].flows().len();
        assert!((6..=9).contains(&ends), "{context}: {ends}");
    }
}

/// With loss, and peers that do not know repeated requests (as those of 0.23): an outcome for each, never
/// more ends at the acceptor than requests, and nothing left of what failed.
#[test]
fn bad_networks_without_repetition() {
    for kind in KINDS {
        for seed in 0..20 {
            let context = format!("{kind:?} seed {seed}");
            let mut net = Net::with(kind, 2, seed, |config| config.repeats = false);
            net.register(1, "a");
            net.loss = 20;
            net.duplicates = 20;
            net.jitter = MS * 20;
            for flow in 0..10 {
                net.alloc(0, flow, "a");
                net.run(MS * 100);
            }
            net.run(S * 30);
            let mut granted = 0;
            for flow in 0..10 {
                match net.outcome(0, flow).expect(&context).1 {
                    Outcome::Granted(_) => {
                        granted += 1;
                        assert!(net.other_end(0, flow).is_some(), "{context}");
                    }
                    Outcome::Refused(Refusal::Silence { .. } | Refusal::Name(_)) => {}
                    other => panic!("{context}: {other:?}"),
                }
            }
            let stats = net.nodes[0].shim.stats();
            assert_eq!(
                (stats.flows, stats.endpoints),
                (granted, granted),
                "{context}"
            );
            assert!(net.nodes[1].flows().len() <= 10, "{context}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_frames() {
    let frames = || {
        let mut net = Net::new(Kind::Udp, 2, 11);
        net.register(1, "a");
        net.alloc(0, 1, "a");
        net.run(S);
        net.log
    };
    assert_eq!(frames(), frames());
}
