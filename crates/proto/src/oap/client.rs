//! The client: a request out, a response in (`spec/oap-crypto.md` §3.2, §3.4).

use std::fmt;

use o7s_crypto::{
    algorithm::{Cipher, Hash},
    cert::TrustStore,
    enc_conf::{EncConfig, KemMode},
    kdf::Key,
    kex::PrivateKey,
};
use o7s_wire::oap::{Data, Extensions, Id, KexFlags, Message, Repr};

use super::{Cause, ClientConfig, Code, Entropy, OapError, Outcome, exchange, negotiate, peer};

/// A client that has sent its request and waits for the response.
pub struct Client {
    name: String,
    id: Id,
    /// Digest of the request, which says how the response hashes the request.
    digest: Option<Hash>,
    request_hash: Vec<u8>,
    exchange: Option<(EncConfig, Secret)>,
    extensions: Option<Extensions>,
    require_authentication: bool,
}

/// What the client keeps for its key.
enum Secret {
    /// The private half of the key in the request.
    Ephemeral(PrivateKey),
    /// The client has encapsulated: the key exists already.
    Encapsulated(Key),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("id", &self.id)
            .field(
                "encryption",
                &self.exchange.as_ref().map(|(config, _)| config),
            )
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares the request for an allocation to `config.name`, at the UTC time `now` in
    /// nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Code::Crypt`] when the application asked for encryption that the name forbids;
    /// [`Code::BadF`] for everything else (§3.2, 8). Nothing may be sent then.
    pub fn start(
        config: &ClientConfig<'_>,
        now: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), OapError> {
        let encryption = config.effective()?;
        Self::prepare(config, encryption, now, entropy)
            .map_err(|cause| OapError::new(Code::BadF, cause))
    }

    fn prepare(
        config: &ClientConfig<'_>,
        encryption: Option<EncConfig>,
        now: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Cause> {
        let id = entropy.id()?;
        let mut flags = KexFlags::default();
        let mut kex = Vec::new();
        let mut exchange = None;
        if let Some(encryption) = encryption {
            let secret;
            (secret, kex) = key_exchange(config, &encryption, entropy)?;
            flags = KexFlags {
                raw: encryption.kex.is_hybrid(),
                client_encapsulated: matches!(secret, Secret::Encapsulated(_)),
            };
            exchange = Some((encryption, secret));
        }
        let configured = encryption.map(|encryption| encryption.digest);
        let digest = peer::announced_digest(configured, config.credentials);
        let data = peer::data_field(config.extensions, config.data);
        let request = peer::seal(
            &Repr {
                id,
                timestamp: now,
                cipher_nid: encryption.map_or(0, |encryption| encryption.cipher.nid()),
                kdf_nid: encryption.map_or(0, |encryption| encryption.kdf.nid()),
                md_nid: digest.map_or(0, Hash::nid),
                kex_flags: flags,
                certificate: peer::certificate(config.credentials),
                kex: &kex,
                data: &data,
                request_hash: &[],
            },
            config.credentials,
            digest,
            "request",
            config.max_message,
        )?;
        let client = Self {
            name: config.name.to_owned(),
            id,
            digest,
            request_hash: peer::request_hash(digest, &request),
            exchange,
            extensions: config.extensions,
            require_authentication: config.require_authentication,
        };
        Ok((client, request))
    }

    /// The client that has sent `request` with the public half of `ephemeral`: for requests
    /// recorded elsewhere. The configuration must be the one that the request was made with.
    ///
    /// # Errors
    /// [`Code::BadF`] when the request does not parse, or has a key and `ephemeral` is missing.
    pub fn resume(
        config: &ClientConfig<'_>,
        request: &[u8],
        ephemeral: Option<PrivateKey>,
    ) -> Result<Self, OapError> {
        let encryption = config.effective()?;
        let resumed = || -> Result<Self, Cause> {
            let message = Message::parse_request(request)?;
            let digest = peer::hash(message.md_nid())?;
            let exchange = match (encryption, ephemeral) {
                (Some(encryption), Some(ephemeral)) => {
                    Some((encryption, Secret::Ephemeral(ephemeral)))
                }
                (None, _) => None,
                (Some(_), None) => {
                    return Err(Cause::Kex("the ephemeral key is missing".to_owned()));
                }
            };
            Ok(Self {
                name: config.name.to_owned(),
                id: message.id(),
                digest,
                request_hash: peer::request_hash(digest, request),
                exchange,
                extensions: config.extensions,
                require_authentication: config.require_authentication,
            })
        };
        resumed().map_err(|cause| OapError::new(Code::BadF, cause))
    }

    /// The identifier of the allocation.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Checks the response, at the UTC time `now`, which only certificates are measured with.
    ///
    /// # Errors
    /// Always [`Code::Crypt`] (§3.4); the flow must be dropped.
    pub fn complete(
        self,
        trust: &TrustStore,
        response: &[u8],
        now: u64,
    ) -> Result<Outcome, OapError> {
        self.check(trust, response, now)
            .map_err(|cause| OapError::new(Code::Crypt, cause))
    }

    fn check(self, trust: &TrustStore, response: &[u8], now: u64) -> Result<Outcome, Cause> {
        let request_digest = self.digest.map_or(0, Hash::nid);
        let message = Message::parse_response(response, request_digest)?;
        if message.id() != self.id {
            return Err(Cause::WrongId {
                found: message.id(),
                sent: self.id,
            });
        }
        let server = peer::authenticate(&message, trust, self.require_authentication, now)?;
        if message.request_hash() != self.request_hash {
            return Err(Cause::WrongRequestHash);
        }
        if let Some(server) = &server {
            let found = server.common_name.as_deref().unwrap_or_default();
            if found != self.name {
                return Err(Cause::WrongName {
                    found: found.to_owned(),
                    wanted: self.name,
                });
            }
        }
        let data = Data::parse(message.data())?;
        let agreed = self.exchange.map(|exchange| derive(exchange, &message));
        let (cipher, key) = agreed.transpose()?.unzip();
        let offered = self.extensions.zip(data.extensions);
        Ok(Outcome {
            cipher,
            key,
            authenticated: server.is_some(),
            peer_name: server.and_then(|server| server.common_name),
            extensions: offered.map(|(own, theirs)| own.agree(theirs)),
            data: data.application.to_vec(),
        })
    }
}

/// Makes what goes into the key exchange field (rules 4 to 6 of the request).
fn key_exchange(
    config: &ClientConfig<'_>,
    encryption: &EncConfig,
    entropy: &mut dyn Entropy,
) -> Result<(Secret, Vec<u8>), Cause> {
    let kex = encryption.kex;
    if !kex.is_available() {
        return Err(Cause::KexUnavailable(kex.name()));
    }
    // kem_mode means nothing to Diffie-Hellman (§12, 9).
    if kex.is_kem() && encryption.kem_mode == KemMode::Client {
        let public = config
            .static_key
            .ok_or(Cause::NoStaticPublicKey { kex: kex.name() })?;
        if public.kex() != kex {
            return Err(Cause::StaticKeyKind {
                key: public.kex().name(),
                wanted: kex.name(),
            });
        }
        let (ciphertext, key) = exchange::encapsulate(public, Some(encryption.kdf))?;
        return Ok((Secret::Encapsulated(key), ciphertext));
    }
    let private = entropy.ephemeral(kex)?;
    let public = exchange::public_field(&private);
    Ok((Secret::Ephemeral(private), public))
}

/// Negotiation and key of a client that configured key exchange (rules 1 to 3 of the client).
fn derive(
    (config, secret): (EncConfig, Secret),
    message: &Message<'_>,
) -> Result<(Cipher, Key), Cause> {
    let encapsulated = matches!(secret, Secret::Encapsulated(_));
    let cipher = peer::cipher(message.cipher_nid())?;
    let kdf = peer::hash(message.kdf_nid())?;
    let (cipher, kdf) = negotiate::accept(&config, cipher, kdf, encapsulated)?;
    let key = match secret {
        Secret::Encapsulated(key) => key,
        Secret::Ephemeral(_) if message.kex().is_empty() => {
            return Err(Cause::ServerUnencrypted("a key"));
        }
        Secret::Ephemeral(private) if config.kex.is_kem() => {
            exchange::decapsulate(&private, message.kex(), Some(kdf))?
        }
        Secret::Ephemeral(private) => {
            let public = exchange::parse_public(false, message.kex())?;
            if public.kex() != config.kex {
                return Err(Cause::KexMismatch {
                    found: public.kex().name(),
                    sent: config.kex.name(),
                });
            }
            exchange::agree(&private, &public, Some(kdf))?
        }
    };
    Ok((cipher, key))
}
