//! The certificate with which one end proves who it is: the same for flows and for TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Outcome;

/// The name whose server has a certificate.
pub(crate) const SIGNED: &str = "bench-signed";
/// Environment variable with the directory of the security files, for children.
pub(crate) const SECURITY: &str = "O7S_BENCH_SECURITY";

/// Makes an authority and a certificate of [`SIGNED`] by it (ECDSA P-256 both) in the layout of a
/// daemon's security directory (`spec/oap-crypto.md` §9.2).
pub(crate) fn make(security: &Path) -> Outcome {
    let key = KeyPair::generate()?;
    let mut params = params("bench-authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = params.self_signed(&key)?;
    let authority = Issuer::new(params, key);
    let path = authority_path(security);
    fs::create_dir_all(path.parent().unwrap_or(security))?;
    fs::write(path, trusted.pem())?;

    let key = KeyPair::generate()?;
    let certificate = self::params(SIGNED)?.signed_by(&key, &authority)?;
    let (certificate_path, key_path) = server_paths(security);
    fs::create_dir_all(certificate_path.parent().unwrap_or(security))?;
    fs::write(certificate_path, certificate.pem())?;
    fs::write(key_path, key.serialize_pem())?;
    Ok(())
}

/// Where the authority's certificate is.
pub(crate) fn authority_path(security: &Path) -> PathBuf {
    security.join("cacert/authority.pem")
}

/// Where the server's certificate and key are.
pub(crate) fn server_paths(security: &Path) -> (PathBuf, PathBuf) {
    let directory = security.join("server").join(SIGNED);
    (directory.join("crt.pem"), directory.join("key.pem"))
}

fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
