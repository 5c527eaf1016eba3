//! Key exchange and derivation against the recorded vectors, from both sides.

mod support;

use o7s_crypto::{
    algorithm::{Cipher, Hash, Kex},
    kdf::{self, Key},
    kex::{PrivateKey, PublicKey},
};
use support::{bytes, number, text, vectors};

#[test]
fn numbers_and_ranks_are_those_of_the_reference() {
    let vectors = vectors();
    for cipher in Cipher::ALL {
        assert_eq!(
            number(&vectors["nid"]["cipher"], cipher.name()),
            cipher.nid()
        );
    }
    for hash in Hash::ALL {
        assert_eq!(number(&vectors["nid"]["hash"], hash.name()), hash.nid());
    }
    let order = |kind: &str| {
        let names = vectors["rank"][kind].as_array().unwrap();
        let names = names.iter().map(|name| name.as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(order("cipher"), Cipher::ALL.map(Cipher::name));
    assert_eq!(order("kdf"), Hash::ALL.map(Hash::name));
    assert_eq!(order("kex"), Kex::ALL.map(Kex::name));
}

#[test]
fn hkdf() {
    let vectors = vectors();
    let list = vectors["hkdf"].as_array().unwrap();
    assert!(list.len() >= 22);
    for vector in list {
        let nid = number(vector, "kdf_nid");
        // 0 stands for SHA-256.
        let hash = if nid == 0 {
            Hash::Sha256
        } else {
            Hash::from_nid(nid).unwrap()
        };
        let (ikm, salt) = (bytes(vector, "ikm"), bytes(vector, "salt"));
        let key = kdf::hkdf(hash, &ikm, &salt, text(vector, "info").as_bytes());
        assert_eq!(key.as_bytes()[..], bytes(vector, "okm"), "{hash}");
    }
}

#[test]
fn diffie_hellman() {
    let vectors = vectors();
    let list = vectors["dhe"].as_array().unwrap();
    assert_eq!(list.len(), 9);
    for vector in list {
        let kex = Kex::from_name(text(vector, "kex")).unwrap();
        let hash = Hash::from_nid(number(vector, "kdf_nid"));
        let key = Key::from_slice(&bytes(vector, "key")).unwrap();
        let ends = ["a", "b"].map(|end| {
            let private = PrivateKey::from_pkcs8(&bytes(vector, &format!("{end}_priv_pkcs8")));
            let private = private.unwrap();
            let field = bytes(vector, &format!("{end}_pk"));
            assert_eq!(private.kex(), kex);
            assert_eq!(
                private.public(),
                field,
                "{kex}: the encoding is part of the contract"
            );
            (private, PublicKey::from_wire(false, &field).unwrap())
        });
        for (own, peer) in [(0, 1), (1, 0)] {
            let secret = ends[own].0.agree(&ends[peer].1).unwrap();
            assert_eq!(*secret, bytes(vector, "raw_secret"), "{kex}");
            let derived =
                kdf::derive_dh(hash, &secret, ends[own].0.public(), ends[peer].1.as_bytes());
            assert_eq!(derived, key, "{kex}");
        }
    }
}

#[test]
fn key_encapsulation() {
    let vectors = vectors();
    let list = vectors["kem"].as_array().unwrap();
    assert_eq!(list.len(), 5);
    for vector in list {
        let kex = Kex::from_name(text(vector, "kex")).unwrap();
        let hash = Hash::from_nid(number(vector, "kdf_nid"));
        let field = bytes(vector, "pk");
        let mut forms = Vec::new();
        if vector.get("seed").is_some() {
            forms.push(PrivateKey::ml_kem_from_seed(kex, &bytes(vector, "seed")).unwrap());
        }
        if vector.get("priv_pkcs8").is_some() {
            forms.push(PrivateKey::from_pkcs8(&bytes(vector, "priv_pkcs8")).unwrap());
        }
        if vector.get("priv_raw").is_some() {
            forms.push(PrivateKey::from_raw_hybrid(&bytes(vector, "priv_raw")).unwrap());
        }
        assert!(!forms.is_empty(), "{kex}");
        for private in forms {
            assert_eq!(private.public(), field, "{kex}");
            let secret = private.decapsulate(&bytes(vector, "ct")).unwrap();
            assert_eq!(*secret, bytes(vector, "raw_secret"), "{kex}");
            let key = kdf::derive_kem(hash, &secret, &field);
            assert_eq!(key.as_bytes()[..], bytes(vector, "key"), "{kex}");
            // The other direction: what we encapsulate, it opens.
            let public = PublicKey::from_wire(kex.is_hybrid(), &field).unwrap();
            let (ciphertext, secret) = public.encapsulate().unwrap();
            assert_eq!(ciphertext.len(), bytes(vector, "ct").len(), "{kex}");
            assert_eq!(private.decapsulate(&ciphertext).unwrap(), secret, "{kex}");
        }
    }
}

#[test]
fn every_key_exchange_agrees_with_itself_and_never_twice_the_same() {
    for kex in Kex::ALL {
        let mut secrets = Vec::new();
        for _ in 0..2 {
            let client = PrivateKey::generate(kex).unwrap();
            let public = PublicKey::from_wire(kex.is_hybrid(), client.public()).unwrap();
            assert_eq!(public.kex(), kex);
            if kex.is_kem() {
                let (ciphertext, secret) = public.encapsulate().unwrap();
                assert_eq!(client.decapsulate(&ciphertext).unwrap(), secret);
                assert!(client.agree(&public).is_err());
                secrets.push(secret);
            } else {
                let server = PrivateKey::generate(kex).unwrap();
                let answer = PublicKey::from_wire(false, server.public()).unwrap();
                let secret = server.agree(&public).unwrap();
                assert_eq!(client.agree(&answer).unwrap(), secret);
                assert!(public.encapsulate().is_err());
                secrets.push(secret);
            }
        }
        assert_ne!(secrets[0], secrets[1], "{kex}");
    }
}

/// Lengths of `spec/oap-crypto.md` §4.1.
#[test]
fn fields_have_the_lengths_of_the_specification() {
    for (kex, lengths) in [
        (Kex::Prime256v1, 91..=91),
        (Kex::Secp384r1, 120..=120),
        (Kex::Secp521r1, 158..=158),
        (Kex::X25519, 44..=44),
        (Kex::X448, 68..=68),
        (Kex::Ffdhe2048, 549..=553),
        (Kex::Ffdhe3072, 805..=809),
        (Kex::Ffdhe4096, 1061..=1065),
        (Kex::MlKem512, 822..=822),
        (Kex::MlKem768, 1206..=1206),
        (Kex::MlKem1024, 1590..=1590),
        (Kex::X25519MlKem768, 1216..=1216),
        (Kex::X448MlKem1024, 1624..=1624),
    ] {
        let length = PrivateKey::generate(kex).unwrap().public().len();
        assert!(lengths.contains(&length), "{kex}: {length}");
    }
}

#[test]
fn keys_that_would_give_the_secret_away_are_refused() {
    // All-zero curve points, and the order-2 point of the field groups.
    let x25519 = PrivateKey::generate(Kex::X25519).unwrap();
    let zero = [&x25519.public()[..12], &[0; 32]].concat();
    let zero = PublicKey::from_wire(false, &zero).unwrap();
    assert!(x25519.agree(&zero).is_err());
    let x448 = PrivateKey::generate(Kex::X448).unwrap();
    let zero = [&x448.public()[..12], &[0; 56]].concat();
    let zero = PublicKey::from_wire(false, &zero).unwrap();
    assert!(x448.agree(&zero).is_err());
    // A point that is not on the curve.
    let p256 = PrivateKey::generate(Kex::Prime256v1).unwrap();
    let mut off = p256.public().to_vec();
    *off.last_mut().unwrap() ^= 1;
    let off = PublicKey::from_wire(false, &off).unwrap();
    assert!(p256.agree(&off).is_err());
    // Another algorithm than one's own.
    let other = PublicKey::from_wire(false, x25519.public()).unwrap();
    assert!(p256.agree(&other).is_err());
}

#[test]
fn field_values_outside_of_the_subgroup_are_refused() {
    let own = PrivateKey::generate(Kex::Ffdhe2048).unwrap();
    let field = own.public();
    // BIT STRING and INTEGER of y are the end of the key; these have no leading zero byte more.
    let y_at = field.len() - 256;
    for y in [
        vec![0; 256],
        [vec![0; 255], vec![1]].concat(),
        [vec![0xff; 256]].concat(),
    ] {
        let forged = [&field[..y_at], &y].concat();
        assert!(PublicKey::from_wire(false, &forged).is_err());
    }
    // Half of all numbers are no squares.
    let refused = (2..=41_u8)
        .filter(|last| {
            let mut forged = field.to_vec();
            *forged.last_mut().unwrap() ^= last;
            PublicKey::from_wire(false, &forged).is_err()
        })
        .count();
    assert!((5..=35).contains(&refused), "{refused} of 40");
}

#[test]
fn foreign_keys_and_broken_encodings_are_refused() {
    let good = PrivateKey::generate(Kex::X25519).unwrap();
    let field = good.public();
    for cut in 0..field.len() {
        assert!(PublicKey::from_wire(false, &field[..cut]).is_err());
    }
    let trailing = [field, &[0]].concat();
    assert!(PublicKey::from_wire(false, &trailing).is_err());
    assert!(PublicKey::from_wire(true, field).is_err());
    // secp256k1, which 0.23 crashes on (trap 7).
    let mut foreign = PrivateKey::generate(Kex::Prime256v1)
        .unwrap()
        .public()
        .to_vec();
    foreign.splice(13..23, [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]);
    foreign[1] -= 3;
    foreign[3] -= 3;
    assert!(PublicKey::from_wire(false, &foreign).is_err());
    for kex in [Kex::MlKem768, Kex::X25519MlKem768] {
        let private = PrivateKey::generate(kex).unwrap();
        assert!(private.decapsulate(&[0; 17]).is_err());
    }
    assert!(PrivateKey::from_raw_hybrid(&[0; 2431]).is_err());
    assert!(PrivateKey::from_pem(b"no key").is_err());
}

#[test]
fn secrets_do_not_show() {
    for kex in [Kex::X25519, Kex::Ffdhe2048, Kex::MlKem512] {
        let shown = format!("{:?}", PrivateKey::generate(kex).unwrap());
        assert!(shown.contains("PrivateKey") && shown.len() < 64, "{shown}");
    }
    assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(..)");
}
