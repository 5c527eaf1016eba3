//! Arbitrary frames, messages and commands at the machine of the layers on Ethernet and UDP: no panic, tables
//! within their limits, each command answered as it says, and flows that are up exactly between their events.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use o7s_proto::shim::{
    Address, Config, Event, FlowKey, Limits, Path, QueryKey, Rate, RequestKey, Shim,
};
use o7s_wire::{
    eth::MacAddr,
    hash::{DirHash, NameHash},
    qos::QosSpec,
    shim::{Layout, Message},
};

const LIMITS: Limits = Limits {
    names: 4,
    directory: 4,
    addresses: 2,
    queries: 3,
    waiters: 4,
    flows: 12,
    arrived: 6,
    arrived_per_source: 4,
    answers: 6,
    answer_bytes: 1000,
    transmits: 64,
    early: 3,
    early_bytes: 500,
    source_rate: Rate {
        per_second: 100,
        burst: 60,
    },
    total_rate: Rate {
        per_second: 100,
        burst: 80,
    },
};

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

/// One machine and what its driver knows.
struct Driver {
    shim: Shim,
    udp: bool,
    up: BTreeMap<FlowKey, Path>,
    asking: BTreeSet<FlowKey>,
    queries: BTreeSet<QueryKey>,
    requests: Vec<RequestKey>,
    resolves: Vec<NameHash>,
}

impl Driver {
    fn after(&mut self) {
        let mut count = 0;
        while let Some(event) = self.shim.poll_event() {
            count += 1;
            assert!(count < 1000, "endless events");
            match event {
                Event::FlowUp { flow, path } => {
                    assert!(self.up.values().all(|other| other.local != path.local));
                    assert_eq!(self.up.insert(flow, path), None);
                }
                Event::FlowDown { flow, .. } => assert!(self.up.remove(&flow).is_some()),
                Event::Granted { flow, .. } => {
                    assert!(self.asking.remove(&flow) && self.up.contains_key(&flow));
                }
                Event::Refused { flow, .. } => {
                    assert!(self.asking.remove(&flow) && !self.up.contains_key(&flow));
                }
                Event::Early { flow, .. } => assert!(self.up.contains_key(&flow)),
                Event::QueryResult { query, .. } => assert!(self.queries.remove(&query)),
                Event::RequestArrived { request, .. } => self.requests.push(request),
                Event::RequestGone { request } => {
                    let before = self.requests.len();
                    self.requests.retain(|other| *other != request);
                    assert_eq!(self.requests.len(), before - 1);
                }
                Event::Resolve { hash } => self.resolves.push(hash),
                Event::Link { .. } | Event::MaxPayload { .. } => {}
            }
        }
        let mut frame = Vec::new();
        let mut count = 0;
        while let Some(to) = self.shim.poll_transmit(&mut frame) {
            count += 1;
            assert!(count <= LIMITS.transmits, "endless transmission");
            assert_eq!(matches!(to, Address::Udp(_)), self.udp);
            assert!(frame.len() <= if self.udp { 2048 } else { 1514 });
        }
    }

    fn check(&self) {
        let stats = self.shim.stats();
        assert_eq!(stats.flows, self.up.len() + self.asking.len());
        assert_eq!(stats.flows, stats.endpoints);
        assert_eq!(stats.arrived, self.requests.len());
        assert!(stats.flows <= LIMITS.flows);
        assert!(stats.arrived <= LIMITS.arrived);
        assert!(stats.names <= LIMITS.names && stats.directory <= LIMITS.directory);
        assert!(stats.queries <= LIMITS.queries);
        assert!(stats.early_bytes <= LIMITS.early_bytes);
        assert!(stats.answer_bytes <= LIMITS.answer_bytes);
        for (flow, path) in &self.up {
            assert_eq!(self.shim.path(*flow), Some(*path));
        }
        if !self.asking.is_empty() || !self.queries.is_empty() || !self.requests.is_empty() {
            assert!(self.shim.poll_timeout().is_some(), "nothing waits for ever");
        }
    }
}

/// A message by its number, so that the fuzzer need not find out the layouts.
fn message<'a>(bytes: &[u8; 5], hash: &'a NameHash, piggyback: &'a [u8]) -> Message<'a> {
    let [kind, requester, acceptor, response, flags] = *bytes;
    let repeats = flags & 1 == 1;
    let hash = hash.as_bytes();
    match kind % 4 {
        0 => Message::FlowRequest {
            requester: requester.into(),
            qos: QosSpec::RAW,
            hash,
            piggyback,
            repeats,
        },
        1 => Message::FlowReply {
            requester: requester.into(),
            acceptor: acceptor.into(),
            response: [0, 0, -1007, -1009][usize::from(response % 4)],
            piggyback,
            repeats,
        },
        2 => Message::NameQuery { hash, repeats },
        _ => Message::NameReply { hash, repeats },
    }
}

fn frame(
    layout: &Layout,
    kind: u8,
    from: u8,
    broadcast: bool,
    message: &Message<'_>,
) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    message.emit(layout, &mut payload).ok()?;
    let to = if broadcast {
        MacAddr::BROADCAST
    } else {
        mac(0)
    };
    let mut frame = Vec::new();
    if kind != 2 {
        frame.extend_from_slice(&to.0);
        frame.extend_from_slice(&mac(from).0);
    }
    let len = payload.len() as u16;
    match kind {
        0 => {
            frame.extend_from_slice(&[0xa0, 0, 0, 0]);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        1 => {
            frame.extend_from_slice(&(len + 3).to_be_bytes());
            frame.extend_from_slice(&[0x80, 0x80, 3]);
        }
        _ => frame.extend_from_slice(&[0; 4]),
    }
    frame.extend_from_slice(&payload);
    Some(frame)
}

fuzz_target!(|input: &[u8]| {
    let Some((&setup, mut input)) = input.split_first() else {
        return;
    };
    let kind = setup % 3;
    let mut config = match kind {
        0 => Config::dix(mac(0), 0xa000, 1500, DirHash::Sha3_256),
        1 => Config::llc(mac(0), 1500, DirHash::Sha3_256),
        _ => Config::udp4(),
    };
    config.limits = LIMITS;
    config.random_eids = false;
    config.repeats = setup & 0x80 == 0;
    let address = |number: u8| -> Address {
        match kind {
            2 => SocketAddr::from(([10, 0, 0, number], 3435)).into(),
            _ => mac(number).into(),
        }
    };
    let hashes: Vec<_> = (0..6u8)
        .map(|name| NameHash::from_bytes(&vec![name; config.hash_len]))
        .collect();
    let layout = config.format.layout();
    let mut now = Instant::now();
    let mut driver = Driver {
        shim: Shim::new(config, [setup; 32], now),
        udp: kind == 2,
        up: BTreeMap::new(),
        asking: BTreeSet::new(),
        queries: BTreeSet::new(),
        requests: Vec::new(),
        resolves: Vec::new(),
    };
    // A step: what to do, with what, how much of the input it takes, that much.
    while let Some((&[action, what, len], rest)) = input.split_first_chunk::<3>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        input = rest;
        let hash = hashes[usize::from(what) % hashes.len()].clone();
        let flow = FlowKey(u64::from(what) % 24);
        let from = u8::from(what & 0x40 != 0) + 1;
        let source = (kind == 2).then(|| SocketAddr::from(([10, 0, 0, from], 3435)));
        match action % 14 {
            0 => {
                let _ = driver.shim.handle_frame(now, bytes, source);
            }
            1..=4 => {
                if let Some((head, piggyback)) = bytes.split_first_chunk::<5>() {
                    let message = message(head, &hash, piggyback);
                    let broadcast = head[4] & 2 == 2;
                    if let Some(frame) = frame(layout, kind, from, broadcast, &message) {
                        let _ = driver.shim.handle_frame(now, &frame, source);
                    }
                }
            }
            5 => {
                let _ = driver.shim.register(hash);
            }
            6 => driver.shim.unregister(&hash),
            7 => {
                let query = QueryKey(u64::from(what) << 8 | u64::from(len));
                if driver.queries.insert(query) {
                    let patience = Duration::from_millis(u64::from(len) * 16);
                    driver.shim.query(now, query, hash, patience);
                }
            }
            8 => {
                let known = driver.up.contains_key(&flow) || driver.asking.contains(&flow);
                match driver.shim.alloc(now, flow, hash, QosSpec::RAW, bytes) {
                    Ok(()) => {
                        assert!(!known);
                        driver.asking.insert(flow);
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            9 => {
                if let Some(request) = driver.requests.first().copied() {
                    let answer = if len & 1 == 0 {
                        Ok(flow)
                    } else {
                        Err(-i32::from(len))
                    };
                    match driver.shim.respond(now, request, answer, bytes) {
                        Err(o7s_proto::shim::CommandError::FlowExists(_)) => {}
                        _ => drop(driver.requests.remove(0)),
                    }
                }
            }
            10 => {
                let linger = Duration::from_millis(u64::from(len) * 50);
                let known = driver.up.contains_key(&flow) || driver.asking.contains(&flow);
                assert_eq!(driver.shim.dealloc(now, flow, linger).is_ok(), known);
                driver.asking.remove(&flow);
            }
            11 => {
                now += Duration::from_millis(u64::from(len) << (what & 7));
                driver.shim.handle_timeout(now);
                assert!(driver.shim.poll_timeout().is_none_or(|due| due > now));
            }
            12 => {
                let hash = driver.resolves.pop().unwrap_or(hash);
                let addresses: Vec<_> = (0..len % 4).map(|number| address(number + 1)).collect();
                driver.shim.resolved(now, &hash, &addresses);
            }
            _ => match what % 4 {
                0 => driver.shim.set_link(len & 1 == 0),
                1 => driver.shim.set_mtu(if len & 1 == 0 { 1500 } else { 100 }),
                2 => {
                    let query = driver.queries.pop_first();
                    query.map(|query| driver.shim.cancel_query(query));
                }
                _ if len & 1 == 0 => driver.shim.set_mac(now, mac(from)),
                _ => {
                    let eid = 64 + u32::from(what >> 2);
                    let quoted = [&[0; 4], &eid.to_be_bytes()[..], bytes].concat();
                    driver.shim.unreachable(now, address(from), &quoted);
                }
            },
        }
        driver.after();
        driver.check();
    }
    // In the end everything that waits has its answer.
    driver.shim.set_link(true);
    for _ in 0..200 {
        driver.after();
        while let Some(hash) = driver.resolves.pop() {
            driver.shim.resolved(now, &hash, &[]);
        }
        let Some(due) = driver.shim.poll_timeout() else {
            break;
        };
        now = due;
        driver.shim.handle_timeout(now);
    }
    driver.after();
    driver.check();
    assert!(driver.asking.is_empty() && driver.queries.is_empty() && driver.requests.is_empty());
});
