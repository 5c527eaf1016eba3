//! Captures of the C implementation 0.23: every FRCP packet parses to its last byte and is emitted again
//! identically; one side of a lossy transfer is replayed into our machine.

mod frcp_rig;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use frcp_rig::Rig;
use o7s_captures::{Frame, frames};
use o7s_proto::frcp::{Discard, Frcp};
use o7s_wire::frcp::{Flags, HEADER_LEN, Packet, Repr};

/// What is below FRCP.
#[derive(Clone, Copy, PartialEq)]
enum Below {
    /// Ethernet, then EID and length of the eth-dix shim.
    Dix,
    /// The same, then the data transfer header of a unicast layer.
    DixUnicast,
    /// Ethernet, IPv6, UDP, then the EID of the udp6 shim.
    Udp6,
}

/// The endpoint id and what follows it, every byte accounted for.
fn payload(frame: &Frame, below: Below) -> (u32, &[u8]) {
    match below {
        Below::Udp6 => {
            let udp = &frame.bytes[54..];
            let length = u16::from_be_bytes([udp[4], udp[5]]) as usize;
            assert_eq!(length, udp.len());
            let eid = u32::from_be_bytes(udp[8..12].try_into().expect("four bytes"));
            (eid, &udp[12..])
        }
        Below::Dix | Below::DixUnicast => {
            let frame = frame.dix();
            let skip = if below == Below::DixUnicast { 15 } else { 0 };
            (frame.eid.into(), &frame.payload[skip..])
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// Frame numbers from 1 of the FRCP flows, as `README.md` of the captures lists them.
const CAPTURES: &[(&str, Below, &[RangeInclusive<usize>], usize)] = &[
    (
        "04-eth-dix-qos.pcap",
        Below::Dix,
        &[11..=17, 20..=26, 29..=35, 38..=43],
        27,
    ),
    ("05-frct-loss-A.pcap", Below::Dix, &[5..=249], 245),
    ("05-frct-loss-B.pcap", Below::Dix, &[5..=255], 251),
    ("05b-frct-window.pcap", Below::Dix, &[5..=327], 323),
    ("06-unicast-2nodes.pcap", Below::DixUnicast, &[43..=48], 6),
    ("10-large-eth-dix-mtu1500.pcap", Below::Dix, &[21..=24], 4),
    ("13-crc32.pcap", Below::Dix, &[11..=15, 18..=25], 13),
    ("x2-frct-read-stall.pcap", Below::Udp6, &[13..=17], 5),
    ("x3-best-effort-stall.pcap", Below::Dix, &[5..=69], 65),
];

#[test]
fn every_captured_packet_parses_and_is_emitted_again() {
    for (name, below, ranges, expected) in CAPTURES {
        let frames = frames(name);
        let mut count = 0;
        let mut without_crc = Vec::new();
        for number in ranges.iter().cloned().flatten() {
            let (eid, mut bytes) = payload(&frames[number - 1], *below);
            assert_ne!(eid, 0, "{name} {number}");
            let repr = Repr::parse(bytes).unwrap_or_else(|e| panic!("{name} {number}: {e}"));
            if *name == "13-crc32.pcap" {
                let (head, crc) = bytes.split_last_chunk().expect("longer than a CRC");
                if u32::from_be_bytes(*crc) == crc32(head) {
                    bytes = head;
                } else {
                    without_crc.push(number);
                }
            }
            let packet = Packet::new_checked(bytes).expect("parsed before");
            let again = [&repr.to_bytes()[..], packet.payload()].concat();
            assert_eq!(again, bytes, "{name} {number}");
            let known = Flags::DATA | Flags::DRF | Flags::ACK | Flags::FC | Flags::RDVS;
            assert_eq!(
                repr.flags.intersection(known),
                repr.flags,
                "{name} {number}: {packet}"
            );
            assert_eq!(
                repr.flags.contains(Flags::DATA),
                !packet.payload().is_empty(),
                "{name} {number}: {packet}"
            );
            assert!(
                repr.flags.contains(Flags::FC) || repr.window == 0,
                "{name} {number}: {packet}"
            );
            assert!(
                repr.flags.contains(Flags::DATA) || repr.seqno == 0,
                "{name} {number}: {packet}"
            );
            count += 1;
        }
        assert_eq!(count, *expected, "{name}");
        if *name == "13-crc32.pcap" {
            // Trap T9: control packets and retransmissions.
            assert_eq!(without_crc, [15, 20, 23, 24, 25]);
        }
    }
}

const FROM_A: u8 = 0x0a;
const FROM_B: u8 = 0x0b;

/// The FRCP packets of one side in a capture of 05, with their times.
fn side(name: &str, from: u8) -> Vec<(Duration, Vec<u8>)> {
    frames(name)
        .into_iter()
        .filter(|frame| frame.bytes[11] == from)
        .filter_map(|frame| {
            let (eid, bytes) = payload(&frame, Below::Dix);
            (eid != 0 && !bytes.is_empty()).then(|| (frame.time, bytes.to_vec()))
        })
        .collect()
}

/// The messages of one side in order of their seqnos, from the capture at that side.
fn messages(name: &str, from: u8) -> (u32, Vec<Vec<u8>>) {
    let mut messages = BTreeMap::new();
    let mut isn = None;
    for (_, packet) in side(name, from) {
        let repr = Repr::parse(&packet).expect("a header");
        if repr.flags.contains(Flags::DATA) {
            let isn = *isn.get_or_insert(repr.seqno);
            messages.insert(repr.seqno.wrapping_sub(isn), packet[HEADER_LEN..].to_vec());
        }
    }
    (isn.expect("data"), messages.into_values().collect())
}

/// Plays what one side sent, as it arrived at the other, into our machine in the place of that one, which
/// answers each message with the same; what it sends goes nowhere.
fn replay(at: &str, from: u8, isn: u32, echo: bool) -> (Vec<Vec<u8>>, Frcp) {
    let base = Instant::now();
    let mut rig = Rig::reliable(isn);
    rig.now = base;
    rig.frcp = Frcp::new(o7s_proto::frcp::Config::default(), isn, base);
    let mut read = Vec::new();
    for (time, packet) in side(at, from) {
        let when = base + time;
        rig.pass(when.saturating_duration_since(rig.now));
        match rig.frcp.handle_packet(when, &packet) {
            Ok(()) | Err(Discard::Duplicate | Discard::BadAck) => {}
            Err(other) => panic!("{other} at {time:?}"),
        }
        while let Some(message) = rig.read() {
            if echo {
                let _ = rig.frcp.write(rig.now, &message);
            }
            read.push(message);
        }
        rig.sent();
    }
    (read, rig.frcp)
}

#[test]
fn the_lossy_transfer_of_05_comes_out_in_order() {
    let (_, expected) = messages("05-frct-loss-A.pcap", FROM_A);
    assert_eq!(expected.len(), 60);
    let (isn, echoes) = messages("05-frct-loss-B.pcap", FROM_B);
    assert_eq!(echoes, expected);
    // As B's receiver alone, with another numbering of our own.
    let (read, frcp) = replay("05-frct-loss-B.pcap", FROM_A, 0x1234, false);
    assert_eq!(read, expected);
    assert_eq!(frcp.messages_arrived(), 60);
    // As B with its numbering: A's acknowledgements count for our echoes.
    let (read, frcp) = replay("05-frct-loss-B.pcap", FROM_A, isn, true);
    assert_eq!(read, expected);
    assert!(frcp.is_drained(), "{:?}", frcp.stats());
    assert_eq!(frcp.stats().data_sent, 60);
    // As A.
    let (isn, _) = messages("05-frct-loss-A.pcap", FROM_A);
    let (read, _) = replay("05-frct-loss-A.pcap", FROM_B, isn, false);
    assert_eq!(read, expected);
}

/// What each side of the lossy transfer acknowledges is what our receiver would: `ackno` never goes beyond
/// what had arrived there.
#[test]
fn acknowledgements_of_05_stay_within_what_was_sent() {
    for (name, from, to) in [
        ("05-frct-loss-A.pcap", FROM_A, FROM_B),
        ("05-frct-loss-B.pcap", FROM_B, FROM_A),
    ] {
        let (isn, sent) = messages(name, from);
        for (_, packet) in side(name, to) {
            let repr = Repr::parse(&packet).expect("a header");
            if repr.flags.contains(Flags::ACK) {
                assert!(repr.ackno.wrapping_sub(isn) <= sent.len() as u32, "{repr}");
            }
        }
    }
}
