//! Random schedules over a bad path: every byte arrives once and in order, or the flow ends with a
//! reason; nothing livelocks; memory stays bounded.
//!
//! A failing schedule prints its seed. `FRCP_SEED=n cargo test -p o7s-proto --test frcp_pair` runs that one,
//! `FRCP_SCHEDULES=n` another number of them.

mod frcp_sim;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use frcp_sim::reference::Reference;
use frcp_sim::{Ours, Outcome, Pair, Path, Random, Work};
use o7s_proto::frcp::{Config, Extensions, Frcp};

const LIMIT: u64 = 3_600_000_000;

fn schedules(name: &str, usual: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("FRCP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FRCP_SCHEDULES").unwrap_or(usual),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("{name}: run again with FRCP_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

fn path(random: &mut Random, worst_loss: u64) -> Path {
    let mut path = Path {
        loss: random.below(worst_loss + 1),
        duplicate: random.below(10),
        delay: [0, 50, 500, 5_000, 20_000, 100_000][random.below(6) as usize],
        ..Path::default()
    };
    if random.chance(50) {
        path.jitter = 1 + random.below(2 * path.delay + 1);
    }
    if random.chance(50) {
        path.reorder = random.below(25);
    }
    if random.chance(5) {
        let start = random.below(200_000);
        path.outage = Some((start, start + random.below(5_000_000)));
    }
    path
}

fn work(random: &mut Random, most: u64, largest: usize, smallest: usize) -> Work {
    let count = if random.chance(20) {
        0
    } else {
        random.below(most)
    };
    let scale = random.between(1, 4);
    let sizes = (0..count)
        .map(|_| smallest + random.below((largest as u64 >> (scale * 2)).max(1)) as usize)
        .collect();
    Work {
        sizes,
        write_every: [0, 0, 100, 3_000, 20_000][random.below(5) as usize],
        read_every: [0, 0, 0, 1_000, 30_000][random.below(5) as usize],
        read_batch: random.between(1, 20) as usize,
        finish: false,
    }
}

fn config(random: &mut Random, reliable: bool) -> Config {
    let extensions = Extensions {
        fragments: random.chance(50),
        selective: random.chance(60),
        window: [0, 64, 1024, 8192][random.below(4) as usize],
    };
    let max_packet = random.between(64, 1400) as usize;
    let buffer = 1 << random.between(14, 20);
    Config {
        reliable,
        mpl: Duration::from_millis(100),
        max_packet,
        max_message: 1 << 14,
        extensions,
        buffer,
    }
}

fn ours(config: &Config, random: &mut Random, base: Instant) -> Ours {
    let isn = if random.chance(30) {
        0u32.wrapping_sub(random.below(60) as u32)
    } else if random.chance(30) {
        (random.below(256) as u32) << 24 | 0x00ff_ffe0
    } else {
        random.next() as u32
    };
    Ours {
        frcp: Frcp::new(config.clone(), isn, base),
        buffer: config.buffer,
        max_message: config.max_message,
    }
}

/// What one run with two ends of ours has to end with.
fn two_of_ours(seed: u64) {
    let mut random = Random::new(seed);
    let base = Instant::now();
    let reliable = random.chance(80);
    let config = config(&mut random, reliable);
    let mut ends = [0, 1].map(|_| ours(&config, &mut random, base));
    let largest = ends[0].frcp.max_message();
    let paths = [0, 1].map(|_| path(&mut random, 30));
    let smallest = if reliable { 0 } else { 8 };
    let work = [0, 1].map(|_| work(&mut random, 60, largest - smallest, smallest));
    let [first, second] = &mut ends;
    let room = if random.chance(20) { 5 } else { usize::MAX };
    let mut pair = Pair::new([first, second], paths, work, reliable, base, random);
    pair.room = room;
    let outcome = pair.run(LIMIT);
    assert_eq!(outcome, Outcome::Done, "{}", pair.describe());
    assert!(pair.largest_packet <= config.max_packet);
}

/// One end is ours, the other as 0.23 has it. Its losses may end the flow (8.5), ours must not lose order.
fn with_the_reference(seed: u64) {
    let mut random = Random::new(seed);
    let base = Instant::now();
    let reliable = random.chance(70);
    let config = Config {
        reliable,
        max_packet: 1400,
        buffer: 1 << 20,
        ..Config::default()
    };
    let mut ours = ours(&config, &mut random, base);
    let mut theirs = Reference::new(reliable, random.next() as u32, base);
    let paths = [0, 1].map(|_| path(&mut random, 15));
    let mut work = [0, 1].map(|_| work(&mut random, 60, 400, 8));
    // A reference that never heard an edge stops for good after 64 packets (T3); we tell it one.
    for work in &mut work {
        work.write_every = work.write_every.max(100);
    }
    let mut pair = Pair::new(
        [&mut ours, &mut theirs],
        paths,
        work,
        reliable,
        base,
        random,
    );
    let outcome = pair.run(LIMIT);
    assert_eq!(outcome, Outcome::Done, "{}", pair.describe());
}

#[test]
fn random_schedules_between_two_of_ours() {
    schedules("random_schedules_between_two_of_ours", 7_000, two_of_ours);
}

#[test]
fn random_schedules_with_the_reference() {
    schedules(
        "random_schedules_with_the_reference",
        3_000,
        with_the_reference,
    );
}

fn steady(sizes: usize) -> Work {
    Work {
        sizes: std::iter::repeat_n(100, sizes).collect(),
        write_every: 200,
        ..Work::default()
    }
}

/// Traps T3 and T4: one-way ordered, unreliable flows stop for good after 64 packets between two peers of
/// 0.23, and after 256 losses. With one end of ours they go on, whichever it is.
#[test]
fn t3_t4_one_way_unreliable_flows_go_on() {
    for sender_is_ours in [true, false] {
        for loss in [0, 10] {
            let base = Instant::now();
            let mut random = Random::new(7);
            let config = Config {
                reliable: false,
                ..Config::default()
            };
            let mut ours = ours(&config, &mut random, base);
            let mut theirs = Reference::new(false, 99, base);
            let paths = [0, 1].map(|_| Path {
                loss,
                delay: 500,
                ..Path::default()
            });
            let (work, ends): (_, [&mut dyn frcp_sim::End; 2]) = if sender_is_ours {
                ([steady(5000), steady(0)], [&mut ours, &mut theirs])
            } else {
                ([steady(0), steady(5000)], [&mut ours, &mut theirs])
            };
            let mut pair = Pair::new(ends, paths, work, false, base, random);
            assert_eq!(pair.run(LIMIT), Outcome::Done, "{}", pair.describe());
            let received = pair.received[usize::from(sender_is_ours)];
            assert!(received >= 4990, "{}", pair.describe());
        }
    }
}

/// Thousands of messages both ways with a peer of 0.23 over a bad path.
#[test]
fn a_long_reliable_transfer_with_the_reference() {
    for seed in 0..5 {
        let base = Instant::now();
        let mut random = Random::new(seed);
        let config = Config::default();
        let mut ours = ours(&config, &mut random, base);
        let mut theirs = Reference::new(true, random.next() as u32, base);
        let paths = [0, 1].map(|_| Path {
            loss: 5,
            delay: 2_000,
            jitter: 1_000,
            reorder: 5,
            duplicate: 2,
            ..Path::default()
        });
        let work = [steady(2000), steady(2000)];
        let mut pair = Pair::new([&mut ours, &mut theirs], paths, work, true, base, random);
        assert_eq!(pair.run(LIMIT), Outcome::Done, "{}", pair.describe());
        assert_eq!(pair.received, [2000, 2000]);
        assert!(pair.now < 120_000_000, "{}", pair.describe());
    }
}

/// A path that only reorders: the sender learns how much and stops to take late packets for lost.
#[test]
fn reordering_alone_causes_few_retransmissions() {
    for selective in [true, false] {
        for jitter in [2_000, 10_000] {
            let base = Instant::now();
            let mut random = Random::new(3);
            let config = Config {
                extensions: Extensions {
                    selective,
                    window: 1024,
                    ..Extensions::default()
                },
                ..Config::default()
            };
            let mut ends = [0, 1].map(|_| ours(&config, &mut random, base));
            let paths = [0, 1].map(|_| Path {
                delay: 10_000,
                jitter,
                ..Path::default()
            });
            let [first, second] = &mut ends;
            let work = [steady(5000), steady(0)];
            let mut pair = Pair::new([first, second], paths, work, true, base, random);
            assert_eq!(pair.run(LIMIT), Outcome::Done, "{}", pair.describe());
            let stats = ends[0].frcp.stats();
            assert!(stats.retransmitted < 250, "{selective} {jitter}: {stats:?}");
        }
    }
}

/// One end writes, deallocates at once and lingers: everything arrives, and it learns so.
#[test]
fn an_end_that_has_finished_lingers_until_everything_arrived() {
    schedules(
        "an_end_that_has_finished_lingers_until_everything_arrived",
        1000,
        |seed| {
            let mut random = Random::new(seed);
            let base = Instant::now();
            let config = config(&mut random, true);
            let mut ends = [0, 1].map(|_| ours(&config, &mut random, base));
            let largest = ends[0].frcp.max_message();
            let paths = [0, 1].map(|_| path(&mut random, 30));
            let mut work = [0, 1].map(|_| work(&mut random, 40, largest, 0));
            work[0].finish = true;
            work[1].sizes.clear();
            let [first, second] = &mut ends;
            let mut pair = Pair::new([first, second], paths, work, true, base, random);
            let outcome = pair.run(LIMIT);
            assert_eq!(outcome, Outcome::Done, "{}", pair.describe());
            assert!(ends[0].frcp.is_drained());
        },
    );
}

/// Bits change on the way, as below AES-CTR without authentication: content may be wrong and the flow may end,
/// but nothing panics, nothing livelocks and memory stays bounded.
#[test]
fn corruption_harms_the_flow_only() {
    schedules("corruption_harms_the_flow_only", 500, |seed| {
        let mut random = Random::new(seed);
        let base = Instant::now();
        let reliable = random.chance(70);
        let config = config(&mut random, reliable);
        let mut ends = [0, 1].map(|_| ours(&config, &mut random, base));
        let mut now = base;
        let mut wire: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut out = Vec::new();
        for _ in 0..300 {
            now += Duration::from_micros(random.below(20_000));
            for (from, end) in ends.iter_mut().enumerate() {
                let message = frcp_sim::message(from, 0, random.below(300) as usize);
                if message.len() <= end.frcp.max_message() {
                    frcp_sim::End::write(end, now, &message);
                }
                end.frcp.handle_timeout(now);
                let mut count = 0;
                while end.frcp.poll_transmit(now, &mut out) {
                    wire.push((1 - from, out.clone()));
                    count += 1;
                    assert!(count < 100_000, "endless transmission");
                }
            }
            wire.truncate(200);
            while !wire.is_empty() {
                let at = random.below(wire.len() as u64) as usize;
                let (to, mut packet) = wire.swap_remove(at);
                if random.chance(30) {
                    let at = random.below(packet.len() as u64) as usize;
                    packet[at] ^= random.next() as u8;
                }
                if random.chance(5) {
                    packet.truncate(random.below(packet.len() as u64) as usize);
                }
                let _ = ends[to].frcp.handle_packet(now, &packet);
                if random.chance(50) {
                    ends[to].frcp.read(now, |_| ());
                }
            }
            for end in &ends {
                frcp_sim::End::check(end);
            }
        }
    });
}
