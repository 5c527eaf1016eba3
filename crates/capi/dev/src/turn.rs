//! Waiting in slices: between two of them the C side lets the thread be cancelled.

use std::{
    mem::{align_of, size_of},
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Result};

/// Longest wait in one go: a cancelled thread ends so much later at most.
const SLICE: Duration = Duration::from_millis(100);

/// What the C side keeps for a call between its turns: `struct turn` in `dev.c`, zeros at first.
#[repr(C)]
pub(crate) struct Turn {
    state: u64,
    deadline: std::mem::MaybeUninit<Instant>,
}

/// Not started.
const NEW: u64 = 0;
/// Started, without a deadline.
const UNLIMITED: u64 = 1;
/// Started, with a deadline.
const LIMITED: u64 = 2;

const _: () = assert!(size_of::<Turn>() <= 4 * size_of::<u64>() && align_of::<Turn>() == 8);

impl Turn {
    /// Waits for one slice by `wait`, which gets its end; `limit` counts from the call's first
    /// wait.
    ///
    /// # Errors
    /// [`ErrorKind::InProgress`] after a slice that brought nothing, or a signal;
    /// [`ErrorKind::TimedOut`] after the last; what else `wait` says.
    pub(crate) fn wait(
        &mut self,
        limit: impl FnOnce() -> Result<Option<Duration>>,
        wait: impl FnOnce(Option<Instant>) -> Result<()>,
    ) -> Result<()> {
        let now = Instant::now();
        if self.state == NEW {
            // A limit past the clock's end is none.
            let deadline = limit()?.and_then(|limit| now.checked_add(limit));
            self.state = deadline.map_or(UNLIMITED, |_| LIMITED);
            self.deadline.write(deadline.unwrap_or(now));
        }
        let slice = now + SLICE;
        let (until, last) = match self.state {
            LIMITED => {
                // SAFETY: written above, in this turn or an earlier one.
                let deadline = unsafe { self.deadline.assume_init() };
                (deadline.min(slice), deadline <= slice)
            }
            _ => (slice, false),
        };
        wait(Some(until)).map_err(|error| match error.kind() {
            ErrorKind::TimedOut if !last => GO_ON,
            ErrorKind::Interrupted => GO_ON,
            _ => error,
        })
    }
}

// Becomes a number in `guarded`; its text is never seen.
const GO_ON: Error = Error::fixed(ErrorKind::InProgress, "the call goes on");
