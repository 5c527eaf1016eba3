//! One direction of a link, with a clock of our own.

use std::collections::HashSet;
use std::time::Duration;

use o7s_relay::direction::{Direction, Impairment, REORDER_HOLD, Stats};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn direction(impairment: Impairment) -> Direction {
    let mut direction = Direction::new(0);
    direction.set(impairment).expect("values in range");
    direction
}

/// A frame of 60 bytes that carries a number behind its header.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().expect("four bytes"))
}

fn due(direction: &mut Direction, now: Duration) -> Vec<u32> {
    std::iter::from_fn(|| direction.pop(now))
        .map(|frame| number(&frame))
        .collect()
}

/// Pushes frames one millisecond apart, and takes what is due; then all that is left.
fn through(direction: &mut Direction, frames: u32) -> Vec<u32> {
    let mut came = Vec::new();
    for index in 0..frames {
        direction.push(MS * index, &frame(index));
        came.extend(due(direction, MS * index));
    }
    while let Some(deadline) = direction.deadline() {
        came.extend(due(direction, deadline));
    }
    came
}

fn adds_up(stats: &Stats) -> bool {
    stats.received + stats.duplicated
        == stats.passed + stats.lost + stats.cut + stats.overflow + stats.unsent + stats.waiting
}

#[test]
fn without_impairment_all_pass_at_once() {
    let mut direction = Direction::new(0);
    assert_eq!(through(&mut direction, 100), (0..100).collect::<Vec<_>>());
    let stats = direction.stats();
    assert_eq!((stats.received, stats.passed), (100, 100));
    assert_eq!((stats.received_bytes, stats.passed_bytes), (6000, 6000));
}

#[test]
fn delay_is_exact() {
    let mut direction = direction(Impairment {
        delay: 0.02,
        ..Impairment::default()
    });
    direction.push(5 * MS, &frame(1));
    assert_eq!(direction.deadline(), Some(25 * MS));
    assert!(due(&mut direction, 25 * MS - Duration::from_nanos(1)).is_empty());
    assert_eq!(direction.stats().waiting, 1);
    assert_eq!(due(&mut direction, 25 * MS), [1]);
    assert_eq!(direction.deadline(), None);
}

#[test]
fn jitter_spreads_and_keeps_the_order() {
    let mut direction = direction(Impairment {
        delay: 0.02,
        jitter: 0.005,
        seed: 7,
        ..Impairment::default()
    });
    let mut times = HashSet::new();
    for index in 0..200 {
        // So far apart that none waits for its predecessor.
        let now = 100 * MS * index;
        direction.push(now, &frame(index));
        let deadline = direction.deadline().expect("one is under way");
        assert!((15 * MS..=25 * MS).contains(&(deadline - now)));
        times.insert(deadline - now);
        assert_eq!(due(&mut direction, deadline), [index]);
    }
    assert!(times.len() > 150, "{} different times", times.len());
}

#[test]
fn loss_is_as_frequent_as_asked() {
    let mut direction = direction(Impairment {
        loss: 0.1,
        seed: 3,
        ..Impairment::default()
    });
    let came = through(&mut direction, 10_000).len();
    // Ten standard deviations.
    assert!((8_700..=9_300).contains(&came), "{came} of 10000 came");
    assert_eq!(direction.stats().lost, 10_000 - came as u64);
}

#[test]
fn the_next_frame_overtakes() {
    let mut direction = direction(Impairment {
        reorder: 1.0,
        ..Impairment::default()
    });
    // While one is held, none is: pairs change places.
    assert_eq!(through(&mut direction, 6), [1, 0, 3, 2, 5, 4]);
    assert_eq!(direction.stats().reordered, 3);
}

#[test]
fn a_frame_that_nobody_overtakes_comes_late() {
    let mut direction = direction(Impairment {
        reorder: 1.0,
        delay: 0.02,
        ..Impairment::default()
    });
    direction.push(Duration::ZERO, &frame(0));
    assert_eq!(direction.deadline(), Some(20 * MS + REORDER_HOLD));
    assert_eq!(due(&mut direction, 20 * MS + REORDER_HOLD), [0]);
}

#[test]
fn duplicates_come_in_twos() {
    let mut direction = direction(Impairment {
        duplicate: 1.0,
        ..Impairment::default()
    });
    assert_eq!(through(&mut direction, 3), [0, 0, 1, 1, 2, 2]);
    assert_eq!(direction.stats().duplicated, 3);
}

#[test]
fn corruption_flips_one_bit_behind_the_header() {
    let mut direction = direction(Impairment {
        corrupt: 1.0,
        ..Impairment::default()
    });
    for _ in 0..100 {
        direction.push(Duration::ZERO, &[0xa5; 60]);
        let came = direction.pop(Duration::ZERO).expect("it passes");
        assert_eq!(came[..14], [0xa5; 14]);
        let flipped: u32 = came.iter().map(|byte| (byte ^ 0xa5).count_ones()).sum();
        assert_eq!(flipped, 1);
    }
    direction.push(Duration::ZERO, &[1; 14]);
    assert_eq!(direction.pop(Duration::ZERO), Some(vec![1; 14]));
    assert_eq!(direction.stats().corrupted, 100);
}

#[test]
fn the_rate_spaces_frames_and_its_queue_is_bounded() {
    // 60 bytes at 480 kbit/s: a millisecond.
    let mut direction = direction(Impairment {
        rate: Some(480e3),
        queue: 600,
        ..Impairment::default()
    });
    for index in 0..20 {
        direction.push(Duration::ZERO, &frame(index));
    }
    // The queue is asked before the frame: ten wait, one is behind them.
    assert_eq!(direction.stats().overflow, 9);
    for index in 0..11 {
        assert_eq!(direction.deadline(), Some(MS * (index + 1)));
        assert_eq!(due(&mut direction, MS * (index + 1)), [index]);
    }
    // An idle link saves nothing up.
    direction.push(MS * 100, &frame(0));
    assert_eq!(direction.deadline(), Some(MS * 101));
}

#[test]
fn a_cut_takes_what_is_under_way() {
    let mut direction = direction(Impairment {
        delay: 1.0,
        ..Impairment::default()
    });
    direction.push(Duration::ZERO, &frame(0));
    direction.cut();
    assert_eq!(direction.deadline(), None);
    direction.push(MS, &frame(1));
    direction.heal();
    direction.push(2 * MS, &frame(2));
    let deadline = direction.deadline().expect("one is under way");
    assert_eq!(deadline, 1002 * MS);
    assert_eq!(due(&mut direction, deadline), [2]);
    assert_eq!(direction.stats().cut, 2);
}

#[test]
fn what_the_interface_did_not_take_has_not_passed() {
    let mut direction = Direction::new(0);
    direction.push(Duration::ZERO, &frame(0));
    assert!(direction.pop(Duration::ZERO).is_some());
    direction.unsent(60);
    let stats = direction.stats();
    assert_eq!((stats.passed, stats.passed_bytes, stats.unsent), (0, 0, 1));
    assert!(adds_up(&stats));
}

#[test]
fn values_out_of_range_are_refused_and_change_nothing() {
    let good = Impairment {
        loss: 1.0,
        ..Impairment::default()
    };
    let mut direction = direction(good.clone());
    for (text, word) in [
        (r#"{"loss": 1.5}"#, "loss"),
        (r#"{"reorder": -0.1}"#, "reorder"),
        (r#"{"delay": -1}"#, "delay"),
        (r#"{"jitter": 1e300}"#, "jitter"),
        (r#"{"rate": 0}"#, "rate"),
    ] {
        let bad: Impairment = serde_json::from_str(text).expect("JSON");
        let error = direction.set(bad).expect_err(text);
        assert!(error.contains(word), "{error}");
    }
    direction.push(Duration::ZERO, &frame(0));
    assert_eq!(direction.stats().lost, 1);
    assert!(serde_json::from_str::<Impairment>(r#"{"los": 0.5}"#).is_err());
}

#[test]
fn directions_and_seeds_differ() {
    let half = |seed| Impairment {
        loss: 0.5,
        seed,
        ..Impairment::default()
    };
    let fate = |stream, seed| {
        let mut direction = Direction::new(stream);
        direction.set(half(seed)).expect("values in range");
        through(&mut direction, 200)
    };
    assert_eq!(fate(0, 1), fate(0, 1));
    assert_ne!(fate(0, 1), fate(1, 1));
    assert_ne!(fate(0, 1), fate(0, 2));
}

fn impairments() -> impl Strategy<Value = Impairment> {
    let probability = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64];
    (
        (probability(), probability(), probability(), probability()),
        (0.0..0.1f64, 0.0..0.1f64),
        proptest::option::of(1e3..1e7f64),
        0u64..100_000,
        any::<u64>(),
    )
        .prop_map(
            |((loss, reorder, duplicate, corrupt), (delay, jitter), rate, queue, seed)| {
                Impairment {
                    loss,
                    delay,
                    jitter,
                    reorder,
                    duplicate,
                    corrupt,
                    rate,
                    queue,
                    seed,
                }
            },
        )
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Wait(u64),
    Set(Impairment),
    Cut,
    Heal,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..2000).prop_map(Step::Push),
        3 => (0u64..50_000_000).prop_map(Step::Wait),
        1 => impairments().prop_map(Step::Set),
        1 => Just(Step::Cut),
        1 => Just(Step::Heal),
    ];
    proptest::collection::vec(step, 0..100)
}

proptest! {
    /// Whatever is done to a direction: no frame is lost from the books, none leaves before its
    /// deadline, and all that are under way leave in the end.
    #[test]
    fn the_books_balance(steps in steps()) {
        let mut direction = Direction::new(1);
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Push(length) => direction.push(now, &vec![0; length]),
                Step::Wait(nanoseconds) => now += Duration::from_nanos(nanoseconds),
                Step::Set(impairment) => direction.set(impairment).expect("values in range"),
                Step::Cut => direction.cut(),
                Step::Heal => direction.heal(),
            }
            let due = direction.deadline().is_some_and(|deadline| deadline <= now);
            prop_assert_eq!(direction.pop(now).is_some(), due);
            prop_assert!(adds_up(&direction.stats()), "{:?}", direction.stats());
        }
        while let Some(deadline) = direction.deadline() {
            prop_assert!(direction.pop(deadline).is_some());
        }
        let stats = direction.stats();
        prop_assert_eq!(stats.waiting, 0);
        prop_assert!(adds_up(&stats), "{:?}", stats);
    }

    /// The same frames meet the same fate, whenever they come.
    #[test]
    fn decisions_do_not_depend_on_time(
        impairment in impairments(), pauses in proptest::collection::vec(0u64..30_000_000, 50)
    ) {
        let impairment = Impairment { rate: None, ..impairment };
        let mut even = direction(impairment.clone());
        let mut uneven = direction(impairment);
        let mut now = Duration::ZERO;
        for (index, pause) in pauses.into_iter().enumerate() {
            now += Duration::from_nanos(pause);
            even.push(MS * 200 * index as u32, &frame(index as u32));
            uneven.push(now, &frame(index as u32));
        }
        let (a, b) = (even.stats(), uneven.stats());
        prop_assert_eq!(a.lost, b.lost);
        prop_assert_eq!(a.duplicated, b.duplicated);
        prop_assert_eq!(a.corrupted, b.corrupted);
    }
}
