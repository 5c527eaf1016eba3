//! The data path of a local layer whose flows pass through: pairs of ends, a direction each way.

use std::time::Duration;

use o7s::control::Impairment;

use super::direction::Direction;
use crate::data::{Context, DataPath, End, Progress, Token};

/// A flow to connect: the end of the program that asked, and that of the one that accepted.
#[derive(Debug)]
pub struct Connect {
    /// Towards the program that asked.
    pub asking: End,
    /// Towards the program that accepted.
    pub accepting: End,
}

/// The flows.
#[derive(Debug)]
pub struct Passage {
    impairment: Impairment,
    pairs: Vec<Option<Pair>>,
    /// The pair of each end, by its token.
    by_token: Vec<usize>,
    /// Flows that there have been.
    flows: u64,
}

#[derive(Debug)]
struct Pair {
    number: u64,
    ends: [Token; 2],
    directions: [Direction; 2],
}

impl Passage {
    /// No flows yet.
    #[must_use]
    pub fn new(impairment: Impairment) -> Self {
        Self {
            impairment,
            pairs: Vec::new(),
            by_token: Vec::new(),
            flows: 0,
        }
    }

    fn place(&mut self, token: Token, pair: usize) {
        let at = token.index();
        if self.by_token.len() <= at {
            self.by_token.resize(at + 1, usize::MAX);
        }
        self.by_token[at] = pair;
    }

    fn end(&mut self, cx: &mut Context, at: usize) {
        let Some(pair) = self.pairs.get_mut(at).and_then(Option::take) else {
            return;
        };
        for (direction, name) in pair.directions.iter().zip(["to", "from"]) {
            tracing::debug!(
                "Flow {} of the layer is over; {name} the acceptor: {:?}.",
                pair.number,
                direction.counters()
            );
        }
        for token in pair.ends {
            cx.remove(token);
        }
    }
}

impl DataPath for Passage {
    type Command = Connect;

    fn command(&mut self, cx: &mut Context, connect: Connect) {
        let number = self.flows;
        self.flows += 1;
        let ends = [cx.add(connect.asking), cx.add(connect.accepting)];
        let [Some(asking), Some(accepting)] = ends else {
            for token in ends.into_iter().flatten() {
                cx.remove(token);
            }
            return;
        };
        let directions = [0, 1].map(|way| Direction::new(self.impairment, number, way));
        let pair = Pair {
            number,
            ends: [asking, accepting],
            directions,
        };
        let at = match self.pairs.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.pairs.push(None);
                self.pairs.len() - 1
            }
        };
        self.pairs[at] = Some(pair);
        self.place(asking, at);
        self.place(accepting, at);
    }

    fn poll(&mut self, cx: &mut Context, flow: Token) -> Progress {
        let Some(at) = self.by_token.get(flow.index()).copied() else {
            return Progress::None;
        };
        let Some(Some(pair)) = self.pairs.get_mut(at) else {
            return Progress::None;
        };
        let now = cx.now();
        let [one, other] = pair.ends;
        let Some((a, b)) = cx.pair(one, other) else {
            return Progress::None;
        };
        // Seen before the packets are: what was written before the end is carried on.
        let over = [a.is_over(), b.is_over()];
        for (end, over) in [(&mut *a, over[0]), (&mut *b, over[1])] {
            if over {
                end.note_over();
            }
        }
        let [there, back] = &mut pair.directions;
        let outcomes = [
            there.carry(now, a, b, over[0], over[1]),
            back.carry(now, b, a, over[1], over[0]),
        ];
        let done = (over[0] && there.is_done()) || (over[1] && back.is_done());
        if done || over == [true, true] || outcomes.iter().any(Result::is_err) {
            self.end(cx, at);
            return Progress::Some;
        }
        cx.set_timer(one, there.next());
        cx.set_timer(other, back.next());
        if outcomes.contains(&Ok(true)) {
            Progress::Some
        } else {
            Progress::None
        }
    }

    fn dealloc(&mut self, _cx: &mut Context, _flow: Token, _linger: Duration) {
        // The end itself says that it is over, and nothing here outlives a flow.
    }
}
