//! The exchange of the two ends with the files of their names (`spec/oap-crypto.md` §3, §4.5).

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use o7s::{
    Error, ErrorKind, Result,
    control::{Extensions, FlowSecret},
};
use o7s_crypto::{
    algorithm::Kex,
    cert::{Certificate, CertificateError, Credentials, TrustStore},
    enc_conf::{EncConfig, KemMode, Setting},
    kex::{PrivateKey, PublicKey},
};
use o7s_proto::oap::{
    self, Client, ClientConfig, Code, Encryption, OapError, ReplayWindow, Server, ServerConfig,
    SystemEntropy, key_bits,
};
use o7s_wire::oap::Message;

use super::files::{self, Files, Place};
use crate::core::security::{Agreed, Demand, EXTENSIONS, Half, Role};

/// What the client keeps of its request until the response comes.
#[derive(Debug)]
pub struct Pending {
    client: Client,
    name: String,
    /// No key exchange, and nobody who could be asked for a certificate: cheap to complete.
    plain: bool,
}

impl Pending {
    /// Whether the request has no key exchange.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }
}

/// What is common to all exchanges of a daemon.
#[derive(Debug, Default)]
pub(super) struct Exchanger {
    trust: TrustStore,
    replay: Mutex<ReplayWindow>,
}

impl Exchanger {
    /// Trusts a certificate.
    pub(super) fn trust(&mut self, pem: &[u8]) -> std::result::Result<(), CertificateError> {
        self.trust.add(Certificate::from_pem(pem)?);
        Ok(())
    }

    /// The client's request (§3.2).
    pub(super) fn request(
        &self,
        means: &Means,
        name: &str,
        demand: &Demand,
        max: usize,
        now: u64,
    ) -> Result<(Vec<u8>, Pending)> {
        let min_kex = match &*demand.kex {
            "" => None,
            kex => Some(known_kex(kex)?),
        };
        let static_key = means.server_key()?;
        let config = ClientConfig {
            credentials: means.credentials.as_ref(),
            encryption: means.encryption,
            static_key: static_key.as_ref(),
            strength: demand.cypher_s,
            min_kex,
            extensions: Some(wire_extensions()),
            max_message: max,
            ..ClientConfig::new(name, &self.trust)
        };
        let (client, request) = Client::start(&config, now, &mut SystemEntropy)
            .map_err(|error| failed(&format!("cannot ask for a flow to {name:?}"), &error))?;
        let pending = Pending {
            client,
            name: name.to_owned(),
            plain: !is_protected(&request),
        };
        Ok((request, pending))
    }

    /// The server's check of a request, and its response (§3.3), but for [`Self::check_replay`].
    pub(super) fn respond(
        &self,
        means: &Means,
        name: &str,
        request: &[u8],
        max: usize,
        now: u64,
    ) -> Result<(Vec<u8>, Agreed)> {
        let encapsulated = Message::parse_request(request)
            .is_ok_and(|message| message.kex_flags().client_encapsulated);
        let static_key = if encapsulated { means.own_key()? } else { None };
        let config = ServerConfig {
            credentials: means.credentials.as_ref(),
            encryption: means.encryption,
            static_key: static_key.as_ref(),
            extensions: Some(wire_extensions()),
            max_message: max,
            ..ServerConfig::new(&self.trust)
        };
        let refused = |error| refused(name, &error);
        // The memory of requests is ours: that of a `Server` would be locked while it computes.
        let (response, outcome) = Server::default()
            .respond(&config, request, now, &mut SystemEntropy)
            .map_err(refused)?;
        Ok((response, agreed(outcome)))
    }

    /// Time window and memory of requests (§3.6), for those that came from elsewhere.
    pub(super) fn check_replay(&self, name: &str, request: &[u8], now: u64) -> Result<()> {
        let check = || {
            let message = Message::parse_request(request)?;
            let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
            replay.check(message.id(), message.timestamp(), now)
        };
        check().map_err(|cause| {
            let code = Code::Auth;
            refused(name, &OapError { code, cause })
        })
    }

    /// The client's check of the response (§3.4).
    pub(super) fn complete(&self, pending: Pending, response: &[u8], now: u64) -> Result<Agreed> {
        let name = pending.name;
        let outcome = pending
            .client
            .complete(&self.trust, response, now)
            .map_err(|error| failed(&format!("the response from {name:?} is refused"), &error))?;
        Ok(agreed(outcome))
    }
}

/// Whether a message has a key or a certificate, so that its check costs something. The check of
/// what is no message at all is cheap.
pub(super) fn is_protected(message: &[u8]) -> bool {
    // Lengths of certificate and key, the latter without its flags (§2.1).
    message.get(30..34).is_some_and(|lengths| lengths != [0; 4])
}

fn wire_extensions() -> o7s_wire::oap::Extensions {
    o7s_wire::oap::Extensions {
        fragments: EXTENSIONS.fragments,
        selective: EXTENSIONS.selective,
        window: EXTENSIONS.window,
    }
}

fn agreed(outcome: oap::Outcome) -> Agreed {
    let cypher_s = key_bits(outcome.cipher);
    let secret = outcome
        .cipher
        .zip(outcome.key)
        .map(|(cipher, key)| FlowSecret {
            cipher: cipher.nid().into(),
            key: key.as_bytes().to_vec(),
        });
    Agreed {
        secret,
        cypher_s,
        extensions: outcome.extensions.map(|extensions| Extensions {
            fragments: extensions.fragments,
            selective: extensions.selective,
            window: extensions.window,
        }),
        peer_name: outcome
            .peer_name
            .filter(|_| outcome.authenticated)
            .unwrap_or_default(),
    }
}

fn failed(what: &str, error: &OapError) -> Error {
    let kind = ErrorKind::from_errno(error.code.errno());
    Error::new(kind, format!("{what}: {error}"))
}

fn refused(name: &str, error: &OapError) -> Error {
    failed(&format!("the server of {name:?} refuses the flow"), error)
}

fn known_kex(name: &str) -> Result<Kex> {
    Kex::from_name(name)
        .filter(|kex| kex.is_available())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "there is no key exchange {name:?} here; use one of {}",
                    Setting::Kex.allowed()
                ),
            )
        })
}

/// Whether a key exchange of this name is available.
///
/// # Errors
/// [`ErrorKind::Invalid`], with those there are.
pub fn check_kex(name: &str) -> Result<()> {
    known_kex(name).map(drop)
}

/// What the files of one half of a name say.
#[derive(Debug)]
pub(super) struct Means {
    role: Role,
    credentials: Option<Credentials>,
    encryption: Encryption,
    directory: Option<PathBuf>,
}

impl Means {
    /// Reads what a step needs (§3.1).
    pub(super) fn read(files: &Files, half: &Half) -> Result<Self> {
        let role = half.role;
        let credentials = read_credentials(files).map_err(|error| as_credentials(role, error))?;
        let encryption = read_encryption(files).map_err(|error| as_encryption(role, error))?;
        Ok(Self {
            role,
            credentials,
            encryption,
            directory: files.directory.clone(),
        })
    }

    /// Whether a KEM is configured, and which.
    fn kem(&self) -> Option<&EncConfig> {
        self.encryption
            .config()
            .filter(|config| config.kex.is_kem())
    }

    /// The server's static key, for a client that encapsulates.
    fn server_key(&self) -> Result<Option<PublicKey>> {
        let Some(config) = self
            .kem()
            .filter(|config| config.kem_mode == KemMode::Client)
        else {
            return Ok(None);
        };
        let read = |bytes: &[u8]| {
            if config.kex.is_hybrid() {
                PublicKey::from_wire(true, bytes)
            } else {
                PublicKey::from_pem(bytes)
            }
        };
        let names = ["kex.srv.pub.pem", "kex.srv.pub.raw"];
        self.static_key(config.kex, names, |bytes| {
            read(bytes).map_err(|error| error.to_string())
        })
    }

    /// The own static key, to which clients encapsulate.
    fn own_key(&self) -> Result<Option<PrivateKey>> {
        let Some(config) = self.kem() else {
            return Ok(None);
        };
        let read = |bytes: &[u8]| {
            if config.kex.is_hybrid() {
                PrivateKey::from_raw_hybrid(bytes)
            } else {
                PrivateKey::from_pem(bytes)
            }
        };
        let names = ["kex.key.pem", "kex.key.raw"];
        self.static_key(config.kex, names, |bytes| {
            read(bytes).map_err(|error| error.to_string())
        })
    }

    /// Reads a static key; the files are for ML-KEM and for its hybrids.
    fn static_key<K>(
        &self,
        kex: Kex,
        [pem, raw]: [&str; 2],
        read: impl FnOnce(&[u8]) -> std::result::Result<K, String>,
    ) -> Result<Option<K>> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let file = directory.join(if kex.is_hybrid() { raw } else { pem });
        let place = Place::Default(file);
        let outcome = files::read_pem(&place, "static key").and_then(|bytes| {
            let key = bytes.map(|bytes| read(&bytes)).transpose();
            key.map_err(|error| {
                let path = place.path().display();
                Error::new(
                    ErrorKind::Invalid,
                    format!("the static key {path} cannot be used: {error}"),
                )
            })
        });
        outcome.map_err(|error| as_encryption(self.role, error))
    }
}

/// Certificate and key, if both are there.
pub(super) fn read_credentials(files: &Files) -> Result<Option<Credentials>> {
    let (Some(certificate_at), Some(key_at)) = (&files.certificate, &files.key) else {
        return Ok(None);
    };
    let certificate = files::read_pem(certificate_at, "certificate")?;
    let key = files::read_pem(key_at, "private key")?;
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Ok(None);
    };
    let credentials = Credentials::from_pem(&certificate, &key).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the certificate {} with the private key {} is of no use: {error}",
                certificate_at.path().display(),
                key_at.path().display()
            ),
        )
    })?;
    Ok(Some(credentials))
}

/// What `enc.conf` says.
pub(super) fn read_encryption(files: &Files) -> Result<Encryption> {
    let Some(place) = &files.encryption else {
        return Ok(Encryption::Unset);
    };
    let text = files::read_conf(place)?;
    Encryption::from_file(text.as_ref().map(|text| text.as_slice())).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the encryption configuration {} is wrong: {error}",
                place.path().display()
            ),
        )
    })
}

/// The kind of error that a step gives when credentials cannot be loaded (§3.1, §3.7).
fn as_credentials(role: Role, error: Error) -> Error {
    let kind = match role {
        Role::Server => ErrorKind::Auth,
        Role::Client => UNPREPARED,
    };
    Error::new(kind, error.message().to_owned())
}

/// The same for `enc.conf` and static keys.
fn as_encryption(role: Role, error: Error) -> Error {
    let kind = match role {
        Role::Server => ErrorKind::Crypt,
        Role::Client => UNPREPARED,
    };
    Error::new(kind, error.message().to_owned())
}

/// EBADF: a request that cannot be prepared (§3.2, 8).
const UNPREPARED: ErrorKind = ErrorKind::Other(9);
