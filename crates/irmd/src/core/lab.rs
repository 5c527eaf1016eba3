//! A world for the core's tests: nothing is real, the clock is set by hand, everything is counted.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    time::{Duration, Instant},
};

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{
        BindProcess, BindProgram, Body, CreateIpcp, Empty, Failure, FlowAccept, FlowAlloc, FlowEnd,
        FlowInfo, Hello, IpcpConfig, IpcpJoined, IpcpType, NameInfo, RegName, VERSION,
    },
};

use super::{
    Conn, ConnId, Context, Core, Peer, Program, Settings, Side, Signal, Trust,
    flow::Flow,
    limits,
    process::Process,
    request::What,
    security::{Agreed, Demand, Half, Outcome, Role, Work},
};
use crate::security::{Engine, Pending, files::SecurityDir};

/// The daemon's owner.
pub(super) const OWNER: u32 = 1000;
/// Somebody else.
pub(super) const STRANGER: u32 = 2000;

#[derive(Debug)]
pub(super) struct Fake {
    pub now: Instant,
    pub sent: Vec<(ConnId, u64, Body)>,
    /// Connections that are gone without the core knowing it yet.
    pub broken: BTreeSet<ConnId>,
    pub closed: BTreeSet<ConnId>,
    pub watched: BTreeSet<i32>,
    pub flows: BTreeSet<u64>,
    pub gone_ends: Vec<(u64, Side)>,
    pub closed_ends: Vec<(u64, Side)>,
    pub down_ends: Vec<(u64, Side)>,
    /// Doorbell sides whose descriptors are still held.
    pub bells: BTreeMap<u64, [bool; 2]>,
    pub children: BTreeMap<i32, Vec<Signal>>,
    pub started: Vec<Program>,
    pub next_child: i32,
    next_channel: u64,
    /// What fails next.
    pub no_descriptors: bool,
    pub no_program: bool,
    /// Steps of key exchanges that the workers have.
    pub work: VecDeque<(u64, Work)>,
    pub engine: Engine,
}

impl Context for Fake {
    fn now(&self) -> Instant {
        self.now
    }

    fn send(&mut self, conn: ConnId, id: u64, body: Body) -> bool {
        if self.broken.contains(&conn) {
            return false;
        }
        self.sent.push((conn, id, body));
        true
    }

    fn send_flow(&mut self, conn: ConnId, id: u64, info: FlowInfo) -> bool {
        assert!(self.flows.contains(&info.flow_id), "flow without memory");
        if info.new_bell {
            assert!(self.bells[&info.bell_id][info.bell_side as usize]);
        }
        self.send(conn, id, Body::Flow(info))
    }

    fn send_to_ipcp(&mut self, conn: ConnId, id: u64, body: Body, info: &FlowInfo) -> bool {
        assert!(self.flows.contains(&info.flow_id), "flow without memory");
        if info.new_bell {
            assert!(self.bells[&info.bell_id][info.bell_side as usize]);
        }
        self.send(conn, id, body)
    }

    fn close(&mut self, conn: ConnId) {
        self.closed.insert(conn);
    }

    fn watch(&mut self, pid: i32, _instance: u64) {
        assert!(self.watched.insert(pid));
    }

    fn unwatch(&mut self, pid: i32) {
        assert!(self.watched.remove(&pid));
    }

    fn make_flow(&mut self, flow: u64) -> Result<()> {
        if self.no_descriptors {
            return Err(Error::new(ErrorKind::NoDescriptors, "none left"));
        }
        assert!(self.flows.insert(flow));
        Ok(())
    }

    fn try_work(&mut self, work: Work) -> std::result::Result<Result<Outcome>, Box<Work>> {
        self.engine.try_now(work)
    }

    fn start_work(&mut self, number: u64, work: Work) {
        self.work.push_back((number, work));
    }

    fn check_files(&self, half: &Half) -> Result<()> {
        self.engine.check_files(half)
    }

    fn end_gone(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.gone_ends.push((flow, side));
        true
    }

    fn end_closed(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.closed_ends.push((flow, side));
        true
    }

    fn end_down(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.down_ends.push((flow, side));
        true
    }

    fn drop_flow(&mut self, flow: u64) {
        assert!(self.flows.remove(&flow));
    }

    fn make_bell(&mut self, bell: u64) -> Result<()> {
        assert!(self.bells.insert(bell, [true; 2]).is_none());
        Ok(())
    }

    fn release_bell(&mut self, bell: u64, side: usize) {
        if let Some(sides) = self.bells.get_mut(&bell) {
            sides[side] = false;
        }
    }

    fn drop_bell(&mut self, bell: u64) {
        assert!(self.bells.remove(&bell).is_some());
    }

    fn spawn_ipcp(&mut self, _ipcp_type: IpcpType, _name: &str) -> Result<(i32, ConnId)> {
        let pid = self.spawn()?;
        self.next_channel += 1;
        Ok((pid, ConnId(self.next_channel)))
    }

    fn spawn_program(&mut self, program: &Program) -> Result<i32> {
        self.started.push(program.clone());
        self.spawn()
    }

    fn signal(&mut self, pid: i32, signal: Signal) {
        self.children.get_mut(&pid).expect("a child").push(signal);
    }

    fn descriptors(&self) -> u64 {
        7
    }
}

impl Fake {
    fn spawn(&mut self) -> Result<i32> {
        if self.no_program {
            return Err(Error::new(ErrorKind::NotFound, "cannot start it: missing"));
        }
        self.next_child += 1;
        self.children.insert(self.next_child, Vec::new());
        Ok(self.next_child)
    }
}

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

pub(super) fn bind_body(pid: i32, name: &str) -> Body {
    Body::BindProcess(BindProcess {
        pid,
        name: Some(name.to_owned()),
    })
}

pub(super) fn program_body(program: &str, name: &str, auto: bool) -> Body {
    Body::BindProgram(BindProgram {
        program: program.to_owned(),
        name: name.to_owned(),
        auto,
        args: vec!["-l".to_owned()],
    })
}

pub(super) fn name_body(name: &str, balance: o7s::control::Balance) -> Body {
    Body::CreateName(NameInfo {
        name: name.to_owned(),
        balance: balance.into(),
        ..NameInfo::default()
    })
}

/// A configuration that is complete.
pub(super) fn config_of(ipcp_type: IpcpType, layer: &str) -> IpcpConfig {
    let mut config = IpcpConfig::new(ipcp_type, layer);
    if let Some(eth) = &mut config.eth {
        eth.dev = "eth0".to_owned();
    }
    if let Some(udp) = &mut config.udp4 {
        udp.ip_addr = 0x7f00_0001;
    }
    if let Some(udp) = &mut config.udp6 {
        udp.ip_addr = vec![1; 16];
    }
    config
}

pub(super) fn reg_body(name: &str, pid: i32) -> Body {
    Body::RegName(RegName {
        name: name.to_owned(),
        pid,
    })
}

pub(super) fn alloc_body(dst: &str) -> Body {
    alloc_within(dst, None)
}

pub(super) fn alloc_within(dst: &str, timeout: Option<Duration>) -> Body {
    Body::FlowAlloc(FlowAlloc {
        dst: dst.to_owned(),
        qos: QosSpec::RAW.into(),
        timeout_ns: timeout.map(|timeout| timeout.as_nanos() as u64),
        kex: String::new(),
    })
}

/// A flow whose cipher has at least so many bits.
pub(super) fn alloc_secret(dst: &str, cypher_s: u16) -> Body {
    let qos = QosSpec {
        cypher_s,
        ..QosSpec::RAW
    };
    Body::FlowAlloc(FlowAlloc {
        dst: dst.to_owned(),
        qos: qos.into(),
        timeout_ns: None,
        kex: String::new(),
    })
}

pub(super) fn accept_body(timeout: Option<Duration>) -> Body {
    Body::FlowAccept(FlowAccept {
        timeout_ns: timeout.map(|timeout| timeout.as_nanos() as u64),
    })
}

pub(super) fn dealloc_body(info: &FlowInfo) -> Body {
    Body::FlowDealloc(FlowEnd {
        flow_id: info.flow_id,
        side: info.side,
        ..FlowEnd::default()
    })
}
