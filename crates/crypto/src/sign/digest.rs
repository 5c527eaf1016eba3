//! Digests of messages, including those that only old certificates use.

use aws_lc_rs::digest as lc;
use blake2::{Blake2b512, Blake2s256, Digest};

use crate::algorithm::Hash;

/// A digest in a signature: those of OAP, and two of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Md {
    /// SHA-1, in old certificates.
    Sha1,
    /// SHA-224, in certificates.
    Sha224,
    /// One that a message can announce.
    Oap(Hash),
}

impl Md {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Oap(hash) => hash.name(),
        }
    }

    pub(super) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => lc(&lc::SHA1_FOR_LEGACY_USE_ONLY, message),
            Self::Sha224 => lc(&lc::SHA224, message),
            Self::Oap(hash) => hash.digest(message),
        }
    }
}

/// Hashes `message`.
pub(crate) fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => lc(&lc::SHA256, message),
        Hash::Sha384 => lc(&lc::SHA384, message),
        Hash::Sha512 => lc(&lc::SHA512, message),
        Hash::Sha3_256 => lc(&lc::SHA3_256, message),
        Hash::Sha3_384 => lc(&lc::SHA3_384, message),
        Hash::Sha3_512 => lc(&lc::SHA3_512, message),
        Hash::Blake2b512 => Blake2b512::digest(message).to_vec(),
        Hash::Blake2s256 => Blake2s256::digest(message).to_vec(),
    }
}

fn lc(algorithm: &'static lc::Algorithm, message: &[u8]) -> Vec<u8> {
    lc::digest(algorithm, message).as_ref().to_vec()
}
