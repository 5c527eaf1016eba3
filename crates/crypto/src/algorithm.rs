//! The algorithms: names in `enc.conf`, numbers on the wire, strength.
//!
//! The order of the variants, and so `Ord`, is the order of strength of `spec/oap-crypto.md` §3.5,
//! weakest first.

/// Cipher of packets (`spec/oap-crypto.md` §2.3, §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cipher {
    /// AES-128 in counter mode: no authentication.
    Aes128Ctr,
    /// AES-192 in counter mode: no authentication.
    Aes192Ctr,
    /// AES-256 in counter mode: no authentication.
    Aes256Ctr,
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-192-GCM.
    Aes192Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
}

/// Hash of key derivation, signatures and requests (`spec/oap-crypto.md` §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// BLAKE2s, 32 bytes.
    Blake2s256,
    /// SHA-256.
    Sha256,
    /// SHA3-256.
    Sha3_256,
    /// SHA-384.
    Sha384,
    /// SHA3-384.
    Sha3_384,
    /// BLAKE2b, 64 bytes.
    Blake2b512,
    /// SHA-512.
    Sha512,
    /// SHA3-512.
    Sha3_512,
}

/// Key exchange (`spec/oap-crypto.md` §4.1). It has no number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kex {
    /// Finite-field Diffie-Hellman, 2048 bits (RFC 7919).
    Ffdhe2048,
    /// ECDH on P-256.
    Prime256v1,
    /// X25519.
    X25519,
    /// Finite-field Diffie-Hellman, 3072 bits (RFC 7919).
    Ffdhe3072,
    /// ECDH on P-384.
    Secp384r1,
    /// Finite-field Diffie-Hellman, 4096 bits (RFC 7919).
    Ffdhe4096,
    /// X448.
    X448,
    /// ECDH on P-521.
    Secp521r1,
    /// ML-KEM-512 (FIPS 203).
    MlKem512,
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024 (FIPS 203).
    MlKem1024,
    /// ML-KEM-768 and X25519 together.
    X25519MlKem768,
    /// ML-KEM-1024 and X448 together.
    X448MlKem1024,
}

/// The name and number of each member of an algorithm family, in the order of the variants.
macro_rules! family {
    ($family:ident, $count:literal, [$($variant:ident = $name:literal),+ $(,)?]) => {
        impl $family {
            /// All of them, weakest first.
            pub const ALL: [Self; $count] = [$(Self::$variant),+];

            /// The name in `enc.conf`; case matters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// The one with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }

            /// Place in the order of strength, from 1.
            #[must_use]
            pub const fn rank(self) -> u8 {
                self as u8 + 1
            }
        }

        impl std::fmt::Display for $family {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

family!(
    Cipher,
    7,
    [
        Aes128Ctr = "aes-128-ctr",
        Aes192Ctr = "aes-192-ctr",
        Aes256Ctr = "aes-256-ctr",
        Aes128Gcm = "aes-128-gcm",
        Aes192Gcm = "aes-192-gcm",
        Aes256Gcm = "aes-256-gcm",
        ChaCha20Poly1305 = "chacha20-poly1305",
    ]
);

family!(
    Hash,
    8,
    [
        Blake2s256 = "blake2s256",
        Sha256 = "sha256",
        Sha3_256 = "sha3-256",
        Sha384 = "sha384",
        Sha3_384 = "sha3-384",
        Blake2b512 = "blake2b512",
        Sha512 = "sha512",
        Sha3_512 = "sha3-512",
    ]
);

family!(
    Kex,
    13,
    [
        Ffdhe2048 = "ffdhe2048",
        Prime256v1 = "prime256v1",
        X25519 = "X25519",
        Ffdhe3072 = "ffdhe3072",
        Secp384r1 = "secp384r1",
        Ffdhe4096 = "ffdhe4096",
        X448 = "X448",
        Secp521r1 = "secp521r1",
        MlKem512 = "ML-KEM-512",
        MlKem768 = "ML-KEM-768",
        MlKem1024 = "ML-KEM-1024",
        X25519MlKem768 = "X25519MLKEM768",
        X448MlKem1024 = "X448MLKEM1024",
    ]
);

impl Cipher {
    /// The number on the wire.
    #[must_use]
    pub const fn nid(self) -> u16 {
        match self {
            Self::Aes128Gcm => 895,
            Self::Aes192Gcm => 898,
            Self::Aes256Gcm => 901,
            Self::ChaCha20Poly1305 => 1018,
            Self::Aes128Ctr => 904,
            Self::Aes192Ctr => 905,
            Self::Aes256Ctr => 906,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn from_nid(nid: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.nid() == nid)
    }

    /// Length of the key in bits.
    #[must_use]
    pub const fn key_bits(self) -> u16 {
        match self {
            Self::Aes128Ctr | Self::Aes128Gcm => 128,
            Self::Aes192Ctr | Self::Aes192Gcm => 192,
            Self::Aes256Ctr | Self::Aes256Gcm | Self::ChaCha20Poly1305 => 256,
        }
    }

    /// Whether a packet that was changed on the way is found out.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        !matches!(self, Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr)
    }

    /// Bytes before the ciphertext.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_authenticated() { 12 } else { 16 }
    }

    /// Bytes after the ciphertext.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        if self.is_authenticated() { 16 } else { 0 }
    }

    /// Bytes by which a packet grows.
    #[must_use]
    pub const fn overhead(self) -> usize {
        self.iv_len() + self.tag_len()
    }
}

impl Hash {
    /// The number on the wire.
    #[must_use]
    pub const fn nid(self) -> u16 {
        match self {
            Self::Sha256 => 672,
            Self::Sha384 => 673,
            Self::Sha512 => 674,
            Self::Sha3_256 => 1097,
            Self::Sha3_384 => 1098,
            Self::Sha3_512 => 1099,
            Self::Blake2b512 => 1056,
            Self::Blake2s256 => 1057,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn from_nid(nid: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.nid() == nid)
    }

    /// The digest of a message: 32, 48 or 64 bytes.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        crate::sign::hash(self, message)
    }
}

impl Kex {
    /// Whether this build can do it: all can.
    #[must_use]
    pub const fn is_available(self) -> bool {
        true
    }

    /// Whether it is a key encapsulation, not a Diffie-Hellman exchange.
    #[must_use]
    pub const fn is_kem(self) -> bool {
        matches!(
            self,
            Self::MlKem512
                | Self::MlKem768
                | Self::MlKem1024
                | Self::X25519MlKem768
                | Self::X448MlKem1024
        )
    }

    /// Whether it joins a KEM and a curve; its keys travel raw (flag F).
    #[must_use]
    pub const fn is_hybrid(self) -> bool {
        matches!(self, Self::X25519MlKem768 | Self::X448MlKem1024)
    }
}

/// What a requested strength in bits stands for (`spec/api.md` B3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// Key exchange.
    pub kex: Kex,
    /// Cipher.
    pub cipher: Cipher,
    /// Hash of the key derivation.
    pub kdf: Hash,
}

impl Suite {
    /// The suite for `bits`, 1 to 256.
    #[must_use]
    pub const fn for_strength(bits: u16) -> Option<Self> {
        let (kex, cipher, kdf) = match bits {
            1..=128 => (Kex::Prime256v1, Cipher::Aes128Gcm, Hash::Sha3_256),
            129..=192 => (Kex::Secp384r1, Cipher::Aes192Gcm, Hash::Sha3_384),
            193..=256 => (Kex::Secp521r1, Cipher::Aes256Gcm, Hash::Sha3_512),
            _ => return None,
        };
        Some(Self { kex, cipher, kdf })
    }

    /// The stronger of each part.
    #[must_use]
    pub fn stronger(self, other: Self) -> Self {
        Self {
            kex: self.kex.max(other.kex),
            cipher: self.cipher.max(other.cipher),
            kdf: self.kdf.max(other.kdf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::from_nid(cipher.nid()), Some(cipher));
            assert_eq!(Cipher::from_name(cipher.name()), Some(cipher));
        }
        for hash in Hash::ALL {
            assert_eq!(Hash::from_nid(hash.nid()), Some(hash));
            assert_eq!(Hash::from_name(hash.name()), Some(hash));
        }
        // The number in the C header, which its library never uses.
        assert_eq!(Hash::from_nid(1096), None);
        assert_eq!(Kex::from_name("x25519"), None);
    }

    #[test]
    fn strength_is_the_order_and_the_stronger_part_wins() {
        assert!(Cipher::ALL.is_sorted() && Hash::ALL.is_sorted() && Kex::ALL.is_sorted());
        let weak = Suite::for_strength(1).unwrap();
        assert_eq!(weak, Suite::for_strength(128).unwrap());
        let other = Suite {
            kex: Kex::Ffdhe2048,
            cipher: Cipher::ChaCha20Poly1305,
            kdf: Hash::Sha256,
        };
        assert_eq!(
            weak.stronger(other),
            Suite {
                kex: Kex::Prime256v1,
                cipher: Cipher::ChaCha20Poly1305,
                kdf: Hash::Sha3_256
            }
        );
        assert_eq!(Suite::for_strength(0), None);
        assert_eq!(Suite::for_strength(257), None);
    }
}
