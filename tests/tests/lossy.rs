//! Reliable flows between two programs over a layer that loses, delays and reorders on purpose.
//!
//! `cargo test --release --package o7s-tests --test lossy -- --ignored --nocapture` runs the long
//! transfers and prints their throughput beside the bandwidth-delay product of the window.

use std::{
    thread,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, EventKind, EventQueue, FlowSet, QosSpec, control::Impairment};
use o7s_tests::{Peer, TestNode, bulk, digest, qos};

/// A layer whose packets are those of Ethernet.
const ETHERNET: Impairment = Impairment {
    loss: 0,
    delay_us: 0,
    jitter_us: 0,
    reorder: 0,
    duplicate: 0,
    corrupt: 0,
    mtu: 1500,
    seed: 7,
};

fn server(test: &TestNode, name: &str) -> Peer {
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve(name, server.pid());
    server
}

/// Sends `total` bytes to another process in messages of `size` bytes; how long it took.
fn transfer(impairment: Impairment, words: &[&str], total: usize, size: usize) -> Duration {
    let test = TestNode::start_impaired(impairment);
    let mut server = server(&test, "sink");
    server.send("accept 1");
    let flow = test.node().alloc("sink", qos(words), None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    server.send(&format!("digest {total}"));
    let start = Instant::now();
    let sent = bulk(&flow, total, size).unwrap();
    flow.dealloc().unwrap();
    let taken = start.elapsed();
    assert_eq!(server.line(), sent, "every byte arrived once and in order");
    assert_eq!(server.ask("dealloc"), "ok");
    test.until_status(|status| status.flows == 0);
    taken
}

#[test]
fn every_byte_arrives_through_loss_reordering_duplication_and_corruption() {
    let rough = Impairment {
        loss: 20_000,
        delay_us: 500,
        jitter_us: 200,
        reorder: 20_000,
        duplicate: 10_000,
        corrupt: 10_000,
        ..ETHERNET
    };
    // A CRC for what the wire damages; with encryption none is needed.
    transfer(rough, &["in_order=1", "loss=0", "ber=0"], 2_000_000, 1000);
    let words = ["in_order=1", "loss=0", "cypher_s=256"];
    transfer(rough, &words, 2_000_000, 10_000);
}

#[test]
fn a_transfer_through_ten_percent_of_loss() {
    let lossy = Impairment {
        loss: 100_000,
        delay_us: 1000,
        ..ETHERNET
    };
    transfer(lossy, &["in_order=1", "loss=0"], 4_000_000, 20_000);
}

/// 100 MB at each loss and delay. The rate is printed beside what the window allows: 16 MiB in a
/// round trip, or 8192 packets of 1488 bytes, whichever is less.
#[test]
#[ignore = "minutes; see the head of this file"]
fn a_hundred_megabytes() {
    const TOTAL: usize = 100_000_000;
    println!("loss  delay   time       rate       window / round trip");
    for loss in [0, 10_000, 100_000] {
        for delay_ms in [1, 20] {
            let impairment = Impairment {
                loss,
                delay_us: delay_ms * 1000,
                ..ETHERNET
            };
            let time = transfer(impairment, &["in_order=1", "loss=0"], TOTAL, 1400);
            let rate = TOTAL as f64 / time.as_secs_f64() / 1e6;
            let window = 8192.0 * 1488.0 / (2e-3 * f64::from(delay_ms)) / 1e6;
            println!(
                "{:>3} %  {delay_ms:>2} ms {time:>9.2?} {rate:>7.1} MB/s {window:>9.1} MB/s",
                loss / 10_000
            );
        }
    }
}

#[test]
fn a_best_effort_flow_keeps_order_and_goes_on_after_losses() {
    const MESSAGES: u64 = 5000;
    let lossy = Impairment {
        loss: 50_000,
        reorder: 50_000,
        delay_us: 200,
        ..ETHERNET
    };
    let test = TestNode::start_impaired(lossy);
    let mut client = server(&test, "other");
    test.serve_here("here");
    client.send("alloc here 1 in_order=1 loss=1");
    let flow = test.node().accept(None).unwrap();
    assert_eq!(client.line(), "allocated 1");
    client.send(&format!("number {MESSAGES}"));
    // One way, far more than the window of 64 packets after which 0.23 stops for good.
    let (mut last, mut count) = (None, 0);
    flow.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    while last != Some(MESSAGES - 1) {
        match flow.read_packet() {
            Ok(packet) => {
                let number = u64::from_be_bytes(packet[..].try_into().unwrap());
                assert!(last < Some(number), "{number} after {last:?}");
                (last, count) = (Some(number), count + 1);
            }
            // The last ones were lost.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                break;
            }
        }
    }
    assert_eq!(client.line(), format!("numbered {MESSAGES}"));
    assert!(count > MESSAGES * 3 / 5, "{count} of {MESSAGES} arrived");
}

#[test]
fn a_peer_that_is_killed_is_found_out_within_the_timeout() {
    let test = TestNode::start_impaired(ETHERNET);
    let mut server = server(&test, "doomed");
    server.send("accept 2");
    let words = ["in_order=1", "loss=0", "timeout=500"];
    let flow = test.node().alloc("doomed", qos(&words), None).unwrap();
    let watched = test.node().alloc("doomed", qos(&words), None).unwrap();
    assert_eq!(server.line(), "accepted 2");
    flow.write(b"hello").unwrap();
    assert_eq!(server.ask("read"), "hello");
    let set = FlowSet::new().unwrap();
    set.add(&watched).unwrap();
    server.kill();
    let error = flow.read_packet().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::FlowPeer | ErrorKind::FlowDown),
        "{error}"
    );
    let queue = EventQueue::new();
    set.wait(&queue, None).unwrap();
    let event = queue.next_event().unwrap().kind;
    assert!(
        matches!(
            event,
            EventKind::Peer | EventKind::Dealloc | EventKind::Down
        ),
        "{event:?}"
    );
}

#[test]
fn a_peer_that_is_stopped_for_less_than_the_timeout_loses_nothing() {
    const MESSAGES: usize = 3000;
    let test = TestNode::start_impaired(Impairment {
        loss: 10_000,
        ..ETHERNET
    });
    let mut server = server(&test, "pausing");
    server.send("accept 1");
    let words = ["in_order=1", "loss=0", "timeout=60000", "cypher_s=128"];
    let flow = test.node().alloc("pausing", qos(&words), None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES as u64 {
                flow.write(&number.to_be_bytes()).unwrap();
            }
        });
        server.send(&format!("count {MESSAGES}"));
        for _ in 0..5 {
            server.stop();
            server.go_on();
        }
        assert_eq!(server.line(), format!("counted {MESSAGES}"));
    });
}

#[test]
fn the_services_asked_for_are_told_truly_at_both_ends() {
    let test = TestNode::start_impaired(ETHERNET);
    let mut server = server(&test, "truth");
    server.send("accept 1");
    let asked = QosSpec {
        cypher_s: 192,
        ..QosSpec::DATA
    };
    let flow = test.node().alloc("truth", asked, None).unwrap();
    assert_eq!(server.line(), "accepted 1");
    assert_eq!(flow.qos(), Ok(asked));
    assert_eq!(server.ask("qos"), "1 0 0 192");
    assert_eq!(flow.frct_flags().unwrap().0, 7);
    // Echo both ways.
    flow.write(b"there").unwrap();
    assert_eq!(server.ask("read"), "there");
    assert_eq!(server.ask("write and back"), "ok");
    assert_eq!(flow.read_packet().unwrap(), b"and back");
    let text = digest(&flow, 0).unwrap();
    assert_eq!(text.len(), 64);
}
