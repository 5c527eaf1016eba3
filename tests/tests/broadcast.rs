//! Broadcast layers: real IPCPs in a line over a local layer, programs that join, peers that speak as
//! 0.23 does, loops, deaths.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{
    ErrorKind, Flow, QosSpec,
    irm::{IpcpConfig, IpcpStatus, IpcpType},
};
use o7s_tests::{TestNode, program};
use o7s_wire::enroll::{Ack, Answer, EnrollmentId, Layer, Request, Response};

const DATA: &str = "Data Transfer";
/// How members of 0.23 introduce their data transfer, and enrollment (captures 08).
const HELLO_DATA: &[u8] = b"\x0a\x0dData Transfer\x12\0\x18\0\x28\0\x40\0";
const HELLO_ENROLLMENT: &[u8] = b"\x0a\x0aEnrollment\x12\x03OEP\x18\x01\x28\0\x40\0";
const LIMIT: Duration = Duration::from_secs(20);

/// IPCPs A, B, C of layer `bc`, each reached by the name `bcA` and so on, connected in a line.
struct Line {
    test: TestNode,
    ipcps: [i32; 3],
}

impl Line {
    fn start() -> Self {
        let test = TestNode::start();
        let irm = test.irm();
        let names = ["bcA", "bcB", "bcC"];
        let ipcps = names.map(|name| {
            let pid = irm.create_ipcp(name, IpcpType::Broadcast).unwrap();
            let info = o7s::irm::NameInfo {
                name: name.to_owned(),
                ..Default::default()
            };
            irm.create_name(&info).unwrap();
            irm.bind_process(pid, name).unwrap();
            pid
        });
        let config = IpcpConfig::new(IpcpType::Broadcast, "bc");
        irm.bootstrap_ipcp(ipcps[0], &config).unwrap();
        for (at, before) in [(1, "bcA"), (2, "bcB")] {
            let layer = irm.enroll_ipcp(ipcps[at], before).unwrap();
            assert_eq!((layer.name.as_str(), layer.dir_hash), ("bc", 1));
            irm.connect_ipcp(ipcps[at], before, DATA, QosSpec::RAW)
                .unwrap();
        }
        let line = Self { test, ipcps };
        line.until(0, |status| count(status, "member") == 1);
        line.until(1, |status| count(status, "member") == 2);
        line
    }

    /// A program that has joined, at A: the daemon takes the first IPCP of the layer.
    fn join(&self) -> Flow {
        let flow = self.test.node().join("bc", Some(LIMIT)).unwrap();
        flow.set_read_timeout(Some(LIMIT)).unwrap();
        flow
    }

    /// A member made by hand, connected to one of the IPCPs.
    fn member(&self, name: &str) -> Flow {
        let ipcp = ["bcA", "bcB", "bcC"]
            .iter()
            .position(|known| *known == name);
        let ipcp = ipcp.unwrap();
        let before = count(&self.status(ipcp), "member");
        let flow = self.greet(name, HELLO_DATA);
        assert_eq!(flow.read_packet().unwrap(), HELLO_DATA);
        // The answer is on its way before the member floods to its new neighbour.
        self.until(ipcp, |status| count(status, "member") == before + 1);
        flow
    }

    /// A flow to one of the IPCPs, with this said.
    fn greet(&self, name: &str, hello: &[u8]) -> Flow {
        let node = self.test.node();
        let flow = node.alloc(name, QosSpec::RAW, Some(LIMIT)).unwrap();
        flow.set_read_timeout(Some(LIMIT)).unwrap();
        flow.write(hello).unwrap();
        flow
    }

    fn status(&self, ipcp: usize) -> IpcpStatus {
        self.test.irm().show_ipcp(self.ipcps[ipcp]).unwrap()
    }

    /// Waits until an IPCP's tables say what they should, by asking again.
    fn until(&self, ipcp: usize, holds: impl Fn(&IpcpStatus) -> bool) {
        let limit = Instant::now() + LIMIT;
        loop {
            let status = self.status(ipcp);
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < limit, "still {status:?}");
            std::thread::yield_now();
        }
    }
}

/// A cell of a table with one row.
fn cell<'a>(status: &'a IpcpStatus, section: &str, column: &str) -> &'a str {
    let mut sections = status.sections.iter();
    let section = sections.find(|known| known.name == section).unwrap();
    let column = section.columns.iter().position(|name| name == column);
    section
        .rows
        .first()
        .map_or("", |row| row.cells[column.unwrap()].as_str())
}

/// Neighbours of a kind.
fn count(status: &IpcpStatus, kind: &str) -> usize {
    let mut sections = status.sections.iter();
    let neighbours = sections.find(|section| section.name == "neighbours");
    neighbours.map_or(0, |section| {
        let rows = section.rows.iter();
        rows.filter(|row| row.cells[1] == kind).count()
    })
}

#[test]
fn all_in_a_line_hear_each_other() {
    let line = Line::start();
    let (one, other) = (line.join(), line.join());
    let (middle, last) = (line.member("bcB"), line.member("bcC"));
    let all = [&one, &other, &middle, &last];
    for speaker in 0..all.len() {
        let said = format!("hello from {speaker}");
        all[speaker].write(said.as_bytes()).unwrap();
        for hearer in (0..all.len()).filter(|hearer| *hearer != speaker) {
            assert_eq!(all[hearer].read_packet().unwrap(), said.as_bytes());
        }
    }
    // Nobody hears itself: the first thing that the others say next is all there is.
    for flow in all {
        assert_eq!(
            flow.try_read_packet().unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
    line.until(0, |status| count(status, "program") == 2);
    drop((one, other, middle, last));
    line.until(0, |status| count(status, "program") == 0);
    line.until(2, |status| count(status, "member") == 1);
}

/// Trap 12: 0.23 cuts at 1,400 bytes. Signs of life (empty packets) stay on their flow.
#[test]
fn packets_of_any_size_pass() {
    let line = Line::start();
    let (program, last) = (line.join(), line.member("bcC"));
    for length in [1, 2, 1399, 1400, 1401, 9000, 65_536, 1_000_000] {
        let packet: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        program.write(b"").unwrap();
        program.write(&packet).unwrap();
        assert!(last.read_packet().unwrap() == packet, "{length} bytes down");
        last.write(b"").unwrap();
        last.write(&packet).unwrap();
        assert!(
            program.read_packet().unwrap() == packet,
            "{length} bytes up"
        );
    }
}

/// The exchange of captures 08, frames 5 to 9, with the joining IPCP made by hand.
#[test]
fn an_ipcp_of_0_23_is_enrolled() {
    let line = Line::start();
    let flow = line.greet("bcB", HELLO_ENROLLMENT);
    assert_eq!(flow.read_packet().unwrap(), HELLO_ENROLLMENT);
    let id = EnrollmentId([1, 2, 3, 4, 5, 6, 7, 8]);
    flow.write(&Request { id }.emit()).unwrap();
    let packet = flow.read_packet().unwrap();
    let response = Response::parse(&packet).unwrap();
    assert_eq!(response.emit(), packet);
    assert_eq!(response.id, id);
    let Answer::Accepted(config) = response.answer else {
        panic!("{response}");
    };
    assert_eq!(
        (config.name.as_str(), config.layer),
        ("bc", Layer::Broadcast)
    );
    flow.write(&Ack { id, result: 0 }.emit()).unwrap();
    // The member gives the flow back.
    let over = flow.read_packet().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::FlowDown);
    // What is no component is refused with the empty message; what is nothing, without.
    let flow = line.greet("bcA", b"\x0a\x01X\x12\x03dtp\x18\x01\x28\x02\x40\0");
    assert_eq!(
        flow.read_packet().unwrap(),
        b"\x0a\0\x12\0\x18\0\x28\0\x40\0"
    );
    let flow = line.greet("bcA", b"\xff\xff");
    assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowDown);
}

#[test]
fn a_loop_is_detected_and_broken() {
    let line = Line::start();
    let irm = line.test.irm();
    irm.connect_ipcp(line.ipcps[2], "bcA", DATA, QosSpec::RAW)
        .unwrap();
    line.until(0, |status| count(status, "member") == 2);
    let (program, hearer, last) = (line.join(), line.join(), line.member("bcC"));
    program.write(b"round and round").unwrap();
    let looping = |status: &IpcpStatus| cell(status, "layer", "loop") == "yes";
    let limit = Instant::now() + LIMIT;
    while !(0..3).any(|ipcp| looping(&line.status(ipcp))) {
        assert!(Instant::now() < limit, "nobody finds the loop");
    }
    // Nothing goes round any more. All hear all, at first some of it twice: until those members, too, know
    // that did not break the loop.
    let mut heard: [BTreeMap<Vec<u8>, u32>; 2] = Default::default();
    for number in 0..500_u32 {
        program.write(&number.to_be_bytes()).unwrap();
    }
    for (flow, heard) in [&hearer, &last].into_iter().zip(&mut heard) {
        while heard.len() < 500 {
            let packet = flow.read_packet().unwrap();
            if packet != b"round and round" {
                *heard.entry(packet).or_default() += 1;
            }
        }
        let twice = heard.values().filter(|times| **times > 1).count();
        assert!(twice < 64, "{twice} came twice");
    }

    // The way on when the loop is opened elsewhere.
    irm.disconnect_ipcp(line.ipcps[1], "bcA", DATA).unwrap();
    line.until(1, |status| count(status, "member") == 1);
    program.write(b"the other way").unwrap();
    while last.read_packet().unwrap() != b"the other way" {}
}

#[test]
fn a_member_that_dies_is_forgotten() {
    let line = Line::start();
    let program = line.join();
    line.until(0, |status| count(status, "member") == 1);
    let irm = line.test.irm();
    irm.destroy_ipcp(line.ipcps[1]).unwrap();
    line.until(0, |status| count(status, "member") == 0);
    line.until(2, |status| count(status, "member") == 0);
    irm.connect_ipcp(line.ipcps[2], "bcA", DATA, QosSpec::RAW)
        .unwrap();
    line.until(0, |status| count(status, "member") == 1);
    let last = line.member("bcC");
    last.write(b"still here").unwrap();
    assert_eq!(program.read_packet().unwrap(), b"still here");
}

#[test]
fn what_cannot_be_is_refused() {
    let line = Line::start();
    let irm = line.test.irm();
    let [first, _, last] = line.ipcps;
    let error = irm
        .connect_ipcp(last, "bcA", "Management", QosSpec::RAW)
        .unwrap_err();
    assert!(error.message().contains("no component"), "{error}");
    let error = irm
        .connect_ipcp(last, "nobody", DATA, QosSpec::RAW)
        .unwrap_err();
    assert!(error.message().contains("nobody"), "{error}");
    // None that was made here (§3.6 of spec/directory-enrollment.md).
    irm.disconnect_ipcp(first, "bcB", DATA).unwrap();
    let error = irm.enroll_ipcp(last, "bcA").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IpcpState);
    let error = line.test.node().join("other", Some(LIMIT)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    // One that is in no layer.
    let lone = irm.create_ipcp("lone", IpcpType::Broadcast).unwrap();
    let error = irm
        .connect_ipcp(lone, "bcA", DATA, QosSpec::RAW)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IpcpState);
    // It can be enrolled after a failure.
    irm.enroll_ipcp(lone, "nobody").unwrap_err();
    assert_eq!(irm.enroll_ipcp(lone, "bcC").unwrap().name, "bc");
}

/// `obc` as in captures 08: the text with its final zero byte, to all and from all.
#[test]
fn obc_speaks_and_listens() {
    let line = Line::start();
    let last = line.member("bcC");
    let obc = |arguments: &[&str]| {
        let mut command = Command::new(program("obc"));
        command
            .args(["-n", "bc"])
            .args(arguments)
            .env(o7s::runtime::ENV, line.test.dir().path())
            .stdout(Stdio::piped());
        command
    };
    let mut listener = obc(&["-l"]).spawn().unwrap();
    line.until(0, |status| count(status, "program") == 1);
    let said = obc(&["-m", "hello from A"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(last.read_packet().unwrap(), b"hello from A\0");
    last.write(b"hello from C\0").unwrap();
    let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut wanted = vec!["hello from A", "hello from C"];
    for text in lines.map_while(Result::ok) {
        wanted.retain(|wanted| !text.contains(wanted));
        if wanted.is_empty() {
            break;
        }
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
    assert!(wanted.is_empty(), "not heard: {wanted:?}");
}
