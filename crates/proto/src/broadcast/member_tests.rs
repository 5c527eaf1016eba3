//! Members that enroll and connect with each other, and with peers that fail.

use std::time::Duration;

use super::*;

const WALL: WallTime = WallTime {
    sec: 1_700_000_000,
    nsec: 0,
};
const ID: EnrollmentId = EnrollmentId([3; 8]);

fn at(now: Instant) -> Moment {
    Moment { now, wall: WALL }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn all(member: &mut Member) -> Vec<Output> {
    std::iter::from_fn(|| member.poll_output()).collect()
}

/// One that has bootstrapped and one that has not. The flow between the two has the same number at both.
struct Pair {
    now: Instant,
    members: [Member; 2],
    /// What each said that was not for the other.
    said: [Vec<Output>; 2],
}

impl Pair {
    fn new() -> Self {
        let mut first = Member::new();
        first.bootstrap(name("bc")).unwrap();
        all(&mut first);
        Self {
            now: Instant::now(),
            members: [first, Member::new()],
            said: [Vec::new(), Vec::new()],
        }
    }

    /// Answers a request of the second member with a flow to the first, and lets both talk.
    fn allocate(&mut self, lower: Lower) {
        let outputs = all(&mut self.members[1]);
        let [Output::AllocateLower { request, .. }] = outputs[..] else {
            panic!("{outputs:?}");
        };
        self.members[0].lower_accepted(at(self.now), lower);
        self.members[1].lower_allocated(at(self.now), request, Ok(lower));
        self.talk();
    }

    fn talk(&mut self) {
        loop {
            let mut quiet = true;
            for side in 0..2 {
                for output in all(&mut self.members[side]) {
                    quiet = false;
                    if let Output::Send { lower, packet } = output {
                        self.members[1 - side].lower_packet(at(self.now), lower, packet);
                    } else {
                        self.said[side].push(output);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn said(&mut self, side: usize) -> Vec<Output> {
        std::mem::take(&mut self.said[side])
    }
}

#[test]
fn an_ipcp_is_enrolled_and_connected() {
    let mut pair = Pair::new();
    let config = LayerConfig::broadcast(name("bc"));
    pair.members[1].enroll(Op(1), name("first"), ID);
    pair.allocate(Lower(1));
    let (lower, enrolled) = (Lower(1), Notice::Enrolled(ID));
    assert_eq!(
        pair.said(1),
        [
            Output::Started(config.clone()),
            Output::Deallocate { lower },
            Output::Done {
                op: Op(1),
                outcome: Ok(Some(config))
            }
        ]
    );
    assert_eq!(
        pair.said(0),
        [Output::Deallocate { lower }, Output::Notice(enrolled)]
    );
    pair.members[1].connect(Op(2), name("first"), QosSpec::RAW);
    pair.allocate(Lower(2));
    let (lower, dst) = (Lower(2), Some(name("first")));
    assert_eq!(
        pair.said(1),
        [
            Output::Neighbour { lower, dst },
            Output::Done {
                op: Op(2),
                outcome: Ok(None)
            }
        ]
    );
    assert_eq!(pair.said(0), [Output::Neighbour { lower, dst: None }]);
    // A packet that came before the data path knew is flooded all the same.
    pair.members[1].lower_packet(at(pair.now), lower, b"early".to_vec());
    pair.talk();
    let packet = b"early".to_vec();
    assert_eq!(pair.said(1), [Output::Arrived { lower, packet }]);
    // Only the side that connected can disconnect; a name that nobody connected to is no failure.
    for (member, dst, ended) in [
        (0, "second", false),
        (1, "other", false),
        (1, "first", true),
    ] {
        pair.members[member].disconnect(Op(3), &name(dst));
        pair.talk();
        let said = pair.said(member);
        assert_eq!(said.contains(&Output::Deallocate { lower }), ended, "{dst}");
        assert_eq!(said.len(), 1 + usize::from(ended));
    }
    pair.members[0].lower_gone(lower);
    pair.talk();
    assert_eq!(pair.said(0), [Output::Notice(Notice::NeighbourGone)]);
}

/// The outcome of the only operation.
fn outcome(outputs: Vec<Output>) -> Failure {
    let done = outputs.into_iter().find_map(|output| match output {
        Output::Done { outcome, .. } => Some(outcome),
        _ => None,
    });
    done.unwrap().unwrap_err()
}

#[test]
fn an_enrollment_that_fails_can_be_tried_again() {
    let mut pair = Pair::new();
    let joiner = &mut pair.members[1];
    // No flow.
    joiner.enroll(Op(1), name("nobody"), ID);
    let error = LowerError("nobody is bound to the name".to_owned());
    assert!(matches!(all(joiner)[..], [Output::AllocateLower { .. }]));
    joiner.lower_allocated(at(pair.now), Request(1), Err(error.clone()));
    assert_eq!(outcome(all(joiner)), Failure::Lower(error));
    // A flow to something that says nothing, and that is asked for twice.
    joiner.enroll(Op(2), name("silent"), ID);
    joiner.lower_allocated(at(pair.now), Request(2), Ok(Lower(1)));
    joiner.enroll(Op(3), name("other"), ID);
    assert!(matches!(outcome(all(joiner)), Failure::State(_)));
    let deadline = joiner.poll_timeout().unwrap();
    joiner.handle_timeout(at(deadline));
    assert_eq!(
        outcome(all(joiner)),
        Failure::Component(cep::Failure::TimedOut)
    );
    // A flow that ends.
    joiner.enroll(Op(4), name("dies"), ID);
    joiner.lower_allocated(at(pair.now), Request(3), Ok(Lower(2)));
    joiner.lower_gone(Lower(2));
    assert_eq!(outcome(all(joiner)), Failure::Gone);
    // One that introduces itself, and then is silent.
    joiner.enroll(Op(5), name("busy"), ID);
    joiner.lower_allocated(at(pair.now), Request(4), Ok(Lower(3)));
    let greeting = Identity::ENROLLMENT.message(Address::INVALID);
    joiner.lower_packet(at(pair.now), Lower(3), greeting.emit().unwrap());
    let deadline = joiner.poll_timeout().unwrap();
    assert_eq!(deadline, pair.now + enrollment::RESPONSE_TIMEOUT);
    all(joiner);
    joiner.handle_timeout(at(deadline));
    let failure = Failure::Enrollment(enrollment::Failure::TimedOut);
    assert_eq!(outcome(all(joiner)), failure);
    // And then it works.
    joiner.enroll(Op(6), name("first"), ID);
    pair.allocate(Lower(4));
    assert!(pair.members[1].config().is_some());
    pair.members[1].enroll(Op(7), name("first"), ID);
    assert!(matches!(
        outcome(all(&mut pair.members[1])),
        Failure::State(_)
    ));
    assert!(pair.members[1].bootstrap(name("bc")).is_err());
}

#[test]
fn nobody_connects_to_an_ipcp_that_is_in_no_layer() {
    let now = Instant::now();
    let mut member = Member::new();
    member.lower_accepted(at(now), Lower(1));
    let lower = Lower(1);
    assert_eq!(all(&mut member), [Output::Deallocate { lower }]);
    member.connect(Op(1), name("first"), QosSpec::RAW);
    assert!(matches!(outcome(all(&mut member)), Failure::State(_)));
    assert_eq!(member.poll_timeout(), None);
}

/// Trap 29: one that connects for enrollment and says nothing holds nobody up.
#[test]
fn a_silent_enrollee_holds_nobody_up() {
    let mut pair = Pair::new();
    let silent = Lower(9);
    pair.members[0].lower_accepted(at(pair.now), silent);
    let greeting = Identity::ENROLLMENT.message(Address::INVALID);
    pair.members[0].lower_packet(at(pair.now), silent, greeting.emit().unwrap());
    all(&mut pair.members[0]);
    pair.members[1].enroll(Op(1), name("first"), ID);
    pair.allocate(Lower(1));
    assert!(pair.members[1].config().is_some());
    let later = pair.now + Duration::from_secs(30);
    pair.said(0);
    pair.members[0].handle_timeout(at(later));
    pair.talk();
    let expected = Output::Notice(Notice::Enrollee(Trouble::Silent));
    assert_eq!(
        pair.said(0),
        [Output::Deallocate { lower: silent }, expected]
    );
}

#[test]
fn a_connection_is_made_once_and_its_loss_is_told() {
    let mut pair = Pair::new();
    pair.members[1].enroll(Op(1), name("first"), ID);
    pair.allocate(Lower(1));
    pair.members[1].connect(Op(2), name("first"), QosSpec::RAW);
    // While it is being made, and when it is there.
    pair.members[1].connect(Op(3), name("first"), QosSpec::RAW);
    let mut outputs = all(&mut pair.members[1]);
    let Some(Output::Done { op, outcome }) = outputs.pop() else {
        panic!("{outputs:?}");
    };
    assert!(op == Op(3) && matches!(outcome, Err(Failure::State(_))));
    let [Output::AllocateLower { request, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    pair.members[0].lower_accepted(at(pair.now), Lower(2));
    pair.members[1].lower_allocated(at(pair.now), request, Ok(Lower(2)));
    pair.talk();
    pair.said(1);
    pair.members[1].connect(Op(4), name("first"), QosSpec::RAW);
    let connected = Output::Done {
        op: Op(4),
        outcome: Err(Failure::Connected(name("first"))),
    };
    assert_eq!(all(&mut pair.members[1]), [connected]);
    // Whoever made it hears that it is gone, and may make it again.
    for (side, parted) in [(0, false), (1, true)] {
        pair.members[side].lower_gone(Lower(2));
        let said = all(&mut pair.members[side]);
        assert_eq!(said.contains(&Output::Parted(name("first"))), parted);
    }
    pair.members[1].connect(Op(5), name("first"), QosSpec::RAW);
    pair.allocate(Lower(3));
    // Nobody hears of what was asked for.
    pair.said(1);
    pair.members[1].disconnect(Op(6), &name("first"));
    let said = all(&mut pair.members[1]);
    assert!(!said.contains(&Output::Parted(name("first"))));
}
