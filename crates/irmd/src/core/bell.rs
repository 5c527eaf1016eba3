//! Doorbells: one per pair of processes that share flows, with a slot per flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use o7s::{Error, ErrorKind, Result};

use super::{Context, flow::Holder, limits};

/// The doorbells of the daemon.
#[derive(Debug, Default)]
pub(super) struct Bells {
    by_id: BTreeMap<u64, Bell>,
    /// The doorbell that new flows of a pair (lower first) use.
    by_pair: HashMap<(Holder, Holder), u64>,
    next: u64,
}

#[derive(Debug)]
struct Bell {
    /// Holders of side 0 and side 1.
    holders: [Holder; 2],
    /// The side's descriptors have been read by its process.
    confirmed: [bool; 2],
    next_slot: u32,
    free: BTreeSet<u32>,
    used: u32,
}

/// Where a flow rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The doorbell.
    pub bell: u64,
    /// The number both ends ring.
    pub slot: u32,
    /// The doorbell's side of the flow's side A.
    pub side_of_a: usize,
}

impl Slot {
    /// The doorbell's side of a flow's side.
    pub(super) fn side(self, side: super::Side) -> usize {
        match side {
            super::Side::A => self.side_of_a,
            super::Side::B => 1 - self.side_of_a,
        }
    }
}

fn pair(one: Holder, other: Holder) -> (Holder, Holder) {
    (one.min(other), one.max(other))
}

impl Bells {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A slot for a flow from `a` to `b`.
    pub(super) fn take(&mut self, cx: &mut dyn Context, a: Holder, b: Holder) -> Result<Slot> {
        let id = match self.by_pair.get(&pair(a, b)) {
            Some(id) => *id,
            None => self.make(cx, a, b)?,
        };
        let bell = self.by_id.get_mut(&id).ok_or_else(full)?;
        let slot = match bell.free.pop_first() {
            Some(slot) => slot,
            None if bell.next_slot < limits::SLOTS => {
                bell.next_slot += 1;
                bell.next_slot - 1
            }
            None => return Err(full()),
        };
        bell.used += 1;
        let side_of_a = usize::from(bell.holders[0] != a);
        Ok(Slot {
            bell: id,
            slot,
            side_of_a,
        })
    }

    fn make(&mut self, cx: &mut dyn Context, a: Holder, b: Holder) -> Result<u64> {
        let id = self.next + 1;
        cx.make_bell(id)?;
        self.next = id;
        self.by_id.insert(
            id,
            Bell {
                holders: [a, b],
                confirmed: [false; 2],
                next_slot: 0,
                free: BTreeSet::new(),
                used: 0,
            },
        );
        self.by_pair.insert(pair(a, b), id);
        Ok(id)
    }

    /// Both ends of the flow are given back.
    pub(super) fn give(&mut self, cx: &mut dyn Context, slot: Slot) {
        if let Some(bell) = self.by_id.get_mut(&slot.bell) {
            bell.free.insert(slot.slot);
            bell.used -= 1;
            self.drop_unused(cx, slot.bell);
        }
    }

    /// Whether the descriptors of a side must go along with a flow: until it is certain that the
    /// process has them.
    pub(super) fn must_send(&self, bell: u64, side: usize) -> bool {
        self.by_id
            .get(&bell)
            .is_some_and(|bell| !bell.confirmed[side])
    }

    /// The process of `side` has its descriptors.
    pub(super) fn confirm(&mut self, cx: &mut dyn Context, bell: u64, side: usize) {
        if let Some(state) = self.by_id.get_mut(&bell)
            && !std::mem::replace(&mut state.confirmed[side], true)
        {
            cx.release_bell(bell, side);
        }
    }

    /// The descriptors sent to `side` may be lost: unless they arrived by another way, further
    /// flows get a new doorbell.
    pub(super) fn retire(&mut self, cx: &mut dyn Context, bell: u64, side: usize) {
        if self.must_send(bell, side) {
            self.forget(cx, bell);
        }
    }

    /// Further flows of this pair get a new doorbell.
    pub(super) fn forget(&mut self, cx: &mut dyn Context, bell: u64) {
        if let Some(state) = self.by_id.get(&bell) {
            let pair = pair(state.holders[0], state.holders[1]);
            if self.by_pair.get(&pair) == Some(&bell) {
                self.by_pair.remove(&pair);
            }
            self.drop_unused(cx, bell);
        }
    }

    fn drop_unused(&mut self, cx: &mut dyn Context, bell: u64) {
        let unused = self.by_id.get(&bell).is_some_and(|state| {
            state.used == 0
                && self.by_pair.get(&pair(state.holders[0], state.holders[1])) != Some(&bell)
        });
        if unused {
            self.by_id.remove(&bell);
            cx.drop_bell(bell);
        }
    }

    /// A process died: its doorbells go.
    pub(super) fn process_gone(&mut self, cx: &mut dyn Context, pid: i32) {
        self.holder_gone(cx, Holder::Process(pid));
    }

    /// A holder of ends died: its doorbells go.
    pub(super) fn holder_gone(&mut self, cx: &mut dyn Context, holder: Holder) {
        let dead: Vec<u64> = self
            .by_id
            .iter()
            .filter_map(|(id, bell)| bell.holders.contains(&holder).then_some(*id))
            .collect();
        for id in dead {
            if let Some(bell) = self.by_id.remove(&id) {
                let pair = pair(bell.holders[0], bell.holders[1]);
                if self.by_pair.get(&pair) == Some(&id) {
                    self.by_pair.remove(&pair);
                }
                cx.drop_bell(id);
            }
        }
    }
}

fn full() -> Error {
    Error::new(
        ErrorKind::NoMemory,
        format!(
            "the two processes share {} flows already, the limit; deallocate some",
            limits::SLOTS
        ),
    )
}
