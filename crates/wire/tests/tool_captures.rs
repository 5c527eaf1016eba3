//! What the tools in C sent (`captures` 04): `oping` with each QoS, and `operf`.

use o7s_wire::{
    operf::TestType,
    oping::{HEADER_LEN, Kind, Ping},
};

/// Global header and packet header of a pcap file, both little-endian.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// Ethernet header, then EID and length of eth-dix.
const ETHERNET: usize = 14;
const FRCP_HEADER: usize = 12;

/// EID and payload of each frame.
fn frames() -> Vec<(u16, Vec<u8>)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/captures/04-eth-dix-qos.pcap"
    );
    let file = std::fs::read(path).unwrap();
    let mut rest = &file[FILE_HEADER..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[PACKET_HEADER..PACKET_HEADER + length];
        rest = &rest[PACKET_HEADER + length..];
        let field = |at: usize| u16::from_be_bytes(frame[at..at + 2].try_into().unwrap());
        let payload = usize::from(field(ETHERNET + 2));
        let start = ETHERNET + 4;
        frames.push((field(ETHERNET), frame[start..start + payload].to_vec()));
    }
    frames
}

#[test]
fn every_message_of_the_tools_is_understood() {
    let (mut pings, mut perfs) = (Vec::new(), Vec::new());
    for (eid, payload) in frames() {
        // Management, pings on raw flows, acknowledgements, pings behind FRCP, operf.
        match (eid, payload.len()) {
            (0, _) | (_, FRCP_HEADER) => {}
            (_, 64) => pings.push(payload),
            (_, 76) => pings.push(payload[FRCP_HEADER..].to_vec()),
            _ => perfs.push(payload),
        }
    }
    // Two requests and two replies with each of five QoS.
    assert_eq!(pings.len(), 20);
    for (at, bytes) in pings.iter().enumerate() {
        let ping = Ping::parse(bytes).unwrap();
        let kind = if at % 2 == 0 {
            Kind::Request
        } else {
            Kind::Reply
        };
        assert_eq!((ping.kind, ping.id as usize), (kind, at / 2 % 2));
        let mut again = [0; 64];
        ping.emit(again.first_chunk_mut::<HEADER_LEN>().unwrap());
        assert_eq!(again[..], bytes[..]);
    }
    assert_eq!(perfs, [TestType::Uni.emit()]);
    assert_eq!(TestType::parse(&perfs[0]), Ok(TestType::Uni));
}
