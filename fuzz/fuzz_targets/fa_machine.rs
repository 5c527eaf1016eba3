//! Arbitrary messages, requests, answers and pauses at a flow allocator: no panic, bounded memory, messages
//! that parse emit what they mean, and nothing is left when all is over.
//!
//! The input is steps: what to do, how much of the input it takes, that much. Flows are named by their place
//! in the list of all that were ever there.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use o7s_proto::fa::{Config, FlowAllocator, Output};
use o7s_wire::{
    dt::{Address, Eid},
    fa::Message,
    hash::DirHash,
    qos::QosSpec,
};

const HASH: DirHash = DirHash::Sha3_224;
const FLOWS: usize = 24;
const REQUESTS: usize = 12;

fuzz_target!(|input: &[u8]| {
    let config = Config {
        max_flows: FLOWS,
        max_requests: REQUESTS,
        max_requests_per_source: 5,
        ..Config::new(Address::new(1), HASH)
    };
    let mut drawn = 0_u64;
    let mut fa = FlowAllocator::new(config, move || {
        drawn += 1;
        drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    let mut now = Instant::now();
    let mut known = vec![Eid(64)];
    let mut input = input;
    while let Some((&[action, len], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        input = rest;
        let byte = bytes.first().copied().unwrap_or(0);
        let flow = known[usize::from(byte) % known.len()];
        let rest = bytes.get(1..).unwrap_or_default();
        let response = i32::from(rest.first().copied().unwrap_or(0).cast_signed());
        match action % 8 {
            0 => {
                if let Ok(message) = Message::parse(bytes, HASH) {
                    let again = message.to_bytes().expect("not longer than it was");
                    assert_eq!(Message::parse(&again, HASH), Ok(message));
                    let _ = message.to_string();
                }
                let _ = fa.receive(now, bytes);
            }
            1 => {
                let source = Address::new(u64::from(byte % 8));
                let message = Message::Request {
                    source,
                    source_eid: Eid(u64::from(response.unsigned_abs())),
                    qos: QosSpec::VOICE,
                    hash: &[byte; 28],
                    data: rest,
                };
                let _ = fa.receive(now, &message.to_bytes().expect("short"));
            }
            2 => {
                let message = Message::Reply {
                    eid: flow,
                    source_eid: Eid(u64::from(len)),
                    response,
                    data: rest,
                };
                let _ = fa.receive(now, &message.to_bytes().expect("short"));
                let update = Message::Update {
                    eid: flow,
                    ece: len.into(),
                };
                let _ = fa.receive(now, &update.to_bytes().expect("short"));
            }
            3 => {
                let peer = Address::new(u64::from(byte));
                let _ = fa.allocate(now, peer, &[len; 28], &QosSpec::RAW, rest);
            }
            4 => {
                let _ = fa.respond(flow, response, rest);
            }
            5 => {
                let _ = fa.deallocate(flow);
            }
            6 => {
                fa.report(flow, len.into());
                fa.undeliverable(flow);
            }
            _ => {
                now += Duration::from_millis(u64::from(byte) * 100);
                fa.handle_timeout(now);
                assert!(fa.poll_timeout().is_none_or(|deadline| deadline > now));
            }
        }
        for output in std::iter::from_fn(|| fa.poll_output()) {
            match output {
                Output::Requested { flow, .. } | Output::Opened { flow } => known.push(flow),
                Output::Send { message, .. } => {
                    assert!(Message::parse(&message, HASH).is_ok());
                }
                _ => {}
            }
        }
        assert!(fa.len() <= FLOWS);
    }
    for flow in known {
        fa.deallocate(flow);
    }
    assert!(fa.is_empty() && fa.poll_timeout().is_none());
});
