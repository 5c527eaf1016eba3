//! Combining the configurations of client and server (`spec/oap-crypto.md` §3.5). Stronger means
//! greater in the order of the algorithm types.

use o7s_crypto::{
    algorithm::{Cipher, Hash, Kex},
    enc_conf::EncConfig,
};

use super::Cause;

/// What the server answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) cipher: Cipher,
    /// `None` stays 0 on the wire; the derivation then uses SHA-256.
    pub(super) kdf: Option<Hash>,
}

/// The server's choice (rules 1, 2 and 5 of the server): the stronger of each, but a client that
/// has encapsulated has already derived the key, so its hash stands.
pub(super) fn choose(
    own: Option<&EncConfig>,
    cipher: Option<Cipher>,
    kdf: Option<Hash>,
    client_encapsulated: bool,
) -> Result<Choice, Cause> {
    let own_cipher = own.map(|own| own.cipher);
    let own_kdf = own.map(|own| own.kdf);
    let cipher = cipher.max(own_cipher).ok_or(Cause::NoCipher)?;
    if !client_encapsulated {
        let kdf = kdf.max(own_kdf);
        return Ok(Choice { cipher, kdf });
    }
    match own_kdf {
        // Without a number the client used SHA-256.
        Some(required) if required > kdf.unwrap_or(Hash::Sha256) => Err(Cause::TooWeak {
            what: "key derivation hash",
            offered: kdf.unwrap_or(Hash::Sha256).name(),
            required: required.name(),
        }),
        _ => Ok(Choice { cipher, kdf }),
    }
}

/// The server's demand on the client's key exchange (rule 3 of the server).
pub(super) fn check_kex(own: Option<&EncConfig>, client: Kex) -> Result<(), Cause> {
    match own {
        Some(own) if client < own.kex => Err(Cause::TooWeak {
            what: "key exchange",
            offered: client.name(),
            required: own.kex.name(),
        }),
        _ => Ok(()),
    }
}

/// What the client makes of the response (rules 1 and 2 of the client).
pub(super) fn accept(
    own: &EncConfig,
    cipher: Option<Cipher>,
    kdf: Option<Hash>,
    client_encapsulated: bool,
) -> Result<(Cipher, Hash), Cause> {
    let cipher = cipher.ok_or(Cause::ServerUnencrypted("a cipher"))?;
    if cipher < own.cipher {
        return Err(Cause::Downgrade {
            what: "cipher",
            chosen: cipher.name(),
            asked: own.cipher.name(),
        });
    }
    match kdf {
        Some(kdf) if !client_encapsulated => {
            if kdf < own.kdf {
                return Err(Cause::Downgrade {
                    what: "key derivation hash",
                    chosen: kdf.name(),
                    asked: own.kdf.name(),
                });
            }
            Ok((cipher, kdf))
        }
        _ => Ok((cipher, own.kdf)),
    }
}
