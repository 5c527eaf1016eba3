//! Captures and vectors of the C implementation 0.23 (`tests/data`), as tests read them.
//!
//! Everything here panics when a file is not as it should be: only tests depend on this crate.

mod pcap;

use std::path::PathBuf;

pub use pcap::{Datagram, Dix, Frame, datagrams, frames};

/// Where a file of `tests/data` is.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../data")).join(name)
}

/// The content of a file of `tests/data`.
///
/// # Panics
/// There is none.
#[must_use]
pub fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file of `tests/data`.
///
/// # Panics
/// There is none, or it is no JSON.
#[must_use]
pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The bytes of hexadecimal digits, among which white space may stand.
///
/// # Panics
/// There is something else, or half a byte.
#[must_use]
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|it| !it.is_ascii_whitespace())
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "half a byte: {text}");
    let value = |digit: u8| {
        let value = char::from(digit).to_digit(16);
        value.unwrap_or_else(|| panic!("no hexadecimal digits: {text}")) as u8
    };
    pairs
        .iter()
        .map(|[high, low]| value(*high) << 4 | value(*low))
        .collect()
}
