//! The components of a node that is a member of a layer, and how they are joined.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use o7s_wire::{
    dt::{Address, Eid},
    enroll::{LayerConfig, LinkStatePolicy, UnicastConfig},
    hash::NameHash,
};

use super::{
    Command, Component, FlowRequest, Lower, Node, Outcome, Output, Phase, lookups::Lookups,
    lowers::Connection, replies::Replies,
};
use crate::{
    dht::{self, Dht},
    enrollment::{self, Enroller},
    fa::{self, FlowAllocator, RespondError},
    forwarding::{FlowToken, Policy, Route, Table},
    linkstate::{self, Link, LinkState},
    random::Random,
};

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) config: LayerConfig,
    pub(super) unicast: UnicastConfig,
    pub(super) enroller: Enroller<Lower>,
    pub(super) routing: LinkState<Lower>,
    pub(super) dht: Dht,
    pub(super) fa: FlowAllocator,
    pub(super) lookups: Lookups,
    replies: Replies,
    /// N-1 flows to neighbours that carry data, by neighbour.
    adjacent: BTreeMap<Address, Vec<FlowToken>>,
    /// Neighbours on management flows.
    managed: BTreeMap<Lower, Address>,
    /// The routes in force.
    pub(super) routes: Vec<Route>,
    reached: BTreeSet<Address>,
    table_seed: u64,
    /// A table must be made.
    stale: bool,
    /// Members to which there is a way and was none.
    newly_reached: Vec<Address>,
    /// N-1 flows of enrollees that were let go.
    closed: Vec<Lower>,
}

impl Member {
    #[allow(clippy::too_many_arguments, reason = "called in one place")]
    pub(super) fn start(
        now: Instant,
        address: Address,
        config: LayerConfig,
        unicast: UnicastConfig,
        routing: linkstate::Config,
        peer: Option<Address>,
        seed: [u8; 32],
        wall: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let dht = dht::Config {
            hash: config.hash,
            alpha: unicast.dht.alpha,
            k: unicast.dht.k,
            t_expire: unicast.dht.t_expire,
            t_refresh: unicast.dht.t_refresh,
            t_replicate: unicast.dht.t_replicate,
            ..dht::Config::new(address, peer.filter(|peer| peer.is_valid()))
        };
        let dht_seed = random.bytes();
        let mut eids = Random::new(random.bytes());
        Self {
            address,
            enroller: Enroller::new(config.clone()),
            routing: LinkState::new(routing, address, now),
            dht: Dht::new(dht, dht_seed, now, wall),
            fa: FlowAllocator::new(fa::Config::new(address, config.hash), move || eids.number()),
            lookups: Lookups::default(),
            replies: Replies::default(),
            adjacent: BTreeMap::new(),
            managed: BTreeMap::new(),
            routes: Vec::new(),
            reached: BTreeSet::new(),
            table_seed: random.number(),
            stale: false,
            newly_reached: Vec::new(),
            closed: Vec::new(),
            config,
            unicast,
        }
    }

    pub(super) fn command(
        &mut self,
        now: Instant,
        command: Command,
        outputs: &mut VecDeque<Output>,
    ) {
        match command {
            Command::Register { op, hash } => self.register(now, op, hash, outputs),
            Command::Unregister { op, hash } => self.unregister(now, op, &hash, outputs),
            Command::Query { op, hash } => self.look_up(now, op, &hash, None, outputs),
            Command::Alloc {
                op,
                hash,
                qos,
                data,
            } => {
                self.look_up(now, op, &hash, Some((qos, data)), outputs);
            }
            Command::Respond {
                flow,
                response,
                data,
            } => match self.fa.respond(flow, response, &data) {
                Ok(()) => {}
                Err(RespondError::Unknown(flow)) => {
                    outputs.push_back(Output::FlowExpired { flow });
                }
                Err(error) => {
                    outputs.push_back(Output::Warning(format!("A flow was refused: {error}")));
                    outputs.push_back(Output::FlowExpired { flow });
                }
            },
            Command::Dealloc { flow } => {
                self.fa.deallocate(flow);
            }
            Command::Report { flow, level } => self.fa.report(flow, level),
            Command::Bootstrap { .. }
            | Command::Enroll { .. }
            | Command::Connect { .. }
            | Command::Disconnect { .. }
            | Command::Cancel { .. } => {}
        }
    }

    /// A connection got its role, and the other side knows.
    pub(super) fn connected(&mut self, now: Instant, lower: Lower, connection: &Connection) {
        match connection.component {
            Component::Management => {
                self.managed.insert(lower, connection.peer);
                self.routing.management_up(now, lower);
            }
            Component::Data => {
                let token = FlowToken(lower.0);
                self.adjacent
                    .entry(connection.peer)
                    .or_default()
                    .push(token);
                self.routing.data_up(now, lower, connection.peer);
                self.stale = true;
            }
        }
    }

    /// A connection is over.
    pub(super) fn disconnected(&mut self, now: Instant, lower: Lower, connection: &Connection) {
        match connection.component {
            Component::Management => {
                self.managed.remove(&lower);
                self.routing.management_down(lower);
            }
            Component::Data => {
                if let Some(flows) = self.adjacent.get_mut(&connection.peer) {
                    flows.retain(|flow| flow.0 != lower.0);
                    if flows.is_empty() {
                        self.adjacent.remove(&connection.peer);
                    }
                }
                self.routing.data_down(now, lower);
                self.stale = true;
            }
        }
    }

    /// The N-1 flow of a data connection is down, or up again.
    pub(super) fn set_down(&mut self, now: Instant, lower: Lower, peer: Address, down: bool) {
        if down {
            self.routing.data_down(now, lower);
        } else {
            self.routing.data_up(now, lower, peer);
        }
    }

    pub(super) fn links(&self, now: Instant) -> Vec<Link> {
        self.routing.links(now).collect()
    }

    pub(super) fn management_packet(&mut self, now: Instant, lower: Lower, packet: &[u8]) {
        self.routing.handle_packet(now, lower, packet);
    }

    pub(super) fn dt_packet(&mut self, now: Instant, eid: Eid, payload: &[u8]) {
        match eid {
            // What is no message is counted.
            Eid::FLOW_ALLOCATOR => drop(self.fa.receive(now, payload)),
            Eid::DIRECTORY => self.dht.handle_message(now, payload),
            _ => {}
        }
    }

    /// A message of a component could not leave.
    pub(super) fn unsent(&mut self, now: Instant, dst: Address, eid: Eid, flow: Option<Eid>) {
        if let Some(flow) = flow {
            self.fa.undeliverable(flow);
        }
        if eid == Eid::DIRECTORY {
            self.dht.unreachable(now, dst);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [
            self.enroller.poll_timeout(),
            Some(self.routing.poll_timeout()),
            self.dht.poll_timeout(),
            self.fa.poll_timeout(),
            self.lookups.poll_timeout(),
            self.replies.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn is_reached(&self, address: Address) -> bool {
        self.reached.contains(&address)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        self.expire_lookups(now, outputs);
        self.enroller.handle_timeout(now);
        self.routing.handle_timeout(now);
        self.dht.handle_timeout(now);
        self.fa.handle_timeout(now);
    }

    fn settle_routing(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        while let Some(output) = self.routing.poll_output() {
            match output {
                linkstate::Output::Send { flow, packet } => {
                    outputs.push_back(Output::SendOnLower {
                        lower: flow,
                        packet: packet.to_vec(),
                    });
                }
                linkstate::Output::Routes(routes) => {
                    self.routed(now, routes);
                    self.stale = true;
                }
                linkstate::Output::Warning { flow, warning } => {
                    let peer = self.managed.get(&flow).copied().unwrap_or_default();
                    outputs.push_back(Output::Warning(format!(
                        "Neighbour {peer} sends {warning}."
                    )));
                }
            }
        }
        if std::mem::take(&mut self.stale) {
            let policy = match self.unicast.dt.routing.policy {
                LinkStatePolicy::Simple => Policy::Simple,
                LinkStatePolicy::Lfa => Policy::LoopFreeAlternates,
                LinkStatePolicy::Ecmp => Policy::EqualCost,
            };
            let table = Table::build(policy, &self.routes, self.table_seed, |neighbour| {
                self.adjacent.get(&neighbour).map_or(&[], Vec::as_slice)
            });
            outputs.push_back(Output::Table(Arc::new(table)));
        }
    }

    /// New routes: the directory learns whom it can reach.
    fn routed(&mut self, now: Instant, routes: Vec<Route>) {
        let reached = routes
            .iter()
            .map(|route| route.destination)
            .collect::<BTreeSet<_>>();
        for lost in self.reached.difference(&reached) {
            self.dht.unreachable(now, *lost);
        }
        let new = reached.difference(&self.reached);
        self.newly_reached.extend(new);
        self.reached = reached;
        self.routes = routes;
    }

    /// Takes everything that the components say.
    fn settle(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        while let Some(output) = self.enroller.poll_output() {
            match output {
                enrollment::Output::Send { flow, packet } => {
                    outputs.push_back(Output::SendOnLower {
                        lower: flow,
                        packet,
                    });
                }
                enrollment::Output::Close { flow, outcome } => {
                    if let Err(trouble) = outcome {
                        outputs.push_back(Output::Warning(trouble.to_string()));
                    }
                    outputs.push_back(Output::DeallocateLower { lower: flow });
                    self.closed.push(flow);
                }
            }
        }
        self.settle_routing(now, outputs);
        // The driver has the new table when the directory begins to send.
        for address in std::mem::take(&mut self.newly_reached) {
            self.dht.reachable(now, address);
        }
        let reached = &self.reached;
        outputs.extend(self.replies.due(now, |address| reached.contains(&address)));
        self.settle_flows(now, outputs);
        self.settle_directory(now, outputs);
        // Queries that were answered may have asked for flows.
        self.settle_flows(now, outputs);
    }

    fn settle_flows(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        while let Some(output) = self.fa.poll_output() {
            outputs.push_back(match output {
                fa::Output::Send {
                    destination,
                    cube,
                    message,
                    flow,
                } if flow.is_some_and(|flow| self.lookups.operation(flow).is_none())
                    && !self.is_reached(destination) =>
                {
                    match self.replies.hold(now, destination, cube, message, flow) {
                        Some(output) => output,
                        None => continue,
                    }
                }
                fa::Output::Send {
                    destination,
                    cube,
                    message,
                    flow,
                } => Output::SendDt {
                    dst: destination,
                    cube,
                    eid: Eid::FLOW_ALLOCATOR,
                    payload: message,
                    flow,
                },
                fa::Output::Requested {
                    flow,
                    peer,
                    hash,
                    qos,
                    data,
                } => Output::FlowRequest(FlowRequest {
                    flow,
                    peer,
                    hash: NameHash::from_bytes(&hash),
                    qos,
                    data,
                }),
                fa::Output::Expired { flow } => Output::FlowExpired { flow },
                fa::Output::Opened { flow } => Output::FlowOpened {
                    op: self.lookups.operation(flow),
                    flow,
                },
                fa::Output::Granted { flow, data } => match self.lookups.granted(flow) {
                    Some(op) => Output::Done {
                        op,
                        outcome: Ok(Outcome::Allocated { flow, data }),
                    },
                    None => continue,
                },
                fa::Output::Refused { flow, reason, .. } => {
                    self.refused(now, flow, reason, outputs);
                    continue;
                }
                fa::Output::Up {
                    flow,
                    peer,
                    peer_eid,
                    cube,
                    answer,
                } => Output::FlowUp {
                    flow,
                    remote: peer,
                    remote_eid: peer_eid,
                    cube,
                    answer,
                },
                fa::Output::Closed { flow } => Output::FlowClosed { flow },
                fa::Output::Congestion { flow, level } => Output::Congestion { flow, level },
            });
        }
    }
}

impl Node {
    /// Does what the components of the member say.
    pub(super) fn settle_member(&mut self, now: Instant) {
        let Phase::Member(member) = &mut self.phase else {
            return;
        };
        member.settle(now, &mut self.outputs);
        for lower in member.closed.drain(..) {
            self.lowers.uses.remove(&lower);
        }
    }
}
