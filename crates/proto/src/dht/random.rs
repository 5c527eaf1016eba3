//! Random numbers of the directory: cookies, keys, times.

use std::time::Duration;

use o7s_wire::dht::Key;

use crate::random;

/// Random bytes, used up eight by eight: the directory needs many numbers.
#[derive(Clone)]
pub(super) struct Random {
    source: random::Random,
    block: [u8; 32],
    used: usize,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            source: random::Random::new(seed),
            block: [0; 32],
            used: 32,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        if self.used + 8 > self.block.len() {
            self.block = self.source.bytes();
            self.used = 0;
        }
        let mut octets = [0; 8];
        octets.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        u64::from_be_bytes(octets)
    }

    /// Not 0.
    pub(super) fn cookie(&mut self) -> u64 {
        loop {
            let number = self.number();
            if number != 0 {
                return number;
            }
        }
    }

    /// A key of `len` bytes, at most 64.
    pub(super) fn key(&mut self, len: usize) -> Key {
        let mut bytes = [0; 64];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.number().to_be_bytes());
        }
        // The length is that of a hash, at most 64.
        Key::from_bytes(&bytes[..len.min(64)]).unwrap_or_else(|| unreachable!())
    }

    /// A time of at most `limit`.
    pub(super) fn up_to(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        match nanos.checked_add(1) {
            Some(bound) => Duration::from_nanos(self.number() % bound),
            None => limit,
        }
    }
}

/// Without the numbers that come next.
impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}
