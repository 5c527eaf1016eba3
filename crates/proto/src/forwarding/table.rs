//! The immutable table: an open-addressed hash table whose entries point into one list of flows.

use o7s_wire::address::Address;
use o7s_wire::dt::Eid;

use super::{DownFlows, FlowToken, NoPath, Policy, Route};

/// Most flows kept for a destination; what is beyond them is not used.
pub const MAX_PATHS: usize = 64;

/// One destination, or with [`Address::INVALID`] none.
#[derive(Debug, Clone, Copy)]
struct Slot {
    destination: Address,
    /// First of its flows in the list.
    start: u32,
    /// How many there are, at least 1.
    count: u32,
    /// The first one once more, to spare a look into the list.
    first: FlowToken,
}

const EMPTY: Slot = Slot {
    destination: Address::INVALID,
    start: 0,
    count: 0,
    first: FlowToken(u32::MAX),
};

/// Destination → N-1 flows. Lookups allocate nothing and take the time of one or two cache lines.
#[derive(Debug, Clone)]
pub struct Table {
    policy: Policy,
    /// Random and odd: members that choose their addresses cannot choose where they fall, and nodes in
    /// a row do not all split flows alike.
    factor: u64,
    shift: u32,
    /// A power of two, at least half of it empty.
    slots: Box<[Slot]>,
    paths: Box<[FlowToken]>,
    len: usize,
}

impl Default for Table {
    /// No destination at all.
    fn default() -> Self {
        Self::build(Policy::Simple, &[], 1, |_| &[])
    }
}

impl Table {
    /// A table of these routes. `flows_to` gives the N-1 flows to a neighbour, the preferred one first;
    /// next hops that have none are skipped, and destinations of which none is left are left out. Of two
    /// routes to one destination the first counts. `seed` should be random.
    #[must_use]
    pub fn build<'a>(
        policy: Policy,
        routes: &[Route],
        seed: u64,
        flows_to: impl Fn(Address) -> &'a [FlowToken],
    ) -> Self {
        let slots = (2 * routes.len().max(1)).next_power_of_two();
        let mut table = Self {
            policy,
            factor: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            shift: 64 - slots.trailing_zeros(),
            slots: vec![EMPTY; slots].into(),
            paths: Box::default(),
            len: 0,
        };
        let mut paths = Vec::new();
        for route in routes {
            table.add(route, &flows_to, &mut paths);
        }
        table.paths = paths.into();
        table
    }

    fn add<'a>(
        &mut self,
        route: &Route,
        flows_to: impl Fn(Address) -> &'a [FlowToken],
        paths: &mut Vec<FlowToken>,
    ) {
        let at = self.position(route.destination);
        if !(route.destination != Address::INVALID && self.slots[at].count == 0) {
            return;
        }
        let start = paths.len();
        for &hop in &route.next_hops {
            for &flow in flows_to(hop) {
                if paths.len() - start < MAX_PATHS && !paths[start..].contains(&flow) {
                    paths.push(flow);
                }
            }
            if self.policy == Policy::Simple && paths.len() > start {
                break;
            }
        }
        let (Ok(first_at), Ok(count)) = (u32::try_from(start), u32::try_from(paths.len() - start))
        else {
            // 2^32 flows: no node has the memory for the routes.
            paths.truncate(start);
            return;
        };
        let Some(&first) = paths.get(start) else {
            return;
        };
        self.slots[at] = Slot {
            destination: route.destination,
            start: first_at,
            count,
            first,
        };
        self.len += 1;
    }

    /// Number of destinations.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no destination.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Destinations and their flows, in no order: for displays and tests.
    pub fn iter(&self) -> impl Iterator<Item = (Address, &[FlowToken])> {
        self.slots
            .iter()
            .filter(|slot| slot.count > 0)
            .map(|slot| (slot.destination, self.flows_of(slot)))
    }

    /// All flows towards a destination, the preferred one first.
    #[must_use]
    pub fn flows(&self, destination: Address) -> &[FlowToken] {
        let slot = &self.slots[self.position(destination)];
        self.flows_of(slot)
    }

    fn flows_of(&self, slot: &Slot) -> &[FlowToken] {
        &self.paths[slot.start as usize..][..slot.count as usize]
    }

    /// The flow for a packet. The endpoint keeps the packets of one flow on one path.
    ///
    /// # Errors
    /// [`NoPath`].
    #[inline]
    pub fn lookup(
        &self,
        destination: Address,
        eid: Eid,
        down: &DownFlows,
    ) -> Result<FlowToken, NoPath> {
        let slot = &self.slots[self.position(destination)];
        if slot.count == 0 {
            return Err(NoPath::Unknown);
        }
        if self.policy == Policy::EqualCost && slot.count > 1 {
            return self.spread(slot, eid, down);
        }
        if !down.contains(slot.first) {
            return Ok(slot.first);
        }
        self.detour(slot, 1, down)
    }

    fn spread(&self, slot: &Slot, eid: Eid, down: &DownFlows) -> Result<FlowToken, NoPath> {
        let mixed = (eid.0 ^ slot.destination.get().rotate_left(32)).wrapping_mul(self.factor);
        // A second round, since the high bits of one product hardly depend on high bits of its factor's
        // low half.
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(self.factor) >> 32;
        let chosen = (mixed * u64::from(slot.count)) >> 32;
        self.detour(slot, chosen as usize, down)
    }

    /// The first flow that is up from the chosen one on, around the list.
    fn detour(&self, slot: &Slot, chosen: usize, down: &DownFlows) -> Result<FlowToken, NoPath> {
        let flows = self.flows_of(slot);
        let (before, after) = flows.split_at(chosen.min(flows.len()));
        after
            .iter()
            .chain(before)
            .copied()
            .find(|flow| !down.contains(*flow))
            .ok_or(NoPath::Down)
    }

    /// Where a destination is, or would be.
    #[inline]
    fn position(&self, destination: Address) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (destination.get().wrapping_mul(self.factor) >> self.shift) as usize;
        // Ends: at least half of the slots are empty.
        while self.slots[at & mask].count != 0 && self.slots[at & mask].destination != destination {
            at += 1;
        }
        at & mask
    }
}
