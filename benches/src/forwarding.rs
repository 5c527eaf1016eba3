//! What it costs a unicast IPCP to forward a packet, without moving its bytes: header, forwarding table,
//! hops, mark, counters, on one core.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use o7s_proto::{
    dt::{Config, Dt, Verdict},
    forwarding::{FlowToken, Policy, Route, Table},
};
use o7s_wire::dt::{Address, Eid, QosCube, Repr, Sizes};

use crate::{Outcome, transport::pin};

/// Packets in memory, to as many destinations as there are, in an order that no cache foresees.
const PACKETS: usize = 4096;
const PAYLOAD: [u8; 64] = [7; 64];
/// Rounds over all packets; the fastest counts, so that other work on the machine shows little.
const ROUNDS: usize = 2000;
const NEIGHBOURS: u32 = 16;
/// Beyond 16 waiting packets a packet is marked.
const QUEUED: usize = 100;

/// Numbers in an order like that of random ones.
fn scrambled(number: usize) -> u64 {
    (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Addresses are random (`spec/unicast.md` §9).
fn member(number: usize) -> Address {
    Address::new(scrambled(number) >> 32)
}

pub(crate) fn run() -> Outcome {
    pin(0)?;
    println!("forwarding on one core, ns per packet of 79 bytes");
    println!(
        "{:>12} {:>28} {:>10} {:>12}",
        "members", "policy", "table", "all"
    );
    for members in [100, 10_000, 100_000] {
        for (policy, what) in [
            (Policy::Simple, "simple"),
            (Policy::LoopFreeAlternates, "alternates, one flow down"),
            (Policy::EqualCost, "multipath"),
        ] {
            let flows: Vec<_> = (0..NEIGHBOURS).map(FlowToken).collect();
            let routes: Vec<_> = (0..members)
                .map(|number| Route {
                    destination: member(number),
                    next_hops: (0..2)
                        .map(|hop| Address::new((number as u64 + hop) % u64::from(NEIGHBOURS)))
                        .collect(),
                })
                .collect();
            let table = Table::build(policy, &routes, 4711, |hop| {
                std::slice::from_ref(&flows[hop.get() as usize])
            });
            let mut dt = Dt::new(Config::new(Address::new(1)));
            for flow in &flows {
                dt.add_flow(*flow, QosCube::BestEffort);
            }
            dt.set_table(Arc::new(table));
            if policy == Policy::LoopFreeAlternates {
                dt.set_down(flows[0], true);
            }
            let (lookup, all) = measure(&mut dt, members);
            println!("{members:>12} {what:>28} {lookup:>10.1} {all:>12.1}");
        }
    }
    println!();
    Ok(())
}

/// ns for a look into the table, and for all that a packet needs.
fn measure(dt: &mut Dt, members: usize) -> (f64, f64) {
    let destinations: Vec<_> = (0..PACKETS)
        .map(|number| {
            let order = scrambled(number + 1_000_000) as usize % members;
            (member(order), Eid(scrambled(number)))
        })
        .collect();
    let mut packets: Vec<_> = destinations
        .iter()
        .map(|&(destination, eid)| {
            Repr {
                destination,
                cube: 0,
                ttl: 60,
                ecn: 0,
                eid,
            }
            .to_packet(Sizes::DEFAULT, &PAYLOAD)
        })
        .collect();
    let table = Arc::clone(dt.table());
    let down = Default::default();
    let lookup = fastest(|| {
        destinations
            .iter()
            .filter_map(|&(destination, eid)| table.lookup(black_box(destination), eid, &down).ok())
            .fold(0, |sum, flow| sum ^ flow.0)
    });
    let all = fastest(|| {
        for packet in &mut packets {
            // Hops as they were when it came.
            packet[5] = 60;
            if let Verdict::Forward { flow, .. } = dt.receive(FlowToken(0), packet) {
                dt.mark(packet, QUEUED);
                dt.written(flow, packet.len());
            }
        }
    });
    (lookup, all)
}

/// ns per packet of the fastest round.
fn fastest<T>(mut round: impl FnMut() -> T) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(round());
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / PACKETS as f64
}
