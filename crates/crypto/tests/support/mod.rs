//! Reading the recorded vectors.

#![allow(dead_code, reason = "each test uses a part")]

use o7s_captures::unhex;
use serde_json::Value;

/// The vectors of OAP and cryptography.
pub(crate) fn vectors() -> Value {
    o7s_captures::json("vectors/oap-crypto.json")
}

/// A hexadecimal member.
pub(crate) fn bytes(value: &Value, member: &str) -> Vec<u8> {
    unhex(text(value, member))
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
