//! Arbitrary directory messages: no panic, and what parses emits bytes that parse to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_wire::dht::Message;

fuzz_target!(|input: &[u8]| {
    for len in [28, 32, 48, 64] {
        if let Ok(message) = Message::parse(input, len) {
            let _ = message.to_string();
            let again = message.emit();
            assert_eq!(Message::parse(&again, len), Ok(message));
        }
    }
});
