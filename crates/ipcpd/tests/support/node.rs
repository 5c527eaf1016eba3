//! An IPCP on a real network, and what of a daemon it takes to have flows over it.

use std::time::{Duration, Instant};

use o7s::{
    DirHash, QosSpec,
    control::{
        Body, Empty, Failure, FlowEnd, FlowId, FlowReqArr, FlowResponse, Hash, IpcpConfig,
        IpcpFlowAlloc, IpcpStatus, IpcpType,
    },
};
use o7s_ipcpd::{
    framework::{Event, Post, Process},
    shim::{NetworkIpcp, Told},
};
use tokio::{runtime::Runtime, sync::mpsc::UnboundedReceiver};

use super::{Maker, Program};

/// Nothing takes as long.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Node {
    process: Process<NetworkIpcp>,
    events: UnboundedReceiver<Event<Told>>,
    runtime: Runtime,
    maker: Maker,
    hash: DirHash,
    next: u64,
    /// Messages that nobody has waited for yet.
    messages: Vec<(u64, Body)>,
}

impl Node {
    /// # Errors
    /// What the IPCP says to the configuration.
    pub fn start(config: &IpcpConfig) -> Result<Self, Failure> {
        let ipcp_type = IpcpType::try_from(config.ipcp_type).unwrap();
        let (post, events) = Post::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut node = Self {
            process: Process::new(NetworkIpcp::new(ipcp_type, post)),
            events,
            runtime,
            maker: Maker::default(),
            hash: DirHash::from_number(config.layer.dir_hash).unwrap(),
            next: 1000,
            messages: Vec::new(),
        };
        match node.call(Body::IpcpBootstrap(config.clone())) {
            Body::IpcpJoined(joined) => {
                assert!(!joined.shares_segments);
                Ok(node)
            }
            Body::Failure(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    fn tell(&mut self, id: u64, body: Body, fds: Vec<std::os::fd::OwnedFd>) {
        let _inside = self.runtime.enter();
        let messages = self.process.message(Instant::now(), id, body, fds);
        self.messages.extend(messages);
    }

    /// The answer to a request.
    pub fn call(&mut self, body: Body) -> Body {
        self.call_with(body, Vec::new())
    }

    fn call_with(&mut self, body: Body, fds: Vec<std::os::fd::OwnedFd>) -> Body {
        let id = self.id();
        self.tell(id, body, fds);
        self.wait(|(got, _)| *got == id).1
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        1_000_000 + self.next
    }

    /// The next message that is wanted.
    pub fn wait(&mut self, wanted: impl Fn(&(u64, Body)) -> bool) -> (u64, Body) {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(at) = self.messages.iter().position(&wanted) {
                return self.messages.remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self
                .runtime
                .block_on(async { tokio::time::timeout(left, self.events.recv()).await });
            let Ok(Some(event)) = event else {
                panic!("nothing came; there is {:?}", self.messages);
            };
            let _inside = self.runtime.enter();
            let messages = self.process.event(Instant::now(), event).unwrap();
            self.messages.extend(messages);
        }
    }

    pub fn hash(&self, name: &str) -> Hash {
        Hash {
            hash: self.hash.digest(name.as_bytes()).as_bytes().to_vec(),
        }
    }

    pub fn register(&mut self, name: &str) {
        let hash = self.hash(name);
        assert_eq!(self.call(Body::IpcpReg(hash)), Body::Done(Empty {}));
    }

    pub fn query(&mut self, name: &str) -> Body {
        let hash = self.hash(name);
        self.call(Body::IpcpQuery(hash))
    }

    /// Asks for a flow: its id and the program's end.
    pub fn ask(&mut self, name: &str, qos: QosSpec) -> (u64, Program) {
        self.next += 1;
        let flow_id = self.next;
        let (info, fds, program) = self.maker.flow(1, flow_id);
        let request = IpcpFlowAlloc {
            flow_id,
            hash: self.hash(name).hash,
            qos: qos.into(),
            piggyback: b"there".to_vec(),
            end: Some(info),
        };
        let answer = self.call_with(Body::IpcpFlowAlloc(request), fds);
        assert_eq!(answer, Body::Done(Empty {}));
        (flow_id, program)
    }

    /// The outcome of a request for a flow.
    pub fn outcome(&mut self, flow_id: u64) -> FlowResponse {
        let (_, body) = self.wait(
            |(_, body)| matches!(body, Body::FlowAllocReply(reply) if reply.flow_id == flow_id),
        );
        match body {
            Body::FlowAllocReply(reply) => reply,
            _ => unreachable!(),
        }
    }

    /// A request arrives: its message id.
    pub fn arrival(&mut self) -> (u64, FlowReqArr) {
        match self.wait(|(_, body)| matches!(body, Body::FlowReqArr(_))) {
            (id, Body::FlowReqArr(arrived)) => (id, arrived),
            _ => unreachable!(),
        }
    }

    /// The daemon takes a request in: its flow id.
    pub fn take(&mut self, id: u64) -> u64 {
        self.next += 1;
        let flow_id = self.next;
        self.tell(id, Body::FlowId(FlowId { flow_id }), Vec::new());
        flow_id
    }

    /// The daemon refuses a request.
    pub fn refuse(&mut self, id: u64, failure: Failure) {
        self.tell(id, Body::Failure(failure), Vec::new());
    }

    /// A program accepts a request.
    pub fn accept(&mut self, flow_id: u64) -> Program {
        let (mut info, fds, program) = self.maker.flow(2, flow_id);
        info.side = 1;
        let response = FlowResponse {
            flow_id,
            piggyback: b"back".to_vec(),
            end: Some(info),
            ..FlowResponse::default()
        };
        let answer = self.call_with(Body::IpcpFlowAllocResp(response), fds);
        assert_eq!(answer, Body::Done(Empty {}));
        program
    }

    /// A program refuses a request.
    pub fn reject(&mut self, flow_id: u64, failure: Failure) {
        let response = FlowResponse {
            flow_id,
            refusal: Some(failure),
            ..FlowResponse::default()
        };
        let answer = self.call(Body::IpcpFlowAllocResp(response));
        assert_eq!(answer, Body::Done(Empty {}));
    }

    /// A program is done with its flow.
    pub fn dealloc(&mut self, flow_id: u64) {
        let end = FlowEnd {
            flow_id,
            side: 1,
            ..FlowEnd::default()
        };
        let answer = self.call(Body::IpcpFlowDealloc(end));
        assert_eq!(answer, Body::Done(Empty {}));
    }

    /// The IPCP gives its end of a flow back.
    pub fn ended(&mut self, flow_id: u64) {
        self.wait(|(_, body)| matches!(body, Body::FlowDealloc(end) if end.flow_id == flow_id));
    }

    pub fn status(&mut self) -> IpcpStatus {
        match self.call(Body::IpcpShow(Empty {})) {
            Body::IpcpStatus(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// A counter of the status.
    pub fn counter(&mut self, name: &str) -> u64 {
        let status = self.status();
        let counters = status.sections.iter().find(|s| s.name == "counters");
        let row = counters
            .unwrap()
            .rows
            .iter()
            .find(|row| row.cells[0] == name);
        row.unwrap_or_else(|| panic!("no counter {name}")).cells[1]
            .parse()
            .unwrap()
    }
}

/// A flow from one node to a name of another; also the flow ids.
pub fn connect(from: &mut Node, to: &mut Node, name: &str) -> ((u64, Program), (u64, Program)) {
    assert_eq!(from.query(name), Body::Done(Empty {}));
    let (asked, asking) = from.ask(name, QosSpec::RAW);
    let (id, arrived) = to.arrival();
    assert_eq!(arrived.hash, to.hash(name).hash);
    assert_eq!(arrived.piggyback, b"there");
    assert_eq!(arrived.qos, QosSpec::RAW.into());
    let accepted = to.take(id);
    let accepting = to.accept(accepted);
    let reply = from.outcome(asked);
    assert_eq!(reply.refusal, None);
    assert_eq!(reply.piggyback, b"back");
    assert_eq!(
        (reply.mpl_ms, reply.max_packet),
        (arrived.mpl_ms, arrived.max_packet)
    );
    ((asked, asking), (accepted, accepting))
}

/// Waits for the next packet of the network.
pub fn next(program: &mut Program) -> Vec<u8> {
    let waiter = program.state.read_waiter();
    let limit = Some(Instant::now() + LONG);
    let mut packet = Vec::new();
    while program.rx.try_recv_vec(&mut packet).unwrap().is_none() {
        let outcome = waiter.wait(limit, || waiter.readable(), || false);
        assert_ne!(outcome, o7s_ring::WaitOutcome::TimedOut);
    }
    packet
}
