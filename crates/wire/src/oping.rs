//! The message of `oping`: request and reply, padded to the size of the test packet.
//!
//! Layout (`spec/irm-tools.md` §12.2): type and id big-endian, the time stamp in the sender's host
//! order (little-endian on every machine the C tool runs on); the server sends it back unread.

/// Bytes of the fields; the rest of a packet is padding.
pub const HEADER_LEN: usize = 24;

mod field {
    use std::ops::Range;

    pub(super) const TYPE: Range<usize> = 0..4;
    pub(super) const ID: Range<usize> = 4..8;
    pub(super) const SEC: Range<usize> = 8..16;
    pub(super) const NSEC: Range<usize> = 16..24;
}

/// Whether a message asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Sent by the client.
    Request = 0,
    /// Sent by the server: the request with its type changed.
    Reply = 1,
}

/// The fields of a ping message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Request or reply.
    pub kind: Kind,
    /// Sequence number from 0.
    pub id: u32,
    /// Seconds of the client's monotonic clock.
    pub sec: u64,
    /// Nanoseconds of the client's monotonic clock.
    pub nsec: u64,
}

/// Why a packet is no ping message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// Fewer than [`HEADER_LEN`] bytes.
    #[error("an oping message has at least {HEADER_LEN} bytes, got {0}")]
    Short(usize),
    /// Neither request nor reply.
    #[error("unknown oping message type {0}")]
    Kind(u32),
}

impl Ping {
    /// Reads the fields at the start of `packet`.
    ///
    /// # Errors
    /// [`PingError`] if the packet is too short or of unknown type.
    pub fn parse(packet: &[u8]) -> Result<Self, PingError> {
        let header: &[u8; HEADER_LEN] =
            packet.first_chunk().ok_or(PingError::Short(packet.len()))?;
        let word = |range| u32::from_be_bytes(copy(header, range));
        let long = |range| u64::from_le_bytes(copy(header, range));
        let kind = match word(field::TYPE) {
            0 => Kind::Request,
            1 => Kind::Reply,
            other => return Err(PingError::Kind(other)),
        };
        Ok(Self {
            kind,
            id: word(field::ID),
            sec: long(field::SEC),
            nsec: long(field::NSEC),
        })
    }

    /// Writes the fields at the start of `packet`; the rest stays as it is.
    pub fn emit(&self, packet: &mut [u8; HEADER_LEN]) {
        packet[field::TYPE].copy_from_slice(&(self.kind as u32).to_be_bytes());
        packet[field::ID].copy_from_slice(&self.id.to_be_bytes());
        packet[field::SEC].copy_from_slice(&self.sec.to_le_bytes());
        packet[field::NSEC].copy_from_slice(&self.nsec.to_le_bytes());
    }
}

/// Copies a range of known length out of the header.
fn copy<const N: usize>(header: &[u8; HEADER_LEN], range: std::ops::Range<usize>) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[range]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The captured request of `spec/irm-tools.md` §15.
    #[test]
    fn vector_of_the_specification() {
        let bytes = [
            0, 0, 0, 0, 0, 0, 0, 0, 0xcd, 4, 0, 0, 0, 0, 0, 0, 0xf3, 0x63, 0x32, 0x2c, 0, 0, 0, 0,
        ];
        let ping = Ping::parse(&bytes).unwrap();
        assert_eq!(
            ping,
            Ping {
                kind: Kind::Request,
                id: 0,
                sec: 1229,
                nsec: 741_499_891
            }
        );
        let mut out = [0; HEADER_LEN];
        ping.emit(&mut out);
        assert_eq!(out, bytes);
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(id: u32, sec: u64, nsec: u64, reply: bool) {
            let kind = if reply { Kind::Reply } else { Kind::Request };
            let ping = Ping { kind, id, sec, nsec };
            let mut bytes = [0; HEADER_LEN];
            ping.emit(&mut bytes);
            prop_assert_eq!(Ping::parse(&bytes), Ok(ping));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Ping::parse(&bytes);
        }
    }
}
