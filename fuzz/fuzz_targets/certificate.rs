//! Arbitrary certificates and key files: no panic, and nobody is trusted who is not in the store.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_crypto::{
    cert::{Certificate, TrustStore},
    sign::{SigningKey, VerifyingKey},
};

fuzz_target!(|input: &[u8]| {
    // The time in seconds since the Unix epoch, and the file.
    let Some((now, bytes)) = input.split_first_chunk() else {
        return;
    };
    let now = u64::from(u32::from_be_bytes(*now)) * 1_000_000_000;
    for parsed in [Certificate::from_der(bytes), Certificate::from_pem(bytes)] {
        let Ok(certificate) = parsed else { continue };
        assert!(TrustStore::new().verify(&certificate, now).is_err());
        let mut store = TrustStore::new();
        store.add(certificate.clone());
        let _ = store.verify(&certificate, now);
        let _ = (certificate.subject(), certificate.issuer());
        let _ = certificate.common_name();
        if let Ok(key) = certificate.key() {
            let _ = key.verify(None, b"message", bytes);
        }
    }
    let _ = VerifyingKey::from_spki_der(bytes);
    let keys = [
        SigningKey::from_pem(bytes),
        SigningKey::from_pkcs8_der(bytes),
    ];
    for key in keys.into_iter().flatten() {
        let _ = key.sign(None, b"message");
    }
});
