//! Names of UDP layers in a name server: a real one, in a network of the test's own.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use o7s::{
    DirHash, ErrorKind,
    control::{Body, Empty, IpcpConfig, IpcpType, Udp4Config, Udp6Config},
};
use o7s_ipcpd::udp::dns::{self, Update};
use support::{
    namespace::own_network,
    node::{Node, connect, next},
};
use tempfile::TempDir;

const CONFIG: &str = r#"
options {
    directory "DIRECTORY";
    pid-file none;
    session-keyfile none;
    listen-on port 53 { 127.0.0.1; };
    listen-on-v6 port 53 { ::1; };
    recursion no;
    dnssec-validation no;
};
controls { };
zone "." { type primary; file "root.zone"; allow-update { UPDATERS; }; };
"#;

const ZONE: &str = "\
. 86400 IN SOA ns. root. 1 3600 600 86400 60
. 86400 IN NS ns.
ns. 86400 IN A 127.0.0.1
";

/// A running name server.
struct Server {
    child: Child,
    _directory: TempDir,
}

impl Server {
    /// None, and a word, if it cannot be had.
    fn start(updaters: &str) -> Option<Self> {
        if !own_network() {
            return None;
        }
        let directory = TempDir::new().unwrap();
        let path = directory.path().to_str().unwrap();
        let config = CONFIG.replace("DIRECTORY", path);
        let config = config.replace("UPDATERS", updaters);
        fs::write(directory.path().join("named.conf"), config).unwrap();
        fs::write(directory.path().join("root.zone"), ZONE).unwrap();
        let started = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(directory.path().join("named.conf"))
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            eprintln!("skipped: there is no 'named' here (Debian: bind9)");
            return None;
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("named ended: {said:#?}");
            };
            if line.ends_with(" running") {
                break;
            }
            said.push(line);
        }
        // It blocks if nobody reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            child,
            _directory: directory,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(task)
}

fn udp4(own: Ipv4Addr) -> IpcpConfig {
    let mut config = IpcpConfig::new(IpcpType::Udp4, "net");
    config.udp4 = Some(Udp4Config::new(own, Some(Ipv4Addr::LOCALHOST), 3435));
    config
}

fn text(name: &str) -> String {
    let hash = DirHash::Md5.digest(name.as_bytes());
    hash.as_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn names_are_published_found_and_withdrawn() {
    let Some(_server) = Server::start("any") else {
        return;
    };
    let mut one = Node::start(&udp4(Ipv4Addr::new(127, 0, 0, 2))).unwrap();
    let mut two = Node::start(&udp4(Ipv4Addr::new(127, 0, 0, 3))).unwrap();
    two.register("n");
    let ((_, mut a), (_, mut b)) = connect(&mut one, &mut two, "n");
    a.tx.try_send(b"there").unwrap();
    assert_eq!(next(&mut b), b"there");
    // What the server has is what the specification says, also for others who ask it.
    let server: SocketAddr = (Ipv4Addr::LOCALHOST, 53).into();
    let found = || run(dns::addresses(server, &text("n"), false)).unwrap();
    assert_eq!(found(), [IpAddr::from([127, 0, 0, 3])]);
    // A second member with the name, and one that leaves.
    one.register("n");
    assert_eq!(found().len(), 2);
    let hash = two.hash("n");
    assert_eq!(two.call(Body::IpcpUnreg(hash)), Body::Done(Empty {}));
    assert_eq!(found(), [IpAddr::from([127, 0, 0, 2])]);
    // A name that is not there.
    match one.query("other") {
        Body::Failure(failure) => assert_eq!(failure.errno, ErrorKind::Name.errno()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn udp6_has_addresses_of_its_own_kind() {
    let Some(_server) = Server::start("any") else {
        return;
    };
    let local = Ipv6Addr::LOCALHOST;
    let mut config = IpcpConfig::new(IpcpType::Udp6, "net");
    config.udp6 = Some(Udp6Config::new(local, Some(local), 3435));
    let mut node = Node::start(&config).unwrap();
    node.register("six");
    assert_eq!(node.query("six"), Body::Done(Empty {}));
    let server: SocketAddr = (local, 53).into();
    let found = run(dns::addresses(server, &text("six"), true)).unwrap();
    assert_eq!(found, [IpAddr::V6(local)]);
    let others = run(dns::addresses(server, &text("six"), false)).unwrap();
    assert_eq!(others, Vec::<IpAddr>::new());
}

#[test]
fn more_addresses_than_a_datagram_holds_come_too() {
    let Some(_server) = Server::start("any") else {
        return;
    };
    let server: SocketAddr = (Ipv4Addr::LOCALHOST, 53).into();
    run(async {
        for last in 1..=100 {
            let ip = IpAddr::from([10, 0, 0, last]);
            dns::update(server, Update::Add, "00ff", ip).await.unwrap();
        }
    });
    let found = run(dns::addresses(server, "00ff", false)).unwrap();
    assert_eq!(found.len(), 100);
}

#[test]
fn a_server_that_refuses_is_an_error_that_says_so() {
    let Some(_server) = Server::start("none") else {
        return;
    };
    let mut node = Node::start(&udp4(Ipv4Addr::new(127, 0, 0, 2))).unwrap();
    let hash = node.hash("n");
    match node.call(Body::IpcpReg(hash)) {
        Body::Failure(failure) => {
            assert!(failure.message.contains("allow-update"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
}
