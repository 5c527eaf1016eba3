//! `Flow`: allocation, reading, writing and control of one flow.

use std::{
    cell::RefCell,
    os::fd::AsRawFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use o7s::{ErrorKind, FlowFlags, FlowState, FrctFlags, Node};
use pyo3::{
    exceptions::{PyBufferError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyMemoryView, PySlice, PyString},
};

use crate::{
    argument::{self, LONGEST, QosFields},
    error::{Doing, OrRaise, raise},
    wait,
};

/// How much longer than the time limit the answer to an allocation is awaited: the daemon keeps
/// the limit and its answer says more.
const ANSWER_GRACE: Duration = Duration::from_millis(200);

/// Reads of at most this many bytes use memory that the thread keeps.
const SCRATCH_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A flow: messages to and from a program that was found by its name.
#[pyclass(frozen, subclass, weakref, module = "ouroboros._native")]
pub(crate) struct Flow {
    /// None while not allocated.
    flow: Mutex<Option<o7s::Flow>>,
}

impl Flow {
    fn slot(&self) -> MutexGuard<'_, Option<o7s::Flow>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow, if it is allocated or pending.
    pub(crate) fn handle(&self) -> Option<o7s::Flow> {
        self.slot().clone()
    }

    /// Whether `flow` is what this object stands for now.
    pub(crate) fn is(&self, flow: &o7s::Flow) -> bool {
        self.slot().as_ref() == Some(flow)
    }

    #[inline]
    fn open(&self, py: Python<'_>) -> PyResult<o7s::Flow> {
        match &*self.slot() {
            Some(flow) => Ok(flow.clone()),
            None => Err(not_allocated(py)),
        }
    }

    fn ask<T>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&o7s::Flow) -> o7s::Result<T>,
    ) -> PyResult<T> {
        question(&self.open(py)?).or_raise(py, Doing::Io)
    }

    fn check_free(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.slot() {
            None => Ok(()),
            Some(flow) if flow.state() == FlowState::Deallocated => Ok(()),
            Some(flow) => Err(allocated(py, flow)),
        }
    }

    fn fill(&self, py: Python<'_>, flow: o7s::Flow) -> PyResult<()> {
        let mut slot = self.slot();
        match &*slot {
            Some(other) if other.state() != FlowState::Deallocated => {
                // Two threads allocated the same object at once: the second one gives up.
                let error = allocated(py, other);
                drop(slot);
                let _ = py.detach(|| flow.dealloc());
                Err(error)
            }
            _ => {
                *slot = Some(flow);
                Ok(())
            }
        }
    }

    /// Runs a request for a flow. With a time limit of zero and `may_pend` it is not waited for:
    /// the flow is pending then, and the result none.
    fn request(
        &self,
        py: Python<'_>,
        limit: Option<Duration>,
        may_pend: bool,
        start: impl FnOnce(&Node, Option<Duration>) -> o7s::Result<o7s::Pending> + Send,
    ) -> PyResult<Option<QosFields>> {
        self.check_free(py)?;
        let doing = if limit.is_some() {
            Doing::Alloc
        } else {
            Doing::AllocUnlimited
        };
        let pend = may_pend && limit == Some(Duration::ZERO);
        let deadline = limit.map(|limit| Instant::now() + limit + ANSWER_GRACE);
        let mut request = py
            .detach(|| start(&Node::current(), if pend { None } else { limit }))
            .or_raise(py, doing)?;
        let flow = if pend {
            match request.try_finish().or_raise(py, doing)? {
                Some(flow) => flow,
                None => {
                    let flow = o7s::Flow::pending(request).or_raise(py, doing)?;
                    self.fill(py, flow)?;
                    return Ok(None);
                }
            }
        } else {
            wait::until(py, deadline, doing, |until| {
                match request.wait(Some(until)) {
                    // Its time limit is the answer, not the end of this attempt.
                    Err(error) if !request.is_under_way() => Ok(Err(error)),
                    outcome => outcome.map(Ok),
                }
            })?
            .or_raise(py, doing)?
        };
        let qos = flow.qos().or_raise(py, doing)?;
        self.fill(py, flow)?;
        Ok(Some(argument::qos_fields(qos)))
    }

    /// One attempt with the GIL held, which takes less time than giving it away; then waits.
    #[inline]
    fn read_with<T>(
        &self,
        py: Python<'_>,
        mut attempt: impl FnMut(&o7s::Flow) -> o7s::Result<T>,
    ) -> PyResult<T> {
        let flow = self.open(py)?;
        match attempt(&flow) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome.or_raise(py, Doing::Io),
        }
        let flags = flow.flags().or_raise(py, Doing::Io)?;
        let limit = flow.read_timeout().or_raise(py, Doing::Io)?;
        if flags.contains(FlowFlags::NON_BLOCKING_READ) {
            return Err(raise(
                py,
                ErrorKind::WouldBlock,
                Doing::Io,
                "nothing to read, and the flow does not wait (NonBlockingRead)",
            ));
        }
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            wait::until(py, deadline, Doing::Io, |until| {
                flow.wait_readable(Some(until))
            })?;
            match attempt(&flow) {
                // Another thread was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome.or_raise(py, Doing::Io),
            }
        }
    }

    #[inline]
    fn write_bytes(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<usize> {
        let flow = self.open(py)?;
        match flow.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome.or_raise(py, Doing::Io),
        }
        let flags = flow.flags().or_raise(py, Doing::Io)?;
        let limit = flow.write_timeout().or_raise(py, Doing::Io)?;
        if flags.contains(FlowFlags::NON_BLOCKING_WRITE) {
            return Err(raise(
                py,
                ErrorKind::WouldBlock,
                Doing::Io,
                "the other end has not read enough, and the flow does not wait (NonBlockingWrite)",
            ));
        }
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            wait::until(py, deadline, Doing::Io, |until| {
                flow.wait_writable(bytes.len(), Some(until))
            })?;
            match flow.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome.or_raise(py, Doing::Io),
            }
        }
    }

    /// Reads at most `count` bytes and passes them to `take`.
    fn read_part<T>(
        &self,
        py: Python<'_>,
        count: usize,
        take: impl Fn(&[u8]) -> PyResult<T>,
    ) -> PyResult<T> {
        // One byte more than the largest packet: a larger buffer would never be filled.
        let most = self.ask(py, o7s::Flow::max_packet)?.saturating_add(1);
        let count = count.min(most);
        let run = |buffer: &mut [u8]| {
            let length = self.read_with(py, |flow| flow.try_read(buffer))?;
            take(&buffer[..length])
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
}

fn not_allocated(py: Python<'_>) -> PyErr {
    raise(
        py,
        ErrorKind::NotAllocated,
        Doing::Io,
        "the flow is not allocated; call alloc(), accept() or join() first",
    )
}

fn allocated(py: Python<'_>, flow: &o7s::Flow) -> PyErr {
    raise(
        py,
        ErrorKind::Allocated,
        Doing::Alloc,
        format!(
            "the flow is allocated already (to {:?}); call dealloc() first",
            flow.name()
        ),
    )
}

fn seconds(limit: Option<Duration>) -> Option<f64> {
    limit.map(|limit| limit.as_secs_f64())
}

/// A time limit of a flow: more than [`LONGEST`] is none.
fn flow_limit(limit: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    Ok(argument::timeout(limit)?.filter(|limit| *limit < LONGEST))
}

#[pymethods]
impl Flow {
    #[new]
    fn new() -> Self {
        Self {
            flow: Mutex::new(None),
        }
    }

    #[pyo3(signature = (dst, qos, timeo=None))]
    fn _alloc(
        &self,
        py: Python<'_>,
        dst: &Bound<'_, PyString>,
        qos: QosFields,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<QosFields>> {
        let (dst, qos) = (argument::name(dst)?, argument::qos(qos));
        self.request(py, argument::timeout(timeo)?, true, |node, limit| {
            node.start_alloc(&dst, qos, limit)
        })
    }

    #[pyo3(signature = (timeo=None))]
    fn _accept(
        &self,
        py: Python<'_>,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<QosFields>> {
        self.request(py, argument::timeout(timeo)?, false, |node, limit| {
            node.start_accept(limit)
        })
    }

    #[pyo3(signature = (dst, timeo=None))]
    fn _join(
        &self,
        py: Python<'_>,
        dst: &Bound<'_, PyString>,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<QosFields>> {
        let dst = argument::name(dst)?;
        self.request(py, argument::timeout(timeo)?, true, |node, limit| {
            node.start_join(&dst, limit)
        })
    }

    /// Deallocates; the object is free for another flow in every case.
    fn _dealloc(&self, py: Python<'_>) -> PyResult<()> {
        let flow = self.slot().take();
        match flow {
            Some(flow) => py
                .detach(|| {
                    // Dropped without the GIL, too: it tells the daemon.
                    let flow = flow;
                    flow.dealloc()
                })
                .or_raise(py, Doing::Io),
            None => Err(not_allocated(py)),
        }
    }

    /// Reads one packet.
    ///
    /// Without *count*: the whole packet, of any size, or what is left of one that was read in
    /// part. With it: at most *count* bytes; the rest of the packet is returned by the next reads,
    /// and after a read that was filled exactly by the end of a packet one read returns b"".
    #[pyo3(signature = (count=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match argument::count(count)? {
            None => {
                let packet = self.read_with(py, o7s::Flow::try_read_packet)?;
                Ok(PyBytes::new(py, &packet))
            }
            Some(count) => self.read_part(py, count, |bytes| Ok(PyBytes::new(py, bytes))),
        }
    }

    /// Reads one packet as UTF-8 text. No newline is searched, added or stripped.
    ///
    /// With *count*: at most that many characters; the rest of the packet is returned by the next
    /// read. A packet that is not UTF-8 raises UnicodeDecodeError and stays readable by read().
    #[pyo3(signature = (count=None))]
    fn readline<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let count = argument::count(count)?;
        let packet = self.read_with(py, o7s::Flow::try_read_packet)?;
        let Ok(text) = std::str::from_utf8(&packet) else {
            self.ask(py, |flow| flow.unread(&packet))?;
            // Python's own decoder makes the exception.
            let text = PyBytes::new(py, &packet).call_method1("decode", ("utf-8",))?;
            return Ok(text.cast_into()?);
        };
        let Some(count) = count else {
            return Ok(PyString::new(py, text));
        };
        let Some((end, _)) = text.char_indices().nth(count) else {
            return Ok(PyString::new(py, text));
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
        Ok(PyString::new(py, &text[..end]))
    }

    /// Reads into a writable buffer like read(count), at most *nbytes* bytes (0 = as many as fit),
    /// and returns the number of bytes read.
    #[pyo3(signature = (buffer, nbytes=0))]
    fn read_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, nbytes: i64) -> PyResult<usize> {
        let nbytes = usize::try_from(nbytes)
            .map_err(|_| PyValueError::new_err("nbytes must not be negative"))?;
        let view = PyMemoryView::from(buffer)?;
        if view.getattr("readonly")?.extract::<bool>()? {
            return Err(PyBufferError::new_err("the buffer is read-only"));
        }
        let view = view.call_method1("cast", ("B",))?;
        let room = view.len()?;
        if nbytes > room {
            return Err(PyValueError::new_err(format!(
                "the buffer has {room} bytes, fewer than nbytes ({nbytes})"
            )));
        }
        let count = if nbytes == 0 { room } else { nbytes };
        self.read_part(py, count, |bytes| {
            let end = isize::try_from(bytes.len()).unwrap_or(isize::MAX);
            view.set_item(PySlice::new(py, 0, end, 1), PyByteArray::new(py, bytes))?;
            Ok(bytes.len())
        })
    }

    /// Writes one packet of at most *count* bytes of a bytes-like object and returns its length.
    #[pyo3(signature = (buf, count=None))]
    fn write(
        &self,
        py: Python<'_>,
        buf: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let count = argument::count(count)?;
        argument::with_bytes(buf, count, |bytes| self.write_bytes(py, bytes))
    }

    /// Writes the first *count* characters of a text as one UTF-8 packet, no newline added, and
    /// returns the number of bytes written.
    #[pyo3(signature = (ln, count=None))]
    fn writeline(
        &self,
        py: Python<'_>,
        ln: &Bound<'_, PyString>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let count = argument::count(count)?;
        let text = ln.to_cow()?;
        let end = count
            .and_then(|count| text.char_indices().nth(count))
            .map_or(text.len(), |(end, _)| end);
        self.write_bytes(py, &text.as_bytes()[..end])
    }

    /// Sets the time limit of writes in seconds; None = wait for ever, 0 = do not wait.
    fn set_snd_timeout(&self, py: Python<'_>, timeo: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = flow_limit(timeo)?;
        self.ask(py, |flow| flow.set_write_timeout(limit))
    }

    /// The time limit of writes in seconds, or None.
    fn get_snd_timeout(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        self.ask(py, o7s::Flow::write_timeout).map(seconds)
    }

    /// Sets the time limit of reads in seconds; None = wait for ever, 0 = do not wait.
    fn set_rcv_timeout(&self, py: Python<'_>, timeo: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = flow_limit(timeo)?;
        self.ask(py, |flow| flow.set_read_timeout(limit))
    }

    /// The time limit of reads in seconds, or None.
    fn get_rcv_timeout(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        self.ask(py, o7s::Flow::read_timeout).map(seconds)
    }

    fn _qos(&self, py: Python<'_>) -> PyResult<QosFields> {
        self.ask(py, o7s::Flow::qos).map(argument::qos_fields)
    }

    /// The number of packets that wait to be read here.
    fn get_rx_queue_len(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, o7s::Flow::rx_queue_len)
    }

    /// The number of written packets that the other end has not read.
    fn get_tx_queue_len(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, o7s::Flow::tx_queue_len)
    }

    fn _set_flags(&self, py: Python<'_>, flags: u32) -> PyResult<()> {
        self.ask(py, |flow| flow.set_flags(FlowFlags(flags)))
    }

    fn _flags(&self, py: Python<'_>) -> PyResult<u32> {
        self.ask(py, o7s::Flow::flags).map(|flags| flags.0)
    }

    /// Sets FRCT_RESCNTL and FRCT_LINGER as given; FRCT_RETRANSMIT comes from the QoS only.
    fn set_frct_flags(&self, py: Python<'_>, flags: u16) -> PyResult<()> {
        self.ask(py, |flow| flow.set_frct_flags(FrctFlags(flags)))
    }

    /// The FRCT flags.
    fn get_frct_flags(&self, py: Python<'_>) -> PyResult<u16> {
        self.ask(py, o7s::Flow::frct_flags).map(|flags| flags.0)
    }

    /// An operating system descriptor that is readable while read() would not block, for select,
    /// selectors and asyncio. It belongs to the flow: do not read, write or close it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.ask(py, |flow| flow.fileno().map(|fd| fd.as_raw_fd()))
    }

    /// The flow descriptor: a small number from 64, not one of the operating system; -1 while
    /// not allocated.
    #[getter]
    fn fd(&self) -> i32 {
        self.handle().map_or(-1, |flow| flow.fd())
    }

    /// The name that the flow was allocated to, or None while not allocated.
    #[getter]
    fn name(&self) -> Option<String> {
        self.handle().map(|flow| flow.name().to_owned())
    }

    /// 'unallocated', 'pending', 'allocated', 'down' or 'peer gone'.
    #[getter]
    fn state(&self) -> &'static str {
        match self.handle().map(|flow| flow.state()) {
            None | Some(FlowState::Deallocated) => "unallocated",
            Some(FlowState::Pending) => "pending",
            Some(FlowState::Allocated) => "allocated",
            Some(FlowState::Down) => "down",
            Some(FlowState::PeerGone) => "peer gone",
        }
    }

    /// Process id of the other end, if it is on this machine.
    #[getter]
    fn peer_pid(&self, py: Python<'_>) -> PyResult<i32> {
        self.ask(py, |flow| Ok(flow.peer_pid()))
    }

    /// The largest packet in bytes that write() takes.
    #[getter]
    fn max_packet(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, o7s::Flow::max_packet)
    }

    fn _stats(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, usize, usize)> {
        let stats = self.ask(py, |flow| Ok(flow.stats()))?;
        Ok((
            stats.packets_read,
            stats.bytes_read,
            stats.packets_written,
            stats.bytes_written,
            stats.rx_queue,
            stats.tx_queue,
        ))
    }
}
