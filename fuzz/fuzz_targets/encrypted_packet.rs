//! Arbitrary packets from the network to a flow's end, between genuine ones: no panic, nothing
//! forged opens, and the genuine ones still do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_crypto::{
    algorithm::Cipher,
    kdf::Key,
    kex::{PrivateKey, PublicKey},
    packet::{PacketCipher, append_crc, check_crc},
};

fuzz_target!(|input: (u8, bool, Vec<Vec<u8>>)| {
    let (which, lossless, packets) = input;
    let cipher = Cipher::ALL[usize::from(which) % Cipher::ALL.len()];
    let key = Key::new([which; 32]);
    let end = || {
        let end = PacketCipher::with_rotation_bit(cipher, &key, 3).unwrap();
        if lossless { end.lossless() } else { end }
    };
    let (own, peer) = (end(), end());
    let mut plain = Vec::new();
    for packet in &packets {
        // As a packet, as a change of a genuine one, as a key, as a checksummed packet.
        let opened = own.open(packet, &mut plain);
        assert!(!cipher.is_authenticated() || opened.is_err());
        let mut genuine = Vec::new();
        peer.seal(packet, &mut genuine).unwrap();
        let mut changed = genuine.clone();
        for (byte, change) in changed.iter_mut().rev().zip(packet) {
            *byte ^= change;
        }
        if cipher.is_authenticated() {
            assert_eq!(own.open(&changed, &mut plain).is_ok(), changed == genuine);
            own.open(&genuine, &mut plain).unwrap();
            assert_eq!(&plain, packet);
        } else {
            let _ = own.open(&changed, &mut plain);
        }
        let _ = check_crc(packet);
        append_crc(&mut changed);
        assert_eq!(check_crc(&changed), Some(changed.len() - 4));
        for raw in [false, true] {
            if let Ok(public) = PublicKey::from_wire(raw, packet) {
                assert_eq!(public.as_bytes(), packet);
                let _ = public.encapsulate();
            }
        }
        let _ = PrivateKey::from_pkcs8(packet);
        let _ = PrivateKey::from_raw_hybrid(packet);
        let _ = PrivateKey::from_pem(packet);
        let _ = PublicKey::from_pem(packet);
    }
    if cipher.is_authenticated() {
        assert_eq!(own.key_index().abs_diff(peer.key_index()), 0);
    }
});
