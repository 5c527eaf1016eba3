//! The address of a member of a unicast layer (`spec/unicast.md` §9).
//!
//! One integer type for all places that carry an address: the data transfer header (4 octets, little
//! endian), link-state updates and directory values (8 octets, big endian), protobuf messages (varint).
//! Each protocol module converts at its edge; inside, nobody thinks of byte order.

use std::fmt;

/// Number of a member in a unicast layer. With the only address policy, *flat random*, a 32-bit number
/// other than 0; messages carry 64 bits, so values beyond 32 bits can arrive and are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(u64);

impl Address {
    /// 0: no member has it. What components without an address announce.
    pub const INVALID: Self = Self(0);

    /// The address with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether a member can have it: not 0, and of the 32 bits that the data transfer header carries.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0 && self.0 <= u32::MAX as u64
    }

    /// The number as the data transfer header carries it; `None` beyond 32 bits.
    #[must_use]
    pub fn to_u32(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }
}

impl From<u32> for Address {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl From<u64> for Address {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Octets in hexadecimal, the least significant first, separated by dots: 0x04030201 is `01.02.03.04`.
/// Four of them, or eight for a number beyond 32 bits.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.to_le_bytes();
        let shown = if self.0 > u32::MAX.into() { 8 } else { 4 };
        for (at, octet) in octets[..shown].iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_that_of_the_specification() {
        assert_eq!(Address::new(0x0403_0201).to_string(), "01.02.03.04");
        assert_eq!(Address::new(1 << 32).to_string(), "00.00.00.00.01.00.00.00");
        assert_eq!(format!("{:?}", Address::INVALID), "Address(00.00.00.00)");
    }

    #[test]
    fn members_have_32_bits_other_than_0() {
        assert!(Address::from(1_u32).is_valid() && Address::from(u32::MAX).is_valid());
        assert!(!Address::INVALID.is_valid() && !Address::new(1 << 32).is_valid());
        assert_eq!(Address::new(7).to_u32(), Some(7));
        assert_eq!(Address::new(1 << 32).to_u32(), None);
    }
}
