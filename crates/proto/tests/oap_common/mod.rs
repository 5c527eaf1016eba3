//! What the tests of OAP share: vectors, fixed identifiers and keys, certificates made on the spot.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::VecDeque;

use o7s_captures::unhex;
use o7s_crypto::{
    algorithm::Kex,
    cert::{Certificate, Credentials, TrustStore},
    enc_conf,
    kdf::Key,
    kex::PrivateKey,
};
use o7s_proto::oap::{
    Cause, Client, ClientConfig, Code, Encryption, Entropy, OapError, Outcome, Server,
    ServerConfig, SystemEntropy,
};
use o7s_wire::oap::Id;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
    date_time_ymd,
};

/// 2026-12-01, in nanoseconds since the Unix epoch: all certificates are valid then.
pub(crate) const NOW: u64 = 1_796_083_200_000_000_000;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const DAY: u64 = 86_400_000 * MS;

pub(crate) fn vectors() -> serde_json::Value {
    o7s_captures::json("vectors/oap-crypto.json")
}

/// The bytes of a field of a vector; `None` when it is not there.
pub(crate) fn bytes(value: &serde_json::Value) -> Option<Vec<u8>> {
    value.as_str().map(unhex)
}

/// What `enc.conf` with this text means; null is no file.
pub(crate) fn encryption(value: &serde_json::Value) -> Encryption {
    Encryption::from_file(value.as_str().map(str::as_bytes)).unwrap()
}

pub(crate) fn conf(text: &str) -> Encryption {
    enc_conf::parse(text.as_bytes())
        .unwrap()
        .map_or(Encryption::Off, Encryption::On)
}

/// Identifiers and keys that were recorded; those of the system when they are used up.
#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) ids: VecDeque<Id>,
    pub(crate) keys: VecDeque<PrivateKey>,
}

impl Recorded {
    pub(crate) fn new(id: Option<Id>, key: Option<PrivateKey>) -> Self {
        Self {
            ids: id.into_iter().collect(),
            keys: key.into_iter().collect(),
        }
    }
}

impl Entropy for Recorded {
    fn id(&mut self) -> Result<Id, Cause> {
        match self.ids.pop_front() {
            Some(id) => Ok(id),
            None => SystemEntropy.id(),
        }
    }

    fn ephemeral(&mut self, kex: Kex) -> Result<PrivateKey, Cause> {
        match self.keys.pop_front() {
            Some(key) => {
                assert_eq!(key.kex(), kex);
                Ok(key)
            }
            None => SystemEntropy.ephemeral(kex),
        }
    }
}

/// An authority, and the credentials it hands out.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    algorithm: &'static SignatureAlgorithm,
    pub(crate) certificate: Certificate,
}

impl Authority {
    pub(crate) fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = params("test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: Certificate::from_der(certificate.der()).unwrap(),
            params,
            key,
            algorithm,
        }
    }

    pub(crate) fn p256() -> Self {
        Self::new(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn trust(&self) -> TrustStore {
        let mut store = TrustStore::new();
        store.add(self.certificate.clone());
        store
    }

    pub(crate) fn credentials(&self, common_name: &str) -> Credentials {
        self.credentials_until(common_name, 2027)
    }

    /// Credentials that expire at the beginning of a year.
    pub(crate) fn credentials_until(&self, common_name: &str, year: i32) -> Credentials {
        let mut params = params(common_name);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Credentials::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

/// A private key of a vector: `field` with the suffixes `_pkcs8` (or none), `_raw` for hybrids.
pub(crate) fn private(vector: &serde_json::Value, field: &str) -> Option<PrivateKey> {
    let raw = bytes(&vector[format!("{field}_raw")]);
    let pkcs8 = bytes(&vector[field]).or_else(|| bytes(&vector[format!("{field}_pkcs8")]));
    match (pkcs8, raw) {
        (Some(pkcs8), _) => Some(PrivateKey::from_pkcs8(&pkcs8).unwrap()),
        (None, Some(raw)) => Some(PrivateKey::from_raw_hybrid(&raw).unwrap()),
        (None, None) => None,
    }
}

pub(crate) fn nobody() -> TrustStore {
    TrustStore::new()
}

pub(crate) fn request(config: &ClientConfig<'_>) -> (Client, Vec<u8>) {
    Client::start(config, NOW, &mut SystemEntropy).unwrap()
}

pub(crate) fn respond(
    config: &ServerConfig<'_>,
    request: &[u8],
) -> Result<(Vec<u8>, Outcome), OapError> {
    Server::default().respond(config, request, NOW + MS, &mut SystemEntropy)
}

/// Both outcomes of a good exchange; their keys are equal.
pub(crate) fn exchange(client: &ClientConfig<'_>, server: &ServerConfig<'_>) -> (Outcome, Outcome) {
    let (waiting, request) = request(client);
    let (response, accepted) = respond(server, &request).unwrap();
    let allocated = waiting
        .complete(client.trust, &response, NOW + 2 * MS)
        .unwrap();
    assert_eq!(allocated.cipher, accepted.cipher);
    assert_eq!(
        allocated.key.as_ref().map(Key::as_bytes),
        accepted.key.as_ref().map(Key::as_bytes)
    );
    assert_eq!(allocated.key.is_some(), allocated.cipher.is_some());
    assert_eq!(allocated.extensions, accepted.extensions);
    (allocated, accepted)
}

/// The error of a request that the server refuses.
pub(crate) fn refused(client: &ClientConfig<'_>, server: &ServerConfig<'_>) -> OapError {
    let (_, request) = request(client);
    respond(server, &request).unwrap_err()
}

/// The error of a response that the client refuses.
pub(crate) fn dropped(client: &ClientConfig<'_>, server: &ServerConfig<'_>) -> OapError {
    let (waiting, request) = request(client);
    let (response, _) = respond(server, &request).unwrap();
    let error = waiting.complete(client.trust, &response, NOW).unwrap_err();
    assert_eq!(error.code, Code::Crypt);
    error
}
