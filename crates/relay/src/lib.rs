//! The wire of Ouroboros' test networks: forwards Ethernet frames between the middle ends of veth
//! pairs, with loss, delay, reordering, duplication, corruption and a rate, and can be cut.
//!
//! [`direction`] decides what happens to a frame, without I/O and without a clock; [`relay`] moves
//! the frames; [`control`] is what its parent says to it; [`guard`] takes the network namespaces
//! away when the parent is gone.

pub mod control;
pub mod direction;
pub mod guard;
pub mod relay;
