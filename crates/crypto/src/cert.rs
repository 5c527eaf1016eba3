//! Certificates, the names in them, and the credentials of a name (`spec/oap-crypto.md` §8).
//!
//! `x509-cert` (RustCrypto) takes certificates apart; chains are built here, over the signatures of
//! [`sign`](crate::sign). `rustls-webpki` cannot serve: it needs a subject alternative name where
//! OAP has a common name, refuses a CA as leaf, and has a fixed list of algorithms.

use std::fmt;

use pkcs8::der::{
    self, Decode, Reader, SliceReader, Tag, Tagged,
    asn1::{AnyRef, BitString},
};
use x509_cert::{
    ext::{
        Extension,
        pkix::{BasicConstraints, KeyUsage},
    },
    name::Name,
    spki::ObjectIdentifier,
    time::Time,
};
use zeroize::Zeroizing;

use crate::sign::{KeyError, SignError, SigningKey, VerifyingKey};

mod chain;
pub(crate) mod pem;

pub use chain::{ChainError, TrustFileError, TrustStore};
pub use pem::PemError;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Why bytes are no usable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No PEM block with a certificate.
    #[error("there is no PEM block CERTIFICATE in the file")]
    NoCertificate,
    /// The PEM block is broken.
    #[error("the PEM block of the certificate is damaged: {0}")]
    Pem(#[from] PemError),
    /// The content is no X.509 certificate.
    #[error("it is no X.509 certificate: {0}")]
    Malformed(String),
}

impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A parsed certificate. Parsing says nothing about trust: see [`TrustStore::verify`].
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    /// The signed part, exactly as received.
    tbs: Vec<u8>,
    x509: x509_cert::Certificate,
    subject: CanonicalName,
    issuer: CanonicalName,
    common_name: Option<String>,
    key: Result<VerifyingKey, KeyError>,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject())
    }
}

impl Certificate {
    /// The first certificate of a PEM file (§9.2).
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_pem(file: &[u8]) -> Result<Self, CertificateError> {
        const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];
        let (label, der) =
            pem::first_block(file, &LABELS)?.ok_or(CertificateError::NoCertificate)?;
        if label == "TRUSTED CERTIFICATE" {
            // Trust settings follow the certificate.
            let mut reader = SliceReader::new(&der)?;
            return Self::from_der(reader.tlv_bytes()?);
        }
        Self::from_der(&der)
    }

    /// A certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let x509 = x509_cert::Certificate::from_der(der)?;
        let content = AnyRef::from_der(der)?.value();
        let tbs = SliceReader::new(content)?.tlv_bytes()?.to_vec();
        let parts = x509.tbs_certificate();
        if parts.signature() != x509.signature_algorithm() {
            return Err(CertificateError::Malformed(
                "its two signature algorithms differ".into(),
            ));
        }
        let extensions = parts.extensions().map_or(&[][..], Vec::as_slice);
        for (index, extension) in extensions.iter().enumerate() {
            if extensions
                .iter()
                .take(index)
                .any(|earlier| earlier.extn_id == extension.extn_id)
            {
                return Err(CertificateError::Malformed(format!(
                    "extension {} occurs twice",
                    extension.extn_id
                )));
            }
        }
        let basic_constraints = decode_extension(extensions)?;
        let key_usage = decode_extension(extensions)?;
        Ok(Self {
            der: der.to_vec(),
            tbs,
            subject: CanonicalName::of(parts.subject()),
            issuer: CanonicalName::of(parts.issuer()),
            common_name: common_name(parts.subject()),
            key: VerifyingKey::from_spki(parts.subject_public_key_info()),
            basic_constraints,
            key_usage,
            x509,
        })
    }

    /// The certificate as it is sent.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The name that counts (§8.3): the first CN attribute of the subject, from the start of the
    /// subject. `None` without one; never taken from another attribute.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The whole subject, for messages to people.
    #[must_use]
    pub fn subject(&self) -> String {
        self.x509.tbs_certificate().subject().to_string()
    }

    /// The issuer, for messages to people.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.x509.tbs_certificate().issuer().to_string()
    }

    /// The public key.
    ///
    /// # Errors
    /// [`KeyError`] when its algorithm is not available.
    pub fn key(&self) -> Result<&VerifyingKey, KeyError> {
        self.key.as_ref().map_err(Clone::clone)
    }

    fn not_before(&self) -> Time {
        self.x509.tbs_certificate().validity().not_before
    }

    fn not_after(&self) -> Time {
        self.x509.tbs_certificate().validity().not_after
    }

    fn extensions(&self) -> &[Extension] {
        let extensions = self.x509.tbs_certificate().extensions();
        extensions.map_or(&[][..], Vec::as_slice)
    }

    /// Whether `issuer`'s key made this certificate's signature.
    fn signed_by(&self, issuer: &Self) -> Result<(), ChainError> {
        let key = issuer.key().map_err(|error| ChainError::Key {
            subject: issuer.subject(),
            error,
        })?;
        let signature = bits(self.x509.signature()).unwrap_or_default();
        key.verify_certificate(self.x509.signature_algorithm(), &self.tbs, signature)
            .map_err(|error| ChainError::Signature {
                subject: self.subject(),
                issuer: issuer.subject(),
                error,
            })
    }
}

fn bits(string: &BitString) -> Option<&[u8]> {
    string.as_bytes()
}

fn decode_extension<T>(extensions: &[Extension]) -> Result<Option<T>, der::Error>
where
    T: der::oid::AssociatedOid + for<'a> Decode<'a, Error = der::Error>,
{
    extensions
        .iter()
        .find(|extension| extension.extn_id == T::OID)
        .map(|extension| T::from_der(extension.extn_value.as_bytes()))
        .transpose()
}

fn common_name(subject: &Name) -> Option<String> {
    let attribute = subject
        .iter()
        .find(|attribute| attribute.oid == COMMON_NAME)?;
    text(attribute.value.tag(), attribute.value.value())
}

/// The text of an ASN.1 string of one of the types that names use.
fn text(tag: Tag, bytes: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty()
                .then(|| String::from_utf16(&units).ok())
                .flatten()
        }
        _ => None,
    }
}

/// A name in the form in which names of issuers and subjects are compared (RFC 5280 §7.1): letter
/// case, runs of space and the type of the string do not count. The signature is what proves the
/// relation; the name only selects candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CanonicalName(Vec<Vec<(ObjectIdentifier, Vec<u8>)>>);

impl CanonicalName {
    fn of(name: &Name) -> Self {
        let rdns = name.iter_rdn().map(|rdn| {
            let attributes = rdn.iter().map(|attribute| {
                let (tag, bytes) = (attribute.value.tag(), attribute.value.value());
                let value = match text(tag, bytes) {
                    Some(text) => text
                        .split_whitespace()
                        .map(str::to_lowercase)
                        .collect::<Vec<_>>()
                        .join(" ")
                        .into_bytes(),
                    None => bytes.to_vec(),
                };
                (attribute.oid, value)
            });
            attributes.collect()
        });
        Self(rdns.collect())
    }
}

/// Why the files of a name cannot be used as its credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The certificate file.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// The key file, or the key in the certificate.
    #[error("the key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The two files do not belong together.
    #[error(
        "the private key ({key}) does not match the certificate of \"{subject}\"; use the key \
         that the certificate was requested with"
    )]
    Mismatch {
        /// Kind of the private key.
        key: &'static str,
        /// Subject of the certificate.
        subject: String,
    },
}

/// A certificate and its private key: what a name authenticates itself with.
#[derive(Debug)]
pub struct Credentials {
    certificate: Certificate,
    key: SigningKey,
}

impl Credentials {
    /// From the two PEM files of a name (§9.2). Checks that they belong together.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let certificate = Certificate::from_pem(certificate)?;
        let key = SigningKey::from_pem(key)?;
        Self::new(certificate, key)
    }

    /// From parsed parts. Checks that they belong together.
    ///
    /// # Errors
    /// [`CredentialsError::Mismatch`], or [`CredentialsError::Key`] when the certificate's key is
    /// not available.
    pub fn new(certificate: Certificate, key: SigningKey) -> Result<Self, CredentialsError> {
        let public = certificate.key()?;
        // The point of an EC key has several encodings; a signature has the last word.
        let same = public.kind() == key.kind()
            && (public.public_bytes() == key.public_bytes() || Self::probe(public, &key).is_ok());
        if !same {
            return Err(CredentialsError::Mismatch {
                key: key.kind().name(),
                subject: certificate.subject(),
            });
        }
        Ok(Self { certificate, key })
    }

    fn probe(public: &VerifyingKey, key: &SigningKey) -> Result<(), SignError> {
        let message = b"does this key belong to this certificate?";
        let signature = Zeroizing::new(key.sign(None, message)?);
        public.verify(None, message, &signature)
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }
}
