//! Takes away the network namespaces of a test network, with the processes in them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What the names of the namespaces begin with; no others are ever touched.
pub const PREFIX: &str = "o7s-";
/// How long the processes may take to end when they are asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// The identity of a namespace: device and inode of its file.
type Identity = (u64, u64);

/// The namespaces to take away at the end.
#[derive(Debug, Default)]
pub struct Guard {
    namespaces: Vec<PathBuf>,
}

impl Guard {
    /// Adds the file of a namespace.
    pub fn add(&mut self, path: PathBuf) -> Result<(), String> {
        let ours = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !path.is_absolute() {
            return Err(format!(
                "{} is no namespace of a test network: its name must begin with {PREFIX}",
                path.display()
            ));
        }
        self.namespaces.push(path);
        Ok(())
    }

    /// Ends the processes, then takes the names away. What is gone already is no error.
    pub fn end(&self) {
        let own = identity(Path::new("/proc/self/ns/net")).ok();
        let doomed: Vec<Identity> = self
            .namespaces
            .iter()
            .filter_map(|path| identity(path).ok())
            .filter(|namespace| Some(*namespace) != own)
            .collect();
        let deadline = Instant::now() + PATIENCE;
        let mut signal = Signal::TERM;
        // Again and again: a process may have started another one meanwhile.
        loop {
            let processes = inhabitants(&doomed);
            if processes.is_empty() {
                break;
            }
            for process in &processes {
                // It may have ended by itself.
                let _ = pidfd_send_signal(process, signal);
            }
            await_ends(&processes, deadline.max(Instant::now() + PATIENCE / 10));
            if Instant::now() >= deadline {
                signal = Signal::KILL;
            }
            if Instant::now() >= deadline + PATIENCE {
                break;
            }
        }
        for path in &self.namespaces {
            let _ = unmount(path, UnmountFlags::DETACH);
            let _ = fs::remove_file(path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The processes whose network namespace is one of these.
fn inhabitants(namespaces: &[Identity]) -> Vec<OwnedFd> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let namespace = entry.path().join("ns/net");
            if !namespaces.contains(&identity(&namespace).ok()?) {
                return None;
            }
            let process = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
            // The number may have got another owner before the descriptor was there.
            namespaces
                .contains(&identity(&namespace).ok()?)
                .then_some(process)
        })
        .collect()
}

/// Waits until all have ended, at most until the deadline.
fn await_ends(processes: &[OwnedFd], deadline: Instant) {
    for process in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
    }
}
