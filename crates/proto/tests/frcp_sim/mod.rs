//! Two ends of a flow, a bad path between them and a hand-made clock, deterministic from a seed.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod reference;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use o7s_proto::frcp::{Frcp, WriteError};
use o7s_wire::frcp::Packet;

/// xorshift64*: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Microseconds of virtual time.
pub(crate) type Micros = u64;

/// What the path does to packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    /// Changes bits, as happens below an encryption that does not authenticate.
    pub(crate) corrupt: u64,
    pub(crate) delay: Micros,
    pub(crate) jitter: Micros,
    /// Percentage of packets that are held back for another `delay` to `10 * delay`.
    pub(crate) reorder: u64,
    /// From when to when nothing gets through.
    pub(crate) outage: Option<(Micros, Micros)>,
}

/// One end: ours, or a model of 0.23.
pub(crate) trait End {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]);
    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool;
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant);
    /// False: would block.
    fn write(&mut self, now: Instant, message: &[u8]) -> bool;
    fn read(&mut self, now: Instant) -> Option<Vec<u8>>;
    fn finish(&mut self, _now: Instant) {}
    fn is_drained(&self) -> bool;
    fn failed(&self) -> bool;
    /// Panics if memory is not bounded as promised.
    fn check(&self) {}
    fn describe(&self) -> String;
}

/// Ours, with the bounds it must keep.
pub(crate) struct Ours {
    pub(crate) frcp: Frcp,
    pub(crate) buffer: usize,
    pub(crate) max_message: usize,
}

impl End for Ours {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let _ = self.frcp.handle_packet(now, packet);
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        self.frcp.poll_transmit(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.frcp.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.frcp.handle_timeout(now);
    }

    fn write(&mut self, now: Instant, message: &[u8]) -> bool {
        let can = self.frcp.can_write(message.len());
        match self.frcp.write(now, message) {
            Ok(()) => {
                assert!(can, "write took what can_write refused");
                true
            }
            Err(WriteError::WindowShut) => {
                assert!(!can, "write refused what can_write promised");
                false
            }
            Err(WriteError::Down(_)) => false,
            Err(error @ WriteError::TooLarge { .. }) => panic!("{error}"),
        }
    }

    fn read(&mut self, now: Instant) -> Option<Vec<u8>> {
        let length = self.frcp.readable();
        let message = self.frcp.read(now, <[u8]>::to_vec);
        assert_eq!(length, message.as_ref().map(Vec::len));
        message
    }

    fn finish(&mut self, now: Instant) {
        self.frcp.finish(now);
    }

    fn is_drained(&self) -> bool {
        self.frcp.is_drained()
    }

    fn failed(&self) -> bool {
        self.frcp.failure().is_some()
    }

    fn check(&self) {
        let stats = self.frcp.stats();
        let bound = self.buffer + self.max_message + 70_000;
        assert!(stats.receive_bytes <= bound, "receive memory: {stats:?}");
        assert!(
            stats.send_bytes <= self.buffer.max(self.max_message),
            "send memory: {stats:?}"
        );
        assert!(stats.messages_read <= stats.messages_arrived);
    }

    fn describe(&self) -> String {
        format!("{:?}, failure {:?}", self.frcp.stats(), self.frcp.failure())
    }
}

/// What the application at one end does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// Lengths of the messages to send.
    pub(crate) sizes: VecDeque<usize>,
    /// Pause between writes; after a refused one at least 1 ms.
    pub(crate) write_every: Micros,
    /// Pause between reads; 0: read whenever something is there.
    pub(crate) read_every: Micros,
    /// Messages per read.
    pub(crate) read_batch: usize,
    /// Deallocates the flow as soon as everything is written.
    pub(crate) finish: bool,
}

/// Content of message `index` of an end: tells where it comes from, and every byte counts.
pub(crate) fn message(end: usize, index: u64, len: usize) -> Vec<u8> {
    let mut state = Random::new(index << 1 | end as u64);
    let mut message = Vec::with_capacity(len + 8);
    message.extend_from_slice(&index.to_be_bytes());
    while message.len() < len {
        message.extend_from_slice(&state.next().to_be_bytes());
    }
    message.truncate(len);
    message
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize, usize),
    Read(usize),
    Write(usize),
    Transmit(usize),
}

/// The run.
pub(crate) struct Pair<'a> {
    pub(crate) ends: [&'a mut dyn End; 2],
    pub(crate) paths: [Path; 2],
    pub(crate) work: [Work; 2],
    /// Whether the messages of each end arrive for certain.
    pub(crate) reliable: bool,
    pub(crate) random: Random,
    /// Packets that the layer takes at once; then it takes some more a millisecond later.
    pub(crate) room: usize,
    pub(crate) now: Micros,
    pub(crate) packets: [u64; 2],
    pub(crate) largest_packet: usize,
    /// Messages received by each end.
    pub(crate) received: [u64; 2],
    base: Instant,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    wire: Vec<Vec<u8>>,
    order: u64,
    sent: [u64; 2],
    lengths: [Vec<usize>; 2],
    transmit_pending: [bool; 2],
    trace: bool,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was delivered and acknowledged.
    Done,
    /// An end has failed.
    Failed,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(
        ends: [&'a mut dyn End; 2],
        paths: [Path; 2],
        work: [Work; 2],
        reliable: bool,
        base: Instant,
        random: Random,
    ) -> Self {
        Self {
            ends,
            paths,
            work,
            reliable,
            random,
            room: usize::MAX,
            now: 0,
            packets: [0; 2],
            largest_packet: 0,
            received: [0; 2],
            base,
            events: BinaryHeap::new(),
            wire: Vec::new(),
            order: 0,
            sent: [0; 2],
            lengths: [Vec::new(), Vec::new()],
            transmit_pending: [false; 2],
            trace: std::env::var_os("FRCP_TRACE").is_some(),
        }
    }

    fn at(&self, now: Micros) -> Instant {
        self.base + Duration::from_micros(now)
    }

    fn schedule(&mut self, when: Micros, event: Event) {
        self.order += 1;
        self.events.push(Reverse((when, self.order, event)));
    }

    /// Runs until everything is done or an end has failed. Panics on wrong delivery, on unbounded
    /// memory and when nothing comes of it within `limit`.
    pub(crate) fn run(&mut self, limit: Micros) -> Outcome {
        for end in 0..2 {
            self.schedule(0, Event::Write(end));
            if self.work[end].read_every > 0 {
                self.schedule(self.work[end].read_every, Event::Read(end));
            }
        }
        let mut steps = 0u64;
        loop {
            if self.ends.iter().any(|end| end.failed()) {
                return Outcome::Failed;
            }
            if self.done() {
                return Outcome::Done;
            }
            steps += 1;
            assert!(steps < 3_000_000, "livelock: {}", self.describe());
            let timers = [0, 1].map(|end| {
                self.ends[end].poll_timeout().map(|due| {
                    u64::try_from(
                        due.saturating_duration_since(self.base)
                            .as_nanos()
                            .div_ceil(1000),
                    )
                    .expect("within centuries")
                })
            });
            let event = self.events.peek().map(|Reverse((when, ..))| *when);
            let next = timers.iter().flatten().copied().chain(event).min();
            let Some(next) = next else {
                panic!("nothing more happens: {}", self.describe());
            };
            self.now = self.now.max(next);
            assert!(
                self.now <= limit,
                "no end within {limit} us: {}",
                self.describe()
            );
            for (end, timer) in timers.into_iter().enumerate() {
                if timer.is_some_and(|due| due <= self.now) {
                    let now = self.at(self.now);
                    self.ends[end].handle_timeout(now);
                    self.transmit(end);
                }
            }
            while let Some(Reverse((when, _, event))) = self.events.peek().copied() {
                if when > self.now {
                    break;
                }
                self.events.pop();
                self.handle(event);
            }
        }
    }

    fn done(&self) -> bool {
        let all = |end: usize| {
            self.work[end].sizes.is_empty()
                && (!self.reliable || self.received[1 - end] == self.sent[end])
                && self.ends[end].is_drained()
        };
        all(0) && all(1)
    }

    fn handle(&mut self, event: Event) {
        let now = self.at(self.now);
        match event {
            Event::Arrive(end, packet) => {
                let packet = std::mem::take(&mut self.wire[packet]);
                self.ends[end].handle_packet(now, &packet);
                if self.work[end].read_every == 0 {
                    self.read(end, usize::MAX);
                }
                self.transmit(end);
            }
            Event::Read(end) => {
                self.read(end, self.work[end].read_batch.max(1));
                self.transmit(end);
                let next = self.now + self.work[end].read_every;
                self.schedule(next, Event::Read(end));
            }
            Event::Write(end) => {
                let Some(&len) = self.work[end].sizes.front() else {
                    if self.work[end].finish {
                        self.ends[end].finish(now);
                        self.transmit(end);
                    }
                    return;
                };
                let message = message(end, self.sent[end], len);
                let mut pause = self.work[end].write_every;
                if self.ends[end].write(now, &message) {
                    self.work[end].sizes.pop_front();
                    self.lengths[end].push(len);
                    self.sent[end] += 1;
                } else {
                    pause = pause.max(1000);
                }
                self.transmit(end);
                self.schedule(self.now + pause, Event::Write(end));
            }
            Event::Transmit(end) => {
                self.transmit_pending[end] = false;
                self.transmit(end);
            }
        }
        for end in &self.ends {
            end.check();
        }
    }

    fn read(&mut self, end: usize, most: usize) {
        let now = self.at(self.now);
        for _ in 0..most {
            let Some(got) = self.ends[end].read(now) else {
                return;
            };
            let from = 1 - end;
            let mut index = self.received[end];
            if !self.reliable {
                // Gaps are allowed, going back is not. Messages shorter than their index cannot
                // be told apart; unreliable runs use none.
                let named = got.first_chunk().map(|b| u64::from_be_bytes(*b));
                let named = named.expect("unreliable messages carry their index");
                assert!(named >= index, "message {named} after {index}");
                index = named;
            }
            let len = self.lengths[from].get(index as usize).copied();
            let expected = len.map(|len| message(from, index, len));
            assert!(
                expected.as_ref() == Some(&got),
                "end {end} got a wrong message {index} of {} bytes: {}",
                got.len(),
                self.describe()
            );
            self.received[end] = index + 1;
        }
    }

    fn transmit(&mut self, end: usize) {
        if self.transmit_pending[end] {
            return;
        }
        let now = self.at(self.now);
        let mut out = Vec::new();
        let mut count = 0;
        while self.ends[end].poll_transmit(now, &mut out) {
            self.launch(end, std::mem::take(&mut out));
            count += 1;
            assert!(count < 200_000, "endless transmission: {}", self.describe());
            if count >= self.room {
                self.transmit_pending[end] = true;
                self.schedule(self.now + 1000, Event::Transmit(end));
                break;
            }
        }
    }

    fn launch(&mut self, from: usize, packet: Vec<u8>) {
        self.packets[from] += 1;
        self.largest_packet = self.largest_packet.max(packet.len());
        let path = self.paths[from].clone();
        let out = path
            .outage
            .is_some_and(|(start, end)| (start..end).contains(&self.now));
        let lost = out || self.random.chance(path.loss);
        if self.trace
            && let Ok(packet) = Packet::new_checked(&packet)
        {
            let fate = if lost { " lost" } else { "" };
            eprintln!("{:>10} {from} {packet}{fate}", self.now);
        }
        if lost {
            return;
        }
        let copies = if self.random.chance(path.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut packet = packet.clone();
            if self.random.chance(path.corrupt) {
                for _ in 0..self.random.between(1, 8) {
                    let at = self.random.below(packet.len() as u64) as usize;
                    packet[at] = self.random.next() as u8;
                }
                if self.random.chance(20) {
                    packet.truncate(self.random.below(packet.len() as u64) as usize);
                }
            }
            let mut when = self.now + path.delay;
            if path.jitter > 0 {
                when += self.random.below(path.jitter);
            }
            if self.random.chance(path.reorder) {
                when += path.delay.max(1) * self.random.between(1, 10);
            }
            self.wire.push(packet);
            let id = self.wire.len() - 1;
            self.schedule(when, Event::Arrive(1 - from, id));
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "t={} us, packets {:?}, received {:?} of {:?}, to write {:?}\n  0: {}\n  1: {}",
            self.now,
            self.packets,
            self.received,
            [self.sent[1], self.sent[0]],
            [self.work[0].sizes.len(), self.work[1].sizes.len()],
            self.ends[0].describe(),
            self.ends[1].describe()
        )
    }
}
