//! Allocation of encrypted and authenticated flows, beside TLS 1.3 handshakes.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{Node, QosSpec, RuntimeDir};
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use crate::{
    NAME, Outcome,
    alloc::print_row,
    identity::{SECURITY, SIGNED},
    stream::{client_config, group, security_dir, server_config, server_name},
    transport::{pin, wait_ready},
};

/// Repetitions of each, and of its warming up.
const ROUNDS: usize = 1000;
const WARM: usize = 50;
/// The key exchange of a connection without any.
const CLEAR: &str = "clear";
/// Rows of flows: heading, name, strength, key exchange. Without a strength the key exchange is the
/// one that is named, with AES-256-GCM; a strength asks for one that goes with it (P-521 with 256),
/// and a named one can only raise that.
const FLOWS: [(&str, &str, u16, &str); 6] = [
    ("flow, clear", NAME, 0, ""),
    ("flow, X25519", NAME, 0, "X25519"),
    ("flow, P-521 (default)", NAME, 256, ""),
    ("flow, X25519MLKEM768", NAME, 256, "X25519MLKEM768"),
    ("flow, X25519, signed", SIGNED, 0, "X25519"),
    ("flow, hybrid, signed", SIGNED, 256, "X25519MLKEM768"),
];
/// Rows of connections: heading, key exchange.
const CONNECTIONS: [(&str, &str); 3] = [
    ("connect", CLEAR),
    ("TLS, X25519, signed", "X25519"),
    ("TLS, hybrid, signed", "X25519MLKEM768"),
];

type Samples = Result<Vec<Duration>, Box<dyn std::error::Error>>;

pub(crate) fn run(dir: &RuntimeDir, security: &Path) -> Outcome {
    pin(0)?;
    println!(
        "allocation with key exchange, AES-256-GCM, {ROUNDS} times, p50/p99 (signed: the server with \
         an ECDSA P-256 certificate; hybrid: X25519MLKEM768)"
    );
    for (heading, name, cypher_s, kex) in FLOWS {
        print_row(heading, &mut flows(dir, name, cypher_s, kex)?);
    }
    for (heading, kex) in CONNECTIONS {
        print_row(heading, &mut connections(dir, security, kex)?);
    }
    println!();
    Ok(())
}

/// Starts the other end.
fn start(
    dir: &RuntimeDir,
    security: &Path,
    arguments: &[&str],
) -> Result<Child, Box<dyn std::error::Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("peer")
        .args(arguments)
        .env(o7s::runtime::ENV, dir.path())
        .env(SECURITY, security)
        .stdout(Stdio::piped())
        .spawn()?;
    wait_ready(&mut child)?;
    Ok(child)
}

fn flows(dir: &RuntimeDir, name: &str, cypher_s: u16, kex: &str) -> Samples {
    let rounds = (WARM + ROUNDS).to_string();
    let mut child = start(dir, Path::new(""), &["alloc", &rounds])?;
    let node = Node::current();
    node.irm().bind_process(child.id().try_into()?, name)?;
    let qos = QosSpec {
        cypher_s,
        ..QosSpec::RAW
    };
    let mut samples = Vec::new();
    for _ in 0..WARM + ROUNDS {
        let start = Instant::now();
        let flow = node.start_alloc_with(name, qos, None, kex)?.wait(None)?;
        samples.push(start.elapsed());
        let given = (flow.qos()?.cypher_s, flow.peer_name()?);
        let expected = (
            if (cypher_s, kex) == (0, "") { 0 } else { 256 },
            if name == SIGNED { SIGNED } else { "" },
        );
        if given != expected {
            return Err(format!("a flow to {name} has {given:?}").into());
        }
        flow.dealloc()?;
    }
    child.wait()?;
    Ok(samples.split_off(WARM))
}

/// The other end of connections: accepts `rounds`, with TLS unless they are in the clear, and
/// sends a byte on each.
pub(crate) fn serve(kex: &str, socket: &str, rounds: &str) -> Outcome {
    pin(1)?;
    let config = match kex {
        CLEAR => None,
        _ => Some(server_config(&security_dir()?, group(kex)?)?),
    };
    let listener = UnixListener::bind(socket)?;
    println!("ready");
    for _ in 0..rounds.parse()? {
        let (mut stream, _) = listener.accept()?;
        match &config {
            None => stream.write_all(b"x")?,
            Some(config) => {
                let mut connection = ServerConnection::new(config.clone())?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut stream)?;
                }
                StreamOwned::new(connection, stream).write_all(b"x")?;
            }
        }
    }
    Ok(())
}

/// Connects, shakes hands, and gets a byte to know that the other end is content.
fn connections(dir: &RuntimeDir, security: &Path, kex: &str) -> Samples {
    let config = match kex {
        CLEAR => None,
        _ => Some(client_config(security, group(kex)?)?),
    };
    let path = dir.path().join("handshakes.sock");
    let socket = path.to_str().ok_or("the runtime directory is not UTF-8")?;
    let rounds = (WARM + ROUNDS).to_string();
    let mut child = start(dir, security, &["handshakes", kex, socket, &rounds])?;
    let mut samples = Vec::new();
    for _ in 0..WARM + ROUNDS {
        let start = Instant::now();
        let mut stream = UnixStream::connect(&path)?;
        match &config {
            None => stream.read_exact(&mut [0])?,
            Some(config) => {
                let connection = ClientConnection::new(config.clone(), server_name()?)?;
                StreamOwned::new(connection, stream).read_exact(&mut [0])?;
            }
        }
        samples.push(start.elapsed());
    }
    child.wait()?;
    std::fs::remove_file(path)?;
    Ok(samples.split_off(WARM))
}
