//! A unicast node among hostile neighbours, and a driver with commands in any order.

#![no_main]

#[path = "../../crates/proto/tests/unicast_steps/mod.rs"]
mod unicast_steps;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| unicast_steps::run(input));
