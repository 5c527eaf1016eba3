//! Tests of the header: worked examples, the rules of parsing, arbitrary bytes.

use proptest::prelude::*;

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

fn worked_request() -> Vec<u8> {
    unhex(
        "303132333435363738393a3b3c3d3e3f 17979cfe3d85cd15 0385 02a0 02a0 0000 002c 0000 \
         302a300506032b656e032100 2e44f1db0df10856b4026a1a6194dca322cee6c94816acedac85a03fc183f035",
    )
}

#[test]
fn worked_examples_parse_and_emit() {
    let bytes = worked_request();
    let request = Message::parse_request(&bytes).unwrap();
    assert_eq!(request.timestamp(), 1_700_000_000_123_456_789);
    assert_eq!(request.cipher_nid(), 901);
    assert_eq!(request.kex().len(), 44);
    assert_eq!(request.to_repr().emit_unsigned().unwrap(), bytes);
    assert_eq!(
        request.to_string(),
        "OAP request id 303132333435363738393a3b3c3d3e3f time 1700000000123456789 \
         cipher aes-256-gcm kdf sha256 digest sha256 kex 44 B"
    );

    let bytes = unhex(
        "303132333435363738393a3b3c3d3e3f 17979cfe3d950f55 0000 0000 0000 0000 0000 0000 \
         706643fc2e01793044f4e647ba02449f49da3b6a54d71b9a0a9e56d413cf1e7ba7a4b5c5b8df3bc1615f6e27f7a8a150",
    );
    let response = Message::parse_response(&bytes, 0).unwrap();
    assert_eq!(response.request_hash().len(), 48);
    assert_eq!(response.signed_region(), bytes);
    assert_eq!(response.to_repr().emit_unsigned().unwrap(), bytes);
}

#[test]
fn each_rule_has_its_error() {
    let bytes = worked_request();
    let with = |offset: usize, value: u16| {
        let mut bytes = bytes.clone();
        bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        Message::parse_request(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(
        Message::parse_request(&bytes[..35]).unwrap_err(),
        HeaderError::Short(35)
    );
    assert_eq!(with(24, 9999), HeaderError::Cipher(9999));
    assert_eq!(with(26, 1096), HeaderError::Kdf(1096));
    assert_eq!(with(28, 1096), HeaderError::Digest(1096));
    assert_eq!(
        with(34, 1),
        HeaderError::FieldsBeyondEnd {
            certificate: 0,
            kex: 44,
            data: 1,
            hash: 0,
            total: 80
        }
    );
    assert_eq!(with(32, 43), HeaderError::TrailingBytes(1));
    assert_eq!(
        Message::parse_response(&bytes, 672).unwrap_err(),
        HeaderError::FieldsBeyondEnd {
            certificate: 0,
            kex: 44,
            data: 0,
            hash: 32,
            total: 80
        }
    );
}

#[test]
fn every_truncation_fails() {
    let bytes = worked_request();
    for len in 0..bytes.len() {
        assert!(Message::parse_request(&bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn flags_stand_above_a_length_of_14_bits() {
    let kex = vec![7; KEX_MAX];
    let repr = Repr {
        id: Id([1; ID_LEN]),
        timestamp: u64::MAX,
        cipher_nid: 1018,
        kdf_nid: 1099,
        md_nid: 0,
        kex_flags: KexFlags {
            raw: true,
            client_encapsulated: true,
        },
        certificate: &[],
        kex: &kex,
        data: b"data",
        request_hash: &[],
    };
    let bytes = repr.emit_unsigned().unwrap();
    assert_eq!(&bytes[32..34], [0xff, 0xff]);
    assert_eq!(Message::parse_request(&bytes).unwrap().to_repr(), repr);

    let kex = vec![7; KEX_MAX + 1];
    let error = Repr { kex: &kex, ..repr }.emit_unsigned().unwrap_err();
    assert_eq!(error.max, KEX_MAX);
}

fn any_nid() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(672), Just(673), Just(1057), any::<u16>()]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        md in any_nid(),
    ) {
        let parsed = [Message::parse_request(&bytes), Message::parse_response(&bytes, md)];
        for message in parsed.into_iter().flatten() {
            let mut again = message.to_repr().emit_unsigned().unwrap();
            again.extend_from_slice(message.signature());
            prop_assert_eq!(&again, &bytes);
            let _ = message.to_string();
        }
    }

    #[test]
    fn near_messages_never_panic(
        nids in prop::array::uniform3(any_nid()),
        lens in prop::array::uniform3(0_u16..40),
        tail in prop::collection::vec(any::<u8>(), 0..120),
        md in any_nid(),
    ) {
        let mut bytes = vec![9; 24];
        for word in nids.into_iter().chain(lens) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&tail);
        let parsed = [Message::parse_request(&bytes), Message::parse_response(&bytes, md)];
        for message in parsed.into_iter().flatten() {
            let mut again = message.signed_region().to_vec();
            prop_assert_eq!(&message.to_repr().emit_unsigned().unwrap(), &again);
            again.extend_from_slice(message.signature());
            prop_assert_eq!(&again, &bytes);
        }
    }
}
