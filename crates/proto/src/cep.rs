//! Component connections, OCEP, without I/O (`spec/directory-enrollment.md` §3).
//!
//! Every flow between two IPCPs begins with one message in each direction, by which a component of the
//! one is connected to the same component of the other. [`Handshakes`] has all that are under way, of both
//! roles. Its driver
//!
//! 1. tells it of flows ([`connect`](Handshakes::connect) when an allocated flow is ready,
//!    [`accept`](Handshakes::accept) when one was accepted, [`forget`](Handshakes::forget) when one is gone)
//!    and of what arrives on them ([`handle_packet`](Handshakes::handle_packet)), and calls
//!    [`handle_timeout`](Handshakes::handle_timeout) at [`poll_timeout`](Handshakes::poll_timeout),
//! 2. does what [`poll_output`](Handshakes::poll_output) says, after each such call.
//!
//! ```text
//!  initiator ── own message ──►  acceptor      both within TIMEOUT
//!            ◄── its message ──                all-empty: no such component
//! ```
//!
//! # Beyond 0.23
//!
//! The wire is the same; more is checked. An initiator takes no refusal for a success (trap T2). An acceptor
//! compares too: it answers with its own message, so that the initiator sees why, and gives the flow up. It
//! serves many at once (trap T6), [`ACCEPTING_MAX`] of them. Where addresses matter, one that no member can
//! have, or that is the own one, is refused: packets would go astray.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use o7s_wire::{
    address::Address,
    cep::{CepError, Identity, Message},
};

/// How long each side waits for the other's message.
pub const TIMEOUT: Duration = Duration::from_millis(1000);

/// Handshakes that others have begun and not ended. One more is refused without a word, as it would be
/// by a peer that is busy.
pub const ACCEPTING_MAX: usize = 256;

/// A component of this IPCP that can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// What it is.
    pub identity: Identity,
    /// What it says its address is; [`Address::INVALID`] if it has none. Then the peer's does not
    /// matter either.
    pub address: Address,
}

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This side.
    Initiator,
    /// The other side.
    Acceptor,
}

/// What the driver is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K> {
    /// Send a packet.
    Send {
        /// On this flow.
        flow: K,
        /// The packet.
        packet: Vec<u8>,
    },
    /// The component is connected; what arrives on the flow from now on is its business.
    Connected {
        /// The flow.
        flow: K,
        /// The component.
        identity: Identity,
        /// What the peer says its address is.
        peer: Address,
        /// Who began.
        role: Role,
    },
    /// There is no connection: deallocate the flow, after what was sent on it.
    Failed {
        /// The flow.
        flow: K,
        /// Who began.
        role: Role,
        /// Why.
        failure: Failure,
    },
}

/// Why two components are not connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The other side said nothing.
    #[error("no answer of the peer within {} ms; is it an IPCP, and a member of the layer?", TIMEOUT.as_millis())]
    TimedOut,
    /// Something else than an OCEP message came.
    #[error("the peer does not speak OCEP: {0}")]
    NotOcep(#[from] CepError),
    /// The peer has no such component.
    #[error(
        "the peer has no component \"{0}\"; is it an IPCP of the same type, and a member of the layer?"
    )]
    NoComponent(&'static str),
    /// The initiator wants a component that is not here.
    #[error("the peer wants component \"{0}\", which is not here")]
    Unknown(String),
    /// The components do not match.
    #[error("the peer's component is another: {theirs}; here: {ours}")]
    Mismatch {
        /// What the peer says.
        theirs: Box<Message>,
        /// What this side says.
        ours: Box<Message>,
    },
    /// The peer's address is none that a member can have.
    #[error("the peer's address {0} is none that a member can have")]
    BadAddress(Address),
    /// The peer has the same address.
    #[error(
        "the peer has the same address {0} as this IPCP: either it is this IPCP itself, or two members \
         drew the same one; recreate one of them"
    )]
    OwnAddress(Address),
    /// Too many handshakes are under way.
    #[error("{ACCEPTING_MAX} peers are being answered already; this one may try again in a second")]
    Busy,
}

#[derive(Debug)]
struct Handshake {
    /// The component if this side began.
    component: Option<Component>,
    deadline: Instant,
}

/// All handshakes of an IPCP that are under way; `K` is what the driver calls a flow.
#[derive(Debug)]
pub struct Handshakes<K> {
    components: Vec<Component>,
    under_way: BTreeMap<K, Handshake>,
    accepting: usize,
    outputs: VecDeque<Output<K>>,
}

impl<K> Default for Handshakes<K> {
    fn default() -> Self {
        Self {
            components: Vec::new(),
            under_way: BTreeMap::new(),
            accepting: 0,
            outputs: VecDeque::new(),
        }
    }
}

impl<K: Copy + Ord> Handshakes<K> {
    /// None under way, no component.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component that others can connect to. One with the same name is replaced.
    pub fn register(&mut self, component: Component) {
        let name = component.identity.component;
        self.components
            .retain(|known| known.identity.component != name);
        self.components.push(component);
    }

    /// Begins as the initiator on a flow that is ready. The component need not be registered.
    pub fn connect(&mut self, now: Instant, flow: K, component: Component) {
        self.forget(flow);
        if let Ok(packet) = component.identity.message(component.address).emit() {
            self.outputs.push_back(Output::Send { flow, packet });
        }
        let handshake = Handshake {
            component: Some(component),
            deadline: now + TIMEOUT,
        };
        self.under_way.insert(flow, handshake);
    }

    /// Begins as the acceptor on a flow that was accepted.
    pub fn accept(&mut self, now: Instant, flow: K) {
        self.forget(flow);
        if self.accepting >= ACCEPTING_MAX {
            self.fail(flow, Role::Acceptor, Failure::Busy);
            return;
        }
        self.accepting += 1;
        let handshake = Handshake {
            component: None,
            deadline: now + TIMEOUT,
        };
        self.under_way.insert(flow, handshake);
    }

    /// Whether a handshake is under way on the flow.
    #[must_use]
    pub fn contains(&self, flow: K) -> bool {
        self.under_way.contains_key(&flow)
    }

    /// Forgets the handshake of a flow that is gone, or given up; nothing comes of it any more.
    pub fn forget(&mut self, flow: K) {
        if let Some(handshake) = self.under_way.remove(&flow)
            && handshake.component.is_none()
        {
            self.accepting -= 1;
        }
    }

    /// A packet arrived on a flow. Empty ones are the flow's signs of life, and those on flows without a
    /// handshake are not ours; both are ignored.
    pub fn handle_packet(&mut self, flow: K, packet: &[u8]) {
        let Some(handshake) = self.under_way.get(&flow) else {
            return;
        };
        if packet.is_empty() {
            return;
        }
        let component = handshake.component;
        self.forget(flow);
        let (role, outcome) = match component {
            Some(ours) => (Role::Initiator, answered(&ours, packet)),
            None => (Role::Acceptor, self.asked(flow, packet)),
        };
        match outcome {
            Ok((identity, peer)) => self.outputs.push_back(Output::Connected {
                flow,
                identity,
                peer,
                role,
            }),
            Err(failure) => self.fail(flow, role, failure),
        }
    }

    fn asked(&mut self, flow: K, packet: &[u8]) -> Result<(Identity, Address), Failure> {
        let theirs = Message::parse(packet)?;
        let ours = self.components.iter().find(|component| {
            // An empty name names nothing (trap T1).
            !theirs.component.is_empty()
                && component.identity.component.as_bytes() == theirs.component
        });
        let (message, verdict) = match ours {
            Some(ours) => {
                let message = ours.identity.message(ours.address);
                (message, compare(ours, theirs))
            }
            None => {
                let name = theirs.component.escape_ascii().to_string();
                (Message::refusal(), Err(Failure::Unknown(name)))
            }
        };
        if let Ok(packet) = message.emit() {
            self.outputs.push_back(Output::Send { flow, packet });
        }
        verdict
    }

    fn fail(&mut self, flow: K, role: Role, failure: Failure) {
        self.outputs.push_back(Output::Failed {
            flow,
            role,
            failure,
        });
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.values().map(|each| each.deadline).min()
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self
            .under_way
            .iter()
            .filter(|(_, each)| each.deadline <= now)
            .map(|(flow, each)| (*flow, each.component.is_some()))
            .collect::<Vec<_>>();
        for (flow, initiated) in due {
            self.forget(flow);
            let role = if initiated {
                Role::Initiator
            } else {
                Role::Acceptor
            };
            self.fail(flow, role, Failure::TimedOut);
        }
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output<K>> {
        self.outputs.pop_front()
    }
}

/// The initiator's look at the answer.
fn answered(ours: &Component, packet: &[u8]) -> Result<(Identity, Address), Failure> {
    let theirs = Message::parse(packet)?;
    if theirs.is_refusal() {
        return Err(Failure::NoComponent(ours.identity.component));
    }
    compare(ours, theirs)
}

fn compare(ours: &Component, theirs: Message) -> Result<(Identity, Address), Failure> {
    if !theirs.is_of(&ours.identity) {
        return Err(Failure::Mismatch {
            theirs: Box::new(theirs),
            ours: Box::new(ours.identity.message(ours.address)),
        });
    }
    let peer = theirs.address;
    if ours.address != Address::INVALID {
        if !peer.is_valid() {
            return Err(Failure::BadAddress(peer));
        }
        if peer == ours.address {
            return Err(Failure::OwnAddress(peer));
        }
    }
    Ok((ours.identity, peer))
}

#[cfg(test)]
#[path = "cep_tests.rs"]
mod tests;
