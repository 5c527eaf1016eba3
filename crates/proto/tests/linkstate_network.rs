//! Link-state routing of whole networks: loss, partitions, failures, nodes that start again, hostile
//! members. Each network comes from a seed, which a failure prints.

mod linkstate_net;

use std::time::{Duration, Instant};

use linkstate_net::{Net, Random, address, random_net};
use o7s_proto::linkstate::{Config, LinkState, Output};
use o7s_wire::{
    address::Address,
    enroll::{LinkStateConfig, LinkStatePolicy},
    linkstate::Lsu,
};

const SECOND: Duration = Duration::from_secs(1);

/// `t_update` and `t_timeo` of the default configuration.
const UPDATE: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(60);

fn seeds() -> impl Iterator<Item = u64> {
    (1..=6).inspect(|seed| println!("seed {seed}"))
}

#[test]
fn a_network_finds_its_routes_soon() {
    for policy in [
        LinkStatePolicy::Simple,
        LinkStatePolicy::Lfa,
        LinkStatePolicy::Ecmp,
    ] {
        for seed in seeds() {
            let mut net = random_net(30, 20, seed, policy);
            let took = net.converge(5 * SECOND);
            assert!(took < SECOND, "seed {seed}: {took:?}");
            // And keeps them.
            net.run(2 * TIMEOUT);
            net.check().unwrap();
            assert_eq!(net.warnings, [], "seed {seed}");
        }
    }
}

/// Updates are not acknowledged: what is lost comes with the next refresh.
#[test]
fn losses_are_repaired_by_refreshes() {
    for seed in seeds() {
        let mut net = random_net(20, 10, seed, LinkStatePolicy::Simple);
        net.loss = 100;
        // Adjacencies that come up while packets are lost.
        net.kill(3);
        net.revive(3);
        net.connect(3, 4);
        net.connect(3, 5);
        let took = net.converge(TIMEOUT);
        println!("seed {seed}: {took:?} with a tenth lost");
        net.run(3 * TIMEOUT);
        net.check().unwrap();
    }
}

/// The ends of a link that goes down send around it at once, and the others follow.
#[test]
fn a_failed_link_is_repaired_within_100_ms() {
    for seed in seeds() {
        let mut net = Net::new(8, seed, LinkStatePolicy::Simple);
        for node in 0..8 {
            net.connect(node, (node + 1) % 8);
        }
        net.converge(SECOND);
        net.run(10 * SECOND);
        net.disconnect(0, 1);
        net.run(Duration::from_millis(100));
        assert_eq!(net.check(), Ok(()), "seed {seed}");
        net.run(TIMEOUT);
        assert_eq!(net.check(), Ok(()), "seed {seed}");
        net.connect(0, 1);
        let took = net.converge(SECOND);
        assert!(took <= Duration::from_millis(100), "seed {seed}: {took:?}");
    }
}

#[test]
fn partitions_age_out_and_heal() {
    for seed in seeds() {
        let mut net = Net::new(10, seed, LinkStatePolicy::Simple);
        for node in 1..10 {
            net.connect(node - 1, node);
        }
        net.connect(0, 9);
        net.converge(SECOND);
        // Two cuts that nobody is told of: two halves.
        net.cut(0, 9, false);
        net.cut(4, 5, false);
        let took = net.converge(TIMEOUT + 2 * UPDATE);
        assert!(took > TIMEOUT - UPDATE, "seed {seed}: {took:?}");
        net.cut(0, 9, true);
        net.cut(4, 5, true);
        let took = net.converge(2 * UPDATE);
        println!("seed {seed}: healed in {took:?}");
        assert!(net.warnings.is_empty(), "seed {seed}");
    }
}

/// A node that was killed comes back with its address: its numbers begin at 0, and the old ones of others
/// do not keep it out (trap 16).
#[test]
fn a_node_that_starts_again_is_heard_at_once() {
    for seed in seeds() {
        let mut net = random_net(15, 10, seed, LinkStatePolicy::Simple);
        net.converge(SECOND);
        net.run(10 * UPDATE);
        let neighbours = net.neighbours(7);
        net.kill(7);
        net.run(Duration::from_millis(100));
        net.check().unwrap();
        net.run(2 * SECOND);
        net.revive(7);
        for far in neighbours {
            net.connect(7, far);
        }
        let took = net.converge(5 * SECOND);
        assert!(took < SECOND, "seed {seed}: {took:?}");
    }
}

/// Adjacencies come and go at random, with losses; when it is over all is right.
#[test]
fn flapping_ends_in_right_routes() {
    for seed in seeds() {
        let mut net = random_net(16, 12, seed, LinkStatePolicy::Ecmp);
        net.loss = 50;
        for _ in 0..100 {
            let (one, other) = (net.random.below(16), net.random.below(16));
            if one == other {
                continue;
            }
            if net.is_connected(one, other) {
                net.disconnect(one, other);
            } else {
                net.connect(one, other);
            }
            let pause = net.random.next() % 2000;
            net.run(Duration::from_millis(pause));
        }
        net.loss = 0;
        net.converge(TIMEOUT + 2 * UPDATE);
        net.run(2 * TIMEOUT);
        net.check().unwrap();
    }
}

/// A hostile member raises the numbers of others' links, takes them back, invents nodes and floods. Nothing
/// in a message says who made it, so it can do harm; but the traffic is bounded, and when it ends all is right
/// in a moment.
#[test]
fn what_a_hostile_member_did_is_soon_over() {
    for seed in seeds() {
        let mut net = random_net(12, 8, seed, LinkStatePolicy::Simple);
        net.converge(SECOND);
        net.run(UPDATE);
        let victim = net.neighbours(3)[0];
        let before = net.delivered;
        let mut sent = 0;
        for round in 0..200_u64 {
            for node in 0..12 {
                let far = net.neighbours(node)[0];
                let seqno = match round % 3 {
                    0 => u64::MAX,
                    1 => u64::MAX / 2 + round,
                    _ => round,
                };
                let lsu = Lsu {
                    destination: address(far),
                    source: address(node),
                    seqno,
                };
                net.inject(3, victim, &lsu.emit());
                sent += 1;
            }
            net.run(Duration::from_millis(5));
        }
        let passed_on = net.delivered - before;
        assert!(passed_on < 20 * sent, "seed {seed}: {passed_on} for {sent}");
        // At the latest when the owners of all links have announced them again.
        let took = net.converge(UPDATE + 2 * SECOND);
        println!("seed {seed}: over in {took:?}");
        net.run(TIMEOUT + 2 * UPDATE);
        net.check().unwrap();
        // Invented nodes hang on the hostile member and go with it.
        for invented in 0..500 {
            let node = Address::new(0x4000_0000 + invented);
            for (source, destination) in [(address(3), node), (node, address(3))] {
                let lsu = Lsu {
                    destination,
                    source,
                    seqno: 0,
                };
                net.inject(3, victim, &lsu.emit());
            }
        }
        net.run(TIMEOUT + 2 * UPDATE);
        net.check().unwrap();
    }
}

/// One member of a network of 10,000 nodes with 30,000 links: it hears all of them, calculates few times, and
/// knows the way to everybody. Times are printed (`--nocapture`, `--release`).
#[test]
fn a_member_of_ten_thousand_nodes() {
    const NODES: usize = 10_000;
    for policy in [
        LinkStatePolicy::Simple,
        LinkStatePolicy::Lfa,
        LinkStatePolicy::Ecmp,
    ] {
        let mut random = Random(7);
        let mut links = Vec::new();
        for node in 1..NODES {
            links.push((node, random.below(node)));
        }
        for _ in 0..20_000 {
            links.push((random.below(NODES), random.below(NODES)));
        }
        links.retain(|(one, other)| one != other);
        let config = LinkStateConfig {
            policy,
            ..LinkStateConfig::default()
        };
        let config = Config::new(&config).unwrap();
        let now = Instant::now();
        let mut state = LinkState::new(config, address(0), now);
        state.management_up(now, 1);
        for (number, &(one, other)) in links.iter().enumerate() {
            if one == 0 || other == 0 {
                state.data_up(now, 10 + number, address(one.max(other)));
            }
        }
        for &(one, other) in &links {
            for (source, destination) in [(one, other), (other, one)] {
                let update = Lsu {
                    destination: address(destination),
                    source: address(source),
                    seqno: 0,
                };
                state.handle_packet(now, 1, &update.emit());
            }
        }
        let heard = now.elapsed();
        let clock = Instant::now();
        state.handle_timeout(now + SECOND);
        let calculated = clock.elapsed();
        let mut routes = Vec::new();
        while let Some(output) = state.poll_output() {
            if let Output::Routes(found) = output {
                routes = found;
            }
        }
        println!(
            "{policy:?}: {} links heard in {heard:?}, routes calculated in {calculated:?}",
            state.links(now).count()
        );
        assert_eq!(routes.len(), NODES - 1);
        assert_eq!(state.stats().recalculations, 1);
    }
}
