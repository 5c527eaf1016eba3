//! Link-state routing of a unicast layer without I/O (`spec/unicast.md` §4), one [`LinkState`] per member.
//!
//! Its driver
//!
//! 1. tells it of adjacencies ([`data_up`](LinkState::data_up), [`management_up`](LinkState::management_up)
//!    and their opposites) and of packets on management adjacencies
//!    ([`handle_packet`](LinkState::handle_packet)), and calls
//!    [`handle_timeout`](LinkState::handle_timeout) at [`poll_timeout`](LinkState::poll_timeout),
//! 2. does what [`poll_output`](LinkState::poll_output) says, after each such call.
//!
//! ```text
//!  data_up, data_down ──► own links ──┐                     ┌──► Send: flooding, refreshes, replicas
//!                                     ├──► Database, Graph ─┤
//!  handle_packet ──► updates ─────────┘                     └──► Recalculation ──► Routes
//! ```
//!
//! # Beyond 0.23
//!
//! The messages and rules on the wire are those of 0.23, but for one thing that its members pass on without
//! noticing: a number that takes a link back (`linkstate/number.rs`). What a node does by itself is better:
//!
//! | 0.23 | here |
//! | --- | --- |
//! | others keep a link that went down until it ages out | it is taken back; our members follow within milliseconds |
//! | a link that went down leaves the own tables within `t_recalc`, one that aged out never (trap 14) | at once; with the next look at ages |
//! | a link that flow events say is down stays (trap 19) | what is down is taken back, and comes back with the next number |
//! | parallel adjacencies to a neighbour share one entry (trap 18) | the link goes with the last |
//! | a link made again starts at 0 and is ignored (trap 16) | numbers are remembered; a higher one that is heard is exceeded at once |
//! | whoever has an old number keeps it | gets the newer one back, once per second and link: so an owner hears of a number that it must exceed |
//! | links of this node that no longer exist come back and are refreshed for ever (trap 15) | not taken in, not passed on, taken back |
//! | the first announcement is repeated after up to `t_update` (trap 17) | after [`REPEAT`] too |
//! | a replica is one burst; what is about to age out starts a new life with it | in portions of [`REPLICA_BURST`]; left out |
//! | anything is believed | addresses must be possible; [`LINKS_MAX`] links; [`UPDATES_BURST`] updates of a link per second |

mod config;
mod database;
mod number;
mod recalculation;
mod report;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    linkstate::{LSU_LEN, Lsu},
};

use crate::{forwarding::Route, graph::Graph};

pub use config::{Config, ConfigError};
use database::{Arrival, Database, Key};
pub use database::{LINKS_MAX, UPDATES_BURST, UPDATES_PERIOD};
use recalculation::Recalculation;
pub use recalculation::{FIRST_DELAY, FIRST_HOLD};
pub use report::{Link, Stats, Warning};

/// When the first announcement of a link is repeated: management adjacencies may lose it.
pub const REPEAT: Duration = Duration::from_secs(1);

/// Entries of the database that a new management adjacency gets at once, and then every
/// [`REPLICA_PERIOD`].
pub const REPLICA_BURST: usize = 256;

/// Time between two portions of a replica.
pub const REPLICA_PERIOD: Duration = Duration::from_millis(10);

/// Own links that are gone, kept while others may know them.
const GONE_MAX: usize = 4096;

/// What the driver is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K> {
    /// Send an update. It may be lost.
    Send {
        /// On this management adjacency.
        flow: K,
        /// The packet.
        packet: [u8; LSU_LEN],
    },
    /// All routes of this node from now on; none for destinations that are not there.
    Routes(Vec<Route>),
    /// Something for the log; each kind once per adjacency.
    Warning {
        /// The management adjacency from which it came.
        flow: K,
        /// What it is.
        warning: Warning,
    },
}

/// A link of this node: to a neighbour with data adjacencies.
#[derive(Debug)]
struct OwnLink<K> {
    flows: Vec<K>,
    seqno: u64,
    /// When the first announcement is repeated.
    repeat: Option<Instant>,
}

/// An own link that is not there.
#[derive(Debug, Clone, Copy)]
struct Gone {
    /// The highest number that anybody has.
    seqno: u64,
    since: Instant,
    /// When it was last taken back.
    told: Instant,
    /// When that is repeated.
    repeat: Option<Instant>,
}

#[derive(Debug)]
struct Management {
    /// Where its replica of the database goes on, and when.
    replica: Option<(Key, Instant)>,
    warned: u8,
}

/// Link-state routing of one member; `K` is what the driver calls a flow.
#[derive(Debug)]
pub struct LinkState<K> {
    config: Config,
    own: Address,
    links: BTreeMap<Address, OwnLink<K>>,
    /// Neighbour of each data adjacency.
    data: BTreeMap<K, Address>,
    management: BTreeMap<K, Management>,
    gone: BTreeMap<Address, Gone>,
    database: Database,
    graph: Graph,
    recalculation: Recalculation,
    next_update: Instant,
    next_ageing: Instant,
    pruned: Option<Instant>,
    stats: Stats,
    outputs: VecDeque<Output<K>>,
}

impl<K: Copy + Ord> LinkState<K> {
    /// A member with this address and no adjacency.
    #[must_use]
    pub fn new(config: Config, own: Address, now: Instant) -> Self {
        Self {
            config,
            own,
            links: BTreeMap::new(),
            data: BTreeMap::new(),
            management: BTreeMap::new(),
            gone: BTreeMap::new(),
            database: Database::new(now),
            graph: Graph::new(),
            recalculation: Recalculation::new(config.t_recalc),
            next_update: now + config.t_update,
            next_ageing: now + config.ageing(),
            pruned: None,
            stats: Stats::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A data adjacency to `peer` works: connected, or up again. The link to `peer` is announced with the
    /// first.
    pub fn data_up(&mut self, now: Instant, flow: K, peer: Address) {
        if peer == self.own || !peer.is_valid() || self.data.contains_key(&flow) {
            return;
        }
        self.data.insert(flow, peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.flows.push(flow);
            return;
        }
        let known = self.gone.remove(&peer);
        let link = OwnLink {
            flows: vec![flow],
            seqno: known.map_or(0, |known| number::there_after(known.seqno)),
            repeat: self.repeat(now),
        };
        self.links.insert(peer, link);
        self.announce(now, peer);
        if self.graph.announce(self.own, peer) {
            self.announced(now, peer, self.own);
        }
    }

    /// A data adjacency is down or gone. With the last to a neighbour the link is taken back, and new routes
    /// come at once.
    pub fn data_down(&mut self, now: Instant, flow: K) {
        let Some(peer) = self.data.remove(&flow) else {
            return;
        };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.flows.retain(|known| *known != flow);
        if !link.flows.is_empty() {
            return;
        }
        let seqno = link.seqno;
        self.links.remove(&peer);
        let gone = Gone {
            seqno,
            since: now,
            told: now,
            repeat: self.repeat(now),
        };
        self.make_room(now);
        self.gone.insert(peer, gone);
        self.take_back(now, peer);
        if self.graph.withdraw(self.own, peer) {
            self.recalculation.request_at_once(now);
        }
    }

    /// A management adjacency is connected: it gets what the database has.
    pub fn management_up(&mut self, now: Instant, flow: K) {
        let management = Management {
            replica: Some((Key::FIRST, now)),
            warned: 0,
        };
        self.management.insert(flow, management);
        self.replicate(now, flow);
    }

    /// A management adjacency is gone.
    pub fn management_down(&mut self, flow: K) {
        self.management.remove(&flow);
    }

    /// A packet arrived on a management adjacency. Empty ones are signs of life of the flow and ignored.
    pub fn handle_packet(&mut self, now: Instant, flow: K, packet: &[u8]) {
        if packet.is_empty() || !self.management.contains_key(&flow) {
            return;
        }
        let Ok(lsu) = Lsu::parse(packet) else {
            self.stats.malformed += 1;
            self.warn(flow, Warning::Malformed(packet.len()));
            return;
        };
        self.stats.received += 1;
        if !lsu.source.is_valid() || !lsu.destination.is_valid() || lsu.source == lsu.destination {
            self.stats.impossible += 1;
            self.warn(flow, Warning::Impossible(lsu));
            return;
        }
        if lsu.seqno > number::BELIEVED_MAX {
            self.stats.absurd += 1;
            self.warn(flow, Warning::Absurd(lsu));
            return;
        }
        if lsu.source == self.own {
            self.own_update(now, flow, lsu);
        } else {
            self.update(now, flow, lsu);
        }
    }

    /// An update of somebody else's link (`spec/unicast.md` §4.4).
    fn update(&mut self, now: Instant, flow: K, lsu: Lsu) {
        let key = Key::new(lsu.source, lsu.destination);
        let arrival = match self.database.update(now, key, lsu.seqno) {
            Arrival::Full if self.prune(now) => self.database.update(now, key, lsu.seqno),
            arrival => arrival,
        };
        let announced = match arrival {
            Arrival::Old(newer) => {
                self.stats.old += 1;
                if let Some(seqno) = newer {
                    let packet = Lsu { seqno, ..lsu }.emit();
                    self.stats.sent += 1;
                    self.outputs.push_back(Output::Send { flow, packet });
                }
                return;
            }
            Arrival::TooOften => {
                self.stats.too_often += 1;
                self.warn(flow, Warning::TooOften(lsu));
                return;
            }
            Arrival::Full => {
                self.stats.full += 1;
                self.warn(flow, Warning::Full);
                return;
            }
            Arrival::Taken { announced } => announced,
        };
        // Most updates only say that a link is still there, which the graph knows.
        if number::is_gone(lsu.seqno) {
            if self.graph.withdraw(lsu.source, lsu.destination) {
                self.recalculation.request(now);
            }
        } else if !announced && self.graph.announce(lsu.source, lsu.destination) {
            self.announced(now, lsu.source, lsu.destination);
        }
        self.flood(&lsu, Some(flow));
    }

    /// The graph has a link more. One of a neighbour to here is followed at once: its first packets, which
    /// ask for answers, are already on their way, and members of 0.23 do not repeat them.
    fn announced(&mut self, now: Instant, source: Address, destination: Address) {
        if destination == self.own && self.links.contains_key(&source) {
            self.recalculation.request_beside(now);
        } else {
            self.recalculation.request(now);
        }
    }

    /// An update of an own link by others: from an earlier life of this node, an old copy, or invented. It
    /// is not passed on.
    fn own_update(&mut self, now: Instant, flow: K, lsu: Lsu) {
        let peer = lsu.destination;
        let Some(link) = self.links.get_mut(&peer) else {
            self.stats.stale_own += 1;
            if !number::is_gone(lsu.seqno) {
                self.warn(flow, Warning::OwnLink(lsu));
            }
            self.gone_update(now, lsu);
            return;
        };
        if lsu.seqno <= link.seqno {
            self.stats.old += 1;
            return;
        }
        self.stats.exceeded += 1;
        let above = number::there_after(lsu.seqno);
        if above < lsu.seqno {
            // Nothing is believed above it: it has to age out.
            return;
        }
        link.seqno = above;
        if self.database.may_update(now, Key::new(self.own, peer)) {
            self.announce(now, peer);
        } else {
            // The others would not take it now.
            link.repeat = Some(now + REPEAT);
            self.stats.too_often += 1;
            self.warn(flow, Warning::TooOften(lsu));
        }
    }

    /// Somebody announces an own link that is not there: it is taken back, at most once per `t_update`, since
    /// another member may have the same address.
    fn gone_update(&mut self, now: Instant, lsu: Lsu) {
        let peer = lsu.destination;
        if !self.gone.contains_key(&peer) {
            if self.gone.len() >= GONE_MAX {
                return;
            }
            let gone = Gone {
                seqno: 0,
                since: now,
                told: now,
                repeat: None,
            };
            self.gone.insert(peer, gone);
        } else if let Some(gone) = self.gone.get_mut(&peer) {
            if lsu.seqno <= gone.seqno {
                return;
            }
            gone.since = now;
            if now < gone.told + self.config.t_update {
                gone.seqno = lsu.seqno;
                return;
            }
            gone.told = now;
        }
        if let Some(gone) = self.gone.get_mut(&peer) {
            gone.seqno = lsu.seqno;
        }
        if !number::is_gone(lsu.seqno) {
            self.take_back(now, peer);
        }
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let links = self.links.values().filter_map(|link| link.repeat);
        let gone = self.gone.values().filter_map(|gone| gone.repeat);
        let replicas = self
            .management
            .values()
            .filter_map(|each| each.replica.map(|(_, at)| at));
        links
            .chain(gone)
            .chain(replicas)
            .chain(self.recalculation.due())
            .chain([self.next_update, self.next_ageing])
            .min()
            .unwrap_or(self.next_update)
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_ageing {
            self.next_ageing = now + self.config.ageing();
            self.age(now);
        }
        if now >= self.next_update {
            self.next_update = now + self.config.t_update;
            self.refresh(now, |_| true);
        }
        self.refresh(now, |link| link.repeat.is_some_and(|at| at <= now));
        self.repeat_gone(now);
        let due = self
            .management
            .iter()
            .filter(|(_, each)| each.replica.is_some_and(|(_, at)| at <= now))
            .map(|(flow, _)| *flow)
            .collect::<Vec<_>>();
        for flow in due {
            self.replicate(now, flow);
        }
        if self.recalculation.take(now) {
            self.stats.recalculations += 1;
            let routes = self.graph.routes(self.own, self.config.policy);
            self.outputs.push_back(Output::Routes(routes));
        }
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output<K>> {
        self.outputs.pop_front()
    }

    /// The database, in its order: by destination, then source.
    pub fn links(&self, now: Instant) -> impl Iterator<Item = Link> + '_ {
        self.database.links(now)
    }

    /// Nodes of the graph: those that announce a link, or to which one is announced.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.graph.nodes()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Sends the present number of an own link to all.
    fn announce(&mut self, now: Instant, peer: Address) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        self.say(now, peer, link.seqno);
    }

    /// Takes a link back that is not there.
    fn take_back(&mut self, now: Instant, peer: Address) {
        let Some(gone) = self.gone.get_mut(&peer) else {
            return;
        };
        gone.seqno = number::gone_after(gone.seqno);
        let seqno = gone.seqno;
        self.say(now, peer, seqno);
    }

    fn say(&mut self, now: Instant, peer: Address, seqno: u64) {
        let lsu = Lsu {
            destination: peer,
            source: self.own,
            seqno,
        };
        self.database.set(now, Key::new(self.own, peer), seqno);
        self.flood(&lsu, None);
    }

    /// When something new is said again.
    fn repeat(&self, now: Instant) -> Option<Instant> {
        (REPEAT < self.config.t_update).then(|| now + REPEAT)
    }

    fn repeat_gone(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (peer, gone) in &mut self.gone {
            if gone.repeat.is_some_and(|at| at <= now) {
                gone.repeat = None;
                due.push(*peer);
            }
        }
        for peer in due {
            self.take_back(now, peer);
        }
    }

    /// Announces those own links anew that `which` picks.
    fn refresh(&mut self, now: Instant, which: impl Fn(&OwnLink<K>) -> bool) {
        let mut due = Vec::new();
        for (peer, link) in &mut self.links {
            if which(link) {
                link.repeat = None;
                link.seqno = number::there_after(link.seqno);
                due.push(*peer);
            }
        }
        for peer in due {
            self.announce(now, peer);
        }
    }

    /// To all but the one that it came from (`spec/unicast.md` §4.4).
    fn flood(&mut self, lsu: &Lsu, from: Option<K>) {
        let packet = lsu.emit();
        for &flow in self.management.keys().filter(|flow| Some(**flow) != from) {
            self.stats.sent += 1;
            self.outputs.push_back(Output::Send { flow, packet });
        }
    }

    /// The next portion of the database for a new adjacency.
    fn replicate(&mut self, now: Instant, flow: K) {
        let Some(management) = self.management.get_mut(&flow) else {
            return;
        };
        let Some((from, _)) = management.replica.take() else {
            return;
        };
        let mut budget = REPLICA_BURST;
        let fresh = self.config.t_timeo / 2;
        for (key, link) in self.database.from(now, from) {
            if budget == 0 {
                management.replica = Some((key, now + REPLICA_PERIOD));
                break;
            }
            if link.age <= fresh {
                budget -= 1;
                self.stats.sent += 1;
                let packet = link.lsu.emit();
                self.outputs.push_back(Output::Send { flow, packet });
            }
        }
    }

    fn age(&mut self, now: Instant) {
        let mut changed = false;
        let (own, links) = (self.own, &self.links);
        let keep = |key: Key| key.source() == own && links.contains_key(&key.destination());
        for key in self.database.expire(now, self.config.t_timeo, keep) {
            self.stats.expired += 1;
            changed |= self.graph.withdraw(key.source(), key.destination());
        }
        if changed {
            self.recalculation.request(now);
        }
        self.forget_gone(now);
    }

    /// Numbers are kept for longer than anybody keeps the link.
    fn forget_gone(&mut self, now: Instant) {
        let kept = 2 * self.config.t_timeo;
        self.gone
            .retain(|_, gone| now.saturating_duration_since(gone.since) < kept);
    }

    /// For an own link that goes: others may have filled the table with some that never were.
    fn make_room(&mut self, now: Instant) {
        self.forget_gone(now);
        while self.gone.len() >= GONE_MAX {
            let oldest = self.gone.iter().min_by_key(|(_, gone)| gone.since);
            let Some(oldest) = oldest.map(|(peer, _)| *peer) else {
                return;
            };
            self.gone.remove(&oldest);
        }
    }

    /// Drops what nodes announce that cannot be reached, at most once per second. Whether there is room.
    fn prune(&mut self, now: Instant) -> bool {
        if self.pruned.is_some_and(|at| now < at + UPDATES_PERIOD) {
            return false;
        }
        self.pruned = Some(now);
        let reached = self.graph.reached(self.own);
        let own = self.own;
        let gone = self
            .database
            .retain(|key| key.source() == own || reached(key.source()));
        drop(reached);
        for key in &gone {
            self.stats.expired += 1;
            self.graph.withdraw(key.source(), key.destination());
        }
        !gone.is_empty()
    }

    /// Once per kind and adjacency.
    fn warn(&mut self, flow: K, warning: Warning) {
        if let Some(management) = self.management.get_mut(&flow)
            && management.warned & warning.bit() == 0
        {
            management.warned |= warning.bit();
            self.outputs.push_back(Output::Warning { flow, warning });
        }
    }
}

#[cfg(test)]
mod tests;
