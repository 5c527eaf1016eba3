//! The runtime directory of a daemon: the one place that knows file-system paths.
//!
//! Order: `$OUROBOROS_RUNTIME_DIR`, else `/run/ouroboros` for root, else
//! `$XDG_RUNTIME_DIR/ouroboros`, else `/tmp/ouroboros-<uid>`.

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, Result};

/// The environment variable that names the runtime directory.
pub const ENV: &str = "OUROBOROS_RUNTIME_DIR";

/// Longest path of a UNIX socket in bytes, without the terminator.
pub const SOCKET_PATH_MAX: usize = 107;

/// Where a daemon and its clients meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// The directory that the environment and the user choose.
    #[must_use]
    pub fn from_env() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self::choose(uid, env::var_os(ENV), env::var_os("XDG_RUNTIME_DIR"))
    }

    /// The rules of the module, on given values. Empty variables count as unset.
    #[must_use]
    pub fn choose(uid: u32, own: Option<OsString>, xdg: Option<OsString>) -> Self {
        let set = |value: Option<OsString>| value.filter(|value| !value.is_empty());
        Self(match (set(own), uid, set(xdg)) {
            (Some(dir), ..) => dir.into(),
            (None, 0, _) => "/run/ouroboros".into(),
            (None, _, Some(xdg)) => Path::new(&xdg).join("ouroboros"),
            (None, uid, None) => format!("/tmp/ouroboros-{uid}").into(),
        })
    }

    /// This very directory.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("irm.sock")
    }

    /// The file whose lock the daemon holds, with its pid as text.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("irmd.lock")
    }

    /// Fails if the socket's path does not fit a socket address.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the lengths and the way out.
    pub fn check_length(&self) -> Result<()> {
        let socket = self.socket();
        let length = socket.as_os_str().as_bytes().len();
        if length > SOCKET_PATH_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the path {} is too long for a socket: {length} bytes, the limit is \
                     {SOCKET_PATH_MAX}; set {ENV} to a shorter directory",
                    socket.display()
                ),
            ));
        }
        Ok(())
    }

    /// Makes the directory if it is missing (0755 for root, else 0700) and checks that it can be
    /// trusted: a directory, ours, and writable by nobody else.
    ///
    /// # Errors
    /// The reason and the way out: read-only file system, another owner, a file in its place, a
    /// path too long.
    pub fn prepare(&self) -> Result<()> {
        self.check_length()?;
        let uid = rustix::process::geteuid().as_raw();
        let mode = if uid == 0 { 0o755 } else { 0o700 };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&self.0);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.failed("create", &error));
            }
            _ => {}
        }
        // Not followed: a link that somebody else put in /tmp is refused.
        let meta = fs::symlink_metadata(&self.0).map_err(|error| self.failed("look at", &error))?;
        if !meta.is_dir() {
            return Err(self.unusable("it is not a directory"));
        }
        if meta.uid() != uid {
            return Err(self.unusable(format_args!("it belongs to user {}", meta.uid())));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(self.unusable(format_args!(
                "others may write to it (mode {:o}; 'chmod go-w' mends that)",
                meta.mode() & 0o777
            )));
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> Error {
        let kind = Error::system(what, error).kind();
        Error::new(
            kind,
            format!(
                "cannot {what} the runtime directory {}: {error}; set {ENV} to a directory that \
                 you can write to",
                self.0.display()
            ),
        )
    }

    fn unusable(&self, why: impl fmt::Display) -> Error {
        Error::new(
            ErrorKind::Access,
            format!(
                "cannot use the runtime directory {}: {why}; set {ENV} to a directory of your own",
                self.0.display()
            ),
        )
    }
}

impl fmt::Display for RuntimeDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn chosen(uid: u32, own: Option<&str>, xdg: Option<&str>) -> String {
        RuntimeDir::choose(uid, own.map(Into::into), xdg.map(Into::into)).to_string()
    }

    #[test]
    fn the_rules_in_their_order() {
        assert_eq!(chosen(0, Some("/x"), Some("/run/user/0")), "/x");
        assert_eq!(chosen(0, None, Some("/run/user/0")), "/run/ouroboros");
        assert_eq!(
            chosen(7, None, Some("/run/user/7")),
            "/run/user/7/ouroboros"
        );
        assert_eq!(chosen(7, Some(""), Some("")), "/tmp/ouroboros-7");
    }

    #[test]
    fn a_path_too_long_says_so() {
        let error = RuntimeDir::at("/tmp/".to_owned() + &"d".repeat(120))
            .prepare()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("too long for a socket"),
            "{error}"
        );
    }

    #[test]
    fn a_file_or_an_open_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RuntimeDir::at(&file).prepare().unwrap_err();
        assert!(error.to_string().contains("not a directory"), "{error}");

        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = RuntimeDir::at(&open).prepare().unwrap_err();
        assert!(error.to_string().contains("others may write"), "{error}");

        let fresh = RuntimeDir::at(dir.path().join("a/b"));
        fresh.prepare().unwrap();
        fresh.prepare().unwrap();
    }
}
