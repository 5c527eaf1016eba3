//! What a data path has to work with: flow ends, timers, watched descriptors.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{End, Event, Events};
use o7s_ring::{Bell, Drain};
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Looks in vain after which a flow is left until its doorbell rings.
const IDLE_LOOKS: u32 = 64;
/// Events taken from the system at once.
const EVENTS: usize = 64;
/// Kinds of what is watched, in the upper bits of an event's number.
const KIND: u64 = 0xff << 56;
const BELL: u64 = 1 << 56;
const SOURCE: u64 = 2 << 56;
const WAKE: u64 = 3 << 56;
const TIMER: u64 = 4 << 56;

/// Names a flow end of the data path. May be used anew once the end is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(usize);

impl Token {
    /// A small number, unique among the ends that are there.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Entry {
    end: End,
    active: bool,
    /// Looks in vain.
    idle: u32,
    timer: Option<Instant>,
}

/// A doorbell and the ends that hear it.
#[derive(Debug)]
struct HeardBell {
    bell: Arc<Bell>,
    slots: HashMap<u32, Token>,
    closed: bool,
}

/// The ends, timers and descriptors of a data path.
#[derive(Debug)]
pub struct Context {
    entries: Vec<Option<Entry>>,
    free: Vec<Token>,
    by_end: HashMap<(u64, u32), Token>,
    /// Ends to look at without being rung.
    pub(super) active: Vec<Token>,
    /// Ends that the path may have changed.
    touched: Vec<Token>,
    timers: BTreeSet<(Instant, Token)>,
    bells: BTreeMap<u64, HeardBell>,
    events: Events,
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_set: Option<Instant>,
    pub(super) now: Instant,
    /// Watched descriptors that can be read.
    pub(super) sources: Vec<u64>,
    /// When the path is to be called for itself.
    alarm: Option<Instant>,
}

impl Context {
    /// No ends; `wake` is readable when there are commands.
    pub(super) fn new(events: Events, wake: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Edges: nobody reads the two.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, wake, EventData::new_u64(WAKE), edge)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), edge)?;
        Ok(Self {
            entries: Vec::new(),
            free: Vec::new(),
            by_end: HashMap::new(),
            active: Vec::new(),
            touched: Vec::new(),
            timers: BTreeSet::new(),
            bells: BTreeMap::new(),
            events,
            epoll,
            timer,
            timer_set: None,
            now: Instant::now(),
            sources: Vec::new(),
            alarm: None,
        })
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Takes an end in; it is polled soon. None, and the end is given up, if the system has no
    /// memory left to listen for it.
    pub fn add(&mut self, end: End) -> Option<Token> {
        let key = (end.end().flow_id, end.end().side);
        let (bell_id, bell, slot) = end.bell();
        let bell = bell.clone();
        if !self.bells.contains_key(&bell_id) {
            let number = EventData::new_u64(BELL | bell_id);
            if let Err(error) = epoll::add(&self.epoll, bell.fd(), number, EventFlags::IN) {
                tracing::error!("Cannot listen for a flow: {error}.");
                self.tell(Event::Ended(end.end()));
                return None;
            }
            self.bells.insert(
                bell_id,
                HeardBell {
                    bell,
                    slots: HashMap::new(),
                    closed: false,
                },
            );
        }
        let entry = Entry {
            end,
            active: false,
            idle: 0,
            timer: None,
        };
        let token = match self.free.pop() {
            Some(token) => {
                self.entries[token.0] = Some(entry);
                token
            }
            None => {
                self.entries.push(Some(entry));
                Token(self.entries.len() - 1)
            }
        };
        if let Some(heard) = self.bells.get_mut(&bell_id) {
            heard.slots.insert(slot, token);
        }
        self.by_end.insert(key, token);
        self.activate(token);
        Some(token)
    }

    /// Gives an end up: the program sees it deallocated, the daemon is told.
    pub fn remove(&mut self, token: Token) {
        if let Some(end) = self.take(token) {
            let name = end.end();
            drop(end);
            self.tell(Event::Ended(name));
        }
    }

    /// Takes an end out, of which the daemon is told in another way.
    pub fn take(&mut self, token: Token) -> Option<End> {
        let entry = self.entries.get_mut(token.0).and_then(Option::take)?;
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, token));
        }
        let (bell_id, _, slot) = entry.end.bell();
        if let Some(heard) = self.bells.get_mut(&bell_id) {
            heard.slots.remove(&slot);
            if heard.closed && heard.slots.is_empty() {
                self.bells.remove(&bell_id);
            }
        }
        let end = entry.end.end();
        self.by_end.remove(&(end.flow_id, end.side));
        self.active.retain(|active| *active != token);
        self.free.push(token);
        Some(entry.end)
    }

    /// Lets [`super::DataPath::alarm`] be called at that time, once.
    pub fn set_alarm(&mut self, at: Option<Instant>) {
        self.alarm = at;
    }

    /// Takes the alarm if it is due.
    pub(super) fn alarm_due(&mut self) -> bool {
        self.alarm.take_if(|at| *at <= self.now).is_some()
    }

    /// The token of an end.
    #[must_use]
    pub fn token(&self, flow_id: u64, side: u32) -> Option<Token> {
        self.by_end.get(&(flow_id, side)).copied()
    }

    /// An end.
    pub fn end(&mut self, token: Token) -> Option<&mut End> {
        let entry = self.entries.get_mut(token.0)?.as_mut()?;
        self.touched.push(token);
        Some(&mut entry.end)
    }

    /// Two ends at once, if both are there and not the same.
    pub fn pair(&mut self, one: Token, other: Token) -> Option<(&mut End, &mut End)> {
        self.touched.extend([one, other]);
        let [one, other] = self.entries.get_disjoint_mut([one.0, other.0]).ok()?;
        Some((&mut one.as_mut()?.end, &mut other.as_mut()?.end))
    }

    /// Ends that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_end.len()
    }

    /// Whether there is no end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// Lets the path poll this end soon.
    pub fn activate(&mut self, token: Token) {
        if let Some(Some(entry)) = self.entries.get_mut(token.0) {
            entry.idle = 0;
            if !entry.active {
                entry.active = true;
                self.active.push(token);
            }
        }
    }

    /// Lets the path poll this end at that time too; one time per end.
    pub fn set_timer(&mut self, token: Token, at: Option<Instant>) {
        if let Some(Some(entry)) = self.entries.get_mut(token.0)
            && entry.timer != at
        {
            if let Some(old) = std::mem::replace(&mut entry.timer, at) {
                self.timers.remove(&(old, token));
            }
            if let Some(at) = at {
                self.timers.insert((at, token));
            }
        }
    }

    /// Watches a descriptor, as a rule a socket: [`super::DataPath::readable`] is called while it
    /// can be read. `source` is below 2^56.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(&mut self, fd: impl AsFd, source: u64) -> io::Result<()> {
        let number = EventData::new_u64(SOURCE | source & !KIND);
        Ok(epoll::add(&self.epoll, fd, number, EventFlags::IN)?)
    }

    /// Undoes [`Context::watch`].
    ///
    /// # Errors
    /// What the system says.
    pub fn unwatch(&mut self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    pub(super) fn tell(&self, event: Event) {
        self.events.send(event);
    }

    /// Activates every end whose time has come.
    pub(super) fn expire(&mut self) {
        while let Some((at, token)) = self.timers.first().copied()
            && at <= self.now
        {
            self.timers.pop_first();
            if let Some(Some(entry)) = self.entries.get_mut(token.0) {
                entry.timer = None;
            }
            self.activate(token);
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let first = self.timers.first().map(|(at, _)| *at);
        first.into_iter().chain(self.alarm).min()
    }

    /// After each call of the path: an end that was left to its doorbell, and waits for more now
    /// than it was asked for, is looked at again.
    pub(super) fn settle(&mut self) {
        while let Some(token) = self.touched.pop() {
            if let Some(Some(entry)) = self.entries.get_mut(token.0)
                && !entry.active
                && entry.end.wants_more()
            {
                self.activate(token);
            }
        }
    }

    /// What came of polling an active end; one that was idle for long is left to its doorbell.
    pub(super) fn polled(&mut self, token: Token, worth: bool) {
        let Some(Some(entry)) = self.entries.get_mut(token.0) else {
            return;
        };
        entry.idle = if worth { 0 } else { entry.idle + 1 };
        if entry.idle >= IDLE_LOOKS && !entry.end.arm() {
            entry.active = false;
            self.active.retain(|active| *active != token);
        }
    }

    /// Whether an active end has something to do.
    pub(super) fn is_ready(&self) -> bool {
        let entries = self.active.iter();
        let mut entries = entries.filter_map(|token| self.entries.get(token.0)?.as_ref());
        entries.any(|entry| entry.end.is_ready())
    }

    /// Leaves all ends to their doorbells; false if one has something to do.
    pub(super) fn arm_all(&mut self) -> bool {
        let entries = &mut self.entries;
        self.active.retain(|token| {
            let Some(Some(entry)) = entries.get_mut(token.0) else {
                return false;
            };
            entry.idle = 0;
            entry.active = entry.end.arm();
            entry.active
        });
        self.active.is_empty()
    }

    /// Waits (or only looks) for doorbells, sources, commands and the next timer.
    pub(super) fn hear(&mut self, wait: bool) {
        if wait && self.timer_set != self.next_timer() {
            self.timer_set = self.next_timer();
            self.set_clock();
        }
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let limit = (!wait).then(Timespec::default);
        // Interrupted, or out of memory: the loop comes back.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut space, limit.as_ref()) else {
            return;
        };
        for event in &*events {
            let number = event.data.u64();
            match number & KIND {
                BELL => self.hear_bell(number & !KIND),
                SOURCE => self.heard(number & !KIND),
                TIMER => self.timer_set = None,
                _ => {}
            }
        }
    }

    fn heard(&mut self, source: u64) {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
    }

    fn set_clock(&self) {
        // Zero would disarm it.
        let left = self.timer_set.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now())
                .max(Duration::from_nanos(1))
        });
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).unwrap_or_default(),
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec) {
            tracing::error!("Cannot set a timer: {error}.");
        }
    }

    fn hear_bell(&mut self, bell_id: u64) {
        let Some(heard) = self.bells.get_mut(&bell_id) else {
            return;
        };
        let bell = heard.bell.clone();
        let mut rung = Vec::new();
        let drained = bell.drain(|slot| rung.extend(heard.slots.get(&slot).copied()));
        if !matches!(drained, Ok(Drain::Open)) {
            rung.extend(heard.slots.values().copied());
            heard.closed = true;
            let unused = heard.slots.is_empty();
            // Fails only if it is not watched, which is what is wanted.
            let _ = epoll::delete(&self.epoll, bell.fd());
            if unused {
                self.bells.remove(&bell_id);
            }
            self.tell(Event::BellClosed(bell_id));
        }
        for token in rung {
            self.activate(token);
        }
    }

    /// Leaves all ends because the layer ends.
    pub(super) fn fail(&mut self) {
        for entry in self.entries.drain(..).flatten() {
            entry.end.fail();
        }
    }
}
