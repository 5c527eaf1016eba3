//! What a sender learns from the levels that its receiver reports: the marks behind them, and how much
//! arrives (`spec/unicast.md` §7.3).
//!
//! A level is an average over some 32 packets, at a low rate over seconds. The receiver's arithmetic is
//! known, and so is how many marked packets lie between two reports: from two levels follows the mark
//! that these packets had. And since there are eight of them, the time between two reports tells the rate
//! at which packets of this flow get through.

/// Marked packets from the first report to the second, and between all later ones.
const SECOND_REPORT: u32 = 2;
const LATER_REPORTS: u32 = 8;

/// The highest mark that the queue of one node sets. OR-ing the marks of several nodes gives no more.
const MAX_MARK: f64 = 63.0;

/// The time for which what gets through is averaged is at least this, seconds, and four reports.
const WINDOW: f64 = 0.1;

/// What does not last this long tells nothing, seconds: packets and reports come in batches, when somebody gets
/// a processor, and for that time there is a queue on a link that is all but idle. One that stays is congestion
/// (compare RFC 8289 §3.1).
pub(super) const GRAIN: f64 = 0.005;

/// From this mark on (512 packets) nobody can wait and see: the queue is about to be full.
const URGENT_MARK: f64 = 32.0;

/// Where the receiver is in its series of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    /// Its level is 0.
    Over,
    /// It has reported once since then.
    Begun,
    Goes,
}

/// The reports of one flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Echoes {
    series: Series,
    level: u16,
    /// When the first report of the series came, and when the last, ns.
    began: u64,
    heard: u64,
    /// Recent reports, older ones fading: their time in seconds, and bytes of marked packets in it.
    time: f64,
    bytes: f64,
}

impl Echoes {
    pub(super) const fn new(now: u64) -> Self {
        Self {
            series: Series::Over,
            level: 0,
            began: now,
            heard: now,
            time: 0.0,
            bytes: 0.0,
        }
    }

    /// A report came at `now`, in ns, of packets of `size` bytes that are sent at `rate` bytes/s. The mark
    /// that the packets had since the one before; 0 while marks are too young to tell anything.
    pub(super) fn take(&mut self, level: u16, now: u64, size: f64, rate: f64) -> f64 {
        let since = now.saturating_sub(self.heard) as f64 / 1e9;
        self.heard = now;
        let (series, mark) = match (level, self.series) {
            (0, _) => (Series::Over, 0.0),
            (_, Series::Over) => (Series::Begun, f64::from(level)),
            (_, Series::Begun) => (Series::Goes, mark_between(self.level, level, SECOND_REPORT)),
            (_, Series::Goes) => (Series::Goes, mark_between(self.level, level, LATER_REPORTS)),
        };
        if self.series == Series::Goes && series == Series::Goes {
            let between = size * f64::from(LATER_REPORTS);
            let keep = (-since / WINDOW.max(4.0 * between / rate)).exp();
            self.time = self.time * keep + since;
            self.bytes = self.bytes * keep + between;
        } else {
            (self.time, self.bytes) = (0.0, 0.0);
        }
        if series == Series::Begun {
            self.began = now;
        }
        (self.series, self.level) = (series, level);
        let stands = now.saturating_sub(self.began) as f64 / 1e9 >= GRAIN;
        if stands || mark >= URGENT_MARK {
            mark.min(MAX_MARK)
        } else {
            0.0
        }
    }

    /// Nothing came for so long that there is no congestion any more, or nobody who would tell.
    pub(super) fn silence(&mut self) {
        self.series = Series::Over;
    }

    /// Bytes/s that get through, as far as all packets are marked; less is reported if some are not.
    pub(super) fn delivered(&self) -> Option<f64> {
        (self.time >= GRAIN).then(|| self.bytes / self.time)
    }
}

/// The level after so many packets of this mark ([`super::Receiver`]).
fn level_after(mut level: u32, mark: u32, packets: u32) -> u32 {
    for _ in 0..packets {
        level = level - level / 32 + mark;
    }
    level
}

/// The mark that leads from one level to another, between whole ones in proportion. 0 if even that would
/// lead higher: packets without a mark, each of which quarters the level, were among them.
fn mark_between(before: u16, after: u16, packets: u32) -> f64 {
    let (before, after) = (u32::from(before), u32::from(after));
    let level = |mark| level_after(before, mark, packets);
    if level(0) >= after {
        return 0.0;
    }
    let (mut low, mut high) = (0, 256);
    while high - low > 1 {
        let middle = u32::midpoint(low, high);
        if level(middle) <= after {
            low = middle;
        } else {
            high = middle;
        }
    }
    // Each step of the mark makes a step of the level.
    let (below, above) = (level(low), level(low + 1));
    f64::from(low) + f64::from(after - below) / f64::from((above - below).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::{Policy, Receiver};

    /// Whatever marks a receiver met before, after two reports with a mark that stays the same it is known.
    #[test]
    fn the_mark_is_read_from_two_levels() {
        for first in [1, 3, 9, 40, 63] {
            for then in [1, 2, 7, 20, 63] {
                let mut receiver = Receiver::new(Policy::MultiBitEcn);
                let mut echoes = Echoes::new(0);
                let mut now = 0;
                let mut last = f64::NAN;
                for packet in 0..200 {
                    now += 1_000_000;
                    let mark = if packet < 99 { first } else { then };
                    if let Some(level) = receiver.packet(mark) {
                        last = echoes.take(level, now, 1000.0, 1e6);
                        let before = packet < 99;
                        let expected = f64::from(if before { first } else { then });
                        // One report has packets of both.
                        if (10..99).contains(&packet) || packet > 99 + 8 {
                            assert!((last - expected).abs() < 1e-9, "{packet} {last} {expected}");
                        }
                    }
                }
                assert!((last - f64::from(then)).abs() < 1e-9);
                let delivered = echoes.delivered().unwrap();
                assert!((delivered - 1e6).abs() < 1.0, "{delivered}");
                while receiver.packet(0).is_none() {}
                assert_eq!(echoes.take(receiver.level(), now, 1000.0, 1e6), 0.0);
                assert_eq!(echoes.delivered(), None);
            }
        }
    }

    /// Packets in ms of the marks that the sender learns of.
    fn learned(marks: impl IntoIterator<Item = u8>) -> Vec<f64> {
        let mut receiver = Receiver::new(Policy::MultiBitEcn);
        let mut echoes = Echoes::new(0);
        let mut now = 0;
        let learn = |mark| {
            // 100 kB/ms.
            now += 10_000;
            let level = receiver.packet(mark)?;
            Some(echoes.take(level, now, 1000.0, 1e8))
        };
        marks.into_iter().filter_map(learn).collect()
    }

    #[test]
    fn a_queue_counts_when_it_stays() {
        // 4 ms of queue and 1 ms without, again and again.
        let bursts = (0..5_000).map(|packet| if packet % 500 < 400 { 9 } else { 0 });
        assert!(learned(bursts).iter().all(|mark| *mark == 0.0));
        // 10 ms of it: the second half counts.
        let marks = learned([9; 1_000]);
        let first = marks.iter().position(|mark| *mark > 0.0).unwrap();
        assert!((0.4..0.6).contains(&(first as f64 / marks.len() as f64)));
        assert!(marks[first..].iter().all(|mark| (mark - 9.0).abs() < 1e-9));
        // One that is about to be full counts at once.
        assert_eq!(learned([63])[0], 63.0);
    }

    #[test]
    fn nonsense_gives_a_mark_all_the_same() {
        let mut echoes = Echoes::new(0);
        for level in [1, u16::MAX, u16::MAX, 0, 5, 3, u16::MAX, 1] {
            let mark = echoes.take(level, 0, 0.0, 2000.0);
            assert!((0.0..=63.0).contains(&mark), "{level} {mark}");
        }
    }
}
