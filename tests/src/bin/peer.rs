//! A process at the other end of flows, for tests: obeys one command per line of standard input and
//! answers with one line.
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `announce` | makes itself known to the daemon | `ok` |
//! | `accept N` | accepts N flows and keeps them | `accepted N` |
//! | `accept-read N` | the same, each in turn after one packet is read from it | `accepted N` |
//! | `alloc NAME N [FIELD=VALUE ...]` | allocates N flows with such a QoS and keeps them | `allocated N` |
//! | `count N` | reads N packets from the first flow; each must hold its number | `counted N` |
//! | `number N` | writes N packets with their numbers to the first flow | `numbered N` |
//! | `digest N` | reads N bytes from the first flow | their SHA3-256 |
//! | `bulk N SIZE` | writes N bytes in messages of SIZE bytes to the first flow | their SHA3-256 |
//! | `qos` | looks at the QoS of the first flow | `in_order loss ber cypher_s` |
//! | `echo` | accepts one flow, sends every packet back until it ends, deallocates it | `echoed N` |
//! | `write TEXT` | writes one packet to each flow | `ok` |
//! | `flood` | writes to all flows in turn, for ever | `flooding`, then nothing |
//! | `read` | reads a packet from the first flow | the packet |
//! | `dealloc` | deallocates all flows | `ok` |
//! | `descriptors` | counts its open descriptors | the number |
//! | `rss` | reads its resident memory | bytes |

use std::io::{self, BufRead, Write};

use o7s::{ErrorKind, Flow, Node};

fn main() {
    say("ready");
    let mut flows = Vec::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match obey(&line, &mut flows) {
            Ok(answer) => say(&answer),
            Err(error) => say(&format!("error {} {error}", error.errno())),
        }
    }
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if written.is_err() {
        std::process::exit(1);
    }
}

fn obey(line: &str, flows: &mut Vec<Flow>) -> o7s::Result<String> {
    let mut words = line.split(' ');
    let command = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let count = |at: usize| {
        rest.get(at)
            .and_then(|word| word.parse().ok())
            .unwrap_or(1_usize)
    };
    Ok(match command {
        "announce" => {
            Node::current().announce()?;
            "ok".to_owned()
        }
        "accept" | "accept-read" => {
            for _ in 0..count(0) {
                let flow = Flow::accept(None)?;
                if command == "accept-read" {
                    flow.read_packet()?;
                }
                flows.push(flow);
            }
            format!("accepted {}", flows.len())
        }
        "alloc" => {
            let name = rest.first().copied().unwrap_or_default();
            let qos = o7s_tests::qos(rest.get(2..).unwrap_or_default());
            for _ in 0..count(1) {
                flows.push(Flow::alloc(name, qos, None)?);
            }
            format!("allocated {}", flows.len())
        }
        "echo" => {
            let flow = Flow::accept(None)?;
            let mut echoed = 0;
            loop {
                match flow.read_packet() {
                    Ok(packet) => flow.write(&packet)?,
                    Err(error) if error.kind() == ErrorKind::FlowDown => break,
                    Err(error) => return Err(error),
                };
                echoed += 1;
            }
            format!("echoed {echoed}")
        }
        "write" => {
            for flow in flows.iter() {
                flow.write(rest.join(" ").as_bytes())?;
            }
            "ok".to_owned()
        }
        "flood" => {
            say("flooding");
            let packet = [7; 64];
            loop {
                for flow in flows.iter() {
                    match flow.try_write(&packet) {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        "count" => {
            let flow = first(flows)?;
            for number in 0..count(0) as u64 {
                let packet = flow.read_packet()?;
                if packet != number.to_be_bytes() {
                    return Ok(format!("packet {number} is {packet:?}"));
                }
            }
            format!("counted {}", count(0))
        }
        "number" => {
            let flow = first(flows)?;
            for number in 0..count(0) as u64 {
                flow.write(&number.to_be_bytes())?;
            }
            format!("numbered {}", count(0))
        }
        "digest" => o7s_tests::digest(first(flows)?, count(0))?,
        "bulk" => o7s_tests::bulk(first(flows)?, count(0), count(1))?,
        "qos" => {
            let qos = first(flows)?.qos()?;
            format!("{} {} {} {}", qos.in_order, qos.loss, qos.ber, qos.cypher_s)
        }
        "read" => match flows.first() {
            Some(flow) => String::from_utf8_lossy(&flow.read_packet()?).into_owned(),
            None => "no flow".to_owned(),
        },
        "dealloc" => {
            for flow in flows.drain(..) {
                flow.dealloc()?;
            }
            "ok".to_owned()
        }
        "descriptors" => std::fs::read_dir("/proc/self/fd")
            .map_or(0, Iterator::count)
            .to_string(),
        "rss" => resident().to_string(),
        other => format!("unknown command {other}"),
    })
}

fn first(flows: &[Flow]) -> o7s::Result<&Flow> {
    flows
        .first()
        .ok_or_else(|| o7s::Error::new(ErrorKind::NotAllocated, "no flow"))
}

/// Resident memory in bytes, shared memory included.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size()
}
