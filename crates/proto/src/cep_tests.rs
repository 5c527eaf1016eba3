//! Handshakes of components: pairs over a link, refusals, time-outs, what peers of 0.23 say.

use o7s_captures::unhex;

use super::*;

const A: u32 = 1;
const B: u32 = 2;

fn component(identity: Identity, address: u64) -> Component {
    Component {
        identity,
        address: Address::new(address),
    }
}

fn outputs(handshakes: &mut Handshakes<u32>) -> Vec<Output<u32>> {
    std::iter::from_fn(|| handshakes.poll_output()).collect()
}

/// The only packet sent, and the end.
fn answer(handshakes: &mut Handshakes<u32>) -> (Option<Vec<u8>>, Output<u32>) {
    let mut all = outputs(handshakes);
    let end = all.pop().unwrap();
    let sent = all.pop().map(|output| match output {
        Output::Send { packet, .. } => packet,
        other => panic!("{other:?}"),
    });
    assert!(all.is_empty());
    (sent, end)
}

fn failure(output: Output<u32>) -> Failure {
    match output {
        Output::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

/// The exchange of `spec/directory-enrollment.md` §11.1.
#[test]
fn two_members_connect_their_data_transfer() {
    let now = Instant::now();
    let ours = component(Identity::UNICAST_DATA, 0x1234_5678);
    let theirs = component(Identity::UNICAST_DATA, 0x9abc_def0);
    let (mut initiator, mut acceptor) = (Handshakes::new(), Handshakes::new());
    acceptor.register(component(Identity::MANAGEMENT, 0x9abc_def0));
    acceptor.register(theirs);
    initiator.connect(now, A, ours);
    acceptor.accept(now, B);
    let Some(Output::Send { flow: A, packet }) = initiator.poll_output() else {
        panic!("nothing sent");
    };
    let expected = "0a0d44617461205472616e7366657212036474701801280240f8acd19101";
    assert_eq!(packet, unhex(expected));
    // A sign of life of the flow is no message.
    acceptor.handle_packet(B, &[]);
    assert_eq!(acceptor.poll_output(), None);
    acceptor.handle_packet(B, &packet);
    let (sent, end) = answer(&mut acceptor);
    let expected = "0a0d44617461205472616e7366657212036474701801280240f0bdf3d509";
    assert_eq!(sent.as_deref(), Some(&*unhex(expected)));
    assert_eq!(
        end,
        Output::Connected {
            flow: B,
            identity: Identity::UNICAST_DATA,
            peer: ours.address,
            role: Role::Acceptor
        }
    );
    initiator.handle_packet(A, &sent.unwrap());
    assert_eq!(
        outputs(&mut initiator),
        [Output::Connected {
            flow: A,
            identity: Identity::UNICAST_DATA,
            peer: theirs.address,
            role: Role::Initiator
        }]
    );
    assert_eq!(initiator.poll_timeout(), None);
    assert_eq!(acceptor.poll_timeout(), None);
}

#[test]
fn an_unknown_or_empty_component_is_refused_with_the_empty_message() {
    let now = Instant::now();
    let mut acceptor = Handshakes::new();
    acceptor.register(component(Identity::BROADCAST_DATA, 0));
    for packet in ["0a01581203647470180128024000", "0a001200180028004000"] {
        acceptor.accept(now, B);
        acceptor.handle_packet(B, &unhex(packet));
        let (sent, end) = answer(&mut acceptor);
        assert_eq!(sent, Some(unhex("0a001200180028004000")));
        assert!(matches!(failure(end), Failure::Unknown(_)));
    }
}

/// Trap T2: for a broadcast IPCP the refusal differs from a good answer by the name only.
#[test]
fn a_refusal_is_no_success() {
    let now = Instant::now();
    let mut initiator = Handshakes::new();
    initiator.connect(now, A, component(Identity::BROADCAST_DATA, 0));
    initiator.handle_packet(A, &unhex("0a001200180028004000"));
    let (_, end) = answer(&mut initiator);
    assert_eq!(failure(end), Failure::NoComponent("Data Transfer"));
}

/// The acceptor that finds a difference answers all the same, so that the initiator knows.
#[test]
fn a_difference_is_told_to_both() {
    let now = Instant::now();
    let (mut initiator, mut acceptor) = (Handshakes::new(), Handshakes::new());
    acceptor.register(component(Identity::BROADCAST_DATA, 0));
    initiator.connect(now, A, component(Identity::UNICAST_DATA, 7));
    acceptor.accept(now, B);
    let Some(Output::Send { packet, .. }) = initiator.poll_output() else {
        panic!("nothing sent");
    };
    acceptor.handle_packet(B, &packet);
    let (sent, end) = answer(&mut acceptor);
    assert!(matches!(failure(end), Failure::Mismatch { .. }));
    initiator.handle_packet(A, &sent.unwrap());
    let (_, end) = answer(&mut initiator);
    let text = failure(end).to_string();
    assert!(text.contains("\"Data Transfer\" protocol \"\""), "{text}");
}

#[test]
fn silence_and_garbage_end_a_handshake_without_an_answer() {
    let now = Instant::now();
    let mut handshakes = Handshakes::new();
    handshakes.accept(now, A);
    handshakes.accept(now, B);
    handshakes.handle_packet(B, &[0xff, 0xff]);
    let (sent, end) = answer(&mut handshakes);
    assert_eq!(sent, None);
    assert!(matches!(failure(end), Failure::NotOcep(_)));
    assert_eq!(handshakes.poll_timeout(), Some(now + TIMEOUT));
    handshakes.handle_timeout(now + TIMEOUT / 2);
    assert_eq!(handshakes.poll_output(), None);
    handshakes.handle_timeout(now + TIMEOUT);
    let (sent, end) = answer(&mut handshakes);
    assert_eq!((sent, failure(end)), (None, Failure::TimedOut));
    assert!(!handshakes.contains(A));
}

#[test]
fn addresses_that_lead_packets_astray_are_refused() {
    let now = Instant::now();
    for (address, expected) in [
        (0, Failure::BadAddress(Address::INVALID)),
        (1 << 40, Failure::BadAddress(Address::new(1 << 40))),
        (7, Failure::OwnAddress(Address::new(7))),
    ] {
        let mut acceptor = Handshakes::new();
        acceptor.register(component(Identity::MANAGEMENT, 7));
        acceptor.accept(now, B);
        let packet = Identity::MANAGEMENT.message(Address::new(address));
        acceptor.handle_packet(B, &packet.emit().unwrap());
        let (sent, end) = answer(&mut acceptor);
        assert!(sent.is_some());
        assert_eq!(failure(end), expected);
    }
}

/// Traps T6: silent initiators hold nobody up, and are limited.
#[test]
fn silent_initiators_are_bounded() {
    let now = Instant::now();
    let mut acceptor = Handshakes::new();
    acceptor.register(component(Identity::ENROLLMENT, 0));
    let most = u32::try_from(ACCEPTING_MAX).unwrap();
    for flow in 0..most {
        acceptor.accept(now, flow);
    }
    assert_eq!(acceptor.poll_output(), None);
    acceptor.accept(now, most);
    assert_eq!(failure(answer(&mut acceptor).1), Failure::Busy);
    // One of them speaks, and makes room.
    let packet = Identity::ENROLLMENT
        .message(Address::INVALID)
        .emit()
        .unwrap();
    acceptor.handle_packet(0, &packet);
    assert!(matches!(answer(&mut acceptor).1, Output::Connected { .. }));
    acceptor.accept(now, most);
    assert_eq!(acceptor.poll_output(), None);
    // Those that are gone make room too; own handshakes take none.
    for flow in 1..=most {
        acceptor.forget(flow);
    }
    acceptor.connect(now, 1, component(Identity::ENROLLMENT, 0));
    acceptor.forget(1);
    for flow in 0..most {
        acceptor.accept(now, flow);
    }
    acceptor.handle_timeout(now + TIMEOUT);
    let ended = outputs(&mut acceptor);
    assert_eq!(ended.len(), ACCEPTING_MAX + 1);
}
