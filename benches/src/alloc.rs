//! Allocation and deallocation of flows, beside connecting a UNIX socket.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{Flow, Node, QosSpec, RuntimeDir};

use crate::{
    NAME, Outcome,
    stats::{micros, percentile},
    transport::{pin, wait_ready},
};

const ROUNDS: usize = 5000;

/// The other end: accepts flows until the first fails, keeping none.
pub(crate) fn serve(rounds: &str) -> Outcome {
    pin(1)?;
    Node::current().announce()?;
    println!("ready");
    for _ in 0..rounds.parse()? {
        drop(Flow::accept(None)?);
    }
    Ok(())
}

pub(crate) fn run(dir: &RuntimeDir) -> Outcome {
    pin(0)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["peer", "alloc", &ROUNDS.to_string()])
        .env(o7s::runtime::ENV, dir.path());
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    wait_ready(&mut child)?;
    let node = Node::current();
    node.irm().bind_process(child.id().try_into()?, NAME)?;
    let (mut allocs, mut deallocs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let flow = node.alloc(NAME, QosSpec::RAW, None)?;
        let allocated = Instant::now();
        flow.dealloc()?;
        allocs.push(allocated - start);
        deallocs.push(allocated.elapsed());
    }
    child.wait()?;
    println!("allocation, {ROUNDS} times, p50/p99 (the flow's memory made, mapped at both ends)");
    print_row("flow_alloc", &mut allocs);
    print_row("dealloc", &mut deallocs);
    print_row("connect", &mut connects(dir)?);
    println!();
    Ok(())
}

/// A UNIX stream socket: connect, and a byte back to know that it was accepted.
fn connects(dir: &RuntimeDir) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    use std::io::{Read, Write};
    let path = dir.path().join("bench.sock");
    let listener = UnixListener::bind(&path)?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        for _ in 0..ROUNDS {
            listener.accept()?.0.write_all(b"x")?;
        }
        Ok(())
    });
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        UnixStream::connect(&path)?.read_exact(&mut [0])?;
        samples.push(start.elapsed());
    }
    server.join().map_err(|_| "the server thread failed")??;
    std::fs::remove_file(path)?;
    Ok(samples)
}

/// A row of a table: median and 99th percentile.
pub(crate) fn print_row(what: &str, samples: &mut [Duration]) {
    let (p50, p99) = (percentile(samples, 50), percentile(samples, 99));
    println!(
        "{what:>24} {:>22}",
        format!("{} / {}", micros(p50), micros(p99))
    );
}
