//! The directory of a unicast layer (`spec/directory-enrollment.md` §5): which member has a name.
//!
//! [`Dht`] does no I/O and has no clock. Its driver
//!
//! 1. gives it commands ([`register`](Dht::register), [`unregister`](Dht::unregister),
//!    [`query`](Dht::query)), every payload that arrives for EID 1
//!    ([`handle_message`](Dht::handle_message)), and what it knows of reachability
//!    ([`reachable`](Dht::reachable), [`unreachable`](Dht::unreachable)),
//! 2. calls [`handle_timeout`](Dht::handle_timeout) at [`poll_timeout`](Dht::poll_timeout),
//! 3. after each call takes messages to send from [`poll_transmit`](Dht::poll_transmit) and events from
//!    [`poll_event`](Dht::poll_event) until there are none.

mod config;

use std::time::Instant;

use o7s_wire::{address::Address, hash::NameHash};

pub use config::Config;

/// What the machine has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A query is answered.
    Found {
        /// What was asked for.
        name: NameHash,
        /// Members that have it, the likeliest first; never the own address. Empty: nobody.
        addresses: Vec<Address>,
    },
    /// A name that was registered is stored where others find it (or nobody else is there). Comes once.
    Published {
        /// The name.
        name: NameHash,
        /// Members known to have stored it.
        copies: usize,
    },
}

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A hash that is not as long as the layer's.
    #[error("the hash has {len} bytes, not the {expected} of the layer's algorithm")]
    HashLength {
        /// Its length.
        len: usize,
        /// That of the layer.
        expected: usize,
    },
    /// The name is not registered here.
    #[error("the name is not registered at this member")]
    NotRegistered,
    /// Too many names.
    #[error("this member has {0} names registered, the most there may be; unregister some")]
    TooMany(usize),
}

/// The directory at one member.
#[derive(Debug)]
pub struct Dht {
    config: Config,
}

impl Dht {
    /// A new machine, which joins at once. `seed` must be random; `unix` is the wall clock at `now`, in
    /// seconds since the Unix epoch.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: u64) -> Self {
        let _ = (seed, now, unix);
        Self {
            config: config.sane(),
        }
    }

    /// Sets the wall clock: `unix` seconds since the Unix epoch at `now`. Cheap.
    pub fn set_wall_clock(&mut self, now: Instant, unix: u64) {
        let _ = (now, unix);
    }

    /// Publishes a name until it is unregistered. [`Event::Published`] says when others can find it.
    ///
    /// # Errors
    /// [`CommandError::HashLength`], [`CommandError::TooMany`].
    pub fn register(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let _ = (now, name);
        unimplemented!()
    }

    /// Takes a name back.
    ///
    /// # Errors
    /// [`CommandError::HashLength`], [`CommandError::NotRegistered`].
    pub fn unregister(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let _ = (now, name);
        unimplemented!()
    }

    /// Looks a name up; answered by one [`Event::Found`] for all queries of the name until then, perhaps at
    /// once, at most after some seconds.
    ///
    /// # Errors
    /// [`CommandError::HashLength`].
    pub fn query(&mut self, now: Instant, name: &NameHash) -> Result<(), CommandError> {
        let _ = (now, name);
        unimplemented!()
    }

    /// The member at `address`, found under `name`, did not answer a flow request, or does not know the
    /// name: it is not given again for a while, unless others insist.
    pub fn suspect(&mut self, now: Instant, name: &NameHash, address: Address) {
        let _ = (now, name, address);
    }

    /// A message arrived for EID 1. (Data transfer tells no source; who sent it stands in the message.)
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let _ = (now, bytes);
    }

    /// Routes became better: there is a (new) way to some members.
    pub fn reachable(&mut self, now: Instant) {
        let _ = now;
    }

    /// There is no way to this member: a message could not be sent, or routing lost it.
    pub fn unreachable(&mut self, now: Instant, address: Address) {
        let _ = (now, address);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted; `None`: not before something else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Puts the next message to send into `out`, whose content is replaced, and gives its destination: data
    /// transfer with QoS cube 0 to EID 1.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Address> {
        out.clear();
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
}
