//! The management client: IPCPs, names, bindings.
//!
//! Every call is one request to the daemon and waits for its answer; with [`Irm::stepwise`] the
//! caller does the waiting.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Mutex,
};

use crate::{
    Error, ErrorKind, Name, QosSpec, Result, RuntimeDir,
    control::{
        self, BindProcess, BindProgram, Body, BootstrapIpcp, ConnectIpcp, Connection, CreateIpcp,
        Empty, EnrollIpcp, Hello, NameRef, Pid, RegName, UnbindProgram,
    },
    process::lock,
};

pub use control::{
    AddressPolicy, Balance, CongestionPolicy, DIR_HASH_MD5, DhtConfig, DirConfig, DirectoryPolicy,
    DtConfig, ETHERTYPE, EthConfig, Impairment, IpcpConfig, IpcpInfo, IpcpList, IpcpState,
    IpcpStatus, IpcpType, LayerInfo, LinkStateConfig, LinkStatePolicy, NameInfo, RoutingConfig,
    RoutingPolicy, SecurityPaths, Status, StatusRow, StatusSection, UDP_HOSTS_MAX, UDP_PORT,
    Udp4Config, Udp4Host, Udp6Config, Udp6Host, UnicastConfig,
};

/// Component name of data transfer, for [`Irm::connect_ipcp`].
pub const DT_COMP: &str = "Data Transfer";
/// Component name of management, for [`Irm::connect_ipcp`].
pub const MGMT_COMP: &str = "Management";

/// Longest path of a security file in bytes (`spec/irm-tools.md` §1).
pub const PATH_MAX: usize = 511;

/// A management connection to the daemon of one runtime directory.
#[derive(Debug)]
pub struct Irm {
    dir: RuntimeDir,
    connection: Mutex<Option<Connection>>,
    /// The request that is under way, if the caller does the waiting.
    started: Option<Mutex<Option<(Connection, u64)>>>,
}

impl Irm {
    /// The daemon that the environment chooses. Connects at the first call.
    #[must_use]
    pub fn from_env() -> Self {
        Self::at(RuntimeDir::from_env())
    }

    /// The daemon of `dir`. Connects at the first call.
    #[must_use]
    pub fn at(dir: RuntimeDir) -> Self {
        Self {
            dir,
            connection: Mutex::new(None),
            started: None,
        }
    }

    /// A client of the same daemon whose calls do not wait for the answer: they fail with
    /// [`ErrorKind::InProgress`] until it is there. Make the same call again when [`Irm::fd`] is
    /// readable; another one meanwhile would take the answer for its own.
    #[must_use]
    pub fn stepwise(self) -> Self {
        Self {
            started: Some(Mutex::new(None)),
            ..self
        }
    }

    /// The descriptor to wait for while a stepwise call is in progress. A duplicate: the
    /// connection may go away meanwhile.
    ///
    /// # Errors
    /// None is in progress; no descriptor left.
    pub fn fd(&self) -> Result<OwnedFd> {
        let started = self.started.as_ref().map(lock);
        match started.as_ref().and_then(|started| started.as_ref()) {
            Some((connection, _)) => connection
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::system("wait for the irmd", &error)),
            None => Err(Error::new(
                ErrorKind::Invalid,
                "no request to the irmd is in progress",
            )),
        }
    }

    /// Starts an IPCP and returns its pid.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the name is taken, [`ErrorKind::NotSupported`] if the type is not
    /// built, [`ErrorKind::Ipcp`] if it did not come up.
    pub fn create_ipcp(&self, name: &str, ipcp_type: IpcpType) -> Result<i32> {
        let name = checked(name)?;
        match self.call(Body::CreateIpcp(CreateIpcp {
            name,
            ipcp_type: ipcp_type.into(),
        }))? {
            Body::Pid(Pid { pid }) => Ok(pid),
            other => Err(control::unexpected(&other)),
        }
    }

    /// Stops an IPCP and waits for its end.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if `pid` is no IPCP.
    pub fn destroy_ipcp(&self, pid: i32) -> Result<()> {
        self.done(Body::DestroyIpcp(Pid { pid }))
    }

    /// Keeps an IPCP of the configuration file no longer, whether it runs just now (then it is stopped) or waits
    /// to be started again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no IPCP of that name is kept.
    pub fn forget_ipcp(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.done(Body::ForgetIpcp(NameRef { name }))
    }

    /// Starts a layer in an IPCP.
    ///
    /// # Errors
    /// Those of [`IpcpConfig::check`] (after [`IpcpConfig::force_hash`]), before anything is sent; [`ErrorKind::NotFound`], [`ErrorKind::IpcpState`], or what the IPCP says.
    pub fn bootstrap_ipcp(&self, pid: i32, config: &IpcpConfig) -> Result<LayerInfo> {
        let mut config = config.clone();
        config.force_hash();
        config.check()?;
        match self.call(Body::BootstrapIpcp(BootstrapIpcp { pid, config }))? {
            Body::Layer(layer) => Ok(layer),
            other => Err(control::unexpected(&other)),
        }
    }

    /// Enrolls an IPCP in the layer of the member (or layer) named `dst`.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for types that cannot, or what the IPCP says.
    pub fn enroll_ipcp(&self, pid: i32, dst: &str) -> Result<LayerInfo> {
        let dst = checked(dst)?;
        match self.call(Body::EnrollIpcp(EnrollIpcp { pid, dst }))? {
            Body::Layer(layer) => Ok(layer),
            other => Err(control::unexpected(&other)),
        }
    }

    /// Connects `component` ([`DT_COMP`] or [`MGMT_COMP`]) of an IPCP to its neighbour `dst`; false if it was
    /// connected already.
    ///
    /// # Errors
    /// [`ErrorKind::Ipcp`] for types that cannot, [`ErrorKind::Invalid`] for a component that the
    /// type does not have, [`ErrorKind::IpcpState`] outside of layers, or what the IPCP says.
    pub fn connect_ipcp(&self, pid: i32, dst: &str, component: &str, qos: QosSpec) -> Result<bool> {
        let (dst, component) = (checked(dst)?, component.to_owned());
        let connected = self.done(Body::ConnectIpcp(ConnectIpcp {
            pid,
            dst,
            component,
            qos: Some(qos.into()),
        }));
        match connected {
            Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Undoes [`Irm::connect_ipcp`].
    ///
    /// # Errors
    /// As there.
    pub fn disconnect_ipcp(&self, pid: i32, dst: &str, component: &str) -> Result<()> {
        let (dst, component) = (checked(dst)?, component.to_owned());
        self.done(Body::DisconnectIpcp(ConnectIpcp {
            pid,
            dst,
            component,
            qos: None,
        }))
    }

    /// The IPCPs, sorted by type and pid: the order in which layers are tried.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`].
    pub fn list_ipcps(&self) -> Result<Vec<IpcpInfo>> {
        self.all_ipcps().map(|list| list.ipcps)
    }

    /// The same, and the IPCPs of the configuration file that do not run now.
    ///
    /// # Errors
    /// As there.
    pub fn all_ipcps(&self) -> Result<IpcpList> {
        match self.call(Body::ListIpcps(Empty {}))? {
            Body::Ipcps(list) => Ok(list),
            other => Err(control::unexpected(&other)),
        }
    }

    /// The state of an IPCP: tables, the first of which says what the daemon knows of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if `pid` is no IPCP, [`ErrorKind::Ipcp`] if it does not answer.
    pub fn show_ipcp(&self, pid: i32) -> Result<IpcpStatus> {
        match self.call(Body::ShowIpcp(Pid { pid }))? {
            Body::IpcpStatus(status) => Ok(status),
            other => Err(control::unexpected(&other)),
        }
    }

    /// Binds a program, known by the base name of its path, to a name (created if missing). With
    /// `auto` the daemon starts it with `args` when a request finds nobody who accepts; then
    /// `program` must be an absolute path.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if it is bound already.
    pub fn bind_program(
        &self,
        program: &Path,
        name: &str,
        auto: bool,
        args: &[String],
    ) -> Result<()> {
        let program = program.to_str().ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("the program path {} is not UTF-8", program.display()),
            )
        })?;
        let (program, name, args) = (program.to_owned(), checked(name)?, args.to_vec());
        self.done(Body::BindProgram(BindProgram {
            program,
            name,
            auto,
            args,
        }))
    }

    /// Unbinds a program (path or base name) from a name, or from all.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not bound.
    pub fn unbind_program(&self, program: &str, name: Option<&str>) -> Result<()> {
        let (program, name) = (program.to_owned(), name.map(checked).transpose()?);
        self.done(Body::UnbindProgram(UnbindProgram { program, name }))
    }

    /// Binds a running process to a name (created if missing).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the daemon does not know the process, [`ErrorKind::Exists`] if
    /// it is bound already, [`ErrorKind::Permission`] if it is another user's.
    pub fn bind_process(&self, pid: i32, name: &str) -> Result<()> {
        self.done(Body::BindProcess(BindProcess {
            pid,
            name: Some(checked(name)?),
        }))
    }

    /// Unbinds a process from a name, or from all.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not bound.
    pub fn unbind_process(&self, pid: i32, name: Option<&str>) -> Result<()> {
        let name = name.map(checked).transpose()?;
        self.done(Body::UnbindProcess(BindProcess { pid, name }))
    }

    /// Creates a name. Creating it again with the same attributes succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if it exists with other attributes, [`ErrorKind::Invalid`] for paths
    /// of more than [`PATH_MAX`] bytes.
    pub fn create_name(&self, info: &NameInfo) -> Result<()> {
        checked(&info.name)?;
        for paths in [&info.server, &info.client].into_iter().flatten() {
            check_paths(paths)?;
        }
        self.done(Body::CreateName(info.clone()))
    }

    /// Forgets a name and its bindings.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if there is none.
    pub fn destroy_name(&self, name: &str) -> Result<()> {
        self.done(Body::DestroyName(NameRef {
            name: checked(name)?,
        }))
    }

    /// The names, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`].
    pub fn list_names(&self) -> Result<Vec<NameInfo>> {
        match self.call(Body::ListNames(Empty {}))? {
            Body::Names(list) => Ok(list.names),
            other => Err(control::unexpected(&other)),
        }
    }

    /// Registers a name with the layer of an IPCP.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for an unknown name, [`ErrorKind::NotFound`] for an unknown IPCP,
    /// [`ErrorKind::IpcpState`] if it is in no layer.
    pub fn reg_name(&self, name: &str, pid: i32) -> Result<()> {
        self.done(Body::RegName(RegName {
            name: checked(name)?,
            pid,
        }))
    }

    /// Undoes [`Irm::reg_name`].
    ///
    /// # Errors
    /// As there.
    pub fn unreg_name(&self, name: &str, pid: i32) -> Result<()> {
        self.done(Body::UnregName(RegName {
            name: checked(name)?,
            pid,
        }))
    }

    /// How much the daemon holds.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`].
    pub fn status(&self) -> Result<Status> {
        match self.call(Body::Status(Empty {}))? {
            Body::StatusReply(status) => Ok(status),
            other => Err(control::unexpected(&other)),
        }
    }

    fn done(&self, body: Body) -> Result<()> {
        match self.call(body)? {
            Body::Done(_) => Ok(()),
            other => Err(control::unexpected(&other)),
        }
    }

    fn call(&self, body: Body) -> Result<Body> {
        if let Some(started) = &self.started {
            return self.step(&mut lock(started), body);
        }
        let mut guard = lock(&self.connection);
        // A failed connection is not kept: a new daemon may serve the next call.
        let mut connection = match guard.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let answer = connection.call(body);
        let broken = matches!(&answer, Err(error) if error.kind() == ErrorKind::Daemon);
        if !broken {
            *guard = Some(connection);
        }
        answer.map(|(body, _)| body)
    }

    /// Starts a request, or looks for the answer to the one that is under way.
    fn step(&self, started: &mut Option<(Connection, u64)>, body: Body) -> Result<Body> {
        let (mut connection, id) = match started.take() {
            Some(started) => started,
            None => {
                let mut connection = self.open()?;
                let id = connection.start(body)?;
                (connection, id)
            }
        };
        match connection.try_answer(id)? {
            Some((body, _)) => Ok(body),
            None => {
                *started = Some((connection, id));
                Err(Error::new(
                    ErrorKind::InProgress,
                    "the irmd has not answered yet; try again",
                ))
            }
        }
    }

    fn open(&self) -> Result<Connection> {
        let hello = Hello {
            program: crate::program::name(),
            ..Hello::default()
        };
        Connection::open(&self.dir, hello)
    }
}

fn checked(name: &str) -> Result<String> {
    Ok(Name::new(name)?.as_str().to_owned())
}

fn check_paths(paths: &SecurityPaths) -> Result<()> {
    for path in [&paths.encryption, &paths.key, &paths.certificate] {
        if path.len() > PATH_MAX || path.contains('\0') {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the path of a security file has at most {PATH_MAX} bytes, without NUL; this \
                     one has {}: {path:?}",
                    path.len()
                ),
            ));
        }
    }
    Ok(())
}
