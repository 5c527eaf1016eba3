//! A private daemon and the tools run against it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses what it needs"
)]

pub mod scripted;

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use o7s::{Node, irm::Irm};
use o7s_irmd::embedded::Daemon;
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes; past it something hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The path of a tool.
pub fn tool(name: &str) -> PathBuf {
    match name {
        "irm" => env!("CARGO_BIN_EXE_irm").into(),
        "oecho" => env!("CARGO_BIN_EXE_oecho").into(),
        "oping" => env!("CARGO_BIN_EXE_oping").into(),
        "operf" => env!("CARGO_BIN_EXE_operf").into(),
        "ocbr" => env!("CARGO_BIN_EXE_ocbr").into(),
        "obc" => env!("CARGO_BIN_EXE_obc").into(),
        "ovpn" => env!("CARGO_BIN_EXE_ovpn").into(),
        other => panic!("{other} is no tool"),
    }
}

/// The path of a program of another package, beside the tools.
pub fn other(name: &str) -> PathBuf {
    let path = tool("irm").with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: run 'cargo build --workspace --bins' before the tests",
        path.display()
    );
    path
}

/// What a tool left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output of a success without complaints.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// The complaints of a failure without output.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.err
    }
}

/// A daemon of one test.
pub struct Net {
    pub daemon: Daemon,
}

impl Net {
    pub fn new() -> Self {
        other("ipcpd");
        let daemon = Daemon::builder(other("irmd"))
            .arg("--log-level")
            .arg("warn")
            .start()
            .unwrap();
        Self { daemon }
    }

    /// With a local layer in which `name` is registered and bound to the program `program`.
    pub fn with_name(name: &str, program: &str) -> Self {
        let net = Self::new();
        net.irm("i b t local n local l local").ok();
        net.irm(&format!("n r {name} l local")).ok();
        net.irm(&format!("b prog {} n {name}", tool(program).display()))
            .ok();
        net
    }

    pub fn dir(&self) -> &Path {
        self.daemon.dir().path()
    }

    pub fn management(&self) -> Irm {
        Irm::at(self.daemon.dir().clone())
    }

    /// This test's process at the daemon.
    pub fn node(&self) -> Node {
        let node = Node::at(self.daemon.dir().clone());
        node.announce().unwrap();
        node
    }

    /// Runs `irm` with these words.
    pub fn irm(&self, line: &str) -> Ran {
        self.run("irm", line)
    }

    pub fn run(&self, name: &str, line: &str) -> Ran {
        run_in(self.dir(), name, line)
    }

    /// Starts a tool that stays.
    pub fn start(&self, name: &str, line: &str) -> Running {
        Self::watch(command(self.dir(), name, line))
    }

    /// Starts a tool that stays, in a network namespace of its own.
    pub fn start_apart(&self, name: &str, line: &str) -> Running {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(tool(name));
        Self::watch(prepare(command, self.dir(), line))
    }

    fn watch(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut err = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).unwrap();
            text
        });
        Running {
            child,
            lines,
            errors: Some(errors),
        }
    }
}

/// Runs a tool for the daemon of a directory, which may not be there.
pub fn run_in(dir: &Path, name: &str, line: &str) -> Ran {
    let child = command(dir, name, line).spawn().unwrap();
    let pid = child.id();
    let (sender, outcome) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = outcome.recv_timeout(LIMIT) else {
        signal(pid, Signal::KILL);
        panic!("{name} {line} hangs");
    };
    let output = output.unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn command(dir: &Path, name: &str, line: &str) -> Command {
    prepare(Command::new(tool(name)), dir, line)
}

fn prepare(mut command: Command, dir: &Path, line: &str) -> Command {
    command
        .args(words(line))
        .env(o7s::runtime::ENV, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Words of a line; `''` is an empty one.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .map(|word| if word == "''" { "" } else { word })
}

/// A tool that runs.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// The next line of its output.
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(LIMIT)
            .expect("another line of output")
    }

    /// Skips lines until one that starts so, and returns it.
    #[track_caller]
    pub fn line_with(&self, start: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Ends it with a signal, after which it says nothing and succeeds; what was left to read.
    #[track_caller]
    pub fn end(self, which: Signal) -> Ran {
        self.signal(which);
        let ran = self.finish();
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        ran
    }

    /// Waits for its end and returns what was left to read.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        // The output ends with the process.
        let mut out = String::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => out.extend([line.as_str(), "\n"]),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the tool hangs after {out:?}"),
            }
        }
        let status = self.child.wait().unwrap();
        Ran {
            code: status.code(),
            out,
            err: self.errors.take().unwrap().join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, which: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, which).unwrap();
}
