//! What `ouroboros.aio` is made of: reactors, and requests for flows that are under way.

use std::{
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use o7s::{ErrorKind, Node};
use pyo3::{prelude::*, types::PyString};

use crate::{
    argument::{self, QosFields},
    error::{Doing, OrRaise, raise},
    flow::Flow,
};

/// Which flows an event loop should try again.
#[pyclass(frozen, module = "ouroboros._native")]
pub(crate) struct Reactor {
    reactor: o7s::Reactor,
}

#[pymethods]
impl Reactor {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let reactor = o7s::Reactor::new().or_raise(py, Doing::Set)?;
        Ok(Self { reactor })
    }

    /// The descriptors to watch for reading: call take() when one is readable.
    fn filenos(&self) -> (i32, i32) {
        let [bells, own] = self.reactor.descriptors();
        (bells.as_raw_fd(), own.as_raw_fd())
    }

    /// Prepares to watch a flow, which take() will call *token*.
    fn watch(&self, py: Python<'_>, flow: &Bound<'_, Flow>, token: u64) -> PyResult<Watch> {
        let flow = flow.get().open(py)?;
        let watch = self.reactor.watch(&flow, token).or_raise(py, Doing::Io)?;
        Ok(Watch { watch })
    }

    /// The tokens of the flows to try again. Never waits.
    fn take(&self) -> Vec<u64> {
        self.reactor.take()
    }
}

/// A flow that a reactor may watch.
#[pyclass(frozen, module = "ouroboros._native")]
pub(crate) struct Watch {
    watch: o7s::Watch,
}

#[pymethods]
impl Watch {
    /// Whether a read would not wait; if not, the reactor tells when to try again.
    fn readable(&self, py: Python<'_>) -> PyResult<bool> {
        self.watch.readable().or_raise(py, Doing::Io)
    }

    /// The same for a write of *length* bytes.
    fn writable(&self, py: Python<'_>, length: usize) -> PyResult<bool> {
        self.watch.writable(length).or_raise(py, Doing::Io)
    }
}

/// A request for a flow that is under way.
#[pyclass(frozen, module = "ouroboros._native")]
pub(crate) struct Request {
    pending: Mutex<Option<o7s::Pending>>,
    doing: Doing,
}

impl Request {
    fn start(
        py: Python<'_>,
        timeo: Option<&Bound<'_, PyAny>>,
        start: impl FnOnce(&Node, Option<Duration>) -> o7s::Result<o7s::Pending> + Send,
    ) -> PyResult<Self> {
        let limit = argument::timeout(timeo)?;
        let doing = if limit.is_some() {
            Doing::Alloc
        } else {
            Doing::AllocUnlimited
        };
        let pending = py
            .detach(|| start(&Node::current(), limit))
            .or_raise(py, doing)?;
        Ok(Self {
            pending: Mutex::new(Some(pending)),
            doing,
        })
    }
}

#[pymethods]
impl Request {
    /// Asks for a flow to a name.
    #[staticmethod]
    #[pyo3(signature = (dst, qos, timeo=None, kex=""))]
    fn alloc(
        py: Python<'_>,
        dst: &Bound<'_, PyString>,
        qos: QosFields,
        timeo: Option<&Bound<'_, PyAny>>,
        kex: &str,
    ) -> PyResult<Self> {
        let (dst, qos) = (argument::name(dst)?, argument::qos(qos));
        Self::start(py, timeo, |node, limit| {
            node.start_alloc_with(&dst, qos, limit, kex)
        })
    }

    /// Asks for the next flow to a name of this process.
    #[staticmethod]
    #[pyo3(signature = (timeo=None))]
    fn accept(py: Python<'_>, timeo: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Self::start(py, timeo, Node::start_accept)
    }

    /// Asks for a flow of a broadcast layer.
    #[staticmethod]
    #[pyo3(signature = (dst, timeo=None))]
    fn join(
        py: Python<'_>,
        dst: &Bound<'_, PyString>,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let dst = argument::name(dst)?;
        Self::start(py, timeo, |node, limit| node.start_join(&dst, limit))
    }

    /// The descriptor that is readable when the outcome is there; -1 if it is there already. Only
    /// valid until finish() or cancel().
    fn fileno(&self) -> i32 {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending
            .as_ref()
            .and_then(o7s::Pending::fd)
            .map_or(-1, |fd| fd.as_raw_fd())
    }

    /// Makes *flow* the flow that was asked for, if it is there; False if not yet.
    fn finish(&self, py: Python<'_>, flow: &Bound<'_, Flow>) -> PyResult<bool> {
        let mut slot = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = &mut *slot else {
            return Err(raise(
                py,
                ErrorKind::Invalid,
                self.doing,
                "the request for a flow is over",
            ));
        };
        let outcome = pending.try_finish();
        if matches!(outcome, Ok(None)) {
            return Ok(false);
        }
        *slot = None;
        drop(slot);
        match outcome.or_raise(py, self.doing)? {
            Some(made) => flow.get().fill(py, made).map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives the request up. A flow that was accepted meanwhile goes to the next accept.
    fn cancel(&self, py: Python<'_>) {
        let pending = self
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(pending));
    }
}
