//! What all IPCP types have in common: states, operations, and answers to the daemon
//! (`spec/shims.md` §1.2, §1.4).
//!
//! A [`Process`] takes the daemon's messages and gives answers and requests of its own; it does no
//! I/O. What a type cannot do is refused before the state is looked at.

use std::collections::{BTreeMap, VecDeque};

use o7s::{
    DirHash, Error, ErrorKind, Name, Result,
    control::{
        Body, ConnectIpcp, Empty, Failure, FlowEnd, FlowReqArr, FlowResponse, IpcpConfig,
        IpcpFlowAlloc, IpcpState, IpcpType, LayerInfo,
    },
};
use o7s_wire::hash::NameHash;

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
    /// The outcome of a flow request of this machine.
    Reply(FlowResponse),
}

/// Flow allocation over the layer.
pub trait FlowAllocator {
    /// Asks for a flow; `Ok` = the request is under way.
    ///
    /// # Errors
    /// Why it cannot be.
    fn alloc(&mut self, request: IpcpFlowAlloc, out: &mut VecDeque<Output>) -> Result<()>;

    /// The daemon took a request in, as this flow id, or refused it.
    fn request_answered(&mut self, number: u64, answer: Result<u64>, out: &mut VecDeque<Output>);

    /// The answer of the accepting program.
    ///
    /// # Errors
    /// There is no such request.
    fn respond(&mut self, response: FlowResponse, out: &mut VecDeque<Output>) -> Result<()>;

    /// The program gave its end back.
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
        }
    }

    /// Handles a message of the daemon; the messages to send in turn.
    pub fn message(&mut self, id: u64, body: Body) -> Vec<(u64, Body)> {
        let mut messages = Vec::new();
        match body {
            Body::FlowId(flow) => self.answered(id, Ok(flow.flow_id)),
            Body::Failure(failure) => self.answered(id, Err(failure.into())),
            Body::Done(_) | Body::HelloOk(_) => {}
            body => {
                let answer = self.operate(body);
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

    fn operate(&mut self, body: Body) -> Result<Body> {
        let done = Body::Done(Empty {});
        match body {
            Body::IpcpBootstrap(config) => self.bootstrap(&config).map(Body::Layer),
            Body::IpcpEnroll(dst) => {
                let dst = Name::new(&dst.name)?;
                let layer = self.ipcp.enroll(&dst)?;
                self.join(&layer)?;
                Ok(Body::Layer(layer))
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
                let (flows, out) = self.flows("flow allocation")?;
                flows.alloc(request, out).map(|()| done)
            }
            Body::IpcpFlowAllocResp(response) => {
                let (flows, out) = self.flows("flow allocation")?;
                flows.respond(response, out).map(|()| done)
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

    fn bootstrap(&mut self, config: &IpcpConfig) -> Result<LayerInfo> {
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
        Ok(config.layer.clone())
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
mod tests {
    use super::*;
    use crate::local::{Local, MPL_MS};
    use o7s::{
        QosSpec,
        control::{FlowId, Hash, NameRef},
    };
    use proptest::prelude::*;

    fn config(ipcp_type: IpcpType, dir_hash: u32) -> Body {
        Body::IpcpBootstrap(IpcpConfig {
            ipcp_type: ipcp_type.into(),
            layer: LayerInfo {
                name: "home".to_owned(),
                dir_hash,
            },
            ..IpcpConfig::default()
        })
    }

    fn hash(name: &str) -> Vec<u8> {
        DirHash::Sha3_256
            .digest(name.as_bytes())
            .as_bytes()
            .to_vec()
    }

    fn alloc(flow_id: u64, name: &str) -> Body {
        Body::IpcpFlowAlloc(IpcpFlowAlloc {
            flow_id,
            hash: hash(name),
            qos: QosSpec::RAW.into(),
            piggyback: vec![7],
        })
    }

    fn response(flow_id: u64, refusal: Option<Failure>) -> FlowResponse {
        FlowResponse {
            flow_id,
            refusal,
            mpl_ms: 0,
            piggyback: vec![8],
        }
    }

    /// The only message that comes of it.
    fn one(process: &mut Process<Local>, id: u64, body: Body) -> Body {
        let mut messages = process.message(id, body);
        assert_eq!(messages.len(), 1, "{messages:?}");
        let (got, body) = messages.remove(0);
        assert_eq!(got, id);
        body
    }

    fn refused(process: &mut Process<Local>, body: Body) -> ErrorKind {
        match one(process, 9, body) {
            Body::Failure(failure) => Error::from(failure).kind(),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn operational() -> Process<Local> {
        let mut process = Process::new(Local::default());
        let joined = one(&mut process, 2, config(IpcpType::Local, 1));
        assert!(matches!(joined, Body::Layer(layer) if layer.name == "home"));
        process
    }

    #[test]
    fn what_a_type_lacks_is_refused_in_every_state() {
        let connect = || ConnectIpcp {
            dst: "n".to_owned(),
            ..ConnectIpcp::default()
        };
        for mut process in [Process::new(Local::default()), operational()] {
            let enroll = Body::IpcpEnroll(NameRef {
                name: "n".to_owned(),
            });
            for body in [
                enroll,
                Body::IpcpConnect(connect()),
                Body::IpcpDisconnect(connect()),
            ] {
                assert_eq!(refused(&mut process, body), ErrorKind::NotSupported);
            }
        }
    }

    #[test]
    fn states() {
        let mut process = Process::new(Local::default());
        for body in [
            Body::IpcpQuery(Hash { hash: hash("n") }),
            Body::IpcpReg(Hash { hash: hash("n") }),
            alloc(1, "n"),
        ] {
            assert_eq!(refused(&mut process, body), ErrorKind::IpcpState);
        }
        let wrong_type = config(IpcpType::Unicast, 1);
        assert_eq!(refused(&mut process, wrong_type), ErrorKind::Invalid);
        let wrong_hash = config(IpcpType::Local, 5);
        assert_eq!(refused(&mut process, wrong_hash), ErrorKind::Invalid);
        let mut process = operational();
        let again = config(IpcpType::Local, 1);
        assert_eq!(refused(&mut process, again), ErrorKind::IpcpState);
        let nonsense = Body::Status(Empty {});
        assert_eq!(refused(&mut process, nonsense), ErrorKind::Invalid);
    }

    #[test]
    fn the_directory() {
        let mut process = operational();
        let known = || Hash { hash: hash("n") };
        let query = || Body::IpcpQuery(known());
        assert_eq!(refused(&mut process, query()), ErrorKind::Name);
        for _ in 0..2 {
            let done = one(&mut process, 3, Body::IpcpReg(known()));
            assert_eq!(done, Body::Done(Empty {}));
        }
        assert_eq!(one(&mut process, 3, query()), Body::Done(Empty {}));
        for _ in 0..2 {
            let done = one(&mut process, 3, Body::IpcpUnreg(known()));
            assert_eq!(done, Body::Done(Empty {}));
        }
        assert_eq!(refused(&mut process, query()), ErrorKind::Name);
        for length in [0, 31, 33, 64] {
            let short = Hash {
                hash: vec![1; length],
            };
            let kind = refused(&mut process, Body::IpcpReg(short));
            assert_eq!(kind, ErrorKind::Invalid);
        }
    }

    /// Starts an allocation; the id of the request to the daemon.
    fn started(process: &mut Process<Local>, flow_id: u64) -> u64 {
        let messages = process.message(20, alloc(flow_id, "n"));
        match &messages[..] {
            [(20, Body::Done(_)), (id, Body::FlowReqArr(arrived))] => {
                assert_eq!(arrived.local_flow_id, Some(flow_id));
                assert_eq!((arrived.mpl_ms, &*arrived.piggyback), (MPL_MS, &[7][..]));
                assert_eq!(arrived.hash, hash("n"));
                *id
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_overlap_and_find_their_answers() {
        let mut process = operational();
        let ids: Vec<u64> = (1..=3).map(|flow| started(&mut process, flow)).collect();
        let twice = refused(&mut process, alloc(2, "n"));
        assert_eq!(twice, ErrorKind::Invalid);
        for (flow_id, id) in (1..=3).zip(ids) {
            let early = Body::IpcpFlowAllocResp(response(flow_id, None));
            assert_eq!(refused(&mut process, early), ErrorKind::NotAllocated);
            let answer = Body::FlowId(FlowId { flow_id });
            assert!(process.message(id, answer).is_empty());
        }
        for flow_id in [3, 1, 2] {
            let accepted = Body::IpcpFlowAllocResp(response(flow_id, None));
            let messages = process.message(30, accepted);
            let granted = FlowResponse {
                mpl_ms: MPL_MS,
                ..response(flow_id, None)
            };
            let expected = [
                (30, Body::Done(Empty {})),
                (0, Body::FlowAllocReply(granted)),
            ];
            assert_eq!(messages, expected);
            let again = Body::IpcpFlowAllocResp(response(flow_id, None));
            assert_eq!(refused(&mut process, again), ErrorKind::NotAllocated);
        }
    }

    #[test]
    fn refusals_reach_the_requester_at_once() {
        let mut process = operational();
        let failure = Failure {
            errno: ErrorKind::Name.errno(),
            message: "no".to_owned(),
        };
        // By the daemon.
        let id = started(&mut process, 1);
        let messages = process.message(id, Body::Failure(failure.clone()));
        assert!(matches!(
            &messages[..],
            [(0, Body::FlowAllocReply(reply))]
                if reply.flow_id == 1 && reply.refusal.as_ref() == Some(&failure)
        ));
        // By the program.
        let id = started(&mut process, 2);
        process.message(id, Body::FlowId(FlowId { flow_id: 2 }));
        let refusal = Body::IpcpFlowAllocResp(response(2, Some(failure.clone())));
        let messages = process.message(31, refusal);
        assert!(matches!(
            &messages[..],
            [(31, Body::Done(_)), (0, Body::FlowAllocReply(reply))]
                if reply.refusal.as_ref() == Some(&failure)
        ));
        // By deallocation.
        started(&mut process, 3);
        let end = FlowEnd {
            flow_id: 3,
            ..FlowEnd::default()
        };
        let messages = process.message(32, Body::IpcpFlowDealloc(end));
        assert!(matches!(
            &messages[..],
            [(32, Body::Done(_)), (0, Body::FlowAllocReply(reply))] if reply.refusal.is_some()
        ));
    }

    proptest! {
        /// Every request is answered exactly once, whatever comes before it.
        #[test]
        fn every_request_has_one_answer(
            steps in prop::collection::vec((0..8_u8, 0..4_u64, 0..40_usize), 0..60),
        ) {
            let mut process = operational();
            for (step, flow_id, length) in steps {
                let hash = Hash { hash: vec![1; length] };
                let refusal = (length % 2 == 0).then(Failure::default);
                let end = FlowEnd { flow_id, ..FlowEnd::default() };
                let body = match step {
                    0 => Body::IpcpReg(hash),
                    1 => Body::IpcpUnreg(hash),
                    2 => Body::IpcpQuery(hash),
                    3 => alloc(flow_id, "n"),
                    4 => Body::IpcpFlowAllocResp(response(flow_id, refusal)),
                    5 => Body::IpcpFlowDealloc(end),
                    6 => config(IpcpType::Local, 1),
                    _ => {
                        // Answers to its own requests are not answered.
                        let out = process.message(flow_id, Body::FlowId(FlowId { flow_id }));
                        prop_assert!(out.is_empty());
                        continue;
                    }
                };
                let out = process.message(1_000, body);
                let answers = out.iter().filter(|(id, _)| *id == 1_000).count();
                prop_assert_eq!(answers, 1);
            }
        }
    }
}
