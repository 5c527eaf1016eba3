//! What packet protection promises: hostile packets change nothing, rotation loses nothing, no IV
//! comes twice.

use std::collections::HashSet;

use o7s_crypto::{
    algorithm::Cipher,
    kdf::Key,
    packet::{Discard, PacketCipher},
};
use proptest::prelude::*;

fn end(cipher: Cipher, bit: u32) -> PacketCipher {
    PacketCipher::with_rotation_bit(cipher, &Key::new([9; 32]), bit).unwrap()
}

fn sealed(end: &PacketCipher, plain: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    end.seal(plain, &mut packet).unwrap();
    packet
}

/// A small generator, so that a failing seed repeats itself.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }
}

#[test]
fn a_packet_of_several_parts_is_one() {
    for cipher in Cipher::ALL {
        let (a, b) = (end(cipher, 20), end(cipher, 20));
        let mut packet = b"before".to_vec();
        a.seal_parts(&[b"head", b"", b"er|payload"], &mut packet)
            .unwrap();
        assert_eq!(&packet[..6], b"before");
        assert_eq!(packet.len(), 6 + 14 + cipher.overhead());
        let mut plain = Vec::new();
        b.open(&packet[6..], &mut plain).unwrap();
        assert_eq!(plain, b"header|payload");
    }
}

#[test]
fn a_changed_packet_is_dropped_and_counted_and_changes_nothing() {
    for cipher in Cipher::ALL
        .into_iter()
        .filter(|cipher| cipher.is_authenticated())
    {
        let (a, b) = (end(cipher, 3), end(cipher, 3));
        let packet = sealed(&a, b"untouched");
        let mut plain = Vec::new();
        for at in 0..packet.len() {
            for bit in 0..8 {
                let mut forged = packet.clone();
                forged[at] ^= 1 << bit;
                assert_eq!(b.open(&forged, &mut plain), Err(Discard::Forged));
            }
        }
        for cut in 0..packet.len() {
            assert!(b.open(&packet[..cut], &mut plain).is_err());
        }
        let forgeries = (packet.len() * 9) as u64;
        assert_eq!(b.counts(), (0, forgeries));
        assert_eq!(b.key_index(), 0, "forged phase bits rotate nothing");
        b.open(&packet, &mut plain).unwrap();
        assert_eq!(plain, b"untouched");
    }
}

#[test]
fn another_key_opens_nothing() {
    let a = end(Cipher::Aes256Gcm, 20);
    let other = PacketCipher::new(Cipher::Aes256Gcm, &Key::new([8; 32])).unwrap();
    let mut plain = Vec::new();
    assert_eq!(
        other.open(&sealed(&a, b"x"), &mut plain),
        Err(Discard::Forged)
    );
}

#[test]
fn no_iv_comes_twice_across_rotations() {
    for cipher in Cipher::ALL {
        let (a, b) = (end(cipher, 7), end(cipher, 7));
        let mut seen = HashSet::new();
        for at in 0..2000_u32 {
            let own = if at % 3 == 0 { &b } else { &a };
            let packet = sealed(own, b"");
            let mut iv = packet[..cipher.iv_len()].to_vec();
            // Even where the phase is the same again, and without it.
            iv[0] &= 0x7f;
            assert!(seen.insert(iv), "{cipher}: packet {at}");
        }
        assert!(a.key_index() > 4);
    }
}

#[test]
fn counter_blocks_of_two_packets_never_overlap() {
    let a = end(Cipher::Aes256Ctr, 20);
    let mut tops = HashSet::new();
    for _ in 0..1000 {
        let packet = sealed(&a, b"payload");
        // The last four bytes count blocks from zero; the rest differs.
        assert_eq!(packet[12..16], [0; 4]);
        assert!(tops.insert(packet[..12].to_vec()));
    }
}

#[test]
fn the_phase_bit_is_the_parity_of_the_key() {
    let a = end(Cipher::ChaCha20Poly1305, 4);
    for _ in 0..100 {
        let packet = sealed(&a, b"");
        assert_eq!(u64::from(packet[0] >> 7), a.key_index() % 2);
    }
    assert_eq!(a.key_index(), 6, "a key is used for 16 packets");
}

/// Two ends of ours in both directions over a lossy wire that reorders: at most isolated packets
/// are lost to rotation (`spec/oap-crypto.md` §6.5).
#[test]
fn rotation_under_loss_and_reordering_in_both_directions() {
    for seed in 1..=60_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let loss = dice.roll() % 11;
        let bit = 5 + (dice.roll() % 3) as u32;
        let ends = [end(Cipher::Aes128Gcm, bit), end(Cipher::Aes128Gcm, bit)];
        let mut wires: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
        let (mut unreadable, mut delivered) = (0, 0);
        let mut plain = Vec::new();
        let mut deliver = |wire: &mut Vec<Vec<u8>>, dice: &mut Dice, to: &PacketCipher| {
            // One of the first few: reordering by at most two.
            let at = (dice.roll() as usize % wire.len().min(3)).min(wire.len() - 1);
            let packet = wire.remove(at);
            delivered += 1;
            if to.open(&packet, &mut plain).is_err() {
                unreadable += 1;
            }
        };
        for _ in 0..4000 {
            let side = usize::from(dice.percent(40));
            if dice.percent(55) {
                let packet = sealed(&ends[side], b"data");
                if !dice.percent(loss) {
                    wires[side].push(packet);
                }
            } else if !wires[side].is_empty() {
                deliver(&mut wires[side], &mut dice, &ends[1 - side]);
            }
            while wires[side].len() > 3 {
                deliver(&mut wires[side], &mut dice, &ends[1 - side]);
            }
        }
        assert!(
            ends[0].key_index().abs_diff(ends[1].key_index()) <= 1,
            "seed {seed}"
        );
        assert!(ends[0].key_index() > 5, "seed {seed}: it rotates");
        assert!(
            unreadable * 200 <= delivered,
            "seed {seed}: {unreadable} of {delivered} packets unreadable at {loss} % loss"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic_and_never_open(
        packet in prop::collection::vec(any::<u8>(), 0..200),
        which in 3..7_usize,
    ) {
        let cipher = Cipher::ALL[which];
        let b = end(cipher, 2);
        let mut plain = Vec::new();
        prop_assert!(b.open(&packet, &mut plain).is_err());
        prop_assert_eq!(b.key_index(), 0);
    }

    #[test]
    fn what_is_sealed_opens(payload in prop::collection::vec(any::<u8>(), 1..3000), which in 0..7_usize) {
        let cipher = Cipher::ALL[which];
        let (a, b) = (end(cipher, 20), end(cipher, 20));
        let mut plain = Vec::new();
        b.open(&sealed(&a, &payload), &mut plain).unwrap();
        prop_assert_eq!(plain, payload);
    }
}
