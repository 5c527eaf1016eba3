//! What strangers can and cannot do to the layers on Ethernet and UDP. Defects are rows of
//! `spec/reference-defects.md`, traps those of `spec/shims.md` §13.

mod shim_rig;

use std::time::Duration;

use o7s_proto::shim::{Address, CommandError, Discard, FlowKey, Foreign, Rate};
use o7s_wire::{
    eth::{MacAddr, dix},
    qos::QosSpec,
    shim::Message,
};
use shim_rig::{
    Dice, KINDS, Kind, MS, Manner, Net, Outcome, S, mac,
    messages::{frame, frame_to, give, node, reply, request, request_with, source},
};

/// Trap 8, and "never an answer larger than the question".
#[test]
fn answers_to_strangers_are_never_larger_than_the_question() {
    for kind in KINDS {
        let (mut node, now) = node(kind, |config| config.limits.arrived = 1);
        let (known, unknown) = (kind.hash("oping"), kind.hash("other"));
        let repeats = true;
        let mut questions = vec![
            request(5, &known, b"oap 1"),
            request(6, &unknown, b""),
            request(7, &known, b"oap 2"),
        ];
        if kind != Kind::Udp {
            let hash = known.as_bytes();
            questions.push(Message::NameQuery { hash, repeats });
        }
        for question in &questions {
            let asked = frame(kind, 1, 0, question);
            let _ = node.shim.handle_frame(now, &asked, source(kind, 1));
            for (to, answer) in node.sent() {
                assert_eq!(to, kind.address(1));
                assert!(answer.len() <= asked.len(), "{kind:?} {question}");
            }
        }
        // Nobody learns from us which names are not here by asking everybody.
        if kind != Kind::Udp {
            let hash = unknown.as_bytes();
            let query = Message::NameQuery { hash, repeats };
            let frame = frame_to(kind, 1, Address::BROADCAST, &query);
            let result = node.shim.handle_frame(now, &frame, None);
            assert_eq!(result, Err(Discard::UnknownName));
            assert_eq!(node.sent(), []);
        }
        let stats = node.shim.stats();
        assert_eq!((stats.requests_arrived, stats.requests_refused), (1, 2));
        assert_eq!(
            (stats.discarded.unknown_name > 0, stats.discarded.no_room),
            (true, 1)
        );
    }
}

#[test]
fn strangers_cannot_make_us_keep_much() {
    for kind in KINDS {
        let (mut node, now) = node(kind, |config| {
            config.limits.arrived = 50;
            config.limits.arrived_per_source = 20;
            config.limits.source_rate = Rate {
                per_second: 100,
                burst: 100,
            };
            config.limits.total_rate = Rate {
                per_second: 300,
                burst: 300,
            };
        });
        let hash = kind.hash("oping");
        for sender in 0..20 {
            for eid in 2..100 {
                let message = request(eid, &hash, b"some piggyback");
                let frame = frame(kind, sender, 0, &message);
                let _ = node.shim.handle_frame(now, &frame, source(kind, sender));
                node.after(now);
            }
        }
        let stats = node.shim.stats();
        assert_eq!((stats.arrived, node.requests.len()), (50, 50), "{kind:?}");
        assert!(stats.discarded.rate_limit > 1000, "{stats:?}");
        assert!(node.sent().len() <= 300);
        // They are forgotten, in time.
        node.timeout(now + S * 21);
        assert_eq!((node.gone.len(), node.shim.stats().arrived), (50, 0));
        assert_eq!(node.sent(), []);
        let (late, ..) = node.requests[0];
        assert_eq!(
            node.shim.respond(now, late, Ok(FlowKey(1)), b""),
            Err(CommandError::NoRequest(late))
        );
    }
}

/// Defect 21, trap 25: nobody but the one who was asked can answer, and nobody but the peer can send.
#[test]
fn strangers_cannot_enter_a_flow() {
    for kind in KINDS {
        let mut net = Net::new(kind, 3, 1);
        net.register(1, "oping");
        net.query(0, 1, "oping", S);
        net.run(S);
        net.nodes[1].manner = Manner::Wait;
        net.alloc(0, 1, "oping");
        let now = net.now;
        let eid = *kind.config(0).eids.start();
        let eid = if kind == Kind::Udp {
            // Drawn by lot: a stranger elsewhere cannot know it.
            let Some((_, _, frame)) = net.log.last() else {
                panic!("no request");
            };
            let Ok(Message::FlowRequest { requester, .. }) =
                Message::parse(&o7s_wire::shim::UDP, &frame[4..], 16)
            else {
                panic!("no request");
            };
            assert!(requester > 0xffff);
            requester
        } else {
            eid
        };
        let forged = frame(kind, 2, 0, &reply(eid, 9, 0));
        let result = net.nodes[0]
            .shim
            .handle_frame(now, &forged, source(kind, 2));
        assert_eq!(result, Err(Discard::WrongPeer(eid)), "{kind:?}");
        let result = give(&mut net.nodes[0], kind, now, &reply(eid + 1, 9, 0));
        assert_eq!(result, Err(Discard::UnknownEndpoint(eid + 1)));
        // An accepting reply without an endpoint, or with "unknown" (defect 1).
        let result = give(&mut net.nodes[0], kind, now, &reply(eid, 0, 0));
        assert_eq!(result, Err(Discard::BadEndpoint(0)));
        assert_eq!(net.outcome(0, 1), None);
        assert_eq!(
            give(&mut net.nodes[0], kind, now, &reply(eid, 9, 0)),
            Ok(())
        );
        assert!(matches!(net.outcome(0, 1), Some((_, Outcome::Granted(_)))));
        // A second reply changes nothing.
        let result = give(&mut net.nodes[0], kind, now, &reply(eid, 10, 0));
        assert_eq!(result, Err(Discard::Duplicate));
        let result = give(&mut net.nodes[0], kind, now, &reply(eid, 9, -1));
        assert_eq!(result, Err(Discard::Duplicate));
        let path = net.nodes[0].path(FlowKey(1)).expect("it is up");
        assert_eq!((path.local, path.peer), (eid, 9));
        // Packets: from the peer, from a stranger, for nobody.
        let mut packet = |from: usize, to: u32, own: u32| {
            let format = kind.config(from).format;
            let back = o7s_proto::shim::Path {
                local: own,
                address: kind.address(0),
                peer: to,
            };
            let bytes = [&format.header(&back, 2)[..], b"hi"].concat();
            let node = &mut net.nodes[0];
            let before = node.received.len();
            node.receive(now, &bytes, source(kind, from));
            node.received.len() - before
        };
        assert_eq!(packet(1, eid, 9), 1);
        assert_eq!(packet(2, eid, 9), 0);
        assert_eq!(packet(1, eid + 1, 9), 0);
        // eth-llc tells the sender's endpoint too.
        assert_eq!(packet(1, eid, 10), usize::from(kind != Kind::Llc));
        let discarded = net.nodes[0].shim.stats().discarded;
        assert_eq!(discarded.wrong_peer, if kind == Kind::Llc { 3 } else { 2 });
        // 1 for the reply, 1 for the packet.
        assert_eq!(discarded.unknown_endpoint, 2);
    }
}

/// Replies that nobody asked for do not get into the directory.
#[test]
fn unasked_name_replies_are_dropped() {
    let (mut node, now) = node(Kind::Dix, |_| {});
    let hash = Kind::Dix.hash("bank");
    let answer = Message::NameReply {
        hash: hash.as_bytes(),
        repeats: true,
    };
    assert_eq!(
        give(&mut node, Kind::Dix, now, &answer),
        Err(Discard::NotAsked)
    );
    assert_eq!(node.shim.stats().directory, 0);
    // What is for one must not come to all.
    let hash = Kind::Dix.hash("oping");
    for message in [request(64, &hash, b"oap"), answer, reply(64, 64, 0)] {
        let frame = frame_to(Kind::Dix, 1, Address::BROADCAST, &message);
        let result = node.shim.handle_frame(now, &frame, None);
        assert_eq!(result, Err(Discard::Broadcast));
    }
    assert_eq!(node.sent(), []);
}

#[test]
fn frames_of_others_are_foreign() {
    let (mut node, now) = node(Kind::Dix, |_| {});
    let hash = Kind::Dix.hash("oping");
    let message = request(64, &hash, b"oap");
    let mut for_another = frame(Kind::Dix, 1, 2, &message);
    let result = node.shim.handle_frame(now, &for_another, None);
    assert!(matches!(
        result,
        Err(Discard::Foreign(Foreign::Address { .. }))
    ));
    // From a group address, which nobody has.
    for_another[..6].copy_from_slice(&mac(0).0);
    for_another[6..12].copy_from_slice(&MacAddr::BROADCAST.0);
    let result = node.shim.handle_frame(now, &for_another, None);
    assert!(matches!(
        result,
        Err(Discard::Foreign(Foreign::Address { .. }))
    ));
    for_another[6..12].copy_from_slice(&mac(1).0);
    for_another[12..14].copy_from_slice(&[0x08, 0]);
    let result = node.shim.handle_frame(now, &for_another, None);
    assert!(matches!(result, Err(Discard::Foreign(Foreign::Frame(_)))));
    // Packets to everybody.
    let header = dix::Repr {
        destination: MacAddr::BROADCAST,
        source: mac(1),
        ethertype: 0xa000,
        eid: 64,
    };
    let result = node.shim.handle_frame(now, &header.emit(0), None);
    assert!(matches!(
        result,
        Err(Discard::Foreign(Foreign::Address { .. }))
    ));
    // With a priority tag it is ours.
    let mut tagged = frame(Kind::Dix, 1, 0, &message);
    tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
    assert_eq!(node.shim.handle_frame(now, &tagged, None), Ok(()));
    node.after(now);
    assert_eq!(node.requests.len(), 1);
    assert_eq!(node.requests[0].3, b"oap");
}

/// A spanning tree frame, whose DSAP reads past the end of a table in 0.23 (trap 6).
#[test]
fn trap_6_foreign_saps() {
    let (mut node, now) = node(Kind::Llc, |_| {});
    let mut bpdu = vec![0x01, 0x80, 0xc2, 0, 0, 0];
    bpdu.extend_from_slice(&mac(1).0);
    bpdu.extend_from_slice(&[0, 38, 0x42, 0x42, 3]);
    bpdu.resize(60, 0);
    let result = node.shim.handle_frame(now, &bpdu, None);
    assert!(matches!(result, Err(Discard::Foreign(_))));
    bpdu[..6].copy_from_slice(&mac(0).0);
    let result = node.shim.handle_frame(now, &bpdu, None);
    assert_eq!(result, Err(Discard::UnknownEndpoint(0x42)));
}

/// Any bytes, also nearly right ones: nothing panics and nothing grows.
#[test]
fn any_frames() {
    for kind in KINDS {
        let (mut node, mut now) = node(kind, |_| {});
        node.manner = Manner::Accept(MS);
        let hash = kind.hash("oping");
        let mut dice = Dice::new(77);
        for round in 0..5_000u64 {
            let message = match dice.below(4) {
                0 => reply(dice.below(80) as u32, dice.below(80) as u32, 0),
                1 => Message::NameQuery {
                    hash: hash.as_bytes(),
                    repeats: dice.percent(50),
                },
                _ => request(dice.below(120) as u32, &hash, b"piggyback"),
            };
            let mut bytes = frame(kind, 1, 0, &message);
            if dice.percent(50) {
                for _ in 0..dice.below(4) {
                    let at = dice.below(bytes.len() as u64) as usize;
                    bytes[at] = dice.below(256) as u8;
                }
            }
            if dice.percent(10) {
                bytes.truncate(dice.below(bytes.len() as u64) as usize);
            }
            node.receive(now, &bytes, source(kind, dice.below(3) as usize));
            node.sent();
            if round % 16 == 0 {
                now += MS * 5;
                node.timeout(now);
                let some = node.flows().into_iter().next();
                if let Some(flow) = some {
                    node.shim
                        .dealloc(now, flow, Duration::ZERO)
                        .expect("it is up");
                    node.after(now);
                }
            }
        }
        let limits = kind.config(0).limits;
        let stats = node.shim.stats();
        assert!(stats.arrived <= limits.arrived && stats.answer_bytes <= limits.answer_bytes);
        assert!(stats.flows <= limits.flows);
    }
}

/// Peers that know repeated requests get their answer again, others do not: one of 0.23 sends a request once.
#[test]
fn repeated_requests() {
    for kind in KINDS {
        for repeats in [true, false] {
            let (mut node, now) = node(kind, |_| {});
            let hash = kind.hash("oping");
            let message = Message::FlowRequest {
                requester: 9,
                qos: QosSpec::RAW,
                hash: hash.as_bytes(),
                piggyback: b"oap",
                repeats,
            };
            assert_eq!(give(&mut node, kind, now, &message), Ok(()));
            let again = give(&mut node, kind, now, &message);
            assert_eq!(again, Err(Discard::Duplicate));
            let request = node.requests[0].0;
            node.shim
                .respond(now, request, Ok(FlowKey(4)), b"re")
                .expect("it waits");
            node.after(now);
            let first = node.sent();
            assert_eq!(first.len(), 1);
            assert_eq!(
                give(&mut node, kind, now, &message),
                Err(Discard::Duplicate)
            );
            let second = node.sent();
            assert_eq!(second, if repeats { first } else { vec![] });
            // When the flow is over, a late repetition is refused; no second flow comes of it.
            node.shim
                .dealloc(now, FlowKey(4), Duration::ZERO)
                .expect("it is up");
            assert_eq!(
                give(&mut node, kind, now, &message),
                Err(Discard::Duplicate)
            );
            assert_eq!(node.sent().len(), usize::from(repeats));
            assert_eq!(node.requests.len(), 1);
            // Another request from the same endpoint is another.
            let other = request_with(&message, b"oap 2");
            assert_eq!(give(&mut node, kind, now, &other), Ok(()));
            // Which the peer gives up for a third.
            let third = request_with(&message, b"oap 3");
            assert_eq!(give(&mut node, kind, now, &third), Ok(()));
            assert_eq!(node.gone, [node.requests[1].0]);
            let answers = node.shim.stats().answer_bytes;
            assert_eq!(answers > 0, repeats);
            // Answers are forgotten.
            let later = now + S * 31;
            node.timeout(later);
            assert_eq!(give(&mut node, kind, later, &message), Ok(()));
            assert_eq!(node.shim.stats().answer_bytes, 0);
        }
    }
}

/// Peers of 0.23 see the mark in fields that they do not read, and nothing else; who is marked is found out by
/// marked answers only.
#[test]
fn nothing_is_repeated_to_0_23() {
    let mut net = Net::new(Kind::Dix, 2, 10);
    let now = net.now;
    net.query(0, 1, "oping", S);
    let hash = Kind::Dix.hash("oping");
    let answer = Message::NameReply {
        hash: hash.as_bytes(),
        repeats: false,
    };
    assert_eq!(give(&mut net.nodes[0], Kind::Dix, now, &answer), Ok(()));
    net.dead.insert(1);
    net.log.clear();
    net.alloc(0, 1, "oping");
    net.run(S * 30);
    let requests = net
        .log
        .iter()
        .filter(|(_, to, _)| *to == Kind::Dix.address(1));
    assert_eq!(requests.count(), 1);
    // A node of ours that answers one of 0.23 sends what 0.23 would send.
    let (mut node, now) = node(Kind::Dix, |_| {});
    for (message, marked) in [
        (
            Message::NameQuery {
                hash: hash.as_bytes(),
                repeats: false,
            },
            false,
        ),
        (
            Message::NameQuery {
                hash: hash.as_bytes(),
                repeats: true,
            },
            true,
        ),
    ] {
        assert_eq!(give(&mut node, Kind::Dix, now, &message), Ok(()));
        let (_, answer) = node.sent().remove(0);
        let mark = o7s_wire::shim::MARK.to_be_bytes();
        assert_eq!(answer.windows(4).any(|bytes| bytes == mark), marked);
    }
}

/// Over UDP a query is a question between peers of ours, and its answer counts only if it was asked for.
#[test]
fn names_over_udp_come_from_the_resolver_only() {
    let kind = Kind::Udp;
    let (mut node, now) = node(kind, |config| config.random_eids = false);
    let (known, other) = (kind.hash("oping"), kind.hash("other"));
    let query = |hash, repeats| Message::NameQuery { hash, repeats };
    let answer = |hash, repeats| Message::NameReply { hash, repeats };
    // One of 0.23 sends none.
    let result = give(&mut node, kind, now, &query(known.as_bytes(), false));
    assert_eq!(result, Err(Discard::UnknownName));
    let result = give(&mut node, kind, now, &query(other.as_bytes(), true));
    assert_eq!(result, Err(Discard::UnknownName));
    assert_eq!(node.sent(), []);
    let result = give(&mut node, kind, now, &query(known.as_bytes(), true));
    assert_eq!((result, node.sent().len()), (Ok(()), 1));
    // An answer that nobody asked for says nothing, also while the name is asked for.
    node.shim
        .alloc(now, FlowKey(1), other.clone(), QosSpec::RAW, b"oap")
        .expect("it starts");
    node.after(now);
    let result = give(&mut node, kind, now, &answer(other.as_bytes(), true));
    assert_eq!(result, Err(Discard::NotAsked));
    let resolved = [kind.address(2)];
    node.shim.resolved(now, &other, &resolved);
    node.after(now);
    node.timeout(now + MS * 300);
    assert_eq!(node.shim.stats().probes_sent, 1);
    let later = now + MS * 301;
    let result = give(&mut node, kind, later, &answer(other.as_bytes(), true));
    assert_eq!(result, Err(Discard::NotAsked), "another one was asked");
    let bytes = frame(kind, 2, 0, &answer(other.as_bytes(), true));
    for expected in [Ok(()), Err(Discard::NotAsked)] {
        let result = node.shim.handle_frame(later, &bytes, source(kind, 2));
        assert_eq!(result, expected);
    }
    node.timeout(later);
    assert_eq!(node.shim.stats().requests_repeated, 1);
    let to: Vec<_> = node.sent().into_iter().map(|(to, _)| to).collect();
    assert_eq!(to, [kind.address(2); 3], "request, probe, request");
}
