//! Enrollment between our two sides, with what 0.23 sent, and with peers that misbehave.

use o7s_wire::{
    enroll::{EnrollError, UnicastConfig},
    hash::DirHash,
    name::Name,
};

use super::*;

const ID: EnrollmentId = EnrollmentId([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
const WALL: WallTime = WallTime {
    sec: 1_700_000_000,
    nsec: 0,
};

fn unicast() -> LayerConfig {
    LayerConfig {
        name: Name::new("uni").unwrap(),
        hash: DirHash::Sha3_256,
        layer: Layer::Unicast(UnicastConfig::default()),
    }
}

fn later(ms: u64) -> WallTime {
    WallTime {
        sec: WALL.sec + i64::try_from(ms / 1000).unwrap(),
        nsec: u32::try_from(ms % 1000).unwrap() * 1_000_000,
    }
}

fn sent(enroller: &mut Enroller<u32>) -> Vec<u8> {
    match enroller.poll_output() {
        Some(Output::Send { packet, .. }) => packet,
        other => panic!("{other:?}"),
    }
}

fn closed(enroller: &mut Enroller<u32>) -> Result<EnrollmentId, Trouble> {
    match enroller.poll_output() {
        Some(Output::Close { outcome, .. }) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_lets_another_in() {
    let now = Instant::now();
    for (config, kind) in [
        (unicast(), Kind::Unicast),
        (
            LayerConfig::broadcast(Name::new("bc").unwrap()),
            Kind::Broadcast,
        ),
    ] {
        let mut enroller = Enroller::new(config.clone());
        enroller.connected(now, 1);
        let (enrollee, request) = Enrollee::start(now, WALL, ID, kind);
        assert!(enrollee.handle_packet(now, &[]).is_none());
        enroller.handle_packet(now, WALL, 1, &[]);
        enroller.handle_packet(now, WALL, 1, &request);
        let response = sent(&mut enroller);
        let enrolled = enrollee.handle_packet(now, &response).unwrap().unwrap();
        assert_eq!((&enrolled.config, enrolled.clock), (&config, None));
        enroller.handle_packet(now, WALL, 1, &enrolled.ack());
        assert_eq!(closed(&mut enroller), Ok(ID));
        assert_eq!(enroller.poll_timeout(), None);
    }
}

/// Trap T6: one that is silent holds nobody up, and not for ever.
#[test]
fn silent_enrollees_hold_nobody_up() {
    let now = Instant::now();
    let mut enroller = Enroller::new(unicast());
    for flow in 0..u32::try_from(ENROLLEES_MAX).unwrap() {
        enroller.connected(now, flow);
    }
    let (_, request) = Enrollee::start(now, WALL, ID, Kind::Unicast);
    enroller.handle_packet(now, WALL, 9, &request);
    sent(&mut enroller);
    enroller.connected(now, 1000);
    assert_eq!(closed(&mut enroller), Err(Trouble::Busy));
    // The one that asked has its time again.
    enroller.handle_packet(now + ENROLLER_TIMEOUT / 2, WALL, 8, &request);
    sent(&mut enroller);
    enroller.handle_timeout(now + ENROLLER_TIMEOUT);
    for _ in 1..ENROLLEES_MAX {
        assert_eq!(closed(&mut enroller), Err(Trouble::Silent));
    }
    assert_eq!(enroller.poll_output(), None);
    assert!(enroller.contains(8));
    assert_eq!(enroller.gone(8), Some(Trouble::GaveUp));
    assert_eq!(enroller.gone(8), None);
}

#[test]
fn an_enrollee_that_misbehaves_is_let_go() {
    let now = Instant::now();
    let mut enroller = Enroller::new(unicast());
    enroller.connected(now, 1);
    enroller.handle_packet(now, WALL, 1, &[0x0a, 1, 2]);
    let trouble = closed(&mut enroller).unwrap_err();
    assert_eq!(trouble, Trouble::Message(EnrollError::IdLength(1)));
    let (_, request) = Enrollee::start(now, WALL, ID, Kind::Unicast);
    let other = EnrollmentId([9; 8]);
    let wrong = Trouble::Id {
        theirs: other,
        ours: ID,
    };
    for (id, result, expected) in [(ID, -1, Trouble::Failed(-1)), (other, 0, wrong)] {
        enroller.connected(now, 1);
        enroller.handle_packet(now, WALL, 1, &request);
        sent(&mut enroller);
        enroller.handle_packet(now, WALL, 1, &Ack { id, result }.emit());
        assert_eq!(closed(&mut enroller), Err(expected));
    }
}

#[test]
fn responses_that_are_none_end_the_enrollment() {
    let now = Instant::now();
    let (enrollee, _) = Enrollee::start(now, WALL, ID, Kind::Unicast);
    let response = |id, answer| Response {
        id,
        time: WALL,
        answer,
    };
    let outcome = |response: Response| {
        let outcome = enrollee.handle_packet(now, &response.emit());
        outcome.unwrap().unwrap_err()
    };
    let other = EnrollmentId([9; 8]);
    assert_eq!(
        outcome(response(other, Answer::Denied(-1))),
        Failure::Id {
            theirs: other,
            ours: ID
        }
    );
    assert_eq!(
        outcome(response(ID, Answer::Denied(-13))),
        Failure::Denied(-13)
    );
    let broadcast = LayerConfig::broadcast(Name::new("bc").unwrap());
    assert_eq!(
        outcome(response(ID, Answer::Accepted(broadcast))),
        Failure::Type {
            theirs: Kind::Broadcast,
            ours: Kind::Unicast
        }
    );
    // A response that would crash 0.23: accepted, but without a configuration.
    let mut bare = response(ID, Answer::Denied(-1)).emit();
    let at = bare.len() - 11;
    bare.truncate(at);
    bare.extend([0x20, 0]);
    assert_eq!(
        enrollee.handle_packet(now, &bare),
        Some(Err(Failure::Response(EnrollError::Missing("conf"))))
    );
}

#[test]
fn an_enrollee_waits_for_a_limited_time() {
    let now = Instant::now();
    let (enrollee, _) = Enrollee::start(now, WALL, ID, Kind::Unicast);
    assert_eq!(enrollee.poll_timeout(), now + RESPONSE_TIMEOUT);
    assert_eq!(enrollee.handle_timeout(now), None);
    assert_eq!(
        enrollee.handle_timeout(now + RESPONSE_TIMEOUT),
        Some(Failure::TimedOut)
    );
}

/// Trap T5: the time that the exchange took counts for the clocks, not against them.
#[test]
fn the_clocks_are_compared_with_the_duration_in_mind() {
    let now = Instant::now();
    for (their_clock, took, warned) in [
        (0, 0, false),
        (20, 0, false),
        (21, 0, true),
        (120, 100, false),
        (121, 100, true),
        (15, 100, false),
    ] {
        let (enrollee, _) = Enrollee::start(now, WALL, ID, Kind::Unicast);
        let response = Response {
            id: ID,
            time: later(their_clock),
            answer: Answer::Accepted(unicast()),
        };
        let arrived = now + Duration::from_millis(took);
        let outcome = enrollee.handle_packet(arrived, &response.emit());
        let clock = outcome.unwrap().unwrap().clock;
        assert_eq!(clock.is_some(), warned, "{their_clock} ms, took {took} ms");
    }
}
