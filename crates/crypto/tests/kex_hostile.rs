//! Keys and ciphertexts that a hostile peer may send, and the forms of static keys
//! (`spec/oap-crypto.md` §4.2, §4.5).

mod support;

use base64ct::{Base64, Encoding as _};
use o7s_captures::unhex;
use o7s_crypto::{
    algorithm::Kex,
    error::CryptoError,
    kdf,
    kex::{PrivateKey, PublicKey},
};
use proptest::prelude::*;
use support::{bytes, text, vectors};

/// DER of one value with a length of up to 65535.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        0..=127 => vec![length[1]],
        128..=255 => vec![0x81, length[1]],
        _ => vec![0x82, length[0], length[1]],
    };
    [&[tag][..], &length, content].concat()
}

/// A public key with these parameters behind the algorithm's number.
fn spki(oid: &str, parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &[&unhex(oid), parameters].concat());
    tlv(
        0x30,
        &[algorithm, tlv(0x03, &[&[0], key].concat())].concat(),
    )
}

/// What agreement with a key ends in, wherever it is refused.
fn agreed(own: &PrivateKey, field: &[u8]) -> Result<(), CryptoError> {
    own.agree(&PublicKey::from_wire(false, field)?).map(drop)
}

const EC: &str = "06072a8648ce3d0201";
const P256: &str = "06082a8648ce3d030107";
const X25519: &str = "06032b656e";
const X448: &str = "06032b656f";
const DH: &str = "06092a864886f70d010301";

#[test]
fn only_points_of_the_curve_are_agreed_on() {
    let own = PrivateKey::generate(Kex::Prime256v1).unwrap();
    let point = own.public()[26..].to_vec();
    assert_eq!((point.len(), point[0]), (65, 4));
    assert_eq!(spki(EC, &unhex(P256), &point), own.public());

    // The compressed form is another encoding of the same point: C peers accept it, so do we.
    let compressed = [&[2 + (point[64] & 1)][..], &point[1..33]].concat();
    let field = spki(EC, &unhex(P256), &compressed);
    let short = PublicKey::from_wire(false, &field).unwrap();
    let long = PublicKey::from_wire(false, own.public()).unwrap();
    assert_eq!(own.agree(&short).unwrap(), own.agree(&long).unwrap());
    assert_eq!(short.as_bytes(), field, "the derivation uses what was sent");

    let infinity = vec![0];
    let zero = [&[4][..], &[0; 64]].concat();
    let beyond = [&[4][..], &[0xff; 64]].concat();
    let hybrid = [&[6 + (point[64] & 1)][..], &point[1..]].concat();
    let cut = point[..64].to_vec();
    let longer = [&point[..], &[0]].concat();
    let nested = own.public().to_vec();
    // x = p is no field element.
    let prime = unhex("02ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    for bad in [
        infinity,
        zero,
        beyond,
        hybrid,
        cut,
        longer,
        prime,
        nested,
        Vec::new(),
    ] {
        let field = spki(EC, &unhex(P256), &bad);
        assert!(agreed(&own, &field).is_err(), "{bad:02x?}");
    }
    // A point of another curve under the name of this one.
    let other = PrivateKey::generate(Kex::Secp384r1).unwrap();
    let field = spki(EC, &unhex(P256), &other.public()[23..]);
    assert!(agreed(&own, &field).is_err());
    // Explicit parameters and none.
    assert!(agreed(&own, &spki(EC, &[], &point)).is_err());
    assert!(agreed(&own, &spki(EC, &tlv(0x30, &[2, 1, 1]), &point)).is_err());
}

/// All points of small order (RFC 7748 §6, little-endian), those beyond the prime included.
#[test]
fn points_of_small_order_give_no_secret() {
    let own = PrivateKey::generate(Kex::X25519).unwrap();
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ] {
        assert!(
            agreed(&own, &spki(X25519, &[], &unhex(point))).is_err(),
            "{point}"
        );
    }
    let own = PrivateKey::generate(Kex::X448).unwrap();
    let (high, low) = ("ff".repeat(27), "ff".repeat(28));
    for point in [
        "00".repeat(56),
        format!("01{}", "00".repeat(55)),
        // p - 1, p and p + 1 for p = 2^448 - 2^224 - 1.
        format!("fe{high}fe{low}"),
        format!("ff{high}fe{low}"),
        format!("{}ff{low}", "00".repeat(28)),
    ] {
        assert!(
            agreed(&own, &spki(X448, &[], &unhex(&point))).is_err(),
            "{point}"
        );
    }
    for (oid, length) in [(X25519, 32), (X448, 56)] {
        for wrong in [0, length - 1, length + 1] {
            assert!(PublicKey::from_wire(false, &spki(oid, &[], &vec![9; wrong])).is_err());
        }
    }
}

#[test]
fn field_groups_and_values_are_checked() {
    let own = PrivateKey::generate(Kex::Ffdhe2048).unwrap();
    // SEQUENCE, SEQUENCE, the algorithm's number, SEQUENCE, INTEGER with a zero byte before p.
    let field = own.public();
    let at = field
        .windows(4)
        .position(|four| four == [2, 0x82, 1, 1])
        .unwrap()
        + 5;
    let prime = &field[at..at + 256];
    assert_eq!((prime[0], prime[255]), (0xff, 0xff));
    let integer = |bytes: &[u8]| tlv(0x02, bytes);
    let positive = |bytes: &[u8]| integer(&[&[0], bytes].concat());
    let group = |prime: &[u8], generator: u8, rest: &[u8]| {
        tlv(
            0x30,
            &[&positive(prime), &integer(&[generator])[..], rest].concat(),
        )
    };
    let good = group(prime, 2, &[]);
    let with = |y: &[u8]| spki(DH, &good, y);
    let minus = |less: u8| {
        let mut value = prime.to_vec();
        value[255] -= less;
        value
    };

    // 4 is a square. p - 4 is none, though it lies between 2 and p - 2.
    agreed(&own, &with(&integer(&[4]))).unwrap();
    // A length of private values behind the generator is allowed by PKCS #3.
    agreed(
        &own,
        &spki(DH, &group(prime, 2, &integer(&[1, 0])), &integer(&[4])),
    )
    .unwrap();
    let mut above = prime.to_vec();
    above.iter_mut().for_each(|byte| *byte = 0xff);
    let longer = [&[1][..], prime].concat();
    for (what, y) in [
        ("0", integer(&[0])),
        ("1", integer(&[1])),
        ("-4", integer(&[0xfc])),
        ("p - 4", positive(&minus(4))),
        ("p - 2", positive(&minus(2))),
        ("p - 1", positive(&minus(1))),
        ("p", positive(prime)),
        ("2^2048 - 1", positive(&above)),
        ("more than 2^2048", integer(&longer)),
        ("4, with a needless zero", integer(&[0, 4])),
        ("4, and a byte", [integer(&[4]), vec![0]].concat()),
        ("octets", tlv(0x04, &[4])),
        ("nothing", Vec::new()),
    ] {
        assert!(agreed(&own, &with(&y)).is_err(), "{what}");
    }
    for other in [
        group(&minus(2), 2, &[]),
        group(prime, 5, &[]),
        group(&prime[..255], 2, &[]),
        tlv(0x30, &positive(prime)),
        Vec::new(),
        vec![5, 0],
    ] {
        assert!(agreed(&own, &spki(DH, &other, &integer(&[4]))).is_err());
    }
    // The number of another group than the own.
    let wider = PrivateKey::generate(Kex::Ffdhe3072).unwrap();
    assert!(agreed(&own, wider.public()).is_err());
}

/// Encapsulation keys with coefficients beyond the modulus (FIPS 203 §7.2).
#[test]
fn malformed_encapsulation_keys_are_refused() {
    for kex in Kex::ALL.into_iter().filter(|kex| kex.is_kem()) {
        let own = PrivateKey::generate(kex).unwrap();
        let mut field = own.public().to_vec();
        let start = if kex.is_hybrid() { 0 } else { 22 };
        field[start..start + 384].fill(0xff);
        let refused = PublicKey::from_wire(kex.is_hybrid(), &field)
            .and_then(|public| public.encapsulate().map(drop));
        assert!(refused.is_err(), "{kex}");
    }
}

#[test]
fn hybrids_need_both_halves() {
    for (kex, curve) in [(Kex::X25519MlKem768, 32), (Kex::X448MlKem1024, 56)] {
        let own = PrivateKey::generate(kex).unwrap();
        // A curve key of small order in the public key, and in the ciphertext.
        let length = own.public().len();
        let mut field = own.public().to_vec();
        field[length - curve..].fill(0);
        let weak = PublicKey::from_wire(true, &field).unwrap();
        assert!(weak.encapsulate().is_err(), "{kex}");
        let public = PublicKey::from_wire(true, own.public()).unwrap();
        let (ciphertext, secret) = public.encapsulate().unwrap();
        assert_eq!(secret.len(), 32 + curve);
        let mut forged = ciphertext.clone();
        let at = forged.len() - curve;
        forged[at..].fill(0);
        assert!(own.decapsulate(&forged).is_err(), "{kex}");
        // A change in the other half gives another secret, not an error (implicit rejection).
        let mut forged = ciphertext.clone();
        forged[0] ^= 1;
        let other = own.decapsulate(&forged).unwrap();
        assert_ne!(other[..32], secret[..32]);
        assert_eq!(other[32..], secret[32..]);
        for wrong in [0, ciphertext.len() - 1, ciphertext.len() + 1] {
            let mut cut = ciphertext.clone();
            cut.resize(wrong, 0);
            let error = own.decapsulate(&cut).unwrap_err();
            assert!(matches!(error, CryptoError::BadCiphertext { found, .. } if found == wrong));
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = Base64::encode_string(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The three forms of a private key file (§4.5), the public key file, and both sides' work with
/// them in client mode.
#[test]
fn static_keys_are_read_from_their_files_in_all_forms() {
    let vectors = vectors();
    let mut forms = 0;
    for vector in vectors["kem"].as_array().unwrap() {
        let kex = Kex::from_name(text(vector, "kex")).unwrap();
        let field = bytes(vector, "pk");
        let mut keys = Vec::new();
        if kex.is_hybrid() {
            let raw = bytes(vector, "priv_raw");
            keys.push(PrivateKey::from_raw_hybrid(&raw).unwrap());
            assert_eq!(PublicKey::from_wire(true, &field).unwrap().kex(), kex);
        } else {
            let number = match kex {
                Kex::MlKem512 => 1,
                Kex::MlKem768 => 2,
                _ => 3,
            };
            let algorithm = tlv(
                0x30,
                &[&unhex("06096086480165030404")[..], &[number]].concat(),
            );
            let file = |key: &[u8]| {
                let der = tlv(0x30, &[&[2, 1, 0], &algorithm[..], &tlv(4, key)].concat());
                pem("PRIVATE KEY", &der)
            };
            let seed = bytes(vector, "seed");
            let mut files = vec![file(&tlv(0x80, &seed))];
            let mut broken = vec![file(&tlv(0x80, &seed[..32])), file(&[])];
            if vector.get("priv_pkcs8").is_some() {
                // As OpenSSL writes it: SEQUENCE { OCTET STRING seed, OCTET STRING expanded }.
                let both = bytes(vector, "priv_pkcs8");
                let at = both.windows(64).position(|part| part == seed).unwrap();
                let expanded = &both[at + 64 + 4..];
                let parts = [tlv(0x04, &seed), tlv(0x04, expanded)].concat();
                let text = file(&tlv(0x30, &parts));
                assert_eq!(text, pem("PRIVATE KEY", &both));
                files.extend([text, file(&tlv(0x04, expanded))]);
                broken.push(file(&tlv(0x04, &expanded[..expanded.len() / 2])));
                broken.push(file(&tlv(0x30, &tlv(0x04, expanded))));
            }
            for text in files {
                keys.push(PrivateKey::from_pem(text.as_bytes()).unwrap());
            }
            for text in broken {
                assert!(PrivateKey::from_pem(text.as_bytes()).is_err());
            }
            let public = PublicKey::from_pem(pem("PUBLIC KEY", &field).as_bytes()).unwrap();
            assert_eq!(public.as_bytes(), field);
        }
        let public = PublicKey::from_wire(kex.is_hybrid(), &field).unwrap();
        let (ciphertext, secret) = public.encapsulate().unwrap();
        let client = kdf::derive_kem(None, &secret, public.as_bytes());
        for key in keys {
            assert_eq!((key.kex(), key.public()), (kex, &field[..]));
            let secret = key.decapsulate(&ciphertext).unwrap();
            assert_eq!(
                kdf::derive_kem(None, &secret, key.public()),
                client,
                "{kex}"
            );
            forms += 1;
        }
    }
    assert_eq!(forms, 3 + 3 + 1 + 2);
}

/// Valid keys of every kind, for mutation.
fn samples() -> Vec<Vec<u8>> {
    let vectors = vectors();
    let mut samples = Vec::new();
    for vector in vectors["dhe"].as_array().unwrap() {
        samples.extend([bytes(vector, "a_pk"), bytes(vector, "a_priv_pkcs8")]);
    }
    for vector in vectors["kem"].as_array().unwrap() {
        samples.push(bytes(vector, "pk"));
        let private = ["priv_raw", "priv_pkcs8"].into_iter();
        samples.extend(
            private
                .filter(|form| vector.get(form).is_some())
                .map(|form| bytes(vector, form)),
        );
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_and_cut_keys_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        raw in any::<bool>(),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).clone();
        // The changes fall on the wrapping more often than on the key.
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(48));
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(public) = PublicKey::from_wire(raw, &bytes) {
            prop_assert_eq!(public.as_bytes(), &bytes[..]);
            if public.kex().is_kem() {
                let _ = public.encapsulate();
            } else if public.kex() != Kex::Ffdhe4096 {
                let _ = PrivateKey::generate(public.kex()).unwrap().agree(&public);
            }
        }
        let keys = [PrivateKey::from_pkcs8(&bytes), PrivateKey::from_raw_hybrid(&bytes)];
        for key in keys.into_iter().flatten() {
            let wire = PublicKey::from_wire(key.kex().is_hybrid(), key.public()).unwrap();
            prop_assert_eq!(wire.kex(), key.kex());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_keys(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(PublicKey::from_wire(false, &bytes).is_err());
        prop_assert!(PublicKey::from_wire(true, &bytes).is_err());
        prop_assert!(PrivateKey::from_pkcs8(&bytes).is_err());
        prop_assert!(PrivateKey::from_pem(&bytes).is_err());
        prop_assert!(PublicKey::from_pem(&bytes).is_err());
    }
}
