//! Our end against a model of the 0.23 end (`spec/oap-crypto.md` §6.4), over a wire that loses and
//! reorders: what the C end can read of ours, and we of its packets (§6.5).
//!
//! The model is first held against the recorded conversations, so that it is known to be right.

mod support;

use o7s_crypto::{
    algorithm::Cipher,
    kdf::{self, Key},
    packet::PacketCipher,
};
use support::{bytes, number, text, vectors};

/// One end of the C implementation.
struct Reference {
    cipher: Cipher,
    bit: u32,
    salt: [u8; 32],
    current: Key,
    previous: Option<Key>,
    counter: u64,
    age: u64,
    index: u64,
    made: u128,
}

impl Reference {
    fn new(cipher: Cipher, key: Key, bit: u32, made: u128) -> Self {
        Self {
            cipher,
            bit,
            salt: kdf::rotation_salt(&key),
            current: key,
            previous: None,
            counter: 0,
            age: 0,
            index: 0,
            made,
        }
    }

    fn rotate(&mut self) {
        let next = kdf::rotated(&self.current, &self.salt);
        self.previous = Some(std::mem::replace(&mut self.current, next));
        self.index += 1;
        self.age = 0;
    }

    /// A packet, the index of its key and its phase bit.
    fn send(&mut self, plain: &[u8]) -> (Vec<u8>, u64, u64) {
        let phase = self.counter >> self.bit & 1;
        self.made += 1;
        let mut iv = (self.made << 32).to_be_bytes();
        iv[0] = iv[0] & 0x7f | (phase as u8) << 7;
        let iv = &iv[..self.cipher.iv_len()];
        let packet = PacketCipher::seal_recorded(self.cipher, &self.current, iv, plain).unwrap();
        let index = self.index;
        self.counter += 1;
        self.age += 1;
        if self.counter >> self.bit & 1 != phase {
            self.rotate();
        }
        if self.age >= 1 << (self.bit - 1) {
            self.previous = None;
        }
        (packet, index, phase)
    }

    fn receive(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let phase = u64::from(packet[0] >> 7);
        if phase != self.index % 2 && self.age >= 3 << (self.bit - 2) {
            self.rotate();
        }
        self.counter += 1;
        self.age += 1;
        let keys = [Some(&self.current), self.previous.as_ref()];
        keys.into_iter().flatten().find_map(|key| {
            let mut plain = Vec::new();
            // A new end for each trial, which has no other key but the next.
            let trial = PacketCipher::new(self.cipher, key).unwrap();
            trial.open(packet, &mut plain).ok()?;
            (trial.key_index() == 0).then_some(plain)
        })
    }
}

#[test]
fn the_model_behaves_as_recorded() {
    let vectors = vectors();
    let mut unreadable = 0;
    for script in vectors["rotation"].as_array().unwrap() {
        let cipher = Cipher::from_nid(number(script, "cipher_nid")).unwrap();
        let bit = u32::from(number(script, "rot_bit"));
        let key = Key::from_slice(&bytes(script, "key")).unwrap();
        let end = |made| Reference::new(cipher, key.clone(), bit, made);
        let mut ends = [end(0), end(1 << 60)];
        for packet in script["packets"].as_array().unwrap() {
            let what = format!("{} packet {}", text(script, "note"), packet["n"]);
            let sender = usize::from(text(packet, "sender") == "B");
            let (_, index, phase) = ends[sender].send(&bytes(packet, "plaintext"));
            assert_eq!(Some(index), packet["key_index"].as_u64(), "{what}");
            assert_eq!(Some(phase), packet["bit"].as_u64(), "{what}");
            if packet["delivered"].as_bool().unwrap() {
                let read = ends[1 - sender].receive(&bytes(packet, "packet"));
                let readable = packet["reference_receiver_ok"].as_bool().unwrap();
                assert_eq!(read.is_some(), readable, "{what}");
                unreadable += u32::from(!readable);
                assert!(read.is_none_or(|read| read == bytes(packet, "plaintext")));
            }
        }
    }
    assert!(
        unreadable > 0,
        "the records show the defect of the reference"
    );
}

/// A small generator, so that a failing seed repeats itself.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Packets delivered to ours and to the reference, and how many of each could not be read.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    delivered: [u32; 2],
    unreadable: [u32; 2],
}

/// `turns` packets between our end (0) and a reference (1), `share` percent of them sent by ours,
/// `loss` percent lost, the others swapped with a neighbour now and then.
fn converse(seed: u64, bit: u32, turns: u32, share: u64, loss: u64) -> Tally {
    let key = Key::new([3; 32]);
    let cipher = Cipher::Aes128Gcm;
    let ours = PacketCipher::with_rotation_bit(cipher, &key, bit).unwrap();
    let mut theirs = Reference::new(cipher, key, bit, 0);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut wires: [Vec<Vec<u8>>; 2] = Default::default();
    let mut tally = Tally::default();
    for _ in 0..turns {
        let from = usize::from(dice.below(100) >= share);
        let packet = if from == 0 {
            let mut packet = Vec::new();
            ours.seal(b"data", &mut packet).unwrap();
            packet
        } else {
            theirs.send(b"data").0
        };
        if dice.below(100) < loss {
            continue;
        }
        wires[from].push(packet);
        if dice.below(10) == 0 {
            // It waits for the next, and comes after it.
            continue;
        }
        for packet in wires[from].drain(..).rev() {
            let read = if from == 0 {
                theirs.receive(&packet).is_some()
            } else {
                ours.open(&packet, &mut Vec::new()).is_ok()
            };
            tally.delivered[1 - from] += 1;
            tally.unreadable[1 - from] += u32::from(!read);
        }
    }
    tally
}

/// The same between two reference ends: what the defect of their rotation costs (§6.4). It shows
/// that the conversations below are hard enough.
#[test]
fn two_reference_ends_lose_each_other() {
    let cipher = Cipher::Aes128Gcm;
    let mut ends = [0, 1 << 60].map(|made| Reference::new(cipher, Key::new([3; 32]), 6, made));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut delivered, mut unreadable) = (0, 0);
    for _ in 0..6000 {
        let from = usize::from(dice.below(2) == 0);
        let (packet, _, _) = ends[from].send(b"data");
        if dice.below(100) >= 10 {
            delivered += 1;
            unreadable += u32::from(ends[1 - from].receive(&packet).is_none());
        }
    }
    assert!(unreadable * 20 > delivered, "{unreadable} of {delivered}");
}

#[test]
fn a_reference_end_and_ours_read_each_other_through_loss_and_reordering() {
    let mut worst = 0.0_f64;
    for seed in 1..=12 {
        for (share, loss) in [
            (100, 0),
            (0, 0),
            (50, 0),
            (50, 1),
            (70, 3),
            (30, 10),
            (50, 10),
        ] {
            let tally = converse(seed, 6, 3000, share, loss);
            for side in 0..2 {
                let (delivered, unreadable) = (tally.delivered[side], tally.unreadable[side]);
                let what = format!("seed {seed}, share {share}, loss {loss}: {tally:?}");
                if loss == 0 {
                    assert_eq!(unreadable, 0, "{what}");
                }
                let rate = f64::from(unreadable) / f64::from(delivered.max(1));
                worst = worst.max(rate);
                // Epochs of 64 packets: less than one packet for each.
                assert!(
                    f64::from(unreadable) * 64.0 <= f64::from(delivered),
                    "{what}"
                );
            }
        }
    }
    println!("worst share of unreadable packets: {worst:.4}");
}
