//! `operf`: throughput to a name, and the server that measures it (`spec/irm-tools.md` §12.3).

use std::{ffi::OsString, process::ExitCode};

mod args;
mod client;
mod report;
mod server;

use crate::output::{complain, print, version};
use args::Mode;

/// Runs `operf` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(parsed) => {
            for note in &parsed.notes {
                complain(note);
            }
            match parsed.mode {
                Mode::Server(options) => server::run(&options),
                Mode::Client(options) => client::run(&options),
                Mode::Help => {
                    print(args::USAGE);
                    ExitCode::SUCCESS
                }
                Mode::Version => {
                    print(&version("operf"));
                    ExitCode::SUCCESS
                }
            }
        }
        Err(error) => error.refuse(args::USAGE),
    }
}
