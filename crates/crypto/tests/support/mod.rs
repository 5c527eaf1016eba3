//! Reading the recorded vectors.

#![allow(dead_code, reason = "each test uses a part")]

use serde_json::Value;

/// The vectors of OAP and cryptography.
pub(crate) fn vectors() -> Value {
    read("vectors/oap-crypto.json")
}

/// A file of recorded data.
pub(crate) fn read(name: &str) -> Value {
    let path = format!("{}/../../tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&file).unwrap()
}

/// A hexadecimal member.
pub(crate) fn bytes(value: &Value, member: &str) -> Vec<u8> {
    hex(text(value, member))
}

/// Bytes from hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// A text member.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} of {value}"))
}

/// A number that fits 16 bits.
pub(crate) fn number(value: &Value, member: &str) -> u16 {
    value[member].as_u64().unwrap().try_into().unwrap()
}
