//! A broadcast member with hostile peers, and what it floods: no panic, every operation ends once, nothing is
//! said about flows that are not there, tables stay bounded.
//!
//! Each step is an action, a flow, a length and that many bytes.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use o7s_proto::{
    broadcast::{Flood, Kind, Member, Moment, Neighbour, Output, Verdict},
    unicast::{Lower, LowerError, Op},
};
use o7s_wire::{
    enroll::{EnrollmentId, WallTime},
    name::Name,
    qos::QosSpec,
};

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let mut at = Moment {
        now: Instant::now(),
        wall: WallTime {
            sec: 1_700_000_000,
            nsec: 0,
        },
    };
    let name = || Name::new("bc").unwrap();
    let mut member = Member::new();
    let mut flood = Flood::new(1, at.now);
    if first % 2 == 0 {
        member.bootstrap(name()).unwrap();
    }
    let mut open = BTreeSet::new();
    let mut neighbours = BTreeSet::new();
    let mut operations = BTreeSet::new();
    let mut requests = BTreeMap::new();
    let mut next = 0;
    while let Some((&[action, flow, length], tail)) = rest.split_first_chunk() {
        let (packet, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let lower = Lower(flow.into());
        next += 1;
        match action % 10 {
            0 => {
                operations.insert(next);
                member.enroll(Op(next), name(), EnrollmentId([1; 8]));
            }
            1 => {
                operations.insert(next);
                member.connect(Op(next), name(), QosSpec::RAW);
            }
            2 => {
                operations.insert(next);
                member.disconnect(Op(next), &name());
            }
            3 if open.insert(lower) => member.lower_accepted(at, lower),
            4 if !open.contains(&lower) => {
                if let Some((request, ())) = requests.pop_first() {
                    let outcome = if length % 4 == 0 {
                        Err(LowerError("no".to_owned()))
                    } else {
                        open.insert(lower);
                        Ok(lower)
                    };
                    member.lower_allocated(at, request, outcome);
                }
            }
            5 if open.remove(&lower) => {
                neighbours.remove(&lower);
                flood.remove(Neighbour(lower.0));
                member.lower_gone(lower);
            }
            6 => at.now += Duration::from_millis(50 * u64::from(length)),
            _ => {
                if open.contains(&lower) && !neighbours.contains(&lower) {
                    member.lower_packet(at, lower, packet.to_vec());
                } else if flood.packet(at.now, Neighbour(lower.0), packet) == Verdict::Forward {
                    assert!(!packet.is_empty());
                    assert!(flood.others(Neighbour(lower.0)).all(|to| to.0 != lower.0));
                }
                let _ = flood.poll_event();
            }
        }
        member.handle_timeout(at);
        while let Some(output) = member.poll_output() {
            match output {
                Output::Done { op, outcome } => {
                    assert!(operations.remove(&op.0));
                    if let Err(failure) = outcome {
                        let _ = failure.to_string();
                    }
                }
                Output::AllocateLower { request, .. } => drop(requests.insert(request, ())),
                Output::Send { lower, .. } | Output::Arrived { lower, .. } => {
                    assert!(open.contains(&lower));
                }
                Output::Deallocate { lower } => {
                    assert!(open.remove(&lower));
                    neighbours.remove(&lower);
                    flood.remove(Neighbour(lower.0));
                }
                Output::Neighbour { lower, .. } => {
                    assert!(open.contains(&lower) && neighbours.insert(lower));
                    flood.add(Neighbour(lower.0), Kind::Member).unwrap();
                }
                Output::Started(_) | Output::Parted(_) => {}
                Output::Notice(notice) => drop(notice.to_string()),
            }
        }
    }
});
