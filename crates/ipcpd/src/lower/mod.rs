//! N-1 flows: the flows that an IPCP has as a program, over the layers below its own.
//!
//! The IPCP is an ordinary program of its node here: names are bound to it, flows are allocated and
//! accepted by the library, with every QoS that the library knows (`spec/directory-enrollment.md` §3.2).
//! It has two sides:
//!
//! - management allocates and accepts ([`Requests`]), without ever blocking, and numbers the flows
//!   ([`Present`]);
//! - the data thread reads and writes ([`Flows`]): batches, no lock per packet, one wake-up per batch.

mod flows;
mod present;
mod requests;

pub use flows::{Batch, Flows, Read};
pub use present::{Known, Present, Serial};
pub use requests::{News, Requests};
