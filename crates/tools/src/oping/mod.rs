//! `oping`: round trips to a name, and the server that answers them (`spec/irm-tools.md` §12.2).

use std::{ffi::OsString, process::ExitCode};

mod args;
mod client;
mod server;
mod spread;
mod stats;

/// Runs `oping` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    args::TOOL.run(args::parse(args), server::run, client::run)
}
