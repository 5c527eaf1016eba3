//! Flows in event loops: a descriptor for `poll`, wakers of tasks.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Mutex,
    task::Waker,
};

use super::Flow;
use crate::{
    Result,
    life::{DEALLOCATED, new_eventfd},
    link::too_large,
    process::lock,
};

impl Flow {
    /// A descriptor of the operating system for `poll` and its like: readable while a read would
    /// not wait. Made at the first call; lives as long as the flow object.
    ///
    /// # Errors
    /// The flow is not allocated; no descriptor left.
    pub fn fileno(&self) -> Result<BorrowedFd<'_>> {
        let link = self.inner.link()?;
        if self.inner.watch.eventfd.get().is_none() {
            let fd = new_eventfd()?;
            // Lost races drop their descriptor again.
            let _ = self.inner.watch.eventfd.set(fd);
            self.inner.be_heard()?;
            self.inner.refresh_eventfd(link);
        }
        match self.inner.watch.eventfd.get() {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(DEALLOCATED),
        }
    }

    /// Wakes `waker` when a read may succeed; true if one may already.
    ///
    /// # Errors
    /// The flow is not allocated.
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "used by async functions")
    )]
    pub(crate) fn wake_readable(&self, waker: &Waker) -> Result<bool> {
        self.inner.link()?;
        self.inner.be_heard()?;
        self.arm_readable(waker)
    }

    /// [`Flow::wake_readable`] for somebody who hears the doorbells himself.
    pub(crate) fn arm_readable(&self, waker: &Waker) -> Result<bool> {
        let link = self.inner.link()?;
        enlist(&self.inner.watch.readers, waker);
        Ok(link
            .reader
            .arm_bell(|| link.is_readable() || self.inner.is_over()))
    }

    /// Wakes `waker` when a packet of `length` bytes may be written; true if it may already.
    ///
    /// # Errors
    /// The flow is not allocated.
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "used by async functions")
    )]
    pub(crate) fn wake_writable(&self, length: usize, waker: &Waker) -> Result<bool> {
        self.inner.link()?;
        self.inner.be_heard()?;
        self.arm_writable(length, waker)
    }

    /// [`Flow::wake_writable`] for somebody who hears the doorbells himself.
    pub(crate) fn arm_writable(&self, length: usize, waker: &Waker) -> Result<bool> {
        let link = self.inner.link()?;
        if length > link.max_packet {
            return Err(too_large(length, link.max_packet));
        }
        enlist(&self.inner.watch.writers, waker);
        Ok(link.arm_writable(length, || self.inner.is_over()))
    }
}

/// Adds a waker unless it waits already: whoever gives up waiting leaves it there.
fn enlist(waiting: &Mutex<Vec<Waker>>, waker: &Waker) {
    let mut waiting = lock(waiting);
    if !waiting.iter().any(|known| known.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}
