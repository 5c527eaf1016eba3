//! What the tools in C sent (`captures` 04): `oping` with each QoS, and `operf`.

use o7s_captures::frames;
use o7s_wire::{
    operf::TestType,
    oping::{HEADER_LEN, Kind, Ping},
};

const FRCP_HEADER: usize = 12;

#[test]
fn every_message_of_the_tools_is_understood() {
    let (mut pings, mut perfs) = (Vec::new(), Vec::new());
    for frame in frames("04-eth-dix-qos.pcap") {
        let frame = frame.dix();
        let payload = frame.payload;
        // Management, pings on raw flows, acknowledgements, pings behind FRCP, operf.
        match (frame.eid, payload.len()) {
            (0, _) | (_, FRCP_HEADER) => {}
            (_, 64) => pings.push(payload.to_vec()),
            (_, 76) => pings.push(payload[FRCP_HEADER..].to_vec()),
            _ => perfs.push(payload.to_vec()),
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
