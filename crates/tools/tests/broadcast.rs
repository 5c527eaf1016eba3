//! `obc` over a broadcast layer.

mod common;

use common::{Net, run_in};
use rustix::process::Signal;

#[test]
fn obc_reaches_all_readers() {
    let net = Net::new();
    let bootstrapped = net.irm("i b t broadcast n bc l bc");
    if bootstrapped.code != Some(0) {
        eprintln!(
            "SKIPPED: this version has no broadcast layers: {}",
            bootstrapped.err
        );
        return;
    }
    let readers = [net.start("obc", "-n bc -l"), net.start("obc", "-n bc -l")];
    for reader in &readers {
        assert_eq!(reader.line(), "Starting a reader.");
        assert_eq!(reader.line(), "New flow.");
    }
    assert_eq!(net.run("obc", "-n bc").ok(), "");
    assert_eq!(
        net.run("obc", "-n bc -m hello --json").ok(),
        "{\"event\":\"sent\",\"bytes\":6}\n"
    );
    for reader in readers {
        assert_eq!(reader.line(), "Message is Ouroboros multicast rocks!.");
        assert_eq!(reader.line(), "Message is hello.");
        reader.end(Signal::INT);
    }
}

#[test]
fn obc_failures_say_why() {
    let net = Net::new();
    for (line, start) in [
        ("", "Please specify a name.\n\nUsage: obc"),
        ("-n", "obc: missing argument for option '-n'\n"),
        ("-n bc -m", "obc: missing argument for option '-m'\n"),
        ("-n bc --listen=1", "obc: unexpected argument for option"),
        ("-n bc --json=1", "obc: unexpected argument for option"),
        ("-n bc -x", "obc: invalid option '-x'\n"),
    ] {
        let error = net.run("obc", line).failed(1);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    let error = net.run("obc", "-n none").failed(255);
    assert!(error.starts_with("Failed to join broadcast.\n"), "{error}");
    assert!(error.lines().nth(1).is_some(), "{error}");
    let ran = net.run("obc", "-n none -l");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(255), "Starting a reader.\n")
    );
    let error = run_in(&net.dir().join("none"), "obc", "-n bc").failed(255);
    assert!(error.contains("\nno irmd is running"), "{error}");
    assert!(net.run("obc", "--help").ok().starts_with("Usage: obc"));
    assert!(net.run("obc", "--version").ok().starts_with("obc "));
}
