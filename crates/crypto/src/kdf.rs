//! Key derivation.
