//! Hostile initiators, acceptors, enrollees and enrollers: no panic, every flow ends once, tables stay
//! bounded.
//!
//! Each step is an action, a flow, a length and that many bytes.

#![no_main]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use o7s_proto::{
    cep::{self, Component, Handshakes},
    enrollment::{Enrollee, Enroller, Kind, Output},
};
use o7s_wire::{
    address::Address,
    cep::Identity,
    enroll::{EnrollmentId, LayerConfig, WallTime},
    name::Name,
};

const WALL: WallTime = WallTime {
    sec: 1_700_000_000,
    nsec: 0,
};

fuzz_target!(|input: &[u8]| {
    let mut now = Instant::now();
    let data = Component {
        identity: Identity::UNICAST_DATA,
        address: Address::new(7),
    };
    let enrollment = Component {
        identity: Identity::ENROLLMENT,
        address: Address::INVALID,
    };
    let mut handshakes = Handshakes::new();
    handshakes.register(data);
    handshakes.register(enrollment);
    let config = LayerConfig::broadcast(Name::new("bc").unwrap());
    let mut enroller = Enroller::new(config);
    let (mut enrollee, _) = Enrollee::start(now, WALL, EnrollmentId([1; 8]), Kind::Broadcast);
    // How often each flow may still end.
    let mut open: BTreeMap<u8, u32> = BTreeMap::new();
    let mut rest = input;
    while let Some((&[action, flow, length], tail)) = rest.split_first_chunk() {
        let (packet, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        match action % 8 {
            0 | 1 if !open.contains_key(&flow) => {
                open.insert(flow, 1);
                if action % 8 == 0 {
                    handshakes.connect(now, flow, data);
                } else {
                    handshakes.accept(now, flow);
                }
            }
            0..=3 => {
                handshakes.handle_packet(flow, packet);
                enroller.handle_packet(now, WALL, flow, packet);
            }
            4 => {
                if let Some(Ok(enrolled)) = enrollee.handle_packet(now, packet) {
                    let _ = enrolled.ack();
                }
            }
            5 => {
                handshakes.forget(flow);
                enroller.gone(flow);
                open.remove(&flow);
            }
            6 => now += Duration::from_millis(100 * u64::from(length)),
            _ => {
                let id = EnrollmentId([flow; 8]);
                (enrollee, _) = Enrollee::start(now, WALL, id, Kind::Broadcast);
            }
        }
        handshakes.handle_timeout(now);
        enroller.handle_timeout(now);
        let _ = enrollee.handle_timeout(now);
        while let Some(output) = handshakes.poll_output() {
            match output {
                cep::Output::Send { flow, .. } => assert!(open.contains_key(&flow)),
                cep::Output::Connected { flow, identity, .. } => {
                    assert!(open.contains_key(&flow) && !handshakes.contains(flow));
                    if identity == Identity::ENROLLMENT {
                        enroller.connected(now, flow);
                    }
                }
                cep::Output::Failed { flow, failure, .. } => {
                    let _ = failure.to_string();
                    assert_eq!(open.remove(&flow), Some(1));
                }
            }
        }
        while let Some(output) = enroller.poll_output() {
            match output {
                Output::Send { flow, .. } => assert!(open.contains_key(&flow)),
                Output::Close { flow, .. } => assert_eq!(open.remove(&flow), Some(1)),
            }
        }
    }
});
