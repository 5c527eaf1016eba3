//! iperf3 on the devices of the layers on networks, if it is installed: what one would measure a network
//! with, over IP.
//!
//! A packet of a layer has four threads on its way (two programs, two IPCPs); so has this: two pairs of
//! iperf3, each a thread, at the same time.

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{Outcome, stats::rate};

/// How long each measurement takes.
const WINDOW: Duration = Duration::from_secs(2);
/// After which time one that hangs is ended, s.
const LIMIT: &str = "20";
const PAIRS: u16 = 2;
const PORT: u16 = 23_990;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A server for one measurement, ended with the value.
struct Server(Child);

impl Server {
    fn start(prefix: &[String], address: Ipv4Addr, port: u16) -> Result<Self> {
        let mut child = command(prefix)
            .args(["-s", "-1", "--forceflush", "-B", &address.to_string()])
            .args(["-p", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().ok_or("no pipe")?;
        let server = Self(child);
        let mut said = BufReader::new(said);
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err("the server of iperf3 does not start".into());
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(prefix: &[String]) -> Command {
    let words = prefix.iter().map(String::as_str);
    let mut words = words.chain(["timeout", LIMIT, "iperf3"]);
    let mut command = Command::new(words.next().unwrap_or("timeout"));
    command.args(words);
    command
}

/// What all clients report together: packets that arrived, and bytes that did.
fn measure(prefix: &[String], address: Ipv4Addr, options: &[&str]) -> Result<(u64, u64)> {
    let mut servers = Vec::new();
    for pair in 0..PAIRS {
        servers.push(Server::start(prefix, address, PORT + pair)?);
    }
    let mut clients = Vec::new();
    for pair in 0..PAIRS {
        let client = command(&[])
            .args(["-c", &address.to_string(), "-p", &(PORT + pair).to_string()])
            .args(["--json", "-t", &WINDOW.as_secs().to_string()])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        clients.push(client);
    }
    let (mut packets, mut bytes) = (0, 0);
    for client in clients {
        let report: Value = serde_json::from_slice(&client.wait_with_output()?.stdout)?;
        if let Some(error) = report["error"].as_str() {
            return Err(format!("iperf3 says: {error}").into());
        }
        let end = &report["end"];
        let count = |value: &Value| value.as_f64().unwrap_or(0.0) as u64;
        let lost = count(&end["sum"]["lost_packets"]);
        packets += count(&end["sum"]["packets"]).saturating_sub(lost);
        bytes += count(&end["sum_received"]["bytes"]);
    }
    Ok((packets, bytes))
}

/// Whether iperf3 is installed; says so if it is not.
pub(crate) fn is_installed() -> bool {
    let version = Command::new("iperf3").arg("--version").output();
    let is = version.is_ok_and(|version| version.status.success());
    if !is {
        println!("        iperf3 is left out: it is not installed\n");
    }
    is
}

/// Prints what iperf3 does from here to an address, with its server behind `prefix`.
pub(crate) fn run(prefix: &[String], address: Ipv4Addr, size: usize) -> Outcome {
    let size = size.to_string();
    let (packets, _) = measure(prefix, address, &["-u", "-b", "0", "-l", &size])?;
    println!(
        "{:>14} {:>14} {:>24}",
        "iperf3 UDP",
        rate(packets, WINDOW),
        "-"
    );
    let (_, bytes) = measure(prefix, address, &[])?;
    let bits = bytes as f64 * 8.0 / WINDOW.as_secs_f64();
    println!(
        "{:>14} {:>9.1} Gbit/s {:>24}\n",
        "iperf3 TCP",
        bits / 1e9,
        "-"
    );
    Ok(())
}
