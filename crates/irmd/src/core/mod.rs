//! The daemon's state machine: names, programs, processes, IPCPs and flows, without any I/O.
//!
//! Inputs are the methods of [`Core`]; outputs go through a [`Context`]. Time is an input too: call
//! [`Core::expire`] when [`Core::next_deadline`] has come.

mod alloc;
mod arrival;
mod autostart;
mod bell;
mod binding;
mod context;
mod copies;
mod flow;
mod ipcp;
mod join;
mod keep;
mod layer;
pub mod limits;
mod member;
mod name;
mod process;
mod request;
pub mod security;
mod setup;
mod timer;
pub mod trust;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, Empty, Failure, Hello, HelloOk, Status, VERSION},
};

pub use context::{ConnId, Context, Program, Side, Signal};
pub use copies::pid_of;
pub use setup::Report;
pub use trust::{Peer, Trust};

use bell::Bells;
use flow::Flow;
use ipcp::Ipcp;
use keep::Keeper;
use name::NameTable;
use process::Process;
use request::{Key, Request};
use security::Jobs;
use setup::Setup;
use timer::Timers;

/// What the daemon is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemon's pid.
    pub pid: i32,
    /// Random number that tells this daemon from those before and after it in its directory.
    pub instance: u64,
    /// Who may do what.
    pub trust: Trust,
    /// Whether two processes of this machine may meet without a layer.
    pub direct: bool,
    /// Product version, for clients.
    pub version: String,
}

/// A connection.
#[derive(Debug)]
struct Conn {
    peer: Peer,
    /// The key of its process; the pid until it has said hello (see [`copies`]).
    process: i32,
    role: Role,
    /// Requests that wait, by the client's id.
    requests: HashMap<u64, Key>,
    /// Doorbell sides sent here that may not have been read yet.
    bells_sent: Vec<(u64, usize)>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Has not said yet.
    New,
    /// A program or a management tool.
    Client { instance: u64 },
    /// An IPCP's control channel.
    Ipcp { pid: i32 },
}

/// A child of the daemon.
#[derive(Debug)]
struct Child {
    role: ChildRole,
    /// It was asked to end and is killed at this time.
    kill_timer: Option<timer::TimerKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ChildRole {
    Ipcp,
    /// Started for this name.
    Program(String),
}

impl Child {
    fn new(role: ChildRole) -> Self {
        Self {
            role,
            kill_timer: None,
        }
    }
}

/// The state of the daemon.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    conns: HashMap<ConnId, Conn>,
    /// Connections per user.
    users: HashMap<u32, usize>,
    processes: HashMap<i32, Process>,
    names: NameTable,
    requests: HashMap<Key, Request>,
    next_key: u64,
    /// Requests under way at an IPCP, by flow id.
    layer_allocs: HashMap<u64, Key>,
    flows: HashMap<u64, Flow>,
    next_flow: u64,
    bells: Bells,
    ipcps: HashMap<i32, Ipcp>,
    children: HashMap<i32, Child>,
    timers: Timers,
    jobs: Jobs,
    keeper: Keeper,
    setup: Setup,
    stopping: bool,
}

impl Core {
    /// An empty daemon.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            keeper: Keeper::new(settings.instance),
            setup: Setup::default(),
            settings,
            conns: HashMap::new(),
            users: HashMap::new(),
            processes: HashMap::new(),
            names: NameTable::default(),
            requests: HashMap::new(),
            next_key: 1,
            layer_allocs: HashMap::new(),
            flows: HashMap::new(),
            next_flow: 1,
            bells: Bells::default(),
            ipcps: HashMap::new(),
            children: HashMap::new(),
            timers: Timers::default(),
            jobs: Jobs::default(),
            stopping: false,
        }
    }

    /// A connection was accepted.
    pub fn connected(&mut self, cx: &mut dyn Context, conn: ConnId, peer: Peer) {
        let count = self.users.entry(peer.uid).or_default();
        *count += 1;
        let too_many = *count > limits::CONNECTIONS_PER_USER && !self.settings.trust.owns(&peer);
        if too_many {
            tracing::warn!("User {} has too many connections.", peer.uid);
            let error = Error::new(
                ErrorKind::NoDescriptors,
                format!(
                    "user {} has {} connections to this irmd already; close some",
                    peer.uid,
                    limits::CONNECTIONS_PER_USER
                ),
            );
            cx.send(conn, 0, Body::Failure(Failure::from(&error)));
            cx.close(conn);
        }
        self.conns.insert(
            conn,
            Conn {
                process: peer.pid,
                peer,
                role: Role::New,
                requests: HashMap::new(),
                bells_sent: Vec::new(),
            },
        );
    }

    /// A connection ended. `undelivered` are the flow ends that were sent on it and never read;
    /// `all_read` tells that everything else was.
    pub fn disconnected(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        all_read: bool,
        undelivered: &[(u64, Side)],
    ) {
        let Some(gone) = self.conns.remove(&conn) else {
            return;
        };
        if let Some(count) = self.users.get_mut(&gone.peer.uid) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&gone.peer.uid);
            }
        }
        let waiting: BTreeSet<Key> = gone.requests.into_values().collect();
        for key in waiting {
            self.drop_request(cx, key);
        }
        for (bell, side) in gone.bells_sent {
            if all_read {
                self.bells.confirm(cx, bell, side);
            } else {
                self.bells.retire(cx, bell, side);
            }
        }
        for (flow, side) in undelivered {
            self.abandon_end(cx, *flow, *side);
        }
        match gone.role {
            Role::Client { .. } => {
                let announced = self
                    .processes
                    .get(&gone.process)
                    .is_some_and(|process| process.announce == conn);
                if announced {
                    self.remove_process(cx, gone.process);
                }
            }
            Role::Ipcp { pid } => self.ipcp_disconnected(cx, pid),
            Role::New => {}
        }
    }

    /// A message arrived.
    pub fn message(&mut self, cx: &mut dyn Context, conn: ConnId, id: u64, body: Body) {
        let Some(state) = self.conns.get_mut(&conn) else {
            return;
        };
        if !matches!(body, Body::Cancel(_)) {
            // Whoever asks again has read what he was sent before.
            for (bell, side) in std::mem::take(&mut state.bells_sent) {
                self.bells.confirm(cx, bell, side);
            }
        }
        let role = state.role;
        match (role, body) {
            (Role::Ipcp { pid }, body) => self.ipcp_message(cx, conn, pid, id, body),
            (Role::New, Body::Hello(hello)) => match self.hello(cx, conn, &hello) {
                Ok(()) => {
                    cx.send(conn, id, Body::HelloOk(self.hello_ok()));
                }
                Err(error) => {
                    self.fail(cx, conn, id, &error);
                    cx.close(conn);
                }
            },
            (Role::New, _) => {
                let error = Error::new(
                    ErrorKind::Invalid,
                    "the first message of a connection must be a hello",
                );
                self.fail(cx, conn, id, &error);
                cx.close(conn);
            }
            (Role::Client { .. }, body) => self.client_message(cx, conn, id, body),
        }
    }

    fn client_message(&mut self, cx: &mut dyn Context, conn: ConnId, id: u64, body: Body) {
        let outcome = match body {
            Body::Cancel(cancel) => {
                self.cancel(cx, conn, cancel.id);
                return;
            }
            _ if id == 0 => Err(Error::new(
                ErrorKind::Invalid,
                "a request must have an id from 1",
            )),
            _ if self.stopping => Err(Error::new(
                ErrorKind::Daemon,
                "this irmd is shutting down; start a new one with 'irmd'",
            )),
            body => self.request(cx, conn, id, body),
        };
        match outcome {
            Ok(Some(answer)) => {
                cx.send(conn, id, answer);
            }
            Ok(None) => {}
            Err(error) => self.fail(cx, conn, id, &error),
        }
    }

    /// Handles a request: an answer now, or `None` if it comes later.
    fn request(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        body: Body,
    ) -> Result<Option<Body>> {
        let done = Some(Body::Done(Empty {}));
        let peer = self.conn(conn)?.peer.clone();
        if is_management(&body) {
            self.settings.trust.check_manages(&peer)?;
        }
        match body {
            Body::FlowAlloc(alloc) => self.flow_alloc(cx, conn, id, &alloc).map(|()| None),
            Body::FlowAccept(accept) => self.flow_accept(cx, conn, id, accept).map(|()| None),
            Body::FlowJoin(join) => self.flow_join(cx, conn, id, &join).map(|()| None),
            Body::FlowDealloc(end) => self.flow_dealloc(cx, conn, end).map(|()| done),
            Body::BindProcess(bind) => self.bind_process(cx, conn, id, &bind),
            Body::UnbindProcess(bind) => self.unbind_process(cx, &peer, &bind).map(|()| done),
            Body::BindProgram(bind) => self.bind_program(cx, &peer, bind).map(|()| done),
            Body::UnbindProgram(unbind) => self.unbind_program(cx, &unbind).map(|()| done),
            Body::CreateName(info) => self.create_name(cx, &peer, info).map(|()| done),
            Body::DestroyName(name) => self.destroy_name(cx, &name.name).map(|()| done),
            Body::ListNames(_) => Ok(Some(Body::Names(self.list_names()))),
            Body::CreateIpcp(create) => self.create_ipcp(cx, conn, id, &create).map(|()| None),
            Body::DestroyIpcp(pid) => self.destroy_ipcp(cx, conn, id, pid.pid).map(|()| None),
            Body::ForgetIpcp(name) => self.forget_ipcp(cx, conn, id, &name.name),
            Body::BootstrapIpcp(boot) => self.bootstrap_ipcp(cx, conn, id, boot).map(|()| None),
            Body::EnrollIpcp(enroll) => self.enroll_ipcp(cx, conn, id, enroll).map(|()| None),
            Body::ConnectIpcp(connect) => self
                .connect_ipcp(cx, conn, id, connect, true)
                .map(|()| None),
            Body::DisconnectIpcp(connect) => self
                .connect_ipcp(cx, conn, id, connect, false)
                .map(|()| None),
            Body::RegName(reg) => self.reg_name(cx, conn, id, &reg, true).map(|()| None),
            Body::UnregName(reg) => self.reg_name(cx, conn, id, &reg, false).map(|()| None),
            Body::ListIpcps(_) => Ok(Some(Body::Ipcps(self.list_ipcps(cx.now())))),
            Body::ShowIpcp(pid) => self.show_ipcp(cx, conn, id, pid.pid).map(|()| None),
            Body::Status(_) => Ok(Some(Body::StatusReply(self.status(cx)))),
            Body::Hello(_) => Err(Error::new(
                ErrorKind::Invalid,
                "this connection has said hello already",
            )),
            other => Err(Error::new(
                ErrorKind::Invalid,
                format!("this message is no request to an irmd: {other:?}"),
            )),
        }
    }

    /// What this daemon says of itself.
    fn hello_ok(&self) -> HelloOk {
        HelloOk {
            daemon_pid: self.settings.pid,
            version: self.settings.version.clone(),
            instance: self.settings.instance,
        }
    }

    fn hello(&mut self, cx: &mut dyn Context, conn: ConnId, hello: &Hello) -> Result<()> {
        check_version(hello)?;
        if hello.announce {
            self.announce(cx, conn, hello)?;
        } else {
            let copies = self.copies(self.conn(conn)?.peer.pid);
            let own = copies.into_iter().find(|key| {
                let process = self.processes.get(key);
                process.is_some_and(|process| process.instance == hello.instance)
            });
            if let Some(key) = own {
                self.conn_mut(conn)?.process = key;
            }
        }
        self.conn_mut(conn)?.role = Role::Client {
            instance: hello.instance,
        };
        if hello.announce {
            let key = self.conn(conn)?.process;
            self.settle_announced(cx, key);
        }
        Ok(())
    }

    /// What the daemon holds.
    #[must_use]
    pub fn status(&self, cx: &dyn Context) -> Status {
        let count = |length: usize| length as u64;
        Status {
            daemon_pid: self.settings.pid,
            ipcps: count(self.ipcps.len()),
            names: count(self.names.len()),
            programs: count(self.names.programs().len()),
            processes: count(
                (self.processes.keys())
                    .filter(|pid| !self.ipcps.contains_key(pid))
                    .count(),
            ),
            flows: count(self.flows.len()),
            pending: count(self.requests.len()),
            bells: count(self.bells.len()),
            descriptors: cx.descriptors(),
        }
    }

    /// Answers with a failure.
    fn fail(&self, cx: &mut dyn Context, conn: ConnId, id: u64, error: &Error) {
        tracing::debug!("Request {id} failed: {error}");
        cx.send(conn, id, Body::Failure(Failure::from(error)));
    }

    fn conn(&self, conn: ConnId) -> Result<&Conn> {
        self.conns.get(&conn).ok_or_else(gone)
    }

    fn conn_mut(&mut self, conn: ConnId) -> Result<&mut Conn> {
        self.conns.get_mut(&conn).ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Daemon, "the connection is gone")
}

fn check_version(hello: &Hello) -> Result<()> {
    if hello.version == VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Daemon,
        format!(
            "the program speaks version {} of the control protocol, this irmd version {VERSION}; \
             use programs and irmd of one release",
            hello.version
        ),
    ))
}

/// Requests that only those who manage may make.
fn is_management(body: &Body) -> bool {
    matches!(
        body,
        Body::CreateIpcp(_)
            | Body::DestroyIpcp(_)
            | Body::ForgetIpcp(_)
            | Body::BootstrapIpcp(_)
            | Body::EnrollIpcp(_)
            | Body::ConnectIpcp(_)
            | Body::DisconnectIpcp(_)
            | Body::ListIpcps(_)
            | Body::ShowIpcp(_)
            | Body::BindProgram(_)
            | Body::UnbindProgram(_)
            | Body::CreateName(_)
            | Body::DestroyName(_)
            | Body::ListNames(_)
            | Body::RegName(_)
            | Body::UnregName(_)
            | Body::Status(_)
    )
}
