//! Messages per second of reliable and encrypted flows, beside TCP and TLS 1.3.

use std::{path::Path, time::Duration};

use o7s::RuntimeDir;

use crate::{
    Outcome,
    layer::MTU,
    stats::{bandwidth, rate},
    transport::{longest_message, one_way, pin},
};

/// Sizes in bytes, and how many messages of each are sent in a round.
const SIZES: [(usize, u64); 3] = [(64, 400_000), (1400, 200_000), (65_536, 10_000)];
/// Rounds of each measurement. The best counts, so that other work on the machine shows little.
const ROUNDS: usize = 3;
/// What is measured, and its heading.
const KINDS: [(&str, &str); 6] = [
    ("reliable", "reliable"),
    ("tcp", "TCP"),
    ("encrypted", "encrypted"),
    ("encrypted-reliable", "enc., reliable"),
    ("tls-unix", "TLS over UNIX"),
    ("tls-tcp", "TLS over TCP"),
];

pub(crate) fn run(dir: &RuntimeDir, security: &Path) -> Outcome {
    pin(0)?;
    println!("one way, reliable and AES-256-GCM, messages per second, best of {ROUNDS} rounds");
    table(dir, security, &KINDS)
}

/// FRCP at work: between two programs whose packets pass through the IPCP of the layer in `dir`.
pub(crate) fn run_frcp(dir: &RuntimeDir, security: &Path) -> Outcome {
    pin(0)?;
    if longest_message(dir, security)? > MTU {
        println!("one way over an IPCP: not measured, programs on this layer share the segment\n");
        return Ok(());
    }
    println!("one way over an IPCP with FRCP, messages per second, best of {ROUNDS} rounds");
    let kinds = [
        ("reliable", "reliable"),
        ("encrypted-reliable", "enc., reliable"),
    ];
    table(dir, security, &kinds)
}

fn table(dir: &RuntimeDir, security: &Path, kinds: &[(&str, &str)]) -> Outcome {
    let mut head = format!("{:>12}", "bytes");
    for (_, heading) in kinds {
        head += &format!(" {heading:>14}");
    }
    println!("{head}");
    for (size, count) in SIZES {
        let mut row = format!("{size:>12}");
        let mut below = format!("{:>12}", "");
        for (kind, _) in kinds {
            let mut best = Duration::MAX;
            for _ in 0..ROUNDS {
                best = best.min(one_way(dir, security, kind, size, count, 1)?);
            }
            row += &format!(" {:>14}", rate(count, best));
            below += &format!(" {:>14}", bandwidth(count * size as u64, best));
        }
        println!("{row}\n{below}");
    }
    println!();
    Ok(())
}
