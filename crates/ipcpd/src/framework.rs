//! What all IPCP types have in common: states, operations, and answers to the daemon
//! (`spec/shims.md` §1.2, §1.4).
//!
//! A [`Process`] takes the daemon's messages and gives answers and requests of its own; it does no
//! I/O. What a type cannot do is refused before the state is looked at. A type answers an operation
//! at once or later, so that none waits for another: see [`Ipcp`].

mod ipcp;
mod post;
mod refused;

pub use ipcp::{Answer, Directory, FlowAllocator, Ipcp, Operation, Outcome, Output, Turn};
pub use post::{Event, Post};
pub use refused::refused_by_peer;

use std::{collections::BTreeMap, os::fd::OwnedFd, time::Instant};

use o7s::{
    DirHash, Error, ErrorKind, Name, Result,
    control::{
        Body, Empty, Failure, FlowInfo, FlowResponse, IpcpConfig, IpcpJoined, IpcpState, IpcpType,
        LayerInfo,
    },
};
use o7s_wire::hash::NameHash;

use crate::data::{self, End, Ends};

/// An IPCP with its state.
#[derive(Debug)]
pub struct Process<I> {
    ipcp: I,
    state: IpcpState,
    hash: DirHash,
    /// The bootstrap or enrollment that is under way.
    joining: Option<Operation>,
    /// Operations to be answered later.
    pending: BTreeMap<Operation, Pending>,
    next_operation: u64,
    /// Flow requests sent to the daemon: message id and the type's number.
    asked: BTreeMap<u64, u64>,
    next_id: u64,
    ends: Ends,
}

/// An operation that the type answers later.
#[derive(Debug)]
struct Pending {
    /// Of the daemon's message; 0 = nobody waits.
    id: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Bootstrap(LayerInfo),
    Enroll,
    Status,
    Other,
}

/// What became of a message: an answer, or what is awaited.
#[allow(clippy::large_enum_variant, reason = "lives for one call")]
enum Handled {
    Answered(Body),
    Later(Operation, What),
}

impl<I: Ipcp> Process<I> {
    /// A new IPCP that waits for bootstrap or enrollment.
    pub fn new(ipcp: I) -> Self {
        Self {
            ipcp,
            state: IpcpState::Boot,
            hash: DirHash::default(),
            joining: None,
            pending: BTreeMap::new(),
            next_operation: 1,
            asked: BTreeMap::new(),
            // Id 1 is the greeting of the channel.
            next_id: 2,
            ends: Ends::default(),
        }
    }

    /// The IPCP.
    pub fn ipcp(&mut self) -> &mut I {
        &mut self.ipcp
    }

    /// Handles what its threads and tasks tell; the messages to send for it.
    ///
    /// # Errors
    /// The IPCP is of no use any more.
    pub fn event(&mut self, now: Instant, event: Event<I::Event>) -> Result<Vec<(u64, Body)>> {
        match event {
            Event::Own(event) => {
                let mut turn = Turn::new(now);
                self.ipcp.event(event, &mut turn)?;
                Ok(self.messages(turn))
            }
            Event::Data(data::Event::Ended(end)) => Ok(vec![(0, Body::FlowDealloc(end))]),
            Event::Data(data::Event::BellClosed(bell)) => {
                self.ends.forget_bell(bell);
                Ok(Vec::new())
            }
            Event::Data(data::Event::Failed) => Err(Error::new(
                ErrorKind::Ipcp,
                "the data path broke off by an error in this IPCP; its log says more",
            )),
        }
    }

    /// When [`Process::timeout`] is to be called at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.ipcp.next_timeout()
    }

    /// Does what is due; the messages to send for it.
    pub fn timeout(&mut self, now: Instant) -> Vec<(u64, Body)> {
        if self.ipcp.next_timeout().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut turn = Turn::new(now);
        self.ipcp.timeout(&mut turn);
        self.messages(turn)
    }

    /// Handles a message of the daemon with its descriptors; the messages to send in turn.
    pub fn message(
        &mut self,
        now: Instant,
        id: u64,
        body: Body,
        fds: Vec<OwnedFd>,
    ) -> Vec<(u64, Body)> {
        let mut turn = Turn::new(now);
        let mut messages = Vec::new();
        match body {
            Body::FlowId(flow) => self.answered(id, Ok(flow.flow_id), &mut turn),
            Body::Failure(failure) => self.answered(id, Err(failure.into()), &mut turn),
            Body::Done(_) | Body::HelloOk(_) => {}
            body => match self.operate(body, fds, &mut turn) {
                Ok(Handled::Later(operation, what)) => {
                    if matches!(what, What::Bootstrap(_) | What::Enroll) {
                        self.joining = Some(operation);
                    }
                    self.pending.insert(operation, Pending { id, what });
                }
                Ok(Handled::Answered(answer)) => messages.extend(answer_to(id, Ok(answer))),
                Err(error) => messages.extend(answer_to(id, Err(error))),
            },
        }
        messages.extend(self.messages(turn));
        messages
    }

    /// The messages that come of a turn.
    fn messages(&mut self, mut turn: Turn) -> Vec<(u64, Body)> {
        let mut messages = Vec::new();
        while let Some(output) = turn.outputs.pop_front() {
            match output {
                Output::Done(operation, outcome) => {
                    messages.extend(self.done(operation, outcome));
                }
                Output::Request(number, request) => {
                    let id = self.next_id;
                    self.next_id += 1;
                    self.asked.insert(id, number);
                    messages.push((id, Body::FlowReqArr(request)));
                }
                Output::Reply(reply) => messages.push((0, Body::FlowAllocReply(reply))),
                Output::Ended(end) => messages.push((0, Body::FlowDealloc(end))),
                Output::Parted(left) => messages.push((0, Body::IpcpParted(left))),
            }
        }
        messages
    }

    /// The answer to an operation that was under way.
    fn done(&mut self, operation: Operation, outcome: Result<Outcome>) -> Option<(u64, Body)> {
        let Some(Pending { id, what }) = self.pending.remove(&operation) else {
            tracing::warn!("An operation that nobody waits for was answered.");
            return None;
        };
        self.joining.take_if(|joining| *joining == operation);
        let answer = outcome.and_then(|outcome| match (what, outcome) {
            (What::Bootstrap(layer), Outcome::Done) | (What::Enroll, Outcome::Joined(layer)) => {
                self.join(layer).map(Body::IpcpJoined)
            }
            (What::Status, Outcome::Status(status)) => Ok(Body::IpcpStatus(status)),
            (What::Other, Outcome::Done) => Ok(Body::Done(Empty {})),
            (what, outcome) => Err(Error::new(
                ErrorKind::Ipcp,
                format!("the IPCP gave a wrong answer to an operation ({what:?}): {outcome:?}"),
            )),
        });
        answer_to(id, answer)
    }

    fn answered(&mut self, id: u64, answer: Result<u64>, turn: &mut Turn) {
        if let Some(number) = self.asked.remove(&id)
            && let Some(flows) = self.ipcp.flows()
        {
            flows.request_answered(number, answer, turn);
        }
    }

    fn operate(&mut self, body: Body, fds: Vec<OwnedFd>, turn: &mut Turn) -> Result<Handled> {
        let operation = Operation(self.next_operation);
        self.next_operation += 1;
        let plain = |answer: Answer| match answer {
            Answer::Now(()) => Handled::Answered(Body::Done(Empty {})),
            Answer::Later => Handled::Later(operation, What::Other),
        };
        let done = Handled::Answered(Body::Done(Empty {}));
        let joined = |joined| Handled::Answered(Body::IpcpJoined(joined));
        match body {
            Body::IpcpBootstrap(config) => {
                let layer = self.check_bootstrap(&config)?;
                let config = IpcpConfig {
                    layer: layer.clone(),
                    ..config
                };
                match self.ipcp.bootstrap(operation, &config, turn)? {
                    Answer::Now(()) => self.join(layer).map(joined),
                    Answer::Later => Ok(Handled::Later(operation, What::Bootstrap(layer))),
                }
            }
            Body::IpcpEnroll(dst) => {
                let dst = Name::new(&dst.name)?;
                // What the type lacks is refused before the state is looked at.
                if !self.ipcp.enrolls() {
                    return Err(self.ipcp.unsupported("enroll"));
                }
                self.check_boot()?;
                let answer = self.ipcp.enroll(operation, &dst, turn)?;
                match answer {
                    Answer::Now(layer) => self.join(layer).map(joined),
                    Answer::Later => Ok(Handled::Later(operation, What::Enroll)),
                }
            }
            Body::IpcpConnect(connect) => self.ipcp.connect(operation, &connect, turn).map(plain),
            Body::IpcpDisconnect(connect) => {
                self.ipcp.disconnect(operation, &connect, turn).map(plain)
            }
            Body::IpcpShow(_) => self
                .ipcp
                .status(operation, turn)
                .map(|answer| match answer {
                    Answer::Now(status) => Handled::Answered(Body::IpcpStatus(status)),
                    Answer::Later => Handled::Later(operation, What::Status),
                }),
            Body::IpcpReg(hash) => {
                let (directory, hash) = self.directory("register", &hash.hash)?;
                tracing::info!("Registering {hash}.");
                directory.register(operation, hash, turn).map(plain)
            }
            Body::IpcpUnreg(hash) => {
                let (directory, hash) = self.directory("unregister", &hash.hash)?;
                tracing::info!("Unregistering {hash}.");
                directory.unregister(operation, &hash, turn).map(plain)
            }
            Body::IpcpQuery(hash) => {
                let (directory, hash) = self.directory("query", &hash.hash)?;
                directory.query(operation, &hash, turn).map(plain)
            }
            Body::IpcpFlowAlloc(request) => {
                self.flows("flow allocation")?;
                self.check_hash(&request.hash)?;
                let end = self.open(request.end.as_ref(), fds)?;
                let flows = self.flows("flow allocation")?;
                flows.alloc(request, end, turn).map(|()| done)
            }
            Body::IpcpFlowJoin(join) => {
                self.flows("flow join")?;
                let hash = self.check_hash(&join.hash)?;
                let end = self.ends.open(&join.end, fds)?;
                let flows = self.flows("flow join")?;
                flows.join(join.flow_id, &hash, end, turn).map(|()| done)
            }
            Body::IpcpFlowAllocResp(response) => {
                self.flows("flow allocation")?;
                let end = self.open(response.end.as_ref(), fds);
                let (end, response, failed) = match end {
                    Ok(end) => (end, response, None),
                    Err(error) => {
                        // Whoever asked is told too.
                        let refusal = Some(Failure::from(&error));
                        let response = FlowResponse {
                            refusal,
                            ..response
                        };
                        (None, response, Some(error))
                    }
                };
                let flows = self.flows("flow allocation")?;
                let outcome = flows.respond(response, end, turn);
                failed.map_or(outcome, Err).map(|()| done)
            }
            Body::IpcpFlowDealloc(end) => {
                let flows = self.flows("flow deallocation")?;
                flows.dealloc(end, turn).map(|()| done)
            }
            other => Err(Error::new(
                ErrorKind::Invalid,
                format!("this message is no request to an IPCP: {other:?}"),
            )),
        }
    }

    fn open(&mut self, info: Option<&FlowInfo>, fds: Vec<OwnedFd>) -> Result<Option<End>> {
        info.map(|info| self.ends.open(info, fds)).transpose()
    }

    /// The layer that the configuration asks for, with the hash that is used in it
    /// (`spec/shims.md` §1.4 item 3).
    fn check_bootstrap(&self, config: &IpcpConfig) -> Result<LayerInfo> {
        self.check_boot()?;
        let ipcp_type = self.ipcp.ipcp_type();
        if config.ipcp_type != i32::from(ipcp_type) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the configuration is not for IPCP type {}",
                    ipcp_type.as_str()
                ),
            ));
        }
        let name = Name::new(&config.layer.name)?;
        let dir_hash = match ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => DirHash::Md5,
            IpcpType::Broadcast => DirHash::Sha3_256,
            _ => match known_hash(config.layer.dir_hash)? {
                DirHash::Md5 => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        "MD5 is the directory hash of UDP layers only; use SHA3_256",
                    ));
                }
                hash => hash,
            },
        };
        Ok(LayerInfo {
            name: name.as_str().to_owned(),
            dir_hash: dir_hash as u32,
        })
    }

    fn check_boot(&self) -> Result<()> {
        let why = if self.joining.is_some() {
            "the IPCP is about to join a layer; wait until that is done"
        } else if self.state != IpcpState::Boot {
            "the IPCP is a member of a layer already; create another IPCP for another layer"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::IpcpState, why))
    }

    fn join(&mut self, layer: LayerInfo) -> Result<IpcpJoined> {
        self.hash = known_hash(layer.dir_hash)?;
        self.state = IpcpState::Operational;
        tracing::info!("Member of layer {}.", layer.name);
        Ok(IpcpJoined {
            layer,
            shares_segments: self.ipcp.shares_segments(),
        })
    }

    fn check_operational(&self) -> Result<()> {
        if self.state == IpcpState::Operational {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::IpcpState,
            "the IPCP is in no layer yet; bootstrap or enroll it first",
        ))
    }

    fn check_hash(&self, hash: &[u8]) -> Result<NameHash> {
        if hash.len() == self.hash.len() {
            return Ok(NameHash::from_bytes(hash));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "a hash of this layer ({}) has {} bytes, not {}",
                self.hash,
                self.hash.len(),
                hash.len()
            ),
        ))
    }

    fn directory(
        &mut self,
        operation: &str,
        hash: &[u8],
    ) -> Result<(&mut dyn Directory, NameHash)> {
        if self.ipcp.directory().is_none() {
            return Err(self.ipcp.unsupported(operation));
        }
        self.check_operational()?;
        let hash = self.check_hash(hash)?;
        let unsupported = self.ipcp.unsupported(operation);
        let directory = self.ipcp.directory().ok_or(unsupported)?;
        Ok((directory, hash))
    }

    fn flows(&mut self, operation: &str) -> Result<&mut dyn FlowAllocator> {
        if self.ipcp.flows().is_none() {
            return Err(self.ipcp.unsupported(operation));
        }
        self.check_operational()?;
        let unsupported = self.ipcp.unsupported(operation);
        self.ipcp.flows().ok_or(unsupported)
    }
}

/// The message that answers the daemon's message `id`, unless it wanted no answer.
fn answer_to(id: u64, answer: Result<Body>) -> Option<(u64, Body)> {
    let body = answer.unwrap_or_else(|error| {
        tracing::debug!("Refused: {error}");
        Body::Failure(Failure::from(&error))
    });
    (id != 0).then_some((id, body))
}

fn known_hash(number: u32) -> Result<DirHash> {
    DirHash::from_number(number).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "there is no directory hash with number {number}; use 0 to 3, or 5 in UDP layers"
            ),
        )
    })
}

#[cfg(test)]
#[path = "framework_tests.rs"]
mod tests;
