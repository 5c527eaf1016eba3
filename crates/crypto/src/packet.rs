//! Protection of packets with key rotation (`spec/oap-crypto.md` §6), and the CRC (§7).
//!
//! ```text
//! IV (12, or 16 in counter mode) | ciphertext | tag (16, none in counter mode)
//! └ top bit of byte 0: phase = parity of the index of the key
//! ```
//!
//! **No IV is used twice with a key.** An end numbers the packets that it seals under a key, and its
//! IV is `(start + number × step) mod 2^95` (the phase bit is the 96th), where `start` and the odd
//! `step` are drawn at random for each end and key: the map from number to IV is a bijection, so one
//! end never repeats itself, whatever happens to its random numbers later. The two ends of a flow
//! share the key; with 2^20 packets per key the probability that any two of their IVs meet is about
//! 2^-55, as for IVs drawn at random. In counter mode the same formula fills the upper 95 bits of
//! the counter block, so that the 2^32 blocks behind an IV belong to one packet alone.
//!
//! Rotation follows the recommended algorithm of §6.5: only by an end's own count, or by a packet
//! that authenticates under the next key. The key before the current one stays for late packets.
//! Where nothing is lost ([`PacketCipher::lossless`]), also those stay under which the peer may have
//! sent what waits unread: an end that writes and does not read goes through any number of epochs.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce},
    cipher::{
        AES_128, AES_192, AES_256, DecryptionContext, EncryptingKey, EncryptionContext,
        UnboundCipherKey,
    },
    iv::FixedLength,
};
use zeroize::Zeroizing;

use crate::{
    algorithm::Cipher,
    error::CryptoError,
    kdf::{self, Key},
};

/// Packets, sent and received, after which an end takes the next key: 2 to this power. Both ends
/// must use the same; it is not negotiated (§6.4).
pub const ROTATION_BIT: u32 = 20;
/// Bit of the first byte of an IV: the parity of the key's index.
const PHASE: u8 = 0x80;
/// Bits of the random part of an IV.
const IV_BITS: u32 = 95;
const IV_MASK: u128 = (1 << IV_BITS) - 1;

/// Why a packet cannot be opened. It is to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// Shorter than IV and tag.
    #[error("a packet of {0} bytes is too short to be encrypted")]
    Short(usize),
    /// Made or changed by somebody who does not have the key.
    #[error("the packet does not authenticate")]
    Forged,
}

/// The packet cipher of one end of a flow; sender and receiver may use it at the same time.
pub struct PacketCipher {
    cipher: Cipher,
    epoch: u64,
    salt: [u8; 32],
    lossless: bool,
    keys: Mutex<Keys>,
    opened: AtomicU64,
    discarded: AtomicU64,
}

struct Keys {
    current: Arc<Epoch>,
    previous: Option<Arc<Epoch>>,
    /// Without loss: the oldest key under which packets may still come, if older than `previous`.
    late: Option<Arc<Epoch>>,
    /// Made when it is first needed.
    next: Option<Arc<Epoch>>,
    /// Highest index of a key under which the peer was heard.
    heard: u64,
    /// Packets sent and received with the current key.
    age: u64,
    /// Packets sealed with the current key.
    sealed: u64,
}

/// A key and what belongs to it.
struct Epoch {
    index: u64,
    key: Key,
    cipher: KeyedCipher,
    start: u128,
    step: u128,
}

enum KeyedCipher {
    Aead(Box<LessSafeKey>),
    Counter(Box<EncryptingKey>),
}

impl Epoch {
    fn new(cipher: Cipher, index: u64, key: Key) -> Result<Self, CryptoError> {
        let bytes = &key.as_bytes()[..usize::from(cipher.key_bits() / 8)];
        let aead = |algorithm| {
            let unbound = aws_lc_rs::aead::UnboundKey::new(algorithm, bytes);
            unbound.map(|key| KeyedCipher::Aead(Box::new(LessSafeKey::new(key))))
        };
        let counter = |algorithm| {
            let unbound = UnboundCipherKey::new(algorithm, bytes)?;
            EncryptingKey::ctr(unbound).map(|key| KeyedCipher::Counter(Box::new(key)))
        };
        let keyed = match cipher {
            Cipher::Aes128Gcm => aead(&AES_128_GCM),
            Cipher::Aes192Gcm => aead(&AES_192_GCM),
            Cipher::Aes256Gcm => aead(&AES_256_GCM),
            Cipher::ChaCha20Poly1305 => aead(&CHACHA20_POLY1305),
            Cipher::Aes128Ctr => counter(&AES_128),
            Cipher::Aes192Ctr => counter(&AES_192),
            Cipher::Aes256Ctr => counter(&AES_256),
        };
        let keyed = keyed.map_err(|_| CryptoError::Library("set a packet key up"))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| CryptoError::Library("get random numbers"))?;
        let (start, step) = random.split_at(16);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u128, |n, byte| n << 8 | u128::from(*byte))
        };
        Ok(Self {
            index,
            key,
            cipher: keyed,
            start: number(start) & IV_MASK,
            step: number(step) & IV_MASK | 1,
        })
    }

    fn phase(&self) -> u8 {
        if self.index % 2 == 1 { PHASE } else { 0 }
    }

    /// The IV of the packet `number`: its first bytes as many as the cipher has.
    fn iv(&self, number: u64) -> [u8; 16] {
        let value = self
            .start
            .wrapping_add(self.step.wrapping_mul(u128::from(number)))
            & IV_MASK;
        let mut iv = (value << 32).to_be_bytes();
        iv[0] = iv[0] & !PHASE | self.phase();
        iv
    }

    /// Appends IV, ciphertext and tag of the packet that `parts` make.
    fn seal(&self, iv: [u8; 16], parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        let failed = |_| CryptoError::Library("encrypt a packet");
        let start = out.len();
        match &self.cipher {
            KeyedCipher::Aead(key) => {
                let nonce: [u8; 12] = std::array::from_fn(|at| iv[at]);
                out.extend_from_slice(&nonce);
                for part in parts {
                    out.extend_from_slice(part);
                }
                let text = &mut out[start + nonce.len()..];
                let tag = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::empty(),
                        text,
                    )
                    .map_err(failed)?;
                out.extend_from_slice(tag.as_ref());
            }
            KeyedCipher::Counter(key) => {
                out.extend_from_slice(&iv);
                for part in parts {
                    out.extend_from_slice(part);
                }
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(&mut out[start + iv.len()..], context)
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Replaces `plain` by the payload of a packet; false if it does not authenticate.
    fn open(&self, iv: &[u8], text: &[u8], tag: &[u8], plain: &mut Vec<u8>) -> bool {
        match &self.cipher {
            KeyedCipher::Aead(key) => {
                plain.resize(text.len(), 0);
                Nonce::try_assume_unique_for_key(iv).is_ok_and(|nonce| {
                    key.open_separate_gather(nonce, Aad::empty(), text, tag, plain)
                        .is_ok()
                })
            }
            KeyedCipher::Counter(key) => {
                plain.clear();
                plain.extend_from_slice(text);
                <[u8; 16]>::try_from(iv).is_ok_and(|iv| {
                    let context = EncryptionContext::Iv128(FixedLength::from(iv));
                    // In counter mode both directions are the same operation.
                    let done: Result<DecryptionContext, _> = key.less_safe_encrypt(plain, context);
                    done.is_ok()
                })
            }
        }
    }
}

impl PacketCipher {
    /// The cipher of a flow's end from the key of its allocation.
    ///
    /// # Errors
    /// The library cannot set it up.
    pub fn new(cipher: Cipher, key: &Key) -> Result<Self, CryptoError> {
        Self::with_rotation_bit(cipher, key, ROTATION_BIT)
    }

    /// The same with another length of epochs, for tests: 2^`bit` packets, `bit` from 2 to 31.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn with_rotation_bit(cipher: Cipher, key: &Key, bit: u32) -> Result<Self, CryptoError> {
        let current = Epoch::new(cipher, 0, key.clone())?;
        Ok(Self {
            cipher,
            epoch: 1 << bit.clamp(2, 31),
            salt: kdf::rotation_salt(key),
            lossless: false,
            keys: Mutex::new(Keys {
                current: Arc::new(current),
                previous: None,
                late: None,
                next: None,
                heard: 0,
                age: 0,
                sealed: 0,
            }),
            opened: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        })
    }

    /// For a wire that neither loses nor reorders, such as memory that two processes share: packets
    /// that wait unread for several epochs still open. The price is that the key under which the
    /// peer was last heard stays in memory until it is heard under a later one. Without effect in
    /// counter mode.
    #[must_use]
    pub fn lossless(mut self) -> Self {
        self.lossless = true;
        self
    }

    /// The algorithm.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Bytes by which a packet grows.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.cipher.overhead()
    }

    /// Whether packets that were changed on the way are found out.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.cipher.is_authenticated()
    }

    /// Packets opened, and packets that did not open.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.opened.load(Ordering::Relaxed),
            self.discarded.load(Ordering::Relaxed),
        )
    }

    /// Index of the current key.
    #[doc(hidden)]
    #[must_use]
    pub fn key_index(&self) -> u64 {
        self.keys().current.index
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the protected form of `plain` to `out`.
    ///
    /// # Errors
    /// The library failed; `out` is as before.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.seal_parts(&[plain], out)
    }

    /// The same for a packet made of `parts`.
    ///
    /// # Errors
    /// The library failed; `out` is as before.
    pub fn seal_parts(&self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        let (epoch, number) = {
            let mut keys = self.keys();
            if keys.age >= self.epoch {
                let next = self.next(&mut keys)?;
                keys.rotate(next, self.lossless);
            }
            keys.age += 1;
            keys.sealed += 1;
            (keys.current.clone(), keys.sealed - 1)
        };
        let before = out.len();
        let sealed = epoch.seal(epoch.iv(number), parts, out);
        if sealed.is_err() {
            out.truncate(before);
        }
        sealed
    }

    /// Replaces `plain` by what was sealed in `packet`.
    ///
    /// # Errors
    /// [`Discard`]: drop the packet; nothing else has changed but a counter. `plain` holds nothing
    /// of meaning then.
    pub fn open(&self, packet: &[u8], plain: &mut Vec<u8>) -> Result<(), Discard> {
        let opened = self.try_open(packet, plain);
        let counter = if opened.is_ok() {
            &self.opened
        } else {
            plain.clear();
            &self.discarded
        };
        counter.fetch_add(1, Ordering::Relaxed);
        opened
    }

    fn try_open(&self, packet: &[u8], plain: &mut Vec<u8>) -> Result<(), Discard> {
        let short = Discard::Short(packet.len());
        let (iv, rest) = packet.split_at_checked(self.cipher.iv_len()).ok_or(short)?;
        let length = rest.len().checked_sub(self.cipher.tag_len()).ok_or(short)?;
        let (text, tag) = rest.split_at(length);
        let phase = iv.first().ok_or(short)? & PHASE;
        if !self.cipher.is_authenticated() {
            return self.open_counter(iv, phase, text, plain);
        }
        let mut current = self.keys().current.clone();
        let (previous, next, late) = loop {
            if current.open(iv, text, tag, plain) {
                self.keys().opened_with(current);
                return Ok(());
            }
            let mut keys = self.keys();
            if keys.current.index == current.index {
                let next = self.next(&mut keys).map_err(|_| Discard::Forged)?;
                break (keys.previous.clone(), next, keys.late.clone());
            }
            // The sending half has rotated meanwhile: the packet may be of its new key.
            current = keys.current.clone();
        };
        if let Some(previous) = previous.filter(|key| key.open(iv, text, tag, plain)) {
            self.keys().opened_with(previous);
            return Ok(());
        }
        if next.open(iv, text, tag, plain) {
            let mut keys = self.keys();
            // Unless the sending half has rotated meanwhile.
            if keys.current.index < next.index {
                keys.rotate(next.clone(), self.lossless);
            }
            keys.opened_with(next);
            return Ok(());
        }
        if let Some(late) = late.and_then(|late| {
            self.open_late(late, current.index, |key| key.open(iv, text, tag, plain))
        }) {
            self.keys().opened_with(late);
            return Ok(());
        }
        Err(Discard::Forged)
    }

    /// The key from `late` to the one before the key before `current` that `opens` a packet.
    fn open_late(
        &self,
        mut late: Arc<Epoch>,
        current: u64,
        mut opens: impl FnMut(&Epoch) -> bool,
    ) -> Option<Arc<Epoch>> {
        while late.index + 1 < current {
            if opens(&late) {
                return Some(late);
            }
            late = Arc::new(self.after(&late).ok()?);
        }
        None
    }

    /// Counter mode authenticates nothing, so no trial tells the key: the phase bit decides, as in
    /// 0.23 (§6.4), but a late packet of the epoch before still finds its key.
    fn open_counter(
        &self,
        iv: &[u8],
        phase: u8,
        text: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), Discard> {
        if text.is_empty() {
            return Err(Discard::Short(iv.len()));
        }
        let epoch = {
            let mut keys = self.keys();
            if phase == keys.current.phase() {
                keys.age += 1;
                keys.current.clone()
            } else if keys.age >= self.epoch / 4 * 3 {
                let next = self.next(&mut keys).map_err(|_| Discard::Forged)?;
                keys.rotate(next, false);
                keys.age += 1;
                keys.current.clone()
            } else {
                keys.age += 1;
                match &keys.previous {
                    Some(previous) => previous.clone(),
                    None => keys.current.clone(),
                }
            }
        };
        if epoch.open(iv, text, &[], plain) {
            Ok(())
        } else {
            Err(Discard::Forged)
        }
    }

    /// The key after the current one.
    fn next(&self, keys: &mut Keys) -> Result<Arc<Epoch>, CryptoError> {
        if let Some(next) = &keys.next {
            return Ok(next.clone());
        }
        let next = Arc::new(self.after(&keys.current)?);
        keys.next = Some(next.clone());
        Ok(next)
    }

    fn after(&self, epoch: &Epoch) -> Result<Epoch, CryptoError> {
        let key = kdf::rotated(&epoch.key, &self.salt);
        Epoch::new(self.cipher, epoch.index + 1, key)
    }

    /// Seals with a given IV and key index, to repeat recorded packets.
    ///
    /// # Errors
    /// The library failed, or the IV has the wrong length.
    #[doc(hidden)]
    pub fn seal_recorded(
        cipher: Cipher,
        key: &Key,
        iv: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        if iv.len() != cipher.iv_len() {
            return Err(CryptoError::Library("use an IV of the wrong length"));
        }
        let mut full = Zeroizing::new([0; 16]);
        full[..iv.len()].copy_from_slice(iv);
        let mut out = Vec::new();
        Epoch::new(cipher, 0, key.clone())?.seal(*full, &[plain], &mut out)?;
        Ok(out)
    }
}

impl Keys {
    fn rotate(&mut self, next: Arc<Epoch>, lossless: bool) {
        let current = std::mem::replace(&mut self.current, next);
        let dropped = self.previous.replace(current);
        if lossless && self.late.is_none() {
            self.late = dropped.filter(|dropped| dropped.index >= self.heard);
        }
        self.next = None;
        self.age = 0;
        self.sealed = 0;
    }

    /// Counts a packet that was opened with `key`. Without loss none of an older key follows.
    fn opened_with(&mut self, key: Arc<Epoch>) {
        self.age += 1;
        self.heard = self.heard.max(key.index);
        if self
            .late
            .as_ref()
            .is_some_and(|late| late.index < key.index)
        {
            self.late = Some(key).filter(|key| key.index + 1 < self.current.index);
        }
    }
}

impl fmt::Debug for PacketCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketCipher")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

/// Bytes of the CRC.
pub const CRC_LEN: usize = 4;

/// Appends the CRC-32 of `packet` (as zlib), big-endian.
pub fn append_crc(packet: &mut Vec<u8>) {
    let crc = crc32fast::hash(packet);
    packet.extend_from_slice(&crc.to_be_bytes());
}

/// The length of the packet without its CRC, or none if that does not match.
#[must_use]
pub fn check_crc(packet: &[u8]) -> Option<usize> {
    let (body, crc) = packet.split_last_chunk::<CRC_LEN>()?;
    (crc32fast::hash(body).to_be_bytes() == *crc).then_some(body.len())
}
