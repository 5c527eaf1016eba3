//! What the tests over several programs share: a private daemon with a local layer, and peers in
//! processes of their own.

pub mod hand;
pub mod machine;
pub mod netns;
pub mod networks;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{
    Flow, Node, QosSpec, RuntimeDir,
    control::Impairment,
    irm::{IpcpConfig, IpcpType, Irm, Status},
};
use o7s_irmd::embedded::{Builder, Daemon};
use sha3::{Digest as _, Sha3_256};

/// A private daemon with a local layer named `local`.
pub struct TestNode {
    daemon: Option<Daemon>,
    irm: Irm,
    node: Node,
    local: i32,
}

impl TestNode {
    /// Starts a daemon and bootstraps the layer.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments for the daemon.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let builder = Daemon::builder(program("irmd"));
        Self::set_up(
            arguments
                .iter()
                .fold(builder, |builder, word| builder.arg(*word)),
        )
    }

    /// Starts a daemon in a directory that another one has left, and bootstraps the layer.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start_in(dir: &RuntimeDir) -> Self {
        Self::set_up(Daemon::builder(program("irmd")).dir(dir.path()))
    }

    /// Starts a daemon that connects nobody directly, and bootstraps the layer so that flows pass
    /// through its IPCP.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start_impaired(impairment: Impairment) -> Self {
        let builder = Daemon::builder(program("irmd")).arg("--no-direct");
        Self::set_up_with(builder, Some(impairment))
    }

    /// Starts a daemon in a network namespace, and bootstraps the layer.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start_inside(netns: &netns::Netns) -> Self {
        Self::set_up(Daemon::builder(program("irmd")).through(netns.prefix()))
    }

    /// Pid of the local IPCP.
    #[must_use]
    pub fn ipcp(&self) -> i32 {
        self.local
    }

    fn set_up(builder: Builder) -> Self {
        Self::set_up_with(builder, None)
    }

    fn set_up_with(builder: Builder, impairment: Option<Impairment>) -> Self {
        let daemon = builder
            .arg("--log-level")
            .arg("warn")
            .start()
            .expect("a private irmd starts");
        let dir = daemon.dir().clone();
        let irm = Irm::at(dir.clone());
        let local = irm
            .create_ipcp("local", IpcpType::Local)
            .expect("a local IPCP starts");
        let config = IpcpConfig {
            local: impairment,
            ..IpcpConfig::new(IpcpType::Local, "local")
        };
        irm.bootstrap_ipcp(local, &config)
            .expect("the layer is bootstrapped");
        Self {
            daemon: Some(daemon),
            irm,
            node: Node::at(dir),
            local,
        }
    }

    /// This test process at the daemon.
    #[must_use]
    pub fn node(&self) -> Node {
        self.node.clone()
    }

    /// The daemon's directory.
    #[must_use]
    pub fn dir(&self) -> &RuntimeDir {
        self.node.dir()
    }

    /// The management client.
    #[must_use]
    pub fn irm(&self) -> &Irm {
        &self.irm
    }

    /// Pid of the daemon.
    ///
    /// # Panics
    /// If the daemon is stopped.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.daemon.as_ref().expect("a running daemon").pid()
    }

    /// Registers `name` in the layer and binds the process `pid` to it.
    ///
    /// # Panics
    /// If that fails.
    pub fn serve(&self, name: &str, pid: i32) {
        self.register(name);
        self.irm
            .bind_process(pid, name)
            .expect("the process is bound");
    }

    /// Registers `name` in the layer.
    ///
    /// # Panics
    /// If that fails.
    pub fn register(&self, name: &str) {
        let info = o7s::irm::NameInfo {
            name: name.to_owned(),
            ..Default::default()
        };
        self.irm.create_name(&info).expect("the name is created");
        self.irm
            .reg_name(name, self.local)
            .expect("the name is registered");
    }

    /// Registers `name` and binds this process to it.
    ///
    /// # Panics
    /// If that fails.
    pub fn serve_here(&self, name: &str) {
        self.node().announce().expect("this process is announced");
        self.serve(name, own_pid());
    }

    /// Waits until the daemon's tables say what they should, by asking again.
    ///
    /// # Panics
    /// If they do not within 20 s.
    pub fn until_status(&self, holds: impl Fn(&Status) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.irm.status().expect("the daemon's status");
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < limit, "still {status:?}");
            std::thread::yield_now();
        }
    }

    /// Kills the daemon as with `kill -9` and waits until it is gone. Its directory stays.
    ///
    /// # Panics
    /// If the daemon is stopped.
    pub fn kill(&mut self) {
        self.daemon
            .as_mut()
            .expect("a running daemon")
            .kill()
            .expect("it can be killed");
    }
}

/// A peer process that obeys one command per line (see `src/bin/peer.rs`).
pub struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer at the daemon of `dir`.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start(dir: &RuntimeDir) -> Self {
        let mut command = Command::new(program("o7s-peer"));
        Self::spawn(command.env(o7s::runtime::ENV, dir.path()))
    }

    /// Starts a peer by a prepared command.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut peer = Self {
            child,
            stdin,
            stdout,
        };
        assert_eq!(peer.line(), "ready");
        peer
    }

    /// The peer's pid.
    ///
    /// # Panics
    /// Never in practice: pids are positive.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().try_into().expect("a pid")
    }

    /// Sends a command.
    ///
    /// # Panics
    /// If the peer is gone.
    pub fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the peer listens");
    }

    /// The next line that the peer prints.
    ///
    /// # Panics
    /// If the peer is gone.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the peer speaks");
        assert!(!line.is_empty(), "the peer is gone");
        line.trim_end().to_owned()
    }

    /// Sends a command and returns the answer.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.line()
    }

    /// Stops the peer as with `kill -STOP`, and waits until it has stopped.
    ///
    /// # Panics
    /// If that fails.
    pub fn stop(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP)
            .expect("it can be stopped");
        loop {
            let options = rustix::process::WaitIdOptions::STOPPED;
            let id = rustix::process::WaitId::Pid(pid);
            match rustix::process::waitid(id, options) {
                Ok(_) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("the peer does not stop: {error}"),
            }
        }
    }

    /// Lets a stopped peer go on.
    ///
    /// # Panics
    /// If that fails.
    pub fn go_on(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it can go on");
    }

    /// Kills the peer as with `kill -9` and waits for its end.
    ///
    /// # Panics
    /// If that fails.
    pub fn kill(&mut self) {
        self.child.kill().expect("the peer can be killed");
        self.child.wait().expect("the peer can be waited for");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A QoS from words such as `loss=0`; what is not named is as in a raw flow.
///
/// # Panics
/// On a word that names no field or no number.
#[must_use]
pub fn qos(words: &[&str]) -> QosSpec {
    let mut qos = QosSpec::RAW;
    for word in words {
        let (field, value) = word.split_once('=').expect("FIELD=VALUE");
        let value: u32 = value.parse().expect("a number");
        match field {
            "loss" => qos.loss = value,
            "ber" => qos.ber = value,
            "in_order" => qos.in_order = value.try_into().expect("8 bits"),
            "timeout" => qos.timeout = value,
            "cypher_s" => qos.cypher_s = value.try_into().expect("16 bits"),
            other => panic!("no field {other}"),
        }
    }
    qos
}

/// Writes `total` bytes that are no repetition of one another in messages of `size` bytes; returns
/// their SHA3-256.
///
/// # Errors
/// What the flow says.
pub fn bulk(flow: &Flow, total: usize, size: usize) -> o7s::Result<String> {
    let mut hash = Sha3_256::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut message = vec![0; size];
    let mut left = total;
    while left > 0 {
        for word in message.chunks_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        let part = &message[..size.min(left)];
        flow.write(part)?;
        hash.update(part);
        left -= part.len();
    }
    Ok(hex(&hash.finalize()))
}

/// Reads `total` bytes; returns their SHA3-256.
///
/// # Errors
/// What the flow says.
pub fn digest(flow: &Flow, total: usize) -> o7s::Result<String> {
    let mut hash = Sha3_256::new();
    let mut read = 0;
    while read < total {
        let message = flow.read_packet()?;
        hash.update(&message);
        read += message.len();
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pid of this process.
///
/// # Panics
/// Never in practice: pids are positive.
#[must_use]
pub fn own_pid() -> i32 {
    std::process::id().try_into().expect("a pid")
}

/// Path of a program of this workspace, beside the test that runs.
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let built = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path: &PathBuf| Path::exists(path));
    built.unwrap_or_else(|| {
        panic!(
            "{name} is not built; run 'cargo build --workspace --bins' first, as 'make test' does"
        )
    })
}
