//! One direction of a link: a state machine that takes frames and the time, and gives frames and
//! the time at which it wants to be asked again.
//!
//! Every decision about a frame is a function of the seed, the direction and the number of the
//! frame alone. The same frames with the same seed meet the same fate, however long they take; and
//! a change of one probability leaves the decisions about the others as they are.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a frame that is to be overtaken waits for the one that overtakes it.
pub const REORDER_HOLD: Duration = Duration::from_millis(10);
/// What may be under way in one direction, bytes; frames beyond it are dropped as overflow.
pub const IN_FLIGHT_LIMIT: usize = 64 << 20;
/// The Ethernet header, which corruption spares: the frame should arrive, and arrive wrong.
const HEADER: usize = 14;
/// The longest delay and jitter, seconds.
const LONGEST: f64 = 3600.0;

/// What a link does to the frames of one direction. The default does nothing to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Time that a frame takes, seconds.
    pub delay: f64,
    /// The delay varies evenly by up to this much either way, seconds. Frames keep their order.
    pub jitter: f64,
    /// Probability that the next frame overtakes a frame, 0 to 1.
    pub reorder: f64,
    /// Probability that a frame arrives twice, 0 to 1.
    pub duplicate: f64,
    /// Probability that one bit behind the Ethernet header is flipped, 0 to 1.
    pub corrupt: f64,
    /// Bits per second, if limited.
    pub rate: Option<f64>,
    /// How much may wait for the rate, bytes.
    pub queue: u64,
    /// Chooses the sequence of decisions.
    pub seed: u64,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: 0.0,
            delay: 0.0,
            jitter: 0.0,
            reorder: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            queue: 256 << 10,
            seed: 0,
        }
    }
}

impl Impairment {
    /// Whether all values are in their ranges; the error names the value and its range.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!(
                    "{name} is {value}; it is a probability, from 0 to 1"
                ));
            }
        }
        for (name, value) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !(0.0..=LONGEST).contains(&value) {
                return Err(format!("{name} is {value}; it is seconds, from 0 to 3600"));
            }
        }
        match self.rate {
            Some(rate) if !(1.0..=1e12).contains(&rate) => Err(format!(
                "rate is {rate}; it is bits per second, from 1 to 1e12, or null for no limit"
            )),
            _ => Ok(()),
        }
    }
}

/// What has become of the frames of one direction.
///
/// `received + duplicated = passed + lost + cut + overflow + unsent + waiting`, at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Frames that came in.
    pub received: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Frames that went out.
    pub passed: u64,
    /// Bytes that went out.
    pub passed_bytes: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost because the link was cut.
    pub cut: u64,
    /// Frames that found the queue full.
    pub overflow: u64,
    /// Frames that the interface did not take.
    pub unsent: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames held back to be overtaken.
    pub reordered: u64,
    /// Frames under way.
    pub waiting: u64,
}

/// What is decided by chance about a frame.
#[derive(Clone, Copy)]
enum Decision {
    Loss,
    Duplicate,
    Corrupt,
    CorruptBit,
    Reorder,
    Jitter,
}

#[derive(Debug)]
struct Waiting {
    release: Duration,
    bytes: Vec<u8>,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Direction {
    stream: u64,
    impairment: Impairment,
    cut: bool,
    /// Frames decided upon since the impairment was set.
    decided: u64,
    /// When the last bit of what waits for the rate has left.
    busy_until: Duration,
    /// Frames leave in order: none before this.
    last_release: Duration,
    /// In the order, and with the times, of leaving.
    queue: VecDeque<Waiting>,
    /// To be overtaken by the next frame; it came after all that are in the queue.
    held: VecDeque<Waiting>,
    in_flight: usize,
    stats: Stats,
}

impl Direction {
    /// A direction that does nothing to its frames. Different `stream`s make different decisions
    /// with the same seed.
    pub fn new(stream: u64) -> Self {
        Self {
            stream,
            impairment: Impairment::default(),
            cut: false,
            decided: 0,
            busy_until: Duration::ZERO,
            last_release: Duration::ZERO,
            queue: VecDeque::new(),
            held: VecDeque::new(),
            in_flight: 0,
            stats: Stats::default(),
        }
    }

    /// Another impairment from the next frame on; its sequence of decisions begins.
    ///
    /// Frames that are under way keep their time, and later ones do not overtake them.
    pub fn set(&mut self, impairment: Impairment) -> Result<(), String> {
        impairment.check()?;
        self.impairment = impairment;
        self.decided = 0;
        Ok(())
    }

    /// Cuts the wire: what is on it is lost, as is all that comes, until [`heal`](Self::heal).
    pub fn cut(&mut self) {
        self.cut = true;
        self.stats.cut += (self.queue.len() + self.held.len()) as u64;
        self.queue.clear();
        self.held.clear();
        self.in_flight = 0;
        self.busy_until = Duration::ZERO;
        self.last_release = Duration::ZERO;
    }

    /// Mends the wire.
    pub fn heal(&mut self) {
        self.cut = false;
    }

    /// What has become of the frames so far.
    pub fn stats(&self) -> Stats {
        Stats {
            waiting: (self.queue.len() + self.held.len()) as u64,
            ..self.stats
        }
    }

    /// A frame comes in.
    pub fn push(&mut self, now: Duration, frame: &[u8]) {
        self.stats.received += 1;
        self.stats.received_bytes += frame.len() as u64;
        if self.cut {
            self.stats.cut += 1;
            return;
        }
        let number = self.decided;
        self.decided += 1;
        if self.chance(number, Decision::Loss, self.impairment.loss) {
            self.stats.lost += 1;
            return;
        }
        let mut bytes = frame.to_vec();
        if bytes.len() > HEADER && self.chance(number, Decision::Corrupt, self.impairment.corrupt) {
            let bits = (bytes.len() - HEADER) as u64 * 8;
            let bit = (self.draw(number, Decision::CorruptBit) % bits) as usize;
            bytes[HEADER + bit / 8] ^= 1 << (bit % 8);
            self.stats.corrupted += 1;
        }
        let duplicate = self.chance(number, Decision::Duplicate, self.impairment.duplicate);
        let copy = duplicate.then(|| bytes.clone());
        let reorder =
            self.held.is_empty() && self.chance(number, Decision::Reorder, self.impairment.reorder);
        let travel = self.travel_time(number);
        if copy.is_some() {
            self.stats.duplicated += 1;
        }
        let mut held = VecDeque::new();
        for bytes in std::iter::once(bytes).chain(copy) {
            let Some(departure) = self.depart(now, bytes.len()) else {
                self.stats.overflow += 1;
                continue;
            };
            self.in_flight += bytes.len();
            let release = (departure + travel).max(self.last_release);
            if reorder {
                let release = release + REORDER_HOLD;
                held.push_back(Waiting { release, bytes });
            } else {
                self.enqueue(release, bytes);
            }
        }
        if reorder && !held.is_empty() {
            self.stats.reordered += 1;
            self.held = held;
        }
    }

    /// A frame that leaves now, if any. All of them should be taken before time is asked again.
    pub fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        let from = if self.queue.is_empty() {
            &mut self.held
        } else {
            &mut self.queue
        };
        if from.front()?.release > now {
            return None;
        }
        let due = from.pop_front()?;
        self.last_release = self.last_release.max(due.release);
        self.in_flight -= due.bytes.len();
        self.stats.passed += 1;
        self.stats.passed_bytes += due.bytes.len() as u64;
        Some(due.bytes)
    }

    /// The frame that was popped last could not be sent.
    pub fn unsent(&mut self, length: usize) {
        self.stats.passed -= 1;
        self.stats.passed_bytes -= length as u64;
        self.stats.unsent += 1;
    }

    /// When the next frame leaves.
    pub fn deadline(&self) -> Option<Duration> {
        let first = self.queue.front().or(self.held.front())?;
        Some(first.release)
    }

    /// Appends a frame to the queue, and behind it those that it overtakes.
    fn enqueue(&mut self, release: Duration, bytes: Vec<u8>) {
        self.last_release = release;
        self.queue.push_back(Waiting { release, bytes });
        for waiting in self.held.drain(..) {
            self.queue.push_back(Waiting {
                release,
                bytes: waiting.bytes,
            });
        }
    }

    /// When the last bit of a frame is on the wire; none if there is no room for it.
    fn depart(&mut self, now: Duration, length: usize) -> Option<Duration> {
        if self.in_flight + length > IN_FLIGHT_LIMIT {
            return None;
        }
        let Some(rate) = self.impairment.rate else {
            self.busy_until = now;
            return Some(now);
        };
        let backlog = self.busy_until.saturating_sub(now).as_secs_f64() * rate / 8.0;
        if backlog > self.impairment.queue as f64 {
            return None;
        }
        let time = Duration::try_from_secs_f64(length as f64 * 8.0 / rate).ok()?;
        self.busy_until = self.busy_until.max(now) + time;
        Some(self.busy_until)
    }

    fn travel_time(&self, number: u64) -> Duration {
        let Impairment { delay, jitter, .. } = self.impairment;
        if jitter == 0.0 {
            return Duration::from_secs_f64(delay);
        }
        let spread = 2.0 * unit(self.draw(number, Decision::Jitter)) - 1.0;
        Duration::from_secs_f64((delay + jitter * spread).max(0.0))
    }

    fn chance(&self, number: u64, decision: Decision, probability: f64) -> bool {
        probability > 0.0 && unit(self.draw(number, decision)) < probability
    }

    /// A random number that depends on the seed, the direction, the frame and the decision only.
    fn draw(&self, number: u64, decision: Decision) -> u64 {
        let key = mix(mix(self.impairment.seed) ^ self.stream);
        mix(mix(key ^ number) ^ decision as u64)
    }
}

/// The output function of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 to less than 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}
