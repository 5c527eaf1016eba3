//! A pollable queue of flows to accept.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rustix::event::{
    PollFd, PollFlags,
    epoll::{self, CreateFlags, EventData, EventFlags},
    poll,
};

use crate::{
    Error, ErrorKind, Flow, Node, Pending, Result,
    control::remaining,
    life::{clear, new_eventfd, raise},
    process::lock,
};

/// Accepts flows one after the other, with one descriptor to wait on.
///
/// An accept is always under way at the daemon, so this process counts as a server from the start.
/// A flow that arrives is kept until it is taken; one that is there when the listener goes is left
/// to the next accept of the process.
pub struct Listener {
    node: Node,
    accept: Mutex<Option<Pending>>,
    /// Holds the descriptor of the request that is under way, or `here`.
    epoll: OwnedFd,
    /// Readable while a flow is here without a request.
    here: OwnedFd,
    closed: AtomicBool,
}

impl Listener {
    /// Starts to accept flows at `node`.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`] if no daemon is running; no descriptor left.
    pub fn new(node: &Node) -> Result<Self> {
        let failed = |error: rustix::io::Errno| Error::system("make a listener", &error.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let here = new_eventfd()?;
        epoll::add(&epoll, &here, EventData::new_u64(0), EventFlags::IN).map_err(failed)?;
        let listener = Self {
            node: node.clone(),
            accept: Mutex::default(),
            epoll,
            here,
            closed: AtomicBool::new(false),
        };
        listener.start(&mut lock(&listener.accept))?;
        Ok(listener)
    }

    /// The node that flows are accepted at.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The next flow if it is here.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if none is here; [`ErrorKind::Daemon`] if the daemon went away
    /// (the next call looks for a new one).
    pub fn try_accept(&self) -> Result<Flow> {
        let mut accept = lock(&self.accept);
        if self.closed.load(Ordering::Acquire) {
            return Err(CLOSED);
        }
        let pending = self.start(&mut accept)?;
        // The connection goes on in the pool: no longer watched for this listener.
        let outcome = pending.try_flow(|fd| {
            let _ = epoll::delete(&self.epoll, fd);
        });
        if matches!(outcome, Ok(None)) {
            return Err(NOTHING_HERE);
        }
        *accept = None;
        clear(&self.here);
        let flow = outcome?;
        // A failure to ask for the next one is told at the next call.
        if self.start(&mut accept).is_err() {
            raise(&self.here);
        }
        flow.ok_or(NOTHING_HERE)
    }

    /// Waits for the next flow until `deadline`.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::Interrupted`] when a signal arrived;
    /// [`ErrorKind::Daemon`].
    pub fn accept_until(&self, deadline: Option<Instant>) -> Result<Flow> {
        loop {
            match self.try_accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let timeout = deadline.map(remaining);
            match poll(
                &mut [PollFd::new(&self.epoll, PollFlags::IN)],
                timeout.as_ref(),
            ) {
                Ok(0) => {
                    return Err(Error::fixed(
                        ErrorKind::TimedOut,
                        "no flow to accept in time",
                    ));
                }
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {
                    return Err(Error::fixed(
                        ErrorKind::Interrupted,
                        "interrupted by a signal",
                    ));
                }
                Err(error) => return Err(Error::system("wait for a flow", &error.into())),
            }
        }
    }

    /// Stops to accept: threads that wait return with [`ErrorKind::NotAllocated`]. A flow that is
    /// here already is left to the next accept of the process.
    pub fn close(&self) {
        let pending = {
            let mut accept = lock(&self.accept);
            self.closed.store(true, Ordering::Release);
            raise(&self.here);
            if let Some(fd) = accept.as_ref().and_then(Pending::fd) {
                let _ = epoll::delete(&self.epoll, fd);
            }
            accept.take()
        };
        // Not under the lock: it asks the daemon.
        drop(pending);
    }

    /// The accept that is under way; starts one if there is none.
    fn start<'a>(&self, accept: &'a mut Option<Pending>) -> Result<&'a mut Pending> {
        if accept.is_none() {
            let pending = self.node.start_accept(None)?;
            match pending.fd() {
                Some(fd) => {
                    epoll::add(&self.epoll, fd, EventData::new_u64(1), EventFlags::IN)
                        .map_err(|error| Error::system("watch for flows", &error.into()))?;
                }
                None => raise(&self.here),
            }
            *accept = Some(pending);
        }
        match accept {
            Some(pending) => Ok(pending),
            None => Err(Error::fixed(ErrorKind::Invalid, "no accept is under way")),
        }
    }
}

impl AsFd for Listener {
    /// Readable while [`Listener::try_accept`] would not say that nothing is here. The same
    /// descriptor as long as the listener lives.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

const CLOSED: Error = Error::fixed(
    ErrorKind::NotAllocated,
    "the listener is closed; make a new one",
);
const NOTHING_HERE: Error = Error::fixed(
    ErrorKind::WouldBlock,
    "no flow to accept is here; wait or try again",
);
