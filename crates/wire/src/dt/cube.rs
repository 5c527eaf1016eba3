//! QoS cubes: the classes into which a unicast layer sorts flows (`spec/unicast.md` §8.2).

use std::fmt;

use crate::qos::QosSpec;

/// Class of a flow. Higher ones are served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum QosCube {
    /// Everything else. The only cube that 0.23 puts in packets.
    #[default]
    BestEffort = 0,
    /// Delay and longest interruption at most 100 ms, availability of three nines.
    Video = 1,
    /// Delay and longest interruption at most 50 ms, at most 100 kbit/s, availability of five nines.
    Voice = 2,
}

impl QosCube {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// All, the one that is served first at the end.
    pub const ALL: [Self; Self::COUNT] = [Self::BestEffort, Self::Video, Self::Voice];

    /// The cube with this number in the header; every other number has no meaning in 0.23.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::BestEffort),
            1 => Some(Self::Video),
            2 => Some(Self::Voice),
            _ => None,
        }
    }

    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// As an index into a table of [`COUNT`](Self::COUNT) entries.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The cube of a flow with this specification. Loss, bit errors, order and timeout play no role.
    #[must_use]
    pub const fn of(qos: &QosSpec) -> Self {
        if qos.delay <= 50 && qos.bandwidth <= 100_000 && qos.availability >= 5 && qos.max_gap <= 50
        {
            Self::Voice
        } else if qos.delay <= 100 && qos.availability >= 3 && qos.max_gap <= 100 {
            Self::Video
        } else {
            Self::BestEffort
        }
    }
}

impl fmt::Display for QosCube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "best effort",
            Self::Video => "video",
            Self::Voice => "voice",
        })
    }
}
