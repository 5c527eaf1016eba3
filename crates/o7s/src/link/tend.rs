//! What becomes of an open end: how it ends, what time asks for, waiting for room, lingering.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use o7s_ring::{Limit, WaitOutcome};

use super::{
    Link,
    reason::{FLOW_CLOSED, FLOW_DOWN, OWN_DOWN, PEER_GONE, REFUSED, VIOLATED, broken, silent},
    vigil::Vigil,
};
use crate::{
    Error, FrctFlags,
    process::{lock, process},
};

/// How often what is left of a flow looks for acknowledgements.
const REMAINS_INTERVAL: Duration = Duration::from_millis(10);

impl Link {
    /// Whether one end has taken the flow down.
    #[inline]
    pub(super) fn is_down(&self) -> bool {
        self.own_down.load(Ordering::Relaxed)
            || self.vanished.load(Ordering::Relaxed)
            || self.guard.is_violated()
            || self.state.is_peer_down()
    }

    /// Why a write cannot succeed now or later, if so.
    pub(super) fn why_unwritable(&self) -> Option<Error> {
        let peer = self.state.peer();
        if peer.refuses {
            return Some(REFUSED);
        }
        let gone = peer.gone || self.vanished.load(Ordering::Relaxed);
        self.ended_by(peer.closed, gone, peer.down)
    }

    /// Why nothing can come any more, if so.
    pub(crate) fn why_ended(&self) -> Option<Error> {
        let peer = self.state.peer();
        let gone = peer.gone || self.vanished.load(Ordering::Relaxed);
        let ended = self.ended_by(peer.closed, gone, peer.down);
        if ended.is_none() && self.is_silent() {
            return Some(silent(
                self.vigil.as_ref().map(Vigil::timeout).unwrap_or_default(),
            ));
        }
        ended
    }

    /// Whether the other end gave no sign of life for the flow's timeout, or its process vanished
    /// without a daemon that could tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.vigil.as_ref().is_some_and(Vigil::is_silent)
    }

    #[inline]
    fn ended_by(&self, closed: bool, gone: bool, down: bool) -> Option<Error> {
        let failure = self.engine.as_ref().and_then(|engine| engine.failure());
        if !(closed || gone || down || self.own_down.load(Ordering::Relaxed) || self.is_broken())
            && failure.is_none()
            && !self.guard.is_violated()
        {
            return None;
        }
        Some(if let Some(corrupt) = self.state.corrupt() {
            broken(corrupt)
        } else if self.guard.is_violated() {
            VIOLATED
        } else if closed {
            FLOW_CLOSED
        } else if gone {
            PEER_GONE
        } else if let Some(failure) = failure {
            failure.clone()
        } else if down {
            FLOW_DOWN
        } else {
            OWN_DOWN
        })
    }

    /// The FRCP flags, on a flow whose QoS asked for FRCP.
    pub(crate) fn frct_flags(&self) -> FrctFlags {
        FrctFlags(self.frct_flags.load(Ordering::Relaxed))
    }

    /// Sets the FRCP flags that the user may set (`spec/frcp.md` §13.5).
    pub(crate) fn set_frct_flags(&self, flags: FrctFlags) {
        let free = FrctFlags::RES_CNTL.0 | FrctFlags::LINGER.0;
        let fixed = self.frct_flags.load(Ordering::Relaxed) & FrctFlags::RETRANSMIT.0;
        self.frct_flags
            .store(fixed | flags.0 & free, Ordering::Relaxed);
        if let Some(engine) = &self.engine {
            engine.set_resource_control(flags.0 & FrctFlags::RES_CNTL.0 != 0);
        }
    }

    /// What time asks for: FRCP's timers, signs of life. Returns whether the state of the flow may
    /// have changed. Sets the alarm anew.
    pub(crate) fn tend(&self) -> bool {
        let now = Instant::now();
        let mut changed = false;
        if let Some(engine) = &self.engine {
            changed |= engine.tend(false);
        }
        if let Some(vigil) = &self.vigil {
            let look = vigil.look(now, &self.reader, &self.writer, self.state.capacity());
            if look.keepalive && self.why_unwritable().is_none() {
                // A queue that is full says that we live.
                let _ = lock(&self.tx).sink.try_keepalive();
                vigil.sent(&self.writer);
            }
            changed |= look.fell_silent;
            if let Some(next) = vigil.next() {
                self.alarm.set(next);
            }
        }
        if self.why_ended().is_some() {
            changed = true;
        }
        changed
    }

    /// The doorbell rang.
    pub(crate) fn rang(&self) {
        if let Some(engine) = &self.engine {
            engine.tend(true);
        }
    }

    /// Begins to be looked after by the service thread, if the flow needs that.
    ///
    /// Without a service thread, for want of memory, FRCP works only while the program calls.
    pub(crate) fn begin(&self) {
        if let Some(engine) = &self.engine {
            if let Ok(service) = process().service() {
                let heard = service.hear_one_more().is_ok();
                self.is_heard.store(heard, Ordering::Release);
            }
            engine.arm();
        }
        if let Some(next) = self.vigil.as_ref().and_then(Vigil::next) {
            self.alarm.set(next);
        }
    }

    /// A wait has lasted: finds out whether the peer's process is gone although no daemon is there
    /// to tell.
    pub(crate) fn check_peer(&self) {
        if self.bell.bell.is_hung_up() && !self.vanished.swap(true, Ordering::AcqRel) {
            self.state.kick();
        }
    }

    /// Runs a wait for something to read, known to FRCP.
    pub(crate) fn waiting_to_read(&self, wait: impl FnOnce() -> WaitOutcome) -> WaitOutcome {
        match &self.engine {
            None => wait(),
            Some(engine) => engine.as_reader(wait),
        }
    }

    /// Waits until a packet of `length` bytes can be written or never will be.
    pub(crate) fn wait_writable(
        &self,
        length: usize,
        limit: Limit,
        cancel: impl Fn() -> bool,
    ) -> WaitOutcome {
        let Some(engine) = &self.engine else {
            let ready = || self.is_writable(length);
            return self.writer.wait(limit, ready, cancel);
        };
        // What makes room arrives in the ring from which this end reads.
        engine.as_writer(|| {
            loop {
                let epoch = engine.epoch();
                if self.is_writable(length) {
                    return WaitOutcome::Ready;
                }
                let news = || {
                    engine.epoch() != epoch
                        || self.reader.readable()
                        || self.why_unwritable().is_some()
                };
                match self.reader.wait(limit, news, &cancel) {
                    WaitOutcome::Ready => {}
                    outcome => return outcome,
                }
            }
        })
    }

    /// Asks for the doorbell when a packet of `length` bytes can be written; true if it can be.
    pub(crate) fn arm_writable(&self, length: usize, cancel: impl Fn() -> bool) -> bool {
        let ready = || self.is_writable(length) || cancel();
        match &self.engine {
            None => self.writer.arm_bell(ready),
            Some(_) => self.reader.arm_bell(ready),
        }
    }

    /// Until when deallocation may wait for acknowledgements; none if it need not.
    pub(crate) fn linger_limit(&self) -> Option<Instant> {
        self.engine.as_ref().map(|engine| engine.linger_limit())
    }

    /// Whether deallocation has to wait for acknowledgements.
    pub(crate) fn must_linger(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| {
            self.frct_flags().0 & FrctFlags::LINGER.0 != 0
                && self.why_unwritable().is_none()
                && !self.is_silent()
                && !engine.is_drained()
        })
    }

    /// Gives the end back.
    pub(crate) fn release(&self) {
        let mut end = self.end;
        if let Some(engine) = &self.engine {
            let keep = engine.finish();
            end.linger_s = u32::try_from(keep.as_secs()).unwrap_or(u32::MAX);
            if self.is_heard.swap(false, Ordering::AcqRel)
                && let Ok(service) = process().service()
            {
                service.hear_one_less();
            }
        }
        self.state.close();
        self.bell.detach(self.slot);
        self.node.tell_dealloc(self.daemon, end);
    }
}

/// What is left of a flow that the program gave up while data was on its way.
pub(crate) struct Remains {
    link: Arc<Link>,
    until: Instant,
}

impl Remains {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let until = match &link.engine {
            Some(engine) => engine.linger_limit(),
            None => Instant::now(),
        };
        Self { link, until }
    }

    /// Goes on; when to be called again, or none when it is finished.
    pub(crate) fn tend(&self) -> Option<Instant> {
        let now = Instant::now();
        if now < self.until && self.link.must_linger() {
            self.link.tend();
            return Some(now + REMAINS_INTERVAL);
        }
        self.link.release();
        None
    }
}
