//! `Flow`: allocation, reading, writing and control of one flow.

use std::{
    os::fd::AsRawFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use o7s::{ErrorKind, FlowFlags, FlowState, FrctFlags, Node};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use crate::{
    argument::{self, LONGEST, QosFields},
    buffer,
    error::{Doing, OrRaise, raise},
    io::{Waiting, no_outcome},
    wait,
};

/// How much longer than the time limit the answer to an allocation is awaited: the daemon keeps
/// the limit and its answer says more.
const ANSWER_GRACE: Duration = Duration::from_millis(200);

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
    pub(crate) fn open(&self, py: Python<'_>) -> PyResult<o7s::Flow> {
        match &*self.slot() {
            Some(flow) => Ok(flow.clone()),
            None => Err(not_allocated(py)),
        }
    }

    pub(crate) fn ask<T>(
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

    /// Makes this object stand for `flow`.
    pub(crate) fn fill(&self, py: Python<'_>, flow: o7s::Flow) -> PyResult<()> {
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
}

/// The time limit of `poll`, for which no argument is not the same as None.
enum Poll<'py> {
    Now,
    Within(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Poll<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Within(object.to_owned()))
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

    #[pyo3(signature = (dst, qos, timeo=None, kex=""))]
    fn _alloc(
        &self,
        py: Python<'_>,
        dst: &Bound<'_, PyString>,
        qos: QosFields,
        timeo: Option<&Bound<'_, PyAny>>,
        kex: &str,
    ) -> PyResult<Option<QosFields>> {
        let (dst, qos) = (argument::name(dst)?, argument::qos(qos));
        self.request(py, argument::timeout(timeo)?, true, |node, limit| {
            node.start_alloc_with(&dst, qos, limit, kex)
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

    /// Deallocates; the object is free for another flow in every case. Waits, if *wait*, until the
    /// other end has what was written.
    #[pyo3(signature = (wait=true))]
    fn _dealloc(&self, py: Python<'_>, wait: bool) -> PyResult<()> {
        let Some(flow) = self.slot().take() else {
            return Err(not_allocated(py));
        };
        // A signal handler that raises (Ctrl-C) ends the waiting, and so does another dealloc.
        let lingered = if wait && flow.state() == FlowState::Allocated {
            wait::until(py, None, Doing::Io, |until| {
                match flow.linger(Some(until)) {
                    Err(error) if error.kind() == ErrorKind::NotAllocated => Ok(()),
                    outcome => outcome,
                }
            })
        } else {
            Ok(())
        };
        let ended = py.detach(|| {
            // Dropped without the GIL, too: it tells the daemon.
            let flow = flow;
            flow.start_dealloc()
        });
        lingered?;
        ended.or_raise(py, Doing::Io)
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
        let packet = self.read_bytes(py, count, Waiting::AsSet)?;
        packet.ok_or_else(|| no_outcome(py))
    }

    #[pyo3(signature = (count=None))]
    fn _try_read<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.read_bytes(py, count, Waiting::No)
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
        let text = self.read_text(py, count, Waiting::AsSet)?;
        text.ok_or_else(|| no_outcome(py))
    }

    #[pyo3(signature = (count=None))]
    fn _try_readline<'py>(
        &self,
        py: Python<'py>,
        count: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        self.read_text(py, count, Waiting::No)
    }

    /// Reads into a writable buffer like read(count), at most *nbytes* bytes (0 = as many as fit),
    /// and returns the number of bytes read.
    #[pyo3(signature = (buffer, nbytes=0))]
    fn read_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, nbytes: i64) -> PyResult<usize> {
        let length = self.fill_buffer(py, buffer, nbytes, Waiting::AsSet)?;
        length.ok_or_else(|| no_outcome(py))
    }

    #[pyo3(signature = (buffer, nbytes=0))]
    fn _try_read_into(
        &self,
        py: Python<'_>,
        buffer: &Bound<'_, PyAny>,
        nbytes: i64,
    ) -> PyResult<Option<usize>> {
        self.fill_buffer(py, buffer, nbytes, Waiting::No)
    }

    /// Reads up to *max* packets: waits for the first like read() and takes those that are there.
    ///
    /// *timeo*: seconds for this call, 0 = do not wait; None = as set for the flow.
    #[pyo3(signature = (max, timeo=None))]
    fn read_many<'py>(
        &self,
        py: Python<'py>,
        max: usize,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let waiting = match argument::timeout(timeo)? {
            None => Waiting::AsSet,
            limit => Waiting::For(limit),
        };
        let packets = self.read_list(py, max, waiting)?;
        packets.ok_or_else(|| no_outcome(py))
    }

    fn _try_read_many<'py>(
        &self,
        py: Python<'py>,
        max: usize,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        self.read_list(py, max, Waiting::No)
    }

    /// The next packet where it lies in the flow: an object to make a memoryview of.
    fn _packet<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        buffer::packet(slf)
    }

    /// Whether a read would not wait, now (0) or within *timeout* seconds (None = for ever).
    #[pyo3(signature = (timeout=Poll::Now), text_signature = "($self, timeout=0.0)")]
    fn poll(&self, py: Python<'_>, timeout: Poll<'_>) -> PyResult<bool> {
        let limit = match timeout {
            Poll::Now => Some(Duration::ZERO),
            Poll::Within(limit) => argument::timeout((!limit.is_none()).then_some(&limit))?,
        };
        self.poll_for(py, limit)
    }

    /// Writes one packet of at most *count* bytes of a bytes-like object and returns its length.
    #[pyo3(signature = (buf, count=None))]
    fn write(
        &self,
        py: Python<'_>,
        buf: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let length = self.write_object(py, buf, count, Waiting::AsSet)?;
        length.ok_or_else(|| no_outcome(py))
    }

    #[pyo3(signature = (buf, count=None))]
    fn _try_write(
        &self,
        py: Python<'_>,
        buf: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<usize>> {
        self.write_object(py, buf, count, Waiting::No)
    }

    /// Writes the first *count* characters of a text as one UTF-8 packet, no newline added, and
    /// returns the number of bytes written.
    #[pyo3(signature = (ln, count=None))]
    fn writeline(
        &self,
        py: Python<'_>,
        ln: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let text = argument::text(ln)?;
        let length = self.write_text(py, text, count, Waiting::AsSet)?;
        length.ok_or_else(|| no_outcome(py))
    }

    /// Writes packets, one for each bytes-like object, and returns how many were accepted.
    ///
    /// Waits like write() until all are. When that ends early (a time limit, no waiting, the end
    /// of the flow) the result is less than was given; an exception is raised only if none was
    /// accepted.
    fn write_many(&self, py: Python<'_>, packets: &Bound<'_, PyAny>) -> PyResult<usize> {
        let packets = argument::packets(packets)?;
        self.write_tuple(py, &packets, 0, Waiting::AsSet)
    }

    #[pyo3(signature = (packets, start=0))]
    fn _try_write_many(
        &self,
        py: Python<'_>,
        packets: &Bound<'_, PyTuple>,
        start: usize,
    ) -> PyResult<usize> {
        self.write_tuple(py, packets, start, Waiting::No)
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

    /// The name in the certificate with which the other end proved who it is, or None.
    #[getter]
    fn peer_name(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let name = self.ask(py, |flow| Ok(flow.peer_name()?.to_owned()))?;
        Ok((!name.is_empty()).then_some(name))
    }

    fn _stats(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, usize, usize, u64)> {
        let stats = self.ask(py, |flow| Ok(flow.stats()))?;
        Ok((
            stats.packets_read,
            stats.bytes_read,
            stats.packets_written,
            stats.bytes_written,
            stats.rx_queue,
            stats.tx_queue,
            stats.packets_discarded,
        ))
    }
}
