//! A private daemon per test, and clients that speak the control protocol.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of each test file, which uses its own part"
)]

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use o7s::{
    QosSpec, Result, RuntimeDir,
    control::{
        BindProcess, Body, Connection, Empty, FlowAccept, FlowAlloc, FlowEnd, FlowInfo, Hello,
        Status, VERSION,
    },
};
use o7s_irmd::embedded::{Builder, Daemon};

/// The daemon under test.
pub fn irmd() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_irmd"))
}

/// The program of IPCPs, built if nobody has yet.
pub fn ipcpd() -> &'static Path {
    static IPCPD: OnceLock<PathBuf> = OnceLock::new();
    IPCPD.get_or_init(|| {
        let path = irmd().with_file_name("ipcpd");
        if !path.exists() {
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--package", "o7s-ipcpd"])
                .status()
                .unwrap();
            assert!(built.success());
        }
        assert!(path.exists(), "{} is missing", path.display());
        path
    })
}

pub fn builder() -> Builder {
    Daemon::builder(irmd()).stderr(std::process::Stdio::null())
}

pub fn start() -> Daemon {
    builder().start().unwrap()
}

/// A management connection.
pub fn manager(dir: &RuntimeDir) -> Connection {
    Connection::open(dir, Hello::default()).unwrap()
}

/// A connection that announces this process under `program`.
pub fn announce(dir: &RuntimeDir, program: &str) -> Connection {
    Connection::open(dir, hello(program, true)).unwrap()
}

/// A further connection of this process.
pub fn further(dir: &RuntimeDir, program: &str) -> Connection {
    Connection::open(dir, hello(program, false)).unwrap()
}

pub fn hello(program: &str, announce: bool) -> Hello {
    Hello {
        version: VERSION,
        program: program.to_owned(),
        instance: u64::from(std::process::id()),
        announce,
        ..Hello::default()
    }
}

pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

pub fn bind_own(connection: &mut Connection, name: &str) {
    let bind = BindProcess {
        pid: own_pid(),
        name: Some(name.to_owned()),
    };
    connection.call(Body::BindProcess(bind)).unwrap();
}

pub fn alloc_body(dst: &str, timeout_ns: Option<u64>) -> Body {
    Body::FlowAlloc(FlowAlloc {
        dst: dst.to_owned(),
        qos: QosSpec::RAW.into(),
        timeout_ns,
        kex: String::new(),
    })
}

pub fn accept_body(timeout_ns: Option<u64>) -> Body {
    Body::FlowAccept(FlowAccept { timeout_ns })
}

/// Waits for the flow that answers request `id`.
pub fn flow(connection: &mut Connection, id: u64) -> Result<(FlowInfo, Vec<OwnedFd>)> {
    match connection.wait(id, None)? {
        (Body::Flow(info), fds) => Ok((info, fds)),
        other => panic!("not a flow: {other:?}"),
    }
}

pub fn dealloc(connection: &mut Connection, info: &FlowInfo) {
    let end = FlowEnd {
        flow_id: info.flow_id,
        side: info.side,
        ..FlowEnd::default()
    };
    connection.call(Body::FlowDealloc(end)).unwrap();
}

pub fn status(connection: &mut Connection) -> Status {
    match connection.call(Body::Status(Empty {})).unwrap() {
        (Body::StatusReply(status), _) => status,
        other => panic!("not a status: {other:?}"),
    }
}

/// The test `name` of this test program, to be run in a process of its own against `dir`. Such a
/// test is marked as ignored and takes its directory from [`child_dir`].
pub fn child(program: &Path, name: &str, dir: &RuntimeDir) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(o7s::runtime::ENV, dir.path());
    command
}

/// The directory that [`child`] was given.
pub fn child_dir() -> RuntimeDir {
    RuntimeDir::from_env()
}

/// A temporary directory that everybody may enter.
pub fn open_tempdir() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    allow(temp.path(), 0o755);
    temp
}

pub fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether this is root; a test that needs it says that it is skipped.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped, needs root");
    }
    root
}
