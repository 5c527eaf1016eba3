//! The error of this library, and the one place where errors and `errno` values meet.

use std::{borrow::Cow, fmt, io};

/// What kind of failure an [`Error`] is. Each kind has exactly one number
/// (`spec/irm-tools.md` §1, `spec/api.md` A2 `errno.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller may not do this (EPERM).
    Permission,
    /// A file, program or IPCP does not exist (ENOENT).
    NotFound,
    /// Nothing to read, or no room to write, on a non-blocking flow (EAGAIN).
    WouldBlock,
    /// No memory, or a table is full (ENOMEM).
    NoMemory,
    /// The operating system has no descriptor left for this process (EMFILE).
    NoDescriptors,
    /// A file could not be accessed (EACCES).
    Access,
    /// It exists already (EEXIST).
    Exists,
    /// In use in a way that excludes this (EBUSY).
    Busy,
    /// Not a valid argument (EINVAL).
    Invalid,
    /// A packet is not what the other end can have sent: damaged or forged (EBADMSG).
    Integrity,
    /// The message is larger than the flow can carry (EMSGSIZE).
    MessageSize,
    /// The operation does not exist for this IPCP type, or not yet (ENOTSUP).
    NotSupported,
    /// The time limit passed (ETIMEDOUT).
    TimedOut,
    /// A signal arrived before the call could finish (EINTR).
    Interrupted,
    /// The flow is not allocated yet; asynchronous allocation goes on (EINPROGRESS).
    InProgress,
    /// The flow is allocated already (EISCONN).
    Allocated,
    /// No flow: never allocated, or deallocated (ENOTALLOC, 1000).
    NotAllocated,
    /// No such IPCP type (EIPCPTYPE, 1001).
    IpcpType,
    /// No contact with the IRM daemon (EIRMD, 1002).
    Daemon,
    /// No layer reaches the name, or the IPCP failed (EIPCP, 1003).
    Ipcp,
    /// The IPCP is in the wrong state for this (EIPCPSTATE, 1004).
    IpcpState,
    /// The other end deallocated the flow, or it was taken down (EFLOWDOWN, 1005).
    FlowDown,
    /// The other end died or is silent (EFLOWPEER, 1006).
    FlowPeer,
    /// Unknown or invalid name (ENAME, 1007).
    Name,
    /// Encryption could not be had as asked (ECRYPT, 1008).
    Crypt,
    /// Authentication failed (EAUTH, 1009).
    Auth,
    /// Any other failure, with its `errno`.
    Other(i32),
}

/// One row per kind with a fixed number.
const NUMBERS: &[(ErrorKind, i32)] = &[
    (ErrorKind::Permission, libc::EPERM),
    (ErrorKind::NotFound, libc::ENOENT),
    (ErrorKind::WouldBlock, libc::EAGAIN),
    (ErrorKind::NoMemory, libc::ENOMEM),
    (ErrorKind::NoDescriptors, libc::EMFILE),
    (ErrorKind::Access, libc::EACCES),
    (ErrorKind::Exists, libc::EEXIST),
    (ErrorKind::Busy, libc::EBUSY),
    (ErrorKind::Invalid, libc::EINVAL),
    (ErrorKind::Integrity, libc::EBADMSG),
    (ErrorKind::MessageSize, libc::EMSGSIZE),
    (ErrorKind::NotSupported, libc::ENOTSUP),
    (ErrorKind::TimedOut, libc::ETIMEDOUT),
    (ErrorKind::Interrupted, libc::EINTR),
    (ErrorKind::InProgress, libc::EINPROGRESS),
    (ErrorKind::Allocated, libc::EISCONN),
    (ErrorKind::NotAllocated, 1000),
    (ErrorKind::IpcpType, 1001),
    (ErrorKind::Daemon, 1002),
    (ErrorKind::Ipcp, 1003),
    (ErrorKind::IpcpState, 1004),
    (ErrorKind::FlowDown, 1005),
    (ErrorKind::FlowPeer, 1006),
    (ErrorKind::Name, 1007),
    (ErrorKind::Crypt, 1008),
    (ErrorKind::Auth, 1009),
];

impl ErrorKind {
    /// The positive `errno` value; numbers from 1000 are Ouroboros' own.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            Self::Other(number) => number,
            kind => NUMBERS
                .iter()
                .find_map(|(row, number)| (*row == kind).then_some(*number))
                .unwrap_or(libc::EIO),
        }
    }

    /// The kind with this positive `errno` value.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        NUMBERS
            .iter()
            .find_map(|(kind, number)| (*number == errno).then_some(*kind))
            .unwrap_or(Self::Other(errno))
    }
}

/// A failure: what was tried, why it failed, what to do.
///
/// The message is complete on its own; [`Error::kind`] is for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

/// Result of this library's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a message that says what was tried, why it failed, what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The same for texts known at compile time.
    #[must_use]
    pub const fn fixed(kind: ErrorKind, message: &'static str) -> Self {
        Self {
            kind,
            message: Cow::Borrowed(message),
        }
    }

    /// A system call that failed while doing `what` ("open a flow segment").
    #[must_use]
    pub fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        let kind = match error.raw_os_error() {
            // A full table for the whole system is to the caller what his own full table is.
            Some(libc::ENFILE) => ErrorKind::NoDescriptors,
            Some(number) => ErrorKind::from_errno(number),
            None => match error.kind() {
                io::ErrorKind::TimedOut => ErrorKind::TimedOut,
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ErrorKind::Invalid,
                _ => ErrorKind::Other(libc::EIO),
            },
        };
        let hint = match kind {
            ErrorKind::NoDescriptors => {
                "; close flows or files, or raise the limit of open files (ulimit -n)"
            }
            _ => "",
        };
        Self::new(kind, format!("cannot {what}: {error}{hint}"))
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The positive `errno` value of the kind.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.kind.errno()
    }

    /// The message alone.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Permission | ErrorKind::Access => io::ErrorKind::PermissionDenied,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Integrity => io::ErrorKind::InvalidData,
            ErrorKind::Invalid | ErrorKind::Name => io::ErrorKind::InvalidInput,
            ErrorKind::Interrupted => io::ErrorKind::Interrupted,
            ErrorKind::FlowDown | ErrorKind::FlowPeer => io::ErrorKind::ConnectionReset,
            ErrorKind::Daemon => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<o7s_wire::name::NameError> for Error {
    fn from(error: o7s_wire::name::NameError) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_are_one_to_one() {
        for (kind, number) in NUMBERS {
            assert_eq!(kind.errno(), *number);
            assert_eq!(ErrorKind::from_errno(*number), *kind);
        }
        assert_eq!(ErrorKind::from_errno(5), ErrorKind::Other(5));
        assert_eq!(ErrorKind::Name.errno(), 1007);
    }

    #[test]
    fn exhausted_descriptors_tell_the_way_out() {
        for number in [libc::EMFILE, libc::ENFILE] {
            let error = Error::system("open a flow", &io::Error::from_raw_os_error(number));
            assert_eq!(error.kind(), ErrorKind::NoDescriptors);
            assert!(error.to_string().contains("ulimit -n"), "{error}");
        }
    }
}
