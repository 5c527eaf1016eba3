//! Congestion avoidance in a unicast layer (`spec/unicast.md` §7): marks by the length of queues, a level
//! per flow that its receiver reports, and a rate that its sender keeps.
//!
//! ```text
//!  Sender ── packet ──► node: ecn |= mark(queue) ──► node: ... ──► Receiver
//!    ▲                                                                │ now and then
//!    └─────────────── update (level) ◄────────────────────────────────┘
//! ```
//!
//! [`Sender`] and [`Receiver`] belong to one flow and run in the data path; updates travel as messages of
//! the flow allocator ([`crate::fa`]).

mod echoes;
mod rate;
mod receiver;
mod sender;
mod slots;
#[cfg(test)]
mod tests;

pub use receiver::Receiver;
pub use sender::{Regime, Sender, SenderState};

/// What a layer does about congestion: `cong_avoid` of its configuration (`spec/unicast.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum Policy {
    /// Nothing: no marks, no updates, no delay.
    None = 0,
    /// Marks of several bits, and the controller of 0.23.
    #[default]
    MultiBitEcn = 1,
}

impl Policy {
    /// The policy with this number in the configuration of a layer.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::MultiBitEcn),
            _ => None,
        }
    }

    /// What a packet's marks are OR-ed with when it is put behind `queued` packets that wait for the same
    /// N-1 flow: a sixteenth of them, at most 63, as in the transmit rings of 0.23.
    #[inline]
    #[must_use]
    pub const fn mark(self, queued: usize) -> u8 {
        match self {
            Self::None => 0,
            Self::MultiBitEcn => {
                let mark = queued >> MARK_SHIFT;
                if mark > MAX_MARK as usize {
                    MAX_MARK
                } else {
                    mark as u8
                }
            }
        }
    }
}

/// How a sender reacts to reports: its own affair (`spec/unicast.md` §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Controller {
    /// A rate that settles at the same value for all flows of a bottleneck.
    #[default]
    Rate,
    /// The controller of 0.23, which does not (see `docs/architecture.md`).
    Slots,
}

/// log2 of the packets per step of the mark.
const MARK_SHIFT: u32 = 4;

/// The highest mark that a node sets: its queue has 1023 packets.
const MAX_MARK: u8 = 63;
