//! The algorithm of the doorbell: a bitmap of slots and a word that says that its reader sleeps.
//!
//! ```text
//! ringing side                          draining side
//!   bits |= slot                          armed = 1
//!   fence(SeqCst)                         fence(SeqCst)
//!   armed.swap(0) == 1? send a byte       take the bits
//! ```
//!
//! Sync point: as in [`crate::wait`], either the ringing side finds `armed` or the draining side
//! finds the bit.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Sets the bit of `slot`; returns true if a byte must be sent. Slots beyond `bits` are ignored.
#[must_use]
pub fn ring(bits: &[AtomicU64], armed: &AtomicU32, slot: u32) -> bool {
    let Some(word) = bits.get((slot / 64) as usize) else {
        return false;
    };
    word.fetch_or(1 << (slot % 64), Ordering::AcqRel);
    fence(Ordering::SeqCst);
    armed.load(Ordering::Relaxed) == 1 && armed.swap(0, Ordering::AcqRel) == 1
}

/// Arms and then takes all bits that are set.
pub fn drain(bits: &[AtomicU64], armed: &AtomicU32, mut slot: impl FnMut(u32)) {
    armed.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    for (index, word) in (0u32..).zip(bits) {
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let mut set = word.swap(0, Ordering::AcqRel);
        while set != 0 {
            slot(index * 64 + set.trailing_zeros());
            set &= set - 1;
        }
    }
}
