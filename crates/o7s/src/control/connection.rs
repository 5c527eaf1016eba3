//! A blocking connection to the daemon: one request at a time, for threads of programs.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Body, Decoder, Envelope, Hello, REPLY_MAX, VERSION, encode, receive, send};
use crate::{Error, ErrorKind, Result, RuntimeDir};

/// How far a request got.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "short-lived, and large in the normal case"
)]
pub enum Progress {
    /// It is over.
    Answered(Result<(Body, Vec<OwnedFd>)>),
    /// The deadline passed; the request is under way.
    TimedOut,
    /// A signal arrived; the request is under way.
    Interrupted,
}

/// A connection on which one request at a time is under way.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    next_id: u64,
    dir: RuntimeDir,
    daemon: u64,
}

impl Connection {
    /// Connects to the daemon of `dir` and introduces the process.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`] if none is running there or it speaks another version.
    pub fn open(dir: &RuntimeDir, hello: Hello) -> Result<Self> {
        dir.check_length()?;
        let stream = UnixStream::connect(dir.socket()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::new(
                ErrorKind::Daemon,
                format!(
                    "no irmd is running for this user (looked for {}); start one with 'irmd'",
                    dir.socket().display()
                ),
            ),
            io::ErrorKind::PermissionDenied => Error::new(
                ErrorKind::Daemon,
                format!(
                    "this user may not talk to the irmd at {}; start one of your own with \
                     'irmd', or set {} to its directory",
                    dir.socket().display(),
                    crate::runtime::ENV
                ),
            ),
            _ => Error::system(
                format_args!("connect to {}", dir.socket().display()),
                &error,
            ),
        })?;
        let mut connection = Self {
            stream,
            decoder: Decoder::new(REPLY_MAX),
            next_id: 1,
            dir: dir.clone(),
            daemon: 0,
        };
        let hello = Hello {
            version: VERSION,
            ..hello
        };
        match connection.call(Body::Hello(hello))? {
            (Body::HelloOk(ok), _) => {
                connection.daemon = ok.instance;
                Ok(connection)
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The daemon's random number: tells it from others before and after it.
    #[must_use]
    pub fn daemon(&self) -> u64 {
        self.daemon
    }

    /// Sends a request and waits for its answer; a failure becomes an error.
    ///
    /// # Errors
    /// The daemon's own, or [`ErrorKind::Daemon`] if it went away.
    pub fn call(&mut self, body: Body) -> Result<(Body, Vec<OwnedFd>)> {
        let id = self.start(body)?;
        loop {
            match self.wait(id, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Sends a request and returns its id.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`] if the daemon went away.
    pub fn start(&mut self, body: Body) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode(&Envelope {
            id,
            fds: 0,
            body: Some(body),
        });
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match send(&self.stream, rest, &[]) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.poll(PollFlags::OUT, None) {
                        Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                        _ => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.gone(&error)),
            }
        }
        Ok(id)
    }

    /// Waits for the answer to request `id` until `deadline`.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] and [`ErrorKind::Interrupted`] may leave the request under way (see
    /// [`Connection::progress`]). Else the request is over.
    pub fn wait(&mut self, id: u64, deadline: Option<Instant>) -> Result<(Body, Vec<OwnedFd>)> {
        match self.progress(id, deadline) {
            Progress::Answered(answer) => answer,
            Progress::TimedOut => Err(Error::new(
                ErrorKind::TimedOut,
                "no answer from the irmd in time",
            )),
            Progress::Interrupted => Err(Error::new(
                ErrorKind::Interrupted,
                "interrupted by a signal",
            )),
        }
    }

    /// Waits for the answer to request `id` until `deadline` or until a signal arrives.
    pub fn progress(&mut self, id: u64, deadline: Option<Instant>) -> Progress {
        loop {
            match self.try_answer(id) {
                Ok(Some(answer)) => return Progress::Answered(Ok(answer)),
                Ok(None) => {}
                Err(error) => return Progress::Answered(Err(error)),
            }
            match self.poll(PollFlags::IN, deadline) {
                Ok(true) => {}
                Ok(false) => return Progress::TimedOut,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    return Progress::Interrupted;
                }
                Err(error) => return Progress::Answered(Err(error)),
            }
        }
    }

    /// The answer to request `id` if it is there; answers to other ids are dropped.
    ///
    /// # Errors
    /// The daemon's own, or [`ErrorKind::Daemon`] if it went away.
    pub fn try_answer(&mut self, id: u64) -> Result<Option<(Body, Vec<OwnedFd>)>> {
        loop {
            match self.next()? {
                Some((got, Body::Failure(failure), _)) if got == id => return Err(failure.into()),
                Some((got, body, fds)) if got == id => return Ok(Some((body, fds))),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next envelope that has arrived, without waiting: id, body, descriptors.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`] if the daemon went away or broke the protocol.
    #[allow(
        clippy::should_implement_trait,
        reason = "fallible, and needs no iterator adapters"
    )]
    pub fn next(&mut self) -> Result<Option<(u64, Body, Vec<OwnedFd>)>> {
        loop {
            match self.decoder.next_envelope() {
                Ok(Some((
                    Envelope {
                        id,
                        body: Some(body),
                        ..
                    },
                    fds,
                ))) => {
                    return Ok(Some((id, body, fds)));
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => {
                    return Err(Error::new(
                        ErrorKind::Daemon,
                        format!("the irmd at {} broke the protocol: {error}", self.dir),
                    ));
                }
            }
            match receive(&self.stream, &mut self.decoder) {
                Ok(0) => return Err(self.gone(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.gone(&error)),
            }
        }
    }

    /// Waits until the socket is ready; false at the deadline.
    fn poll(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<bool> {
        let timeout = deadline.map(remaining);
        match poll(&mut [PollFd::new(&self.stream, flags)], timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Err(Error::new(
                ErrorKind::Interrupted,
                "interrupted by a signal",
            )),
            Err(error) => Err(Error::system("wait for the irmd", &error.into())),
        }
    }

    fn gone(&self, error: &io::Error) -> Error {
        Error::new(
            ErrorKind::Daemon,
            format!(
                "the irmd at {} went away ({error}); flows that are open go on, new ones need a \
                 new 'irmd'",
                self.dir
            ),
        )
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Time left until `deadline`, for `poll`.
pub(crate) fn remaining(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec::try_from(left.min(Duration::from_secs(1 << 30))).unwrap_or_default()
}

/// An answer of the wrong kind.
pub(crate) fn unexpected(body: &Body) -> Error {
    Error::new(
        ErrorKind::Daemon,
        format!("the irmd gave an answer of the wrong kind: {body:?}"),
    )
}
