//! The receiving half: runs, order, acknowledgement, the edge (`spec/frcp.md` §7, §8.1, §9, §11).
//!
//! Acknowledgements follow arrival (I9): `nxt` moves when a packet arrives in order, the edge when
//! the reader has taken its message.

mod telling;

use o7s_wire::frcp::Flags;

use super::config::{Config, MAX_WINDOW, START_WINDOW, WINDOW};
use super::reorder::{OVERHEAD, Reorder};
use super::rtt::{MILLIS, Nanos, SECOND};
use super::sender::nanos;
use super::seq::before;
use super::unread::Unread;
use super::{Discard, Failure};

/// How long an acknowledgement waits for data to travel with; I9 allows 20 ms in all.
const ACK_DELAY: Nanos = 10 * MILLIS;
/// Packets that are acknowledged quickly after a start or a loss, when the sender may be short of
/// window or of news.
const QUICK: u32 = 64;
/// Packets per acknowledgement then.
const QUICK_EVERY: u32 = 8;
/// Most packets per acknowledgement.
const EVERY: u32 = 64;
/// Without selective acknowledgements, how many packets beyond a gap are acknowledged at once: the sender
/// waits for three, some get lost.
const INSIST: u32 = 5;
/// After that, packets beyond a gap per acknowledgement.
const BEYOND_GAP_EVERY: u32 = 8;
/// Packets allowed whatever the memory, while no message waits for the reader.
const LEAST_WINDOW: u32 = 16;
/// How far back from the next seqno duplicates are recognised (I5).
const LOOK_BACK: u32 = 1 << 30;
/// How far an unreliable flow may jump.
const LARGEST_GAP: u32 = 1 << 24;
/// A live run is replaced only this long after its last new packet: a sender that numbers afresh
/// has sent nothing new for its inactivity, of which retransmission took R at most.
const RENUMBER_PAUSE: Nanos = 10 * SECOND;

const FRAGMENT: u8 = Flags::FFGM.union(Flags::MFGM).bits();
const FIRST: u8 = FRAGMENT;
const MIDDLE: u8 = Flags::MFGM.bits();
const LAST: u8 = Flags::FFGM.bits();

/// A run of the peer's numbering.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    /// Next seqno expected.
    nxt: u32,
    /// First seqno not allowed; never moves back.
    edge: u32,
    /// The edge last told.
    told: u32,
    /// When data, or a packet with DRF, last arrived.
    active: Nanos,
    /// When a packet of this run arrived that had not been seen.
    last_new: Nanos,
}

/// The state of the receiving half.
#[derive(Debug)]
pub(super) struct Receiver {
    reliable: bool,
    selective: bool,
    window: u32,
    ack_every: u32,
    buffer: usize,
    max_message: usize,
    inactivity: Nanos,
    run: Option<Run>,
    /// When any packet last arrived.
    heard: Option<Nanos>,
    reorder: Reorder,
    pub(super) unread: Unread,
    /// Size of the packets seen, for the edge: follows growth at once, shrinks slowly.
    packet_size: usize,
    unacked: u32,
    /// Packets that arrived beyond a gap since it was noticed.
    beyond_gap: u32,
    quick: u32,
    ack_due: Option<Nanos>,
    ack_now: bool,
    answer: bool,
    last_duplicate_ack: Option<Nanos>,
    pub(super) arrived: u64,
    pub(super) skipped: u64,
    pub(super) out_of_order: u64,
    pub(super) finished: bool,
    pub(super) failure: Option<Failure>,
}

impl Receiver {
    pub(super) fn new(config: &Config) -> Self {
        let window = match config.extensions.window {
            0 => WINDOW,
            // Senders start with this many, whatever they were told.
            window => window.clamp(START_WINDOW, MAX_WINDOW),
        };
        Self {
            reliable: config.reliable,
            selective: config.extensions.selective && config.reliable,
            window,
            ack_every: (window / 8).clamp(QUICK_EVERY, EVERY),
            buffer: config.buffer,
            max_message: config.max_message,
            inactivity: nanos(config.receiver_inactivity()),
            run: None,
            heard: None,
            reorder: Reorder::default(),
            unread: Unread::default(),
            packet_size: config.max_packet,
            unacked: 0,
            beyond_gap: 0,
            quick: 0,
            ack_due: None,
            ack_now: false,
            answer: false,
            last_duplicate_ack: None,
            arrived: 0,
            skipped: 0,
            out_of_order: 0,
            finished: false,
            failure: None,
        }
    }

    fn expired(&self, now: Nanos, active: Nanos) -> bool {
        let elapsed = now.saturating_sub(active);
        // Whole seconds, as §5.2 has it; the division is rarely needed.
        elapsed > self.inactivity && now / SECOND - active / SECOND > self.inactivity / SECOND
    }

    /// R3, R4: notes a packet of the given flags; starts a run if none is live and the packet may.
    pub(super) fn heard(&mut self, now: Nanos, flags: Flags, seqno: u32) {
        self.heard = Some(now);
        if self.run.is_some_and(|run| self.expired(now, run.active)) {
            self.end_run();
        }
        match &mut self.run {
            // I4: a control packet without DRF says nothing about the run.
            Some(run) => {
                if flags.intersects(Flags::DATA.union(Flags::DRF)) {
                    run.active = now;
                }
            }
            None => {
                if flags.contains(Flags::DRF) {
                    self.start_run(now, seqno);
                }
            }
        }
    }

    fn end_run(&mut self) {
        self.run = None;
        self.reorder.clear();
        self.unread.abandon();
        self.unacked = 0;
        self.ack_due = None;
        self.ack_now = false;
        self.answer = false;
    }

    fn start_run(&mut self, now: Nanos, seqno: u32) {
        self.end_run();
        let edge = seqno.wrapping_add(self.allowance());
        self.run = Some(Run {
            start: seqno,
            nxt: seqno,
            edge,
            told: edge,
            active: now,
            last_new: now,
        });
        self.quick = QUICK;
    }

    /// Packets that may come beyond `nxt`: the window less what waits for the reader, in packets and
    /// in bytes.
    fn allowance(&self) -> u32 {
        let by_count = self.window.saturating_sub(self.unread.packets());
        let used = self.unread.bytes();
        let size = self.packet_size + OVERHEAD;
        let least = if self.unread.messages() == 0 {
            LEAST_WINDOW
        } else {
            0
        };
        if used + size * (by_count as usize) <= self.buffer {
            return by_count;
        }
        let by_bytes = self.buffer.saturating_sub(used) / size;
        u32::try_from(by_bytes).map_or(by_count, |n| n.max(least).min(by_count))
    }

    fn refresh_edge(&mut self) {
        let allowance = self.allowance();
        if let Some(run) = &mut self.run {
            let edge = run.nxt.wrapping_add(allowance);
            if before(run.edge, edge) {
                run.edge = edge;
            }
        }
    }

    /// Takes the data of a packet (R5 to R7).
    pub(super) fn data(
        &mut self,
        now: Nanos,
        flags: Flags,
        seqno: u32,
        payload: &[u8],
    ) -> Result<(), Discard> {
        let Some(mut run) = self.run else {
            return Err(Discard::NoRun);
        };
        if seqno != run.nxt && self.is_new_run(now, run, flags, seqno) {
            self.start_run(now, seqno);
            let Some(started) = self.run else {
                return Err(Discard::NoRun);
            };
            run = started;
        }
        let size = payload.len();
        if size >= self.packet_size {
            self.packet_size = size;
        } else {
            self.packet_size -= (self.packet_size - size) / 64;
        }
        let fragment = flags.bits() & FRAGMENT;
        if self.reliable {
            self.reliable_data(now, run, fragment, seqno, payload)
        } else {
            self.unreliable_data(now, run, fragment, seqno, payload)
        }
    }

    /// I5: whether DATA with DRF starts another run although one is live.
    fn is_new_run(&self, now: Nanos, run: Run, flags: Flags, seqno: u32) -> bool {
        let back = run.nxt.wrapping_sub(run.start).min(LOOK_BACK);
        let ahead = if self.reliable {
            self.window.max(WINDOW)
        } else {
            LARGEST_GAP
        };
        let first = run.nxt.wrapping_sub(back);
        flags.contains(Flags::DRF)
            && seqno.wrapping_sub(first) >= back + ahead
            && now.saturating_sub(run.last_new) >= RENUMBER_PAUSE
    }

    #[inline]
    fn reliable_data(
        &mut self,
        now: Nanos,
        run: Run,
        fragment: u8,
        seqno: u32,
        payload: &[u8],
    ) -> Result<(), Discard> {
        if before(seqno, run.nxt) {
            self.acknowledge_duplicate(now);
            return Err(Discard::Duplicate);
        }
        if !before(seqno, run.edge) {
            self.acknowledge_duplicate(now);
            return Err(Discard::OutOfWindow);
        }
        let held = self.unread.bytes() + self.reorder.bytes();
        let full = held + payload.len() > self.buffer;
        if seqno != run.nxt {
            return self.early_data(now, run, fragment, seqno, payload, full);
        }
        // Nothing but this packet can make room when no message waits for the reader.
        if full && self.unread.messages() > 0 {
            self.acknowledge_duplicate(now);
            return Err(Discard::BufferFull);
        }
        let taken = self.deliver(fragment, payload);
        let mut nxt = run.nxt.wrapping_add(1);
        let filled = !self.reorder.is_empty();
        if filled {
            while let Some((fragment, bytes)) = self.reorder.take(nxt) {
                nxt = nxt.wrapping_add(1);
                // A fragment that makes no message has ended the flow.
                let _ = self.deliver(fragment, &bytes);
                self.reorder.recycle(bytes);
            }
        }
        if let Some(run) = &mut self.run {
            run.nxt = nxt;
            run.last_new = now;
            if nxt.wrapping_sub(run.start) > LOOK_BACK {
                run.start = nxt.wrapping_sub(LOOK_BACK);
            }
        }
        self.unacked += 1;
        let every = if self.quick > 0 {
            self.quick -= 1;
            QUICK_EVERY
        } else {
            self.ack_every
        };
        if filled {
            self.beyond_gap = 0;
            self.quick = QUICK;
            self.ack_now = true;
        } else if self.unacked >= every {
            self.ack_now = true;
        } else if self.ack_due.is_none() {
            self.ack_due = Some(now + ACK_DELAY);
        }
        if self.finished {
            self.refresh_edge();
        }
        taken
    }

    fn early_data(
        &mut self,
        now: Nanos,
        run: Run,
        fragment: u8,
        seqno: u32,
        payload: &[u8],
        full: bool,
    ) -> Result<(), Discard> {
        if self.reorder.contains(run.nxt, seqno) {
            self.acknowledge_duplicate(now);
            return Err(Discard::Duplicate);
        }
        if full {
            self.acknowledge_duplicate(now);
            return Err(Discard::BufferFull);
        }
        let expected = if self.reorder.is_empty() {
            run.nxt
        } else {
            self.reorder.end()
        };
        let new_gap = self.selective && before(expected, seqno);
        let payload = if self.finished { &[] } else { payload };
        self.reorder.insert(run.nxt, seqno, fragment, payload);
        self.out_of_order += 1;
        self.unacked += 1;
        if let Some(run) = &mut self.run {
            run.last_new = now;
        }
        self.beyond_gap += 1;
        let insist = !self.selective && self.beyond_gap <= INSIST;
        if insist || new_gap || self.unacked >= BEYOND_GAP_EVERY {
            self.ack_now = true;
        } else if self.ack_due.is_none_or(|due| due > now + MILLIS) {
            self.ack_due = Some(now + MILLIS);
        }
        Ok(())
    }

    fn unreliable_data(
        &mut self,
        now: Nanos,
        run: Run,
        fragment: u8,
        seqno: u32,
        payload: &[u8],
    ) -> Result<(), Discard> {
        let gap = seqno.wrapping_sub(run.nxt);
        if before(seqno, run.nxt) || gap >= LARGEST_GAP {
            return Err(Discard::Duplicate);
        }
        if gap > 0 {
            self.skipped += u64::from(gap);
            self.unread.abandon();
        }
        if let Some(run) = &mut self.run {
            run.nxt = seqno.wrapping_add(1);
            run.start = run
                .nxt
                .wrapping_sub(run.nxt.wrapping_sub(run.start).min(LOOK_BACK));
            run.last_new = now;
        }
        let full = self.unread.bytes() + payload.len() > self.buffer;
        if self.unread.packets() >= self.window || (full && self.unread.messages() > 0) {
            self.unread.abandon();
            return Err(Discard::BufferFull);
        }
        let result = self.deliver(fragment, payload);
        if self.finished {
            self.consumed();
        }
        result
    }

    /// R8: appends what is next in order to the messages.
    #[inline]
    fn deliver(&mut self, fragment: u8, payload: &[u8]) -> Result<(), Discard> {
        if self.finished {
            return Ok(());
        }
        if fragment == 0 && self.unread.open_len().is_none() {
            self.unread.push(payload);
            self.arrived += 1;
            return Ok(());
        }
        self.deliver_fragment(fragment, payload)
    }

    fn deliver_fragment(&mut self, fragment: u8, payload: &[u8]) -> Result<(), Discard> {
        let open = self.unread.open_len();
        let total = open.unwrap_or(0) + payload.len();
        match (fragment, open) {
            (FIRST, None) | (MIDDLE | LAST, Some(_)) if total > self.max_message => {
                self.reject(Failure::MessageTooLong {
                    max: self.max_message,
                })
            }
            (FIRST, None) => {
                self.unread.begin(payload);
                Ok(())
            }
            (MIDDLE, Some(_)) => {
                self.unread.append(payload);
                Ok(())
            }
            (LAST, Some(_)) => {
                self.unread.append(payload);
                self.unread.complete();
                self.arrived += 1;
                Ok(())
            }
            (MIDDLE | LAST, None) => self.reject(Failure::FragmentOrder),
            (_, Some(_)) => {
                // A new message before the end of the last one.
                let rejected = self.reject(Failure::FragmentOrder);
                if self.reliable {
                    return rejected;
                }
                self.deliver(fragment, payload)
            }
            (_, None) => Ok(()),
        }
    }

    /// Drops a message that cannot be. In an unreliable flow fragments get lost; in a reliable one the
    /// peer is wrong, and a stream with a hole must not go on.
    fn reject(&mut self, why: Failure) -> Result<(), Discard> {
        self.unread.abandon();
        if self.reliable {
            self.failure.get_or_insert(why);
        }
        Err(Discard::BadFragment)
    }

    /// Whether the peer may send, and gets, selective acknowledgements.
    pub(super) fn selective(&self) -> bool {
        self.selective
    }

    /// Drops what was not read; from now on data is acknowledged and thrown away.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.unread.clear();
        self.refresh_edge();
    }

    pub(super) fn deadline(&self) -> Option<Nanos> {
        self.ack_due
    }

    pub(super) fn handle_timeout(&mut self, now: Nanos) {
        if self.ack_due.is_some_and(|due| due <= now) {
            self.ack_due = None;
            self.ack_now = true;
            if self.last_duplicate_ack.is_some() {
                self.last_duplicate_ack = Some(now);
            }
        }
    }

    /// When data or a packet with DRF last arrived in the present run.
    pub(super) fn last_active(&self) -> Option<Nanos> {
        self.run.map(|run| run.active)
    }

    pub(super) fn bytes(&self) -> usize {
        self.unread.bytes() + self.reorder.bytes()
    }
}
