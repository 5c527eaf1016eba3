//! The data path of a layer on a real network, in the thread of which the protocol's machine runs
//! too: packets and messages come from one socket, and keep their order.

use std::{
    io,
    time::{Duration, Instant},
};

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{FlowReqArr, FlowResponse, IpcpFlowAlloc},
};
use o7s_proto::shim::{
    Address, DownReason, Event, FlowKey, Format, QueryKey, Refusal, RequestKey, Shim,
};
use o7s_wire::hash::NameHash;

use super::{
    Told,
    flows::{Counters, Flow, Flows},
    port::Port,
    refusals::{command_error, over, refusal, refuse},
    requests::Requests,
};
use crate::{
    data::{Context, DataPath, End, Progress, Token},
    eth::{
        self,
        link::{Change, Link},
    },
    framework::{Operation, Outcome, Output, Post},
    sys_errors,
};

/// Time until a socket that was full is tried again.
const RETRY: Duration = Duration::from_micros(100);
/// How long a query asks. The daemon gives up earlier; a late answer is of use to the next one.
const QUERY: Duration = Duration::from_secs(2);
/// Most reports of datagrams that were not delivered that are taken at once.
const UNDELIVERED: usize = 64;
/// Sources of the loop.
const SOCKET: u64 = 1;
const LINK: u64 = 2;

/// What management wants.
#[derive(Debug)]
pub enum Command {
    /// Make a name reachable; without a number nobody waits for the outcome.
    Register(Option<Operation>, NameHash),
    /// Undo it.
    Withdraw(NameHash),
    /// Is a name reachable?
    Query(Operation, NameHash),
    /// The addresses of a name (UDP).
    Resolved(NameHash, Vec<Address>),
    /// Ask for a flow.
    Alloc(IpcpFlowAlloc, End),
    /// The daemon took a request in as this flow, or refused it.
    Taken(RequestKey, Result<u64>),
    /// A program's answer to a request.
    Respond(FlowResponse, Option<End>),
    /// A request is given up here.
    GiveUp(u64),
    /// Tell counters and tables.
    Status(Operation),
}

/// The flows, the machine and the socket.
#[derive(Debug)]
pub struct Network {
    pub(super) shim: Shim,
    pub(super) format: Format,
    pub(super) port: Port,
    pub(super) link: Option<Link>,
    /// Largest packet, bytes.
    pub(super) max_packet: usize,
    pub(super) mpl_ms: u32,
    pub(super) flows: Flows,
    pub(super) requests: Requests,
    /// Flows that wait for the socket.
    pub(super) waiting: Vec<Token>,
    pub(super) post: Post<Told>,
    pub(super) up: bool,
    /// The machine may have something to send.
    pub(super) dirty: bool,
    pub(super) retry: Option<Instant>,
    /// Packets of flows that are over.
    pub(super) past: Counters,
    /// Frames and datagrams that do not concern this layer.
    pub(super) foreign: u64,
    /// Packets to endpoints that are nobody's, or not from the flow's peer.
    pub(super) stray: u64,
    /// Datagrams of which the network said that nobody took them.
    pub(super) undelivered: u64,
    pub(super) scratch: Vec<u8>,
    pub(super) watched: bool,
}

impl Network {
    /// A layer over this socket; `link` tells of its interface.
    #[must_use]
    pub fn new(shim: Shim, port: Port, link: Option<Link>, mpl_ms: u32, post: Post<Told>) -> Self {
        Self {
            format: shim.format(),
            max_packet: shim.max_payload(),
            shim,
            port,
            link,
            mpl_ms,
            flows: Flows::default(),
            requests: Requests::default(),
            waiting: Vec::new(),
            post,
            up: true,
            dirty: true,
            retry: None,
            past: Counters::default(),
            foreign: 0,
            stray: 0,
            undelivered: 0,
            scratch: Vec::new(),
            watched: false,
        }
    }

    fn tell(&self, output: Output) {
        self.post.send(Told::Daemon(output));
    }

    /// Starts to listen. Called by the thread, once.
    fn watch(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.watch(&self.port, SOCKET)?;
        if let Some(link) = &self.link {
            cx.watch(link, LINK)?;
        }
        Ok(())
    }

    fn alloc(&mut self, cx: &mut Context, request: IpcpFlowAlloc, end: End) {
        let key = FlowKey(request.flow_id);
        let asked = QosSpec::try_from(request.qos).and_then(|qos| {
            let hash = NameHash::from_bytes(&request.hash);
            let asked = self
                .shim
                .alloc(cx.now(), key, hash, qos, &request.piggyback);
            asked.map(|()| qos).map_err(command_error)
        });
        self.dirty = true;
        match asked {
            Ok(qos) => self.add(cx, key, end, &qos),
            Err(error) => self.tell(refuse(request.flow_id, &error)),
        }
        self.events(cx);
    }

    /// Takes the end of a flow in, whose packets wait until it is up.
    fn add(&mut self, cx: &mut Context, key: FlowKey, mut end: End, qos: &QosSpec) {
        end.pause(true);
        if !self.up {
            end.set_down(true);
        }
        let Some(token) = cx.add(end) else {
            let _ = self.shim.dealloc(cx.now(), key, Duration::ZERO);
            return;
        };
        self.flows.insert(Flow {
            key,
            token,
            path: None,
            waits: waits(qos),
            linger: Duration::ZERO,
            counters: Counters::default(),
        });
    }

    fn respond(&mut self, cx: &mut Context, response: FlowResponse, end: Option<End>) {
        let flow_id = response.flow_id;
        let Some((request, qos)) = self.requests.answered(flow_id) else {
            // The one who asked has given up meanwhile.
            if let Some(end) = end {
                self.tell(Output::Ended(end.end()));
            }
            return;
        };
        let key = FlowKey(flow_id);
        let answer = match (&response.refusal, end) {
            (None, Some(end)) => {
                self.add(cx, key, end, &qos);
                Ok(key)
            }
            (Some(failure), _) => Err(-failure.errno.abs().max(1)),
            (None, None) => Err(-ErrorKind::Ipcp.errno()),
        };
        self.dirty = true;
        let answered = self
            .shim
            .respond(cx.now(), request, answer, &response.piggyback);
        if let Err(error) = answered {
            tracing::warn!("Cannot answer a flow request: {error}.");
            if let Some(token) = self.flows.token(key) {
                self.flows.remove(token);
                cx.remove(token);
            }
        }
        self.events(cx);
        // Before the program's packets, which 0.23 drops on eth-llc until it has the answer
        // (`spec/shims.md` §5.5 item 3).
        self.transmit();
    }

    fn taken(&mut self, cx: &mut Context, request: RequestKey, answer: Result<u64>) {
        match answer {
            Ok(flow) if !self.requests.taken(request, flow) => self.tell(over(flow)),
            Ok(_) => {}
            Err(error) => {
                if self.requests.refused(request) {
                    let refusal = Err(-error.errno());
                    // Over meanwhile, if it fails.
                    let _ = self.shim.respond(cx.now(), request, refusal, &[]);
                    self.dirty = true;
                }
            }
        }
    }

    /// Takes the machine's events. After every call of it that may make any.
    pub(super) fn events(&mut self, cx: &mut Context) {
        while let Some(event) = self.shim.poll_event() {
            self.event(cx, event);
        }
    }

    fn event(&mut self, cx: &mut Context, event: Event) {
        match event {
            Event::QueryResult { query, result } => {
                let outcome = result
                    .map(|()| Outcome::Done)
                    .map_err(|error| Error::new(ErrorKind::Name, error.to_string()));
                self.tell(Output::Done(Operation(query.0), outcome));
            }
            Event::Resolve { hash } => self.post.send(Told::Resolve(hash)),
            Event::RequestArrived {
                request,
                hash,
                qos,
                piggyback,
            } => {
                self.requests.arrived(request, qos);
                self.tell(Output::Request(
                    request.0,
                    FlowReqArr {
                        hash: hash.as_bytes().to_vec(),
                        qos: qos.into(),
                        mpl_ms: self.mpl_ms,
                        piggyback,
                        local_flow_id: None,
                        max_packet: u32::try_from(self.max_packet).unwrap_or(0),
                    },
                ));
            }
            Event::RequestGone { request } => {
                if let Some(flow_id) = self.requests.gone(request) {
                    self.tell(over(flow_id));
                }
            }
            Event::FlowUp { flow, path } => {
                if let Some(token) = self.flows.set_path(flow, path)
                    && let Some(end) = cx.end(token)
                {
                    end.pause(false);
                    cx.activate(token);
                }
            }
            Event::Granted { flow, piggyback } => self.tell(Output::Reply(FlowResponse {
                flow_id: flow.0,
                mpl_ms: self.mpl_ms,
                max_packet: u32::try_from(self.max_packet).unwrap_or(0),
                piggyback,
                ..FlowResponse::default()
            })),
            Event::Refused { flow, reason } => self.refused(cx, flow, reason),
            Event::Early { flow, packet } => {
                if let Some(token) = self.flows.token(flow) {
                    self.deliver(cx, token, &packet);
                }
            }
            Event::FlowDown { flow, reason } => {
                if let Some(token) = self.flows.token(flow) {
                    match reason {
                        DownReason::Deallocated => {}
                        DownReason::PeerLeft => {
                            tracing::debug!("The peer of flow {} has left it.", flow.0);
                        }
                        DownReason::AddressChanged => tracing::warn!(
                            "Flow {} is over: its peer knows the device's old address.",
                            flow.0
                        ),
                    }
                    self.forget(cx, token);
                }
            }
            Event::Link { up } => self.set_up(cx, up),
            Event::MaxPayload { bytes } => {
                tracing::info!("Packets of up to {bytes} bytes fit from now on.");
                self.max_packet = bytes;
            }
        }
    }

    fn refused(&mut self, cx: &mut Context, key: FlowKey, reason: Refusal) {
        // The refusal gives the end back.
        if let Some(token) = self.flows.token(key) {
            self.flows.remove(token);
            drop(cx.take(token));
        }
        self.tell(refuse(key.0, &refusal(&reason)));
    }

    fn set_up(&mut self, cx: &mut Context, up: bool) {
        if self.up == up {
            return;
        }
        self.up = up;
        if up {
            tracing::info!("The link is up.");
        } else {
            tracing::warn!("The link is down; flows wait for it.");
        }
        for flow in self.flows.iter() {
            if let Some(end) = cx.end(flow.token) {
                end.set_down(!up);
            }
        }
    }

    /// Gives an end up: the machine knows that the flow is over.
    fn forget(&mut self, cx: &mut Context, token: Token) {
        if let Some(flow) = self.flows.remove(token) {
            self.past.add(&flow.counters);
        }
        cx.remove(token);
    }

    /// The program is done with its flow, or with waiting for it.
    pub(super) fn end(&mut self, cx: &mut Context, token: Token) {
        if let Some(flow) = self.flows.get(token) {
            let (key, linger) = (flow.key, flow.linger);
            // Unknown to the machine: over there already.
            let _ = self.shim.dealloc(cx.now(), key, linger);
            self.dirty = true;
        }
        self.forget(cx, token);
    }

    /// Takes what the network says of datagrams that were not delivered. The socket is readable until all
    /// of it was taken.
    fn take_undelivered(&mut self, cx: &mut Context) -> Progress {
        if self.format != Format::Udp {
            return Progress::None;
        }
        let mut progress = Progress::None;
        for _ in 0..UNDELIVERED {
            let Some(undelivered) = sys_errors::take(&self.port) else {
                break;
            };
            progress = Progress::Some;
            if undelivered.is_nobody() {
                self.undelivered += 1;
                let to = undelivered.to.into();
                self.shim.unreachable(cx.now(), to, undelivered.quoted());
            }
        }
        if progress == Progress::Some {
            self.dirty = true;
            self.events(cx);
        }
        progress
    }

    fn link(&mut self, cx: &mut Context) -> Progress {
        let changes = self.link.as_mut().map(Link::read).unwrap_or_default();
        for change in &changes {
            match *change {
                Change::Up(up) => self.shim.set_link(up),
                Change::Mtu(mtu) => {
                    self.port.set_longest(eth::frame_room(mtu));
                    self.shim.set_mtu(mtu);
                }
                Change::Address(mac) => {
                    self.shim.set_mac(cx.now(), mac);
                    self.format = self.shim.format();
                }
            }
        }
        if changes.is_empty() {
            return Progress::None;
        }
        self.dirty = true;
        self.events(cx);
        Progress::Some
    }
}

impl DataPath for Network {
    type Command = Command;

    fn command(&mut self, cx: &mut Context, command: Command) {
        let now = cx.now();
        self.dirty = true;
        match command {
            Command::Register(operation, hash) => {
                let outcome = self.shim.register(hash).map(|()| Outcome::Done);
                match (operation, outcome.map_err(command_error)) {
                    (Some(operation), outcome) => self.tell(Output::Done(operation, outcome)),
                    (None, Err(error)) => tracing::error!("Cannot register a name: {error}."),
                    (None, Ok(_)) => {}
                }
            }
            Command::Withdraw(hash) => self.shim.unregister(&hash),
            Command::Query(operation, hash) => {
                self.shim.query(now, QueryKey(operation.0), hash, QUERY);
            }
            Command::Resolved(hash, addresses) => self.shim.resolved(now, &hash, &addresses),
            Command::Alloc(request, end) => self.alloc(cx, request, end),
            Command::Taken(request, answer) => self.taken(cx, request, answer),
            Command::Respond(response, end) => self.respond(cx, response, end),
            Command::GiveUp(flow) => {
                if let Some((request, _)) = self.requests.answered(flow) {
                    let refusal = Err(-ErrorKind::FlowDown.errno());
                    let _ = self.shim.respond(now, request, refusal, &[]);
                }
            }
            Command::Status(operation) => {
                let status = self.status();
                self.tell(Output::Done(operation, Ok(Outcome::Status(status))));
            }
        }
        self.events(cx);
    }

    fn poll(&mut self, cx: &mut Context, flow: Token) -> Progress {
        self.send(cx, flow)
    }

    fn dealloc(&mut self, _cx: &mut Context, flow: Token, linger: Duration) {
        // The end itself says that it is over.
        if let Some(flow) = self.flows.get(flow) {
            flow.linger = linger;
        }
    }

    fn readable(&mut self, cx: &mut Context, source: u64) -> Progress {
        match source {
            SOCKET => {
                let heard = self.port.counters().heard;
                match self.receive(cx) {
                    // Nothing came: it is not for a datagram that the thread was woken.
                    Progress::None if self.port.counters().heard == heard => {
                        self.take_undelivered(cx)
                    }
                    progress => progress,
                }
            }
            LINK => self.link(cx),
            _ => Progress::None,
        }
    }

    fn spins(&self) -> bool {
        false
    }

    fn alarm(&mut self, cx: &mut Context) {
        if self.retry.is_some_and(|at| at <= cx.now()) {
            self.retry = None;
        }
        if self.shim.poll_timeout().is_some_and(|at| at <= cx.now()) {
            self.shim.handle_timeout(cx.now());
            self.dirty = true;
            self.events(cx);
        }
    }

    fn finish(&mut self, cx: &mut Context) -> Progress {
        if !self.watched {
            self.watched = true;
            if let Err(error) = self.watch(cx) {
                let error = Error::system("listen to the network", &error);
                self.post.send(Told::Deaf(error));
            }
        }
        if self.retry.is_none() {
            self.transmit();
            if !self.port.is_empty() {
                self.port.flush();
            }
            if self.port.is_blocked() {
                self.retry = Some(cx.now() + RETRY);
            } else {
                for token in self.waiting.drain(..) {
                    if let Some(end) = cx.end(token) {
                        end.pause(false);
                    }
                    cx.activate(token);
                }
            }
        }
        let machine = self.shim.poll_timeout();
        cx.set_alarm(machine.into_iter().chain(self.retry).min());
        Progress::None
    }
}

/// Whether packets of such a flow wait when the network takes none: an old packet is worth nothing
/// to a flow with a bound on its delay that can stand loss.
fn waits(qos: &QosSpec) -> bool {
    qos.loss == 0 || qos.delay == u32::MAX
}
