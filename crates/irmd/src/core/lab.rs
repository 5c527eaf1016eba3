//! A world for the core's tests: nothing is real, the clock is set by hand, everything is counted.

mod bodies;
mod fake;
mod layer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    time::{Duration, Instant},
};

use o7s::{
    Error, ErrorKind, Result,
    control::{
        Body, CreateIpcp, Empty, Failure, FlowEnd, FlowInfo, Hello, IpcpJoined, IpcpType, VERSION,
    },
};

use super::{
    Conn, ConnId, Core, Peer, Settings, Trust,
    flow::Flow,
    limits,
    process::Process,
    request::What,
    security::{Agreed, Demand, Outcome, Role, Work},
};
pub(super) use bodies::*;
pub(super) use fake::Fake;

use crate::security::{Engine, Pending, files::SecurityDir};

/// The daemon's owner.
pub(super) const OWNER: u32 = 1000;
/// Somebody else.
pub(super) const STRANGER: u32 = 2000;

/// A core in a fake world.
#[derive(Debug)]
pub(super) struct Lab {
    pub core: Core,
    pub fake: Fake,
    files: tempfile::TempDir,
    next_conn: u64,
    next_id: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with(true)
    }

    pub(super) fn with(direct: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let engine = Engine::load(SecurityDir::at(files.path())).unwrap();
        Self {
            core: Core::new(Settings {
                pid: 1,
                instance: 1,
                trust: Trust { owner: OWNER },
                direct,
                version: "test".to_owned(),
            }),
            fake: Fake {
                now: Instant::now(),
                sent: Vec::new(),
                broken: BTreeSet::new(),
                closed: BTreeSet::new(),
                watched: BTreeSet::new(),
                flows: BTreeSet::new(),
                gone_ends: Vec::new(),
                closed_ends: Vec::new(),
                down_ends: Vec::new(),
                bells: BTreeMap::new(),
                children: BTreeMap::new(),
                started: Vec::new(),
                next_child: 50_000,
                next_channel: 1_000_000,
                no_descriptors: false,
                no_program: false,
                work: VecDeque::new(),
                engine,
            },
            files,
            next_conn: 0,
            next_id: 0,
        }
    }

    pub(super) fn connect_as(&mut self, pid: i32, uid: u32) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let peer = Peer {
            pid,
            uid,
            gid: uid,
            in_group: false,
        };
        self.core.connected(&mut self.fake, conn, peer);
        conn
    }

    pub(super) fn hello(&mut self, conn: ConnId, program: &str, instance: u64, announce: bool) {
        let hello = Hello {
            version: VERSION,
            program: program.to_owned(),
            instance,
            announce,
            ..Hello::default()
        };
        self.say_hello(conn, hello);
    }

    pub(super) fn say_hello(&mut self, conn: ConnId, hello: Hello) {
        self.send(conn, 1, Body::Hello(hello));
        assert!(matches!(self.answer(conn, 1), Some(Body::HelloOk(_))));
    }

    /// A process of a user that announces itself.
    pub(super) fn process_as(&mut self, pid: i32, uid: u32, program: &str) -> ConnId {
        let conn = self.connect_as(pid, uid);
        self.hello(conn, program, pid as u64, true);
        conn
    }

    /// A process of the owner.
    pub(super) fn process(&mut self, pid: i32, program: &str) -> ConnId {
        self.process_as(pid, OWNER, program)
    }

    /// A further connection of a process of the owner.
    pub(super) fn further(&mut self, pid: i32) -> ConnId {
        let conn = self.connect_as(pid, OWNER);
        self.hello(conn, "", pid as u64, false);
        conn
    }

    pub(super) fn manager(&mut self) -> ConnId {
        self.further(9)
    }

    pub(super) fn send(&mut self, conn: ConnId, id: u64, body: Body) {
        self.core.message(&mut self.fake, conn, id, body);
    }

    /// Sends a request and returns its id.
    pub(super) fn start(&mut self, conn: ConnId, body: Body) -> u64 {
        self.next_id += 1;
        let id = 100 + self.next_id;
        self.send(conn, id, body);
        id
    }

    /// Takes the answer to a request, if it is there.
    pub(super) fn answer(&mut self, conn: ConnId, id: u64) -> Option<Body> {
        let mut sent = self.fake.sent.iter();
        let at = sent.position(|(to, of, _)| *to == conn && *of == id)?;
        Some(self.fake.sent.remove(at).2)
    }

    /// Sends a request that is answered at once.
    pub(super) fn call(&mut self, conn: ConnId, body: Body) -> Result<Body> {
        let id = self.start(conn, body);
        self.outcome(conn, id)
    }

    /// The answer to a request, which must be there.
    pub(super) fn outcome(&mut self, conn: ConnId, id: u64) -> Result<Body> {
        match self.answer(conn, id).expect("an answer") {
            Body::Failure(failure) => Err(failure.into()),
            body => Ok(body),
        }
    }

    /// The flow that answers a request.
    pub(super) fn flow(&mut self, conn: ConnId, id: u64) -> FlowInfo {
        match self.outcome(conn, id) {
            Ok(Body::Flow(info)) => info,
            other => panic!("not a flow: {other:?}"),
        }
    }

    pub(super) fn failure(&mut self, conn: ConnId, id: u64) -> ErrorKind {
        self.outcome(conn, id).expect_err("a failure").kind()
    }

    pub(super) fn bind(&mut self, conn: ConnId, pid: i32, name: &str) {
        self.call(conn, bind_body(pid, name)).unwrap();
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.fake.now += time;
        self.core.expire(&mut self.fake);
    }

    /// The IPCP that was started last comes up: its pid and channel.
    pub(super) fn comes_up(&mut self) -> (i32, ConnId) {
        let (pid, channel) = (self.fake.next_child, ConnId(self.fake.next_channel));
        self.hello(channel, "ipcpd", 0, false);
        (pid, channel)
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.core.disconnected(&mut self.fake, conn, true, &[]);
    }

    pub(super) fn child_exited(&mut self, pid: i32) {
        self.fake.children.remove(&pid).expect("a child");
        self.core.child_exited(&mut self.fake, pid, "exit status 1");
    }

    /// Writes the encryption configuration of a role of a name.
    pub(super) fn configure(&self, role: Role, name: &str, text: &str) {
        let dir = self.files.path().join(role.to_string()).join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("enc.conf"), text).unwrap();
    }

    /// What a daemon elsewhere sends into a layer to ask for `name`, and what it keeps.
    pub(super) fn far_request(&self, name: &str) -> (Vec<u8>, Box<Pending>) {
        let work = Work::Request {
            client: self.core.half(Role::Client, name),
            demand: Demand::default(),
            max: 2000,
        };
        match self.fake.engine.run(work) {
            Ok(Outcome::Requested(request, pending)) => (request, pending),
            other => panic!("{other:?}"),
        }
    }

    /// What a daemon elsewhere answers to a request for `name`, and what it learns.
    pub(super) fn far_response(&self, name: &str, request: Vec<u8>) -> (Vec<u8>, Agreed) {
        let work = Work::Respond {
            server: self.core.half(Role::Server, name),
            request,
            max: 2000,
            arrived: None,
        };
        match self.fake.engine.run(work) {
            Ok(Outcome::Responded(response, agreed)) => (response, agreed),
            other => panic!("{other:?}"),
        }
    }

    /// Lets a worker do the step that was started first; false if there is none.
    pub(super) fn work(&mut self) -> bool {
        let Some((number, work)) = self.fake.work.pop_front() else {
            return false;
        };
        let outcome = self.fake.engine.run(work);
        self.core.work_done(&mut self.fake, number, outcome);
        true
    }

    /// Lets the workers do everything.
    pub(super) fn work_all(&mut self) {
        while self.work() {}
    }

    /// The notifications sent on a connection.
    pub(super) fn notices(&mut self, conn: ConnId) -> Vec<FlowEnd> {
        let mut ends = Vec::new();
        while let Some(body) = self.answer(conn, 0) {
            match body {
                Body::FlowsChanged(changed) => ends.extend(changed.ends),
                other => panic!("not a notice: {other:?}"),
            }
        }
        ends
    }

    /// An IPCP in a layer whose programs share segments: its pid and channel.
    pub(super) fn layer(&mut self, name: &str) -> (i32, ConnId) {
        self.layer_of(IpcpType::Local, name, true)
    }

    /// An IPCP in a layer whose flows end in it: its pid and channel.
    pub(super) fn network(&mut self, name: &str) -> (i32, ConnId) {
        self.layer_of(IpcpType::EthDix, name, false)
    }

    /// An IPCP that is in no layer yet: its pid and channel.
    pub(super) fn ipcp(&mut self, ipcp_type: IpcpType, name: &str) -> (i32, ConnId) {
        let manager = self.manager();
        let create = CreateIpcp {
            name: name.to_owned(),
            ipcp_type: ipcp_type.into(),
        };
        let id = self.start(manager, Body::CreateIpcp(create));
        let (pid, channel) = self.comes_up();
        assert!(matches!(self.outcome(manager, id), Ok(Body::Pid(made)) if made.pid == pid));
        self.disconnect(manager);
        (pid, channel)
    }

    /// An IPCP of some type in a layer of the same name: its pid and channel.
    pub(super) fn layer_of(
        &mut self,
        ipcp_type: IpcpType,
        name: &str,
        shares_segments: bool,
    ) -> (i32, ConnId) {
        let (pid, channel) = self.ipcp(ipcp_type, name);
        let manager = self.manager();
        let config = config_of(ipcp_type, name);
        let boot = o7s::control::BootstrapIpcp {
            pid,
            config: config.clone(),
        };
        let id = self.start(manager, Body::BootstrapIpcp(boot));
        let (call, asked) = self.asked(channel);
        assert_eq!(asked, Body::IpcpBootstrap(config.clone()));
        let joined = IpcpJoined {
            layer: config.layer,
            shares_segments,
        };
        self.send(channel, call, Body::IpcpJoined(joined));
        assert!(matches!(self.outcome(manager, id), Ok(Body::Layer(_))));
        self.disconnect(manager);
        (pid, channel)
    }

    /// Takes the first message to an IPCP.
    pub(super) fn asked(&mut self, channel: ConnId) -> (u64, Body) {
        let mut sent = self.fake.sent.iter();
        let at = sent.position(|(to, ..)| *to == channel).expect("a message");
        let (_, id, body) = self.fake.sent.remove(at);
        (id, body)
    }

    pub(super) fn done(&mut self, channel: ConnId, id: u64) {
        self.send(channel, id, Body::Done(Empty {}));
    }

    pub(super) fn refuse(&mut self, channel: ConnId, id: u64, kind: ErrorKind) {
        let failure = Failure::from(&Error::new(kind, "refused by the layer"));
        self.send(channel, id, Body::Failure(failure));
    }

    /// Nothing is left without these connections, and the workers have nothing to do that anybody wants.
    pub(super) fn end(mut self, conns: &[ConnId]) {
        for conn in conns {
            self.disconnect(*conn);
        }
        self.assert_empty();
        self.work_all();
        self.assert_empty();
        self.assert_consistent();
    }

    /// Everything that a client can leave behind is gone.
    pub(super) fn assert_empty(&self) {
        let core = &self.core;
        let none: [(&str, usize); 9] = [
            ("connections", core.conns.values().map(is_client).sum()),
            ("processes", core.processes.len()),
            ("requests", core.requests.len()),
            ("layer requests", core.layer_allocs.len()),
            ("flows", core.flows.len()),
            ("bells", core.bells.len()),
            ("segments", self.fake.flows.len()),
            ("doorbells", self.fake.bells.len()),
            ("waiting steps", core.jobs.counts().1),
        ];
        for (what, count) in none {
            assert_eq!(count, 0, "{what} left");
        }
        assert!(self.fake.watched.is_empty());
        for entry in core.names.entries() {
            assert!(entry.queue.is_empty() && entry.waiting.is_empty());
            let mut pids = entry.processes.iter();
            assert!(pids.all(|pid| core.ipcps.contains_key(pid)));
        }
    }

    /// The tables agree with each other and with the world.
    pub(super) fn assert_consistent(&self) {
        let core = &self.core;
        let segments: BTreeSet<u64> = core.flows.keys().copied().collect();
        assert_eq!(segments, self.fake.flows);
        let bells: BTreeSet<u64> = self.fake.bells.keys().copied().collect();
        assert_eq!(bells.len(), core.bells.len());
        let watched: BTreeSet<i32> = core.processes.keys().copied().collect();
        assert_eq!(watched, self.fake.watched);
        let ends: usize = core
            .processes
            .values()
            .map(|p: &Process| p.ends.len())
            .sum();
        let ends = ends + core.ipcp_ends_open();
        let open: usize = core.flows.values().map(Flow::open_ends).sum();
        assert_eq!(ends, open);
        for entry in core.names.entries() {
            let known = |key| core.requests.contains_key(key);
            assert!(entry.queue.iter().all(known));
            assert!(entry.waiting.iter().all(known));
        }
        let pending: usize = core.conns.values().map(|conn| conn.requests.len()).sum();
        assert_eq!(pending, core.requests.len());
        assert!(core.timers.len() <= core.requests.len() * 2 + 64);
        let (running, waiting) = core.jobs.counts();
        assert_eq!(running, self.fake.work.len());
        assert!(running <= limits::STEPS_RUNNING);
        assert!(waiting == 0 || running == limits::STEPS_RUNNING);
        let busy = core.requests.values().filter(
            |request| matches!(&request.what, What::Alloc(alloc) if alloc.exchange.is_busy()),
        );
        assert!(busy.count() <= running + waiting);
    }
}

fn is_client(conn: &Conn) -> usize {
    usize::from(!matches!(conn.role, super::Role::Ipcp { .. }))
}
