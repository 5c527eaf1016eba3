//! Captures of a broadcast layer of 0.23 (08): a whole member of ours in the place of each one says what that
//! one said, byte for byte, and hears from its neighbours what that one heard.

mod conversation;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use conversation::{Event, Step, conversation};
use o7s_proto::{
    broadcast::{Flood, Kind, Member, Moment, Neighbour, Output, Verdict},
    unicast::{Lower, Op, Request},
};
use o7s_wire::{
    enroll::{self, EnrollmentId, Response, WallTime},
    hash::DirHash,
    name::Name,
    qos::QosSpec,
};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
const B_TO_C: [u8; 6] = [2, 0, 0, 0, 0, 0x1b];
const C: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];

const NAMES: [&str; 2] = ["bcA", "bcB"];
/// The program that joined.
const PROGRAM: Neighbour = Neighbour(u32::MAX);

struct Replay {
    base: (Instant, Duration),
    at: Moment,
    member: Member,
    flood: Flood,
    neighbours: BTreeSet<Lower>,
    wanted: VecDeque<(Request, Name, QosSpec)>,
    next_op: u64,
    /// What the captured member said on each flow, and the moment of ours.
    said: BTreeMap<usize, Vec<Vec<u8>>>,
    captured: BTreeMap<usize, Vec<Vec<u8>>>,
    heard: BTreeSet<Vec<u8>>,
    /// What reached the program here.
    program: Vec<Vec<u8>>,
    done: usize,
}

impl Replay {
    fn new(wall: Duration) -> Self {
        let now = Instant::now();
        let mut flood = Flood::new(7, now);
        flood.add(PROGRAM, Kind::Program).expect("room");
        Self {
            base: (now, wall),
            at: moment(now, wall),
            member: Member::new(),
            flood,
            neighbours: BTreeSet::new(),
            wanted: VecDeque::new(),
            next_op: 0,
            said: BTreeMap::new(),
            captured: BTreeMap::new(),
            heard: BTreeSet::new(),
            program: Vec::new(),
            done: 0,
        }
    }

    fn op(&mut self) -> Op {
        self.next_op += 1;
        Op(self.next_op)
    }

    /// What comes from a neighbour, or from the program here, goes to all others.
    fn spread(&mut self, from: Neighbour, packet: &[u8]) {
        assert_eq!(
            self.flood.packet(self.at.now, from, packet),
            Verdict::Forward
        );
        for to in self.flood.others(from).collect::<Vec<_>>() {
            if to == PROGRAM {
                self.program.push(packet.to_vec());
            } else {
                let said = self.said.entry(to.0 as usize).or_default();
                said.push(packet.to_vec());
            }
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.member.poll_output() {
            match output {
                Output::Done { outcome, .. } => {
                    outcome.expect("a success");
                    self.done += 1;
                }
                Output::AllocateLower { request, dst, qos } => {
                    self.wanted.push_back((request, dst, qos));
                }
                Output::Send { lower, packet } => {
                    let said = self.said.entry(lower.0 as usize).or_default();
                    said.push(packet);
                }
                Output::Neighbour { lower, .. } => {
                    self.neighbours.insert(lower);
                    let added = self.flood.add(Neighbour(lower.0), Kind::Member);
                    added.expect("room");
                }
                Output::Arrived { lower, packet } => self.spread(Neighbour(lower.0), &packet),
                Output::Started(_) | Output::Deallocate { .. } | Output::Notice(_) => {}
                Output::Parted(name) => panic!("parted from {name}"),
            }
        }
    }

    /// The captured member asked for a flow; for enrollment, with the identifier that it drew.
    fn ask(
        &mut self,
        frame: (&str, usize),
        hash: &[u8],
        qos: QosSpec,
        enrollment: Option<EnrollmentId>,
    ) {
        let name = NAMES
            .into_iter()
            .find(|name| DirHash::Sha3_256.digest(name.as_bytes()).as_bytes() == hash)
            .unwrap_or_else(|| panic!("{frame:?}: an unknown name"));
        let (op, dst) = (self.op(), Name::new(name).expect("a name"));
        match enrollment {
            Some(id) => self.member.enroll(op, dst.clone(), id),
            None => self.member.connect(op, dst.clone(), qos),
        }
        self.settle();
        let (_, to, asked) = self.wanted.back().expect("a flow is asked for");
        assert_eq!((to, *asked), (&dst, qos));
    }

    fn step(&mut self, step: Step, enrollment: Option<EnrollmentId>) {
        let (now, wall) = self.base;
        self.at = moment(now + (step.time - wall), step.time);
        let lower = Lower(u32::try_from(step.flow).expect("few"));
        match step.event {
            Event::Request { by_us, hash, qos } => {
                if by_us {
                    self.ask(step.frame, &hash, qos, enrollment);
                }
            }
            Event::Reply => match self.wanted.pop_front() {
                Some((request, ..)) => self.member.lower_allocated(self.at, request, Ok(lower)),
                None => self.member.lower_accepted(self.at, lower),
            },
            Event::Packet { ours: true, bytes } => {
                let program = self.neighbours.contains(&lower) && bytes.starts_with(b"hello");
                // A program here says what nobody else has said.
                if program && self.heard.insert(bytes.clone()) {
                    self.spread(PROGRAM, &bytes);
                }
                self.captured.entry(step.flow).or_default().push(bytes);
            }
            Event::Packet { ours: false, bytes } => {
                self.heard.insert(bytes.clone());
                if self.neighbours.contains(&lower) {
                    self.spread(Neighbour(lower.0), &bytes);
                } else {
                    self.member.lower_packet(self.at, lower, bytes);
                }
            }
        }
        self.settle();
    }

    /// What was said is what was captured, but for the time in an answer to an enrollment.
    fn check(&mut self) -> usize {
        assert_eq!(self.said.len(), self.captured.len());
        let mut count = 0;
        for (flow, captured) in &self.captured {
            let said = self.said.get_mut(flow).expect("said as well");
            for (said, captured) in said.iter_mut().zip(captured) {
                if let (Ok(mut ours), Ok(theirs)) =
                    (Response::parse(said), Response::parse(captured))
                {
                    assert!(ours.time.apart_ms(theirs.time) < 50);
                    ours.time = theirs.time;
                    *said = ours.emit();
                }
            }
            assert_eq!(said, captured, "flow {flow}");
            count += said.len();
        }
        count
    }
}

fn moment(now: Instant, wall: Duration) -> Moment {
    Moment {
        now,
        wall: WallTime {
            sec: i64::try_from(wall.as_secs()).expect("this century"),
            nsec: wall.subsec_nanos(),
        },
    }
}

/// Plays a member: how many packets it said, what its program heard, how many operations succeeded.
fn replay(captures: &[&'static str], host: &[[u8; 6]]) -> (usize, Vec<Vec<u8>>, usize) {
    let steps = conversation(captures, host);
    let mut replay = Replay::new(steps[0].time);
    // Flows of enrollment, by the request that goes over them.
    let mut enrollments = BTreeMap::new();
    for step in &steps {
        if let Event::Packet { bytes, .. } = &step.event
            && let Ok(request) = enroll::Request::parse(bytes)
        {
            enrollments.entry(step.flow).or_insert(request.id);
        }
    }
    if host == [A] {
        let layer = Name::new("bc").expect("a name");
        replay.member.bootstrap(layer).expect("the first member");
        replay.settle();
    }
    for step in steps {
        let enrollment = enrollments.get(&step.flow).copied();
        replay.step(step, enrollment);
    }
    (replay.check(), replay.program.clone(), replay.done)
}

/// What programs say, in order.
fn hellos(of: &[&str]) -> Vec<Vec<u8>> {
    let texts = of.iter().map(|text| format!("hello {text}\0"));
    texts.map(String::into_bytes).collect()
}

#[test]
fn first_of_a_line() {
    let (said, program, done) = replay(&["08-broadcast-AB"], &[A]);
    // Two connections, an enrollment, two messages.
    assert_eq!((said, done), (5, 0));
    assert_eq!(program, hellos(&["from B", "from C"]));
}

#[test]
fn middle_of_a_line() {
    let both = ["08-broadcast-AB", "08-broadcast-BC"];
    let (said, program, done) = replay(&both, &[B, B_TO_C]);
    // To A: two connections, request and acknowledgement, two messages. To C: as A, and a message more.
    assert_eq!((said, done), (12, 2));
    assert_eq!(program, hellos(&["from A", "from C", "after disconnect"]));
}

#[test]
fn last_of_a_line() {
    let (said, program, done) = replay(&["08-broadcast-BC"], &[C]);
    assert_eq!((said, done), (5, 2));
    assert_eq!(program, hellos(&["from A", "from B", "after disconnect"]));
}
