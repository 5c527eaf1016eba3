use proptest::prelude::*;

use super::*;

const LEN: usize = 32;

fn key() -> impl Strategy<Value = Key> {
    proptest::collection::vec(any::<u8>(), LEN).prop_map(|bytes| Key::from_bytes(&bytes).unwrap())
}

fn contact() -> impl Strategy<Value = Contact> {
    (key(), 1..=u32::MAX).prop_map(|(id, address)| Contact {
        id,
        address: address.into(),
    })
}

fn nodes() -> impl Strategy<Value = Nodes> {
    let contacts = proptest::collection::vec(contact(), 0..20);
    (any::<u64>(), key(), contacts).prop_map(|(cookie, key, contacts)| Nodes {
        cookie,
        key,
        contacts,
    })
}

fn value() -> impl Strategy<Value = Value> {
    proptest::collection::vec(any::<u8>(), 1..12).prop_map(Value::from_bytes)
}

fn body() -> impl Strategy<Value = Body> {
    let find = || (any::<u64>(), key()).prop_map(|(cookie, key)| Find { cookie, key });
    prop_oneof![
        (key(), value(), any::<u32>()).prop_map(|(key, value, expiry)| Body::Store {
            key,
            value,
            expiry
        }),
        find().prop_map(Body::FindNodeReq),
        find().prop_map(Body::FindValueReq),
        nodes().prop_map(Body::FindNodeRsp),
        (nodes(), proptest::collection::vec(value(), 0..8))
            .prop_map(|(nodes, values)| Body::FindValueRsp { nodes, values }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (contact(), body()).prop_map(|(src, body)| Message { src, body })
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again(message in message()) {
        let bytes = message.emit();
        prop_assert_eq!(Message::parse(&bytes, LEN), Ok(message.clone()));
        let mut appended = vec![7];
        message.emit_to(&mut appended);
        prop_assert_eq!(&appended[1..], &bytes[..]);
        prop_assert!(message.to_string().starts_with("DHT "));
    }

    #[test]
    fn other_lengths_of_keys_are_refused(message in message()) {
        let refused = matches!(
            Message::parse(&message.emit(), 28),
            Err(ParseError::KeyLength { field: "src.id", len: LEN, expected: 28 })
        );
        prop_assert!(refused);
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), at in any::<usize>(), bit in 0_u8..8) {
        let mut bytes = message.emit();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = Message::parse(&bytes, LEN);
        let _ = Message::parse(&bytes[..at], LEN);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(message) = Message::parse(&bytes, LEN) {
            prop_assert_eq!(Message::parse(&message.emit(), LEN), Ok(message));
        }
    }

    #[test]
    fn a_key_in_a_bucket_shares_its_bits(own in key(), bits in key(), bucket in 0_u32..256) {
        let key = own.in_bucket(bucket, &bits);
        prop_assert_eq!(own.distance(&key).common_bits(), bucket);
        prop_assert_eq!(own.at(&own.distance(&key)), key);
    }
}

#[test]
fn too_long_a_message_is_not_looked_at() {
    let bytes = vec![0; MAX_LEN + 1];
    assert_eq!(
        Message::parse(&bytes, LEN),
        Err(ParseError::TooLong(MAX_LEN + 1))
    );
}

#[test]
fn contacts_that_nobody_can_be_are_left_out() {
    let good = Contact {
        id: Key::from_bytes(&[7; LEN]).unwrap(),
        address: Address::new(9),
    };
    let short = Contact {
        id: Key::from_bytes(&[7; LEN - 1]).unwrap(),
        ..good
    };
    let nobody = Contact {
        address: Address::INVALID,
        ..good
    };
    let far = Contact {
        address: Address::new(1 << 32),
        ..good
    };
    let with = |contacts| Message {
        src: good,
        body: Body::FindNodeRsp(Nodes {
            cookie: 1,
            key: good.id,
            contacts,
        }),
    };
    let bytes = with(vec![short, nobody, good, far]).emit();
    assert_eq!(Message::parse(&bytes, LEN), Ok(with(vec![good])));
}

#[test]
fn values_that_are_no_address_are_kept_as_they_are() {
    for bytes in [
        vec![1],
        vec![0; 8],
        vec![1, 0, 0, 0, 0, 0, 0, 0],
        vec![2; 9],
    ] {
        assert_eq!(Value::from_bytes(bytes.clone()), Value::Other(bytes));
    }
    let value = Value::from_bytes(vec![0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]);
    assert_eq!(value.address(), Some(Address::new(0x1234_5678)));
}
