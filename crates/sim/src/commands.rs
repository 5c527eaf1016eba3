//! What the program shows of failures and partitions.

use std::time::Duration;

use o7s_sim::{
    failure::{Interruptions, cut_links},
    partition::partition,
    scenario::Lookups,
    topology::Shape,
};
use o7s_wire::enroll::LinkStatePolicy;

use super::Cli;

pub(crate) fn heal(
    cli: &Cli,
    members: usize,
    topology: Shape,
    apart: u64,
    names: u64,
    lookups: u64,
) -> Result<(), String> {
    let plan = cli.plan(members, topology);
    let healing = partition(plan, Duration::from_secs(apart), names, lookups)
        .ok_or_else(|| cli.not_converged(members))?;
    if cli.json {
        println!("{}", serde_json::json!(healing));
        return Ok(());
    }
    let show = |lookups: &Lookups| {
        format!(
            "{} of {} look-ups right, {:.1} ms on average, {:.0} ms at most",
            lookups.right, lookups.asked, lookups.mean_ms, lookups.slowest_ms
        )
    };
    println!(
        "{} and {} members apart for {apart} s: {} of {} names registered; {}",
        healing.first_side,
        members - healing.first_side,
        healing.names - healing.unregistered,
        healing.names,
        show(&healing.apart)
    );
    match healing.converged_s {
        Some(took) => println!("everybody reaches everybody {took:.2} s after the links' return"),
        None => println!("not everybody reaches everybody 600 s after the links' return"),
    }
    for (began, lookups) in &healing.healed {
        println!("{began:.1} s after it: {}", show(lookups));
    }
    Ok(())
}

pub(crate) fn failure(
    cli: &Cli,
    members: usize,
    topologies: &[Shape],
    flows: usize,
    cuts: u64,
) -> Result<(), String> {
    let policies = [
        LinkStatePolicy::Simple,
        LinkStatePolicy::Lfa,
        LinkStatePolicy::Ecmp,
    ];
    let mut all = Vec::new();
    if !cli.json {
        println!(
            "{:<11}{:<8}{:>6}{:>11}{:>10}{:>11}{:>11}{:>9}{:>9}{:>15}{:>8}",
            "",
            "policy",
            "hit",
            "connected",
            "prepared",
            "lost, most",
            "silent p50",
            "p99",
            "most",
            "prepared, most",
            "others"
        );
    }
    for shape in topologies {
        for policy in policies {
            let mut plan = cli.plan(members, *shape);
            plan.layer.dt.routing.policy = policy;
            let found = cut_links(plan, flows, cuts).ok_or_else(|| {
                format!(
                    "{shape} of {members} members has not come about, or has not recovered from a \
                     cut, with seed {}; try another",
                    cli.seed
                )
            })?;
            let percent = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
            let quantile = |share| Interruptions::quantile(&found.silent_ms, share);
            if !cli.json {
                println!(
                    "{:<11}{:<8}{:>6}{:>10.1}%{:>9.1}%{:>11.1}{:>11.1}{:>9.1}{:>9.1}{:>15.1}{:>8}",
                    shape.to_string(),
                    format!("{policy:?}").to_lowercase(),
                    found.hit,
                    percent(found.connected, found.hit),
                    percent(found.prepared, found.connected),
                    Interruptions::quantile(&found.lost_ms, 1.0),
                    quantile(0.5),
                    quantile(0.99),
                    quantile(1.0),
                    Interruptions::quantile(&found.prepared_ms, 1.0),
                    found.others
                );
            }
            all.push(serde_json::json!({
                "topology": shape.to_string(),
                "policy": format!("{policy:?}").to_lowercase(),
                "interruptions": found,
            }));
        }
    }
    if cli.json {
        println!("{:#}", serde_json::Value::from(all));
    }
    Ok(())
}
