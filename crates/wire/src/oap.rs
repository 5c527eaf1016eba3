//! The header of flow allocation, OAP (`spec/oap-crypto.md` §2).
