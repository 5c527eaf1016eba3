//! `o7s-sim`: networks of many members, from a seed, with tables, JSON and charts of what they cost.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use o7s_proto::congestion::Controller;
use o7s_sim::{
    bottleneck::{Flow, Setup, share},
    chart::{Series, draw},
    growth::Law,
    network::Plan,
    scenario::{self, Cost, DirectoryCost, Sharing},
    topology::Shape,
};
use serde::Serialize;

mod commands;

/// Networks of Ouroboros members in one process, in virtual time. Equal seeds give equal runs.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Prints JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// Seed of all chance
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Command {
    /// What whole networks cost a member, against their size
    Growth(Growth),
    /// What the directory alone costs, against the size of the layer
    Directory {
        /// Sizes
        #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 100, 300, 1_000, 3_000, 10_000])]
        sizes: Vec<usize>,
        /// Look-ups per size
        #[arg(long, default_value_t = 2_000)]
        lookups: u64,
        /// Writes a chart
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Members crash and come back while names are looked up
    Churn {
        /// Members
        #[arg(long, default_value_t = 200)]
        members: usize,
        /// Topology: random, ring, grid, scale-free, line, dumbbell
        #[arg(long, default_value = "random")]
        topology: Shape,
        /// Minutes
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Crashes per minute, in percent of the members
        #[arg(long, default_value_t = 5.0)]
        percent: f64,
        /// Look-ups per minute
        #[arg(long, default_value_t = 200)]
        lookups: u32,
    },
    /// Two halves of a layer are apart for some time while names are registered on both sides
    Partition {
        /// Members
        #[arg(long, default_value_t = 200)]
        members: usize,
        /// Topology: random, ring, grid, scale-free, line, dumbbell
        #[arg(long, default_value = "random")]
        topology: Shape,
        /// For how long they are apart, s
        #[arg(long, default_value_t = 300)]
        apart: u64,
        /// Names that are registered meanwhile
        #[arg(long, default_value_t = 50)]
        names: u64,
        /// Look-ups, each time
        #[arg(long, default_value_t = 200)]
        lookups: u64,
    },
    /// Links are cut while flows send: for how long are these interrupted?
    Failure {
        /// Members
        #[arg(long, default_value_t = 100)]
        members: usize,
        /// Topologies: random, ring, grid, scale-free, line, dumbbell
        #[arg(long, value_delimiter = ',', default_values = ["ring", "grid", "random", "scale-free"])]
        topologies: Vec<Shape>,
        /// Flows, each between two random members
        #[arg(long, default_value_t = 100)]
        flows: usize,
        /// Links that are cut, one after the other
        #[arg(long, default_value_t = 20)]
        cuts: u64,
    },
    /// Flows share one queue, without a network around it
    Bottleneck {
        /// Flows
        #[arg(long, default_value_t = 4)]
        flows: usize,
        /// Flows with the controller of 0.23 besides
        #[arg(long, default_value_t = 0)]
        slots: usize,
        /// Rate of the link, bit/s
        #[arg(long, default_value_t = 4_000_000)]
        rate: u64,
        /// There and back without the queue, ms; the flows take them in turn
        #[arg(long, value_delimiter = ',', default_values_t = [20])]
        round_trips: Vec<u64>,
        /// The flows begin one after the other within this time, s
        #[arg(long, default_value_t = 1)]
        starts: u64,
        /// Every second flow ends after this time, s; 0: none does
        #[arg(long, default_value_t = 0)]
        leave: u64,
        /// Seconds before what is measured
        #[arg(long, default_value_t = 60)]
        settle: u64,
        /// Seconds that are measured
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Flows share the link in the middle of a dumbbell
    Dumbbell {
        /// Flows
        #[arg(long, default_value_t = 8)]
        flows: usize,
        /// Rate of the link, bit/s
        #[arg(long, default_value_t = 10_000_000)]
        rate: u64,
        /// Seconds that are measured, after as many that are not
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Args)]
struct Growth {
    /// Sizes
    #[arg(long, value_delimiter = ',', default_values_t = [10, 20, 50, 100, 200, 500, 1_000])]
    sizes: Vec<usize>,
    /// Topology: random, ring, grid, scale-free, line, dumbbell
    #[arg(long, default_value = "random")]
    topology: Shape,
    /// Idle time that is measured, s
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Delay of a link, ms
    #[arg(long, default_value_t = 2)]
    delay: u64,
    /// Names that are registered, and four times as many look-ups
    #[arg(long, default_value_t = 50)]
    names: u64,
    /// Period of link-state announcements, s
    #[arg(long, default_value_t = 15)]
    t_update: u32,
    /// Writes a chart
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// The size that laws are asked about.
const MILLION: f64 = 1e6;

/// A quantity against the number of members.
#[derive(Serialize)]
struct Quantity {
    name: &'static str,
    points: Vec<(f64, f64)>,
    law: Option<Law>,
    at_a_million: Option<f64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Growth(growth) => grow(&cli, growth),
        Command::Directory {
            sizes,
            lookups,
            svg,
        } => directory(&cli, sizes, *lookups, svg.as_ref()),
        Command::Churn {
            members,
            topology,
            minutes,
            percent,
            lookups,
        } => churn(&cli, *members, *topology, *minutes, *percent, *lookups),
        Command::Partition {
            members,
            topology,
            apart,
            names,
            lookups,
        } => commands::heal(&cli, *members, *topology, *apart, *names, *lookups),
        Command::Failure {
            members,
            topologies,
            flows,
            cuts,
        } => commands::failure(&cli, *members, topologies, *flows, *cuts),
        Command::Bottleneck {
            flows,
            slots,
            rate,
            round_trips,
            starts,
            leave,
            settle,
            seconds,
        } => {
            let count = flows + slots;
            let every = |number: usize| Flow {
                round_trip: Duration::from_millis(round_trips[number % round_trips.len().max(1)]),
                start: Duration::from_secs(*starts) * number as u32 / count.max(1) as u32,
                stop: (*leave > 0 && number % 2 == 1).then(|| Duration::from_secs(*leave)),
                controller: if number < *flows {
                    Controller::Rate
                } else {
                    Controller::Slots
                },
            };
            let setup = Setup {
                rate: *rate,
                flows: (0..count).map(every).collect(),
                settle: Duration::from_secs(*settle),
                measure: Duration::from_secs(*seconds),
                seed: cli.seed,
            };
            show_sharing(&cli, &share(&setup));
            Ok(())
        }
        Command::Dumbbell {
            flows,
            rate,
            seconds,
        } => dumbbell(&cli, *flows, *rate, *seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("o7s-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn quantity<T>(name: &'static str, costs: &[T], of: impl Fn(&T) -> (usize, f64)) -> Quantity {
    let points: Vec<(f64, f64)> = costs
        .iter()
        .map(|cost| {
            let (members, value) = of(cost);
            (members as f64, value)
        })
        .collect();
    // Small networks are not like large ones: the upper half of the sizes tells.
    let law = Law::of(&points[points.len() / 2..]).or_else(|| Law::of(&points));
    Quantity {
        name,
        at_a_million: law.map(|law| law.at(MILLION)),
        points,
        law,
    }
}

fn show(
    json: bool,
    title: &str,
    quantities: &[Quantity],
    costs: &impl Serialize,
    svg: Option<&PathBuf>,
) -> Result<(), String> {
    if let Some(path) = svg {
        let series: Vec<Series> = quantities
            .iter()
            .map(|quantity| Series {
                label: quantity.name.to_owned(),
                points: quantity.points.clone(),
                law: quantity.law,
            })
            .collect();
        let chart = draw(title, "members", "per member", &series, MILLION);
        fs::write(path, chart).map_err(|error| {
            format!(
                "cannot write the chart to {}: {error}; choose another file with --svg",
                path.display()
            )
        })?;
    }
    if json {
        let all = serde_json::json!({ "costs": costs, "quantities": quantities });
        println!("{all:#}");
        return Ok(());
    }
    println!("{title}");
    print!("{:<34}", "members");
    if let Some(first) = quantities.first() {
        for (members, _) in &first.points {
            print!("{members:>10}");
        }
    }
    println!("{:>10}{:>8}{:>12}", "growth", "fit", "at 10^6");
    for quantity in quantities {
        print!("{:<34}", quantity.name);
        for (_, value) in &quantity.points {
            print!("{:>10}", short(*value));
        }
        match quantity.law {
            Some(law) => println!(
                "{:>10}{:>8.3}{:>12}",
                format!("n^{:.2}", law.exponent),
                law.fit,
                short(law.at(MILLION))
            ),
            None => println!(),
        }
    }
    Ok(())
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}G", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

fn grow(cli: &Cli, growth: &Growth) -> Result<(), String> {
    let mut costs: Vec<Cost> = Vec::new();
    for members in &growth.sizes {
        let mut plan = cli.plan(*members, growth.topology);
        plan.link.delay = Duration::from_millis(growth.delay);
        plan.layer.dt.routing.t_update = growth.t_update;
        plan.layer.dt.routing.t_timeo = plan.layer.dt.routing.t_timeo.max(growth.t_update * 4);
        let started = Instant::now();
        let idle = Duration::from_secs(growth.idle);
        let cost = scenario::cost(plan, idle, growth.names, 4 * growth.names)
            .ok_or_else(|| cli.not_converged(*members))?;
        eprintln!(
            "{members} members: {} events in {:.1} s, {:.0} virtual seconds until converged, \
             {} of {} look-ups right, {:.1} ms on average",
            cost.events,
            started.elapsed().as_secs_f64(),
            cost.converged_s,
            cost.lookups.right,
            cost.lookups.asked,
            cost.lookups.mean_ms
        );
        costs.push(cost);
    }
    let per = |cost: &Cost, value: u64| (cost.members, value as f64 / cost.members as f64);
    let quantities = [
        quantity("links in the database", &costs, |c| {
            (c.members, c.state.links)
        }),
        quantity("routes", &costs, |c| (c.members, c.state.routes)),
        quantity("contacts of the directory", &costs, |c| {
            (c.members, c.state.contacts)
        }),
        quantity("routing packets to join", &costs, |c| {
            per(c, c.joining.routing.packets)
        }),
        quantity("directory packets to join", &costs, |c| {
            per(c, c.joining.directory.packets)
        }),
        quantity("routing packets per minute, idle", &costs, |c| {
            let (members, packets) = per(c, c.idle.routing.packets);
            (members, packets * 60.0 / c.idle_s)
        }),
        quantity("directory packets per look-up", &costs, |c| {
            (c.members, c.messages_per_lookup)
        }),
    ];
    let title = format!("Whole networks, {}: cost of a member", growth.topology);
    show(cli.json, &title, &quantities, &costs, growth.svg.as_ref())
}

fn directory(
    cli: &Cli,
    sizes: &[usize],
    lookups: u64,
    svg: Option<&PathBuf>,
) -> Result<(), String> {
    let mut costs: Vec<DirectoryCost> = Vec::new();
    for members in sizes {
        let started = Instant::now();
        let cost = scenario::directory_cost(*members, cli.seed, lookups);
        eprintln!(
            "{members} members: {:.1} s, {} of {} look-ups right, {:.1} ms on average, {:.1} at most",
            started.elapsed().as_secs_f64(),
            cost.lookups.right,
            cost.lookups.asked,
            cost.lookups.mean_ms,
            cost.lookups.slowest_ms
        );
        costs.push(cost);
    }
    let quantities = [
        quantity("contacts", &costs, |c| (c.members, c.contacts)),
        quantity("values, one name per member", &costs, |c| {
            (c.members, c.values)
        }),
        quantity("messages per idle hour", &costs, |c| {
            (c.members, c.idle_per_hour)
        }),
        quantity("messages per join", &costs, |c| {
            (c.members, c.messages_per_join)
        }),
        quantity("messages per registration", &costs, |c| {
            (c.members, c.messages_per_registration)
        }),
        quantity("messages per look-up", &costs, |c| {
            (c.members, c.messages_per_lookup)
        }),
        quantity("mean time of a look-up, ms", &costs, |c| {
            (c.members, c.lookups.mean_ms)
        }),
    ];
    let title = "The directory alone: cost of a member";
    show(cli.json, title, &quantities, &costs, svg)
}

impl Cli {
    /// A network of so many members, from the seed of the command line.
    fn plan(&self, members: usize, shape: Shape) -> Plan {
        Plan {
            members,
            shape,
            seed: self.seed,
            ..Plan::default()
        }
    }

    fn not_converged(&self, members: usize) -> String {
        format!(
            "{members} members have not converged with seed {}",
            self.seed
        )
    }
}

fn churn(
    cli: &Cli,
    members: usize,
    topology: Shape,
    minutes: u32,
    percent: f64,
    lookups: u32,
) -> Result<(), String> {
    let plan = cli.plan(members, topology);
    let limit = Duration::from_secs(600 + members as u64);
    let (mut network, _) =
        scenario::grown(plan, limit).ok_or_else(|| cli.not_converged(members))?;
    let lookups = scenario::churn(&mut network, minutes, percent / 100.0, lookups);
    if cli.json {
        println!(
            "{}",
            serde_json::json!({ "lookups": lookups, "trace": network.trace() })
        );
    } else {
        println!(
            "{} of {} look-ups right ({:.3} %), {:.1} ms on average, {:.0} ms at most; trace {:016x}",
            lookups.right,
            lookups.asked,
            lookups.share() * 100.0,
            lookups.mean_ms,
            lookups.slowest_ms,
            network.trace()
        );
    }
    Ok(())
}

fn dumbbell(cli: &Cli, flows: usize, rate: u64, seconds: u64) -> Result<(), String> {
    let time = Duration::from_secs(seconds);
    let sharing = scenario::dumbbell(flows, rate, cli.seed, time, time)
        .ok_or("the dumbbell has not come about; try another seed")?;
    show_sharing(cli, &sharing);
    Ok(())
}

fn show_sharing(cli: &Cli, sharing: &Sharing) {
    if cli.json {
        println!("{}", serde_json::json!(sharing));
        return;
    }
    for (flow, rate) in sharing.rates.iter().enumerate() {
        println!("flow {flow:>3}  {:>8.1} kbit/s", rate / 1e3);
    }
    println!(
        "fairness {:.3} (Jain), utilization {:.1} %, queue {:.0} packets on average, {} at most, \
         {} at most since the start; {} lost at it",
        sharing.fairness,
        sharing.utilization * 100.0,
        sharing.mean_queue,
        sharing.longest_queue,
        sharing.longest_ever,
        sharing.refused
    );
}
