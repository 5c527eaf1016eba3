//! What all IPCP types have in common: states, operations, and answers to the daemon
//! (`spec/shims.md` §1.2, §1.4).
//!
//! A [`Process`] takes the daemon's messages and gives answers and requests of its own; it does no
//! I/O. What a type cannot do is refused before the state is looked at.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
};

use o7s::{
    DirHash, Error, ErrorKind, Name, Result,
    control::{
        Body, ConnectIpcp, Empty, Failure, FlowEnd, FlowInfo, FlowReqArr, FlowResponse, IpcpConfig,
        IpcpFlowAlloc, IpcpJoined, IpcpState, IpcpType, LayerInfo,
    },
};
use o7s_wire::hash::NameHash;

use crate::data::{End, Ends, Event};

/// An IPCP of one type. Every operation that a type lacks answers "not supported".
pub trait Ipcp {
    /// The type.
    fn ipcp_type(&self) -> IpcpType;

    /// Starts a layer.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn bootstrap(&mut self, config: &IpcpConfig) -> Result<()> {
        let _ = config;
        Err(self.unsupported("bootstrap"))
    }

    /// Becomes a member of the layer of `dst`.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn enroll(&mut self, dst: &Name) -> Result<LayerInfo> {
        let _ = dst;
        Err(self.unsupported("enroll"))
    }

    /// Connects a component to a neighbour.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn connect(&mut self, connect: &ConnectIpcp) -> Result<()> {
        let _ = connect;
        Err(self.unsupported("connect"))
    }

    /// Undoes [`Ipcp::connect`].
    ///
    /// # Errors
    /// What keeps the type from it.
    fn disconnect(&mut self, connect: &ConnectIpcp) -> Result<()> {
        let _ = connect;
        Err(self.unsupported("disconnect"))
    }

    /// Whether the programs of a flow share its segment, so that no ends are wanted here.
    fn shares_segments(&self) -> bool {
        false
    }

    /// The directory, if the type has one.
    fn directory(&mut self) -> Option<&mut dyn Directory>;

    /// Flow allocation, if the type has it.
    fn flows(&mut self) -> Option<&mut dyn FlowAllocator>;

    /// The error for an operation that the type lacks.
    fn unsupported(&self, operation: &str) -> Error {
        Error::new(
            ErrorKind::NotSupported,
            format!(
                "{operation} is not supported by IPCP type {}",
                self.ipcp_type().as_str()
            ),
        )
    }
}

/// The names that are reachable in the layer.
pub trait Directory {
    /// Adds a hash; a second time changes nothing.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn register(&mut self, hash: NameHash) -> Result<()>;

    /// Removes a hash; one that is not there changes nothing.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn unregister(&mut self, hash: &NameHash) -> Result<()>;

    /// Whether the hash is reachable.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if it is not.
    fn query(&self, hash: &NameHash) -> Result<()>;
}

/// What the layer asks of the daemon or tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A flow request arrived for this machine. The answer comes as
    /// [`FlowAllocator::request_answered`] with the same number.
    Request(u64, FlowReqArr),
    /// The outcome of a flow request of this machine. A refusal gives the end back.
    Reply(FlowResponse),
    /// The end is given back, or the request that arrived is over.
    Ended(FlowEnd),
}

/// Flow allocation over the layer.
pub trait FlowAllocator {
    /// Asks for a flow, of which `end` is this IPCP's end unless the layer shares segments; `Ok` =
    /// the request is under way.
    ///
    /// # Errors
    /// Why it cannot be.
    fn alloc(
        &mut self,
        request: IpcpFlowAlloc,
        end: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()>;

    /// The daemon took a request in, as this flow id, or refused it.
    fn request_answered(&mut self, number: u64, answer: Result<u64>, out: &mut VecDeque<Output>);

    /// The answer of the accepting program; `end` as for [`FlowAllocator::alloc`].
    ///
    /// # Errors
    /// There is no such request.
    fn respond(
        &mut self,
        response: FlowResponse,
        end: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()>;

    /// The program gave its end back, or died, or gave the request up. `end` is this IPCP's, which
    /// it gives back in its time ([`Output::Ended`], or the data path's [`Event::Ended`]).
    ///
    /// # Errors
    /// There is no such flow.
    fn dealloc(&mut self, end: FlowEnd, out: &mut VecDeque<Output>) -> Result<()>;
}

/// An IPCP with its state.
#[derive(Debug)]
pub struct Process<I> {
    ipcp: I,
    state: IpcpState,
    hash: DirHash,
    /// Flow requests sent to the daemon: message id and the type's number.
    asked: BTreeMap<u64, u64>,
    next_id: u64,
    out: VecDeque<Output>,
    ends: Ends,
}

impl<I: Ipcp> Process<I> {
    /// A new IPCP that waits for bootstrap or enrollment.
    pub fn new(ipcp: I) -> Self {
        Self {
            ipcp,
            state: IpcpState::Boot,
            hash: DirHash::default(),
            asked: BTreeMap::new(),
            // Id 1 is the greeting of the channel.
            next_id: 2,
            out: VecDeque::new(),
            ends: Ends::default(),
        }
    }

    /// The message to send for an event of the data path, if any.
    ///
    /// # Errors
    /// The data path failed: the IPCP is of no use any more.
    pub fn event(&mut self, event: Event) -> Result<Option<Body>> {
        match event {
            Event::Ended(end) => Ok(Some(Body::FlowDealloc(end))),
            Event::BellClosed(bell) => {
                self.ends.forget_bell(bell);
                Ok(None)
            }
            Event::Failed => Err(Error::new(
                ErrorKind::Ipcp,
                "the data path broke off by an error in this IPCP; its log says more",
            )),
        }
    }

    /// Handles a message of the daemon with its descriptors; the messages to send in turn.
    pub fn message(&mut self, id: u64, body: Body, fds: Vec<OwnedFd>) -> Vec<(u64, Body)> {
        let mut messages = Vec::new();
        match body {
            Body::FlowId(flow) => self.answered(id, Ok(flow.flow_id)),
            Body::Failure(failure) => self.answered(id, Err(failure.into())),
            Body::Done(_) | Body::HelloOk(_) => {}
            body => {
                let answer = self.operate(body, fds);
                if id != 0 {
                    let answer = answer.unwrap_or_else(|error| {
                        tracing::debug!("Refused: {error}");
                        Body::Failure(Failure::from(&error))
                    });
                    messages.push((id, answer));
                }
            }
        }
        while let Some(output) = self.out.pop_front() {
            messages.push(match output {
                Output::Request(number, request) => {
                    let id = self.next_id;
                    self.next_id += 1;
                    self.asked.insert(id, number);
                    (id, Body::FlowReqArr(request))
                }
                Output::Reply(reply) => (0, Body::FlowAllocReply(reply)),
                Output::Ended(end) => (0, Body::FlowDealloc(end)),
            });
        }
        messages
    }

    fn answered(&mut self, id: u64, answer: Result<u64>) {
        if let Some(number) = self.asked.remove(&id)
            && let Some(flows) = self.ipcp.flows()
        {
            flows.request_answered(number, answer, &mut self.out);
        }
    }

    fn operate(&mut self, body: Body, fds: Vec<OwnedFd>) -> Result<Body> {
        let done = Body::Done(Empty {});
        match body {
            Body::IpcpBootstrap(config) => self.bootstrap(&config).map(Body::IpcpJoined),
            Body::IpcpEnroll(dst) => {
                let dst = Name::new(&dst.name)?;
                let layer = self.ipcp.enroll(&dst)?;
                self.join(&layer)?;
                Ok(Body::IpcpJoined(self.joined(layer)))
            }
            Body::IpcpConnect(connect) => self.ipcp.connect(&connect).map(|()| done),
            Body::IpcpDisconnect(connect) => self.ipcp.disconnect(&connect).map(|()| done),
            Body::IpcpReg(hash) => {
                let (directory, hash) = self.directory("register", &hash.hash)?;
                tracing::info!("Registered {hash}.");
                directory.register(hash).map(|()| done)
            }
            Body::IpcpUnreg(hash) => {
                let (directory, hash) = self.directory("unregister", &hash.hash)?;
                tracing::info!("Unregistered {hash}.");
                directory.unregister(&hash).map(|()| done)
            }
            Body::IpcpQuery(hash) => {
                let (directory, hash) = self.directory("query", &hash.hash)?;
                directory.query(&hash).map(|()| done)
            }
            Body::IpcpFlowAlloc(request) => {
                self.flows("flow allocation")?;
                self.check_hash(&request.hash)?;
                let end = self.open(request.end.as_ref(), fds)?;
                let (flows, out) = self.flows("flow allocation")?;
                flows.alloc(request, end, out).map(|()| done)
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
                let (flows, out) = self.flows("flow allocation")?;
                let outcome = flows.respond(response, end, out);
                failed.map_or(outcome, Err).map(|()| done)
            }
            Body::IpcpFlowDealloc(end) => {
                let (flows, out) = self.flows("flow deallocation")?;
                flows.dealloc(end, out).map(|()| done)
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

    fn joined(&self, layer: LayerInfo) -> IpcpJoined {
        IpcpJoined {
            layer,
            shares_segments: self.ipcp.shares_segments(),
        }
    }

    fn bootstrap(&mut self, config: &IpcpConfig) -> Result<IpcpJoined> {
        self.check_boot()?;
        if config.ipcp_type != i32::from(self.ipcp.ipcp_type()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the configuration is not for IPCP type {}",
                    self.ipcp.ipcp_type().as_str()
                ),
            ));
        }
        Name::new(&config.layer.name)?;
        known_hash(config.layer.dir_hash)?;
        self.ipcp.bootstrap(config)?;
        self.join(&config.layer)?;
        Ok(self.joined(config.layer.clone()))
    }

    fn check_boot(&self) -> Result<()> {
        if self.state == IpcpState::Boot {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::IpcpState,
            "the IPCP is a member of a layer already; create another IPCP for another layer",
        ))
    }

    fn join(&mut self, layer: &LayerInfo) -> Result<()> {
        self.check_boot()?;
        self.hash = known_hash(layer.dir_hash)?;
        self.state = IpcpState::Operational;
        tracing::info!("Member of layer {}.", layer.name);
        Ok(())
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

    fn flows(
        &mut self,
        operation: &str,
    ) -> Result<(&mut dyn FlowAllocator, &mut VecDeque<Output>)> {
        if self.ipcp.flows().is_none() {
            return Err(self.ipcp.unsupported(operation));
        }
        self.check_operational()?;
        let unsupported = self.ipcp.unsupported(operation);
        let flows = self.ipcp.flows().ok_or(unsupported)?;
        Ok((flows, &mut self.out))
    }
}

fn known_hash(number: u32) -> Result<DirHash> {
    DirHash::from_number(number).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("there is no directory hash with number {number}; use 0 to 3"),
        )
    })
}

#[cfg(test)]
#[path = "framework_tests.rs"]
mod tests;
