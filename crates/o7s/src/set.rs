//! Sets of flows, and queues of their events.
//!
//! Events are derived from positions and state words, never stored by the sender: nothing can
//! overflow, and each readable packet gives one event (`spec/frcp.md` §14.5).

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Error, ErrorKind, EventKind, Flow, Result,
    control::remaining,
    doorbell::Doorbells,
    life::{FlowInner, clear, new_eventfd, raise},
    process::{lock, process},
};

/// A set of flows to wait for. The flows stay allocated when it goes.
pub struct FlowSet {
    inner: Arc<SetInner>,
}

/// State behind [`FlowSet`].
pub(crate) struct SetInner {
    doorbells: &'static Doorbells,
    members: Mutex<HashMap<i32, Flow>>,
    /// Flows that may have events. Those of flows that left meanwhile are skipped.
    ready: Mutex<VecDeque<Arc<FlowInner>>>,
    /// Raised for waiters other than the one that hears the doorbell.
    eventfd: OwnedFd,
    waiters: AtomicUsize,
    /// Whether `fileno` was ever asked for.
    watched: OnceLock<()>,
    raised: AtomicBool,
}

/// A flow's membership: what the set has reported of it.
pub(crate) struct Member {
    pub(crate) set: Arc<SetInner>,
    /// In the list of ready flows.
    queued: bool,
    /// Packets reported or read, as a position of the arrival counter; unknown until allocated.
    reported: Option<u64>,
    /// Whether the outcome of an asynchronous allocation is reported, or there was none.
    settled: bool,
    down_epoch: u32,
    down: bool,
    closed: bool,
    gone: bool,
}

/// An event of a flow.
#[derive(Debug, Clone)]
pub struct Event {
    /// The flow.
    pub flow: Flow,
    /// What happened to it.
    pub kind: EventKind,
}

/// Events fetched from a set; independent of the set afterwards.
///
/// May be used from several threads; each event goes to one of them.
#[derive(Default)]
pub struct EventQueue {
    events: Mutex<VecDeque<Run>>,
}

/// Equal events in a row.
struct Run {
    flow: Flow,
    kind: EventKind,
    count: u64,
}

impl FlowSet {
    /// An empty set.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> Result<Self> {
        Ok(Self {
            inner: Arc::new(SetInner {
                doorbells: process().doorbells()?,
                members: Mutex::default(),
                ready: Mutex::default(),
                eventfd: new_eventfd()?,
                waiters: AtomicUsize::new(0),
                watched: OnceLock::new(),
                raised: AtomicBool::new(false),
            }),
        })
    }

    /// Adds a flow. Packets that wait to be read give their events, one each.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] if it is in a set already, this one included;
    /// [`ErrorKind::NotAllocated`] if it is not allocated.
    pub fn add(&self, flow: &Flow) -> Result<()> {
        let inner = flow.inner();
        inner.complete();
        let settled = match inner.link() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::InProgress => false,
            Err(error) => return Err(error),
        };
        flow.node().listen_to_daemon()?;
        let mut slot = lock(&inner.watch.member);
        if slot.is_some() {
            return Err(Error::new(
                ErrorKind::Permission,
                format!(
                    "the flow to {:?} is in a set already; remove it there first",
                    flow.name()
                ),
            ));
        }
        lock(&self.inner.members).insert(flow.fd(), flow.clone());
        let member = slot.insert(Member::new(self.inner.clone(), settled));
        member.start(inner);
        if member.has_news(inner) {
            member.mark_ready(inner, None);
        }
        Ok(())
    }

    /// Removes a flow and what it had to report. A flow that is not in the set is ignored.
    pub fn remove(&self, flow: &Flow) {
        self.inner.release(flow.inner());
        self.inner.forget(flow.fd());
    }

    /// Whether the flow is in this set.
    #[must_use]
    pub fn contains(&self, flow: &Flow) -> bool {
        lock(&self.inner.members).get(&flow.fd()) == Some(flow)
    }

    /// Removes all flows and what they had to report.
    pub fn clear(&self) {
        let members = std::mem::take(&mut *lock(&self.inner.members));
        for flow in members.values() {
            self.inner.release(flow.inner());
        }
        lock(&self.inner.ready).clear();
    }

    /// Number of flows.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.inner.members).len()
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The flows, in the order of their descriptors.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        let mut flows: Vec<Flow> = lock(&self.inner.members).values().cloned().collect();
        flows.sort_unstable_by_key(Flow::fd);
        flows
    }

    /// Waits until there are events and moves all of them into `queue`; returns at once while
    /// `queue` still has some. Signals do not interrupt it.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`]; zero = only what is there.
    pub fn wait(&self, queue: &EventQueue, timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.wait_until(queue, deadline) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// [`FlowSet::wait`] until `deadline`, ended by signals too.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::Interrupted`] when a signal arrived.
    pub fn wait_until(&self, queue: &EventQueue, deadline: Option<Instant>) -> Result<()> {
        if !queue.is_empty() {
            return Ok(());
        }
        let inner = &*self.inner;
        let _waiting = Waiting::new(&inner.waiters);
        let mut timed_out = false;
        loop {
            inner.doorbells.hear(Some(inner));
            inner.collect(queue);
            if !queue.is_empty() {
                return Ok(());
            }
            if timed_out {
                return Err(Error::fixed(
                    ErrorKind::TimedOut,
                    "no event in the set in time",
                ));
            }
            let timeout = deadline.map(remaining);
            match inner
                .doorbells
                .poll(inner.eventfd.as_fd(), timeout.as_ref())
            {
                Ok(ready) => timed_out = !ready,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                    return Err(Error::fixed(
                        ErrorKind::Interrupted,
                        "interrupted by a signal",
                    ));
                }
                Err(error) => return Err(Error::system("wait for flows", &error)),
            }
        }
    }

    /// A descriptor of the operating system for `poll` and its like: readable while
    /// [`FlowSet::wait`] with an empty queue would not wait.
    ///
    /// # Errors
    /// The service thread cannot be started.
    pub fn fileno(&self) -> Result<BorrowedFd<'_>> {
        if self.inner.watched.set(()).is_ok() {
            process().service()?.hear()?;
            if !lock(&self.inner.ready).is_empty() {
                self.inner.raise();
            }
        }
        Ok(self.inner.eventfd.as_fd())
    }
}

impl Drop for FlowSet {
    fn drop(&mut self) {
        self.clear();
    }
}

impl SetInner {
    /// Drops a member that was deallocated.
    pub(crate) fn forget(&self, number: i32) {
        let flow = lock(&self.members).remove(&number);
        // Its last handle may be this one: not dropped under the lock.
        drop(flow);
    }

    /// Ends the membership of a flow, if it is one of this set.
    fn release(&self, flow: &Arc<FlowInner>) {
        let mut slot = lock(&flow.watch.member);
        if slot
            .as_ref()
            .is_some_and(|member| std::ptr::eq(&*member.set, self))
        {
            *slot = None;
        }
    }

    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        raise(&self.eventfd);
    }

    /// Takes the events of all ready flows.
    fn collect(self: &SetInner, queue: &EventQueue) {
        if self.raised.swap(false, Ordering::AcqRel) {
            clear(&self.eventfd);
        }
        let ready = std::mem::take(&mut *lock(&self.ready));
        let mut left = Vec::with_capacity(ready.len());
        {
            let mut events = lock(&queue.events);
            for flow in ready {
                if let Some(member) = &mut *lock(&flow.watch.member)
                    && std::ptr::eq(&*member.set, self)
                {
                    member.queued = false;
                    member.take_events(&flow, &mut events);
                }
                left.push(flow);
            }
        }
        // Last handles may be among them: not dropped under the locks.
        drop(left);
    }
}

impl Member {
    fn new(set: Arc<SetInner>, settled: bool) -> Self {
        Self {
            set,
            queued: false,
            reported: None,
            settled,
            down_epoch: 0,
            down: false,
            closed: false,
            gone: false,
        }
    }

    /// Takes the state at the moment of joining and arms the doorbell: later changes are events,
    /// but an end that is already reached is one too.
    fn start(&mut self, flow: &FlowInner) {
        if let Ok(link) = flow.link() {
            let _ = link.reader.arm_bell(|| false);
            self.reported = Some(link.arrivals().1);
            self.down_epoch = link.state.peer().down_epoch;
            self.down = false;
        }
    }

    /// Whether a flow that has just joined has something to report.
    fn has_news(&self, flow: &Arc<FlowInner>) -> bool {
        match flow.link() {
            Ok(link) => {
                let (arrived, read) = link.arrivals();
                arrived != read || link.why_ended().is_some()
            }
            // Its request may have been answered before anybody listened for the set.
            Err(_) => true,
        }
    }

    /// Puts the flow on the set's list of ready flows and wakes who needs it.
    pub(crate) fn mark_ready(&mut self, flow: &Arc<FlowInner>, own: Option<&SetInner>) {
        if std::mem::replace(&mut self.queued, true) {
            return;
        }
        lock(&self.set.ready).push_back(flow.clone());
        let is_own = own.is_some_and(|own| std::ptr::eq(own, &*self.set));
        let others = self.set.waiters.load(Ordering::SeqCst) > usize::from(is_own);
        if others || self.set.watched.get().is_some() {
            self.set.raise();
        }
    }

    /// Arms the doorbell, then reports all that is new.
    fn take_events(&mut self, flow: &Arc<FlowInner>, events: &mut VecDeque<Run>) {
        let mut push = |kind, count| {
            if count > 0 {
                events.push_back(Run {
                    flow: Flow::from_inner(flow.clone()),
                    kind,
                    count,
                });
            }
        };
        if !self.settled {
            flow.complete();
            if flow.failure().is_some() {
                self.settled = true;
                push(EventKind::Dealloc, 1);
                return;
            }
            if flow.link().is_err() {
                return;
            }
            self.settled = true;
            self.start(flow);
            push(EventKind::Alloc, 1);
        }
        let Ok(link) = flow.link() else { return };
        // Armed whatever is there already: what comes after the look below must ring.
        let _ = link.reader.arm_bell(|| false);
        // State before packets: what came in before the end is reported before it.
        let peer = link.state.peer();
        let (arrived, read) = link.arrivals();
        let reported = self.reported.map_or(read, |reported| newer(reported, read));
        push(EventKind::Packet, arrived.wrapping_sub(reported));
        self.reported = Some(arrived);
        let is_down = peer.down || link.is_broken();
        if peer.down_epoch != self.down_epoch || is_down != self.down {
            if is_down {
                push(EventKind::Down, 1);
            } else if self.down {
                push(EventKind::Up, 1);
            } else {
                push(EventKind::Down, 1);
                push(EventKind::Up, 1);
            }
            (self.down_epoch, self.down) = (peer.down_epoch, is_down);
        }
        if peer.closed && !std::mem::replace(&mut self.closed, true) {
            push(EventKind::Dealloc, 1);
        }
        let gone = peer.gone || link.is_silent();
        if gone && !peer.closed && !std::mem::replace(&mut self.gone, true) {
            push(EventKind::Peer, 1);
        }
    }
}

/// The later of two positions of a counter that wraps.
fn newer(a: u64, b: u64) -> u64 {
    if a.wrapping_sub(b) < 1 << 63 { a } else { b }
}

impl EventQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next event. Those of flows that were deallocated here meanwhile are skipped, but for
    /// the event that says that their allocation failed.
    pub fn next_event(&self) -> Option<Event> {
        let mut skipped = Vec::new();
        let mut events = lock(&self.events);
        let event = loop {
            let Some(run) = events.front_mut() else {
                break None;
            };
            if run.flow.inner().is_over() {
                skipped.extend(events.pop_front());
                continue;
            }
            run.count -= 1;
            let event = Event {
                flow: run.flow.clone(),
                kind: run.kind,
            };
            if run.count == 0 {
                skipped.extend(events.pop_front());
            }
            break Some(event);
        };
        // Last handles may be among them: not dropped under the lock.
        drop(events);
        event
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.events)
            .iter()
            .all(|run| run.flow.inner().is_over())
    }
}

/// Counts a waiter while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::SeqCst);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for FlowSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.flows()).finish()
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue")
            .field("empty", &self.is_empty())
            .finish()
    }
}
