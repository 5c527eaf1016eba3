//! Every timer of the daemon, in one ordered table.

use std::{collections::BTreeMap, time::Instant};

use super::{Context, Core, keep::KeptId, request::Key};

/// What a timer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timer {
    /// The time limit of a request.
    Request(Key),
    /// A server for the destination of a request had long enough to turn up.
    Arrival(Key),
    /// The IPCPs had long enough to answer the queries for a request.
    Queries(Key),
    /// An IPCP had long enough to come up.
    IpcpBoot(i32),
    /// An IPCP had long enough to answer.
    IpcpCall(i32, u64),
    /// A child had long enough to end by itself.
    Kill(i32),
    /// A program may be started for this name again.
    Restart(String),
    /// An entry of the configuration file is tried again.
    Keep(KeptId),
}

/// Names an armed timer.
pub(super) type TimerKey = (Instant, u64);

/// Armed timers by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: BTreeMap<TimerKey, Timer>,
    next: u64,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Instant, timer: Timer) -> TimerKey {
        self.next += 1;
        let key = (at, self.next);
        self.armed.insert(key, timer);
        key
    }

    pub(super) fn disarm(&mut self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.armed.remove(&key);
        }
    }

    /// The first timer that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.armed.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.armed.keys().next().map(|key| key.0)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }
}

impl Core {
    /// When [`Core::expire`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles every timer that is due.
    pub fn expire(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Request(key) => self.request_expired(cx, key),
                Timer::Arrival(key) => self.arrival_expired(cx, key),
                Timer::Queries(key) => self.queries_expired(cx, key),
                Timer::IpcpBoot(pid) => self.ipcp_boot_expired(cx, pid),
                Timer::IpcpCall(pid, call) => self.ipcp_call_expired(cx, pid, call),
                Timer::Kill(pid) => self.kill_expired(cx, pid),
                Timer::Restart(name) => self.restart_due(cx, &name),
                Timer::Keep(id) => self.keep_due(cx, id),
            }
        }
    }
}
