//! A link-state machine with hostile neighbours: no panic, bounded memory and traffic, routes only over own
//! links, and a next deadline that is not in the past.
//!
//! Each step is an action and three bytes.

#![no_main]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use o7s_proto::linkstate::{Config, LINKS_MAX, LinkState, Output};
use o7s_wire::{
    address::Address,
    enroll::{LinkStateConfig, LinkStatePolicy},
    linkstate::Lsu,
};

const OWN: u64 = 1;

/// Few addresses and numbers, so that they meet; some that are extreme.
fn number(byte: u8) -> u64 {
    match byte {
        0..200 => u64::from(byte % 16),
        200..230 => (1 << 63) + u64::from(byte - 200),
        230..250 => u64::MAX - u64::from(byte),
        _ => u64::from(byte) << 30,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let policies = [
        LinkStatePolicy::Simple,
        LinkStatePolicy::Lfa,
        LinkStatePolicy::Ecmp,
    ];
    let config = LinkStateConfig {
        policy: policies[usize::from(first) % 3],
        ..LinkStateConfig::default()
    };
    let mut now = Instant::now();
    let mut state = LinkState::new(Config::new(&config).unwrap(), Address::new(OWN), now);
    let mut data: BTreeMap<u8, Address> = BTreeMap::new();
    let mut management = BTreeMap::new();
    while let Some((&[action, flow, one, other], tail)) = rest.split_first_chunk() {
        rest = tail;
        let flow = flow % 8;
        match action % 16 {
            0 => {
                let peer = Address::new(number(one));
                state.data_up(now, flow, peer);
                // Others are no neighbours.
                if peer.is_valid() && peer != Address::new(OWN) {
                    data.entry(flow).or_insert(peer);
                }
            }
            1 => {
                state.data_down(now, flow);
                data.remove(&flow);
            }
            2 => {
                state.management_up(now, flow);
                management.insert(flow, ());
            }
            3 => {
                state.management_down(flow);
                management.remove(&flow);
            }
            4 => now += Duration::from_millis(u64::from(one) * u64::from(other)),
            5 => state.handle_packet(now, flow, &rest[..usize::from(one).min(rest.len())]),
            _ => {
                let update = Lsu {
                    source: Address::new(number(one)),
                    destination: Address::new(number(other)),
                    seqno: number(action),
                };
                state.handle_packet(now, flow, &update.emit());
            }
        }
        if state.poll_timeout() <= now {
            state.handle_timeout(now);
            assert!(state.poll_timeout() > now);
        }
        let mut outputs = 0;
        while let Some(output) = state.poll_output() {
            outputs += 1;
            match output {
                Output::Send { flow, packet } => {
                    assert!(management.contains_key(&flow));
                    let update = Lsu::parse(&packet).unwrap();
                    assert!(update.source.is_valid() && update.destination.is_valid());
                }
                Output::Routes(routes) => {
                    for route in routes {
                        assert_ne!(route.destination, Address::new(OWN));
                        assert!(!route.next_hops.is_empty());
                        for hop in route.next_hops {
                            assert!(data.values().any(|peer| *peer == hop), "{hop}");
                        }
                    }
                }
                Output::Warning { warning, .. } => drop(warning.to_string()),
            }
        }
        assert!(outputs < 5000);
        assert!(state.links(now).count() <= LINKS_MAX);
    }
});
