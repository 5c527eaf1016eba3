//! The operations of the key exchange, each from the fields of messages to the key of the flow
//! (`spec/oap-crypto.md` §4, §5).

use o7s_crypto::{
    algorithm::Hash,
    kdf::{self, Key},
    kex::{PrivateKey, PublicKey},
};

use super::Cause;

/// The public key in a key exchange field; `raw` is the flag F.
pub(super) fn parse_public(raw: bool, field: &[u8]) -> Result<PublicKey, Cause> {
    PublicKey::from_wire(raw, field).map_err(|error| Cause::PeerKey(error.to_string()))
}

/// What goes into the key exchange field for the public half.
pub(super) fn public_field(private: &PrivateKey) -> Vec<u8> {
    private.public().to_vec()
}

/// The key of a Diffie-Hellman exchange.
pub(super) fn agree(
    private: &PrivateKey,
    peer: &PublicKey,
    kdf: Option<Hash>,
) -> Result<Key, Cause> {
    let secret = private.agree(peer).map_err(failed)?;
    Ok(kdf::derive_dh(
        kdf,
        &secret,
        private.public(),
        peer.as_bytes(),
    ))
}

/// A ciphertext for the holder of `public`, and the key.
pub(super) fn encapsulate(public: &PublicKey, kdf: Option<Hash>) -> Result<(Vec<u8>, Key), Cause> {
    let (ciphertext, secret) = public.encapsulate().map_err(failed)?;
    Ok((ciphertext, kdf::derive_kem(kdf, &secret, public.as_bytes())))
}

/// The key in a ciphertext for the holder of `private`.
pub(super) fn decapsulate(
    private: &PrivateKey,
    ciphertext: &[u8],
    kdf: Option<Hash>,
) -> Result<Key, Cause> {
    let secret = private.decapsulate(ciphertext).map_err(failed)?;
    Ok(kdf::derive_kem(kdf, &secret, private.public()))
}

fn failed(error: impl std::fmt::Display) -> Cause {
    Cause::Kex(error.to_string())
}
