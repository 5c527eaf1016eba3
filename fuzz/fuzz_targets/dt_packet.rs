//! Arbitrary packets through data transfer: no panic, only hops and marks of a packet change, and headers
//! that parse emit the same bytes.
//!
//! The first two bytes are widths of address and EID, and policies. Then packets of up to 255 bytes, each
//! behind its length and a byte for the queue that it finds.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use o7s_proto::{
    congestion,
    dt::{Config, Dt, Verdict},
    forwarding::{FlowToken, Policy, Route, Table},
};
use o7s_wire::dt::{Address, Eid, Packet, QosCube, Sizes};

fuzz_target!(|input: &[u8]| {
    let Some((&[widths, setup], mut input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let sizes = Sizes::new(
        usize::from(widths & 7) + 1,
        usize::from(widths >> 3 & 7) + 1,
    )
    .expect("1 to 8 bytes each");
    let mut dt = Dt::new(Config {
        sizes,
        max_ttl: setup,
        congestion: congestion::Policy::from_number(u32::from(setup & 1)).unwrap_or_default(),
        ..Config::new(Address::new(1))
    });
    let flows = [FlowToken(0), FlowToken(1), FlowToken(70_000)];
    let routes: Vec<Route> = (2..20)
        .map(|member| Route {
            destination: Address::new(member),
            next_hops: vec![Address::new(2), Address::new(3)],
        })
        .collect();
    let policy = Policy::from_number(u32::from(setup >> 1 & 3)).unwrap_or_default();
    dt.set_table(Arc::new(Table::build(policy, &routes, 1, |hop| {
        if hop.get() == 2 {
            &flows[..1]
        } else {
            &flows[1..]
        }
    })));
    dt.add_flow(flows[0], QosCube::BestEffort);
    dt.add_flow(flows[2], QosCube::Voice);
    while let Some((&[len, queue], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        input = rest;
        let mut packet = bytes.to_vec();
        let verdict = dt.receive(flows[usize::from(queue % 3)], &mut packet);
        if let Verdict::Forward { flow, .. } = verdict {
            dt.mark(&mut packet, usize::from(queue) * 8);
            dt.written(flow, packet.len());
            let before = Packet::new_checked(bytes, sizes).expect("it was forwarded");
            let after = Packet::new_checked(&packet, sizes).expect("it was forwarded");
            assert_eq!(after.ttl(), before.ttl() - 1);
            assert_eq!(after.ecn() & before.ecn(), before.ecn());
            assert_eq!(
                (after.destination(), after.eid()),
                (before.destination(), before.eid())
            );
            assert_eq!(
                (after.cube(), after.payload()),
                (before.cube(), before.payload())
            );
        } else {
            assert_eq!(packet, bytes);
        }
        if let Ok(packet) = Packet::new_checked(bytes, sizes) {
            let _ = packet.to_string();
            assert_eq!(packet.repr().to_packet(sizes, packet.payload()), bytes);
        }
        if queue & 0x80 != 0 {
            dt.set_down(flows[usize::from(len % 3)], queue & 0x40 != 0);
        }
        let destination = Address::new(u64::from(len));
        let _ = dt.send(
            destination,
            QosCube::Video,
            Eid(u64::from(queue)),
            &mut packet,
        );
    }
});
