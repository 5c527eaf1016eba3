//! Unicast layers with real processes: members in a line over a local layer, layers over layers, reliable
//! and encrypted flows, members that die and come again; and a line of machines over UDP.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use o7s::{
    ErrorKind, Flow, QosSpec,
    control::{Udp4Config, Udp4Host},
    irm::{IpcpConfig, IpcpType, NameInfo},
};
use o7s_tests::{TestNode, bulk, digest, own_pid, qos};

const MANAGEMENT: &str = "Management";
const DATA: &str = "Data Transfer";

/// A unicast layer of which all members are at one daemon, which connects nobody directly.
struct Layer<'a> {
    test: &'a TestNode,
    name: String,
    /// IPCP in whose layer the members have their names.
    below: i32,
    members: Vec<i32>,
}

fn node() -> TestNode {
    TestNode::start_with(&["--no-direct"])
}

fn layer_config(layer: &str) -> IpcpConfig {
    let mut config = IpcpConfig::new(IpcpType::Unicast, layer);
    let unicast = config.unicast.as_mut().expect("a unicast layer");
    // Tests wait for what happens, not for a timer.
    unicast.dt.routing.ls.t_update = 1;
    unicast.dt.routing.ls.t_timeo = 5;
    unicast.dt.routing.ls.t_recalc = 1;
    config
}

impl<'a> Layer<'a> {
    /// A layer with one member.
    fn start(test: &'a TestNode, name: &str, below: i32) -> Self {
        let mut layer = Self {
            test,
            name: name.to_owned(),
            below,
            members: Vec::new(),
        };
        let pid = layer.create();
        let info = test.irm().bootstrap_ipcp(pid, &layer_config(name)).unwrap();
        assert_eq!(info.name, name);
        layer
    }

    fn member_name(&self, number: usize) -> String {
        format!("{}.{number}", self.name)
    }

    /// An IPCP that is no member yet, with its name in the layer below.
    fn create(&mut self) -> i32 {
        let name = self.member_name(self.members.len());
        let irm = self.test.irm();
        let pid = irm.create_ipcp(&name, IpcpType::Unicast).unwrap();
        let info = NameInfo {
            name: name.clone(),
            ..NameInfo::default()
        };
        irm.create_name(&info).unwrap();
        irm.reg_name(&name, self.below).unwrap();
        irm.bind_process(pid, &name).unwrap();
        self.members.push(pid);
        pid
    }

    /// One more member, enrolled by and connected to the one before it.
    fn join(&mut self, qos: QosSpec) -> i32 {
        let before = self.member_name(self.members.len() - 1);
        let pid = self.create();
        let info = self.test.irm().enroll_ipcp(pid, &before).unwrap();
        assert_eq!(info.name, self.name);
        self.connect(pid, &before, qos);
        pid
    }

    fn connect(&self, pid: i32, dst: &str, qos: QosSpec) {
        let irm = self.test.irm();
        irm.connect_ipcp(pid, dst, MANAGEMENT, QosSpec::RAW)
            .unwrap();
        irm.connect_ipcp(pid, dst, DATA, qos).unwrap();
    }

    /// A line of members over raw flows.
    fn line(test: &'a TestNode, name: &str, below: i32, count: usize) -> Self {
        let mut layer = Self::start(test, name, below);
        for _ in 1..count {
            layer.join(QosSpec::RAW);
        }
        layer.until_routed(count);
        layer
    }

    /// Waits until every member reaches all others.
    fn until_routed(&self, count: usize) {
        for pid in self.members.iter().take(count) {
            self.until(*pid, "routes", count - 1);
        }
    }

    /// Waits until a table of a member has that many rows.
    fn until(&self, pid: i32, section: &str, rows: usize) {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.test.irm().show_ipcp(pid).unwrap();
            let found = status.sections.iter().find(|it| it.name == section);
            if found.is_some_and(|found| found.rows.len() == rows) {
                return;
            }
            assert!(Instant::now() < limit, "no {rows} {section}: {status:?}");
            thread::yield_now();
        }
    }

    /// Makes this process serve `name` in the layer, registered at member `at`.
    fn serve(&self, name: &str, at: usize) {
        let irm = self.test.irm();
        let info = NameInfo {
            name: name.to_owned(),
            ..NameInfo::default()
        };
        irm.create_name(&info).unwrap();
        irm.reg_name(name, self.members[at]).unwrap();
        self.test.node().announce().unwrap();
        irm.bind_process(own_pid(), name).unwrap();
    }
}

/// Both ends of a flow, in this process.
fn pair(test: &TestNode, name: &str, qos: QosSpec) -> (Flow, Flow) {
    thread::scope(|scope| {
        let accept = scope.spawn(|| test.node().accept(Some(Duration::from_secs(20))).unwrap());
        let client = test.node().alloc(name, qos, Some(Duration::from_secs(20)));
        (client.unwrap(), accept.join().unwrap())
    })
}

/// Messages there and back.
fn echo(client: &Flow, server: &Flow, count: u32) {
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for number in 0..count {
        client.write(&number.to_le_bytes()).unwrap();
        let message = server.read_packet().unwrap();
        assert_eq!(message, number.to_le_bytes());
        server.write(&message).unwrap();
        assert_eq!(client.read_packet().unwrap(), number.to_le_bytes());
    }
}

#[test]
fn flows_of_every_kind_over_two_members() {
    let test = node();
    let layer = Layer::line(&test, "net", test.ipcp(), 2);
    layer.serve("svc", 1);
    for words in [
        &[][..],
        &["in_order=1"],
        &["in_order=1", "loss=0"],
        &["cypher_s=256"],
        &["cypher_s=256", "in_order=1", "loss=0"],
    ] {
        let (client, server) = pair(&test, "svc", qos(words));
        assert_eq!(client.peer_pid(), layer.members[0], "over the layer");
        echo(&client, &server, 100);
        client.dealloc().unwrap();
        server.dealloc().unwrap();
    }
    // Those of the two members are left: management and data.
    test.until_status(|status| status.flows == 2);
    for pid in &layer.members {
        layer.until(*pid, "flows", 0);
    }
}

#[test]
fn a_line_of_three_carries_a_reliable_transfer() {
    const TOTAL: usize = 3_000_000;
    let test = node();
    let layer = Layer::line(&test, "net", test.ipcp(), 3);
    // The daemon asks its IPCPs in turn: the first one that finds the name gets the flow.
    layer.serve("svc", 2);
    let (client, server) = pair(&test, "svc", qos(&["in_order=1", "loss=0"]));
    assert_eq!(client.peer_pid(), layer.members[0], "two hops away");
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let sent = bulk(&client, TOTAL, 1000).unwrap();
            client.dealloc().unwrap();
            sent
        });
        assert_eq!(digest(&server, TOTAL).unwrap(), sent.join().unwrap());
    });
    server.dealloc().unwrap();
}

#[test]
fn connections_of_members_may_be_reliable_or_encrypted() {
    let test = node();
    let mut layer = Layer::start(&test, "net", test.ipcp());
    layer.join(qos(&["in_order=1", "loss=0"]));
    layer.join(qos(&["cypher_s=256"]));
    layer.until_routed(3);
    let status = test.irm().show_ipcp(layer.members[2]).unwrap();
    let neighbours = status.sections.iter().find(|it| it.name == "neighbours");
    let neighbours = neighbours.unwrap();
    let column = neighbours
        .columns
        .iter()
        .position(|it| it == "encryption_bits");
    let bits = |row: usize| &*neighbours.rows[row].cells[column.unwrap()];
    assert_eq!([bits(0), bits(1)], ["0", "256"], "management, data");
    layer.serve("svc", 2);
    let (client, server) = pair(&test, "svc", QosSpec::RAW);
    echo(&client, &server, 50);
}

#[test]
fn a_layer_over_a_layer() {
    let test = node();
    let lower = Layer::line(&test, "lower", test.ipcp(), 2);
    let mut upper = Layer::start(&test, "upper", lower.members[0]);
    // The second member of the upper layer is reached through the lower one.
    upper.below = lower.members[1];
    upper.join(QosSpec::RAW);
    upper.until_routed(2);
    upper.serve("svc", 1);
    let (client, server) = pair(&test, "svc", qos(&["in_order=1", "loss=0"]));
    assert_eq!(client.peer_pid(), upper.members[0]);
    echo(&client, &server, 50);
}

#[test]
fn a_name_that_nobody_has_is_refused_at_once() {
    let test = node();
    let layer = Layer::line(&test, "net", test.ipcp(), 2);
    let info = NameInfo {
        name: "nobody".to_owned(),
        ..NameInfo::default()
    };
    test.irm().create_name(&info).unwrap();
    let begin = Instant::now();
    let refused = test.node().alloc("nobody", QosSpec::RAW, None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Ipcp, "{refused}");
    assert!(begin.elapsed() < Duration::from_secs(15));
    drop(layer);
}

#[test]
fn the_middle_member_dies_and_comes_again() {
    let test = node();
    let mut layer = Layer::line(&test, "net", test.ipcp(), 3);
    layer.serve("svc", 2);
    let pid = rustix::process::Pid::from_raw(layer.members[1]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for member in [layer.members[0], layer.members[2]] {
        layer.until(member, "routes", 0);
        layer.until(member, "neighbours", 0);
    }
    // Another one takes its place, and the others are members still.
    let again = layer.create();
    let irm = test.irm();
    irm.enroll_ipcp(again, "net.0").unwrap();
    layer.connect(again, "net.0", QosSpec::RAW);
    layer.connect(again, "net.2", QosSpec::RAW);
    for member in [layer.members[0], layer.members[2], again] {
        layer.until(member, "routes", 2);
    }
    let (client, server) = pair(&test, "svc", QosSpec::RAW);
    echo(&client, &server, 10);
}

#[test]
fn a_connection_is_made_once() {
    let test = node();
    let layer = Layer::line(&test, "net", test.ipcp(), 2);
    let irm = test.irm();
    let again = |component| {
        let pid = layer.members[1];
        irm.connect_ipcp(pid, "net.0", component, QosSpec::RAW)
            .unwrap()
    };
    assert!(!again(MANAGEMENT) && !again(DATA));
    for pid in &layer.members {
        layer.until(*pid, "neighbours", 2);
        // The directory of each knows the other.
        layer.until(*pid, "contacts", 1);
    }
    irm.disconnect_ipcp(layer.members[1], "net.0", DATA)
        .unwrap();
    assert!(again(DATA) && !again(MANAGEMENT));
}

#[test]
fn disconnected_members_lose_their_way() {
    let test = node();
    let layer = Layer::line(&test, "net", test.ipcp(), 2);
    let irm = test.irm();
    irm.disconnect_ipcp(layer.members[1], "net.0", DATA)
        .unwrap();
    irm.disconnect_ipcp(layer.members[1], "net.0", MANAGEMENT)
        .unwrap();
    for pid in &layer.members {
        layer.until(*pid, "routes", 0);
    }
    layer.connect(layer.members[1], "net.0", QosSpec::RAW);
    layer.until_routed(2);
}

/// A machine with a UDP layer and one IPCP of the unicast layer.
struct Machine {
    test: TestNode,
    number: u8,
    udp: i32,
    unicast: i32,
}

/// Address of a machine: of this test process only, so that others run beside it. Each test has another `first`.
fn ip(first: u8, number: u8) -> Ipv4Addr {
    let [.., high, low] = own_pid().to_be_bytes();
    Ipv4Addr::new(127, high, low, first + number)
}

impl Machine {
    fn start(number: u8, first: u8) -> Self {
        let test = TestNode::start();
        let irm = test.irm();
        let udp = irm.create_ipcp("udp", IpcpType::Udp4).unwrap();
        let mut config = IpcpConfig::new(IpcpType::Udp4, "udp");
        let mut udp4 = Udp4Config::new(ip(first, number), None, 3435);
        for other in 0..3 {
            let name = format!("u{other}");
            udp4.hosts
                .push(Udp4Host::new(&name, ip(first, other), None));
        }
        config.udp4 = Some(udp4);
        irm.bootstrap_ipcp(udp, &config).unwrap();
        let mut machine = Self {
            test,
            number,
            udp,
            unicast: 0,
        };
        let name = machine.name();
        let info = NameInfo {
            name: name.clone(),
            ..NameInfo::default()
        };
        machine.test.irm().create_name(&info).unwrap();
        machine.test.irm().reg_name(&name, machine.udp).unwrap();
        machine.create();
        machine
    }

    fn name(&self) -> String {
        format!("u{}", self.number)
    }

    fn create(&mut self) {
        let irm = self.test.irm();
        self.unicast = irm.create_ipcp(&self.name(), IpcpType::Unicast).unwrap();
        irm.bind_process(self.unicast, &self.name()).unwrap();
    }

    fn enroll(&self, dst: &Self) {
        self.test
            .irm()
            .enroll_ipcp(self.unicast, &dst.name())
            .unwrap();
    }

    fn connect(&self, dst: &Self) {
        let irm = self.test.irm();
        for component in [MANAGEMENT, DATA] {
            irm.connect_ipcp(self.unicast, &dst.name(), component, QosSpec::RAW)
                .unwrap();
        }
    }

    /// Addresses and components of its neighbours.
    fn neighbours(&self) -> Vec<Vec<String>> {
        let status = self.test.irm().show_ipcp(self.unicast).unwrap();
        let mut sections = status.sections.into_iter();
        let found = sections.find(|it| it.name == "neighbours").unwrap();
        let rows = found.rows.into_iter();
        rows.map(|row| row.cells[..2].to_vec()).collect()
    }

    fn until_routes(&self, count: usize) {
        let layer = Layer {
            test: &self.test,
            name: "net".to_owned(),
            below: self.udp,
            members: vec![self.unicast],
        };
        layer.until(self.unicast, "routes", count);
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_member_that_is_stopped_is_avoided_until_it_goes_on() {
    use rustix::process::Signal;

    let machines = [0, 1].map(|number| Machine::start(number, 20));
    let [first, last] = &machines;
    let irm = first.test.irm();
    irm.bootstrap_ipcp(first.unicast, &layer_config("net"))
        .unwrap();
    last.enroll(first);
    last.connect(first);
    for machine in &machines {
        machine.until_routes(1);
    }
    let begin = Instant::now();
    signal(last.unicast, Signal::STOP);
    first.until_routes(0);
    let noticed = begin.elapsed();
    assert!(noticed < Duration::from_secs(3), "{noticed:?}");
    signal(last.unicast, Signal::CONT);
    // Both go on with the connections that they have.
    for machine in &machines {
        machine.until_routes(1);
        let neighbours = machine.neighbours();
        assert_eq!(neighbours.len(), 2, "{neighbours:?}");
    }
}

#[test]
fn a_line_of_machines_over_udp() {
    const TOTAL: usize = 500_000;
    let mut machines = [0, 1, 2].map(|number| Machine::start(number, 10));
    let [first, middle, last] = &machines;
    let irm = first.test.irm();
    irm.bootstrap_ipcp(first.unicast, &layer_config("net"))
        .unwrap();
    middle.enroll(first);
    middle.connect(first);
    last.enroll(middle);
    last.connect(middle);
    for machine in &machines {
        machine.until_routes(2);
    }
    let info = NameInfo {
        name: "svc".to_owned(),
        ..NameInfo::default()
    };
    irm.create_name(&info).unwrap();
    irm.reg_name("svc", first.unicast).unwrap();
    first.test.node().announce().unwrap();
    irm.bind_process(own_pid(), "svc").unwrap();
    let across = |words: &[&str]| {
        let (server, client) = (first.test.node(), last.test.node());
        thread::scope(|scope| {
            let limit = Some(Duration::from_secs(20));
            let accept = scope.spawn(move || server.accept(limit).unwrap());
            let client = client.alloc("svc", qos(words), limit).unwrap();
            (client, accept.join().unwrap())
        })
    };
    for words in [&[][..], &["cypher_s=256", "in_order=1", "loss=0"]] {
        let (client, server) = across(words);
        echo(&client, &server, 20);
    }
    let (client, server) = across(&["in_order=1", "loss=0"]);
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let sent = bulk(&client, TOTAL, 5000).unwrap();
            client.dealloc().unwrap();
            sent
        });
        assert_eq!(digest(&server, TOTAL).unwrap(), sent.join().unwrap());
    });
    // The member in the middle is killed; another one takes its place.
    let pid = rustix::process::Pid::from_raw(middle.unicast).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let gone = machines[1].unicast;
    machines[1].test.until_status(|status| status.ipcps == 2);
    machines[1].create();
    assert_ne!(machines[1].unicast, gone);
    let [first, middle, last] = &machines;
    middle.enroll(first);
    middle.connect(first);
    middle.connect(last);
    middle.until_routes(2);
}
