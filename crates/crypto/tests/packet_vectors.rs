//! Packets against the recorded vectors and the captures, in both directions.

mod support;

use o7s_captures::{frames, json, unhex};
use o7s_crypto::{
    algorithm::Cipher,
    kdf::{self, Key},
    packet::{PacketCipher, append_crc, check_crc},
};
use serde_json::Value;
use support::{bytes, number, text, vectors};

fn key(value: &Value, member: &str) -> Key {
    Key::from_slice(&bytes(value, member)).unwrap()
}

#[test]
fn every_cipher_opens_and_repeats_the_recorded_packets() {
    let vectors = vectors();
    let list = vectors["symmetric"].as_array().unwrap();
    assert_eq!(list.len(), 21);
    for vector in list {
        let cipher = Cipher::from_nid(number(vector, "cipher_nid")).unwrap();
        assert_eq!(cipher.name(), text(vector, "name"));
        assert_eq!(cipher.iv_len(), usize::from(number(vector, "ivsz")));
        assert_eq!(cipher.tag_len(), usize::from(number(vector, "tagsz")));
        let (key, packet) = (key(vector, "key"), bytes(vector, "packet"));
        let plain = bytes(vector, "plaintext");
        let mut opened = Vec::new();
        let end = PacketCipher::new(cipher, &key).unwrap();
        end.open(&packet, &mut opened).unwrap();
        assert_eq!(opened, plain, "{cipher}");
        let iv = &packet[..cipher.iv_len()];
        let again = PacketCipher::seal_recorded(cipher, &key, iv, &plain).unwrap();
        assert_eq!(again, packet, "{cipher}");
    }
}

#[test]
fn the_key_schedule() {
    let vectors = vectors();
    let schedule = &vectors["key_schedule"];
    let keys: Vec<Key> = schedule["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|digits| Key::from_slice(&unhex(digits.as_str().unwrap())).unwrap())
        .collect();
    assert_eq!(keys.len(), 5);
    let salt = kdf::rotation_salt(&keys[0]);
    assert_eq!(salt[..], bytes(schedule, "rotation_salt"));
    for pair in keys.windows(2) {
        assert_eq!(kdf::rotated(&pair[0], &salt), pair[1]);
    }
}

/// Recorded conversations of two reference ends with epochs of 8 packets. An end of ours stands at
/// each side and must read every packet that arrives, also those that the reference cannot.
#[test]
fn conversations_that_rotate() {
    let vectors = vectors();
    let list = vectors["rotation"].as_array().unwrap();
    assert_eq!(list.len(), 4);
    for script in list {
        let cipher = Cipher::from_nid(number(script, "cipher_nid")).unwrap();
        let end = || {
            let bit = u32::from(number(script, "rot_bit"));
            PacketCipher::with_rotation_bit(cipher, &key(script, "key"), bit).unwrap()
        };
        let (a, b) = (end(), end());
        for packet in script["packets"].as_array().unwrap() {
            let (own, peer) = match text(packet, "sender") {
                "A" => (&a, &b),
                _ => (&b, &a),
            };
            // The sender of ours counts its packet; what it makes is not needed here.
            own.seal(b"count", &mut Vec::new()).unwrap();
            if !packet["delivered"].as_bool().unwrap() {
                continue;
            }
            let mut plain = Vec::new();
            let opened = peer.open(&bytes(packet, "packet"), &mut plain);
            let what = format!("{} packet {}", text(script, "note"), packet["n"]);
            // A key that the reference took twice too early lies beyond the next one (§6.4).
            let ahead = packet["key_index"].as_u64().unwrap() > peer.key_index() + 1;
            if opened.is_err() {
                assert!(ahead, "{what}");
                continue;
            }
            assert_eq!(plain, bytes(packet, "plaintext"), "{what}");
        }
    }
}

#[test]
fn crc() {
    for vector in vectors()["crc32"].as_array().unwrap() {
        let mut packet = bytes(vector, "data");
        let length = packet.len();
        append_crc(&mut packet);
        assert_eq!(packet[length..], bytes(vector, "wire"));
        assert_eq!(check_crc(&packet), Some(length));
        packet[0] ^= 1;
        assert_eq!(check_crc(&packet), None);
    }
    for short in 0..4 {
        assert_eq!(check_crc(&vec![0; short]), None);
    }
}

/// Every data packet of the encrypted captures opens under one of the keys of its capture, and is
/// made again to the last byte.
#[test]
fn captured_packets() {
    let keys = json("captures/09-keys.json");
    let keys: Vec<&Value> = keys.as_object().unwrap().values().collect();
    let mut counted = 0;
    for name in [
        "09a-enc-p256-aes256gcm.pcap",
        "09b-enc-x25519-chacha20.pcap",
        "09d-enc-auth-mutual.pcap",
        "09g-enc-downgrade-upgrade.pcap",
        "09h-enc-aes256ctr.pcap",
    ] {
        let known: Vec<(Cipher, Key)> = keys
            .iter()
            .filter(|entry| entry["pcap"] == name)
            .map(|entry| {
                let cipher = Cipher::from_nid(number(&entry["response"], "cipher_nid")).unwrap();
                (cipher, key(entry, "symmetric_key"))
            })
            .collect();
        assert!(!known.is_empty(), "{name}");
        for frame in frames(name) {
            let frame = frame.dix();
            let packet = frame.payload;
            // EID 0 is management; a sign of life is empty.
            if frame.eid == 0 || packet.is_empty() {
                continue;
            }
            let opened = known.iter().find_map(|(cipher, key)| {
                let mut plain = Vec::new();
                let end = PacketCipher::new(*cipher, key).unwrap();
                end.open(packet, &mut plain).ok()?;
                // Counter mode opens everything: only what oping writes or FRCP is right.
                let length = plain.len();
                [12, 64, 76]
                    .contains(&length)
                    .then_some((*cipher, key, plain))
            });
            let (cipher, key, plain) = opened.unwrap_or_else(|| panic!("{name}: {packet:02x?}"));
            let iv = &packet[..cipher.iv_len()];
            let again = PacketCipher::seal_recorded(cipher, key, iv, &plain).unwrap();
            assert_eq!(again, packet, "{name}");
            counted += 1;
        }
    }
    assert!(counted >= 20, "{counted}");
}
