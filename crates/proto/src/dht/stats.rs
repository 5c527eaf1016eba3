//! Counters and a view of the directory for people (`spec/directory-enrollment.md` §5.13).

use o7s_wire::{
    address::Address,
    dht::{Body, Contact, Key},
};

/// What a member has sent, received and dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent, by code.
    pub sent: [u64; 5],
    /// Messages received and valid, by code.
    pub received: [u64; 5],
    /// Messages that do not parse (§5.4).
    pub malformed: u64,
    /// Answers to nothing that was asked.
    pub unasked: u64,
    /// Messages of members that sent too many.
    pub excessive: u64,
    /// Values that were not kept: no address, past, or no room.
    pub refused: u64,
    /// Requests that were sent again.
    pub repeated: u64,
    /// Requests that were given up.
    pub unanswered: u64,
    /// Queries answered with an address.
    pub found: u64,
    /// Queries answered with none.
    pub not_found: u64,
}

/// Place of a message in the counters: its code.
pub(super) fn code(body: &Body) -> usize {
    match body {
        Body::Store { .. } => 0,
        Body::FindNodeReq(_) => 1,
        Body::FindNodeRsp(_) => 2,
        Body::FindValueReq(_) => 3,
        Body::FindValueRsp { .. } => 4,
    }
}

/// A contact in a [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactView {
    /// The contact.
    pub contact: Contact,
    /// It has answered.
    pub proven: bool,
    /// Requests in a row that it did not answer.
    pub failures: u8,
}

/// A key in a [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// Registered at this member.
    pub own: bool,
    /// What others stored: address and expiry (Unix seconds).
    pub values: Vec<(Address, u32)>,
}

/// The directory at one member, for the RIB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The own contact.
    pub own: Contact,
    /// Whether it has joined.
    pub joined: bool,
    /// Its contacts.
    pub contacts: Vec<ContactView>,
    /// Its keys, sorted.
    pub keys: Vec<KeyView>,
}

/// How much a member holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Contacts.
    pub contacts: usize,
    /// Those that have answered.
    pub proven: usize,
    /// Names registered here.
    pub names: usize,
    /// Keys under which others stored something here.
    pub keys: usize,
    /// Values that others stored here.
    pub values: usize,
    /// Requests under way.
    pub requests: usize,
    /// Look-ups under way.
    pub lookups: usize,
}
