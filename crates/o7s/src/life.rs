//! The life of a flow in this process: from its request to its end, and who is told of news.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
};

use rustix::event::{EventfdFlags, eventfd};

use crate::{
    Error, ErrorKind, FlowFlags, Node, Pending, Result,
    link::{Link, Remains},
    process::{generation, lock, process},
    set::{Member, SetInner},
};

/// "No timeout" in an atomic.
pub(crate) const NO_TIMEOUT: u64 = u64::MAX;

/// State behind [`Flow`].
pub(crate) struct FlowInner {
    pub(crate) generation: u32,
    pub(crate) number: i32,
    pub(crate) node: Node,
    pub(crate) name: String,
    pub(crate) link: OnceLock<Arc<Link>>,
    pub(crate) request: Mutex<Option<(Pending, Option<u64>)>>,
    pub(crate) failure: OnceLock<Error>,
    /// Deallocated here.
    over: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) read_timeout: AtomicU64,
    pub(crate) write_timeout: AtomicU64,
    pub(crate) watch: Watch,
}

/// Who else than a blocked thread waits for news of a flow.
#[derive(Default)]
pub(crate) struct Watch {
    /// Membership in a set.
    pub(crate) member: Mutex<Option<Member>>,
    /// The flow's own descriptor.
    pub(crate) eventfd: OnceLock<OwnedFd>,
    pub(crate) readers: Mutex<Vec<Waker>>,
    pub(crate) writers: Mutex<Vec<Waker>>,
}

impl FlowInner {
    pub(crate) fn new(node: Node, name: String) -> Self {
        Self {
            generation: generation(),
            number: process().take_number(),
            node,
            name,
            link: OnceLock::new(),
            request: Mutex::default(),
            failure: OnceLock::new(),
            over: AtomicU32::new(0),
            flags: AtomicU32::new(FlowFlags::DEFAULT.0),
            read_timeout: AtomicU64::new(NO_TIMEOUT),
            write_timeout: AtomicU64::new(NO_TIMEOUT),
            watch: Watch::default(),
        }
    }

    /// Makes the flow allocated.
    pub(crate) fn install(self: &Arc<Self>, link: Link) {
        link.bell.attach(link.slot, Arc::downgrade(self));
        self.node.enter(link.daemon, link.end, Arc::downgrade(self));
        link.alarm.belong_to(Arc::downgrade(self));
        let link = Arc::new(link);
        let _ = self.link.set(link.clone());
        link.begin();
    }

    /// The open end, or why there is none.
    #[inline]
    pub(crate) fn link(&self) -> Result<&Link> {
        match self.link.get() {
            Some(link) if !self.is_over() && self.generation == generation() => Ok(link),
            _ => Err(self.why_no_link()),
        }
    }

    #[cold]
    fn why_no_link(&self) -> Error {
        if let Err(error) = self.check_fork() {
            error
        } else if self.is_over() {
            DEALLOCATED
        } else if let Some(failure) = self.failure.get() {
            Error::new(
                ErrorKind::NotAllocated,
                format!("the flow was not allocated: {failure}"),
            )
        } else {
            IN_PROGRESS
        }
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.generation == generation() {
            Ok(())
        } else {
            Err(FORKED)
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) != 0
    }

    pub(crate) fn flags(&self) -> FlowFlags {
        FlowFlags(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Looks whether the request of a pending flow is answered.
    pub(crate) fn complete(self: &Arc<Self>) {
        if self.link.get().is_some() || self.failure.get().is_some() {
            return;
        }
        let mut request = lock(&self.request);
        let Some((pending, token)) = &mut *request else {
            return;
        };
        // The connection goes back to its pool with the answer: stop hearing it first, and hear
        // it again if there is no answer yet.
        let outcome = pending.try_link(|fd| {
            if let (Some(token), Ok(doorbells)) = (*token, process().doorbells()) {
                doorbells.remove(token, fd);
            }
        });
        match outcome {
            Ok(None) => return,
            Ok(Some(link)) => self.install(link),
            Err(error) => drop(self.failure.set(error)),
        }
        *request = None;
    }

    /// Ends the flow; false if it was over.
    pub(crate) fn end(&self) -> bool {
        if self.over.swap(1, Ordering::AcqRel) != 0 {
            return false;
        }
        if let Some((pending, token)) = lock(&self.request).take() {
            if let (Some(token), Some(fd), Ok(doorbells)) =
                (token, pending.fd(), process().doorbells())
            {
                doorbells.remove(token, fd);
            }
            drop(pending);
        }
        let member = lock(&self.watch.member).take();
        if let Some(member) = member {
            member.set.forget(self.number);
        }
        if let Some(link) = self.link.get() {
            // What is still on its way is looked after by the service thread.
            let lingering = link.must_linger().then(|| process().service());
            match lingering {
                Some(Ok(service)) => service.look_after(Arc::new(Remains::new(link.clone()))),
                _ => link.release(),
            }
            self.kick(link);
        }
        process().give_number(self.number);
        true
    }

    /// Wakes whoever waits in this process.
    pub(crate) fn kick(&self, link: &Link) {
        link.state.kick();
        self.raise_eventfd();
        self.wake_tasks();
    }

    /// News from the doorbell, the daemon or the request's connection.
    pub(crate) fn notify(self: &Arc<Self>, own: Option<&SetInner>) {
        self.complete();
        if let Some(link) = self.link.get() {
            link.rang();
        }
        self.tell(own);
    }

    /// Tells whoever waits that there is news.
    pub(crate) fn tell(self: &Arc<Self>, own: Option<&SetInner>) {
        if let Some(member) = &mut *lock(&self.watch.member) {
            member.mark_ready(self, own);
        }
        if let (Some(_), Some(link)) = (self.watch.eventfd.get(), self.link.get()) {
            self.refresh_eventfd(link);
        }
        self.wake_tasks();
    }

    fn wake_tasks(&self) {
        for waiting in [&self.watch.readers, &self.watch.writers] {
            let wakers = std::mem::take(&mut *lock(waiting));
            for waker in wakers {
                waker.wake();
            }
        }
    }

    /// Has the service thread hear the doorbells for `fileno()` and tasks.
    pub(crate) fn be_heard(&self) -> Result<()> {
        self.node.listen_to_daemon()?;
        process().service()?.hear()
    }

    /// After a read: the descriptor must not stay readable when nothing is left.
    #[inline]
    pub(crate) fn after_read(&self) {
        if self.watch.eventfd.get().is_some()
            && let Some(link) = self.link.get()
        {
            self.refresh_eventfd(link);
        }
    }

    /// Makes the descriptor say what is true: arms the doorbell before it looks, so that nothing
    /// that comes later is missed.
    pub(crate) fn refresh_eventfd(&self, link: &Link) {
        let Some(fd) = self.watch.eventfd.get() else {
            return;
        };
        if !link.is_readable() && !self.is_over() {
            clear(fd);
            if !link
                .reader
                .arm_bell(|| link.is_readable() || self.is_over())
            {
                return;
            }
        }
        raise(fd);
    }

    fn raise_eventfd(&self) {
        if let Some(fd) = self.watch.eventfd.get() {
            raise(fd);
        }
    }
}

impl Drop for FlowInner {
    fn drop(&mut self) {
        // In a forked child the flow is the parent's.
        if self.generation == generation() {
            self.end();
        }
    }
}

/// A non-blocking eventfd.
pub(crate) fn new_eventfd() -> Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| Error::system("make a descriptor for a flow", &error.into()))
}

/// Makes an eventfd readable.
pub(crate) fn raise(fd: &OwnedFd) {
    // It can only fail if the counter is at its end, and then it is readable.
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}

/// Makes an eventfd not readable.
pub(crate) fn clear(fd: &OwnedFd) {
    let _ = rustix::io::read(fd, &mut [0_u8; 8]);
}

pub(crate) const DEALLOCATED: Error = Error::fixed(
    ErrorKind::NotAllocated,
    "the flow is deallocated; allocate a new one",
);
const IN_PROGRESS: Error = Error::fixed(
    ErrorKind::InProgress,
    "the flow is not allocated yet; wait for its Alloc event or try again",
);
const FORKED: Error = Error::fixed(
    ErrorKind::NotAllocated,
    "the flow belongs to the parent process; a child allocates flows of its own after fork",
);
