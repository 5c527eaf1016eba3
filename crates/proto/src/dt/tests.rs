//! The rules of `spec/unicast.md` §2.3 and §2.4, one by one, and the transit rows of §15.1.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::forwarding::{Policy, Route};

const OWN: Address = Address::new(0x0403_0201);
const OTHER: Address = Address::new(0x0d0c_0b0a);
const STRANGER: Address = Address::new(0x1111_1111);
const IN: FlowToken = FlowToken(3);
const OUT: FlowToken = FlowToken(5);
const SPARE: FlowToken = FlowToken(6);
const EID: Eid = Eid(0x1122_3344_0000_0041);

fn dt() -> Dt {
    let mut dt = Dt::new(Config::new(OWN));
    for flow in [IN, OUT, SPARE] {
        dt.add_flow(flow, QosCube::BestEffort);
    }
    let route = Route {
        destination: OTHER,
        next_hops: vec![OTHER],
    };
    dt.set_table(Arc::new(Table::build(Policy::Simple, &[route], 1, |_| {
        &[OUT, SPARE]
    })));
    dt
}

fn packet(destination: Address, ttl: u8, ecn: u8, eid: Eid, payload: &[u8]) -> Vec<u8> {
    Repr {
        destination,
        cube: 0,
        ttl,
        ecn,
        eid,
    }
    .to_packet(Sizes::DEFAULT, payload)
}

fn forward(flow: FlowToken) -> Verdict {
    Verdict::Forward {
        flow,
        cube: QosCube::BestEffort,
    }
}

#[test]
fn transit_counts_hops_down_and_marks() {
    let mut dt = dt();
    let mut bytes = packet(OTHER, 2, 0, EID, b"hello");
    assert_eq!(dt.receive(IN, &mut bytes), forward(OUT));
    dt.mark(&mut bytes, 15);
    assert_eq!(bytes, packet(OTHER, 1, 0, EID, b"hello"));
    let mut bytes = packet(OTHER, 5, 1, EID, b"hello");
    assert_eq!(dt.receive(IN, &mut bytes), forward(OUT));
    dt.mark(&mut bytes, 40);
    assert_eq!(bytes, packet(OTHER, 4, 3, EID, b"hello"));
    dt.written(OUT, bytes.len());
    let flow = *dt.counters().flow(OUT).expect("known");
    assert_eq!((flow.sent.packets, flow.sent.bytes), (1, 20));
    assert_eq!(dt.counters().flow(IN).expect("known").received.packets, 2);
}

/// Trap 3: 0.23 lets hops of 0 wrap around to 255.
#[test]
fn transit_without_hops_is_dropped() {
    let mut dt = dt();
    for ttl in [0, 1] {
        let mut bytes = packet(OTHER, ttl, 0, EID, b"");
        assert_eq!(
            dt.receive(IN, &mut bytes),
            Verdict::Drop(DropReason::Expired)
        );
    }
    assert_eq!(dt.counters().drops().expired.packets, 2);
    assert_eq!(dt.counters().flow(IN).expect("known").expired.bytes, 30);
}

#[test]
fn own_packets_are_delivered_whatever_their_hops() {
    let mut dt = dt();
    for ttl in [0, 1, 60] {
        let mut bytes = packet(OWN, ttl, 7, EID, b"");
        let user = Verdict::User {
            eid: EID,
            ecn: 7,
            cube: QosCube::BestEffort,
        };
        assert_eq!(dt.receive(IN, &mut bytes), user);
    }
    for (eid, component) in [
        (Eid(0), Component::FlowAllocator),
        (Eid(1), Component::Directory),
    ] {
        assert_eq!(component.eid(), eid);
        let mut bytes = packet(OWN, 60, 2, eid, b"x");
        assert_eq!(
            dt.receive(IN, &mut bytes),
            Verdict::Component { component, ecn: 2 }
        );
    }
    for eid in 2..64 {
        let mut bytes = packet(OWN, 60, 0, Eid(eid), b"x");
        assert_eq!(
            dt.receive(IN, &mut bytes),
            Verdict::Drop(DropReason::UnknownComponent)
        );
    }
    let mut bytes = packet(OWN, 60, 0, Eid(64), b"x");
    assert!(matches!(
        dt.receive(IN, &mut bytes),
        Verdict::User { eid: Eid(64), .. }
    ));
    dt.unknown_eid(IN, bytes.len());
    assert_eq!(dt.counters().drops().unknown_eid.packets, 1);
    assert_eq!(
        dt.counters()
            .flow(IN)
            .expect("known")
            .local_received
            .packets,
        2
    );
}

/// Trap 4, and the keepalive of the N-1 flow (§2.1).
#[test]
fn short_packets_are_dropped_and_empty_ones_are_signs_of_life() {
    let mut dt = dt();
    assert_eq!(dt.receive(IN, &mut []), Verdict::Keepalive);
    for len in 1..15 {
        let mut bytes = vec![0; len];
        assert_eq!(dt.receive(IN, &mut bytes), Verdict::Drop(DropReason::Short));
    }
    assert_eq!(dt.counters().drops().short.packets, 14);
}

#[test]
fn a_flow_that_is_down_is_left_at_once() {
    let mut dt = dt();
    let unknown = Verdict::Drop(DropReason::UnknownDestination);
    let transit = |dt: &mut Dt, to| dt.receive(IN, &mut packet(to, 9, 0, EID, b""));
    assert_eq!(transit(&mut dt, STRANGER), unknown);
    assert!(dt.set_down(OUT, true));
    assert!(!dt.set_down(OUT, true));
    assert_eq!(transit(&mut dt, OTHER), forward(SPARE));
    dt.remove_flow(SPARE);
    assert_eq!(transit(&mut dt, OTHER), Verdict::Drop(DropReason::PathDown));
    assert!(dt.set_down(OUT, false));
    assert_eq!(transit(&mut dt, OTHER), forward(OUT));
    // The token is given to a new flow.
    assert!(dt.counters().flow(SPARE).is_none());
    dt.add_flow(SPARE, QosCube::Video);
    dt.set_down(OUT, true);
    assert_eq!(transit(&mut dt, OTHER), forward(SPARE));
    assert_eq!(
        dt.counters().flow(IN).expect("known").no_next_hop.packets,
        2
    );
}

#[test]
fn own_packets_leave_with_a_fresh_header() {
    let mut dt = dt();
    let mut bytes = [0xff; 16];
    bytes[15] = b'x';
    let sent = dt.send(OTHER, QosCube::BestEffort, Eid::DIRECTORY, &mut bytes);
    assert_eq!(sent, Ok(OUT));
    dt.mark(&mut bytes, 100);
    assert_eq!(bytes[..], packet(OTHER, 60, 6, Eid(1), b"x"));
    assert_eq!(
        dt.counters().flow(OUT).expect("known").local_sent.packets,
        1
    );
    let mut voice = [0; 15];
    assert_eq!(dt.send(OTHER, QosCube::Voice, EID, &mut voice), Ok(OUT));
    assert_eq!(voice[4], 2);
    assert_eq!(
        dt.send(OWN, QosCube::BestEffort, EID, &mut bytes),
        Err(SendError::Own)
    );
    assert_eq!(
        dt.send(STRANGER, QosCube::BestEffort, EID, &mut bytes),
        Err(SendError::NoPath(NoPath::Unknown))
    );
    assert!(matches!(
        dt.send(OTHER, QosCube::BestEffort, EID, &mut [0; 14]),
        Err(SendError::Header(_))
    ));
    dt.write_failed(OUT, 15);
    assert_eq!(dt.counters().drops().failed_writes.packets, 1);
    assert_eq!(dt.counters().drops().unknown_destination.packets, 1);
}

#[test]
fn without_congestion_avoidance_nothing_is_marked() {
    let mut dt = Dt::new(Config {
        congestion: congestion::Policy::None,
        ..Config::new(OWN)
    });
    let mut bytes = packet(OTHER, 4, 1, EID, b"");
    dt.mark(&mut bytes, 1000);
    assert_eq!(bytes, packet(OTHER, 4, 1, EID, b""));
    assert!(dt.table().is_empty());
    assert_eq!(
        dt.receive(IN, &mut bytes),
        Verdict::Drop(DropReason::UnknownDestination)
    );
}

proptest! {
    /// Only hops and marks of a packet ever change, and every packet is counted once.
    #[test]
    fn arbitrary_packets(mut bytes: Vec<u8>, to in 0usize..3, queued in 0usize..2000) {
        let mut dt = dt();
        if bytes.len() > 4 {
            let to = [OWN, OTHER, STRANGER][to];
            bytes[..4].copy_from_slice(&(to.get() as u32).to_le_bytes());
        }
        let before = bytes.clone();
        let verdict = dt.receive(IN, &mut bytes);
        if let Verdict::Forward { flow, .. } = verdict {
            prop_assert_eq!(flow, OUT);
            dt.mark(&mut bytes, queued);
            prop_assert_eq!(bytes[5], before[5] - 1);
            bytes[5] = before[5];
            bytes[6] = before[6];
        }
        prop_assert_eq!(&bytes, &before);
        let received = dt.counters().flow(IN).expect("known").received;
        prop_assert_eq!(received.packets, u64::from(!before.is_empty()));
        prop_assert_eq!(received.bytes, before.len() as u64);
    }
}
