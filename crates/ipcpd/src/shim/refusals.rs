//! What the machine says, as the daemon and the program know it.

use o7s::{
    Error, ErrorKind,
    control::{Failure, FlowEnd, FlowResponse},
};
use o7s_proto::shim::{CommandError, Refusal};

use super::ARRIVED;
use crate::framework::{Output, refused_by_peer};

/// A flow request of this machine is refused; its end is given back with it.
pub(super) fn refuse(flow_id: u64, error: &Error) -> Output {
    Output::Reply(FlowResponse {
        flow_id,
        refusal: Some(Failure::from(error)),
        ..FlowResponse::default()
    })
}

/// A request that arrived is over.
pub(super) fn over(flow_id: u64) -> Output {
    Output::Ended(FlowEnd {
        flow_id,
        side: ARRIVED,
        ..FlowEnd::default()
    })
}

/// Why a command is not carried out.
pub(super) fn command_error(error: CommandError) -> Error {
    let kind = match error {
        CommandError::HashLen { .. } => ErrorKind::Invalid,
        CommandError::TooLarge { .. } => ErrorKind::MessageSize,
        CommandError::NoEndpoint(_) | CommandError::TooMany(_) => ErrorKind::NoMemory,
        CommandError::LinkDown => ErrorKind::FlowDown,
        CommandError::FlowExists(_) => ErrorKind::Exists,
        CommandError::NoFlow(_) | CommandError::NoRequest(_) => ErrorKind::NotAllocated,
    };
    Error::new(kind, error.to_string())
}

/// Why a flow is refused.
pub(super) fn refusal(reason: &Refusal) -> Error {
    let kind = match reason {
        Refusal::Peer(number) => return refused_by_peer(*number),
        Refusal::Name(_) => ErrorKind::Name,
        Refusal::Silence { .. } => ErrorKind::TimedOut,
        Refusal::Unreachable(_) => ErrorKind::from_errno(libc::ECONNREFUSED),
        Refusal::NoPeerEndpoint => ErrorKind::Ipcp,
    };
    Error::new(kind, reason.to_string())
}
