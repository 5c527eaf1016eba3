//! What has been sent, and what members hold.

use serde::Serialize;

use super::Network;
use crate::link::Tally;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Packets, each counted on each link.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What has been put on links, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Connections of components, enrollment.
    pub setup: Count,
    /// Link state.
    pub routing: Count,
    /// Packets of the directory.
    pub directory: Count,
    /// Packets of flow allocators.
    pub allocation: Count,
    /// Packets of users.
    pub users: Count,
}

impl Kinds {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = |now: Count, then: Count| Count {
            packets: now.packets - then.packets,
            bytes: now.bytes - then.bytes,
        };
        Self {
            setup: since(self.setup, earlier.setup),
            routing: since(self.routing, earlier.routing),
            directory: since(self.directory, earlier.directory),
            allocation: since(self.allocation, earlier.allocation),
            users: since(self.users, earlier.users),
        }
    }
}

impl Count {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// What a member holds, on average.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct State {
    /// Directed links in the link-state database.
    pub links: f64,
    /// Destinations in the forwarding table.
    pub routes: f64,
    /// Neighbours: data connections.
    pub neighbours: f64,
    /// Contacts of the directory.
    pub contacts: f64,
    /// Values that it stores for others.
    pub values: f64,
}

impl Network {
    /// What has been put on links so far.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// The counts of a link, by the members at its ends: from the first to the second.
    #[must_use]
    pub fn tally(&self, from: usize, to: usize) -> Option<Tally> {
        let number = self.by_ends.get(&(from.min(to), from.max(to)))?;
        Some(self.links[*number].directions[usize::from(from > to)].tally)
    }

    /// Packets that wait for a link now, from the first member to the second.
    pub fn queued(&mut self, from: usize, to: usize) -> usize {
        let now = self.agenda.now();
        let number = self.by_ends.get(&(from.min(to), from.max(to))).copied();
        number.map_or(0, |number| {
            self.links[number].directions[usize::from(from > to)].queued(now)
        })
    }

    /// Links between members.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The longest queue that there was on any link.
    #[must_use]
    pub fn longest_queue(&self) -> usize {
        let directions = self.links.iter().flat_map(|link| &link.directions);
        directions.map(|d| d.tally.longest).max().unwrap_or(0)
    }

    /// What members hold, on average.
    #[must_use]
    pub fn state(&self) -> State {
        let mut sum = State::default();
        let mut count = 0.0;
        for member in self.members.iter().flatten() {
            let status = member.node.status(self.now());
            count += 1.0;
            sum.links += status.links.len() as f64;
            sum.routes += status.routes.len() as f64;
            sum.neighbours += status.neighbours.len() as f64 / 2.0;
            sum.contacts += status.directory.contacts as f64;
            sum.values += status.directory.values as f64;
        }
        let mean = |value: f64| if count > 0.0 { value / count } else { 0.0 };
        State {
            links: mean(sum.links),
            routes: mean(sum.routes),
            neighbours: mean(sum.neighbours),
            contacts: mean(sum.contacts),
            values: mean(sum.values),
        }
    }
}
