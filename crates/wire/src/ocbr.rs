//! The message of `ocbr`: a packet of the test's size with a number that nobody needs to read.
//!
//! Layout (`spec/irm-tools.md` §12.4): the number is 64-bit, signed, in the sender's host order
//! (little-endian on every machine the C tool runs on). The rest is arbitrary; ours is zero. The
//! server counts packets and bytes and never answers.

/// Bytes of the sequence number at the start of a packet.
pub const SEQUENCE_LEN: usize = 8;

/// Writes the sequence number at the start of a packet; in a shorter one as much as fits, as C does.
pub fn set_sequence(packet: &mut [u8], sequence: i64) {
    for (byte, value) in packet.iter_mut().zip(sequence.to_le_bytes()) {
        *byte = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packet 2 of `spec/irm-tools.md` §15.
    #[test]
    fn vector_of_the_specification() {
        let mut packet = [0; 12];
        set_sequence(&mut packet, 2);
        assert_eq!(packet, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn only_the_first_bytes_change(number: i64, length in 0..20_usize) {
            let mut packet = vec![0xaa; length];
            set_sequence(&mut packet, number);
            let kept = length.min(SEQUENCE_LEN);
            prop_assert_eq!(&packet[..kept], &number.to_le_bytes()[..kept]);
            prop_assert!(packet[kept..].iter().all(|byte| *byte == 0xaa));
        }
    }
}
