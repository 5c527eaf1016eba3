//! Whole networks in one process: hundreds to thousands of unicast IPC processes, made of the state machines
//! that the daemons run, over simulated links. From one seed the same run, event by event.
//!
//! ```
//! use std::time::Duration;
//! use o7s_sim::{network::{Network, Plan}, topology::Shape};
//!
//! let plan = Plan { members: 5, shape: Shape::Ring, seed: 1, ..Plan::default() };
//! let mut network = Network::new(plan);
//! assert!(network.run_until(Duration::from_secs(60), Network::has_converged));
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`network`] | members, links, what happens to them; the event queue is [`agenda`] |
//! | [`directory`] | the directories of many members alone, everybody reaching everybody: for sizes at which routing would fill the memory |
//! | [`topology`], [`link`] | who is connected to whom, and by what |
//! | [`traffic`] | flows that send as fast as congestion control lets them |
//! | [`bottleneck`] | congestion control alone at one queue |
//! | [`steady`] | flows of a packet per millisecond, each of which is missed if it does not arrive |
//! | [`failure`] | cut links, and for how long they interrupt flows |
//! | [`partition`] | a layer that falls into two and heals |
//! | [`scenario`] | what tests and the program `o7s-sim` have networks go through |
//! | [`growth`], [`chart`] | what grows how with the number of members |
//!
//! Time is virtual: a second costs what its events cost. There is no thread, no socket and no sleep.

pub mod agenda;
pub mod bottleneck;
pub mod chart;
pub mod dice;
pub mod directory;
pub mod failure;
pub mod growth;
pub mod link;
mod member;
pub mod network;
pub mod partition;
pub mod scenario;
pub mod steady;
pub mod topology;
pub mod traffic;
