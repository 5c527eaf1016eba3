//! Hearing: the one epoll instance of a process in which all its doorbells hang.
//!
//! Whoever waits for flows polls that instance and calls [`Doorbells::hear`], which passes the news
//! on to every flow concerned, and so to its set, its descriptor and its tasks. `fileno()`, `async`
//! and FRCP have nobody who polls for them: the service thread ([`crate::service`]) does.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use o7s_ring::{Bell, Drain};
use rustix::event::{
    PollFd, PollFlags, Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
    poll,
};

use crate::{Error, Result, life::FlowInner, node::NodeInner, process::lock, set::SetInner};

/// Events taken from epoll at once.
const BATCH: usize = 64;
const NO_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The doorbells of a process.
pub(crate) struct Doorbells {
    epoll: OwnedFd,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    next: u64,
    by_token: HashMap<u64, Source>,
}

/// Something in the epoll instance.
#[derive(Clone)]
enum Source {
    /// The doorbell shared with one peer process.
    Bell(Arc<PeerBell>),
    /// The process connection of a node, which carries the daemon's notifications.
    Daemon(Weak<NodeInner>),
    /// The request connection of a flow that is being allocated.
    Request(Weak<FlowInner>),
}

/// The doorbell shared with one peer process, and the flows that ring it.
pub(crate) struct PeerBell {
    pub(crate) bell: Arc<Bell>,
    flows: Mutex<HashMap<u32, Weak<FlowInner>>>,
    /// The peer process closed its end: it is gone.
    closed: AtomicBool,
}

impl PeerBell {
    pub(crate) fn new(bell: Bell) -> Self {
        Self {
            bell: Arc::new(bell),
            flows: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Lets `flow` hear the slot from now on.
    pub(crate) fn attach(&self, slot: u32, flow: Weak<FlowInner>) {
        lock(&self.flows).insert(slot, flow);
    }

    /// The slot may go to another flow.
    pub(crate) fn detach(&self, slot: u32) {
        lock(&self.flows).remove(&slot);
    }

    /// Whether the peer is gone and no flow is left.
    pub(crate) fn is_unused(&self) -> bool {
        self.closed.load(Ordering::Relaxed) && lock(&self.flows).is_empty()
    }

    fn flow(&self, slot: u32) -> Option<Arc<FlowInner>> {
        lock(&self.flows).get(&slot).and_then(Weak::upgrade)
    }

    fn all_flows(&self) -> Vec<Arc<FlowInner>> {
        lock(&self.flows)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl Doorbells {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| Error::system("make an epoll instance", &error.into()))?;
        Ok(Self {
            epoll,
            sources: Mutex::default(),
        })
    }

    /// Hears `bell` from now on; returns a token for [`Doorbells::remove`].
    pub(crate) fn add_bell(&self, bell: &Arc<PeerBell>) -> Result<u64> {
        self.add(bell.bell.fd(), Source::Bell(bell.clone()))
    }

    /// Hears the daemon's notifications on a process connection.
    pub(crate) fn add_daemon(&self, fd: BorrowedFd<'_>, node: Weak<NodeInner>) -> Result<u64> {
        self.add(fd, Source::Daemon(node))
    }

    /// Hears the answer to the request of a pending flow.
    pub(crate) fn add_request(&self, fd: BorrowedFd<'_>, flow: Weak<FlowInner>) -> Result<u64> {
        self.add(fd, Source::Request(flow))
    }

    fn add(&self, fd: BorrowedFd<'_>, source: Source) -> Result<u64> {
        let mut sources = lock(&self.sources);
        sources.next += 1;
        let token = sources.next;
        sources.by_token.insert(token, source);
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN).map_err(
            |error| {
                sources.by_token.remove(&token);
                Error::system("watch a doorbell", &error.into())
            },
        )?;
        Ok(token)
    }

    /// Stops hearing what `token` was given for.
    pub(crate) fn remove(&self, token: u64, fd: BorrowedFd<'_>) {
        lock(&self.sources).by_token.remove(&token);
        // Fails only if the descriptor is no longer watched, which is what is wanted.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Takes all news that are there and passes them on. `own` is the set that the caller waits
    /// for: it looks at it next and need not be woken.
    pub(crate) fn hear(&self, own: Option<&SetInner>) {
        loop {
            let mut space = [const { MaybeUninit::<Event>::uninit() }; BATCH];
            let heard = match epoll::wait(&self.epoll, &mut space, Some(&NO_WAIT)) {
                Ok((events, _)) => {
                    for event in &*events {
                        self.pass_on(event.data.u64(), own);
                    }
                    events.len()
                }
                // Interrupted, or out of memory: the caller polls again.
                Err(_) => 0,
            };
            if heard < BATCH {
                return;
            }
        }
    }

    fn pass_on(&self, token: u64, own: Option<&SetInner>) {
        let source = lock(&self.sources).by_token.get(&token).cloned();
        match source {
            Some(Source::Bell(peer)) => {
                let drained = peer.bell.drain(|slot| {
                    if let Some(flow) = peer.flow(slot) {
                        flow.notify(own);
                    }
                });
                if !matches!(drained, Ok(Drain::Open)) {
                    self.remove(token, peer.bell.fd());
                    peer.closed.store(true, Ordering::Relaxed);
                    for flow in peer.all_flows() {
                        flow.notify(own);
                    }
                }
            }
            Some(Source::Daemon(node)) => match node.upgrade() {
                Some(node) => node.hear_daemon(own),
                None => drop(lock(&self.sources).by_token.remove(&token)),
            },
            Some(Source::Request(flow)) => match flow.upgrade() {
                Some(flow) => flow.notify(own),
                None => drop(lock(&self.sources).by_token.remove(&token)),
            },
            None => {}
        }
    }

    /// Waits until there are news, or `other` is readable, or the time is up (`Ok(false)`).
    pub(crate) fn poll(
        &self,
        other: BorrowedFd<'_>,
        timeout: Option<&Timespec>,
    ) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(&self.epoll, PollFlags::IN),
            PollFd::new(&other, PollFlags::IN),
        ];
        Ok(poll(&mut fds, timeout)? > 0)
    }
}

impl AsFd for Doorbells {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Blocks all signals in this thread, so that a thread started now never takes one from the
/// program; returns what was blocked before.
pub(crate) fn block_signals() -> libc::sigset_t {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are local; `sigfillset` initialises the one and `pthread_sigmask`, which
    // cannot fail with these arguments, the other.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

pub(crate) fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: the set was filled by `pthread_sigmask`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}
