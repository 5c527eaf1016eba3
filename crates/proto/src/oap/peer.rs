//! Who the peer is: its certificate, and its signature on the message (`spec/oap-crypto.md` §8.1,
//! §8.3), and what both sides share of a message: numbers, signing, the hash of the request.

use o7s_crypto::{
    algorithm::{Cipher, Hash},
    cert::{Certificate, Credentials, TrustStore},
};
use o7s_wire::oap::{Data, Extensions, HeaderError, Message, Repr};

use super::Cause;

/// A peer whose certificate and signature hold.
pub(super) struct Peer {
    pub(super) common_name: Option<String>,
}

/// Checks certificate and signature of a message, if it has a certificate.
pub(super) fn authenticate(
    message: &Message<'_>,
    trust: &TrustStore,
    required: bool,
    now: u64,
) -> Result<Option<Peer>, Cause> {
    if message.certificate().is_empty() {
        return if required {
            Err(Cause::Unauthenticated)
        } else {
            Ok(None)
        };
    }
    let certificate = Certificate::from_der(message.certificate())?;
    trust.verify(&certificate, now)?;
    let key = certificate.key().map_err(Cause::CertificateKey)?;
    key.verify(
        hash(message.md_nid())?,
        message.signed_region(),
        message.signature(),
    )
    .map_err(Cause::Signature)?;
    Ok(Some(Peer {
        common_name: certificate.common_name().map(str::to_owned),
    }))
}

/// The digest that a message announces: that of `enc.conf`, unless the key cannot use it (§8.2).
pub(super) fn announced_digest(
    configured: Option<Hash>,
    credentials: Option<&Credentials>,
) -> Option<Hash> {
    match credentials {
        Some(credentials) => credentials.key().kind().announced(configured),
        None => configured,
    }
}

/// Writes a message, signs it if there are credentials, and checks its length.
pub(super) fn seal(
    repr: &Repr<'_>,
    credentials: Option<&Credentials>,
    digest: Option<Hash>,
    what: &'static str,
    max: usize,
) -> Result<Vec<u8>, Cause> {
    let mut bytes = repr.emit_unsigned()?;
    if let Some(credentials) = credentials {
        let signature = credentials
            .key()
            .sign(digest, &bytes)
            .map_err(Cause::Sign)?;
        bytes.extend_from_slice(&signature);
    }
    if bytes.len() > max {
        return Err(Cause::TooLong {
            what,
            len: bytes.len(),
            max,
        });
    }
    Ok(bytes)
}

/// The hash of a complete request (§2.5).
pub(super) fn request_hash(digest: Option<Hash>, request: &[u8]) -> Vec<u8> {
    digest.unwrap_or(Hash::Sha384).digest(request)
}

/// The data field to send.
pub(super) fn data_field(extensions: Option<Extensions>, application: &[u8]) -> Vec<u8> {
    Data {
        extensions,
        application,
    }
    .emit()
}

/// The cipher with this number; `None` for 0.
pub(super) fn cipher(nid: u16) -> Result<Option<Cipher>, Cause> {
    match nid {
        0 => Ok(None),
        _ => match Cipher::from_nid(nid) {
            Some(cipher) => Ok(Some(cipher)),
            None => Err(HeaderError::Cipher(nid).into()),
        },
    }
}

/// The hash with this number; `None` for 0.
pub(super) fn hash(nid: u16) -> Result<Option<Hash>, Cause> {
    match nid {
        0 => Ok(None),
        _ => match Hash::from_nid(nid) {
            Some(hash) => Ok(Some(hash)),
            None => Err(HeaderError::Digest(nid).into()),
        },
    }
}

/// The certificate to send.
pub(super) fn certificate(credentials: Option<&Credentials>) -> &[u8] {
    credentials.map_or(&[], |credentials| credentials.certificate().der())
}
