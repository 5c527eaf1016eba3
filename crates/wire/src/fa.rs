//! The messages of the flow allocators of a unicast layer (`spec/unicast.md` §3.1).
//!
//! They travel as payload of data transfer packets to [`Eid::FLOW_ALLOCATOR`]. All integers are
//! big-endian. Every message has the same fixed part of [`FIXED_LEN`] bytes, of which each code uses some
//! fields and leaves the others zero; then, in a request, the hash of the destination's name, and in
//! requests and replies the data of the ends' daemons (OAP), which nobody here reads.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::dt::{Address, Eid};
use crate::hash::DirHash;
use crate::qos::QosSpec;

/// Bytes of the part that every message has.
pub const FIXED_LEN: usize = 61;

/// Longest message, in bytes; longer ones are dropped by 0.23.
pub const MAX_LEN: usize = 2048;

mod field {
    use std::ops::Range;

    pub(super) const S_ADDR: Range<usize> = 0..8;
    pub(super) const R_EID: Range<usize> = 8..16;
    pub(super) const S_EID: Range<usize> = 16..24;
    pub(super) const BANDWIDTH: Range<usize> = 24..32;
    pub(super) const RESPONSE: Range<usize> = 32..36;
    pub(super) const DELAY: Range<usize> = 36..40;
    pub(super) const LOSS: Range<usize> = 40..44;
    pub(super) const BER: Range<usize> = 44..48;
    pub(super) const MAX_GAP: Range<usize> = 48..52;
    pub(super) const TIMEOUT: Range<usize> = 52..56;
    pub(super) const ECE: Range<usize> = 56..58;
    pub(super) const CODE: usize = 58;
    pub(super) const AVAILABILITY: usize = 59;
    pub(super) const IN_ORDER: usize = 60;
}

mod code {
    pub(super) const REQUEST: u8 = 0;
    pub(super) const REPLY: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
}

/// Why bytes are no message of a flow allocator, or a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaError {
    /// Fewer bytes than the fixed part, or in a request than fixed part and hash.
    #[error("a flow allocation message of this kind has at least {least} bytes, got {got}")]
    Short {
        /// Bytes needed.
        least: usize,
        /// Bytes that there were.
        got: usize,
    },
    /// More than [`MAX_LEN`] bytes.
    #[error(
        "a flow allocation message has at most {MAX_LEN} bytes, this one has {0}; send less data with \
         the allocation, or smaller certificates"
    )]
    Long(usize),
    /// A code that 0.23 does not have.
    #[error(
        "unknown code {0} of a flow allocation message; 0 request, 1 reply and 2 update are known"
    )]
    Code(u8),
}

/// A message. It borrows hash and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks for a flow.
    Request {
        /// Address of the requester: where the reply goes. Nothing proves it.
        source: Address,
        /// The requester's end.
        source_eid: Eid,
        /// Quality of service asked for; `cypher_s` is not on the wire.
        qos: QosSpec,
        /// Hash of the destination's name, as long as the directory hash of the layer.
        hash: &'a [u8],
        /// For the daemon at the destination.
        data: &'a [u8],
    },
    /// Answers a request.
    Reply {
        /// The requester's end.
        eid: Eid,
        /// The responder's end; without meaning in a refusal.
        source_eid: Eid,
        /// 0 accepted, below 0 the reason of the refusal. Other values are not sent.
        response: i32,
        /// For the requester's daemon.
        data: &'a [u8],
    },
    /// Tells a sender how congested the path of its packets is (`spec/unicast.md` §7.3).
    Update {
        /// The end that sends too much.
        eid: Eid,
        /// Level of congestion, about 32 times the average mark; 0 = over.
        ece: u16,
    },
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn long(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |long, byte| long << 8 | u64::from(*byte))
}

impl<'a> Message<'a> {
    /// Reads a whole message of a layer with this directory hash. Fields that the code does not use are
    /// not looked at.
    ///
    /// # Errors
    /// [`FaError`]: drop the message.
    pub fn parse(bytes: &'a [u8], hash: DirHash) -> Result<Self, FaError> {
        let got = bytes.len();
        if got > MAX_LEN {
            return Err(FaError::Long(got));
        }
        let need = |least| {
            if got < least {
                Err(FaError::Short { least, got })
            } else {
                Ok(())
            }
        };
        need(FIXED_LEN)?;
        match bytes[field::CODE] {
            code::REQUEST => {
                need(FIXED_LEN + hash.len())?;
                let (hash, data) = bytes[FIXED_LEN..].split_at(hash.len());
                Ok(Self::Request {
                    source: Address::new(long(&bytes[field::S_ADDR])),
                    source_eid: Eid(long(&bytes[field::S_EID])),
                    qos: QosSpec {
                        delay: word(&bytes[field::DELAY]),
                        bandwidth: long(&bytes[field::BANDWIDTH]),
                        availability: bytes[field::AVAILABILITY],
                        loss: word(&bytes[field::LOSS]),
                        ber: word(&bytes[field::BER]),
                        in_order: bytes[field::IN_ORDER],
                        max_gap: word(&bytes[field::MAX_GAP]),
                        timeout: word(&bytes[field::TIMEOUT]),
                        cypher_s: 0,
                    },
                    hash,
                    data,
                })
            }
            code::REPLY => Ok(Self::Reply {
                eid: Eid(long(&bytes[field::R_EID])),
                source_eid: Eid(long(&bytes[field::S_EID])),
                response: word(&bytes[field::RESPONSE]).cast_signed(),
                data: &bytes[FIXED_LEN..],
            }),
            code::UPDATE => Ok(Self::Update {
                eid: Eid(long(&bytes[field::R_EID])),
                ece: u16::from_be_bytes([bytes[field::ECE.start], bytes[field::ECE.start + 1]]),
            }),
            other => Err(FaError::Code(other)),
        }
    }

    /// Bytes of the message.
    #[must_use]
    pub fn len(&self) -> usize {
        FIXED_LEN
            + match self {
                Self::Request { hash, data, .. } => hash.len() + data.len(),
                Self::Reply { data, .. } => data.len(),
                Self::Update { .. } => 0,
            }
    }

    /// Never: every message has its fixed part.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of the message.
    ///
    /// # Errors
    /// [`FaError::Long`]: the other side would drop it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FaError> {
        let len = self.len();
        if len > MAX_LEN {
            return Err(FaError::Long(len));
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.resize(FIXED_LEN, 0);
        match self {
            Self::Request {
                source,
                source_eid,
                qos,
                hash,
                data,
            } => {
                bytes[field::CODE] = code::REQUEST;
                bytes[field::S_ADDR].copy_from_slice(&source.get().to_be_bytes());
                bytes[field::S_EID].copy_from_slice(&source_eid.0.to_be_bytes());
                bytes[field::BANDWIDTH].copy_from_slice(&qos.bandwidth.to_be_bytes());
                for (at, value) in [
                    (field::DELAY, qos.delay),
                    (field::LOSS, qos.loss),
                    (field::BER, qos.ber),
                    (field::MAX_GAP, qos.max_gap),
                    (field::TIMEOUT, qos.timeout),
                ] {
                    bytes[at].copy_from_slice(&value.to_be_bytes());
                }
                bytes[field::AVAILABILITY] = qos.availability;
                bytes[field::IN_ORDER] = qos.in_order;
                bytes.extend_from_slice(hash);
                bytes.extend_from_slice(data);
            }
            Self::Reply {
                eid,
                source_eid,
                response,
                data,
            } => {
                bytes[field::CODE] = code::REPLY;
                bytes[field::R_EID].copy_from_slice(&eid.0.to_be_bytes());
                bytes[field::S_EID].copy_from_slice(&source_eid.0.to_be_bytes());
                bytes[field::RESPONSE].copy_from_slice(&response.to_be_bytes());
                bytes.extend_from_slice(data);
            }
            Self::Update { eid, ece } => {
                bytes[field::CODE] = code::UPDATE;
                bytes[field::R_EID].copy_from_slice(&eid.0.to_be_bytes());
                bytes[field::ECE].copy_from_slice(&ece.to_be_bytes());
            }
        }
        Ok(bytes)
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request {
                source,
                source_eid,
                qos,
                hash,
                data,
            } => {
                write!(f, "FA[REQUEST] src={source} seid={source_eid} hash=")?;
                hash.iter()
                    .take(4)
                    .try_for_each(|byte| write!(f, "{byte:02x}"))?;
                let QosSpec {
                    delay,
                    bandwidth,
                    availability,
                    loss,
                    ber,
                    in_order,
                    max_gap,
                    timeout,
                    cypher_s: _,
                } = qos;
                write!(
                    f,
                    " delay={delay} bandwidth={bandwidth} availability={availability} loss={loss} \
                     ber={ber} in_order={in_order} max_gap={max_gap} timeout={timeout} data={}",
                    data.len()
                )
            }
            Self::Reply {
                eid,
                source_eid,
                response,
                data,
            } => write!(
                f,
                "FA[REPLY] reid={eid} seid={source_eid} response={response} data={}",
                data.len()
            ),
            Self::Update { eid, ece } => write!(f, "FA[UPDATE] reid={eid} ece={ece}"),
        }
    }
}
