//! Flow requests that come out of layers: those that this daemon sent into them itself, and those of
//! askers that are elsewhere (`spec/irm-tools.md` §5.4).

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{Body, Failure, FlowId, FlowReqArr, FlowResponse},
};
use o7s_wire::hash::NameHash;

use super::{
    ConnId, Context, Core, Role, Side,
    autostart::nobody_bound,
    binding::no_name,
    ipcp::Call,
    limits,
    request::{Alloc, Key, Request, Route, Stage, What},
    security::Exchange,
};

impl Core {
    /// A request arrived over a layer: it is checked, then `question` is answered.
    pub(super) fn flow_request_arrived(
        &mut self,
        cx: &mut dyn Context,
        question: (ConnId, u64),
        ipcp: i32,
        arrived: FlowReqArr,
    ) -> Result<()> {
        let Some(flow_id) = arrived.local_flow_id else {
            return self.enter_arrival(cx, question, ipcp, arrived);
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
        if !self.has_anybody(&name) {
            self.set_stage(key, Stage::Asked);
            return Err(nobody_bound(&name));
        }
        self.check_request(cx, key, question, arrived.piggyback);
        Ok(())
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
        question: (ConnId, u64),
        ipcp: i32,
        arrived: FlowReqArr,
    ) -> Result<()> {
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
                stage: Stage::Checking,
                mpl_ms: arrived.mpl_ms,
                max_packet: arrived.max_packet,
            },
            exchange: Box::<Exchange>::default(),
            joins: false,
            arrival: None,
        });
        let conn = self.ipcp_conn(ipcp)?;
        let key = self.defer(cx, conn, flow, what, Some(limits::ALLOC))?;
        self.layer_allocs.insert(flow, key);
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
                let request = self.requests.get(&key);
                if request.is_some_and(|request| self.is_arrival(request)) {
                    self.take_request(key);
                } else {
                    // The client hears of it through the layer.
                    self.set_stage(key, Stage::Asked);
                }
                self.fail(cx, conn, id, &error);
            }
        }
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
        let What::Alloc(Alloc {
            name,
            route: Route::Layer { ipcp, flow, .. },
            exchange,
            ..
        }) = &request.what
        else {
            return;
        };
        tracing::debug!("Flow request for {name} refused: {error}");
        if let Some((conn, id)) = exchange.asked() {
            // The IPCP does not know its flow id yet.
            self.fail(cx, conn, id, error);
            return;
        }
        let response = FlowResponse {
            flow_id: *flow,
            refusal: Some(Failure::from(error)),
            ..FlowResponse::default()
        };
        self.call_ipcp(cx, *ipcp, Body::IpcpFlowAllocResp(response), Call::Ignored);
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
}
