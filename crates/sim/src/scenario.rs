//! What networks go through, in tests at moderate sizes and in the program `o7s-sim` at large ones.

use std::time::Duration;

use serde::Serialize;

use crate::{
    directory::Directory,
    growth::fairness,
    link::{Model, Tally},
    network::{Kinds, Network, Plan, State, user_name},
    topology::Shape,
};

const SECOND: Duration = Duration::from_secs(1);

/// Look-ups and how they went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lookups {
    /// Asked, by members connected to one that has the name.
    pub asked: u64,
    /// Answered rightly.
    pub right: u64,
    /// Longest time of one that was answered rightly, ms.
    pub slowest_ms: f64,
    /// Mean time of those, ms.
    pub mean_ms: f64,
}

impl Lookups {
    pub(crate) fn add(&mut self, right: bool, took: Duration) {
        self.asked += 1;
        if right {
            let took = took.as_secs_f64() * 1e3;
            self.slowest_ms = self.slowest_ms.max(took);
            self.mean_ms += (took - self.mean_ms) / (self.right + 1) as f64;
            self.right += 1;
        }
    }

    /// Share of right answers.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.asked == 0 {
            1.0
        } else {
            self.right as f64 / self.asked as f64
        }
    }
}

/// A network in which all are members, with the time that took; none: not within `limit`.
#[must_use]
pub fn grown(plan: Plan, limit: Duration) -> Option<(Network, Duration)> {
    let mut network = Network::new(plan);
    network.run_until(limit, Network::has_converged).then(|| {
        let took = network.elapsed();
        (network, took)
    })
}

/// Registers `names` names at random members. Who has which: by the number of the name.
pub fn register(network: &mut Network, names: u64) -> Vec<usize> {
    (0..names)
        .filter_map(|number| {
            let at = network.any()?;
            network.register(at, &user_name(number)).then_some(at)
        })
        .collect()
}

/// Looks names up from random members.
pub fn look_up(network: &mut Network, owners: &[usize], count: u64) -> Lookups {
    let mut lookups = Lookups::default();
    for _ in 0..count {
        let number = network.dice().below(owners.len());
        let Some(from) = network.any() else { break };
        let owner = owners[number];
        if from != owner && network.connected(from, owner) {
            let (right, took) = network.query(from, &user_name(number as u64));
            lookups.add(right, took);
        }
    }
    lookups
}

/// Members crash and come back, `per_minute` of them a minute, while others look up the names of those that
/// run.
pub fn churn(
    network: &mut Network,
    minutes: u32,
    per_minute: f64,
    lookups_per_minute: u32,
) -> Lookups {
    /// Between a crash and the restart.
    const AWAY: Duration = Duration::from_secs(10);
    let members = network.plan().members;
    let mut owners = register(network, 20);
    let mut lookups = Lookups::default();
    // Crashes and look-ups, spread evenly over the time, in turns.
    let crashes = (members as f64 * per_minute * f64::from(minutes))
        .round()
        .max(1.0) as u32;
    let asks = lookups_per_minute * minutes;
    let pause = SECOND * 60 * minutes / asks.max(1);
    for ask in 0..asks {
        let due = |n: u32| u64::from(n) * u64::from(crashes) / u64::from(asks);
        for _ in due(ask)..due(ask + 1) {
            let Some(victim) = network.any() else { break };
            network.crash(victim);
            network.restart(victim, AWAY);
            // Its names are registered again by somebody else.
            for (number, owner) in owners.iter_mut().enumerate() {
                if *owner == victim
                    && let Some(at) = network.any()
                    && network.register(at, &user_name(number as u64))
                {
                    *owner = at;
                }
            }
        }
        network.run(pause);
        let one = look_up(network, &owners, 1);
        if one.asked == 1 {
            lookups.add(
                one.right == 1,
                Duration::from_secs_f64(one.slowest_ms / 1e3),
            );
        }
    }
    lookups
}

/// How flows share a link.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sharing {
    /// Rate of each flow, bit/s.
    pub rates: Vec<f64>,
    /// Jain's index of them.
    pub fairness: f64,
    /// Share of the link's rate that they have in sum, without headers.
    pub utilization: f64,
    /// Packets lost at the queue of the link.
    pub refused: u64,
    /// Packets that waited for it on average.
    pub mean_queue: f64,
    /// Most packets that waited for it in that time, of looks every 50 ms.
    pub longest_queue: usize,
    /// Most that waited since the start.
    pub longest_ever: usize,
}

/// Flows cross a dumbbell whose middle has `rate` bits per second, each between two members of its own.
#[must_use]
pub fn dumbbell(
    flows: usize,
    rate: u64,
    seed: u64,
    settle: Duration,
    measure: Duration,
) -> Option<Sharing> {
    const PAYLOAD: usize = 1_000;
    let fast = Model {
        rate: Some(rate * 10),
        ..Model::default()
    };
    let middle = Model {
        rate: Some(rate),
        delay: Duration::from_millis(5),
        queue: 1_000,
        loss: 0.0,
    };
    let plan = Plan {
        members: 2 + 2 * flows,
        shape: Shape::Dumbbell,
        seed,
        link: fast,
        special: vec![((0, 1), middle)],
        ..Plan::default()
    };
    let (mut network, _) = grown(plan, SECOND * 120)?;
    // Member 2 + 2f is at centre 0, member 3 + 2f at centre 1.
    for flow in 0..flows {
        let name = user_name(flow as u64);
        if !network.register(3 + 2 * flow, &name) {
            return None;
        }
        network.stream(2 + 2 * flow, &name, PAYLOAD);
        network.run(SECOND / 4);
    }
    network.run(settle);
    let tally = |network: &Network| network.tally(0, 1).unwrap_or_default();
    let (before, start): (Vec<u64>, Tally) = (network.delivered(), tally(&network));
    let (mut queues, mut longest) = (0.0, 0);
    let looks = u32::try_from(measure.as_millis() / 50)
        .unwrap_or(u32::MAX)
        .max(1);
    for _ in 0..looks {
        network.run(measure / looks);
        let queued = network.queued(0, 1);
        queues += queued as f64 / f64::from(looks);
        longest = longest.max(queued);
    }
    let (after, end) = (network.delivered(), tally(&network));
    let seconds = measure.as_secs_f64();
    let rates: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) as f64 * 8.0 / seconds)
        .collect();
    Some(Sharing {
        fairness: fairness(&rates),
        utilization: rates.iter().sum::<f64>() / rate as f64,
        refused: end.refused - start.refused,
        mean_queue: queues,
        longest_queue: longest,
        longest_ever: end.longest,
        rates,
    })
}

/// What a network of some size costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Members.
    pub members: usize,
    /// Links between them.
    pub links: usize,
    /// Virtual time until each one could reach each other one, s.
    pub converged_s: f64,
    /// What a member holds.
    pub state: State,
    /// What was put on links until then, in all.
    pub joining: Kinds,
    /// What was put on links in the idle time after that, in all.
    pub idle: Kinds,
    /// Length of that time, s.
    pub idle_s: f64,
    /// Names that were looked up.
    pub lookups: Lookups,
    /// Messages of the directory per look-up.
    pub messages_per_lookup: f64,
    /// Events that the simulation has gone through.
    pub events: u64,
}

/// Grows a network, leaves it idle, then has names looked up. None: it did not converge.
#[must_use]
pub fn cost(plan: Plan, idle: Duration, names: u64, count: u64) -> Option<Cost> {
    let (members, seed) = (plan.members, plan.seed);
    let limit = SECOND * 300 + SECOND * u32::try_from(members / 4).unwrap_or(u32::MAX);
    let (mut network, took) = grown(plan, limit)?;
    let _ = seed;
    let joining = network.kinds();
    network.run(idle);
    let after = network.kinds();
    let owners = register(&mut network, names);
    let before_lookups = network.kinds().directory.packets;
    let lookups = look_up(&mut network, &owners, count);
    let asked = (network.kinds().directory.packets - before_lookups) as f64;
    Some(Cost {
        members,
        links: network.link_count(),
        converged_s: took.as_secs_f64(),
        state: network.state(),
        joining,
        idle: after.since(&joining),
        idle_s: idle.as_secs_f64(),
        messages_per_lookup: asked / lookups.asked.max(1) as f64,
        lookups,
        events: network.events(),
    })
}

/// What a directory of some size costs, without routing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DirectoryCost {
    /// Members.
    pub members: usize,
    /// Contacts of a member.
    pub contacts: f64,
    /// Values that a member stores when each one has one name.
    pub values: f64,
    /// Messages of a member in the idle hour, with its name.
    pub idle_per_hour: f64,
    /// Messages of the whole layer per joining member.
    pub messages_per_join: f64,
    /// Messages of the whole layer per registration.
    pub messages_per_registration: f64,
    /// Messages of the whole layer per look-up.
    pub messages_per_lookup: f64,
    /// Look-ups.
    pub lookups: Lookups,
}

/// Grows a directory, has each member register a name and many looked up, then leaves it idle.
#[must_use]
pub fn directory_cost(members: usize, seed: u64, lookups: u64) -> DirectoryCost {
    let mut layer = Directory::new(seed);
    layer.grow(members, SECOND / 100);
    let n = members as f64;
    let joined = layer.messages() as f64;
    let owners: Vec<_> = layer.addresses().to_vec();
    for (number, owner) in owners.iter().enumerate() {
        let _ = layer.register(*owner, &user_name(number as u64));
    }
    let registered = layer.messages() as f64;
    let mut asked = Lookups::default();
    for _ in 0..lookups {
        let number = layer.dice.below(owners.len());
        let from = owners[layer.dice.below(owners.len())];
        if from != owners[number] {
            let (found, took) = layer.query(from, &user_name(number as u64));
            asked.add(found == [owners[number]], took);
        }
    }
    let looked_up = layer.messages() as f64;
    layer.run(SECOND * 3_600);
    let idle = layer.messages() as f64;
    let sum = |of: &dyn Fn(&o7s_proto::dht::Dht) -> usize| {
        layer.machines().map(of).sum::<usize>() as f64 / n
    };
    DirectoryCost {
        members,
        contacts: sum(&|dht| dht.sizes().contacts),
        values: sum(&|dht| dht.sizes().values),
        idle_per_hour: (idle - looked_up) / n,
        messages_per_join: joined / n,
        messages_per_registration: (registered - joined) / n,
        messages_per_lookup: (looked_up - registered) / asked.asked.max(1) as f64,
        lookups: asked,
    }
}
