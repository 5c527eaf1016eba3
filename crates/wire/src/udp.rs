//! Datagrams of udp4 and udp6: destination endpoint, payload (`spec/shims.md` §6.2).
//!
//! The management messages are in [`crate::shim`].

use std::fmt;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 4;

/// The endpoint of management messages.
pub const MANAGEMENT: u32 = 0;

/// Port of layers that say nothing else.
pub const DEFAULT_PORT: u16 = 3435;

/// Largest management datagram that may be sent to a peer of 0.23 (trap 21).
pub const MAX_MANAGEMENT: usize = 2048;

/// Largest datagram that a peer of 0.23 receives whole over IPv4.
pub const MAX_DATAGRAM_V4: usize = 8980;

/// Largest datagram that a peer of 0.23 receives whole over IPv6.
pub const MAX_DATAGRAM_V6: usize = 8952;

mod field {
    use std::ops::Range;

    pub(super) const EID: Range<usize> = 0..4;
}

/// Why bytes are no datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram of this layer has at least {HEADER_LEN} bytes, got {0}")]
pub struct ShortDatagram(pub usize);

/// A datagram of at least [`HEADER_LEN`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Datagram<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Datagram<T> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`ShortDatagram`] below [`HEADER_LEN`] bytes.
    pub fn new_checked(buffer: T) -> Result<Self, ShortDatagram> {
        match buffer.as_ref().len() {
            len if len < HEADER_LEN => Err(ShortDatagram(len)),
            _ => Ok(Self { buffer }),
        }
    }

    /// Destination endpoint; [`MANAGEMENT`] for a management message.
    pub fn eid(&self) -> u32 {
        let field = &self.buffer.as_ref()[field::EID];
        u32::from_be_bytes([field[0], field[1], field[2], field[3]])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Datagram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repr = Repr { eid: self.eid() };
        write!(f, "{repr} len={}", self.payload().len())
    }
}

/// The header of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination endpoint.
    pub eid: u32,
}

impl Repr {
    /// The bytes that go before the payload.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        self.eid.to_be_bytes()
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.eid {
            MANAGEMENT => f.write_str("UDP management"),
            eid => write!(f, "UDP eid={eid}"),
        }
    }
}
