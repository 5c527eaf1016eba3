//! Flow allocation over layers: asking for the destination, choosing the layer, and the requests and
//! outcomes that come back from it (`spec/irm-tools.md` §5.3, §5.4).

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, FlowId, FlowReqArr, FlowResponse, Hash, IpcpFlowAlloc},
};

use super::{
    ConnId, Context, Core, Side,
    autostart::nobody_bound,
    binding::no_name,
    ipcp::Call,
    limits,
    request::{Alloc, Key, Route, Stage},
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
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.route = Route::Layer {
            ipcp,
            flow,
            stage: Stage::Preparing,
            mpl_ms: 0,
        };
        self.layer_allocs.insert(flow, key);
        self.make_request(cx, key);
    }

    /// The request of the key exchange is ready: asks the layer for the flow.
    pub(super) fn request_made(&mut self, cx: &mut dyn Context, key: Key, piggyback: Vec<u8>) {
        let Some(Alloc {
            route: Route::Layer { ipcp, flow, .. },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        let (ipcp, flow) = (*ipcp, *flow);
        let hash = self.ipcp_hash(ipcp);
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        let request = IpcpFlowAlloc {
            flow_id: flow,
            hash: hash.digest(alloc.name.as_bytes()).as_bytes().to_vec(),
            qos: alloc.qos,
            piggyback,
        };
        self.set_stage(key, Stage::Asked);
        self.call_ipcp(cx, ipcp, Body::IpcpFlowAlloc(request), Call::Alloc(key));
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
            self.agree_directly(cx, key);
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
                    self.agree_directly(cx, key);
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

    /// A request arrived over a layer: it is checked, then `question` is answered.
    pub(super) fn flow_request_arrived(
        &mut self,
        cx: &mut dyn Context,
        question: (ConnId, u64),
        ipcp: i32,
        arrived: FlowReqArr,
    ) -> Result<()> {
        let Some(flow_id) = arrived.local_flow_id else {
            return Err(Error::new(
                ErrorKind::NotSupported,
                "flows from other machines are not supported by this version",
            ));
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
                *stage = Stage::Checking;
                *mpl_ms = arrived.mpl_ms;
            }
            _ => return Err(unknown()),
        }
        tracing::debug!("Flow request arrived for {name}.");
        let entry = self.names.get(&name).ok_or_else(unknown)?;
        let anybody = !entry.programs.is_empty()
            || entry
                .processes
                .iter()
                .any(|pid| self.processes.contains_key(pid));
        if !anybody {
            self.set_stage(key, Stage::Asked);
            return Err(nobody_bound(&name));
        }
        self.check_request(cx, key, question, arrived.piggyback);
        Ok(())
    }

    /// A request that arrived was checked: tells the IPCP its flow id, and lets somebody accept it.
    pub(super) fn request_checked(
        &mut self,
        cx: &mut dyn Context,
        key: Key,
        (conn, id): (ConnId, u64),
        outcome: Result<()>,
    ) {
        let Some(Alloc {
            name,
            route: Route::Layer { flow, .. },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        let (name, flow_id) = (name.clone(), *flow);
        let known = self.names.get(&name).is_some();
        let outcome = outcome.and_then(|()| known.then_some(()).ok_or_else(|| no_name(&name)));
        match outcome {
            Ok(()) => {
                self.set_stage(key, Stage::Queued);
                cx.send(conn, id, Body::FlowId(FlowId { flow_id }));
                self.enqueue(cx, key);
            }
            Err(error) => {
                // The client hears of it through the layer.
                self.set_stage(key, Stage::Asked);
                self.fail(cx, conn, id, &error);
            }
        }
    }

    /// The outcome of an allocation over a layer.
    pub(super) fn flow_alloc_replied(
        &mut self,
        cx: &mut dyn Context,
        ipcp: i32,
        reply: FlowResponse,
    ) {
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
        self.layer_allocs.remove(&reply.flow_id);
        if let Some(Alloc {
            route: Route::Layer { mpl_ms, .. },
            ..
        }) = self.alloc_mut(key)
        {
            *mpl_ms = reply.mpl_ms;
        }
        self.check_response(cx, key, reply.piggyback);
    }

    /// The response was checked: the flow is the client's.
    pub(super) fn response_checked(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(Alloc {
            name,
            route: Route::Layer { flow, mpl_ms, .. },
            exchange,
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        let (flow, mpl_ms, name) = (*flow, *mpl_ms, name.clone());
        let [client, _] = std::mem::take(&mut exchange.agreed);
        // The end belongs to the client from here on.
        if let Some(alloc) = self.alloc_mut(key) {
            alloc.route = Route::Direct;
        }
        if let Some(request) = self.take_request(key) {
            if !self.send_end(cx, request.conn, request.id, flow, Side::A, mpl_ms, client) {
                self.abandon_end(cx, flow, Side::A);
            }
            tracing::debug!("Flow {flow} allocated for {} to {name}.", request.pid);
        }
    }
}
