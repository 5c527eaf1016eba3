//! Private keys that sign.

use std::fmt;

use aws_lc_rs::{
    digest as lc,
    rand::SystemRandom,
    signature::{
        self as lcs, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, PqdsaKeyPair,
        PqdsaSigningAlgorithm, RsaKeyPair,
    },
};
use pkcs8::{
    AssociatedOid, ObjectIdentifier, PrivateKeyInfoRef,
    der::{Decode, asn1::OctetStringRef},
};
use rsa::{
    pkcs1::DecodeRsaPrivateKey,
    signature::{RandomizedSigner, SignatureEncoding},
};
use sha3::{Sha3_256, Sha3_384, Sha3_512};
use zeroize::Zeroizing;

use super::{KeyError, KeyKind, Md, SignError, verify::oid};
use crate::{algorithm::Hash, cert::pem};

/// A private key that signs. The libraries wipe it from memory when it is dropped; `Debug` shows
/// its kind only.
pub struct SigningKey {
    kind: KeyKind,
    inner: Inner,
}

enum Inner {
    Ec(EcdsaKeyPair),
    /// The pair, and PKCS#1 DER for the hashes that the first library lacks.
    Rsa(Box<RsaKeyPair>, Zeroizing<Vec<u8>>),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, …)", self.kind)
    }
}

impl SigningKey {
    /// The first private key of a PEM file: PKCS#8, SEC1 or PKCS#1 (§9.2).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(file: &[u8]) -> Result<Self, KeyError> {
        const LABELS: [&str; 4] = [
            "PRIVATE KEY",
            "EC PRIVATE KEY",
            "RSA PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
        ];
        let (label, der) = match pem::first_block(file, &LABELS) {
            Ok(Some(block)) => block,
            Ok(None) => return Err(KeyError::NoPrivateKey),
            Err(pem::PemError::Encrypted) => return Err(KeyError::Encrypted),
            Err(error) => return Err(KeyError::Pem(error)),
        };
        match label {
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            "EC PRIVATE KEY" => Self::from_sec1_der(&der),
            "RSA PRIVATE KEY" => rsa_pair(&der, KeyKind::Rsa),
            _ => Self::from_pkcs8_der(&der),
        }
    }

    /// A private key in PKCS#8 DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let info =
            PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed("PKCS#8 private"))?;
        match info.algorithm.oid {
            oid::EC => {
                let curve = info
                    .algorithm
                    .parameters_oid()
                    .map_err(|_| KeyError::Malformed("EC private"))?;
                let (kind, algorithm) = curve_algorithm(curve)?;
                ec_pair(kind, algorithm, der)
            }
            oid::RSA => rsa_pair(info.private_key.as_bytes(), KeyKind::Rsa),
            oid::RSA_PSS => rsa_pair(info.private_key.as_bytes(), KeyKind::RsaPss),
            oid::ED25519 => {
                // The seed is an OCTET STRING within the OCTET STRING. A public key that some
                // writers add is not needed: the pair derives it.
                let seed = <&OctetStringRef>::from_der(info.private_key.as_bytes())
                    .map_err(|_| KeyError::Malformed("Ed25519 private"))?;
                let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_bytes())
                    .map_err(|_| KeyError::Malformed("Ed25519 private"))?;
                Ok(Self {
                    kind: KeyKind::Ed25519,
                    inner: Inner::Ed25519(pair),
                })
            }
            oid::ML_DSA_44 => ml_dsa_pair(KeyKind::MlDsa44, &lcs::ML_DSA_44_SIGNING, der),
            oid::ML_DSA_65 => ml_dsa_pair(KeyKind::MlDsa65, &lcs::ML_DSA_65_SIGNING, der),
            oid::ML_DSA_87 => ml_dsa_pair(KeyKind::MlDsa87, &lcs::ML_DSA_87_SIGNING, der),
            other => Err(oid::refusal(other)),
        }
    }

    fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed("EC private");
        let key = sec1::EcPrivateKey::from_der(der).map_err(|_| malformed.clone())?;
        let curve = key
            .parameters
            .and_then(sec1::EcParameters::named_curve)
            .ok_or(malformed)?;
        let (kind, algorithm) = curve_algorithm(curve)?;
        ec_pair(kind, algorithm, der)
    }

    /// What kind of key this is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public half as it stands in the BIT STRING of a certificate's key.
    #[must_use]
    pub(crate) fn public_bytes(&self) -> &[u8] {
        match &self.inner {
            Inner::Ec(pair) => pair.public_key().as_ref(),
            Inner::Rsa(pair, _) => pair.public_key().as_ref(),
            Inner::Ed25519(pair) => pair.public_key().as_ref(),
            Inner::MlDsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Signs `message` (§8.2). `digest` is the one that the message announces: with `None` EC and
    /// RSA keys take SHA-256. ML-DSA does not look at it.
    ///
    /// # Errors
    /// [`SignError::Digest`] for EdDSA with a digest and for RSA with BLAKE2;
    /// [`SignError::Failed`] when the library fails.
    pub fn sign(&self, digest: Option<Hash>, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = SignError::Failed(self.kind);
        let hash = digest.unwrap_or(Hash::Sha256);
        match &self.inner {
            Inner::Ec(pair) => {
                let value = ec_digest(self.kind, Md::Oap(hash), message).ok_or(failed)?;
                let signature = pair.sign_digest(&value).map_err(|_| failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Inner::Rsa(pair, der) => self.sign_rsa(pair, der, hash, message),
            Inner::Ed25519(pair) => match digest {
                Some(hash) => Err(SignError::digest(self.kind, hash.name())),
                None => Ok(pair.sign(message).as_ref().to_vec()),
            },
            Inner::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                let len = pair.sign(message, &mut signature).map_err(|_| failed)?;
                signature.truncate(len);
                Ok(signature)
            }
        }
    }

    fn sign_rsa(
        &self,
        pair: &RsaKeyPair,
        der: &[u8],
        hash: Hash,
        message: &[u8],
    ) -> Result<Vec<u8>, SignError> {
        let pss = self.kind == KeyKind::RsaPss;
        let encoding: &'static dyn lcs::RsaEncoding = match (hash, pss) {
            (Hash::Sha256, false) => &lcs::RSA_PKCS1_SHA256,
            (Hash::Sha384, false) => &lcs::RSA_PKCS1_SHA384,
            (Hash::Sha512, false) => &lcs::RSA_PKCS1_SHA512,
            (Hash::Sha256, true) => &lcs::RSA_PSS_SHA256,
            (Hash::Sha384, true) => &lcs::RSA_PSS_SHA384,
            (Hash::Sha512, true) => &lcs::RSA_PSS_SHA512,
            (Hash::Sha3_256, _) => return self.sign_rsa_sha3::<Sha3_256>(der, message),
            (Hash::Sha3_384, _) => return self.sign_rsa_sha3::<Sha3_384>(der, message),
            (Hash::Sha3_512, _) => return self.sign_rsa_sha3::<Sha3_512>(der, message),
            (Hash::Blake2b512 | Hash::Blake2s256, _) => {
                return Err(SignError::digest(self.kind, hash.name()));
            }
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignError::Failed(self.kind))?;
        Ok(signature)
    }

    /// With blinding: both signing keys draw the blinding factor from the random numbers given.
    fn sign_rsa_sha3<D>(&self, der: &[u8], message: &[u8]) -> Result<Vec<u8>, SignError>
    where
        D: sha3::Digest + sha3::digest::FixedOutputReset + AssociatedOid,
    {
        let failed = SignError::Failed(self.kind);
        let key = rsa::PrivateKey::from_pkcs1_der(der).map_err(|_| failed)?;
        let mut rng = rsa::rand_core::UnwrapErr(getrandom::SysRng);
        if self.kind == KeyKind::RsaPss {
            let signer = rsa::pss::SigningKey::<D>::new(key);
            let signature = signer
                .try_sign_with_rng(&mut rng, message)
                .map_err(|_| failed)?;
            Ok(signature.to_vec())
        } else {
            let signer = rsa::pkcs1v15::SigningKey::<D>::new(key);
            let signature = signer
                .try_sign_with_rng(&mut rng, message)
                .map_err(|_| failed)?;
            Ok(signature.to_vec())
        }
    }
}

fn curve_algorithm(
    curve: ObjectIdentifier,
) -> Result<(KeyKind, &'static EcdsaSigningAlgorithm), KeyError> {
    match curve {
        oid::P256 => Ok((KeyKind::EcP256, &lcs::ECDSA_P256_SHA256_ASN1_SIGNING)),
        oid::P384 => Ok((KeyKind::EcP384, &lcs::ECDSA_P384_SHA384_ASN1_SIGNING)),
        oid::P521 => Ok((KeyKind::EcP521, &lcs::ECDSA_P521_SHA512_ASN1_SIGNING)),
        other => Err(oid::curve_refusal(other)),
    }
}

fn ec_pair(
    kind: KeyKind,
    algorithm: &'static EcdsaSigningAlgorithm,
    der: &[u8],
) -> Result<SigningKey, KeyError> {
    let pair = EcdsaKeyPair::from_private_key_der(algorithm, der)
        .map_err(|_| KeyError::Malformed("EC private"))?;
    Ok(SigningKey {
        kind,
        inner: Inner::Ec(pair),
    })
}

fn rsa_pair(pkcs1: &[u8], kind: KeyKind) -> Result<SigningKey, KeyError> {
    let pair = RsaKeyPair::from_der(pkcs1).map_err(|_| KeyError::Malformed("RSA private"))?;
    Ok(SigningKey {
        kind,
        inner: Inner::Rsa(Box::new(pair), Zeroizing::new(pkcs1.to_vec())),
    })
}

fn ml_dsa_pair(
    kind: KeyKind,
    algorithm: &'static PqdsaSigningAlgorithm,
    pkcs8: &[u8],
) -> Result<SigningKey, KeyError> {
    let pair = PqdsaKeyPair::from_pkcs8(algorithm, pkcs8)
        .map_err(|_| KeyError::Malformed("ML-DSA private"))?;
    Ok(SigningKey {
        kind,
        inner: Inner::MlDsa(pair),
    })
}

/// The digest of `message` as the integer that ECDSA signs on this curve: the leftmost bits, as
/// many as the order of the curve has, filled from the left with zeros (FIPS 186-5 §6.4). In that
/// form one algorithm of the library per curve serves every hash.
pub(super) fn ec_digest(kind: KeyKind, md: Md, message: &[u8]) -> Option<lc::Digest> {
    let algorithm = match kind {
        KeyKind::EcP256 => &lc::SHA256,
        KeyKind::EcP384 => &lc::SHA384,
        // The order of P-521 is longer than every digest.
        KeyKind::EcP521 => &lc::SHA512,
        _ => return None,
    };
    let len = algorithm.output_len();
    let mut value = md.digest(message);
    value.truncate(len);
    let mut padded = vec![0; len.saturating_sub(value.len())];
    padded.extend_from_slice(&value);
    lc::Digest::import_less_safe(&padded, algorithm).ok()
}
