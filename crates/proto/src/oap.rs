//! The authentication and key exchange of flow allocation (`spec/oap-crypto.md` §2, §3).
