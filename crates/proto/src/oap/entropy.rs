//! Where identifiers and ephemeral keys come from.

use o7s_crypto::{algorithm::Kex, kex::PrivateKey};
use o7s_wire::oap::{ID_LEN, Id};

use super::Cause;

/// A source of what must be random, so that tests can repeat recorded exchanges.
pub trait Entropy {
    /// The identifier of a new allocation.
    ///
    /// # Errors
    /// [`Cause::Entropy`].
    fn id(&mut self) -> Result<Id, Cause>;

    /// A new ephemeral key pair.
    ///
    /// # Errors
    /// [`Cause::Kex`].
    fn ephemeral(&mut self, kex: Kex) -> Result<PrivateKey, Cause>;
}

/// The random numbers of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn id(&mut self) -> Result<Id, Cause> {
        let mut id = [0; ID_LEN];
        getrandom::fill(&mut id).map_err(|_| Cause::Entropy)?;
        Ok(Id(id))
    }

    fn ephemeral(&mut self, kex: Kex) -> Result<PrivateKey, Cause> {
        PrivateKey::generate(kex).map_err(|error| Cause::Kex(error.to_string()))
    }
}
