//! What a sender holds: the packets from the oldest unacknowledged to the last one written, their
//! bytes, and the order in which those in flight were sent.

use super::rtt::Nanos;

const NONE: u32 = u32::MAX;
const FIRST_SLOTS: usize = 16;
const FIRST_BYTES: usize = 4096;
/// Memory up to this size stays when nothing is held.
const KEEP: usize = 256 << 10;

/// Where a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Written, not yet sent.
    Queued,
    /// Sent, no news.
    InFlight,
    /// Taken for lost, to be sent again.
    Lost,
    /// Acknowledged selectively.
    Delivered,
}

/// One packet. Times are those of the first and the latest transmission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    offset: u64,
    pub(super) first_sent: Nanos,
    pub(super) sent: Nanos,
    len: u32,
    previous: u32,
    next: u32,
    /// Fragment flags of the header.
    pub(super) fragment: u8,
    pub(super) state: State,
    pub(super) retransmitted: bool,
}

const EMPTY: Slot = Slot {
    offset: 0,
    first_sent: 0,
    sent: 0,
    len: 0,
    previous: NONE,
    next: NONE,
    fragment: 0,
    state: State::Queued,
    retransmitted: false,
};

/// Packets `una..nxt` were sent, `nxt..end` wait. Slots and bytes are rings that grow by doubling.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) una: u32,
    pub(super) nxt: u32,
    pub(super) end: u32,
    slots: Vec<Slot>,
    /// One bit per slot, allocated when first needed.
    delivered: Vec<u64>,
    lost: Vec<u64>,
    lost_count: u32,
    bytes: Vec<u8>,
    head: u64,
    tail: u64,
    oldest: u32,
    newest: u32,
    in_flight: u32,
}

impl Outstanding {
    pub(super) fn new(isn: u32) -> Self {
        Self {
            una: isn,
            nxt: isn,
            end: isn,
            slots: Vec::new(),
            delivered: Vec::new(),
            lost: Vec::new(),
            lost_count: 0,
            bytes: Vec::new(),
            head: 0,
            tail: 0,
            oldest: NONE,
            newest: NONE,
            in_flight: 0,
        }
    }

    /// Packets held.
    pub(super) fn len(&self) -> u32 {
        self.end.wrapping_sub(self.una)
    }

    /// Packets waiting for their first transmission.
    pub(super) fn queued(&self) -> u32 {
        self.end.wrapping_sub(self.nxt)
    }

    /// Payload bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        usize::try_from(self.tail - self.head).unwrap_or(usize::MAX)
    }

    /// Packets sent without news since.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    #[inline]
    fn index(&self, seqno: u32) -> usize {
        seqno as usize & (self.slots.len() - 1)
    }

    /// The packet `seqno`, which must be held.
    #[inline]
    pub(super) fn slot(&self, seqno: u32) -> &Slot {
        &self.slots[self.index(seqno)]
    }

    /// The in-flight packet that was sent longest ago.
    #[inline]
    pub(super) fn oldest(&self) -> Option<(u32, &Slot)> {
        let slot = self.slots.get(self.oldest as usize)?;
        // The ring is never larger than the sequence space, and `una` is in it.
        let distance = self.oldest.wrapping_sub(self.una) & (self.mask());
        Some((self.una.wrapping_add(distance), slot))
    }

    fn mask(&self) -> u32 {
        u32::try_from(self.slots.len().wrapping_sub(1)).unwrap_or(u32::MAX)
    }

    /// Appends one packet.
    pub(super) fn push(&mut self, fragment: u8, payload: &[u8]) {
        if self.len() as usize == self.slots.len() {
            self.grow_slots();
        }
        if self.bytes.len() - self.held_bytes() < payload.len() {
            self.grow_bytes(payload.len());
        }
        if self.una == self.end {
            // Nothing is held: start over, so that a flow with little in flight stays in few lines.
            self.head = 0;
            self.tail = 0;
        }
        let index = self.index(self.end);
        self.slots[index] = Slot {
            offset: self.tail,
            len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            fragment,
            ..EMPTY
        };
        if !payload.is_empty() {
            let at = self.position(self.tail);
            let first = payload.len().min(self.bytes.len() - at);
            self.bytes[at..at + first].copy_from_slice(&payload[..first]);
            self.bytes[..payload.len() - first].copy_from_slice(&payload[first..]);
        }
        self.tail += payload.len() as u64;
        self.end = self.end.wrapping_add(1);
    }

    #[inline]
    fn position(&self, offset: u64) -> usize {
        // The mask keeps the result below the length, which is a usize.
        (offset & (self.bytes.len() as u64 - 1)) as usize
    }

    fn grow_slots(&mut self) {
        let size = (self.slots.len() * 2).max(FIRST_SLOTS);
        let mut slots = vec![EMPTY; size];
        let bitmap = |old: &[u64]| vec![0u64; if old.is_empty() { 0 } else { size.div_ceil(64) }];
        let mut delivered = bitmap(&self.delivered);
        let mut lost = bitmap(&self.lost);
        let new_index = |old: u32, una: u32, old_mask: u32| -> u32 {
            let seqno = una.wrapping_add(old.wrapping_sub(una) & old_mask);
            seqno & u32::try_from(size - 1).unwrap_or(u32::MAX)
        };
        let (una, mask) = (self.una, self.mask());
        let moved = |old: u32| {
            if old == NONE {
                NONE
            } else {
                new_index(old, una, mask)
            }
        };
        for distance in 0..self.len() {
            let seqno = self.una.wrapping_add(distance);
            let mut slot = *self.slot(seqno);
            slot.previous = moved(slot.previous);
            slot.next = moved(slot.next);
            let index = seqno as usize & (size - 1);
            match slot.state {
                State::Delivered => delivered[index / 64] |= 1 << (index % 64),
                State::Lost => lost[index / 64] |= 1 << (index % 64),
                State::Queued | State::InFlight => {}
            }
            slots[index] = slot;
        }
        self.oldest = moved(self.oldest);
        self.newest = moved(self.newest);
        self.slots = slots;
        self.delivered = delivered;
        self.lost = lost;
    }

    fn grow_bytes(&mut self, more: usize) {
        let needed = self.held_bytes() + more;
        let size = needed.next_power_of_two().max(FIRST_BYTES);
        let mut bytes = vec![0; size];
        let held = self.held_bytes();
        let (first, second) = self.stretch(self.head, held);
        // The same offsets, under the new mask.
        let start = (self.head & (size as u64 - 1)) as usize;
        for (i, part) in [(0, first), (first.len(), second)] {
            let at = (start + i) & (size - 1);
            let room = part.len().min(size - at);
            bytes[at..at + room].copy_from_slice(&part[..room]);
            bytes[..part.len() - room].copy_from_slice(&part[room..]);
        }
        self.bytes = bytes;
    }

    fn stretch(&self, offset: u64, len: usize) -> (&[u8], &[u8]) {
        if len == 0 {
            return (&[], &[]);
        }
        let at = self.position(offset);
        let first = len.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..len - first])
    }

    /// Payload of a held packet, in two parts where it wraps around.
    #[inline]
    pub(super) fn payload(&self, seqno: u32) -> (&[u8], &[u8]) {
        let slot = self.slot(seqno);
        self.stretch(slot.offset, slot.len as usize)
    }

    /// Notes the (first or another) transmission of a held packet.
    pub(super) fn transmitted(&mut self, seqno: u32, now: Nanos) {
        let index = self.index(seqno);
        match self.slots[index].state {
            State::InFlight => self.unlink(index),
            State::Lost => self.unmark_lost(index),
            State::Queued | State::Delivered => {}
        }
        let newest = self.newest;
        let slot = &mut self.slots[index];
        if slot.state == State::Queued {
            slot.first_sent = now;
        } else {
            slot.retransmitted = true;
        }
        slot.sent = now;
        slot.state = State::InFlight;
        slot.previous = newest;
        slot.next = NONE;
        // An index of a ring that holds at most 2^31 packets.
        let index = index as u32;
        match self.slots.get_mut(newest as usize) {
            Some(last) => last.next = index,
            None => self.oldest = index,
        }
        self.newest = index;
        self.in_flight += 1;
        if seqno == self.nxt {
            self.nxt = self.nxt.wrapping_add(1);
        }
    }

    fn unlink(&mut self, index: usize) {
        let Slot { previous, next, .. } = self.slots[index];
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = next,
            None => self.oldest = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = previous,
            None => self.newest = previous,
        }
        self.in_flight -= 1;
    }

    /// Takes an in-flight packet for lost.
    pub(super) fn take_for_lost(&mut self, seqno: u32) {
        let index = self.index(seqno);
        if self.slots[index].state == State::InFlight {
            self.unlink(index);
            self.slots[index].state = State::Lost;
            if self.lost.is_empty() {
                self.lost = vec![0; self.slots.len().div_ceil(64)];
            }
            self.lost[index / 64] |= 1 << (index % 64);
            self.lost_count += 1;
        }
    }

    fn unmark_lost(&mut self, index: usize) {
        self.lost[index / 64] &= !(1 << (index % 64));
        self.lost_count -= 1;
    }

    /// The first of the packets taken for lost.
    #[inline]
    pub(super) fn first_lost(&self) -> Option<u32> {
        if self.lost_count == 0 {
            return None;
        }
        let start = self.index(self.una);
        let words = self.lost.len();
        // The word of `una` is looked at twice: first its upper, at last its lower part.
        let upper = u64::MAX << (start % 64);
        (0..=words).find_map(|step| {
            let word = (start / 64 + step) % words;
            let part = match step {
                0 => upper,
                _ if step == words => !upper,
                _ => u64::MAX,
            };
            let bits = self.lost[word] & part;
            (bits != 0).then(|| {
                // An index of a ring that holds at most 2^31 packets.
                let index = (word * 64) as u32 + bits.trailing_zeros();
                let distance = index.wrapping_sub(self.una) & self.mask();
                self.una.wrapping_add(distance)
            })
        })
    }

    /// Releases the oldest packet, which the peer has or which is never to be sent again.
    pub(super) fn release(&mut self) -> Option<Slot> {
        if self.una == self.nxt {
            return None;
        }
        let index = self.index(self.una);
        let slot = self.slots[index];
        match slot.state {
            State::InFlight => self.unlink(index),
            State::Delivered => self.delivered[index / 64] &= !(1 << (index % 64)),
            State::Lost => self.unmark_lost(index),
            State::Queued => {}
        }
        self.head = slot.offset + u64::from(slot.len);
        self.una = self.una.wrapping_add(1);
        Some(slot)
    }

    /// Marks `from..to`, all sent, as delivered, and shows each that was not so before to `seen`.
    pub(super) fn deliver(&mut self, from: u32, to: u32, mut seen: impl FnMut(u32, &Slot)) {
        if self.delivered.is_empty() {
            self.delivered = vec![0; self.slots.len().div_ceil(64)];
        }
        let mut seqno = from;
        while seqno != to {
            let index = self.index(seqno);
            let bit = index % 64;
            let room = (64 - bit).min(self.slots.len() - index);
            let span = to.wrapping_sub(seqno).min(room as u32);
            let ones = u64::MAX >> (64 - span) << bit;
            let mut fresh = ones & !self.delivered[index / 64];
            self.delivered[index / 64] |= ones;
            while fresh != 0 {
                let offset = fresh.trailing_zeros() as usize - bit;
                fresh &= fresh - 1;
                match self.slots[index + offset].state {
                    State::InFlight => self.unlink(index + offset),
                    State::Lost => self.unmark_lost(index + offset),
                    State::Queued | State::Delivered => {}
                }
                let slot = &mut self.slots[index + offset];
                seen(seqno.wrapping_add(offset as u32), slot);
                slot.state = State::Delivered;
            }
            seqno = seqno.wrapping_add(span);
        }
    }

    /// Gives much memory back when nothing is held: a flow that was busy once must not keep it for ever.
    pub(super) fn shrink(&mut self) {
        if self.una == self.end && self.bytes.len() > KEEP {
            self.bytes = Vec::new();
            self.slots = Vec::new();
            self.delivered = Vec::new();
            self.lost = Vec::new();
            self.head = 0;
            self.tail = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(outstanding: &Outstanding, seqno: u32) -> Vec<u8> {
        let (first, second) = outstanding.payload(seqno);
        [first, second].concat()
    }

    #[test]
    fn payloads_survive_wrap_and_growth() {
        let isn = u32::MAX - 20;
        let mut held = Outstanding::new(isn);
        let message = |i: u32| vec![i as u8; 1 + (i as usize * 37) % 900];
        let mut written = 0;
        let mut released = 0;
        for round in 0..400u32 {
            for _ in 0..(1 + round % 7) {
                held.push(0, &message(written));
                held.transmitted(isn.wrapping_add(written), u64::from(written));
                written += 1;
            }
            for _ in 0..(1 + round % 6) {
                if held.release().is_some() {
                    released += 1;
                }
            }
            for i in released..written {
                assert_eq!(
                    content(&held, isn.wrapping_add(i)),
                    message(i),
                    "packet {i}"
                );
            }
            assert_eq!(held.in_flight(), written - released);
        }
        assert!(written > 1000);
    }

    #[test]
    fn the_oldest_is_the_one_sent_longest_ago() {
        let mut held = Outstanding::new(u32::MAX);
        for i in 0..40 {
            held.push(0, b"x");
            held.transmitted(u32::MAX.wrapping_add(i), u64::from(i));
        }
        let oldest = |held: &Outstanding| held.oldest().map(|(seqno, _)| seqno);
        assert_eq!(oldest(&held), Some(u32::MAX));
        held.transmitted(u32::MAX, 50);
        assert_eq!(oldest(&held), Some(0));
        held.take_for_lost(0);
        assert_eq!(oldest(&held), Some(1));
        held.take_for_lost(17);
        assert_eq!(held.first_lost(), Some(0));
        let mut seen = Vec::new();
        held.deliver(1, 39, |seqno, _| seen.push(seqno));
        assert_eq!(seen, (1..39).collect::<Vec<_>>());
        assert_eq!(oldest(&held), Some(u32::MAX));
        assert_eq!(held.in_flight(), 1);
        held.deliver(1, 39, |seqno, _| panic!("{seqno} again"));
        while held.release().is_some() {}
        assert_eq!(held.in_flight(), 0);
        assert_eq!(held.oldest().map(|(seqno, _)| seqno), None);
        assert_eq!(held.first_lost(), None);
    }

    #[test]
    fn the_first_lost_is_found_around_the_ring() {
        for isn in [0, 1, 7, 63, 64, 100, u32::MAX - 3, u32::MAX - 90] {
            let mut held = Outstanding::new(isn);
            for i in 0..128u32 {
                held.push(0, b"x");
                held.transmitted(isn.wrapping_add(i), 0);
            }
            for i in (0..128u32).rev().step_by(3) {
                held.take_for_lost(isn.wrapping_add(i));
                assert_eq!(held.first_lost(), Some(isn.wrapping_add(i)), "{isn} {i}");
            }
            let mut count = 0;
            while let Some(seqno) = held.first_lost() {
                held.transmitted(seqno, 1);
                count += 1;
            }
            assert_eq!(count, 43);
        }
    }
}
