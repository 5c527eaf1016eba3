//! Flows without a daemon.

mod wire;

use std::{os::fd::AsFd as _, thread, time::Duration};

use o7s_ring::{DEFAULT_CAPACITY, Endpoint, Segment, Side};

use crate::{
    ErrorKind, EventKind, EventQueue, FlowFlags, FlowSet, FlowState, FrctFlags, QosSpec,
    control::{Extensions, FlowInfo},
};

use wire::*;

/// A flow that is ordered, retransmitted, without CRC.
const RELIABLE: QosSpec = QosSpec {
    loss: 0,
    in_order: 1,
    ..QosSpec::RAW
};

/// What our own daemons agree on.
const OURS: Extensions = Extensions {
    fragments: true,
    selective: true,
    window: 8192,
};

fn kind<T: std::fmt::Debug>(outcome: crate::Result<T>) -> ErrorKind {
    outcome.expect_err("a failure").kind()
}

#[test]
fn a_direct_flow_is_encrypted_and_everything_a_raw_one_is() {
    let (a, b) = pair(
        |info| {
            info.direct = true;
            info.secret = secret();
        },
        QosSpec::RAW,
    );
    let max = a.max_packet().unwrap();
    for size in [1, 2, 63, 64, 1400, 65_536, max] {
        let packet: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
        assert_eq!(a.write(&packet), Ok(size));
        assert_eq!(b.read_packet().as_ref(), Ok(&packet), "{size} bytes");
    }
    assert_eq!(kind(a.write(&vec![0; max + 1])), ErrorKind::MessageSize);
    // Partial reads, views, many at once, one event per packet.
    a.write(b"0123456789").unwrap();
    let mut part = [0; 4];
    assert_eq!(b.read(&mut part), Ok(4));
    assert_eq!(b.read_packet().unwrap(), b"456789");
    a.write(b"viewed").unwrap();
    let view = b.try_view_packet().unwrap();
    assert_eq!(view.len(), 6);
    drop(view);
    let set = FlowSet::new().unwrap();
    let (sent, failed) = a.try_write_packets(&[b"one", b"two", b"six"]);
    assert_eq!((sent, failed), (3, None));
    assert_eq!(b.rx_queue_len(), Ok(3));
    set.add(&b).unwrap();
    let queue = EventQueue::new();
    set.wait(&queue, None).unwrap();
    for _ in 0..3 {
        assert_eq!(queue.next_event().unwrap().kind, EventKind::Packet);
    }
    assert!(queue.next_event().is_none());
    assert_eq!(b.read_packets(9).unwrap(), [b"one", b"two", b"six"]);
    a.dealloc().unwrap();
    assert_eq!(kind(b.read_packet()), ErrorKind::FlowDown);
}

#[test]
fn an_encrypted_flow_that_is_full_says_so_and_loses_nothing() {
    let (a, b) = pair(
        |info| {
            info.direct = true;
            info.secret = secret();
        },
        QosSpec::RAW,
    );
    a.set_flags(FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING)
        .unwrap();
    let mut written = 0_u32;
    while a
        .write(&[&written.to_be_bytes()[..], &[0; 1000]].concat())
        .is_ok()
    {
        written += 1;
    }
    assert!(written > 1000);
    for number in 0..written {
        assert_eq!(b.read_packet().unwrap()[..4], number.to_be_bytes());
    }
    b.set_flags(FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING)
        .unwrap();
    assert_eq!(kind(b.read_packet()), ErrorKind::WouldBlock);
}

#[test]
fn a_forged_packet_is_dropped_on_a_layer_and_ends_a_direct_flow() {
    let (left, right, mut wire) = over_a_wire(|info| info.secret = secret(), QosSpec::RAW);
    left.write(b"forged").unwrap();
    left.write(b"true").unwrap();
    let mut forge = true;
    wire.carry(|_, packet| {
        if std::mem::take(&mut forge) {
            packet[20] ^= 1;
        }
        true
    });
    assert_eq!(right.read_packet().unwrap(), b"true");
    assert_eq!(right.stats().packets_discarded, 1);
    assert_eq!(right.state(), FlowState::Allocated);

    let segment = Segment::create(DEFAULT_CAPACITY).unwrap();
    let [own, _theirs] = bells();
    let mut info = info(QosSpec::RAW, Side::A);
    (info.direct, info.secret) = (true, secret());
    let flow = open(&segment, Side::A, own, &info);
    let (mut peer, ..) = Endpoint::open(segment.fd().as_fd(), Side::B)
        .unwrap()
        .split();
    peer.try_send(&[0; 100]).unwrap();
    assert_eq!(kind(flow.read_packet()), ErrorKind::Integrity);
    assert_eq!(flow.state(), FlowState::Down);
    assert_eq!(kind(flow.write(b"x")), ErrorKind::Integrity);
}

#[test]
fn crc_finds_damage_and_control_packets_of_the_reference_need_none() {
    let checked = QosSpec {
        ber: 0,
        ..QosSpec::RAW
    };
    let (left, right, mut wire) = over_a_wire(|_| {}, checked);
    left.write(b"hello").unwrap();
    wire.carry(|_, packet| {
        // `spec/frcp.md` §18, 11b.
        assert_eq!(packet[5..], [0x36, 0x10, 0xa6, 0x86]);
        packet[0] ^= 0x40;
        true
    });
    left.write(b"whole").unwrap();
    wire.pass();
    assert_eq!(right.read_packet().unwrap(), b"whole");
    assert_eq!(right.stats().packets_discarded, 1);

    let reliable = QosSpec { ber: 0, ..RELIABLE };
    let (left, _right, mut wire) = over_a_wire(|_| {}, reliable);
    left.write(b"hello").unwrap();
    let mut seqno = [0; 4];
    wire.carry(|_, packet| {
        assert_eq!(packet.len(), 12 + 5 + 4);
        seqno.copy_from_slice(&packet[4..8]);
        false
    });
    // An acknowledgement as 0.23 sends it (trap T9): flags 0e, no CRC.
    let next = u32::from_be_bytes(seqno) + 1;
    let mut ack = vec![0x0e, 0, 0, 0, 0, 0, 0, 9];
    ack[1..4].copy_from_slice(&(next + 256).to_be_bytes()[1..]);
    ack.extend(next.to_be_bytes());
    wire.ends[0].0.try_send(&ack).unwrap();
    left.linger(None).unwrap();
    assert_eq!(left.tx_queue_len(), Ok(0));
}

#[test]
fn a_message_larger_than_a_packet_is_an_error_or_travels_in_fragments() {
    let narrow = |info: &mut FlowInfo| info.max_packet = 1500;
    let (raw, ..) = over_a_wire(narrow, QosSpec::RAW);
    assert_eq!(raw.max_packet(), Ok(1500));
    let error = raw.write(&[0; 1501]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageSize);
    assert!(error.to_string().contains("at most 1500 bytes"), "{error}");
    // Towards 0.23, which knows no fragments.
    let (plain, ..) = over_a_wire(narrow, RELIABLE);
    assert_eq!(plain.max_packet(), Ok(1488));
    assert_eq!(kind(plain.write(&[0; 1489])), ErrorKind::MessageSize);
    // Between ours, encrypted: 12 bytes of FRCP and 28 of the cipher in each packet.
    let (left, right, wire) = over_a_wire(
        |info| {
            narrow(info);
            info.extensions = Some(OURS);
            info.secret = secret();
        },
        RELIABLE,
    );
    let message: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(at) >> 3) as u8)
        .collect();
    let mut longest = 0;
    let read = wire.while_carrying(
        |_, packet| {
            longest = longest.max(packet.len());
            true
        },
        || {
            left.write(&message).unwrap();
            right.read_packet().unwrap()
        },
    );
    assert_eq!(read, message);
    assert_eq!(longest, 1500);
}

/// Loses every seventh and swaps every fifth packet of both directions.
fn rough(
    seen: &mut [u64; 2],
    held: &mut [Option<Vec<u8>>; 2],
    way: usize,
    packet: &mut Vec<u8>,
) -> bool {
    seen[way] += 1;
    if seen[way].is_multiple_of(7) {
        return false;
    }
    if seen[way].is_multiple_of(5) {
        // This one waits, the one held before goes.
        let before = held[way].replace(std::mem::take(packet));
        return before.is_some_and(|before| {
            *packet = before;
            true
        });
    }
    true
}

#[test]
fn a_reliable_encrypted_flow_over_a_rough_wire_loses_and_reorders_nothing() {
    // Towards 0.23, one gap at a time is found.
    for (with_extensions, messages) in [(true, 3000_u32), (false, 150)] {
        let (left, right, wire) = over_a_wire(
            |info| {
                info.max_packet = 1400;
                info.extensions = with_extensions.then_some(OURS);
                info.secret = secret();
            },
            QosSpec { ber: 0, ..RELIABLE },
        );
        let (mut seen, mut held) = ([0; 2], [None, None]);
        wire.while_carrying(
            |way, packet| rough(&mut seen, &mut held, way, packet),
            || {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        for number in 0..messages {
                            left.write(&number.to_be_bytes()).unwrap();
                        }
                        // Deallocation waits until all of it is there.
                        left.dealloc().unwrap();
                    });
                    // The other direction at the same time.
                    scope.spawn(|| {
                        for number in 0..50_u32 {
                            right.write(&number.to_be_bytes()).unwrap();
                        }
                    });
                    for number in 0..messages {
                        assert_eq!(right.read_packet().unwrap(), number.to_be_bytes());
                    }
                });
            },
        );
        assert_eq!(right.stats().packets_discarded, 0);
    }
}

#[test]
fn acknowledgements_do_not_wait_for_the_program() {
    let (left, right, wire) = over_a_wire(|_| {}, RELIABLE);
    wire.while_carrying(
        |_, _| true,
        || {
            for number in 0..50_u8 {
                left.write(&[number]).unwrap();
            }
            // Nobody reads at the other end, and yet everything is acknowledged.
            left.linger(None).unwrap();
            assert_eq!(left.tx_queue_len(), Ok(0));
        },
    );
    for number in 0..50_u8 {
        assert_eq!(right.read_packet().unwrap(), [number]);
    }
}

#[test]
fn events_of_a_reliable_flow_are_one_per_message_also_when_a_gap_closes() {
    let (left, right, mut wire) = over_a_wire(|info| info.extensions = Some(OURS), RELIABLE);
    let set = FlowSet::new().unwrap();
    set.add(&right).unwrap();
    let queue = EventQueue::new();
    for number in 0..4_u8 {
        left.write(&[number]).unwrap();
    }
    // The second packet is late: the messages behind it become readable together with it.
    let mut late = Vec::new();
    let mut count = 0;
    wire.carry(|_, packet| {
        count += 1;
        if count == 2 {
            late = packet.clone();
        }
        count != 2
    });
    set.wait(&queue, None).unwrap();
    assert_eq!(queue.next_event().unwrap().kind, EventKind::Packet);
    assert!(queue.next_event().is_none());
    wire.ends[1].0.try_send(&late).unwrap();
    let mut told = 0;
    while told < 3 {
        set.wait(&queue, None).unwrap();
        while let Some(event) = queue.next_event() {
            assert_eq!(event.kind, EventKind::Packet);
            told += 1;
        }
    }
    let read: Vec<u8> = right.read_packets(9).unwrap().concat();
    assert_eq!(read, [0, 1, 2, 3]);
}

#[test]
fn a_descriptor_and_a_blocked_reader_learn_of_messages_that_the_service_took() {
    let (left, right, wire) = over_a_wire(|_| {}, RELIABLE);
    let watch = right.fileno().unwrap().try_clone_to_owned().unwrap();
    wire.while_carrying(
        |_, _| true,
        || {
            left.write(b"polled").unwrap();
            let mut fds = [rustix::event::PollFd::new(
                &watch,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).unwrap();
            assert_eq!(right.try_read_packet().unwrap(), b"polled");
            thread::scope(|scope| {
                let reader = scope.spawn(|| right.read_packet().unwrap());
                left.write(b"blocked").unwrap();
                assert_eq!(reader.join().unwrap(), b"blocked");
            });
        },
    );
}

#[test]
fn a_writer_waits_for_a_window_that_a_slow_reader_opens() {
    const MESSAGES: u32 = 2000;
    let (left, right, wire) = over_a_wire(|_| {}, RELIABLE);
    wire.while_carrying(
        |_, _| true,
        || {
            thread::scope(|scope| {
                scope.spawn(|| {
                    for number in 0..MESSAGES {
                        left.write(&number.to_be_bytes()).unwrap();
                    }
                });
                for number in 0..MESSAGES {
                    // Only when nothing more can be on its way: the window of 0.23 is shut.
                    while number % 500 == 0 && right.rx_queue_len().unwrap() < 256 {
                        thread::yield_now();
                    }
                    assert_eq!(right.read_packet().unwrap(), number.to_be_bytes());
                }
            });
        },
    );
}

#[test]
fn a_shut_window_is_told_to_those_who_do_not_wait() {
    let (left, _right, wire) = over_a_wire(|_| {}, RELIABLE);
    left.set_flags(FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING)
        .unwrap();
    wire.while_carrying(
        |_, _| true,
        || {
            let mut written = 0;
            loop {
                match left.write(b"x") {
                    Ok(_) => written += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        // Until the last acknowledgement has come, the window may still open.
                        if written >= 256 {
                            break;
                        }
                    }
                }
            }
            assert_eq!(written, 256);
            left.set_flags(FlowFlags::DEFAULT).unwrap();
            left.set_write_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            assert_eq!(kind(left.write(b"x")), ErrorKind::TimedOut);
        },
    );
}

#[test]
fn dealloc_without_linger_does_not_wait() {
    let (left, _right, _wire) = over_a_wire(|_| {}, RELIABLE);
    left.write(b"nobody will ever acknowledge this").unwrap();
    assert_eq!(
        left.linger(Some(std::time::Instant::now()))
            .unwrap_err()
            .kind(),
        ErrorKind::TimedOut
    );
    left.set_frct_flags(FrctFlags(3)).unwrap();
    left.dealloc().unwrap();
    assert_eq!(kind(left.write(b"x")), ErrorKind::NotAllocated);
}

#[test]
fn a_flow_that_is_dropped_still_delivers_in_the_background() {
    let (left, right, wire) = over_a_wire(|_| {}, RELIABLE);
    // The first transmission is lost: only a retransmission after the drop can bring it over.
    let mut first = true;
    wire.while_carrying(
        |way, _| way == 1 || !std::mem::take(&mut first),
        || {
            left.write(b"late but there").unwrap();
            drop(left);
            assert_eq!(right.read_packet().unwrap(), b"late but there");
        },
    );
}

#[test]
fn garbage_in_the_ring_of_a_reliable_flow_is_dropped() {
    for (qos, key) in [
        (RELIABLE, None),
        (RELIABLE, secret()),
        (QosSpec::DATA, None),
    ] {
        let (left, right, mut wire) = over_a_wire(|info| info.secret = key.clone(), qos);
        left.write(b"before").unwrap();
        wire.pass();
        let mut state = 0x1234_5678_9abc_def1_u64;
        for length in (0..1500).step_by(3) {
            let mut packet = vec![0; length];
            for byte in &mut packet {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }
            // Flags that are defined, so that FRCP looks at the rest; nothing that starts a run.
            if let Some(flags) = packet.first_mut() {
                *flags &= 0x1c;
            }
            let _ = wire.ends[1].0.try_send(&packet);
            let _ = right.rx_queue_len();
        }
        assert_eq!(right.read_packet().unwrap(), b"before");
        left.write(b"after").unwrap();
        wire.while_carrying(
            |_, _| true,
            || {
                assert_eq!(right.read_packet().unwrap(), b"after");
            },
        );
    }
}

#[test]
fn the_end_of_the_layer_ends_the_flow_after_what_it_brought() {
    let (left, right, mut wire) = over_a_wire(|_| {}, RELIABLE);
    left.write(b"last").unwrap();
    wire.pass();
    let right_end = std::mem::replace(&mut wire.ends[1], {
        let segment = Segment::create(o7s_ring::MIN_CAPACITY).unwrap();
        let (sender, receiver, _) = Endpoint::open(segment.fd().as_fd(), Side::B)
            .unwrap()
            .split();
        (sender, receiver)
    });
    // The IPCP's end is closed as its process would do it.
    drop(right_end);
    drop(wire);
    assert_eq!(right.read_packet().unwrap(), b"last");
    // Nobody said a word: the doorbell's other end is gone.
    assert_eq!(kind(right.read_packet()), ErrorKind::FlowPeer);
}
