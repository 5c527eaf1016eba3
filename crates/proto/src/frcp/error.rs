//! Why a write is refused, a packet dropped, a flow ended.

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The peer's window is shut or the send buffer is full: try again when `can_write` says so.
    #[error("the peer's window is shut or the send buffer is full; write again when it has opened")]
    WindowShut,
    /// The message can never be sent on this flow.
    #[error("the message is longer than {max} bytes, the most that this flow carries; cut it")]
    TooLarge {
        /// Longest message in bytes.
        max: usize,
    },
    /// The flow has ended.
    #[error("the flow is down: {0}")]
    Down(#[from] Failure),
}

/// Why a flow has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A packet was not acknowledged within R (`spec/frcp.md` §8.5).
    #[error(
        "the peer did not acknowledge a packet for 120 s; it is gone or cannot receive packets of this size"
    )]
    NotAcknowledged,
    /// The peer's fragments make no message.
    #[error("the peer sent fragments in an order that makes no message")]
    FragmentOrder,
    /// The peer's fragments make a message longer than allowed.
    #[error("the peer sent a message longer than {max} bytes")]
    MessageTooLong {
        /// Longest message in bytes.
        max: usize,
    },
    /// This end has finished the flow.
    #[error("this end has deallocated it")]
    Finished,
}

/// Why a packet, or its data, was dropped. Its valid parts (acknowledgement, window) count anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// No bytes: a keepalive.
    #[error("keepalive")]
    Empty,
    /// Shorter than a header.
    #[error("{0} bytes are no FRCP packet")]
    Short(usize),
    /// A bit without a meaning, or that of an extension that was not agreed on.
    #[error("flags {0:#04x} are not defined on this flow")]
    Flags(u8),
    /// Data of a run whose start was not seen.
    #[error("data without DRF while no run is known")]
    NoRun,
    /// Data that has arrived before, or too late in an unreliable flow.
    #[error("duplicate or late data")]
    Duplicate,
    /// Data beyond the advertised window.
    #[error("data beyond the window")]
    OutOfWindow,
    /// No memory within the bound.
    #[error("receive buffer full")]
    BufferFull,
    /// An acknowledgement of packets that were never sent, or an edge too far ahead.
    #[error("acknowledgement or window of packets never sent")]
    BadAck,
    /// A malformed selective acknowledgement.
    #[error("malformed selective acknowledgement")]
    BadRanges,
    /// A fragment without its predecessors, or of a message that is too long.
    #[error("fragment that makes no message")]
    BadFragment,
    /// The flow has ended.
    #[error("the flow is down")]
    Down,
}
