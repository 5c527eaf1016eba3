//! The exchanges of `spec/directory-enrollment.md` §12: our machines say each side's packets, byte for byte,
//! to the other's.

use std::time::Instant;

use o7s_captures::unhex;
use o7s_proto::{
    cep::{self, Component, Handshakes},
    enrollment::{self, Enrollee, Enroller, Kind},
};
use o7s_wire::{
    cep::Identity,
    dht,
    dt::Address,
    enroll::{Answer, LayerConfig, Request, Response, WallTime},
};

const INITIATOR: Address = Address::new(0x1234_5678);
const ACCEPTOR: Address = Address::new(0x9abc_def0);
const FLOW: u32 = 1;

/// The packets of an exchange, in order.
fn exchange(name: &str) -> Vec<Vec<u8>> {
    let vectors = o7s_captures::json("vectors/directory-enrollment.json");
    let all = vectors["exchanges"].as_array().expect("a list");
    let exchange = all.iter().find(|exchange| exchange["name"] == name);
    let steps = exchange.expect("there")["steps"].as_array().expect("steps");
    let packets = steps.iter().map(|step| step[1].as_str().expect("hex"));
    packets.map(unhex).collect()
}

fn ours(identity: Identity, address: Address) -> Component {
    Component { identity, address }
}

/// What one side says until it has nothing to say, and whether it is connected.
fn said(handshakes: &mut Handshakes<u32>) -> (Vec<Vec<u8>>, Option<bool>) {
    let (mut packets, mut end) = (Vec::new(), None);
    while let Some(output) = handshakes.poll_output() {
        match output {
            cep::Output::Send { packet, .. } => packets.push(packet),
            cep::Output::Connected { .. } => end = Some(true),
            cep::Output::Failed { .. } => end = Some(false),
        }
    }
    (packets, end)
}

/// Plays both sides of a connection; the initiator asks for `asked`.
fn connect(name: &str, asked: Component, known: Component, connected: bool) {
    let packets = exchange(name);
    let [first, second, ..] = &packets[..] else {
        panic!("{name}: two packets at least");
    };
    let now = Instant::now();
    let mut initiator = Handshakes::new();
    initiator.connect(now, FLOW, asked);
    assert_eq!(said(&mut initiator), (vec![first.clone()], None), "{name}");
    let mut acceptor = Handshakes::new();
    acceptor.register(known);
    acceptor.accept(now, FLOW);
    acceptor.handle_packet(FLOW, first);
    assert_eq!(
        said(&mut acceptor),
        (vec![second.clone()], Some(connected)),
        "{name}"
    );
    initiator.handle_packet(FLOW, second);
    assert_eq!(
        said(&mut initiator),
        (Vec::new(), Some(connected)),
        "{name}"
    );
}

#[test]
fn connections() {
    let data = Identity::UNICAST_DATA;
    connect(
        "connect data transfer, unicast",
        ours(data, INITIATOR),
        ours(data, ACCEPTOR),
        true,
    );
    let unknown = Identity {
        component: "X",
        ..data
    };
    connect(
        "connect to an unknown component",
        ours(unknown, Address::INVALID),
        ours(data, ACCEPTOR),
        false,
    );
}

#[test]
fn enrollments() {
    for (name, kind) in [
        ("enroll in a unicast layer", Kind::Unicast),
        ("enroll in a broadcast layer", Kind::Broadcast),
    ] {
        let enrollment = ours(Identity::ENROLLMENT, Address::INVALID);
        connect(name, enrollment, enrollment, true);
        let packets = exchange(name);
        let [_, _, request, response, ack] = &packets[..] else {
            panic!("{name}");
        };
        let now = Instant::now();
        let id = Request::parse(request).expect("a request").id;
        let answer = Response::parse(response).expect("a response");
        let Answer::Accepted(config) = answer.answer else {
            panic!("{name}");
        };

        let (enrollee, said) = Enrollee::start(now, answer.time, id, kind);
        assert_eq!(said, *request, "{name}");
        let enrolled = enrollee.handle_packet(now, response).expect("the end");
        let enrolled = enrolled.expect("accepted");
        assert_eq!((&enrolled.config, enrolled.ack()), (&config, ack.clone()));

        enroll(name, config, answer.time, &packets);
    }
}

/// The other side: a member that enrolls.
fn enroll(name: &str, config: LayerConfig, time: WallTime, packets: &[Vec<u8>]) {
    let now = Instant::now();
    let mut enroller = Enroller::new(config);
    enroller.connected(now, FLOW);
    enroller.handle_packet(now, time, FLOW, &packets[2]);
    let Some(enrollment::Output::Send { packet, .. }) = enroller.poll_output() else {
        panic!("{name}: no response");
    };
    assert_eq!(packet, packets[3], "{name}");
    enroller.handle_packet(now, time, FLOW, &packets[4]);
    let end = enroller.poll_output();
    assert!(
        matches!(end, Some(enrollment::Output::Close { outcome: Ok(_), .. })),
        "{name}: {end:?}"
    );
}

/// The answer is for the question, and names the one who asked and another.
#[test]
fn join() {
    let packets = exchange("join the directory");
    let messages: Vec<_> = packets
        .iter()
        .map(|packet| {
            let message = dht::Message::parse(packet, 32).expect("a message");
            assert_eq!(message.emit(), *packet);
            message
        })
        .collect();
    let (dht::Body::FindNodeReq(find), dht::Body::FindNodeRsp(nodes)) =
        (&messages[0].body, &messages[1].body)
    else {
        panic!("{messages:?}");
    };
    assert_eq!(
        (messages[0].src.address, find.key),
        (INITIATOR, messages[0].src.id)
    );
    assert_eq!(messages[1].src.address, ACCEPTOR);
    assert_eq!((nodes.cookie, nodes.key), (find.cookie, find.key));
    assert_eq!(nodes.contacts[0], messages[0].src);
    assert_eq!(nodes.contacts.len(), 2);
}

/// A request as it leaves its sender, with the header of data transfer.
#[test]
fn packet_on_a_data_connection() {
    let vectors = o7s_captures::json("vectors/directory-enrollment.json");
    let hex = vectors["directory"]["packet_on_data_connection"]["hex"].as_str();
    let message = &exchange("join the directory")[0];
    let header = o7s_wire::dt::Repr {
        destination: ACCEPTOR,
        cube: 0,
        ttl: 60,
        ecn: 0,
        eid: o7s_wire::dt::Eid::DIRECTORY,
    };
    let packet = header.to_packet(o7s_wire::dt::Sizes::DEFAULT, message);
    assert_eq!(packet, unhex(hex.expect("hex")));
}
