//! What a message costs: two machines back to back in memory, no I/O, one core.
//!
//! `cargo run --release -p o7s-proto --example frcp_throughput`

use std::hint::black_box;
use std::time::{Duration, Instant};

use o7s_proto::frcp::{Config, Extensions, Frcp};

fn main() {
    let v023 = Extensions::default();
    let ours = Extensions {
        fragments: true,
        selective: true,
        window: 8192,
    };
    println!("  message  packet  window  batch   ns per message, both ends   acks per 1000");
    for (len, packet, extensions, batch, rounds) in [
        (64, 1400, v023, 1, 4_000_000u64),
        (64, 1400, v023, 32, 4_000_000),
        (64, 1400, ours, 1, 4_000_000),
        (64, 1400, ours, 32, 4_000_000),
        (64, 1400, ours, 256, 4_000_000),
        (1388, 1400, ours, 32, 2_000_000),
        (65_536, 1400, ours, 4, 40_000),
        (65_536, 66_000, ours, 4, 40_000),
    ] {
        run(len, packet, extensions, batch, rounds);
    }
}

/// `batch` messages are written, sent, received and read before the next.
fn run(len: usize, packet: usize, extensions: Extensions, batch: u64, messages: u64) {
    let config = Config {
        reliable: true,
        mpl: Duration::from_millis(100),
        max_packet: packet,
        max_message: 1 << 20,
        extensions,
        buffer: 32 << 20,
    };
    let start = Instant::now();
    let mut sender = Frcp::new(config.clone(), 1, start);
    let mut receiver = Frcp::new(config, 2, start);
    let message = vec![7u8; len];
    let mut out = Vec::with_capacity(packet);
    let mut now = start;
    let mut sent = 0;
    let mut bytes = 0usize;
    while sent < messages {
        // A hand-made clock: reading the real one is the driver's cost.
        now += Duration::from_micros(1);
        let mut written = 0;
        while written < batch && sender.write(now, black_box(&message)).is_ok() {
            written += 1;
        }
        while sender.poll_transmit(now, &mut out) {
            receiver
                .handle_packet(now, black_box(&out))
                .expect("accepted");
        }
        while receiver.readable().is_some() {
            bytes += receiver.read(now, |m| black_box(m).len()).unwrap_or(0);
        }
        while receiver.poll_transmit(now, &mut out) {
            sender
                .handle_packet(now, black_box(&out))
                .expect("accepted");
        }
        if written == 0 {
            now += Duration::from_millis(20);
            receiver.handle_timeout(now);
            sender.handle_timeout(now);
        }
        sent += written;
    }
    let took = start.elapsed();
    let nanos = took.as_nanos() as f64 / sent as f64;
    let acks = receiver.stats().control_sent as f64 * 1000.0 / sent as f64;
    assert!(bytes as u64 >= (sent - batch) * len as u64);
    println!(
        "{len:9} {packet:7} {:7} {batch:6} {nanos:12.1}  {:8.2} GB/s {acks:14.1}",
        if extensions.window == 0 {
            256
        } else {
            extensions.window
        },
        bytes as f64 / took.as_nanos() as f64,
    );
}
