//! The link-state update, LSU: one directed link of the graph of a unicast layer (`spec/unicast.md` §4.1).
//!
//! The whole content of a packet on a management adjacency. The destination comes first:
//!
//! ```text
//!  0            8            16           24
//!  | d_addr     | s_addr     | seqno      |     each u64, big endian
//! ```

use std::{fmt, ops::Range};

use crate::address::Address;

/// Bytes of an update; a packet of another length is none.
pub const LSU_LEN: usize = 24;

mod field {
    use super::Range;

    pub(super) const DESTINATION: Range<usize> = 0..8;
    pub(super) const SOURCE: Range<usize> = 8..16;
    pub(super) const SEQNO: Range<usize> = 16..24;
}

/// The announcement of one directed link by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsu {
    /// The neighbour: the far end of the link.
    pub destination: Address,
    /// The node that announces, and owns, the link.
    pub source: Address,
    /// Number of the announcement; a higher one replaces a lower one.
    pub seqno: u64,
}

/// The packet has not [`LSU_LEN`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a link-state update has {LSU_LEN} bytes, got {0}")]
pub struct BadLength(pub usize);

impl Lsu {
    /// Reads a packet. Every value is allowed here; which links make sense is routing's business.
    ///
    /// # Errors
    /// [`BadLength`].
    pub fn parse(packet: &[u8]) -> Result<Self, BadLength> {
        let packet: &[u8; LSU_LEN] = packet.try_into().map_err(|_| BadLength(packet.len()))?;
        let number = |range: Range<usize>| {
            packet[range]
                .iter()
                .fold(0, |number, octet| number << 8 | u64::from(*octet))
        };
        Ok(Self {
            destination: number(field::DESTINATION).into(),
            source: number(field::SOURCE).into(),
            seqno: number(field::SEQNO),
        })
    }

    /// The packet.
    #[must_use]
    pub fn emit(&self) -> [u8; LSU_LEN] {
        let mut packet = [0; LSU_LEN];
        packet[field::DESTINATION].copy_from_slice(&self.destination.get().to_be_bytes());
        packet[field::SOURCE].copy_from_slice(&self.source.get().to_be_bytes());
        packet[field::SEQNO].copy_from_slice(&self.seqno.to_be_bytes());
        packet
    }
}

impl fmt::Display for Lsu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            destination,
            source,
            seqno,
        } = self;
        write!(f, "LSU {source} -> {destination} seqno {seqno}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `spec/unicast.md` §15.5.
    #[test]
    fn vector_of_the_specification() {
        let packet = [
            0, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 0, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        let lsu = Lsu::parse(&packet).unwrap();
        assert_eq!(
            lsu,
            Lsu {
                destination: Address::new(0x0d0c_0b0a),
                source: Address::new(0x0403_0201),
                seqno: 1
            }
        );
        assert_eq!(lsu.to_string(), "LSU 01.02.03.04 -> 0a.0b.0c.0d seqno 1");
        assert_eq!(lsu.emit(), packet);
    }

    #[test]
    fn only_24_octets_are_an_update() {
        for len in [0, 1, 23, 25, 48] {
            assert_eq!(Lsu::parse(&vec![1; len]), Err(BadLength(len)));
        }
    }

    proptest! {
        #[test]
        fn every_packet_of_24_octets_is_emitted_again(packet: [u8; LSU_LEN]) {
            prop_assert_eq!(Lsu::parse(&packet).unwrap().emit(), packet);
        }
    }
}
