//! `irmd`, the IPC Resource Manager daemon.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use o7s::{Error, ErrorKind, Result, RuntimeDir};
use o7s_irmd::{
    cli::Args,
    config::{self, Config, Setup},
    core::{Settings, Trust},
    descriptor,
    driver::{self, Daemon},
    instance::{self, Instance},
    security::{Engine, files::SecurityDir},
    world::Children,
};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    rand::{GetRandomFlags, getrandom},
};

/// The release of Ouroboros whose interfaces this daemon serves.
const COMPATIBLE: &str = "0.23.0";

fn main() -> ExitCode {
    let args = Args::parse();
    if args.version {
        println!("{}", version());
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &args.check_config {
        let file = file.as_ref().or(args.config.as_ref());
        let file = file.map_or(Path::new(config::DEFAULT_PATH), PathBuf::as_path);
        return if config::check(file) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    // First of all, before other descriptors can take a number.
    let passed = match passed(&args) {
        Ok(passed) => passed,
        Err(error) => return failed(&error),
    };
    o7s_log::init("irmd", args.logging);
    let setup = match args.config.as_deref().map(Config::load).transpose() {
        Ok(config) => config.map(|config| Setup::new(config, args.strict_config)),
        Err(unusable) => {
            eprint!("{unusable}");
            return ExitCode::FAILURE;
        }
    };
    match run(&args, passed, setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    eprintln!("irmd: {error}");
    ExitCode::FAILURE
}

fn version() -> String {
    format!(
        "Ouroboros version {COMPATIBLE} (o7s {})",
        env!("CARGO_PKG_VERSION")
    )
}

/// The descriptors passed by number.
struct Passed {
    ready: Option<OwnedFd>,
    die_with: Option<OwnedFd>,
    /// The socket of a service manager that starts the daemon for its first client.
    socket: Option<OwnedFd>,
}

/// The number of the first descriptor that a service manager passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: i32 = 3;

/// Whether a service manager passes this process a socket.
fn is_activated() -> Result<bool> {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        value.parse::<u32>().ok()
    };
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(false);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(more) => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the service manager passes {more} sockets; irmd listens on one: leave one \
                 ListenStream in its socket unit"
            ),
        )),
    }
}

#[allow(unsafe_code, reason = "see `descriptor`")]
fn passed(args: &Args) -> Result<Passed> {
    let take = |number: Option<i32>, option: &str| {
        // SAFETY: nothing has been opened in this process yet, and equal numbers are refused.
        number
            .map(|number| unsafe { descriptor::take(number) })
            .transpose()
            .map_err(|error| {
                let number = number.unwrap_or_default();
                Error::system(format_args!("use descriptor {number} ({option})"), &error)
            })
    };
    if args.ready_fd.is_some() && args.ready_fd == args.die_with_fd {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(Error::system("use one descriptor for two purposes", &error));
    }
    let socket = is_activated()?.then_some(LISTEN_FDS_START);
    if socket.is_some() && [args.ready_fd, args.die_with_fd].contains(&socket) {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(Error::system(
            "use the passed socket for two purposes",
            &error,
        ));
    }
    Ok(Passed {
        ready: take(args.ready_fd, "--ready-fd")?,
        die_with: take(args.die_with_fd, "--die-with-fd")?,
        socket: take(socket, "the socket of the service manager")?,
    })
}

fn run(args: &Args, passed: Passed, setup: Option<Setup>) -> Result<()> {
    let dir = args
        .runtime_dir
        .as_ref()
        .map_or_else(RuntimeDir::from_env, RuntimeDir::at);
    let private = if args.remove_runtime_dir {
        instance::check_private(&dir)?;
        Some(dir.path().to_owned())
    } else {
        None
    };
    let security = args.security_dir.clone();
    let security = security.map_or_else(SecurityDir::from_env, SecurityDir::at);
    let security = Engine::load(security)?;
    let mut instance = Instance::claim(&dir)?;
    let listener = match passed.socket {
        Some(socket) => instance.adopt(socket)?,
        None => instance.listen()?,
    };
    let files = getrlimit(Resource::Nofile);
    let mut most = files;
    most.current = most.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::debug!("Cannot raise the limit of open files: {error}.");
    }
    let pid = rustix::process::getpid().as_raw_pid();
    tracing::info!("Runtime directory: {dir}.");
    let outcome = driver::run(Daemon {
        settings: Settings {
            pid,
            instance: random()?,
            trust: Trust {
                owner: rustix::process::geteuid().as_raw(),
            },
            direct: !args.no_direct,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        children: Children {
            dir,
            logging: args.logging,
            files,
        },
        security,
        listener,
        ready: passed.ready,
        die_with: passed.die_with,
        setup,
    });
    // Everything of ours in it is removed first, under the lock.
    drop(instance);
    if let Some(dir) = private {
        std::fs::remove_dir_all(&dir).map_err(|error| {
            Error::system(
                format_args!("remove the directory {}", dir.display()),
                &error,
            )
        })?;
    }
    outcome
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::system("get a random number", &error.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}
