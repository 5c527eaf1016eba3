//! Directories: names are found in layers of many members, whatever happens to members and messages.

use std::time::Duration;

use o7s_proto::dht::{Config, Dht};
use o7s_sim::{directory::Directory, network::user_name as name};

const SECOND: Duration = Duration::from_secs(1);

/// Registers names at random members, looks each up from `askers` others at once.
fn found_everywhere(layer: &mut Directory, names: u64, askers: usize) {
    for n in 0..names {
        let at = layer.any().unwrap();
        let copies = layer.register(at, &name(n)).expect("published");
        assert!(copies > 0, "name {n} has no copy");
        for _ in 0..askers {
            let from = layer.any().unwrap();
            if from == at {
                continue;
            }
            let (found, took) = layer.query(from, &name(n));
            assert_eq!(found, [at], "name {n} from {from}");
            assert!(took < SECOND, "{took:?}");
        }
    }
}

#[test]
fn a_name_is_found_from_everywhere_right_after_it_is_registered() {
    for (seed, size) in [(1, 2), (2, 3), (3, 9), (4, 30), (5, 100)] {
        let mut layer = Directory::new(seed);
        layer.grow(size, SECOND / 5);
        found_everywhere(&mut layer, 20, 6);
    }
}

#[test]
fn so_it_is_with_a_tenth_of_the_messages_lost() {
    for seed in 10..12 {
        let mut layer = Directory::new(seed);
        layer.grow(50, SECOND / 5);
        layer.loss = 0.1;
        let (mut asked, mut right) = (0, 0);
        for n in 0..40 {
            let at = layer.any().unwrap();
            layer.register(at, &name(n));
            for _ in 0..5 {
                let from = layer.any().unwrap();
                if from != at {
                    asked += 1;
                    right += i32::from(layer.query(from, &name(n)).0 == [at]);
                }
            }
        }
        assert_eq!(asked, right, "seed {seed}");
    }
}

#[test]
fn all_members_at_once_join_a_large_layer() {
    let mut layer = Directory::new(20);
    layer.add();
    for _ in 0..200 {
        layer.add();
    }
    layer.run(10 * SECOND);
    assert!(layer.machines().all(Dht::is_joined));
    found_everywhere(&mut layer, 30, 5);
}

#[test]
fn an_unknown_name_is_answered_soon() {
    let mut layer = Directory::new(30);
    layer.grow(50, SECOND / 5);
    let at = layer.any().unwrap();
    let (found, took) = layer.query(at, &name(77));
    assert!(found.is_empty() && took < SECOND, "{found:?} {took:?}");
}

#[test]
fn a_name_taken_back_is_gone_at_once() {
    for (seed, size) in [(40, 4), (41, 60)] {
        let mut layer = Directory::new(seed);
        layer.grow(size, SECOND / 5);
        let at = layer.any().unwrap();
        layer.register(at, &name(1));
        layer.unregister(at, &name(1));
        layer.run(SECOND);
        for _ in 0..10 {
            let from = layer.any().unwrap();
            assert!(layer.query(from, &name(1)).0.is_empty());
        }
        // Nobody brings it back.
        layer.run(2_000 * SECOND);
        for _ in 0..10 {
            let from = layer.any().unwrap();
            assert!(layer.query(from, &name(1)).0.is_empty());
        }
    }
}

/// `spec/reference-defects.md` row 8: a name of a member that is gone stays for up to a day.
#[test]
fn the_names_of_a_crashed_member_are_gone_after_two_and_a_half_periods() {
    let mut layer = Directory::new(50);
    layer.grow(40, SECOND / 5);
    let at = layer.any().unwrap();
    layer.register(at, &name(1));
    layer.crash(at);
    layer.run(Duration::from_secs(900 * 5 / 2 + 15));
    for _ in 0..10 {
        let from = layer.any().unwrap();
        assert!(layer.query(from, &name(1)).0.is_empty());
    }
}

#[test]
fn names_outlive_most_of_those_that_store_them() {
    let mut layer = Directory::new(60);
    layer.config = Config {
        t_replicate: 60,
        t_refresh: 60,
        ..layer.config
    };
    layer.grow(40, SECOND / 5);
    let at = layer.any().unwrap();
    layer.register(at, &name(1));
    // 5 % of the members per minute, for a quarter of an hour.
    let (mut asked, mut right) = (0, 0);
    for _ in 0..150 {
        layer.run(6 * SECOND);
        if layer.dice.chance(0.2) {
            let gone = layer.any().unwrap();
            if gone != at {
                layer.crash(gone);
                layer.add();
            }
        }
        let from = layer.any().unwrap();
        if from != at {
            asked += 1;
            right += i32::from(layer.query(from, &name(1)).0 == [at]);
        }
    }
    assert_eq!(asked, right);
}

#[test]
fn halves_that_were_apart_find_each_other_again() {
    let mut layer = Directory::new(70);
    layer.config = Config {
        t_replicate: 120,
        t_refresh: 60,
        ..layer.config
    };
    layer.grow(50, SECOND / 5);
    layer.split = true;
    layer.run(600 * SECOND);
    layer.split = false;
    layer.run(300 * SECOND);
    found_everywhere(&mut layer, 20, 5);
}

#[test]
fn an_idle_member_costs_next_to_nothing() {
    let mut layer = Directory::new(80);
    layer.grow(100, SECOND / 5);
    layer.run(900 * SECOND);
    let before = layer.messages();
    layer.run(3_600 * SECOND);
    let per_member = (layer.messages() - before) / 100;
    // An hour: four refreshes of some 50 contacts, two messages each.
    assert!(per_member < 800, "{per_member} messages in an hour");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut layer = Directory::new(seed);
        layer.loss = 0.05;
        layer.grow(30, SECOND / 5);
        let at = layer.any().unwrap();
        layer.register(at, &name(1));
        let from = layer.any().unwrap();
        let found = layer.query(from, &name(1));
        (layer.messages(), layer.trace(), found)
    };
    assert_eq!(run(90), run(90));
    assert_ne!(run(90), run(91));
}
