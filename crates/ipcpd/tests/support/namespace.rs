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

/// A network with two devices at the ends of one cable; false and a word if it cannot be had.
pub fn cable() -> bool {
    own_network()
        && ip("link add left type veth peer name right")
        && ip("link set left up")
        && ip("link set right up")
}

/// Runs `ip`; false and a word if that is not possible.
pub fn ip(words: &str) -> bool {
    command("ip", words)
}

/// Runs a program; false and a word if that is not possible.
pub fn command(program: &str, words: &str) -> bool {
    let done = Command::new(program).args(words.split(' ')).status();
    let done = done.is_ok_and(|status| status.success());
    if !done {
        eprintln!("skipped: '{program} {words}' is not possible here");
    }
    done
}
