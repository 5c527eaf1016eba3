//! Keys and identifiers of the directory, and the distance between them (`spec/directory-enrollment.md` §5.1).

use std::fmt;

use crate::hash::NameHash;

/// Length of the longest key (SHA3-512), in bytes.
pub const MAX_KEY_LEN: usize = 64;

/// A key (the hash of a name) or the identifier of a member: as long as the layer's hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Zero beyond `len`.
    bytes: [u8; MAX_KEY_LEN],
    len: u8,
}

/// How far two keys are apart: their exclusive or, as a big-endian number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; MAX_KEY_LEN]);

impl Key {
    /// The key with these bytes; `None` for more than [`MAX_KEY_LEN`].
    #[must_use]
    pub fn from_bytes(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_KEY_LEN];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        let len = u8::try_from(from.len()).ok()?;
        Some(Self { bytes, len })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// How far `other`, of the same length, is from this key.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Distance {
        let mut distance = self.bytes;
        for (byte, other) in distance.iter_mut().zip(&other.bytes) {
            *byte ^= other;
        }
        Distance(distance)
    }

    /// The key at this distance, of the same length.
    #[must_use]
    pub fn at(&self, distance: &Distance) -> Self {
        let other = Self {
            bytes: distance.0,
            len: self.len,
        };
        Self {
            bytes: self.distance(&other).0,
            len: self.len,
        }
    }

    /// This key with the bits from number `from` on (0 is the most significant) replaced by those of `bits`,
    /// the first of them inverted: a key in the `from`th bucket around this one.
    #[must_use]
    pub fn in_bucket(&self, from: u32, bits: &Self) -> Self {
        let mut key = *self;
        let len = usize::from(self.len);
        let first = (from / 8) as usize;
        for at in first..len {
            let keep = if at == first {
                !(0xff_u8 >> (from % 8))
            } else {
                0
            };
            key.bytes[at] = (self.bytes[at] & keep) | (bits.bytes[at] & !keep);
        }
        if first < len {
            let mask = 0x80 >> (from % 8);
            key.bytes[first] = (key.bytes[first] & !mask) | (!self.bytes[first] & mask);
        }
        key
    }
}

impl Distance {
    /// How many leading bits the two keys have in common, at most 512.
    #[must_use]
    pub fn common_bits(&self) -> u32 {
        match self.0.iter().position(|&byte| byte != 0) {
            Some(at) => u32::try_from(at).unwrap_or(0) * 8 + self.0[at].leading_zeros(),
            None => 512,
        }
    }
}

impl TryFrom<&NameHash> for Key {
    type Error = ();

    fn try_from(hash: &NameHash) -> Result<Self, ()> {
        Self::from_bytes(hash.as_bytes()).ok_or(())
    }
}

impl From<&Key> for NameHash {
    fn from(key: &Key) -> Self {
        Self::from_bytes(key.as_bytes())
    }
}

/// The first four bytes in hexadecimal, as logs show hashes.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}
