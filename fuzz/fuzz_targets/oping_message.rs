//! Arbitrary packets at an oping server: no panic, and what parses emits the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_wire::oping::{HEADER_LEN, Ping};

fuzz_target!(|packet: &[u8]| {
    if let Ok(ping) = Ping::parse(packet) {
        let mut header = [0; HEADER_LEN];
        ping.emit(&mut header);
        assert_eq!(header, packet[..HEADER_LEN]);
    }
});
