//! Public keys that check signatures of messages and certificates.

use std::fmt;

use aws_lc_rs::signature::{
    self as lcs, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};
use pkcs8::{
    AssociatedOid, ObjectIdentifier,
    der::{Any, Decode, Encode},
};
use rsa::{
    pkcs1::{DecodeRsaPublicKey, RsaPssParams},
    signature::hazmat::PrehashVerifier,
    traits::PublicKeyParts,
};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_384, Sha3_512};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{KeyError, KeyKind, Md, SignError, key::ec_digest};
use crate::algorithm::Hash;

/// A public key, parsed once.
#[derive(Clone)]
pub struct VerifyingKey {
    kind: KeyKind,
    /// Content of the BIT STRING of the key.
    public: Vec<u8>,
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Library(ParsedPublicKey),
    Rsa(Box<rsa::PublicKey>),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifyingKey({}, {} bytes)",
            self.kind,
            self.public.len()
        )
    }
}

impl VerifyingKey {
    /// A public key in SPKI DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki =
            SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| KeyError::Malformed("public"))?;
        Self::from_spki(&spki)
    }

    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let public = spki
            .subject_public_key
            .as_bytes()
            .ok_or(KeyError::Malformed("public"))?;
        let (kind, algorithm): (_, &'static dyn VerificationAlgorithm) = match spki.algorithm.oid {
            oid::EC => {
                let parameters = spki.algorithm.parameters.as_ref();
                let curve = parameters
                    .and_then(|any| any.decode_as::<ObjectIdentifier>().ok())
                    .ok_or(KeyError::Malformed("EC public"))?;
                match curve {
                    oid::P256 => (KeyKind::EcP256, &lcs::ECDSA_P256_SHA256_ASN1),
                    oid::P384 => (KeyKind::EcP384, &lcs::ECDSA_P384_SHA384_ASN1),
                    oid::P521 => (KeyKind::EcP521, &lcs::ECDSA_P521_SHA512_ASN1),
                    other => return Err(oid::curve_refusal(other)),
                }
            }
            oid::ED25519 => (KeyKind::Ed25519, &lcs::ED25519),
            oid::ML_DSA_44 => (KeyKind::MlDsa44, &lcs::ML_DSA_44),
            oid::ML_DSA_65 => (KeyKind::MlDsa65, &lcs::ML_DSA_65),
            oid::ML_DSA_87 => (KeyKind::MlDsa87, &lcs::ML_DSA_87),
            oid::RSA => return Self::from_rsa(KeyKind::Rsa, public),
            oid::RSA_PSS => return Self::from_rsa(KeyKind::RsaPss, public),
            other => return Err(oid::refusal(other)),
        };
        let parsed = ParsedPublicKey::new(algorithm, public)
            .map_err(|_| KeyError::Malformed(kind.name()))?;
        Ok(Self {
            kind,
            public: public.to_vec(),
            inner: Inner::Library(parsed),
        })
    }

    fn from_rsa(kind: KeyKind, pkcs1: &[u8]) -> Result<Self, KeyError> {
        let key =
            rsa::PublicKey::from_pkcs1_der(pkcs1).map_err(|_| KeyError::Malformed("RSA public"))?;
        Ok(Self {
            kind,
            public: pkcs1.to_vec(),
            inner: Inner::Rsa(Box::new(key)),
        })
    }

    /// What kind of key this is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The content of the BIT STRING of the key.
    pub(crate) fn public_bytes(&self) -> &[u8] {
        &self.public
    }

    /// Checks the signature of a message that announces `digest` (§8.2): with `None` it was made
    /// with SHA-256 by EC and RSA keys; ML-DSA does not look at it.
    ///
    /// # Errors
    /// [`SignError::Mismatch`]; [`SignError::Digest`] when such a key cannot have signed with this
    /// digest.
    pub fn verify(
        &self,
        digest: Option<Hash>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignError> {
        if let (KeyKind::Ed25519, Some(hash)) = (self.kind, digest) {
            return Err(SignError::digest(self.kind, hash.name()));
        }
        let md = Md::Oap(digest.unwrap_or(Hash::Sha256));
        self.verify_with(md, self.kind == KeyKind::RsaPss, message, signature)
    }

    /// Checks the signature of a certificate, made with the algorithm that the certificate names.
    pub(crate) fn verify_certificate(
        &self,
        algorithm: &AlgorithmIdentifierOwned,
        tbs: &[u8],
        signature: &[u8],
    ) -> Result<(), SignError> {
        let scheme = oid::scheme(algorithm)?;
        let (md, pss) = match (scheme, self.kind) {
            (oid::Scheme::Ecdsa(md), KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521)
            | (oid::Scheme::Rsa(md), KeyKind::Rsa) => (md, false),
            (oid::Scheme::RsaPss(md), KeyKind::Rsa | KeyKind::RsaPss) => (md, true),
            (oid::Scheme::Pure(kind), own) if kind == own => (Md::Oap(Hash::Sha256), false),
            _ => return Err(SignError::Mismatch(self.kind)),
        };
        self.verify_with(md, pss, tbs, signature)
    }

    fn verify_with(
        &self,
        md: Md,
        pss: bool,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignError> {
        let mismatch = SignError::Mismatch(self.kind);
        match &self.inner {
            Inner::Library(key) => match ec_digest(self.kind, md, message) {
                Some(digest) => key.verify_digest_sig(&digest, signature),
                None => key.verify_sig(message, signature),
            }
            .map_err(|_| mismatch),
            Inner::Rsa(key) => self.verify_rsa(key, md, pss, message, signature),
        }
    }

    fn verify_rsa(
        &self,
        key: &rsa::PublicKey,
        md: Md,
        pss: bool,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignError> {
        // The first library has no other digests, and for keys of less than 2048 bits not all.
        let quick: Option<&'static dyn VerificationAlgorithm> = match (md, pss) {
            _ if key.size() < 256 => None,
            (Md::Oap(Hash::Sha256), false) => Some(&lcs::RSA_PKCS1_2048_8192_SHA256),
            (Md::Oap(Hash::Sha384), false) => Some(&lcs::RSA_PKCS1_2048_8192_SHA384),
            (Md::Oap(Hash::Sha512), false) => Some(&lcs::RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        };
        if let Some(algorithm) = quick {
            return UnparsedPublicKey::new(algorithm, &self.public)
                .verify(message, signature)
                .map_err(|_| SignError::Mismatch(self.kind));
        }
        let digest = md.digest(message);
        match md {
            Md::Sha1 => self.verify_rsa_digest::<Sha1>(key, pss, &digest, signature),
            Md::Sha224 => self.verify_rsa_digest::<Sha224>(key, pss, &digest, signature),
            Md::Oap(hash) => match hash {
                Hash::Sha256 => self.verify_rsa_digest::<Sha256>(key, pss, &digest, signature),
                Hash::Sha384 => self.verify_rsa_digest::<Sha384>(key, pss, &digest, signature),
                Hash::Sha512 => self.verify_rsa_digest::<Sha512>(key, pss, &digest, signature),
                Hash::Sha3_256 => self.verify_rsa_digest::<Sha3_256>(key, pss, &digest, signature),
                Hash::Sha3_384 => self.verify_rsa_digest::<Sha3_384>(key, pss, &digest, signature),
                Hash::Sha3_512 => self.verify_rsa_digest::<Sha3_512>(key, pss, &digest, signature),
                Hash::Blake2b512 | Hash::Blake2s256 => Err(SignError::digest(self.kind, md.name())),
            },
        }
    }

    fn verify_rsa_digest<D>(
        &self,
        key: &rsa::PublicKey,
        pss: bool,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), SignError>
    where
        D: sha2::Digest + sha2::digest::FixedOutputReset + AssociatedOid,
    {
        let verified = if pss {
            let verifier = rsa::pss::VerifyingKey::<D>::new_with_auto_salt_len(key.clone());
            rsa::pss::Signature::try_from(signature)
                .and_then(|signature| verifier.verify_prehash(digest, &signature))
        } else {
            let verifier = rsa::pkcs1v15::VerifyingKey::<D>::new(key.clone());
            rsa::pkcs1v15::Signature::try_from(signature)
                .and_then(|signature| verifier.verify_prehash(digest, &signature))
        };
        verified.map_err(|_| SignError::Mismatch(self.kind))
    }
}

/// The object identifiers of keys and signatures.
pub(super) mod oid {
    use super::{
        AlgorithmIdentifierOwned, Any, Decode, Encode, Hash, KeyError, KeyKind, Md,
        ObjectIdentifier, RsaPssParams, SignError,
    };

    const fn new(dotted: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(dotted)
    }

    pub(in crate::sign) const EC: ObjectIdentifier = new("1.2.840.10045.2.1");
    pub(in crate::sign) const P256: ObjectIdentifier = new("1.2.840.10045.3.1.7");
    pub(in crate::sign) const P384: ObjectIdentifier = new("1.3.132.0.34");
    pub(in crate::sign) const P521: ObjectIdentifier = new("1.3.132.0.35");
    pub(in crate::sign) const RSA: ObjectIdentifier = new("1.2.840.113549.1.1.1");
    pub(in crate::sign) const RSA_PSS: ObjectIdentifier = new("1.2.840.113549.1.1.10");
    pub(in crate::sign) const ED25519: ObjectIdentifier = new("1.3.101.112");
    pub(in crate::sign) const ML_DSA_44: ObjectIdentifier = new("2.16.840.1.101.3.4.3.17");
    pub(in crate::sign) const ML_DSA_65: ObjectIdentifier = new("2.16.840.1.101.3.4.3.18");
    pub(in crate::sign) const ML_DSA_87: ObjectIdentifier = new("2.16.840.1.101.3.4.3.19");

    const UNAVAILABLE: [(ObjectIdentifier, &str); 16] = [
        (new("1.3.101.113"), "Ed448"),
        (new("1.3.101.110"), "X25519 (not a signing key)"),
        (new("1.3.101.111"), "X448 (not a signing key)"),
        (new("1.2.840.10040.4.1"), "DSA"),
        (new("2.16.840.1.101.3.4.3.20"), "SLH-DSA-SHA2-128s"),
        (new("2.16.840.1.101.3.4.3.21"), "SLH-DSA-SHA2-128f"),
        (new("2.16.840.1.101.3.4.3.22"), "SLH-DSA-SHA2-192s"),
        (new("2.16.840.1.101.3.4.3.23"), "SLH-DSA-SHA2-192f"),
        (new("2.16.840.1.101.3.4.3.24"), "SLH-DSA-SHA2-256s"),
        (new("2.16.840.1.101.3.4.3.25"), "SLH-DSA-SHA2-256f"),
        (new("2.16.840.1.101.3.4.3.26"), "SLH-DSA-SHAKE-128s"),
        (new("2.16.840.1.101.3.4.3.27"), "SLH-DSA-SHAKE-128f"),
        (new("2.16.840.1.101.3.4.3.28"), "SLH-DSA-SHAKE-192s"),
        (new("2.16.840.1.101.3.4.3.29"), "SLH-DSA-SHAKE-192f"),
        (new("2.16.840.1.101.3.4.3.30"), "SLH-DSA-SHAKE-256s"),
        (new("2.16.840.1.101.3.4.3.31"), "SLH-DSA-SHAKE-256f"),
    ];

    const CURVES: [(ObjectIdentifier, &str); 6] = [
        (new("1.3.132.0.10"), "ECDSA secp256k1"),
        (new("1.2.840.10045.3.1.1"), "ECDSA P-192"),
        (new("1.3.132.0.33"), "ECDSA P-224"),
        (new("1.3.36.3.3.2.8.1.1.7"), "ECDSA brainpoolP256r1"),
        (new("1.3.36.3.3.2.8.1.1.11"), "ECDSA brainpoolP384r1"),
        (new("1.3.36.3.3.2.8.1.1.13"), "ECDSA brainpoolP512r1"),
    ];

    fn name_in(
        table: &[(ObjectIdentifier, &'static str)],
        oid: ObjectIdentifier,
    ) -> Option<&'static str> {
        table
            .iter()
            .find_map(|(known, name)| (*known == oid).then_some(*name))
    }

    pub(in crate::sign) fn refusal(oid: ObjectIdentifier) -> KeyError {
        match name_in(&UNAVAILABLE, oid) {
            Some(name) => KeyError::Unavailable(name),
            None => KeyError::Unknown(oid.to_string()),
        }
    }

    pub(in crate::sign) fn curve_refusal(oid: ObjectIdentifier) -> KeyError {
        match name_in(&CURVES, oid) {
            Some(name) => KeyError::Unavailable(name),
            None => KeyError::Unknown(oid.to_string()),
        }
    }

    /// How a certificate is signed.
    #[derive(Clone, Copy)]
    pub(super) enum Scheme {
        Ecdsa(Md),
        Rsa(Md),
        RsaPss(Md),
        /// The message itself is signed.
        Pure(KeyKind),
    }

    const SCHEMES: [(ObjectIdentifier, Scheme); 21] = {
        use Hash::{Sha3_256, Sha3_384, Sha3_512, Sha256, Sha384, Sha512};
        [
            (new("1.2.840.10045.4.1"), Scheme::Ecdsa(Md::Sha1)),
            (new("1.2.840.10045.4.3.1"), Scheme::Ecdsa(Md::Sha224)),
            (new("1.2.840.10045.4.3.2"), Scheme::Ecdsa(Md::Oap(Sha256))),
            (new("1.2.840.10045.4.3.3"), Scheme::Ecdsa(Md::Oap(Sha384))),
            (new("1.2.840.10045.4.3.4"), Scheme::Ecdsa(Md::Oap(Sha512))),
            (
                new("2.16.840.1.101.3.4.3.10"),
                Scheme::Ecdsa(Md::Oap(Sha3_256)),
            ),
            (
                new("2.16.840.1.101.3.4.3.11"),
                Scheme::Ecdsa(Md::Oap(Sha3_384)),
            ),
            (
                new("2.16.840.1.101.3.4.3.12"),
                Scheme::Ecdsa(Md::Oap(Sha3_512)),
            ),
            (new("1.2.840.113549.1.1.5"), Scheme::Rsa(Md::Sha1)),
            (new("1.2.840.113549.1.1.14"), Scheme::Rsa(Md::Sha224)),
            (new("1.2.840.113549.1.1.11"), Scheme::Rsa(Md::Oap(Sha256))),
            (new("1.2.840.113549.1.1.12"), Scheme::Rsa(Md::Oap(Sha384))),
            (new("1.2.840.113549.1.1.13"), Scheme::Rsa(Md::Oap(Sha512))),
            (
                new("2.16.840.1.101.3.4.3.14"),
                Scheme::Rsa(Md::Oap(Sha3_256)),
            ),
            (
                new("2.16.840.1.101.3.4.3.15"),
                Scheme::Rsa(Md::Oap(Sha3_384)),
            ),
            (
                new("2.16.840.1.101.3.4.3.16"),
                Scheme::Rsa(Md::Oap(Sha3_512)),
            ),
            // The digest comes from the parameters.
            (RSA_PSS, Scheme::RsaPss(Md::Sha1)),
            (ED25519, Scheme::Pure(KeyKind::Ed25519)),
            (ML_DSA_44, Scheme::Pure(KeyKind::MlDsa44)),
            (ML_DSA_65, Scheme::Pure(KeyKind::MlDsa65)),
            (ML_DSA_87, Scheme::Pure(KeyKind::MlDsa87)),
        ]
    };

    const DIGESTS: [(ObjectIdentifier, Md); 8] = [
        (new("1.3.14.3.2.26"), Md::Sha1),
        (new("2.16.840.1.101.3.4.2.4"), Md::Sha224),
        (new("2.16.840.1.101.3.4.2.1"), Md::Oap(Hash::Sha256)),
        (new("2.16.840.1.101.3.4.2.2"), Md::Oap(Hash::Sha384)),
        (new("2.16.840.1.101.3.4.2.3"), Md::Oap(Hash::Sha512)),
        (new("2.16.840.1.101.3.4.2.8"), Md::Oap(Hash::Sha3_256)),
        (new("2.16.840.1.101.3.4.2.9"), Md::Oap(Hash::Sha3_384)),
        (new("2.16.840.1.101.3.4.2.10"), Md::Oap(Hash::Sha3_512)),
    ];

    pub(super) fn scheme(algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, SignError> {
        if algorithm.oid == RSA_PSS {
            return pss_digest(algorithm.parameters.as_ref()).map(Scheme::RsaPss);
        }
        SCHEMES
            .iter()
            .find_map(|(oid, scheme)| (*oid == algorithm.oid).then_some(*scheme))
            .ok_or_else(|| {
                SignError::Algorithm(name_in(&UNAVAILABLE, algorithm.oid).unwrap_or("unknown"))
            })
    }

    /// The digest of an RSASSA-PSS signature, which must also be that of its mask (RFC 8017 A.2.3).
    fn pss_digest(parameters: Option<&Any>) -> Result<Md, SignError> {
        let refused = SignError::Algorithm("RSASSA-PSS with these parameters");
        let der = parameters.ok_or(refused)?.to_der().map_err(|_| refused)?;
        let parameters = RsaPssParams::<Any>::from_der(&der).map_err(|_| refused)?;
        let digest = |oid: ObjectIdentifier| {
            DIGESTS
                .iter()
                .find_map(|(known, md)| (*known == oid).then_some(*md))
                .ok_or(refused)
        };
        let md = digest(parameters.hash.oid)?;
        let mask = parameters.mask_gen.parameters.ok_or(refused)?;
        if digest(mask.oid)? != md {
            return Err(refused);
        }
        Ok(md)
    }
}
