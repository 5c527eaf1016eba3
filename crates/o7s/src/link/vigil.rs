//! Signs of life: sends them when a flow is quiet, and finds out that the other end is silent
//! (`spec/frcp.md` §12).
//!
//! Nothing is recorded per packet: at each look the positions of the two rings are compared with
//! those of the last look.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use o7s_ring::{ReadWaiter, WriteWaiter};

use crate::process::lock;

/// Looks per timeout: a silence is found out at most this part of it late.
const LOOKS: u32 = 8;
/// Looks without a packet of ours after which a sign of life is sent: after a quarter of the
/// timeout at most (K2).
const QUIET: u32 = 2;
/// A timeout shorter than this is looked at no more often.
const SHORTEST: Duration = Duration::from_millis(1);

/// The watch that one end of a flow keeps.
pub(super) struct Vigil {
    timeout: Duration,
    interval: Duration,
    state: Mutex<Watch>,
    silent: AtomicBool,
}

struct Watch {
    next: Instant,
    /// Our position at the last look, and how many looks found it so.
    sent: u64,
    quiet: u32,
    /// The other end's position, and when it was seen to change.
    heard: u64,
    heard_at: Instant,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    /// A sign of life is due.
    pub(super) keepalive: bool,
    /// The other end has just been found silent.
    pub(super) fell_silent: bool,
}

impl Vigil {
    /// A watch from now on; none if the flow has no timeout.
    pub(super) fn new(timeout_ms: u32, now: Instant) -> Option<Self> {
        if timeout_ms == 0 {
            return None;
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        let interval = (timeout / LOOKS).max(SHORTEST);
        Some(Self {
            timeout,
            interval,
            state: Mutex::new(Watch {
                next: now + interval,
                sent: 0,
                quiet: 0,
                heard: 0,
                heard_at: now,
            }),
            silent: AtomicBool::new(false),
        })
    }

    /// When to look next; none once the other end is silent (K4).
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.is_silent()).then(|| lock(&self.state).next)
    }

    /// Whether the other end was found silent. That is for good (K4).
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// The time of silence after which the other end counts as dead.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Looks, if it is time to.
    pub(super) fn look(
        &self,
        now: Instant,
        reader: &ReadWaiter,
        writer: &WriteWaiter,
        room: u32,
    ) -> Look {
        let mut state = lock(&self.state);
        let mut look = Look::default();
        if now < state.next || self.is_silent() {
            return look;
        }
        state.next = now + self.interval;
        let sent = writer.position();
        if sent == state.sent {
            state.quiet += 1;
        } else {
            (state.sent, state.quiet) = (sent, 0);
        }
        if state.quiet >= QUIET {
            state.quiet = 0;
            look.keepalive = true;
        }
        let heard = reader.position();
        // Whoever finds no room cannot give a sign of life: that we do not read is not his fault.
        let has_no_room = reader.backlog() > u64::from(room / 2);
        if heard != state.heard || has_no_room {
            (state.heard, state.heard_at) = (heard, now);
        } else if now.saturating_duration_since(state.heard_at) > self.timeout {
            self.silent.store(true, Ordering::Release);
            look.fell_silent = true;
        }
        look
    }

    /// A sign of life was sent: it does not count as a packet of ours at the next look.
    pub(super) fn sent(&self, writer: &WriteWaiter) {
        lock(&self.state).sent = writer.position();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use o7s_ring::{Endpoint, MIN_CAPACITY, Receiver, Segment, Sender, Side, State};

    use super::*;

    /// Two ends of a flow in one process.
    fn ends() -> [(Sender, Receiver, State); 2] {
        let segment = Segment::create(MIN_CAPACITY).unwrap();
        [Side::A, Side::B].map(|side| Endpoint::open(segment.fd().as_fd(), side).unwrap().split())
    }

    const T: u32 = 800;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_flow_without_timeout_keeps_no_watch() {
        assert!(Vigil::new(0, Instant::now()).is_none());
    }

    #[test]
    fn a_quiet_end_gives_a_sign_every_quarter_of_the_timeout() {
        let [(mut sender, _, state), _peer] = ends();
        let (reader, writer) = (state.read_waiter(), state.write_waiter());
        let start = Instant::now();
        let vigil = Vigil::new(T, start).unwrap();
        let mut signs = Vec::new();
        for at in (100..=800).step_by(100) {
            // A packet in between puts the next sign off.
            if at == 500 {
                sender.try_send(b"data").unwrap();
            }
            let look = vigil.look(start + ms(at), &reader, &writer, MIN_CAPACITY);
            if look.keepalive {
                sender.try_keepalive().unwrap();
                vigil.sent(&writer);
                signs.push(at);
            }
        }
        assert_eq!(signs, [200, 400, 700]);
    }

    #[test]
    fn silence_is_found_after_the_timeout_and_told_once() {
        let [(_, _, state), (mut peer, _, _)] = ends();
        let (reader, writer) = (state.read_waiter(), state.write_waiter());
        let start = Instant::now();
        let vigil = Vigil::new(T, start).unwrap();
        let mut silent = Vec::new();
        for at in (100..=2400).step_by(100) {
            if at == 1000 {
                peer.try_keepalive().unwrap();
            }
            if vigil
                .look(start + ms(at), &reader, &writer, MIN_CAPACITY)
                .fell_silent
            {
                silent.push(at);
            }
        }
        assert_eq!(silent, [900], "nothing was heard from the beginning");
        assert!(vigil.is_silent());
        assert_eq!(vigil.next(), None, "and it is for good");
    }

    #[test]
    fn a_peer_that_finds_no_room_is_not_silent() {
        let [(_, _, state), (mut peer, _, _)] = ends();
        let (reader, writer) = (state.read_waiter(), state.write_waiter());
        while peer.try_send(&[0; 512]).is_ok() {}
        let start = Instant::now();
        let vigil = Vigil::new(T, start).unwrap();
        for at in (100..=4000).step_by(100) {
            let look = vigil.look(start + ms(at), &reader, &writer, MIN_CAPACITY);
            assert!(!look.fell_silent, "at {at} ms");
        }
    }

    #[test]
    fn looks_before_their_time_change_nothing() {
        let [(_, _, state), _peer] = ends();
        let (reader, writer) = (state.read_waiter(), state.write_waiter());
        let start = Instant::now();
        let vigil = Vigil::new(T, start).unwrap();
        for _ in 0..100 {
            let look = vigil.look(start + ms(99), &reader, &writer, MIN_CAPACITY);
            assert_eq!(look, Look::default());
        }
        assert_eq!(vigil.next(), Some(start + ms(100)));
    }
}
