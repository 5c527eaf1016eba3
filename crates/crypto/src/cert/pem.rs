//! The first block with one of some labels in a PEM file (RFC 7468), read as OpenSSL reads it: text
//! around blocks and blocks with other labels are skipped, lines may have any length.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// Why a PEM block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The block has no end line with the label of its begin line.
    #[error("the line -----END…----- is missing")]
    NoEnd,
    /// The content is not base64.
    #[error("the content is not base64")]
    Base64,
    /// The content is encrypted.
    #[error("the content is encrypted")]
    Encrypted,
}

/// A label and the bytes of its block.
pub(crate) type Block = (&'static str, Zeroizing<Vec<u8>>);

/// The first block with one of `labels`; `None` when there is none.
pub(crate) fn first_block(file: &[u8], labels: &[&'static str]) -> Result<Option<Block>, PemError> {
    let mut lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let label = loop {
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        let found = labels
            .iter()
            .find(|label| is_boundary(line, b"-----BEGIN ", label));
        if let Some(label) = found {
            break *label;
        }
    };
    let mut base64 = Zeroizing::new(Vec::with_capacity(file.len()));
    loop {
        let line = lines.next().ok_or(PemError::NoEnd)?;
        if is_boundary(line, b"-----END ", label) {
            break;
        }
        // `Proc-Type: 4,ENCRYPTED` of the old format.
        if line.contains(&b':') {
            return Err(PemError::Encrypted);
        }
        base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
    }
    let text = std::str::from_utf8(&base64).map_err(|_| PemError::Base64)?;
    let der = Base64::decode_vec(text).map_err(|_| PemError::Base64)?;
    Ok(Some((label, Zeroizing::new(der))))
}

fn is_boundary(line: &[u8], marker: &[u8], label: &str) -> bool {
    line.strip_prefix(marker)
        .and_then(|rest| rest.strip_suffix(b"-----"))
        == Some(label.as_bytes())
}
