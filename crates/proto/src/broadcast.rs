//! A member of a broadcast layer without I/O (`spec/shims.md` §9): the flooding decision ([`Flood`]), and the
//! management of joining and connections ([`Member`]).
//!
//! Neighbours are the N-1 flows that are connected for data transfer and the flows of programs that joined;
//! both are equal. A packet goes to every neighbour but the one it came from, in the order in which they were
//! added, as it is: there is no header, no hop count, no number.
//!
//! # Loops
//!
//! The connections of a layer must form a tree. In 0.23 nothing notices that they do not: each packet then goes
//! round for ever, and in meshes multiplies. Here a node notices, without a change of the wire:
//!
//! - It remembers what it passed on: a hash of each packet, and from where it came, for [`MEMORY`] in a table
//!   of [`SLOTS`] entries. A packet that comes back over an N-1 flow over which it was sent is an *echo*.
//! - [`ECHOES`] echoes within [`MEMORY`], or of [`DIFFERENT`] different packets within [`QUIET`], are a loop.
//!   From then on a packet that comes over an N-1 flow and is
//!   remembered is dropped: what went round dies with its next arrival, and the layer works on, each packet
//!   once, over whatever connections there are.
//! - When there was no echo for [`QUIET`], the loop is gone and nothing is dropped any more.
//!
//! | it costs | |
//! | --- | --- |
//! | a node with less than two N-1 neighbours | nothing: no loop can pass through it |
//! | others | 256 KiB, and a hash of each packet: some ns for 64 bytes, some 100 ns for 1,400 |
//! | while there is no loop | no packet is dropped, whatever it contains |
//! | while there is one | a packet that says the same as one of the last second is dropped, unless it comes from a program here; the first [`ECHOES`] echoes have gone round |
//! | a false alarm | members in two directions that send the same bytes more than [`ECHOES`] times a second, or the same [`DIFFERENT`] packets within a second of each other in half a minute, or a program that repeats what it hears as often: one of the two is not heard meanwhile |
//!
//! A loop with members of 0.23 is broken if it passes through one of ours.

mod member;

use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};

use foldhash::quality::FixedState;

pub use member::{CONNECTIONS_MAX, Failure, Member, Moment, Notice, Output};

/// How long a packet is remembered. More than the maximum packet lifetime of the layer (100 ms).
pub const MEMORY: Duration = Duration::from_secs(1);

/// Packets that are remembered at most.
pub const SLOTS: usize = 1 << 14;

/// Echoes within [`MEMORY`] from which a node knows that there is a loop.
pub const ECHOES: u32 = 32;

/// Different packets with echoes within [`QUIET`] from which a node knows too: where another member has broken
/// the loop already, each packet comes twice only. Not fewer, for the sake of programs that repeat what they
/// hear now and then.
pub const DIFFERENT: usize = 256;

/// Time without an echo after which the loop is gone.
pub const QUIET: Duration = Duration::from_secs(30);

/// Neighbours of one node: N-1 flows and joined programs.
pub const NEIGHBOURS_MAX: usize = 4096;

/// Number of a neighbour, chosen by the driver, unique among those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour(pub u32);

/// What a neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An N-1 flow to another member.
    Member,
    /// The flow of a program that joined.
    Program,
}

/// There are [`NEIGHBOURS_MAX`] neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this member has {NEIGHBOURS_MAX} neighbours already; let some leave, or use another member"
)]
pub struct Full;

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it to [`Flood::others`].
    Forward,
    /// Drop it.
    Drop,
}

/// News of a loop, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Packets that were heard from the one neighbour come back from the other.
    LoopFound {
        /// From where they came first.
        first: Neighbour,
        /// From where they came back.
        back: Neighbour,
    },
    /// They do no more.
    LoopGone,
}

/// Counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Packets to be passed on.
    pub forwarded: u64,
    /// Packets that came back over an N-1 flow over which they had been sent.
    pub echoes: u64,
    /// Packets dropped because of a loop.
    pub dropped: u64,
    /// Empty packets: signs of life of a flow, which go nowhere.
    pub empty: u64,
    /// Loops found.
    pub loops: u64,
}

/// A remembered packet.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    hash: u64,
    /// Milliseconds since the epoch, from 1; 0 is a free slot.
    at: u32,
    from: u32,
}

/// The flooding of one member.
#[derive(Debug)]
pub struct Flood {
    /// In the order in which they were added.
    neighbours: Vec<(Neighbour, Kind)>,
    members: usize,
    hasher: FixedState,
    epoch: Instant,
    /// Empty unless there are two members.
    seen: Vec<Seen>,
    /// Echoes since the time in ms.
    echoes: (u32, u32),
    /// Hashes of different packets with echoes, since the time.
    different: (Instant, Vec<u64>),
    /// Time of the last echo of a loop that was found.
    looping: Option<Instant>,
    event: Option<Event>,
    stats: Stats,
}

impl Flood {
    /// No neighbours. `seed` must be random, so that nobody can make packets that are taken for others.
    #[must_use]
    pub fn new(seed: u64, now: Instant) -> Self {
        Self {
            neighbours: Vec::new(),
            members: 0,
            hasher: FixedState::with_seed(seed),
            epoch: now,
            seen: Vec::new(),
            echoes: (0, 0),
            different: (now, Vec::new()),
            looping: None,
            event: None,
            stats: Stats::default(),
        }
    }

    /// Adds a neighbour.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(&mut self, neighbour: Neighbour, kind: Kind) -> Result<(), Full> {
        self.remove(neighbour);
        if self.neighbours.len() >= NEIGHBOURS_MAX {
            return Err(Full);
        }
        self.neighbours.push((neighbour, kind));
        self.count_members();
        Ok(())
    }

    /// Removes a neighbour; whether it was there.
    pub fn remove(&mut self, neighbour: Neighbour) -> bool {
        let before = self.neighbours.len();
        self.neighbours.retain(|(known, _)| *known != neighbour);
        self.count_members();
        self.neighbours.len() != before
    }

    fn count_members(&mut self) {
        let members = self.neighbours.iter();
        self.members = members.filter(|(_, kind)| *kind == Kind::Member).count();
        match self.members {
            0 | 1 => self.seen = Vec::new(),
            _ if self.seen.is_empty() => self.seen = vec![Seen::default(); SLOTS],
            _ => {}
        }
    }

    /// The neighbours, in the order in which they were added.
    #[must_use]
    pub fn neighbours(&self) -> &[(Neighbour, Kind)] {
        &self.neighbours
    }

    /// All neighbours but the one that a packet came from.
    pub fn others(&self, from: Neighbour) -> impl Iterator<Item = Neighbour> + '_ {
        let all = self.neighbours.iter().map(|(neighbour, _)| *neighbour);
        all.filter(move |neighbour| *neighbour != from)
    }

    /// A packet arrived from a neighbour.
    #[inline]
    pub fn packet(&mut self, now: Instant, from: Neighbour, packet: &[u8]) -> Verdict {
        if packet.is_empty() {
            self.stats.empty += 1;
            return Verdict::Drop;
        }
        if self.seen.is_empty() || !self.is_loop(now, from, packet) {
            self.stats.forwarded += 1;
            return Verdict::Forward;
        }
        self.stats.dropped += 1;
        Verdict::Drop
    }

    /// Whether the packet is to be dropped because of a loop; remembers it.
    fn is_loop(&mut self, now: Instant, from: Neighbour, packet: &[u8]) -> bool {
        let hash = self.hasher.hash_one(packet);
        let age = now.saturating_duration_since(self.epoch).as_millis();
        // Wraps after 49 days, and then makes a packet of that age look new.
        let at = (age as u32).max(1);
        let at_slot = hash as usize % SLOTS;
        let Some(seen) = self.seen.get_mut(at_slot) else {
            return false;
        };
        let memory = MEMORY.as_millis() as u32;
        let known = seen.at != 0 && seen.hash == hash && at.wrapping_sub(seen.at) < memory;
        // A program is no way to other members: what it sends is new.
        let program = self.neighbours.contains(&(from, Kind::Program));
        if !known || program {
            *seen = Seen {
                hash,
                at,
                from: from.0,
            };
            return false;
        }
        let first = Neighbour(seen.from);
        if first != from {
            self.echo(now, at, hash, first, from);
        }
        self.is_looping(now)
    }

    /// A packet came back.
    fn echo(&mut self, now: Instant, at: u32, hash: u64, first: Neighbour, back: Neighbour) {
        self.stats.echoes += 1;
        if self.is_looping(now) {
            self.looping = Some(now);
            return;
        }
        let (since, count) = &mut self.echoes;
        if *count == 0 || at.wrapping_sub(*since) >= MEMORY.as_millis() as u32 {
            (*since, *count) = (at, 0);
        }
        *count += 1;
        let (since, different) = &mut self.different;
        if now.saturating_duration_since(*since) >= QUIET {
            *since = now;
            different.clear();
        }
        if !different.contains(&hash) {
            different.push(hash);
        }
        if *count >= ECHOES || different.len() >= DIFFERENT {
            *count = 0;
            different.clear();
            self.looping = Some(now);
            self.stats.loops += 1;
            self.event = Some(Event::LoopFound { first, back });
        }
    }

    /// Whether there is a loop as far as this member knows.
    pub fn is_looping(&mut self, now: Instant) -> bool {
        let Some(last) = self.looping else {
            return false;
        };
        if now.saturating_duration_since(last) < QUIET {
            return true;
        }
        self.looping = None;
        self.event = Some(Event::LoopGone);
        false
    }

    /// When [`Self::is_looping`] is to be asked again, so that the end of a loop is told in time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.looping.map(|last| last + QUIET)
    }

    /// News of a loop.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

#[cfg(test)]
mod tests;
