//! Captures of unicast layers of the C implementation 0.23: every data transfer packet and every message
//! of the flow allocator parses to its last byte and is emitted again identically; a node of ours in the
//! place of a captured one forwards, allocates and reports as that one did.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use o7s_captures::frames;
use o7s_proto::{
    congestion::{self, Receiver},
    dt::{Component, Config, Dt, Verdict},
    fa::{self, FlowAllocator, Output},
    forwarding::{FlowToken, Policy, Route, Table},
};
use o7s_wire::{
    dt::{Address, Eid, Packet, QosCube, Repr, Sizes},
    fa::Message,
    hash::DirHash,
    qos::QosSpec,
};

/// A data transfer packet of a capture, and to which host it went: the last byte of its MAC address.
struct Captured {
    to: u8,
    bytes: Vec<u8>,
}

impl Captured {
    fn packet(&self) -> Packet<&[u8]> {
        Packet::new_checked(&self.bytes[..], Sizes::DEFAULT).expect("a whole header")
    }

    fn destination(&self) -> Address {
        self.packet().destination()
    }
}

/// EID of the data adjacency in the shim at both ends, in all these captures.
const ADJACENCY: u16 = 65;

/// All packets on the data adjacency of a capture.
fn packets(name: &str) -> Vec<Captured> {
    let mut packets = Vec::new();
    for frame in frames(name) {
        let frame = frame.dix();
        // Not the connection of the component, nor the keepalive of the adjacency.
        let connects = frame.payload.starts_with(b"\x0a\x0dData Transfer");
        if frame.eid == ADJACENCY && !connects && !frame.payload.is_empty() {
            packets.push(Captured {
                to: frame.to[5],
                bytes: frame.payload.to_vec(),
            });
        }
    }
    packets
}

#[test]
fn every_packet_parses_and_is_emitted_again() {
    // Packets; requests, replies and updates of the flow allocators.
    for (name, count, messages) in [
        ("06-unicast-2nodes.pcap", 24, [2, 2, 0]),
        ("07-line-AB.pcap", 36, [3, 3, 0]),
        ("07-line-BC.pcap", 33, [3, 3, 0]),
        ("12-mb-ecn.pcap", 551, [1, 1, 32]),
    ] {
        let captured = packets(name);
        let mut found = [0; 3];
        for packet in &captured {
            let header = packet.packet().repr();
            let mut payload = packet.packet().payload().to_vec();
            if header.eid == Eid::FLOW_ALLOCATOR {
                let message = Message::parse(&payload, DirHash::Sha3_256).expect("a message");
                found[match message {
                    Message::Request { .. } => 0,
                    Message::Reply { .. } => 1,
                    Message::Update { .. } => 2,
                }] += 1;
                payload = message.to_bytes().expect("not too long");
            }
            let again = header.to_packet(Sizes::DEFAULT, &payload);
            assert_eq!(again, packet.bytes, "{name}: {header}");
        }
        assert_eq!((captured.len(), found), (count, messages), "{name}");
    }
}

/// 07: B in the middle of A, B and C. What came to B, through a node of ours, is what left B.
#[test]
fn a_line_is_forwarded_as_captured() {
    const HOST_A: u8 = 0x0a;
    const HOST_C: u8 = 0x0c;
    let [a, b, c] = [0x7e1b_3b82, 0x3961_9e72, 0x0c8e_bf7b].map(Address::new);
    let [to_a, to_c] = [FlowToken(0), FlowToken(1)];
    let mut dt = Dt::new(Config::new(b));
    dt.add_flow(to_a, QosCube::BestEffort);
    dt.add_flow(to_c, QosCube::BestEffort);
    let routes = [a, c].map(|member| Route {
        destination: member,
        next_hops: vec![member],
    });
    let table = Table::build(Policy::Simple, &routes, 1, |hop| match hop {
        hop if hop == a => &[FlowToken(0)],
        _ => &[FlowToken(1)],
    });
    dt.set_table(Arc::new(table));

    let (ab, bc) = (packets("07-line-AB.pcap"), packets("07-line-BC.pcap"));
    let arrived = |captured: &[Captured], neighbour| -> Vec<Vec<u8>> {
        let to_b = captured.iter().filter(|packet| packet.to != neighbour);
        to_b.map(|packet| packet.bytes.clone()).collect()
    };
    let mut left = BTreeMap::from([(to_a, Vec::new()), (to_c, Vec::new())]);
    let mut delivered = 0;
    for (from, packets) in [(to_a, arrived(&ab, HOST_A)), (to_c, arrived(&bc, HOST_C))] {
        for mut packet in packets {
            match dt.receive(from, &mut packet) {
                Verdict::Forward { flow, cube } => {
                    assert_eq!(cube, QosCube::BestEffort);
                    dt.mark(&mut packet, 0);
                    left.get_mut(&flow).expect("a neighbour").push(packet);
                }
                Verdict::Component { .. } | Verdict::User { .. } => delivered += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(delivered > 0);
    for (flow, captured, neighbour, member, lost) in
        [(to_c, &bc, HOST_C, c, true), (to_a, &ab, HOST_A, a, false)]
    {
        let transit: Vec<_> = captured
            .iter()
            .filter(|packet| packet.to == neighbour && packet.destination() == member)
            .filter(|packet| packet.packet().ttl() == 59)
            .map(|packet| packet.bytes.clone())
            .collect();
        assert!(transit.len() > 10);
        let ours = &left[&flow];
        // In order; what B sent while the link was cut is missing from the capture.
        let mut rest = ours.iter();
        for packet in &transit {
            assert!(rest.any(|ours| ours == packet), "{flow:?}");
        }
        assert_eq!(ours.len() > transit.len(), lost);
    }
}

/// Nodes and ends of the congested flow of 12.
const MB_ECN_A: Address = Address::new(0x3729_721a);
const MB_ECN_B: Address = Address::new(0xe283_f663);
const END_A: Eid = Eid(0x8c38_4aef_0000_0042);

/// 12: an allocator of ours makes the captured request byte for byte, and takes the reply.
#[test]
fn a_flow_is_allocated_as_captured() {
    let captured = packets("12-mb-ecn.pcap");
    let message = |at: usize| -> (Repr, Vec<u8>) {
        let fa = captured
            .iter()
            .filter(|packet| packet.packet().eid() == Eid::FLOW_ALLOCATOR)
            .nth(at)
            .expect("request, reply, updates");
        (fa.packet().repr(), fa.packet().payload().to_vec())
    };
    let (header, request) = message(0);
    let now = Instant::now();
    let config = fa::Config::new(MB_ECN_A, DirHash::Sha3_256);
    let mut a = FlowAllocator::new(config, || END_A.0 >> 16);
    let data = &request[93..];
    let hash = DirHash::Sha3_256.digest(b"sink");
    // The third EID has the captured number.
    let flows = [(); 3].map(|()| {
        a.allocate(now, MB_ECN_B, hash.as_bytes(), &QosSpec::RAW, data)
            .expect("room")
    });
    assert_eq!(flows[2], END_A);
    let Some(Output::Send {
        destination,
        cube,
        message: ours,
        flow,
    }) = std::iter::from_fn(|| a.poll_output())
        .filter(|output| matches!(output, Output::Send { .. }))
        .nth(2)
    else {
        panic!("a request");
    };
    assert_eq!(
        (destination, cube.number()),
        (header.destination, header.cube)
    );
    assert_eq!((ours, flow), (request, Some(END_A)));

    let (header, reply) = message(1);
    assert_eq!(header.destination, MB_ECN_A);
    a.receive(now, &reply).expect("a reply");
    assert_eq!(
        a.poll_output(),
        Some(Output::Granted {
            flow: END_A,
            data: reply[61..].to_vec()
        })
    );
    let up = a.poll_output();
    let Some(Output::Up { peer, peer_eid, .. }) = up else {
        panic!("{up:?}");
    };
    assert_eq!(peer, MB_ECN_B);
    // To the peer's end goes all that the capture has from A.
    let data = captured
        .iter()
        .filter(|packet| packet.packet().eid() == peer_eid);
    assert_eq!(data.count(), 512);
}

/// 12: B's receiver, fed with the captured marks, reports what B reported, after the same packets.
#[test]
fn congestion_is_reported_as_captured() {
    let captured = packets("12-mb-ecn.pcap");
    let mut receiver = Receiver::new(congestion::Policy::MultiBitEcn);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut a = Dt::new(Config::new(MB_ECN_A));
    let mut b = Dt::new(Config::new(MB_ECN_B));
    let (mut user, mut highest) = (0_u32, 0);
    for packet in captured {
        let at = if packet.destination() == MB_ECN_B {
            &mut b
        } else {
            &mut a
        };
        let mut bytes = packet.bytes.clone();
        match at.receive(FlowToken(0), &mut bytes) {
            Verdict::User { ecn, .. } => {
                user += 1;
                highest = highest.max(ecn);
                ours.extend(receiver.packet(ecn).map(|level| (user, level)));
            }
            Verdict::Component {
                component: Component::FlowAllocator,
                ..
            } => {
                if let Ok(Message::Update { eid, ece }) =
                    Message::parse(packet.packet().payload(), DirHash::Sha3_256)
                {
                    assert_eq!(eid, END_A);
                    theirs.push((user, ece));
                }
            }
            Verdict::Component { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(theirs.len(), 32);
    assert_eq!(ours.iter().map(|(_, level)| level).max(), Some(&279));
    let levels = |reports: &[(u32, u16)]| reports.iter().map(|report| report.1).collect::<Vec<_>>();
    assert_eq!(levels(&ours), levels(&theirs));
    // An update passes the packets that are behind the one it is about.
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(
            (0..=8).contains(&(theirs.0 - ours.0)),
            "{ours:?} {theirs:?}"
        );
    }
    assert!(highest > 8);
}
