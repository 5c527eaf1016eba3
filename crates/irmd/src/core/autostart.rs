//! Programs that the daemon starts when a flow request finds nobody who could accept it
//! (`spec/irm-tools.md` §5.4).
//!
//! One start per name at a time, none while a bound process runs. A program that ends at once is
//! started again with growing delays; after some vain starts the waiting requests are refused.

use std::time::Instant;

use o7s::{Error, ErrorKind};

use super::{
    Child, ChildRole, Context, Core, Program, limits,
    request::{Key, What},
    timer::{Timer, TimerKey},
};

/// A program bound with automatic start.
#[derive(Debug, Clone)]
pub(super) struct Auto {
    /// Base name.
    pub base: String,
    pub program: Program,
}

/// Starts for one name.
#[derive(Debug, Default)]
pub(super) struct Starter {
    /// The instance that runs, and since when.
    running: Option<(i32, Instant)>,
    /// Starts in a row that came to nothing.
    vain: u32,
    /// No start before this.
    not_before: Option<Instant>,
    timer: Option<TimerKey>,
}

impl Core {
    /// Looks after the queue of a name when something changed: requests that nobody can ever serve
    /// are refused, and a program is started if one is bound and nothing runs.
    pub(super) fn review_queue(&mut self, cx: &mut dyn Context, name: &str) {
        let Some(entry) = self.names.get(name) else {
            return;
        };
        if entry.queue.is_empty() {
            return;
        }
        if self.is_served(name) {
            return;
        }
        let bound = !entry.programs.is_empty()
            || entry
                .processes
                .iter()
                .any(|pid| self.processes.contains_key(pid));
        if !bound {
            self.refuse_queue(cx, name, &nobody_bound(name));
        } else if !entry.autos.is_empty() {
            self.start_program(cx, name);
        } else {
            self.await_arrival(cx, name);
        }
    }

    /// A bound program may be on its way to its first accept: gives it some time.
    fn await_arrival(&mut self, cx: &mut dyn Context, name: &str) {
        let Some(entry) = self.names.get(name) else {
            return;
        };
        let at = cx.now() + limits::ARRIVAL;
        for key in &entry.queue {
            if let Some(request) = self.requests.get_mut(key)
                && let What::Alloc(alloc) = &mut request.what
                && alloc.arrival.is_none()
            {
                alloc.arrival = Some(self.timers.arm(at, Timer::Arrival(*key)));
            }
        }
    }

    /// Nobody had turned up to serve a request in time, unless somebody has.
    pub(super) fn arrival_expired(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.arrival = None;
        let name = alloc.name.clone();
        let waits = self
            .names
            .get(&name)
            .is_some_and(|entry| entry.queue.contains(&key));
        if waits && !self.is_served(&name) {
            let error = Error::new(
                ErrorKind::Ipcp,
                format!(
                    "nobody accepts flows for {name:?}: a program is bound to the name, but none \
                     of its processes is a server; start one"
                ),
            );
            self.answer(cx, key, Err(error));
        }
    }

    fn start_program(&mut self, cx: &mut dyn Context, name: &str) {
        let now = cx.now();
        if self.stopping {
            return;
        }
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        let starter = &mut entry.starter;
        if starter.running.is_some() || starter.timer.is_some() {
            return;
        }
        if let Some(at) = starter.not_before
            && at > now
        {
            starter.timer = Some(self.timers.arm(at, Timer::Restart(name.to_owned())));
            return;
        }
        let Some(auto) = entry.autos.last().cloned() else {
            return;
        };
        match cx.spawn_program(&auto.program) {
            Ok(pid) => {
                tracing::info!("Started {} ({pid}) for {name}.", auto.program.path);
                starter.running = Some((pid, now));
                let role = ChildRole::Program(name.to_owned());
                self.children.insert(pid, Child::new(role));
            }
            Err(error) => {
                let error = Error::new(
                    ErrorKind::Ipcp,
                    format!("nobody accepts flows for {name:?} and its program: {error}"),
                );
                tracing::error!("{error}");
                self.refuse_queue(cx, name, &error);
            }
        }
    }

    pub(super) fn restart_due(&mut self, cx: &mut dyn Context, name: &str) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.starter.timer = None;
            self.review_queue(cx, name);
        }
    }

    /// A started program works: it announced itself.
    pub(super) fn program_announced(&mut self, pid: i32) -> Option<String> {
        let ChildRole::Program(name) = &self.children.get(&pid)?.role else {
            return None;
        };
        let entry = self.names.get_mut(name)?;
        entry.starter.vain = 0;
        entry.starter.not_before = None;
        Some(name.clone())
    }

    /// A started program ended.
    pub(super) fn program_exited(
        &mut self,
        cx: &mut dyn Context,
        pid: i32,
        name: &str,
        status: &str,
    ) {
        tracing::info!("Program {pid}, started for {name}, ended: {status}.");
        let now = cx.now();
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        let starter = &mut entry.starter;
        if starter.running.is_none_or(|(running, _)| running != pid) {
            return;
        }
        let since = starter.running.take().map_or(now, |(_, since)| since);
        if now.saturating_duration_since(since) < limits::QUICK_EXIT {
            starter.vain += 1;
            let doublings = (starter.vain - 1).min(7);
            starter.not_before = Some(now + limits::BACK_OFF * (1 << doublings));
        }
        if starter.vain >= limits::VAIN_STARTS {
            let path = entry.autos.last().map_or("", |auto| &*auto.program.path);
            let error = Error::new(
                ErrorKind::Ipcp,
                format!(
                    "nobody accepts flows for {name:?}: its program {path} ends at once ({status}); \
                     start it by hand to see why"
                ),
            );
            tracing::warn!("{error}");
            self.refuse_queue(cx, name, &error);
        } else {
            self.review_queue(cx, name);
        }
    }

    /// Cancels a start that is due for a name that is being forgotten.
    pub(super) fn drop_starter(&mut self, starter: &Starter) {
        self.timers.disarm(starter.timer);
    }
}

/// Nobody is bound to a name.
pub(super) fn nobody_bound(name: &str) -> Error {
    Error::new(
        ErrorKind::Ipcp,
        format!(
            "nobody accepts flows for {name:?}: no program or process is bound to it; bind one \
             with 'irm bind program … name {name}' or 'irm bind process … name {name}'"
        ),
    )
}
