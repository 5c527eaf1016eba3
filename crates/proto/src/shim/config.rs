//! What a machine is made with: format, endpoints, times and limits.

use std::{ops::RangeInclusive, time::Duration};

use o7s_wire::{eth::MacAddr, hash::DirHash, udp};

use super::Format;

/// Configuration of a [`Shim`](super::Shim).
#[derive(Debug, Clone)]
pub struct Config {
    /// The format, with our own address.
    pub format: Format,
    /// Bytes of the directory hashes of the layer.
    pub hash_len: usize,
    /// MTU of the interface; for UDP the largest datagram.
    pub mtu: usize,
    /// Endpoints that this machine hands out.
    pub eids: RangeInclusive<u32>,
    /// Whether endpoints are drawn by lot, so that a stranger elsewhere cannot guess them; else in order.
    pub random_eids: bool,
    /// Whether we say, and make use of, that both ends know repeated requests.
    pub repeats: bool,
    /// Times.
    pub times: Times,
    /// Limits.
    pub limits: Limits,
}

impl Config {
    /// eth-dix on an interface.
    #[must_use]
    pub fn dix(mac: MacAddr, ethertype: u16, mtu: usize, hash: DirHash) -> Self {
        Self {
            format: Format::Dix { mac, ethertype },
            hash_len: hash.len(),
            mtu,
            // C takes its descriptors from 64; 65535 means "unknown" there.
            eids: 64..=0xfffe,
            random_eids: false,
            repeats: true,
            times: Times::default(),
            limits: Limits::default(),
        }
    }

    /// eth-llc on an interface.
    #[must_use]
    pub fn llc(mac: MacAddr, mtu: usize, hash: DirHash) -> Self {
        Self {
            format: Format::Llc { mac },
            // `spec/shims.md` §4.7; there are so few that they are used again soon: packets are matched by
            // address and both SAPs.
            eids: 2..=63,
            times: Times {
                quarantine: Duration::from_secs(1),
                ..Times::default()
            },
            ..Self::dix(mac, 0, mtu, hash)
        }
    }

    /// udp4.
    #[must_use]
    pub fn udp4() -> Self {
        Self::udp(udp::MAX_DATAGRAM_V4)
    }

    /// udp6.
    #[must_use]
    pub fn udp6() -> Self {
        Self::udp(udp::MAX_DATAGRAM_V6)
    }

    fn udp(mtu: usize) -> Self {
        Self {
            format: Format::Udp,
            hash_len: DirHash::Md5.len(),
            // C keeps endpoints in signed integers.
            eids: 64..=0x7fff_ffff,
            random_eids: true,
            times: Times {
                next_address: Some(Duration::from_millis(250)),
                ..Times::default()
            },
            ..Self::dix(MacAddr::default(), 0, mtu, DirHash::default())
        }
    }
}

/// Times of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a name query asks, though those who asked may have given up earlier (`spec/shims.md` §5.3).
    pub query: Duration,
    /// Time until a query is sent again; it doubles.
    pub query_again: Duration,
    /// How long further answers to an answered query are taken in.
    pub query_collect: Duration,
    /// How long an address of a name is believed.
    pub directory: Duration,
    /// How long an allocation of ours waits for its answer.
    pub allocation: Duration,
    /// Time until a request is repeated to a peer that knows repeated requests; it doubles.
    pub request_again: Duration,
    /// Longest time between two such requests.
    pub request_again_most: Duration,
    /// Time without an answer after which the next address of a name is asked too, if that is done
    /// (RFC 8305 §5).
    pub next_address: Option<Duration>,
    /// Time without an answer after which the name is queried afresh, in case that it has moved.
    pub recheck: Duration,
    /// How long a request of a stranger waits for our daemon's answer.
    pub arrived: Duration,
    /// How long an answer is kept for repeated requests.
    pub answer: Duration,
    /// How long an endpoint rests after its flow (defect 9): C sends keepalives for as long as it believes
    /// in the flow.
    pub quarantine: Duration,
    /// How long an endpoint rests at least, when there is no other.
    pub least_quarantine: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            query: Duration::from_secs(2),
            query_again: Duration::from_millis(50),
            query_collect: Duration::from_millis(200),
            directory: Duration::from_secs(600),
            allocation: Duration::from_secs(21),
            request_again: Duration::from_millis(250),
            request_again_most: Duration::from_millis(1500),
            next_address: None,
            recheck: Duration::from_secs(1),
            arrived: Duration::from_secs(21),
            answer: Duration::from_secs(30),
            quarantine: Duration::from_secs(120),
            least_quarantine: Duration::from_millis(200),
        }
    }
}

/// Limits of a machine; what is beyond them is dropped or refused, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Names registered here.
    pub names: usize,
    /// Names whose addresses are known.
    pub directory: usize,
    /// Addresses of one name.
    pub addresses: usize,
    /// Names that are asked for at a time.
    pub queries: usize,
    /// Queries that wait for one name.
    pub waiters: usize,
    /// Flows, those under way included.
    pub flows: usize,
    /// Requests of strangers that wait for our daemon.
    pub arrived: usize,
    /// Of those, of one source.
    pub arrived_per_source: usize,
    /// Answers kept for repeated requests.
    pub answers: usize,
    /// Bytes of those.
    pub answer_bytes: usize,
    /// Frames that wait to be sent; beyond, answers to strangers are dropped.
    pub transmits: usize,
    /// Packets that came before the answer to our request, kept per flow.
    pub early: usize,
    /// Bytes of such packets in all flows.
    pub early_bytes: usize,
    /// Messages of strangers per second, from one source.
    pub source_rate: Rate,
    /// Messages of strangers per second, from all sources.
    pub total_rate: Rate,
}

/// A rate: so many a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Per second.
    pub per_second: u32,
    /// At once, after a silence.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 65_536,
            directory: 4096,
            addresses: 8,
            queries: 1024,
            waiters: 1024,
            flows: 32_768,
            arrived: 4096,
            arrived_per_source: 1024,
            answers: 1024,
            answer_bytes: 1 << 20,
            transmits: 4096,
            early: 16,
            early_bytes: 1 << 18,
            source_rate: Rate {
                per_second: 2000,
                burst: 4000,
            },
            total_rate: Rate {
                per_second: 8000,
                burst: 8000,
            },
        }
    }
}
