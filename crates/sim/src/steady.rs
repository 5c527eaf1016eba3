//! Flows that send a packet per period whatever happens, and know which of them were lost.

use std::time::Duration;

use o7s_proto::forwarding::DownFlows;
use o7s_wire::{
    dt::{Address, Eid},
    hash::NameHash,
};

use crate::{
    agenda::Time,
    link::nanos,
    network::{Event, Network},
};

/// Steady flows and what became of their packets.
#[derive(Default)]
pub(crate) struct Steady {
    flows: Vec<Flow>,
    /// Counts up with each start: beats of earlier ones are over.
    run: u32,
    period: Time,
}

/// One of them.
struct Flow {
    /// Its number among all flows.
    source: usize,
    /// When each packet of this run was sent, and when it arrived.
    packets: Vec<(Time, Option<Time>)>,
}

/// An interruption of a steady flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When the last packet was sent that did not arrive.
    pub last_lost: Option<Duration>,
    /// When the first packet after it arrived.
    pub back: Option<Duration>,
}

impl Steady {
    /// A packet of some flow arrived: run, index of the flow, index of the packet, if it is one of these.
    pub(crate) fn arrived(&mut self, now: Time, payload: &[u8]) {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        if let (Some(run), Some(flow), Some(packet)) = (number(0), number(4), number(8))
            && run == self.run
            && let Some(flow) = self.flows.get_mut(flow as usize)
            && let Some((_, arrived)) = flow.packets.get_mut(packet as usize)
        {
            *arrived = Some(now);
        }
    }
}

impl Network {
    /// Allocates a flow from a member to a name, which sends only while [`beat_every`](Self::beat_every) has
    /// it do so. Its index among the steady flows.
    pub fn steady(&mut self, member: usize, name: &NameHash) -> usize {
        let source = self.add_source(member, name, 12, true);
        self.traffic.steady.flows.push(Flow {
            source,
            packets: Vec::new(),
        });
        self.traffic.steady.flows.len() - 1
    }

    /// All steady flows send a packet per `period` from now on; none: no more. What was lost is forgotten.
    pub fn beat_every(&mut self, period: Option<Duration>) {
        self.traffic.steady.run += 1;
        let run = self.traffic.steady.run;
        for flow in &mut self.traffic.steady.flows {
            flow.packets.clear();
        }
        let Some(period) = period else { return };
        self.traffic.steady.period = nanos(period).max(1);
        for flow in 0..self.traffic.steady.flows.len() {
            // Not all in the same moment.
            let offset = self.dice.number() % self.traffic.steady.period;
            let at = self.agenda.now() + offset;
            self.agenda.plan(at, Event::Beat(flow, run));
        }
    }

    pub(crate) fn beat(&mut self, flow: usize, run: u32) {
        let now = self.agenda.now();
        if run != self.traffic.steady.run {
            return;
        }
        let source = self.traffic.steady.flows[flow].source;
        if let Some((member, address, eid, cube)) = self.route_of(source) {
            let packets = &mut self.traffic.steady.flows[flow].packets;
            let number = packets.len();
            packets.push((now, None));
            let numbers = [run, flow as u32, number as u32].map(u32::to_be_bytes);
            self.send(member, address, cube, eid, numbers.as_flattened());
        }
        self.agenda
            .plan(now + self.traffic.steady.period, Event::Beat(flow, run));
    }

    /// What became of the packets of a steady flow, given that none takes longer than `longest`.
    #[must_use]
    pub fn gap(&self, flow: usize, longest: Duration) -> Gap {
        let due = self.agenda.now().saturating_sub(nanos(longest));
        let flow = self.traffic.steady.flows.get(flow);
        let packets = flow.map_or(&[][..], |flow| &flow.packets);
        let last = packets
            .iter()
            .rposition(|(sent, arrived)| *sent < due && arrived.is_none());
        let after = &packets[last.map_or(0, |last| last + 1)..];
        Gap {
            last_lost: last.map(|last| Duration::from_nanos(packets[last].0)),
            back: after
                .iter()
                .find_map(|(_, arrived)| *arrived)
                .map(Duration::from_nanos),
        }
    }

    /// The members that packets of a steady flow pass, as the forwarding tables are now; none: they do not
    /// get there.
    #[must_use]
    pub fn path(&self, flow: usize) -> Option<Vec<usize>> {
        let source = self.traffic.steady.flows.get(flow)?.source;
        let (member, address, eid, _) = self.route_of(source)?;
        let mut path = vec![member];
        while let Some(next) = self.next_hop(*path.last()?, address, eid)? {
            if path.contains(&next) {
                return None;
            }
            path.push(next);
        }
        Some(path)
    }

    /// To whom a member sends packets for an address; the inner none: it has the address itself.
    fn next_hop(&self, member: usize, address: Address, eid: Eid) -> Option<Option<usize>> {
        let m = self.members[member].as_ref()?;
        let dt = m.dt.as_ref()?;
        if dt.config().address == address {
            return Some(None);
        }
        let chosen = dt.table().lookup(address, eid, &DownFlows::default());
        let lower = o7s_proto::unicast::Lower(chosen.ok()?.0);
        Some(Some(m.ends.get(&lower)?.peer))
    }

    /// How many N-1 flows a member could send packets of a steady flow on.
    #[must_use]
    pub fn choices(&self, member: usize, flow: usize) -> usize {
        let source = self.traffic.steady.flows.get(flow).map(|flow| flow.source);
        let address = source.and_then(|source| self.route_of(source));
        let dt = self.members[member].as_ref().and_then(|m| m.dt.as_ref());
        match (dt, address) {
            (Some(dt), Some((_, address, ..))) => dt.table().flows(address).len(),
            _ => 0,
        }
    }
}
