//! Order, shares and bounds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

use QosCube::{BestEffort, Video, Voice};

#[test]
fn higher_cubes_go_first() {
    let mut queue = Queue::default();
    for cube in QosCube::ALL {
        for number in 0..3 {
            queue.push(cube, [number]).expect("room");
        }
    }
    assert_eq!(queue.len(), 9);
    assert_eq!(
        [
            queue.ahead(BestEffort),
            queue.ahead(Video),
            queue.ahead(Voice)
        ],
        [9, 6, 3]
    );
    let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
    let expected: Vec<_> = [Voice, Video, BestEffort]
        .into_iter()
        .flat_map(|cube| (0..3).map(move |number| (cube, [number])))
        .collect();
    assert_eq!(order, expected);
    assert!(queue.is_empty());
}

/// With enough to send in all cubes each gets its share, also when its packets are larger than it.
#[test]
fn shares_are_kept_and_nobody_starves() {
    for len in [100, 1500, 9000, 60_000] {
        let mut shares = Shares::default();
        let mut served = BTreeMap::from([(BestEffort, 0), (Video, 0), (Voice, 0)]);
        for _ in 0..100_000 {
            let cube = shares.next(|_| true).expect("all wait");
            shares.charge(cube, len);
            *served.entry(cube).or_insert(0) += 1;
        }
        for (cube, parts) in [(BestEffort, 1), (Video, 4), (Voice, 8)] {
            let share = f64::from(served[&cube]) / 100_000.0 * 13.0;
            let parts = f64::from(parts);
            assert!((share - parts).abs() < parts * 0.05, "{len} {served:?}");
        }
    }
}

#[test]
fn a_cube_alone_has_everything_and_saves_nothing() {
    let mut shares = Shares::default();
    for _ in 0..1000 {
        assert_eq!(shares.next(|cube| cube == BestEffort), Some(BestEffort));
        shares.charge(BestEffort, 1500);
    }
    assert_eq!(shares.next(|_| false), None);
    // Best effort has had everything; voice that comes now has its quantum, not more.
    let mut voice = 0;
    while shares.next(|_| true) == Some(Voice) {
        shares.charge(Voice, 1000);
        voice += 1;
    }
    assert!((1..=36).contains(&voice), "{voice}");
}

#[test]
fn a_voice_packet_waits_for_one_packet_only() {
    let mut queue = Queue::default();
    for _ in 0..500 {
        queue.push(BestEffort, vec![0; 1500]).expect("room");
    }
    for _ in 0..50 {
        assert_eq!(queue.pop().expect("packets").0, BestEffort);
        queue.push(Voice, vec![0; 200]).expect("room");
        assert_eq!(queue.pop().expect("packets").0, Voice);
    }
}

#[test]
fn queues_are_bounded_per_cube() {
    let limits = Limits {
        packets: 3,
        bytes: 100,
    };
    let mut queue = Queue::new(limits);
    for _ in 0..3 {
        queue.push(BestEffort, vec![1; 10]).expect("room");
    }
    assert_eq!(queue.push(BestEffort, vec![2]), Err(Full(vec![2])));
    queue.push(Voice, vec![0; 100]).expect("room");
    assert_eq!(queue.push(Voice, vec![3]), Err(Full(vec![3])));
    let (cube, packet) = queue.pop().expect("packets");
    assert_eq!((cube, packet.len()), (Voice, 100));
    queue.unpop(cube, packet);
    assert_eq!(queue.push(Voice, vec![3]), Err(Full(vec![3])));
    assert_eq!(queue.pop().expect("packets").0, Voice);
    queue.push(Voice, vec![3]).expect("room");
}

#[test]
fn flows_of_a_cube_take_turns() {
    let mut ready = Ready::default();
    for flow in 0..3 {
        ready.push(Video, flow);
    }
    let mut order = Vec::new();
    for _ in 0..7 {
        let (cube, flow) = ready.pop().expect("flows");
        order.push(flow);
        ready.charge(cube, 1000);
        ready.push(cube, flow);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    ready.retain(|flow| *flow != 1);
    assert_eq!(ready.len(), 2);
    assert!(!ready.is_empty());
}

proptest! {
    /// Whatever is charged, who waits is served, and within a number of turns that the shares bound.
    #[test]
    fn nobody_waits_for_ever(costs in proptest::collection::vec((0usize..3, 0usize..100_000), 1..200)) {
        let mut shares = Shares::default();
        for (cube, bytes) in costs {
            shares.charge(QosCube::ALL[cube], bytes);
        }
        for cube in QosCube::ALL {
            let mut turns = 0;
            loop {
                let served = shares.next(|_| true).expect("all wait");
                shares.charge(served, 1500);
                if served == cube {
                    break;
                }
                turns += 1;
                prop_assert!(turns < 200_000);
            }
        }
    }
}
