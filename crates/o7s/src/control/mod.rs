//! The control protocol between programs, the IRM daemon and its IPCPs.
//!
//! Length-framed protobuf over a UNIX stream socket, file descriptors beside the bytes. Every
//! request carries an id that its answer repeats, so requests overlap freely and a slow one blocks
//! no other. Local to one machine and ours alone: [`VERSION`] is checked in the first message.
//!
//! ```text
//! frame     = length (u32, little-endian, bytes that follow) envelope
//! envelope  = protobuf Envelope { id, fds, body }
//! ```
//!
//! Id 0 is a notification that wants no answer. `fds` says how many file descriptors travel with
//! the frame; they are attached to its first byte.

mod connection;
mod flow;
mod frame;
mod impairment;
mod ipcp;
mod layer;
mod message;
mod naming;

pub use connection::{Connection, Progress};
pub(crate) use connection::{remaining, unexpected};
pub use flow::*;
pub use frame::{Decoder, FrameError, MAX_FDS, REPLY_MAX, REQUEST_MAX, encode, receive, send};
pub use impairment::*;
pub use ipcp::*;
pub use layer::*;
pub use message::*;
pub use naming::*;

/// Version of the control protocol; both sides must have the same.
pub const VERSION: u32 = 1;
