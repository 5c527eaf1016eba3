//! The IPC Resource Manager daemon: names, programs, processes, IPCPs and flows of one machine.
//!
//! [`core`] is the daemon as a state machine without I/O; [`driver`] runs it on sockets, shared
//! memory and processes. [`embedded::Daemon`] starts a private daemon as a child.

pub mod cli;
pub mod config;
pub mod core;
pub mod descriptor;
pub mod driver;
pub mod embedded;
pub mod instance;
mod link;
pub mod peer;
pub mod security;
pub mod world;
