//! Waiting without the GIL, in a way that signal handlers run at once (PEP 475).

use std::time::{Duration, Instant};

use o7s::ErrorKind;
use pyo3::prelude::*;

use crate::error::{Doing, OrRaise};

/// Longest wait of the main thread between two looks for signals. A signal normally interrupts the
/// wait itself; this bounds the case that it came between the look and the wait, or to another
/// thread.
const MAIN_SLICE: Duration = Duration::from_millis(40);
/// The same for other threads, which never run signal handlers: it only bounds how long a wait
/// outlives what it waits for.
const OTHER_SLICE: Duration = Duration::from_secs(1);

/// Repeats `attempt`, each time with a deadline for this attempt, until it has an outcome or
/// `deadline` has passed (`TimedOut`). `Interrupted` runs the signal handlers and goes on.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    deadline: Option<Instant>,
    doing: Doing,
    mut attempt: impl FnMut(Instant) -> o7s::Result<T> + Send,
) -> PyResult<T> {
    let main = rustix::thread::gettid() == rustix::process::getpid();
    let slice = if main { MAIN_SLICE } else { OTHER_SLICE };
    // One that came while the call prepared to wait.
    py.check_signals()?;
    loop {
        let limit = Instant::now() + slice;
        let (limit, last) = match deadline {
            Some(deadline) if deadline <= limit => (deadline, true),
            _ => (limit, false),
        };
        match py.detach(|| attempt(limit)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::TimedOut && !last => {}
            outcome => {
                // A handler that raises (Ctrl-C) wins over a time limit, not over a result.
                if outcome.is_err() {
                    py.check_signals()?;
                }
                return outcome.or_raise(py, doing);
            }
        }
        py.check_signals()?;
    }
}
