//! Captured exchanges of the C implementation 0.23 against whole nodes: daemon, IPCP and library, each
//! side of each exchange in turn.
//!
//! Left out are captures whose other side cannot be played from its bytes: signed requests (their time is
//! signed too), encrypted packets (keys differ each time), and those whose point is how FRCP reacts to loss
//! and closed windows; the machines are tested with them.

mod replay_rig;

use std::time::Duration;

use o7s::{ErrorKind, QosSpec};
use o7s_tests::{netns::skipped, networks::counter, own_pid};
use o7s_wire::shim::Message;
use replay_rig::{Kind, Replay, Summary, fresh_request, steps};

/// Plays frames `..=last` (all, if 0) with the node as the first speaker or as the other.
fn replay(kind: Kind, name: &str, first: bool, last: usize) -> Summary {
    let steps = steps(kind, name);
    let mut replay = Replay::new(kind, first, &steps);
    for step in steps {
        if last == 0 || step.number <= last {
            replay.play(&step);
        }
    }
    replay.summary
}

#[test]
fn capture_01_eth_dix_and_02_eth_llc() {
    if skipped("capture_01_eth_dix_and_02_eth_llc") {
        return;
    }
    for (kind, name) in [
        (Kind::Dix, "01-eth-dix.pcap"),
        (Kind::Llc, "02-eth-llc.pcap"),
    ] {
        let client = Summary {
            messages: 4,
            packets: 5,
            read: 5,
            granted: 3,
            accepted: 0,
        };
        assert_eq!(replay(kind, name, true, 0), client, "{name}");
        let server = Summary {
            granted: 0,
            accepted: 3,
            ..client
        };
        assert_eq!(replay(kind, name, false, 0), server, "{name}");
    }
}

#[test]
fn capture_03_udp4_and_03b_udp6() {
    for (kind, name) in [(Kind::Udp4, "03-udp4.pcap"), (Kind::Udp6, "03b-udp6.pcap")] {
        if kind == Kind::Udp6 && std::net::UdpSocket::bind("[::1]:0").is_err() {
            eprintln!("{name} is skipped: there is no IPv6 here");
            continue;
        }
        let client = Summary {
            messages: 2,
            packets: 4,
            read: 4,
            granted: 2,
            accepted: 0,
        };
        assert_eq!(replay(kind, name, true, 0), client, "{name}");
        let server = Summary {
            granted: 0,
            accepted: 2,
            ..client
        };
        assert_eq!(replay(kind, name, false, 0), server, "{name}");
    }
}

/// Messages of up to 8,976 bytes; what is longer 0.23 cuts, and we refuse (defect 14).
#[test]
fn capture_10b_large_datagrams() {
    let client = replay(Kind::Udp4, "10b-large-udp4.pcap", true, 30);
    let server = replay(Kind::Udp4, "10b-large-udp4.pcap", false, 30);
    assert_eq!((client.packets, client.read, client.granted), (3, 3, 3));
    assert_eq!((server.packets, server.read, server.accepted), (3, 3, 3));
}

/// Flows of every QoS; flows of members of unicast and broadcast layers, whose messages are packets here;
/// packets of the longest size.
#[test]
fn captures_of_flows_on_eth_dix() {
    if skipped("captures_of_flows_on_eth_dix") {
        return;
    }
    for (name, flows, last) in [
        ("04-eth-dix-qos.pcap", 6, 0),
        ("06-unicast-2nodes.pcap", 3, 53),
        ("07-line-AB.pcap", 3, 0),
        ("07-line-BC.pcap", 3, 0),
        ("08-broadcast-AB.pcap", 2, 0),
        ("08-broadcast-BC.pcap", 2, 0),
        ("10-large-eth-dix-mtu1500.pcap", 7, 26),
        ("12-mb-ecn.pcap", 3, 0),
    ] {
        let client = replay(Kind::Dix, name, true, last);
        let server = replay(Kind::Dix, name, false, last);
        assert_eq!((client.granted, client.accepted), (flows, 0), "{name}");
        assert_eq!((server.granted, server.accepted), (0, flows), "{name}");
        assert_eq!(
            (client.packets, client.read),
            (server.read, server.packets),
            "{name}"
        );
        assert!(client.packets > 0 && client.read > 0, "{name}");
    }
}

/// Frame 28 answers a request with a zero address and endpoint 65535 (defect 1). A node of ours does not
/// hear it, and does not send it.
#[test]
fn capture_x1_reply_race() {
    if skipped("capture_x1_reply_race") {
        return;
    }
    let name = "x1-flow-reply-race.pcap";
    assert_eq!(replay(Kind::Dix, name, false, 0).accepted, 4);
    let mut steps = steps(Kind::Dix, name);
    let mut client = Replay::new(Kind::Dix, true, &steps);
    for step in &steps[..27] {
        client.play(step);
    }
    client.hand.send(&steps[27].bytes);
    // As it should have been.
    let to = steps[0].bytes[6..12].to_vec();
    steps[27].bytes[..6].copy_from_slice(&to);
    client.play(&steps[27]);
    assert_eq!(client.summary.granted, 4);
}

/// A query that is answered after 0.1 ms (defect 7) is an answer, and the flow comes.
#[test]
fn capture_x4_query_race() {
    if skipped("capture_x4_query_race") {
        return;
    }
    let client = replay(Kind::Dix, "x4-query-race.pcap", true, 15);
    assert_eq!(client.granted, 2);
}

/// What 0.23 does not answer, a node of ours refuses at once (trap 8).
#[test]
fn capture_01e_the_server_says_no() {
    if skipped("capture_01e_the_server_says_no") {
        return;
    }
    let steps = steps(Kind::Dix, "01e-eth-dix-errors.pcap");
    let mut server = Replay::new(Kind::Dix, false, &steps);
    for step in &steps[..7] {
        server.play(step);
    }
    let irm = server.test.irm();
    irm.unbind_process(own_pid(), Some("oping")).unwrap();
    // Frame 8: no process accepts (-EIPCP); 9: the name is not registered any more (-ENAME).
    for (step, response) in steps[7..9].iter().zip([-1003, -1007]) {
        let Some(Message::FlowRequest {
            requester,
            qos,
            hash,
            piggyback,
            repeats,
        }) = server.message(&step.bytes)
        else {
            panic!("no request");
        };
        let request = Message::FlowRequest {
            requester,
            qos,
            hash,
            piggyback: &fresh_request(piggyback),
            repeats,
        };
        server
            .hand
            .send(&server.with_message(&step.bytes, &request));
        let like = Message::FlowReply {
            requester,
            acceptor: 0,
            response,
            piggyback: &[],
            repeats: false,
        };
        let frame = server.next_message(step, &like);
        assert_eq!(server.message(&frame), Some(like), "frame {}", step.number);
        assert!(frame.len() < step.bytes.len(), "never more than was asked");
        let _ = server.test.irm().unreg_name("oping", server.ipcp);
    }
    let refused = counter(&server.test, server.ipcp, "protocol", "requests_refused");
    assert_eq!(refused, 1, "the second one, without asking the daemon");
}

/// As a client: a name that nobody has, and a server that says nothing.
#[test]
fn capture_01e_the_client_does_not_wait_for_ever() {
    if skipped("capture_01e_the_client_does_not_wait_for_ever") {
        return;
    }
    let steps = steps(Kind::Dix, "01e-eth-dix-errors.pcap");
    let mut client = Replay::new(Kind::Dix, true, &steps);
    client.play(&steps[0]);
    let nobody = client.outcome().unwrap_err();
    assert!(
        [ErrorKind::Name, ErrorKind::Ipcp].contains(&nobody.kind()),
        "{nobody}"
    );
    for step in &steps[1..7] {
        client.play(step);
    }
    let node = client.test.node();
    let limit = Duration::from_millis(1500);
    let silent = std::thread::spawn(move || node.alloc("oping", QosSpec::RAW, Some(limit)));
    let like = client.message(&steps[7].bytes).unwrap();
    let _ = client.next_message(&steps[7], &like);
    // Nobody answers. The name is asked for again, in case that it has moved.
    let query = client.message(&steps[1].bytes).unwrap();
    let _ = client.next_message(&steps[7], &query);
    let silence = silent.join().unwrap().unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::TimedOut, "{silence}");
}

/// The server demands encryption, which the client does not offer.
#[test]
fn capture_09e_refused() {
    if skipped("capture_09e_refused") {
        return;
    }
    let steps = steps(Kind::Dix, "09e-enc-client-missing.pcap");
    let mut client = Replay::new(Kind::Dix, true, &steps);
    for step in &steps {
        client.play(step);
    }
    let refused = client.outcome().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Crypt, "{refused}");
}

/// Requests with a key exchange of each kind, to a server with the configuration of the capture: the answer
/// chooses what that of 0.23 chose.
#[test]
fn captures_09_of_key_exchanges() {
    if skipped("captures_09_of_key_exchanges") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, conf) in [
        ("09a-enc-p256-aes256gcm.pcap", "# defaults"),
        (
            "09b-enc-x25519-chacha20.pcap",
            "kex=X25519\ncipher=chacha20-poly1305\nkdf=sha384",
        ),
        (
            "09g-enc-downgrade-upgrade.pcap",
            "kex=prime256v1\ncipher=chacha20-poly1305\nkdf=sha512",
        ),
        ("09h-enc-aes256ctr.pcap", "kex=X448\ncipher=aes-256-ctr"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, conf).unwrap();
        let steps = steps(Kind::Dix, name);
        let mut server = Replay::new(Kind::Dix, false, &steps);
        server.secure("oping", &path);
        let mut flows = 0;
        for step in &steps {
            if let Some(message) = server.message(&step.bytes) {
                flows += usize::from(matches!(message, Message::FlowReply { .. }));
                server.play(step);
            }
        }
        assert_eq!(server.summary.accepted, flows, "{name}");
        let bits = server.flow().qos().unwrap().cypher_s;
        assert_eq!(bits, 256, "{name}");
    }
    // 09e: a client that offers no encryption is refused, without an endpoint.
    let path = dir.path().join("enc.conf");
    std::fs::write(&path, "# defaults").unwrap();
    let steps = steps(Kind::Dix, "09e-enc-client-missing.pcap");
    let mut server = Replay::new(Kind::Dix, false, &steps);
    server.secure("oping", &path);
    for step in &steps[..3] {
        server.play(step);
    }
    let like = server.message(&steps[3].bytes).unwrap();
    let mut expected = steps[3].bytes.clone();
    expected[18..20].fill(0);
    assert_eq!(server.next_message(&steps[3], &like), expected);
}

/// Signs of life as those of 0.23, and a peer that falls silent.
#[test]
fn capture_11_signs_of_life() {
    if skipped("capture_11_signs_of_life") {
        return;
    }
    let name = "11-keepalive-peer-timeout.pcap";
    for (first, ours, theirs) in [(true, 7, 8), (false, 8, 7)] {
        let steps = steps(Kind::Dix, name);
        let mut replay = Replay::new(Kind::Dix, first, &steps);
        for step in &steps[..6] {
            replay.play(step);
        }
        replay.play(&steps[theirs - 1]);
        let own = &steps[ours - 1];
        assert_eq!(replay.next(own, |_, frame| frame == own.bytes), own.bytes);
        let gone = replay.flow().read_packet().unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::FlowPeer, "{gone}");
    }
}
