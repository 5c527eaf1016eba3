//! Benchmarks of flows beside what one would pick instead, all in one run.
//!
//! Every measurement has two processes, each pinned to its own CPU unless said otherwise: this one,
//! and a child that runs the same program as `o7s-bench peer …`.

mod alloc;
mod futex_ring;
mod memory;
mod stats;
mod transport;

use std::process::ExitCode;

use o7s::{
    Node,
    irm::{IpcpConfig, IpcpType, Irm, LayerInfo, NameInfo},
};
use o7s_irmd::embedded::Daemon;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["peer", "alloc"] => alloc::serve(),
        ["peer", "hold", count] => memory::serve(count),
        ["peer", kind, what, cpu] => transport::serve(kind, what, cpu),
        [] => run(),
        _ => Err("usage: o7s-bench".into()),
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

fn run() -> Outcome {
    // Kept until the end: the daemon stops with it.
    let daemon = node()?;
    println!(
        "two processes on {} CPUs\n",
        std::thread::available_parallelism()?
    );
    transport::run(daemon.dir())?;
    alloc::run(daemon.dir())?;
    memory::run(daemon.dir())
}

/// A private daemon with a local layer; this process and its children use it.
fn node() -> Result<Daemon, Box<dyn std::error::Error>> {
    let beside = std::env::current_exe()?.with_file_name("irmd");
    let daemon = Daemon::builder(beside)
        .arg("--log-level")
        .arg("warn")
        .start()?;
    let irm = Irm::at(daemon.dir().clone());
    let pid = irm.create_ipcp("local", IpcpType::Local)?;
    let layer = LayerInfo {
        name: "local".to_owned(),
        dir_hash: 1,
    };
    irm.bootstrap_ipcp(
        pid,
        &IpcpConfig {
            ipcp_type: IpcpType::Local.into(),
            layer,
            ..IpcpConfig::default()
        },
    )?;
    irm.create_name(&NameInfo {
        name: NAME.to_owned(),
        ..NameInfo::default()
    })?;
    irm.reg_name(NAME, pid)?;
    Node::set_current(Some(&Node::at(daemon.dir().clone())));
    Ok(daemon)
}
