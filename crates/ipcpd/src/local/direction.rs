//! One direction of a flow that passes through: what it does to packets, and those under way.
//!
//! Every decision about a packet is a function of the seed, the flow's number in the layer, the
//! direction and the number of the packet alone: the same packets meet the same fate, however long
//! they take, and a change of one probability leaves the decisions about the others as they are.
//! For each packet, in this order: too long, lost, corrupted, delayed, held to be overtaken,
//! duplicated.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use o7s::control::Impairment;
use o7s_ring::{Record, SendError};

use crate::data::End;

/// How long a packet that is to be overtaken waits for the one that overtakes it.
pub const REORDER_HOLD: Duration = Duration::from_millis(10);
/// What may be under way in one direction, bytes of memory; then the sender has to wait.
pub const IN_FLIGHT_LIMIT: usize = 32 << 20;
/// What a packet under way costs besides its bytes.
const OVERHEAD: usize = 64;
/// Packets taken in one batch.
const BATCH: u32 = 128;
/// Bytes after which a batch ends.
const BATCH_BYTES: usize = 256 << 10;
/// Buffers that are kept for packets to come, and how large one may be for that.
const SPARE: usize = 1024;
const SPARE_BYTES: usize = 4096;
const SPARE_LARGE: usize = 8;
/// One in probabilities.
const MILLION: u64 = 1_000_000;

/// What has become of the packets of one direction.
///
/// `received + duplicated = delivered + lost + too_long + discarded + under way`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken from the sender, keepalives included.
    pub received: u64,
    /// Packets given to the receiver.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Longer than the MTU.
    pub too_long: u64,
    /// Not wanted: the receiver's end is over or does not read.
    pub discarded: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Packets held back to be overtaken.
    pub reordered: u64,
}

/// What is decided by chance about a packet.
#[derive(Debug, Clone, Copy)]
enum Decision {
    Loss = 1,
    Duplicate,
    Corrupt,
    CorruptBit,
    Reorder,
    Jitter,
}

#[derive(Debug)]
struct Packet {
    release: Instant,
    bytes: Vec<u8>,
}

/// One direction of a flow.
#[derive(Debug)]
pub struct Direction {
    impairment: Impairment,
    stream: u64,
    /// In the order in which they are released.
    line: VecDeque<Packet>,
    /// Waits to be overtaken, until its release at the latest.
    held: Option<Packet>,
    /// Memory of what is under way, bytes.
    bytes: usize,
    /// None is released before this.
    last_release: Option<Instant>,
    /// The receiver's ring has no room for the next packet.
    blocked: bool,
    /// The sender's ring was empty at the last look.
    drained: bool,
    spare: Vec<Vec<u8>>,
    counters: Counters,
}

/// What a direction has to say when its sender's ring is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl Direction {
    /// Direction 0 or 1 of flow `number` of the layer.
    #[must_use]
    pub fn new(impairment: Impairment, number: u64, direction: u64) -> Self {
        Self {
            stream: mix(impairment.seed) ^ mix(number * 2 + direction + 1),
            impairment,
            line: VecDeque::new(),
            held: None,
            bytes: 0,
            last_release: None,
            blocked: false,
            drained: false,
            spare: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// What has become of the packets.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether everything that the sender wrote has been carried on.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.drained && self.line.is_empty() && self.held.is_none()
    }

    /// When it has to be looked at again at the latest.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let held = self.held.as_ref().map(|packet| packet.release);
        // A blocked one waits for room.
        let line = self.line.front().filter(|_| !self.blocked);
        let line = line.map(|packet| packet.release);
        held.into_iter().chain(line).min()
    }

    /// Carries a batch of packets; `over` tells that `from` will get no more, `unwanted` that `to`
    /// takes none. True if it did anything.
    ///
    /// # Errors
    /// [`Broken`] if the ring of `from` is broken.
    pub fn carry(
        &mut self,
        now: Instant,
        from: &mut End,
        to: &mut End,
        over: bool,
        unwanted: bool,
    ) -> Result<bool, Broken> {
        let before = self.counters;
        if unwanted {
            self.discard_all();
        }
        self.release(now, to);
        let taken = if self.blocked {
            Ok(())
        } else {
            self.take(now, from, to, unwanted)
        };
        if over
            && self.drained
            && let Some(packet) = self.held.take()
        {
            // Nothing comes that could overtake it.
            self.enqueue(packet);
        }
        self.release(now, to);
        to.tx.flush();
        from.rx.flush();
        // Whatever is under way tells when to go on.
        from.pause(self.blocked || self.bytes >= IN_FLIGHT_LIMIT);
        taken.map(|()| before != self.counters)
    }

    /// Takes packets of the sender.
    fn take(
        &mut self,
        now: Instant,
        from: &mut End,
        to: &mut End,
        unwanted: bool,
    ) -> Result<(), Broken> {
        let mut bytes = 0;
        for _ in 0..BATCH {
            if bytes >= BATCH_BYTES || self.bytes >= IN_FLIGHT_LIMIT {
                return Ok(());
            }
            let length = match from.rx.peek_record() {
                Ok(Some(Record::Data(length))) => length,
                Ok(Some(Record::Keepalive)) => 0,
                Ok(None) => {
                    self.drained = true;
                    return Ok(());
                }
                Err(corrupt) => {
                    tracing::warn!("A flow is over: {corrupt}.");
                    return Err(Broken);
                }
            };
            self.drained = false;
            if unwanted {
                self.counters.received += 1;
                self.counters.discarded += 1;
            } else if !self.handle(now, length, from, to) {
                return Ok(());
            }
            bytes += length;
            from.rx.consume_staged();
        }
        Ok(())
    }

    /// Decides about the packet that was peeked at in `from`, and carries it; false if it has to
    /// stay where it is, for want of room.
    fn handle(&mut self, now: Instant, length: usize, from: &mut End, to: &mut End) -> bool {
        let number = self.counters.received;
        let impairment = self.impairment;
        if impairment.mtu != 0 && length > impairment.mtu as usize {
            self.counters.received += 1;
            self.counters.too_long += 1;
            return true;
        }
        if self.decides(number, Decision::Loss, impairment.loss) {
            self.counters.received += 1;
            self.counters.lost += 1;
            return true;
        }
        let corrupt = length > 0 && self.decides(number, Decision::Corrupt, impairment.corrupt);
        let reorder =
            self.held.is_none() && self.decides(number, Decision::Reorder, impairment.reorder);
        let duplicate = self.decides(number, Decision::Duplicate, impairment.duplicate);
        let release = now + self.delay(number);
        if !(corrupt || reorder || duplicate)
            && self.line.is_empty()
            && self.held.is_none()
            && release == now
        {
            // The plain way: from ring to ring. Whatever is empty is a sign of life.
            let sent = match length {
                0 => to.tx.try_stage(&[]),
                _ => to.tx.try_forward(&from.rx),
            };
            match self.sent(sent) {
                Sent::Delivered => self.counters.delivered += 1,
                Sent::Unwanted => self.counters.discarded += 1,
                Sent::Blocked => {
                    self.block(to, length);
                    return false;
                }
            }
            self.counters.received += 1;
            return true;
        }
        self.counters.received += 1;
        let mut bytes = self.spare.pop().unwrap_or_default();
        from.rx.append_to(&mut bytes);
        if corrupt && !bytes.is_empty() {
            let bit = self.draw(number, Decision::CorruptBit) % (bytes.len() as u64 * 8);
            let at = usize::try_from(bit / 8).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
            self.counters.corrupted += 1;
        }
        let copy = duplicate.then(|| {
            self.counters.duplicated += 1;
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.extend_from_slice(&bytes);
            Packet {
                release,
                bytes: copy,
            }
        });
        self.bytes += bytes.capacity() + OVERHEAD;
        self.bytes += copy
            .as_ref()
            .map_or(0, |copy| copy.bytes.capacity() + OVERHEAD);
        let packet = Packet { release, bytes };
        if reorder {
            self.counters.reordered += 1;
            self.held = Some(Packet {
                release: release + REORDER_HOLD,
                ..packet
            });
            // The copy overtakes it.
            if let Some(copy) = copy {
                self.overtake(copy);
            }
        } else {
            self.overtake(packet);
            if let Some(copy) = copy {
                self.enqueue(copy);
            }
        }
        true
    }

    /// Puts a packet into the line, and behind it the one that waited to be overtaken.
    fn overtake(&mut self, packet: Packet) {
        let release = packet.release;
        self.enqueue(packet);
        if let Some(held) = self.held.take() {
            self.enqueue(Packet { release, ..held });
        }
    }

    fn enqueue(&mut self, mut packet: Packet) {
        // Packets keep their order.
        if let Some(last) = self.last_release {
            packet.release = packet.release.max(last);
        }
        self.last_release = Some(packet.release);
        self.line.push_back(packet);
    }

    /// Hands on what is due, as long as there is room.
    fn release(&mut self, now: Instant, to: &mut End) {
        if let Some(held) = self.held.take_if(|held| held.release <= now) {
            self.enqueue(held);
        }
        self.blocked = false;
        to.want_room(None);
        while self.line.front().is_some_and(|first| first.release <= now)
            && let Some(packet) = self.line.pop_front()
        {
            match self.sent(to.tx.try_stage(&packet.bytes)) {
                Sent::Delivered => self.counters.delivered += 1,
                Sent::Unwanted => self.counters.discarded += 1,
                Sent::Blocked => {
                    self.block(to, packet.bytes.len());
                    self.line.push_front(packet);
                    return;
                }
            }
            self.recycle(packet.bytes);
        }
    }

    fn block(&mut self, to: &mut End, length: usize) {
        self.blocked = true;
        to.want_room(Some(length));
    }

    /// What came of an attempt to send.
    fn sent(&self, outcome: Result<(), SendError>) -> Sent {
        match outcome {
            Ok(()) => Sent::Delivered,
            Err(SendError::Full) => Sent::Blocked,
            Err(
                SendError::TooLarge { .. }
                | SendError::PeerClosed
                | SendError::PeerGone
                | SendError::Refused
                | SendError::Corrupt(_),
            ) => Sent::Unwanted,
        }
    }

    /// Drops what is under way: nobody takes it any more.
    fn discard_all(&mut self) {
        let held = self.held.take();
        let dropped: Vec<Packet> = self.line.drain(..).chain(held).collect();
        self.counters.discarded += dropped.len() as u64;
        for packet in dropped {
            self.recycle(packet.bytes);
        }
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        self.bytes -= (bytes.capacity() + OVERHEAD).min(self.bytes);
        let keep = if bytes.capacity() <= SPARE_BYTES {
            SPARE
        } else {
            SPARE_LARGE
        };
        if self.spare.len() < keep {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn decides(&self, number: u64, decision: Decision, probability: u32) -> bool {
        probability != 0 && self.draw(number, decision) % MILLION < u64::from(probability)
    }

    fn delay(&self, number: u64) -> Duration {
        let (delay, jitter) = (self.impairment.delay_us, self.impairment.jitter_us);
        let mut micros = u64::from(delay);
        if jitter != 0 {
            let spread = 2 * u64::from(jitter) + 1;
            micros += self.draw(number, Decision::Jitter) % spread;
            micros = micros.saturating_sub(jitter.into());
        }
        Duration::from_micros(micros)
    }

    /// An evenly distributed number for this decision about this packet.
    fn draw(&self, number: u64, decision: Decision) -> u64 {
        mix(self.stream ^ mix(number << 3 | decision as u64))
    }
}

enum Sent {
    Delivered,
    Unwanted,
    Blocked,
}

/// The finalizer of splitmix64: every bit of the input changes half of those of the output.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
