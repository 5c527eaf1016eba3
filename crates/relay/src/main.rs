//! `o7s-relay`: the wire of a test network, started by `ouroboros.testbed`.

use std::os::fd::AsFd;
use std::process::ExitCode;

use o7s_relay::relay::Relay;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const USAGE: &str = "\
usage: o7s-relay
The wire of a test network. It is started by Python's ouroboros.testbed, takes its commands from a
UNIX stream socket, which must be its standard input, and ends with it.";

/// Raises the limit of open files as far as it goes: two for each link.
fn allow_many_links() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If not, large networks are told so when they add a link.
    let _ = setrlimit(Resource::Nofile, raised);
}

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        let help = std::env::args().any(|argument| argument == "--help" || argument == "-h");
        if help {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    allow_many_links();
    let stdin = std::io::stdin();
    match Relay::new(stdin.as_fd()).and_then(Relay::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("o7s-relay: {error}; its standard input must be a UNIX stream socket");
            ExitCode::FAILURE
        }
    }
}
