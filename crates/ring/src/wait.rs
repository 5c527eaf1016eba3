//! Sleeping and waking: the handshake on a wait word, and the adaptive spin before it.
//!
//! A wait word holds two flags that say how the waiting side wants to be woken, and above them a
//! sequence that changes with each wake-up, so that a waiter that is about to sleep on an old
//! value does not.
//!
//! ```text
//! waiting side                           active side
//!   word |= FUTEX (or BELL)                publish a position
//!   fence(SeqCst)                  [W]     fence(SeqCst)                  [A]
//!   look at the position again             word has a flag? clear it, wake
//!   sleep while word is unchanged
//! ```
//!
//! Sync point: of the fences `[W]` and `[A]` one comes first. If `[W]` does, the active side sees
//! the flag; if `[A]` does, the waiting side sees the position. Both may be true, never neither.

use std::time::{Duration, Instant};

use crate::sync::{AtomicU32, Ordering, fence};

/// Flag: a thread sleeps on the word.
pub const FUTEX: u32 = 1;
/// Flag: the doorbell is to be rung.
pub const BELL: u32 = 2;
/// Both flags.
pub const FLAGS: u32 = FUTEX | BELL;
/// One step of the sequence.
pub const SEQUENCE: u32 = 4;

/// How often a waiter goes back to sleep after wake-ups without reason before it gives control
/// back to its caller: a hostile peer could otherwise keep it from noticing signals.
const MAX_SPURIOUS: u32 = 64;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The condition holds.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A signal arrived (or the peer woke this side many times for nothing); the caller may run
    /// signal handlers and wait again.
    Interrupted,
    /// The caller's cancel predicate holds.
    Cancelled,
}

/// How long a wait may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Without end.
    Never,
    /// Until this instant.
    At(Instant),
    /// About so long a sleep. The clock is not looked at, which counts where waits are short;
    /// wake-ups without reason prolong it.
    Within(Duration),
}

impl Limit {
    /// The instant, if it is one.
    #[cfg(not(loom))]
    fn instant(self) -> Option<Instant> {
        match self {
            Self::At(instant) => Some(instant),
            Self::Never | Self::Within(_) => None,
        }
    }
}

impl From<Option<Instant>> for Limit {
    fn from(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Never, Self::At)
    }
}

/// How a futex wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FutexWait {
    /// Woken, or the word was not as expected.
    Woken,
    /// The timeout passed.
    TimedOut,
    /// A signal arrived.
    Interrupted,
}

/// The system's futex, or a model of it.
pub trait Futex {
    /// Sleeps while `word` is `expected`, at most for `timeout`.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> FutexWait;
    /// Wakes all that sleep on `word`.
    fn wake_all(&self, word: &AtomicU32);
}

/// Wakes the side that waits on `word`, if any, after a position or state was published.
///
/// Returns true if its doorbell must be rung.
#[inline]
#[must_use]
pub fn wake(word: &AtomicU32, futex: &impl Futex) -> bool {
    // Sync point [A].
    fence(Ordering::SeqCst);
    if word.load(Ordering::Relaxed) & FLAGS == 0 {
        return false;
    }
    wake_waiting(word, futex)
}

#[cold]
fn wake_waiting(word: &AtomicU32, futex: &impl Futex) -> bool {
    let old = advance(word, FLAGS);
    if old & FUTEX != 0 {
        futex.wake_all(word);
    }
    old & BELL != 0
}

/// Clears `flags`, then steps the sequence; returns the word as it was. The caller wakes after it.
///
/// In this order a waiter that raised its flag before it was cleared finds another sequence and
/// does not fall asleep. The other way round it could sleep on a flag that another thread of its
/// side raised anew, too late for a wake-up that it should have had.
fn advance(word: &AtomicU32, flags: u32) -> u32 {
    let old = word.fetch_and(!flags, Ordering::AcqRel);
    word.fetch_add(SEQUENCE, Ordering::AcqRel);
    old
}

/// Wakes all sleepers of `word` whatever its flags say, and returns true if its doorbell must be
/// rung. For changes that must get through even if the peer has tampered with the flags.
#[must_use]
pub fn wake_always(word: &AtomicU32, futex: &impl Futex) -> bool {
    fence(Ordering::SeqCst);
    let old = advance(word, FLAGS);
    futex.wake_all(word);
    old & BELL != 0
}

/// Wakes the sleepers of one's own side; leaves the doorbell as it is.
pub fn kick(word: &AtomicU32, futex: &impl Futex) {
    fence(Ordering::SeqCst);
    advance(word, FUTEX);
    futex.wake_all(word);
}

/// Asks for the doorbell; returns true, and asks for nothing, if `ready` holds already.
#[must_use]
pub fn arm_bell(word: &AtomicU32, ready: impl Fn() -> bool) -> bool {
    word.fetch_or(BELL, Ordering::SeqCst);
    // Sync point [W].
    fence(Ordering::SeqCst);
    if ready() {
        disarm_bell(word);
        return true;
    }
    false
}

/// Takes back [`arm_bell`].
pub fn disarm_bell(word: &AtomicU32) {
    word.fetch_and(!BELL, Ordering::AcqRel);
}

/// Sleeps on `word` until `ready` or `cancel` holds or the limit is reached. Does not spin.
pub fn park(
    word: &AtomicU32,
    futex: &impl Futex,
    limit: Limit,
    ready: impl Fn() -> bool,
    cancel: impl Fn() -> bool,
) -> WaitOutcome {
    for _ in 0..MAX_SPURIOUS {
        let expected = word.fetch_or(FUTEX, Ordering::SeqCst) | FUTEX;
        // Sync point [W].
        fence(Ordering::SeqCst);
        if ready() {
            return WaitOutcome::Ready;
        }
        if cancel() {
            return WaitOutcome::Cancelled;
        }
        let timeout = match limit {
            Limit::Never => None,
            Limit::Within(sleep) => Some(sleep),
            Limit::At(deadline) => match deadline.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return WaitOutcome::TimedOut,
                left => left,
            },
        };
        match futex.wait(word, expected, timeout) {
            // Looked at before the flag is raised again: else the peer would wake nobody next.
            FutexWait::Woken if ready() => return WaitOutcome::Ready,
            FutexWait::TimedOut if matches!(limit, Limit::Within(_)) => {
                return if ready() {
                    WaitOutcome::Ready
                } else {
                    WaitOutcome::TimedOut
                };
            }
            FutexWait::Woken | FutexWait::TimedOut => {}
            FutexWait::Interrupted => {
                return if ready() {
                    WaitOutcome::Ready
                } else {
                    WaitOutcome::Interrupted
                };
            }
        }
    }
    if ready() {
        WaitOutcome::Ready
    } else {
        WaitOutcome::Interrupted
    }
}

#[cfg(not(loom))]
pub use system::{Spin, SystemFutex};

#[cfg(not(loom))]
mod system {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use rustix::thread::futex;
    use rustix::time::Timespec;

    use super::{Futex, FutexWait, Limit};

    /// The kernel's futex on memory that processes share.
    #[derive(Debug, Clone, Copy)]
    pub struct SystemFutex;

    impl Futex for SystemFutex {
        fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> FutexWait {
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            });
            match futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref()) {
                Err(Errno::TIMEDOUT) => FutexWait::TimedOut,
                Err(Errno::INTR) => FutexWait::Interrupted,
                // EAGAIN: the word has changed. Anything else cannot be, and is counted among
                // the wake-ups without reason.
                Ok(()) | Err(_) => FutexWait::Woken,
            }
        }

        fn wake_all(&self, word: &AtomicU32) {
            // There is nothing to be done about an error, and none is possible: the memory is
            // mapped for as long as the reference lives.
            let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
        }
    }

    /// How long to spin in nanoseconds. It is longer than it takes to wake a peer that sleeps, so
    /// that after a disturbance, or when both sides have given up spinning, one can spin through
    /// the other's wake-up, and both find back to spinning.
    const SPIN: u32 = 60_000;
    /// The credit of a spin that knows nothing yet, and of a try that paid off.
    const FIRST_CREDIT: u32 = 8;
    /// The most credit: one for each spin that paid off.
    const MAX_CREDIT: u32 = 32;
    /// The credit that a vain spin costs. With no credit left there is no spin.
    const VAIN: u32 = 2;
    /// The credit of a new spin: [`FIRST_CREDIT`], or enough for one try only when others of this
    /// process were given up.
    static NEW_CREDIT: AtomicU32 = AtomicU32::new(FIRST_CREDIT);
    /// With the spin given up, one wait in so many tries it again; more and more rarely as long
    /// as that fails.
    const FIRST_PROBE: u32 = 64;
    /// The rarest tries.
    const LAST_PROBE: u32 = 1024;
    /// The clock is read after this many looks at the condition.
    const LOOKS_PER_CLOCK: u32 = 8;

    /// Whether to spin before sleeping, learned from what came of it.
    ///
    /// Several threads may use one; a lost update does no harm.
    #[derive(Debug)]
    pub struct Spin {
        /// 0 when spinning was given up.
        credit: AtomicU32,
        /// Waits since spinning was given up or last tried.
        skipped: AtomicU32,
        /// Waits between tries.
        probe: AtomicU32,
    }

    impl Default for Spin {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Spin {
        /// A spin that knows nothing yet.
        #[must_use]
        pub fn new() -> Self {
            Self {
                credit: AtomicU32::new(NEW_CREDIT.load(Ordering::Relaxed)),
                skipped: AtomicU32::new(0),
                probe: AtomicU32::new(FIRST_PROBE),
            }
        }

        /// Spins until `ready` holds (true) or it is not worth it any longer (false).
        pub fn until(&self, limit: impl Into<Limit>, ready: impl Fn() -> bool) -> bool {
            if single_cpu() {
                return false;
            }
            let credit = self.credit.load(Ordering::Relaxed);
            if credit == 0 {
                let interval = self.probe.load(Ordering::Relaxed);
                let skipped = self.skipped.load(Ordering::Relaxed);
                if skipped < interval {
                    self.skipped.store(skipped + 1, Ordering::Relaxed);
                    return false;
                }
                self.skipped.store(0, Ordering::Relaxed);
                let rarer = (interval * 2).min(LAST_PROBE);
                self.probe.store(rarer, Ordering::Relaxed);
            }
            let found = spin(limit.into().instant(), ready);
            let new = match (found, credit) {
                (true, 0) => FIRST_CREDIT,
                (true, _) => (credit + 1).min(MAX_CREDIT),
                (false, _) => credit.saturating_sub(VAIN),
            };
            if new != credit {
                self.credit.store(new, Ordering::Relaxed);
                if found {
                    self.probe.store(FIRST_PROBE, Ordering::Relaxed);
                    NEW_CREDIT.store(FIRST_CREDIT, Ordering::Relaxed);
                } else if new == 0 {
                    NEW_CREDIT.store(VAIN, Ordering::Relaxed);
                }
            }
            found
        }
    }

    fn spin(deadline: Option<Instant>, ready: impl Fn() -> bool) -> bool {
        let mut end = None;
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            let end = *end.get_or_insert_with(|| {
                let end = now + Duration::from_nanos(SPIN.into());
                deadline.map_or(end, |deadline| deadline.min(end))
            });
            if now >= end {
                return false;
            }
        }
    }

    /// True if the machine has one processor only: the peer cannot make progress while we spin.
    ///
    /// What a thread is pinned to says nothing, since the peer may run elsewhere; if both share a
    /// processor, the credit is soon used up.
    fn single_cpu() -> bool {
        static SINGLE: OnceLock<bool> = OnceLock::new();
        *SINGLE.get_or_init(|| {
            std::fs::read_to_string("/sys/devices/system/cpu/online")
                .is_ok_and(|online| online.trim() == "0")
        })
    }
}
