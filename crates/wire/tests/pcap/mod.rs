//! The captures of the C implementation 0.23: frames of a pcap file, datagrams of IP packets.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Since the first frame.
    pub(crate) time: Duration,
    /// From the destination address on.
    pub(crate) bytes: Vec<u8>,
}

/// The frames of a capture (microseconds, either byte order).
pub(crate) fn frames(name: &str) -> Vec<Frame> {
    // Crates lie at different depths below the folder that has the captures.
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("tests/data/captures").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no capture {name}"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let little = file[..4] == [0xd4, 0xc3, 0xb2, 0xa1];
    assert!(
        little || file[..4] == [0xa1, 0xb2, 0xc3, 0xd4],
        "{name} is no pcap"
    );
    let word = |at: usize| {
        let bytes = file[at..at + 4].try_into().expect("four bytes");
        if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        }
    };
    let (mut frames, mut at, mut first) = (Vec::new(), 24, None);
    while at < file.len() {
        let time =
            Duration::from_secs(word(at).into()) + Duration::from_micros(word(at + 4).into());
        let len = word(at + 8) as usize;
        assert_eq!(word(at + 8), word(at + 12), "{name}: whole frames only");
        frames.push(Frame {
            time: time - *first.get_or_insert(time),
            bytes: file[at + 16..at + 16 + len].to_vec(),
        });
        at += 16 + len;
    }
    frames
}

/// A UDP datagram.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// Since the first frame.
    pub(crate) time: Duration,
    /// Number of the (last) frame, from 1.
    pub(crate) frame: usize,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The UDP datagrams of frames with IPv4 or IPv6, put together from fragments; all else is left out.
pub(crate) fn datagrams(frames: &[Frame]) -> Vec<Datagram> {
    let half = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut parts: BTreeMap<(Vec<u8>, u16), Vec<u8>> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let packet = &frame.bytes[14..];
        let (addresses, udp) = match half(&frame.bytes, 12) {
            0x0800 if packet[9] == 17 => {
                let length = usize::from(half(packet, 2));
                let payload = packet[20..length].to_vec();
                let fragment = half(packet, 6);
                let addresses = packet[12..20].to_vec();
                if fragment & 0x3fff == 0 {
                    (addresses, payload)
                } else {
                    let key = (addresses.clone(), half(packet, 4));
                    let whole = parts.entry(key.clone()).or_default();
                    assert_eq!(whole.len(), usize::from(fragment & 0x1fff) * 8);
                    whole.extend_from_slice(&payload);
                    if fragment & 0x2000 != 0 {
                        continue;
                    }
                    (addresses, parts.remove(&key).expect("the parts"))
                }
            }
            0x86dd if packet[6] == 17 => (packet[8..40].to_vec(), packet[40..].to_vec()),
            _ => continue,
        };
        let ip = |half: &[u8]| match <[u8; 4]>::try_from(half) {
            Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(half).expect("16"))),
        };
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        assert_eq!(usize::from(half(&udp, 4)), udp.len(), "length of UDP");
        found.push(Datagram {
            time: frame.time,
            frame: at + 1,
            from: SocketAddr::new(ip(source), half(&udp, 0)),
            to: SocketAddr::new(ip(destination), half(&udp, 2)),
            bytes: udp[8..].to_vec(),
        });
    }
    found
}

/// The bytes of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}
