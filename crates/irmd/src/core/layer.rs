//! Flow allocation over layers: asking for the destination, choosing the layer, and the requests and
//! outcomes that come back from it (`spec/irm-tools.md` §5.3, §5.4).

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{Body, Failure, FlowId, FlowReqArr, FlowResponse, Hash, IpcpFlowAlloc},
};
use o7s_wire::hash::NameHash;

use super::{
    Context, Core, Role, Side,
    autostart::nobody_bound,
    flow::Holder,
    ipcp::Call,
    limits,
    request::{Alloc, Key, Request, Route, Stage, What},
    timer::Timer,
};

impl Core {
    /// Asks every layer for the destination, all at once.
    pub(super) fn ask_layers(&mut self, cx: &mut dyn Context, key: Key) {
        let layers = self.layers();
        if layers.is_empty() {
            self.no_layer(cx, key);
            return;
        }
        let timer = self
            .timers
            .arm(cx.now() + limits::QUERY, Timer::Queries(key));
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.route = Route::Queries {
            layers: layers.iter().map(|(pid, _)| (*pid, None)).collect(),
            timer: Some(timer),
        };
        let name = alloc.name.clone();
        for (pid, hash) in layers {
            let hash = hash.digest(name.as_bytes()).as_bytes().to_vec();
            self.call_ipcp(cx, pid, Body::IpcpQuery(Hash { hash }), Call::Query(key));
        }
    }

    /// An IPCP says whether its layer reaches the destination.
    pub(super) fn query_answered(
        &mut self,
        cx: &mut dyn Context,
        key: Key,
        ipcp: i32,
        reachable: bool,
    ) {
        let Some(Alloc {
            route: Route::Queries { layers, .. },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        for (pid, answer) in layers.iter_mut() {
            if *pid == ipcp {
                *answer = Some(reachable);
            }
        }
        self.choose_layer(cx, key);
    }

    /// Whoever has not answered by now does not reach the destination.
    pub(super) fn queries_expired(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(Alloc {
            route: Route::Queries { layers, timer },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        *timer = None;
        for (_, answer) in layers.iter_mut() {
            answer.get_or_insert(false);
        }
        self.choose_layer(cx, key);
    }

    /// Takes the first layer that reaches the destination once all before it have said no.
    fn choose_layer(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(Alloc {
            route: Route::Queries { layers, timer },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        let first = layers.iter().find(|(_, answer)| *answer != Some(false));
        let (chosen, timer) = match first {
            Some((_, None)) => return,
            Some((pid, _)) => (Some(*pid), *timer),
            None => (None, *timer),
        };
        self.timers.disarm(timer);
        let Some(ipcp) = chosen else {
            self.no_layer(cx, key);
            return;
        };
        let flow = self.next_flow_id();
        let hash = self.ipcp_hash(ipcp);
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.route = Route::Layer {
            ipcp,
            flow,
            stage: Stage::Asked,
            mpl_ms: 0,
            max_packet: 0,
        };
        let request = IpcpFlowAlloc {
            flow_id: flow,
            hash: hash.digest(alloc.name.as_bytes()).as_bytes().to_vec(),
            qos: alloc.qos,
            piggyback: Vec::new(),
            end: None,
        };
        self.layer_allocs.insert(flow, key);
        self.ask_ipcp(cx, key, ipcp, request);
    }

    /// Asks an IPCP for a flow; unless its layer shares segments, with its end of it.
    fn ask_ipcp(&mut self, cx: &mut dyn Context, key: Key, ipcp: i32, request: IpcpFlowAlloc) {
        let flow = request.flow_id;
        let call = Call::Alloc(key, flow);
        if self.shares_segments(ipcp) {
            self.call_ipcp(cx, ipcp, Body::IpcpFlowAlloc(request), call);
            return;
        }
        let Some(asking) = self.requests.get(&key) else {
            return;
        };
        let holders = (Holder::Process(asking.pid), Holder::Ipcp(ipcp));
        let What::Alloc(Alloc { name, qos, .. }) = &asking.what else {
            return;
        };
        let (name, qos) = (name.clone(), *qos);
        if let Err(error) = self.make_flow(cx, flow, holders, &name, qos) {
            tracing::warn!("Cannot make a flow to {name}: {error}");
            self.answer(cx, key, Err(error));
            return;
        }
        // The other end of the segment is the IPCP's, and it has it from here on.
        self.set_stage(key, Stage::Accepted);
        self.call_with_end(cx, (ipcp, call), (flow, Side::B), 0, |end| {
            Body::IpcpFlowAlloc(IpcpFlowAlloc {
                end: Some(end),
                ..request
            })
        });
    }

    /// No layer reaches the destination.
    fn no_layer(&mut self, cx: &mut dyn Context, key: Key) {
        let asked = self.layer_names();
        let Some(request) = self.requests.get(&key) else {
            return;
        };
        let client = request.pid;
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.route = Route::Direct;
        let name = alloc.name.clone();
        if self.has_direct_way(client, &name) {
            // Somebody came meanwhile.
            self.enqueue(cx, key);
            return;
        }
        let asked = match asked.len() {
            0 => "this machine is in no layer".to_owned(),
            1 => format!("1 layer asked: {}", asked[0]),
            number => format!("{number} layers asked: {}", asked.join(", ")),
        };
        let advice = format!(
            "register it with 'irm name register {name} layer …' and bind a program or process to \
             it"
        );
        let error = match self.names.get(&name) {
            None => Error::new(
                ErrorKind::Name,
                format!("no layer of this machine knows the name {name:?} ({asked}); {advice}"),
            ),
            Some(entry) => {
                // A bound program may be started by hand while the request waits.
                let others = self.is_served(&name);
                if !entry.programs.is_empty() && !others && self.settings.direct {
                    self.enqueue(cx, key);
                    return;
                }
                if entry.programs.is_empty() && !others {
                    nobody_bound(&name)
                } else {
                    Error::new(
                        ErrorKind::Ipcp,
                        format!(
                            "{name:?} is served here, but not directly for this user, and no \
                             layer reaches it ({asked}); register it with 'irm name register \
                             {name} layer …'"
                        ),
                    )
                }
            }
        };
        self.answer(cx, key, Err(error));
    }

    /// A request arrived over a layer.
    pub(super) fn flow_request_arrived(
        &mut self,
        cx: &mut dyn Context,
        ipcp: i32,
        arrived: &FlowReqArr,
    ) -> Result<FlowId> {
        let Some(flow_id) = arrived.local_flow_id else {
            return self.enter_arrival(cx, ipcp, arrived);
        };
        let unknown = || {
            Error::new(
                ErrorKind::NotAllocated,
                format!("flow request {flow_id} is over"),
            )
        };
        let key = *self.layer_allocs.get(&flow_id).ok_or_else(unknown)?;
        let name = self.names.by_hash(&arrived.hash).map(str::to_owned);
        let Some(alloc) = self.alloc_mut(key) else {
            return Err(unknown());
        };
        let name = name.ok_or_else(|| {
            Error::new(
                ErrorKind::Name,
                format!(
                    "{:?} is registered in the layer, but this irmd has no such name; create it \
                     with 'irm name create {}' and bind a program or process to it",
                    alloc.name, alloc.name
                ),
            )
        })?;
        if name != alloc.name {
            return Err(unknown());
        }
        match &mut alloc.route {
            Route::Layer {
                ipcp: asked,
                stage: stage @ Stage::Asked,
                mpl_ms,
                ..
            } if *asked == ipcp => {
                *stage = Stage::Queued;
                *mpl_ms = arrived.mpl_ms;
            }
            _ => return Err(unknown()),
        }
        tracing::debug!("Flow request arrived for {name}.");
        if !self.has_anybody(&name) {
            self.set_stage(key, Stage::Asked);
            return Err(nobody_bound(&name));
        }
        Ok(FlowId { flow_id })
    }

    /// Whether somebody is bound to a name who may accept.
    fn has_anybody(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|entry| {
            let mut bound = entry.processes.iter();
            !entry.programs.is_empty() || bound.any(|pid| self.processes.contains_key(pid))
        })
    }

    /// Enters a request whose asking end is elsewhere: a request of the IPCP, by its flow id.
    fn enter_arrival(
        &mut self,
        cx: &mut dyn Context,
        ipcp: i32,
        arrived: &FlowReqArr,
    ) -> Result<FlowId> {
        QosSpec::try_from(arrived.qos)?;
        let name = self.names.by_hash(&arrived.hash).map(str::to_owned);
        let name = name.ok_or_else(|| {
            Error::new(
                ErrorKind::Name,
                format!(
                    "no name of this irmd has the hash {}; create the name with 'irm name create' \
                     and bind a program or process to it",
                    NameHash::from_bytes(&arrived.hash)
                ),
            )
        })?;
        tracing::debug!("Flow request arrived for {name} over IPCP {ipcp}.");
        if !self.has_anybody(&name) {
            return Err(nobody_bound(&name));
        }
        let flow = self.next_flow_id();
        let what = What::Alloc(Alloc {
            name,
            qos: arrived.qos,
            limit: limits::ALLOC,
            route: Route::Layer {
                ipcp,
                flow,
                stage: Stage::Queued,
                mpl_ms: arrived.mpl_ms,
                max_packet: arrived.max_packet,
            },
            arrival: None,
        });
        let conn = self.ipcp_conn(ipcp)?;
        let key = self.defer(cx, conn, flow, what, Some(limits::ALLOC))?;
        self.layer_allocs.insert(flow, key);
        Ok(FlowId { flow_id: flow })
    }

    /// Whether a request came in over a layer, from an asker that is elsewhere.
    pub(super) fn is_arrival(&self, request: &Request) -> bool {
        let conn = self.conns.get(&request.conn);
        conn.is_some_and(|conn| matches!(conn.role, Role::Ipcp { .. }))
    }

    /// Refuses a request that came in over a layer and was taken out of the tables.
    pub(super) fn refuse_arrival(
        &mut self,
        cx: &mut dyn Context,
        request: &Request,
        error: &Error,
    ) {
        if let What::Alloc(Alloc {
            name,
            route: Route::Layer { ipcp, flow, .. },
            ..
        }) = &request.what
        {
            tracing::debug!("Flow request for {name} refused: {error}");
            let response = FlowResponse {
                flow_id: *flow,
                refusal: Some(Failure::from(error)),
                ..FlowResponse::default()
            };
            self.call_ipcp(cx, *ipcp, Body::IpcpFlowAllocResp(response), Call::Ignored);
        }
    }

    /// A request that came in was accepted: the IPCP gets its end.
    pub(super) fn arrival_accepted(
        &mut self,
        cx: &mut dyn Context,
        key: Key,
        response: FlowResponse,
    ) {
        let Some(Request {
            what:
                What::Alloc(Alloc {
                    route: Route::Layer { ipcp, .. },
                    ..
                }),
            ..
        }) = self.take_request(key)
        else {
            return;
        };
        let (flow, mpl_ms) = (response.flow_id, response.mpl_ms);
        let call = (ipcp, Call::Accepted(flow));
        self.call_with_end(cx, call, (flow, Side::A), mpl_ms, |end| {
            Body::IpcpFlowAllocResp(FlowResponse {
                end: Some(end),
                ..response
            })
        });
    }

    /// The IPCP says that a request that came in is over.
    pub(super) fn arrival_over(&mut self, ipcp: i32, flow: u64) {
        let Some(key) = self.layer_allocs.get(&flow).copied() else {
            return;
        };
        let request = self.requests.get(&key);
        if request.is_some_and(|request| request.pid == ipcp && self.is_arrival(request)) {
            self.take_request(key);
        }
    }

    /// The IPCP knows the flow id of the request that arrived: now it may be accepted.
    pub(super) fn flow_request_entered(&mut self, cx: &mut dyn Context, flow_id: u64) {
        if let Some(key) = self.layer_allocs.get(&flow_id) {
            self.enqueue(cx, *key);
        }
    }

    /// The outcome of an allocation over a layer.
    pub(super) fn flow_alloc_replied(
        &mut self,
        cx: &mut dyn Context,
        ipcp: i32,
        reply: FlowResponse,
    ) {
        let end = (reply.flow_id, Side::B);
        let refused = reply.refusal.as_ref();
        let refused = refused.map(|failure| Error::from(failure.clone()).kind());
        self.flow_alloc_ended(cx, ipcp, reply);
        if let Some(kind) = refused {
            self.ipcp_refused(cx, ipcp, end, kind);
        }
    }

    fn flow_alloc_ended(&mut self, cx: &mut dyn Context, ipcp: i32, reply: FlowResponse) {
        let Some(key) = self.layer_allocs.get(&reply.flow_id).copied() else {
            return;
        };
        let Some(Alloc {
            name,
            route: Route::Layer {
                ipcp: asked, stage, ..
            },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        if *asked != ipcp {
            return;
        }
        let (name, stage) = (name.clone(), *stage);
        if let Some(refusal) = reply.refusal {
            tracing::info!("Allocation rejected: {name} ({}).", refusal.errno);
            self.answer(cx, key, Err(refusal.into()));
            return;
        }
        if stage != Stage::Accepted {
            tracing::warn!("IPCP {ipcp} granted a flow to {name} that nobody accepted.");
            return;
        }
        let flow = reply.flow_id;
        self.set_max_packet(flow, reply.max_packet);
        // The end belongs to the client from here on.
        self.layer_allocs.remove(&flow);
        if let Some(alloc) = self.alloc_mut(key) {
            alloc.route = Route::Direct;
        }
        if let Some(request) = self.take_request(key) {
            let mpl_ms = reply.mpl_ms;
            if !self.send_end(cx, request.conn, request.id, flow, Side::A, mpl_ms) {
                self.abandon_end(cx, flow, Side::A);
            }
            tracing::debug!("Flow {flow} allocated for {} to {name}.", request.pid);
        }
    }
}
