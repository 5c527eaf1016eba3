//! Measures a ring between two threads, each with its own mapping of the segment.
//!
//! `cargo bench -p o7s-ring`; the threads are pinned to the first two processors if there are two.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use o7s_ring::{DEFAULT_CAPACITY, Endpoint, Segment, SendError, Side, WaitOutcome};
use rustix::thread::{CpuSet, futex, sched_setaffinity};

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not pinned to processor {cpu}: {error}");
    }
}

fn pair() -> (Endpoint, Endpoint) {
    let segment = Segment::create(DEFAULT_CAPACITY).expect("a segment");
    (
        Endpoint::open(segment.fd(), Side::A).expect("side A"),
        Endpoint::open(segment.fd(), Side::B).expect("side B"),
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// One call per packet on both sides.
    Single,
    /// Writer sends batches of 32, reader takes up to 32.
    Batch,
}

fn throughput(len: usize, count: u64, mode: Mode, cpus: [usize; 2]) {
    let (a, b) = pair();
    let barrier = Arc::new(Barrier::new(2));
    let started = Arc::clone(&barrier);
    let writer = std::thread::spawn(move || {
        pin(cpus[0]);
        let (mut tx, _rx, state) = a.split();
        let waiter = state.write_waiter();
        let packet = vec![7u8; len];
        let batch = vec![packet.as_slice(); 32];
        started.wait();
        let mut sent = 0;
        while sent < count {
            let full = if mode == Mode::Single {
                match tx.try_send(&packet) {
                    Ok(()) => {
                        sent += 1;
                        false
                    }
                    Err(SendError::Full) => true,
                    Err(error) => panic!("{error}"),
                }
            } else {
                let left = usize::try_from(count - sent).unwrap_or(32).min(32);
                let (done, error) = tx.try_send_batch(&batch[..left]);
                sent += done as u64;
                error.is_some()
            };
            if full {
                waiter.wait(None, || waiter.writable(len), || false);
            }
        }
        (tx, state)
    });
    pin(cpus[1]);
    let (_tx, mut rx, state) = b.split();
    let waiter = state.read_waiter();
    let mut buf = vec![0u8; len];
    barrier.wait();
    let start = Instant::now();
    let mut received = 0;
    while received < count {
        let now = if mode == Mode::Single {
            u64::from(rx.try_recv(&mut buf).expect("a sound ring").is_some())
        } else {
            rx.recv_many(32, |packet| {
                packet.copy_out(0, &mut buf);
            })
            .expect("a sound ring") as u64
        };
        received += now;
        if now == 0 {
            waiter.wait(None, || waiter.readable(), || false);
        }
    }
    let took = start.elapsed().as_secs_f64();
    writer.join().expect("the writer");
    println!(
        "{:>7} B  {}  {:>9.3} M/s  {:>8.2} GB/s",
        len,
        if mode == Mode::Single {
            "single"
        } else {
            "batch "
        },
        count as f64 / took / 1e6,
        (count as f64 * len as f64) / took / 1e9,
    );
}

fn report(name: &str, mut samples: Vec<Duration>) {
    samples.sort_unstable();
    let at = |part: usize| samples[samples.len() * part / 1000].as_nanos();
    let total: Duration = samples.iter().sum();
    println!(
        "{name:<34} mean {:>7} ns  p50 {:>7} ns  p99 {:>7} ns",
        total.as_nanos() / samples.len() as u128,
        at(500),
        at(990)
    );
}

/// `idle` round trips come first that take a millisecond each, after which both sides sleep at
/// once.
fn round_trips(idle: usize, count: usize, cpus: [usize; 2], name: &str) {
    let (a, b) = pair();
    let echo = std::thread::spawn(move || {
        pin(cpus[0]);
        let (mut tx, mut rx, state) = a.split();
        let waiter = state.read_waiter();
        let mut buf = [0u8; 64];
        for _ in 0..idle + count {
            while rx.try_recv(&mut buf).expect("a sound ring").is_none() {
                let done = waiter.wait(None, || waiter.readable(), || false);
                assert_ne!(done, WaitOutcome::TimedOut);
            }
            tx.try_send(&buf).expect("space");
        }
    });
    pin(cpus[1]);
    let (mut tx, mut rx, state) = b.split();
    let waiter = state.read_waiter();
    let mut buf = [0u8; 64];
    let mut samples = Vec::with_capacity(count);
    for trip in 0..idle + count {
        if trip < idle {
            std::thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        tx.try_send(&buf).expect("space");
        while rx.try_recv(&mut buf).expect("a sound ring").is_none() {
            waiter.wait(None, || waiter.readable(), || false);
        }
        if trip >= idle {
            samples.push(start.elapsed());
        }
    }
    echo.join().expect("the echo");
    report(name, samples);
}

/// The plainest futex ping-pong, to compare with.
fn futex_round_trips(count: usize, cpus: [usize; 2], name: &str) {
    static WORDS: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
    fn post(word: &AtomicU32) {
        word.store(1, Ordering::Release);
        futex::wake(word, futex::Flags::empty(), 1).expect("wake");
    }
    fn take(word: &AtomicU32) {
        while word.swap(0, Ordering::AcqRel) == 0 {
            let _ = futex::wait(word, futex::Flags::empty(), 0, None);
        }
    }
    let echo = std::thread::spawn(move || {
        pin(cpus[0]);
        for _ in 0..count {
            take(&WORDS[0]);
            post(&WORDS[1]);
        }
    });
    pin(cpus[1]);
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        post(&WORDS[0]);
        take(&WORDS[1]);
        samples.push(start.elapsed());
    }
    echo.join().expect("the echo");
    report(name, samples);
}

fn main() {
    let two = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    let apart = if two { [1, 0] } else { [0, 0] };
    for mode in [Mode::Single, Mode::Batch] {
        throughput(64, 20_000_000, mode, apart);
        throughput(1400, 4_000_000, mode, apart);
        throughput(65_536, 200_000, mode, apart);
    }
    round_trips(0, 200_000, apart, "round trip, own processors");
    round_trips(500, 200_000, apart, "round trip, after idle time");
    futex_round_trips(50_000, apart, "futex alone, own processors");
    round_trips(0, 100_000, [0, 0], "round trip, one processor");
    futex_round_trips(100_000, [0, 0], "futex alone, one processor");
}
