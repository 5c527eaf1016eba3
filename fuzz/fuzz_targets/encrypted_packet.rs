//! The packets of two ends of an encrypted flow, late, lost, changed and forged: no panic, what is
//! sealed opens, no IV comes twice under a key, and what is forged neither opens nor moves a key.

#![no_main]

use std::collections::{HashSet, VecDeque};

use libfuzzer_sys::fuzz_target;
use o7s_crypto::{
    algorithm::Cipher,
    kdf::Key,
    packet::{CRC_LEN, PacketCipher, append_crc, check_crc},
};

/// Packets under way to an end; more are lost.
const WIRE_MAX: usize = 64;

/// A packet under way.
struct Sealed {
    packet: Vec<u8>,
    plain: Vec<u8>,
    key_index: u64,
}

struct Flow {
    cipher: Cipher,
    lossless: bool,
    ends: [PacketCipher; 2],
    /// Packets under way to each end, the oldest first.
    wires: [VecDeque<Sealed>; 2],
    ivs: HashSet<(u64, Vec<u8>)>,
    /// Whether each packet has arrived before the next was sent, and no other did. Without
    /// authentication only this tells the key for sure.
    in_step: bool,
}

impl Flow {
    fn new(cipher: Cipher, lossless: bool, rotation_bit: u32) -> Self {
        let key = Key::new([rotation_bit as u8; 32]);
        let end = || {
            let end = PacketCipher::with_rotation_bit(cipher, &key, rotation_bit).unwrap();
            if lossless { end.lossless() } else { end }
        };
        Self {
            cipher,
            lossless,
            ends: [end(), end()],
            wires: [VecDeque::new(), VecDeque::new()],
            ivs: HashSet::new(),
            in_step: true,
        }
    }

    fn seal(&mut self, to: usize, plain: &[u8]) {
        if self.wires[to].len() == WIRE_MAX {
            return;
        }
        self.in_step &= self.wires.iter().all(VecDeque::is_empty);
        let from = &self.ends[1 - to];
        let mut packet = Vec::new();
        from.seal(plain, &mut packet).unwrap();
        assert_eq!(packet.len(), plain.len() + self.cipher.overhead());
        let key_index = from.key_index();
        assert_eq!(u64::from(packet[0] >> 7), key_index % 2, "phase");
        let iv = packet[..self.cipher.iv_len()].to_vec();
        assert!(self.ivs.insert((key_index, iv)), "an IV was used twice");
        self.wires[to].push_back(Sealed {
            packet,
            plain: plain.to_vec(),
            key_index,
        });
    }

    fn deliver(&mut self, to: usize, place: usize) {
        let place = if self.lossless { 0 } else { place };
        let Some(sealed) = self.wires[to].remove(place) else {
            return;
        };
        let end = &self.ends[to];
        let before = end.key_index();
        let mut plain = Vec::new();
        let opened = end.open(&sealed.packet, &mut plain);
        if self.cipher.is_authenticated() {
            // Without loss each opens; else the keys before, at and after the current one do.
            let opens = self.lossless || sealed.key_index.abs_diff(before) <= 1;
            assert_eq!(opened.is_ok(), opens, "{} at {before}", sealed.key_index);
            let after = if opens { sealed.key_index } else { before };
            assert_eq!(end.key_index(), before.max(after));
            assert!(!opens || plain == sealed.plain);
        } else if sealed.plain.is_empty() {
            assert!(opened.is_err());
            self.in_step = false;
        } else {
            assert_eq!(plain.len(), sealed.plain.len());
            assert!(!self.in_step || plain == sealed.plain);
        }
    }

    /// A packet that the peer did not make.
    fn forge(&mut self, to: usize, packet: &[u8]) {
        let end = &self.ends[to];
        let before = (end.key_index(), end.counts());
        let mut plain = Vec::new();
        let opened = end.open(packet, &mut plain);
        let (good, bad) = before.1;
        if self.cipher.is_authenticated() || packet.len() <= self.cipher.overhead() {
            assert!(opened.is_err());
            assert!(plain.is_empty());
            assert_eq!((end.key_index(), end.counts()), (before.0, (good, bad + 1)));
        } else {
            assert_eq!(plain.len(), packet.len() - self.cipher.overhead());
            self.in_step = false;
        }
    }
}

fn checksum(packet: &[u8], change: u8) {
    if let Some(length) = check_crc(packet) {
        let mut again = packet[..length].to_vec();
        append_crc(&mut again);
        assert_eq!(again, packet);
    }
    let mut summed = packet.to_vec();
    append_crc(&mut summed);
    assert_eq!(check_crc(&summed), Some(summed.len() - CRC_LEN));
    let place = usize::from(change) % summed.len();
    summed[place] ^= change.max(1);
    assert_eq!(check_crc(&summed), None);
}

fuzz_target!(|input: &[u8]| {
    let Some((&[setup, rotation], mut input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let cipher = Cipher::ALL[usize::from(setup >> 1) % Cipher::ALL.len()];
    let mut flow = Flow::new(cipher, setup & 1 == 1, u32::from(rotation % 4) + 2);
    // A step: what to do and to which end, how much of the input it takes, that much.
    while let Some((&[action, len], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        input = rest;
        let to = usize::from(action & 1);
        match action >> 1 & 7 {
            0 | 1 => flow.seal(to, bytes),
            2 => flow.deliver(to, 0),
            3 => flow.deliver(to, bytes.len()),
            4 if !flow.lossless => {
                flow.in_step &= flow.wires[to].pop_front().is_none();
            }
            5 => flow.forge(to, bytes),
            6 => {
                // A change of a genuine packet, from its end: tag, text, IV.
                let oldest = flow.wires[to].front().map(|sealed| sealed.packet.clone());
                let mut packet = oldest.unwrap_or_default();
                for (byte, change) in packet.iter_mut().rev().zip(bytes) {
                    *byte ^= change;
                }
                if bytes.iter().take(packet.len()).any(|change| *change != 0) {
                    flow.forge(to, &packet);
                }
            }
            _ => checksum(bytes, action),
        }
    }
});
