//! Why a flow cannot be read or written, in the words of its user.

use std::time::Duration;

use o7s_ring::{Corrupt, SendError};

use crate::{Error, ErrorKind};

/// A packet that no flow of this kind can carry.
pub(crate) fn too_large(length: usize, max: usize) -> Error {
    Error::new(
        ErrorKind::MessageSize,
        format!(
            "cannot write a packet of {length} bytes: the flow carries at most {max} bytes; write \
             it in parts"
        ),
    )
}

/// Why a packet was not sent, in the terms of a flow.
pub(super) fn not_sent(error: SendError) -> Error {
    match error {
        SendError::Full => NO_ROOM,
        SendError::TooLarge { len, max } => too_large(len, max),
        SendError::PeerClosed => FLOW_CLOSED,
        SendError::PeerGone => PEER_GONE,
        SendError::Refused => REFUSED,
        SendError::Corrupt(corrupt) => broken(corrupt),
    }
}

/// The ring is broken: the flow is down for good, with the reason.
#[cold]
pub(super) fn broken(corrupt: Corrupt) -> Error {
    Error::new(
        ErrorKind::FlowDown,
        format!("the flow is down: {corrupt}; deallocate it and allocate anew"),
    )
}

/// Errors of the hot path, made without allocating.
const fn fixed(kind: ErrorKind, message: &'static str) -> Error {
    Error::fixed(kind, message)
}

pub(super) const REFUSED: Error = fixed(
    ErrorKind::Permission,
    "cannot write: the other end of the flow is write-only (its flags say so)",
);
pub(super) const VIEWED: Error = fixed(
    ErrorKind::Busy,
    "cannot read: a view of the flow's front packet is open; release it first",
);
pub(super) const NOTHING_TO_READ: Error = fixed(
    ErrorKind::WouldBlock,
    "nothing to read on the flow now; wait or try again",
);
pub(super) const NO_ROOM: Error = fixed(
    ErrorKind::WouldBlock,
    "no room for the packet now: the other end does not read fast enough; wait or try again",
);
pub(super) const FLOW_CLOSED: Error = fixed(
    ErrorKind::FlowDown,
    "the flow is down: the other end deallocated it; deallocate this end too",
);
pub(super) const PEER_GONE: Error = fixed(
    ErrorKind::FlowPeer,
    "the process at the other end of the flow died; deallocate this end and allocate anew",
);
pub(super) const FLOW_DOWN: Error = fixed(
    ErrorKind::FlowDown,
    "the other end took the flow down (flag Down); it may come up again",
);
pub(super) const VIOLATED: Error = fixed(
    ErrorKind::Integrity,
    "the flow is down: the other end sent a packet that was not encrypted with the key of the \
     flow; deallocate it and allocate anew",
);
pub(super) const OWN_DOWN: Error = fixed(
    ErrorKind::FlowDown,
    "this end took the flow down (flag Down); set the flags without it to go on",
);

/// The other end gave no sign of life for `timeout`.
#[cold]
pub(super) fn silent(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::FlowPeer,
        format!(
            "the other end of the flow gave no sign of life for {timeout:?} (the timeout of the \
             flow's QoS); deallocate this end and allocate anew"
        ),
    )
}
