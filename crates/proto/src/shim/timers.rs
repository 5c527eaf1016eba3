//! The deadlines of a machine, one per thing that has one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use o7s_wire::hash::NameHash;

use super::{FlowKey, RequestKey};

/// Every timer of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A query is sent again, someone stops waiting for it, or it ends.
    Query(NameHash),
    /// A request is repeated, its name is checked, it fails; or the linger of a flow is over.
    Flow(FlowKey),
    /// A request of a stranger was not answered.
    Request(RequestKey),
}

/// Deadlines in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets, moves or takes away a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.at.insert(timer.clone(), at),
            None => self.at.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}
