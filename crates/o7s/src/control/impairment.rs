//! What a layer of type local does to packets on purpose, and how people write it.

use super::layer::{invalid, within};
use crate::Result;

/// Longest delay and jitter, µs.
pub const DELAY_MAX_US: u32 = 60_000_000;

/// Longest packet of a local layer whose flows pass through its IPCP, bytes.
pub const LOCAL_MTU_MAX: u32 = 1_048_560;

/// One, in probabilities.
const MILLION: u32 = 1_000_000;

/// What a layer of type local does to the packets of each direction of its flows, to test what
/// stands such a network. The default does nothing to them.
///
/// Probabilities are in millionths (0 to 1,000,000).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Impairment {
    /// Probability that a packet is lost.
    #[prost(uint32, tag = "1")]
    pub loss: u32,
    /// Time that a packet takes, µs.
    #[prost(uint32, tag = "2")]
    pub delay_us: u32,
    /// The delay varies evenly by up to this much either way, µs. Packets keep their order.
    #[prost(uint32, tag = "3")]
    pub jitter_us: u32,
    /// Probability that the next packet overtakes a packet.
    #[prost(uint32, tag = "4")]
    pub reorder: u32,
    /// Probability that a packet arrives twice.
    #[prost(uint32, tag = "5")]
    pub duplicate: u32,
    /// Probability that one bit of a packet is flipped.
    #[prost(uint32, tag = "6")]
    pub corrupt: u32,
    /// Longest packet, bytes; longer ones are dropped. 0 = what a segment can hold.
    #[prost(uint32, tag = "7")]
    pub mtu: u32,
    /// Chooses the sequence of decisions.
    #[prost(uint64, tag = "8")]
    pub seed: u64,
}

impl Impairment {
    /// The options of the command line and the keys of the configuration file that make an impairment.
    pub const OPTIONS: [&str; 8] = [
        "loss",
        "delay",
        "jitter",
        "reorder",
        "duplicate",
        "corrupt",
        "mtu",
        "seed",
    ];

    /// A probability in millionths, from a text: percent (`0.5`, `0.5%`) with up to four places, or
    /// millionths (`500ppm`).
    #[must_use]
    pub fn share(text: &str) -> Option<u32> {
        let millionths = match text.strip_suffix("ppm") {
            Some(digits) => decimal(digits, 0),
            None => decimal(text.strip_suffix('%').unwrap_or(text), 4),
        };
        millionths.filter(|millionths| *millionths <= MILLION)
    }

    /// A time in µs, from a text: milliseconds (`20`, `0.25`, `20ms`) up to a minute.
    #[must_use]
    pub fn micros(text: &str) -> Option<u32> {
        decimal(text.strip_suffix("ms").unwrap_or(text), 3).filter(|micros| *micros <= DELAY_MAX_US)
    }

    /// Fails unless every value is allowed.
    pub(super) fn check(&self) -> Result<()> {
        for (field, share) in [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
        ] {
            if share > MILLION {
                return Err(invalid(format!(
                    "{field} is {share} millionths; it must be 0 to {MILLION}"
                )));
            }
        }
        within("delay in µs", self.delay_us, 0, DELAY_MAX_US)?;
        within("jitter in µs", self.jitter_us, 0, DELAY_MAX_US)?;
        within("mtu", self.mtu, 0, LOCAL_MTU_MAX)
    }
}

/// A decimal number with at most `places` places, without its point: exact, unlike a float.
fn decimal(text: &str, places: usize) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, share) in [
            ("1", Some(10_000)),
            ("0.5%", Some(5_000)),
            ("100", Some(MILLION)),
            ("500ppm", Some(500)),
            ("0.0001", Some(1)),
            ("0.00001", None),
            ("101", None),
            ("1000001ppm", None),
            ("0.5ppm", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(Impairment::share(text), share, "{text}");
        }
        for (text, micros) in [
            ("20", Some(20_000)),
            ("0.25", Some(250)),
            ("20ms", Some(20_000)),
            ("60000", Some(DELAY_MAX_US)),
            ("60000.001", None),
            ("1s", None),
        ] {
            assert_eq!(Impairment::micros(text), micros, "{text}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let wrong = Impairment {
            loss: MILLION + 1,
            ..Impairment::default()
        };
        let error = wrong.check().unwrap_err();
        assert!(error.message().starts_with("loss is 1000001"), "{error}");
        let wrong = Impairment {
            mtu: LOCAL_MTU_MAX + 1,
            ..Impairment::default()
        };
        assert!(wrong.check().is_err());
        assert!(Impairment::default().check().is_ok());
    }
}
