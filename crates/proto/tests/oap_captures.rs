//! OAP messages of the C implementation, out of captures: parsed to the last byte, written again,
//! and completed by our client and server with the recorded ephemeral keys.

mod oap_common;

use std::collections::HashMap;

use o7s_captures::{frames, json, unhex};
use o7s_crypto::{
    algorithm::{Cipher, Hash},
    cert::{Certificate, TrustStore},
    kex::PrivateKey,
};
use o7s_proto::oap::{Cause, Client, ClientConfig, Encryption, Server, ServerConfig};
use o7s_wire::oap::{Id, Message};
use oap_common::{MS, Recorded, conf};

/// One allocation of a capture.
struct Allocation {
    request: Vec<u8>,
    /// The value of the response field, and the OAP response of a positive one.
    reply: Option<(i32, Vec<u8>)>,
}

fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

/// What a frame of the management protocol of a shim carries.
enum Carried {
    Request(Vec<u8>),
    Reply(i32, Vec<u8>),
}

/// The layouts of the four shims (`captures/README.md` §4).
fn carried(frame: &[u8]) -> Option<Carried> {
    // Where the message begins and ends, and within it: code, its values, response, OAP of a
    // request and of a reply.
    let (start, end, code, request, reply, response, oap_request, oap_reply) =
        if be16(frame, 12) == 0xa000 {
            if be16(frame, 14) != 0 {
                return None;
            }
            (18, 18 + be16(frame, 16), 37, 0, 1, 32, 71, 39)
        } else if be16(frame, 12) <= 1500 {
            if frame[14] != 0x80 || frame[15] != 0x80 {
                return None;
            }
            (17, 14 + be16(frame, 12), 2, 0, 1, 32, 69, 37)
        } else {
            let udp = match be16(frame, 12) {
                0x0800 if frame[23] == 17 => 34,
                0x86dd if frame[20] == 17 => 54,
                _ => return None,
            };
            if be16(frame, udp + 2) != 3435 || frame[udp + 8..udp + 12] != [0; 4] {
                return None;
            }
            let end = udp + be16(frame, udp + 4);
            (udp + 12, end, 40, 1, 2, 8, 59, 43)
        };
    let message = &frame[start..end];
    let code = message[code];
    if code == request {
        return Some(Carried::Request(message[oap_request..].to_vec()));
    }
    if code == reply {
        let value = i32::from_be_bytes(message[response..response + 4].try_into().unwrap());
        return Some(Carried::Reply(value, message[oap_reply..].to_vec()));
    }
    None
}

/// The allocations of a capture, in order: a reply follows its request.
fn allocations(name: &str) -> Vec<Allocation> {
    let mut allocations: Vec<Allocation> = Vec::new();
    for frame in frames(&format!("{name}.pcap")) {
        match carried(&frame.bytes) {
            Some(Carried::Request(request)) => allocations.push(Allocation {
                request,
                reply: None,
            }),
            Some(Carried::Reply(value, oap)) => {
                let open = allocations
                    .iter_mut()
                    .find(|allocation| allocation.reply.is_none());
                open.unwrap().reply = Some((value, oap));
            }
            None => {}
        }
    }
    allocations
}

const CAPTURES: [(&str, usize); 13] = [
    ("01-eth-dix", 3),
    ("02-eth-llc", 3),
    ("03-udp4", 2),
    ("03b-udp6", 2),
    ("04-eth-dix-qos", 6),
    ("09a-enc-p256-aes256gcm", 2),
    ("09b-enc-x25519-chacha20", 2),
    ("09c-auth-server", 2),
    ("09d-enc-auth-mutual", 2),
    ("09e-enc-client-missing", 1),
    ("09f-auth-wrong-cn", 1),
    ("09g-enc-downgrade-upgrade", 1),
    ("09h-enc-aes256ctr", 1),
];

#[test]
fn every_message_parses_to_the_last_byte_and_is_written_the_same() {
    for (name, count) in CAPTURES {
        let allocations = allocations(name);
        assert_eq!(allocations.len(), count, "{name}");
        for allocation in allocations {
            let request = Message::parse_request(&allocation.request).unwrap();
            let (value, reply) = allocation.reply.expect(name);
            let mut messages = vec![request];
            if value == 0 {
                messages.push(Message::parse_response(&reply, request.md_nid()).unwrap());
            } else {
                assert!(reply.is_empty(), "{name}");
                assert_eq!(value, -1008);
            }
            for message in messages {
                let mut again = message.to_repr().emit_unsigned().unwrap();
                again.extend_from_slice(message.signature());
                assert_eq!(again, message.as_bytes(), "{name}");
                assert_eq!(message.id(), request.id(), "{name}");
                assert_eq!(
                    message.signature().is_empty(),
                    message.certificate().is_empty(),
                    "{name}"
                );
            }
        }
    }
}

fn authority() -> TrustStore {
    let file = o7s_captures::bytes("captures/09-certs/ca.crt.pem");
    TrustStore::from_files([("ca.crt.pem", file)]).unwrap()
}

/// The configurations of client and server (`captures/README.md` §8).
fn configurations(name: &str) -> (Encryption, Encryption) {
    let chacha = "kex=X25519\ncipher=chacha20-poly1305\nkdf=sha384";
    let (client, server) = match &name[..3] {
        "09a" | "09d" => ("# defaults", "# defaults"),
        "09b" => (chacha, chacha),
        "09g" => (
            "kex=secp384r1\ncipher=aes-128-gcm\nkdf=sha256",
            "kex=prime256v1\ncipher=chacha20-poly1305\nkdf=sha512",
        ),
        "09h" => (
            "kex=X448\ncipher=aes-256-ctr",
            "kex=X448\ncipher=aes-256-ctr",
        ),
        _ => return (Encryption::Unset, Encryption::Unset),
    };
    (conf(client), conf(server))
}

#[test]
fn our_client_and_server_agree_with_both_ends() {
    let keys = json("captures/09-keys.json");
    let trust = authority();
    let mut derived = HashMap::new();
    for (name, _) in CAPTURES {
        let (client_encryption, server_encryption) = configurations(name);
        for allocation in allocations(name) {
            let request = Message::parse_request(&allocation.request).unwrap();
            let (0, response) = allocation.reply.unwrap() else {
                continue;
            };
            let answer = Message::parse_response(&response, request.md_nid()).unwrap();
            let entry = &keys[request.id().to_string()];
            let private = |field: &str| {
                client_encryption.config()?;
                let der = unhex(entry[field].as_str().unwrap());
                Some(PrivateKey::from_pkcs8(&der).unwrap())
            };
            let expected = entry["symmetric_key"].as_str().map(unhex);
            assert_eq!(expected.is_some(), client_encryption.config().is_some());

            // Our client in place of theirs.
            let config = ClientConfig {
                encryption: client_encryption,
                ..ClientConfig::new("oping", &trust)
            };
            let client_key = private("client_private_pkcs8_der");
            let client = Client::resume(&config, &allocation.request, client_key).unwrap();
            let now = answer.timestamp() + MS;
            let outcome = client.complete(&trust, &response, now);
            if name == "09f-auth-wrong-cn" {
                let cause = outcome.unwrap_err().cause;
                let found = "notoping".to_owned();
                let wanted = "oping".to_owned();
                assert_eq!(cause, Cause::WrongName { found, wanted });
                continue;
            }
            let outcome = outcome.unwrap();
            assert_eq!(outcome.cipher.map_or(0, Cipher::nid), answer.cipher_nid());
            let key = outcome.key.map(|key| key.as_bytes().to_vec());
            assert_eq!(key, expected, "{name}");
            let signed = name.starts_with("09c") || name.starts_with("09d");
            assert_eq!(outcome.authenticated, signed, "{name}");
            assert_eq!(outcome.peer_name.as_deref(), signed.then_some("oping"));

            // Their request as our client would write it.
            if request.certificate().is_empty() {
                let key = private("client_private_pkcs8_der");
                let mut entropy = Recorded::new(Some(request.id()), key);
                let (_, written) =
                    Client::start(&config, request.timestamp(), &mut entropy).unwrap();
                assert_eq!(written, allocation.request, "{name}");
            }

            // Our server in place of theirs. It has no certificate: those keys are not here.
            let config = ServerConfig {
                encryption: server_encryption,
                ..ServerConfig::new(&trust)
            };
            let mut entropy = Recorded::new(None, private("server_private_pkcs8_der"));
            let (written, outcome) = Server::default()
                .respond(
                    &config,
                    &allocation.request,
                    answer.timestamp(),
                    &mut entropy,
                )
                .unwrap();
            let key = outcome.key.map(|key| key.as_bytes().to_vec());
            assert_eq!(key, expected, "{name}");
            let client_name = name.starts_with("09d").then_some("capture-client");
            assert_eq!(outcome.peer_name.as_deref(), client_name);
            let written = Message::parse_response(&written, request.md_nid()).unwrap();
            let mut unsigned = answer.to_repr();
            unsigned.certificate = &[];
            assert_eq!(written.to_repr(), unsigned, "{name}");

            if let Some(expected) = expected {
                let hash = Hash::from_nid(request.md_nid()).unwrap_or(Hash::Sha384);
                assert_eq!(
                    hash.digest(&allocation.request),
                    unhex(entry["request_hash"].as_str().unwrap())
                );
                derived.insert(request.id(), expected);
            }
        }
    }
    assert_eq!(derived.len(), keys.as_object().unwrap().len());
}

#[test]
fn a_server_that_demands_encryption_refuses_as_theirs_did() {
    let trust = TrustStore::new();
    let [allocation] = allocations("09e-enc-client-missing")
        .try_into()
        .ok()
        .unwrap();
    let request = Message::parse_request(&allocation.request).unwrap();
    let config = ServerConfig {
        encryption: conf("# defaults"),
        ..ServerConfig::new(&trust)
    };
    let error = Server::default()
        .respond(
            &config,
            &allocation.request,
            request.timestamp(),
            &mut Recorded::default(),
        )
        .unwrap_err();
    let (value, _) = allocation.reply.unwrap();
    assert_eq!(error.code.response(), value);
    assert_eq!(error.cause, Cause::ClientUnencrypted);
}

#[test]
fn signatures_hold_and_changed_messages_do_not() {
    let trust = authority();
    let mut checked = 0;
    for name in [
        "09c-auth-server",
        "09d-enc-auth-mutual",
        "09f-auth-wrong-cn",
    ] {
        for allocation in allocations(name) {
            let request = Message::parse_request(&allocation.request).unwrap();
            let (_, response) = allocation.reply.unwrap();
            let response = Message::parse_response(&response, request.md_nid()).unwrap();
            for message in [request, response] {
                if message.certificate().is_empty() {
                    continue;
                }
                let certificate = Certificate::from_der(message.certificate()).unwrap();
                trust.verify(&certificate, message.timestamp()).unwrap();
                let key = certificate.key().unwrap();
                let digest = Hash::from_nid(message.md_nid());
                let signed = message.signed_region();
                key.verify(digest, signed, message.signature()).unwrap();
                for at in 0..signed.len() {
                    let mut changed = signed.to_vec();
                    changed[at] ^= 1;
                    assert!(key.verify(digest, &changed, message.signature()).is_err());
                }
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 7);
}

#[test]
fn identifiers_do_not_repeat() {
    let mut seen: HashMap<Id, &str> = HashMap::new();
    for (name, _) in CAPTURES {
        for allocation in allocations(name) {
            let id = Message::parse_request(&allocation.request).unwrap().id();
            assert_eq!(seen.insert(id, name), None);
        }
    }
}
