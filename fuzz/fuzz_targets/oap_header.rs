//! Arbitrary OAP messages and data fields: no panic, and what parses emits the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_wire::oap::{Data, Message};

fuzz_target!(|input: &[u8]| {
    // The hash that the request asked for, and the message.
    let Some((md_nid, bytes)) = input.split_first_chunk() else {
        return;
    };
    for parsed in [
        Message::parse_request(bytes),
        Message::parse_response(bytes, u16::from_be_bytes(*md_nid)),
    ] {
        let Ok(message) = parsed else { continue };
        let _ = message.to_string();
        let mut again = message.to_repr().emit_unsigned().unwrap();
        assert_eq!(again, message.signed_region());
        again.extend_from_slice(message.signature());
        assert_eq!(again, bytes);
        if let Ok(data) = Data::parse(message.data()) {
            let field = data.emit();
            assert_eq!(Data::parse(&field), Ok(data));
        }
    }
    if let Ok(data) = Data::parse(bytes) {
        let field = data.emit();
        assert_eq!(Data::parse(&field), Ok(data));
    }
});
