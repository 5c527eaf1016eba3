//! Networks of a test's own.

use std::process::Command;

/// Moves this thread, and what it starts, to a network of its own; false and a word if it cannot.
pub fn own_network() -> bool {
    // SAFETY: the new network is this thread's alone, and files are not unshared.
    #[allow(unsafe_code, reason = "a system call")]
    let outcome = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    if outcome.is_err() {
        eprintln!("skipped: without root no network namespace can be made");
        return false;
    }
    ip("link set lo up")
}

pub fn ip(command: &str) -> bool {
    let done = Command::new("ip").args(command.split(' ')).status();
    let done = done.is_ok_and(|status| status.success());
    if !done {
        eprintln!("skipped: 'ip {command}' is not possible here");
    }
    done
}
