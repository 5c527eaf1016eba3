//! Flow allocation over layers: asking for the destination, choosing the layer, and the outcomes that
//! come back from it (`spec/irm-tools.md` §5.3). Requests that come out of layers are in `arrival`.

use o7s::{
    Error, ErrorKind,
    control::{Body, FlowResponse, Hash, IpcpFlowAlloc},
};

use super::{
    Context, Core, Side,
    autostart::nobody_bound,
    flow::Holder,
    ipcp::Call,
    limits,
    request::{Alloc, Key, Route, Said, Stage, What},
    timer::Timer,
};

impl Core {
    /// Asks every layer for the destination, all at once.
    pub(super) fn ask_layers(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(request) = self.requests.get(&key) else {
            return;
        };
        let layers = self.layers(request.pid);
        if layers.is_empty() {
            self.no_layer(cx, key, &[]);
            return;
        }
        let timer = self
            .timers
            .arm(cx.now() + limits::QUERY, Timer::Queries(key));
        let Some(alloc) = self.alloc_mut(key) else {
            return;
        };
        alloc.route = Route::Queries {
            layers: layers
                .iter()
                .map(|(pid, _)| (*pid, Said::Nothing))
                .collect(),
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
                *answer = if reachable { Said::Yes } else { Said::No };
            }
        }
        if reachable {
            self.hurry_queries(cx, key);
        }
        self.choose_layer(cx, key);
    }

    /// One layer reaches the destination: those before it that cannot say soon are left out. On an
    /// Ethernet that lacks the name nobody answers, and a machine with two devices would wait for
    /// the silent one each time.
    fn hurry_queries(&mut self, cx: &mut dyn Context, key: Key) {
        let soon = cx.now() + limits::QUERY_GRACE;
        let Some(Alloc {
            route: Route::Queries { timer, .. },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        if timer.is_none_or(|(at, _)| at <= soon) {
            return;
        }
        let old = timer.take();
        self.timers.disarm(old);
        let new = self.timers.arm(soon, Timer::Queries(key));
        if let Some(Alloc {
            route: Route::Queries { timer, .. },
            ..
        }) = self.alloc_mut(key)
        {
            *timer = Some(new);
        }
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
            if *answer == Said::Nothing {
                *answer = Said::Late;
            }
        }
        self.choose_layer(cx, key);
    }

    /// Takes the first layer that reaches the destination once all before it have said no, or are
    /// late.
    fn choose_layer(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(Alloc {
            route: Route::Queries { layers, timer },
            ..
        }) = self.alloc_mut(key)
        else {
            return;
        };
        let first = layers
            .iter()
            .find(|(_, answer)| matches!(answer, Said::Nothing | Said::Yes));
        let (chosen, timer) = match first {
            Some((_, Said::Nothing)) => return,
            Some((pid, _)) => (Some(*pid), *timer),
            None => (None, *timer),
        };
        let asked = std::mem::take(layers);
        self.timers.disarm(timer);
        let Some(ipcp) = chosen else {
            self.no_layer(cx, key, &asked);
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
            max_packet: 0,
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
            end: None,
        };
        self.ask_ipcp(cx, key, ipcp, request);
    }

    /// Asks an IPCP for a flow; unless its layer shares segments, with its end of it.
    fn ask_ipcp(&mut self, cx: &mut dyn Context, key: Key, ipcp: i32, request: IpcpFlowAlloc) {
        let flow = request.flow_id;
        let call = Call::Alloc(key, flow);
        if self.shares_segments(ipcp) {
            self.set_stage(key, Stage::Asked);
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
    fn no_layer(&mut self, cx: &mut dyn Context, key: Key, asked: &[(i32, Said)]) {
        let asked = self.asked_layers(asked);
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

    /// The layers that were asked, for an error.
    fn asked_layers(&self, asked: &[(i32, Said)]) -> String {
        let names: Vec<String> = asked
            .iter()
            .filter_map(|(pid, said)| {
                let name = self.layer_name(*pid)?;
                Some(match said {
                    Said::Late => format!("{name} (no answer within {:?})", limits::QUERY),
                    _ => name,
                })
            })
            .collect();
        match &*names {
            [] => "this machine is in no layer that could be asked".to_owned(),
            [name] => format!("1 layer asked: {name}"),
            names => format!("{} layers asked: {}", names.len(), names.join(", ")),
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
        let joins = self.alloc_mut(key).is_some_and(|alloc| alloc.joins);
        if stage != Stage::Accepted {
            tracing::warn!("IPCP {ipcp} granted a flow to {name} that nobody accepted.");
            return;
        }
        self.set_max_packet(reply.flow_id, reply.max_packet);
        if let Some(Alloc {
            route: Route::Layer { mpl_ms, stage, .. },
            ..
        }) = self.alloc_mut(key)
        {
            *mpl_ms = reply.mpl_ms;
            *stage = Stage::Completing;
        }
        if joins {
            // A broadcast layer exchanges no keys.
            self.response_checked(cx, key);
        } else {
            self.check_response(cx, key, reply.piggyback);
        }
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
        self.layer_allocs.remove(&flow);
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
