//! Test traffic: packets of one size on a flow for a time, as fast as it goes or at a rate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Flow};

use crate::stop::Stop;

/// Most packets, and bytes, handed over at once.
const BATCH: (usize, usize) = (64, 64 << 10);
/// How long a wait for room goes on without a look at the end of the test.
const SLICE: Duration = Duration::from_millis(100);
/// Waits shorter than this are spent spinning, if that is wanted.
const SPIN: Duration = Duration::from_micros(200);
/// What a sender that was held up catches up with; the rest of its delay lowers the rate.
const CATCH_UP: Duration = Duration::from_millis(100);

/// When the next packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When there is room for it.
    Flood,
    /// At a rate in bit/s, more than 0.
    Rate {
        /// bit/s of payload.
        bits: u64,
        /// Spin before each packet rather than sleep: more precise, for a CPU.
        spin: bool,
    },
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    /// Bytes of a packet.
    pub(crate) size: usize,
    pub(crate) duration: Duration,
    pub(crate) pace: Pace,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Sent {
    /// From the first packet to the end of sending.
    pub(crate) time: Duration,
    /// Why it ended early, if the flow failed.
    pub(crate) error: Option<Error>,
}

impl Load {
    /// Sends until the time is over, the flow fails or it is the end. `stamp` writes the number of a
    /// packet, from 0, into it; `sent` always has the number of packets sent.
    pub(crate) fn send(
        &self,
        flow: &Flow,
        stop: &Stop,
        sent: &AtomicU64,
        stamp: impl Fn(&mut [u8], u64),
    ) -> Sent {
        let batch = (BATCH.1 / self.size.max(1)).clamp(1, BATCH.0);
        let mut packets = vec![vec![0; self.size]; batch];
        let begin = Instant::now();
        let end = begin + self.duration;
        // When packet 0 should have gone for the later ones to be on time.
        let mut start = begin;
        let mut next = 0_u64;
        let error = loop {
            let now = Instant::now();
            if now >= end || stop.is_stopped() {
                break None;
            }
            let count = match self.pace {
                Pace::Flood => batch,
                Pace::Rate { bits, spin } => {
                    let due = start + after(next, self.size, bits);
                    if due > now {
                        wait(due.min(end), now, spin, stop);
                        continue;
                    }
                    start += (now - due).saturating_sub(CATCH_UP);
                    let last = count_until(now.saturating_duration_since(start), self.size, bits);
                    usize::try_from(last.saturating_sub(next))
                        .unwrap_or(batch)
                        .clamp(1, batch)
                }
            };
            for (packet, number) in packets.iter_mut().zip(next..).take(count) {
                stamp(packet, number);
            }
            let (written, error) = flow.try_write_packets(packets.get(..count).unwrap_or_default());
            next += written as u64;
            sent.store(next, Ordering::Relaxed);
            let waited = match error {
                None => Ok(()),
                Some(error) if error.kind() == ErrorKind::WouldBlock => {
                    flow.wait_writable(self.size, Some(end.min(now + SLICE)))
                }
                Some(error) => Err(error),
            };
            match waited {
                Err(error) if !passes(&error) => break Some(error),
                _ => {}
            }
        };
        Sent {
            time: begin.elapsed(),
            error,
        }
    }
}

/// Whether it is a wait that ended for no reason of the flow.
pub(crate) fn passes(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn wait(due: Instant, now: Instant, spin: bool, stop: &Stop) {
    let left = due.saturating_duration_since(now);
    if !spin {
        stop.sleep(left);
    } else if left > SPIN {
        stop.sleep(left - SPIN);
    } else {
        std::hint::spin_loop();
    }
}

/// When packet `number` is due, after packet 0.
fn after(number: u64, size: usize, bits: u64) -> Duration {
    let nanos = u128::from(number) * size as u128 * 8_000_000_000 / u128::from(bits.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Packets that are due so long after packet 0, itself included.
fn count_until(time: Duration, size: usize, bits: u64) -> u64 {
    let packet = (size as u128).max(1) * 8_000_000_000;
    u64::try_from(time.as_nanos() * u128::from(bits) / packet)
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// Mb/s of so many bytes in a time; 0 if it took no time.
#[allow(clippy::cast_precision_loss, reason = "for people, to three digits")]
pub(crate) fn megabits(bytes: u64, time: Duration) -> f64 {
    let micros = time.as_secs_f64() * 1e6;
    if micros > 0.0 {
        bytes as f64 * 8.0 / micros
    } else {
        0.0
    }
}

/// Packets per second; 0 if it took no time.
#[allow(clippy::cast_precision_loss, reason = "for people, to four digits")]
pub(crate) fn per_second(packets: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 {
        packets as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_of_the_default_rate() {
        // 1500 bytes at 1 Mb/s: every 12 ms.
        assert_eq!(after(0, 1500, 1_000_000), Duration::ZERO);
        assert_eq!(after(5, 1500, 1_000_000), Duration::from_millis(60));
        assert_eq!(count_until(Duration::ZERO, 1500, 1_000_000), 1);
        assert_eq!(count_until(Duration::from_millis(59), 1500, 1_000_000), 5);
        assert_eq!(count_until(Duration::from_millis(60), 1500, 1_000_000), 6);
    }

    #[test]
    fn rates_for_people() {
        assert!((megabits(125_000, Duration::from_secs(1)) - 1.0).abs() < 1e-9);
        assert!((per_second(10, Duration::from_millis(500)) - 20.0).abs() < 1e-9);
        assert_eq!(
            (megabits(1, Duration::ZERO), per_second(1, Duration::ZERO)),
            (0.0, 0.0)
        );
    }

    proptest! {
        /// A packet is among those due exactly from its own time on.
        #[test]
        fn schedule_and_count_agree(number in 0..1_000_000_u64, size in 1..1_048_577_usize,
                                    bits in 1..1_000_000_000_000_u64) {
            let time = after(number, size, bits) + Duration::from_nanos(1);
            prop_assert!(count_until(time, size, bits) > number);
        }

        #[test]
        fn no_overflow(number: u64, size in 0..1_048_577_usize, bits: u64) {
            let time = after(number, size, bits);
            let _ = count_until(time, size, bits);
        }
    }
}
