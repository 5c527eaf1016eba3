//! Ends of flows by their EID: one look into a table, and a comparison of the whole number.
//!
//! An EID of 0.23 has 32 random bits above the number of a descriptor. Here the low 16 bits are a place in
//! a table plus 64, and the other 48 are random: a guess hits one in 2^48, and the EID of a flow that is
//! gone means nothing when its place is used again. Peers see an opaque number of at least 64.

use o7s_wire::dt::{Eid, Sizes};

/// Low bits of an EID: where its entry is.
const PLACE_BITS: u32 = 16;

/// Most ends of flows of one member.
pub const MAX_ENDPOINTS: usize = (1 << PLACE_BITS) - 1 - Eid::FIRST_USER.0 as usize;

#[inline]
fn place(eid: Eid) -> Option<usize> {
    let low = eid.0 & ((1 << PLACE_BITS) - 1);
    low.checked_sub(Eid::FIRST_USER.0).map(|at| at as usize)
}

/// What belongs to EIDs of a [`FlowAllocator`](super::FlowAllocator), for itself and for the data path.
#[derive(Debug, Clone)]
pub struct Endpoints<T> {
    entries: Vec<Option<(Eid, T)>>,
    len: usize,
}

impl<T> Default for Endpoints<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Endpoints<T> {
    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts something under an EID, in the place of what has its place; that is given back.
    pub fn insert(&mut self, eid: Eid, value: T) -> Option<T> {
        // The number of a component is in no table.
        let at = place(eid)?;
        if at >= self.entries.len() {
            self.entries.resize_with(at + 1, || None);
        }
        let before = self.entries[at].replace((eid, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    /// What belongs to an EID.
    #[inline]
    #[must_use]
    pub fn get(&self, eid: Eid) -> Option<&T> {
        match self.entries.get(place(eid)?)? {
            Some((own, value)) if *own == eid => Some(value),
            _ => None,
        }
    }

    /// What belongs to an EID, to be changed.
    #[inline]
    pub fn get_mut(&mut self, eid: Eid) -> Option<&mut T> {
        match self.entries.get_mut(place(eid)?)? {
            Some((own, value)) if *own == eid => Some(value),
            _ => None,
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, eid: Eid) -> Option<T> {
        let entry = self.entries.get_mut(place(eid)?)?;
        let (_, value) = entry.take_if(|(own, _)| *own == eid)?;
        self.len -= 1;
        Some(value)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Eid, &T)> {
        self.entries
            .iter()
            .flatten()
            .map(|(eid, value)| (*eid, value))
    }
}

/// Makes EIDs.
#[derive(Debug)]
pub(super) struct Numbers {
    sizes: Sizes,
    /// Places that were used and are free.
    free: Vec<u16>,
    /// Places that were ever used.
    used: u16,
    max: u16,
}

impl Numbers {
    /// For at most `max` at a time, and at most what the EIDs of the layer have room for.
    pub(super) fn new(sizes: Sizes, max: usize) -> Self {
        let room = match sizes.eid() {
            1 => u8::MAX as usize - Eid::FIRST_USER.0 as usize,
            _ => MAX_ENDPOINTS,
        };
        Self {
            sizes,
            free: Vec::new(),
            used: 0,
            // At most 65,471.
            max: max.min(room) as u16,
        }
    }

    /// A new EID of which no live one has the place; none when all are taken.
    pub(super) fn next(&mut self, random: u64) -> Option<Eid> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.used < self.max => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        let width = u64::MAX >> (64 - 8 * self.sizes.eid());
        let low = u64::from(at) + Eid::FIRST_USER.0;
        Some(Eid(random << PLACE_BITS & width | low))
    }

    /// The flow of this EID is gone.
    pub(super) fn release(&mut self, eid: Eid) {
        if let Some(at) = place(eid) {
            self.free.push(at as u16);
        }
    }
}
