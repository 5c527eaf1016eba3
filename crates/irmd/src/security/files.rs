//! Where the security files are, and how they are read (`spec/oap-crypto.md` §9.2).

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use o7s::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::core::security::{Half, Role};

/// Largest `enc.conf`, bytes.
const CONF_MAX: u64 = 64 * 1024;
/// Largest file with a certificate or key, bytes.
const PEM_MAX: u64 = 1024 * 1024;

/// The directory of all security files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityDir(PathBuf);

impl SecurityDir {
    /// The directory of this user's daemon: `/etc/ouroboros/security` for root, else
    /// `$XDG_CONFIG_HOME/ouroboros/security`, else `~/.config/ouroboros/security`.
    #[must_use]
    pub fn from_env() -> Self {
        let root = rustix::process::geteuid().is_root();
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let config = if root {
            None
        } else {
            let home = || absolute("HOME").map(|home| home.join(".config"));
            absolute("XDG_CONFIG_HOME").or_else(home)
        };
        let config = config.unwrap_or_else(|| PathBuf::from("/etc"));
        Self(config.join("ouroboros/security"))
    }

    /// This directory.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Directory of the certificates that are trusted.
    #[must_use]
    pub fn authorities(&self) -> PathBuf {
        self.0.join("cacert")
    }

    /// Directory of the certificates between those and the ends'.
    #[must_use]
    pub fn intermediates(&self) -> PathBuf {
        self.0.join("untrusted")
    }

    /// The directory of a name's files in one role; none if the name is no path below it.
    #[must_use]
    pub fn of(&self, role: Role, name: &str) -> Option<PathBuf> {
        let inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let clean = !name.is_empty() && !name.ends_with('/') && !name.contains("//");
        // `components` drops "." in the middle.
        let dotted = name.split('/').any(|part| part == ".");
        (inside && clean && !dotted).then(|| {
            let role = match role {
                Role::Server => "server",
                Role::Client => "client",
            };
            self.0.join(role).join(name)
        })
    }

    /// The files of one half of a name.
    #[must_use]
    pub fn files(&self, half: &Half) -> Files {
        let directory = self.of(half.role, &half.name);
        let file = |given: &str, default: &str| {
            if given.is_empty() {
                let directory = directory.as_ref()?;
                return Some(Place::Default(directory.join(default)));
            }
            Some(Place::Given(given.into()))
        };
        Files {
            encryption: file(&half.paths.encryption, "enc.conf"),
            key: file(&half.paths.key, "key.pem"),
            certificate: file(&half.paths.certificate, "crt.pem"),
            directory,
        }
    }
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Where it is by default: it may be missing.
    Default(PathBuf),
    /// Where somebody said that it is.
    Given(PathBuf),
}

impl Place {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Default(path) | Self::Given(path) => path,
        }
    }
}

/// The files of one half of a name; none = such a name has no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Encryption configuration.
    pub encryption: Option<Place>,
    /// Private key.
    pub key: Option<Place>,
    /// Certificate.
    pub certificate: Option<Place>,
    /// Directory of the defaults, and of static keys.
    pub directory: Option<PathBuf>,
}

impl Files {
    /// Only those that somebody gave.
    #[must_use]
    pub fn given(self) -> Self {
        let given = |place: Option<Place>| place.filter(|place| matches!(place, Place::Given(_)));
        Self {
            encryption: given(self.encryption),
            key: given(self.key),
            certificate: given(self.certificate),
            directory: self.directory,
        }
    }

    /// Whether no file of them can be there: nothing is given, and the directory of the defaults is
    /// missing. Costs one system call.
    #[must_use]
    pub fn are_absent(&self) -> bool {
        let given = [&self.encryption, &self.key, &self.certificate];
        let given = given
            .into_iter()
            .any(|place| matches!(place, Some(Place::Given(_))));
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        !given
            && (self.directory.as_ref())
                .is_none_or(|directory| fs::metadata(directory).is_err_and(|error| missing(&error)))
    }
}

/// Reads `enc.conf`; none if there is none.
///
/// # Errors
/// It is given and missing, cannot be read, or is too long.
pub fn read_conf(place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>> {
    read(place, "encryption configuration", CONF_MAX)
}

/// Reads a file with a certificate or a key; none if there is none.
///
/// # Errors
/// As [`read_conf`].
pub fn read_pem(place: &Place, what: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
    read(place, what, PEM_MAX)
}

/// Reads a regular file of at most `limit` bytes.
fn read(place: &Place, what: &str, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let path = place.path();
    let failed = |error: &io::Error| {
        Error::system(format_args!("read the {what} {}", path.display()), error)
    };
    // Not blocked by a pipe that somebody put there.
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match place {
                Place::Default(_) => Ok(None),
                Place::Given(_) => Err(failed(&error)),
            };
        }
        Err(error) => return Err(failed(&error)),
    };
    let meta = file.metadata().map_err(|error| failed(&error))?;
    let refused = |why: String| {
        Error::new(
            ErrorKind::Invalid,
            format!("cannot read the {what} {}: {why}", path.display()),
        )
    };
    if !meta.is_file() {
        return Err(refused("it is not a regular file".to_owned()));
    }
    if meta.len() > limit {
        return Err(refused(format!("it is larger than {limit} bytes")));
    }
    // In one piece, so that no copy of a key is left behind.
    let capacity = usize::try_from(meta.len().min(limit)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let mut taken = file.take(limit);
    taken
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    Ok(Some(bytes))
}

/// Whether others than the owner and his group can read a file.
#[must_use]
pub fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

/// Every file of a directory of certificates, by name; none of a directory that is missing.
///
/// # Errors
/// The directory cannot be read, or has something in it that is no regular file or cannot be read.
pub fn read_certificates(directory: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let failed = |error: &io::Error| {
        Error::system(
            format_args!("read the certificates in {}", directory.display()),
            error,
        )
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| failed(&error))?.path());
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if let Some(bytes) = read_pem(&Place::Given(path.clone()), "certificate")? {
            files.push((path, bytes.to_vec()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(role: Role, name: &str) -> Half {
        Half {
            role,
            name: name.to_owned(),
            paths: Default::default(),
        }
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        let dir = SecurityDir::at("/sec");
        let server = |name| dir.of(Role::Server, name);
        assert_eq!(server("a"), Some("/sec/server/a".into()));
        assert_eq!(server("a/b.c"), Some("/sec/server/a/b.c".into()));
        for name in [
            "",
            ".",
            "..",
            "/a",
            "a/",
            "a//b",
            "a/./b",
            "./a",
            "a/../b",
            "../client/a",
            "a/..",
        ] {
            assert_eq!(server(name), None, "{name:?}");
            let files = dir.files(&half(Role::Server, name));
            assert_eq!(files.key, None);
            assert!(files.are_absent());
        }
        assert_eq!(
            dir.of(Role::Client, "a"),
            Some(PathBuf::from("/sec/client/a"))
        );
    }

    #[test]
    fn a_given_path_replaces_the_default() {
        let dir = SecurityDir::at("/sec");
        let mut half = half(Role::Client, "n");
        half.paths.key = "/elsewhere/k".to_owned();
        let files = dir.files(&half);
        assert_eq!(files.key, Some(Place::Given("/elsewhere/k".into())));
        let default = Place::Default("/sec/client/n/crt.pem".into());
        assert_eq!(files.certificate, Some(default));
        let default = Place::Default("/sec/client/n/enc.conf".into());
        assert_eq!(files.encryption, Some(default));
        assert!(!files.are_absent());
    }

    #[test]
    fn only_a_default_may_be_missing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("enc.conf");
        let given = Place::Given(path.clone());
        let default = Place::Default(path.clone());
        assert_eq!(read_conf(&default).unwrap(), None);
        let error = read_conf(&given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("enc.conf"), "{error}");
        fs::write(&path, "none\n").unwrap();
        let text = read_conf(&default).unwrap().unwrap();
        assert_eq!(&*text, b"none\n");
        fs::write(&path, vec![b'#'; CONF_MAX as usize + 1]).unwrap();
        let error = read_conf(&default).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("key.pem");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [fifo, temp.path().to_owned()] {
            let error = read_pem(&Place::Default(path), "key").unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        assert!(read_certificates(temp.path()).is_err());
        assert!(
            read_certificates(&temp.path().join("none"))
                .unwrap()
                .is_empty()
        );
    }
}
