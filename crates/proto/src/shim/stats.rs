//! Counters of a machine, and why a frame is dropped.

use o7s_wire::shim::ParseError;

use super::Foreign;

/// Why a frame was dropped. Nothing needs to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// It does not concern this layer.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The link is down.
    #[error("the link is down")]
    LinkDown,
    /// A management message that is none.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// A message that goes to one was sent to all.
    #[error("only name queries are for everybody")]
    Broadcast,
    /// An endpoint that no peer can have.
    #[error("no peer can have endpoint {0}")]
    BadEndpoint(u32),
    /// A packet or reply for an endpoint that is not in use.
    #[error("endpoint {0} is not in use")]
    UnknownEndpoint(u32),
    /// A packet or reply for a flow that is over (defect 9).
    #[error("the flow of endpoint {0} is over")]
    StaleEndpoint(u32),
    /// A packet or reply from another than the peer of the flow (trap 25).
    #[error("endpoint {0} belongs to a flow with another peer")]
    WrongPeer(u32),
    /// The flow's request was answered before, or the same request came before.
    #[error("duplicate")]
    Duplicate,
    /// A reply that nobody asked for.
    #[error("nobody asked for the name")]
    NotAsked,
    /// A query or request for a name that is not ours.
    #[error("the name is not registered here")]
    UnknownName,
    /// A stranger asks too much.
    #[error("too many messages from this source, or from all")]
    RateLimit,
    /// No room for another request, packet or answer.
    #[error("no room")]
    NoRoom,
}

/// What has happened since the start, and what is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Name queries sent, repeated ones included.
    pub queries_sent: u64,
    /// Name queries answered.
    pub queries_answered: u64,
    /// Flow requests sent for the first time.
    pub requests_sent: u64,
    /// Flow requests repeated, or sent to another address of the name.
    pub requests_repeated: u64,
    /// Questions to silent peers over UDP, whether they are of ours.
    pub probes_sent: u64,
    /// Allocations that went elsewhere or failed since nobody was at an address.
    pub unreachable: u64,
    /// Flows that a requester gave back at once, since it has its flow from another member.
    pub given_back: u64,
    /// Flow requests of strangers given to the daemon.
    pub requests_arrived: u64,
    /// Of those, the ones that the daemon did not answer in time.
    pub requests_expired: u64,
    /// Flow requests of strangers refused without asking the daemon.
    pub requests_refused: u64,
    /// Allocations granted.
    pub granted: u64,
    /// Allocations refused by the peer.
    pub refused: u64,
    /// Allocations without an answer.
    pub unanswered: u64,
    /// Packets that came before the answer to our request and were kept.
    pub early: u64,
    /// Frames that were not sent, since too many were waiting.
    pub transmits_dropped: u64,
    /// Frames dropped, by reason.
    pub discarded: Discards,
    /// Flows there are, those under way included.
    pub flows: usize,
    /// Requests of strangers that wait for the daemon.
    pub arrived: usize,
    /// Names registered here.
    pub names: usize,
    /// Names whose address is known.
    pub directory: usize,
    /// Names that are asked for.
    pub queries: usize,
    /// Endpoints in use.
    pub endpoints: usize,
    /// Bytes of packets that came before the answer to our request.
    pub early_bytes: usize,
    /// Bytes of answers kept for repeated requests.
    pub answer_bytes: usize,
}

/// Frames dropped, by reason: see [`Discard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    missing_docs,
    reason = "each is the counter of the reason of the same name"
)]
pub struct Discards {
    pub foreign: u64,
    pub link_down: u64,
    pub malformed: u64,
    pub broadcast: u64,
    pub bad_endpoint: u64,
    pub unknown_endpoint: u64,
    pub stale_endpoint: u64,
    pub wrong_peer: u64,
    pub duplicate: u64,
    pub not_asked: u64,
    pub unknown_name: u64,
    pub rate_limit: u64,
    pub no_room: u64,
}

impl Discards {
    pub(super) fn count(&mut self, why: Discard) {
        let counter = match why {
            Discard::Foreign(_) => &mut self.foreign,
            Discard::LinkDown => &mut self.link_down,
            Discard::Malformed(_) => &mut self.malformed,
            Discard::Broadcast => &mut self.broadcast,
            Discard::BadEndpoint(_) => &mut self.bad_endpoint,
            Discard::UnknownEndpoint(_) => &mut self.unknown_endpoint,
            Discard::StaleEndpoint(_) => &mut self.stale_endpoint,
            Discard::WrongPeer(_) => &mut self.wrong_peer,
            Discard::Duplicate => &mut self.duplicate,
            Discard::NotAsked => &mut self.not_asked,
            Discard::UnknownName => &mut self.unknown_name,
            Discard::RateLimit => &mut self.rate_limit,
            Discard::NoRoom => &mut self.no_room,
        };
        *counter += 1;
    }
}
