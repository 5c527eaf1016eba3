//! Throughput of a bulk transfer over a path with loss, in virtual time.
//!
//! `cargo run --release -p o7s-proto --example frcp_loss`
//!
//! The path has a bandwidth, a delay each way and loses packets of both directions. Its queue holds 1 MiB, then
//! the layer takes no more for a while, as a ring that is full. The ratio is that to the same path without loss.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use o7s_proto::frcp::{Config, Extensions, Frcp};

type Nanos = u64;

/// Bytes that the layer takes before they are on the line.
const QUEUE: u64 = 1 << 20;

/// Arrival, order of departure, destination, packet.
type Flight = (Nanos, u64, usize, Vec<u8>);

struct Wire {
    bits_per_second: u64,
    delay: Nanos,
    loss_per_mille: u64,
    random: u64,
    free: [Nanos; 2],
    order: u64,
    flying: BinaryHeap<Reverse<Flight>>,
    spare: Vec<Vec<u8>>,
}

impl Wire {
    /// When the queue towards `to` has room.
    fn room(&self, to: usize) -> Nanos {
        let queue = QUEUE * 8 * 1_000_000_000 / self.bits_per_second;
        self.free[to].saturating_sub(queue)
    }

    fn send(&mut self, now: Nanos, to: usize, packet: &[u8]) {
        let start = self.free[to].max(now);
        let time = (packet.len() as u64 + 40) * 8 * 1_000_000_000 / self.bits_per_second;
        self.free[to] = start + time;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if (self.random >> 20) % 1000 < self.loss_per_mille {
            return;
        }
        self.order += 1;
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(packet);
        let arrival = self.free[to] + self.delay;
        self.flying.push(Reverse((arrival, self.order, to, copy)));
    }
}

struct Scenario {
    packet: usize,
    delay_ms: u64,
    loss_per_mille: u64,
    gigabits: u64,
    extensions: Extensions,
}

fn main() {
    let ours = Extensions {
        fragments: true,
        selective: true,
        window: 8192,
    };
    let v023 = Extensions::default();
    println!("   Gbit/s  packet  delay  window   loss      MB/s  ratio  resent  acks  time-outs");
    for (gigabits, extensions, bytes) in [
        (1, ours, 100_000_000),
        (100, ours, 100_000_000),
        (1, v023, 10_000_000),
    ] {
        for packet in [1400, 8192] {
            for delay_ms in [1, 20] {
                let mut best = None;
                for loss_per_mille in [0, 10, 100] {
                    let scenario = Scenario {
                        packet,
                        delay_ms,
                        loss_per_mille,
                        gigabits,
                        extensions,
                    };
                    run(&scenario, bytes, &mut best);
                }
            }
        }
    }
}

fn run(scenario: &Scenario, total: usize, best: &mut Option<f64>) {
    let config = Config {
        reliable: true,
        mpl: Duration::from_millis(100),
        max_packet: scenario.packet,
        max_message: 1 << 20,
        extensions: scenario.extensions,
        buffer: 32 << 20,
    };
    let base = Instant::now();
    let at = |now: Nanos| base + Duration::from_nanos(now);
    let mut ends = [
        Frcp::new(config.clone(), 0xffff_f000, base),
        Frcp::new(config, 77, base),
    ];
    let mut wire = Wire {
        bits_per_second: scenario.gigabits * 1_000_000_000,
        delay: scenario.delay_ms * 1_000_000,
        loss_per_mille: scenario.loss_per_mille,
        random: 0x1234_5678_9abc_def1 ^ scenario.delay_ms << 20 ^ scenario.packet as u64,
        free: [0; 2],
        order: 0,
        flying: BinaryHeap::new(),
        spare: Vec::new(),
    };
    let message = vec![1u8; scenario.packet - 12];
    let mut now: Nanos = 0;
    let mut written = 0;
    let mut received = 0;
    let mut out = Vec::new();
    let mut blocked = [false; 2];
    let transmit = |end: usize,
                    now: Nanos,
                    ends: &mut [Frcp; 2],
                    wire: &mut Wire,
                    blocked: &mut [bool; 2],
                    out: &mut Vec<u8>| {
        loop {
            blocked[end] = wire.room(1 - end) > now;
            if blocked[end] || !ends[end].poll_transmit(at(now), out) {
                return;
            }
            wire.send(now, 1 - end, out);
        }
    };
    while received < total {
        while written < total && ends[0].write(at(now), &message).is_ok() {
            written += message.len();
        }
        transmit(0, now, &mut ends, &mut wire, &mut blocked, &mut out);
        let mut next = wire.flying.peek().map(|Reverse((when, ..))| *when);
        for end in &ends {
            if let Some(due) = end.poll_timeout() {
                let due = due.saturating_duration_since(base).as_nanos() as u64;
                next = Some(next.map_or(due, |n| n.min(due)));
            }
        }
        for (end, _) in blocked.iter().enumerate().filter(|(_, blocked)| **blocked) {
            {
                let room = wire.room(1 - end);
                next = Some(next.map_or(room, |n| n.min(room)));
            }
        }
        now = now.max(next.expect("something happens"));
        for end in 0..2 {
            if blocked[end] {
                transmit(end, now, &mut ends, &mut wire, &mut blocked, &mut out);
            }
        }
        while let Some(Reverse((when, ..))) = wire.flying.peek()
            && *when <= now
        {
            let Some(Reverse((_, _, to, packet))) = wire.flying.pop() else {
                break;
            };
            let _ = ends[to].handle_packet(at(now), &packet);
            wire.spare.push(packet);
            while let Some(len) = ends[to].read(at(now), <[u8]>::len) {
                received += len;
            }
            transmit(to, now, &mut ends, &mut wire, &mut blocked, &mut out);
        }
        for end in 0..2 {
            if ends[end].poll_timeout().is_some_and(|due| due <= at(now)) {
                ends[end].handle_timeout(at(now));
                transmit(end, now, &mut ends, &mut wire, &mut blocked, &mut out);
            }
        }
        assert!(
            ends.iter().all(|end| end.failure().is_none()),
            "{:?}",
            ends[0].stats()
        );
    }
    let rate = received as f64 * 1000.0 / now as f64;
    let ratio = rate / *best.get_or_insert(rate);
    let stats = ends[0].stats();
    println!(
        "{:9} {:7} {:4}ms {:7} {:5.1}% {rate:9.1} {ratio:6.2} {:6.1}% {:4.1}% {:10}",
        scenario.gigabits,
        scenario.packet,
        scenario.delay_ms,
        if scenario.extensions.window == 0 {
            256
        } else {
            scenario.extensions.window
        },
        scenario.loss_per_mille as f64 / 10.0,
        stats.retransmitted as f64 * 100.0 / stats.data_sent as f64,
        ends[1].stats().control_sent as f64 * 100.0 / stats.data_sent as f64,
        stats.timeouts,
    );
}
