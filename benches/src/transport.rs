//! Messages per second and round trips: flows, `AF_UNIX` `SOCK_SEQPACKET`, a bare ring; and the
//! transports that other benchmarks use.

use std::{
    hint::black_box,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{Flow, Node, QosSpec, RuntimeDir};
use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair},
    thread::{CpuSet, sched_setaffinity},
};

use crate::{
    NAME, Outcome,
    futex_ring::{self, FutexRing},
    identity::SECURITY,
    stats::{bandwidth, micros, percentile, rate},
    stream::{self, Stream},
};

/// Sizes in bytes, and how many messages of each are sent one way.
const SIZES: [(usize, u64); 3] = [(64, 5_000_000), (1400, 1_000_000), (65_536, 60_000)];
const ROUND_TRIPS: usize = 100_000;
const KINDS: [&str; 3] = ["flow", "seqpacket", "futex-ring"];
/// Largest message.
const LARGEST: usize = 65_536;

enum Transport {
    Flow(Flow),
    Socket(OwnedFd),
    Ring(FutexRing),
    Stream(Stream),
}

impl Transport {
    fn send(&mut self, message: &[u8]) -> Outcome {
        match self {
            Self::Flow(flow) => drop(flow.write(message)?),
            Self::Socket(socket) => drop(send(socket, message, SendFlags::empty())?),
            Self::Ring(ring) => ring.send(message),
            Self::Stream(stream) => stream.send(message)?,
        }
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<usize, Box<dyn std::error::Error>> {
        Ok(match self {
            Self::Flow(flow) => flow.read(message)?,
            Self::Socket(socket) => recv(socket, message, RecvFlags::empty())?.0,
            Self::Ring(ring) => ring.receive(message),
            Self::Stream(stream) => stream.receive(message)?,
        })
    }
}

/// The service of the flow that is measured as `kind`; none if that is no flow.
fn qos(kind: &str) -> Option<QosSpec> {
    let encrypted = |qos| QosSpec {
        cypher_s: 256,
        ..qos
    };
    match kind {
        "flow" => Some(QosSpec::RAW),
        "reliable" => Some(QosSpec::DATA),
        "encrypted" => Some(encrypted(QosSpec::RAW)),
        "encrypted-reliable" => Some(encrypted(QosSpec::DATA)),
        _ => None,
    }
}

/// The size that a ring's slots are made for, from what is measured.
fn slot_size(what: &str) -> usize {
    what.split(':')
        .nth(1)
        .and_then(|size| size.parse().ok())
        .unwrap_or(64)
}

/// This process at the other end: `what` is `sink:SIZE:COUNT` or `echo:SIZE:COUNT`.
pub(crate) fn serve(kind: &str, what: &str, cpu: &str) -> Outcome {
    pin(cpu.parse()?)?;
    let stdin = std::io::stdin();
    let mut transport = match kind {
        _ if qos(kind).is_some() => {
            Node::current().announce()?;
            println!("ready");
            let flow = Flow::accept(None)?;
            flow.set_flags(o7s::FlowFlags(0o30002))?;
            Transport::Flow(flow)
        }
        "seqpacket" => Transport::Socket(stdin.as_fd().try_clone_to_owned()?),
        "futex-ring" => Transport::Ring(FutexRing::open(stdin.as_fd(), false, slot_size(what))?),
        _ => {
            let mut stream = Stream::server(kind, stdin.as_fd().try_clone_to_owned()?)?;
            stream.send(b"ready")?;
            Transport::Stream(stream)
        }
    };
    let mut buffer = vec![0; LARGEST];
    let count: u64 = what.rsplit(':').next().unwrap_or_default().parse()?;
    let echo = what.starts_with("echo");
    for _ in 0..count {
        let length = transport.receive(&mut buffer)?;
        if echo {
            transport.send(&buffer[..length])?;
        }
    }
    if !echo {
        transport.send(b"done")?;
    }
    // The last word must be read before this end goes.
    if let Transport::Flow(flow) = &transport {
        while flow.tx_queue_len()? > 0 {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Starts the other end on `cpu` and connects to it.
fn connect(
    dir: &RuntimeDir,
    security: &Path,
    kind: &str,
    what: &str,
    cpu: usize,
) -> Result<(Transport, Child), Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["peer", kind, what, &cpu.to_string()])
        .env(o7s::runtime::ENV, dir.path())
        .env(SECURITY, security);
    if let Some(qos) = qos(kind) {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        wait_ready(&mut child)?;
        let node = Node::current();
        node.irm().bind_process(child.id().try_into()?, NAME)?;
        let flow = node.alloc(NAME, qos, None)?;
        if flow.qos()? != qos {
            return Err(format!("asked for {qos:?}, got {:?}", flow.qos()?).into());
        }
        flow.set_flags(o7s::FlowFlags(0o30002))?;
        return Ok((Transport::Flow(flow), child));
    }
    Ok(match kind {
        "seqpacket" => {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            (
                Transport::Socket(ours),
                command.stdin(Stdio::from(theirs)).spawn()?,
            )
        }
        "futex-ring" => {
            let memory = futex_ring::memory()?;
            let ring = FutexRing::open(&memory, true, slot_size(what))?;
            (
                Transport::Ring(ring),
                command.stdin(Stdio::from(memory)).spawn()?,
            )
        }
        _ => {
            let (ours, theirs) = stream::pair(kind)?;
            let child = command.stdin(Stdio::from(theirs)).spawn()?;
            let mut stream = Stream::client(kind, ours, security)?;
            // The other end has started, and with TLS the handshake is done.
            stream.receive(&mut [0; 64])?;
            (Transport::Stream(stream), child)
        }
    })
}

/// Waits for the line by which a child says that it is announced.
pub(crate) fn wait_ready(child: &mut Child) -> Outcome {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    if line == "ready\n" {
        Ok(())
    } else {
        Err("the peer did not start".into())
    }
}

/// Keeps this thread on one CPU, if there is such a CPU.
pub(crate) fn pin(cpu: usize) -> Outcome {
    let mut set = CpuSet::new();
    set.set(cpu);
    match sched_setaffinity(None, &set) {
        Err(rustix::io::Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The longest message in bytes of a raw flow.
pub(crate) fn longest_message(
    dir: &RuntimeDir,
    security: &Path,
) -> Result<usize, Box<dyn std::error::Error>> {
    let (mut transport, mut child) = connect(dir, security, "flow", "sink:64:1", 1)?;
    let longest = match &transport {
        Transport::Flow(flow) => flow.max_packet()?,
        _ => LARGEST,
    };
    transport.send(&[7; 64])?;
    transport.receive(&mut [0; 64])?;
    drop(transport);
    child.wait()?;
    Ok(longest)
}

/// How long `count` messages of `size` bytes take from this process to one on `cpu`.
pub(crate) fn one_way(
    dir: &RuntimeDir,
    security: &Path,
    kind: &str,
    size: usize,
    count: u64,
    cpu: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let (mut transport, mut child) =
        connect(dir, security, kind, &format!("sink:{size}:{count}"), cpu)?;
    let message = vec![7; size];
    let start = Instant::now();
    for _ in 0..count {
        transport.send(&message)?;
    }
    transport.receive(&mut [0; 64])?;
    let time = start.elapsed();
    drop(transport);
    child.wait()?;
    Ok(time)
}

fn round_trips(
    dir: &RuntimeDir,
    security: &Path,
    kind: &str,
    cpu: usize,
) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let warm = ROUND_TRIPS / 10;
    let rounds = ROUND_TRIPS + warm;
    let (mut transport, mut child) =
        connect(dir, security, kind, &format!("echo:64:{rounds}"), cpu)?;
    let (message, mut answer) = ([7; 64], [0; 64]);
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        transport.send(&message)?;
        transport.receive(&mut answer)?;
        samples.push(start.elapsed());
    }
    drop(transport);
    child.wait()?;
    let samples = &mut samples[warm..];
    Ok((percentile(samples, 50), percentile(samples, 99)))
}

/// The rate at which one CPU copies a message of `size` bytes twice.
fn two_copies(size: usize, count: u64) -> Duration {
    let (from, mut between, mut to) = (vec![7_u8; size], vec![0_u8; size], vec![0_u8; size]);
    let start = Instant::now();
    for _ in 0..count {
        between.copy_from_slice(black_box(&from));
        to.copy_from_slice(black_box(&between));
        black_box(&mut to);
    }
    start.elapsed()
}

pub(crate) fn run(dir: &RuntimeDir, security: &Path) -> Outcome {
    pin(0)?;
    println!("one way, messages per second");
    println!(
        "{:>12} {:>14} {:>14} {:>14}",
        "bytes", KINDS[0], KINDS[1], KINDS[2]
    );
    for (size, count) in SIZES {
        let mut row = format!("{size:>12}");
        let mut below = format!("{:>12}", "");
        for kind in KINDS {
            let time = one_way(dir, security, kind, size, count, 1)?;
            row += &format!(" {:>14}", rate(count, time));
            below += &format!(" {:>14}", bandwidth(count * size as u64, time));
        }
        println!("{row}\n{below}");
    }
    let (size, count) = SIZES[0];
    let mut row = format!("{:>12}", format!("{size}, one CPU"));
    for kind in KINDS {
        row += &format!(
            " {:>14}",
            rate(count, one_way(dir, security, kind, size, count, 0)?)
        );
    }
    println!("{row}");
    let (size, count) = SIZES[2];
    let time = two_copies(size, count);
    println!(
        "one CPU that copies {size} bytes twice, without any exchange: {}, {}\n",
        rate(count, time),
        bandwidth(count * size as u64, time)
    );

    println!("round trip of 64 bytes, blocking calls");
    println!(
        "{:>12} {:>22} {:>22}",
        "", "a CPU each, p50/p99", "one CPU, p50/p99"
    );
    for kind in KINDS {
        let (own50, own99) = round_trips(dir, security, kind, 1)?;
        let (one50, one99) = round_trips(dir, security, kind, 0)?;
        println!(
            "{kind:>12} {:>22} {:>22}",
            format!("{} / {}", micros(own50), micros(own99)),
            format!("{} / {}", micros(one50), micros(one99)),
        );
    }
    println!();
    Ok(())
}
