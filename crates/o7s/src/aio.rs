//! `async` on a tokio runtime: reading, writing, allocating, accepting.
//!
//! All functions are safe to cancel: a read that is dropped has taken no packet, an accept that is
//! dropped leaves its flow to the next one. Reading and writing need no descriptor: the service
//! thread of the process wakes the task.

use std::{
    future::poll_fn,
    os::unix::net::UnixStream,
    task::{Context, Poll},
    time::Duration,
};

use crate::{Error, ErrorKind, Flow, Node, Pending, QosSpec, Result};

impl Flow {
    /// [`Flow::read`] that waits without blocking the thread, as long as it takes.
    ///
    /// # Errors
    /// As there, but for the time limit and blocking.
    pub async fn read_async(&self, buf: &mut [u8]) -> Result<usize> {
        poll_fn(|cx| self.poll_reading(cx, || self.try_read(buf))).await
    }

    /// [`Flow::read_packet`] that waits without blocking the thread, as long as it takes.
    ///
    /// # Errors
    /// As there, but for the time limit and blocking.
    pub async fn read_packet_async(&self) -> Result<Vec<u8>> {
        poll_fn(|cx| self.poll_reading(cx, || self.try_read_packet())).await
    }

    /// [`Flow::write`] that waits without blocking the thread, as long as it takes.
    ///
    /// # Errors
    /// As there, but for the time limit and blocking.
    pub async fn write_async(&self, buf: &[u8]) -> Result<usize> {
        poll_fn(|cx| {
            poll_attempts(
                || self.try_write(buf),
                || self.wake_writable(buf.len(), cx.waker()),
            )
        })
        .await
    }

    fn poll_reading<T>(
        &self,
        cx: &Context<'_>,
        attempt: impl FnMut() -> Result<T>,
    ) -> Poll<Result<T>> {
        poll_attempts(attempt, || self.wake_readable(cx.waker()))
    }

    /// [`Flow::alloc`] that waits without blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub async fn alloc_async(name: &str, qos: QosSpec, timeout: Option<Duration>) -> Result<Self> {
        Node::current()
            .start_alloc(name, qos, timeout)?
            .outcome()
            .await
    }

    /// [`Flow::accept`] that waits without blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub async fn accept_async(timeout: Option<Duration>) -> Result<Self> {
        Node::current().start_accept(timeout)?.outcome().await
    }
}

/// Tries; if that would wait, asks to be woken and tries again if it need not wait after all.
fn poll_attempts<T>(
    mut attempt: impl FnMut() -> Result<T>,
    mut ask: impl FnMut() -> Result<bool>,
) -> Poll<Result<T>> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => match ask() {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            },
            outcome => return Poll::Ready(outcome),
        }
    }
}

impl Pending {
    /// Waits for the flow without blocking the thread.
    ///
    /// # Errors
    /// As [`Pending::wait`] without deadline.
    pub async fn outcome(mut self) -> Result<Flow> {
        loop {
            if let Some(flow) = self.try_finish()? {
                return Ok(flow);
            }
            let Some(fd) = self.fd() else {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "this request for a flow is over",
                ));
            };
            // A duplicate, so that the reactor owns what it watches.
            let watch = || {
                let stream = UnixStream::from(fd.try_clone_to_owned()?);
                stream.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(stream)
            };
            let failed = |error| Error::system("wait for a flow", &error);
            watch().map_err(failed)?.readable().await.map_err(failed)?;
        }
    }
}
