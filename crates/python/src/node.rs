//! Which daemon the functions of this process talk to.

use std::path::PathBuf;

use o7s::{Node, RuntimeDir};
use pyo3::prelude::*;

use crate::error::{Doing, OrRaise};

/// Makes this process known to its daemon, so that it can be bound before its first call.
#[pyfunction]
pub(crate) fn announce(py: Python<'_>) -> PyResult<()> {
    py.detach(|| Node::current().announce())
        .or_raise(py, Doing::Alloc)
}

/// The runtime directory of the daemon that is used now.
#[pyfunction]
pub(crate) fn runtime_dir() -> PathBuf {
    Node::current().dir().path().to_owned()
}

/// Chooses the daemon by its runtime directory; None = the environment chooses.
#[pyfunction]
pub(crate) fn set_runtime_dir(py: Python<'_>, dir: Option<PathBuf>) {
    py.detach(|| match dir {
        Some(dir) => Node::set_current(Some(&Node::at(RuntimeDir::at(dir)))),
        None => Node::set_current(None),
    });
}
