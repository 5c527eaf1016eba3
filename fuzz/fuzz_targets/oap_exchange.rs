//! Arbitrary requests at an OAP server and responses at a client: no panic, no stranger is
//! authenticated, no request counts twice, and who wants a key gets one or no flow.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use o7s_crypto::{
    algorithm::Kex,
    cert::{Certificate, TrustStore},
    kex::PrivateKey,
};
use o7s_proto::oap::{
    Cause, Client, ClientConfig, Encryption, Entropy, ReplayWindow, Server, ServerConfig,
    SystemEntropy,
};
use o7s_wire::oap::{Extensions, Id, Message};

/// As in the vectors, whose messages are the seeds.
const NOW: u64 = 1_700_000_000_123_456_789;
const ID: Id = Id(*b"0123456789:;<=>?");
const CLIENT_CONF: &[u8] = b"kex=X25519\ncipher=aes-128-gcm\nkdf=sha3-512\ndigest=sha3-256\n";
/// PKCS#8 of the client's X25519 key.
const CLIENT_KEY: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
    0x48, 0x81, 0x69, 0xdb, 0x98, 0x31, 0xeb, 0x1f, 0x41, 0xa7, 0xc0, 0x64, 0xae, 0x05, 0x42, 0x08,
    0x92, 0x5b, 0xa9, 0xdf, 0xc9, 0xc7, 0x52, 0x4e, 0x0b, 0xd1, 0xdb, 0xd0, 0x61, 0xbe, 0x11, 0x57,
];

static STRANGER: LazyLock<TrustStore> = LazyLock::new(TrustStore::new);
static TRUSTED: LazyLock<TrustStore> = LazyLock::new(|| {
    let pem = include_bytes!("../../tests/data/captures/09-certs/ca.crt.pem");
    let mut store = TrustStore::new();
    store.add(Certificate::from_pem(pem).unwrap());
    store
});
static STATIC_KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::generate(Kex::MlKem768).unwrap());

/// The client of the vectors, or of the response at hand.
struct Recorded(Id);

impl Entropy for Recorded {
    fn id(&mut self) -> Result<Id, Cause> {
        Ok(self.0)
    }

    fn ephemeral(&mut self, _kex: Kex) -> Result<PrivateKey, Cause> {
        PrivateKey::from_pkcs8(&CLIENT_KEY).map_err(|error| Cause::Kex(error.to_string()))
    }
}

fn encryption(file: Option<&[u8]>) -> Encryption {
    Encryption::from_file(file).unwrap()
}

/// The time and the identifier in a message.
fn recorded(message: &[u8]) -> Option<(u64, Id)> {
    let (id, rest) = message.split_first_chunk()?;
    Some((u64::from_be_bytes(*rest.first_chunk()?), Id(*id)))
}

fn serve(setup: u8, request: &[u8], trust: &TrustStore, now: u64) {
    let encryption = encryption(match setup >> 2 & 3 {
        0 => None,
        1 => Some(b"none"),
        2 => Some(b"kex=prime256v1\ncipher=chacha20-poly1305\n"),
        _ => Some(b"kex=ML-KEM-768\nkem_mode=client\n"),
    });
    let config = ServerConfig {
        encryption,
        static_key: Some(&STATIC_KEY),
        require_authentication: setup & 16 != 0,
        extensions: (setup & 32 != 0).then(Extensions::default),
        data: b"data",
        ..ServerConfig::new(trust)
    };
    let mut server = Server::new(ReplayWindow::with_capacity(8));
    match server.respond(&config, request, now, &mut SystemEntropy) {
        Ok((response, outcome)) => {
            let request_md = Message::parse_request(request).unwrap().md_nid();
            let parsed = Message::parse_response(&response, request_md).unwrap();
            assert_eq!(parsed.id().0[..], request[..ID.0.len()]);
            assert_eq!(outcome.cipher.is_some(), outcome.key.is_some());
            assert!(encryption.config().is_none() || outcome.key.is_some());
            assert!(!outcome.authenticated || std::ptr::eq(trust, &*TRUSTED));
            assert!(outcome.authenticated || !config.require_authentication);
            let again = server.respond(&config, request, now, &mut SystemEntropy);
            assert!(matches!(again.unwrap_err().cause, Cause::Replay(_)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(server.replay().len() <= 1);
}

fn complete(setup: u8, response: &[u8], trust: &TrustStore, now: u64, id: Id) {
    let config = ClientConfig {
        encryption: encryption((setup & 4 != 0).then_some(CLIENT_CONF)),
        require_authentication: setup & 16 != 0,
        extensions: (setup & 32 != 0).then(Extensions::default),
        ..ClientConfig::new("oap.vector", trust)
    };
    let (client, _) = Client::start(&config, NOW, &mut Recorded(id)).unwrap();
    match client.complete(trust, response, now) {
        Ok(outcome) => {
            assert_eq!(outcome.cipher.is_some(), outcome.key.is_some());
            assert_eq!(outcome.key.is_some(), setup & 4 != 0);
            assert!(!outcome.authenticated || std::ptr::eq(trust, &*TRUSTED));
            assert!(outcome.authenticated || !config.require_authentication);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&setup, message)) = input.split_first() else {
        return;
    };
    let trust = if setup & 2 == 0 { &STRANGER } else { &TRUSTED };
    let own = recorded(message).filter(|_| setup & 64 != 0);
    let (now, id) = own.unwrap_or((NOW, ID));
    if setup & 1 == 0 {
        serve(setup, message, trust, now);
    } else {
        complete(setup, message, trust, now, id);
    }
});
