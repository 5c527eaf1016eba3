//! The IPC processes: one framework, one module per type.
//!
//! [`framework`] is an IPCP as a state machine without I/O around an [`framework::Ipcp`];
//! [`channel`] runs it on the control channel to the daemon. [`data`] is the thread that carries
//! packets, for types whose flows pass through. [`shim`] is what the types on real networks share
//! ([`eth`], [`udp`]); [`sys`] and [`sys_errors`] are their system calls. [`lower`] are the N-1 flows of
//! types that sit on other layers ([`broadcast`], [`unicast`]). [`random`] is where random numbers come from.

pub mod broadcast;
pub mod channel;
pub mod cli;
pub mod data;
pub mod eth;
pub mod framework;
pub mod local;
pub mod lower;
pub mod random;
pub mod shim;
pub mod sys;
pub mod sys_errors;
pub mod udp;
pub mod unicast;
