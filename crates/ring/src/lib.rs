//! Flow segments: the shared memory through which the two endpoints of a flow exchange packets.
//!
//! A flow has one [`Segment`], a sealed memfd with a control page and two single-producer
//! single-consumer rings, one per direction. Each endpoint maps it with [`Endpoint::open`] and
//! splits it into a [`Sender`], a [`Receiver`] and a [`State`]. The daemon that made the segment
//! keeps a [`Warden`], which sees the control page only.
//!
//! ```
//! use o7s_ring::{Endpoint, Segment, Side};
//!
//! let segment = Segment::create(4096)?;
//! let (mut tx, _, _) = Endpoint::open(segment.fd(), Side::A)?.split();
//! let (_, mut rx, _) = Endpoint::open(segment.fd(), Side::B)?.split();
//!
//! tx.try_send(b"hello")?;
//! let mut packet = Vec::new();
//! assert_eq!(rx.try_recv_vec(&mut packet)?, Some(5));
//! assert_eq!(packet, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trust
//!
//! The other endpoint maps the same memory and may write anything anywhere at any time. So
//! nothing in the segment is trusted: an endpoint keeps its own positions and counters in private
//! memory and only *stores* them; each word of the peer is loaded once and validated; no Rust
//! reference to the bytes of a ring is ever made; what does not validate gives [`Corrupt`], for
//! good. A hostile peer can lose or garble its own packets and cause wake-ups without reason; it
//! cannot cause an access outside the segment, a panic, or an endless loop.
//!
//! # Sleeping
//!
//! Waking costs the active side a fence and a load as long as the other side is awake. A side
//! that waits ([`ReadWaiter`], [`WriteWaiter`]) spins for an adaptive time and then parks on a
//! futex in the control page, or arms its [`Bell`], a file descriptor that can be polled.

mod error;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod ring;
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod wait;

#[doc(hidden)]
pub mod bits;

#[cfg(not(loom))]
mod bell;
#[cfg(not(loom))]
mod endpoint;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod state;

pub use error::{Corrupt, Corruption, OpenError, RingError, SendError};
pub use layout::{DEFAULT_CAPACITY, MAX_CAPACITY, MIN_CAPACITY, Side, max_message};
pub use ring::Record;
pub use wait::{Limit, WaitOutcome};

#[cfg(not(loom))]
pub use bell::{BELL_SLOTS, Bell, BellEnd, BellHandle, BellParts, Drain};
#[cfg(not(loom))]
pub use endpoint::{Endpoint, Packet, Receiver, Recv, Sender};
#[cfg(not(loom))]
pub use segment::{BellsArmed, Segment, Warden};
#[cfg(not(loom))]
pub use state::{PeerState, ReadWaiter, State, WriteWaiter};
