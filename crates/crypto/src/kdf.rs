//! Key derivation: HKDF (RFC 5869) over any of the hashes (`spec/oap-crypto.md` §5).

use std::fmt;

use hkdf::GenericHkdf;
use hmac::SimpleHmac;
use sha2::Digest as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::algorithm::Hash;

/// Length of every derived key, bytes.
pub const KEY_LEN: usize = 32;
const DHE: &[u8] = b"o7s-ossl-dhe";
const ENCAP: &[u8] = b"o7s-ossl-encap";
const ROTATION: &[u8] = b"o7s-key-rotation";

/// A symmetric key of 32 bytes. Ciphers with shorter keys use its first bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// A key from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// A key from bytes of any length; none if there are not 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The key of a Diffie-Hellman exchange: `one` and `other` are the key exchange fields of the two
/// messages, in either order.
#[must_use]
pub fn derive_dh(hash: Option<Hash>, secret: &[u8], one: &[u8], other: &[u8]) -> Key {
    let (lower, higher) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    let salt = sha256(&[lower, higher]);
    hkdf(hash.unwrap_or(Hash::Sha256), secret, &salt, DHE)
}

/// The key of an encapsulation to `public`, the key exchange field or the DER of the static key.
#[must_use]
pub fn derive_kem(hash: Option<Hash>, secret: &[u8], public: &[u8]) -> Key {
    hkdf(
        hash.unwrap_or(Hash::Sha256),
        secret,
        &sha256(&[public]),
        ENCAP,
    )
}

/// The salt of all rotations of a flow: from its first key.
#[must_use]
pub fn rotation_salt(first: &Key) -> [u8; 32] {
    sha256(&[first.as_bytes()])
}

/// The key that follows `key`.
#[must_use]
pub fn rotated(key: &Key, salt: &[u8; 32]) -> Key {
    hkdf(Hash::Sha256, key.as_bytes(), salt, ROTATION)
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HKDF: extract and expand to 32 bytes.
#[must_use]
pub fn hkdf(hash: Hash, secret: &[u8], salt: &[u8], info: &[u8]) -> Key {
    macro_rules! with {
        ($hash:ty) => {{
            let mut key = Zeroizing::new([0; KEY_LEN]);
            let derived = GenericHkdf::<SimpleHmac<$hash>>::new(Some(salt), secret);
            // It can only fail for outputs of more than 255 blocks.
            let expanded = derived.expand(info, &mut *key);
            debug_assert!(expanded.is_ok());
            Key(*key)
        }};
    }
    match hash {
        Hash::Sha256 => with!(sha2::Sha256),
        Hash::Sha384 => with!(sha2::Sha384),
        Hash::Sha512 => with!(sha2::Sha512),
        Hash::Sha3_256 => with!(sha3::Sha3_256),
        Hash::Sha3_384 => with!(sha3::Sha3_384),
        Hash::Sha3_512 => with!(sha3::Sha3_512),
        Hash::Blake2b512 => with!(blake2::Blake2b512),
        Hash::Blake2s256 => with!(blake2::Blake2s256),
    }
}
