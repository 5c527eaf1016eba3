//! Joining a broadcast layer (`spec/irm-tools.md` §5.7, `spec/shims.md` §1.4 item 9): a flow between
//! a program and the IPCP of the layer, without destination and without key exchange.

use std::time::Duration;

use o7s::{
    Error, ErrorKind, Name, QosSpec, Result,
    control::{Body, FlowJoin, IpcpFlowJoin, IpcpState, IpcpType},
};

use super::{
    ConnId, Context, Core, Side,
    copies::pid_of,
    flow::Holder,
    ipcp::Call,
    limits,
    request::{Alloc, Route, Stage, What},
    security::Exchange,
};

/// QoS of a flow into a broadcast layer: every value is the weakest (§5.7).
const QOS: QosSpec = QosSpec {
    delay: u32::MAX,
    bandwidth: 0,
    availability: 0,
    loss: u32::MAX,
    ber: u32::MAX,
    in_order: 0,
    max_gap: u32::MAX,
    timeout: 0,
    cypher_s: 0,
};

impl Core {
    pub(super) fn flow_join(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        join: &FlowJoin,
    ) -> Result<()> {
        let layer = Name::new(&join.layer)?.as_str().to_owned();
        let client = self.process_of(conn)?.key;
        let ipcp = self.broadcast_layer(&layer, client)?;
        let limit = join.timeout_ns.map_or(limits::ALLOC, Duration::from_nanos);
        tracing::debug!("Process {} joins {layer}.", pid_of(client));
        let flow = self.next_flow_id();
        let what = What::Alloc(Alloc {
            name: layer.clone(),
            qos: QOS.into(),
            limit,
            route: Route::Layer {
                ipcp,
                flow,
                // The other end of the segment is the IPCP's, and it has it from here on.
                stage: Stage::Accepted,
                mpl_ms: 0,
                max_packet: 0,
            },
            exchange: Box::<Exchange>::default(),
            joins: true,
            arrival: None,
        });
        let key = self.defer(cx, conn, id, what, Some(limit))?;
        self.layer_allocs.insert(flow, key);
        let holders = (Holder::Process(client), Holder::Ipcp(ipcp));
        if let Err(error) = self.make_flow(cx, flow, holders, &layer, QOS.into()) {
            tracing::warn!("Cannot make a flow into {layer}: {error}");
            self.answer(cx, key, Err(error));
            return Ok(());
        }
        let hash = self.ipcp_hash(ipcp).digest(layer.as_bytes());
        let hash = hash.as_bytes().to_vec();
        let call = Call::Alloc(key, flow);
        self.call_with_end(cx, (ipcp, call), (flow, Side::B), 0, |end| {
            Body::IpcpFlowJoin(IpcpFlowJoin {
                flow_id: flow,
                hash,
                end,
            })
        });
        Ok(())
    }

    /// The IPCP through which process `client` joins a broadcast layer: the first in registry order.
    fn broadcast_layer(&self, layer: &str, client: i32) -> Result<i32> {
        let of = |kind: fn(IpcpType) -> bool| {
            let ipcps = self.ipcps.iter().filter(move |(_, ipcp)| {
                let name = ipcp.layer.as_ref().map(|(name, _)| name.as_str());
                name == Some(layer) && kind(ipcp.ipcp_type) && ipcp.state == IpcpState::Operational
            });
            ipcps.map(|(pid, _)| *pid)
        };
        let above = self.above(client);
        let broadcast = of(|kind| kind == IpcpType::Broadcast).filter(|pid| !above.contains(pid));
        if let Some(pid) = broadcast.min() {
            return Ok(pid);
        }
        let other = of(|kind| kind != IpcpType::Broadcast).min();
        let other = other.and_then(|pid| self.ipcp_type(pid));
        Err(Error::new(
            ErrorKind::Ipcp,
            match other {
                None => format!(
                    "there is no broadcast layer named \"{layer}\" here; 'irm ipcp list' shows the \
                     layers of this machine"
                ),
                Some(kind) => format!(
                    "the layer \"{layer}\" is of type {}, and only broadcast layers are joined; \
                     allocate a flow to a name instead",
                    kind.as_str()
                ),
            },
        ))
    }
}
