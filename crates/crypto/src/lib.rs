//! Cryptography of Ouroboros, thin over well-kept libraries (`spec/oap-crypto.md`).

pub mod algorithm;
pub mod cert;
pub mod enc_conf;
pub mod kdf;
pub mod kex;
pub mod packet;
pub mod sign;
