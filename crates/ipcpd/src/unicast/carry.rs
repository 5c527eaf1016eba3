//! Carrying out what the node says.

use o7s::{
    Error, ErrorKind, Result,
    control::{ConnectIpcp, FlowReqArr, FlowResponse, LayerInfo},
};
use o7s_proto::{
    congestion, dt, fa,
    unicast::{Op, Outcome, Output, Role},
};
use o7s_wire::{
    dt::{Address, Sizes},
    enroll::{CongestionPolicy, Layer, LayerConfig},
};

use super::{Unicast, Waits, error, path::Order};
use crate::framework::{Outcome as Answer, Output as Daemon, Turn};

/// Maximum packet lifetime of the layer, ms.
fn mpl_ms() -> u32 {
    u32::try_from(fa::MPL.as_millis()).unwrap_or(u32::MAX)
}

impl Unicast {
    /// Does all that the node says.
    pub(super) fn carry_out(&mut self, turn: &mut Turn) {
        while let Some(output) = self.node.poll_output() {
            if let Err(error) = self.output(output, turn) {
                tracing::error!("The IPCP cannot do its work: {error}.");
            }
        }
    }

    fn output(&mut self, output: Output, turn: &mut Turn) -> Result<()> {
        match output {
            Output::Done { op, outcome } => {
                self.done(op, outcome.map_err(|failure| error(&failure)), turn);
            }
            Output::Started { address, config } => return self.start(address, &config),
            Output::AllocateLower { request, dst, qos } => {
                self.requests.allocate(request.0, &dst, qos);
            }
            Output::CancelLower { request } => self.requests.cancel(request.0),
            Output::DeallocateLower { lower } => {
                if self.lowers.remove(lower).is_some() {
                    return self.order(Order::Remove(lower));
                }
            }
            Output::Role { lower, role } => {
                if let Some(known) = self.lowers.get_mut(lower) {
                    known.more.carries = matches!(role, Role::Data { .. });
                }
                if let Role::Data { neighbour, cube } = role {
                    tracing::info!("Neighbour {neighbour} is connected ({cube}).");
                }
                return self.order(Order::Role(lower, role));
            }
            Output::LowerDown { lower, down } => return self.order(Order::Down(lower, down)),
            Output::Parted { dst, component } => {
                turn.push(Daemon::Parted(ConnectIpcp {
                    dst: dst.as_str().to_owned(),
                    component: component.identity().component.to_owned(),
                    ..ConnectIpcp::default()
                }));
            }
            Output::SendOnLower { lower, packet } => {
                return self.order(Order::SendOnLower(lower, packet));
            }
            Output::Arrived { lower, packet } => return self.order(Order::Arrived(lower, packet)),
            Output::SendDt {
                dst,
                cube,
                eid,
                payload,
                flow,
            } => {
                return self.order(Order::Send {
                    dst,
                    cube,
                    eid,
                    payload,
                    flow,
                });
            }
            Output::Table(table) => return self.order(Order::Table(table)),
            Output::FlowOpened { op, flow } => {
                let end = match op.and_then(|op| self.operations.get(&op)) {
                    Some(Waits::Alloc(id)) => self.flows.opened(*id, flow),
                    _ => self.flows.accepted(flow),
                };
                if let Some(end) = end {
                    return self.order(Order::Open(flow, end));
                }
            }
            Output::FlowUp {
                flow,
                remote,
                remote_eid,
                cube,
                answer,
            } => {
                return self.order(Order::Up {
                    flow,
                    remote,
                    remote_eid,
                    cube,
                    answer,
                });
            }
            Output::FlowClosed { flow } => return self.order(Order::Close(flow)),
            Output::FlowRequest(request) => {
                let number = self.flows.arrived(request.flow);
                turn.push(Daemon::Request(
                    number,
                    FlowReqArr {
                        hash: request.hash.as_bytes().to_vec(),
                        qos: request.qos.into(),
                        mpl_ms: mpl_ms(),
                        piggyback: request.data,
                        local_flow_id: None,
                        max_packet: self.max_packet(),
                    },
                ));
            }
            Output::FlowExpired { flow } => {
                if let Some(end) = self.flows.expired(flow) {
                    turn.push(Daemon::Ended(end));
                }
            }
            Output::Congestion { flow, level } => {
                return self.order(Order::Congestion(flow, level));
            }
            Output::Warning(text) => tracing::warn!("{text}"),
        }
        Ok(())
    }

    /// The node is a member.
    fn start(&mut self, address: Address, config: &LayerConfig) -> Result<()> {
        tracing::info!("The address is {address}.");
        let Layer::Unicast(unicast) = &config.layer else {
            return Ok(());
        };
        self.order(Order::Start(dt::Config {
            address,
            sizes: Sizes::DEFAULT,
            max_ttl: unicast.dt.max_ttl,
            congestion: match unicast.congestion {
                CongestionPolicy::None => congestion::Policy::None,
                CongestionPolicy::MultiBitEcn => congestion::Policy::MultiBitEcn,
            },
        }))?;
        self.requests.listen()
    }

    fn done(&mut self, op: Op, outcome: Result<Outcome>, turn: &mut Turn) {
        match (self.operations.remove(&op), outcome) {
            (Some(Waits::Bootstrap), outcome) => self.started = Some(outcome.map(drop)),
            (Some(Waits::Framework(operation)), outcome) => {
                turn.done(operation, outcome.map(|_| Answer::Done));
            }
            (Some(Waits::Enroll(operation)), outcome) => {
                let joined = outcome.and_then(|outcome| match outcome {
                    Outcome::Joined(config) => Ok(Answer::Joined(LayerInfo {
                        name: config.name.as_str().to_owned(),
                        dir_hash: config.hash as u32,
                    })),
                    _ => Err(Error::new(ErrorKind::Ipcp, "no layer was joined")),
                });
                turn.done(operation, joined);
            }
            (Some(Waits::Alloc(id)), Ok(Outcome::Allocated { data, .. })) => {
                if self.flows.granted(id) {
                    turn.push(Daemon::Reply(FlowResponse {
                        flow_id: id,
                        mpl_ms: mpl_ms(),
                        piggyback: data,
                        max_packet: self.max_packet(),
                        ..FlowResponse::default()
                    }));
                }
            }
            (Some(Waits::Alloc(id)), outcome) => {
                let Some(flow) = self.flows.refused(id) else {
                    return;
                };
                if let Some(flow) = flow
                    && let Err(error) = self.order(Order::Drop(flow))
                {
                    tracing::error!("{error}");
                }
                let failure = match outcome {
                    Err(error) => error,
                    Ok(_) => Error::new(ErrorKind::Ipcp, "no flow was allocated"),
                };
                turn.push(Daemon::Reply(FlowResponse {
                    flow_id: id,
                    refusal: Some((&failure).into()),
                    ..FlowResponse::default()
                }));
            }
            (None, _) => {}
        }
    }
}
