//! Whole exchanges between our client and our server that succeed.

mod oap_common;

use o7s_crypto::algorithm::{Cipher, Hash, Kex};
use o7s_crypto::kex::{PrivateKey, PublicKey};
use o7s_proto::oap::{
    Cause, Client, ClientConfig, Code, Encryption, Extensions, OapError, Server, ServerConfig,
    SystemEntropy, key_bits,
};
use o7s_wire::oap::Message;
use oap_common::{Authority, NOW, conf, dropped, exchange, nobody, refused, request, respond};

#[test]
fn a_clear_flow_carries_data_both_ways() {
    let trust = nobody();
    let client = ClientConfig {
        data: b"from the client",
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig {
        data: b"O7S+ is how this begins",
        ..ServerConfig::new(&trust)
    };
    let (allocated, accepted) = exchange(&client, &server);
    assert_eq!(allocated.data, server.data);
    assert_eq!(accepted.data, client.data);
    assert_eq!(allocated.cipher, None);
    assert!(!allocated.authenticated && !accepted.authenticated);
    assert_eq!(key_bits(allocated.cipher), 0);
}

#[test]
fn every_available_key_exchange_gives_both_the_same_key() {
    let trust = nobody();
    let mut tried = 0;
    for kex in Kex::ALL.into_iter().filter(|kex| kex.is_available()) {
        let config = conf(&format!("kex={}", kex.name()));
        let client = ClientConfig {
            encryption: config,
            ..ClientConfig::new("oping", &trust)
        };
        for encryption in [config, Encryption::Unset, Encryption::Off] {
            let server = ServerConfig {
                encryption,
                ..ServerConfig::new(&trust)
            };
            let (allocated, _) = exchange(&client, &server);
            assert_eq!(allocated.cipher, Some(Cipher::Aes256Gcm), "{kex:?}");
        }
        tried += 1;
    }
    assert!(tried >= 4, "{tried}");
}

#[test]
fn the_stronger_cipher_and_hash_win() {
    let trust = nobody();
    for client_cipher in Cipher::ALL {
        for server_cipher in Cipher::ALL {
            let client = ClientConfig {
                encryption: conf(&format!("kex=X25519\ncipher={}", client_cipher.name())),
                ..ClientConfig::new("oping", &trust)
            };
            let server = ServerConfig {
                encryption: conf(&format!("kex=X25519\ncipher={}", server_cipher.name())),
                ..ServerConfig::new(&trust)
            };
            let (allocated, _) = exchange(&client, &server);
            assert_eq!(allocated.cipher, Some(client_cipher.max(server_cipher)));
        }
    }
    for client_kdf in Hash::ALL {
        for server_kdf in Hash::ALL {
            let client = ClientConfig {
                encryption: conf(&format!("kex=X25519\nkdf={}", client_kdf.name())),
                ..ClientConfig::new("oping", &trust)
            };
            let server = ServerConfig {
                encryption: conf(&format!("kex=X25519\nkdf={}", server_kdf.name())),
                ..ServerConfig::new(&trust)
            };
            let (_, request) = request(&client);
            let (response, _) = respond(&server, &request).unwrap();
            let response = Message::parse_response(&response, Hash::Sha256.nid()).unwrap();
            assert_eq!(response.kdf_nid(), client_kdf.max(server_kdf).nid());
            exchange(&client, &server);
        }
    }
}

#[test]
fn both_sides_authenticate() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let authority = Authority::new(algorithm);
        let trust = authority.trust();
        let of_server = authority.credentials("oping");
        let of_client = authority.credentials("a client");
        for encryption in [Encryption::Unset, conf("digest=sha512")] {
            let client = ClientConfig {
                credentials: Some(&of_client),
                encryption,
                require_authentication: true,
                ..ClientConfig::new("oping", &trust)
            };
            let server = ServerConfig {
                credentials: Some(&of_server),
                encryption,
                require_authentication: true,
                ..ServerConfig::new(&trust)
            };
            let (allocated, accepted) = exchange(&client, &server);
            assert!(allocated.authenticated && accepted.authenticated);
            assert_eq!(allocated.peer_name.as_deref(), Some("oping"));
            assert_eq!(accepted.peer_name.as_deref(), Some("a client"));
            assert_eq!(allocated.cipher.is_some(), encryption.config().is_some());
        }
    }
}

#[test]
fn an_eddsa_key_announces_no_digest() {
    let authority = Authority::new(&rcgen::PKCS_ED25519);
    let trust = authority.trust();
    let credentials = authority.credentials("oping");
    let client = ClientConfig {
        credentials: Some(&credentials),
        encryption: conf("kex=X25519\ndigest=sha512"),
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig {
        credentials: Some(&credentials),
        encryption: conf("kex=X25519\ndigest=sha256"),
        ..ServerConfig::new(&trust)
    };
    let (_, request) = request(&client);
    let (response, _) = respond(&server, &request).unwrap();
    assert_eq!(Message::parse_request(&request).unwrap().md_nid(), 0);
    // The hash of the request is then SHA-384 (§2.5).
    let response = Message::parse_response(&response, 0).unwrap();
    assert_eq!(response.md_nid(), 0);
    assert_eq!(response.signature().len(), 64);
    exchange(&client, &server);
}

#[test]
fn anonymous_peers_are_accepted_unless_authentication_is_required() {
    let authority = Authority::p256();
    let trust = authority.trust();
    let credentials = authority.credentials("oping");
    // §12, 15: a response without certificate to a signed request, and the reverse.
    let signed = ClientConfig {
        credentials: Some(&credentials),
        ..ClientConfig::new("oping", &trust)
    };
    let unsigned = ClientConfig::new("oping", &trust);
    let anonymous = ServerConfig::new(&trust);
    let known = ServerConfig {
        credentials: Some(&credentials),
        ..anonymous
    };
    exchange(&signed, &anonymous);
    exchange(&unsigned, &known);

    let strict = ClientConfig {
        require_authentication: true,
        ..signed
    };
    let error = dropped(&strict, &anonymous);
    assert_eq!(error.cause, Cause::Unauthenticated);
    exchange(&strict, &known);

    let strict = ServerConfig {
        require_authentication: true,
        ..known
    };
    let error = refused(&unsigned, &strict);
    assert_eq!(
        (error.code, error.cause),
        (Code::Auth, Cause::Unauthenticated)
    );
    exchange(&signed, &strict);
}

#[test]
fn a_cipher_without_key_exchange_gives_a_clear_flow() {
    let trust = nobody();
    let (_, mut request) = request(&ClientConfig::new("oping", &trust));
    request[24..26].copy_from_slice(&Cipher::Aes256Gcm.nid().to_be_bytes());
    let (response, outcome) = respond(&ServerConfig::new(&trust), &request).unwrap();
    assert_eq!(outcome.cipher, None);
    assert_eq!(
        Message::parse_response(&response, 0).unwrap().cipher_nid(),
        0
    );
}

#[test]
fn kem_mode_means_nothing_to_diffie_hellman() {
    // §12, 9: the client must follow the server's stronger hash.
    let trust = nobody();
    let client = ClientConfig {
        encryption: conf("kex=X25519\nkem_mode=client\nkdf=sha256"),
        ..ClientConfig::new("oping", &trust)
    };
    let server = ServerConfig {
        encryption: conf("kex=X25519\nkdf=sha3-512"),
        ..ServerConfig::new(&trust)
    };
    let (_, request) = request(&client);
    assert!(
        !Message::parse_request(&request)
            .unwrap()
            .kex_flags()
            .client_encapsulated
    );
    exchange(&client, &server);
}

#[test]
fn strength_is_merged_with_the_configuration() {
    let trust = nobody();
    type Wanted = (&'static str, u16, u16, u16);
    let start = |strength, min_kex, encryption| -> Result<Wanted, OapError> {
        let config = ClientConfig {
            strength,
            min_kex,
            encryption,
            ..ClientConfig::new("oping", &trust)
        };
        let (_, request) = Client::start(&config, NOW, &mut SystemEntropy)?;
        let message = Message::parse_request(&request).unwrap();
        let kex = match message.kex().len() {
            0 => "none",
            44 => "X25519",
            91 => "prime256v1",
            120 => "secp384r1",
            158 => "secp521r1",
            len => panic!("{len} bytes"),
        };
        Ok((
            kex,
            message.cipher_nid(),
            message.kdf_nid(),
            message.md_nid(),
        ))
    };
    let unset = Encryption::Unset;
    assert_eq!(start(0, None, unset), Ok(("none", 0, 0, 0)));
    for strength in [1, 128] {
        assert_eq!(
            start(strength, None, unset),
            Ok(("prime256v1", 895, 1097, 672))
        );
    }
    for strength in [129, 192] {
        assert_eq!(
            start(strength, None, unset),
            Ok(("secp384r1", 898, 1098, 672))
        );
    }
    for strength in [193, 256] {
        assert_eq!(
            start(strength, None, unset),
            Ok(("secp521r1", 901, 1099, 672))
        );
    }
    let config = conf("kex=X25519\ncipher=chacha20-poly1305\nkdf=sha256\ndigest=sha384");
    assert_eq!(start(128, None, config), Ok(("X25519", 1018, 1097, 673)));
    assert_eq!(start(192, None, config), Ok(("secp384r1", 1018, 1098, 673)));
    let min = Some(Kex::Secp521r1);
    assert_eq!(start(128, min, unset), Ok(("secp521r1", 895, 1097, 672)));
    assert_eq!(start(0, min, config), Ok(("secp521r1", 1018, 672, 673)));
    assert_eq!(start(0, min, unset), Ok(("secp521r1", 901, 672, 672)));

    for (strength, min) in [(1, None), (0, min)] {
        let error = start(strength, min, Encryption::Off).unwrap_err();
        assert_eq!(error.code, Code::Crypt);
        assert!(
            matches!(error.cause, Cause::EncryptionOff { .. }),
            "{error}"
        );
    }
    assert_eq!(start(0, None, Encryption::Off), Ok(("none", 0, 0, 0)));
    let error = start(257, None, unset).unwrap_err();
    assert_eq!(error.cause, Cause::Strength(257));
}

#[test]
fn extensions_are_answered_only_when_offered() {
    let trust = nobody();
    let all = Extensions {
        fragments: true,
        selective: true,
        window: 65_536,
    };
    let some = Extensions {
        fragments: true,
        selective: false,
        window: 4096,
    };
    let plain_client = ClientConfig::new("oping", &trust);
    let client = ClientConfig {
        extensions: Some(all),
        data: b"application",
        ..plain_client
    };
    let plain_server = ServerConfig::new(&trust);
    let server = ServerConfig {
        extensions: Some(some),
        ..plain_server
    };
    let (allocated, accepted) = exchange(&client, &server);
    assert_eq!(allocated.extensions, Some(some));
    assert_eq!(accepted.data, b"application");
    assert_eq!(exchange(&client, &plain_server).0.extensions, None);
    assert_eq!(exchange(&plain_client, &server).0.extensions, None);
    // A client of 0.23 never gets data.
    let (_, request_bytes) = request(&plain_client);
    assert_eq!(request_bytes.len(), 36);
    let (response, _) = respond(&server, &request_bytes).unwrap();
    assert!(
        Message::parse_response(&response, 0)
            .unwrap()
            .data()
            .is_empty()
    );

    // A malformed block is refused.
    let broken = ClientConfig {
        data: b"O7S+",
        ..plain_client
    };
    let (_, request) = request(&broken);
    let message = Message::parse_request(&request).unwrap();
    let mut repr = message.to_repr();
    repr.data = b"O7S+\x01\xff\xff";
    let error = respond(&server, &repr.emit_unsigned().unwrap()).unwrap_err();
    assert_eq!(error.code, Code::Auth);
    assert!(matches!(error.cause, Cause::Extensions(_)));
}

#[test]
fn debug_output_shows_no_key() {
    let trust = nobody();
    let config = ClientConfig {
        encryption: conf("kex=X25519"),
        ..ClientConfig::new("oping", &trust)
    };
    let (client, request_bytes) = request(&config);
    let (_, outcome) = respond(&ServerConfig::new(&trust), &request_bytes).unwrap();
    let key = outcome.key.as_ref().unwrap().as_bytes();
    let shown = format!("{outcome:?} {client:?}");
    assert!(!shown.contains(&format!("{key:?}")), "{shown}");
    assert!(
        !shown.contains(&format!("{:?}", &key[..4])[1..10]),
        "{shown}"
    );
}

#[test]
fn a_client_can_encapsulate_to_a_static_key() {
    let trust = nobody();
    let kems = Kex::ALL
        .into_iter()
        .filter(|kex| kex.is_kem() && kex.is_available());
    for kex in kems {
        let private = PrivateKey::generate(kex).unwrap();
        let public = PublicKey::from_wire(kex.is_hybrid(), private.public()).unwrap();
        let client = ClientConfig {
            encryption: conf(&format!("kex={}\nkem_mode=client\nkdf=sha512", kex.name())),
            static_key: Some(&public),
            ..ClientConfig::new("oping", &trust)
        };
        // The server follows the client, whatever its own mode and KEM.
        for text in [
            "kex=ML-KEM-512",
            "kex=ML-KEM-1024\nkdf=sha384\nkem_mode=client",
        ] {
            let server = ServerConfig {
                encryption: conf(text),
                static_key: Some(&private),
                ..ServerConfig::new(&trust)
            };
            exchange(&client, &server);
            let (_, request) = request(&client);
            let flags = Message::parse_request(&request).unwrap().kex_flags();
            assert!(flags.client_encapsulated);
            assert_eq!(flags.raw, kex.is_hybrid());
            let (response, _) = Server::default()
                .respond(&server, &request, NOW, &mut SystemEntropy)
                .unwrap();
            let response = Message::parse_response(&response, Hash::Sha256.nid()).unwrap();
            assert!(response.kex().is_empty());
            // Its hash is the client's: the key exists already.
            assert_eq!(response.kdf_nid(), Hash::Sha512.nid());
        }

        let demanding = ServerConfig {
            encryption: conf("kex=ML-KEM-512\nkdf=sha3-512"),
            static_key: Some(&private),
            ..ServerConfig::new(&trust)
        };
        let error = refused(&client, &demanding);
        assert!(matches!(error.cause, Cause::TooWeak { .. }), "{error}");
        let keyless = ServerConfig {
            static_key: None,
            encryption: conf("kex=ML-KEM-512"),
            ..demanding
        };
        let error = refused(&client, &keyless);
        assert_eq!(error.code, Code::Crypt);
        assert_eq!(error.cause, Cause::NoStaticPrivateKey);

        let keyless = ClientConfig {
            static_key: None,
            ..client
        };
        let error = Client::start(&keyless, NOW, &mut SystemEntropy).unwrap_err();
        assert_eq!(error.code, Code::BadF);
        assert_eq!(error.cause, Cause::NoStaticPublicKey { kex: kex.name() });
    }
}

#[test]
fn the_kind_of_a_static_key_is_checked() {
    let trust = nobody();
    let pure = PrivateKey::generate(Kex::MlKem768).unwrap();
    let hybrid = PrivateKey::generate(Kex::X25519MlKem768).unwrap();
    let public = PublicKey::from_wire(false, pure.public()).unwrap();
    let client = ClientConfig {
        encryption: conf("kex=ML-KEM-768\nkem_mode=client"),
        static_key: Some(&public),
        ..ClientConfig::new("oping", &trust)
    };
    for other in [hybrid, PrivateKey::generate(Kex::MlKem512).unwrap()] {
        let server = ServerConfig {
            encryption: conf("kex=ML-KEM-512"),
            static_key: Some(&other),
            ..ServerConfig::new(&trust)
        };
        // A raw key for a ciphertext without flag F, or a ciphertext of another length.
        let error = refused(&client, &server);
        assert_eq!(error.code, Code::Crypt, "{error}");
    }
    let wrong = ClientConfig {
        encryption: conf("kex=ML-KEM-1024\nkem_mode=client"),
        ..client
    };
    let error = Client::start(&wrong, NOW, &mut SystemEntropy).unwrap_err();
    assert!(
        matches!(error.cause, Cause::StaticKeyKind { .. }),
        "{error}"
    );
}
