//! Which N-1 flows were heard: a bit each, set by the data thread and looked at by management.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use o7s_proto::unicast::Lower;

/// Flows that have a bit; of further ones only hellos are signs of life.
const FLOWS: usize = 4096;
const BITS: usize = 64;

/// A bit per N-1 flow.
#[derive(Debug, Clone)]
pub struct Signs(Arc<[AtomicU64]>);

impl Default for Signs {
    fn default() -> Self {
        Self((0..FLOWS / BITS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Signs {
    fn place(&self, lower: Lower) -> Option<(&AtomicU64, u64)> {
        let number = lower.0 as usize;
        Some((self.0.get(number / BITS)?, 1 << (number % BITS)))
    }

    /// Something came on the flow. Writes only if that is news, so that the line stays shared.
    #[inline]
    pub(super) fn set(&self, lower: Lower) {
        if let Some((word, bit)) = self.place(lower)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether something came since the last time that this was asked.
    pub(super) fn take(&self, lower: Lower) -> bool {
        self.place(lower).is_some_and(|(word, bit)| {
            word.load(Ordering::Relaxed) & bit != 0
                && word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flow_has_a_bit_of_its_own() {
        let signs = Signs::default();
        let other = signs.clone();
        for lower in [0, 63, 64, 4095].map(Lower) {
            assert!(!other.take(lower));
            signs.set(lower);
            signs.set(lower);
            assert!(other.take(lower));
            assert!(!other.take(lower));
        }
        signs.set(Lower(4096));
        assert!(!other.take(Lower(4096)));
    }
}
