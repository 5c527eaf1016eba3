//! The management messages of eth-dix, eth-llc and UDP: the same fields in three layouts
//! (`spec/shims.md` §4.4 to §4.6, §6.2).
//!
//! A message is the payload of a frame or datagram to the management endpoint: see [`crate::eth`] and
//! [`crate::udp`]. All numbers are big-endian. [`Layout`] says where a format has its fields, [`Message`]
//! is the parsed form.
//!
//! # Beyond 0.23
//!
//! Fields that a message does not use are 0 in 0.23 and read by nobody. Peers of ours say in one of them
//! ([`MARK`]) that they take a repeated flow request for the same request: in `response` of a request or name
//! query, in `timeout` of the answer to a marked one. What is not marked is byte for byte a message of 0.23, and
//! nodes of 0.23 only ever see the mark in a field of requests and queries that they do not read.
//!
//! UDP has no name queries in 0.23. Between peers of ours it has: to one address, with codes that 0.23 drops
//! (`spec/shims.md` §6.2).

use std::fmt;

use crate::qos::QosSpec;

/// Value of the marking field of those who know repeated requests: "o7s", 1.
pub const MARK: u32 = 0x6f37_7301;

/// Most bytes that a directory hash has.
pub const MAX_HASH_LEN: usize = 64;

/// Where a format has the fields of a management message; offsets in bytes from its start.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    name: &'static str,
    /// Bytes of the fixed part.
    len: usize,
    /// Bytes of an endpoint id: 1, 2 or 4.
    endpoint_len: usize,
    first: usize,
    second: usize,
    loss: usize,
    bandwidth: usize,
    ber: usize,
    max_gap: usize,
    delay: usize,
    timeout: usize,
    response: usize,
    in_order: usize,
    code: usize,
    availability: usize,
    codes: &'static [(u8, Code)],
    /// Whether names are asked for by messages to everybody.
    asks_all: bool,
    /// Whether the first endpoint is that of the requester in replies too (trap 1).
    requester_first: bool,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    FlowRequest,
    FlowReply,
    NameQuery,
    NameReply,
}

const ETH_CODES: &[(u8, Code)] = &[
    (0, Code::FlowRequest),
    (1, Code::FlowReply),
    (2, Code::NameQuery),
    (3, Code::NameReply),
];

/// Layout of eth-dix (`spec/shims.md` §4.4).
pub const DIX: Layout = Layout {
    name: "eth-dix",
    len: 39,
    endpoint_len: 2,
    first: 0,
    second: 2,
    loss: 4,
    bandwidth: 8,
    ber: 16,
    max_gap: 20,
    delay: 24,
    timeout: 28,
    response: 32,
    in_order: 36,
    code: 37,
    availability: 38,
    codes: ETH_CODES,
    asks_all: true,
    requester_first: false,
};

/// Layout of eth-llc (`spec/shims.md` §4.5). Endpoints are SAPs, not reversed.
pub const LLC: Layout = Layout {
    name: "eth-llc",
    len: 37,
    endpoint_len: 1,
    first: 0,
    second: 1,
    code: 2,
    availability: 3,
    loss: 4,
    bandwidth: 8,
    ber: 16,
    max_gap: 20,
    delay: 24,
    timeout: 28,
    response: 32,
    in_order: 36,
    codes: ETH_CODES,
    asks_all: true,
    requester_first: false,
};

/// Layout of UDP (`spec/shims.md` §6.2), after the four bytes of the datagram's own endpoint id.
pub const UDP: Layout = Layout {
    name: "udp",
    len: 43,
    endpoint_len: 4,
    first: 0,
    second: 4,
    response: 8,
    bandwidth: 12,
    delay: 20,
    loss: 24,
    ber: 28,
    max_gap: 32,
    timeout: 36,
    code: 40,
    availability: 41,
    in_order: 42,
    codes: &[
        (1, Code::FlowRequest),
        (2, Code::FlowReply),
        (0xf0, Code::NameQuery),
        (0xf1, Code::NameReply),
    ],
    asks_all: false,
    requester_first: true,
};

impl Layout {
    /// Bytes of the fixed part of a message.
    #[must_use]
    pub const fn fixed_len(&self) -> usize {
        self.len
    }

    /// Largest endpoint id that fits.
    #[must_use]
    pub const fn max_endpoint(&self) -> u32 {
        u32::MAX >> (32 - 8 * self.endpoint_len)
    }

    /// Whether names are found by queries to everybody; else they are resolved elsewhere.
    #[must_use]
    pub const fn has_name_queries(&self) -> bool {
        self.asks_all
    }

    fn endpoint(&self, bytes: &[u8], at: usize) -> u32 {
        bytes[at..at + self.endpoint_len]
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn set_endpoint(&self, fixed: &mut [u8], at: usize, value: u32) -> Result<(), EmitError> {
        if value > self.max_endpoint() {
            return Err(EmitError::Endpoint {
                format: self.name,
                endpoint: value,
            });
        }
        fixed[at..at + self.endpoint_len]
            .copy_from_slice(&value.to_be_bytes()[4 - self.endpoint_len..]);
        Ok(())
    }

    fn qos(&self, bytes: &[u8]) -> QosSpec {
        let high = u64::from(word(bytes, self.bandwidth));
        QosSpec {
            delay: word(bytes, self.delay),
            bandwidth: high << 32 | u64::from(word(bytes, self.bandwidth + 4)),
            availability: bytes[self.availability],
            loss: word(bytes, self.loss),
            ber: word(bytes, self.ber),
            in_order: bytes[self.in_order],
            max_gap: word(bytes, self.max_gap),
            timeout: word(bytes, self.timeout),
            cypher_s: 0,
        }
    }

    fn set_qos(&self, fixed: &mut [u8], qos: &QosSpec) {
        fixed[self.bandwidth..self.bandwidth + 8].copy_from_slice(&qos.bandwidth.to_be_bytes());
        for (at, value) in [
            (self.delay, qos.delay),
            (self.loss, qos.loss),
            (self.ber, qos.ber),
            (self.max_gap, qos.max_gap),
            (self.timeout, qos.timeout),
        ] {
            set_word(fixed, at, value);
        }
        fixed[self.availability] = qos.availability;
        fixed[self.in_order] = qos.in_order;
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn set_word(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Why bytes are no management message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the message has at least.
    #[error("this {format} management message has at least {need} bytes, got {got}")]
    Short {
        /// The layout.
        format: &'static str,
        /// Bytes of the fixed part and what must follow it.
        need: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// A code without a meaning.
    #[error("{format} has no management message with code {code}")]
    Code {
        /// The layout.
        format: &'static str,
        /// The code.
        code: u8,
    },
}

/// Why a message cannot be put into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// An endpoint id that the format's field cannot hold.
    #[error("endpoint {endpoint} does not fit into an {format} message")]
    Endpoint {
        /// The layout.
        format: &'static str,
        /// The endpoint id.
        endpoint: u32,
    },
}

/// A management message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks for a flow to a name.
    FlowRequest {
        /// Endpoint of the one who asks.
        requester: u32,
        /// Quality of service; [`QosSpec::cypher_s`] is not carried.
        qos: QosSpec,
        /// Hash of the name.
        hash: &'a [u8],
        /// What the two daemons tell each other (OAP).
        piggyback: &'a [u8],
        /// The requester may repeat the request ([`MARK`]).
        repeats: bool,
    },
    /// Answers a [`Message::FlowRequest`].
    FlowReply {
        /// Endpoint of the one who asked.
        requester: u32,
        /// Endpoint of the one who answers; 0 in a refusal that never had one.
        acceptor: u32,
        /// 0: accepted; else a negative error number.
        response: i32,
        /// What the two daemons tell each other (OAP).
        piggyback: &'a [u8],
        /// The acceptor knows repeated requests ([`MARK`]).
        repeats: bool,
    },
    /// Asks everybody who has a name; in UDP one of ours, whether it has it.
    NameQuery {
        /// Hash of the name.
        hash: &'a [u8],
        /// The one who asks knows repeated requests ([`MARK`]).
        repeats: bool,
    },
    /// "I have the name."
    NameReply {
        /// Hash of the name.
        hash: &'a [u8],
        /// The one who has it knows repeated requests ([`MARK`]).
        repeats: bool,
    },
}

impl<'a> Message<'a> {
    /// Reads a message: a payload without padding, in a layer whose hashes have `hash_len` bytes.
    ///
    /// Fields that the message does not use may have any value, and what follows the hash of a name
    /// message is ignored.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(layout: &Layout, bytes: &'a [u8], hash_len: usize) -> Result<Self, ParseError> {
        let short = |need| ParseError::Short {
            format: layout.name,
            need,
            got: bytes.len(),
        };
        if bytes.len() < layout.len {
            return Err(short(layout.len));
        }
        let (fixed, rest) = bytes.split_at(layout.len);
        let number = fixed[layout.code];
        let &(_, code) = layout
            .codes
            .iter()
            .find(|(known, _)| *known == number)
            .ok_or(ParseError::Code {
                format: layout.name,
                code: number,
            })?;
        let split = || {
            rest.split_at_checked(hash_len)
                .ok_or_else(|| short(layout.len + hash_len))
        };
        let first = layout.endpoint(fixed, layout.first);
        let second = layout.endpoint(fixed, layout.second);
        Ok(match code {
            Code::FlowRequest => {
                let (hash, piggyback) = split()?;
                Self::FlowRequest {
                    requester: first,
                    qos: layout.qos(fixed),
                    hash,
                    piggyback,
                    repeats: word(fixed, layout.response) == MARK,
                }
            }
            Code::FlowReply => {
                let (requester, acceptor) = if layout.requester_first {
                    (first, second)
                } else {
                    (second, first)
                };
                Self::FlowReply {
                    requester,
                    acceptor,
                    response: word(fixed, layout.response).cast_signed(),
                    piggyback: rest,
                    repeats: word(fixed, layout.timeout) == MARK,
                }
            }
            Code::NameQuery => Self::NameQuery {
                hash: split()?.0,
                repeats: word(fixed, layout.response) == MARK,
            },
            Code::NameReply => Self::NameReply {
                hash: split()?.0,
                repeats: word(fixed, layout.timeout) == MARK,
            },
        })
    }

    /// Bytes that [`emit`](Self::emit) appends.
    #[must_use]
    pub fn emitted_len(&self, layout: &Layout) -> usize {
        layout.len
            + match self {
                Self::FlowRequest {
                    hash, piggyback, ..
                } => hash.len() + piggyback.len(),
                Self::FlowReply { piggyback, .. } => piggyback.len(),
                Self::NameQuery { hash, .. } | Self::NameReply { hash, .. } => hash.len(),
            }
    }

    fn code(&self) -> Code {
        match self {
            Self::FlowRequest { .. } => Code::FlowRequest,
            Self::FlowReply { .. } => Code::FlowReply,
            Self::NameQuery { .. } => Code::NameQuery,
            Self::NameReply { .. } => Code::NameReply,
        }
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    /// [`EmitError`]; `out` is as before.
    pub fn emit(&self, layout: &Layout, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let start = out.len();
        out.resize(start + layout.len, 0);
        let result = self.emit_fixed(layout, &mut out[start..]);
        if result.is_err() {
            out.truncate(start);
            return result;
        }
        match self {
            Self::FlowRequest {
                hash, piggyback, ..
            } => {
                out.extend_from_slice(hash);
                out.extend_from_slice(piggyback);
            }
            Self::FlowReply { piggyback, .. } => out.extend_from_slice(piggyback),
            Self::NameQuery { hash, .. } | Self::NameReply { hash, .. } => {
                out.extend_from_slice(hash);
            }
        }
        Ok(())
    }

    fn emit_fixed(&self, layout: &Layout, fixed: &mut [u8]) -> Result<(), EmitError> {
        let code = self.code();
        let numbers = layout.codes.iter();
        // Every layout has every code.
        fixed[layout.code] = numbers
            .filter_map(|&(number, known)| (known == code).then_some(number))
            .next()
            .unwrap_or_default();
        match *self {
            Self::FlowRequest {
                requester,
                ref qos,
                repeats,
                ..
            } => {
                layout.set_endpoint(fixed, layout.first, requester)?;
                layout.set_qos(fixed, qos);
                mark(fixed, layout.response, repeats);
            }
            Self::FlowReply {
                requester,
                acceptor,
                response,
                repeats,
                ..
            } => {
                let (first, second) = if layout.requester_first {
                    (requester, acceptor)
                } else {
                    (acceptor, requester)
                };
                layout.set_endpoint(fixed, layout.first, first)?;
                layout.set_endpoint(fixed, layout.second, second)?;
                set_word(fixed, layout.response, response.cast_unsigned());
                mark(fixed, layout.timeout, repeats);
            }
            Self::NameQuery { repeats, .. } => mark(fixed, layout.response, repeats),
            Self::NameReply { repeats, .. } => mark(fixed, layout.timeout, repeats),
        }
        Ok(())
    }
}

fn mark(fixed: &mut [u8], at: usize, repeats: bool) {
    if repeats {
        set_word(fixed, at, MARK);
    }
}

struct Short<'a>(&'a [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repeats = match *self {
            Self::FlowRequest {
                requester,
                ref qos,
                hash,
                piggyback,
                repeats,
            } => {
                write!(
                    f,
                    "FLOW_REQ eid={requester} hash={} delay={} bandwidth={} availability={} loss={} \
                     ber={} in_order={} max_gap={} timeout={} piggyback={}",
                    Short(hash),
                    qos.delay,
                    qos.bandwidth,
                    qos.availability,
                    qos.loss,
                    qos.ber,
                    qos.in_order,
                    qos.max_gap,
                    qos.timeout,
                    piggyback.len()
                )?;
                repeats
            }
            Self::FlowReply {
                requester,
                acceptor,
                response,
                piggyback,
                repeats,
            } => {
                write!(
                    f,
                    "FLOW_REPLY requester={requester} acceptor={acceptor} response={response} \
                     piggyback={}",
                    piggyback.len()
                )?;
                repeats
            }
            Self::NameQuery { hash, repeats } => {
                write!(f, "NAME_QUERY_REQ hash={}", Short(hash))?;
                repeats
            }
            Self::NameReply { hash, repeats } => {
                write!(f, "NAME_QUERY_REPLY hash={}", Short(hash))?;
                repeats
            }
        };
        if repeats {
            f.write_str(" repeats")?;
        }
        Ok(())
    }
}
