//! Vectors of `spec/unicast.md` §15.1, and properties.

use o7s_captures::unhex;
use proptest::prelude::*;

use super::*;
use crate::qos::QosSpec;

const B: Address = Address::new(0x0d0c_0b0a);
const EID_A: Eid = Eid(0x1122_3344_0000_0041);

fn to_b(cube: u8, ttl: u8, ecn: u8, eid: Eid) -> Repr {
    Repr {
        destination: B,
        cube,
        ttl,
        ecn,
        eid,
    }
}

#[test]
fn worked_examples() {
    let examples: &[(&str, Repr, &[u8], &str)] = &[
        (
            "0a0b0c0d 00 3c 00 4100000044332211 68656c6c6f",
            to_b(0, 60, 0, EID_A),
            b"hello",
            "DT dst=0a.0b.0c.0d qc=0 ttl=60 ecn=0 eid=0x1122334400000041 len=5",
        ),
        (
            "0a0b0c0d 01 3c 00 4100000044332211 68656c6c6f",
            to_b(1, 60, 0, EID_A),
            b"hello",
            "DT dst=0a.0b.0c.0d qc=1 ttl=60 ecn=0 eid=0x1122334400000041 len=5",
        ),
        (
            "0a0b0c0d 02 3c 00 4100000044332211 68656c6c6f",
            to_b(2, 60, 0, EID_A),
            b"hello",
            "DT dst=0a.0b.0c.0d qc=2 ttl=60 ecn=0 eid=0x1122334400000041 len=5",
        ),
        (
            "0a0b0c0d 00 3c 06 0100000000000000 78",
            to_b(0, 60, 6, Eid::DIRECTORY),
            b"x",
            "DT dst=0a.0b.0c.0d qc=0 ttl=60 ecn=6 eid=directory len=1",
        ),
        (
            "0a0b0c0d 00 3c 00 4100000044332211",
            to_b(0, 60, 0, EID_A),
            b"",
            "DT dst=0a.0b.0c.0d qc=0 ttl=60 ecn=0 eid=0x1122334400000041 len=0",
        ),
    ];
    for &(hex, repr, payload, text) in examples {
        let bytes = unhex(hex);
        let packet = Packet::new_checked(&bytes, Sizes::DEFAULT).expect("a whole header");
        assert_eq!(packet.repr(), repr, "{hex}");
        assert_eq!(packet.payload(), payload, "{hex}");
        assert_eq!(packet.to_string(), text);
        assert_eq!(repr.to_packet(Sizes::DEFAULT, payload), bytes, "{hex}");
    }
}

#[test]
fn transit_changes_two_bytes() {
    let mut bytes = unhex("0a0b0c0d 00 05 01 4100000044332211 68656c6c6f");
    let mut packet = Packet::new_checked(&mut bytes[..], Sizes::DEFAULT).expect("a whole header");
    packet.set_ttl(packet.ttl() - 1);
    packet.mark(2);
    assert_eq!(
        bytes,
        unhex("0a0b0c0d 00 04 03 4100000044332211 68656c6c6f")
    );
}

#[test]
fn header_is_checked() {
    let short = DtError::Short {
        header: 15,
        got: 14,
    };
    assert_eq!(Repr::parse(&[0; 14], Sizes::DEFAULT), Err(short));
    assert_eq!(
        short.to_string(),
        "a data transfer packet of this layer has at least 15 bytes, got 14"
    );
    let repr = Repr::parse(&[0; 15], Sizes::DEFAULT).expect("15 bytes");
    assert_eq!(repr.emit(&mut [0; 14], Sizes::DEFAULT), Err(short));
    for (address, eid) in [(0, 8), (9, 8), (4, 0), (4, 9), (usize::MAX, 256)] {
        assert_eq!(
            Sizes::new(address, eid),
            Err(DtError::Sizes { address, eid })
        );
    }
}

#[test]
fn sizes_know_what_they_have_room_for() {
    assert!(Sizes::DEFAULT.fits(Address::new(0xffff_ffff)));
    assert!(!Sizes::DEFAULT.fits(Address::new(0x1_0000_0000)));
    let eight = Sizes::new(8, 8).expect("possible");
    assert!(eight.fits(Address::new(u64::MAX)));
}

/// `spec/unicast.md` §8.2.
#[test]
fn cubes_of_the_presets() {
    for (qos, cube) in [
        (QosSpec::RAW, QosCube::BestEffort),
        (QosSpec::BEST_EFFORT, QosCube::BestEffort),
        (QosSpec::DATA, QosCube::BestEffort),
        (QosSpec::NP1, QosCube::BestEffort),
        (QosSpec::VIDEO, QosCube::Video),
        (QosSpec::VOICE, QosCube::Voice),
    ] {
        assert_eq!(QosCube::of(&qos), cube, "{qos:?}");
    }
    for cube in QosCube::ALL {
        assert_eq!(QosCube::from_number(cube.number()), Some(cube));
    }
    assert_eq!(QosCube::from_number(3), None);
}

proptest! {
    #[test]
    fn emitted_headers_parse(
        address: u64, cube: u8, ttl: u8, ecn: u8, eid: u64,
        a in 1usize..=8, e in 1usize..=8, payload: Vec<u8>,
    ) {
        let sizes = Sizes::new(a, e).expect("possible");
        let repr = Repr {
            destination: Address::new(address & u64::MAX >> (64 - 8 * a)),
            cube,
            ttl,
            ecn,
            eid: Eid(eid & u64::MAX >> (64 - 8 * e)),
        };
        prop_assert!(sizes.fits(repr.destination));
        let bytes = repr.to_packet(sizes, &payload);
        let packet = Packet::new_checked(&bytes, sizes).expect("a whole header");
        prop_assert_eq!(packet.repr(), repr);
        prop_assert_eq!(packet.payload(), &payload[..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, a in 1usize..=8, e in 1usize..=8) {
        let sizes = Sizes::new(a, e).expect("possible");
        match Packet::new_checked(&bytes, sizes) {
            Ok(packet) => {
                let _ = packet.to_string();
                prop_assert_eq!(packet.repr().to_packet(sizes, packet.payload()), bytes);
            }
            Err(_) => prop_assert!(bytes.len() < sizes.header_len()),
        }
    }
}
