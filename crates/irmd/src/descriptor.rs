//! File descriptors: those that the parent passed by number, and waiting for any of them.
//!
//! The only unsafe code of the daemon.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Lets the event loop wait until `fd` is readable.
///
/// # Errors
/// It is nothing that can be waited for (a plain file), or there is no memory.
#[allow(
    unsafe_code,
    reason = "tokio cannot see that the descriptor stays the same"
)]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and keeps its number as long as it lives, and it moves into the
    // `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Takes descriptor `number` over. Standard descriptors are replaced by `/dev/null`.
///
/// # Errors
/// It is not open.
///
/// # Safety
/// Call it before anything else in the process has opened a descriptor: then every open number
/// above 2 came from the parent and has no other owner. Take each number once.
#[allow(unsafe_code, reason = "a number is all that a parent can give")]
pub unsafe fn take(number: i32) -> io::Result<OwnedFd> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    match number {
        0 => {
            let fd = io::stdin().as_fd().try_clone_to_owned()?;
            rustix::stdio::dup2_stdin(null()?)?;
            Ok(fd)
        }
        1 => {
            let fd = io::stdout().as_fd().try_clone_to_owned()?;
            rustix::stdio::dup2_stdout(null()?)?;
            Ok(fd)
        }
        2 => {
            let fd = io::stderr().as_fd().try_clone_to_owned()?;
            rustix::stdio::dup2_stderr(null()?)?;
            Ok(fd)
        }
        3.. => {
            if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
                return Err(io::Error::from_raw_os_error(9));
            }
            // SAFETY: the number is open, and the caller promises that nobody else owns it.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            Ok(fd)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
