//! The extension module `ouroboros._native`: flows, flow sets and management for Python.
//!
//! It is thin: what Python programs see is named, typed and documented in `python/ouroboros`. Here
//! are the calls that must be fast, the release of the GIL, and the way signals end blocking calls.

mod argument;
mod buffer;
mod error;
mod event;
mod flow;
mod io;
mod irm;
mod layer;
mod listener;
mod node;
mod reactor;
mod wait;

use pyo3::prelude::*;

/// Flows, flow sets and management; the parts that are not Python.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::{
        argument::packet_tuple,
        event::{EventQueue, FlowSet},
        flow::Flow,
        irm::Irm,
        listener::Listener,
        node::{announce, runtime_dir, set_runtime_dir},
        reactor::{Reactor, Request, Watch},
    };
}
