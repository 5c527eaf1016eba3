//! What goes beyond 0.23: fragments, selective acknowledgements, larger windows; and that none of it
//! leaks to a peer that has not agreed.

mod frcp_rig;

use std::time::Duration;

use frcp_rig::{Rig, control, data, millis, repr};
use o7s_proto::frcp::{Config, Discard, Extensions, Failure, WriteError};
use o7s_wire::frcp::{Flags, HEADER_LEN, MAX_RANGES, Offsets, Ranges};
use proptest::prelude::*;

const ISN: u32 = 0xffff_fff0;
const EDGE: u32 = ISN.wrapping_add(256);
const PEER: u32 = 0x00ff_fffa;

const ALL: Extensions = Extensions {
    fragments: true,
    selective: true,
    window: 8192,
};

fn config(extensions: Extensions) -> Config {
    Config {
        max_packet: 100,
        max_message: 1000,
        extensions,
        ..Config::default()
    }
}

fn rig(extensions: Extensions) -> Rig {
    Rig::with(config(extensions), ISN)
}

fn unreliable() -> Rig {
    let config = Config {
        reliable: false,
        ..config(ALL)
    };
    Rig::with(config, ISN)
}

const FIRST: u8 = 0x61;
const MIDDLE: u8 = 0x41;
const LAST: u8 = 0x21;

#[test]
fn a_message_longer_than_a_packet_is_cut() {
    let mut sender = rig(ALL);
    let message: Vec<u8> = (0..200).collect();
    sender.write(&message);
    sender.write(b"whole");
    let sent = sender.sent();
    let fields: Vec<_> = sent
        .iter()
        .map(|p| (repr(p).flags.bits() & 0x61, p.len()))
        .collect();
    assert_eq!(
        fields,
        [(FIRST, 100), (MIDDLE, 100), (LAST, 36), (0x01, 17)]
    );
    let mut receiver = rig(ALL);
    for packet in &sent {
        receiver.receive(packet);
    }
    assert_eq!(receiver.frcp.messages_arrived(), 2);
    assert_eq!(receiver.read(), Some(message));
    assert_eq!(receiver.read(), Some(b"whole".to_vec()));
    assert_eq!(receiver.frcp.messages_read(), 2);
}

#[test]
fn exactly_a_packet_is_not_cut() {
    let mut sender = rig(ALL);
    sender.write(&[1; 88]);
    assert_eq!(repr(&sender.sent()[0]).flags, Flags::DATA | Flags::DRF);
    sender.write(&[1; 89]);
    assert_eq!(sender.sent().len(), 2);
}

#[test]
fn too_large_says_how_much_fits() {
    let mut without = rig(Extensions::default());
    assert_eq!(without.frcp.max_message(), 88);
    assert_eq!(
        without.frcp.write(without.now, &[0; 89]),
        Err(WriteError::TooLarge { max: 88 })
    );
    without.write(&[0; 88]);
    let mut with = rig(ALL);
    assert_eq!(
        with.frcp.write(with.now, &[0; 1001]),
        Err(WriteError::TooLarge { max: 1000 })
    );
    with.write(&[0; 1000]);
}

/// A message may have more fragments than the window has packets.
#[test]
fn a_message_of_more_fragments_than_the_window() {
    let config = Config {
        max_packet: 22,
        max_message: 10_000,
        extensions: Extensions {
            fragments: true,
            ..Extensions::default()
        },
        ..Config::default()
    };
    let mut ends = [Rig::with(config.clone(), ISN), Rig::with(config, PEER)];
    let message: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
    ends[0].write(&message);
    for _ in 0..200 {
        for from in 0..2 {
            for packet in ends[from].sent() {
                ends[1 - from].receive(&packet);
            }
            ends[from].pass(millis(5));
        }
    }
    assert_eq!(ends[1].read(), Some(message));
}

#[test]
fn fragments_are_dropped_unless_agreed() {
    for extensions in [
        Extensions::default(),
        Extensions {
            fragments: false,
            ..ALL
        },
    ] {
        let mut rig = rig(extensions);
        for flags in [FIRST | 2, MIDDLE, LAST] {
            let packet = data(flags, 0, PEER, 0, b"x");
            assert_eq!(
                rig.frcp.handle_packet(rig.now, &packet),
                Err(Discard::Flags(flags))
            );
        }
        assert_eq!(rig.frcp.failure(), None);
    }
    // Fragment bits without data mean nothing.
    let mut rig = rig(ALL);
    assert!(
        rig.frcp
            .handle_packet(rig.now, &control(0x22, 0, PEER, 0))
            .is_err()
    );
}

#[test]
fn fragments_in_a_wrong_order_end_a_reliable_flow() {
    for flags in [
        &[MIDDLE | 2][..],
        &[LAST | 2],
        &[FIRST | 2, 0x01],
        &[FIRST | 2, FIRST],
        &[FIRST | 2, LAST, MIDDLE],
    ] {
        let mut rig = rig(ALL);
        let mut last = Ok(());
        for (i, flags) in flags.iter().enumerate() {
            let packet = data(*flags, 0, PEER + i as u32, 0, b"part");
            last = rig.frcp.handle_packet(rig.now, &packet);
        }
        assert_eq!(last, Err(Discard::BadFragment), "{flags:x?}");
        assert_eq!(
            rig.frcp.failure(),
            Some(Failure::FragmentOrder),
            "{flags:x?}"
        );
    }
}

#[test]
fn a_message_that_grows_too_long_ends_a_reliable_flow_and_stays_bounded() {
    let mut rig = rig(ALL);
    let mut result = Ok(());
    for i in 0..100 {
        let flags = if i == 0 { FIRST | 2 } else { MIDDLE };
        result = rig
            .frcp
            .handle_packet(rig.now, &data(flags, 0, PEER + i, 0, &[7; 88]));
        if result.is_err() {
            assert_eq!(i, 11, "1000 bytes are 11 fragments and a bit");
            break;
        }
    }
    assert_eq!(result, Err(Discard::BadFragment));
    assert_eq!(
        rig.frcp.failure(),
        Some(Failure::MessageTooLong { max: 1000 })
    );
    assert!(rig.frcp.stats().receive_bytes < 1000);
}

#[test]
fn an_unreliable_flow_loses_messages_with_lost_fragments_and_no_others() {
    let message = |i: u8| vec![i; 200];
    let mut sender = unreliable();
    for i in 0..5 {
        sender.write(&message(i));
    }
    let sent = sender.sent();
    assert_eq!(sent.len(), 15);
    for lost in 0..15 {
        let mut receiver = unreliable();
        for (i, packet) in sent.iter().enumerate() {
            if i != lost {
                let _ = receiver.frcp.handle_packet(receiver.now, packet);
            }
        }
        for i in 0..5 {
            if i as usize != lost / 3 {
                assert_eq!(receiver.read(), Some(message(i)), "lost {lost}");
            }
        }
        assert_eq!(receiver.read(), None);
        assert_eq!(receiver.frcp.failure(), None);
    }
}

#[test]
fn selective_acknowledgements_tell_what_arrived_beyond_a_gap() {
    let mut rig = rig(ALL);
    for i in [0, 1, 3, 4, 7] {
        rig.receive(&data(if i == 0 { 3 } else { 1 }, 0, PEER + i, 0, b"x"));
    }
    let sent = rig.sent();
    let last = sent.last().expect("a gap is acknowledged at once");
    assert_eq!(repr(last).ackno, PEER + 2);
    let ranges: Vec<_> = Ranges::parse(&last[HEADER_LEN..])
        .expect("ranges")
        .iter()
        .collect();
    assert_eq!(
        ranges,
        [Offsets { start: 1, end: 3 }, Offsets { start: 5, end: 6 }]
    );
}

#[test]
fn without_the_extension_no_ranges_are_sent_and_none_are_taken() {
    let mut rig = rig(Extensions::default());
    rig.receive(&data(3, 0, PEER, 0, b"x"));
    rig.receive(&data(1, 0, PEER + 2, 0, b"x"));
    assert!(rig.sent().iter().all(|packet| packet.len() == HEADER_LEN));
    rig.write(b"y");
    rig.sent();
    let mut packet = control(0x0e, EDGE, PEER, ISN);
    packet.extend_from_slice(&Offsets { start: 1, end: 2 }.to_bytes());
    assert_eq!(
        rig.frcp.handle_packet(rig.now, &packet),
        Err(Discard::BadRanges)
    );
}

#[test]
fn data_packets_never_carry_ranges() {
    let mut rig = rig(ALL);
    rig.receive(&data(3, 0, PEER, 0, b"x"));
    rig.receive(&data(1, 0, PEER + 2, 0, b"x"));
    rig.write(b"yy");
    let sent = rig.sent();
    let data: Vec<_> = sent
        .iter()
        .filter(|p| repr(p).flags.contains(Flags::DATA))
        .collect();
    assert_eq!(data.len(), 1);
    assert_eq!(data[0].len(), HEADER_LEN + 2);
    assert!(
        sent.iter()
            .any(|p| !repr(p).flags.contains(Flags::DATA) && p.len() > HEADER_LEN)
    );
}

#[test]
fn all_holes_are_refilled_after_one_round_trip() {
    let config = Config {
        extensions: ALL,
        ..Config::default()
    };
    let mut ends = [Rig::with(config.clone(), ISN), Rig::with(config, PEER)];
    // Open the window and measure the round trip: 10 ms each way.
    let step = |ends: &mut [Rig; 2], from: usize, lose: &dyn Fn(usize) -> bool| -> usize {
        let packets = ends[from].sent();
        ends.iter_mut().for_each(|end| end.pass(millis(10)));
        for (i, packet) in packets.iter().enumerate() {
            if !lose(i) {
                let _ = ends[1 - from]
                    .frcp
                    .handle_packet(ends[1 - from].now, packet);
            }
        }
        while ends[1 - from].read().is_some() {}
        packets.len()
    };
    for _ in 0..6 {
        while ends[0].try_write(&[1; 100]) {}
        step(&mut ends, 0, &|_| false);
        step(&mut ends, 1, &|_| false);
    }
    while ends[0].try_write(&[1; 100]) {}
    let before = ends[1].frcp.messages_read();
    let sent = step(&mut ends, 0, &|i| i % 10 == 3);
    assert!(sent > 1000, "{sent}");
    step(&mut ends, 1, &|_| false);
    // Everything was sent at once, so reordering is given its due.
    ends.iter_mut().for_each(|end| end.pass(millis(1)));
    let holes = ends[0].frcp.stats();
    step(&mut ends, 0, &|_| false);
    assert!(
        ends[1].frcp.messages_read() - before >= sent as u64,
        "{} of {sent}, {holes:?}",
        ends[1].frcp.messages_read() - before
    );
    assert_eq!(ends[0].frcp.stats().timeouts, 0);
}

/// Found by fuzzing: an acknowledgement was due when its run expired, and an empty packet was sent.
#[test]
fn an_acknowledgement_that_expired_with_its_run_is_no_packet() {
    let mut rig = rig(ALL);
    rig.receive(&data(3, 0, PEER, 0, b"x"));
    rig.receive(&data(1, 0, PEER + 2, 0, b"x"));
    rig.now += Duration::from_secs(200);
    assert_eq!(rig.sent(), [] as [Vec<u8>; 0]);
}

#[test]
fn ranges_beyond_what_was_sent_are_ignored() {
    let mut rig = rig(ALL);
    rig.write(b"a");
    rig.write(b"b");
    rig.sent();
    for (start, end) in [(1, 3), (2, 3), (5, 1 << 20)] {
        let mut packet = control(0x0e, EDGE, PEER, ISN);
        packet.extend_from_slice(&Offsets { start, end }.to_bytes());
        rig.receive(&packet);
    }
    rig.pass(Duration::from_secs(1));
    let resent: Vec<_> = rig.sent().iter().map(|p| repr(p).seqno).collect();
    assert!(
        resent.contains(&ISN) && resent.contains(&(ISN + 1)),
        "{resent:x?}"
    );
}

/// A peer that claims to have everything but never acknowledges it ends its own flow, no more.
#[test]
fn a_peer_that_lies_about_ranges_ends_the_flow_after_r() {
    let mut rig = rig(ALL);
    for _ in 0..10 {
        rig.write(b"a");
    }
    rig.sent();
    let mut packet = control(0x0e, EDGE, PEER, ISN);
    packet.extend_from_slice(&Offsets { start: 1, end: 10 }.to_bytes());
    rig.receive(&packet);
    let mut packet = control(0x0e, EDGE, PEER, ISN + 1);
    packet.extend_from_slice(&Offsets { start: 1, end: 9 }.to_bytes());
    rig.receive(&packet);
    rig.pass(Duration::from_secs(122));
    assert_eq!(rig.frcp.failure(), Some(Failure::NotAcknowledged));
}

#[test]
fn the_window_follows_the_extension_and_the_memory() {
    for (window, buffer, expected) in [
        (0, 4 << 20, 256),
        (8192, 32 << 20, 8192),
        (8192, 1 << 20, (1 << 20) / (1400 + 64)),
        (1 << 30, 1 << 30, 65_536),
        (1, 4 << 20, 64),
    ] {
        let config = Config {
            extensions: Extensions { window, ..ALL },
            buffer,
            ..Config::default()
        };
        let mut rig = Rig::with(config, ISN);
        rig.receive(&control(0x12, 0, PEER, 0));
        let answer = repr(&rig.sent()[0]);
        assert_eq!(
            answer.window,
            PEER.wrapping_add(expected) & 0xff_ffff,
            "{window} {buffer}"
        );
    }
}

/// The window was told when packets were small; then large ones come.
#[test]
fn memory_is_bounded_when_packets_grow() {
    let config = Config {
        max_packet: 64,
        max_message: 1 << 16,
        extensions: ALL,
        buffer: 1 << 18,
        ..Config::default()
    };
    for order in [false, true] {
        let mut rig = Rig::with(config.clone(), ISN);
        rig.receive(&control(0x02, 0, PEER, 0));
        for i in 0..2000u32 {
            let at = if order { i } else { 2000 - i };
            let packet = data(1, 0, PEER + at, 0, &vec![1; 60_000]);
            let _ = rig.frcp.handle_packet(rig.now, &packet);
            assert!(rig.frcp.stats().receive_bytes < (1 << 18) + 70_000);
            assert!(rig.sent().len() < 3);
        }
        assert!(rig.frcp.stats().discarded.buffer_full > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever arrives, and whenever: no panic, bounded memory, no endless transmission.
    #[test]
    fn arbitrary_packets_never_panic(
        reliable: bool,
        fragments: bool,
        selective: bool,
        window in prop::sample::select(vec![0u32, 64, 8192, u32::MAX]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let config = Config {
            reliable,
            max_packet: 64,
            max_message: 500,
            extensions: Extensions { fragments, selective, window },
            buffer: 4096,
            ..Config::default()
        };
        let mut rig = Rig::with(config, 100);
        rig.frcp.handle_timeout(rig.now);
        for step in steps {
            match step {
                Step::Packet(packet) => {
                    let _ = rig.frcp.handle_packet(rig.now, &packet);
                }
                Step::Write(len) => {
                    let _ = rig.frcp.write(rig.now, &vec![1; len]);
                }
                Step::Read => {
                    rig.read();
                }
                Step::Transmit => {
                    rig.sent();
                }
                Step::Pass(time) => {
                    rig.now += Duration::from_micros(time);
                    rig.frcp.handle_timeout(rig.now);
                    rig.sent();
                    rig.frcp.handle_timeout(rig.now);
                    if let Some(due) = rig.frcp.poll_timeout() {
                        prop_assert!(due > rig.now, "a timer stays due");
                    }
                }
                Step::Finish => rig.frcp.finish(rig.now),
            }
            let stats = rig.frcp.stats();
            prop_assert!(stats.receive_bytes <= 4096 + 500 + 300, "{stats:?}");
            prop_assert!(stats.send_bytes <= 4096);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Packet(Vec<u8>),
    Write(usize),
    Read,
    Transmit,
    Pass(u64),
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    let near = |base: u32| {
        prop_oneof![
            8 => (0..40u32).prop_map(move |d| base.wrapping_add(d).wrapping_sub(5)),
            1 => any::<u32>(),
        ]
    };
    let flags = prop_oneof![6 => prop::sample::select(vec![0x01u8, 0x03, 0x0d, 0x0f, 0x0c, 0x0e, 0x0a, 0x12, 0x61, 0x41, 0x21]), 1 => any::<u8>()];
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        2 => prop::collection::vec((0..20u32, 0..20u32), 0..MAX_RANGES + 2).prop_map(|ranges| {
            ranges
                .into_iter()
                .flat_map(|(start, end)| Offsets { start, end }.to_bytes())
                .collect()
        }),
    ];
    let packet = (flags, near(100), near(5000), near(100), payload)
        .prop_map(|(flags, edge, seqno, ackno, payload)| data(flags, edge, seqno, ackno, &payload));
    prop_oneof![
        10 => packet.prop_map(Step::Packet),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Packet),
        5 => (0..600usize).prop_map(Step::Write),
        3 => Just(Step::Read),
        3 => Just(Step::Transmit),
        3 => prop_oneof![3 => 0..20_000u64, 1 => 0..200_000_000u64].prop_map(Step::Pass),
        1 => Just(Step::Finish),
    ]
}
