//! Names are found in layers of many members, whatever happens to members and messages.

mod dht_net;

use std::time::Duration;

use dht_net::{Network, name};
use o7s_proto::dht::Config;

const SECOND: Duration = Duration::from_secs(1);

/// Registers names at random members, looks each up from `askers` others at once.
fn found_everywhere(network: &mut Network, names: u64, askers: usize) {
    for n in 0..names {
        let at = network.any().unwrap();
        let copies = network.register(at, &name(n));
        assert!(copies > 0, "name {n} has no copy");
        for _ in 0..askers {
            let from = network.any().unwrap();
            if from == at {
                continue;
            }
            let (found, took) = network.query(from, &name(n));
            assert_eq!(found, [at], "name {n} from {from}");
            assert!(took < SECOND, "{took:?}");
        }
    }
}

#[test]
fn a_name_is_found_from_everywhere_right_after_it_is_registered() {
    for (seed, size) in [(1, 2), (2, 3), (3, 9), (4, 30), (5, 100)] {
        let mut network = Network::new(seed);
        network.grow(size, SECOND / 5);
        found_everywhere(&mut network, 20, 6);
    }
}

#[test]
fn so_it_is_with_a_tenth_of_the_messages_lost() {
    for seed in 10..13 {
        let mut network = Network::new(seed);
        network.grow(60, SECOND / 5);
        network.loss = 100;
        let (mut asked, mut right) = (0, 0);
        for n in 0..40 {
            let at = network.any().unwrap();
            network.register(at, &name(n));
            for _ in 0..5 {
                let from = network.any().unwrap();
                if from != at {
                    asked += 1;
                    right += i32::from(network.query(from, &name(n)).0 == [at]);
                }
            }
        }
        assert_eq!(asked, right, "seed {seed}");
    }
}

#[test]
fn all_members_at_once_join_a_large_layer() {
    let mut network = Network::new(20);
    network.add();
    for _ in 0..200 {
        network.add();
    }
    network.run(10 * SECOND);
    assert!(
        network
            .members
            .values()
            .all(|member| member.dht.is_joined())
    );
    found_everywhere(&mut network, 30, 5);
}

#[test]
fn an_unknown_name_is_answered_soon() {
    let mut network = Network::new(30);
    network.grow(50, SECOND / 5);
    let at = network.any().unwrap();
    let (found, took) = network.query(at, &name(77));
    assert!(found.is_empty() && took < SECOND, "{found:?} {took:?}");
}

#[test]
fn a_name_taken_back_is_gone_at_once() {
    for (seed, size) in [(40, 4), (41, 60)] {
        let mut network = Network::new(seed);
        network.grow(size, SECOND / 5);
        let at = network.any().unwrap();
        network.register(at, &name(1));
        let now = network.now;
        network.dht(at).unregister(now, &name(1)).unwrap();
        network.settle(at);
        network.run(SECOND);
        for _ in 0..10 {
            let from = network.any().unwrap();
            assert!(network.query(from, &name(1)).0.is_empty());
        }
        // Nobody brings it back.
        network.run(2_000 * SECOND);
        for _ in 0..10 {
            let from = network.any().unwrap();
            assert!(network.query(from, &name(1)).0.is_empty());
        }
    }
}

/// `spec/reference-defects.md` row 8: a name of a member that is gone stays for up to a day.
#[test]
fn the_names_of_a_crashed_member_are_gone_after_two_and_a_half_periods() {
    let mut network = Network::new(50);
    network.grow(40, SECOND / 5);
    let at = network.any().unwrap();
    network.register(at, &name(1));
    network.crash(at);
    network.run(Duration::from_secs(900 * 5 / 2 + 15));
    for _ in 0..10 {
        let from = network.any().unwrap();
        assert!(network.query(from, &name(1)).0.is_empty());
    }
}

#[test]
fn names_outlive_most_of_those_that_store_them() {
    let mut network = Network::new(60);
    network.config = Config {
        t_replicate: 60,
        t_refresh: 60,
        ..network.config
    };
    network.grow(60, SECOND / 5);
    let at = network.any().unwrap();
    network.register(at, &name(1));
    // 5 % of the members per minute, for half an hour.
    let (mut asked, mut right) = (0, 0);
    for _ in 0..300 {
        network.run(6 * SECOND);
        if network.dice.chance(300) {
            let gone = network.any().unwrap();
            if gone != at {
                network.crash(gone);
                network.add();
            }
        }
        let from = network.any().unwrap();
        if from != at {
            asked += 1;
            right += i32::from(network.query(from, &name(1)).0 == [at]);
        }
    }
    assert_eq!(asked, right);
}

#[test]
fn halves_that_were_apart_find_each_other_again() {
    let mut network = Network::new(70);
    network.config = Config {
        t_replicate: 120,
        t_refresh: 60,
        ..network.config
    };
    network.grow(50, SECOND / 5);
    network.split = true;
    network.run(600 * SECOND);
    network.split = false;
    network.run(300 * SECOND);
    found_everywhere(&mut network, 20, 5);
}

#[test]
fn an_idle_member_costs_next_to_nothing() {
    let mut network = Network::new(80);
    network.grow(100, SECOND / 5);
    network.run(900 * SECOND);
    let before = network.messages;
    network.run(3_600 * SECOND);
    let per_member = (network.messages - before) / 100;
    // An hour: four refreshes of some 50 contacts, two messages each.
    assert!(per_member < 800, "{per_member} messages in an hour");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut network = Network::new(seed);
        network.loss = 50;
        network.grow(30, SECOND / 5);
        let at = network.any().unwrap();
        network.register(at, &name(1));
        let from = network.any().unwrap();
        let found = network.query(from, &name(1));
        (network.messages, network.bytes, found, network.elapsed())
    };
    assert_eq!(run(90), run(90));
    assert_ne!(run(90), run(91));
}
