//! Directory hashes of names: what a layer stores and asks for instead of the name itself.
//!
//! The hash covers the bytes of the name without terminator (`spec/irm-tools.md` §4.2, §15). Each
//! layer has one algorithm; the numbers are those of the configuration messages (§3.1).

use std::{fmt, str::FromStr};

use md5::Md5;
use sha3::{Digest, Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// Directory hash algorithm of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum DirHash {
    /// SHA3-224, 28 bytes.
    Sha3_224 = 0,
    /// SHA3-256, 32 bytes; the default of every layer but UDP.
    #[default]
    Sha3_256 = 1,
    /// SHA3-384, 48 bytes.
    Sha3_384 = 2,
    /// SHA3-512, 64 bytes.
    Sha3_512 = 3,
    /// MD5, 16 bytes: of UDP layers, which have no choice.
    Md5 = 5,
}

/// All algorithms that a layer may have, in the order of their numbers.
pub const ALL: [DirHash; 5] = [
    DirHash::Sha3_224,
    DirHash::Sha3_256,
    DirHash::Sha3_384,
    DirHash::Sha3_512,
    DirHash::Md5,
];

impl DirHash {
    /// Those that a user may choose.
    pub const CHOICE: [Self; 4] = [
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    /// The words for them, in the same order.
    pub const CHOICE_WORDS: &[&str] = &[
        Self::CHOICE[0].as_str(),
        Self::CHOICE[1].as_str(),
        Self::CHOICE[2].as_str(),
        Self::CHOICE[3].as_str(),
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha3_224 => "SHA3_224",
            Self::Sha3_256 => "SHA3_256",
            Self::Sha3_384 => "SHA3_384",
            Self::Sha3_512 => "SHA3_512",
            Self::Md5 => "MD5",
        }
    }

    /// The algorithm with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        ALL.into_iter().find(|hash| *hash as u32 == number)
    }

    /// Length of a hash in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no hash is empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Sha3_224 => 28,
            Self::Sha3_256 => 32,
            Self::Sha3_384 => 48,
            Self::Sha3_512 => 64,
            Self::Md5 => 16,
        }
    }

    /// Hashes the bytes of a name.
    #[must_use]
    pub fn digest(self, name: &[u8]) -> NameHash {
        let bytes = match self {
            Self::Sha3_224 => Sha3_224::digest(name).as_slice().into(),
            Self::Sha3_256 => Sha3_256::digest(name).as_slice().into(),
            Self::Sha3_384 => Sha3_384::digest(name).as_slice().into(),
            Self::Sha3_512 => Sha3_512::digest(name).as_slice().into(),
            Self::Md5 => Md5::digest(name).as_slice().into(),
        };
        NameHash(bytes)
    }
}

impl fmt::Display for DirHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no directory hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown directory hash {0:?}; use SHA3_224, SHA3_256, SHA3_384 or SHA3_512")]
pub struct UnknownHash(pub String);

/// The words that a user may choose; MD5 is not among them.
impl FromStr for DirHash {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<Self, UnknownHash> {
        Self::CHOICE
            .into_iter()
            .find(|hash| hash.as_str() == text)
            .ok_or_else(|| UnknownHash(text.to_owned()))
    }
}

/// The hash of a name; its length is that of the layer's algorithm.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameHash(Box<[u8]>);

impl NameHash {
    /// Takes a hash as received; the layer checks the length against its algorithm.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The first four bytes in hexadecimal, as logs show hashes (`spec/irm-tools.md` §11).
impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `spec/irm-tools.md` §15.
    #[test]
    fn vectors_of_the_specification() {
        let hex = |hash: &NameHash| {
            hash.as_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            hex(&DirHash::Sha3_256.digest(b"oecho")),
            "85dc67719220174872105ef3e5cdddd760e6de7fea2f80b1eef7ee8066d9239c"
        );
        assert_eq!(
            hex(&DirHash::Sha3_224.digest(b"oping")),
            "e098ae7fb0190561dffca699eccb4dcf605f900ee2fe18c71b5efee7"
        );
        assert_eq!(DirHash::Sha3_256.digest(b"fb").to_string(), "47aeba08");
        assert_eq!(
            hex(&DirHash::Md5.digest(b"oping")),
            "7862c6fec5ecaef4aa2e3934725e23b3"
        );
    }

    #[test]
    fn every_algorithm_has_its_length_number_and_text() {
        for hash in ALL {
            assert_eq!(hash.digest(b"n").as_bytes().len(), hash.len());
            assert_eq!(DirHash::from_number(hash as u32), Some(hash));
            assert_eq!(
                hash.to_string().parse::<DirHash>().is_ok(),
                DirHash::CHOICE.contains(&hash)
            );
        }
        assert_eq!(DirHash::from_number(5), Some(DirHash::Md5));
        assert_eq!(
            DirHash::Md5.digest(b"n").as_bytes().len(),
            DirHash::Md5.len()
        );
        assert_eq!(DirHash::from_number(4), None);
        assert!("MD5".parse::<DirHash>().is_err());
        assert!("sha3_256".parse::<DirHash>().is_err());
    }
}
