//! `ipcpd`, an IPC process. Started by `irmd`, which holds the other end of its control channel.

use std::process::ExitCode;

use clap::Parser;
use o7s::control::IpcpType;
use o7s_ipcpd::{
    broadcast::Broadcast, channel, cli::Args, local::Local, random::random, shim::NetworkIpcp,
    unicast::Unicast,
};

fn main() -> ExitCode {
    let args = Args::parse();
    o7s_log::init("ipcpd", args.logging);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipcpd {}: {error}", args.name);
            channel::tell_failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> o7s::Result<()> {
    match args.ipcp_type {
        IpcpType::Local => channel::run(Local::new),
        IpcpType::Broadcast => channel::run(Broadcast::new),
        kind @ (IpcpType::EthDix | IpcpType::EthLlc | IpcpType::Udp4 | IpcpType::Udp6) => {
            channel::run(|post| NetworkIpcp::new(kind, post))
        }
        IpcpType::Unicast => {
            let seed = random()?;
            channel::run(|post| Unicast::new(seed, post))
        }
    }
}
