//! The IPC processes: one framework, one module per type.
//!
//! [`framework`] is an IPCP as a state machine without I/O around an [`framework::Ipcp`];
//! [`channel`] runs it on the control channel to the daemon.

pub mod channel;
pub mod cli;
pub mod framework;
pub mod local;
