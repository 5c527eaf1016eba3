//! Certificates of tests: made anew by each, kept in its own directory.

#![allow(
    unreachable_pub,
    reason = "a module of those test files that need certificates"
)]

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, SignatureAlgorithm, date_time_ymd,
};

/// Somebody who issues certificates.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What is wrong with a certificate, or special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    Ed25519,
    Expired,
    NotYet,
    /// With the key of another certificate.
    OtherKey,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::issued(name, None)
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Self {
        Self::issued(name, Some(self))
    }

    fn issued(name: &str, by: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = match by {
            None => params.self_signed(&key),
            Some(authority) => params.signed_by(&key, &authority.issuer),
        };
        Self {
            certificate: certificate.unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes its certificate into `<security>/<place>`.
    pub fn trust(&self, security: &Path, place: &str) {
        let dir = security.join(place);
        fs::create_dir_all(&dir).unwrap();
        let number = fs::read_dir(&dir).unwrap().count();
        fs::write(dir.join(format!("{number}.pem")), &self.certificate).unwrap();
    }

    /// Writes a certificate for `name`, with its key, into `dir`.
    pub fn issue(&self, dir: &Path, name: &str, kind: Kind) {
        let algorithm: &SignatureAlgorithm = match kind {
            Kind::Ed25519 => &PKCS_ED25519,
            _ => &PKCS_ECDSA_P256_SHA256,
        };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = params(name);
        match kind {
            Kind::Expired => {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }
            Kind::NotYet => params.not_before = date_time_ymd(3000, 1, 1),
            _ => {}
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = match kind {
            Kind::OtherKey => KeyPair::generate().unwrap(),
            _ => key,
        };
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("crt.pem"), certificate.pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
