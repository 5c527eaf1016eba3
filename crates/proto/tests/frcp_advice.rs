//! The rules I7 to I12 of `spec/frcp.md` §11, wrap-around and the end of a flow, each against hand-made
//! packets and a hand-made clock.

mod frcp_rig;

use std::time::Duration;

use frcp_rig::{Rig, ack, control, data, millis, repr};
use o7s_proto::frcp::{Config, Discard, Failure, WriteError};
use o7s_wire::frcp::Flags;

const ISN: u32 = 0x1122_3344;
const PEER: u32 = 0x33ba_89be;

// I7: edges.

/// Traps T3 and T4.
#[test]
fn i7_an_unreliable_receiver_keeps_its_window_across_losses_and_volunteers_it() {
    let mut rig = Rig::unreliable(ISN);
    let mut told = Vec::new();
    for i in (0..400).filter(|i| i % 3 != 1) {
        rig.receive(&data(0x03, 0, PEER + i, 0, b"x"));
        rig.read();
        told.extend(rig.sent().iter().map(|p| (i, repr(p))));
    }
    assert!(told.len() >= 8, "{}", told.len());
    for (i, update) in told {
        assert_eq!(update.flags, Flags::DRF | Flags::FC);
        assert_eq!(update.window, (PEER + i + 1 + 256) & 0xff_ffff);
    }
    assert_eq!(rig.frcp.stats().skipped, 133);
}

#[test]
fn i7_a_reliable_receiver_tells_when_a_shut_window_reopens() {
    let mut rig = Rig::reliable(ISN);
    for i in 0..256 {
        rig.receive(&data(0x03, 0, PEER + i, 0, b"x"));
    }
    rig.pass(millis(20));
    let shut = rig.sent();
    assert_eq!(
        repr(shut.last().expect("acknowledged")).window,
        (PEER + 256) & 0xff_ffff
    );
    for _ in 0..64 {
        rig.read();
    }
    let open = rig.sent();
    assert_eq!(repr(&open[0]).window, (PEER + 256 + 64) & 0xff_ffff);
}

// I8: rendezvous.

#[test]
fn i8_rendezvous_at_once_and_every_100_ms_from_a_timer() {
    let mut rig = Rig::reliable(ISN);
    for _ in 0..64 {
        rig.write(b"x");
    }
    rig.sent();
    rig.receive(&control(0x0e, ISN + 64, PEER, ISN + 64));
    assert!(!rig.try_write(b"y"));
    let mut times = Vec::new();
    for ms in 0..1050 {
        let sent = rig.sent();
        if !sent.is_empty() {
            assert_eq!(sent, [control(0x12, 0, ISN + 64, 0)]);
            times.push(ms);
        }
        rig.pass(millis(1));
    }
    assert_eq!(
        times,
        [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    );
    rig.receive(&control(0x0a, ISN + 65, PEER, 0));
    assert!(rig.try_write(b"y"));
    assert_eq!(rig.sent().len(), 1);
}

#[test]
fn i8_an_unreliable_sender_goes_on_after_a_second() {
    let mut rig = Rig::unreliable(ISN);
    for _ in 0..64 {
        rig.write(b"x");
    }
    assert_eq!(rig.sent().len(), 64);
    assert!(!rig.try_write(b"y"));
    rig.pass(millis(999));
    assert!(!rig.try_write(b"y"));
    rig.pass(millis(2));
    assert!(rig.try_write(b"y"));
    let data: Vec<_> = rig.sent().iter().map(|p| repr(p)).collect();
    assert!(
        data.iter()
            .any(|r| r.flags.contains(Flags::DATA) && r.seqno == ISN + 64)
    );
}

#[test]
fn i8_without_resource_control_the_window_does_not_matter() {
    let mut rig = Rig::unreliable(ISN);
    rig.frcp.set_resource_control(false);
    for _ in 0..1000 {
        rig.write(b"x");
        assert_eq!(rig.sent().len(), 1);
    }
    rig.frcp.set_resource_control(true);
    assert!(!rig.try_write(b"x"));
}

// I9: acknowledgement on arrival, the edge on consumption.

#[test]
fn i9_acknowledgements_follow_arrival_within_20_ms_and_the_edge_follows_reading() {
    let mut rig = Rig::reliable(ISN);
    for i in 0..3 {
        rig.receive(&data(0x03, 0, PEER + i, 0, b"x"));
    }
    let due = rig.frcp.poll_timeout().expect("a delayed acknowledgement");
    assert!(due - rig.now <= millis(20));
    rig.pass(millis(20));
    assert_eq!(rig.sent(), [control(0x0e, PEER + 256, ISN, PEER + 3)]);
    rig.read();
    rig.read();
    rig.write(b"y");
    let sent = repr(&rig.sent()[0]);
    assert_eq!(
        (sent.ackno, sent.window),
        (PEER + 3, (PEER + 258) & 0xff_ffff)
    );
}

// I10: retransmissions are refreshed.

#[test]
fn i10_a_retransmission_carries_the_present_ackno_and_window() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    assert_eq!(rig.sent(), [data(0x03, 0, ISN, 0, b"x")]);
    for i in 0..10 {
        rig.receive(&data(0x03, 0, PEER + i, 0, b"z"));
        rig.read();
    }
    rig.pass(Duration::from_secs(1));
    let sent = rig.sent();
    assert_eq!(sent, [data(0x0f, PEER + 266, ISN, PEER + 10, b"x")]);
}

// I11: time-outs and duplicates.

#[test]
fn i11_the_time_out_is_never_below_50_ms() {
    let mut rig = Rig::reliable(ISN);
    for i in 0..200 {
        rig.write(b"x");
        rig.sent();
        rig.pass(Duration::from_micros(100));
        rig.receive(&control(0x0e, ISN + 256 + i, PEER, ISN + 1 + i));
    }
    rig.write(b"y");
    rig.sent();
    rig.pass(millis(49));
    assert_eq!(rig.sent().len(), 0);
    rig.pass(millis(3));
    assert_eq!(rig.sent().len(), 1);
}

#[test]
fn i11_duplicates_draw_at_most_one_acknowledgement_per_tick() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"x"));
    rig.pass(millis(20));
    rig.sent();
    let mut acks = 0;
    for _ in 0..100 {
        assert_eq!(
            rig.frcp
                .handle_packet(rig.now, &data(0x03, 0, PEER, 0, b"x")),
            Err(Discard::Duplicate)
        );
        acks += rig.sent().len();
        rig.pass(Duration::from_micros(500));
        acks += rig.sent().len();
    }
    assert!((5..=11).contains(&acks), "{acks} acknowledgements in 50 ms");
}

/// A path that is gone must not be flooded with everything that is outstanding.
#[test]
fn silence_leaves_a_small_window_that_grows_again_with_acknowledgements() {
    let mut rig = Rig::reliable(ISN);
    for _ in 0..64 {
        rig.write(b"x");
    }
    assert_eq!(rig.sent().len(), 64);
    let mut again = 0;
    for _ in 0..100 {
        rig.pass(millis(10));
        let sent = rig.sent().len();
        assert!(sent <= 4, "{sent}");
        again += sent;
    }
    assert!((4..=12).contains(&again), "{again}");
    assert_eq!(rig.frcp.stats().send_window, 4);
    for acked in 1..=64 {
        rig.receive(&control(0x0e, ISN + 256, PEER, ISN + acked));
        rig.sent();
    }
    assert!(rig.frcp.stats().send_window > 4);
    assert!(rig.frcp.is_drained());
}

// I12: A, R and MPL.

#[test]
fn i12_a_packet_that_is_never_acknowledged_ends_the_flow_after_r() {
    let mut rig = Rig::reliable(ISN);
    rig.write(b"x");
    rig.sent();
    let start = rig.now;
    let mut copies = 0;
    while rig.frcp.failure().is_none() {
        let due = rig
            .frcp
            .poll_timeout()
            .expect("a flow with data to acknowledge has a timer");
        rig.now = due;
        rig.frcp.handle_timeout(rig.now);
        copies += rig.sent().len();
        assert!(rig.now - start < Duration::from_secs(130));
    }
    assert!(rig.now - start >= Duration::from_secs(120));
    assert!((10..100).contains(&copies), "{copies}");
    assert_eq!(rig.frcp.failure(), Some(Failure::NotAcknowledged));
    let refused = rig.frcp.write(rig.now, b"y");
    assert_eq!(refused, Err(WriteError::Down(Failure::NotAcknowledged)));
    assert!(rig.frcp.is_drained());
    assert_eq!(rig.frcp.poll_timeout(), None);
}

#[test]
fn i12_no_acknowledgement_travels_more_than_a_after_the_last_packet() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"x"));
    rig.read();
    rig.pass(Duration::from_secs(11));
    rig.sent();
    rig.write(b"y");
    assert_eq!(rig.sent(), [data(0x0b, PEER + 257, ISN, 0, b"y")]);
}

#[test]
fn i12_linger_follows_the_inactivity_of_both_records() {
    let mut rig = Rig::with(
        Config {
            mpl: Duration::from_secs(5),
            ..Config::default()
        },
        ISN,
    );
    assert_eq!(rig.frcp.linger_limit(rig.now), Duration::ZERO);
    rig.receive(&data(0x03, 0, PEER, 0, b"x"));
    assert_eq!(rig.frcp.linger_limit(rig.now), Duration::from_secs(141));
    rig.write(b"y");
    rig.sent();
    assert_eq!(rig.frcp.linger_limit(rig.now), Duration::from_secs(146));
    rig.pass(Duration::from_secs(100));
    assert_eq!(rig.frcp.linger_limit(rig.now), Duration::from_secs(46));
    rig.pass(Duration::from_secs(100));
    assert_eq!(rig.frcp.linger_limit(rig.now), Duration::ZERO);
}

// Nothing happens for nothing.

#[test]
fn idle_flows_are_silent_and_have_no_timer() {
    for reliable in [true, false] {
        let mut ends = [1, 2].map(|isn| {
            if reliable {
                Rig::reliable(isn)
            } else {
                Rig::unreliable(isn)
            }
        });
        for from in [0, 1, 0] {
            ends[from].write(b"x");
            for packet in ends[from].sent() {
                ends[1 - from].receive(&packet);
            }
            ends[1 - from].read();
        }
        for _ in 0..100 {
            for from in 0..2 {
                ends[from].pass(millis(10));
                for packet in ends[from].sent() {
                    ends[1 - from].receive(&packet);
                }
            }
        }
        for end in &mut ends {
            assert!(end.frcp.is_drained());
            assert_eq!(end.frcp.poll_timeout(), None);
            let before = end.frcp.stats();
            end.pass(Duration::from_secs(100));
            assert_eq!(end.sent().len(), 0);
            assert_eq!(end.frcp.stats().control_sent, before.control_sent);
        }
        // The acknowledgements that 0.23 sends for nothing draw none from us.
        ends[0]
            .frcp
            .handle_packet(ends[0].now, &control(0x0c, 260, 0, 3))
            .expect("valid");
        ends[0].pass(millis(100));
        assert_eq!(ends[0].sent().len(), 0);
    }
}

// Wrap-around.

#[test]
fn sequence_numbers_wrap_at_2_to_the_32_and_edges_at_2_to_the_24() {
    for isn in [u32::MAX - 100, 0x00ff_ff80, 0x7fff_ffc0] {
        let mut pair = [Rig::reliable(isn), Rig::reliable(isn ^ 0xffff)];
        for i in 0..1000u32 {
            let from = (i % 2) as usize;
            pair[from].write(&i.to_be_bytes());
            for packet in pair[from].sent() {
                pair[1 - from].receive(&packet);
            }
            assert_eq!(pair[1 - from].read(), Some(i.to_be_bytes().to_vec()));
        }
    }
}

// The end of a flow (§10).

#[test]
fn finish_retransmits_until_everything_is_acknowledged_and_still_answers() {
    let mut rig = Rig::reliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"unread"));
    rig.write(b"x");
    rig.sent();
    rig.frcp.finish(rig.now);
    assert_eq!(rig.read(), None);
    assert_eq!(
        rig.frcp.write(rig.now, b"y"),
        Err(WriteError::Down(Failure::Finished))
    );
    assert!(!rig.frcp.is_drained());
    rig.sent();
    rig.pass(Duration::from_secs(1));
    assert!(
        rig.sent()
            .iter()
            .any(|p| repr(p).flags.contains(Flags::DATA))
    );
    // A peer that missed our last acknowledgement retransmits.
    let again = data(0x03, 0, PEER, 0, b"unread");
    assert_eq!(
        rig.frcp.handle_packet(rig.now, &again),
        Err(Discard::Duplicate)
    );
    assert_eq!(repr(&rig.sent()[0]).ackno, PEER + 1);
    // New data is acknowledged and thrown away.
    rig.receive(&data(0x01, 0, PEER + 1, 0, b"more"));
    rig.pass(millis(20));
    assert_eq!(repr(&rig.sent()[0]).ackno, PEER + 2);
    assert_eq!(rig.read(), None);
    rig.receive(&ack(PEER + 2, ISN + 1));
    assert!(rig.frcp.is_drained());
}

#[test]
fn finish_without_recent_data_sends_nothing() {
    let mut rig = Rig::reliable(ISN);
    rig.frcp.finish(rig.now);
    assert_eq!(rig.sent().len(), 0);
    assert!(rig.frcp.is_drained());
    let mut rig = Rig::unreliable(ISN);
    rig.receive(&data(0x03, 0, PEER, 0, b"x"));
    rig.frcp.finish(rig.now);
    assert_eq!(rig.sent().len(), 0);
    assert!(rig.frcp.is_drained());
}
