//! FRCP at one end of a flow: the state machine of `o7s_proto` between the ring and the callers.
//!
//! It is driven by the calls of the program and, when none comes, by the service thread
//! ([`crate::service`]): either takes what the ring holds, lets FRCP act, and sends what FRCP has to
//! send. All of that happens under one lock that is held for a short time only.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use o7s_proto::frcp::{Failure, Frcp, WriteError};
use o7s_ring::{Corrupt, Receiver, SendError, Sender, State, WaitOutcome, WriteWaiter};

use super::{
    guard::Guard,
    reason::{NO_ROOM, not_sent, too_large},
};
use crate::{Error, ErrorKind, Result, process::lock, service::Alarm};

/// Packets taken from the ring in one go: bounds how long the lock is held.
const BATCH: usize = 256;
/// How soon after a doorbell the next one may ring: bounds what a busy flow costs the service
/// thread. Less than the longest delay of an acknowledgement (`spec/frcp.md` I9).
const TICK: Duration = Duration::from_millis(5);

/// FRCP at one end of a flow.
pub(crate) struct Engine {
    inner: Mutex<Inner>,
    guard: Arc<Guard>,
    state: State,
    alarm: Arc<Alarm>,
    /// A message can be read.
    readable: AtomicBool,
    /// Messages that have become readable, and those that were taken.
    arrived: AtomicU64,
    taken: AtomicU64,
    /// Changes when a write that had no room may have some.
    epoch: AtomicU64,
    /// Threads that are blocked in a read and in a write.
    waiting_readers: AtomicU64,
    waiting_writers: AtomicU64,
    /// Why FRCP gave the flow up.
    failure: OnceLock<Error>,
}

struct Inner {
    frcp: Frcp,
    receiver: Receiver,
    sender: Sender,
    writer: WriteWaiter,
    /// A packet as it came out of the ring.
    taken: Vec<u8>,
    /// A packet as FRCP made it, or gets it.
    plain: Vec<u8>,
    /// A packet as it goes into the ring.
    sealed: Vec<u8>,
    /// A sealed packet has found no room.
    stuck: bool,
    /// When the doorbell may be armed again.
    rest_until: Option<Instant>,
    /// Times that a write that had no room may have got some.
    epoch: u64,
}

impl Engine {
    pub(super) fn new(
        frcp: Frcp,
        guard: Arc<Guard>,
        (sender, receiver, state): (Sender, Receiver, State),
        alarm: Arc<Alarm>,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                frcp,
                receiver,
                sender,
                writer: state.write_waiter(),
                taken: Vec::new(),
                plain: Vec::new(),
                sealed: Vec::new(),
                stuck: false,
                rest_until: None,
                epoch: 0,
            }),
            guard,
            state,
            alarm,
            readable: AtomicBool::new(false),
            arrived: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            waiting_readers: AtomicU64::new(0),
            waiting_writers: AtomicU64::new(0),
            failure: OnceLock::new(),
        }
    }

    /// Runs `act` under the lock, then says what came of it to whoever waits.
    fn with<T>(&self, act: impl FnOnce(&mut Inner, &Guard, Instant) -> T) -> T {
        let now = Instant::now();
        let mut inner = lock(&self.inner);
        let outcome = act(&mut inner, &self.guard, now);
        let readable = inner.frcp.readable().is_some();
        let risen = readable && !self.readable.load(Ordering::Relaxed);
        self.readable.store(readable, Ordering::Release);
        self.arrived
            .store(inner.frcp.messages_arrived(), Ordering::Release);
        self.taken
            .store(inner.frcp.messages_read(), Ordering::Release);
        let room = self.epoch.swap(inner.epoch, Ordering::AcqRel) != inner.epoch;
        let failed = self.failure.get().is_none()
            && inner
                .frcp
                .failure()
                .is_some_and(|failure| self.failure.set(given_up(&failure)).is_ok());
        let deadline = inner.frcp.poll_timeout();
        drop(inner);
        if let Some(deadline) = deadline {
            self.alarm.set(deadline);
        }
        if failed
            || (risen && self.waiting_readers.load(Ordering::SeqCst) > 0)
            || (room && self.waiting_writers.load(Ordering::SeqCst) > 0)
        {
            self.state.kick();
        }
        outcome
    }

    /// Runs a wait of a reader, who wants to know of messages that others found.
    pub(super) fn as_reader(&self, wait: impl FnOnce() -> WaitOutcome) -> WaitOutcome {
        counted(&self.waiting_readers, wait)
    }

    /// Runs a wait of a writer, who wants to know of room that others found.
    pub(super) fn as_writer(&self, wait: impl FnOnce() -> WaitOutcome) -> WaitOutcome {
        counted(&self.waiting_writers, wait)
    }

    /// Takes what has arrived, sends what is due.
    pub(super) fn pump(&self) {
        // A broken ring shows in the flow's state.
        let _ = self.with(Inner::pump);
    }

    /// The same, and what time asks for. Called by the service thread, at timers and when the
    /// doorbell rang; arms the doorbell again, but not too often.
    ///
    /// Returns whether a message has arrived, room was made or the flow has failed.
    pub(super) fn tend(&self, rang: bool) -> bool {
        let before = (self.counts().0, self.epoch(), self.failure().is_some());
        let again = self.with(|inner, guard, now| {
            let _ = inner.pump(guard, now);
            inner.frcp.handle_timeout(now);
            inner.transmit(guard, now);
            if rang {
                inner.rest_until = Some(now + TICK);
            }
            match inner.rest_until {
                Some(until) if until > now => Some(until),
                _ => {
                    inner.rest_until = None;
                    None
                }
            }
        });
        match again {
            Some(at) => self.alarm.set(at),
            None => self.arm(),
        }
        before != (self.counts().0, self.epoch(), self.failure().is_some())
    }

    /// Lets the next packet ring the doorbell.
    pub(super) fn arm(&self) {
        let reader = self.state.read_waiter();
        if reader.arm_bell(|| reader.readable()) {
            // It is there already: soon, in the service thread.
            self.alarm.set(Instant::now() + TICK / 5);
        }
    }

    /// Replaces `message` by the next one; false if there is none.
    pub(super) fn next_message(&self, message: &mut Vec<u8>) -> Result<bool, Corrupt> {
        self.with(|inner, guard, now| {
            if inner.frcp.readable().is_none() {
                inner.pump(guard, now)?;
            }
            let read = inner.frcp.read(now, |bytes| {
                message.clear();
                message.extend_from_slice(bytes);
            });
            if read.is_some() {
                // The window may have to be opened.
                inner.transmit(guard, now);
            }
            Ok(read.is_some())
        })
    }

    /// Sends one message.
    pub(super) fn send(&self, message: &[u8]) -> Result<()> {
        self.with(|inner, guard, now| {
            let sent = inner.send(guard, now, message);
            inner.transmit(guard, now);
            sent
        })
    }

    /// Sends messages until one finds no room.
    pub(super) fn send_batch<T: AsRef<[u8]>>(&self, messages: &[T]) -> (usize, Option<Error>) {
        self.with(|inner, guard, now| {
            for (sent, message) in messages.iter().enumerate() {
                if let Err(error) = inner.send(guard, now, message.as_ref()) {
                    inner.transmit(guard, now);
                    return (sent, Some(error));
                }
            }
            inner.transmit(guard, now);
            (messages.len(), None)
        })
    }

    /// Sends a sign of life, past FRCP (`spec/frcp.md` K2).
    pub(super) fn keepalive(&self) -> Result<()> {
        lock(&self.inner).sender.try_keepalive().map_err(not_sent)
    }

    /// Whether a message can be read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable.load(Ordering::Acquire)
    }

    /// Whether a message of `length` bytes can be written; looks at what has arrived first.
    pub(super) fn is_writable(&self, length: usize) -> bool {
        self.with(|inner, guard, now| {
            if inner.frcp.can_write(length) {
                return true;
            }
            let _ = inner.pump(guard, now);
            inner.frcp.can_write(length)
        })
    }

    /// Changes when a write that had no room may have some.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Messages that have become readable, and how many of them were taken.
    pub(super) fn counts(&self) -> (u64, u64) {
        // Taken first: what arrives in between must not be missing.
        let taken = self.taken.load(Ordering::Acquire);
        (self.arrived.load(Ordering::Acquire).max(taken), taken)
    }

    /// Why FRCP gave the flow up, if it did.
    pub(super) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Packets that the other end has not acknowledged.
    pub(super) fn unfinished(&self) -> usize {
        lock(&self.inner).frcp.stats().in_flight as usize
    }

    /// Whether to obey the other end's window (`spec/frcp.md` §13.5).
    pub(super) fn set_resource_control(&self, obey: bool) {
        self.with(|inner, guard, now| {
            inner.frcp.set_resource_control(obey);
            inner.epoch += 1;
            inner.transmit(guard, now);
        });
    }

    /// Whether all that was written is acknowledged; looks at what has arrived first.
    pub(super) fn is_drained(&self) -> bool {
        self.with(|inner, guard, now| {
            let _ = inner.pump(guard, now);
            inner.frcp.is_drained() && !inner.stuck
        })
    }

    /// When to give up waiting for acknowledgements.
    pub(super) fn linger_limit(&self) -> Instant {
        let now = Instant::now();
        now + lock(&self.inner).frcp.linger_limit(now)
    }

    /// Says goodbye; returns how long the layer should keep the flow's address.
    pub(super) fn finish(&self) -> Duration {
        self.with(|inner, guard, now| {
            inner.frcp.finish(now);
            inner.transmit(guard, now);
            inner.frcp.linger_limit(now)
        })
    }
}

fn counted(waiting: &AtomicU64, wait: impl FnOnce() -> WaitOutcome) -> WaitOutcome {
    waiting.fetch_add(1, Ordering::SeqCst);
    let outcome = wait();
    waiting.fetch_sub(1, Ordering::SeqCst);
    outcome
}

/// FRCP gave the flow up.
#[cold]
fn given_up(failure: &Failure) -> Error {
    Error::new(
        ErrorKind::FlowDown,
        format!("the flow is down: {failure}; deallocate it and allocate anew"),
    )
}

impl Inner {
    fn pump(&mut self, guard: &Guard, now: Instant) -> Result<(), Corrupt> {
        let Self {
            frcp,
            receiver,
            taken,
            plain,
            epoch,
            ..
        } = self;
        let received = receiver.recv_many(BATCH, |packet| {
            taken.clear();
            packet.append_to(taken);
            if let Some(packet) = guard.open(taken, plain) {
                // Packets that FRCP has no use for are counted there.
                let _ = frcp.handle_packet(now, packet);
            }
        });
        if !matches!(received, Ok(0)) {
            *epoch += 1;
        }
        self.transmit(guard, now);
        received.map(drop)
    }

    fn send(&mut self, guard: &Guard, now: Instant, message: &[u8]) -> Result<()> {
        let mut sent = self.frcp.write(now, message);
        if matches!(sent, Err(WriteError::WindowShut)) {
            // What would open the window may have arrived.
            let _ = self.pump(guard, now);
            sent = self.frcp.write(now, message);
        }
        sent.map_err(|error| match error {
            WriteError::WindowShut => NO_ROOM,
            WriteError::TooLarge { max } => too_large(message.len(), max),
            WriteError::Down(failure) => given_up(&failure),
        })
    }

    /// Sends what FRCP has to send, as far as the ring has room.
    fn transmit(&mut self, guard: &Guard, now: Instant) {
        loop {
            if !self.stuck {
                if !self.frcp.poll_transmit(now, &mut self.plain) {
                    return;
                }
                if guard.protect(&self.plain, &mut self.sealed).is_err() {
                    // A loss: FRCP sends it again.
                    continue;
                }
            }
            match self.sender.try_send(&self.sealed) {
                Ok(()) => {
                    if std::mem::take(&mut self.stuck) {
                        self.epoch += 1;
                    }
                }
                Err(SendError::Full) => {
                    self.stuck = true;
                    let (writer, length) = (&self.writer, self.sealed.len());
                    if !writer.arm_bell(|| writer.writable(length)) {
                        // The doorbell of the layer will tell.
                        return;
                    }
                }
                // The flow is over, or FRCP made a packet that cannot be: a loss.
                Err(_) => {
                    self.stuck = false;
                    return;
                }
            }
        }
    }
}
