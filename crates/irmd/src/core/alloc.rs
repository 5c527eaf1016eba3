//! Flow allocation: choosing the way, and matching requests with acceptors
//! (`spec/irm-tools.md` §5). What goes over layers is in `layer`.
//!
//! A destination needs no name of its own here. If somebody is bound to the name in this daemon the
//! request goes to him directly; else the layers are asked in registry order. Requests that find no
//! acceptor wait in the queue of their name, oldest first.

use std::time::Duration;

use o7s::{
    Error, ErrorKind, Name, QosSpec, Result,
    control::{Body, Failure, FlowAccept, FlowAlloc, FlowResponse},
};

use super::{
    ConnId, Context, Core, Peer, Side,
    flow::Holder,
    ipcp::Call,
    limits,
    request::{Alloc, Key, Request, Route, Stage, What},
    security::Exchange,
};
use crate::security;

/// What came of bringing a request and an acceptor together.
enum Match {
    /// Both have their ends.
    Made,
    /// The acceptor is gone; the request still waits.
    AcceptorGone,
    /// The request is over; the acceptor still waits.
    RequestOver,
}

impl Core {
    pub(super) fn flow_alloc(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        alloc: &FlowAlloc,
    ) -> Result<()> {
        let name = Name::new(&alloc.dst)?.as_str().to_owned();
        check_demand(alloc)?;
        let pid = self.process_of(conn)?.key;
        let limit = alloc.timeout_ns.map_or(limits::ALLOC, Duration::from_nanos);
        tracing::debug!("Allocating flow for {pid} to {name}.");
        let direct = self.has_direct_way(pid, &name);
        let what = What::Alloc(Alloc {
            name,
            qos: alloc.qos,
            limit,
            route: Route::Direct,
            exchange: Box::new(Exchange::new(alloc)),
            joins: false,
            arrival: None,
        });
        let key = self.defer(cx, conn, id, what, Some(limit))?;
        if direct {
            self.agree_directly(cx, key);
        } else {
            self.ask_layers(cx, key);
        }
        Ok(())
    }

    /// Whether a server for `name` runs, as far as this daemon knows.
    pub(super) fn is_served(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|entry| {
            let mut pids = entry.processes.iter();
            pids.any(|pid| {
                self.processes
                    .get(pid)
                    .is_some_and(|process| process.serves)
            })
        })
    }

    /// Whether somebody in this daemon accepts, or can be made to accept, flows for `name`, and may
    /// share memory with process `pid`.
    pub(super) fn has_direct_way(&self, pid: i32, name: &str) -> bool {
        let (Some(entry), Some(client)) = (self.names.get(name), self.processes.get(&pid)) else {
            return false;
        };
        let trust = self.settings.trust;
        let mut running = entry.processes.iter();
        self.settings.direct
            && (running.any(|server| {
                let itself = *server == pid && self.ipcps.contains_key(&pid);
                let server = self.processes.get(server).filter(|_| !itself);
                server.is_some_and(|server| {
                    server.serves && trust.may_share(&client.peer, &server.peer)
                })
            }) || entry.autos.iter().any(|auto| {
                let starter = Peer {
                    pid: 0,
                    uid: auto.program.uid,
                    gid: auto.program.gid,
                    in_group: false,
                };
                trust.may_share(&client.peer, &starter)
            }))
    }

    /// Two ends in this daemon agreed on how their flow is protected.
    pub(super) fn agreed_directly(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(request) = self.requests.get(&key) else {
            return;
        };
        let What::Alloc(alloc) = &request.what else {
            return;
        };
        let (pid, name) = (request.pid, alloc.name.clone());
        let may_come = self.settings.direct
            && !self.is_served(&name)
            && (self.names.get(&name)).is_some_and(|entry| !entry.programs.is_empty());
        if may_come || self.has_direct_way(pid, &name) {
            self.enqueue(cx, key);
        } else {
            // Whoever was there has gone meanwhile.
            self.ask_layers(cx, key);
        }
    }

    /// Puts a request into the queue of its name, after an attempt to serve it at once.
    pub(super) fn enqueue(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(What::Alloc(alloc)) = self.requests.get(&key).map(|request| &request.what) else {
            return;
        };
        let name = alloc.name.clone();
        let Some(entry) = self.names.get_mut(&name) else {
            return;
        };
        if entry.queue.len() >= limits::QUEUE_PER_NAME {
            let error = Error::new(
                ErrorKind::Ipcp,
                format!(
                    "too many flow requests ({}) wait for {name:?}; try again later",
                    limits::QUEUE_PER_NAME
                ),
            );
            self.answer(cx, key, Err(error));
            return;
        }
        entry.queue.insert(key);
        for accept in entry.acceptors() {
            match self.connect(cx, key, accept) {
                Some(Match::Made | Match::RequestOver) => return,
                Some(Match::AcceptorGone) | None => {}
            }
        }
        self.review_queue(cx, &name);
    }

    pub(super) fn flow_accept(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        accept: FlowAccept,
    ) -> Result<()> {
        let pid = self.process_of(conn)?.key;
        let limit = accept.timeout_ns.map(Duration::from_nanos);
        let key = self.defer(cx, conn, id, What::Accept, limit)?;
        if let Some(process) = self.processes.get_mut(&pid) {
            process.accepts.insert(key);
            process.serves = true;
            for name in &process.names {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.waiting.insert(key);
                }
            }
        }
        self.serve(cx, key);
        if limit.is_some_and(|limit| limit.is_zero()) {
            self.request_expired(cx, key);
        }
        Ok(())
    }

    /// Serves the oldest request that a waiting accept can take, if there is one.
    pub(super) fn serve(&mut self, cx: &mut dyn Context, accept: Key) {
        loop {
            let Some(pid) = self.requests.get(&accept).map(|request| request.pid) else {
                return;
            };
            let Some(process) = self.processes.get(&pid) else {
                return;
            };
            let queues = process.names.iter().filter_map(|name| self.names.get(name));
            let oldest = queues
                .filter_map(|entry| {
                    let mut queue = entry.queue.iter();
                    queue.find(|key| self.may_connect(**key, pid)).copied()
                })
                .min();
            let Some(key) = oldest else {
                return;
            };
            match self.connect(cx, key, accept) {
                Some(Match::RequestOver) => {}
                Some(Match::Made | Match::AcceptorGone) | None => return,
            }
        }
    }

    /// Whether a queued request may meet an acceptor of process `pid`.
    fn may_connect(&self, key: Key, pid: i32) -> bool {
        let Some(request) = self.requests.get(&key) else {
            return false;
        };
        let What::Alloc(alloc) = &request.what else {
            return false;
        };
        // An IPCP is no neighbour of itself, and its flows do not come out of its own layer.
        let is_ipcp = self.ipcps.contains_key(&pid);
        if is_ipcp && request.pid == pid {
            return false;
        }
        if let Route::Layer { ipcp, .. } = alloc.route {
            return !is_ipcp || !self.above(pid).contains(&ipcp);
        }
        let client = self.processes.get(&request.pid);
        let server = self.processes.get(&pid);
        client.zip(server).is_some_and(|(client, server)| {
            self.settings.trust.may_share(&client.peer, &server.peer)
        })
    }

    /// Brings a queued request and a waiting accept together; none if they may not meet.
    fn connect(&mut self, cx: &mut dyn Context, key: Key, accept: Key) -> Option<Match> {
        let server = self.requests.get(&accept)?;
        let (server_pid, server_conn, server_id) = (server.pid, server.conn, server.id);
        if !self.may_connect(key, server_pid) {
            return None;
        }
        let request = self.requests.get(&key)?;
        let client_pid = request.pid;
        let What::Alloc(alloc) = &request.what else {
            return None;
        };
        let (name, qos) = (alloc.name.clone(), alloc.qos);
        let [client_agreed, server_agreed] = alloc.exchange.agreed.clone();
        let piggyback = alloc.exchange.response.clone();
        let arrival = self.is_arrival(request);
        let (flow, mpl_ms, via, max_packet) = match alloc.route {
            Route::Layer {
                ipcp,
                flow,
                mpl_ms,
                max_packet,
                ..
            } => (flow, mpl_ms, Some(ipcp), max_packet),
            _ => (self.next_flow_id(), limits::DIRECT_MPL_MS, None, 0),
        };
        let asker = match via {
            Some(ipcp) if arrival => Holder::Ipcp(ipcp),
            _ => Holder::Process(client_pid),
        };
        let holders = (asker, Holder::Process(server_pid));
        if let Err(error) = self.make_flow(cx, flow, holders, &name, qos) {
            tracing::warn!("Cannot make a flow to {name}: {error}");
            self.answer(cx, key, Err(error));
            return Some(Match::RequestOver);
        }
        self.set_max_packet(flow, max_packet);
        if !self.send_end(
            cx,
            server_conn,
            server_id,
            flow,
            Side::B,
            mpl_ms,
            server_agreed,
        ) {
            self.unmake_flow(cx, flow);
            self.take_request(accept);
            return Some(Match::AcceptorGone);
        }
        self.take_request(accept);
        if let Some(entry) = self.names.get_mut(&name) {
            entry.queue.remove(&key);
        }
        let how = if via.is_some() { "" } else { " (direct)" };
        tracing::debug!("Flow {flow} accepted{how} by {server_pid} for {name}.");
        match via {
            None => {
                if let Some(request) = self.take_request(key)
                    && !self.send_end(
                        cx,
                        request.conn,
                        request.id,
                        flow,
                        Side::A,
                        mpl_ms,
                        client_agreed,
                    )
                {
                    self.abandon_end(cx, flow, Side::A);
                }
                tracing::debug!("Flow {flow} allocated{how} for {client_pid} to {name}.");
            }
            Some(ipcp) => {
                let response = FlowResponse {
                    flow_id: flow,
                    refusal: None,
                    mpl_ms,
                    piggyback,
                    ..FlowResponse::default()
                };
                if arrival {
                    self.arrival_accepted(cx, key, response);
                    return Some(Match::Made);
                }
                self.set_stage(key, Stage::Accepted);
                self.call_ipcp(cx, ipcp, Body::IpcpFlowAllocResp(response), Call::Ignored);
            }
        }
        Some(Match::Made)
    }

    pub(super) fn next_flow_id(&mut self) -> u64 {
        self.next_flow += 1;
        self.next_flow - 1
    }

    pub(super) fn set_stage(&mut self, key: Key, to: Stage) {
        if let Some(Request {
            what:
                What::Alloc(Alloc {
                    route: Route::Layer { stage, .. },
                    ..
                }),
            ..
        }) = self.requests.get_mut(&key)
        {
            *stage = to;
        }
    }

    /// The allocation that a request is.
    pub(super) fn alloc_mut(&mut self, key: Key) -> Option<&mut Alloc> {
        match &mut self.requests.get_mut(&key)?.what {
            What::Alloc(alloc) => Some(alloc),
            _ => None,
        }
    }

    /// Refuses every request in the queue of a name.
    pub(super) fn refuse_queue(&mut self, cx: &mut dyn Context, name: &str, error: &Error) {
        let Some(entry) = self.names.get(name) else {
            return;
        };
        let waiting: Vec<Key> = entry.queue.iter().copied().collect();
        for key in waiting {
            self.answer(cx, key, Err(error.clone()));
        }
    }

    /// An accept no longer waits.
    pub(super) fn leave_accept(&mut self, pid: i32, key: Key) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.accepts.remove(&key);
            for name in &process.names {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.waiting.remove(&key);
                }
            }
        }
    }

    /// An allocation no longer waits in any table.
    pub(super) fn leave_alloc(&mut self, key: Key, alloc: &Alloc) {
        if let Some(entry) = self.names.get_mut(&alloc.name) {
            entry.queue.remove(&key);
        }
        self.timers.disarm(alloc.arrival);
        self.leave_exchange(alloc);
        match &alloc.route {
            Route::Queries { timer, .. } => self.timers.disarm(*timer),
            Route::Layer { flow, .. } => {
                self.layer_allocs.remove(flow);
            }
            Route::Direct => {}
        }
    }

    /// An allocation failed or was dropped: tells the layer and the acceptor.
    pub(super) fn give_up(&mut self, cx: &mut dyn Context, request: &Request) {
        let What::Alloc(alloc) = &request.what else {
            return;
        };
        let Route::Layer {
            ipcp, flow, stage, ..
        } = &alloc.route
        else {
            return;
        };
        match stage {
            Stage::Preparing | Stage::Asked => {}
            Stage::Checking => {
                if let Some((conn, id)) = alloc.exchange.asked() {
                    self.fail(cx, conn, id, &over());
                }
            }
            Stage::Queued => {
                let error = over();
                let response = FlowResponse {
                    flow_id: *flow,
                    refusal: Some(Failure::from(&error)),
                    ..FlowResponse::default()
                };
                self.call_ipcp(cx, *ipcp, Body::IpcpFlowAllocResp(response), Call::Ignored);
            }
            Stage::Accepted | Stage::Completing => self.abandon_end(cx, *flow, Side::A),
        }
    }

    /// Why an allocation timed out.
    pub(super) fn alloc_timed_out(&self, alloc: &Alloc) -> Error {
        let name = &alloc.name;
        let limit = alloc.limit;
        let queued = matches!(
            alloc.route,
            Route::Direct
                | Route::Layer {
                    stage: Stage::Queued,
                    ..
                }
        );
        let message = if alloc.joins {
            format!(
                "the IPCP of the broadcast layer {name:?} did not let the program in within \
                 {limit:?}; 'irm ipcp list' shows it, its log may say what it waits for"
            )
        } else if alloc.exchange.is_busy() {
            format!(
                "the key exchange for the flow to {name:?} was not done within {limit:?}: this \
                 irmd is busy; try again later, or allow more time"
            )
        } else if queued {
            if self.is_served(name) {
                format!(
                    "nobody accepted the flow to {name:?} within {limit:?}: processes are bound to \
                     the name, but none calls accept"
                )
            } else {
                format!(
                    "nobody accepted the flow to {name:?} within {limit:?}: a program is bound to \
                     the name, but it does not run as a server; start it"
                )
            }
        } else {
            format!("no layer answered the flow request to {name:?} within {limit:?}")
        };
        Error::new(ErrorKind::TimedOut, message)
    }
}

/// Refuses what no flow can have.
fn check_demand(alloc: &FlowAlloc) -> Result<()> {
    QosSpec::try_from(alloc.qos)?;
    if !alloc.kex.is_empty() {
        security::check_kex(&alloc.kex)?;
    }
    Ok(())
}

fn over() -> Error {
    Error::new(ErrorKind::TimedOut, "the flow request is over")
}
