//! A request for a flow that is under way.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{
    Error, ErrorKind, Flow, Node, Result,
    control::{Body, Cancel, Connection, Progress, unexpected},
    link::Link,
};

/// How long a dropped request waits for the daemon to confirm that it is cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With the least encryption strength, bits.
    Alloc(u16),
    Accept,
    Join,
}

/// A request for a flow that is under way.
///
/// Dropping it cancels the request. Nothing is lost on the way: a flow that was accepted meanwhile
/// goes to the next accept, one that was allocated meanwhile is deallocated.
pub struct Pending {
    node: Node,
    kind: Kind,
    name: String,
    state: State,
}

enum State {
    Waiting {
        connection: Connection,
        id: u64,
    },
    /// Accepted by an earlier call that had given up.
    Ready(Flow),
    Over,
}

impl Pending {
    pub(crate) fn new(node: Node, kind: Kind, name: &str, connection: Connection, id: u64) -> Self {
        let name = name.to_owned();
        Self {
            node,
            kind,
            name,
            state: State::Waiting { connection, id },
        }
    }

    pub(crate) fn ready(node: Node, kind: Kind, flow: Flow) -> Self {
        Self {
            node,
            kind,
            name: flow.name().to_owned(),
            state: State::Ready(flow),
        }
    }

    /// The destination, as far as it is known before the flow is there.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The request's connection while it is under way: readable when the outcome is there.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting { connection, .. } => Some(connection.as_fd()),
            _ => None,
        }
    }

    /// Whether the outcome is still open.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Waits until `deadline` for the flow.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] (at `deadline`) and [`ErrorKind::Interrupted`] (a signal arrived)
    /// leave the request under way ([`Pending::is_under_way`] tells); anything else ends it.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Flow> {
        match &mut self.state {
            State::Waiting { connection, id } => match connection.progress(*id, deadline) {
                Progress::Answered(answer) => self.conclude(answer).map(Flow::from_link),
                Progress::TimedOut => {
                    Err(Error::new(ErrorKind::TimedOut, "the flow is not there yet"))
                }
                Progress::Interrupted => Err(Error::new(
                    ErrorKind::Interrupted,
                    "interrupted by a signal",
                )),
            },
            _ => self.take_ready(),
        }
    }

    /// The flow if it is there, without waiting.
    ///
    /// # Errors
    /// The request failed and is over.
    pub fn try_finish(&mut self) -> Result<Option<Flow>> {
        self.try_flow(|_| ())
    }

    /// [`Pending::try_finish`]; `release` is called with the connection before that goes back to
    /// its pool.
    pub(crate) fn try_flow(
        &mut self,
        release: impl FnOnce(BorrowedFd<'_>),
    ) -> Result<Option<Flow>> {
        match &self.state {
            State::Waiting { .. } => Ok(self.try_link(release)?.map(Flow::from_link)),
            _ => self.take_ready().map(Some),
        }
    }

    /// Waits for the flow, whatever signals arrive.
    pub(crate) fn finish(mut self) -> Result<Flow> {
        loop {
            match self.wait(None) {
                Err(error) if error.kind() == ErrorKind::Interrupted && self.is_under_way() => {}
                outcome => return outcome,
            }
        }
    }

    /// [`Pending::try_flow`] for a flow object that exists already.
    pub(crate) fn try_link(
        &mut self,
        release: impl FnOnce(BorrowedFd<'_>),
    ) -> Result<Option<Link>> {
        let State::Waiting { connection, id } = &mut self.state else {
            return Ok(None);
        };
        let answer = match connection.try_answer(*id) {
            Ok(None) => return Ok(None),
            Ok(Some(answer)) => Ok(answer),
            Err(error) => Err(error),
        };
        release(connection.as_fd());
        self.conclude(answer).map(Some)
    }

    fn take_ready(&mut self) -> Result<Flow> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(flow) => Ok(flow),
            other => {
                self.state = other;
                Err(Error::new(
                    ErrorKind::Invalid,
                    "this request for a flow is over",
                ))
            }
        }
    }

    fn conclude(&mut self, answer: Result<(Body, Vec<OwnedFd>)>) -> Result<Link> {
        let State::Waiting { connection, .. } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "this request for a flow is over",
            ));
        };
        let daemon = connection.daemon();
        if !matches!(&answer, Err(error) if error.kind() == ErrorKind::Daemon) {
            self.node.give_back(connection);
        }
        match answer? {
            (Body::Flow(info), fds) => {
                let link = self.node.adopt(info, fds, daemon)?;
                self.check_strength(link)
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// A program that asked for encryption never gets a weaker flow, whatever the daemon did
    /// (`spec/api.md` B3 rule 2).
    fn check_strength(&self, link: Link) -> Result<Link> {
        match self.kind {
            Kind::Alloc(strength) if link.qos.cypher_s < strength => {
                link.release();
                Err(Error::new(
                    ErrorKind::Crypt,
                    format!(
                        "the flow to {:?} was allocated with an encryption of {} bits where {strength} \
                         were asked for; it is deallocated again",
                        self.name, link.qos.cypher_s
                    ),
                ))
            }
            _ => Ok(link),
        }
    }

    /// Cancels the request and collects the flow that may have crossed the cancellation.
    fn cancel(&mut self) -> Option<Flow> {
        let State::Waiting { connection, id } = &mut self.state else {
            return self.take_ready().ok();
        };
        if self.node.check_fork().is_err() {
            return None;
        }
        connection.start(Body::Cancel(Cancel { id: *id })).ok()?;
        let deadline = Instant::now() + CANCEL_LIMIT;
        loop {
            match self.wait(Some(deadline)) {
                Ok(flow) => return Some(flow),
                Err(error) if error.kind() == ErrorKind::Interrupted && self.is_under_way() => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(flow) = self.cancel()
            && self.kind == Kind::Accept
        {
            self.node.keep_accepted(flow);
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("kind", &self.kind)
            .field("under_way", &self.is_under_way())
            .finish_non_exhaustive()
    }
}
