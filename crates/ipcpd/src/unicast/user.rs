//! User flows in the data path: which end has which EID, where its packets go, and at which rate.

use std::time::{Duration, Instant};

use o7s_proto::{
    congestion::{Policy, Receiver, Sender},
    fa::Endpoints,
};
use o7s_wire::dt::{Address, Eid, QosCube};

use crate::data::Token;

/// A user flow of this member.
#[derive(Debug)]
pub(super) struct User {
    /// Its end towards the program.
    pub(super) token: Token,
    /// The other end, once it is known.
    pub(super) remote: Option<Remote>,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// The controller let the packet at the front go, and it has not gone yet.
    pub(super) cleared: bool,
    /// It waits for room in an N-1 flow.
    pub(super) waits: bool,
    /// When the other end was told that there is the flow: its first packet tells how long answers take.
    pub(super) answered: Option<Instant>,
    pub(super) counters: Counters,
}

/// The other end of a flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    pub(super) address: Address,
    pub(super) eid: Eid,
    pub(super) cube: QosCube,
}

/// What a flow carried (`spec/unicast.md` §11.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent into the layer.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets of the program that could not be sent.
    pub failed: u64,
    /// Packets given to the program.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets for which the program had no room.
    pub no_room: u64,
    /// Reports of congestion sent.
    pub reports_sent: u64,
    /// Reports of congestion received.
    pub reports_received: u64,
}

impl User {
    pub(super) fn new(token: Token, policy: Policy, epoch: Instant, now: Instant) -> Self {
        Self {
            token,
            remote: None,
            sender: Sender::new(policy, epoch, now),
            receiver: Receiver::new(policy),
            cleared: false,
            waits: false,
            answered: None,
            counters: Counters::default(),
        }
    }

    /// The first packet came so long after the other end was told of the flow: at least a way there and
    /// one back. Somebody who had to think first says nothing about the path.
    #[cold]
    pub(super) fn first_packet(&mut self, after: Duration) {
        const THOUGHT: Duration = Duration::from_secs(1);
        if after <= THOUGHT {
            self.sender.answer_takes(after);
        }
    }
}

/// The flows, by EID and by end.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_eid: Endpoints<User>,
    by_token: Vec<Option<Eid>>,
}

impl Users {
    pub(super) fn insert(&mut self, eid: Eid, user: User) {
        let at = user.token.index();
        if self.by_token.len() <= at {
            self.by_token.resize(at + 1, None);
        }
        self.by_token[at] = Some(eid);
        self.by_eid.insert(eid, user);
    }

    #[inline]
    pub(super) fn get_mut(&mut self, eid: Eid) -> Option<&mut User> {
        self.by_eid.get_mut(eid)
    }

    /// The flow of an end.
    pub(super) fn at(&mut self, token: Token) -> Option<(Eid, &mut User)> {
        let eid = (*self.by_token.get(token.index())?)?;
        Some((eid, self.by_eid.get_mut(eid)?))
    }

    pub(super) fn remove(&mut self, eid: Eid) -> Option<User> {
        let user = self.by_eid.remove(eid)?;
        if let Some(at) = self.by_token.get_mut(user.token.index()) {
            *at = None;
        }
        Some(user)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Eid, &User)> {
        self.by_eid.iter()
    }
}
