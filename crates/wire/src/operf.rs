//! The messages of `operf`: one configuration, then numbered packets of the test's size.
//!
//! Layout (`spec/irm-tools.md` §12.3): both numbers are in the sender's host order, little-endian on
//! every machine the C tool runs on. The rest of a data packet is zero.

/// Bytes of the configuration, the first message on a flow.
pub const CONFIG_LEN: usize = 4;
/// Bytes of the sequence number at the start of a data packet.
pub const SEQUENCE_LEN: usize = 4;

/// What the server does with the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum TestType {
    /// Counts them.
    Uni = 0,
    /// Sends each back unchanged.
    Bi = 1,
}

/// Why a message is none of `operf`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperfError {
    /// A configuration has exactly [`CONFIG_LEN`] bytes.
    #[error("an operf configuration has {CONFIG_LEN} bytes, got {0}")]
    ConfigLength(usize),
    /// Neither of the test types.
    #[error("unknown operf test type {0}")]
    TestType(u32),
    /// A data packet has at least [`SEQUENCE_LEN`] bytes.
    #[error("an operf packet has at least {SEQUENCE_LEN} bytes, got {0}")]
    Short(usize),
}

impl TestType {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`OperfError::ConfigLength`], [`OperfError::TestType`].
    pub fn parse(message: &[u8]) -> Result<Self, OperfError> {
        let bytes: [u8; CONFIG_LEN] = message
            .try_into()
            .map_err(|_| OperfError::ConfigLength(message.len()))?;
        match u32::from_le_bytes(bytes) {
            0 => Ok(Self::Uni),
            1 => Ok(Self::Bi),
            other => Err(OperfError::TestType(other)),
        }
    }

    /// The configuration that asks for this test.
    #[must_use]
    pub fn emit(self) -> [u8; CONFIG_LEN] {
        (self as u32).to_le_bytes()
    }
}

/// The sequence number of a data packet; the first has 0, and after 2³² − 1 comes 0 again.
///
/// # Errors
/// [`OperfError::Short`].
pub fn sequence(packet: &[u8]) -> Result<u32, OperfError> {
    packet
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or(OperfError::Short(packet.len()))
}

/// Writes the sequence number at the start of a data packet; one too short for it stays as it is.
pub fn set_sequence(packet: &mut [u8], sequence: u32) {
    if let Some(bytes) = packet.first_chunk_mut::<SEQUENCE_LEN>() {
        *bytes = sequence.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The captured configurations of `spec/irm-tools.md` §15.
    #[test]
    fn vectors_of_the_specification() {
        assert_eq!(TestType::Uni.emit(), [0, 0, 0, 0]);
        assert_eq!(TestType::Bi.emit(), [1, 0, 0, 0]);
        assert_eq!(TestType::parse(&[0, 0, 0, 0]), Ok(TestType::Uni));
        assert_eq!(TestType::parse(&[1, 0, 0, 0]), Ok(TestType::Bi));
    }

    #[test]
    fn what_is_no_configuration() {
        assert_eq!(
            TestType::parse(&[0; 3]),
            Err(OperfError::ConfigLength(3)),
            "short"
        );
        assert_eq!(
            TestType::parse(&[0; 64]),
            Err(OperfError::ConfigLength(64)),
            "a data packet"
        );
        assert_eq!(
            TestType::parse(&[0, 0, 0, 1]),
            Err(OperfError::TestType(1 << 24)),
            "big-endian"
        );
    }

    proptest! {
        #[test]
        fn sequence_is_the_inverse_of_set_sequence(number: u32, length in 4..80_usize) {
            let mut packet = vec![0; length];
            set_sequence(&mut packet, number);
            prop_assert_eq!(sequence(&packet), Ok(number));
            prop_assert!(packet[SEQUENCE_LEN..].iter().all(|byte| *byte == 0));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = TestType::parse(&bytes);
            prop_assert_eq!(sequence(&bytes).is_ok(), bytes.len() >= SEQUENCE_LEN);
            set_sequence(&mut bytes, 7);
        }
    }
}
