//! The extension module `ouroboros._native`: flows, flow sets and management for Python.
//!
//! It is thin: what Python programs see is named, typed and documented in `python/ouroboros`. Here
//! are the calls that must be fast, the release of the GIL, and the way signals end blocking calls.

mod argument;
mod error;
mod event;
mod flow;
mod irm;
mod node;
mod wait;

use pyo3::prelude::*;

/// Flows, flow sets and management; the parts that are not Python.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::{
        event::{EventQueue, FlowSet},
        flow::Flow,
        irm::Irm,
        node::{announce, runtime_dir, set_runtime_dir},
    };
}
