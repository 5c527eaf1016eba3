//! Whole networks: they converge, names are found, partitions heal, crashes are survived, links are shared.

use std::time::Duration;

use o7s_proto::congestion::Controller;
use o7s_sim::{
    bottleneck::{Flow, Setup, share},
    failure::{Interruptions, cut_links},
    link::Model,
    network::{Network, Plan, user_name},
    partition::partition,
    scenario,
    topology::Shape,
};
use o7s_wire::enroll::LinkStatePolicy;

const SECOND: Duration = Duration::from_secs(1);

fn grown(plan: Plan) -> Network {
    let seed = plan.seed;
    let grown = scenario::grown(plan, SECOND * 200);
    grown
        .unwrap_or_else(|| panic!("seed {seed} does not converge"))
        .0
}

#[test]
fn networks_of_every_shape_converge_and_names_are_found_everywhere() {
    for (seed, shape, members) in [
        (1, Shape::Random { degree: 4 }, 30),
        (2, Shape::Ring, 12),
        (3, Shape::Grid, 16),
        (4, Shape::ScaleFree { links: 2 }, 24),
        (5, Shape::Line, 8),
        (6, Shape::Dumbbell, 12),
    ] {
        let mut network = grown(Plan {
            members,
            shape,
            seed,
            ..Plan::default()
        });
        let owners = scenario::register(&mut network, 8);
        assert_eq!(owners.len(), 8, "{shape} with seed {seed}");
        let lookups = scenario::look_up(&mut network, &owners, 40);
        assert_eq!(
            lookups.right, lookups.asked,
            "{shape} with seed {seed}: {lookups:?}"
        );
    }
}

#[test]
fn they_do_so_over_links_that_lose_a_packet_in_fifty() {
    let mut network = grown(Plan {
        members: 16,
        seed: 7,
        link: Model {
            loss: 0.02,
            ..Model::default()
        },
        ..Plan::default()
    });
    let owners = scenario::register(&mut network, 8);
    let lookups = scenario::look_up(&mut network, &owners, 60);
    assert_eq!(lookups.right, lookups.asked, "{lookups:?}");
}

#[test]
fn a_partition_heals() {
    let mut network = grown(Plan {
        members: 16,
        shape: Shape::Grid,
        seed: 8,
        ..Plan::default()
    });
    let across = |a: usize, b: usize| (a < 8) != (b < 8);
    network.set_links(false, across);
    network.run(SECOND * 100);
    // Each half goes on, and names are registered in both.
    assert!(network.register(3, &user_name(1)) && network.register(12, &user_name(2)));
    assert!(network.query(0, &user_name(1)).0 && network.query(15, &user_name(2)).0);
    assert!(!network.query(0, &user_name(2)).0 && !network.query(15, &user_name(1)).0);
    network.set_links(true, across);
    assert!(network.run_until(SECOND * 60, Network::has_converged));
    network.run(SECOND * 10);
    for member in 0..16 {
        for (name, owner) in [(1, 3), (2, 12)] {
            if member != owner {
                let (found, _) = network.query(member, &user_name(name));
                assert!(found, "name {name} from {member}");
            }
        }
    }
}

#[test]
fn members_crash_and_come_back_and_names_are_found() {
    let mut network = grown(Plan {
        members: 30,
        seed: 9,
        ..Plan::default()
    });
    let lookups = scenario::churn(&mut network, 3, 0.05, 100);
    assert!(
        lookups.asked > 250 && lookups.share() >= 0.999,
        "{lookups:?}"
    );
}

#[test]
fn flows_share_a_congested_link() {
    let sharing = scenario::dumbbell(4, 20_000_000, 10, SECOND * 30, SECOND * 5).unwrap();
    assert!(sharing.fairness >= 0.95, "{sharing:?}");
    assert!(sharing.utilization >= 0.9, "{sharing:?}");
    assert!(sharing.longest_queue < 250, "{sharing:?}");
    assert!(
        sharing.longest_ever < 1_000 && sharing.refused == 0,
        "{sharing:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let run = |seed| {
        let mut network = Network::new(Plan {
            members: 12,
            seed,
            link: Model {
                loss: 0.01,
                ..Model::default()
            },
            ..Plan::default()
        });
        network.run(SECOND * 20);
        (network.trace(), network.events())
    };
    let first = run(11);
    assert_eq!(first, run(11));
    assert_ne!(first, run(12));
}

/// After a link is cut, packets are lost no longer than 100 ms after its detection, wherever there is another
/// path: by a local alternate at once, else by what routing computes. Virtual time: no clock is asked.
#[test]
fn a_cut_link_is_repaired_within_100_ms_of_its_detection() {
    for (seed, shape, policy) in [
        (20, Shape::Ring, LinkStatePolicy::Simple),
        (21, Shape::Grid, LinkStatePolicy::Simple),
        (21, Shape::Grid, LinkStatePolicy::Lfa),
        (22, Shape::Random { degree: 4 }, LinkStatePolicy::Ecmp),
        (23, Shape::ScaleFree { links: 2 }, LinkStatePolicy::Lfa),
    ] {
        let mut plan = Plan {
            members: 16,
            shape,
            seed,
            ..Plan::default()
        };
        plan.layer.dt.routing.policy = policy;
        let found = cut_links(plan, 12, 3).expect("a network that recovers");
        assert!(found.connected >= 3, "{shape} {policy:?} {found:?}");
        let most = |sorted: &[f64]| Interruptions::quantile(sorted, 1.0);
        assert!(
            most(&found.lost_ms) <= 100.0,
            "{shape} {policy:?} {found:?}"
        );
        assert!(
            most(&found.silent_ms) <= 100.0,
            "{shape} {policy:?} {found:?}"
        );
        assert_eq!(found.others, 0, "{shape} {policy:?} {found:?}");
        let prepares = policy != LinkStatePolicy::Simple;
        assert_eq!(found.prepared > 0, prepares, "{shape} {policy:?} {found:?}");
    }
}

#[test]
fn names_registered_in_either_half_are_found_in_both_after_a_partition() {
    let plan = Plan {
        members: 24,
        shape: Shape::Random { degree: 4 },
        seed: 24,
        ..Plan::default()
    };
    let healing = partition(plan, SECOND * 120, 10, 20).expect("a network");
    assert_eq!((healing.first_side, healing.unregistered), (12, 0));
    assert_eq!(healing.apart.right, healing.apart.asked, "{healing:?}");
    assert!(
        healing.converged_s.is_some_and(|took| took < 60.0),
        "{healing:?}"
    );
    for (began, lookups) in &healing.healed {
        assert_eq!(lookups.right, lookups.asked, "{began} {healing:?}");
    }
}

#[test]
fn slow_flows_share_a_slow_link_without_loss() {
    let flow = |number: u64| Flow {
        round_trip: Duration::from_millis([1, 20, 70, 200][number as usize % 4]),
        start: SECOND / 20 * number as u32,
        stop: None,
        controller: Controller::Rate,
    };
    for (flows, rate) in [(4, 1_000_000), (4, 4_000_000), (16, 16_000_000)] {
        let sharing = share(&Setup {
            rate,
            flows: (0..flows).map(flow).collect(),
            settle: SECOND * 60,
            measure: SECOND * 30,
            seed: flows,
        });
        assert!(sharing.fairness >= 0.9, "{flows} {rate} {sharing:?}");
        assert!(sharing.utilization >= 0.85, "{flows} {rate} {sharing:?}");
        assert!(
            sharing.mean_queue < 250.0 && sharing.refused == 0,
            "{flows} {rate} {sharing:?}"
        );
    }
}
