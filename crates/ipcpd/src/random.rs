//! Random numbers of the system, for identifiers and for the seeds of state machines.

use o7s::{Error, ErrorKind, Result};

/// Random bytes.
///
/// # Errors
/// The system gives none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            ErrorKind::NotSupported,
            format!("the system gives no random numbers: {error}"),
        )
    })?;
    Ok(bytes)
}
