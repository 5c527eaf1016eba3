//! Captures of 0.23 (06, 07, 08): every component connection, enrollment and link-state update is parsed
//! to its last byte and emitted again identically.

use std::collections::HashMap;

use o7s_captures::frames;
use o7s_wire::{
    cep,
    enroll::{Ack, Answer, Layer, Request, Response},
    linkstate::Lsu,
};

/// Where a management message of eth-dix has its code (`spec/shims.md` §4.4), and the last code that
/// belongs to a flow: 0 is a request, 1 a reply.
const CODE: usize = 37;
const FLOW_REPLY: u8 = 1;

/// What a flow carries, by what was said on it first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flow {
    New,
    Enrollment,
    Management,
    Data,
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    cep: usize,
    requests: usize,
    responses: usize,
    acks: usize,
    updates: usize,
    data: usize,
}

/// Reads a message by where it is; the kind of its flow after it.
fn message(flow: Flow, bytes: &[u8], seen: &mut Seen) -> Flow {
    if let (Flow::New, Ok(message)) = (flow, cep::Message::parse(bytes)) {
        assert_eq!(message.emit().unwrap(), bytes, "{message}");
        seen.cep += 1;
        return match &*message.component {
            b"Enrollment" => Flow::Enrollment,
            b"Management" => Flow::Management,
            b"Data Transfer" => Flow::Data,
            other => panic!("component {}", other.escape_ascii()),
        };
    }
    match flow {
        Flow::Enrollment => enrollment(bytes, seen),
        Flow::Management if bytes.is_empty() => {}
        Flow::Management => {
            let update = Lsu::parse(bytes).unwrap();
            assert_eq!(update.emit(), bytes, "{update}");
            assert!(update.source.is_valid() && update.destination.is_valid());
            seen.updates += 1;
        }
        Flow::Data | Flow::New => seen.data += 1,
    }
    flow
}

fn enrollment(bytes: &[u8], seen: &mut Seen) {
    if let Ok(response) = Response::parse(bytes) {
        assert_eq!(response.emit(), bytes, "{response}");
        seen.responses += 1;
    } else if let Ok(ack) = Ack::parse(bytes) {
        assert_eq!(ack.emit(), bytes);
        assert_eq!(ack.result, 0);
        seen.acks += 1;
    } else {
        let request = Request::parse(bytes).unwrap();
        assert_eq!(request.emit(), bytes);
        seen.requests += 1;
    }
}

fn read(name: &str) -> Seen {
    let mut seen = Seen::default();
    // By receiver and its EID; both ends say their component first.
    let mut flows: HashMap<([u8; 6], u16), Flow> = HashMap::new();
    for frame in frames(&format!("{name}.pcap")) {
        let frame = frame.dix();
        if frame.eid == 0 {
            if frame.payload[CODE] <= FLOW_REPLY {
                // A request or reply tells the EID of its sender: a new flow there.
                let seid = u16::from_be_bytes(frame.payload[..2].try_into().unwrap());
                flows.insert((frame.from, seid), Flow::New);
            }
            continue;
        }
        let flow = flows.get_mut(&(frame.to, frame.eid)).unwrap();
        *flow = message(*flow, frame.payload, &mut seen);
    }
    seen
}

#[test]
fn two_nodes_of_a_unicast_layer() {
    let seen = read("06-unicast-2nodes");
    assert_eq!(
        (seen.cep, seen.requests, seen.responses, seen.acks),
        (6, 1, 1, 1)
    );
    assert_eq!(seen.updates, 12);
}

#[test]
fn three_nodes_in_a_line() {
    for name in ["07-line-AB", "07-line-BC"] {
        let seen = read(name);
        assert_eq!(
            (seen.cep, seen.requests, seen.responses, seen.acks),
            (6, 1, 1, 1)
        );
        assert!(seen.updates > 30, "{name}: {seen:?}");
    }
}

#[test]
fn a_broadcast_layer() {
    for name in ["08-broadcast-AB", "08-broadcast-BC"] {
        let seen = read(name);
        let expected = Seen {
            cep: 4,
            requests: 1,
            responses: 1,
            acks: 1,
            updates: 0,
            data: 4,
        };
        assert_eq!(seen, expected, "{name}");
    }
}

/// Values of the annotated frames of 06 and 08.
#[test]
fn the_configurations_are_those_of_the_annotations() {
    let response = |name: &str| {
        frames(name)
            .iter()
            .find_map(|frame| Response::parse(frame.dix().payload).ok())
            .unwrap()
    };
    let Answer::Accepted(config) = response("06-unicast-2nodes.pcap").answer else {
        panic!("denied");
    };
    assert_eq!(config.name.as_str(), "uni");
    let Layer::Unicast(unicast) = config.layer else {
        panic!("{config}");
    };
    assert_eq!(unicast.dt.routing.t_update, 5);
    assert_eq!(unicast.dht.peer.get(), 0x3462_727b);
    let Answer::Accepted(config) = response("08-broadcast-AB.pcap").answer else {
        panic!("denied");
    };
    assert_eq!(config.to_string(), "layer \"bc\" hash SHA3_256 broadcast");
}
