//! One connection of the daemon: frames out without waiting, and bytes in.
//!
//! A client that does not read is dropped when its queue exceeds a bound; nobody waits for it.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use o7s::control::{Envelope, encode, send};
use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::UnixStream, sync::Notify};
use zeroize::Zeroizing;

use crate::core::Side;

/// Bytes that may wait before a further frame ends the connection.
const QUEUE_MAX: usize = 4 * 1024 * 1024;
/// Bytes read at once.
pub(crate) const CHUNK: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    out: RefCell<Outbox>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Frame>,
    bytes: usize,
    /// The end in the frame that was handed to the system last.
    last: Option<(u64, Side)>,
    /// No more frames are taken.
    closing: bool,
    /// The other side is gone.
    broken: bool,
}

struct Frame {
    /// Overwritten when dropped: it may hold the key of a flow.
    bytes: Zeroizing<Vec<u8>>,
    sent: usize,
    fds: Vec<Rc<OwnedFd>>,
    end: Option<(u64, Side)>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("bytes", &self.bytes.len())
            .field("sent", &self.sent)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// What there is to do for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Read; nothing to write.
    Open,
    /// Read, and write when possible.
    Writing,
    /// Write what is left, then end.
    Closing,
    /// Over.
    Over,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            out: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// Sends or queues a message; false if the other side is gone.
    pub(crate) fn send(
        &self,
        mut envelope: Envelope,
        fds: Vec<Rc<OwnedFd>>,
        end: Option<(u64, Side)>,
    ) -> bool {
        let mut out = self.out.borrow_mut();
        if out.broken || out.closing {
            return false;
        }
        if out.bytes > QUEUE_MAX {
            tracing::warn!("A client does not read its answers; closing its connection.");
            out.broken = true;
            self.changed.notify_one();
            return false;
        }
        envelope.fds = u32::try_from(fds.len()).unwrap_or(u32::MAX);
        let bytes = Zeroizing::new(encode(&envelope));
        out.bytes += bytes.len();
        out.queue.push_back(Frame {
            bytes,
            sent: 0,
            fds,
            end,
        });
        if out.queue.len() == 1 {
            self.write(&mut out);
            if out.broken || !out.queue.is_empty() {
                self.changed.notify_one();
            }
        }
        !out.broken
    }

    /// Hands as much as possible to the system.
    fn write(&self, out: &mut Outbox) {
        while let Some(frame) = out.queue.front_mut() {
            let fds: Vec<_> = if frame.sent == 0 {
                frame.fds.iter().map(AsFd::as_fd).collect()
            } else {
                Vec::new()
            };
            match send(&self.stream, &frame.bytes[frame.sent..], &fds) {
                Ok(sent) => {
                    frame.sent += sent;
                    out.bytes -= sent;
                    if frame.sent == frame.bytes.len() {
                        out.last = frame.end;
                        out.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!("A connection broke: {error}.");
                    out.broken = true;
                    return;
                }
            }
        }
    }

    /// Takes no more frames; the connection ends when what is queued has been sent.
    pub(crate) fn close(&self) {
        self.out.borrow_mut().closing = true;
        self.changed.notify_one();
    }

    pub(crate) fn phase(&self) -> Phase {
        let out = self.out.borrow();
        match (out.broken, out.closing, out.queue.is_empty()) {
            (true, ..) | (_, true, true) => Phase::Over,
            (_, true, false) => Phase::Closing,
            (_, false, false) => Phase::Writing,
            (_, false, true) => Phase::Open,
        }
    }

    /// Waits until [`Link::phase`] may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until more can be written, and writes it.
    pub(crate) async fn flush(&self) {
        if self.stream.writable().await.is_err() {
            self.out.borrow_mut().broken = true;
            return;
        }
        let attempt = self.stream.try_io(Interest::WRITABLE, || {
            let mut out = self.out.borrow_mut();
            self.write(&mut out);
            if out.queue.is_empty() || out.broken {
                Ok(())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        // Not all is written: the next call waits.
        drop(attempt);
    }

    /// Waits for bytes: how many came into `buffer`, 0 at the end. File descriptors that come
    /// along are not taken: no client has any to give.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            let attempt = self.stream.try_io(Interest::READABLE, || {
                let flags = RecvFlags::DONTWAIT;
                Ok(recv(&self.stream, &mut *buffer, flags)?.0)
            });
            match attempt {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The flow ends that the other side has not read, when it went with (`reset`) or without
    /// unread data.
    pub(crate) fn undelivered(&self, reset: bool) -> Vec<(u64, Side)> {
        let out = self.out.borrow();
        let last = out.last.filter(|_| reset);
        let queued = out.queue.iter().filter_map(|frame| frame.end);
        last.into_iter().chain(queued).collect()
    }
}
