//! The keys of the captured flows, computed again from the private keys of both sides
//! (`captures/README.md` §8).

mod support;

use o7s_captures::json;
use o7s_crypto::{
    algorithm::Hash,
    kdf::{self, Key},
    kex::{PrivateKey, PublicKey},
};
use support::{bytes, number, text};

#[test]
fn both_sides_come_to_the_key_of_the_capture() {
    let flows = json("captures/09-keys.json");
    let flows = flows.as_object().unwrap();
    let mut exchanges = std::collections::BTreeSet::new();
    for (id, flow) in flows {
        let [client, server] = ["client", "server"].map(|side| {
            PrivateKey::from_pkcs8(&bytes(flow, &format!("{side}_private_pkcs8_der"))).unwrap()
        });
        let [request, response] = ["request", "response"].map(|message| {
            let field = bytes(&flow[message], "public_key_der");
            PublicKey::from_wire(false, &field).unwrap()
        });
        assert_eq!(client.public(), request.as_bytes(), "{id}");
        assert_eq!(server.public(), response.as_bytes(), "{id}");
        exchanges.insert(client.kex().name());

        // The server decides on the hash.
        let hash = Hash::from_nid(number(&flow["response"], "kdf_nid"));
        assert_eq!(hash.unwrap().name(), text(flow, "hkdf_hash"));
        let key = Key::from_slice(&bytes(flow, "symmetric_key")).unwrap();
        for (own, peer) in [(&client, &response), (&server, &request)] {
            let secret = own.agree(peer).unwrap();
            assert_eq!(*secret, bytes(flow, "shared_secret"), "{id}");
            let derived = kdf::derive_dh(hash, &secret, own.public(), peer.as_bytes());
            assert_eq!(derived, key, "{id}");
        }
        let salt = kdf::rotation_salt(&key);
        assert_eq!(salt[..], bytes(flow, "rotation_salt"), "{id}");
    }
    assert_eq!(
        exchanges.into_iter().collect::<Vec<_>>(),
        ["X25519", "X448", "prime256v1", "secp384r1"]
    );
}
