//! What the C libraries share: layouts, errors, strings, times, configurations.
//!
//! `libouroboros-dev` and `libouroboros-irm` each consist of a C file with the public functions
//! (`dev/dev.c`, `irm/irm.c`) and a Rust part that those call, with thread cancellation disabled.
//! Waiting is done on the C side, in slices or in `poll`: a thread that is cancelled there has no
//! Rust frame that an unwinding could cross (`spec/api.md` A8).

pub mod boundary;
pub mod cep;
pub mod config;
pub mod layout;
pub mod name;
