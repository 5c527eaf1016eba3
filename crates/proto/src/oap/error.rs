//! Why an exchange failed, and the error number that each process gets (`spec/oap-crypto.md` §3.7).

use std::fmt;

use o7s_crypto::{
    cert::{CertificateError, ChainError, CredentialsError},
    enc_conf::EncConfError,
    sign::{KeyError, SignError},
};
use o7s_wire::oap::{ExtensionError, FieldTooLong, HeaderError, Id};

/// The error number of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// EBADF: the request could not be prepared; nothing was sent (§3.2, 8).
    BadF,
    /// ECRYPT: no encryption as configured or asked for; every failure of a response.
    Crypt,
    /// EAUTH: the server does not accept the request.
    Auth,
}

impl Code {
    /// The positive number: 9, 1008 or 1009.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::BadF => 9,
            Self::Crypt => 1008,
            Self::Auth => 1009,
        }
    }

    /// The value of the response field of a negative flow reply: `-errno`.
    #[must_use]
    pub const fn response(self) -> i32 {
        -self.errno()
    }
}

/// A failed exchange: the number for the processes, the cause for the log and the error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OapError {
    /// The error number.
    pub code: Code,
    /// What went wrong.
    pub cause: Cause,
}

impl OapError {
    pub(super) fn new(code: Code, cause: impl Into<Cause>) -> Self {
        Self {
            code,
            cause: cause.into(),
        }
    }

    /// The client's credentials, static key or `enc.conf` cannot be loaded: EBADF (§3.1).
    #[must_use]
    pub fn client_configuration(cause: impl Into<Cause>) -> Self {
        Self::new(Code::BadF, cause)
    }

    /// The server's credentials cannot be loaded: EAUTH (§3.3, 1).
    #[must_use]
    pub fn server_credentials(cause: impl Into<Cause>) -> Self {
        Self::new(Code::Auth, cause)
    }

    /// The server's `enc.conf` or static key cannot be loaded: ECRYPT (§3.3, 2).
    #[must_use]
    pub fn server_encryption(cause: impl Into<Cause>) -> Self {
        Self::new(Code::Crypt, cause)
    }
}

impl fmt::Display for OapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for OapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// What went wrong, in words for the person who runs the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The name's certificate and key cannot be used.
    #[error("the credentials of the name cannot be used: {0}")]
    Credentials(#[from] CredentialsError),
    /// The name's `enc.conf` is invalid.
    #[error("enc.conf is invalid: {0}")]
    EncConf(#[from] EncConfError),
    /// A file of the name cannot be read.
    #[error("cannot read {file}: {reason}")]
    File {
        /// Path of the file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The application asked for more than there is.
    #[error("encryption strength {0} was asked for; it goes from 0 to 256 bits")]
    Strength(u32),
    /// The application asked for encryption and the name forbids it.
    #[error(
        "encryption was asked for, but enc.conf of \"{name}\" says none; remove that line, or ask for strength 0"
    )]
    EncryptionOff {
        /// Destination name.
        name: String,
    },
    /// The key exchange, as configured or asked for, is not available in this build.
    #[error("the key exchange {0} is not available in this build; choose another in enc.conf")]
    KexUnavailable(&'static str),
    /// Client encapsulation without a static key.
    #[error(
        "kem_mode = client needs the static {kex} key of the server (kex.srv.pub.pem, or kex.srv.pub.raw for a hybrid); get it from the server, or set kem_mode = server"
    )]
    NoStaticPublicKey {
        /// The configured key exchange.
        kex: &'static str,
    },
    /// A request for decapsulation, and no static key.
    #[error(
        "the client has encapsulated to a static key, and this name has none (kex.key.pem, or kex.key.raw for a hybrid)"
    )]
    NoStaticPrivateKey,
    /// The static key is of another kind than the message says.
    #[error("the static key is {key}, which does not fit {wanted}")]
    StaticKeyKind {
        /// Kind of the key.
        key: &'static str,
        /// What the other side or the configuration wants.
        wanted: &'static str,
    },
    /// Key generation, agreement, encapsulation, decapsulation or derivation failed.
    #[error("the key exchange failed: {0}")]
    Kex(String),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Entropy,
    /// The own message cannot be signed.
    #[error("the message cannot be signed: {0}")]
    Sign(SignError),
    /// A field is longer than it can be.
    #[error("the message cannot be written: {0}")]
    Field(#[from] FieldTooLong),
    /// The message does not fit the layer.
    #[error(
        "the {what} has {len} bytes, the layer carries at most {max}; use a smaller certificate or key exchange, or a layer with larger messages"
    )]
    TooLong {
        /// `request` or `response`.
        what: &'static str,
        /// Bytes of the message.
        len: usize,
        /// Most bytes.
        max: usize,
    },
    /// The peer's message is malformed.
    #[error("the peer's message is malformed: {0}")]
    Header(#[from] HeaderError),
    /// The extension block is malformed.
    #[error("the peer's message is malformed: {0}")]
    Extensions(#[from] ExtensionError),
    /// The request was sent later than now.
    #[error(
        "the request comes from {ahead_ms} ms in the future (at most {} ms are allowed); synchronise the clocks of the two nodes",
        super::SLACK_MS
    )]
    Future {
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// The request was sent too long ago.
    #[error(
        "the request is {age_ms} ms old (at most {} ms are allowed); synchronise the clocks of the two nodes",
        super::WINDOW_MS
    )]
    Old {
        /// Its age in milliseconds.
        age_ms: u64,
    },
    /// The request came before.
    #[error("the request {0} was seen before: a replay")]
    Replay(Id),
    /// Too many requests to remember.
    #[error(
        "more than {0} flow requests within the time window: refused, since a replay could not be told apart; try again in a while"
    )]
    ReplayFull(usize),
    /// The peer's certificate cannot be read.
    #[error("the peer's certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// The key in the peer's certificate cannot be used.
    #[error("the key in the peer's certificate cannot be used: {0}")]
    CertificateKey(KeyError),
    /// The peer's certificate is not trusted.
    #[error("the peer is not trusted: {0}")]
    Chain(#[from] ChainError),
    /// The peer did not sign the message with the key of its certificate.
    #[error("the peer's message is not signed by the key of its certificate: {0}")]
    Signature(SignError),
    /// The peer is anonymous, and this name wants to know who it is.
    #[error(
        "the peer sent no certificate, and this name requires one; give the peer a certificate, or drop the requirement"
    )]
    Unauthenticated,
    /// The certificate names somebody else.
    #[error(
        "the certificate of the server is for \"{found}\", not for \"{wanted}\"; its common name (CN) must be the destination name"
    )]
    WrongName {
        /// Name in the certificate; empty without one.
        found: String,
        /// Destination name.
        wanted: String,
    },
    /// The response belongs to another request.
    #[error("the response has identifier {found}, the request had {sent}")]
    WrongId {
        /// In the response.
        found: Id,
        /// In the request.
        sent: Id,
    },
    /// The server answered another request than ours.
    #[error("the response does not answer the request as it was sent: it was changed on its way")]
    WrongRequestHash,
    /// The client wants a clear flow, the server does not.
    #[error(
        "the client offers no key exchange, and enc.conf of this name requires encryption; give the client an enc.conf for the name"
    )]
    ClientUnencrypted,
    /// The server answered without cipher or key.
    #[error("the server answered without {0}: no encryption, although it was asked for")]
    ServerUnencrypted(&'static str),
    /// Neither side names a cipher.
    #[error("no common cipher: neither the request nor enc.conf names one")]
    NoCipher,
    /// The server chose something weaker than the client asked for.
    #[error(
        "the server chose the {what} {chosen}, weaker than {asked}, which was asked for: a downgrade, refused"
    )]
    Downgrade {
        /// `cipher` or `key derivation`.
        what: &'static str,
        /// What it chose; `none` for nothing.
        chosen: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The client's key exchange or key derivation is weaker than the server demands.
    #[error(
        "the client's {what} {offered} is weaker than {required}, which enc.conf of this name requires; raise it in the client's enc.conf"
    )]
    TooWeak {
        /// `key exchange` or `key derivation`.
        what: &'static str,
        /// What it offers.
        offered: &'static str,
        /// What is required.
        required: &'static str,
    },
    /// The role flag on a request to a name without a KEM.
    #[error("the client has encapsulated, but enc.conf of this name configures no KEM")]
    UnexpectedCiphertext,
    /// The key in the message is of no known algorithm, or malformed.
    #[error("the peer's public key cannot be used: {0}")]
    PeerKey(String),
    /// The server answered with a key of another algorithm.
    #[error("the server answered with a {found} key, the client sent {sent}")]
    KexMismatch {
        /// Algorithm of the server's key.
        found: &'static str,
        /// Algorithm of the client's key.
        sent: &'static str,
    },
}
