//! Benchmarks of flows beside what one would pick instead, all in one run.
//!
//! Every measurement has two processes, each pinned to its own CPU unless said otherwise: this one,
//! and a child that runs the same program as `o7s-bench peer …`.

mod alloc;
mod capi;
mod costs;
mod forwarding;
mod forwarding_path;
mod futex_ring;
mod handshake;
mod identity;
mod iperf;
mod layer;
mod memory;
mod services;
mod shims;
mod stats;
mod stream;
mod transport;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["peer", "alloc", rounds] => alloc::serve(rounds),
        ["peer", "handshakes", kex, socket, rounds] => handshake::serve(kex, socket, rounds),
        ["peer", "hold", count] => memory::serve(count),
        ["peer", "shim", kind, what] => shims::serve(kind, what),
        ["peer", kind, what, cpu] => transport::serve(kind, what, cpu),
        ["peer", ..] => Err("a peer is started by the benchmark itself".into()),
        _ => run(&words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("o7s-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a benchmark returns.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The name that the child accepts flows for.
const NAME: &str = "bench";

/// The parts that can be measured alone, by name.
const PARTS: [&str; 10] = [
    "messages",
    "allocation",
    "memory",
    "services",
    "handshakes",
    "costs",
    "capi",
    "forwarding",
    "frcp",
    "shims",
];

/// Measures the named parts; all if none is named.
fn run(parts: &[&str]) -> Outcome {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        return Err(format!("{unknown:?} is no part; parts are {}", PARTS.join(", ")).into());
    }
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    if parts == ["shims"] {
        return shims::run();
    }
    let security = tempfile::Builder::new().prefix("o7s-bench-").tempdir()?;
    let security = security.path();
    identity::make(security)?;
    // Kept until the end: the daemon stops with it.
    let daemon = layer::direct(security)?;
    println!(
        "two processes on {} CPUs\n",
        std::thread::available_parallelism()?
    );
    if wanted("messages") {
        transport::run(daemon.dir(), security)?;
    }
    if wanted("allocation") {
        alloc::run(daemon.dir())?;
    }
    if wanted("memory") {
        memory::run(daemon.dir())?;
    }
    if wanted("services") {
        services::run(daemon.dir(), security)?;
    }
    if wanted("handshakes") {
        handshake::run(daemon.dir(), security)?;
    }
    if wanted("costs") {
        costs::run(security)?;
    }
    if wanted("capi") {
        capi::run(daemon.dir())?;
    }
    if wanted("forwarding") {
        forwarding::run()?;
        forwarding_path::run(daemon.dir())?;
    }
    drop(daemon);
    if wanted("shims") {
        shims::run()?;
    }
    if wanted("frcp") {
        let daemon = layer::through_ipcp(security)?;
        services::run_frcp(daemon.dir(), security)?;
    }
    Ok(())
}
