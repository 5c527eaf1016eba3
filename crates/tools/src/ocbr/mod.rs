//! `ocbr`: packets at a constant bit rate to a name, and the server that counts them
//! (`spec/irm-tools.md` §12.4).

use std::{ffi::OsString, process::ExitCode};

mod args;
mod client;
mod server;

/// Runs `ocbr` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    args::TOOL.run(args::parse(args), server::run, client::run)
}
