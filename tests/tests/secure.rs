//! Encrypted flows between programs of one machine.

use o7s::{ErrorKind, QosSpec};
use o7s_tests::{Peer, TestNode, bulk, qos};

fn server(test: &TestNode, name: &str) -> Peer {
    let mut server = Peer::start(test.dir());
    assert_eq!(server.ask("announce"), "ok");
    test.serve(name, server.pid());
    server
}

#[test]
fn every_strength_gives_at_least_what_was_asked_for() {
    let test = TestNode::start();
    let mut server = server(&test, "secret");
    for (asked, got) in [
        (1, 128),
        (128, 128),
        (129, 192),
        (192, 192),
        (193, 256),
        (256, 256),
    ] {
        server.send("accept 1");
        let asked = QosSpec {
            cypher_s: asked,
            ..QosSpec::RAW
        };
        let flow = test.node().alloc("secret", asked, None).unwrap();
        assert_eq!(server.line(), "accepted 1");
        assert_eq!(flow.qos().unwrap().cypher_s, got);
        assert_eq!(server.ask("qos"), format!("0 1 1 {got}"));
        flow.write(b"psst").unwrap();
        assert_eq!(server.ask("read"), "psst");
        assert_eq!(flow.peer_name(), Ok(""), "nobody proved who he is");
        assert_eq!(server.ask("dealloc"), "ok");
    }
}

#[test]
fn a_transfer_is_whole() {
    let test = TestNode::start();
    let mut server = server(&test, "vault");
    for words in [
        &["cypher_s=256"][..],
        &["cypher_s=256", "in_order=1", "loss=0"],
    ] {
        server.send("accept 1");
        let flow = test.node().alloc("vault", qos(words), None).unwrap();
        assert_eq!(server.line(), "accepted 1");
        server.send("digest 20000000");
        let sent = bulk(&flow, 20_000_000, 60_000).unwrap();
        assert_eq!(server.line(), sent);
        flow.dealloc().unwrap();
        assert_eq!(server.ask("dealloc"), "ok");
    }
}

#[test]
fn a_key_exchange_can_be_demanded() {
    let test = TestNode::start();
    let mut server = server(&test, "quantum");
    let asked = QosSpec {
        cypher_s: 256,
        ..QosSpec::RAW
    };
    for kex in ["X25519MLKEM768", "X25519", "ffdhe2048", "ML-KEM-1024"] {
        server.send("accept 1");
        let mut request = test
            .node()
            .start_alloc_with("quantum", asked, None, kex)
            .unwrap();
        let flow = request.wait(None).unwrap();
        assert_eq!(server.line(), "accepted 1");
        assert_eq!(flow.qos().unwrap().cypher_s, 256);
        assert_eq!(server.ask("write done"), "ok");
        assert_eq!(flow.read_packet().unwrap(), b"done");
        assert_eq!(server.ask("dealloc"), "ok");
    }
    let mut request = test
        .node()
        .start_alloc_with("quantum", asked, None, "rot13")
        .unwrap();
    let error = request.wait(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("X25519MLKEM768"), "{error}");
}
