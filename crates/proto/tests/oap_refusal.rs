//! Exchanges that must fail: bad peers, bad messages, bad times.

mod oap_common;

use o7s_crypto::algorithm::{Cipher, Hash, Kex};
use o7s_crypto::cert::{ChainError, Credentials};
use o7s_crypto::kex::PrivateKey;
use o7s_crypto::sign::SignError;
use o7s_proto::oap::{
    Cause, Client, ClientConfig, Code, Encryption, Extensions, OapError, Server, ServerConfig,
    SystemEntropy,
};
use o7s_wire::oap::Message;
use oap_common::{
    Authority, DAY, MS, NOW, conf, dropped, exchange, nobody, refused, request, respond,
};
use proptest::prelude::*;

/// The response with another value in a 16-bit field of the fixed part.
fn patched(response: &[u8], offset: usize, value: u16) -> Vec<u8> {
    let mut response = response.to_vec();
    response[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
    response
}

#[test]
fn certificates_that_do_not_count() {
    let authority = Authority::p256();
    let trust = authority.trust();
    let plain = ClientConfig::new("oping", &trust);
    let with = |credentials: &Credentials, client: &ClientConfig<'_>| {
        dropped(
            client,
            &ServerConfig {
                credentials: Some(credentials),
                ..ServerConfig::new(client.trust)
            },
        )
    };

    let error = with(&authority.credentials("notoping"), &plain);
    assert_eq!(
        error.to_string(),
        "the certificate of the server is for \"notoping\", not for \"oping\"; its common name \
         (CN) must be the destination name"
    );
    let error = with(&authority.credentials_until("oping", 2026), &plain);
    assert_eq!(
        error.to_string(),
        "the peer is not trusted: the certificate of \"CN=oping\" expired on \
         2026-01-01T00:00:00Z; renew it"
    );

    // The authority is missing.
    let nobody = nobody();
    let credentials = authority.credentials("oping");
    let error = with(&credentials, &ClientConfig::new("oping", &nobody));
    assert!(matches!(
        error.cause,
        Cause::Chain(ChainError::NoIssuer { .. })
    ));
    // A certificate of the same name from another authority.
    let error = with(&Authority::p256().credentials("oping"), &plain);
    assert!(matches!(
        error.cause,
        Cause::Chain(ChainError::Signature { .. })
    ));

    // The same for the client's.
    let client = ClientConfig {
        credentials: Some(&credentials),
        ..plain
    };
    let error = refused(&client, &ServerConfig::new(&nobody));
    assert_eq!(error.code, Code::Auth);
    assert!(matches!(
        error.cause,
        Cause::Chain(ChainError::NoIssuer { .. })
    ));
    let expired = authority.credentials_until("a client", 2026);
    let client = ClientConfig {
        credentials: Some(&expired),
        ..plain
    };
    let error = refused(&client, &ServerConfig::new(&trust));
    assert_eq!((error.code, error.code.response()), (Code::Auth, -1009));
    assert!(error.to_string().contains("renew it"), "{error}");
}

#[test]
fn times_and_replays() {
    let trust = nobody();
    let (_, request) = request(&ClientConfig::new("oping", &trust));
    let config = ServerConfig::new(&trust);
    let mut server = Server::default();
    let mut at = |now| server.respond(&config, &request, now, &mut SystemEntropy);
    let early = at(NOW - 101 * MS).unwrap_err();
    assert_eq!(
        (early.code, early.cause),
        (Code::Auth, Cause::Future { ahead_ms: 101 })
    );
    let late = at(NOW + 20_001 * MS).unwrap_err();
    assert_eq!(
        (late.code, late.cause),
        (Code::Auth, Cause::Old { age_ms: 20_001 })
    );
    at(NOW - 100 * MS).unwrap();
    for now in [NOW - 100 * MS, NOW, NOW + 20_000 * MS] {
        let again = at(now).unwrap_err();
        assert!(matches!(again.cause, Cause::Replay(_)), "{again}");
    }
    assert!(matches!(
        at(NOW + DAY).unwrap_err().cause,
        Cause::Old { .. }
    ));
    assert_eq!(server.replay().len(), 1);
}

#[test]
fn a_request_is_remembered_before_it_is_authenticated() {
    let authority = Authority::p256();
    let credentials = authority.credentials("a client");
    let trust = nobody();
    let (_, request) = request(&ClientConfig {
        credentials: Some(&credentials),
        ..ClientConfig::new("oping", &trust)
    });
    let config = ServerConfig::new(&trust);
    let mut server = Server::default();
    let mut again = || server.respond(&config, &request, NOW, &mut SystemEntropy);
    assert!(matches!(again().unwrap_err().cause, Cause::Chain(_)));
    assert!(matches!(again().unwrap_err().cause, Cause::Replay(_)));
}

#[test]
fn responses_to_other_requests() {
    let trust = nobody();
    let config = ClientConfig {
        encryption: conf("kex=X25519"),
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig::new(&trust);
    let (first, _) = request(&config);
    let (second, second_request) = request(&config);
    let (response, _) = respond(&server, &second_request).unwrap();
    let error = first.complete(&trust, &response, NOW).unwrap_err();
    assert!(matches!(error.cause, Cause::WrongId { .. }), "{error}");
    second.complete(&trust, &response, NOW).unwrap();

    // Somebody on the path weakens the request; the identifier stays.
    let (client, mut request) = request(&config);
    request[24..26].copy_from_slice(&Cipher::Aes128Ctr.nid().to_be_bytes());
    let (response, _) = respond(&server, &request).unwrap();
    let error = client.complete(&trust, &response, NOW).unwrap_err();
    assert_eq!(error.cause, Cause::WrongRequestHash);
}

#[test]
fn downgrades_by_the_server_are_refused() {
    let trust = nobody();
    let config = ClientConfig {
        encryption: conf("kex=X25519\ncipher=aes-256-gcm\nkdf=sha512"),
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig::new(&trust);
    let try_with = |offset, value| {
        let (client, request) = request(&config);
        let (response, _) = respond(&server, &request).unwrap();
        let response = patched(&response, offset, value);
        client.complete(&trust, &response, NOW)
    };
    for (offset, value, message) in [
        (
            24,
            Cipher::Aes192Gcm.nid(),
            "the server chose the cipher aes-192-gcm, weaker than aes-256-gcm",
        ),
        (
            24,
            Cipher::Aes256Ctr.nid(),
            "the server chose the cipher aes-256-ctr, weaker than",
        ),
        (24, 0, "the server answered without a cipher"),
        (
            26,
            Hash::Sha256.nid(),
            "the server chose the key derivation hash sha256, weaker than sha512",
        ),
        (
            24,
            9999,
            "the peer's message is malformed: cipher number 9999 is unknown",
        ),
    ] {
        let error = try_with(offset, value).unwrap_err();
        assert_eq!(error.code, Code::Crypt);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    // Stronger is accepted, and so is a server that leaves the hash to the client.
    try_with(24, Cipher::ChaCha20Poly1305.nid()).unwrap();
    try_with(26, 0).unwrap();

    // A server that takes the cipher of a request without key exchange for granted (§12, 20): it
    // answers in clear.
    let (client, request) = request(&config);
    let clear = ClientConfig::new("oping", &trust);
    let (_, clear) = Client::start(&clear, NOW, &mut SystemEntropy).unwrap();
    let (response, outcome) = respond(&server, &clear).unwrap();
    assert_eq!(outcome.cipher, None);
    let message = Message::parse_response(&response, 0).unwrap();
    let mut forged = message.to_repr();
    let hash = Hash::Sha256.digest(&request);
    forged.id = client.id();
    forged.request_hash = &hash;
    let error = client
        .complete(&trust, &forged.emit_unsigned().unwrap(), NOW)
        .unwrap_err();
    assert_eq!(error.cause, Cause::ServerUnencrypted("a cipher"));
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let trust = nobody();
    let config = |kex: &str| ClientConfig {
        encryption: conf(&format!("kex={kex}")),
        ..ClientConfig::new("oping", &trust)
    };
    let (client, request_bytes) = request(&config("X25519"));
    let (_, other_request) = request(&config("prime256v1"));
    let (other, _) = respond(&ServerConfig::new(&trust), &other_request).unwrap();
    let other = Message::parse_response(&other, Hash::Sha256.nid()).unwrap();
    let hash = Hash::Sha256.digest(&request_bytes);
    let mut forged = other.to_repr();
    forged.id = client.id();
    forged.request_hash = &hash;
    let error = client
        .complete(&trust, &forged.emit_unsigned().unwrap(), NOW)
        .unwrap_err();
    assert_eq!(
        error.cause,
        Cause::KexMismatch {
            found: "prime256v1",
            sent: "X25519"
        }
    );
}

#[test]
fn what_the_server_demands_of_the_client() {
    let trust = nobody();
    let server = ServerConfig {
        encryption: conf("kex=secp384r1"),
        ..ServerConfig::new(&trust)
    };
    let clear = ClientConfig::new("oping", &trust);
    let error = refused(&clear, &server);
    assert_eq!(
        (error.code, error.cause),
        (Code::Crypt, Cause::ClientUnencrypted)
    );
    let weak = ClientConfig {
        encryption: conf("kex=prime256v1"),
        ..clear
    };
    let error = refused(&weak, &server);
    assert_eq!(error.code.response(), -1008);
    assert_eq!(
        error.to_string(),
        "the client's key exchange prime256v1 is weaker than secp384r1, which enc.conf of this \
         name requires; raise it in the client's enc.conf"
    );
    let strong = ClientConfig {
        encryption: conf("kex=secp521r1"),
        ..clear
    };
    exchange(&strong, &server);
}

#[test]
fn the_role_flag_needs_a_configured_kem() {
    let trust = nobody();
    let (_, mut request) = request(&ClientConfig {
        encryption: conf("kex=X25519"),
        ..ClientConfig::new("oping", &trust)
    });
    request[32] |= 0x40;
    for encryption in [
        Encryption::Unset,
        Encryption::Off,
        conf("kex=X25519"),
        conf(""),
    ] {
        let server = ServerConfig {
            encryption,
            ..ServerConfig::new(&trust)
        };
        let error = respond(&server, &request).unwrap_err();
        assert_eq!(
            (error.code, error.cause),
            (Code::Crypt, Cause::UnexpectedCiphertext)
        );
    }
}

#[test]
fn messages_too_long_for_the_layer_are_refused_before_they_are_sent() {
    let trust = nobody();
    let config = ClientConfig {
        encryption: conf("kex=X25519"),
        max_message: 80,
        ..ClientConfig::new("oping", &trust)
    };
    let (_, request_bytes) = request(&config);
    assert_eq!(request_bytes.len(), 80);
    let tight = ClientConfig {
        max_message: 79,
        ..config
    };
    let error = Client::start(&tight, NOW, &mut SystemEntropy).unwrap_err();
    assert_eq!(error.code.errno(), 9);
    assert_eq!(
        error.cause,
        Cause::TooLong {
            what: "request",
            len: 80,
            max: 79
        }
    );
    let server = ServerConfig {
        max_message: 111,
        ..ServerConfig::new(&trust)
    };
    let error = respond(&server, &request_bytes).unwrap_err();
    assert!(
        matches!(error.cause, Cause::TooLong { len: 112, .. }),
        "{error}"
    );
    let data = vec![0; 65_536];
    let config = ClientConfig {
        data: &data,
        ..config
    };
    let error = Client::start(&config, NOW, &mut SystemEntropy).unwrap_err();
    assert!(matches!(error.cause, Cause::Field(_)), "{error}");
}

#[test]
fn truncated_at_every_length() {
    let authority = Authority::p256();
    let trust = authority.trust();
    let credentials = authority.credentials("oping");
    let client = ClientConfig {
        credentials: Some(&credentials),
        encryption: conf("kex=X25519"),
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig {
        credentials: Some(&credentials),
        encryption: conf("kex=X25519"),
        ..ServerConfig::new(&trust)
    };
    let (_, request_bytes) = request(&client);
    for len in 0..request_bytes.len() {
        let error = respond(&server, &request_bytes[..len]).unwrap_err();
        assert_eq!(error.code, Code::Auth, "{len}");
    }
    let (waiting, request_bytes) = request(&client);
    let (response, _) = respond(&server, &request_bytes).unwrap();
    for len in 0..response.len() {
        let key = PrivateKey::generate(Kex::X25519).unwrap();
        let resumed = Client::resume(&client, &request_bytes, Some(key)).unwrap();
        let error = resumed.complete(&trust, &response[..len], NOW).unwrap_err();
        assert_eq!(error.code, Code::Crypt, "{len}");
    }
    waiting.complete(&trust, &response, NOW).unwrap();
    // A client never forgets that it asked for encryption.
    let error = Client::resume(&client, &request_bytes, None).unwrap_err();
    assert_eq!(error.code, Code::BadF);
}

#[test]
fn every_changed_byte_of_a_signed_exchange_is_noticed() {
    let authority = Authority::new(&rcgen::PKCS_ED25519);
    let trust = authority.trust();
    let credentials = authority.credentials("oping");
    let client = ClientConfig {
        credentials: Some(&credentials),
        data: b"data",
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig {
        credentials: Some(&credentials),
        data: b"data",
        ..ServerConfig::new(&trust)
    };
    let (_, request_bytes) = request(&client);
    let (response, _) = respond(&server, &request_bytes).unwrap();
    for at in 0..request_bytes.len() {
        let mut changed = request_bytes.clone();
        changed[at] ^= 0x11;
        assert_eq!(
            respond(&server, &changed).unwrap_err().code,
            Code::Auth,
            "{at}"
        );
    }
    for at in 0..response.len() {
        let mut changed = response.clone();
        changed[at] ^= 0x11;
        let resumed = Client::resume(&client, &request_bytes, None).unwrap();
        assert!(resumed.complete(&trust, &changed, NOW).is_err(), "{at}");
    }
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let authority = Authority::p256();
    let trust = authority.trust();
    let (theirs, own) = (
        authority.credentials("oping"),
        authority.credentials("other"),
    );
    let (_, request) = request(&ClientConfig {
        credentials: Some(&own),
        ..ClientConfig::new("oping", &trust)
    });
    let message = Message::parse_request(&request).unwrap();
    let mut stolen = message.to_repr();
    stolen.certificate = theirs.certificate().der();
    let mut forged = stolen.emit_unsigned().unwrap();
    // Without signature, with garbage, and with that of another key.
    let signature = own.key().sign(None, &forged).unwrap();
    for signature in [&[][..], &[1; 70], &signature] {
        let len = forged.len();
        forged.extend_from_slice(signature);
        let error = respond(&ServerConfig::new(&trust), &forged).unwrap_err();
        assert_eq!(error.code, Code::Auth);
        assert!(
            matches!(error.cause, Cause::Signature(SignError::Mismatch(_))),
            "{error}"
        );
        forged.truncate(len);
    }
}

#[test]
fn the_configuration_errors_have_their_codes() {
    let error = Encryption::from_file(Some(b"cipher=aes-256-cbc")).unwrap_err();
    let client = OapError::client_configuration(error.clone());
    assert_eq!(client.code.errno(), 9);
    assert!(
        client
            .to_string()
            .starts_with("enc.conf is invalid: line 1:")
    );
    assert_eq!(OapError::server_encryption(error).code.errno(), 1008);
    let error = Credentials::from_pem(b"", b"").unwrap_err();
    assert_eq!(OapError::server_credentials(error).code.errno(), 1009);
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        nids in prop::array::uniform3(prop_oneof![Just(0_u16), Just(672), Just(901), any::<u16>()]),
        lens in prop::array::uniform3(0_u16..60),
        flags in 0_u16..4,
        fixed in any::<bool>(),
    ) {
        let trust = nobody();
        let config = ClientConfig {
            encryption: conf("kex=X25519"),
            ..ClientConfig::new("oping", &trust)
        };
        let (client, request) = request(&config);
        let mut message = bytes;
        if fixed {
            let mut head = request[..24].to_vec();
            let kex = (lens[1], flags << 14);
            for word in [nids[0], nids[1], nids[2], lens[0], kex.0 | kex.1, lens[2]] {
                head.extend_from_slice(&word.to_be_bytes());
            }
            head.append(&mut message);
            message = head;
        }
        for encryption in [Encryption::Unset, conf("kex=X25519")] {
            let server = ServerConfig { encryption, ..ServerConfig::new(&trust) };
            let _ = respond(&server, &message);
        }
        prop_assert!(client.complete(&trust, &message, NOW).is_err());
    }

    #[test]
    fn changed_messages_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let trust = nobody();
        let config = ClientConfig {
            encryption: conf("kex=prime256v1"),
            extensions: Some(Extensions { fragments: true, selective: true, window: 9 }),
            ..ClientConfig::new("oping", &trust)
        };
        let (client, request) = request(&config);
        let server = ServerConfig {
            extensions: config.extensions,
            ..ServerConfig::new(&trust)
        };
        let (mut response, _) = respond(&server, &request).unwrap();
        let mut changed = request.clone();
        for (index, byte) in changes {
            let at = index.index(changed.len());
            changed[at] = byte;
            let at = index.index(response.len());
            response[at] = byte;
        }
        let _ = respond(&server, &changed);
        let _ = client.complete(&trust, &response, NOW);
    }
}
