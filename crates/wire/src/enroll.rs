//! The enrollment protocol, OEP: how an IPCP becomes a member of a unicast or broadcast layer
//! (`spec/directory-enrollment.md` §2.2, §4).
//!
//! ```text
//!  enrollee ── Request ──► enroller        after OCEP for the component Enrollment,
//!           ◄── Response ──                one protobuf message (proto2) is one packet
//!           ── Ack ──►
//! ```
//!
//! A reader of 0.23 has a buffer of 1024 octets and goes wrong when a message fills it, so
//! [`LEN_MAX`] is 1023. It crashes on a response without the parts that its type needs (trap T4): a
//! [`Response`] always has them, and one that lacks them does not parse.

mod config;

use std::fmt;

use prost::Message;

use config::RawConfig;
pub use config::{
    AddressPolicy, CongestionPolicy, DhtConfig, DirectoryPolicy, DtConfig, Layer, LayerConfig,
    LinkStateConfig, LinkStatePolicy, UnicastConfig,
};

/// Longest message in bytes (`spec/directory-enrollment.md` §1.2).
pub const LEN_MAX: usize = 1023;

/// Identifier of one enrollment, drawn by the enrollee and repeated in all its messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnrollmentId(pub [u8; 8]);

impl fmt::Display for EnrollmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for EnrollmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrollmentId({self})")
    }
}

/// A reading of a wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Seconds since the Unix epoch.
    pub sec: i64,
    /// Nanoseconds of that second, 0 to 999,999,999.
    pub nsec: u32,
}

impl WallTime {
    /// How far two clocks are apart, in whole milliseconds.
    #[must_use]
    pub fn apart_ms(self, other: Self) -> u64 {
        let nanos = |time: Self| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
        let apart = nanos(self).abs_diff(nanos(other)) / 1_000_000;
        u64::try_from(apart).unwrap_or(u64::MAX)
    }
}

/// Why bytes are no message of OEP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrollError {
    /// More than [`LEN_MAX`] bytes.
    #[error("an enrollment message has at most {LEN_MAX} bytes, got {0}")]
    TooLong(usize),
    /// No protobuf message of these types.
    #[error("the packet is no enrollment message: {0}")]
    Malformed(String),
    /// A required field, or one that the values of others require, is not there.
    #[error("the enrollment message has no field {0}")]
    Missing(&'static str),
    /// The identifier has not 8 octets.
    #[error("an enrollment id has 8 octets, got {0}")]
    IdLength(usize),
    /// The nanoseconds are not below one second.
    #[error("the time has {0} ns; it must be 0 to 999999999")]
    Nanoseconds(i32),
    /// The layer has no name that can be one.
    #[error("the configuration has no usable layer name: {0}")]
    LayerName(#[from] crate::name::NameError),
    /// IPCPs of this type do not enroll.
    #[error("IPCP type {0} does not enroll; only 1 (unicast) and 2 (broadcast) do")]
    IpcpType(u32),
    /// A value that no member can use.
    #[error("the configuration says {field} = {value}; {allowed}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What it says.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
}

/// Asks to be enrolled (`enroll_req_msg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Random, new for each attempt.
    pub id: EnrollmentId,
}

/// What the enroller decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Become a member with this configuration.
    Accepted(LayerConfig),
    /// No; the number is negative.
    Denied(i32),
}

/// Answers a request (`enroll_resp_msg`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// That of the request.
    pub id: EnrollmentId,
    /// The enroller's clock.
    pub time: WallTime,
    /// The decision.
    pub answer: Answer,
}

/// Says how it ended (`enroll_ack_msg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// That of the request.
    pub id: EnrollmentId,
    /// 0: enrolled. Other: failed.
    pub result: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawRequest {
    #[prost(bytes = "vec", optional, tag = "1")]
    id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawResponse {
    #[prost(bytes = "vec", optional, tag = "1")]
    id: Option<Vec<u8>>,
    #[prost(int64, optional, tag = "2")]
    t_sec: Option<i64>,
    #[prost(int32, optional, tag = "3")]
    t_nsec: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    response: Option<i32>,
    #[prost(message, optional, tag = "5")]
    conf: Option<RawConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawAck {
    #[prost(bytes = "vec", optional, tag = "1")]
    id: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "2")]
    result: Option<i32>,
}

fn decode<M: Message + Default>(packet: &[u8]) -> Result<M, EnrollError> {
    if packet.len() > LEN_MAX {
        return Err(EnrollError::TooLong(packet.len()));
    }
    M::decode(packet).map_err(|error| EnrollError::Malformed(error.to_string()))
}

fn id(bytes: Option<Vec<u8>>) -> Result<EnrollmentId, EnrollError> {
    let bytes = bytes.ok_or(EnrollError::Missing("id"))?;
    <[u8; 8]>::try_from(&*bytes)
        .map(EnrollmentId)
        .map_err(|_| EnrollError::IdLength(bytes.len()))
}

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`EnrollError`].
    pub fn parse(packet: &[u8]) -> Result<Self, EnrollError> {
        let raw: RawRequest = decode(packet)?;
        Ok(Self { id: id(raw.id)? })
    }

    /// The packet.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let raw = RawRequest {
            id: Some(self.id.0.into()),
        };
        raw.encode_to_vec()
    }
}

impl Response {
    /// Reads a packet. The configuration is there, complete and usable if the answer is positive; it is
    /// not looked at in a refusal.
    ///
    /// # Errors
    /// [`EnrollError`].
    pub fn parse(packet: &[u8]) -> Result<Self, EnrollError> {
        let raw: RawResponse = decode(packet)?;
        let missing = EnrollError::Missing;
        let id = id(raw.id)?;
        let sec = raw.t_sec.ok_or(missing("t_sec"))?;
        let nsec = raw.t_nsec.ok_or(missing("t_nsec"))?;
        let nsec = u32::try_from(nsec)
            .ok()
            .filter(|nsec| *nsec < 1_000_000_000)
            .ok_or(EnrollError::Nanoseconds(nsec))?;
        let answer = match raw.response.ok_or(missing("response"))? {
            code if code < 0 => Answer::Denied(code),
            _ => Answer::Accepted(LayerConfig::from_raw(raw.conf.ok_or(missing("conf"))?)?),
        };
        Ok(Self {
            id,
            time: WallTime { sec, nsec },
            answer,
        })
    }

    /// The packet, never longer than [`LEN_MAX`]: all its parts are bounded.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let (response, conf) = match &self.answer {
            Answer::Accepted(config) => (0, Some(config.to_raw())),
            Answer::Denied(code) => ((*code).min(-1), None),
        };
        let raw = RawResponse {
            id: Some(self.id.0.into()),
            t_sec: Some(self.time.sec),
            t_nsec: i32::try_from(self.time.nsec.min(999_999_999)).ok(),
            response: Some(response),
            conf,
        };
        raw.encode_to_vec()
    }
}

impl Ack {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`EnrollError`].
    pub fn parse(packet: &[u8]) -> Result<Self, EnrollError> {
        let raw: RawAck = decode(packet)?;
        Ok(Self {
            id: id(raw.id)?,
            result: raw.result.ok_or(EnrollError::Missing("result"))?,
        })
    }

    /// The packet.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let raw = RawAck {
            id: Some(self.id.0.into()),
            result: Some(self.result),
        };
        raw.encode_to_vec()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OEP request {}", self.id)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, time, answer } = self;
        write!(f, "OEP response {id} time {}.{:09} ", time.sec, time.nsec)?;
        match answer {
            Answer::Accepted(config) => write!(f, "accepted: {config}"),
            Answer::Denied(code) => write!(f, "denied ({code})"),
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OEP ack {} result {}", self.id, self.result)
    }
}

#[cfg(test)]
#[path = "enroll/tests.rs"]
mod tests;
