//! Random numbers that repeat with the seed and cannot be guessed without it.

use o7s_wire::hash::DirHash;

/// A hash of the seed and a counter: good enough for endpoints that strangers should not guess.
#[derive(Debug)]
pub(super) struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.counter += 1;
        let input = [&self.seed[..], &self.counter.to_be_bytes()[..]].concat();
        DirHash::Sha3_256.digest(&input).as_bytes()[..8]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
