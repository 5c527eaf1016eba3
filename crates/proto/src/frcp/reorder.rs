//! Packets of a reliable flow that arrived before their predecessors.

use o7s_wire::frcp::Offsets;

use super::seq::before;

const FIRST_SLOTS: usize = 64;
/// How many of the last runs of arrivals are remembered for selective acknowledgements.
const RECENT: usize = 1024;
/// How many ranges an acknowledgement repeats up to, in case earlier ones were lost.
const REPEAT: usize = 16;
/// Memory of packets that is kept for the next ones.
const KEEP: usize = 256 << 10;
/// Bookkeeping charged per held packet.
pub(super) const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
struct Held {
    fragment: u8,
    bytes: Vec<u8>,
}

/// The store: a ring of slots by sequence number and a bitmap of the taken ones.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    slots: Vec<Held>,
    taken: Vec<u64>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    count: u32,
    bytes: usize,
    /// After the last packet held.
    end: u32,
    /// The last packet of each of the latest runs of arrivals: a ring.
    recent: Vec<u32>,
    runs: usize,
    /// How many of the latest have not been told.
    untold: usize,
}

impl Reorder {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes held, bookkeeping included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// After the last packet held; meaningless when empty.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    fn position(&self, seqno: u32) -> (usize, usize, u64) {
        let index = seqno as usize & (self.slots.len() - 1);
        (index, index / 64, 1 << (index % 64))
    }

    /// Whether `seqno`, which is beyond `nxt`, is held.
    pub(super) fn contains(&self, nxt: u32, seqno: u32) -> bool {
        if self.count == 0 || seqno.wrapping_sub(nxt) as usize >= self.slots.len() {
            return false;
        }
        let (_, word, bit) = self.position(seqno);
        self.taken[word] & bit != 0
    }

    /// Keeps the packet `seqno`, which is beyond `nxt` and not held.
    pub(super) fn insert(&mut self, nxt: u32, seqno: u32, fragment: u8, payload: &[u8]) {
        let distance = seqno.wrapping_sub(nxt) as usize;
        if distance >= self.slots.len() {
            self.grow(nxt, distance + 1);
        }
        let mut bytes = match self.spare.pop() {
            Some(spare) => {
                self.spare_bytes -= spare.capacity();
                spare
            }
            None => Vec::new(),
        };
        bytes.clear();
        bytes.extend_from_slice(payload);
        self.bytes += bytes.capacity() + OVERHEAD;
        let (index, word, bit) = self.position(seqno);
        self.slots[index] = Held { fragment, bytes };
        self.taken[word] |= bit;
        if self.count == 0 || before(self.end, seqno.wrapping_add(1)) {
            self.end = seqno.wrapping_add(1);
        }
        self.count += 1;
        self.remember(seqno);
    }

    fn remember(&mut self, seqno: u32) {
        let last = self.runs.wrapping_sub(1) % RECENT;
        if let Some(last) = self.recent.get_mut(last)
            && *last == seqno.wrapping_sub(1)
        {
            *last = seqno;
            self.untold = self.untold.max(1);
            return;
        }
        if self.recent.len() < RECENT {
            self.recent.push(seqno);
        } else {
            self.recent[self.runs % RECENT] = seqno;
        }
        self.runs = self.runs.wrapping_add(1);
        self.untold = (self.untold + 1).min(RECENT);
    }

    fn grow(&mut self, nxt: u32, needed: usize) {
        let size = needed.next_power_of_two().max(FIRST_SLOTS);
        let mut slots: Vec<Held> = Vec::new();
        slots.resize_with(size, Held::default);
        let mut taken = vec![0u64; size / 64];
        if self.count > 0 {
            for distance in 0..self.slots.len() as u32 {
                let seqno = nxt.wrapping_add(distance);
                let (index, word, bit) = self.position(seqno);
                if self.taken[word] & bit != 0 {
                    let to = seqno as usize & (size - 1);
                    slots[to] = std::mem::take(&mut self.slots[index]);
                    taken[to / 64] |= 1 << (to % 64);
                }
            }
        }
        self.slots = slots;
        self.taken = taken;
    }

    /// Takes the packet `seqno` out: its fragment flags and bytes, which go back by
    /// [`recycle`](Self::recycle).
    pub(super) fn take(&mut self, seqno: u32) -> Option<(u8, Vec<u8>)> {
        if self.count == 0 {
            return None;
        }
        let (index, word, bit) = self.position(seqno);
        if self.taken[word] & bit == 0 {
            return None;
        }
        self.taken[word] &= !bit;
        let Held { fragment, bytes } = std::mem::take(&mut self.slots[index]);
        self.bytes -= bytes.capacity() + OVERHEAD;
        self.count -= 1;
        Some((fragment, bytes))
    }

    /// Keeps the memory of a packet for the next one.
    pub(super) fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare_bytes + bytes.capacity() <= KEEP {
            self.spare_bytes += bytes.capacity();
            self.spare.push(bytes);
        }
    }

    /// Drops everything, memory included.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Tells the held ranges of arrivals not told yet, oldest first, as offsets from `nxt`, and some of those
    /// told before; at most `most`. Whether more are left to be told.
    pub(super) fn ranges(&mut self, nxt: u32, most: usize, mut emit: impl FnMut(Offsets)) -> bool {
        let mut listed = [Offsets { start: 0, end: 0 }; o7s_wire::frcp::MAX_RANGES];
        let most = most.min(listed.len());
        let mut count = 0;
        let mut list = |back: usize, count: &mut usize| {
            let seqno = self.recent[self.runs.wrapping_sub(back) % RECENT];
            let offset = seqno.wrapping_sub(nxt);
            if before(seqno, nxt)
                || !self.contains(nxt, seqno)
                || listed[..*count]
                    .iter()
                    .any(|r| (r.start..r.end).contains(&offset))
            {
                return;
            }
            let range = Offsets {
                start: offset - self.run_before(seqno),
                end: offset + 1 + self.run_from(seqno.wrapping_add(1)),
            };
            emit(range);
            listed[*count] = range;
            *count += 1;
        };
        let told = self.untold;
        let mut left = told;
        while left > 0 && count < most {
            list(left, &mut count);
            left -= 1;
        }
        for back in told + 1..=self.recent.len().min(told + RECENT / 8) {
            if left > 0 || count >= most.min(REPEAT) {
                break;
            }
            list(back, &mut count);
        }
        self.untold = left;
        left > 0
    }

    /// How many packets in a row are held from `seqno` on. The slot of the next packet expected is
    /// never taken, so the walk around the ring ends.
    fn run_from(&self, seqno: u32) -> u32 {
        let mut run = 0;
        loop {
            let (index, word, _) = self.position(seqno.wrapping_add(run));
            let ones = (self.taken[word] >> (index % 64)).trailing_ones();
            run += ones;
            if ones == 0 || (index % 64) as u32 + ones < 64 {
                return run;
            }
        }
    }

    /// How many packets in a row are held before `seqno`.
    fn run_before(&self, seqno: u32) -> u32 {
        let mut run = 0;
        loop {
            let (index, word, _) = self.position(seqno.wrapping_sub(run + 1));
            let ones = (self.taken[word] << (63 - index % 64)).leading_ones();
            run += ones;
            if ones == 0 || ones <= (index % 64) as u32 {
                return run;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A driver that takes a whole batch of packets before it sends one acknowledgement: all is told, in as
    /// many packets as that takes.
    #[test]
    fn everything_is_told_once_asked_often_enough() {
        let mut reorder = Reorder::default();
        for i in (1..4000u32).filter(|i| i % 10 != 3) {
            reorder.insert(0, i, 0, b"x");
        }
        let mut told = BTreeSet::new();
        let mut packets = 1;
        while reorder.ranges(0, 64, |r| told.extend(r.start..r.end)) {
            packets += 1;
        }
        assert_eq!(packets, 401usize.div_ceil(64));
        assert!(told.into_iter().eq((1..4000).filter(|i| i % 10 != 3)));
    }

    #[test]
    fn ranges_match_a_set() {
        let mut state = 0x1234_5678_9abc_def1u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..200 {
            let mut nxt = u32::MAX - (random() % 300) as u32;
            let mut reorder = Reorder::default();
            let mut model = BTreeSet::new();
            let mut position = 0u32;
            for _ in 0..200 {
                let distance = 1 + (random() % (10 + round)) as u32;
                let seqno = nxt.wrapping_add(distance);
                assert_eq!(
                    reorder.contains(nxt, seqno),
                    model.contains(&(position + distance))
                );
                let new = model.insert(position + distance);
                if new {
                    reorder.insert(nxt, seqno, 0, &seqno.to_be_bytes());
                }
                let mut seen = Vec::new();
                reorder.ranges(nxt, 32, |r| seen.push(r));
                for Offsets { start, end } in &seen {
                    assert!(*start > 0 && start < end);
                    assert!((*start..*end).all(|o| model.contains(&(position + o))));
                    assert!(!model.contains(&(position + end)));
                    assert!(!model.contains(&(position + start - 1)));
                }
                assert!(!new || seen.iter().any(|r| (r.start..r.end).contains(&distance)));
                if random() % 10 == 0 {
                    // The missing packet arrives.
                    nxt = nxt.wrapping_add(1);
                    position += 1;
                    while model.remove(&position) {
                        let (_, bytes) = reorder.take(nxt).expect("held");
                        assert_eq!(bytes, nxt.to_be_bytes());
                        reorder.recycle(bytes);
                        nxt = nxt.wrapping_add(1);
                        position += 1;
                    }
                    assert!(reorder.take(nxt).is_none());
                }
                assert_eq!(reorder.is_empty(), model.is_empty());
            }
        }
    }
}
