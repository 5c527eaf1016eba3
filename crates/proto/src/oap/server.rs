//! The server: a request in, a response out (`spec/oap-crypto.md` §3.3).

use o7s_crypto::{
    algorithm::{Cipher, Hash},
    kdf::Key,
};
use o7s_wire::oap::{Data, KexFlags, Message, Repr};

use super::{
    Cause, Code, Entropy, OapError, Outcome, ReplayWindow, ServerConfig, exchange, negotiate, peer,
};

/// The server of a node: all its names share the memory of requests seen.
#[derive(Debug, Default)]
pub struct Server {
    replay: ReplayWindow,
}

/// The encrypted half of a response.
struct Agreed {
    cipher: Cipher,
    kdf: Option<Hash>,
    key: Key,
    flags: KexFlags,
    kex: Vec<u8>,
}

impl Server {
    /// A server that has seen nothing yet.
    #[must_use]
    pub fn new(replay: ReplayWindow) -> Self {
        Self { replay }
    }

    /// The requests seen.
    #[must_use]
    pub fn replay(&self) -> &ReplayWindow {
        &self.replay
    }

    /// Checks a request to a name with this configuration, and makes the response, at the UTC time
    /// `now` in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Code::Auth`] or [`Code::Crypt`] in the order of §3.3; [`Code::response`] is the value for
    /// the negative flow reply, which carries no OAP data.
    pub fn respond(
        &mut self,
        config: &ServerConfig<'_>,
        request: &[u8],
        now: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, Outcome), OapError> {
        let auth = |cause: Cause| OapError::new(Code::Auth, cause);
        let message = Message::parse_request(request).map_err(|error| auth(error.into()))?;
        let data = Data::parse(message.data()).map_err(|error| auth(error.into()))?;
        self.replay
            .check(message.id(), message.timestamp(), now)
            .map_err(auth)?;
        let client = peer::authenticate(&message, config.trust, config.require_authentication, now)
            .map_err(auth)?;
        let agreed = key_exchange(config, &message, entropy)
            .map_err(|cause| OapError::new(Code::Crypt, cause))?;
        let extensions = config
            .extensions
            .zip(data.extensions)
            .map(|(own, theirs)| own.agree(theirs));
        let reply_data = peer::data_field(extensions, config.data);
        let response = seal(config, &message, agreed.as_ref(), &reply_data, now).map_err(auth)?;
        let (cipher, key) = agreed.map(|agreed| (agreed.cipher, agreed.key)).unzip();
        let outcome = Outcome {
            cipher,
            key,
            authenticated: client.is_some(),
            peer_name: client.and_then(|client| client.common_name),
            extensions,
            data: data.application.to_vec(),
        };
        Ok((response, outcome))
    }
}

/// Key exchange and negotiation (§3.5); `None` is a clear flow.
fn key_exchange(
    config: &ServerConfig<'_>,
    message: &Message<'_>,
    entropy: &mut dyn Entropy,
) -> Result<Option<Agreed>, Cause> {
    let own = config.encryption.config();
    let field = message.kex();
    if field.is_empty() {
        return match own {
            Some(_) => Err(Cause::ClientUnencrypted),
            None => Ok(None),
        };
    }
    let cipher = peer::cipher(message.cipher_nid())?;
    let kdf = peer::hash(message.kdf_nid())?;
    let flags = message.kex_flags();
    let choice = negotiate::choose(own, cipher, kdf, flags.client_encapsulated)?;
    if flags.client_encapsulated {
        // Only a name that configures a KEM expects this (§12, 7 and 8).
        if !own.is_some_and(|own| own.kex.is_kem()) {
            return Err(Cause::UnexpectedCiphertext);
        }
        let private = config.static_key.ok_or(Cause::NoStaticPrivateKey)?;
        if private.kex().is_hybrid() != flags.raw {
            return Err(Cause::StaticKeyKind {
                key: private.kex().name(),
                wanted: if flags.raw {
                    "a hybrid KEM"
                } else {
                    "a pure ML-KEM"
                },
            });
        }
        return Ok(Some(Agreed {
            cipher: choice.cipher,
            kdf: choice.kdf,
            key: exchange::decapsulate(private, field, choice.kdf)?,
            flags: KexFlags::default(),
            kex: Vec::new(),
        }));
    }
    let public = exchange::parse_public(flags.raw, field)?;
    negotiate::check_kex(own, public.kex())?;
    let (kex, key) = if public.kex().is_kem() {
        exchange::encapsulate(&public, choice.kdf)?
    } else {
        let private = entropy.ephemeral(public.kex())?;
        let key = exchange::agree(&private, &public, choice.kdf)?;
        (exchange::public_field(&private), key)
    };
    Ok(Some(Agreed {
        cipher: choice.cipher,
        kdf: choice.kdf,
        key,
        flags: KexFlags {
            raw: public.kex().is_hybrid(),
            client_encapsulated: false,
        },
        kex,
    }))
}

/// Writes and signs the response (§3.3, 7).
fn seal(
    config: &ServerConfig<'_>,
    request: &Message<'_>,
    agreed: Option<&Agreed>,
    data: &[u8],
    now: u64,
) -> Result<Vec<u8>, Cause> {
    let configured = config.encryption.config().map(|own| own.digest);
    let digest = peer::announced_digest(configured, config.credentials);
    let request_digest = peer::hash(request.md_nid())?;
    peer::seal(
        &Repr {
            id: request.id(),
            timestamp: now,
            cipher_nid: agreed.map_or(0, |agreed| agreed.cipher.nid()),
            kdf_nid: agreed.and_then(|agreed| agreed.kdf).map_or(0, Hash::nid),
            md_nid: digest.map_or(0, Hash::nid),
            kex_flags: agreed.map_or_else(KexFlags::default, |agreed| agreed.flags),
            certificate: peer::certificate(config.credentials),
            kex: agreed.map_or(&[], |agreed| &agreed.kex),
            data,
            request_hash: &peer::request_hash(request_digest, request.as_bytes()),
        },
        config.credentials,
        digest,
        "response",
        config.max_message,
    )
}
