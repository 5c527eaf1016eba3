//! Enrollment, OEP, without I/O: how an IPCP joins a layer, and how a member lets it
//! (`spec/directory-enrollment.md` §4).
//!
//! Both sides begin when the component [`Identity::ENROLLMENT`](o7s_wire::cep::Identity) is connected.
//!
//! ```text
//!  Enrollee::start ── request ──►  Enroller::handle_packet
//!                  ◄── response ──
//!  Enrolled, the member starts
//!  Enrolled::ack   ── ack ──►      Event::Enrolled
//! ```
//!
//! An enrollee that fails says nothing: its driver deallocates the flow, which frees the enroller.

mod enroller;

use std::time::{Duration, Instant};

use o7s_wire::enroll::{
    Ack, Answer, EnrollError, EnrollmentId, Layer, LayerConfig, Request, Response, WallTime,
};

pub use enroller::{ENROLLEES_MAX, ENROLLER_TIMEOUT, Enroller, Output, Trouble};

/// How long an enrollee waits for the response. 0.23 waits 1 s, but an enroller of 0.23 serves one after
/// the other; the daemon waits 20 s for the whole.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Difference of two clocks, beyond the time that the exchange took, from which a warning is worth while.
pub const CLOCK_TOLERANCE_MS: u64 = 20;

/// What an IPCP can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A member of a unicast layer.
    Unicast,
    /// A member of a broadcast layer.
    Broadcast,
}

impl Kind {
    fn of(layer: &Layer) -> Self {
        match layer {
            Layer::Unicast(_) => Self::Unicast,
            Layer::Broadcast => Self::Broadcast,
        }
    }
}

/// Why an IPCP did not become a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing came.
    #[error("the member did not answer within {} s; try again, it may have been busy", RESPONSE_TIMEOUT.as_secs())]
    TimedOut,
    /// Not a usable response.
    #[error("the member's answer cannot be used: {0}")]
    Response(#[from] EnrollError),
    /// The response to another request.
    #[error("the answer is to enrollment {theirs}, not to {ours}")]
    Id {
        /// Identifier in the response.
        theirs: EnrollmentId,
        /// Identifier of this enrollment.
        ours: EnrollmentId,
    },
    /// Denied.
    #[error("the member denied the enrollment (code {0})")]
    Denied(i32),
    /// A layer of another type.
    #[error("the layer is of type {theirs:?}, this IPCP of type {ours:?}")]
    Type {
        /// Type of the layer.
        theirs: Kind,
        /// Type of this IPCP.
        ours: Kind,
    },
}

/// The clocks of the two are apart: values in the directory may expire too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this clock and the member's are {apart_ms} ms apart (the exchange took {took_ms} ms); \
     synchronise them, the directory stores absolute times"
)]
pub struct ClockWarning {
    /// How far the clocks are apart, ms.
    pub apart_ms: u64,
    /// How long the exchange took, ms.
    pub took_ms: u64,
}

/// An IPCP that has asked to be enrolled.
#[derive(Debug)]
pub struct Enrollee {
    id: EnrollmentId,
    kind: Kind,
    asked: Instant,
    asked_wall: WallTime,
}

/// A response was accepted: what the IPCP starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    id: EnrollmentId,
    /// The layer. A unicast member overwrites `dht.peer` with its own address before it hands it on.
    pub config: LayerConfig,
    /// What there is to say of the clocks.
    pub clock: Option<ClockWarning>,
}

impl Enrollee {
    /// Begins: the machine, and the packet to send. `id` must be random; `wall` is the own clock.
    #[must_use]
    pub fn start(now: Instant, wall: WallTime, id: EnrollmentId, kind: Kind) -> (Self, Vec<u8>) {
        let enrollee = Self {
            id,
            kind,
            asked: now,
            asked_wall: wall,
        };
        (enrollee, Request { id }.emit())
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.asked + RESPONSE_TIMEOUT
    }

    /// The failure, once the response is overdue.
    #[must_use]
    pub fn handle_timeout(&self, now: Instant) -> Option<Failure> {
        (now >= self.poll_timeout()).then_some(Failure::TimedOut)
    }

    /// A packet arrived: the outcome, unless it was empty (a sign of life of the flow).
    #[must_use]
    pub fn handle_packet(&self, now: Instant, packet: &[u8]) -> Option<Result<Enrolled, Failure>> {
        (!packet.is_empty()).then(|| self.response(now, packet))
    }

    fn response(&self, now: Instant, packet: &[u8]) -> Result<Enrolled, Failure> {
        let response = Response::parse(packet)?;
        if response.id != self.id {
            return Err(Failure::Id {
                theirs: response.id,
                ours: self.id,
            });
        }
        let config = match response.answer {
            Answer::Accepted(config) => config,
            Answer::Denied(code) => return Err(Failure::Denied(code)),
        };
        let theirs = Kind::of(&config.layer);
        if theirs != self.kind {
            return Err(Failure::Type {
                theirs,
                ours: self.kind,
            });
        }
        Ok(Enrolled {
            id: self.id,
            config,
            clock: self.compare(now, response.time),
        })
    }

    /// Trap T5: what the exchange took explains as much difference; 0.23 adds it instead.
    fn compare(&self, now: Instant, theirs: WallTime) -> Option<ClockWarning> {
        let took = now.saturating_duration_since(self.asked).as_millis();
        let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
        let apart_ms = self.asked_wall.apart_ms(theirs);
        (apart_ms.saturating_sub(took_ms) > CLOCK_TOLERANCE_MS)
            .then_some(ClockWarning { apart_ms, took_ms })
    }
}

impl Enrolled {
    /// The member has started: the packet to send before the flow is deallocated.
    #[must_use]
    pub fn ack(&self) -> Vec<u8> {
        let ack = Ack {
            id: self.id,
            result: 0,
        };
        ack.emit()
    }
}

#[cfg(test)]
mod tests;
