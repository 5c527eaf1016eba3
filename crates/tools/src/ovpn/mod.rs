//! `ovpn`: carries IP packets between two machines over a flow (`spec/irm-tools.md` §12.6).
//!
//! Each IP packet that is routed to the tunnel device becomes one message on the flow, without any
//! header, and the other way round.

use std::{ffi::OsString, fmt, process::ExitCode, sync::Arc};

use o7s::{ErrorKind, Flow, QosSpec};
use rustix::thread::{CapabilitySet, capabilities};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

mod args;
mod tun;
mod tunnel;

use crate::{
    output::{complain, print, shown, version},
    stop::with_these_signals,
};
use args::{Mode, Options};
use tun::Tun;
use tunnel::{Traffic, Tunnel};

/// MTU of a tunnel device that nobody set, and of those of C.
const USUAL_MTU: usize = 1500;

/// Runs `ovpn` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(Mode::Tunnel(options)) => run(&options),
        Ok(Mode::Help) => {
            print(args::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Mode::Version) => {
            print(&version("ovpn"));
            ExitCode::SUCCESS
        }
        Err(error) => error.refuse(args::USAGE),
    }
}

/// What `ovpn` says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News<'a> {
    Allocating { name: &'a str },
    Waiting,
    Allocated,
    Device { name: &'a str, mtu: usize },
    Started,
    ShuttingDown,
    Traffic(Traffic),
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocating { name } => write!(f, "Allocating a flow to {}.", shown(name)),
            Self::Waiting => f.write_str("Waiting for a new flow..."),
            Self::Allocated => f.write_str("Flow allocated."),
            Self::Device { name, .. } => write!(f, "Tunnel device name is {name}."),
            Self::Started => f.write_str("Starting read/write threads."),
            Self::ShuttingDown => f.write_str("Shutting down..."),
            Self::Traffic(traffic) => traffic.fmt(f),
        }
    }
}

fn fail(what: &str, error: &dyn fmt::Display) -> ExitCode {
    complain(format_args!("{what}\n{error}"));
    ExitCode::FAILURE
}

fn run(options: &Options) -> ExitCode {
    let format = options.format;
    if !may_make_devices() {
        return fail(
            "ovpn must be run as root.",
            &"It makes a network device, which needs the capability CAP_NET_ADMIN.",
        );
    }
    let allocated = match &options.name {
        Some(name) => {
            format.tell(&News::Allocating { name });
            Flow::alloc(name, QosSpec::RAW, None)
        }
        None => {
            format.tell(&News::Waiting);
            accept()
        }
    };
    let flow = match allocated {
        Ok(flow) => flow,
        Err(error) => return fail("Failed to allocate flow.", &error),
    };
    format.tell(&News::Allocated);
    let mtu = flow.max_packet().unwrap_or(USUAL_MTU).min(USUAL_MTU);
    let device = Tun::new().and_then(|tun| {
        tun.set_up(options.ip, options.mask, mtu)?;
        Ok(tun)
    });
    let tun = match device {
        Ok(tun) => tun,
        Err(error) => return fail("Failed to make the tunnel device.", &error),
    };
    let name = tun.name();
    format.tell(&News::Device { name, mtu });
    let tunnel = match Tunnel::new(tun, flow) {
        Ok(tunnel) => Arc::new(tunnel),
        Err(error) => return fail("Failed to start the tunnel.", &error),
    };
    let on_signal = || {
        if !tunnel.is_stopped() {
            format.tell(&News::ShuttingDown);
        }
        tunnel.stop();
    };
    let signals = [SIGINT, SIGQUIT, SIGHUP, SIGTERM];
    let outcome = with_these_signals(&signals, on_signal, || {
        format.tell(&News::Started);
        tunnel.run()
    });
    format.tell(&News::Traffic(tunnel.traffic()));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => fail("The tunnel is down.", &failure),
        Err(error) => fail("Failed to watch for signals.", &error),
    }
}

/// One flow. A client that fails on its way here is no reason to give up.
fn accept() -> o7s::Result<Flow> {
    loop {
        match Flow::accept(None) {
            Err(error) if matches!(error.kind(), ErrorKind::Crypt | ErrorKind::Auth) => {
                complain(format_args!("A flow failed.\n{error}"));
            }
            outcome => return outcome,
        }
    }
}

fn may_make_devices() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}
