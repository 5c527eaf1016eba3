//! Answers to flow requests that find no way yet: a member that has just come knows the way to this one before
//! this one knows the way back, and nobody would send the answer again (`spec/unicast.md` §3).

use std::time::{Duration, Instant};

use o7s_wire::dt::{Address, Eid, QosCube};

use super::Output;

/// How long an answer waits for a way.
const PATIENCE: Duration = Duration::from_secs(3);
/// Answers that wait at most.
const WAITING_MAX: usize = 64;

/// An answer.
#[derive(Debug)]
struct Reply {
    until: Instant,
    to: Address,
    output: Output,
}

/// The answers that wait.
#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: Vec<Reply>,
}

impl Replies {
    /// What to do with an answer to a member to which there is no way: nothing yet, unless too many wait.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        to: Address,
        cube: QosCube,
        payload: Vec<u8>,
        flow: Option<Eid>,
    ) -> Option<Output> {
        let output = Output::SendDt {
            dst: to,
            cube,
            eid: Eid::FLOW_ALLOCATOR,
            payload,
            flow,
        };
        if self.waiting.len() >= WAITING_MAX {
            return Some(output);
        }
        self.waiting.push(Reply {
            until: now + PATIENCE,
            to,
            output,
        });
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|reply| reply.until).min()
    }

    /// Answers to be sent: there is a way now, or there will be none. The latter's flows hear of it.
    pub(super) fn due(
        &mut self,
        now: Instant,
        is_reached: impl Fn(Address) -> bool,
    ) -> Vec<Output> {
        let due = |reply: &mut Reply| reply.until <= now || is_reached(reply.to);
        let due = self.waiting.extract_if(.., due);
        due.map(|reply| reply.output).collect()
    }
}
