//! Requests and replies between two allocators, timeouts, refusals, hostile members.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const A: Address = Address::new(0x0403_0201);
const B: Address = Address::new(0x0d0c_0b0a);
const HASH: [u8; 32] = [7; 32];
const SECOND: Duration = Duration::from_secs(1);

fn allocator(address: Address) -> FlowAllocator {
    let mut state = address.get();
    FlowAllocator::new(Config::new(address, DirHash::Sha3_256), move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state ^ state >> 29
    })
}

fn outputs(fa: &mut FlowAllocator) -> Vec<Output> {
    std::iter::from_fn(|| fa.poll_output()).collect()
}

/// What is left of the outputs of `from` once its messages were handed to `to`.
fn deliver(now: Instant, from: &mut FlowAllocator, to: &mut FlowAllocator) -> Vec<Output> {
    outputs(from)
        .into_iter()
        .filter(|output| match output {
            Output::Send {
                destination,
                message,
                ..
            } => {
                assert_eq!(*destination, to.config().address);
                to.receive(now, message).expect("a message");
                false
            }
            _ => true,
        })
        .collect()
}

fn request(source: Address, eid: u64) -> Vec<u8> {
    Message::Request {
        source,
        source_eid: Eid(eid),
        qos: QosSpec::RAW,
        hash: &HASH,
        data: b"oap",
    }
    .to_bytes()
    .expect("short")
}

fn reply(eid: Eid, source_eid: Eid, response: i32) -> Vec<u8> {
    Message::Reply {
        eid,
        source_eid,
        response,
        data: &[],
    }
    .to_bytes()
    .expect("short")
}

/// The response of a refusal to `eid`, if the output is one.
fn refusal(output: &Output) -> Option<i32> {
    let Output::Send { message, .. } = output else {
        return None;
    };
    match Message::parse(message, DirHash::Sha3_256) {
        Ok(Message::Reply { response, .. }) if response < 0 => Some(response),
        _ => None,
    }
}

#[test]
fn a_flow_from_request_to_end() {
    let now = Instant::now();
    let (mut a, mut b) = (allocator(A), allocator(B));
    let at_a = a
        .allocate(now, B, &HASH, &QosSpec::VOICE, b"request")
        .expect("room");
    assert!(!at_a.is_component());
    assert_eq!(
        deliver(now, &mut a, &mut b),
        [Output::Opened { flow: at_a }]
    );
    assert_eq!(a.poll_timeout(), Some(now + 20 * SECOND));
    let requested = outputs(&mut b);
    let [Output::Requested { flow: at_b, .. }] = requested[..] else {
        panic!("{requested:?}");
    };
    assert_eq!(
        requested[0],
        Output::Requested {
            flow: at_b,
            peer: A,
            hash: HASH.to_vec(),
            qos: QosSpec::VOICE,
            data: b"request".to_vec(),
        }
    );
    b.respond(at_b, 0, b"response").expect("a request");
    // Stored and open before the reply leaves, up after it (trap 8).
    let answered = outputs(&mut b);
    let [
        Output::Opened { .. },
        Output::Send {
            flow, ref message, ..
        },
        Output::Up { .. },
    ] = answered[..]
    else {
        panic!("{answered:?}");
    };
    assert_eq!(flow, Some(at_b));
    assert_eq!(
        answered[2],
        Output::Up {
            flow: at_b,
            peer: A,
            peer_eid: at_a,
            cube: QosCube::Voice,
            answer: None,
        }
    );
    let then = now + Duration::from_millis(30);
    a.receive(then, message).expect("a reply");
    assert_eq!(
        outputs(&mut a),
        [
            Output::Granted {
                flow: at_a,
                data: b"response".to_vec()
            },
            Output::Up {
                flow: at_a,
                peer: B,
                peer_eid: at_b,
                cube: QosCube::Voice,
                answer: Some(Duration::from_millis(30)),
            },
        ]
    );
    assert_eq!(
        (a.remote(at_a), b.remote(at_b)),
        (Some((B, at_b)), Some((A, at_a)))
    );
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
    // Congestion both ways.
    a.report(at_a, 5);
    b.report(at_b, 0);
    assert_eq!(deliver(now, &mut a, &mut b), []);
    assert_eq!(
        deliver(now, &mut b, &mut a),
        [Output::Congestion {
            flow: at_b,
            level: 5
        }]
    );
    assert_eq!(
        outputs(&mut a),
        [Output::Congestion {
            flow: at_a,
            level: 0
        }]
    );
    // A second reply changes nothing (trap 9).
    a.receive(now, &reply(at_a, Eid(4711), -1))
        .expect("a reply");
    assert_eq!(a.counters().unknown_replies, 1);
    // The end is told to nobody.
    assert!(a.deallocate(at_a));
    assert!(!a.deallocate(at_a));
    assert_eq!(outputs(&mut a), [Output::Closed { flow: at_a }]);
    b.report(at_b, 9);
    assert_eq!(deliver(now, &mut b, &mut a), []);
    assert_eq!(a.counters().unknown_updates, 1);
    assert!(a.is_empty() && a.remote(at_a).is_none());
}

#[test]
fn a_refusal_ends_the_request_at_once() {
    let now = Instant::now();
    let (mut a, mut b) = (allocator(A), allocator(B));
    let at_a = a.allocate(now, B, &HASH, &QosSpec::RAW, b"").expect("room");
    deliver(now, &mut a, &mut b);
    let Some(Output::Requested { flow, .. }) = b.poll_output() else {
        panic!("a request");
    };
    b.respond(flow, -1009, b"not sent").expect("a request");
    assert_eq!(b.respond(flow, 0, b""), Err(RespondError::Unknown(flow)));
    assert_eq!(deliver(now, &mut b, &mut a), []);
    let reason = Refusal::Peer(-1009);
    assert_eq!(
        outputs(&mut a),
        [
            Output::Refused {
                flow: at_a,
                reason,
                data: Vec::new()
            },
            Output::Closed { flow: at_a }
        ]
    );
    assert_eq!(reason.response(), -1009);
    assert!(a.is_empty() && b.is_empty());
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
}

/// Trap 10: 0.23 keeps what nobody answers for ever.
#[test]
fn what_nobody_answers_expires_at_both_ends() {
    let now = Instant::now();
    let (mut a, mut b) = (allocator(A), allocator(B));
    let at_a = a.allocate(now, B, &HASH, &QosSpec::RAW, b"").expect("room");
    deliver(now, &mut a, &mut b);
    let Some(Output::Requested { flow, .. }) = b.poll_output() else {
        panic!("a request");
    };
    let late = now + 20 * SECOND;
    a.handle_timeout(late - SECOND);
    b.handle_timeout(late - SECOND);
    assert_eq!((a.len(), b.len()), (1, 1));
    a.handle_timeout(late);
    let reason = Refusal::TimedOut;
    let refused = [
        Output::Refused {
            flow: at_a,
            reason,
            data: Vec::new(),
        },
        Output::Closed { flow: at_a },
    ];
    assert_eq!(outputs(&mut a), refused);
    b.handle_timeout(late);
    assert_eq!(deliver(late, &mut b, &mut a), [Output::Expired { flow }]);
    assert_eq!(b.respond(flow, 0, b""), Err(RespondError::Unknown(flow)));
    assert_eq!(a.counters().unknown_replies, 1);
    assert!(a.is_empty() && b.is_empty());
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
}

#[test]
fn messages_that_cannot_leave_end_what_they_are_about() {
    let now = Instant::now();
    let mut a = allocator(A);
    let flow = a.allocate(now, B, &HASH, &QosSpec::RAW, b"").expect("room");
    outputs(&mut a);
    a.undeliverable(flow);
    assert!(matches!(
        outputs(&mut a)[..],
        [
            Output::Refused {
                reason: Refusal::NoPath,
                ..
            },
            Output::Closed { .. }
        ]
    ));
    // A reply: the flow is not there (§3.4).
    a.receive(now, &request(B, 99)).expect("a request");
    let Some(Output::Requested { flow, .. }) = a.poll_output() else {
        panic!("a request");
    };
    a.respond(flow, 0, b"").expect("a request");
    a.undeliverable(flow);
    assert_eq!(outputs(&mut a).last(), Some(&Output::Closed { flow }));
    assert!(a.is_empty());
    // Too long for the wire: nothing is left of it, and the requester is told.
    let long = vec![0; 2000];
    assert!(matches!(
        a.allocate(now, B, &HASH, &QosSpec::RAW, &long),
        Err(AllocError::Message(FaError::Long(2093)))
    ));
    a.receive(now, &request(B, 100)).expect("a request");
    let Some(Output::Requested { flow, .. }) = a.poll_output() else {
        panic!("a request");
    };
    assert!(matches!(
        a.respond(flow, 0, &long),
        Err(RespondError::Message(_))
    ));
    assert_eq!(refusal(&outputs(&mut a)[0]), Some(-1));
    assert!(a.is_empty() && a.poll_timeout().is_none());
}

#[test]
fn impossible_allocations_are_errors() {
    let now = Instant::now();
    let mut a = allocator(A);
    let mut allocate = |peer, hash: &[u8]| a.allocate(now, peer, hash, &QosSpec::RAW, b"");
    assert_eq!(allocate(A, &HASH), Err(AllocError::Own));
    let wide = Address::new(1 << 32);
    assert_eq!(allocate(wide, &HASH), Err(AllocError::Address(wide)));
    assert_eq!(
        allocate(Address::INVALID, &HASH),
        Err(AllocError::Address(Address::INVALID))
    );
    assert_eq!(
        allocate(B, &HASH[1..]),
        Err(AllocError::Hash { need: 32, got: 31 })
    );
    assert!(a.is_empty());
    let config = Config {
        max_flows: 2,
        ..Config::new(A, DirHash::Sha3_256)
    };
    let mut a = FlowAllocator::new(config, || u64::MAX);
    let mut allocate = || a.allocate(now, B, &HASH, &QosSpec::RAW, b"");
    let eids = [allocate().expect("room"), allocate().expect("room")];
    assert_eq!(eids, [Eid(!0xffff | 64), Eid(!0xffff | 65)]);
    assert_eq!(allocate(), Err(AllocError::Full(2)));
    assert!(a.deallocate(eids[0]));
    assert!(a.allocate(now, B, &HASH, &QosSpec::RAW, b"").is_ok());
}

/// One member cannot take the room of all others, and all together cannot take more than there is.
#[test]
fn requests_of_strangers_are_bounded_and_the_rest_refused() {
    let now = Instant::now();
    let mut a = FlowAllocator::new(
        Config {
            max_requests: 10,
            max_requests_per_source: 4,
            ..Config::new(A, DirHash::Sha3_256)
        },
        || 4711,
    );
    let mut taken = Vec::new();
    for (source, eids, refused) in [(7, 0..6, 2), (8, 0..3, 0), (9, 0..4, 1)] {
        for eid in eids {
            a.receive(now, &request(Address::new(source), 64 + eid))
                .expect("a request");
        }
        let outputs = outputs(&mut a);
        let refusals: Vec<_> = outputs.iter().filter_map(refusal).collect();
        assert_eq!(refusals, vec![-16; refused]);
        taken.extend(outputs.iter().filter_map(|output| match output {
            Output::Requested { flow, .. } => Some(*flow),
            _ => None,
        }));
    }
    assert_eq!((taken.len(), a.len(), a.counters().too_many), (10, 10, 3));
    // Answers make room; accepted flows do not count as requests.
    a.respond(taken[0], 0, b"").expect("a request");
    a.respond(taken[1], -1, b"").expect("a request");
    outputs(&mut a);
    for eid in 20..23 {
        a.receive(now, &request(Address::new(7), eid + 64))
            .expect("a request");
    }
    assert_eq!(outputs(&mut a).iter().filter_map(refusal).count(), 1);
    a.handle_timeout(now + 20 * SECOND);
    assert_eq!(a.len(), 1);
}

/// A layer may deliver a packet twice.
#[test]
fn a_copy_of_a_request_is_no_second_request() {
    let now = Instant::now();
    let mut a = allocator(A);
    let message = request(B, 77);
    a.receive(now, &message).expect("a request");
    let Some(Output::Requested { flow, .. }) = a.poll_output() else {
        panic!("a request");
    };
    a.receive(now, &message).expect("a request");
    a.respond(flow, 0, b"").expect("a request");
    a.receive(now, &message).expect("a request");
    outputs(&mut a);
    assert_eq!((a.len(), a.counters().copies), (1, 2));
    assert!(a.deallocate(flow));
    a.receive(now, &message).expect("a request");
    assert_eq!(a.len(), 1);
}

/// Defect 1 (a reply without a usable EID), trap 9 (EID 0), and what else a member may send.
#[test]
fn replies_and_requests_of_nobody_are_dropped() {
    let now = Instant::now();
    let mut a = allocator(A);
    for (source, eid) in [
        (0, 64),
        (A.get(), 64),
        (1 << 32, 64),
        (9, 63),
        (9, u64::MAX),
    ] {
        a.receive(now, &request(Address::new(source), eid))
            .expect("a request");
    }
    assert_eq!(a.counters().impossible, 5);
    for eid in [0, 1, 64, u64::MAX] {
        a.receive(now, &reply(Eid(eid), Eid(64), 0))
            .expect("a reply");
        let update = Message::Update {
            eid: Eid(eid),
            ece: 1,
        };
        a.receive(now, &update.to_bytes().expect("short"))
            .expect("an update");
    }
    assert_eq!(
        (a.counters().unknown_replies, a.counters().unknown_updates),
        (4, 4)
    );
    assert_eq!(outputs(&mut a), []);
    assert_eq!(
        a.receive(now, b"garbage"),
        Err(FaError::Short { least: 61, got: 7 })
    );
    assert_eq!(a.counters().malformed, 1);
    for (source_eid, response) in [(0, 0), (u64::MAX, 0), (64, 1)] {
        let flow = a.allocate(now, B, &HASH, &QosSpec::RAW, b"").expect("room");
        outputs(&mut a);
        // An update for a flow without its other end.
        a.receive(now, &reply(flow, Eid(source_eid), response))
            .expect("a reply");
        assert!(matches!(
            outputs(&mut a)[..],
            [
                Output::Refused {
                    reason: Refusal::Peer(-1),
                    ..
                },
                Output::Closed { .. }
            ]
        ));
    }
    assert!(a.is_empty());
}

/// Defect 9: EIDs are not used again, though their places are.
#[test]
fn eids_do_not_come_again() {
    let now = Instant::now();
    let mut a = allocator(A);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let flow = a.allocate(now, B, &HASH, &QosSpec::RAW, b"").expect("room");
        assert!(seen.insert(flow));
        assert_eq!(flow.0 & 0xffff, 64);
        a.deallocate(flow);
        outputs(&mut a);
    }
}

#[test]
fn endpoints_answer_to_the_whole_number() {
    let mut endpoints = Endpoints::default();
    let eid = Eid(0xabcd_0000_0050);
    assert_eq!(endpoints.insert(eid, 1), None);
    assert_eq!(endpoints.insert(Eid(0x50), 2), Some(1));
    assert_eq!((endpoints.get(eid), endpoints.len()), (None, 1));
    assert_eq!(endpoints.remove(eid), None);
    assert_eq!(endpoints.get_mut(Eid(0x50)), Some(&mut 2));
    assert_eq!(endpoints.iter().collect::<Vec<_>>(), [(Eid(0x50), &2)]);
    assert_eq!(endpoints.remove(Eid(0x50)), Some(2));
    assert!(endpoints.is_empty());
    assert_eq!(endpoints.insert(Eid(63), 3), None);
    assert!(endpoints.is_empty() && endpoints.get(Eid(63)).is_none());
    for sizes in [(4, 1), (4, 2), (8, 8)] {
        let sizes = Sizes::new(sizes.0, sizes.1).expect("possible");
        let mut numbers = Numbers::new(sizes, usize::MAX);
        let made: Vec<_> = std::iter::from_fn(|| numbers.next(u64::MAX)).collect();
        assert_eq!(
            made.len(),
            if sizes.eid() == 1 { 191 } else { MAX_ENDPOINTS }
        );
        let width = u64::MAX >> (64 - 8 * sizes.eid());
        assert!(made.iter().all(|eid| !eid.is_component() && eid.0 < width));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Request { source: u8, eid: u8 },
    Reply { flow: u8, response: i8 },
    Update { flow: u8 },
    Garbage(Vec<u8>),
    Allocate { peer: u8 },
    Respond { flow: u8, response: i8 },
    Deallocate { flow: u8 },
    Report { flow: u8 },
    Undeliverable { flow: u8 },
    Wait { seconds: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    prop_oneof![
        3 => (byte(), byte()).prop_map(|(source, eid)| Step::Request { source: source % 8, eid }),
        2 => (byte(), -2i8..2).prop_map(|(flow, response)| Step::Reply { flow, response }),
        1 => byte().prop_map(|flow| Step::Update { flow }),
        1 => any::<Vec<u8>>().prop_map(Step::Garbage),
        3 => byte().prop_map(|peer| Step::Allocate { peer: peer % 8 }),
        2 => (byte(), -2i8..2).prop_map(|(flow, response)| Step::Respond { flow, response }),
        1 => byte().prop_map(|flow| Step::Deallocate { flow }),
        1 => byte().prop_map(|flow| Step::Report { flow }),
        1 => byte().prop_map(|flow| Step::Undeliverable { flow }),
        1 => (0u8..15).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: bounds hold, opened flows are closed, and nothing is left in
    /// the end.
    #[test]
    fn books_balance(steps in proptest::collection::vec(step(), 0..300)) {
        let mut now = Instant::now();
        let config = Config {
            max_flows: 40,
            max_requests: 20,
            max_requests_per_source: 5,
            ..Config::new(Address::new(3), DirHash::Sha3_256)
        };
        let mut state = 1_u64;
        let mut fa = FlowAllocator::new(config, move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state
        });
        let mut known = vec![Eid(64)];
        let mut open = BTreeSet::new();
        let mut asked = BTreeSet::new();
        let drain = |fa: &mut FlowAllocator, known: &mut Vec<Eid>, open: &mut BTreeSet<Eid>,
                     asked: &mut BTreeSet<Eid>| {
            for output in outputs(fa) {
                match output {
                    Output::Requested { flow, .. } => {
                        known.push(flow);
                        assert!(asked.insert(flow));
                    }
                    Output::Opened { flow } => {
                        asked.remove(&flow);
                        known.push(flow);
                        assert!(open.insert(flow));
                    }
                    Output::Expired { flow } => assert!(asked.remove(&flow)),
                    Output::Closed { flow } => assert!(open.remove(&flow)),
                    Output::Up { flow, .. }
                    | Output::Granted { flow, .. }
                    | Output::Congestion { flow, .. }
                    | Output::Refused { flow, .. } => assert!(open.contains(&flow)),
                    Output::Send { destination, .. } => assert!(destination.is_valid()),
                }
            }
        };
        for step in steps {
            let pick = |flow: u8| known[flow as usize % known.len()];
            match step {
                Step::Request { source, eid } => {
                    let message = request(Address::new(source.into()), eid.into());
                    prop_assert!(fa.receive(now, &message).is_ok());
                }
                Step::Reply { flow, response } => {
                    let message = reply(pick(flow), Eid(99), response.into());
                    prop_assert!(fa.receive(now, &message).is_ok());
                }
                Step::Update { flow } => {
                    let update = Message::Update { eid: pick(flow), ece: 3 };
                    prop_assert!(fa.receive(now, &update.to_bytes().expect("short")).is_ok());
                }
                Step::Garbage(bytes) => {
                    let _ = fa.receive(now, &bytes);
                }
                Step::Allocate { peer } => {
                    let _ = fa.allocate(now, Address::new(peer.into()), &HASH, &QosSpec::RAW, b"");
                }
                Step::Respond { flow, response } => {
                    let flow = pick(flow);
                    let pending = asked.contains(&flow);
                    prop_assert_eq!(fa.respond(flow, response.into(), b"").is_ok(), pending);
                    asked.remove(&flow);
                }
                Step::Deallocate { flow } => {
                    let flow = pick(flow);
                    let there = asked.remove(&flow) || open.contains(&flow);
                    prop_assert_eq!(fa.deallocate(flow), there);
                }
                Step::Report { flow } => fa.report(pick(flow), 1),
                Step::Undeliverable { flow } => fa.undeliverable(pick(flow)),
                Step::Wait { seconds } => {
                    now += u32::from(seconds) * SECOND;
                    fa.handle_timeout(now);
                }
            }
            drain(&mut fa, &mut known, &mut open, &mut asked);
            prop_assert!(fa.len() <= 40 && fa.pending_in <= 20);
            prop_assert_eq!(fa.len(), open.len() + asked.len());
            prop_assert_eq!(fa.pending_in, asked.len());
            prop_assert!(fa.deadlines.len() <= fa.len());
        }
        for flow in open.clone() {
            fa.deallocate(flow);
        }
        fa.handle_timeout(now + 20 * SECOND);
        prop_assert!(fa.is_empty() && fa.deadlines.is_empty() && fa.requests.is_empty());
        prop_assert!(fa.remotes.is_empty() && fa.poll_timeout().is_none());
    }
}
