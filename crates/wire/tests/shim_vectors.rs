//! The vectors of `spec/shims.md` §12, both ways, and what must hold for any bytes.

use o7s_captures::unhex;
use o7s_wire::{
    eth::{Ethernet, FrameError, MacAddr, dix, llc},
    qos::QosSpec,
    shim::{DIX, LLC, Layout, MARK, Message, ParseError, UDP},
    udp,
};
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../tests/data/vectors/shims.tsv");
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xaa]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xbb]);
const SHA3_256: &str = "42dee3b0415b4f690fd91cbd99876f1e9bd8d9745ef7fa32b142773af0349d54";
const MD5: &str = "7862c6fec5ecaef4aa2e3934725e23b3";

/// What a vector says: the endpoints of the frame (ours and the peer's, none: management) and the payload.
enum Content<'a> {
    Message(Message<'a>),
    Data(u32, u32, &'a [u8]),
}

/// The vectors of §12 as values. Only the hash differs between the formats, and the endpoints' sizes.
fn content<'a>(name: &str, hash: &'a [u8]) -> Content<'a> {
    let voice = QosSpec {
        ber: 1,
        ..QosSpec::VOICE
    };
    let request = |requester, qos, piggyback| {
        Content::Message(Message::FlowRequest {
            requester,
            qos,
            hash,
            piggyback,
            repeats: false,
        })
    };
    let reply = |requester, acceptor, response, piggyback| {
        Content::Message(Message::FlowReply {
            requester,
            acceptor,
            response,
            piggyback,
            repeats: false,
        })
    };
    let repeats = false;
    match name.split_once('.').expect("format and name").1 {
        "name_query_req" => Content::Message(Message::NameQuery { hash, repeats }),
        "name_query_reply" => Content::Message(Message::NameReply { hash, repeats }),
        r#"flow_req eid=64 voice1 pk="PIGGY""# => request(64, voice, b"PIGGY"),
        r#"flow_req sap=2 voice1 pk="PIGGY""# => request(2, voice, b"PIGGY"),
        r#"flow_req eid=65 raw pk="""# => request(65, QosSpec::RAW, b""),
        r#"flow_req sap=3 raw pk="""# => request(3, QosSpec::RAW, b""),
        r#"flow_reply own=70 peer=100 response=0 pk="RSP""#
        | r#"flow_reply requester=100 acceptor=70 response=0 pk="RSP""# => {
            reply(100, 70, 0, b"RSP")
        }
        r#"flow_reply own=71 peer=101 response=-1009 pk="""#
        | r#"flow_reply requester=101 acceptor=71 response=-1009 pk="""# => {
            reply(101, 71, -1009, b"")
        }
        r#"flow_reply own=4 peer=5 response=0 pk="RSP""# => reply(5, 4, 0, b"RSP"),
        r#"flow_reply own=5 peer=6 response=-1009 pk="""# => reply(6, 5, -1009, b""),
        r#"data to eid=100 "hello""# => Content::Data(0, 100, b"hello"),
        "data to eid=100 empty" => Content::Data(0, 100, b""),
        r#"data own=2 to sap=5 "hello""# => Content::Data(2, 5, b"hello"),
        "data own=2 to sap=5 empty" => Content::Data(2, 5, b""),
        r#"data to eid=70 "hello""# => Content::Data(0, 70, b"hello"),
        "data to eid=70 empty" => Content::Data(0, 70, b""),
        other => panic!("a vector without a value: {other}"),
    }
}

fn payload(layout: &Layout, content: &Content<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match content {
        Content::Message(message) => message.emit(layout, &mut bytes).expect("it fits"),
        Content::Data(_, _, data) => bytes.extend_from_slice(data),
    }
    bytes
}

fn check(layout: &Layout, content: &Content<'_>, payload: &[u8], hash_len: usize) {
    match content {
        Content::Message(message) => {
            assert_eq!(Message::parse(layout, payload, hash_len), Ok(*message));
        }
        Content::Data(_, _, data) => assert_eq!(payload, *data),
    }
}

#[test]
fn vectors_are_emitted_and_parsed() {
    let (sha3, md5) = (unhex(SHA3_256), unhex(MD5));
    let mut count = 0;
    for line in VECTORS.lines() {
        let (name, hex) = line.split_once('\t').expect("name and bytes");
        let bytes = unhex(hex);
        let hash = if name.starts_with("udp") { &md5 } else { &sha3 };
        let content = content(name, hash);
        let destination = match content {
            Content::Message(Message::NameQuery { .. }) => MacAddr::BROADCAST,
            _ => PEER,
        };
        let (own, peer) = match content {
            Content::Message(_) => (None, None),
            Content::Data(own, peer, _) => (Some(own), Some(peer)),
        };
        // A driver may pad to 60 bytes (§4.3); datagrams are as long as they are.
        let mut padded = bytes.clone();
        padded.resize(bytes.len().max(60), 0xee);
        let emitted = match &name[..3] {
            "dix" => {
                let frame = dix::Frame::new_checked(&padded, 0xa000).expect(name);
                check(&DIX, &content, frame.payload(), sha3.len());
                let payload = payload(&DIX, &content);
                let repr = dix::Repr {
                    destination,
                    source: OWN,
                    ethertype: 0xa000,
                    eid: peer.unwrap_or(0) as u16,
                };
                assert_eq!(dix::Repr::of(&frame), repr);
                [&repr.emit(payload.len() as u16)[..], &payload].concat()
            }
            "llc" => {
                let frame = llc::Frame::new_checked(&padded).expect(name);
                check(&LLC, &content, frame.payload(), sha3.len());
                let payload = payload(&LLC, &content);
                let repr = llc::Repr {
                    destination,
                    source: OWN,
                    dsap: peer.unwrap_or(1) as u8,
                    ssap: own.unwrap_or(1) as u8,
                    control: llc::CONTROL,
                };
                assert_eq!(llc::Repr::of(&frame), repr);
                [&repr.emit(payload.len() as u16)[..], &payload].concat()
            }
            _ => {
                let datagram = udp::Datagram::new_checked(&bytes).expect(name);
                check(&UDP, &content, datagram.payload(), md5.len());
                let repr = udp::Repr {
                    eid: peer.unwrap_or(0),
                };
                assert_eq!(datagram.eid(), repr.eid);
                [&repr.emit()[..], &payload(&UDP, &content)].concat()
            }
        };
        assert_eq!(emitted, bytes, "{name}");
        count += 1;
    }
    assert_eq!(count, 22);
}

#[test]
fn lengths_beyond_the_frame_are_refused() {
    let header = dix::Repr {
        destination: OWN,
        source: PEER,
        ethertype: 0xa000,
        eid: 64,
    };
    let mut frame = header.emit(6).to_vec();
    frame.extend_from_slice(b"hello");
    let error = |frame: &[u8]| dix::Frame::new_checked(frame, 0xa000).err();
    assert_eq!(
        error(&frame),
        Some(FrameError::Length { length: 6, got: 5 })
    );
    assert_eq!(
        error(&frame[..17]),
        Some(FrameError::Short { need: 18, got: 17 })
    );
    assert_eq!(
        dix::Frame::new_checked(&frame, 0xa001).err(),
        Some(FrameError::Type(0xa000))
    );
    // LLC: a length below the LLC header, and an ethertype.
    let header = llc::Repr {
        destination: OWN,
        source: PEER,
        dsap: 2,
        ssap: 3,
        control: llc::CONTROL,
    };
    let mut frame = header.emit(0).to_vec();
    for (length, error) in [
        (2, FrameError::Short { need: 17, got: 16 }),
        (4, FrameError::Length { length: 4, got: 3 }),
        (0x0600, FrameError::Type(0x0600)),
    ] {
        frame[12..14].copy_from_slice(&u16::to_be_bytes(length));
        assert_eq!(llc::Frame::new_checked(&frame).err(), Some(error));
    }
    assert_eq!(
        udp::Datagram::new_checked([0; 3]).err(),
        Some(udp::ShortDatagram(3))
    );
}

#[test]
fn messages_that_are_none() {
    let short = |layout: &Layout, len: usize| {
        let zeros = vec![0; len];
        matches!(
            Message::parse(layout, &zeros, 32),
            Err(ParseError::Short { got, .. }) if got == len
        )
    };
    for layout in [&DIX, &LLC] {
        // Code 0: a request, which needs its hash.
        let fixed = layout.fixed_len();
        assert!(short(layout, fixed - 1) && short(layout, fixed + 31));
        assert!(!short(layout, fixed + 32));
    }
    let zeros = [0; 80];
    assert_eq!(
        Message::parse(&UDP, &zeros, 16),
        Err(ParseError::Code {
            format: "udp",
            code: 0
        })
    );
    assert_eq!(
        (DIX.fixed_len(), LLC.fixed_len(), UDP.fixed_len()),
        (39, 37, 43)
    );
    let mut out = vec![7];
    let reply = Message::FlowReply {
        requester: 0x100,
        acceptor: 2,
        response: 0,
        piggyback: b"",
        repeats: false,
    };
    assert!(reply.emit(&LLC, &mut out).is_err());
    assert_eq!(out, [7]);
}

fn layouts() -> impl Strategy<Value = &'static Layout> {
    prop_oneof![Just(&DIX), Just(&LLC), Just(&UDP)]
}

prop_compose! {
    fn qos()(delay: u32, bandwidth: u64, availability: u8, loss: u32, ber: u32, in_order: u8,
             max_gap: u32, timeout: u32) -> QosSpec {
        QosSpec { delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout, cypher_s: 0 }
    }
}

proptest! {
    #[test]
    fn parse_of_emit_is_the_same(
        layout in layouts(), kind in 0..4, first: u32, second: u32, response: i32, qos in qos(),
        repeats: bool, hash in prop::collection::vec(any::<u8>(), 32),
        piggyback in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let (first, second) = (first % (layout.max_endpoint().saturating_add(1).max(1)),
                               second & layout.max_endpoint());
        let (hash, piggyback) = (&hash[..], &piggyback[..]);
        // What is marked cannot be told from an equal value in a field that is not used.
        prop_assume!(qos.timeout != MARK);
        let message = match kind {
            0 => Message::FlowRequest { requester: first, qos, hash, piggyback, repeats },
            1 => Message::FlowReply { requester: first, acceptor: second, response, piggyback, repeats },
            2 => Message::NameQuery { hash, repeats },
            _ => Message::NameReply { hash, repeats },
        };
        let mut bytes = Vec::new();
        prop_assert!(message.emit(layout, &mut bytes).is_ok());
        prop_assert_eq!(Message::parse(layout, &bytes, 32), Ok(message));
        prop_assert_eq!(bytes.len(), message.emitted_len(layout));
    }

    #[test]
    fn any_bytes_parse_or_fail(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), code in 0u8..5, layout in layouts(),
    ) {
        let at = match layout.fixed_len() { 39 => 37, 37 => 2, _ => 40 };
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if layout.has_name_queries() || code < 3 { code } else { 0xed + code };
        }
        if let Ok(message) = Message::parse(layout, &bytes, 32) {
            // Fields that mean something, and only those, come back.
            let mut again = Vec::new();
            prop_assert!(message.emit(layout, &mut again).is_ok());
            prop_assert_eq!(Message::parse(layout, &again, 32), Ok(message));
            prop_assert!(!message.to_string().is_empty());
        }
    }

    #[test]
    fn any_frame_parses_or_fails(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0..4usize, tag: bool,
    ) {
        let at = if tag { 16 } else { 12 };
        if tag && bytes.len() >= 16 {
            bytes[12..16].copy_from_slice(&[0x81, 0, 0xe0, 0]);
        }
        let starts: [&[u8]; 4] = [&[], &[0xa0, 0, 0, 5, 0, 9], &[0, 20], &[0xa0, 0, 0, 0, 0]];
        if bytes.len() >= at + starts[kind].len() {
            bytes[at..at + starts[kind].len()].copy_from_slice(starts[kind]);
        }
        if let Ok(frame) = Ethernet::new_checked(&bytes) {
            prop_assert_eq!(frame.body_at() + frame.body().len(), bytes.len());
            prop_assert!(!frame.to_string().is_empty());
        }
        if let Ok(frame) = dix::Frame::new_checked(&bytes, 0xa000) {
            let header = dix::Repr::of(&frame).emit(frame.payload().len() as u16);
            prop_assert_eq!(&header[..12], &bytes[..12]);
            prop_assert_eq!(&header[12..], &bytes[at..at + 6]);
            prop_assert_eq!(frame.payload_at(), at + 6);
            prop_assert_eq!(frame.payload(), &bytes[at + 6..][..frame.payload().len()]);
        }
        if let Ok(frame) = llc::Frame::new_checked(&bytes) {
            let header = llc::Repr::of(&frame).emit(frame.payload().len() as u16);
            prop_assert_eq!(&header[..12], &bytes[..12]);
            prop_assert_eq!(&header[12..], &bytes[at..at + 5]);
            prop_assert_eq!(frame.payload(), &bytes[at + 5..][..frame.payload().len()]);
        }
        if let Ok(datagram) = udp::Datagram::new_checked(&bytes) {
            let again = [&udp::Repr { eid: datagram.eid() }.emit()[..], datagram.payload()].concat();
            prop_assert_eq!(again, bytes);
        }
    }
}
