//! The hello of a unicast member: a sign of life on a data adjacency, which 0.23 does not have.
//!
//! A DT packet to the invalid address with one hop left (`spec/unicast.md` §2.4, R1 and R2): a member that
//! does not know hellos counts the hop down and drops the packet without a word, and no member forwards it.
//! The payload, which later versions may make longer:
//!
//! ```text
//!  0         1    2           4
//!  +---------+----+-----------+
//!  | version | 0  | period    |     period: u16 big endian, ms
//!  +---------+----+-----------+
//! ```

use std::time::Duration;

use crate::{
    address::Address,
    dt::{DtError, Eid, QosCube, Repr, Sizes},
};

/// EID of hellos. Its low half is one that 0.23 would look up without harm, if it ever did.
pub const EID: Eid = Eid(0x4f37_7348_0000_0040);

/// The version that this library sends.
const VERSION: u8 = 1;
/// Bytes of the payload.
const LEN: usize = 4;

/// A sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The next one follows within this time; whole milliseconds, at most 65.535 s.
    pub period: Duration,
}

impl Hello {
    /// Reads the payload of a packet that is a hello by its header; none if it is not.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [version, _, high, low, ..] = *payload else {
            return None;
        };
        let period = u16::from_be_bytes([high, low]);
        (version >= VERSION && period > 0).then_some(Self {
            period: Duration::from_millis(period.into()),
        })
    }

    /// The whole packet.
    ///
    /// # Errors
    /// None with possible sizes.
    pub fn to_packet(self, sizes: Sizes) -> Result<Vec<u8>, DtError> {
        let header = Repr {
            destination: Address::INVALID,
            cube: QosCube::BestEffort.number(),
            ttl: 1,
            ecn: 0,
            eid: EID,
        };
        let mut packet = vec![0; sizes.header_len() + LEN];
        header.emit(&mut packet, sizes)?;
        let period = u16::try_from(self.period.as_millis()).unwrap_or(u16::MAX);
        let [high, low] = period.to_be_bytes();
        packet[sizes.header_len()..].copy_from_slice(&[VERSION, 0, high, low]);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_that_0_23_drops() {
        let hello = Hello {
            period: Duration::from_millis(500),
        };
        let packet = hello.to_packet(Sizes::DEFAULT).unwrap();
        assert_eq!(packet[..4], [0; 4], "nobody's address");
        assert_eq!(packet[5], 1, "no hop left after this one");
        assert_eq!(packet[7..15], [0x40, 0, 0, 0, 0x48, 0x73, 0x37, 0x4f]);
        assert_eq!(packet[15..], [1, 0, 1, 244]);
        assert_eq!(Hello::parse(&packet[15..]), Some(hello));
    }

    #[test]
    fn later_versions_may_be_longer_and_nonsense_is_none() {
        let period = Duration::from_millis(1);
        assert_eq!(Hello::parse(&[2, 9, 0, 1, 7, 7]), Some(Hello { period }));
        for bad in [&[][..], &[1, 0, 0], &[0, 0, 0, 1], &[1, 0, 0, 0]] {
            assert_eq!(Hello::parse(bad), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 1_u16..) {
            let hello = Hello { period: Duration::from_millis(ms.into()) };
            let packet = hello.to_packet(Sizes::DEFAULT).unwrap();
            prop_assert_eq!(Hello::parse(&packet[15..]), Some(hello));
        }
    }
}
