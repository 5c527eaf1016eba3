//! A link: delay, rate, a queue, loss; each direction for itself.

use std::{collections::VecDeque, time::Duration};

use crate::{
    agenda::{SECOND, Time},
    dice::Dice,
};

/// What all links of a network are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Time that a packet is under way.
    pub delay: Duration,
    /// Bits per second; none: a packet takes no time to send.
    pub rate: Option<u64>,
    /// Packets that may wait to be sent.
    pub queue: usize,
    /// Probability that a packet is lost.
    pub loss: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(2),
            rate: None,
            queue: 1_000,
            loss: 0.0,
        }
    }
}

/// What a direction has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that were sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets for which the queue had no room.
    pub refused: u64,
    /// Most packets that waited at a time.
    pub longest: usize,
}

/// One direction of a link.
#[derive(Debug, Clone)]
pub struct Direction {
    model: Model,
    /// When those that wait, and the one that is being sent, will have been sent.
    leaving: VecDeque<Time>,
    /// The counts.
    pub tally: Tally,
}

impl Direction {
    /// An empty one.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self {
            model,
            leaving: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Packets that wait.
    pub fn queued(&mut self, now: Time) -> usize {
        while self.leaving.front().is_some_and(|at| *at <= now) {
            self.leaving.pop_front();
        }
        self.leaving.len()
    }

    /// When there will be room, if there is none.
    pub fn room_at(&mut self, now: Time) -> Option<Time> {
        (self.queued(now) >= self.model.queue)
            .then(|| self.leaving.front().copied())
            .flatten()
    }

    /// Sends a packet. When it arrives, if it does.
    pub fn send(&mut self, now: Time, bytes: usize, dice: &mut Dice) -> Option<Time> {
        let queued = self.queued(now);
        if queued >= self.model.queue {
            self.tally.refused += 1;
            return None;
        }
        let mut leaves = now;
        if let Some(rate) = self.model.rate {
            let takes = (bytes as u64 * 8 * SECOND) / rate.max(1);
            leaves = self.leaving.back().map_or(now, |last| now.max(*last)) + takes;
            self.leaving.push_back(leaves);
            self.tally.longest = self.tally.longest.max(queued + 1);
        }
        self.tally.packets += 1;
        self.tally.bytes += bytes as u64;
        if dice.chance(self.model.loss) {
            self.tally.lost += 1;
            return None;
        }
        Some(leaves + nanos(self.model.delay))
    }
}

/// A duration as virtual time.
#[must_use]
pub fn nanos(time: Duration) -> Time {
    u64::try_from(time.as_nanos()).unwrap_or(Time::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_one_after_the_other_at_the_rate_and_the_queue_is_bounded() {
        let model = Model {
            delay: Duration::from_millis(1),
            rate: Some(8_000_000),
            queue: 3,
            loss: 0.0,
        };
        let (mut direction, mut dice) = (Direction::new(model), Dice::new(1));
        // 1000 bytes take 1 ms.
        for n in 1..=3 {
            let arrives = direction.send(0, 1_000, &mut dice);
            assert_eq!(arrives, Some((n + 1) * 1_000_000));
        }
        assert_eq!(direction.send(0, 1_000, &mut dice), None);
        assert_eq!(direction.room_at(0), Some(1_000_000));
        assert_eq!(direction.queued(2_000_000), 1);
        let expected = Tally {
            packets: 3,
            bytes: 3_000,
            refused: 1,
            longest: 3,
            lost: 0,
        };
        assert_eq!(direction.tally, expected);
    }
}
