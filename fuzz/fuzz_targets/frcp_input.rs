//! Arbitrary packets, writes, reads and pauses at one end of an FRCP flow: no panic, bounded memory,
//! no endless transmission, and headers that parse emit the same bytes.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use o7s_proto::frcp::{Config, Extensions, Frcp};
use o7s_wire::frcp::{HEADER_LEN, Ranges, Repr};

const BUFFER: usize = 1 << 14;
const MESSAGE: usize = 2000;

fuzz_target!(|input: &[u8]| {
    let Some((&[setup, isn], mut input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let config = Config {
        reliable: setup & 1 == 0,
        max_packet: 200,
        max_message: MESSAGE,
        extensions: Extensions {
            fragments: setup & 2 == 0,
            selective: setup & 4 == 0,
            window: [0, 64, 8192, u32::MAX][usize::from(setup >> 3 & 3)],
        },
        buffer: BUFFER,
        ..Config::default()
    };
    let mut now = Instant::now();
    let mut frcp = Frcp::new(config, u32::from(isn).wrapping_sub(8), now);
    let mut out = Vec::new();
    // A step: what to do, how much of the input it takes, that much.
    while let Some((&[action, len], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        input = rest;
        match action % 8 {
            0..=2 => {
                if let Ok(header) = Repr::parse(bytes) {
                    assert_eq!(header.to_bytes(), bytes[..HEADER_LEN]);
                    let _ = Ranges::parse(&bytes[HEADER_LEN..]);
                }
                let _ = frcp.handle_packet(now, bytes);
            }
            3 => {
                let can = frcp.can_write(bytes.len());
                assert_eq!(frcp.write(now, bytes).is_ok(), can);
            }
            4 => {
                frcp.read(now, <[u8]>::len);
            }
            5 => {
                let mut count = 0;
                while frcp.poll_transmit(now, &mut out) {
                    assert!(out.len() <= 200 && out.len() >= HEADER_LEN);
                    count += 1;
                    assert!(count < 10_000, "endless transmission");
                }
            }
            6 => {
                now += Duration::from_micros(u64::from(len) << (action >> 3));
                frcp.handle_timeout(now);
            }
            _ if len == 0 => frcp.finish(now),
            _ => {}
        }
        let stats = frcp.stats();
        assert!(stats.receive_bytes <= BUFFER + MESSAGE + 512, "{stats:?}");
        assert!(stats.send_bytes <= BUFFER, "{stats:?}");
        assert!(stats.messages_read <= stats.messages_arrived);
        let _ = (
            frcp.is_drained(),
            frcp.linger_limit(now),
            frcp.poll_timeout(),
        );
    }
});
