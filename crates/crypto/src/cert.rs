//! Certificates, trust stores and the names in certificates.
