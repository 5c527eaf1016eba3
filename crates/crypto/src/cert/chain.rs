//! The trust store, and the chain from a certificate to a root in it (`spec/oap-crypto.md` §8.1).
//!
//! Checked: signatures, validity times, CA flag and path length of issuers, their right to sign
//! certificates, unknown critical extensions. Not checked, as in the C implementation: use of the
//! leaf's key, extended key usage, revocation, subject alternative names, strength of keys and
//! digests. Name constraints, which we do not evaluate, are refused rather than ignored.

use std::time::Duration;

use x509_cert::spki::ObjectIdentifier;

use super::{Certificate, CertificateError};
use crate::sign::{KeyError, SignError};

/// Most certificates between a leaf and its root, the root included.
const MAX_DEPTH: usize = 10;

/// Most signatures that one verification checks, whatever the store looks like.
const MAX_SIGNATURES: usize = 100;

/// Extensions that may be critical.
const KNOWN_EXTENSIONS: [ObjectIdentifier; 11] = {
    const fn new(dotted: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(dotted)
    }
    [
        new("2.5.29.14"),             // subject key identifier
        new("2.5.29.15"),             // key usage
        new("2.5.29.17"),             // subject alternative name
        new("2.5.29.18"),             // issuer alternative name
        new("2.5.29.19"),             // basic constraints
        new("2.5.29.31"),             // CRL distribution points
        new("2.5.29.32"),             // certificate policies
        new("2.5.29.33"),             // policy mappings
        new("2.5.29.35"),             // authority key identifier
        new("2.5.29.37"),             // extended key usage
        new("2.16.840.1.113730.1.1"), // Netscape certificate type
    ]
};

const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");

/// Why a certificate is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Its time is over.
    #[error("the certificate of \"{subject}\" expired on {not_after}; renew it")]
    Expired {
        /// Subject of the certificate.
        subject: String,
        /// Last moment of its validity, UTC.
        not_after: String,
    },
    /// Its time has not come.
    #[error(
        "the certificate of \"{subject}\" is not valid before {not_before}; check the clock of this machine"
    )]
    NotYetValid {
        /// Subject of the certificate.
        subject: String,
        /// First moment of its validity, UTC.
        not_before: String,
    },
    /// The store has no certificate of the issuer.
    #[error(
        "the issuer \"{issuer}\" of the certificate of \"{subject}\" is not trusted here; put its certificate into cacert (or untrusted, for an intermediate) of the security directory and restart irmd"
    )]
    NoIssuer {
        /// Subject of the certificate.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// The certificate is signed by its own key, and not in the store.
    #[error(
        "the certificate of \"{subject}\" is self-signed and not trusted here; put it into cacert of the security directory and restart irmd"
    )]
    SelfSigned {
        /// Subject of the certificate.
        subject: String,
    },
    /// The signature is not the issuer's.
    #[error("the certificate of \"{subject}\" was not signed by the trusted \"{issuer}\": {error}")]
    Signature {
        /// Subject of the certificate.
        subject: String,
        /// The issuer in the store.
        issuer: String,
        /// What the check said.
        error: SignError,
    },
    /// The issuer's key is of a kind that is not available.
    #[error("the key of \"{subject}\" cannot be used: {error}")]
    Key {
        /// Subject of the certificate with the key.
        subject: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The issuer is no CA.
    #[error("\"{subject}\" issued a certificate without being a CA (basic constraints, key usage)")]
    NotCa {
        /// Subject of the issuer.
        subject: String,
    },
    /// More intermediates than the issuer allows.
    #[error(
        "the chain below \"{subject}\" has {length} intermediate certificates, it allows {allowed}"
    )]
    PathLength {
        /// Subject of the issuer.
        subject: String,
        /// Intermediates below it.
        length: usize,
        /// Its path length constraint.
        allowed: usize,
    },
    /// A critical extension that is not evaluated here.
    #[error(
        "the certificate of \"{subject}\" has the extension {oid}, which is critical and not known here"
    )]
    Extension {
        /// Subject of the certificate.
        subject: String,
        /// The extension.
        oid: String,
    },
    /// The chain is longer than any sensible one.
    #[error("the chain of \"{subject}\" is longer than {MAX_DEPTH} certificates or too branched")]
    TooLong {
        /// Subject of the leaf.
        subject: String,
    },
}

/// A file that is not fit for the trust store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {error}; every file in cacert and untrusted must be one PEM certificate")]
pub struct TrustFileError {
    /// Name of the file, as given.
    pub file: String,
    /// What is wrong with it.
    pub error: CertificateError,
}

/// The certificates of `cacert` and `untrusted` (§8.1): roots and intermediates in one store.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    certificate: Certificate,
    /// Signed by its own key: a chain may end here.
    root: bool,
}

impl TrustStore {
    /// An empty store, which trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From the names and contents of the files in the two directories. Only the first certificate
    /// of each file counts.
    ///
    /// # Errors
    /// One [`TrustFileError`] for each file that is no certificate.
    pub fn from_files<N, B>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Result<Self, Vec<TrustFileError>>
    where
        N: Into<String>,
        B: AsRef<[u8]>,
    {
        let mut store = Self::new();
        let mut errors = Vec::new();
        for (name, content) in files {
            match Certificate::from_pem(content.as_ref()) {
                Ok(certificate) => store.add(certificate),
                Err(error) => errors.push(TrustFileError {
                    file: name.into(),
                    error,
                }),
            }
        }
        if errors.is_empty() {
            Ok(store)
        } else {
            Err(errors)
        }
    }

    /// Adds a certificate; one that is there already is not added again.
    pub fn add(&mut self, certificate: Certificate) {
        if self.position(&certificate).is_none() {
            let root = certificate.subject == certificate.issuer
                && certificate.signed_by(&certificate).is_ok();
            self.entries.push(Entry { certificate, root });
        }
    }

    /// Number of certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, certificate: &Certificate) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.certificate.der == certificate.der)
    }

    /// Checks the chain from `leaf` to a self-signed certificate of the store, at the UTC time
    /// `now` in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// The reason why no chain holds; with several candidates, that of the last one that failed.
    pub fn verify(&self, leaf: &Certificate, now: u64) -> Result<(), ChainError> {
        let now = Duration::from_nanos(now);
        check(leaf, now)?;
        let self_issued = leaf.subject == leaf.issuer;
        if self_issued && self.position(leaf).is_some_and(|entry| entry.root) {
            return Ok(());
        }
        let mut search = Search {
            store: self,
            now,
            leaf,
            signatures: 0,
        };
        search.issuer_of(leaf, 0, 0)
    }
}

/// One search for a chain.
struct Search<'a> {
    store: &'a TrustStore,
    now: Duration,
    leaf: &'a Certificate,
    signatures: usize,
}

impl Search<'_> {
    /// Looks for a trusted issuer of `certificate`, which has `depth` certificates below it, of
    /// which `intermediates` count for path lengths.
    fn issuer_of(
        &mut self,
        certificate: &Certificate,
        depth: usize,
        intermediates: usize,
    ) -> Result<(), ChainError> {
        let mut failure = None;
        for entry in &self.store.entries {
            let issuer = &entry.certificate;
            if issuer.subject != certificate.issuer || issuer.der == certificate.der {
                continue;
            }
            if depth >= MAX_DEPTH || self.signatures >= MAX_SIGNATURES {
                return Err(ChainError::TooLong {
                    subject: self.leaf.subject(),
                });
            }
            self.signatures += 1;
            let tried = self.step(certificate, entry, depth, intermediates);
            match tried {
                Ok(()) => return Ok(()),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let subject = certificate.subject();
            if certificate.subject == certificate.issuer {
                ChainError::SelfSigned { subject }
            } else {
                ChainError::NoIssuer {
                    subject,
                    issuer: certificate.issuer(),
                }
            }
        }))
    }

    fn step(
        &mut self,
        certificate: &Certificate,
        entry: &Entry,
        depth: usize,
        intermediates: usize,
    ) -> Result<(), ChainError> {
        let issuer = &entry.certificate;
        certificate.signed_by(issuer)?;
        check(issuer, self.now)?;
        check_issuer(entry, intermediates)?;
        if entry.root {
            return Ok(());
        }
        let self_issued = issuer.subject == issuer.issuer;
        let intermediates = intermediates + usize::from(!self_issued);
        self.issuer_of(issuer, depth + 1, intermediates)
    }
}

/// What every certificate of a chain must satisfy.
fn check(certificate: &Certificate, now: Duration) -> Result<(), ChainError> {
    let not_before = certificate.not_before();
    if now < not_before.to_unix_duration() {
        return Err(ChainError::NotYetValid {
            subject: certificate.subject(),
            not_before: not_before.to_date_time().to_string(),
        });
    }
    // The last second of the validity belongs to it.
    let not_after = certificate.not_after();
    if now.as_secs() > not_after.to_unix_duration().as_secs() {
        return Err(ChainError::Expired {
            subject: certificate.subject(),
            not_after: not_after.to_date_time().to_string(),
        });
    }
    let unknown = certificate.extensions().iter().find(|extension| {
        extension.extn_id == NAME_CONSTRAINTS
            || (extension.critical && !KNOWN_EXTENSIONS.contains(&extension.extn_id))
    });
    match unknown {
        Some(extension) => Err(ChainError::Extension {
            subject: certificate.subject(),
            oid: extension.extn_id.to_string(),
        }),
        None => Ok(()),
    }
}

/// What an issuer must satisfy, with `intermediates` certificates between it and the leaf.
fn check_issuer(entry: &Entry, intermediates: usize) -> Result<(), ChainError> {
    let issuer = &entry.certificate;
    let not_ca = || ChainError::NotCa {
        subject: issuer.subject(),
    };
    match &issuer.basic_constraints {
        Some(constraints) if !constraints.ca => return Err(not_ca()),
        Some(constraints) => {
            let allowed = constraints.path_len_constraint.map(usize::from);
            if let Some(allowed) = allowed.filter(|allowed| intermediates > *allowed) {
                return Err(ChainError::PathLength {
                    subject: issuer.subject(),
                    length: intermediates,
                    allowed,
                });
            }
        }
        // Roots of version 1 have no extensions.
        None if entry.root && issuer.extensions().is_empty() => {}
        None => return Err(not_ca()),
    }
    if let Some(usage) = &issuer.key_usage
        && !usage.key_cert_sign()
    {
        return Err(not_ca());
    }
    Ok(())
}
