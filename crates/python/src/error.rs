//! Errors on their way to Python: the library's become exceptions of `ouroboros.errors`.

use o7s::{Error, ErrorKind};
use pyo3::{prelude::*, sync::PyOnceLock};

/// What was being done; with the number it chooses the exception class (`spec/api.md` B8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Allocation, accept or join with a time limit of the caller's.
    Alloc,
    /// The same without one: the daemon's limit holds.
    AllocUnlimited,
    /// Reading, writing or controlling a flow.
    Io,
    /// Changing a flow set.
    Set,
    /// Waiting for events.
    Wait,
    /// Management: lists, status, the end of an IPCP.
    Manage,
    /// Creating an IPCP.
    Create,
    /// Starting a layer.
    Bootstrap,
    /// Enrolling an IPCP.
    Enroll,
    /// Connecting or disconnecting an IPCP.
    Connect,
    /// Names and their registration.
    Name,
    /// Bindings.
    Bind,
}

impl Doing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::AllocUnlimited => "alloc-unlimited",
            Self::Io => "io",
            Self::Set => "set",
            Self::Wait => "wait",
            Self::Manage => "manage",
            Self::Create => "create",
            Self::Bootstrap => "bootstrap",
            Self::Enroll => "enroll",
            Self::Connect => "connect",
            Self::Name => "name",
            Self::Bind => "bind",
        }
    }
}

/// The exception for `error`. The table is `ouroboros.errors.error_for`.
pub(crate) fn exception(py: Python<'_>, error: &Error, doing: Doing) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || {
        Ok(py
            .import("ouroboros.errors")?
            .getattr("error_for")?
            .unbind())
    });
    match make.and_then(|make| make.call1(py, (error.errno(), error.message(), doing.as_str()))) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(failure) => failure,
    }
}

/// The exception for a new error of `kind`.
pub(crate) fn raise(
    py: Python<'_>,
    kind: ErrorKind,
    doing: Doing,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> PyErr {
    exception(py, &Error::new(kind, message), doing)
}

/// Results of the library as results of Python functions.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception for the error.
    fn or_raise(self, py: Python<'_>, doing: Doing) -> PyResult<T>;
}

impl<T> OrRaise<T> for o7s::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>, doing: Doing) -> PyResult<T> {
        self.map_err(|error| exception(py, &error, doing))
    }
}
