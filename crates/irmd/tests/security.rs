//! Encryption and authentication through a real daemon, directly and over a local layer.

#[path = "support/authority.rs"]
mod authority;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use authority::{Authority, Kind};
use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{
        BindProcess, Body, Cancel, Connection, FlowAlloc, FlowInfo, IpcpConfig, IpcpType,
        LayerInfo, NameInfo, SecurityPaths,
    },
    irm::Irm,
};
use o7s_irmd::embedded::Daemon;
use support::*;

const NAME: &str = "svc";

/// A daemon with a security directory of its own, a server and a client.
struct Setup {
    security: tempfile::TempDir,
    daemon: Daemon,
    server: Connection,
    client: Connection,
    /// Over a local layer.
    layered: bool,
    _announced: Connection,
}

impl Setup {
    /// Starts a daemon after `prepare` has written into the security directory.
    fn new(layered: bool, prepare: impl FnOnce(&Path)) -> Self {
        let security = tempfile::tempdir().unwrap();
        prepare(security.path());
        let builder = builder().arg("--security-dir").arg(security.path());
        let builder = if layered {
            ipcpd();
            builder.arg("--no-direct")
        } else {
            builder
        };
        let daemon = builder.start().unwrap();
        let dir = daemon.dir();
        let mut announced = announce(dir, "security-test");
        bind_own(&mut announced, NAME);
        if layered {
            let irm = Irm::at(dir.clone());
            let pid = irm.create_ipcp("local", IpcpType::Local).unwrap();
            let layer = LayerInfo {
                name: "home".to_owned(),
                dir_hash: 1,
            };
            let config = IpcpConfig {
                ipcp_type: IpcpType::Local.into(),
                layer,
                local: None,
            };
            irm.bootstrap_ipcp(pid, &config).unwrap();
            irm.reg_name(NAME, pid).unwrap();
        }
        Self {
            server: further(dir, "security-test"),
            client: further(dir, "security-test"),
            security,
            daemon,
            layered,
            _announced: announced,
        }
    }

    /// The folder of the server's or the client's files.
    fn folder(&self, role: &str) -> PathBuf {
        self.security.path().join(role).join(NAME)
    }

    fn configure(&self, role: &str, text: Option<&str>) {
        let dir = self.folder(role);
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("enc.conf");
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }

    /// Allocates a flow: both ends, allocator first. If it fails no acceptor keeps a flow.
    fn flow(&mut self, cypher_s: u16, kex: &str) -> Result<(FlowInfo, FlowInfo)> {
        let accept = self.server.start(accept_body(None)).unwrap();
        let alloc = self.client.start(alloc_with(cypher_s, kex)).unwrap();
        match flow(&mut self.client, alloc) {
            Ok((a, _)) => {
                let (b, _) = flow(&mut self.server, accept).unwrap();
                assert_eq!((a.flow_id, a.side, b.side), (b.flow_id, 0, 1));
                dealloc(&mut self.client, &a);
                dealloc(&mut self.server, &b);
                Ok((a, b))
            }
            Err(error) => {
                let cancel = Body::Cancel(Cancel { id: accept });
                self.server.start(cancel).unwrap();
                // What the client refuses over a layer has been accepted by then.
                if let Ok((b, _)) = flow(&mut self.server, accept) {
                    assert!(self.layered, "{error}");
                    dealloc(&mut self.server, &b);
                }
                let status = status(&mut self.client);
                assert_eq!((status.flows, status.pending), (0, 0));
                Err(error)
            }
        }
    }

    fn secret(&mut self, cypher_s: u16, kex: &str) -> (u32, u32) {
        let (a, b) = self.flow(cypher_s, kex).unwrap();
        assert_eq!(a.qos.cypher_s, b.qos.cypher_s);
        assert_eq!(a.secret, b.secret);
        let secret = a.secret.as_ref().expect("an encrypted flow");
        assert_eq!(secret.key.len(), 32);
        (secret.cipher, a.qos.cypher_s)
    }

    fn refused(&mut self, cypher_s: u16, kex: &str) -> Error {
        self.flow(cypher_s, kex).expect_err("a refusal")
    }
}

fn alloc_with(cypher_s: u16, kex: &str) -> Body {
    let qos = QosSpec {
        cypher_s,
        ..QosSpec::RAW
    };
    Body::FlowAlloc(FlowAlloc {
        dst: NAME.to_owned(),
        qos: qos.into(),
        timeout_ns: None,
        kex: kex.to_owned(),
    })
}

#[test]
fn a_program_asks_for_encryption() {
    for layered in [false, true] {
        let mut setup = Setup::new(layered, |_| {});
        let (a, b) = setup.flow(0, "").unwrap();
        for info in [&a, &b] {
            assert_eq!((&info.secret, info.qos.cypher_s), (&None, 0));
            assert_eq!(info.peer_name, "");
            let extensions = info.extensions.unwrap();
            assert!(extensions.fragments && extensions.selective && extensions.window >= 128);
        }
        assert_eq!(setup.secret(1, ""), (895, 128));
        assert_eq!(setup.secret(128, ""), (895, 128));
        assert_eq!(setup.secret(129, ""), (898, 192));
        assert_eq!(setup.secret(256, ""), (901, 256));
        assert_eq!(setup.secret(256, "X25519MLKEM768"), (901, 256));
        // Two flows never share a key.
        let (first, _) = setup.flow(128, "").unwrap();
        let (second, _) = setup.flow(128, "").unwrap();
        assert_ne!(first.secret, second.secret);
    }
}

#[test]
fn the_configurations_of_client_and_server_are_combined() {
    for layered in [false, true] {
        let mut setup = Setup::new(layered, |_| {});
        let x25519 = Some("kex=X25519\ncipher=aes-128-gcm\nkdf=sha256\n");
        let stronger = Some("kex=prime256v1\ncipher=chacha20-poly1305\nkdf=sha512\n");
        let strict = Some("kex=secp521r1\n");
        for (client, server, cipher) in [
            (None, Some("none"), None),
            (Some("none"), None, None),
            (x25519, None, Some((895, 128))),
            (x25519, Some("none"), Some((895, 128))),
            (x25519, x25519, Some((895, 128))),
            (x25519, stronger, Some((1018, 256))),
            (stronger, None, Some((1018, 256))),
            // An empty file turns encryption on.
            (Some(""), Some(""), Some((901, 256))),
        ] {
            setup.configure("client", client);
            setup.configure("server", server);
            match cipher {
                Some(cipher) => assert_eq!(setup.secret(0, ""), cipher, "{client:?} {server:?}"),
                None => assert_eq!(setup.flow(0, "").unwrap().0.secret, None),
            }
        }
        for (client, server) in [
            (None, x25519),
            (Some("none"), x25519),
            (x25519, strict),
            (x25519, Some("kex=nonsense")),
        ] {
            setup.configure("client", client);
            setup.configure("server", server);
            let error = setup.refused(0, "");
            assert_eq!(
                error.kind(),
                ErrorKind::Crypt,
                "{client:?} {server:?}: {error}"
            );
            assert!(error.to_string().len() > 20, "{error}");
        }
        // What a program asks for is at least what it gets.
        setup.configure("client", x25519);
        setup.configure("server", None);
        assert_eq!(setup.secret(256, ""), (901, 256));
        setup.configure("server", strict);
        assert_eq!(setup.secret(256, ""), (901, 256));
        setup.configure("server", None);
        setup.configure("client", Some("none"));
        let error = setup.refused(1, "");
        assert_eq!(error.kind(), ErrorKind::Crypt);
        setup.configure("client", Some("cipher=nonsense"));
        let error = setup.refused(0, "");
        assert!(error.to_string().contains("enc.conf"), "{error}");
    }
}

#[test]
fn certificates_prove_names() {
    for layered in [false, true] {
        let authority = Authority::new("authority");
        let mut setup = Setup::new(layered, |security| authority.trust(security, "cacert"));
        let (server, client) = (setup.folder("server"), setup.folder("client"));
        for kind in [Kind::Good, Kind::Ed25519] {
            authority.issue(&server, NAME, kind);
            let (a, b) = setup.flow(0, "").unwrap();
            assert_eq!((&*a.peer_name, &*b.peer_name), (NAME, ""), "{kind:?}");
            assert_eq!(a.secret, None);
            setup.secret(256, "");
            authority.issue(&client, "alice", kind);
            let (a, b) = setup.flow(128, "").unwrap();
            assert_eq!((&*a.peer_name, &*b.peer_name), (NAME, "alice"));
            assert_eq!(a.secret, b.secret);
            // A client alone proves who it is.
            fs::remove_dir_all(&server).unwrap();
            let (a, b) = setup.flow(0, "").unwrap();
            assert_eq!((&*a.peer_name, &*b.peer_name), ("", "alice"));
            fs::remove_dir_all(&client).unwrap();
        }
        // With an `enc.conf`, whose digest does not fit this key.
        authority.issue(&server, NAME, Kind::Ed25519);
        setup.configure("server", Some("kex=X25519"));
        setup.configure("client", Some("kex=X25519"));
        let (a, _) = setup.flow(0, "").unwrap();
        assert_eq!(&*a.peer_name, NAME);
        assert!(a.secret.is_some());
    }
}

#[test]
fn certificates_that_prove_nothing_are_refused() {
    for layered in [false, true] {
        let authority = Authority::new("authority");
        let stranger = Authority::new("authority");
        let mut setup = Setup::new(layered, |security| authority.trust(security, "cacert"));
        let (server, client) = (setup.folder("server"), setup.folder("client"));
        let mut servers = |issuer: &Authority, name: &str, kind| {
            issuer.issue(&server, name, kind);
            setup.refused(0, "")
        };
        for error in [
            servers(&authority, "other", Kind::Good),
            servers(&authority, NAME, Kind::Expired),
            servers(&authority, NAME, Kind::NotYet),
            servers(&stranger, NAME, Kind::Good),
        ] {
            // The client refuses the response.
            assert_eq!(error.kind(), ErrorKind::Crypt, "{error}");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
        // The server cannot use what it has.
        let error = servers(&authority, NAME, Kind::OtherKey);
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        fs::write(server.join("key.pem"), "no key").unwrap();
        let error = setup.refused(0, "");
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(error.to_string().contains("key.pem"), "{error}");
        fs::remove_dir_all(&server).unwrap();
        // The server refuses the request.
        for (issuer, kind) in [(&stranger, Kind::Good), (&authority, Kind::Expired)] {
            issuer.issue(&client, "alice", kind);
            let error = setup.refused(0, "");
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
        // A certificate without key is none.
        fs::remove_file(client.join("key.pem")).unwrap();
        assert_eq!(setup.flow(0, "").unwrap().1.peer_name, "");
    }
}

#[test]
fn chains_lead_over_what_the_store_has() {
    let root = Authority::new("root");
    let middle = root.below("middle");
    let mut setup = Setup::new(false, |security| {
        root.trust(security, "cacert");
        middle.trust(security, "untrusted");
    });
    middle.issue(&setup.folder("server"), NAME, Kind::Good);
    assert_eq!(setup.flow(0, "").unwrap().0.peer_name, NAME);

    let mut setup = Setup::new(false, |security| middle.trust(security, "untrusted"));
    middle.issue(&setup.folder("server"), NAME, Kind::Good);
    assert_eq!(setup.refused(0, "").kind(), ErrorKind::Crypt);
}

#[test]
fn a_bad_certificate_in_the_store_stops_the_daemon_at_its_start() {
    let security = tempfile::tempdir().unwrap();
    let store = security.path().join("cacert");
    fs::create_dir(&store).unwrap();
    let run = security.path().join("run");
    let log = security.path().join("log");
    let message = || {
        let builder = Daemon::builder(irmd()).dir(&run);
        let builder = builder.arg("--security-dir").arg(security.path());
        let started = builder.stderr(fs::File::create(&log).unwrap()).start();
        assert!(started.is_err());
        fs::read_to_string(&log).unwrap()
    };
    fs::write(store.join("wrong.pem"), "nothing").unwrap();
    let wrong = message();
    assert!(wrong.contains("wrong.pem"), "{wrong}");
    fs::remove_file(store.join("wrong.pem")).unwrap();
    fs::create_dir(store.join("folder")).unwrap();
    let folder = message();
    assert!(
        folder.contains("folder") && folder.contains("regular file"),
        "{folder}"
    );
    assert!(!run.exists());
}

/// Row 12 of the reference's defects: paths of a name that was created by message are used.
#[test]
fn files_elsewhere_are_checked_shown_and_used() {
    let authority = Authority::new("authority");
    let mut setup = Setup::new(false, |security| authority.trust(security, "cacert"));
    let irm = Irm::at(setup.daemon.dir().clone());
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let files = |kind: &str| SecurityPaths {
        encryption: path(&format!("{kind}.conf")),
        key: path("key.pem"),
        certificate: path("crt.pem"),
    };
    irm.destroy_name(NAME).unwrap();
    let mut name = NameInfo {
        name: NAME.to_owned(),
        server: Some(files("good")),
        ..NameInfo::default()
    };
    let error = irm.create_name(&name).unwrap_err();
    assert!(error.to_string().contains(&path("")), "{error}");
    authority.issue(elsewhere.path(), NAME, Kind::Good);
    fs::write(path("good.conf"), "kex=X25519").unwrap();
    fs::write(path("bad.conf"), "kex=X25518").unwrap();
    name.server = Some(files("bad"));
    let error = irm.create_name(&name).unwrap_err();
    assert!(error.to_string().contains("bad.conf"), "{error}");
    assert!(error.to_string().contains("X25518"), "{error}");
    name.server = Some(files("good"));
    irm.create_name(&name).unwrap();
    // Again changes nothing.
    irm.create_name(&name).unwrap();
    let listed = irm.list_names().unwrap();
    assert_eq!(listed[0].server, Some(files("good")));
    bind_own(&mut setup.server, NAME);
    assert_eq!(setup.refused(0, "").kind(), ErrorKind::Crypt);
    let (a, _) = setup.flow(200, "").unwrap();
    assert_eq!((&*a.peer_name, a.qos.cypher_s), (NAME, 256));
    fs::remove_file(path("good.conf")).unwrap();
    let error = setup.refused(200, "");
    assert!(error.to_string().contains("good.conf"), "{error}");
}

/// A client that ends or changes its mind while a worker computes.
#[test]
fn clients_leave_during_key_exchanges() {
    let mut setup = Setup::new(false, |_| {});
    setup.configure("client", Some("kex=ffdhe4096"));
    for round in 0..20 {
        let mut client = further(setup.daemon.dir(), "security-test");
        let ids: Vec<u64> = (0..20)
            .map(|_| client.start(alloc_with(0, "")).unwrap())
            .collect();
        // The daemon has read them all.
        status(&mut client);
        if round % 2 == 0 {
            for id in ids {
                client.start(Body::Cancel(Cancel { id })).unwrap();
                let error = flow(&mut client, id).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Interrupted);
            }
        }
    }
    setup.configure("client", None);
    // The daemon sees the ends of the connections one by one.
    while status(&mut setup.client).pending > 0 {}
    setup.flow(0, "").unwrap();
    let status = status(&mut setup.client);
    assert_eq!((status.flows, status.pending), (0, 0));
}

#[test]
fn a_thousand_encrypted_flows_at_once() {
    const CLIENTS: usize = 50;
    const EACH: usize = 20;
    for layered in [false, true] {
        let mut setup = Setup::new(layered, |_| {});
        setup.configure("client", Some("kex=X25519"));
        let dir = setup.daemon.dir().clone();
        let ends = |accepting: bool| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let mut connection = further(&dir, "security-test");
                    thread::spawn(move || {
                        let mut ends = Vec::new();
                        for _ in 0..EACH {
                            let body = if accepting {
                                accept_body(None)
                            } else {
                                alloc_with(0, "")
                            };
                            let id = connection.start(body).unwrap();
                            ends.push(flow(&mut connection, id).unwrap().0);
                        }
                        for end in &ends {
                            dealloc(&mut connection, end);
                        }
                        ends
                    })
                })
                .collect();
            move || {
                let ends = threads.into_iter().map(|thread| thread.join().unwrap());
                let mut ends: Vec<FlowInfo> = ends.flatten().collect();
                ends.sort_by_key(|info| info.flow_id);
                ends
            }
        };
        let (servers, clients) = (ends(true), ends(false));
        let (b, a) = (servers(), clients());
        assert_eq!((a.len(), b.len()), (CLIENTS * EACH, CLIENTS * EACH));
        let mut keys = std::collections::BTreeSet::new();
        for (a, b) in a.iter().zip(&b) {
            assert_eq!((a.flow_id, &a.secret), (b.flow_id, &b.secret));
            assert_eq!(a.qos.cypher_s, 256);
            keys.insert(a.secret.as_ref().unwrap().key.clone());
        }
        assert_eq!(keys.len(), a.len());
        let status = status(&mut setup.client);
        assert_eq!((status.flows, status.pending), (0, 0));
    }
}

/// Whoever binds a process must not be able to look outside the directory through its name.
#[test]
fn a_name_is_no_way_out_of_the_directory() {
    let mut setup = Setup::new(false, |_| {});
    setup.configure("client", Some("kex=X25519"));
    let name = format!("../client/{NAME}");
    let bind = BindProcess {
        pid: own_pid(),
        name: Some(name.clone()),
    };
    setup.server.call(Body::BindProcess(bind)).unwrap();
    let accept = setup.server.start(accept_body(None)).unwrap();
    let alloc = setup.client.start(alloc_body(&name, None)).unwrap();
    let (a, _) = flow(&mut setup.client, alloc).unwrap();
    let (b, _) = flow(&mut setup.server, accept).unwrap();
    assert_eq!((a.secret, b.secret), (None, None));
}

/// `cargo test --release -p o7s-irmd --test security -- --ignored --nocapture times`
#[test]
#[ignore = "a measurement"]
fn times_of_allocation() {
    for layered in [false, true] {
        let way = if layered { "local layer" } else { "direct" };
        for (what, client) in [
            ("in clear", None),
            ("X25519", Some("kex=X25519")),
            ("prime256v1", Some("kex=prime256v1")),
            ("secp521r1", Some("kex=secp521r1")),
            ("X25519MLKEM768", Some("kex=X25519MLKEM768")),
        ] {
            let mut setup = Setup::new(layered, |_| {});
            setup.configure("client", client);
            if client.is_none() {
                fs::remove_dir_all(setup.security.path().join("client")).unwrap();
            }
            let mut times = Vec::new();
            for _ in 0..2000 {
                let accept = setup.server.start(accept_body(None)).unwrap();
                let start = std::time::Instant::now();
                let alloc = setup.client.start(alloc_with(0, "")).unwrap();
                let (a, _) = flow(&mut setup.client, alloc).unwrap();
                times.push(start.elapsed());
                let (b, _) = flow(&mut setup.server, accept).unwrap();
                dealloc(&mut setup.client, &a);
                dealloc(&mut setup.server, &b);
            }
            times.sort();
            let [p50, p99] = [times[1000], times[1980]];
            println!("{way}, {what}: p50 {p50:?}, p99 {p99:?}");
        }
    }
}
