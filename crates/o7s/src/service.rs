//! The service thread of a process: it serves flows while the program is not in a call on them.
//!
//! It runs timers (FRCP, signs of life, lingering) and hears doorbells for those who cannot poll
//! for them: `fileno()`, tasks, and flows with FRCP. It exists only while some flow needs it.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Error, Result,
    doorbell::{Doorbells, block_signals, restore_signals},
    life::{FlowInner, clear, new_eventfd, raise},
    link::{Link, Remains},
    process::{lock, process},
};

/// The service of a process.
pub(crate) struct Service {
    doorbells: &'static Doorbells,
    /// Wakes the thread to look at its timers again.
    wake: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: bool,
    /// Hear doorbells until the process ends.
    hears: bool,
    /// Flows for which doorbells must be heard.
    listeners: usize,
    timers: BTreeMap<(Instant, u64), Task>,
    next: u64,
    /// What the thread sleeps until; none = it does not sleep, or not until a time.
    asleep_until: Option<Option<Instant>>,
}

/// What a timer is for.
enum Task {
    /// A flow that may want something at this time.
    Flow(Weak<FlowInner>),
    /// A flow that was given up and still has data on the way.
    Remains(Arc<Remains>),
}

/// The timer of a flow. May be set from any thread; goes off at the earliest time it was set to.
#[derive(Default)]
pub(crate) struct Alarm {
    flow: OnceLock<Weak<FlowInner>>,
    /// Nanoseconds since [`origin`]; 0 = not set.
    at: AtomicU64,
}

/// Where the clock of alarms begins.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    })
}

/// A time as an alarm stores it: at least 1.
fn stamp(at: Instant) -> u64 {
    let since = at.saturating_duration_since(origin());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl Alarm {
    /// Says which flow it is for.
    pub(crate) fn belong_to(&self, flow: Weak<FlowInner>) {
        let _ = self.flow.set(flow);
        let at = self.at.swap(0, Ordering::AcqRel);
        if at != 0 {
            self.set(origin() + Duration::from_nanos(at));
        }
    }

    /// Goes off at `at`, or earlier if it was set to that before.
    #[inline]
    pub(crate) fn set(&self, at: Instant) {
        let stamp = stamp(at);
        let set = self.at.load(Ordering::Relaxed);
        if set != 0 && set <= stamp {
            return;
        }
        self.set_earlier(at, stamp);
    }

    #[cold]
    fn set_earlier(&self, at: Instant, stamp: u64) {
        let mut set = self.at.load(Ordering::Relaxed);
        while set == 0 || set > stamp {
            match self
                .at
                .compare_exchange_weak(set, stamp, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    if let Some(flow) = self.flow.get()
                        && let Ok(service) = process().service()
                    {
                        service.at(at, Task::Flow(flow.clone()));
                    }
                    return;
                }
                Err(other) => set = other,
            }
        }
    }

    /// It went off: may be set anew.
    fn reset(&self) {
        self.at.store(0, Ordering::Release);
    }
}

impl Service {
    pub(crate) fn new(doorbells: &'static Doorbells) -> Result<Self> {
        Ok(Self {
            doorbells,
            wake: new_eventfd()?,
            state: Mutex::default(),
        })
    }

    /// Hears the doorbells from now on, for those who cannot poll.
    pub(crate) fn hear(&'static self) -> Result<()> {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.hears, true) {
            self.nudge(&mut state);
        }
        self.run(&mut state)
    }

    /// Hears the doorbells while there are flows that need it: one more.
    pub(crate) fn hear_one_more(&'static self) -> Result<()> {
        let mut state = lock(&self.state);
        state.listeners += 1;
        if state.listeners == 1 {
            self.nudge(&mut state);
        }
        let started = self.run(&mut state);
        if started.is_err() {
            state.listeners -= 1;
        }
        started
    }

    /// One flow less.
    pub(crate) fn hear_one_less(&self) {
        let mut state = lock(&self.state);
        state.listeners = state.listeners.saturating_sub(1);
        if state.listeners == 0 {
            self.nudge(&mut state);
        }
    }

    /// Looks after what is left of a flow until it is finished.
    pub(crate) fn look_after(&'static self, remains: Arc<Remains>) {
        self.at(Instant::now(), Task::Remains(remains));
    }

    fn at(&'static self, at: Instant, task: Task) {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next += 1;
        state.timers.insert((at, number), task);
        let sleeps_longer = state
            .asleep_until
            .is_some_and(|until| until.is_none_or(|until| at < until));
        if sleeps_longer {
            self.nudge(&mut state);
        }
        // Without a thread timers do not run, but calls still make progress; the next one tries
        // again to start it.
        let _ = self.run(&mut state);
    }

    /// Wakes the thread if it sleeps.
    fn nudge(&self, state: &mut State) {
        if state.asleep_until.take().is_some() {
            raise(&self.wake);
        }
    }

    /// Starts the thread if it does not run.
    fn run(&'static self, state: &mut State) -> Result<()> {
        if state.running {
            return Ok(());
        }
        let blocked = block_signals();
        let spawned = std::thread::Builder::new()
            .name("o7s-service".to_owned())
            .spawn(|| self.serve());
        restore_signals(&blocked);
        spawned.map_err(|error| Error::system("start the service thread", &error))?;
        state.running = true;
        Ok(())
    }

    /// The thread.
    fn serve(&self) {
        loop {
            let due = {
                let mut state = lock(&self.state);
                state.asleep_until = None;
                let now = Instant::now();
                let later = state.timers.split_off(&(now, u64::MAX));
                std::mem::replace(&mut state.timers, later)
            };
            let idle = due.is_empty();
            for task in due.into_values() {
                match task {
                    Task::Flow(flow) => {
                        if let Some(flow) = flow.upgrade() {
                            serve_flow(&flow);
                        }
                    }
                    Task::Remains(remains) => {
                        if let Some(again) = remains.tend() {
                            let mut state = lock(&self.state);
                            let number = state.next;
                            state.next += 1;
                            state.timers.insert((again, number), Task::Remains(remains));
                        }
                    }
                }
            }
            if !idle {
                continue;
            }
            let (hears, until) = {
                let mut state = lock(&self.state);
                let hears = state.hears || state.listeners > 0;
                let until = state.timers.first_key_value().map(|((at, _), _)| *at);
                if !hears && until.is_none() {
                    state.running = false;
                    return;
                }
                state.asleep_until = Some(until);
                (hears, until)
            };
            self.sleep(hears, until);
            if hears {
                self.doorbells.hear(None);
            }
        }
    }

    fn sleep(&self, hears: bool, until: Option<Instant>) {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let bells = self.doorbells.as_fd();
        let mut fds = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(&bells, PollFlags::IN),
        ];
        let fds = if hears { &mut fds[..] } else { &mut fds[..1] };
        match poll(fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Out of memory: no reason to spin.
            Err(_) => std::thread::yield_now(),
        }
        clear(&self.wake);
    }
}

/// A flow's timer went off.
fn serve_flow(flow: &Arc<FlowInner>) {
    let Some(link) = flow.link.get() else { return };
    link.alarm.reset();
    if flow.is_over() {
        return;
    }
    if Link::tend(link) {
        flow.tell(None);
    }
}
