//! OAP: authentication and key exchange in flow allocation, client and server
//! (`spec/oap-crypto.md` §3).
//!
//! ```text
//!  Client::start ── request ──►  Server::respond ──► Outcome of the accepting side
//!        │                             │
//!  Client::complete ◄─ response ───────┘
//!        └──► Outcome of the allocating side
//! ```
//!
//! Nothing here reads files, clocks or random numbers by itself: configuration arrives parsed, the
//! time is the wall clock in nanoseconds since the Unix epoch, and random numbers and ephemeral
//! keys come from an [`Entropy`].

mod client;
mod config;
mod entropy;
mod error;
mod exchange;
mod negotiate;
mod peer;
mod replay;
mod server;

pub use client::Client;
pub use config::{ClientConfig, Encryption, ServerConfig, key_bits};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{Cause, Code, OapError};
pub use o7s_wire::oap::Extensions;
pub use replay::{ReplayWindow, SLACK_MS, WINDOW_MS};
pub use server::Server;

use o7s_crypto::{algorithm::Cipher, kdf::Key};

/// What one side has at the end of a successful exchange.
#[derive(Debug)]
pub struct Outcome {
    /// Cipher of the flow's packets; `None` is a flow in clear.
    pub cipher: Option<Cipher>,
    /// The key; there exactly when `cipher` is.
    pub key: Option<Key>,
    /// Name in the peer's verified certificate (§8.3); `None` for an anonymous peer, or a
    /// certificate without a common name.
    pub peer_name: Option<String>,
    /// Whether the peer proved who it is: certificate and signature were there and hold.
    pub authenticated: bool,
    /// What both sides can do beyond 0.23; `None` when one of them said nothing about it.
    pub extensions: Option<Extensions>,
    /// Application data of the peer.
    pub data: Vec<u8>,
}

impl From<Extensions> for crate::frcp::Extensions {
    fn from(agreed: Extensions) -> Self {
        Self {
            fragments: agreed.fragments,
            selective: agreed.selective,
            window: agreed.window,
        }
    }
}
