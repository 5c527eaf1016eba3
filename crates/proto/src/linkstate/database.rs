//! The link-state database: the latest announcement of each directed link, and its age.

use std::{
    collections::{BTreeMap, btree_map::Entry as MapEntry},
    time::{Duration, Instant},
};

use o7s_wire::{address::Address, linkstate::Lsu};

use super::{Link, number::is_gone};

/// Directed links that a node keeps: 10,000 nodes with 13 links each.
pub const LINKS_MAX: usize = 1 << 17;

/// Updates of one link that are taken within [`UPDATES_PERIOD`]. Owners send one per `t_update`, a second
/// early, and one for each old number that they hear of.
pub const UPDATES_BURST: u8 = 5;

/// See [`UPDATES_BURST`].
pub const UPDATES_PERIOD: Duration = Duration::from_secs(1);

/// A directed link, in the order of the database: by destination, then source. Only valid addresses
/// have one, so they fit 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    destination: u32,
    source: u32,
}

impl Key {
    /// Before all others.
    pub(super) const FIRST: Self = Self {
        destination: 0,
        source: 0,
    };

    pub(super) fn new(source: Address, destination: Address) -> Self {
        Self {
            destination: destination.to_u32().unwrap_or(0),
            source: source.to_u32().unwrap_or(0),
        }
    }

    pub(super) fn source(self) -> Address {
        self.source.into()
    }

    pub(super) fn destination(self) -> Address {
        self.destination.into()
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    seqno: u64,
    /// Of the last update, ns since the epoch.
    stamp: u64,
    /// Beginning of the period in which updates are counted, in its own unit.
    period: u32,
    updates: u8,
    /// Period in which somebody with an older number was told this one.
    told: u32,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The link was not known, or the number is higher than the one known.
    Taken {
        /// It was known, and not as gone: who announces it says nothing new.
        announced: bool,
    },
    /// It is not. The number known, if it is higher and the sender was not told in this period.
    Old(Option<u64>),
    /// Too many updates of this link.
    TooOften,
    /// No room for another link.
    Full,
}

#[derive(Debug)]
pub(super) struct Database {
    epoch: Instant,
    entries: BTreeMap<Key, Entry>,
}

impl Database {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            entries: BTreeMap::new(),
        }
    }

    fn stamp(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Takes an update by the rule of numbers (`spec/unicast.md` §4.4).
    pub(super) fn update(&mut self, now: Instant, key: Key, seqno: u64) -> Arrival {
        let stamp = self.stamp(now);
        let full = self.entries.len() >= LINKS_MAX;
        match self.entries.entry(key) {
            MapEntry::Vacant(_) if full => Arrival::Full,
            MapEntry::Vacant(vacant) => {
                vacant.insert(Entry::new(seqno, stamp));
                Arrival::Taken { announced: false }
            }
            MapEntry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                if entry.seqno >= seqno {
                    let tell = entry.seqno > seqno && entry.told != period(stamp);
                    if tell {
                        entry.told = period(stamp);
                    }
                    return Arrival::Old(tell.then_some(entry.seqno));
                }
                if !entry.count(stamp) {
                    return Arrival::TooOften;
                }
                let announced = !is_gone(entry.seqno);
                entry.seqno = seqno;
                entry.stamp = stamp;
                Arrival::Taken { announced }
            }
        }
    }

    /// Whether one more update of the link is allowed now; counts it.
    pub(super) fn may_update(&mut self, now: Instant, key: Key) -> bool {
        let stamp = self.stamp(now);
        let entry = self.entries.get_mut(&key);
        entry.is_none_or(|entry| entry.count(stamp))
    }

    /// Sets an own link, whatever was there and however full it is: own links are bounded by adjacencies.
    pub(super) fn set(&mut self, now: Instant, key: Key, seqno: u64) {
        let stamp = self.stamp(now);
        let entry = self
            .entries
            .entry(key)
            .or_insert_with(|| Entry::new(seqno, stamp));
        entry.seqno = seqno;
        entry.stamp = stamp;
    }

    /// Removes what is older than `life` and not to be kept; the removed.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        life: Duration,
        keep: impl Fn(Key) -> bool,
    ) -> Vec<Key> {
        let stamp = self.stamp(now);
        let life = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
        self.take_out(|key, entry| stamp.saturating_sub(entry.stamp) > life && !keep(key))
    }

    /// Removes what is not to be kept; the removed.
    pub(super) fn retain(&mut self, keep: impl Fn(Key) -> bool) -> Vec<Key> {
        self.take_out(|key, _| !keep(key))
    }

    fn take_out(&mut self, which: impl Fn(Key, &Entry) -> bool) -> Vec<Key> {
        let mut gone = Vec::new();
        self.entries.retain(|key, entry| {
            let goes = which(*key, entry);
            if goes {
                gone.push(*key);
            }
            !goes
        });
        gone
    }

    /// Entries from `key` on.
    pub(super) fn from(&self, now: Instant, key: Key) -> impl Iterator<Item = (Key, Link)> + '_ {
        let stamp = self.stamp(now);
        self.entries.range(key..).map(move |(key, entry)| {
            let lsu = Lsu {
                destination: key.destination(),
                source: key.source(),
                seqno: entry.seqno,
            };
            let age = Duration::from_nanos(stamp.saturating_sub(entry.stamp));
            let gone = is_gone(entry.seqno);
            (*key, Link { lsu, age, gone })
        })
    }

    pub(super) fn links(&self, now: Instant) -> impl Iterator<Item = Link> + '_ {
        self.from(now, Key::FIRST).map(|(_, link)| link)
    }
}

impl Entry {
    fn new(seqno: u64, stamp: u64) -> Self {
        Self {
            seqno,
            stamp,
            period: period(stamp),
            updates: 1,
            // No period that is near.
            told: period(stamp).wrapping_sub(1),
        }
    }

    /// Counts an update; false when there were too many in this period.
    fn count(&mut self, stamp: u64) -> bool {
        if self.period != period(stamp) {
            self.period = period(stamp);
            self.updates = 0;
        }
        if self.updates >= UPDATES_BURST {
            return false;
        }
        self.updates += 1;
        true
    }
}

/// The period in which a stamp lies; periods repeat after 136 years.
fn period(stamp: u64) -> u32 {
    (stamp / UPDATES_PERIOD.as_nanos() as u64) as u32
}
