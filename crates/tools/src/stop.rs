//! The end of a tool's work: asked for by a signal, waited for by its threads.

use std::{
    io,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Says to all threads that it is the end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// It is the end.
    pub(crate) fn stop(&self) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether it is the end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Sleeps, but not past the end; true if it is the end.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self
            .changed
            .wait_timeout_while(guard, time, |()| !self.is_stopped());
        drop(slept);
        self.is_stopped()
    }
}

/// Does `work`; meanwhile each of INT, TERM and HUP calls `on_signal` instead of ending the process.
///
/// # Errors
/// The system has no room for a signal handler.
pub(crate) fn with_signals<T>(
    on_signal: impl FnMut() + Send,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    with_these_signals(&[SIGINT, SIGTERM, SIGHUP], on_signal, work)
}

/// [`with_signals`] with other signals than the usual ones.
///
/// # Errors
/// The system has no room for a signal handler.
pub(crate) fn with_these_signals<T>(
    which: &[i32],
    mut on_signal: impl FnMut() + Send,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let mut signals = Signals::new(which)?;
    let handle = signals.handle();
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            for _ in signals.forever() {
                on_signal();
            }
        });
        let outcome = work();
        handle.close();
        outcome
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_with_the_end() {
        let stop = Stop::default();
        assert!(!stop.sleep(Duration::from_micros(1)));
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| stop.sleep(Duration::from_secs(3600)));
            stop.stop();
            assert!(sleeper.join().unwrap());
        });
        assert!(stop.sleep(Duration::from_secs(3600)));
    }
}
