//! Management calls for the embedded node.

use std::path::PathBuf;

use o7s::{
    ErrorKind, Node, RuntimeDir,
    irm::{self, Balance, IpcpConfig, IpcpType, LayerInfo, NameInfo},
};
use pyo3::{prelude::*, types::PyDict};

use crate::error::{Doing, OrRaise, raise};

/// A name, its load balancing, bound pids, bound programs.
type NameRow = (String, i32, Vec<i32>, Vec<String>);

/// A management connection to the daemon of one runtime directory.
///
/// While it lives this process stays known to the daemon, even if another one is chosen.
#[pyclass(frozen, module = "ouroboros._native")]
pub(crate) struct Irm {
    irm: irm::Irm,
    _node: Node,
}

impl Irm {
    fn of(node: Node) -> Self {
        Self {
            irm: node.irm(),
            _node: node,
        }
    }

    fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&irm::Irm) -> o7s::Result<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| call(&self.irm)).or_raise(py, Doing::Manage)
    }
}

#[pymethods]
impl Irm {
    #[new]
    fn new(dir: PathBuf) -> Self {
        Self::of(Node::at(RuntimeDir::at(dir)))
    }

    /// The daemon that is used now.
    #[staticmethod]
    fn current() -> Self {
        Self::of(Node::current())
    }

    /// Starts an IPCP; its pid.
    fn create_ipcp(&self, py: Python<'_>, name: &str, ipcp_type: i32) -> PyResult<i32> {
        let ipcp_type = IpcpType::try_from(ipcp_type).map_err(|_| {
            raise(
                py,
                ErrorKind::IpcpType,
                Doing::Manage,
                format!("there is no IPCP type number {ipcp_type}"),
            )
        })?;
        self.call(py, |irm| irm.create_ipcp(name, ipcp_type))
    }

    /// Stops an IPCP.
    fn destroy_ipcp(&self, py: Python<'_>, pid: i32) -> PyResult<()> {
        self.call(py, |irm| irm.destroy_ipcp(pid))
    }

    /// The IPCPs: (pid, type, name, layer).
    fn list_ipcps(&self, py: Python<'_>) -> PyResult<Vec<(i32, i32, String, String)>> {
        let list = self.call(py, irm::Irm::list_ipcps)?;
        Ok(list
            .into_iter()
            .map(|ipcp| (ipcp.pid, ipcp.ipcp_type, ipcp.name, ipcp.layer))
            .collect())
    }

    /// Starts a layer of type local in an IPCP.
    fn bootstrap_local(&self, py: Python<'_>, pid: i32, layer: &str) -> PyResult<()> {
        let config = IpcpConfig {
            ipcp_type: IpcpType::Local.into(),
            layer: LayerInfo {
                name: layer.to_owned(),
                // Hash numbers are those of `irm ipcp bootstrap hash`; 1 = SHA3-256.
                dir_hash: 1,
            },
            ..IpcpConfig::default()
        };
        self.call(py, |irm| irm.bootstrap_ipcp(pid, &config).map(drop))
    }

    /// Creates a name; balance 0 = round-robin, 1 = spill.
    fn create_name(&self, py: Python<'_>, name: &str, balance: i32) -> PyResult<()> {
        let info = NameInfo {
            name: name.to_owned(),
            balance: Balance::try_from(balance).unwrap_or(Balance::Spill).into(),
            ..NameInfo::default()
        };
        self.call(py, |irm| irm.create_name(&info))
    }

    /// Forgets a name and its bindings.
    fn destroy_name(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.call(py, |irm| irm.destroy_name(name))
    }

    /// The names: (name, balance, bound pids, bound programs).
    fn list_names(&self, py: Python<'_>) -> PyResult<Vec<NameRow>> {
        let list = self.call(py, irm::Irm::list_names)?;
        Ok(list
            .into_iter()
            .map(|name| (name.name, name.balance, name.processes, name.programs))
            .collect())
    }

    /// Registers a name with an IPCP's layer.
    fn reg_name(&self, py: Python<'_>, name: &str, pid: i32) -> PyResult<()> {
        self.call(py, |irm| irm.reg_name(name, pid))
    }

    /// Undoes it.
    fn unreg_name(&self, py: Python<'_>, name: &str, pid: i32) -> PyResult<()> {
        self.call(py, |irm| irm.unreg_name(name, pid))
    }

    /// Binds a program to a name; with `auto` the daemon starts it with `args` when needed.
    fn bind_program(
        &self,
        py: Python<'_>,
        program: PathBuf,
        name: &str,
        auto: bool,
        args: Vec<String>,
    ) -> PyResult<()> {
        self.call(py, |irm| irm.bind_program(&program, name, auto, &args))
    }

    /// Undoes it; no name = all names.
    fn unbind_program(&self, py: Python<'_>, program: &str, name: Option<&str>) -> PyResult<()> {
        self.call(py, |irm| irm.unbind_program(program, name))
    }

    /// Binds a running process to a name.
    fn bind_process(&self, py: Python<'_>, pid: i32, name: &str) -> PyResult<()> {
        self.call(py, |irm| irm.bind_process(pid, name))
    }

    /// Undoes it; no name = all names.
    fn unbind_process(&self, py: Python<'_>, pid: i32, name: Option<&str>) -> PyResult<()> {
        self.call(py, |irm| irm.unbind_process(pid, name))
    }

    /// How much the daemon holds.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = self.call(py, irm::Irm::status)?;
        let dict = PyDict::new(py);
        dict.set_item("daemon_pid", status.daemon_pid)?;
        dict.set_item("ipcps", status.ipcps)?;
        dict.set_item("names", status.names)?;
        dict.set_item("programs", status.programs)?;
        dict.set_item("processes", status.processes)?;
        dict.set_item("flows", status.flows)?;
        dict.set_item("pending", status.pending)?;
        dict.set_item("bells", status.bells)?;
        dict.set_item("descriptors", status.descriptors)?;
        Ok(dict)
    }
}
