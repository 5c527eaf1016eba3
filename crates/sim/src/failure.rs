//! Cut links: for how long do they interrupt the flows that went over them?

use std::time::Duration;

use serde::Serialize;

use crate::{
    network::{Network, Plan, user_name},
    scenario::grown,
};

/// Between two packets of a flow: what interruptions are measured with.
const PERIOD: Duration = Duration::from_millis(1);

/// For so long after the detection flows are watched. Who is interrupted at its end counts with all of it.
const WATCH: Duration = Duration::from_secs(3);

/// No packet is under way for longer, unless it goes round until its hops are used up.
const LONGEST: Duration = Duration::from_millis(300);

/// Between the repair of a link and the next cut: routing calms down.
const CALM: Duration = Duration::from_secs(20);

/// What cut links did to flows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interruptions {
    /// Links cut.
    pub cuts: u64,
    /// Times that a flow had its path over the link that was cut.
    pub hit: u64,
    /// Of them, those whose members were still connected by other links.
    pub connected: u64,
    /// Of these, those for which the member before the link had another N-1 flow in its table.
    pub prepared: u64,
    /// Of those that were connected: from the detection until the last packet was sent that was lost, ms, the
    /// shortest first. So long, packets were lost for which there was a way.
    pub lost_ms: Vec<f64>,
    /// Of the same: from the detection until packets arrived again, ms, the time on their way included.
    pub silent_ms: Vec<f64>,
    /// The same of those for which the member before the link was prepared.
    pub prepared_ms: Vec<f64>,
    /// Times that a flow lost packets after the detection although it did not go over the link.
    pub others: u64,
}

impl Interruptions {
    /// The value below which this share of `sorted` is; 0 of nothing.
    #[must_use]
    pub fn quantile(sorted: &[f64], share: f64) -> f64 {
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.max(1) - 1).copied().unwrap_or(0.0)
    }
}

/// Flows between random members of a network send a packet per millisecond; links on their paths are cut, one
/// at a time, and come back. None: the network or its flows have not come about.
#[must_use]
pub fn cut_links(plan: Plan, flows: usize, cuts: u64) -> Option<Interruptions> {
    let detection = plan.detection?;
    let limit = Duration::from_secs(300 + plan.members as u64);
    let (mut network, _) = grown(plan, limit)?;
    for flow in 0..flows {
        let (from, to) = two_members(&mut network)?;
        let name = user_name(flow as u64);
        if !network.register(to, &name) {
            return None;
        }
        network.steady(from, &name);
    }
    let all_have_paths = |network: &Network| (0..flows).all(|flow| network.path(flow).is_some());
    if !network.run_until(CALM, all_have_paths) {
        return None;
    }
    network.run(CALM);
    let mut found = Interruptions {
        cuts: 0,
        hit: 0,
        connected: 0,
        prepared: 0,
        lost_ms: Vec::new(),
        silent_ms: Vec::new(),
        prepared_ms: Vec::new(),
        others: 0,
    };
    for _ in 0..cuts {
        cut_one(&mut network, flows, detection, &mut found)?;
    }
    found.lost_ms.sort_by(f64::total_cmp);
    found.silent_ms.sort_by(f64::total_cmp);
    found.prepared_ms.sort_by(f64::total_cmp);
    Some(found)
}

fn two_members(network: &mut Network) -> Option<(usize, usize)> {
    let from = network.any()?;
    // Enough for any network of two or more.
    (0..64)
        .filter_map(|_| network.any())
        .find(|to| *to != from)
        .map(|to| (from, to))
}

fn cut_one(
    network: &mut Network,
    flows: usize,
    detection: Duration,
    found: &mut Interruptions,
) -> Option<()> {
    let paths: Vec<Vec<usize>> = (0..flows)
        .map(|flow| network.path(flow))
        .collect::<Option<_>>()?;
    let victim = network.dice().below(flows);
    let hop = network.dice().below(paths[victim].len() - 1);
    let (a, b) = (paths[victim][hop], paths[victim][hop + 1]);
    let is_cut = |x: usize, y: usize| (x, y) == (a, b) || (y, x) == (a, b);
    // Which flows went over it, and whether the member before it had a choice.
    let hit: Vec<Option<bool>> = paths
        .iter()
        .enumerate()
        .map(|(flow, path)| {
            let before = path.windows(2).find(|hop| is_cut(hop[0], hop[1]))?[0];
            Some(network.choices(before, flow) > 1)
        })
        .collect();
    network.beat_every(Some(PERIOD));
    network.run(LONGEST);
    network.set_links(false, is_cut);
    let detected = network.elapsed() + detection;
    network.run(detection + WATCH + LONGEST);
    found.cuts += 1;
    for (flow, hit) in hit.into_iter().enumerate() {
        let gap = network.gap(flow, LONGEST);
        let after = |time: Duration| time.saturating_sub(detected).as_secs_f64() * 1e3;
        let lost = gap.last_lost.map_or(0.0, |sent| after(sent + PERIOD));
        let silent = after(gap.back.unwrap_or(detected + WATCH));
        let (Some(from), Some(to)) = (paths[flow].first(), paths[flow].last()) else {
            continue;
        };
        match hit {
            None => found.others += u64::from(lost > 0.0),
            Some(prepared) => {
                found.hit += 1;
                if network.connected(*from, *to) {
                    found.connected += 1;
                    found.lost_ms.push(lost);
                    found.silent_ms.push(silent);
                    if prepared {
                        found.prepared += 1;
                        found.prepared_ms.push(silent);
                    }
                }
            }
        }
    }
    network.beat_every(None);
    network.set_links(true, is_cut);
    let restored = |network: &Network| {
        network.has_converged() && (0..flows).all(|flow| network.path(flow).is_some())
    };
    network.run(detection);
    network
        .run_until(Duration::from_secs(120), restored)
        .then_some(())?;
    network.run(CALM);
    Some(())
}
