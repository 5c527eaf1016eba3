//! Management calls: for `ouroboros.irm` and for the embedded node.

use std::path::PathBuf;

use o7s::{
    ErrorKind, Node, RuntimeDir,
    irm::{self, IpcpConfig, IpcpType, NameInfo, SecurityPaths},
};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    argument::{QosFields, qos},
    error::{Doing, OrRaise, raise},
    layer::LayerConfig,
};

/// Security files: encryption, key, certificate; empty = the default.
type Files = (String, String, String);

/// A name, its load balancing, bound pids, bound programs, server's files, client's files.
type NameRow = (String, i32, Vec<i32>, Vec<String>, Files, Files);

fn files(paths: Option<SecurityPaths>) -> Files {
    let paths = paths.unwrap_or_default();
    (paths.encryption, paths.key, paths.certificate)
}

fn paths(files: Option<Files>) -> Option<SecurityPaths> {
    files.map(|(encryption, key, certificate)| SecurityPaths {
        encryption,
        key,
        certificate,
    })
}

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
        doing: Doing,
        call: impl FnOnce(&irm::Irm) -> o7s::Result<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| call(&self.irm)).or_raise(py, doing)
    }
}

/// A table of an IPCP's state: name, titles, rows.
type Section = (String, Vec<String>, Vec<Vec<String>>);

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
                Doing::Create,
                format!("there is no IPCP type number {ipcp_type}"),
            )
        })?;
        self.call(py, Doing::Create, |irm| irm.create_ipcp(name, ipcp_type))
    }

    /// Stops an IPCP.
    fn destroy_ipcp(&self, py: Python<'_>, pid: i32) -> PyResult<()> {
        self.call(py, Doing::Manage, |irm| irm.destroy_ipcp(pid))
    }

    /// The IPCPs: (pid, type, name, layer).
    fn list_ipcps(&self, py: Python<'_>) -> PyResult<Vec<(i32, i32, String, String)>> {
        let list = self.call(py, Doing::Manage, irm::Irm::list_ipcps)?;
        Ok(list
            .into_iter()
            .map(|ipcp| (ipcp.pid, ipcp.ipcp_type, ipcp.name, ipcp.layer))
            .collect())
    }

    /// The state of an IPCP: tables of (name, titles, rows).
    fn show_ipcp(&self, py: Python<'_>, pid: i32) -> PyResult<Vec<Section>> {
        let status = self.call(py, Doing::Manage, |irm| irm.show_ipcp(pid))?;
        Ok(status
            .sections
            .into_iter()
            .map(|section| {
                let rows = section.rows.into_iter().map(|row| row.cells);
                (section.name, section.columns, rows.collect())
            })
            .collect())
    }

    /// Starts a layer of type local in an IPCP.
    fn bootstrap_local(&self, py: Python<'_>, pid: i32, layer: &str) -> PyResult<()> {
        let config = IpcpConfig::new(IpcpType::Local, layer);
        self.call(py, Doing::Bootstrap, |irm| {
            irm.bootstrap_ipcp(pid, &config).map(drop)
        })
    }

    /// Starts a layer in an IPCP, as an `ouroboros.irm.IpcpConfig` says.
    fn bootstrap_ipcp(&self, py: Python<'_>, pid: i32, conf: LayerConfig) -> PyResult<()> {
        let config = conf.message().or_raise(py, Doing::Bootstrap)?;
        self.call(py, Doing::Bootstrap, |irm| {
            irm.bootstrap_ipcp(pid, &config).map(drop)
        })
    }

    /// Enrolls an IPCP in the layer of `dst`; the name of the layer.
    fn enroll_ipcp(&self, py: Python<'_>, pid: i32, dst: &str) -> PyResult<String> {
        let layer = self.call(py, Doing::Enroll, |irm| irm.enroll_ipcp(pid, dst))?;
        Ok(layer.name)
    }

    /// Connects a component of an IPCP to a neighbour.
    fn connect_ipcp(
        &self,
        py: Python<'_>,
        pid: i32,
        dst: &str,
        component: &str,
        fields: QosFields,
    ) -> PyResult<()> {
        self.call(py, Doing::Connect, |irm| {
            irm.connect_ipcp(pid, dst, component, qos(fields)).map(drop)
        })
    }

    /// Undoes it.
    fn disconnect_ipcp(
        &self,
        py: Python<'_>,
        pid: i32,
        dst: &str,
        component: &str,
    ) -> PyResult<()> {
        self.call(py, Doing::Connect, |irm| {
            irm.disconnect_ipcp(pid, dst, component)
        })
    }

    /// Creates a name; balance 0 = round-robin, 1 = spill; files (encryption, key, certificate).
    #[pyo3(signature = (name, balance, server=None, client=None))]
    fn create_name(
        &self,
        py: Python<'_>,
        name: &str,
        balance: i32,
        server: Option<Files>,
        client: Option<Files>,
    ) -> PyResult<()> {
        let info = NameInfo {
            name: name.to_owned(),
            balance,
            server: paths(server),
            client: paths(client),
            ..NameInfo::default()
        };
        self.call(py, Doing::Name, |irm| irm.create_name(&info))
    }

    /// Forgets a name and its bindings.
    fn destroy_name(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.call(py, Doing::Name, |irm| irm.destroy_name(name))
    }

    /// The names: (name, balance, bound pids, bound programs, server's files, client's files).
    fn list_names(&self, py: Python<'_>) -> PyResult<Vec<NameRow>> {
        let list = self.call(py, Doing::Manage, irm::Irm::list_names)?;
        Ok(list
            .into_iter()
            .map(|info| {
                (
                    info.name,
                    info.balance,
                    info.processes,
                    info.programs,
                    files(info.server),
                    files(info.client),
                )
            })
            .collect())
    }

    /// Registers a name with an IPCP's layer.
    fn reg_name(&self, py: Python<'_>, name: &str, pid: i32) -> PyResult<()> {
        self.call(py, Doing::Name, |irm| irm.reg_name(name, pid))
    }

    /// Undoes it.
    fn unreg_name(&self, py: Python<'_>, name: &str, pid: i32) -> PyResult<()> {
        self.call(py, Doing::Name, |irm| irm.unreg_name(name, pid))
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
        self.call(py, Doing::Bind, |irm| {
            irm.bind_program(&program, name, auto, &args)
        })
    }

    /// Undoes it; no name = all names.
    fn unbind_program(&self, py: Python<'_>, program: &str, name: Option<&str>) -> PyResult<()> {
        self.call(py, Doing::Bind, |irm| irm.unbind_program(program, name))
    }

    /// Binds a running process to a name.
    fn bind_process(&self, py: Python<'_>, pid: i32, name: &str) -> PyResult<()> {
        self.call(py, Doing::Bind, |irm| irm.bind_process(pid, name))
    }

    /// Undoes it; no name = all names.
    fn unbind_process(&self, py: Python<'_>, pid: i32, name: Option<&str>) -> PyResult<()> {
        self.call(py, Doing::Bind, |irm| irm.unbind_process(pid, name))
    }

    /// How much the daemon holds.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = self.call(py, Doing::Manage, irm::Irm::status)?;
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
