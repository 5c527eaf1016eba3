//! `oping`: round trips to a name, and the server that answers them (`spec/irm-tools.md` §12.2).

use std::{ffi::OsString, process::ExitCode};

mod args;
mod client;
mod server;
mod spread;
mod stats;

use crate::output::{complain, print, version};
use args::Mode;

/// Runs `oping` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(parsed) => {
            for note in &parsed.notes {
                complain(note);
            }
            match parsed.mode {
                Mode::Server(options) => ExitCode::from(server::run(&options)),
                Mode::Client(options) => ExitCode::from(client::run(&options)),
                // As the tool always did.
                Mode::Help => {
                    print(args::USAGE);
                    ExitCode::FAILURE
                }
                Mode::Version => {
                    print(&version("oping"));
                    ExitCode::SUCCESS
                }
            }
        }
        Err(error) => error.refuse(args::USAGE),
    }
}
