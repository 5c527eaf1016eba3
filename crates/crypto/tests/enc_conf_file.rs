//! The file `enc.conf`: the vectors of the C implementation, errors and warnings.

use o7s_crypto::{
    algorithm::{Cipher, Hash, Kex},
    enc_conf::{self, EncConfError, EncConfig, KemMode, Setting, Warning},
};
use proptest::prelude::*;

fn vectors() -> Vec<serde_json::Value> {
    let json = o7s_captures::json("vectors/oap-crypto.json");
    json["enc_conf"].as_array().unwrap().clone()
}

#[test]
fn vectors_of_the_c_implementation() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 28);
    for vector in &vectors {
        let text = vector["text"].as_str().unwrap();
        let parsed = enc_conf::parse(text.as_bytes());
        if vector["rc"] == -22 {
            assert!(
                matches!(parsed, Err(EncConfError::Value { .. })),
                "{text:?}: {parsed:?}"
            );
            continue;
        }
        let kex = vector["kex"].as_str().unwrap();
        if kex.is_empty() {
            assert_eq!(parsed, Ok(None), "{text:?}");
            continue;
        }
        let kex = Kex::from_name(kex).unwrap();
        if !kex.is_available() {
            assert!(
                matches!(parsed, Err(EncConfError::Unavailable { value, .. }) if value == kex.name()),
                "{text:?}: {parsed:?}"
            );
            continue;
        }
        let config = parsed.unwrap().unwrap();
        let nid = |field: &str| u16::try_from(vector[field].as_u64().unwrap()).unwrap();
        let mode = match vector["mode"].as_u64().unwrap() {
            0 => KemMode::Server,
            _ => KemMode::Client,
        };
        let expected = EncConfig {
            kex,
            kem_mode: mode,
            kdf: Hash::from_nid(nid("kdf")).unwrap(),
            cipher: Cipher::from_nid(nid("cipher")).unwrap(),
            digest: Hash::from_nid(nid("digest")).unwrap(),
        };
        assert_eq!(config, expected, "{text:?}");
    }
}

#[test]
fn errors_name_the_line_and_what_is_allowed() {
    let error = enc_conf::parse(b"# comment\n\ncipher = AES-256-GCM\n").unwrap_err();
    assert_eq!(
        error,
        EncConfError::Value {
            line: 3,
            setting: Setting::Cipher,
            value: "AES-256-GCM".into()
        }
    );
    assert_eq!(
        error.to_string(),
        "line 3: \"AES-256-GCM\" is no value of cipher; allowed: aes-128-ctr, aes-192-ctr, \
         aes-256-ctr, aes-128-gcm, aes-192-gcm, aes-256-gcm, chacha20-poly1305"
    );
    let error = enc_conf::parse(b"kem_mode=both").unwrap_err();
    assert!(
        error.to_string().ends_with("allowed: server, client"),
        "{error}"
    );
}

#[test]
fn a_long_line_continues_as_a_new_one() {
    // 255 bytes of comment; what follows is a line of its own.
    let mut file = vec![b'#'; 255];
    file.extend_from_slice(b"kex=X25519\ncipher=bad\n");
    let error = enc_conf::parse(&file).unwrap_err();
    assert!(
        matches!(error, EncConfError::Value { line: 2, .. }),
        "{error}"
    );

    let mut file = vec![b'#'; 255];
    file.extend_from_slice(b"kex=X25519\n");
    let (config, warnings) = enc_conf::check(&file).unwrap();
    assert_eq!(config.unwrap().kex, Kex::X25519);
    assert_eq!(warnings, [Warning::LongLine { line: 1 }]);

    // 254 bytes and the newline fit.
    let mut file = vec![b'#'; 254];
    file.extend_from_slice(b"\nkex=X25519\n");
    assert_eq!(enc_conf::check(&file).unwrap().1, []);
}

#[test]
fn the_check_tells_what_is_odd() {
    let check = |text: &str| enc_conf::check(text.as_bytes()).unwrap().1;
    assert_eq!(check(""), [Warning::OnlyDefaults]);
    assert_eq!(check("none\n"), []);
    assert_eq!(check("# why\nnone\n\n# because\n"), []);
    assert_eq!(
        check("kex=X25519\nnone\n"),
        [Warning::SettingsBesideNone { line: 2 }]
    );
    assert_eq!(
        check("none\nkex=foo\n"),
        [Warning::SettingsBesideNone { line: 1 }]
    );
    assert_eq!(
        check("kex\nkex=X25519\nciphers=all\nkex=prime256v1\n"),
        [
            Warning::NoAssignment { line: 1 },
            Warning::UnknownKey {
                line: 3,
                key: "ciphers".into()
            },
            Warning::Repeated {
                line: 4,
                setting: Setting::Kex
            },
        ]
    );
    assert_eq!(
        check("kex=X25519\nkem_mode=client\ncipher=aes-256-ctr\n"),
        [
            Warning::KemModeWithoutKem { kex: "X25519" },
            Warning::Unauthenticated {
                cipher: "aes-256-ctr"
            },
        ]
    );
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(file in prop::collection::vec(any::<u8>(), 0..700)) {
        let parsed = enc_conf::parse(&file);
        let checked = enc_conf::check(&file).map(|(config, _)| config);
        prop_assert_eq!(parsed, checked);
    }

    #[test]
    fn near_files_never_panic(words in prop::collection::vec(
        prop_oneof![
            Just("kex"), Just("cipher"), Just("="), Just("\n"), Just(" "), Just("none"), Just("#"),
            Just("X25519"), Just("aes-128-gcm"), Just("kem_mode"), Just("client"), Just("\r\n"),
        ],
        0..40,
    )) {
        let file = words.concat();
        let parsed = enc_conf::parse(file.as_bytes());
        if let Err(EncConfError::Value { line, .. }) = parsed {
            prop_assert!(line >= 1 && line <= file.matches('\n').count() + 1);
        }
    }
}
