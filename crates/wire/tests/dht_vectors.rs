//! Directory messages as the C implementation emits them: the vectors of `spec/directory-enrollment.md` §11,
//! and those in `captures` 06 and 07.

use o7s_captures::{frames, unhex};
use o7s_wire::{
    address::Address,
    dht::{Body, Contact, EID, Find, Key, Message, Nodes, Value},
    hash::DirHash,
};
use serde_json::Value as Json;

const LEN: usize = 32;

fn vectors() -> Json {
    o7s_captures::json("vectors/directory-enrollment.json")
}

fn octets(json: &Json) -> Vec<u8> {
    unhex(json.as_str().unwrap())
}

fn key(json: &Json) -> Key {
    Key::from_bytes(&octets(json)).unwrap()
}

fn contact(json: &Json) -> Contact {
    Contact {
        id: key(&json["id"]),
        address: Address::new(json["addr"].as_u64().unwrap()),
    }
}

fn list<T>(json: &Json, each: impl Fn(&Json) -> T) -> Vec<T> {
    json.as_array().into_iter().flatten().map(each).collect()
}

fn message(fields: &Json) -> Message {
    let find = || Find {
        cookie: fields["find"]["cookie"].as_u64().unwrap(),
        key: key(&fields["find"]["key"]),
    };
    let nodes = || Nodes {
        cookie: fields["node"]["cookie"].as_u64().unwrap(),
        key: key(&fields["node"]["key"]),
        contacts: list(&fields["node"]["contacts"], contact),
    };
    let body = match fields["code"].as_u64().unwrap() {
        0 => Body::Store {
            key: key(&fields["store"]["key"]),
            value: Value::from_bytes(octets(&fields["store"]["val"])),
            expiry: u32::try_from(fields["store"]["exp"].as_u64().unwrap()).unwrap(),
        },
        1 => Body::FindNodeReq(find()),
        2 => Body::FindNodeRsp(nodes()),
        3 => Body::FindValueReq(find()),
        _ => Body::FindValueRsp {
            nodes: nodes(),
            values: list(&fields["val"]["values"], |v| Value::from_bytes(octets(v))),
        },
    };
    Message {
        src: contact(&fields["src"]),
        body,
    }
}

fn of_the_directory(vectors: &Json, part: &str) -> Vec<Json> {
    vectors[part]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vector| vector["message"] == "dht_msg")
        .cloned()
        .collect()
}

#[test]
fn vectors_are_parsed_and_emitted_to_the_last_byte() {
    let all = of_the_directory(&vectors(), "messages");
    assert_eq!(all.len(), 7);
    for vector in all {
        let (bytes, expected) = (octets(&vector["hex"]), message(&vector["fields"]));
        assert_eq!(
            Message::parse(&bytes, LEN),
            Ok(expected.clone()),
            "{vector}"
        );
        assert_eq!(expected.emit(), bytes, "{vector}");
    }
}

#[test]
fn what_is_to_be_dropped_does_not_parse() {
    let all = of_the_directory(&vectors(), "parse");
    assert!(all.len() >= 10);
    for vector in all {
        let parsed = Message::parse(&octets(&vector["hex"]), LEN);
        assert_eq!(parsed.is_ok(), vector["expect"] == "accept", "{vector}");
    }
}

#[test]
fn keys_and_values_are_those_of_the_vectors() {
    let directory = &vectors()["directory"];
    for vector in directory["keys"].as_array().unwrap() {
        let algorithm = vector["algo"].as_str().unwrap().replace('-', "_");
        let algorithm: DirHash = algorithm.parse().unwrap();
        let hash = algorithm.digest(vector["name"].as_str().unwrap().as_bytes());
        assert_eq!(Key::try_from(&hash), Ok(key(&vector["key"])));
    }
    for vector in directory["values"].as_array().unwrap() {
        let address = Address::new(vector["address"].as_u64().unwrap());
        assert_eq!(Value::Address(address).to_bytes(), octets(&vector["value"]));
    }
}

/// The payloads of packets to EID 1 on data transfer flows of eth-dix.
fn captured(file: &str) -> Vec<Vec<u8>> {
    /// Header of data transfer.
    const DT: usize = 15;
    let mut found = Vec::new();
    for frame in frames(file) {
        let frame = frame.dix();
        let packet = frame.payload;
        // Cube 0, a live TTL, no mark, EID 1.
        if frame.eid != 0
            && packet.len() > DT
            && packet[4] == 0
            && (50..=60).contains(&packet[5])
            && packet[7..DT] == EID.to_le_bytes()
        {
            found.push(packet[DT..].to_vec());
        }
    }
    found
}

#[test]
fn captured_messages_are_parsed_and_emitted_to_the_last_byte() {
    let mut lines = Vec::new();
    for (file, expected) in [
        ("06-unicast-2nodes.pcap", 8),
        ("07-line-AB.pcap", 5),
        ("07-line-BC.pcap", 6),
    ] {
        let messages = captured(file);
        assert_eq!(messages.len(), expected, "{file}");
        for bytes in messages {
            let message = Message::parse(&bytes, LEN).unwrap();
            assert_eq!(message.emit(), bytes);
            lines.push(message.to_string());
        }
    }
    // Frames 30, 52 and 53 of capture 06.
    for part in [
        "DHT STORE key 42dee3b0 value 7b.72.62.34 expires ",
        "DHT FIND_VALUE_REQ key 3a311588 cookie ",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(part)),
            "{lines:#?}"
        );
    }
    assert!(lines.iter().any(|line| line.contains(" values none from ")));
}
