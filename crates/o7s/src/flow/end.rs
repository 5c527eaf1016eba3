//! How a flow ends at this end.

use std::time::{Duration, Instant};

use o7s_ring::WaitOutcome;

use super::{Flow, INTERRUPTED, TIMED_OUT};
use crate::{ErrorKind, Result, life::DEALLOCATED};

/// How often lingering looks at the flow although nothing arrives.
const LINGER_SLICE: Duration = Duration::from_millis(20);

impl Flow {
    /// Ends the flow here. The other end reads what was written and then learns of it; threads
    /// that wait on the flow in this process return with an error.
    ///
    /// A reliable flow over a layer waits until the other end has acknowledged everything, unless
    /// [`FrctFlags::LINGER`] is off; see [`Flow::linger`].
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`] if that has been done already.
    pub fn dealloc(&self) -> Result<()> {
        self.inner.check_fork()?;
        loop {
            match self.linger(None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return self.start_dealloc(),
            }
        }
    }

    /// Waits until the other end has acknowledged everything that was written, or never will; at
    /// once on flows that do not retransmit, and on those whose ends share their memory: what was
    /// written there cannot be lost.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::Interrupted`] when a signal arrived,
    /// [`ErrorKind::NotAllocated`].
    pub fn linger(&self, deadline: Option<Instant>) -> Result<()> {
        let link = self.inner.link()?;
        let Some(limit) = link.linger_limit() else {
            return Ok(());
        };
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        while link.must_linger() {
            let ready = || link.reader.readable() || link.why_ended().is_some();
            let slice = until.min(Instant::now() + LINGER_SLICE);
            match link
                .reader
                .wait(Some(slice), ready, || self.inner.is_over())
            {
                WaitOutcome::Cancelled => return self.inner.link().map(drop),
                WaitOutcome::Interrupted => return Err(INTERRUPTED),
                WaitOutcome::TimedOut if Instant::now() >= until => {
                    return if until == limit {
                        Ok(())
                    } else {
                        Err(TIMED_OUT)
                    };
                }
                WaitOutcome::Ready | WaitOutcome::TimedOut => {}
            }
        }
        Ok(())
    }

    /// [`Flow::dealloc`] that does not wait: what is not yet acknowledged is looked after by a
    /// thread of the library, as long as the process lives.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`] if that has been done already.
    pub fn start_dealloc(&self) -> Result<()> {
        self.inner.check_fork()?;
        if self.inner.end() {
            Ok(())
        } else {
            Err(DEALLOCATED)
        }
    }
}
