//! Reading and writing: one attempt with the GIL held, then waiting without it.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use o7s::{ErrorKind, FlowFlags};
use pyo3::{
    exceptions::{PyTimeoutError, PyValueError},
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use crate::{
    argument,
    buffer::Buffer,
    error::{Doing, OrRaise, raise},
    flow::Flow,
    wait,
};

/// Reads of at most this many bytes use memory that the thread keeps.
const SCRATCH_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static LENGTHS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// What a call does that cannot go on at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    /// It returns None.
    No,
    /// It waits as the flow's flags and time limits say.
    AsSet,
    /// It waits so long, whatever the flow says.
    For(Option<Duration>),
}

impl Flow {
    /// When a call that starts now ends; None = it must not wait at all.
    fn deadline(
        py: Python<'_>,
        flow: &o7s::Flow,
        waiting: Waiting,
        limit: impl FnOnce(&o7s::Flow) -> o7s::Result<Option<Duration>>,
        (flag, refusal): (FlowFlags, &'static str),
    ) -> PyResult<Option<Option<Instant>>> {
        let limit = match waiting {
            Waiting::No => return Ok(None),
            Waiting::For(limit) => limit,
            Waiting::AsSet => {
                if flow.flags().or_raise(py, Doing::Io)?.contains(flag) {
                    return Err(raise(py, ErrorKind::WouldBlock, Doing::Io, refusal));
                }
                limit(flow).or_raise(py, Doing::Io)?
            }
        };
        Ok(Some(limit.map(|limit| Instant::now() + limit)))
    }

    fn read_deadline(
        py: Python<'_>,
        flow: &o7s::Flow,
        waiting: Waiting,
    ) -> PyResult<Option<Option<Instant>>> {
        let refusal = "nothing to read, and the flow does not wait (NonBlockingRead)";
        let refusal = (FlowFlags::NON_BLOCKING_READ, refusal);
        Self::deadline(py, flow, waiting, o7s::Flow::read_timeout, refusal)
    }

    fn write_deadline(
        py: Python<'_>,
        flow: &o7s::Flow,
        waiting: Waiting,
    ) -> PyResult<Option<Option<Instant>>> {
        let refusal =
            "the other end has not read enough, and the flow does not wait (NonBlockingWrite)";
        let refusal = (FlowFlags::NON_BLOCKING_WRITE, refusal);
        Self::deadline(py, flow, waiting, o7s::Flow::write_timeout, refusal)
    }

    /// One attempt with the GIL held, which takes less time than giving it away; then waits.
    /// None if it would have to wait and must not.
    #[inline]
    pub(crate) fn read_with<T>(
        &self,
        py: Python<'_>,
        waiting: Waiting,
        mut attempt: impl FnMut(&o7s::Flow) -> o7s::Result<T>,
    ) -> PyResult<Option<T>> {
        let flow = self.open(py)?;
        match attempt(&flow) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome.or_raise(py, Doing::Io).map(Some),
        }
        let Some(deadline) = Self::read_deadline(py, &flow, waiting)? else {
            return Ok(None);
        };
        loop {
            wait::until(py, deadline, Doing::Io, |until| {
                flow.wait_readable(Some(until))
            })?;
            match attempt(&flow) {
                // Another thread was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome.or_raise(py, Doing::Io).map(Some),
            }
        }
    }

    /// Whether a read would not wait, within a time limit.
    pub(crate) fn poll_for(&self, py: Python<'_>, limit: Option<Duration>) -> PyResult<bool> {
        let flow = self.open(py)?;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let waited = wait::until(py, deadline, Doing::Io, |until| {
            flow.wait_readable(Some(until))
        });
        match waited {
            Ok(()) => Ok(true),
            Err(error) if error.is_instance_of::<PyTimeoutError>(py) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for a packet and takes it as a view.
    pub(crate) fn view_packet(&self, py: Python<'_>) -> PyResult<o7s::PacketView> {
        let view = self.read_with(py, Waiting::AsSet, o7s::Flow::try_view_packet)?;
        view.ok_or_else(|| no_outcome(py))
    }

    /// [`Flow::read`] of Python.
    pub(crate) fn read_bytes<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
        waiting: Waiting,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match argument::count(count)? {
            None => {
                let packet = self.read_with(py, waiting, o7s::Flow::try_read_packet)?;
                Ok(packet.map(|packet| PyBytes::new(py, &packet)))
            }
            Some(count) => self.read_part(py, count, waiting),
        }
    }

    /// Reads at most `count` bytes.
    fn read_part<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        waiting: Waiting,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        // One byte more than the largest packet: a larger buffer would never be filled.
        let most = self.ask(py, o7s::Flow::max_packet)?.saturating_add(1);
        let count = count.min(most);
        let run = |buffer: &mut [u8]| {
            let length = self.read_with(py, waiting, |flow| flow.try_read(buffer))?;
            Ok(length.map(|length| PyBytes::new(py, &buffer[..length])))
        };
        if count > SCRATCH_MAX {
            return run(&mut vec![0; count]);
        }
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => {
                if scratch.len() < count {
                    scratch.resize(count, 0);
                }
                run(&mut scratch[..count])
            }
            // A signal handler reads while the read that it interrupted holds the memory.
            Err(_) => run(&mut vec![0; count]),
        })
    }

    /// [`Flow::readline`] of Python.
    pub(crate) fn read_text<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
        waiting: Waiting,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let count = argument::count(count)?;
        let Some(packet) = self.read_with(py, waiting, o7s::Flow::try_read_packet)? else {
            return Ok(None);
        };
        let Ok(text) = std::str::from_utf8(&packet) else {
            self.ask(py, |flow| flow.unread(&packet))?;
            // Python's own decoder makes the exception.
            let text = PyBytes::new(py, &packet).call_method1("decode", ("utf-8",))?;
            return Ok(Some(text.cast_into()?));
        };
        let end = count.and_then(|count| text.char_indices().nth(count));
        let (Some(count), Some((end, _))) = (count, end) else {
            return Ok(Some(PyString::new(py, text)));
        };
        let flags = self.ask(py, o7s::Flow::flags)?;
        if flags.contains(FlowFlags::NO_PARTIAL_READ) {
            return Err(raise(
                py,
                ErrorKind::MessageSize,
                Doing::Io,
                format!(
                    "the packet has more than {count} characters and the flow does not read in \
                     parts (NoPartialRead); the packet is dropped"
                ),
            ));
        }
        self.ask(py, |flow| flow.unread(&packet[end..]))?;
        Ok(Some(PyString::new(py, &text[..end])))
    }

    /// [`Flow::read_into`] of Python.
    pub(crate) fn fill_buffer(
        &self,
        py: Python<'_>,
        object: &Bound<'_, PyAny>,
        nbytes: i64,
        waiting: Waiting,
    ) -> PyResult<Option<usize>> {
        let nbytes = usize::try_from(nbytes)
            .map_err(|_| PyValueError::new_err("nbytes must not be negative"))?;
        let mut buffer = Buffer::writable(object)?;
        let room = buffer.len();
        if nbytes > room {
            return Err(PyValueError::new_err(format!(
                "the buffer has {room} bytes, fewer than nbytes ({nbytes})"
            )));
        }
        let count = if nbytes == 0 { room } else { nbytes };
        self.read_with(py, waiting, |flow| {
            let bytes = buffer.bytes_mut();
            let count = count.min(bytes.len());
            flow.try_read(&mut bytes[..count])
        })
    }

    /// Up to `max` packets: waits for the first, and takes what else is there.
    pub(crate) fn read_list<'py>(
        &self,
        py: Python<'py>,
        max: usize,
        waiting: Waiting,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        if max == 0 {
            return Err(PyValueError::new_err("max must be at least 1"));
        }
        let run = |bytes: &mut Vec<u8>, lengths: &mut Vec<usize>| {
            bytes.clear();
            lengths.clear();
            let read = self.read_with(py, waiting, |flow| {
                flow.try_read_appended(max, bytes, lengths)
            })?;
            if read.is_none() {
                return Ok(None);
            }
            let mut rest = &**bytes;
            let packets = lengths.iter().map(|length| {
                let (packet, after) = rest.split_at(*length);
                rest = after;
                PyBytes::new(py, packet)
            });
            let packets = PyList::new(py, packets)?;
            if bytes.capacity() > 4 * SCRATCH_MAX {
                *bytes = Vec::new();
            }
            Ok(Some(packets))
        };
        SCRATCH.with(|bytes| {
            LENGTHS.with(
                |lengths| match (bytes.try_borrow_mut(), lengths.try_borrow_mut()) {
                    (Ok(mut bytes), Ok(mut lengths)) => run(&mut bytes, &mut lengths),
                    _ => run(&mut Vec::new(), &mut Vec::new()),
                },
            )
        })
    }

    /// Writes one packet.
    #[inline]
    pub(crate) fn write_bytes(
        &self,
        py: Python<'_>,
        bytes: &[u8],
        waiting: Waiting,
    ) -> PyResult<Option<usize>> {
        let flow = self.open(py)?;
        match flow.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome.or_raise(py, Doing::Io).map(Some),
        }
        let Some(deadline) = Self::write_deadline(py, &flow, waiting)? else {
            return Ok(None);
        };
        loop {
            wait::until(py, deadline, Doing::Io, |until| {
                flow.wait_writable(bytes.len(), Some(until))
            })?;
            match flow.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome.or_raise(py, Doing::Io).map(Some),
            }
        }
    }

    /// [`Flow::write`] of Python.
    pub(crate) fn write_object(
        &self,
        py: Python<'_>,
        object: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
        waiting: Waiting,
    ) -> PyResult<Option<usize>> {
        let count = argument::count(count)?;
        let first = |bytes: &[u8]| count.map_or(bytes.len(), |count| count.min(bytes.len()));
        if let Ok(bytes) = object.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return self.write_bytes(py, &bytes[..first(bytes)], waiting);
        }
        let buffer = Buffer::readable(object)?;
        let bytes = buffer.bytes();
        self.write_bytes(py, &bytes[..first(bytes)], waiting)
    }

    /// [`Flow::writeline`] of Python.
    pub(crate) fn write_text(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyString>,
        count: Option<&Bound<'_, PyAny>>,
        waiting: Waiting,
    ) -> PyResult<Option<usize>> {
        let count = argument::count(count)?;
        let text = text.to_cow()?;
        let end = count
            .and_then(|count| text.char_indices().nth(count))
            .map_or(text.len(), |(end, _)| end);
        self.write_bytes(py, &text.as_bytes()[..end], waiting)
    }

    /// Writes the packets from `start` on and returns how many were accepted. The error of the
    /// first that was not is raised only if none was.
    pub(crate) fn write_tuple(
        &self,
        py: Python<'_>,
        packets: &Bound<'_, PyTuple>,
        start: usize,
        waiting: Waiting,
    ) -> PyResult<usize> {
        let held: Vec<Held<'_>> = packets
            .iter()
            .skip(start)
            .map(Held::of)
            .collect::<PyResult<_>>()?;
        let flow = self.open(py)?;
        let (mut sent, mut failed) = send(&flow, &held);
        let mut deadline = None;
        loop {
            let error = match failed {
                None => return Ok(sent),
                Some(error) if error.kind() != ErrorKind::WouldBlock => {
                    if sent > 0 {
                        return Ok(sent);
                    }
                    return Err(error).or_raise(py, Doing::Io);
                }
                Some(error) => error,
            };
            let deadline = match deadline {
                Some(deadline) => deadline,
                None => match Self::write_deadline(py, &flow, waiting) {
                    Ok(Some(limit)) => *deadline.insert(limit),
                    Ok(None) => return Ok(sent),
                    Err(_) if sent > 0 => return Ok(sent),
                    Err(error) => return Err(error),
                },
            };
            drop(error);
            let next = held[sent].as_ref().len();
            let waited = wait::until(py, deadline, Doing::Io, |until| {
                flow.wait_writable(next, Some(until))
            });
            match waited {
                Err(error) if sent > 0 && error.is_instance_of::<PyTimeoutError>(py) => {
                    return Ok(sent);
                }
                waited => waited?,
            }
            let (more, again) = send(&flow, &held[sent..]);
            sent += more;
            failed = again;
        }
    }
}

/// A packet to write.
enum Held<'py> {
    Bytes(Bound<'py, PyBytes>),
    Buffer(Buffer<'py>),
}

impl<'py> Held<'py> {
    fn of(object: Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast_into::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(other) => Buffer::readable(&other.into_inner()).map(Self::Buffer),
        }
    }
}

impl AsRef<[u8]> for Held<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Buffer(buffer) => buffer.bytes(),
        }
    }
}

/// One attempt to write all. An empty packet is a sign of life, as for a single write.
fn send(flow: &o7s::Flow, packets: &[Held<'_>]) -> (usize, Option<o7s::Error>) {
    let mut sent = 0;
    while sent < packets.len() {
        let rest = &packets[sent..];
        let run = rest
            .iter()
            .position(|packet| packet.as_ref().is_empty())
            .unwrap_or(rest.len());
        let (accepted, failed) = if run == 0 {
            match flow.try_write(&[]) {
                Ok(_) => (1, None),
                Err(error) => (0, Some(error)),
            }
        } else {
            flow.try_write_packets(&rest[..run])
        };
        sent += accepted;
        if failed.is_some() {
            return (sent, failed);
        }
    }
    (sent, None)
}

/// For calls that wait: they have an outcome or an exception.
pub(crate) fn no_outcome(py: Python<'_>) -> PyErr {
    raise(
        py,
        ErrorKind::WouldBlock,
        Doing::Io,
        "the call would have to wait",
    )
}
