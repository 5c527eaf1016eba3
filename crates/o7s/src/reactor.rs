//! A reactor: tells an event loop, over two descriptors, which of many flows to try again.
//!
//! For loops that are not ours, such as Python's `asyncio`. It needs no thread and no descriptor
//! per flow: the loop polls the doorbells itself and hears them in [`Reactor::take`].

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::{
    Flow, Result,
    doorbell::Doorbells,
    life::{clear, new_eventfd, raise},
    process::{lock, process},
};

/// Flows that an event loop waits for. One per loop.
pub struct Reactor {
    inner: Arc<Inner>,
}

struct Inner {
    doorbells: &'static Doorbells,
    /// Raised when somebody else heard the news of a flow.
    eventfd: OwnedFd,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    flows: Vec<Arc<Watched>>,
    /// [`Reactor::take`] hears and looks at the list next: nobody need be woken.
    hearing: bool,
    /// The eventfd is readable.
    raised: bool,
}

/// What a flow wakes.
struct Watched {
    token: u64,
    listed: AtomicBool,
    reactor: Arc<Inner>,
}

/// A flow that a reactor may watch. It is watched only after [`Watch::readable`] or
/// [`Watch::writable`] said no, and until its token was given out.
pub struct Watch {
    flow: Flow,
    waker: Waker,
}

impl Reactor {
    /// A reactor without flows.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                doorbells: process().doorbells()?,
                eventfd: new_eventfd()?,
                news: Mutex::default(),
            }),
        })
    }

    /// What the loop polls for reading: when one of them is readable, it calls [`Reactor::take`].
    ///
    /// The first belongs to the process and may be polled by several loops, the second to this
    /// reactor.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.inner.doorbells.as_fd(), self.inner.eventfd.as_fd()]
    }

    /// Prepares to watch `flow`, which [`Reactor::take`] will call `token`.
    ///
    /// # Errors
    /// The notifications of the flow's daemon cannot be heard.
    pub fn watch(&self, flow: &Flow, token: u64) -> Result<Watch> {
        flow.node().listen_to_daemon()?;
        let watched = Arc::new(Watched {
            token,
            listed: AtomicBool::new(false),
            reactor: self.inner.clone(),
        });
        Ok(Watch {
            flow: flow.clone(),
            waker: watched.into(),
        })
    }

    /// Hears what is new and returns the tokens of the flows to try again; never waits.
    #[must_use]
    pub fn take(&self) -> Vec<u64> {
        let inner = &*self.inner;
        lock(&inner.news).hearing = true;
        inner.doorbells.hear(None);
        let mut news = lock(&inner.news);
        news.hearing = false;
        if std::mem::take(&mut news.raised) {
            clear(&inner.eventfd);
        }
        let flows = std::mem::take(&mut news.flows);
        for flow in &flows {
            flow.listed.store(false, Ordering::Relaxed);
        }
        drop(news);
        flows.iter().map(|flow| flow.token).collect()
    }
}

impl Watch {
    /// Whether a read would not wait now; if not, the reactor tells when to try again.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn readable(&self) -> Result<bool> {
        self.flow.arm_readable(&self.waker)
    }

    /// The same for a write of `length` bytes.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn writable(&self, length: usize) -> Result<bool> {
        self.flow.arm_writable(length, &self.waker)
    }
}

impl Wake for Watched {
    fn wake(self: Arc<Self>) {
        let reactor = self.reactor.clone();
        let mut news = lock(&reactor.news);
        if self.listed.swap(true, Ordering::Relaxed) {
            return;
        }
        news.flows.push(self);
        if !news.hearing && !std::mem::replace(&mut news.raised, true) {
            raise(&reactor.eventfd);
        }
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("flow", &self.flow)
            .finish_non_exhaustive()
    }
}
