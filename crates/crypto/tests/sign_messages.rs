//! Signatures with each kind of key and each digest.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA512_ASN1,
        ECDSA_P521_SHA256_ASN1, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING,
        PqdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use o7s_crypto::{
    algorithm::Hash,
    sign::{KeyError, KeyKind, SignError, SigningKey, VerifyingKey},
};
use proptest::prelude::*;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm};

const MESSAGE: &[u8] = b"all bytes of the message before the signature";

fn pair(algorithm: &'static SignatureAlgorithm) -> (SigningKey, VerifyingKey) {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    let public = VerifyingKey::from_spki_der(&pair.subject_public_key_info()).unwrap();
    assert_eq!(key.kind(), public.kind());
    (key, public)
}

fn digests() -> impl Iterator<Item = Option<Hash>> {
    Hash::ALL.into_iter().map(Some).chain([None])
}

#[test]
fn ecdsa_with_every_digest() {
    for (algorithm, kind) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::EcP256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::EcP384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, KeyKind::EcP521),
    ] {
        let (key, public) = pair(algorithm);
        assert_eq!(key.kind(), kind);
        for digest in digests() {
            let signature = key.sign(digest, MESSAGE).unwrap();
            public.verify(digest, MESSAGE, &signature).unwrap();
            let other = if digest == Some(Hash::Sha384) {
                Hash::Sha512
            } else {
                Hash::Sha384
            };
            assert_eq!(
                public.verify(Some(other), MESSAGE, &signature),
                Err(SignError::Mismatch(kind))
            );
            assert!(
                public
                    .verify(digest, b"another message", &signature)
                    .is_err()
            );
            assert!(public.verify(digest, MESSAGE, &[]).is_err());
        }
        // No digest is SHA-256.
        let signature = key.sign(None, MESSAGE).unwrap();
        public
            .verify(Some(Hash::Sha256), MESSAGE, &signature)
            .unwrap();
    }
}

#[test]
fn ecdsa_digests_longer_and_shorter_than_the_order() {
    // The library's own combinations of curve and digest are the judge.
    let cases: [(_, _, &'static dyn VerificationAlgorithm); 4] = [
        (
            &rcgen::PKCS_ECDSA_P256_SHA256,
            Hash::Sha384,
            &ECDSA_P256_SHA384_ASN1,
        ),
        (
            &rcgen::PKCS_ECDSA_P384_SHA384,
            Hash::Sha256,
            &ECDSA_P384_SHA256_ASN1,
        ),
        (
            &rcgen::PKCS_ECDSA_P384_SHA384,
            Hash::Sha512,
            &ECDSA_P384_SHA512_ASN1,
        ),
        (
            &rcgen::PKCS_ECDSA_P521_SHA512,
            Hash::Sha256,
            &ECDSA_P521_SHA256_ASN1,
        ),
    ];
    for (algorithm, digest, judge) in cases {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let key = SigningKey::from_pkcs8_der(pair.serialized_der()).unwrap();
        let signature = key.sign(Some(digest), MESSAGE).unwrap();
        UnparsedPublicKey::new(judge, pair.public_key_raw())
            .verify(MESSAGE, &signature)
            .unwrap();
    }
}

/// The key with the OID of RSASSA-PSS in place of that of RSA: only the last byte differs.
fn as_pss(der: &[u8]) -> Vec<u8> {
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let at = der
        .windows(rsa.len())
        .position(|bytes| bytes == rsa)
        .unwrap();
    let mut der = der.to_vec();
    der[at + rsa.len() - 1] = 0x0a;
    der
}

#[test]
fn rsa_with_sha2_and_sha3_but_not_blake2() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let spki = pair.subject_public_key_info();
    for (kind, key, public) in [
        (KeyKind::Rsa, pair.serialized_der().to_vec(), spki.clone()),
        (
            KeyKind::RsaPss,
            as_pss(pair.serialized_der()),
            as_pss(&spki),
        ),
    ] {
        let key = SigningKey::from_pkcs8_der(&key).unwrap();
        let public = VerifyingKey::from_spki_der(&public).unwrap();
        assert_eq!((key.kind(), public.kind()), (kind, kind));
        for digest in digests() {
            if matches!(digest, Some(Hash::Blake2b512 | Hash::Blake2s256)) {
                assert!(matches!(
                    key.sign(digest, MESSAGE),
                    Err(SignError::Digest { .. })
                ));
                assert!(matches!(
                    public.verify(digest, MESSAGE, &[0; 256]),
                    Err(SignError::Digest { .. })
                ));
                continue;
            }
            let signature = key.sign(digest, MESSAGE).unwrap();
            assert_eq!(signature.len(), 256);
            public.verify(digest, MESSAGE, &signature).unwrap();
            assert!(public.verify(digest, b"another", &signature).is_err());
            assert!(public.verify(digest, MESSAGE, &signature[1..]).is_err());
        }
    }
}

#[test]
fn pss_salts_of_any_length_verify() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let public = VerifyingKey::from_spki_der(&as_pss(&pair.subject_public_key_info())).unwrap();

    // Of the digest's length, made by the other library.
    let lc = RsaKeyPair::from_pkcs8(pair.serialized_der()).unwrap();
    let mut signature = vec![0; 256];
    lc.sign(
        &RSA_PSS_SHA256,
        &SystemRandom::new(),
        MESSAGE,
        &mut signature,
    )
    .unwrap();
    public.verify(None, MESSAGE, &signature).unwrap();

    // The longest, as OpenSSL makes it, and none at all.
    use rsa::{
        pkcs8::DecodePrivateKey,
        signature::{RandomizedSigner, SignatureEncoding},
    };
    let key = rsa::PrivateKey::from_pkcs8_der(pair.serialized_der()).unwrap();
    for salt in [0, 20, 256 - 32 - 2] {
        let signer = rsa::pss::SigningKey::<sha2::Sha256>::new_with_salt_len(key.clone(), salt);
        let mut rng = rsa::rand_core::UnwrapErr(getrandom::SysRng);
        let signature = signer.sign_with_rng(&mut rng, MESSAGE).to_vec();
        public
            .verify(Some(Hash::Sha256), MESSAGE, &signature)
            .unwrap();
    }
}

#[test]
fn ed25519_signs_without_digest_only() {
    let (key, public) = pair(&rcgen::PKCS_ED25519);
    let signature = key.sign(None, MESSAGE).unwrap();
    assert_eq!(signature.len(), 64);
    public.verify(None, MESSAGE, &signature).unwrap();
    assert!(public.verify(None, b"another", &signature).is_err());
    for digest in Hash::ALL {
        assert!(matches!(
            key.sign(Some(digest), MESSAGE),
            Err(SignError::Digest { .. })
        ));
        assert!(matches!(
            public.verify(Some(digest), MESSAGE, &signature),
            Err(SignError::Digest { .. })
        ));
        assert_eq!(key.kind().announced(Some(digest)), None);
        assert_eq!(KeyKind::EcP256.announced(Some(digest)), Some(digest));
    }
}

#[test]
fn ml_dsa_ignores_the_digest() {
    for (algorithm, kind, len) in [
        (&ML_DSA_44_SIGNING, KeyKind::MlDsa44, 2420),
        (&ML_DSA_65_SIGNING, KeyKind::MlDsa65, 3309),
        (&ML_DSA_87_SIGNING, KeyKind::MlDsa87, 4627),
    ] {
        use aws_lc_rs::{encoding::AsDer, signature::KeyPair};
        let pair = PqdsaKeyPair::generate(algorithm).unwrap();
        let key = SigningKey::from_pkcs8_der(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let public = VerifyingKey::from_spki_der(spki.as_ref()).unwrap();
        assert_eq!((key.kind(), public.kind()), (kind, kind));
        let signature = key.sign(Some(Hash::Blake2s256), MESSAGE).unwrap();
        assert_eq!(signature.len(), len);
        public.verify(None, MESSAGE, &signature).unwrap();
        public
            .verify(Some(Hash::Sha512), MESSAGE, &signature)
            .unwrap();
        assert!(public.verify(None, b"another", &signature).is_err());
    }
}

#[test]
fn what_is_not_available_is_named() {
    let refused = |oid: &[u8], parameters: &[u8]| {
        let algorithm = [&[0x06, u8::try_from(oid.len()).unwrap()], oid, parameters].concat();
        let key = [0x03, 0x03, 0x00, 0x01, 0x02];
        let mut spki = vec![0x30, u8::try_from(algorithm.len() + 2 + key.len()).unwrap()];
        spki.extend([0x30, u8::try_from(algorithm.len()).unwrap()]);
        spki.extend(algorithm);
        spki.extend(key);
        VerifyingKey::from_spki_der(&spki).unwrap_err()
    };
    assert_eq!(
        refused(&[0x2b, 0x65, 0x71], &[]),
        KeyError::Unavailable("Ed448")
    );
    assert_eq!(
        refused(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x14], &[]),
        KeyError::Unavailable("SLH-DSA-SHA2-128s")
    );
    let ec = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let secp256k1 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
    assert_eq!(
        refused(&ec, &secp256k1),
        KeyError::Unavailable("ECDSA secp256k1")
    );
    assert_eq!(
        refused(&[0x2a, 0x03], &[]),
        KeyError::Unknown("1.2.3".into())
    );
    assert!(
        refused(&[0x2b, 0x65, 0x71], &[])
            .to_string()
            .contains("use ECDSA, RSA, Ed25519 or ML-DSA")
    );
}

#[test]
fn damaged_and_foreign_key_files() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = pair.serialize_pem();
    let refused = |file: &str| SigningKey::from_pem(file.as_bytes()).unwrap_err();
    assert_eq!(refused(""), KeyError::NoPrivateKey);
    assert_eq!(
        refused(&pem.replace("PRIVATE KEY", "PUBLIC KEY")),
        KeyError::NoPrivateKey
    );
    let encrypted = pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(refused(&encrypted), KeyError::Encrypted);
    let old_format = pem.replace("PRIVATE KEY", "EC PRIVATE KEY").replacen(
        "KEY-----\n",
        "KEY-----\nProc-Type: 4,ENCRYPTED\n",
        1,
    );
    assert_eq!(refused(&old_format), KeyError::Encrypted);
    let cut = &pem[..pem.len() / 2];
    assert!(matches!(refused(cut), KeyError::Pem(_)));
    assert!(matches!(refused(&pem.replace('M', "!")), KeyError::Pem(_)));

    // Parameters in front, text around: as OpenSSL writes it.
    let surrounded = format!(
        "Some text\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{pem}more"
    );
    let key = SigningKey::from_pem(surrounded.as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(ECDSA P-256, …)");

    let der = pair.serialized_der();
    for len in 0..der.len() {
        assert!(SigningKey::from_pkcs8_der(&der[..len]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn changed_keys_never_panic(
        algorithm in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let algorithms = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
        ];
        let pair = KeyPair::generate_for(algorithms[algorithm]).unwrap();
        let public = VerifyingKey::from_spki_der(&pair.subject_public_key_info()).unwrap();
        let (mut private, mut spki) =
            (pair.serialized_der().to_vec(), pair.subject_public_key_info());
        for (index, byte) in changes {
            let at = index.index(private.len());
            private[at] = byte;
            let at = index.index(spki.len());
            spki[at] = byte;
        }
        if let Ok(key) = SigningKey::from_pkcs8_der(&private) {
            let signature = key.sign(None, MESSAGE).unwrap();
            let _ = public.verify(None, MESSAGE, &signature);
        }
        if let Ok(changed) = VerifyingKey::from_spki_der(&spki) {
            let _ = changed.verify(None, MESSAGE, &private);
        }
        let cut = cut.index(private.len());
        prop_assert!(SigningKey::from_pkcs8_der(&private[..cut]).is_err());
    }
}
