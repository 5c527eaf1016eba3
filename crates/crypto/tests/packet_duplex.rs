//! Both halves of a flow's end at once, and packets that wait unread for several epochs: a wire
//! that loses nothing loses nothing to rotation either (`spec/oap-crypto.md` §6.5).

use std::{sync::mpsc, thread};

use o7s_crypto::{
    algorithm::Cipher,
    kdf::Key,
    packet::{Discard, PacketCipher},
};

fn end(cipher: Cipher, bit: u32) -> PacketCipher {
    PacketCipher::with_rotation_bit(cipher, &Key::new([5; 32]), bit).unwrap()
}

fn sealed(end: &PacketCipher, plain: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    end.seal(plain, &mut packet).unwrap();
    packet
}

fn opened(end: &PacketCipher, packet: &[u8]) -> Result<Vec<u8>, Discard> {
    let mut plain = Vec::new();
    end.open(packet, &mut plain).map(|()| plain)
}

/// Four threads, a sender and a receiver at each end. Both ends reach the end of an epoch at nearly
/// the same time, so that receivers meet packets of a key that their own sender is just taking.
#[test]
fn senders_and_receivers_rotate_at_the_same_time_without_loss() {
    const PACKETS: u64 = 20_000;
    // Long packets: the longer a trial takes, the more often somebody rotates during it.
    const FILL: [u8; 16_384] = [0x5a; 16_384];
    // A thread may be stopped for many of these short epochs between sealing and sending.
    let [a, b] = [(); 2].map(|()| end(Cipher::Aes128Gcm, 4).lossless());
    // Fewer packets under way than a fraction of an epoch, as in real epochs of 2^20.
    let (to_b, at_b) = mpsc::sync_channel::<Vec<u8>>(2);
    let (to_a, at_a) = mpsc::sync_channel::<Vec<u8>>(2);
    let send = |end: &PacketCipher, wire: mpsc::SyncSender<Vec<u8>>| {
        for number in 0..PACKETS {
            let mut packet = Vec::new();
            end.seal_parts(&[&number.to_be_bytes(), &FILL], &mut packet)
                .unwrap();
            wire.send(packet).unwrap();
        }
    };
    let receive = |end: &PacketCipher, wire: mpsc::Receiver<Vec<u8>>| {
        for number in 0..PACKETS {
            let packet = wire.recv().unwrap();
            let plain = opened(end, &packet).unwrap_or_else(|error| {
                panic!("packet {number}, key {}: {error}", end.key_index())
            });
            assert_eq!(plain[..8], number.to_be_bytes());
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| send(&a, to_b));
        scope.spawn(|| send(&b, to_a));
        scope.spawn(|| receive(&a, at_a));
        scope.spawn(|| receive(&b, at_b));
    });
    assert_eq!(a.counts(), (PACKETS, 0));
    assert_eq!(b.counts(), (PACKETS, 0));
    assert!(a.key_index() >= PACKETS / 16);
    assert!(a.key_index().abs_diff(b.key_index()) <= 1);
}

#[test]
fn threads_that_share_a_sender_never_share_an_iv() {
    let a = end(Cipher::ChaCha20Poly1305, 20);
    let ivs: Vec<Vec<u8>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let seal = |_| sealed(&a, b"")[..12].to_vec();
                    (0..5000).map(seal).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect()
    });
    let distinct: std::collections::HashSet<_> = ivs.iter().collect();
    assert_eq!(distinct.len(), 20_000);
}

/// An end that writes for many epochs before it reads what the peer sent first.
#[test]
fn what_waits_unread_opens_after_any_number_of_epochs() {
    for epochs in [1, 2, 3, 4, 17_u64] {
        let a = end(Cipher::Aes256Gcm, 3).lossless();
        let b = end(Cipher::Aes256Gcm, 3).lossless();
        let mut waiting: Vec<Vec<u8>> = (0..3).map(|_| sealed(&b, b"early")).collect();
        for _ in 0..epochs * 8 {
            opened(&b, &sealed(&a, b"bulk")).unwrap();
        }
        // B follows A's keys; its later packets wait behind the early ones.
        waiting.extend((0..20).map(|_| sealed(&b, b"later")));
        for packet in &waiting {
            opened(&a, packet).unwrap();
        }
        assert_eq!(a.counts(), (23, 0), "{epochs} epochs");
        for _ in 0..40 {
            opened(&b, &sealed(&a, b"on")).unwrap();
            opened(&a, &sealed(&b, b"on")).unwrap();
        }
    }
}

/// The peer rotates several times by its own count while its packets wait: each step is found.
#[test]
fn a_backlog_of_several_epochs_of_the_peer_opens_in_order() {
    let a = end(Cipher::Aes128Gcm, 3).lossless();
    let b = end(Cipher::Aes128Gcm, 3).lossless();
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(sealed(&b, b"backlog"));
        for _ in 0..3 {
            opened(&b, &sealed(&a, b"bulk")).unwrap();
        }
    }
    for packet in &waiting {
        opened(&a, packet).unwrap();
    }
    assert_eq!(a.counts(), (200, 0));
}

/// Where packets may be lost, old keys go: only the one before the current stays.
#[test]
fn a_lossy_wire_keeps_one_key_back() {
    let (a, b) = (end(Cipher::Aes256Gcm, 3), end(Cipher::Aes256Gcm, 3));
    let early = [sealed(&b, b"early"), sealed(&b, b"early")];
    for _ in 0..9 {
        sealed(&a, b"");
    }
    assert_eq!(a.key_index(), 1);
    opened(&a, &early[0]).unwrap();
    for _ in 0..8 {
        sealed(&a, b"");
    }
    assert_eq!(a.key_index(), 2);
    assert_eq!(opened(&a, &early[1]), Err(Discard::Forged));
}

/// Forgeries cost no state, and what was once opened opens again: the format has no protection
/// against repetition (trap 16), which is FRCP's.
#[test]
fn forgeries_in_between_do_not_disturb_lossless_ends() {
    let a = end(Cipher::Aes192Gcm, 3).lossless();
    let b = end(Cipher::Aes192Gcm, 3).lossless();
    let mut forged = 0;
    for number in 0..200_u64 {
        let packet = sealed(&b, &number.to_be_bytes());
        let mut changed = packet.clone();
        let at = usize::try_from(number).unwrap() % changed.len();
        changed[at] ^= 0x80;
        let key = a.key_index();
        assert_eq!(opened(&a, &changed), Err(Discard::Forged));
        forged += 1;
        assert_eq!(a.key_index(), key);
        assert_eq!(opened(&a, &packet).unwrap(), number.to_be_bytes());
    }
    assert_eq!(a.counts(), (200, forged));
}
