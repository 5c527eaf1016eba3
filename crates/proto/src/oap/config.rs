//! What a client or a server is configured with for one name, and how the strength that an
//! application asks for is merged with it (`spec/oap-crypto.md` §3.1, `spec/api.md` B3).

use o7s_crypto::{
    algorithm::{Cipher, Kex, Suite},
    cert::{Credentials, TrustStore},
    enc_conf::{self, EncConfError, EncConfig},
    kex::{PrivateKey, PublicKey},
};
use o7s_wire::oap::Extensions;

use super::{Cause, Code, OapError};

/// What `enc.conf` of a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// There is no such file: no encryption, unless the other side or the application wants it.
    #[default]
    Unset,
    /// The file says `none`.
    Off,
    /// The file configures encryption.
    On(EncConfig),
}

impl Encryption {
    /// From the content of the file; `None` when there is no file.
    ///
    /// # Errors
    /// [`EncConfError`].
    pub fn from_file(content: Option<&[u8]>) -> Result<Self, EncConfError> {
        let Some(content) = content else {
            return Ok(Self::Unset);
        };
        Ok(enc_conf::parse(content)?.map_or(Self::Off, Self::On))
    }

    /// The configuration, when encryption is on.
    #[must_use]
    pub fn config(&self) -> Option<&EncConfig> {
        match self {
            Self::On(config) => Some(config),
            Self::Unset | Self::Off => None,
        }
    }
}

/// The client's side of an allocation.
#[derive(Debug, Clone, Copy)]
pub struct ClientConfig<'a> {
    /// Destination name.
    pub name: &'a str,
    /// The client's own certificate and key, if it has any.
    pub credentials: Option<&'a Credentials>,
    /// The client half of the name's `enc.conf`.
    pub encryption: Encryption,
    /// The static key of the server for `kem_mode = client` (§4.5).
    pub static_key: Option<&'a PublicKey>,
    /// Who is trusted to certify servers.
    pub trust: &'a TrustStore,
    /// Strength that the application asks for, in bits: 0 (as configured) to 256.
    pub strength: u32,
    /// Weakest key exchange that the application accepts; asks for encryption, too.
    pub min_kex: Option<Kex>,
    /// Refuse a server without certificate (§8.4; off in 0.23).
    pub require_authentication: bool,
    /// What the client can do beyond 0.23, offered in the data field.
    pub extensions: Option<Extensions>,
    /// Application data for the server.
    pub data: &'a [u8],
    /// Most bytes of a request that the layer carries (§2.6).
    pub max_message: usize,
}

impl<'a> ClientConfig<'a> {
    /// A client without credentials and encryption, which offers nothing beyond 0.23.
    #[must_use]
    pub fn new(name: &'a str, trust: &'a TrustStore) -> Self {
        Self {
            name,
            credentials: None,
            encryption: Encryption::Unset,
            static_key: None,
            trust,
            strength: 0,
            min_kex: None,
            require_authentication: false,
            extensions: None,
            data: &[],
            max_message: usize::MAX,
        }
    }

    /// The configuration that counts: that of the file, raised to what the application asks for
    /// (`spec/api.md` B3, rule 1). `None` is a clear flow.
    pub(super) fn effective(&self) -> Result<Option<EncConfig>, OapError> {
        if self.strength == 0 && self.min_kex.is_none() {
            return Ok(self.encryption.config().copied());
        }
        let configured = match self.encryption {
            Encryption::Off => {
                let name = self.name.to_owned();
                return Err(OapError::new(Code::Crypt, Cause::EncryptionOff { name }));
            }
            Encryption::Unset => None,
            Encryption::On(config) => Some(config),
        };
        let asked = match self.strength {
            0 => None,
            strength => Some(
                u16::try_from(strength)
                    .ok()
                    .and_then(Suite::for_strength)
                    .ok_or_else(|| OapError::new(Code::Crypt, Cause::Strength(strength)))?,
            ),
        };
        let own = configured.map(|config| Suite {
            kex: config.kex,
            cipher: config.cipher,
            kdf: config.kdf,
        });
        let defaults = EncConfig::default();
        let suite = match (own, asked) {
            (Some(own), Some(asked)) => own.stronger(asked),
            (Some(suite), None) | (None, Some(suite)) => suite,
            // Only a key exchange was asked for, which then replaces the default one.
            (None, None) => Suite {
                kex: self.min_kex.unwrap_or(defaults.kex),
                cipher: defaults.cipher,
                kdf: defaults.kdf,
            },
        };
        let merged = EncConfig {
            kex: self.min_kex.map_or(suite.kex, |min| min.max(suite.kex)),
            cipher: suite.cipher,
            kdf: suite.kdf,
            ..configured.unwrap_or_default()
        };
        Ok(Some(merged))
    }
}

/// Key bits of a negotiated cipher, as the API reports them in `cypher_s` (`spec/api.md` B3, rule
/// 5): 0 for a clear flow.
#[must_use]
pub fn key_bits(cipher: Option<Cipher>) -> u32 {
    cipher.map_or(0, |cipher| cipher.key_bits().into())
}

/// The server's side of an allocation.
#[derive(Debug, Clone, Copy)]
pub struct ServerConfig<'a> {
    /// The server's own certificate and key, if it has any.
    pub credentials: Option<&'a Credentials>,
    /// The server half of the name's `enc.conf`.
    pub encryption: Encryption,
    /// The static key for clients that encapsulate (§4.5).
    pub static_key: Option<&'a PrivateKey>,
    /// Who is trusted to certify clients.
    pub trust: &'a TrustStore,
    /// Refuse a client without certificate (§8.4; off in 0.23).
    pub require_authentication: bool,
    /// What the server can do beyond 0.23; answered only to a client that asked.
    pub extensions: Option<Extensions>,
    /// Application data for the client.
    pub data: &'a [u8],
    /// Most bytes of a response that the layer carries (§2.6).
    pub max_message: usize,
}

impl<'a> ServerConfig<'a> {
    /// A server without credentials and encryption, which offers nothing beyond 0.23.
    #[must_use]
    pub fn new(trust: &'a TrustStore) -> Self {
        Self {
            credentials: None,
            encryption: Encryption::Unset,
            static_key: None,
            trust,
            require_authentication: false,
            extensions: None,
            data: &[],
            max_message: usize::MAX,
        }
    }
}
