//! Machines in network namespaces that are what their configuration files say, with Ethernet between them, for
//! tests of whole networks.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use o7s::{
    Flow, Node, QosSpec, RuntimeDir,
    irm::{IpcpStatus, IpcpType, Irm, NameInfo},
};
use o7s_irmd::embedded::Daemon;
use rustix::process::{Pid, Signal, kill_process};

use crate::{netns::Netns, own_pid, program};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with its configuration file.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its network.
    pub netns: Netns,
    config: tempfile::TempDir,
    /// Directory of its daemon.
    pub dir: RuntimeDir,
    /// This process at its daemon.
    pub node: Node,
    daemon: Option<Daemon>,
}

impl Machine {
    /// A machine whose daemon does not run yet.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let config = tempfile::tempdir().expect("a directory");
        let dir = RuntimeDir::at(config.path().join("run"));
        Self {
            name: name.to_owned(),
            netns: Netns::new(),
            config,
            node: Node::at(dir.clone()),
            dir,
            daemon: None,
        }
    }

    /// Name of its member of the layer `net`.
    #[must_use]
    pub fn member(&self) -> String {
        format!("u-{}", self.name)
    }

    /// Starts its daemon.
    ///
    /// # Panics
    /// If that fails.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.config.path().join("log"))
            .expect("a log");
        let daemon = Daemon::builder(program("irmd"))
            .dir(self.dir.path())
            .through(self.netns.prefix())
            .arg("--no-direct")
            .arg("--config")
            .arg(self.config.path().join("irmd.conf").display().to_string())
            .stderr(log)
            .start();
        self.daemon = Some(daemon.expect("the daemon starts"));
    }

    /// Its management client.
    #[must_use]
    pub fn irm(&self) -> Irm {
        Irm::at(self.dir.clone())
    }

    /// What its daemon and IPCPs said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.path().join("log")).unwrap_or_default()
    }

    /// Pids of its IPCPs, and of that member.
    #[must_use]
    pub fn ipcps(&self) -> (Vec<i32>, Option<i32>) {
        let list = self.irm().list_ipcps().unwrap_or_default();
        let own = list.iter().find(|ipcp| ipcp.name == self.member());
        let own = own.map(|ipcp| ipcp.pid);
        (list.iter().map(|ipcp| ipcp.pid).collect(), own)
    }

    /// The state of its member, if it has one.
    #[must_use]
    pub fn status(&self) -> Option<IpcpStatus> {
        self.irm().show_ipcp(self.ipcps().1?).ok()
    }

    /// A column of a table of that.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn column(&self, table: &str, column: &str) -> Vec<String> {
        let status = self.status().unwrap_or_default();
        let Some(table) = status.sections.iter().find(|it| it.name == table) else {
            return Vec::new();
        };
        let at = table.columns.iter().position(|it| it == column);
        let at = at.expect("the column");
        let rows = table.rows.iter();
        rows.map(|row| row.cells[at].clone()).collect()
    }

    /// The address of its member.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn address(&self) -> String {
        self.column("member", "address").concat()
    }

    /// Waits until something holds; how long that was.
    ///
    /// # Panics
    /// If that fails.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
        let begin = Instant::now();
        while !holds() {
            assert!(
                begin.elapsed() < PATIENCE,
                "{}: {what}: {:?}\n{}",
                self.name,
                self.status(),
                self.log()
            );
            thread::yield_now();
        }
        begin.elapsed()
    }

    /// Kills the daemon, and waits until its IPCPs are gone.
    ///
    /// # Panics
    /// If that fails.
    pub fn kill_daemon(&mut self) {
        let (pids, _) = self.ipcps();
        assert!(!pids.is_empty());
        self.daemon
            .as_mut()
            .expect("a daemon")
            .kill()
            .expect("it can be killed");
        self.daemon = None;
        self.until("IPCPs end with their daemon", || {
            pids.iter().all(|pid| is_gone(*pid))
        });
    }

    /// Makes this process serve `name` in the unicast layer here.
    ///
    /// # Panics
    /// If that fails.
    pub fn serve(&self, name: &str) {
        let irm = self.irm();
        let info = NameInfo {
            name: name.to_owned(),
            ..NameInfo::default()
        };
        irm.create_name(&info).unwrap();
        irm.reg_name(name, self.ipcps().1.expect("a member"))
            .unwrap();
        self.node.announce().unwrap();
        irm.bind_process(own_pid(), name).unwrap();
    }
}

/// Whether a process has ended, reaped or not.
#[must_use]
pub fn is_gone(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

/// Kills a process as with `kill -9`.
///
/// # Panics
/// If that fails.
pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it can be killed");
}

/// Machines of these names with cables between these; each has a file with an IPCP per cable and a member of
/// the unicast layer `net`. The first bootstraps it, the others enroll with, and connect to, those before them
/// that they have a cable to.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn network(names: &[&str], cables: &[(usize, usize)], options: &str) -> Vec<Machine> {
    layer(IpcpType::Unicast, names, cables, options)
}

/// The same with a layer of this type.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn layer(
    ipcp_type: IpcpType,
    names: &[&str],
    cables: &[(usize, usize)],
    options: &str,
) -> Vec<Machine> {
    let machines: Vec<Machine> = names.iter().map(|name| Machine::new(name)).collect();
    for &(one, other) in cables {
        let (one, other) = (&machines[one], &machines[other]);
        let device = |to: &Machine| format!("to-{}", to.name);
        one.netns
            .cable(&device(other), &other.netns, &device(one), 1500);
    }
    for (number, machine) in machines.iter().enumerate() {
        let member = machine.member();
        let mut text = String::new();
        let mut before = Vec::new();
        for &(one, other) in cables {
            let peer = match (one == number, other == number) {
                (true, _) => other,
                (_, true) => one,
                _ => continue,
            };
            if peer < number {
                before.push(machines[peer].member());
            }
            let (low, high) = (&machines[one].name, &machines[other].name);
            text += &format!(
                "[eth-dix.cable-{low}{high}]\nbootstrap = \"lan-{low}{high}\"\ndev = \"to-{}\"\n\
                 reg = [{member:?}]\n",
                machines[peer].name
            );
        }
        let ipcp_type = ipcp_type.as_str();
        text += &format!("[{ipcp_type}.{member}]\nautobind = true\n");
        text += &match before.first() {
            None => format!("bootstrap = \"net\"\n{options}"),
            Some(first) => format!("enrol = {first:?}\nconn = {before:?}\n"),
        };
        fs::write(machine.config.path().join("irmd.conf"), text).expect("a file");
    }
    machines
}

/// Waits until the members of these machines reach each other, as they are now, and nobody else.
///
/// # Panics
/// If that fails.
pub fn until_whole<'a>(machines: impl IntoIterator<Item = &'a Machine>) {
    let machines: Vec<_> = machines.into_iter().collect();
    for machine in &machines {
        machine.until("it reaches all others", || {
            let others = machines.iter().filter(|other| other.name != machine.name);
            let others: BTreeSet<_> = others.map(|other| other.address()).collect();
            let reached = machine.column("routes", "destination");
            reached.len() == others.len() && others == reached.into_iter().collect()
        });
    }
}

/// Both ends of a flow in this process.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn pair(client: &Machine, server: &Machine, name: &str, qos: QosSpec) -> (Flow, Flow) {
    let (to, from) = (server.node.clone(), client.node.clone());
    thread::scope(|scope| {
        let limit = Some(PATIENCE);
        let accept = scope.spawn(move || to.accept(limit).unwrap());
        // The directory may not have the name yet.
        let begin = Instant::now();
        let client = loop {
            match from.alloc(name, qos, limit) {
                Ok(flow) => break flow,
                Err(error) => assert!(
                    begin.elapsed() < PATIENCE,
                    "{error}\n{:?}\n{:?}",
                    client.status(),
                    server.status()
                ),
            }
        };
        (client, accept.join().unwrap())
    })
}

/// A message there and back; how long that took.
///
/// # Panics
/// If that fails.
pub fn echo(client: &Flow, server: &Flow, number: u32) -> Duration {
    for flow in [client, server] {
        flow.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let begin = Instant::now();
    client.write(&number.to_le_bytes()).unwrap();
    let message = server.read_packet().unwrap();
    assert_eq!(message, number.to_le_bytes());
    server.write(&message).unwrap();
    assert_eq!(client.read_packet().unwrap(), number.to_le_bytes());
    begin.elapsed()
}

/// Messages there and back until the deadline; the longest interruption.
///
/// # Panics
/// If that fails.
pub fn echo_for(client: &Flow, server: &Flow, time: Duration) -> Duration {
    let end = Instant::now() + time;
    let mut longest = Duration::ZERO;
    let mut number = 0;
    while Instant::now() < end {
        longest = longest.max(echo(client, server, number));
        number += 1;
        // A bounded load: the other tests need the processors, too.
        thread::sleep(Duration::from_millis(2));
    }
    longest
}
