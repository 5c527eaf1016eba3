//! The vectors of the C implementation (`spec/oap-crypto.md` §13): exchanges, results of its
//! server, replays.

mod oap_common;

use o7s_captures::unhex;
use o7s_crypto::{
    algorithm::{Cipher, Hash, Kex},
    cert::{Certificate, ChainError, TrustStore},
    sign::KeyError,
};
use o7s_proto::oap::{
    Cause, Client, ClientConfig, Encryption, ReplayWindow, Server, ServerConfig, SystemEntropy,
};
use o7s_wire::oap::{Id, KexFlags, Message};
use oap_common::{NOW, Recorded, bytes, encryption, private, vectors};
use serde_json::Value;

/// One recorded exchange.
struct Exchange {
    name: String,
    value: Value,
    now_client: u64,
    now_server: u64,
    client_encryption: Encryption,
    server_encryption: Encryption,
    request: Vec<u8>,
    response: Vec<u8>,
    trust: TrustStore,
}

impl Exchange {
    fn field(&self, name: &str) -> &Value {
        &self.value[name]
    }

    /// The algorithm of the key exchange, when there is one.
    fn kex(&self) -> Option<Kex> {
        self.client_encryption.config().map(|config| config.kex)
    }

    fn key(&self) -> Option<Vec<u8>> {
        bytes(self.field("key"))
    }

    fn client_key(&self) -> Option<o7s_crypto::kex::PrivateKey> {
        private(&self.value, "cli_eph_priv")
    }

    fn server_key(&self) -> Option<o7s_crypto::kex::PrivateKey> {
        private(&self.value, "srv_eph_priv")
    }

    fn client_encapsulated(&self) -> bool {
        Message::parse_request(&self.request)
            .unwrap()
            .kex_flags()
            .client_encapsulated
    }
}

fn exchanges() -> Vec<Exchange> {
    let vectors = vectors();
    let oap = &vectors["oap"];
    assert_eq!(oap["name"], "oap.vector");
    let load = |value: &Value| {
        let mut trust = TrustStore::new();
        for name in value["trusted"].as_array().unwrap() {
            let pem = vectors["certificates"][name.as_str().unwrap()]
                .as_str()
                .unwrap();
            trust.add(Certificate::from_pem(pem.as_bytes()).unwrap());
        }
        Exchange {
            name: value["name"].as_str().unwrap().to_owned(),
            now_client: oap["now_client"].as_u64().unwrap(),
            now_server: oap["now_server"].as_u64().unwrap(),
            client_encryption: encryption(&value["client_enc_conf"]),
            server_encryption: encryption(&value["server_enc_conf"]),
            request: unhex(value["request"].as_str().unwrap()),
            response: unhex(value["response"].as_str().unwrap()),
            value: value.clone(),
            trust,
        }
    };
    let all = oap["exchanges"].as_array().unwrap();
    assert_eq!(all.len(), 17);
    all.iter().map(load).collect()
}

fn client_config<'a>(exchange: &'a Exchange, data: &'a [u8]) -> ClientConfig<'a> {
    ClientConfig {
        encryption: exchange.client_encryption,
        data,
        ..ClientConfig::new("oap.vector", &exchange.trust)
    }
}

#[test]
fn messages_have_the_decoded_fields() {
    let vectors = vectors();
    for value in vectors["oap"]["exchanges"].as_array().unwrap() {
        let name = value["name"].as_str().unwrap();
        let request = unhex(value["request"].as_str().unwrap());
        let response = unhex(value["response"].as_str().unwrap());
        let parsed = Message::parse_request(&request).unwrap();
        let answer = Message::parse_response(&response, parsed.md_nid()).unwrap();
        for (message, fields) in [
            (&parsed, &value["request_fields"]),
            (&answer, &value["response_fields"]),
        ] {
            let number = |field: &str| fields[field].as_u64().unwrap();
            assert_eq!(message.id().to_string(), fields["id"].as_str().unwrap());
            assert_eq!(message.timestamp(), number("timestamp"));
            assert_eq!(u64::from(message.cipher_nid()), number("cipher_nid"));
            assert_eq!(u64::from(message.kdf_nid()), number("kdf_nid"));
            assert_eq!(u64::from(message.md_nid()), number("md_nid"));
            let flags = KexFlags {
                raw: number("kex_fmt") == 1,
                client_encapsulated: number("kex_role") == 1,
            };
            assert_eq!(message.kex_flags(), flags, "{name}");
            for (bytes, len) in [
                (message.certificate(), "crt_len"),
                (message.kex(), "kex_len"),
                (message.data(), "data_len"),
                (message.request_hash(), "hash_len"),
                (message.signature(), "sig_len"),
            ] {
                assert_eq!(bytes.len() as u64, number(len), "{name} {len}");
            }
            for (found, field) in [
                (message.kex(), "kex"),
                (message.data(), "data"),
                (message.request_hash(), "req_hash"),
            ] {
                assert_eq!(
                    Some(found.to_vec()),
                    bytes(&fields[field]),
                    "{name} {field}"
                );
            }
            let mut again = message.to_repr().emit_unsigned().unwrap();
            assert_eq!(again, message.signed_region());
            again.extend_from_slice(message.signature());
            assert_eq!(again, message.as_bytes());
        }
        let hash = Hash::from_nid(parsed.md_nid()).unwrap_or(Hash::Sha384);
        assert_eq!(answer.request_hash(), hash.digest(&request), "{name}");
        // Cut anywhere, an unsigned message is no message.
        if answer.signature().is_empty() {
            for len in 0..response.len() {
                assert!(Message::parse_response(&response[..len], parsed.md_nid()).is_err());
            }
        }
    }
}

#[test]
fn certificates_and_signatures_hold() {
    let mut checked = 0;
    for exchange in exchanges() {
        let request = Message::parse_request(&exchange.request).unwrap();
        let response = Message::parse_response(&exchange.response, request.md_nid()).unwrap();
        for message in [request, response] {
            if message.certificate().is_empty() {
                continue;
            }
            let certificate = Certificate::from_der(message.certificate()).unwrap();
            if exchange.name.contains("slhdsa") {
                assert_eq!(
                    certificate.key().unwrap_err(),
                    KeyError::Unavailable("SLH-DSA-SHA2-128s")
                );
                continue;
            }
            exchange.trust.verify(&certificate, NOW).unwrap();
            let key = certificate.key().unwrap();
            let digest = Hash::from_nid(message.md_nid());
            key.verify(digest, message.signed_region(), message.signature())
                .unwrap();
            let cut = message.signed_region().split_last().unwrap().1;
            assert!(key.verify(digest, cut, message.signature()).is_err());
            checked += 1;
        }
    }
    assert_eq!(checked, 6);
}

#[test]
fn the_client_writes_the_same_requests() {
    let mut same = 0;
    for exchange in exchanges() {
        let request = Message::parse_request(&exchange.request).unwrap();
        if !request.certificate().is_empty() || exchange.client_encapsulated() {
            // A randomised signature or ciphertext.
            continue;
        }
        let config = client_config(&exchange, request.data());
        let mut entropy = Recorded::new(Some(request.id()), exchange.client_key());
        let (_, written) = Client::start(&config, exchange.now_client, &mut entropy).unwrap();
        assert_eq!(written, exchange.request, "{}", exchange.name);
        same += 1;
    }
    assert_eq!(same, 14);
}

#[test]
fn the_server_writes_the_same_responses_and_has_the_same_keys() {
    let vectors = vectors();
    let (mut same, mut kems) = (0, 0);
    for exchange in exchanges() {
        let request = Message::parse_request(&exchange.request).unwrap();
        let response = Message::parse_response(&exchange.response, request.md_nid()).unwrap();
        let static_key = exchange.field("server_kem_key").as_str().map(|name| {
            let kems = vectors["kem"].as_array().unwrap();
            let entry = kems.iter().find(|entry| entry["kex"] == name).unwrap();
            private(entry, "priv").unwrap()
        });
        let config = ServerConfig {
            encryption: exchange.server_encryption,
            static_key: static_key.as_ref(),
            data: response.data(),
            ..ServerConfig::new(&exchange.trust)
        };
        let mut entropy = Recorded::new(None, exchange.server_key());
        let answer = Server::default().respond(
            &config,
            &exchange.request,
            exchange.now_server,
            &mut entropy,
        );
        if !request.certificate().is_empty() {
            // The certificates are younger than the recorded time.
            let error = answer.unwrap_err();
            assert!(matches!(
                error.cause,
                Cause::Chain(ChainError::NotYetValid { .. })
            ));
            continue;
        }
        let (written, outcome) = answer.unwrap();
        let name = &exchange.name;
        let cipher = u16::try_from(exchange.field("cipher_nid").as_u64().unwrap()).unwrap();
        assert_eq!(outcome.cipher.map_or(0, Cipher::nid), cipher, "{name}");
        assert_eq!(
            Some(outcome.data),
            bytes(exchange.field("server_received_data")),
            "{name}"
        );
        let server_encapsulated =
            exchange.kex().is_some_and(Kex::is_kem) && !exchange.client_encapsulated();
        if server_encapsulated {
            kems += 1;
            continue;
        }
        let key = outcome.key.map(|key| key.as_bytes().to_vec());
        assert_eq!(key, exchange.key(), "{name}");
        if response.certificate().is_empty() {
            assert_eq!(written, exchange.response, "{name}");
            same += 1;
        } else {
            // Without the certificate, which is not ours, all other fields are the same.
            let written = Message::parse_response(&written, request.md_nid()).unwrap();
            let mut expected = response.to_repr();
            expected.certificate = &[];
            let mut found = written.to_repr();
            // The digest of the response comes from enc.conf, signed or not.
            found.certificate = &[];
            assert_eq!(found, expected, "{name}");
        }
    }
    assert_eq!(same, 9);
    assert_eq!(kems, 2);
}

#[test]
fn the_client_accepts_the_responses_and_has_the_same_keys() {
    let mut completed = 0;
    for exchange in exchanges() {
        if exchange.client_encapsulated() {
            continue;
        }
        let name = &exchange.name;
        let config = client_config(&exchange, &[]);
        let client = Client::resume(&config, &exchange.request, exchange.client_key()).unwrap();
        let outcome = client.complete(&exchange.trust, &exchange.response, NOW);
        if name.contains("slhdsa") {
            let error = outcome.unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("SLH-DSA-SHA2-128s keys are not available"),
                "{error}"
            );
            continue;
        }
        let outcome = outcome.unwrap();
        let cipher = u16::try_from(exchange.field("cipher_nid").as_u64().unwrap()).unwrap();
        assert_eq!(outcome.cipher.map_or(0, Cipher::nid), cipher, "{name}");
        let key = outcome.key.map(|key| key.as_bytes().to_vec());
        assert_eq!(key, exchange.key(), "{name}");
        assert_eq!(
            Some(outcome.data),
            bytes(exchange.field("client_received_data")),
            "{name}"
        );
        let signed = !exchange.field("server_cert").is_null();
        assert_eq!(outcome.authenticated, signed, "{name}");
        assert_eq!(
            outcome.peer_name.as_deref(),
            signed.then_some("oap.vector"),
            "{name}"
        );
        completed += 1;
    }
    assert_eq!(completed, 14);
}

#[test]
fn the_server_gives_the_results_of_the_c_server() {
    let vectors = vectors();
    let results = vectors["oap_server_results"].as_array().unwrap();
    assert_eq!(results.len(), 23);
    for vector in results {
        let name = vector["name"].as_str().unwrap();
        let trust = TrustStore::new();
        let config = ServerConfig {
            encryption: encryption(&vector["server_enc_conf"]),
            ..ServerConfig::new(&trust)
        };
        let request = unhex(vector["request"].as_str().unwrap());
        let now = vector["now"].as_u64().unwrap();
        let answer = Server::default().respond(&config, &request, now, &mut SystemEntropy);
        let expected = match (name, &vector["required"]) {
            // §12, 8: reject unless the configured algorithm is a KEM.
            ("role flag on a DH key, server configured X25519", _)
            // §4.2: reject keys with trailing bytes.
            | ("key with trailing garbage in kex field", _)
            // The C server crashes here.
            | (_, Value::String(_)) => -1008,
            _ => vector["rc"].as_i64().unwrap(),
        };
        match answer {
            Ok((_, outcome)) => {
                assert_eq!(expected, 0, "{name}");
                let cipher = outcome.cipher.map_or(0, Cipher::nid);
                assert_eq!(
                    u64::from(cipher),
                    vector["cipher_nid"].as_u64().unwrap(),
                    "{name}"
                );
            }
            Err(error) => {
                assert_eq!(
                    i64::from(error.code.response()),
                    expected,
                    "{name}: {error}"
                );
            }
        }
    }
}

#[test]
fn replays() {
    let vectors = vectors();
    let checks = vectors["replay"]["checks"].as_array().unwrap();
    let mut window = ReplayWindow::default();
    for check in checks {
        let number = |field: &str| check[field].as_u64().unwrap();
        let mut id = [0; 16];
        id[0] = u8::try_from(number("id")).unwrap();
        let result = window.check(Id(id), number("stamp"), number("now"));
        assert_eq!(result.is_ok(), check["rc"] == 0, "{check}: {result:?}");
    }
}
