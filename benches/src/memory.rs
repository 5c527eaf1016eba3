//! What open flows cost in memory and descriptors.

use std::{
    fs,
    process::{Command, Stdio},
};

use o7s::{Flow, Node, QosSpec, RuntimeDir};

use crate::{NAME, Outcome, transport::wait_ready};

const FLOWS: usize = 1000;

/// The other end: accepts `count` flows and reads one message from each, until killed.
pub(crate) fn serve(count: &str) -> Outcome {
    Node::current().announce()?;
    println!("ready");
    let flows: Vec<Flow> = (0..count.parse()?)
        .map(|_| Flow::accept(None))
        .collect::<Result<_, _>>()?;
    for flow in &flows {
        flow.read_packet()?;
        flow.write(b"read")?;
    }
    // Until the parent is done with measuring and ends the flows.
    while flows[0].read_packet().is_ok() {}
    Ok(())
}

pub(crate) fn run(dir: &RuntimeDir) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["peer", "hold", &FLOWS.to_string()])
        .env(o7s::runtime::ENV, dir.path())
        .stdout(Stdio::piped());
    let mut child = command.spawn()?;
    wait_ready(&mut child)?;
    let node = Node::current();
    node.irm().bind_process(child.id().try_into()?, NAME)?;
    let daemon = node.irm().status()?.daemon_pid;
    let before = (
        resident("self"),
        resident(&daemon.to_string()),
        descriptors(),
    );
    let flows: Vec<Flow> = (0..FLOWS)
        .map(|_| node.alloc(NAME, QosSpec::RAW, None))
        .collect::<Result<_, _>>()?;
    for flow in &flows {
        flow.write(&[7; 1400])?;
    }
    for flow in &flows {
        flow.read_packet()?;
    }
    let after = (
        resident("self"),
        resident(&daemon.to_string()),
        descriptors(),
    );
    println!(
        "{FLOWS} open flows, one message each way: {:.1} KiB a flow in this process, {:.1} KiB in \
         irmd (shared pages counted in each), {} descriptors in all",
        (after.0 - before.0) / FLOWS as f64,
        (after.1 - before.1) / FLOWS as f64,
        after.2 - before.2,
    );
    drop(flows);
    child.wait()?;
    Ok(())
}

/// Resident memory in KiB.
fn resident(process: &str) -> f64 {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: f64 = statm
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    pages * rustix::param::page_size() as f64 / 1024.0
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
