//! Arbitrary keys of a key exchange, from a peer's message or a file: no panic, what parses is the
//! same bytes, and both sides of an agreement get the same secret.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_crypto::kex::{PrivateKey, PublicKey};

fuzz_target!(|bytes: &[u8]| {
    for raw in [false, true] {
        if let Ok(public) = PublicKey::from_wire(raw, bytes) {
            assert_eq!(public.as_bytes(), bytes);
            if public.kex().is_kem() {
                let _ = public.encapsulate();
            } else {
                let own = PrivateKey::generate(public.kex()).unwrap();
                let _ = own.agree(&public);
            }
        }
    }
    let _ = PublicKey::from_pem(bytes);
    for private in [
        PrivateKey::from_pkcs8(bytes),
        PrivateKey::from_raw_hybrid(bytes),
        PrivateKey::from_pem(bytes),
    ] {
        // A file may hold a key that no peer accepts, such as the exponent 0.
        let Ok(private) = private else { continue };
        let kex = private.kex();
        let Ok(public) = PublicKey::from_wire(kex.is_hybrid(), private.public()) else {
            continue;
        };
        if kex.is_kem() {
            if let Ok((ciphertext, _)) = public.encapsulate() {
                let _ = private.decapsulate(&ciphertext);
            }
            let _ = private.decapsulate(bytes);
        } else {
            let peer = PrivateKey::generate(kex).unwrap();
            let peers = PublicKey::from_wire(false, peer.public()).unwrap();
            let (own, other) = (private.agree(&peers), peer.agree(&public));
            assert_eq!(own.ok(), other.ok());
        }
    }
});
