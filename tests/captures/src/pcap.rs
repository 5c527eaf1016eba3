//! Frames of a pcap file, and what they carry: EIDs of eth-dix, datagrams of IP packets.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Headers of a file and of a record in it.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Ethernet header; EID and length of eth-dix behind it (`spec/shims.md` §4.1).
const ETHERNET: usize = 14;
const DIX: usize = ETHERNET + 4;

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Since the first frame.
    pub time: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
    /// From the destination address on.
    pub bytes: Vec<u8>,
}

/// What a frame of eth-dix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dix<'a> {
    /// Destination MAC address.
    pub to: [u8; 6],
    /// Source MAC address.
    pub from: [u8; 6],
    /// EID of the flow at the destination; 0 = management.
    pub eid: u16,
    /// What follows, to the end of the frame.
    pub payload: &'a [u8],
}

impl Frame {
    /// The frame as one of eth-dix.
    ///
    /// # Panics
    /// It is of another Ethertype than 0xA000, or its length is wrong.
    #[must_use]
    pub fn dix(&self) -> Dix<'_> {
        let bytes = &self.bytes;
        assert_eq!(half(bytes, 12), 0xa000, "Ethertype");
        let payload = &bytes[DIX..];
        assert_eq!(usize::from(half(bytes, ETHERNET + 2)), payload.len());
        let address = |at: usize| bytes[at..at + 6].try_into().expect("six bytes");
        Dix {
            to: address(0),
            from: address(6),
            eid: half(bytes, ETHERNET),
            payload,
        }
    }
}

/// The frames of a capture (Ethernet, microseconds, either byte order), by the name of its file.
///
/// # Panics
/// There is no such capture, or it is not whole.
#[must_use]
pub fn frames(name: &str) -> Vec<Frame> {
    let file = crate::bytes(&format!("captures/{name}"));
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
    assert_eq!(word(20), 1, "{name} is not of an Ethernet");
    let (mut frames, mut at, mut first) = (Vec::new(), FILE_HEADER, None);
    while at < file.len() {
        let time =
            Duration::from_secs(word(at).into()) + Duration::from_micros(word(at + 4).into());
        let len = word(at + 8) as usize;
        assert_eq!(word(at + 8), word(at + 12), "{name}: whole frames only");
        at += RECORD_HEADER;
        frames.push(Frame {
            time: time - *first.get_or_insert(time),
            wall: time,
            bytes: file[at..at + len].to_vec(),
        });
        at += len;
    }
    frames
}

/// A UDP datagram.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Since the first frame.
    pub time: Duration,
    /// Number of the (last) frame, from 1.
    pub frame: usize,
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Payload.
    pub bytes: Vec<u8>,
}

/// The UDP datagrams of frames with IPv4 or IPv6, put together from fragments; all else is left out.
///
/// # Panics
/// Fragments are missing, or a length is wrong.
#[must_use]
pub fn datagrams(frames: &[Frame]) -> Vec<Datagram> {
    let mut parts: BTreeMap<(Vec<u8>, u16), Vec<u8>> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let packet = &frame.bytes[ETHERNET..];
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

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
