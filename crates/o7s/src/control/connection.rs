//! A blocking connection to the daemon: one request at a time, for threads of programs.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{Body, Decoder, Envelope, Hello, REPLY_MAX, VERSION, encode, receive, send};
use crate::{Error, ErrorKind, Result, RuntimeDir};

/// A connection on which one request at a time is under way.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    next_id: u64,
    dir: RuntimeDir,
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
        };
        let hello = Hello {
            version: VERSION,
            ..hello
        };
        match connection.call(Body::Hello(hello))? {
            (Body::HelloOk(_), _) => Ok(connection),
            (other, _) => Err(unexpected(&other)),
        }
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
                    self.poll(PollFlags::OUT, None)?;
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
    /// [`ErrorKind::TimedOut`] and [`ErrorKind::Interrupted`] leave the request under way; call
    /// again, or drop the connection to cancel it. Else the request is over.
    pub fn wait(&mut self, id: u64, deadline: Option<Instant>) -> Result<(Body, Vec<OwnedFd>)> {
        loop {
            if let Some(answer) = self.try_answer(id)? {
                return Ok(answer);
            }
            self.poll(PollFlags::IN, deadline)?;
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

    fn poll(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<()> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            rustix::event::Timespec::try_from(left.min(Duration::from_secs(1 << 30)))
                .unwrap_or_default()
        });
        let mut fds = [PollFd::new(&self.stream, flags)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Err(Error::new(
                ErrorKind::TimedOut,
                "no answer from the irmd in time",
            )),
            Ok(_) => Ok(()),
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

/// An answer of the wrong kind.
pub(crate) fn unexpected(body: &Body) -> Error {
    Error::new(
        ErrorKind::Daemon,
        format!("the irmd gave an answer of the wrong kind: {body:?}"),
    )
}
