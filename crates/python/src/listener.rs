//! `Listener`: a queue of flows to accept that can be waited for like a socket.

use std::{
    os::fd::{AsFd, AsRawFd},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use o7s::{ErrorKind, Node};
use pyo3::prelude::*;
use rustix::process::{Pid, getpid};

use crate::{
    argument::{self, QosFields},
    error::{Doing, OrRaise, raise},
    flow::Flow,
    wait,
};

/// Flows to the names of this process, one after the other.
#[pyclass(frozen, subclass, weakref, module = "ouroboros._native")]
pub(crate) struct Listener {
    /// None once closed.
    listener: Mutex<Option<Arc<o7s::Listener>>>,
    /// The process that made it.
    owner: Pid,
}

impl Listener {
    fn handle(&self) -> Option<Arc<o7s::Listener>> {
        if getpid() != self.owner {
            return None;
        }
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn open(&self, py: Python<'_>) -> PyResult<Arc<o7s::Listener>> {
        self.handle().ok_or_else(|| {
            raise(
                py,
                ErrorKind::NotAllocated,
                Doing::Alloc,
                if getpid() == self.owner {
                    "the listener is closed; make a new one with listen()"
                } else {
                    "the listener belongs to the parent process; after fork, make a new one"
                },
            )
        })
    }

    fn take(&self) -> Option<Arc<o7s::Listener>> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[pymethods]
impl Listener {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let listener = py
            .detach(|| o7s::Listener::new(&Node::current()))
            .or_raise(py, Doing::Alloc)?;
        Ok(Self {
            listener: Mutex::new(Some(Arc::new(listener))),
            owner: getpid(),
        })
    }

    /// Waits for the next flow and makes *flow* it.
    #[pyo3(signature = (flow, timeo=None))]
    fn _accept(
        &self,
        py: Python<'_>,
        flow: &Bound<'_, Flow>,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<QosFields> {
        let deadline = argument::timeout(timeo)?.map(|limit| Instant::now() + limit);
        let listener = self.open(py)?;
        let accepted = wait::until(py, deadline, Doing::Alloc, |until| {
            listener.accept_until(Some(until))
        })?;
        let qos = accepted.qos().or_raise(py, Doing::Alloc)?;
        flow.get().fill(py, accepted)?;
        Ok(argument::qos_fields(qos))
    }

    /// Makes *flow* the next flow if one is here; False if none is.
    fn _try_accept(&self, py: Python<'_>, flow: &Bound<'_, Flow>) -> PyResult<bool> {
        match self.open(py)?.try_accept() {
            Ok(accepted) => flow.get().fill(py, accepted).map(|()| true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).or_raise(py, Doing::Alloc),
        }
    }

    /// An operating system descriptor that is readable while accept() would not wait. It belongs
    /// to the listener: do not read, write or close it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        Ok(self.open(py)?.as_fd().as_raw_fd())
    }

    /// Stops to accept. A flow that is here already is left to the next accept of this process.
    fn close(&self, py: Python<'_>) {
        let listener = self.take();
        if getpid() == self.owner {
            py.detach(|| {
                if let Some(listener) = &listener {
                    listener.close();
                }
            });
        } else {
            // The request is the parent's.
            std::mem::forget(listener);
        }
    }

    /// Whether the listener is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.handle().is_none()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if getpid() != self.owner {
            std::mem::forget(self.take());
        }
    }
}
