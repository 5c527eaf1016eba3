//! A private daemon as a child process, for tests, benchmarks and embedded nodes.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let daemon = o7s_irmd::embedded::Daemon::builder("target/debug/irmd").start()?;
//! let irm = o7s::irm::Irm::at(daemon.dir().clone());
//! # drop(irm);
//! # Ok(())
//! # }
//! ```
//!
//! The daemon also ends when this process does, in whatever way.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use o7s::RuntimeDir;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// How long an orderly stop may take before the daemon is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How to start a private daemon.
#[derive(Debug)]
pub struct Builder {
    irmd: PathBuf,
    dir: Option<PathBuf>,
    through: Vec<OsString>,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    stderr: Stdio,
}

impl Builder {
    /// Uses this runtime directory instead of a temporary one.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Starts `irmd` by this command, which must become it: `nsenter …`, `setpriv …`.
    #[must_use]
    pub fn through(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.through = words.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an argument of `irmd`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable, such as `OUROBOROS_IPCPD`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Where the daemon's log goes; by default to this process' standard error.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = stderr.into();
        self
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Errors
    /// It cannot be started, or ends at once; its log says why.
    pub fn start(self) -> io::Result<Daemon> {
        let (dir, temp) = match self.dir {
            Some(dir) => (dir, None),
            None => {
                let temp = tempfile::Builder::new().prefix("o7s-").tempdir()?;
                (temp.path().to_owned(), Some(temp))
            }
        };
        let mut words = self.through;
        words.push(self.irmd.as_os_str().to_owned());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["--die-with-fd", "0", "--ready-fd", "1", "--runtime-dir"])
            .arg(&dir)
            .args(temp.is_some().then_some("--remove-runtime-dir"))
            .args(&self.args)
            .envs(self.envs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.stderr)
            .spawn()
            .map_err(|error| {
                let path = self.irmd.display();
                io::Error::new(error.kind(), format!("cannot start {path}: {error}"))
            })?;
        let lifeline = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let daemon = Daemon {
            child,
            lifeline,
            dir: RuntimeDir::at(dir),
            _temp: temp,
        };
        if line != "ready\n" {
            let mut daemon = daemon;
            let status = daemon.child.wait()?;
            return Err(io::Error::other(format!(
                "{} did not start in {}: {status}; its log says why",
                self.irmd.display(),
                daemon.dir
            )));
        }
        Ok(daemon)
    }
}

/// A private daemon. Dropping it stops the daemon and removes a temporary directory.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The daemon stops when this is closed.
    lifeline: Option<ChildStdin>,
    dir: RuntimeDir,
    _temp: Option<tempfile::TempDir>,
}

impl Daemon {
    /// A daemon of the program at `irmd`.
    #[must_use]
    pub fn builder(irmd: impl AsRef<Path>) -> Builder {
        Builder {
            irmd: irmd.as_ref().to_owned(),
            dir: None,
            through: Vec::new(),
            args: Vec::new(),
            envs: Vec::new(),
            stderr: Stdio::inherit(),
        }
    }

    /// Its runtime directory.
    #[must_use]
    pub fn dir(&self) -> &RuntimeDir {
        &self.dir
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Kills it with SIGKILL and waits for its end. Running flows go on.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Stops it in good order and waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        self.lifeline = None;
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if let Some(pid) = Pid::from_raw(self.pid()) {
            kill_process(pid, Signal::TERM)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            let deadline = Instant::now() + STOP_LIMIT;
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match poll(
                    &mut fds,
                    Some(&Timespec::try_from(left).unwrap_or_default()),
                ) {
                    Ok(0) => {
                        self.child.kill()?;
                        break;
                    }
                    Ok(_) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
