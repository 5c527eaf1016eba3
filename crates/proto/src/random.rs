//! Random numbers that repeat with the seed; who has seen some can tell neither earlier nor later ones.

use o7s_wire::{address::Address, hash::DirHash};

/// Hashes of a seed and a counter.
#[derive(Clone)]
pub(crate) struct Random {
    /// Seed, then counter.
    input: [u8; 40],
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut input = [0; 40];
        input[..32].copy_from_slice(&seed);
        Self { input, counter: 0 }
    }

    /// 32 random bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.input[32..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let digest = DirHash::Sha3_256.digest(&self.input);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&digest.as_bytes()[..32]);
        bytes
    }

    /// 64 random bits.
    pub(crate) fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes()[..8]);
        u64::from_be_bytes(number)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// An address: 32 random bits, not 0 (`spec/unicast.md` §9).
    pub(crate) fn address(&mut self) -> Address {
        loop {
            let address = Address::new(self.number() & u64::from(u32::MAX));
            if address.is_valid() {
                return address;
            }
        }
    }
}

/// Without the seed: who knows it knows all numbers.
impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}
