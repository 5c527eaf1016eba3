//! The rules I1 to I6 (musts) of `spec/frcp.md` §11, the worked examples of §18 and traps of §17, each
//! against hand-made packets and a hand-made clock.

mod frcp_rig;

use std::time::Duration;

use frcp_rig::{Rig, control, data, millis, repr};
use o7s_captures::unhex;
use o7s_proto::frcp::Discard;
use o7s_wire::frcp::{Flags, Repr};

const ISN: u32 = 0x1122_3344;
const PEER: u32 = 0x33ba_89be;

// I1: the header, bit by bit, as the captures of §18 have it.

#[test]
fn i1_example_1_first_data() {
    let mut rig = Rig::reliable(0x9ed7_609e);
    rig.write(b"hello");
    assert_eq!(rig.sent(), [unhex("03000000 9ed7609e 00000000 68656c6c6f")]);
}

#[test]
fn i1_examples_3_and_4_request_and_answer() {
    let mut server = Rig::reliable(0x1a89_88d4);
    server.receive(&unhex("03000000 d5b61531 00000000 726571"));
    assert_eq!(server.read().as_deref(), Some(&b"req"[..]));
    server.write(b"rsp");
    assert_eq!(server.sent(), [unhex("0fb61632 1a8988d4 d5b61532 727370")]);

    let mut client = Rig::reliable(0xd5b6_1531);
    client.write(b"req");
    assert_eq!(client.sent(), [unhex("03000000 d5b61531 00000000 726571")]);
    client.receive(&unhex("0fb61632 1a8988d4 d5b61532 727370"));
    assert_eq!(client.read().as_deref(), Some(&b"rsp"[..]));
    client.write(b"req");
    assert_eq!(client.sent(), [unhex("0f8989d5 d5b61532 1a8988d5 726571")]);
}

#[test]
fn i1_example_5_data_while_earlier_data_is_outstanding() {
    let mut rig = Rig::reliable(0x25d0_6f43);
    rig.write(b"od");
    rig.write(b"ev");
    rig.write(b"ev");
    assert_eq!(
        rig.sent()[1..],
        [
            unhex("01000000 25d06f44 00000000 6576"),
            unhex("01000000 25d06f45 00000000 6576")
        ]
    );
}

#[test]
fn i1_example_6_retransmission() {
    let mut rig = Rig::reliable(0x7ea4_17b2);
    rig.write(b"one");
    let first = rig.sent();
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.sent(), first);
    assert_eq!(first, [unhex("03000000 7ea417b2 00000000 6f6e65")]);
}

#[test]
fn i1_example_11_data_has_the_same_header_below_a_crc() {
    let mut rig = Rig::reliable(0xa9ce_143d);
    rig.write(b"hello");
    assert_eq!(rig.sent(), [unhex("03000000 a9ce143d 00000000 68656c6c6f")]);
}

#[test]
fn i1_example_13_unreliable_data() {
    let mut rig = Rig::unreliable(0x47d3_1884);
    rig.write(b"x");
    assert_eq!(rig.sent(), [unhex("03000000 47d31884 00000000 78")]);
    let mut rig = Rig::unreliable(0x2392_05c8);
    rig.receive(&data(0x0b, 0, 0x0185_c9de, 0, b"q"));
    rig.read();
    rig.write(b"x");
    assert_eq!(rig.sent(), [unhex("0b85cadf 239205c8 00000000 78")]);
}

// I2: one numbering for the life of the flow.

#[test]
fn i2_numbering_continues_after_inactivity_and_the_window_starts_afresh() {
    let mut rig = Rig::reliable(ISN);
    for i in 0..3 {
        rig.write(b"x");
        rig.sent();
        rig.receive(&control(0x0e, ISN + 300, PEER, ISN + i + 1));
    }
    rig.pass(Duration::from_secs(200));
    for _ in 0..100 {
        rig.try_write(b"y");
    }
    let sent: Vec<Repr> = rig.sent().iter().map(|p| repr(p)).collect();
    let data: Vec<&Repr> = sent
        .iter()
        .filter(|r| r.flags.contains(Flags::DATA))
        .collect();
    assert_eq!(data[0].seqno, ISN + 3);
    assert_eq!(
        data[0].flags,
        Flags::DATA | Flags::DRF,
        "the peer's run has expired too"
    );
    assert_eq!(data.len(), 64);
}

// I3: every control packet carries DRF and snd.una.

#[test]
fn i3_example_16_acknowledgement() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER - 1, 0, b"x"));
    rig.read();
    rig.pass(millis(20));
    assert_eq!(rig.sent(), [unhex("0eba8abe 11223344 33ba89be")]);
}

#[test]
fn i3_example_2_delayed_acknowledgement_as_0_23_sends_it_plus_drf() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&unhex("03000000 9ed7609e 00000000 68656c6c6f"));
    rig.read();
    rig.pass(millis(20));
    assert_eq!(rig.sent(), [unhex("0ed7619f 11223344 9ed7609f")]);
}

#[test]
fn i3_example_7_rendezvous_and_its_answer() {
    let mut shut = Rig::unreliable(ISN);
    for _ in 0..64 {
        shut.write(b"x");
    }
    shut.sent();
    assert!(!shut.try_write(b"x"));
    assert_eq!(shut.sent(), [unhex("12000000 11223384 00000000")]);

    let mut peer = Rig::unreliable(ISN);
    peer.receive(&data(0x03, 0, 0x3392_06c7, 0, b"x"));
    peer.read();
    peer.receive(&unhex("10000000 00000000 00000000"));
    assert_eq!(peer.sent(), [unhex("0a9207c8 11223344 00000000")]);
}

#[test]
fn i3_example_8_last_acknowledgement() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, 0x2134_b387, 0, b"x"));
    rig.read();
    rig.write(b"y");
    rig.sent();
    rig.frcp.finish(rig.now);
    let last = unhex("06000000 11223344 2134b388");
    assert_eq!(rig.sent(), [last.clone(), last]);
}

#[test]
fn i3_example_17_voluntary_window_update_of_an_unreliable_flow() {
    let mut rig = Rig::unreliable(0xf000_0001);
    for i in 0..32 {
        rig.receive(&data(0x03, 0, 0x0079_1083 - 32 + i, 0, b"x"));
        rig.read();
    }
    assert_eq!(rig.sent(), [unhex("0a791183 f0000001 00000000")]);
}

#[test]
fn i3_a_control_packet_carries_una_not_nxt() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"a");
    rig.write(b"b");
    rig.sent();
    rig.receive(&data(0x03, 0, PEER, 0, b"x"));
    rig.pass(millis(20));
    let sent = rig.sent();
    assert_eq!(repr(&sent[0]).flags, Flags::ACK | Flags::FC | Flags::DRF);
    assert_eq!(repr(&sent[0]).seqno, ISN);
}

/// Trap T1: a reference whose first packet in a direction is a bare ACK is deaf from then on. Ours is
/// not, and by I3 does not make a peer of ours deaf.
#[test]
fn t1_a_control_packet_first_in_a_direction_does_not_deafen() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"req");
    rig.sent();
    rig.receive(&control(0x0c, ISN + 257, 0, ISN + 1));
    rig.receive(&data(0x0f, ISN + 257, PEER, ISN + 1, b"rsp"));
    assert_eq!(rig.read().as_deref(), Some(&b"rsp"[..]));

    let mut rig = Rig::reliable(ISN);
    rig.receive(&control(0x02, 0, PEER, 0));
    rig.receive(&data(0x01, 0, PEER + 1, 0, b"second"));
    rig.receive(&data(0x03, 0, PEER, 0, b"first"));
    assert_eq!(rig.read().as_deref(), Some(&b"first"[..]));
    assert_eq!(rig.read().as_deref(), Some(&b"second"[..]));
}

/// Example 12: the deaf peer's own data comes with edge 0 and ackno 0.
#[test]
fn t1_example_12_data_of_a_deaf_peer_is_taken_its_edge_is_not() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    rig.sent();
    rig.receive(&unhex("0f000000 81adb46c 00000000 7033"));
    assert_eq!(rig.read().as_deref(), Some(&b"p3"[..]));
    assert_eq!(rig.frcp.stats().discarded.bad_ack, 1);
    for _ in 0..63 {
        rig.write(b"y");
    }
}

// I4: a control packet without DRF makes no run.

#[test]
fn i4_control_without_drf_neither_starts_nor_refreshes_a_run() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    rig.sent();
    rig.receive(&control(0x08, ISN + 256, 0, 0));
    rig.receive(&unhex("10000000 00000000 00000000"));
    rig.pass(millis(20));
    assert_eq!(
        rig.sent(),
        [] as [Vec<u8>; 0],
        "a rendezvous without a run is not answered"
    );
    assert_eq!(
        rig.frcp
            .handle_packet(rig.now, &data(0x01, 0, PEER, 0, b"z")),
        Err(Discard::NoRun)
    );
    rig.receive(&control(0x0c, ISN + 257, 0, ISN + 1));
    rig.write(b"y");
    assert_eq!(
        rig.sent(),
        [data(0x03, 0, ISN + 1, 0, b"y")],
        "no edge and no ackno is invented"
    );
    // A run that only control packets without DRF would refresh expires.
    rig.receive(&data(0x03, 0, PEER, 0, b"z"));
    for _ in 0..14 {
        rig.pass(Duration::from_secs(10));
        rig.receive(&control(0x0c, ISN + 257, 0, ISN + 2));
    }
    rig.sent();
    rig.write(b"w");
    let sent = rig.sent();
    assert_eq!(repr(&sent[0]).flags, Flags::DATA | Flags::DRF);
}

#[test]
fn i4_control_with_drf_starts_and_refreshes_a_run() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&unhex("12000000 33ba89be 00000000"));
    assert_eq!(rig.sent(), [control(0x0a, PEER + 256, ISN, 0)]);
    for _ in 0..14 {
        rig.pass(Duration::from_secs(10));
        rig.receive(&control(0x0a, 0, PEER, 0));
    }
    rig.receive(&data(0x01, 0, PEER, 0, b"z"));
    assert_eq!(rig.read().as_deref(), Some(&b"z"[..]));
}

// I5: renumbering while our acknowledgements kept the record alive (trap T2).

#[test]
fn i5_a_new_run_is_taken_while_the_old_one_is_live() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"old"));
    assert_eq!(rig.read().as_deref(), Some(&b"old"[..]));
    for i in 0..14 {
        rig.pass(Duration::from_secs(10));
        rig.write(b"x");
        rig.sent();
        rig.receive(&control(0x0e, ISN + 300, PEER + 1, ISN + 1 + i));
    }
    let new = PEER.wrapping_add(0x4000_0000);
    rig.receive(&data(0x0f, ISN + 300, new, ISN + 14, b"new"));
    assert_eq!(rig.read().as_deref(), Some(&b"new"[..]));
    rig.receive(&data(0x01, 0, new + 1, 0, b"next"));
    assert_eq!(rig.read().as_deref(), Some(&b"next"[..]));
}

#[test]
fn i5_seqnos_of_the_present_run_are_duplicates() {
    let mut rig = Rig::reliable(ISN);
    for i in 0..5 {
        rig.receive(&data(0x03, 0, PEER + i, 0, b"x"));
        rig.read();
    }
    rig.pass(Duration::from_secs(60));
    for i in 0..5 {
        assert_eq!(
            rig.frcp
                .handle_packet(rig.now, &data(0x03, 0, PEER + i, 0, b"x")),
            Err(Discard::Duplicate)
        );
    }
    assert_eq!(rig.read(), None);
    // Within the window of the present run it is no new run either.
    rig.receive(&data(0x03, 0, PEER + 100, 0, b"late"));
    assert_eq!(rig.read(), None);
    rig.receive(&data(0x03, 0, PEER + 5, 0, b"next"));
    assert_eq!(rig.read().as_deref(), Some(&b"next"[..]));
}

/// With AES-CTR garbage decrypts to random headers (trap T8): it must not replace a run that works.
#[test]
fn t8_garbage_does_not_replace_a_busy_run() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"a"));
    rig.read();
    rig.pass(Duration::from_secs(1));
    assert!(
        rig.frcp
            .handle_packet(rig.now, &data(0x03, 0, 7, 0, b"garbage"))
            .is_err()
    );
    rig.receive(&data(0x03, 0, PEER + 1, 0, b"b"));
    assert_eq!(rig.read().as_deref(), Some(&b"b"[..]));
}

// I6: validation.

#[test]
fn i6_acknowledgements_of_packets_never_sent_are_ignored_with_their_window() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    rig.sent();
    for ackno in [
        ISN + 2,
        ISN + 1000,
        ISN.wrapping_sub(1),
        0,
        ISN ^ 0x8000_0000,
    ] {
        let bad = control(0x0e, ISN + 256, PEER, ackno);
        assert_eq!(
            rig.frcp.handle_packet(rig.now, &bad).is_ok(),
            ackno == ISN.wrapping_sub(1)
        );
    }
    assert!(!rig.frcp.is_drained(), "no acknowledgement was believed");
    assert_eq!(rig.open_window(), 63, "no edge was believed");
    rig.receive(&control(0x0e, ISN + 256, PEER, ISN + 64));
    assert!(rig.frcp.is_drained());
    assert_eq!(rig.open_window(), 192);
}

#[test]
fn i6_nothing_is_believed_before_our_run_started() {
    let mut rig = Rig::reliable(ISN);
    assert_eq!(
        rig.frcp
            .handle_packet(rig.now, &control(0x0e, ISN + 256, PEER, ISN)),
        Err(Discard::BadAck)
    );
    assert_eq!(
        rig.frcp
            .handle_packet(rig.now, &control(0x0a, ISN + 256, PEER, 0)),
        Err(Discard::BadAck)
    );
    assert_eq!(rig.open_window(), 64);
}

/// Trap T5: stale and reordered windows.
#[test]
fn i6_the_edge_moves_forward_only_and_not_beyond_reason() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    rig.sent();
    rig.receive(&control(0x0e, ISN + 200, PEER, ISN + 1));
    rig.receive(&control(0x0a, ISN + 100, PEER, 0));
    let far = control(0x0a, ISN + 70_000, PEER, 0);
    assert_eq!(rig.frcp.handle_packet(rig.now, &far), Err(Discard::BadAck));
    assert_eq!(rig.open_window(), 199);
}

#[test]
fn i6_short_packets_and_undefined_bits_are_dropped() {
    let mut rig = Rig::reliable(ISN);
    assert_eq!(rig.frcp.handle_packet(rig.now, &[]), Err(Discard::Empty));
    assert_eq!(
        rig.frcp.handle_packet(rig.now, &[3; 11]),
        Err(Discard::Short(11))
    );
    for flags in [0x83, 0x23, 0x43, 0x63, 0x8e] {
        let packet = data(flags, 0, PEER, 0, b"x");
        assert_eq!(
            rig.frcp.handle_packet(rig.now, &packet),
            Err(Discard::Flags(flags))
        );
    }
    assert_eq!(rig.read(), None);
    assert_eq!(rig.frcp.stats().discarded.flags, 5);
    assert_eq!(rig.frcp.stats().discarded.short, 1);
}
