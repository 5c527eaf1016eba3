//! Key exchange: ephemeral and static keys, their form on the wire, agreement and encapsulation
//! (`spec/oap-crypto.md` §4).

mod der;
mod ffdhe;
mod mlkem;

use std::fmt;

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey, X25519},
    encoding::{AsDer as _, PublicKeyX509Der},
    kem::{AlgorithmId, DecapsulationKey},
};
use pkcs8::PrivateKeyInfoRef;
use x509_cert::{
    der::{Decode as _, Encode as _, asn1::ObjectIdentifier},
    spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
};
use zeroize::Zeroizing;

use self::ffdhe::Group;
use crate::{algorithm::Kex, cert::pem, error::CryptoError};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const OID_X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const OID_X448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.111");
const OID_DH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1");
const ML_KEM_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1");
const ML_KEM_768: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2");
const ML_KEM_1024: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3");

/// The DER before the 56 bytes of an X448 key.
const X448_HEAD: [u8; 12] = [
    0x30, 0x42, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6f, 0x03, 0x39, 0x00,
];
const X448_LEN: usize = 56;
const X25519_LEN: usize = 32;
/// The base point of Curve448.
const X448_BASE: [u8; X448_LEN] = {
    let mut point = [0; X448_LEN];
    point[0] = 5;
    point
};

/// What two ends share before key derivation. Overwritten when dropped.
pub type RawSecret = Zeroizing<Vec<u8>>;

/// A private key with its public half.
pub struct PrivateKey {
    kex: Kex,
    secret: Secret,
    /// As in the key exchange field.
    public: Vec<u8>,
}

enum Secret {
    Curve(agreement::PrivateKey),
    X448(Zeroizing<[u8; X448_LEN]>),
    Field(&'static Group, Zeroizing<Vec<u8>>),
    MlKem(DecapsulationKey<AlgorithmId>),
    Hybrid(DecapsulationKey<AlgorithmId>, Box<Secret>),
}

/// The public key of the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kex: Kex,
    /// As received: this enters the key derivation.
    field: Vec<u8>,
    /// The key without its wrapping.
    raw: Vec<u8>,
}

/// The curve that the parameters of an EC key name.
fn curve_of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Kex> {
    match algorithm.parameters_oid() {
        Ok(P256) => Some(Kex::Prime256v1),
        Ok(P384) => Some(Kex::Secp384r1),
        Ok(P521) => Some(Kex::Secp521r1),
        _ => None,
    }
}

/// The group of RFC 7919 that the parameters of a DH key are.
fn group_of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<&'static Group> {
    let parameters = algorithm.parameters?.to_der().ok()?;
    let (prime, generator) = der::dh_parameters(&parameters)?;
    Group::with_prime(&prime, &generator)
}

fn curve(kex: Kex) -> Option<&'static agreement::Algorithm> {
    Some(match kex {
        Kex::Prime256v1 => &ECDH_P256,
        Kex::Secp384r1 => &ECDH_P384,
        Kex::Secp521r1 => &ECDH_P521,
        Kex::X25519 => &X25519,
        _ => return None,
    })
}

/// The curve in a hybrid, and the length of its keys.
fn hybrid_curve(kex: Kex) -> Option<(Kex, usize)> {
    match kex {
        Kex::X25519MlKem768 => Some((Kex::X25519, X25519_LEN)),
        Kex::X448MlKem1024 => Some((Kex::X448, X448_LEN)),
        _ => None,
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// The library cannot make one.
    pub fn generate(kex: Kex) -> Result<Self, CryptoError> {
        if let Some((curve, _)) = hybrid_curve(kex) {
            let set = mlkem::of(kex).ok_or(no(kex, "keys"))?;
            let (private, public) = set.generate()?;
            return Ok(Self::hybrid(kex, private, &public, Self::generate(curve)?));
        }
        if let Some(set) = mlkem::of(kex) {
            let (private, public) = set.generate()?;
            return Ok(Self {
                kex,
                secret: Secret::MlKem(private),
                public: [&set.spki_head[..], &public].concat(),
            });
        }
        if let Some(group) = Group::of(kex) {
            return Ok(Self::field(group, ffdhe::exponent()?));
        }
        if let Some(algorithm) = curve(kex) {
            let key = agreement::PrivateKey::generate(algorithm)
                .map_err(|_| CryptoError::Library("make a key pair"))?;
            return Self::on_curve(kex, key);
        }
        let mut scalar = Zeroizing::new([0; X448_LEN]);
        getrandom::fill(&mut *scalar).map_err(|_| CryptoError::Library("get random numbers"))?;
        Ok(Self::x448(scalar))
    }

    fn on_curve(kex: Kex, key: agreement::PrivateKey) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::Library("encode a public key");
        let public = key.compute_public_key().map_err(failed)?;
        let der = public.as_der().map_err(failed)?;
        let der: PublicKeyX509Der<'_> = der;
        Ok(Self {
            kex,
            public: der.as_ref().to_vec(),
            secret: Secret::Curve(key),
        })
    }

    fn x448(scalar: Zeroizing<[u8; X448_LEN]>) -> Self {
        let public = x448::x448_unchecked(*scalar, X448_BASE);
        Self {
            kex: Kex::X448,
            secret: Secret::X448(scalar),
            public: [&X448_HEAD[..], &public].concat(),
        }
    }

    fn field(group: &'static Group, exponent: Zeroizing<Vec<u8>>) -> Self {
        Self {
            kex: group.kex(),
            public: group.public(&exponent),
            secret: Secret::Field(group, exponent),
        }
    }

    fn hybrid(
        kex: Kex,
        private: DecapsulationKey<AlgorithmId>,
        public: &[u8],
        curve: Self,
    ) -> Self {
        let raw = unwrapped(curve.kex, &curve.public);
        Self {
            kex,
            public: [public, raw].concat(),
            secret: Secret::Hybrid(private, Box::new(curve.secret)),
        }
    }

    /// A key in PKCS#8 form, of any of the algorithms but the hybrids.
    ///
    /// # Errors
    /// [`CryptoError::KeyFile`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        let bad = |why: &str| CryptoError::KeyFile(why.to_owned());
        let info = PrivateKeyInfoRef::from_der(der).map_err(|error| bad(&error.to_string()))?;
        let octets = info.private_key.as_bytes();
        let oid = info.algorithm.oid;
        let set = [
            (ML_KEM_512, Kex::MlKem512),
            (ML_KEM_768, Kex::MlKem768),
            (ML_KEM_1024, Kex::MlKem1024),
        ];
        if let Some((_, kex)) = set.iter().find(|(number, _)| *number == oid) {
            let parts = der::ml_kem_private(octets);
            let parts = parts.ok_or_else(|| bad("a malformed ML-KEM key"))?;
            return match (parts.seed, parts.expanded) {
                (_, Some(expanded)) => Self::ml_kem(*kex, expanded),
                (Some(seed), None) => Self::ml_kem_from_seed(*kex, seed),
                (None, None) => Err(bad("an empty ML-KEM key")),
            };
        }
        match oid {
            EC => {
                let kex = curve_of(&info.algorithm)
                    .ok_or_else(|| bad("an elliptic curve other than P-256, P-384, P-521"))?;
                let algorithm = curve(kex).ok_or(no(kex, "keys"))?;
                let key = agreement::PrivateKey::from_private_key_der(algorithm, der)
                    .map_err(|error| bad(&error.to_string()))?;
                Self::on_curve(kex, key)
            }
            OID_X25519 => {
                let seed = der::whole_octets(octets).unwrap_or_default();
                Self::x25519(seed)
            }
            OID_X448 => {
                let scalar = der::whole_octets(octets)
                    .and_then(|scalar| <[u8; X448_LEN]>::try_from(scalar).ok())
                    .ok_or_else(|| bad("an X448 key that has not 56 bytes"))?;
                Ok(Self::x448(Zeroizing::new(scalar)))
            }
            OID_DH => {
                let group = group_of(&info.algorithm)
                    .ok_or_else(|| bad("a DH key outside of the groups of RFC 7919"))?;
                let exponent = der::whole_integer(octets)
                    .ok_or_else(|| bad("a malformed DH private value"))?;
                Ok(Self::field(group, Zeroizing::new(exponent.to_vec())))
            }
            other => Err(bad(&format!("a key of the unknown algorithm {other}"))),
        }
    }

    fn x25519(seed: &[u8]) -> Result<Self, CryptoError> {
        let key = agreement::PrivateKey::from_private_key(&X25519, seed)
            .map_err(|error| CryptoError::KeyFile(error.to_string()))?;
        Self::on_curve(Kex::X25519, key)
    }

    fn ml_kem(kex: Kex, expanded: &[u8]) -> Result<Self, CryptoError> {
        let set = mlkem::of(kex).ok_or(no(kex, "expanded key"))?;
        let (private, public) = set.import(expanded)?;
        Ok(Self {
            kex,
            secret: Secret::MlKem(private),
            public: [&set.spki_head[..], &public].concat(),
        })
    }

    /// A pure ML-KEM key from its seed of 64 bytes.
    ///
    /// # Errors
    /// [`CryptoError::KeyFile`], [`CryptoError::NoOperation`].
    pub fn ml_kem_from_seed(kex: Kex, seed: &[u8]) -> Result<Self, CryptoError> {
        Self::ml_kem(kex, &mlkem::expand(kex, seed)?)
    }

    /// The raw private key file of a hybrid: 2432 or 3224 bytes (`spec/oap-crypto.md` §4.3, §4.5).
    ///
    /// # Errors
    /// [`CryptoError::KeyFile`].
    pub fn from_raw_hybrid(bytes: &[u8]) -> Result<Self, CryptoError> {
        for kex in [Kex::X25519MlKem768, Kex::X448MlKem1024] {
            let (Some(set), Some((curve, length))) = (mlkem::of(kex), hybrid_curve(kex)) else {
                continue;
            };
            if bytes.len() != set.private_len + length {
                continue;
            }
            let (expanded, scalar) = bytes.split_at(set.private_len);
            let (private, public) = set.import(expanded)?;
            let curve = match curve {
                Kex::X25519 => Self::x25519(scalar)?,
                _ => {
                    let scalar = <[u8; X448_LEN]>::try_from(scalar)
                        .map_err(|_| CryptoError::KeyFile("an X448 key too short".to_owned()))?;
                    Self::x448(Zeroizing::new(scalar))
                }
            };
            return Ok(Self::hybrid(kex, private, &public, curve));
        }
        Err(CryptoError::KeyFile(format!(
            "a raw hybrid key has 2432 bytes (X25519MLKEM768) or 3224 (X448MLKEM1024), not {}",
            bytes.len()
        )))
    }

    /// The first private key in a PEM file (PKCS#8).
    ///
    /// # Errors
    /// [`CryptoError::KeyFile`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CryptoError> {
        let der = block(text, "PRIVATE KEY")?;
        Self::from_pkcs8(&der)
    }

    /// The key exchange.
    #[must_use]
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// The public half as in the key exchange field of a message.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with the holder of `peer`.
    ///
    /// # Errors
    /// Another algorithm; a point that is not on the curve or of small order.
    pub fn agree(&self, peer: &PublicKey) -> Result<RawSecret, CryptoError> {
        if self.kex != peer.kex {
            return Err(CryptoError::BadKey {
                kex: peer.kex.name(),
                why: "the own key is of another algorithm",
            });
        }
        if self.kex.is_kem() {
            return Err(no(self.kex, "key agreement"));
        }
        self.secret.agree(self.kex, &peer.raw)
    }

    /// The secret in a ciphertext.
    ///
    /// # Errors
    /// No KEM, or a ciphertext of the wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<RawSecret, CryptoError> {
        let set = mlkem::of(self.kex).ok_or(no(self.kex, "decapsulation"))?;
        let own = hybrid_curve(self.kex);
        let expected = set.ciphertext_len + own.map_or(0, |(_, length)| length);
        if ciphertext.len() != expected {
            return Err(CryptoError::BadCiphertext {
                kex: self.kex.name(),
                expected,
                found: ciphertext.len(),
            });
        }
        let (first, point) = ciphertext.split_at(set.ciphertext_len);
        match (&self.secret, own) {
            (Secret::MlKem(private), None) => set.decapsulate(private, first),
            (Secret::Hybrid(private, curve), Some((kex, _))) => {
                let secret = set.decapsulate(private, first)?;
                Ok(joined(&secret, &curve.agree(kex, point)?))
            }
            _ => Err(no(self.kex, "decapsulation")),
        }
    }
}

impl Secret {
    /// Diffie-Hellman with a key without its wrapping.
    fn agree(&self, kex: Kex, peer: &[u8]) -> Result<RawSecret, CryptoError> {
        let bad = |why| CryptoError::BadKey {
            kex: kex.name(),
            why,
        };
        match self {
            Self::Curve(key) => {
                let peer = UnparsedPublicKey::new(key.algorithm(), peer);
                agreement::agree(
                    key,
                    peer,
                    bad("it is no point of the curve, or one of small order"),
                    |secret| Ok(Zeroizing::new(secret.to_vec())),
                )
            }
            Self::X448(scalar) => {
                let point =
                    <[u8; X448_LEN]>::try_from(peer).map_err(|_| bad("it has not 56 bytes"))?;
                let secret = x448::x448(**scalar, point).map(Zeroizing::new);
                let secret = secret.filter(|secret| secret.iter().any(|byte| *byte != 0));
                Ok(Zeroizing::new(
                    secret.ok_or(bad("it is a point of small order"))?.to_vec(),
                ))
            }
            Self::Field(group, exponent) => group.agree(exponent, peer),
            Self::MlKem(_) | Self::Hybrid(..) => Err(no(kex, "key agreement")),
        }
    }
}

impl PublicKey {
    /// Recognises the key in a key exchange field; `raw` is flag F (§2.2, §3.5 rule 3).
    ///
    /// # Errors
    /// No known algorithm, or an encoding that no peer makes.
    pub fn from_wire(raw: bool, field: &[u8]) -> Result<Self, CryptoError> {
        let key = |kex, raw: &[u8]| Self {
            kex,
            field: field.to_vec(),
            raw: raw.to_vec(),
        };
        if raw {
            return match field.len() {
                1216 => Ok(key(Kex::X25519MlKem768, field)),
                1624 => Ok(key(Kex::X448MlKem1024, field)),
                length => Err(CryptoError::UnknownKey(format!(
                    "a raw hybrid key has 1216 or 1624 bytes, not {length}"
                ))),
            };
        }
        let unknown = |why: &str| CryptoError::UnknownKey(why.to_owned());
        let spki = SubjectPublicKeyInfoRef::from_der(field)
            .map_err(|error| CryptoError::UnknownKey(error.to_string()))?;
        let bits = spki
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| unknown("a key of broken bytes"))?;
        let kex = match spki.algorithm.oid {
            EC => curve_of(&spki.algorithm)
                .ok_or_else(|| unknown("its curve is none of P-256, P-384, P-521"))?,
            OID_X25519 => Kex::X25519,
            OID_X448 => Kex::X448,
            ML_KEM_512 => Kex::MlKem512,
            ML_KEM_768 => Kex::MlKem768,
            ML_KEM_1024 => Kex::MlKem1024,
            OID_DH => {
                let group = group_of(&spki.algorithm)
                    .ok_or_else(|| unknown("its DH group is none of ffdhe2048, 3072, 4096"))?;
                let y =
                    der::whole_integer(bits).ok_or_else(|| unknown("its DH value is no number"))?;
                group.check(y)?;
                return Ok(key(group.kex(), y));
            }
            other => return Err(unknown(&format!("its algorithm is {other}"))),
        };
        let formed = match kex {
            Kex::Prime256v1 => is_point(bits, 32),
            Kex::Secp384r1 => is_point(bits, 48),
            Kex::Secp521r1 => is_point(bits, 66),
            Kex::X25519 => bits.len() == X25519_LEN,
            Kex::X448 => bits.len() == X448_LEN,
            kem => mlkem::of(kem).is_some_and(|set| bits.len() == set.public_len),
        };
        if !formed {
            return Err(CryptoError::BadKey {
                kex: kex.name(),
                why: "it has the wrong length",
            });
        }
        Ok(key(kex, bits))
    }

    /// The first public key in a PEM file.
    ///
    /// # Errors
    /// [`CryptoError::KeyFile`], or as [`PublicKey::from_wire`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CryptoError> {
        let der = block(text, "PUBLIC KEY")?;
        Self::from_wire(false, &der)
    }

    /// The key exchange.
    #[must_use]
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// The key exchange field as it was received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.field
    }

    /// A ciphertext for the holder of the key, and the secret in it.
    ///
    /// # Errors
    /// No KEM, or a malformed key.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, RawSecret), CryptoError> {
        let set = mlkem::of(self.kex).ok_or(no(self.kex, "encapsulation"))?;
        let Some((kex, _)) = hybrid_curve(self.kex) else {
            return set.encapsulate(self.kex, &self.raw);
        };
        let (public, point) = self
            .raw
            .split_at_checked(set.public_len)
            .ok_or(no(self.kex, "encapsulation to such a key"))?;
        let (mut ciphertext, secret) = set.encapsulate(self.kex, public)?;
        // A new curve key for each encapsulation (§4.3).
        let ephemeral = PrivateKey::generate(kex)?;
        ciphertext.extend_from_slice(unwrapped(kex, &ephemeral.public));
        let secret = joined(&secret, &ephemeral.secret.agree(kex, point)?);
        Ok((ciphertext, secret))
    }
}

/// Whether this has the form of a point, whole or compressed, with coordinates of `length` bytes.
fn is_point(bytes: &[u8], length: usize) -> bool {
    match bytes.first() {
        Some(4) => bytes.len() == 1 + 2 * length,
        Some(2 | 3) => bytes.len() == 1 + length,
        _ => false,
    }
}

/// Two secrets as one. A vector that grows would leave a copy behind.
fn joined(first: &[u8], second: &[u8]) -> RawSecret {
    Zeroizing::new([first, second].concat())
}

/// The bytes of an X25519 or X448 key behind their DER.
fn unwrapped(kex: Kex, public: &[u8]) -> &[u8] {
    let length = if kex == Kex::X448 {
        X448_LEN
    } else {
        X25519_LEN
    };
    &public[public.len().saturating_sub(length)..]
}

fn no(kex: Kex, what: &'static str) -> CryptoError {
    CryptoError::NoOperation {
        kex: kex.name(),
        what,
    }
}

/// The first block with this label in a PEM file.
fn block(text: &[u8], label: &'static str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    match pem::first_block(text, &[label]) {
        Ok(Some((_, der))) => Ok(der),
        Ok(None) => Err(CryptoError::KeyFile(format!(
            "the file has no block -----BEGIN {label}-----"
        ))),
        Err(error) => Err(CryptoError::KeyFile(error.to_string())),
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("kex", &self.kex)
            .finish_non_exhaustive()
    }
}
