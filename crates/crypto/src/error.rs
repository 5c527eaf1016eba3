//! Why a cryptographic operation could not be done.

/// Why a cryptographic operation could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The public key of the peer is no key of a known algorithm, or not well encoded.
    #[error("the key is none of the known key exchanges: {0}")]
    UnknownKey(String),
    /// The public key is of a known algorithm, but no secret may be agreed on with it.
    #[error("the {kex} key is not valid: {why}")]
    BadKey {
        /// Name of the key exchange.
        kex: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A ciphertext of the wrong length.
    #[error("a {kex} ciphertext has {expected} bytes, not {found}")]
    BadCiphertext {
        /// Name of the key exchange.
        kex: &'static str,
        /// Length that it should have.
        expected: usize,
        /// Length that it has.
        found: usize,
    },
    /// The operation does not exist for the algorithm, such as agreement with a KEM.
    #[error("{kex} has no {what}")]
    NoOperation {
        /// Name of the key exchange.
        kex: &'static str,
        /// The operation.
        what: &'static str,
    },
    /// A key file that cannot be used.
    #[error("no private or public key can be read: {0}")]
    KeyFile(String),
    /// The library failed, for want of memory or random numbers.
    #[error("the cryptographic library failed while it did: {0}")]
    Library(&'static str),
}
