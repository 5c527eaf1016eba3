//! Service by QoS cube: the higher class first, and none starves (`spec/unicast.md` §8).
//!
//! 0.23 gives each cube threads of a real-time priority. Here one loop serves all: [`Shares`] is a deficit
//! round robin over the cubes, which lets a higher cube go first as long as it has not used up its share of
//! the round. [`Ready`] orders things that wait to be served, such as flows with packets; [`Queue`] is the
//! bounded queue of an N-1 flow, whose length is what packets are marked by.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use o7s_wire::dt::QosCube;

pub use queue::{Full, Limits, Queue};

/// Bytes that each cube may use in a round, by [`QosCube::index`]: when all have enough to send, voice gets
/// 8/13 of the service, video 4/13 and best effort 1/13. The least share is some packets of Ethernet.
const QUANTUM: [i64; QosCube::COUNT] = [4_500, 18_000, 36_000];

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Bytes that are left of the round. A packet may overdraw.
    left: [i64; QosCube::COUNT],
}

impl Default for Shares {
    fn default() -> Self {
        Self { left: QUANTUM }
    }
}

impl Shares {
    /// The cube to serve among those for which `waits` is true: the highest one with a share left. When
    /// none has, a new round begins. None: nothing waits.
    #[inline]
    pub fn next(&mut self, waits: impl Fn(QosCube) -> bool) -> Option<QosCube> {
        let best = |left: &[i64; QosCube::COUNT]| {
            let mut order = QosCube::ALL.into_iter().rev();
            order.find(|cube| left[cube.index()] > 0 && waits(*cube))
        };
        best(&self.left).or_else(|| {
            self.new_round(&waits)?;
            best(&self.left)
        })
    }

    /// Each share grows by a quantum and no further, so that debts are paid and nothing is saved. Rounds
    /// after which nobody that waits would have paid are gone through at once.
    #[cold]
    fn new_round(&mut self, waits: impl Fn(QosCube) -> bool) -> Option<()> {
        let rounds = QosCube::ALL
            .into_iter()
            .filter(|cube| waits(*cube))
            .map(|cube| 1 + -self.left[cube.index()] / QUANTUM[cube.index()])
            .min()?;
        for (left, quantum) in self.left.iter_mut().zip(QUANTUM) {
            *left = left
                .saturating_add(rounds.saturating_mul(quantum))
                .min(quantum);
        }
        Some(())
    }

    /// So many bytes of the cube were served. An empty packet costs something too.
    #[inline]
    pub fn charge(&mut self, cube: QosCube, bytes: usize) {
        let left = &mut self.left[cube.index()];
        let cost = i64::try_from(bytes).unwrap_or(i64::MAX / 2).max(MIN_COST);
        *left = left.saturating_sub(cost);
    }
}

/// What the smallest packet costs, in bytes: its handling.
const MIN_COST: i64 = 64;

/// Things that wait to be served, by cube; in turns within a cube.
#[derive(Debug, Clone)]
pub struct Ready<T> {
    shares: Shares,
    waiting: [VecDeque<T>; QosCube::COUNT],
}

impl<T> Default for Ready<T> {
    fn default() -> Self {
        Self {
            shares: Shares::default(),
            waiting: Default::default(),
        }
    }
}

impl<T> Ready<T> {
    /// Puts something at the end of its cube's queue. Its owner sees to it that a thing waits once only:
    /// that bounds the queue.
    pub fn push(&mut self, cube: QosCube, thing: T) {
        self.waiting[cube.index()].push_back(thing);
    }

    /// Takes what is to be served next; say afterwards what it cost by [`charge`](Self::charge), and put it
    /// back if it has more.
    pub fn pop(&mut self) -> Option<(QosCube, T)> {
        let waiting = &self.waiting;
        let cube = self.shares.next(|cube| !waiting[cube.index()].is_empty())?;
        Some((cube, self.waiting[cube.index()].pop_front()?))
    }

    /// So many bytes of the cube were served.
    pub fn charge(&mut self, cube: QosCube, bytes: usize) {
        self.shares.charge(cube, bytes);
    }

    /// Takes out what is not wanted any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        for queue in &mut self.waiting {
            queue.retain(&mut wanted);
        }
    }

    /// Things that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}
