//! One daemon per runtime directory: its lock and its socket.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
};

use o7s::{Error, ErrorKind, Result, RuntimeDir};
use rustix::{
    fs::{FlockOperation, flock},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
        sockopt::socket_acceptconn,
    },
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The lock on a runtime directory, and its socket.
#[derive(Debug)]
pub struct Instance {
    dir: RuntimeDir,
    /// Locked while the daemon runs.
    _lock: File,
    /// Whether the socket is ours to remove.
    listening: bool,
}

impl Instance {
    /// Prepares the directory and takes its lock.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] with the pid if a daemon runs there; what is wrong with the directory.
    pub fn claim(dir: &RuntimeDir) -> Result<Self> {
        dir.prepare()?;
        loop {
            let mut lock = open_lock(dir)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(running(dir, &mut lock)),
                Err(error) => {
                    return Err(Error::system("lock the runtime directory", &error.into()));
                }
            }
            // A daemon that stops removes its lock file: what we locked must still be there.
            let ours = lock.metadata().map(|meta| (meta.dev(), meta.ino()));
            let there = fs::metadata(dir.lock()).map(|meta| (meta.dev(), meta.ino()));
            if !matches!((ours, there), (Ok(ours), Ok(there)) if ours == there) {
                continue;
            }
            write_pid(&mut lock).map_err(|error| {
                Error::system(format_args!("write {}", dir.lock().display()), &error)
            })?;
            return Ok(Self {
                dir: dir.clone(),
                _lock: lock,
                listening: false,
            });
        }
    }

    /// Listens on the socket of the directory. One that a killed daemon left behind is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&mut self) -> Result<UnixListener> {
        let path = self.dir.socket();
        match fs::remove_file(&path) {
            Ok(()) => tracing::warn!("IRMd didn't properly shut down last time."),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::system(
                    format_args!("remove the old socket {}", path.display()),
                    &error,
                ));
            }
        }
        let listener = self
            .bind()
            .map_err(|error| Error::system(format_args!("listen on {}", path.display()), &error))?;
        self.listening = true;
        Ok(listener)
    }

    /// Listens on a socket that a service manager made, in which clients may wait already. It stays
    /// when the daemon ends: the next client starts another.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless it listens at the path where clients look.
    pub fn adopt(&mut self, socket: OwnedFd) -> Result<UnixListener> {
        let failed = |error: io::Error| Error::system("use the passed socket", &error);
        let listens = socket_acceptconn(&socket).map_err(|error| failed(error.into()))?;
        let listener = UnixListener::from(socket);
        let address = listener.local_addr().map_err(failed)?;
        let path = self.dir.socket();
        if !listens || address.as_pathname() != Some(&path) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the service manager passes a socket at {address:?}, and clients look for {}; \
                     write ListenStream={} in the socket unit",
                    path.display(),
                    path.display()
                ),
            ));
        }
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    fn bind(&self) -> io::Result<UnixListener> {
        let path = self.dir.socket();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        // Everybody who can enter the directory may connect; what he may do then is decided by
        // his user id.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Under the lock, so that a successor's files are never touched.
        if self.listening {
            let _ = fs::remove_file(self.dir.socket());
        }
        let _ = fs::remove_file(self.dir.lock());
    }
}

/// Fails unless a daemon may remove the directory with all that is in it when it ends: it must be
/// missing, or hold nothing but what an earlier daemon left.
///
/// # Errors
/// [`ErrorKind::Invalid`] names what is in it.
pub fn check_private(dir: &RuntimeDir) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir.path()) else {
        // Missing, or of no use: then it cannot be claimed either.
        return Ok(());
    };
    let ours = [dir.lock(), dir.socket()];
    let foreign = entries
        .flatten()
        .find(|entry| !ours.contains(&entry.path()));
    match foreign {
        None => Ok(()),
        Some(entry) => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "{dir} cannot be removed at the end (--remove-runtime-dir): it holds {:?}; use an \
                 empty directory",
                entry.file_name()
            ),
        )),
    }
}

fn open_lock(dir: &RuntimeDir) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(dir.lock())
        .map_err(|error| {
            Error::new(
                Error::system("open the lock", &error).kind(),
                format!(
                    "cannot use the runtime directory {dir}: {}: {error}; set {} to a directory \
                     that you can write to",
                    dir.lock().display(),
                    o7s::runtime::ENV
                ),
            )
        })
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn running(dir: &RuntimeDir, lock: &mut File) -> Error {
    let mut text = String::new();
    let pid = match lock.read_to_string(&mut text).map(|_| text.trim()) {
        Ok(pid) if !pid.is_empty() => format!(" (pid {pid})"),
        _ => String::new(),
    };
    Error::new(
        ErrorKind::Exists,
        format!(
            "an irmd{pid} is running in {dir} already; use that one, stop it, or set {} to another \
             directory",
            o7s::runtime::ENV
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn one_at_a_time_and_nothing_left() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(temp.path().join("run"));
        let mut first = Instance::claim(&dir).unwrap();
        let _listener = first.listen().unwrap();
        UnixStream::connect(dir.socket()).unwrap();

        let second = Instance::claim(&dir).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Exists);
        let pid = format!("pid {}", std::process::id());
        assert!(second.to_string().contains(&pid), "{second}");

        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        Instance::claim(&dir).unwrap();
    }

    #[test]
    fn a_passed_socket_is_used_where_clients_look_and_stays() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(temp.path());
        let passed = UnixListener::bind(dir.socket()).unwrap();
        // A client that was there first.
        let _client = UnixStream::connect(dir.socket()).unwrap();
        let mut instance = Instance::claim(&dir).unwrap();
        let listener = instance.adopt(passed.into()).unwrap();
        listener.accept().unwrap();
        drop((listener, instance));
        assert!(dir.socket().exists() && !dir.lock().exists());

        let mut instance = Instance::claim(&dir).unwrap();
        let elsewhere = UnixListener::bind(temp.path().join("other")).unwrap();
        let error = instance.adopt(elsewhere.into()).unwrap_err();
        assert!(error.to_string().contains("ListenStream="), "{error}");
        let (silent, _other) = UnixStream::pair().unwrap();
        assert!(instance.adopt(silent.into()).is_err());
    }

    #[test]
    fn what_a_killed_daemon_left_is_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(temp.path());
        fs::write(dir.lock(), "4194304\n").unwrap();
        drop(UnixListener::bind(dir.socket()).unwrap());
        let mut instance = Instance::claim(&dir).unwrap();
        let _listener = instance.listen().unwrap();
        UnixStream::connect(dir.socket()).unwrap();
    }
}
