//! What a node draws: a stream of random numbers from a seed.

use o7s_wire::hash::DirHash;

/// Hashes of seed and counter: who sees some numbers can tell neither earlier nor later ones.
#[derive(Debug)]
pub(super) struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// 32 random bytes.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut input = [0; 40];
        input[..32].copy_from_slice(&self.seed);
        input[32..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let digest = DirHash::Sha3_256.digest(&input);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&digest.as_bytes()[..32]);
        bytes
    }

    /// 64 random bits.
    pub(super) fn long(&mut self) -> u64 {
        let bytes = self.bytes();
        bytes[..8]
            .iter()
            .fold(0, |long, byte| long << 8 | u64::from(*byte))
    }

    /// 8 random bytes.
    pub(super) fn eight(&mut self) -> [u8; 8] {
        self.long().to_be_bytes()
    }

    /// An address: 32 random bits, not 0 (`spec/unicast.md` §9).
    pub(super) fn address(&mut self) -> o7s_wire::dt::Address {
        loop {
            let address = o7s_wire::dt::Address::new(self.long() & u64::from(u32::MAX));
            if address.is_valid() {
                return address;
            }
        }
    }
}
