//! Arbitrary messages, answers, commands and pauses at one member's directory: no panic, bounded memory,
//! a bounded number of messages for each that comes in, and deadlines that lead somewhere.

#![no_main]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use o7s_proto::dht::{Config, Dht};
use o7s_wire::{
    address::Address,
    dht::{Body, Contact, Key, Message, Nodes, Value},
    hash::NameHash,
};

const LEN: usize = 32;
const MAX_MESSAGE: usize = 600;

/// One of 256 members, or names.
fn key(number: u8) -> Key {
    let mut bytes = [number; LEN];
    bytes[1] = number.wrapping_mul(91);
    Key::from_bytes(&bytes).unwrap()
}

fn contact(number: u8) -> Contact {
    Contact {
        id: key(number),
        address: Address::new(u64::from(number % 100) + 1),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&setup, mut input)) = input.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let config = Config {
        alpha: u32::from(setup & 3),
        k: u32::from(setup >> 2 & 7),
        t_expire: 300,
        t_refresh: 30,
        t_replicate: 20,
        max_message: MAX_MESSAGE,
        ..Config::new(Address::new(1), (setup & 64 == 0).then(|| Address::new(2)))
    };
    let mut dht = Dht::new(config, [setup; 32], now, 1_000);
    let mut asked: VecDeque<(Address, Message)> = VecDeque::new();
    let mut out = Vec::new();
    // A step: what to do, and two numbers; a message takes as many bytes as the second says.
    while let Some((&[action, a, b], rest)) = input.split_first_chunk::<3>() {
        input = rest;
        let name = NameHash::from(&key(a));
        match action % 10 {
            0 => {
                let (bytes, rest) = input.split_at(input.len().min(b.into()));
                input = rest;
                dht.handle_message(now, bytes);
            }
            1 | 2 => {
                // The oldest request is answered, with contacts and values of the input.
                let Some((to, request)) = asked.pop_front() else {
                    continue;
                };
                let (Body::FindNodeReq(find) | Body::FindValueReq(find)) = request.body else {
                    continue;
                };
                let src = Contact {
                    id: key(a),
                    address: to,
                };
                let nodes = Nodes {
                    cookie: find.cookie,
                    key: find.key,
                    contacts: (0..b % 24).map(|n| contact(a.wrapping_add(n))).collect(),
                };
                let body = match request.body {
                    Body::FindNodeReq(_) => Body::FindNodeRsp(nodes),
                    _ => Body::FindValueRsp {
                        nodes,
                        values: (0..action >> 5)
                            .map(|n| Value::Address(contact(b ^ n).address))
                            .collect(),
                    },
                };
                dht.handle_message(now, &Message { src, body }.emit());
            }
            3 => {
                let body = Body::Store {
                    key: key(b),
                    value: Value::Address(contact(action).address),
                    expiry: 1_000 + u32::from(action),
                };
                let src = contact(a);
                dht.handle_message(now, &Message { src, body }.emit());
            }
            4 => drop(dht.register(now, &name)),
            5 => drop(dht.unregister(now, &name)),
            6 => drop(dht.query(now, &name)),
            7 => {
                now += Duration::from_millis(u64::from(a) << (b % 12));
                let mut calls = 0;
                while dht.poll_timeout().is_some_and(|at| at <= now) {
                    dht.handle_timeout(now);
                    calls += 1;
                    assert!(calls < 1_000, "a deadline that does not move");
                }
            }
            8 => dht.reachable(now, contact(a).address),
            _ if b % 2 == 0 => dht.unreachable(now, contact(a).address),
            _ => dht.suspect(now, &name, contact(b).address),
        }
        let mut sent = 0;
        while let Some(to) = dht.poll_transmit(&mut out) {
            assert!(out.len() <= MAX_MESSAGE, "{} bytes", out.len());
            assert_ne!(to, Address::new(1));
            let message = Message::parse(&out, LEN).unwrap();
            if asked.len() < 64 {
                asked.push_back((to, message));
            }
            sent += 1;
        }
        assert!(sent < 20_000, "{sent} messages at once");
        while dht.poll_event().is_some() {}
        let sizes = dht.sizes();
        assert!(sizes.requests <= 1_024 && sizes.values <= 32_768, "{sizes:?}");
        assert!(sizes.contacts <= 1_024, "{sizes:?}");
    }
    let _ = dht.view();
});
