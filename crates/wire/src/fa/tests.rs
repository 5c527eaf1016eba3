//! Vectors of `spec/unicast.md` §15.2 to §15.4, and properties.

use o7s_captures::unhex;
use proptest::prelude::*;

use super::*;

const EID_A: Eid = Eid(0x1122_3344_0000_0041);
const EID_B: Eid = Eid(0x5566_7788_0000_0042);
const OPING: &str = "42dee3b0415b4f690fd91cbd99876f1e9bd8d9745ef7fa32b142773af0349d54";

/// Both ways.
fn check(hex: &str, message: Message<'_>, text: &str) {
    let bytes = unhex(hex);
    assert_eq!(
        Message::parse(&bytes, DirHash::Sha3_256),
        Ok(message),
        "{text}"
    );
    assert_eq!(message.to_bytes(), Ok(bytes), "{text}");
    assert_eq!(message.to_string(), text);
}

#[test]
fn requests_of_every_preset() {
    let hash = unhex(OPING);
    assert_eq!(DirHash::Sha3_256.digest(b"oping").as_bytes(), &hash[..]);
    let no_errors = |qos: QosSpec| QosSpec { ber: 0, ..qos };
    for (qos, fields, data, text) in [
        (
            no_errors(QosSpec::VOICE),
            "00000000000186a0 00000000 00000032 00000001 00000000 00000032 0001d4c0 0000 00 05 01",
            "deadbeef",
            "delay=50 bandwidth=100000 availability=5 loss=1 ber=0 in_order=1 max_gap=50 \
             timeout=120000 data=4",
        ),
        (
            QosSpec::RAW,
            "0000000000000000 00000000 ffffffff 00000001 00000001 ffffffff 0001d4c0 0000 00 00 00",
            "",
            "delay=4294967295 bandwidth=0 availability=0 loss=1 ber=1 in_order=0 \
             max_gap=4294967295 timeout=120000 data=0",
        ),
        (
            QosSpec::BEST_EFFORT,
            "0000000000000000 00000000 ffffffff 00000001 00000000 ffffffff 0001d4c0 0000 00 00 01",
            "",
            "delay=4294967295 bandwidth=0 availability=0 loss=1 ber=0 in_order=1 \
             max_gap=4294967295 timeout=120000 data=0",
        ),
        (
            QosSpec::VIDEO,
            "ffffffffffffffff 00000000 00000064 00000001 00000000 00000064 0001d4c0 0000 00 03 01",
            "",
            "delay=100 bandwidth=18446744073709551615 availability=3 loss=1 ber=0 in_order=1 \
             max_gap=100 timeout=120000 data=0",
        ),
        (
            QosSpec::DATA,
            "0000000000000000 00000000 000003e8 00000000 00000000 000007d0 0001d4c0 0000 00 00 01",
            "",
            "delay=1000 bandwidth=0 availability=0 loss=0 ber=0 in_order=1 max_gap=2000 \
             timeout=120000 data=0",
        ),
    ] {
        let data_bytes = unhex(data);
        check(
            &format!("0000000004030201 0000000000000000 1122334400000041 {fields} {OPING} {data}"),
            Message::Request {
                source: Address::new(0x0403_0201),
                source_eid: EID_A,
                qos,
                hash: &hash,
                data: &data_bytes,
            },
            &format!("FA[REQUEST] src=01.02.03.04 seid=0x1122334400000041 hash=42dee3b0 {text}"),
        );
    }
}

#[test]
fn replies_and_update() {
    check(
        "0000000000000000 1122334400000041 5566778800000042 0000000000000000 \
         00000000 00000000 00000000 00000000 00000000 00000000 0000 01 00 00 deadbeef",
        Message::Reply {
            eid: EID_A,
            source_eid: EID_B,
            response: 0,
            data: &[0xde, 0xad, 0xbe, 0xef],
        },
        "FA[REPLY] reid=0x1122334400000041 seid=0x5566778800000042 response=0 data=4",
    );
    check(
        "0000000000000000 1122334400000041 5566778800000042 0000000000000000 \
         fffffc0f 00000000 00000000 00000000 00000000 00000000 0000 01 00 00",
        Message::Reply {
            eid: EID_A,
            source_eid: EID_B,
            response: -1009,
            data: &[],
        },
        "FA[REPLY] reid=0x1122334400000041 seid=0x5566778800000042 response=-1009 data=0",
    );
    check(
        "0000000000000000 1122334400000041 0000000000000000 0000000000000000 \
         00000000 00000000 00000000 00000000 00000000 00000000 0202 02 00 00",
        Message::Update {
            eid: EID_A,
            ece: 0x0202,
        },
        "FA[UPDATE] reid=0x1122334400000041 ece=514",
    );
}

#[test]
fn lengths_and_codes_are_checked() {
    let parse = |bytes: &[u8], hash| Message::parse(bytes, hash).map(|message| message.len());
    let short = |least, got| Err(FaError::Short { least, got });
    assert_eq!(parse(&[], DirHash::Sha3_256), short(61, 0));
    assert_eq!(parse(&[0; 60], DirHash::Sha3_256), short(61, 60));
    // A request without its whole hash.
    assert_eq!(parse(&[0; 92], DirHash::Sha3_256), short(93, 92));
    assert_eq!(parse(&[0; 93], DirHash::Sha3_256), Ok(93));
    assert_eq!(parse(&[0; 93], DirHash::Sha3_512), short(125, 93));
    assert_eq!(parse(&[0; 2048], DirHash::Sha3_256), Ok(2048));
    assert_eq!(
        parse(&[0; 2049], DirHash::Sha3_256),
        Err(FaError::Long(2049))
    );
    for code in 3..=255 {
        let mut bytes = [0; 61];
        bytes[field::CODE] = code;
        assert_eq!(parse(&bytes, DirHash::Sha3_256), Err(FaError::Code(code)));
    }
    let reply = |data| Message::Reply {
        eid: EID_A,
        source_eid: EID_B,
        response: 0,
        data,
    };
    assert!(reply(&[0; 1987]).to_bytes().is_ok());
    assert_eq!(reply(&[0; 1988]).to_bytes(), Err(FaError::Long(2049)));
}

proptest! {
    #[test]
    fn what_parses_is_emitted_and_parses_again(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        code in 0u8..4,
        number in 0usize..4,
    ) {
        let hash = [DirHash::Sha3_224, DirHash::Sha3_256, DirHash::Sha3_384, DirHash::Sha3_512][number];
        if let Some(field) = bytes.get_mut(field::CODE) {
            *field = code;
        }
        if let Ok(message) = Message::parse(&bytes, hash) {
            let _ = message.to_string();
            let emitted = message.to_bytes().expect("not longer than what was parsed");
            // What follows an update has no meaning.
            let update = matches!(message, Message::Update { .. });
            prop_assert!(update || emitted.len() == bytes.len());
            prop_assert_eq!(Message::parse(&emitted, hash), Ok(message));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
        let _ = Message::parse(&bytes, DirHash::Sha3_256);
    }
}
