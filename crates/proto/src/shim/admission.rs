//! How much strangers may ask of us: token buckets per source and for all together.
//!
//! The buckets of the sources are a fixed array; which one a source has depends on the seed, so that nobody
//! can choose to share another's.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    time::{Duration, Instant},
};

use o7s_wire::eth::MacAddr;

use super::{Address, Rate};
use crate::random::Random;

const BUCKETS: usize = 1024;

/// Thousandths of a message.
const MESSAGE: u64 = 1000;

/// Who is counted as one: an interface, an IPv4 address, an IPv6 network of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Mac(MacAddr),
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<Address> for Source {
    fn from(address: Address) -> Self {
        match address {
            Address::Mac(mac) => Self::Mac(mac),
            Address::Udp(socket) => match socket.ip().to_canonical() {
                IpAddr::V4(ip) => Self::V4(ip.octets()),
                IpAddr::V6(ip) => {
                    let mut network = [0; 8];
                    network.copy_from_slice(&ip.octets()[..8]);
                    Self::V6(network)
                }
            },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            tokens: u64::from(rate.burst) * MESSAGE,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return;
        }
        // What is left of a millisecond counts next time.
        self.filled += Duration::from_millis(millis);
        let gained = millis.saturating_mul(self.rate.per_second.into());
        let most = u64::from(self.rate.burst) * MESSAGE;
        self.tokens = self.tokens.saturating_add(gained).min(most);
    }

    fn take(&mut self) -> bool {
        match self.tokens.checked_sub(MESSAGE) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Admission {
    key: u64,
    sources: Vec<Bucket>,
    total: Bucket,
}

impl Admission {
    pub(super) fn new(source: Rate, total: Rate, random: &mut Random, now: Instant) -> Self {
        Self {
            key: random.number(),
            sources: vec![Bucket::new(source, now); BUCKETS],
            total: Bucket::new(total, now),
        }
    }

    /// Whether a message of this stranger is looked at.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> bool {
        let mut hasher = DefaultHasher::new();
        (self.key, source).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0);
        let bucket = &mut self.sources[at];
        bucket.fill(now);
        self.total.fill(now);
        // A source that asks too much does not use up what the others have.
        bucket.take() && self.total.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_asks_too_much_hurts_itself() {
        let now = Instant::now();
        let rate = Rate {
            per_second: 10,
            burst: 20,
        };
        let all = Rate {
            per_second: 100,
            burst: 100,
        };
        let mut admission = Admission::new(rate, all, &mut Random::new([1; 32]), now);
        let source = |last| Source::Mac(MacAddr([2, 0, 0, 0, 0, last]));
        let admitted = |admission: &mut Admission, last, now| {
            (0..1000)
                .filter(|_| admission.admit(source(last), now))
                .count()
        };
        assert_eq!(admitted(&mut admission, 1, now), 20);
        assert_eq!(admitted(&mut admission, 2, now), 20);
        let later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut admission, 1, later), 10);
        let much_later = now + Duration::from_secs(1000);
        let sum: usize = (3..200)
            .map(|last| admitted(&mut admission, last, much_later))
            .sum();
        assert_eq!(sum, 100);
    }

    #[test]
    fn ports_and_interface_parts_of_an_address_are_one_source() {
        let source = |text: &str| Source::from(Address::Udp(text.parse().expect("an address")));
        assert_eq!(source("192.0.2.1:1"), source("192.0.2.1:2"));
        assert_eq!(source("192.0.2.1:1"), source("[::ffff:192.0.2.1]:7"));
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::2]:2"));
        assert_ne!(source("192.0.2.1:1"), source("192.0.2.2:1"));
    }
}
