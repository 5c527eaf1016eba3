//! Ouroboros for Rust programs: allocate flows to names, read and write messages, watch many flows,
//! manage the node.
//!
//! ```no_run
//! use o7s::{Flow, QosSpec};
//!
//! # fn main() -> o7s::Result<()> {
//! let flow = Flow::alloc("oecho", QosSpec::RAW, None)?;
//! flow.write(b"Client says hi!")?;
//! println!("Server replied with {:?}", flow.read_packet()?);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "tokio")]
mod aio;
pub mod control;
mod doorbell;
mod error;
mod flags;
mod flow;
pub mod irm;
mod life;
mod link;
mod listener;
mod node;
mod pending;
mod process;
pub mod program;
mod reactor;
pub mod runtime;
mod service;
mod set;
mod view;

pub use error::{Error, ErrorKind, Result};
pub use flags::{EventKind, FlowFlags, FrctFlags};
pub use flow::{Flow, FlowState};
pub use link::FlowStats;
pub use listener::Listener;
pub use node::Node;
pub use o7s_wire::{hash::DirHash, name::Name, qos::QosSpec};
pub use pending::Pending;
pub use reactor::{Reactor, Watch};
pub use runtime::RuntimeDir;
pub use set::{Event, EventQueue, FlowSet};
pub use view::PacketView;
