//! How fast packets pass through a local IPCP: one sender, one receiver, for some lengths.
//!
//! `cargo build --release --bins && cargo run --release --package o7s-tests --example passage_rate`

use std::{
    thread,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, QosSpec, control::Impairment};
use o7s_tests::TestNode;

fn main() {
    let delayed = Impairment {
        delay_us: 5_000,
        ..Impairment::default()
    };
    for (what, impairment) in [("plain", Impairment::default()), ("delay 5 ms", delayed)] {
        let test = TestNode::start_impaired(impairment);
        test.serve_here("rate");
        for (length, count) in [(64, 5_000_000), (1400, 2_000_000), (65_536, 100_000)] {
            run(&test, what, length, count);
        }
        round_trips(&test, what);
    }
}

fn pair(test: &TestNode) -> (Flow, Flow) {
    thread::scope(|scope| {
        let accept = scope.spawn(|| test.node().accept(None).expect("a flow arrives"));
        let client = test.node().alloc("rate", QosSpec::RAW, None);
        (
            client.expect("a flow is made"),
            accept.join().expect("the acceptor ends"),
        )
    })
}

fn run(test: &TestNode, what: &str, length: usize, count: u32) {
    let (client, server) = pair(test);
    let start = Instant::now();
    let (received, bytes) = thread::scope(|scope| {
        scope.spawn(|| {
            let packet = vec![7; length];
            for _ in 0..count {
                client.write(&packet).expect("a packet is written");
            }
            client.dealloc().expect("the flow is deallocated");
        });
        let (mut received, mut bytes) = (0_u64, 0_u64);
        let (mut buffer, mut lengths) = (Vec::new(), Vec::new());
        loop {
            match server.try_read_appended(256, &mut buffer, &mut lengths) {
                Ok(()) => {
                    received += lengths.len() as u64;
                    bytes += buffer.len() as u64;
                    buffer.clear();
                    lengths.clear();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = server.wait_readable(None);
                }
                Err(_) => return (received, bytes),
            }
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}, {length} B: {received} of {count} packets, {:.2} M/s, {:.2} GB/s",
        received as f64 / seconds / 1e6,
        bytes as f64 / seconds / 1e9
    );
}

fn round_trips(test: &TestNode, what: &str) {
    const COUNT: u32 = 200;
    let (client, server) = pair(test);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..COUNT {
                let packet = server.read_packet().expect("a packet arrives");
                server.write(&packet).expect("it is sent back");
            }
        });
        for _ in 0..COUNT {
            client.write(b"ping").expect("a packet is written");
            client.read_packet().expect("it comes back");
        }
    });
    let each: Duration = start.elapsed() / COUNT;
    println!("{what}: round trip {each:?}");
}
