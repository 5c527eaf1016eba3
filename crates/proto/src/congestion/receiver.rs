//! The receiving end of a flow: how congested its path is, and when to say so (`spec/unicast.md` §7.3).

use super::Policy;

/// While packets are marked, every eighth one brings an update.
const UPDATE_PERIOD: u8 = 8;

/// Level of congestion of one flow's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    policy: Policy,
    /// About 32 times the average mark.
    level: u16,
    /// Marked packets, modulo the period.
    marked: u8,
}

impl Receiver {
    /// No congestion met yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            level: 0,
            marked: 0,
        }
    }

    /// The present level, as the last update should have told it.
    #[must_use]
    pub const fn level(&self) -> u16 {
        self.level
    }

    /// A packet came with these marks. Some level: send it to the other end now.
    #[inline]
    pub fn packet(&mut self, ecn: u8) -> Option<u16> {
        if self.policy == Policy::None || (self.level == 0 && ecn == 0) {
            return None;
        }
        self.congested(u16::from(ecn))
    }

    fn congested(&mut self, mark: u16) -> Option<u16> {
        let due = if mark == 0 {
            self.level /= 4;
            self.level == 0
        } else if self.level == 0 {
            self.level = mark;
            self.marked = 0;
            true
        } else {
            // At most 32 * 255: no overflow.
            self.level = self.level - self.level / 32 + mark;
            let due = self.marked % UPDATE_PERIOD == 1;
            self.marked = (self.marked + 1) % UPDATE_PERIOD;
            due
        };
        due.then_some(self.level)
    }
}
