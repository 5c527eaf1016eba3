//! The real world of the core: sockets, shared memory, processes.

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdUnixStream, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};

use o7s::{
    Error, ErrorKind, Result, RuntimeDir,
    control::{Body, Envelope, FlowInfo, IpcpType},
};
use o7s_log::Logging;
use o7s_ring::{
    BellParts, BellsArmed, DEFAULT_CAPACITY, OpenError, Segment, Side as RingSide, Warden,
};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal as UnixSignal, kill_process, pidfd_open, prlimit,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    task::{AbortHandle, spawn_blocking, spawn_local},
};

use crate::{
    core::{
        ConnId, Context, Program, Side, Signal, pid_of,
        security::{Half, Outcome, Work},
    },
    descriptor,
    driver::Shared,
    link::Link,
    security::Engine,
};

/// What the world needs to know to start children.
#[derive(Debug, Clone)]
pub struct Children {
    /// The runtime directory, for programs that the daemon starts.
    pub dir: RuntimeDir,
    /// How IPCPs log.
    pub logging: Logging,
    /// Limit of open files that children get.
    pub files: Rlimit,
}

/// The world around the core.
#[derive(Debug)]
pub(crate) struct World {
    shared: Weak<Shared>,
    children: Children,
    security: Arc<Engine>,
    pub(crate) links: HashMap<ConnId, Rc<Link>>,
    pub(crate) next_conn: u64,
    flows: HashMap<u64, Memory>,
    /// What is still to be sent of each doorbell: socket and memory of each side.
    bells: HashMap<u64, [Option<[Rc<OwnedFd>; 2]>; 2]>,
    watches: HashMap<i32, AbortHandle>,
}

/// The segment of a flow.
#[derive(Debug)]
struct Memory {
    warden: Warden,
    /// The memory's descriptor while an end has yet to get it.
    fd: Option<Rc<OwnedFd>>,
    sent: [bool; 2],
}

impl World {
    pub(crate) fn new(shared: Weak<Shared>, children: Children, security: Engine) -> Self {
        Self {
            shared,
            children,
            security: Arc::new(security),
            links: HashMap::new(),
            next_conn: 1,
            flows: HashMap::new(),
            bells: HashMap::new(),
            watches: HashMap::new(),
        }
    }

    /// Takes a connection in.
    pub(crate) fn adopt(&mut self, stream: UnixStream) -> (ConnId, Rc<Link>) {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let link = Rc::new(Link::new(stream));
        self.links.insert(id, link.clone());
        (id, link)
    }

    /// Sends a message with the descriptors of one end of a flow. `end`: the end, if it is to be
    /// known whether it arrived.
    fn send_with_end(
        &mut self,
        conn: ConnId,
        id: u64,
        body: Body,
        info: &FlowInfo,
        end: Option<(u64, Side)>,
    ) -> bool {
        let (Some(link), Some(flow)) = (self.links.get(&conn), self.flows.get_mut(&info.flow_id))
        else {
            return false;
        };
        let mut fds: Vec<Rc<OwnedFd>> = flow.fd.iter().cloned().collect();
        if info.new_bell {
            let bell = self.bells.get(&info.bell_id);
            let parts = bell.and_then(|bell| bell[info.bell_side as usize].as_ref());
            fds.extend(parts.into_iter().flatten().cloned());
        }
        let sent = link.send(Self::envelope(id, body), fds, end);
        if sent {
            flow.sent[info.side as usize & 1] = true;
            if flow.sent == [true, true] {
                flow.fd = None;
            }
        }
        sent
    }

    fn mark(
        &self,
        flow: u64,
        side: Side,
        mark: impl FnOnce(&Warden, RingSide) -> BellsArmed,
    ) -> bool {
        let Some(memory) = self.flows.get(&flow) else {
            return false;
        };
        let armed = mark(&memory.warden, ring_side(side));
        match side.other() {
            Side::A => armed.a,
            Side::B => armed.b,
        }
    }

    fn envelope(id: u64, body: Body) -> Envelope {
        Envelope {
            id,
            fds: 0,
            body: Some(body),
        }
    }

    /// Starts a child and reports its end.
    fn start(&self, mut command: Command, what: &str) -> Result<i32> {
        let failed = |error: &io::Error| Error::system(format_args!("start {what}"), error);
        let mut child = command
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&error))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid else {
            let _ = child.start_kill();
            return Err(failed(&io::ErrorKind::NotFound.into()));
        };
        // The daemon's own limit is not for programs: `select` cannot take so many.
        let _ = prlimit(Pid::from_raw(pid), Resource::Nofile, self.children.files);
        if let Some(shared) = self.shared.upgrade() {
            spawn_local(reap(shared, child, pid));
        }
        Ok(pid)
    }
}

/// Waits for the end of a child and tells the core in the same instant, so that the pid is never
/// used once it is free.
async fn reap(shared: Rc<Shared>, mut child: Child, pid: i32) {
    let status = match child.wait().await {
        Ok(status) => ended(status),
        Err(error) => format!("its end cannot be seen: {error}"),
    };
    shared.with(|core, world| core.child_exited(world, pid, &status));
}

/// How a child ended, in words.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Reports the end of a process that is no child.
async fn watch(shared: Rc<Shared>, pidfd: Option<OwnedFd>, key: i32, instance: u64) {
    if let Some(pidfd) = pidfd {
        match descriptor::readable(pidfd) {
            Ok(pidfd) => drop(pidfd.readable().await),
            // The connection's end will tell.
            Err(_) => return,
        }
    }
    shared.with(|core, world| core.process_exited(world, key, instance));
}

fn ring_side(side: Side) -> RingSide {
    match side {
        Side::A => RingSide::A,
        Side::B => RingSide::B,
    }
}

impl Context for World {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(&mut self, conn: ConnId, id: u64, body: Body) -> bool {
        let link = self.links.get(&conn);
        link.is_some_and(|link| link.send(Self::envelope(id, body), Vec::new(), None))
    }

    fn send_flow(&mut self, conn: ConnId, id: u64, info: FlowInfo) -> bool {
        let side = if info.side == 0 { Side::A } else { Side::B };
        let end = (info.flow_id, side);
        self.send_with_end(conn, id, Body::Flow(info.clone()), &info, Some(end))
    }

    fn send_to_ipcp(&mut self, conn: ConnId, id: u64, body: Body, info: &FlowInfo) -> bool {
        self.send_with_end(conn, id, body, info, None)
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get(&conn) {
            link.close();
        }
    }

    fn watch(&mut self, key: i32, instance: u64) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let pid = pid_of(key);
        let opened = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        let pidfd = match opened {
            Some(Ok(pidfd)) => Some(pidfd),
            // It is gone already.
            Some(Err(rustix::io::Errno::SRCH)) | None => None,
            Some(Err(error)) => {
                // The end of its connection will tell.
                tracing::warn!("Cannot watch process {pid}: {error}.");
                return;
            }
        };
        let task = spawn_local(watch(shared, pidfd, key, instance));
        if let Some(old) = self.watches.insert(key, task.abort_handle()) {
            old.abort();
        }
    }

    fn unwatch(&mut self, key: i32) {
        if let Some(task) = self.watches.remove(&key) {
            task.abort();
        }
    }

    fn make_flow(&mut self, flow: u64) -> Result<()> {
        let what = "make the segment of a flow";
        let segment =
            Segment::create(DEFAULT_CAPACITY).map_err(|error| Error::system(what, &error))?;
        let warden = Warden::open(segment.fd()).map_err(|error| match error {
            OpenError::Io(error) => Error::system(what, &error),
            other => Error::new(ErrorKind::NoMemory, format!("cannot {what}: {other}")),
        })?;
        self.flows.insert(
            flow,
            Memory {
                warden,
                fd: Some(Rc::new(segment.into_fd())),
                sent: [false; 2],
            },
        );
        Ok(())
    }

    fn try_work(&mut self, work: Work) -> std::result::Result<Result<Outcome>, Box<Work>> {
        self.security.try_now(work)
    }

    fn start_work(&mut self, number: u64, work: Work) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let security = self.security.clone();
        let worker = spawn_blocking(move || security.run(work));
        spawn_local(async move {
            let outcome = worker.await.unwrap_or_else(|error| {
                tracing::error!("A step of a key exchange broke off: {error}.");
                Err(Error::new(
                    ErrorKind::Crypt,
                    "the key exchange broke off by an error in this irmd; its log says more",
                ))
            });
            shared.with(|core, world| core.work_done(world, number, outcome));
        });
    }

    fn check_files(&self, half: &Half) -> Result<()> {
        self.security.check_files(half)
    }

    fn end_gone(&mut self, flow: u64, side: Side) -> bool {
        self.mark(flow, side, Warden::mark_peer_gone)
    }

    fn end_closed(&mut self, flow: u64, side: Side) -> bool {
        self.mark(flow, side, Warden::mark_closed)
    }

    fn end_down(&mut self, flow: u64, side: Side) -> bool {
        self.mark(flow, side, Warden::mark_down)
    }

    fn drop_flow(&mut self, flow: u64) {
        self.flows.remove(&flow);
    }

    fn make_bell(&mut self, bell: u64) -> Result<()> {
        let (a, b) =
            BellParts::create().map_err(|error| Error::system("make a doorbell", &error))?;
        let parts = [a, b].map(|end| Some([Rc::new(end.socket), Rc::new(end.memory)]));
        self.bells.insert(bell, parts);
        Ok(())
    }

    fn release_bell(&mut self, bell: u64, side: usize) {
        if let Some(parts) = self.bells.get_mut(&bell) {
            parts[side] = None;
            if parts.iter().all(Option::is_none) {
                self.bells.remove(&bell);
            }
        }
    }

    fn drop_bell(&mut self, bell: u64) {
        self.bells.remove(&bell);
    }

    fn spawn_ipcp(&mut self, ipcp_type: IpcpType, name: &str) -> Result<(i32, ConnId)> {
        let path = find_ipcpd();
        let system = |error: io::Error| Error::system("make an IPCP's control channel", &error);
        let (ours, theirs) = StdUnixStream::pair().map_err(system)?;
        ours.set_nonblocking(true).map_err(system)?;
        let stream = UnixStream::from_std(ours).map_err(system)?;
        let mut command = Command::new(&path);
        command
            .args(["--type", ipcp_type.as_str()])
            .args(["--name", name])
            .args(self.children.logging.args())
            .env(o7s::runtime::ENV, self.children.dir.path())
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let pid = self.start(command, &path.display().to_string())?;
        let (conn, link) = self.adopt(stream);
        if let Some(shared) = self.shared.upgrade() {
            spawn_local(crate::driver::serve(shared, conn, link));
        }
        Ok((pid, conn))
    }

    fn spawn_program(&mut self, program: &Program) -> Result<i32> {
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .env_clear()
            .env(
                "PATH",
                std::env::var_os("PATH").unwrap_or_else(default_path),
            )
            .env(o7s::runtime::ENV, self.children.dir.path())
            .stdin(Stdio::null());
        for variable in ["HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        let own = rustix::process::geteuid().as_raw();
        if program.uid != own {
            // Without the supplementary groups of the daemon; the library sees to that.
            command.gid(program.gid).uid(program.uid);
        }
        self.start(command, &program.path)
    }

    fn signal(&mut self, pid: i32, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => UnixSignal::TERM,
            Signal::Kill => UnixSignal::KILL,
        };
        if let Some(pid) = Pid::from_raw(pid)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!("Cannot signal child {}: {error}.", pid.as_raw_nonzero());
        }
    }

    fn descriptors(&self) -> u64 {
        // One of them is the directory itself, open for reading.
        fs::read_dir("/proc/self/fd")
            .map_or(0, |entries| (entries.count() as u64).saturating_sub(1))
    }
}

fn default_path() -> std::ffi::OsString {
    "/usr/local/bin:/usr/bin:/bin".into()
}

/// The program of IPCPs: beside the daemon's own, else `$OUROBOROS_IPCPD`, else on the `PATH`.
fn find_ipcpd() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let beside = beside.map(|dir| dir.join("ipcpd"));
    match beside.filter(|path| path.is_file()) {
        Some(path) => path,
        None => std::env::var_os("OUROBOROS_IPCPD").map_or_else(|| "ipcpd".into(), PathBuf::from),
    }
}
