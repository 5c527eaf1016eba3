//! Data transfer of a unicast IPCP: what happens to one packet (`spec/unicast.md` §2).
//!
//! [`Dt`] belongs to the data path. For a packet from an N-1 flow it says where it goes, and rewrites what
//! a forwarding node changes; for a packet of this node it writes the header:
//!
//! ```text
//!  N-1 flow ── receive ──► Verdict::Forward ──┐
//!                  │                          ├─ mark(queue) ──► N-1 flow ── written / write_failed
//!                  │        send (header) ────┘
//!                  └─────► Verdict::Component, Verdict::User: delivered without the header
//! ```
//!
//! Own packets are not looped back: a node sends to other members only. The own address is taken as
//! delivered whatever its hops say; hops are counted down before they are tested, and an expired packet is
//! dropped where 0.23 wraps around (trap 3).

mod counters;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use o7s_wire::dt::{Address, DtError, Eid, Packet, QosCube, Repr, Sizes};
use o7s_wire::hello;

use crate::congestion;
use crate::forwarding::{DownFlows, FlowToken, NoPath, Table};

pub use counters::{Counters, Drops, FlowCounters, Tally};

/// What is fixed for a member of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Own address.
    pub address: Address,
    /// Widths of addresses and EIDs in the header.
    pub sizes: Sizes,
    /// Hops that a packet of this node may take, 1 to 255.
    pub max_ttl: u8,
    /// What is done about congestion.
    pub congestion: congestion::Policy,
}

impl Config {
    /// The defaults of the specification.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            sizes: Sizes::DEFAULT,
            max_ttl: 60,
            congestion: congestion::Policy::MultiBitEcn,
        }
    }
}

/// A component of this node to which packets are addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// EID 0: [`crate::fa`].
    FlowAllocator,
    /// EID 1.
    Directory,
}

impl Component {
    /// The component at this EID; the other reserved numbers are nobody's.
    #[must_use]
    pub const fn at(eid: Eid) -> Option<Self> {
        match eid {
            Eid::FLOW_ALLOCATOR => Some(Self::FlowAllocator),
            Eid::DIRECTORY => Some(Self::Directory),
            _ => None,
        }
    }

    /// Its EID, the same in every node.
    #[must_use]
    pub const fn eid(self) -> Eid {
        match self {
            Self::FlowAllocator => Eid::FLOW_ALLOCATOR,
            Self::Directory => Eid::DIRECTORY,
        }
    }
}

/// What to do with a packet that came on an N-1 flow. Delivered packets lose [`Dt::header_len`] bytes at
/// their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A sign of life of the N-1 flow, not a packet.
    Keepalive,
    /// A sign of life of the neighbour ([`o7s_wire::hello`]): the payload is [`Dt::header_len`] bytes behind the
    /// start.
    Hello,
    /// For a component of this node.
    Component {
        /// Which one.
        component: Component,
        /// Congestion that the packet met.
        ecn: u8,
    },
    /// For an end of a user's flow at this node, if it has this EID; may be empty: the flow's keepalive.
    User {
        /// The end.
        eid: Eid,
        /// Congestion that the packet met: to the flow's [`congestion::Receiver`].
        ecn: u8,
        /// What the packet says about its class; unknown numbers count as best effort.
        cube: QosCube,
    },
    /// To another member: [`Dt::mark`] it, then write it to this N-1 flow.
    Forward {
        /// The flow, which may be the one that it came from.
        flow: FlowToken,
        /// What the packet says about its class; unknown numbers count as best effort.
        cube: QosCube,
    },
    /// Counted already; nothing more to do.
    Drop(DropReason),
}

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DropReason {
    /// Shorter than a header.
    #[error("shorter than the header")]
    Short,
    /// In transit with no hop left: a loop, or more hops than the layer allows.
    #[error("hops used up")]
    Expired,
    /// No member with this address is known.
    #[error("unknown destination")]
    UnknownDestination,
    /// Every N-1 flow towards the destination is down.
    #[error("no flow to the destination is up")]
    PathDown,
    /// For a component that does not exist.
    #[error("unknown component")]
    UnknownComponent,
    /// For an end of a flow that does not exist; counted by [`Dt::unknown_eid`].
    #[error("unknown flow")]
    UnknownEid,
}

impl From<NoPath> for DropReason {
    fn from(reason: NoPath) -> Self {
        match reason {
            NoPath::Unknown => Self::UnknownDestination,
            NoPath::Down => Self::PathDown,
        }
    }
}

/// Why a packet of this node cannot leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Data transfer does not loop packets back.
    #[error("the destination is this member itself; its packets never enter the layer")]
    Own,
    /// No way there.
    #[error(transparent)]
    NoPath(#[from] NoPath),
    /// The buffer has no room for the header.
    #[error(transparent)]
    Header(#[from] DtError),
}

/// Data transfer of one member.
#[derive(Debug, Clone)]
pub struct Dt {
    config: Config,
    table: Arc<Table>,
    down: DownFlows,
    counters: Counters,
}

impl Dt {
    /// Data transfer that knows no way to anybody yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            table: Arc::default(),
            down: DownFlows::default(),
            counters: Counters::default(),
        }
    }

    /// What is fixed.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of the header.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.config.sizes.header_len()
    }

    /// Counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A new data adjacency: an N-1 flow of this cube to a neighbour. A token that is known starts anew.
    pub fn add_flow(&mut self, flow: FlowToken, cube: QosCube) {
        self.down.set(flow, false);
        self.counters.add(flow, cube);
    }

    /// The adjacency is gone; its token may be given again. Until the next table its packets are dropped.
    pub fn remove_flow(&mut self, flow: FlowToken) {
        self.down.set(flow, true);
        self.counters.remove(flow);
    }

    /// The N-1 flow is down, or up again; true if that is news. Packets take another flow at once, where
    /// the table has one.
    pub fn set_down(&mut self, flow: FlowToken, down: bool) -> bool {
        self.down.set(flow, down)
    }

    /// Takes a new forwarding table; flows that are down stay so.
    pub fn set_table(&mut self, table: Arc<Table>) {
        self.table = table;
    }

    /// The present forwarding table.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Decides about a packet that came on an N-1 flow, and counts it. Of a packet that is forwarded the
    /// hops are rewritten.
    #[inline]
    pub fn receive(&mut self, from: FlowToken, packet: &mut [u8]) -> Verdict {
        let len = packet.len();
        if len == 0 {
            return Verdict::Keepalive;
        }
        let Ok(mut packet) = Packet::new_checked(packet, self.config.sizes) else {
            return self.drop_packet(from, DropReason::Short, len);
        };
        self.counters.received(from, len);
        let destination = packet.destination();
        let cube = QosCube::from_number(packet.cube()).unwrap_or_default();
        if destination == self.config.address {
            let (eid, ecn) = (packet.eid(), packet.ecn());
            if !eid.is_component() {
                return Verdict::User { eid, ecn, cube };
            }
            return match Component::at(eid) {
                Some(component) => {
                    self.counters.delivered_to_component(from, len);
                    Verdict::Component { component, ecn }
                }
                None => self.drop_packet(from, DropReason::UnknownComponent, len),
            };
        }
        let ttl = packet.ttl();
        if ttl <= 1 {
            if destination == Address::INVALID && packet.eid() == hello::EID {
                return Verdict::Hello;
            }
            return self.drop_packet(from, DropReason::Expired, len);
        }
        match self.table.lookup(destination, packet.eid(), &self.down) {
            Ok(flow) => {
                packet.set_ttl(ttl - 1);
                Verdict::Forward { flow, cube }
            }
            Err(reason) => self.drop_packet(from, reason.into(), len),
        }
    }

    #[cold]
    fn drop_packet(&mut self, from: FlowToken, reason: DropReason, len: usize) -> Verdict {
        self.counters.dropped(Some(from), reason, len);
        Verdict::Drop(reason)
    }

    /// Counts a packet that [`receive`](Self::receive) gave to a user's flow that is not there.
    pub fn unknown_eid(&mut self, from: FlowToken, len: usize) {
        self.counters
            .dropped(Some(from), DropReason::UnknownEid, len);
    }

    /// Writes the header of a packet of this node to the start of `packet`, which has room for it before
    /// the payload, and says to which N-1 flow it goes. [`mark`](Self::mark) it, too.
    ///
    /// # Errors
    /// [`SendError`]: there is no way to send it now.
    #[inline]
    pub fn send(
        &mut self,
        destination: Address,
        cube: QosCube,
        eid: Eid,
        packet: &mut [u8],
    ) -> Result<FlowToken, SendError> {
        if destination == self.config.address {
            return Err(SendError::Own);
        }
        let flow = match self.table.lookup(destination, eid, &self.down) {
            Ok(flow) => flow,
            Err(reason) => {
                self.counters.dropped(None, reason.into(), packet.len());
                return Err(reason.into());
            }
        };
        let header = Repr {
            destination,
            cube: cube.number(),
            ttl: self.config.max_ttl,
            ecn: 0,
            eid,
        };
        header.emit(packet, self.config.sizes)?;
        if eid.is_component() {
            self.counters.sent_by_component(flow, packet.len());
        }
        Ok(flow)
    }

    /// Marks a packet that is put behind `queued` packets waiting for its N-1 flow: every packet, also of
    /// this node (`spec/unicast.md` §7.2).
    #[inline]
    pub fn mark(&self, packet: &mut [u8], queued: usize) {
        let mark = self.config.congestion.mark(queued);
        if mark != 0
            && let Ok(mut packet) = Packet::new_checked(packet, self.config.sizes)
        {
            packet.mark(mark);
        }
    }

    /// Counts a packet that was written to an N-1 flow.
    #[inline]
    pub fn written(&mut self, flow: FlowToken, len: usize) {
        self.counters.written(flow, len);
    }

    /// Counts a packet that an N-1 flow or its queue did not take.
    pub fn write_failed(&mut self, flow: FlowToken, len: usize) {
        self.counters.write_failed(flow, len);
    }
}
