//! Captures of the C implementation 0.23: every frame and datagram of the layers on Ethernet and UDP parses
//! to its last byte and is emitted again identically.

use o7s_captures::{Frame, datagrams, frames};
use o7s_wire::{
    eth::{dix, llc},
    hash::DirHash,
    shim::{DIX, LLC, Layout, Message, UDP},
    udp,
};

/// Captures on eth-dix, with their number of frames.
const ON_DIX: &[(&str, usize)] = &[
    ("01-eth-dix.pcap", 18),
    ("01e-eth-dix-errors.pcap", 10),
    ("04-eth-dix-qos.pcap", 48),
    ("05-frct-loss-A.pcap", 249),
    ("05-frct-loss-B.pcap", 255),
    ("05b-frct-window.pcap", 327),
    ("06-unicast-2nodes.pcap", 56),
    ("07-line-AB.pcap", 114),
    ("07-line-BC.pcap", 92),
    ("09a-enc-p256-aes256gcm.pcap", 16),
    ("09c-auth-server.pcap", 17),
    ("09d-enc-auth-mutual.pcap", 16),
    ("09e-enc-client-missing.pcap", 4),
    ("10-large-eth-dix-mtu1500.pcap", 34),
    ("11-keepalive-peer-timeout.pcap", 45),
    ("13-crc32.pcap", 25),
    ("x1-flow-reply-race.pcap", 28),
    ("x3-best-effort-stall.pcap", 73),
    ("x4-query-race.pcap", 18),
];

const SHA3_256: usize = 32;

/// Parses a management message, emits it again, and gives its text.
fn message(layout: &Layout, payload: &[u8], hash_len: usize) -> String {
    let message = Message::parse(layout, payload, hash_len).expect("a message of 0.23");
    let mut again = Vec::new();
    message.emit(layout, &mut again).expect("it fits");
    assert_eq!(again, payload, "{message}");
    assert_eq!(again.len(), message.emitted_len(layout));
    message.to_string()
}

#[test]
fn every_frame_of_eth_dix() {
    for (name, count) in ON_DIX {
        let frames = frames(name);
        assert_eq!(frames.len(), *count, "{name}");
        for Frame { bytes, .. } in frames {
            let frame = dix::Frame::new_checked(&bytes, dix::DEFAULT_ETHERTYPE).expect(name);
            let payload = frame.payload();
            let mut again = dix::Repr::of(&frame).emit(payload.len() as u16).to_vec();
            again.extend_from_slice(payload);
            assert_eq!(again, bytes, "{name}: {frame}");
            if frame.eid() == dix::MANAGEMENT {
                message(&DIX, payload, SHA3_256);
            }
        }
    }
}

#[test]
fn every_frame_of_eth_llc() {
    let frames = frames("02-eth-llc.pcap");
    assert_eq!(frames.len(), 18);
    let mut texts = Vec::new();
    for Frame { bytes, .. } in frames {
        let frame = llc::Frame::new_checked(&bytes).expect("a frame");
        let payload = frame.payload();
        let mut again = llc::Repr::of(&frame).emit(payload.len() as u16).to_vec();
        again.extend_from_slice(payload);
        assert_eq!(again, bytes, "{frame}");
        texts.push(frame.to_string());
        if frame.dsap() == llc::MANAGEMENT {
            texts.push(message(&LLC, payload, SHA3_256));
        }
    }
    assert_eq!(
        texts[..9],
        [
            "LLC 02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff management len=69",
            "NAME_QUERY_REQ hash=42dee3b0",
            "LLC 02:00:00:00:00:0b > 02:00:00:00:00:0a management len=69",
            "NAME_QUERY_REPLY hash=42dee3b0",
            "LLC 02:00:00:00:00:0a > 02:00:00:00:00:0b management len=105",
            "FLOW_REQ eid=2 hash=42dee3b0 delay=4294967295 bandwidth=0 availability=0 loss=1 ber=1 \
             in_order=0 max_gap=4294967295 timeout=120000 piggyback=36",
            "LLC 02:00:00:00:00:0b > 02:00:00:00:00:0a management len=121",
            "FLOW_REPLY requester=2 acceptor=2 response=0 piggyback=84",
            "LLC 02:00:00:00:00:0a > 02:00:00:00:00:0b dsap=2 ssap=2 len=64",
        ]
    );
}

#[test]
fn every_datagram_of_udp() {
    for (name, count) in [
        ("03-udp4.pcap", 15),
        ("03b-udp6.pcap", 15),
        ("10b-large-udp4.pcap", 18),
        ("x2-frct-read-stall.pcap", 15),
    ] {
        let datagrams = datagrams(&frames(name));
        assert_eq!(datagrams.len(), count, "{name}");
        for found in datagrams {
            assert_eq!(found.from.port(), udp::DEFAULT_PORT);
            assert_eq!(found.to.port(), udp::DEFAULT_PORT);
            let datagram = udp::Datagram::new_checked(&found.bytes).expect(name);
            let eid = datagram.eid();
            let again = [&udp::Repr { eid }.emit()[..], datagram.payload()].concat();
            assert_eq!(again, found.bytes, "{name}: {datagram}");
            if eid == udp::MANAGEMENT {
                message(&UDP, datagram.payload(), DirHash::Md5.len());
            }
        }
    }
}

#[test]
fn frames_read_like_a_dissector() {
    let bytes = &frames("x1-flow-reply-race.pcap")[27].bytes;
    let frame = dix::Frame::new_checked(bytes, dix::DEFAULT_ETHERTYPE).expect("a frame");
    assert_eq!(
        frame.to_string(),
        "DIX[0xa000] 02:00:00:00:00:0b > 00:00:00:00:00:00 management len=123"
    );
    assert_eq!(
        message(&DIX, frame.payload(), SHA3_256),
        "FLOW_REPLY requester=65535 acceptor=67 response=0 piggyback=84"
    );
    let datagrams = datagrams(&frames("03-udp4.pcap"));
    let text = |at: usize| {
        let datagram = udp::Datagram::new_checked(&datagrams[at].bytes).expect("a datagram");
        datagram.to_string()
    };
    assert_eq!(text(0), "UDP management len=95");
    assert_eq!(text(2), "UDP eid=64 len=64");
}
