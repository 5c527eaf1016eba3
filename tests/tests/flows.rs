//! Reading, writing, flags and the end of a flow, between the two ends in this process.

use std::{
    thread,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, Flow, FlowFlags, FlowState, FrctFlags, Listener, QosSpec};
use o7s_tests::TestNode;

/// A node, and a flow with both its ends here: client and server.
fn pair() -> (TestNode, Flow, Flow) {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let (client, server) = thread::scope(|scope| {
        let server = scope.spawn(|| node.accept(None).expect("a flow arrives"));
        let client = node
            .alloc("here", QosSpec::RAW, None)
            .expect("a flow is allocated");
        (client, server.join().expect("the server thread"))
    });
    (test, client, server)
}

fn kind<T: std::fmt::Debug>(outcome: o7s::Result<T>) -> ErrorKind {
    outcome.expect_err("a failure").kind()
}

const PLAIN: FlowFlags = FlowFlags::DEFAULT;

/// The sequences of `spec/api.md` A11, column "Required".
#[test]
fn worked_results_of_the_specification() {
    let (_test, peer, flow) = pair();
    flow.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut buf = [0; 9];
    let mut read = |count: usize| flow.read(&mut buf[..count]);

    peer.write(&[1; 10]).unwrap();
    assert_eq!([read(4), read(4), read(4)], [Ok(4), Ok(4), Ok(2)]);
    assert_eq!(kind(read(4)), ErrorKind::TimedOut);

    peer.write(&[1; 4]).unwrap();
    assert_eq!([read(4), read(4)], [Ok(4), Ok(0)]);
    assert_eq!(kind(read(4)), ErrorKind::TimedOut);

    peer.write(&[1; 4]).unwrap();
    assert_eq!([read(4), read(0)], [Ok(4), Ok(0)]);

    flow.set_flags(FlowFlags(0o10002)).unwrap();
    peer.write(&[1; 10]).unwrap();
    peer.write(&[1; 2]).unwrap();
    assert_eq!(kind(read(4)), ErrorKind::MessageSize);
    assert_eq!(read(4), Ok(2));

    flow.set_flags(FlowFlags(0o3002)).unwrap();
    assert_eq!(peer.write(&[]), Ok(0));
    peer.write(&[1; 2]).unwrap();
    assert_eq!(read(9), Ok(2));
    assert_eq!(kind(read(9)), ErrorKind::WouldBlock);

    flow.set_flags(PLAIN).unwrap();
    flow.set_read_timeout(Some(Duration::ZERO)).unwrap();
    assert_eq!(kind(read(9)), ErrorKind::TimedOut);

    flow.set_flags(FlowFlags::NON_BLOCKING).unwrap();
    assert_eq!(kind(flow.write(&[1])), ErrorKind::Permission);
    assert_eq!(kind(flow.frct_flags()), ErrorKind::Permission);
    assert_eq!(
        kind(flow.set_frct_flags(FrctFlags::LINGER)),
        ErrorKind::Permission
    );

    flow.set_flags(PLAIN).unwrap();
    assert_eq!(flow.dealloc(), Ok(()));
    assert_eq!(kind(flow.dealloc()), ErrorKind::NotAllocated);
}

#[test]
fn a_new_flow_has_what_was_asked_for() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let qos = QosSpec {
        delay: 7,
        bandwidth: 1 << 40,
        max_gap: 9,
        timeout: 5000,
        ..QosSpec::RAW
    };
    thread::scope(|scope| {
        let server = scope.spawn(|| node.accept(None).unwrap());
        let client = node.alloc("here", qos, None).unwrap();
        let server = server.join().unwrap();
        for flow in [&client, &server] {
            assert_eq!(flow.qos(), Ok(qos));
            assert_eq!(flow.flags(), Ok(FlowFlags::DEFAULT));
            assert_eq!(flow.read_timeout(), Ok(None));
            assert_eq!(flow.write_timeout(), Ok(None));
            assert_eq!(flow.name(), "here");
            assert_eq!(flow.state(), FlowState::Allocated);
            assert!(flow.fd() >= 64);
        }
        assert_ne!(client.fd(), server.fd());
    });
}

#[test]
fn the_services_asked_for_are_told_truly_and_absurd_ones_are_refused() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let pair = |qos| {
        let mut client = node.start_alloc("here", qos, None).unwrap();
        let server = node.accept(None).unwrap();
        (client.wait(None).unwrap(), server)
    };
    for (qos, flags) in [(QosSpec::DATA, 7), (QosSpec::VOICE, 2)] {
        let (client, server) = pair(qos);
        for flow in [&client, &server] {
            assert_eq!(flow.qos(), Ok(qos));
            assert_eq!(flow.frct_flags(), Ok(FrctFlags(flags)));
            // Retransmission is the QoS' business; the rest is ours.
            flow.set_frct_flags(FrctFlags(0)).unwrap();
            assert_eq!(flow.frct_flags(), Ok(FrctFlags(flags & 1)));
        }
        client.write(b"served").unwrap();
        assert_eq!(server.read_packet().unwrap(), b"served");
    }
    let (raw, _server) = pair(QosSpec::RAW);
    let error = raw.frct_flags().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    let absurd = QosSpec {
        cypher_s: 257,
        ..QosSpec::RAW
    };
    let error = node.alloc("here", absurd, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("0 to 256"), "{error}");
}

#[test]
fn every_size_up_to_the_largest_arrives_whole() {
    let (_test, client, server) = pair();
    let max = client.max_packet().unwrap();
    assert!(max >= 1_048_260, "{max}");
    for size in [
        1, 2, 7, 8, 9, 63, 64, 65, 1400, 4095, 4096, 65_536, 1_048_260, max,
    ] {
        let packet: Vec<u8> = (0..size).map(|at| (at * 31 + size) as u8).collect();
        assert_eq!(client.write(&packet), Ok(size));
        assert_eq!(server.read_packet().as_ref(), Ok(&packet), "{size} bytes");
        server.write(&packet).unwrap();
        assert_eq!(
            client.read_packet().as_ref(),
            Ok(&packet),
            "{size} bytes back"
        );
    }
    let error = client.write(&vec![0; max + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageSize);
    assert!(error.to_string().contains(&max.to_string()), "{error}");
}

#[test]
fn queue_lengths_count_packets() {
    let (_test, client, server) = pair();
    for _ in 0..3 {
        client.write(b"abcd").unwrap();
    }
    assert_eq!(client.write(b""), Ok(0));
    assert_eq!(
        (client.tx_queue_len(), server.rx_queue_len()),
        (Ok(3), Ok(3))
    );
    server.read(&mut [0; 2]).unwrap();
    assert_eq!(server.rx_queue_len(), Ok(3), "read in part only");
    server.read_packet().unwrap();
    assert_eq!(
        (client.tx_queue_len(), server.rx_queue_len()),
        (Ok(2), Ok(2))
    );
    let stats = server.stats();
    assert_eq!(
        (stats.packets_read, stats.bytes_read, stats.rx_queue),
        (1, 4, 2)
    );
}

#[test]
fn bytes_put_back_are_read_first() {
    let (_test, client, server) = pair();
    client.write(b"world").unwrap();
    server.unread(b"hello").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"hello");
    assert_eq!(server.read_packet().unwrap(), b"world");
}

#[test]
fn bytes_put_back_do_not_disturb_a_packet_read_in_part() {
    let (_test, client, server) = pair();
    client.write(b"abcdef").unwrap();
    client.write(b"next").unwrap();
    let mut buf = [0; 4];
    assert_eq!(server.read(&mut buf), Ok(4));
    server.unread(b"xy").unwrap();
    assert_eq!(server.read(&mut buf[..2]), Ok(2));
    assert_eq!(buf[..2], *b"xy");
    assert_eq!(
        server.read(&mut buf),
        Ok(0),
        "what was put back was read exactly"
    );
    assert_eq!(server.read_packet().unwrap(), b"ef");
    assert_eq!(server.read_packet().unwrap(), b"next");
}

#[test]
fn many_packets_go_in_one_call() {
    let (_test, client, server) = pair();
    let packets: Vec<Vec<u8>> = (0..100_u8)
        .map(|at| vec![at; usize::from(at) + 1])
        .collect();
    assert_eq!(client.try_write_packets(&packets), (100, None));
    assert_eq!(server.read(&mut [0; 1]), Ok(1));
    assert_eq!(server.read_packets(10).unwrap(), packets[1..11]);
    assert_eq!(server.read(&mut [0; 5]), Ok(5));
    let rest = server.read_packets(1000).unwrap();
    assert_eq!(
        rest[0],
        packets[11][5..],
        "the rest of a packet comes first"
    );
    assert_eq!(rest[1..], packets[12..]);
    assert_eq!(kind(server.try_read_packets(5)), ErrorKind::WouldBlock);

    let large = vec![vec![7_u8; 300_000]; 20];
    let (sent, why) = client.try_write_packets(&large);
    assert!(sent > 0 && sent < large.len());
    assert_eq!(why.unwrap().kind(), ErrorKind::WouldBlock);
    assert_eq!(server.read_packets(1000).unwrap(), large[..sent]);
    assert_eq!(client.stats().packets_written, 100 + sent as u64);
}

#[test]
fn a_view_keeps_its_packet_until_it_is_dropped() {
    let (_test, client, server) = pair();
    assert_eq!(kind(server.try_view_packet()), ErrorKind::WouldBlock);
    client.write(b"first").unwrap();
    client.write(b"second").unwrap();
    let view = server.try_view_packet().unwrap();
    assert_eq!(view.len(), 5);
    assert_eq!(kind(server.read_packet()), ErrorKind::Busy);
    assert_eq!(kind(server.try_view_packet()), ErrorKind::Busy);
    drop(view);
    let mut two = [0; 2];
    server.read(&mut two).unwrap();
    let view = server.try_view_packet().unwrap();
    assert_eq!(view.len(), 4, "the rest of a packet");
    server.dealloc().unwrap();
    drop(view);
}

#[test]
fn a_full_flow_blocks_times_out_or_says_so_and_takes_more_after_a_read() {
    let (_test, client, server) = pair();
    let packet = vec![7; 60_000];
    let mut written = 0;
    while client.try_write(&packet).is_ok() {
        written += 1;
    }
    client
        .set_write_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    assert_eq!(kind(client.write(&packet)), ErrorKind::TimedOut);
    client.set_flags(FlowFlags(0o2002)).unwrap();
    assert_eq!(kind(client.write(&packet)), ErrorKind::WouldBlock);
    client.set_flags(PLAIN).unwrap();
    client.set_write_timeout(None).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| client.write(&packet));
        for _ in 0..=written {
            assert_eq!(server.read_packet().unwrap().len(), packet.len());
        }
        assert_eq!(writer.join().unwrap(), Ok(packet.len()));
    });
}

#[test]
fn a_write_only_end_forbids_the_other_to_write_until_it_reads_again() {
    let (_test, client, server) = pair();
    server.set_flags(FlowFlags::WRITE_ONLY).unwrap();
    let error = client.write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().contains("write-only"), "{error}");
    server.write(b"still writes").unwrap();
    assert_eq!(client.read_packet().unwrap(), b"still writes");
    server.set_flags(PLAIN).unwrap();
    client.write(b"x").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"x");
}

#[test]
fn a_flow_taken_down_comes_up_again() {
    let (_test, client, server) = pair();
    client.write(b"before").unwrap();
    client
        .set_flags(FlowFlags(PLAIN.0 | FlowFlags::DOWN.0))
        .unwrap();
    assert_eq!(server.state(), FlowState::Down);
    assert_eq!(kind(client.write(b"x")), ErrorKind::FlowDown);
    assert_eq!(kind(server.write(b"x")), ErrorKind::FlowDown);
    assert_eq!(server.read_packet().unwrap(), b"before");
    assert_eq!(kind(server.read_packet()), ErrorKind::FlowDown);
    client.set_flags(PLAIN).unwrap();
    client.write(b"after").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"after");
}

#[test]
fn what_was_written_before_dealloc_is_read_before_the_end() {
    let (_test, client, server) = pair();
    for at in 0..100_u8 {
        client.write(&[at]).unwrap();
    }
    client.dealloc().unwrap();
    for at in 0..100_u8 {
        assert_eq!(server.read_packet().unwrap(), [at]);
    }
    assert_eq!(kind(server.read_packet()), ErrorKind::FlowDown);
    assert_eq!(kind(server.write(b"x")), ErrorKind::FlowDown);
    assert_eq!(kind(client.write(b"x")), ErrorKind::NotAllocated);
    assert_eq!(kind(client.read_packet()), ErrorKind::NotAllocated);
    assert_eq!(kind(client.flags()), ErrorKind::NotAllocated);
}

#[test]
fn dealloc_ends_calls_that_block_in_other_threads() {
    let (_test, client, server) = pair();
    while client.try_write(&[7; 60_000]).is_ok() {}
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.read_packet());
        let writer = scope.spawn(|| client.write(&[7; 60_000]));
        let other_end = scope.spawn(|| {
            while server.read_packet().is_ok() {}
            server.state()
        });
        // Both block, or will find the flow gone: either way they must return.
        while client.tx_queue_len() != Ok(0) {
            thread::yield_now();
        }
        client.dealloc().unwrap();
        assert_eq!(kind(reader.join().unwrap()), ErrorKind::NotAllocated);
        let _ = writer.join().unwrap();
        assert_eq!(other_end.join().unwrap(), FlowState::Down);
    });
}

#[test]
fn the_last_handle_deallocates() {
    let (test, client, server) = pair();
    drop(client.clone());
    assert_eq!(client.state(), FlowState::Allocated);
    drop(client);
    assert_eq!(kind(server.read_packet()), ErrorKind::FlowDown);
    drop(server);
    assert_eq!(test.irm().status().unwrap().flows, 0);
}

#[test]
fn threads_share_a_flow_without_losing_or_tearing_a_packet() {
    const WRITERS: usize = 3;
    const PACKETS: usize = 2000;
    let (_test, client, server) = pair();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = &client;
            scope.spawn(move || {
                for at in 0..PACKETS {
                    let word = (writer * PACKETS + at) as u64;
                    client
                        .write(&word.to_le_bytes().repeat(1 + at % 7))
                        .unwrap();
                }
            });
        }
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    while let Ok(packet) = server.read_packet() {
                        let (words, rest) = packet.as_chunks::<8>();
                        assert!(rest.is_empty());
                        assert!(words.iter().all(|word| *word == words[0]), "torn packet");
                        let word = u64::from_le_bytes(words[0]);
                        if word == u64::MAX {
                            break;
                        }
                        seen.push(word);
                    }
                    seen
                })
            })
            .collect();
        // Readers stop at one end mark each, sent when all writers' packets have been read.
        while client.stats().packets_written < (WRITERS * PACKETS) as u64
            || client.tx_queue_len() != Ok(0)
        {
            thread::yield_now();
        }
        for _ in 0..2 {
            client.write(&u64::MAX.to_le_bytes()).unwrap();
        }
        let mut seen: Vec<u64> = readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..(WRITERS * PACKETS) as u64).collect::<Vec<_>>());
    });
}

#[test]
fn descriptor_is_readable_exactly_while_a_read_would_not_wait() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let (_test, client, server) = pair();
    let ready = |flow: &Flow, wait: i64| {
        let fd = flow.fileno().unwrap();
        let timeout = Timespec {
            tv_sec: wait,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    assert!(!ready(&server, 0));
    client.write(b"one").unwrap();
    client.write(b"two").unwrap();
    assert!(ready(&server, 10));
    server.read_packet().unwrap();
    assert!(ready(&server, 0), "another packet waits");
    server.read_packet().unwrap();
    assert!(!ready(&server, 0));
    for at in 0..1000_u16 {
        client.write(&at.to_le_bytes()).unwrap();
        assert!(ready(&server, 10));
        assert_eq!(server.read_packet().unwrap(), at.to_le_bytes());
    }
    client.dealloc().unwrap();
    assert!(ready(&server, 10), "the end is news too");
    assert_eq!(kind(server.read_packet()), ErrorKind::FlowDown);
}

#[test]
fn bad_names_are_refused_before_the_daemon_hears_of_them() {
    let test = TestNode::start();
    for name in ["", &"n".repeat(256), "a\0b"] {
        let error = test.node().alloc(name, QosSpec::RAW, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
    }
}

#[test]
fn an_unknown_name_says_what_to_do() {
    let test = TestNode::start();
    let error = test.node().alloc("nobody", QosSpec::RAW, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
    assert!(error.to_string().contains("nobody"), "{error}");
    assert!(error.to_string().contains("irm name register"), "{error}");
}

#[test]
fn a_name_that_nobody_accepts_for_times_out() {
    let test = TestNode::start();
    test.serve_here("idle");
    let before = Instant::now();
    let error = test
        .node()
        .alloc("idle", QosSpec::RAW, Some(Duration::from_millis(30)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("idle"), "{error}");
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert_eq!(test.irm().status().unwrap().pending, 0);
}

#[test]
fn accept_polls_and_times_out() {
    let test = TestNode::start();
    test.serve_here("here");
    for timeout in [Duration::ZERO, Duration::from_millis(10)] {
        assert_eq!(kind(test.node().accept(Some(timeout))), ErrorKind::TimedOut);
    }
    // A limit past the end of time is none; the flow that comes must end it.
    thread::scope(|scope| {
        let accept = scope.spawn(|| test.node().accept(Some(Duration::MAX)));
        let _client = test
            .node()
            .alloc("here", QosSpec::RAW, Some(Duration::MAX))
            .unwrap();
        accept.join().unwrap().unwrap();
    });
}

#[test]
fn there_is_no_broadcast_layer_yet() {
    let test = TestNode::start();
    let error = test.node().join("everybody", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("broadcast"), "{error}");
}

#[test]
fn a_request_given_up_loses_no_flow() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    for _ in 0..50 {
        let accept = node.start_accept(None).unwrap();
        let client = node.start_alloc("here", QosSpec::RAW, None).unwrap();
        // The accept is cancelled while its flow may be on the way.
        drop(accept);
        let server = node.accept(None).unwrap();
        let mut client = client;
        let client = client.wait(None).unwrap();
        client.write(b"found").unwrap();
        assert_eq!(server.read_packet().unwrap(), b"found");
    }
    drop(node.start_alloc("here", QosSpec::RAW, None).unwrap());
    assert_eq!(test.irm().status().unwrap().pending, 0);
}

#[test]
fn a_listener_is_readable_while_a_flow_is_here() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let listener = Listener::new(&node).unwrap();
    let ready = |wait: i64| {
        let timeout = Timespec {
            tv_sec: wait,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    assert_eq!(kind(listener.try_accept()), ErrorKind::WouldBlock);
    assert!(!ready(0));
    for round in 0..50_u8 {
        let client = node.alloc("here", QosSpec::RAW, None).unwrap();
        assert!(ready(10));
        let server = listener.try_accept().unwrap();
        client.write(&[round]).unwrap();
        assert_eq!(server.read_packet().unwrap(), [round]);
        assert!(!ready(0));
    }
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(kind(listener.accept_until(Some(soon))), ErrorKind::TimedOut);
    // A flow that nobody took is left to the next accept.
    let client = node.alloc("here", QosSpec::RAW, None).unwrap();
    assert!(ready(10));
    drop(listener);
    let again = Listener::new(&node).unwrap();
    let server = again.accept_until(None).unwrap();
    client.write(b"kept").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"kept");
}

#[test]
fn a_pending_flow_becomes_a_flow() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let flow = Flow::pending(node.start_alloc("here", QosSpec::RAW, None).unwrap()).unwrap();
    assert_eq!(flow.state(), FlowState::Pending);
    assert_eq!(kind(flow.write(b"x")), ErrorKind::InProgress);
    let server = node.accept(None).unwrap();
    while flow.state() == FlowState::Pending {
        thread::yield_now();
    }
    flow.write(b"now").unwrap();
    assert_eq!(server.read_packet().unwrap(), b"now");
}
