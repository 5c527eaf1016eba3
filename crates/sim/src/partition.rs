//! A layer falls into two and grows together again: are names found that were registered meanwhile?

use std::time::Duration;

use serde::Serialize;

use crate::{
    network::{Network, Plan, user_name},
    scenario::{Lookups, grown},
};

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Healing {
    /// Members on the first side, connected among each other.
    pub first_side: usize,
    /// Names registered on either side while they were apart.
    pub names: u64,
    /// Names that could not be registered.
    pub unregistered: u64,
    /// Look-ups on the side of the name while they were apart.
    pub apart: Lookups,
    /// From the links' return until each member knew a way to each other one, s; none: not in 10 minutes.
    pub converged_s: Option<f64>,
    /// Look-ups after that of names of both sides by members of both sides: seconds since the links' return
    /// at which they began, and how they went.
    pub healed: Vec<(f64, Lookups)>,
}

/// Cuts all links between two halves of a network for `apart`. Names are registered on both sides, `names` in
/// all, and `lookups` are asked for while they are apart and after they have come together again, at once and
/// later. None: the network has not come about.
#[must_use]
pub fn partition(plan: Plan, apart: Duration, names: u64, lookups: u64) -> Option<Healing> {
    let limit = Duration::from_secs(300 + plan.members as u64);
    let (mut network, _) = grown(plan, limit)?;
    let first = first_half(&network);
    let across = |a: usize, b: usize| first[a] != first[b];
    network.set_links(false, across);
    network.run(apart / 2);
    let mut owners = Vec::new();
    let mut unregistered = 0;
    for name in 0..names {
        match side(&mut network, &first, name % 2 == 0) {
            Some(at) if network.register(at, &user_name(name)) => owners.push((name, at)),
            _ => unregistered += 1,
        }
    }
    let meanwhile = ask(&mut network, &owners, lookups);
    network.run(apart / 2);
    network.set_links(true, across);
    let returned = network.elapsed();
    let converged = network.run_until(Duration::from_secs(600), Network::has_converged);
    let since = |network: &Network| (network.elapsed() - returned).as_secs_f64();
    let converged_s = converged.then(|| since(&network));
    let mut healed = Vec::new();
    for pause in [0, 5, 30, 120] {
        network.run(Duration::from_secs(pause));
        let began = since(&network);
        healed.push((began, ask(&mut network, &owners, lookups)));
    }
    Some(Healing {
        first_side: first.iter().filter(|first| **first).count(),
        names,
        unregistered,
        apart: meanwhile,
        converged_s,
        healed,
    })
}

/// The half of the members that are nearest to member 0.
fn first_half(network: &Network) -> Vec<bool> {
    let members = network.plan().members;
    let mut first = vec![false; members];
    let mut order = vec![0];
    let mut at = 0;
    if let Some(member) = first.first_mut() {
        *member = true;
    }
    while let Some(member) = order.get(at).copied()
        && order.len() < members / 2
    {
        at += 1;
        for other in network.neighbours(member) {
            if !first[other] && order.len() < members / 2 {
                first[other] = true;
                order.push(other);
            }
        }
    }
    first
}

fn side(network: &mut Network, first: &[bool], wanted: bool) -> Option<usize> {
    (0..1_000)
        .filter_map(|_| network.any())
        .find(|member| first[*member] == wanted)
}

/// Looks names up from random members that are connected to where they are.
fn ask(network: &mut Network, owners: &[(u64, usize)], count: u64) -> Lookups {
    let mut lookups = Lookups::default();
    let mut tries = 0;
    while lookups.asked < count && tries < 100 * count {
        tries += 1;
        let number = network.dice().below(owners.len());
        let (Some((name, owner)), Some(from)) = (owners.get(number), network.any()) else {
            break;
        };
        if from != *owner && network.connected(from, *owner) {
            let (right, took) = network.query(from, &user_name(*name));
            lookups.add(right, took);
        }
    }
    lookups
}
