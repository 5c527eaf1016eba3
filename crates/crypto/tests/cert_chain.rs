//! Chains of certificates, made for each test, and credentials.

use o7s_crypto::{
    cert::{Certificate, ChainError, Credentials, CredentialsError, TrustStore},
    sign::SigningKey,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm, date_time_ymd,
};

/// 2026-12-01, in nanoseconds since the Unix epoch.
const NOW: u64 = 1_796_083_200_000_000_000;
const DAY: u64 = 86_400_000_000_000;

/// One certificate and what signs with its key.
struct Party {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

impl Party {
    fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    fn issue(&self, params: CertificateParams) -> Party {
        self.issue_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn issue_with(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Party {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Party { params, key, der }
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn ca(common_name: &str, path_len: Option<u8>) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(match path_len {
        Some(len) => BasicConstraints::Constrained(len),
        None => BasicConstraints::Unconstrained,
    });
    params
}

fn self_signed(params: CertificateParams) -> Party {
    self_signed_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
}

fn self_signed_with(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Party {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Party { params, key, der }
}

fn store<'a>(parties: impl IntoIterator<Item = &'a Party>) -> TrustStore {
    let mut store = TrustStore::new();
    for party in parties {
        store.add(party.certificate());
    }
    store
}

#[test]
fn every_kind_of_key_certifies() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA384,
        &rcgen::PKCS_RSA_SHA512,
        &rcgen::PKCS_ED25519,
    ] {
        let root = self_signed_with(ca("root", None), algorithm);
        let leaf = root.issue_with(params("oping"), algorithm);
        store([&root]).verify(&leaf.certificate(), NOW).unwrap();

        let stranger = self_signed_with(ca("root", None), algorithm);
        let verdict = store([&stranger]).verify(&leaf.certificate(), NOW);
        assert!(
            matches!(verdict, Err(ChainError::Signature { .. })),
            "{verdict:?}"
        );
        // The right one of two with the same name is found.
        store([&stranger, &root])
            .verify(&leaf.certificate(), NOW)
            .unwrap();
    }
}

#[test]
fn a_root_is_needed_and_intermediates_come_from_the_store() {
    let root = self_signed(ca("root", None));
    let upper = root.issue(ca("upper", None));
    let lower = upper.issue(ca("lower", None));
    let leaf = lower.issue(params("oping")).certificate();
    store([&lower, &root, &upper]).verify(&leaf, NOW).unwrap();

    let missing = store([&root, &upper]).verify(&leaf, NOW).unwrap_err();
    assert_eq!(
        missing,
        ChainError::NoIssuer {
            subject: "CN=oping".into(),
            issuer: "CN=lower".into()
        }
    );
    assert!(
        missing
            .to_string()
            .contains("put its certificate into cacert")
    );
    // A trusted intermediate alone is not enough.
    assert_eq!(
        store([&upper, &lower]).verify(&leaf, NOW).unwrap_err(),
        ChainError::NoIssuer {
            subject: "CN=upper".into(),
            issuer: "CN=root".into()
        }
    );
}

#[test]
fn a_self_signed_leaf_counts_when_it_is_in_the_store() {
    for params in [params("oping"), ca("oping", None)] {
        let leaf = self_signed(params);
        store([&leaf]).verify(&leaf.certificate(), NOW).unwrap();
        let verdict = TrustStore::new().verify(&leaf.certificate(), NOW);
        assert_eq!(
            verdict,
            Err(ChainError::SelfSigned {
                subject: "CN=oping".into()
            })
        );
    }
    // A leaf that is in the store, but not self-signed, still needs its root.
    let root = self_signed(ca("root", None));
    let leaf = root.issue(params("oping"));
    assert!(store([&leaf]).verify(&leaf.certificate(), NOW).is_err());
}

#[test]
fn times_of_the_whole_chain_count() {
    let mut early = ca("root", None);
    early.not_after = date_time_ymd(2026, 6, 1);
    let root = self_signed(early);
    let leaf = root.issue(params("oping"));
    let store = store([&root]);
    let at = |now| store.verify(&leaf.certificate(), now);
    at(NOW - 200 * DAY).unwrap();
    assert_eq!(
        at(NOW).unwrap_err().to_string(),
        "the certificate of \"CN=root\" expired on 2026-06-01T00:00:00Z; renew it"
    );
    assert!(matches!(
        at(NOW - 400 * DAY),
        Err(ChainError::NotYetValid { .. })
    ));
    assert!(matches!(
        at(NOW + 400 * DAY),
        Err(ChainError::Expired { .. })
    ));
    // The limits themselves are inside: 2026-01-01T00:00:00Z to 2026-06-01T00:00:00Z.
    let start = 1_767_225_600_000_000_000;
    at(start).unwrap();
    assert!(at(start - 1).is_err());
    let end = 1_780_272_000_000_000_000;
    at(end).unwrap();
    at(end + 999_999_999).unwrap();
    assert!(at(end + 1_000_000_000).is_err());
}

#[test]
fn issuers_must_be_authorities() {
    let root = self_signed(ca("root", None));
    let not_ca = root.issue(params("not a ca"));
    let leaf = not_ca.issue(params("oping")).certificate();
    let verdict = store([&root, &not_ca]).verify(&leaf, NOW);
    assert_eq!(
        verdict,
        Err(ChainError::NotCa {
            subject: "CN=not a ca".into()
        })
    );

    let mut usage = ca("cannot certify", None);
    usage.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let cannot = root.issue(usage);
    let leaf = cannot.issue(params("oping")).certificate();
    let verdict = store([&root, &cannot]).verify(&leaf, NOW);
    assert!(
        matches!(verdict, Err(ChainError::NotCa { .. })),
        "{verdict:?}"
    );

    // A version 3 root that does not say that it is a CA.
    let mut silent = params("silent");
    silent.is_ca = IsCa::NoCa;
    silent.subject_alt_names = vec![SanType::DnsName("silent".try_into().unwrap())];
    let silent = self_signed(silent);
    let leaf = silent.issue(params("oping")).certificate();
    assert!(store([&silent]).verify(&leaf, NOW).is_err());
}

#[test]
fn path_lengths_count_intermediates() {
    let root = self_signed(ca("root", Some(1)));
    let upper = root.issue(ca("upper", None));
    let lower = upper.issue(ca("lower", None));
    let near = upper.issue(params("near")).certificate();
    let far = lower.issue(params("far")).certificate();
    let store = store([&root, &upper, &lower]);
    store.verify(&near, NOW).unwrap();
    assert_eq!(
        store.verify(&far, NOW),
        Err(ChainError::PathLength {
            subject: "CN=root".into(),
            length: 2,
            allowed: 1
        })
    );
}

#[test]
fn unknown_critical_extensions_and_name_constraints_are_refused() {
    let root = self_signed(ca("root", None));
    let with = |oid: &[u64], critical| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![0x05, 0x00]);
        extension.set_criticality(critical);
        let mut params = params("oping");
        params.custom_extensions = vec![extension];
        root.issue(params).certificate()
    };
    let store = store([&root]);
    store.verify(&with(&[1, 2, 3, 4], false), NOW).unwrap();
    assert_eq!(
        store.verify(&with(&[1, 2, 3, 4], true), NOW),
        Err(ChainError::Extension {
            subject: "CN=oping".into(),
            oid: "1.2.3.4".into()
        })
    );
    // Netscape's type is known.
    store
        .verify(&with(&[2, 16, 840, 1, 113_730, 1, 1], true), NOW)
        .unwrap();
    assert!(store.verify(&with(&[2, 5, 29, 30], false), NOW).is_err());
}

#[test]
fn what_is_not_checked_is_not_checked() {
    let root = self_signed(ca("root", None));
    let mut odd = params("oping");
    odd.key_usages = vec![KeyUsagePurpose::CrlSign];
    odd.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::TimeStamping];
    odd.subject_alt_names = vec![SanType::DnsName("elsewhere.example".try_into().unwrap())];
    let leaf = root.issue(odd).certificate();
    store([&root]).verify(&leaf, NOW).unwrap();
    // A CA as leaf.
    let leaf = root.issue(ca("oping", None)).certificate();
    store([&root]).verify(&leaf, NOW).unwrap();
}

#[test]
fn loops_and_thickets_end() {
    // Two authorities that certify each other, no root.
    let left = self_signed(ca("left", None));
    let right = self_signed(ca("right", None));
    let cross = |issuer: &Party, subject: &Party| {
        let issuer = Issuer::from_params(&issuer.params, &issuer.key);
        let certificate = subject.params.signed_by(&subject.key, &issuer).unwrap();
        Certificate::from_der(certificate.der()).unwrap()
    };
    let mut store = TrustStore::new();
    store.add(cross(&left, &right));
    store.add(cross(&right, &left));
    let leaf = left.issue(params("oping")).certificate();
    assert!(matches!(
        store.verify(&leaf, NOW),
        Err(ChainError::TooLong { .. })
    ));

    // Many issuers with the same name and other keys.
    let mut store = TrustStore::new();
    for _ in 0..120 {
        store.add(self_signed(ca("left", None)).certificate());
    }
    assert!(matches!(
        store.verify(&leaf, NOW),
        Err(ChainError::TooLong { .. })
    ));
}

#[test]
fn a_store_reports_each_bad_file() {
    let root = self_signed(ca("root", None));
    let pem = root.params.self_signed(&root.key).unwrap().pem();
    let loaded =
        TrustStore::from_files([("ca.pem", pem.as_bytes()), ("again.pem", pem.as_bytes())]);
    assert_eq!(loaded.unwrap().len(), 1);
    let errors =
        TrustStore::from_files([("ca.pem", pem.as_bytes()), ("README", b"hello"), ("x", b"")])
            .unwrap_err();
    let files: Vec<&str> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(files, ["README", "x"]);
    assert_eq!(
        errors[0].to_string(),
        "README: there is no PEM block CERTIFICATE in the file; every file in cacert and \
         untrusted must be one PEM certificate"
    );
}

#[test]
fn credentials_belong_together() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let own = self_signed_with(params("oping"), algorithm);
        let other = KeyPair::generate_for(algorithm).unwrap();
        let pem = own.params.self_signed(&own.key).unwrap().pem();
        let credentials =
            Credentials::from_pem(pem.as_bytes(), own.key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(credentials.certificate().common_name(), Some("oping"));

        let error = Credentials::from_pem(pem.as_bytes(), other.serialize_pem().as_bytes());
        let error = error.unwrap_err();
        assert!(
            matches!(error, CredentialsError::Mismatch { .. }),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("does not match the certificate of \"CN=oping\"")
        );
        let error = Credentials::from_pem(pem.as_bytes(), pem.as_bytes()).unwrap_err();
        assert!(matches!(error, CredentialsError::Key(_)), "{error}");
        let key = own.key.serialize_pem();
        let error = Credentials::from_pem(key.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(error, CredentialsError::Certificate(_)), "{error}");
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let key = SigningKey::from_pkcs8_der(key.serialized_der()).unwrap();
    let party = self_signed(params("oping"));
    let error = Credentials::new(party.certificate(), key).unwrap_err();
    assert!(matches!(
        error,
        CredentialsError::Mismatch { key: "RSA", .. }
    ));
}
