//! Cryptography of Ouroboros, thin over well-kept libraries (`spec/oap-crypto.md`).
//!
//! Everything that is secret is overwritten when it is dropped and never shown by `Debug`.

pub mod algorithm;
pub mod cert;
pub mod enc_conf;
pub mod error;
pub mod kdf;
pub mod kex;
pub mod packet;
pub mod sign;
