//! ML-KEM (FIPS 203): operations by `aws-lc-rs`; seeds, which that cannot import, are expanded by
//! `ml-kem`.

use aws_lc_rs::kem::{
    self, Algorithm, AlgorithmId, DecapsulationKey, EncapsulationKey, ML_KEM_512, ML_KEM_768,
    ML_KEM_1024,
};
use zeroize::Zeroizing;

use crate::{algorithm::Kex, error::CryptoError};

/// Lengths and algorithm of a parameter set.
pub(super) struct Set {
    pub(super) algorithm: &'static Algorithm<AlgorithmId>,
    /// Encapsulation key.
    pub(super) public_len: usize,
    /// Expanded decapsulation key.
    pub(super) private_len: usize,
    pub(super) ciphertext_len: usize,
    /// Offset of the encapsulation key in the expanded decapsulation key.
    pub(super) public_at: usize,
    /// The DER before the encapsulation key (`spec/oap-crypto.md` §4.2).
    pub(super) spki_head: [u8; 22],
}

const fn set(
    algorithm: &'static Algorithm<AlgorithmId>,
    k: usize,
    ciphertext_len: usize,
    spki_head: [u8; 22],
) -> Set {
    Set {
        algorithm,
        public_len: 384 * k + 32,
        private_len: 768 * k + 96,
        ciphertext_len,
        public_at: 384 * k,
        spki_head,
    }
}

const fn head(outer: [u8; 2], number: u8, bits: [u8; 2]) -> [u8; 22] {
    [
        0x30, 0x82, outer[0], outer[1], 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
        0x04, 0x04, number, 0x03, 0x82, bits[0], bits[1], 0x00,
    ]
}

static SET_512: Set = set(&ML_KEM_512, 2, 768, head([0x03, 0x32], 1, [0x03, 0x21]));
static SET_768: Set = set(&ML_KEM_768, 3, 1088, head([0x04, 0xb2], 2, [0x04, 0xa1]));
static SET_1024: Set = set(&ML_KEM_1024, 4, 1568, head([0x06, 0x32], 3, [0x06, 0x21]));

/// The parameter set of a key exchange, of its ML-KEM half for the hybrids.
pub(super) fn of(kex: Kex) -> Option<&'static Set> {
    Some(match kex {
        Kex::MlKem512 => &SET_512,
        Kex::MlKem768 | Kex::X25519MlKem768 => &SET_768,
        Kex::MlKem1024 | Kex::X448MlKem1024 => &SET_1024,
        _ => return None,
    })
}

impl Set {
    /// A new decapsulation key and its encapsulation key.
    pub(super) fn generate(&self) -> Result<(DecapsulationKey<AlgorithmId>, Vec<u8>), CryptoError> {
        let failed = |_| CryptoError::Library("make an ML-KEM key");
        let private = DecapsulationKey::generate(self.algorithm).map_err(failed)?;
        let public = private.encapsulation_key().map_err(failed)?;
        let public = public.key_bytes().map_err(failed)?.as_ref().to_vec();
        Ok((private, public))
    }

    /// A decapsulation key in its expanded form, and its encapsulation key.
    pub(super) fn import(
        &self,
        expanded: &[u8],
    ) -> Result<(DecapsulationKey<AlgorithmId>, Vec<u8>), CryptoError> {
        let bad = || CryptoError::KeyFile("an ML-KEM key of the wrong length".to_owned());
        let public = expanded
            .get(self.public_at..self.public_at + self.public_len)
            .filter(|_| expanded.len() == self.private_len)
            .ok_or_else(bad)?
            .to_vec();
        let private = DecapsulationKey::new(self.algorithm, expanded)
            .map_err(|error| CryptoError::KeyFile(format!("an invalid ML-KEM key ({error})")))?;
        Ok((private, public))
    }

    /// Ciphertext and secret for a raw encapsulation key.
    pub(super) fn encapsulate(
        &self,
        kex: Kex,
        public: &[u8],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), CryptoError> {
        let bad = |_| CryptoError::BadKey {
            kex: kex.name(),
            why: "its encapsulation key is malformed",
        };
        let key = EncapsulationKey::new(self.algorithm, public).map_err(bad)?;
        let (ciphertext, secret) = key
            .encapsulate()
            .map_err(|_| CryptoError::Library("encapsulate a secret"))?;
        Ok((
            ciphertext.as_ref().to_vec(),
            Zeroizing::new(secret.as_ref().to_vec()),
        ))
    }

    /// The secret in a ciphertext of the right length. A forged one gives another secret.
    pub(super) fn decapsulate(
        &self,
        private: &DecapsulationKey<AlgorithmId>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let secret = private
            .decapsulate(kem::Ciphertext::from(ciphertext))
            .map_err(|_| CryptoError::Library("decapsulate a secret"))?;
        Ok(Zeroizing::new(secret.as_ref().to_vec()))
    }
}

/// The expanded form of a seed of 64 bytes.
pub(super) fn expand(kex: Kex, seed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    #[allow(
        deprecated,
        reason = "the expanded form is what the other library takes"
    )]
    use ml_kem::ExpandedKeyEncoding as _;
    macro_rules! expanded {
        ($set:ty) => {{
            let seed = seed
                .try_into()
                .map_err(|_| CryptoError::KeyFile("an ML-KEM seed that has not 64 bytes".into()))?;
            #[allow(deprecated, reason = "as above")]
            let expanded = ml_kem::DecapsulationKey::<$set>::from_seed(seed).to_expanded_bytes();
            Ok(Zeroizing::new(expanded.to_vec()))
        }};
    }
    match kex {
        Kex::MlKem512 => expanded!(ml_kem::MlKem512),
        Kex::MlKem768 => expanded!(ml_kem::MlKem768),
        Kex::MlKem1024 => expanded!(ml_kem::MlKem1024),
        _ => Err(CryptoError::NoOperation {
            kex: kex.name(),
            what: "seed",
        }),
    }
}
