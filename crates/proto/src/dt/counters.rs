//! Counters of data transfer, per N-1 flow and by reason (`spec/unicast.md` §11.2).

use o7s_wire::dt::QosCube;

use super::DropReason;
use crate::forwarding::FlowToken;

/// Flows with counters of their own; the packets of others are counted in the totals only.
const MAX_FLOWS: usize = 1 << 16;

/// Packets, and their bytes with the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes, header included.
    pub bytes: u64,
}

impl Tally {
    #[inline]
    fn add(&mut self, len: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(len as u64);
    }
}

/// What one data adjacency carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounters {
    /// Cube of the N-1 flow, under which the RIB shows them.
    pub cube: QosCube,
    /// Written, own packets and those in transit.
    pub sent: Tally,
    /// Read, whatever they were.
    pub received: Tally,
    /// Of components of this node, whether they could be written or not.
    pub local_sent: Tally,
    /// Delivered to components of this node.
    pub local_received: Tally,
    /// Came with their hops used up.
    pub expired: Tally,
    /// Not taken by the flow.
    pub failed_writes: Tally,
    /// Came for a destination to which there was no way.
    pub no_next_hop: Tally,
}

/// Dropped packets of all flows, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// [`DropReason::Short`].
    pub short: Tally,
    /// [`DropReason::Expired`].
    pub expired: Tally,
    /// [`DropReason::UnknownDestination`], packets of this node included.
    pub unknown_destination: Tally,
    /// [`DropReason::PathDown`], packets of this node included.
    pub path_down: Tally,
    /// [`DropReason::UnknownComponent`].
    pub unknown_component: Tally,
    /// [`DropReason::UnknownEid`].
    pub unknown_eid: Tally,
    /// Not taken by an N-1 flow or its queue.
    pub failed_writes: Tally,
}

/// All counters. They wrap around.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    flows: Vec<Option<FlowCounters>>,
    drops: Drops,
}

impl Counters {
    /// Those of one adjacency.
    #[must_use]
    pub fn flow(&self, flow: FlowToken) -> Option<&FlowCounters> {
        self.flows.get(flow.0 as usize)?.as_ref()
    }

    /// Dropped packets.
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    pub(super) fn add(&mut self, flow: FlowToken, cube: QosCube) {
        let at = flow.0 as usize;
        if at >= MAX_FLOWS {
            return;
        }
        if at >= self.flows.len() {
            self.flows.resize(at + 1, None);
        }
        self.flows[at] = Some(FlowCounters {
            cube,
            ..FlowCounters::default()
        });
    }

    pub(super) fn remove(&mut self, flow: FlowToken) {
        if let Some(entry) = self.flows.get_mut(flow.0 as usize) {
            *entry = None;
        }
    }

    #[inline]
    fn of(&mut self, flow: FlowToken, add: impl FnOnce(&mut FlowCounters)) {
        if let Some(Some(counters)) = self.flows.get_mut(flow.0 as usize) {
            add(counters);
        }
    }

    #[inline]
    pub(super) fn received(&mut self, flow: FlowToken, len: usize) {
        self.of(flow, |counters| counters.received.add(len));
    }

    #[inline]
    pub(super) fn delivered_to_component(&mut self, flow: FlowToken, len: usize) {
        self.of(flow, |counters| counters.local_received.add(len));
    }

    #[inline]
    pub(super) fn sent_by_component(&mut self, flow: FlowToken, len: usize) {
        self.of(flow, |counters| counters.local_sent.add(len));
    }

    #[inline]
    pub(super) fn written(&mut self, flow: FlowToken, len: usize) {
        self.of(flow, |counters| counters.sent.add(len));
    }

    pub(super) fn write_failed(&mut self, flow: FlowToken, len: usize) {
        self.drops.failed_writes.add(len);
        self.of(flow, |counters| counters.failed_writes.add(len));
    }

    /// `from` is the flow on which the packet came, none for packets of this node.
    pub(super) fn dropped(&mut self, from: Option<FlowToken>, reason: DropReason, len: usize) {
        match reason {
            DropReason::Short => &mut self.drops.short,
            DropReason::Expired => &mut self.drops.expired,
            DropReason::UnknownDestination => &mut self.drops.unknown_destination,
            DropReason::PathDown => &mut self.drops.path_down,
            DropReason::UnknownComponent => &mut self.drops.unknown_component,
            DropReason::UnknownEid => &mut self.drops.unknown_eid,
        }
        .add(len);
        let Some(from) = from else {
            return;
        };
        self.of(from, |counters| match reason {
            DropReason::Expired => counters.expired.add(len),
            DropReason::UnknownDestination | DropReason::PathDown => counters.no_next_hop.add(len),
            DropReason::Short => counters.received.add(len),
            DropReason::UnknownComponent | DropReason::UnknownEid => {}
        });
    }
}
