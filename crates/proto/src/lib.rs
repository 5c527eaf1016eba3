//! The protocols of Ouroboros as state machines: bytes, commands and `now` go in, bytes, events and
//! the next deadline come out. No clock, no socket, no thread.

pub mod broadcast;
pub mod cep;
pub mod congestion;
pub mod dht;
pub mod dt;
pub mod enrollment;
pub mod fa;
pub mod forwarding;
pub mod frcp;
pub mod graph;
pub mod linkstate;
pub mod oap;
mod random;
pub mod schedule;
pub mod shim;
pub mod unicast;
