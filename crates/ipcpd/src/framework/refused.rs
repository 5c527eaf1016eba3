//! What the other side says when it refuses a flow, in words.

use o7s::{Error, ErrorKind};

/// The error of a flow that the other side refused with this number, as it came on the wire: negative,
/// as the specification has it, or anything else.
#[must_use]
pub fn refused_by_peer(number: i32) -> Error {
    let kind = ErrorKind::from_errno(number.saturating_neg());
    let why = match kind {
        ErrorKind::Name => {
            "nobody accepts flows to this name there; create the name on that machine, and bind a \
             program or process to it ('irm bind'), or an IPCP with 'autobind'"
        }
        ErrorKind::TimedOut => "no program there accepted the flow in time",
        ErrorKind::Permission => "the rules of that machine do not allow it",
        ErrorKind::Auth => "it could not make sure who asks, or whom it is asked for",
        ErrorKind::Crypt => {
            "the two could not agree on encryption; compare 'enc.conf' on both machines"
        }
        ErrorKind::NoMemory | ErrorKind::NoDescriptors | ErrorKind::Busy => {
            "it has no room for another flow; try again later"
        }
        ErrorKind::FlowDown | ErrorKind::FlowPeer => "the program that was asked is gone",
        ErrorKind::Ipcp | ErrorKind::IpcpState => "its IPC process could not take the flow",
        _ => "its log may say why",
    };
    Error::new(
        kind,
        format!("the other side refused the flow (error {number}): {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_and_what_to_do_are_told() {
        let error = refused_by_peer(-1007);
        assert_eq!(error.kind(), ErrorKind::Name);
        assert!(error.message().contains("(error -1007): nobody accepts"));
        // Whatever a peer sends.
        for number in [0, 1, -1, i32::MIN, i32::MAX, -77_777] {
            assert!(refused_by_peer(number).message().contains("refused"));
        }
    }
}
