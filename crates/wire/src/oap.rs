//! The header of flow allocation, OAP (`spec/oap-crypto.md` §2), and the extensions that our own
//! nodes carry in its data field.
//!
//! Integers are big-endian. [`Message`] is a checked view of a received message; [`Repr`] is what a
//! sender writes. Signatures, hashes and the meaning of the fields are not the business of this
//! module: it knows which bytes are which.

use std::fmt;

mod extensions;

pub use extensions::{Data, ExtensionError, Extensions, MAGIC};

/// Bytes of the fixed part, and of the shortest message (§2.1).
pub const FIXED_LEN: usize = 36;

/// Bytes of the identifier of an allocation.
pub const ID_LEN: usize = 16;

/// Most bytes of a certificate (§2.6).
pub const CERTIFICATE_MAX: usize = u16::MAX as usize;

/// Most bytes of the key exchange field: its length has 14 bits (§2.2).
pub const KEX_MAX: usize = KEX_LEN_MASK as usize;

/// Most bytes of the data field (§2.6).
pub const DATA_MAX: usize = u16::MAX as usize;

const KEX_RAW: u16 = 0x8000;
const KEX_CIPHERTEXT: u16 = 0x4000;
const KEX_LEN_MASK: u16 = 0x3fff;

/// Ciphers by their number on the wire (§2.3), with the names of `enc.conf`.
pub const CIPHERS: [(u16, &str); 7] = [
    (895, "aes-128-gcm"),
    (898, "aes-192-gcm"),
    (901, "aes-256-gcm"),
    (1018, "chacha20-poly1305"),
    (904, "aes-128-ctr"),
    (905, "aes-192-ctr"),
    (906, "aes-256-ctr"),
];

/// Hashes by their number on the wire (§2.3), with the names of `enc.conf` and their bytes.
pub const HASHES: [(u16, &str, usize); 8] = [
    (672, "sha256", 32),
    (673, "sha384", 48),
    (674, "sha512", 64),
    (1097, "sha3-256", 32),
    (1098, "sha3-384", 48),
    (1099, "sha3-512", 64),
    (1056, "blake2b512", 64),
    (1057, "blake2s256", 32),
];

/// Bytes of the request hash in the response to a request with this `md_nid` (§2.5): SHA-384 for 0.
/// `None` for a number that is no hash.
#[must_use]
pub fn request_hash_len(md_nid: u16) -> Option<usize> {
    if md_nid == 0 {
        return Some(48);
    }
    let (_, _, len) = HASHES.iter().find(|(nid, ..)| *nid == md_nid)?;
    Some(*len)
}

mod field {
    use std::ops::Range;

    pub(super) const ID: Range<usize> = 0..16;
    pub(super) const TIMESTAMP: Range<usize> = 16..24;
    pub(super) const CIPHER_NID: Range<usize> = 24..26;
    pub(super) const KDF_NID: Range<usize> = 26..28;
    pub(super) const MD_NID: Range<usize> = 28..30;
    pub(super) const CRT_LEN: Range<usize> = 30..32;
    pub(super) const KEX_LEN: Range<usize> = 32..34;
    pub(super) const DATA_LEN: Range<usize> = 34..36;
}

/// The identifier of one allocation, chosen by the client and repeated in the response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; ID_LEN]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// The two flags of the key exchange field (§2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct KexFlags {
    /// F: a raw hybrid key or ciphertext rather than DER or the ciphertext of a pure ML-KEM.
    pub raw: bool,
    /// R: the client has encapsulated, the field is a ciphertext.
    pub client_encapsulated: bool,
}

impl KexFlags {
    /// The flags of a word that has them in bits 15 and 14.
    #[must_use]
    pub const fn from_word(word: u16) -> Self {
        Self {
            raw: word & KEX_RAW != 0,
            client_encapsulated: word & KEX_CIPHERTEXT != 0,
        }
    }

    /// The two flags in bits 15 and 14.
    #[must_use]
    pub const fn to_word(self) -> u16 {
        let raw = if self.raw { KEX_RAW } else { 0 };
        let role = if self.client_encapsulated {
            KEX_CIPHERTEXT
        } else {
            0
        };
        raw | role
    }
}

/// Why bytes are no OAP message (§2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Rule 1: fewer than [`FIXED_LEN`] bytes.
    #[error("an OAP message has at least {FIXED_LEN} bytes, got {0}")]
    Short(usize),
    /// Rule 2: a cipher that is not in the table.
    #[error("cipher number {0} is unknown")]
    Cipher(u16),
    /// Rule 2: a hash for key derivation that is not in the table.
    #[error("key derivation hash number {0} is unknown")]
    Kdf(u16),
    /// Rule 2: a digest that is not in the table.
    #[error("digest number {0} is unknown")]
    Digest(u16),
    /// Rule 3: the fields are longer than the message.
    #[error(
        "the OAP fields ({certificate} bytes of certificate, {kex} of key exchange, {data} of \
         data, {hash} of request hash) do not fit into a message of {total} bytes"
    )]
    FieldsBeyondEnd {
        /// `crt_len`.
        certificate: usize,
        /// `kex_len` without flags.
        kex: usize,
        /// `data_len`.
        data: usize,
        /// Bytes of the request hash, 0 in a request.
        hash: usize,
        /// Bytes of the message.
        total: usize,
    },
    /// Rule 4: bytes after the last field of a message without certificate.
    #[error("{0} bytes follow the last field of an unsigned OAP message")]
    TrailingBytes(usize),
}

/// Why a message cannot be written: a field is longer than its length can say (§2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {field} field of an OAP message holds at most {max} bytes, got {len}")]
pub struct FieldTooLong {
    /// The field's name.
    pub field: &'static str,
    /// Bytes wanted.
    pub len: usize,
    /// Most bytes the field can have.
    pub max: usize,
}

/// A checked view of a request or response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
    fixed: &'a [u8; FIXED_LEN],
    certificate: &'a [u8],
    kex: &'a [u8],
    data: &'a [u8],
    request_hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Message<'a> {
    /// Parses a request.
    ///
    /// # Errors
    /// The rule of §2.4 that the bytes break.
    pub fn parse_request(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse(bytes, 0)
    }

    /// Parses the response to a request that had this `md_nid`, which says how long the request
    /// hash is (§2.5).
    ///
    /// # Errors
    /// The rule of §2.4 that the bytes break; [`HeaderError::Digest`] for a `request_md_nid` that
    /// is no hash.
    pub fn parse_response(bytes: &'a [u8], request_md_nid: u16) -> Result<Self, HeaderError> {
        let hash = request_hash_len(request_md_nid).ok_or(HeaderError::Digest(request_md_nid))?;
        Self::parse(bytes, hash)
    }

    fn parse(bytes: &'a [u8], hash: usize) -> Result<Self, HeaderError> {
        let total = bytes.len();
        let (fixed, rest) = bytes
            .split_first_chunk::<FIXED_LEN>()
            .ok_or(HeaderError::Short(total))?;
        let cipher = be16(fixed, field::CIPHER_NID);
        if cipher != 0 && CIPHERS.iter().all(|(nid, _)| *nid != cipher) {
            return Err(HeaderError::Cipher(cipher));
        }
        let kdf = be16(fixed, field::KDF_NID);
        request_hash_len(kdf).ok_or(HeaderError::Kdf(kdf))?;
        let digest = be16(fixed, field::MD_NID);
        request_hash_len(digest).ok_or(HeaderError::Digest(digest))?;

        let certificate_len = usize::from(be16(fixed, field::CRT_LEN));
        let kex_len = usize::from(be16(fixed, field::KEX_LEN) & KEX_LEN_MASK);
        let data_len = usize::from(be16(fixed, field::DATA_LEN));
        let split = |rest: &'a [u8], len: usize| {
            rest.split_at_checked(len)
                .ok_or(HeaderError::FieldsBeyondEnd {
                    certificate: certificate_len,
                    kex: kex_len,
                    data: data_len,
                    hash,
                    total,
                })
        };
        let (certificate, rest) = split(rest, certificate_len)?;
        let (kex, rest) = split(rest, kex_len)?;
        let (data, rest) = split(rest, data_len)?;
        let (request_hash, signature) = split(rest, hash)?;
        if certificate.is_empty() && !signature.is_empty() {
            return Err(HeaderError::TrailingBytes(signature.len()));
        }
        Ok(Self {
            bytes,
            fixed,
            certificate,
            kex,
            data,
            request_hash,
            signature,
        })
    }

    /// The identifier of the allocation.
    #[must_use]
    pub fn id(&self) -> Id {
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&self.fixed[field::ID]);
        Id(id)
    }

    /// The sender's UTC time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        let mut time = [0; 8];
        time.copy_from_slice(&self.fixed[field::TIMESTAMP]);
        u64::from_be_bytes(time)
    }

    /// Cipher, 0 = none, else one of [`CIPHERS`].
    #[must_use]
    pub fn cipher_nid(&self) -> u16 {
        be16(self.fixed, field::CIPHER_NID)
    }

    /// Hash of the key derivation, 0 = none, else one of [`HASHES`].
    #[must_use]
    pub fn kdf_nid(&self) -> u16 {
        be16(self.fixed, field::KDF_NID)
    }

    /// Digest of the signature, and in a request of the request hash; 0 = none, else one of
    /// [`HASHES`].
    #[must_use]
    pub fn md_nid(&self) -> u16 {
        be16(self.fixed, field::MD_NID)
    }

    /// The flags of the key exchange field; meaningless in a response (§2.2).
    #[must_use]
    pub fn kex_flags(&self) -> KexFlags {
        KexFlags::from_word(be16(self.fixed, field::KEX_LEN))
    }

    /// The sender's certificate, DER, or nothing in an unsigned message.
    #[must_use]
    pub fn certificate(&self) -> &'a [u8] {
        self.certificate
    }

    /// Public key or ciphertext, or nothing.
    #[must_use]
    pub fn kex(&self) -> &'a [u8] {
        self.kex
    }

    /// The data field; see [`Data::parse`].
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Hash of the complete request; empty in a request.
    #[must_use]
    pub fn request_hash(&self) -> &'a [u8] {
        self.request_hash
    }

    /// The signature over [`Message::signed_region`]; may be empty even with a certificate.
    #[must_use]
    pub fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// All bytes before the signature (§2.5).
    #[must_use]
    pub fn signed_region(&self) -> &'a [u8] {
        let end = self.bytes.len().saturating_sub(self.signature.len());
        self.bytes.get(..end).unwrap_or_default()
    }

    /// The message as received.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields before the signature as a sender would write them.
    #[must_use]
    pub fn to_repr(&self) -> Repr<'a> {
        Repr {
            id: self.id(),
            timestamp: self.timestamp(),
            cipher_nid: self.cipher_nid(),
            kdf_nid: self.kdf_nid(),
            md_nid: self.md_nid(),
            kex_flags: self.kex_flags(),
            certificate: self.certificate,
            kex: self.kex,
            data: self.data,
            request_hash: self.request_hash,
        }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OAP {} id {} time {}",
            if self.request_hash.is_empty() {
                "request"
            } else {
                "response"
            },
            self.id(),
            self.timestamp()
        )?;
        for (label, nid) in [
            ("cipher", self.cipher_nid()),
            ("kdf", self.kdf_nid()),
            ("digest", self.md_nid()),
        ] {
            if nid != 0 {
                write!(f, " {label} {}", nid_name(nid))?;
            }
        }
        if !self.certificate.is_empty() {
            write!(f, " certificate {} B", self.certificate.len())?;
        }
        let flags = self.kex_flags();
        if !self.kex.is_empty() || flags != KexFlags::default() {
            write!(f, " kex {} B", self.kex.len())?;
            if flags.raw {
                f.write_str(" raw")?;
            }
            if flags.client_encapsulated {
                f.write_str(" client-encapsulated")?;
            }
        }
        if !self.data.is_empty() {
            write!(f, " data {} B", self.data.len())?;
        }
        if !self.request_hash.is_empty() {
            write!(f, " request-hash {} B", self.request_hash.len())?;
        }
        if !self.signature.is_empty() {
            write!(f, " signature {} B", self.signature.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({self})")
    }
}

/// What a sender writes before the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Identifier of the allocation.
    pub id: Id,
    /// UTC time in nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Cipher, 0 = none.
    pub cipher_nid: u16,
    /// Hash of the key derivation, 0 = none.
    pub kdf_nid: u16,
    /// Digest of the signature, 0 = none.
    pub md_nid: u16,
    /// Flags of the key exchange field.
    pub kex_flags: KexFlags,
    /// Certificate, DER; empty in an unsigned message.
    pub certificate: &'a [u8],
    /// Public key or ciphertext.
    pub kex: &'a [u8],
    /// The data field.
    pub data: &'a [u8],
    /// Hash of the request; empty in a request.
    pub request_hash: &'a [u8],
}

impl Repr<'_> {
    /// Bytes without the signature.
    #[must_use]
    pub fn len_unsigned(&self) -> usize {
        FIXED_LEN
            + self.certificate.len()
            + self.kex.len()
            + self.data.len()
            + self.request_hash.len()
    }

    /// The message without its signature: the bytes to sign, to which the signature is appended.
    ///
    /// # Errors
    /// When a field is longer than its length can say.
    pub fn emit_unsigned(&self) -> Result<Vec<u8>, FieldTooLong> {
        let certificate_len = checked_len("certificate", self.certificate, CERTIFICATE_MAX)?;
        let kex_len = checked_len("key exchange", self.kex, KEX_MAX)?;
        let data_len = checked_len("data", self.data, DATA_MAX)?;
        let mut out = Vec::with_capacity(self.len_unsigned());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        for word in [
            self.cipher_nid,
            self.kdf_nid,
            self.md_nid,
            certificate_len,
            kex_len | self.kex_flags.to_word(),
            data_len,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for field in [self.certificate, self.kex, self.data, self.request_hash] {
            out.extend_from_slice(field);
        }
        Ok(out)
    }
}

fn checked_len(name: &'static str, bytes: &[u8], max: usize) -> Result<u16, FieldTooLong> {
    let too_long = FieldTooLong {
        field: name,
        len: bytes.len(),
        max,
    };
    if bytes.len() > max {
        return Err(too_long);
    }
    u16::try_from(bytes.len()).map_err(|_| too_long)
}

fn be16(fixed: &[u8; FIXED_LEN], range: std::ops::Range<usize>) -> u16 {
    let mut word = [0; 2];
    word.copy_from_slice(&fixed[range]);
    u16::from_be_bytes(word)
}

fn nid_name(nid: u16) -> &'static str {
    let cipher = CIPHERS.iter().map(|(nid, name)| (*nid, *name));
    let hash = HASHES.iter().map(|(nid, name, _)| (*nid, *name));
    cipher
        .chain(hash)
        .find_map(|(known, name)| (known == nid).then_some(name))
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests;
