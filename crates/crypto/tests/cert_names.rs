//! Names in certificates, and certificates made by the C implementation and OpenSSL.

use base64ct::{Base64, Encoding};
use o7s_crypto::{
    cert::{Certificate, CertificateError, ChainError, TrustStore},
    sign::{KeyError, KeyKind, VerifyingKey},
};
use proptest::prelude::*;

/// 2026-12-01, in nanoseconds since the Unix epoch.
const NOW: u64 = 1_796_083_200_000_000_000;

fn vectors() -> serde_json::Value {
    o7s_captures::json("vectors/oap-crypto.json")
}

fn name_vectors() -> Vec<(String, Option<String>, Vec<u8>)> {
    let vectors = vectors();
    let vectors = vectors["certificate_name"].as_array().unwrap().iter();
    vectors
        .map(|vector| {
            (
                vector["subject"].as_str().unwrap().to_owned(),
                vector["result"].as_str().map(str::to_owned),
                Base64::decode_vec(vector["crt_der"].as_str().unwrap()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn names_agree_with_the_c_implementation_where_it_parses_properly() {
    let vectors = name_vectors();
    assert_eq!(vectors.len(), 8);
    for (subject, c_result, der) in vectors {
        let certificate = Certificate::from_der(&der).unwrap();
        let expected = match subject.as_str() {
            // Text search takes the name out of the organisation (§12, 14).
            "/O=XCN=evil/CN=good" => Some("good".to_owned()),
            // Text search cuts the name at the comma.
            "/CN=a,b" => Some("a,b".to_owned()),
            _ => c_result,
        };
        assert_eq!(certificate.common_name(), expected.as_deref(), "{subject}");
    }
}

#[test]
fn certificates_of_the_vectors_load_with_their_keys() {
    let vectors = vectors();
    let certificates = vectors["certificates"].as_object().unwrap();
    assert_eq!(certificates.len(), 10);
    for (name, pem) in certificates {
        let certificate = Certificate::from_pem(pem.as_str().unwrap().as_bytes()).unwrap();
        let kind = certificate.key().map(VerifyingKey::kind);
        let set = name.split('.').next().unwrap();
        let expected = match set {
            "ec" => Ok(KeyKind::EcP256),
            "rsa" => Ok(KeyKind::Rsa),
            "ed25519" => Ok(KeyKind::Ed25519),
            "mldsa65" => Ok(KeyKind::MlDsa65),
            "slh128s" => Err(KeyError::Unavailable("SLH-DSA-SHA2-128s")),
            other => panic!("set {other}"),
        };
        assert_eq!(kind, expected, "{name}");
    }
    // Intermediates hang on their roots; alone they are not trusted.
    for set in ["ec", "rsa", "ed25519", "mldsa65"] {
        let load = |part: &str| {
            let pem = certificates[&format!("{set}.{part}")].as_str().unwrap();
            Certificate::from_pem(pem.as_bytes()).unwrap()
        };
        let (root, intermediate) = (load("ca"), load("im"));
        let mut store = TrustStore::new();
        store.add(intermediate.clone());
        assert!(
            matches!(
                store.verify(&intermediate, NOW),
                Err(ChainError::NoIssuer { .. })
            ),
            "{set}"
        );
        store.add(root.clone());
        store.verify(&intermediate, NOW).unwrap();
        store.verify(&root, NOW).unwrap();
    }
}

#[test]
fn certificates_of_the_captures() {
    let load = |name: &str| {
        let file = o7s_captures::bytes(&format!("captures/09-certs/{name}.crt.pem"));
        Certificate::from_pem(&file).unwrap()
    };
    let mut store = TrustStore::new();
    store.add(load("ca"));
    for (name, common_name) in [
        ("server", "oping"),
        ("client", "capture-client"),
        ("wrongcn", "notoping"),
    ] {
        let certificate = load(name);
        assert_eq!(certificate.common_name(), Some(common_name));
        store.verify(&certificate, NOW).unwrap();
        assert!(TrustStore::new().verify(&certificate, NOW).is_err());
    }
}

#[test]
fn damaged_certificates_are_refused() {
    let (_, _, der) = name_vectors().swap_remove(0);
    for len in 0..der.len() {
        assert!(Certificate::from_der(&der[..len]).is_err(), "{len}");
    }
    let mut longer = der.clone();
    longer.push(0);
    assert!(matches!(
        Certificate::from_der(&longer),
        Err(CertificateError::Malformed(_))
    ));
    let refused = |file: &str| Certificate::from_pem(file.as_bytes()).unwrap_err();
    assert_eq!(refused("no certificate"), CertificateError::NoCertificate);
    assert!(matches!(
        refused("-----BEGIN CERTIFICATE-----\nMIIB\n"),
        CertificateError::Pem(_)
    ));
    assert!(matches!(
        refused("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        CertificateError::Malformed(_)
    ));
}

#[test]
fn only_the_first_certificate_of_a_file_counts() {
    let vectors = vectors();
    let pem = |name: &str| vectors["certificates"][name].as_str().unwrap().to_owned();
    let file = format!("subject=…\r\n{}{}", pem("ec.im"), pem("ec.ca")).replace('\n', "\r\n");
    let certificate = Certificate::from_pem(file.as_bytes()).unwrap();
    let first = Certificate::from_pem(pem("ec.im").as_bytes()).unwrap();
    assert_eq!(certificate.der(), first.der());
}

proptest! {
    #[test]
    fn changed_certificates_never_panic(
        which in 0_usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (_, _, mut der) = name_vectors().swap_remove(which);
        let whole = Certificate::from_der(&der).unwrap();
        let mut store = TrustStore::new();
        store.add(whole.clone());
        let original = der.clone();
        for (index, byte) in changes {
            let index = index.index(der.len());
            der[index] = byte;
        }
        if let Ok(changed) = Certificate::from_der(&der) {
            let verdict = store.verify(&changed, NOW);
            prop_assert_eq!(verdict.is_ok(), der == original);
            let _ = changed.subject();
        }
    }

    #[test]
    fn arbitrary_files_never_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        framed in any::<bool>(),
    ) {
        let mut file = Vec::new();
        if framed {
            file.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
            file.extend_from_slice(Base64::encode_string(&body).as_bytes());
            file.extend_from_slice(b"\n-----END CERTIFICATE-----\n");
        } else {
            file = body;
        }
        prop_assert!(Certificate::from_pem(&file).is_err());
    }
}
