//! Signatures of OAP messages and certificates, and the keys that make and check them
//! (`spec/oap-crypto.md` §8.2).
//!
//! | key | made and checked by |
//! | --- | --- |
//! | ECDSA P-256, P-384, P-521 with every hash | `aws-lc-rs`, on the digest |
//! | RSA PKCS#1 v1.5 with SHA-2; RSA-PSS with SHA-2, making | `aws-lc-rs` |
//! | RSA with SHA-3; RSA-PSS, checking (any length of the salt) | `rsa` |
//! | Ed25519, ML-DSA-44, -65, -87 | `aws-lc-rs` |
//!
//! Ed448 and SLH-DSA are refused by name: their Rust implementations are pre-releases. So are
//! other curves, and encrypted private keys.

mod digest;
mod key;
mod verify;

pub use key::SigningKey;
pub use verify::VerifyingKey;

pub(crate) use digest::digest as hash;

use digest::Md;

use std::fmt;

use crate::algorithm::Hash;

/// What kind of key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
    /// ECDSA on P-521.
    EcP521,
    /// RSA, PKCS#1 v1.5.
    Rsa,
    /// RSA that may only be used with PSS.
    RsaPss,
    /// Ed25519.
    Ed25519,
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl KeyKind {
    /// The field's name of the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "ECDSA P-256",
            Self::EcP384 => "ECDSA P-384",
            Self::EcP521 => "ECDSA P-521",
            Self::Rsa => "RSA",
            Self::RsaPss => "RSA-PSS",
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// The digest that a message signed with such a key announces, when `configured` is that of
    /// `enc.conf`: none for EdDSA, which a C node would otherwise neither make nor check (§8.2).
    #[must_use]
    pub const fn announced(self, configured: Option<Hash>) -> Option<Hash> {
        match self {
            Self::Ed25519 => None,
            _ => configured,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block with a private key.
    #[error(
        "there is no private key in the file; expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"
    )]
    NoPrivateKey,
    /// The PEM block is broken.
    #[error("the PEM block of the private key is damaged: {0}")]
    Pem(crate::cert::PemError),
    /// The key needs a passphrase.
    #[error(
        "the private key is encrypted; store it without a passphrase (`openssl pkey -in … -out …`), readable by the daemon only"
    )]
    Encrypted,
    /// The DER inside is broken, or does not belong to the algorithm it names.
    #[error("the {0} key is malformed")]
    Malformed(&'static str),
    /// The algorithm is known and not available here.
    #[error("{0} keys are not available in this build; use ECDSA, RSA, Ed25519 or ML-DSA")]
    Unavailable(&'static str),
    /// The algorithm is not known.
    #[error("keys of the algorithm with OID {0} are not known; use ECDSA, RSA, Ed25519 or ML-DSA")]
    Unknown(String),
}

/// Why a signature was not made, or does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The signature is not that of this key over these bytes.
    #[error("the {0} signature does not verify")]
    Mismatch(KeyKind),
    /// The key cannot be used with this digest (§8.2).
    #[error("{kind} keys cannot sign with the digest {digest}; {advice}")]
    Digest {
        /// The key.
        kind: KeyKind,
        /// Name of the digest.
        digest: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A certificate names a signature algorithm that is not available, or not for its key.
    #[error("signatures of the kind {0} are not available")]
    Algorithm(&'static str),
    /// The library refused to sign.
    #[error("signing with the {0} key failed")]
    Failed(KeyKind),
}

impl SignError {
    fn digest(kind: KeyKind, digest: &'static str) -> Self {
        let advice = match kind {
            KeyKind::Ed25519 => "the message must announce no digest",
            KeyKind::Rsa | KeyKind::RsaPss => "set digest to a SHA-2 or SHA-3 hash in enc.conf",
            _ => "set another digest in enc.conf",
        };
        Self::Digest {
            kind,
            digest,
            advice,
        }
    }
}
