//! `operf`: throughput to a name, and the server that measures it (`spec/irm-tools.md` §12.3).

use std::{ffi::OsString, process::ExitCode};

mod args;
mod client;
mod report;
mod server;

/// Runs `operf` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    args::TOOL.run(args::parse(args), server::run, client::run)
}
