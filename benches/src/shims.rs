//! Layers on real networks beside their bare sockets: packets per second and round trips of 64 bytes,
//! from a program of one node to a program of another.
//!
//! Both nodes are on this machine: over UDP on the loopback device, and, with root's rights, over
//! eth-dix on a pair of virtual devices. The bare loop sends and takes messages in the same batches
//! on the same device; iperf3, where it is installed, sends datagrams of the same size, and a stream.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{
    Flow, Node, QosSpec,
    control::{EthConfig, Udp4Config, Udp4Host},
    irm::{IpcpConfig, IpcpType, Irm, NameInfo},
};
use o7s_ipcpd::{
    eth::filter,
    shim::port::{RECEIVE_BUFFER, SEND_BUFFER},
    sys::{self, BATCH, Inbox, Outgoing},
};
use o7s_irmd::embedded::Daemon;
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    NAME, Outcome, iperf,
    layer::use_node,
    stats::{micros, percentile, rate},
};

const SIZE: usize = 64;
/// How long packets are counted.
const WINDOW: Duration = Duration::from_secs(2);
const ROUND_TRIPS: usize = 20_000;
/// Of the bare loops, so that no layer hears them.
const ETHERTYPE: u16 = 0xa0ff;
const PORT: u16 = 23_999;
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const DEVICES: [&str; 2] = ["bench0", "bench1"];
/// Of iperf3 over the devices; a network for documentation, which nobody else uses.
const CABLE_ONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 253);
const CABLE_TWO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Something that packets of [`SIZE`] bytes go through.
enum Way {
    Flow(Flow),
    /// A socket, where its messages go, and what comes before the packet.
    Socket {
        socket: OwnedFd,
        to: Option<SocketAddr>,
        header: Vec<u8>,
        inbox: Inbox,
    },
}

impl Way {
    /// Sends a batch.
    fn send(&mut self, count: usize) -> Outcome {
        match self {
            Self::Flow(flow) => {
                for _ in 0..count {
                    flow.write(&[7; SIZE])?;
                }
            }
            Self::Socket {
                socket, to, header, ..
            } => {
                let mut bytes = header.clone();
                bytes.resize(header.len() + SIZE, 7);
                let message = Outgoing {
                    bytes: &bytes,
                    to: *to,
                    segment: None,
                };
                match sys::send(&*socket, std::iter::repeat_n(message, count)) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        wait(&*socket, PollFlags::OUT)?;
                    }
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// Waits for packets, and takes those that are there; how many.
    fn receive(&mut self) -> Result<usize> {
        match self {
            Self::Flow(flow) => {
                flow.read(&mut [0; 2048])?;
                Ok(1)
            }
            Self::Socket { socket, inbox, .. } => loop {
                match inbox.receive(&*socket) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        wait(&*socket, PollFlags::IN)?;
                    }
                    other => return Ok(other?),
                }
            },
        }
    }
}

fn wait(socket: impl AsFd, what: PollFlags) -> Outcome {
    poll(&mut [PollFd::new(&socket, what)], None)?;
    Ok(())
}

/// A bare socket of one side.
fn bare(kind: &str, side: usize) -> Result<Way> {
    let (socket, to, header) = if kind == "udp4" {
        let socket = UdpSocket::bind(([ONE, TWO][side], PORT))?;
        (socket.into(), Some(([TWO, ONE][side], PORT).into()), vec![])
    } else {
        let socket = sys::packet_socket()?;
        sys::attach_filter(&socket, &filter::dix(ETHERTYPE))?;
        let index = sys::interface_index(DEVICES[side])?;
        sys::bind_packet(&socket, index, ETHERTYPE)?;
        let mut header = Vec::new();
        for device in [DEVICES[1 - side], DEVICES[side]] {
            let index = sys::interface_index(device)?;
            let link = o7s_ipcpd::eth::link::Link::open(device, index)?;
            header.extend_from_slice(&link.interface().mac.0);
        }
        header.extend_from_slice(&ETHERTYPE.to_be_bytes());
        (socket, None, header)
    };
    sys::set_buffers(&socket, RECEIVE_BUFFER, SEND_BUFFER);
    Ok(Way::Socket {
        socket,
        to,
        header,
        inbox: Inbox::new(2048, kind == "udp4"),
    })
}

/// This process at the other end: `sink` or `echo`, over a flow or a bare socket.
pub(crate) fn serve(kind: &str, what: &str) -> Outcome {
    let mut way = match kind.strip_prefix("bare-") {
        Some(kind) => {
            let way = bare(kind, 1)?;
            println!("ready");
            way
        }
        None => {
            Node::current().announce()?;
            println!("ready");
            let flow = Flow::accept(None)?;
            Way::Flow(flow)
        }
    };
    if what == "echo" {
        // Until this process is ended.
        loop {
            let count = way.receive()?;
            way.send(count)?;
        }
    }
    let mut count = way.receive()?;
    let end = Instant::now() + WINDOW;
    while Instant::now() < end {
        for _ in 0..16 {
            count += way.receive()?;
        }
    }
    println!("{count}");
    Ok(())
}

/// The other end, in a process.
struct Peer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Peer {
    fn start(kind: &str, what: &str, daemon: &Daemon) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["peer", "shim", kind, what])
            .env(o7s::runtime::ENV, daemon.dir().path())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        let mut peer = Self {
            child,
            said: BufReader::new(stdout),
        };
        match peer.line()?.as_str() {
            "ready" => Ok(peer),
            other => Err(format!("the peer says {other:?}").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two nodes with a layer of this type between them.
struct Nodes {
    one: Daemon,
    two: Daemon,
}

impl Nodes {
    fn start(kind: &str) -> Result<Self> {
        let ipcp_type = IpcpType::by_word(kind).ok_or("no such type")?;
        let beside = std::env::current_exe()?.with_file_name("irmd");
        let mut daemons = Vec::new();
        for side in [0, 1] {
            let daemon = Daemon::builder(&beside)
                .arg("--log-level")
                .arg("warn")
                .start()?;
            let irm = Irm::at(daemon.dir().clone());
            let pid = irm.create_ipcp("shim", ipcp_type)?;
            let mut config = IpcpConfig::new(ipcp_type, "net");
            if kind == "udp4" {
                let mut udp = Udp4Config::new([ONE, TWO][side], None, PORT + 1);
                udp.hosts.push(Udp4Host::new(NAME, TWO, None));
                config.udp4 = Some(udp);
            } else {
                config.eth = Some(EthConfig {
                    dev: DEVICES[side].to_owned(),
                    ..EthConfig::default()
                });
            }
            irm.bootstrap_ipcp(pid, &config)?;
            if side == 1 {
                irm.create_name(&NameInfo {
                    name: NAME.to_owned(),
                    ..NameInfo::default()
                })?;
                irm.reg_name(NAME, pid)?;
            }
            daemons.push(daemon);
        }
        let two = daemons.pop().ok_or("no daemon")?;
        let one = daemons.pop().ok_or("no daemon")?;
        Ok(Self { one, two })
    }

    /// A way of this kind, with its other end in a process.
    fn connect(&self, kind: &str, what: &str) -> Result<(Way, Peer)> {
        let peer = Peer::start(kind, what, &self.two)?;
        let way = match kind.strip_prefix("bare-") {
            Some(kind) => bare(kind, 0)?,
            None => {
                use_node(self.two.dir());
                let pid = peer.child.id().try_into()?;
                Node::current().irm().bind_process(pid, NAME)?;
                use_node(self.one.dir());
                Way::Flow(Flow::alloc(NAME, QosSpec::RAW, None)?)
            }
        };
        Ok((way, peer))
    }

    /// Packets that arrived within [`WINDOW`].
    fn one_way(&self, kind: &str) -> Result<u64> {
        let (mut way, mut peer) = self.connect(kind, "sink")?;
        let end = Instant::now() + WINDOW + Duration::from_millis(300);
        while Instant::now() < end {
            way.send(BATCH)?;
        }
        Ok(peer.line()?.parse()?)
    }

    fn round_trip(&self, kind: &str) -> Result<(Duration, Duration)> {
        let (mut way, _peer) = self.connect(kind, "echo")?;
        let warm = ROUND_TRIPS / 10;
        let mut samples = Vec::new();
        for _ in 0..ROUND_TRIPS + warm {
            let start = Instant::now();
            way.send(1)?;
            way.receive()?;
            samples.push(start.elapsed());
        }
        let samples = &mut samples[warm..];
        Ok((percentile(samples, 50), percentile(samples, 99)))
    }
}

fn measure(kind: &str) -> Outcome {
    let nodes = Nodes::start(kind)?;
    let bare = format!("bare-{kind}");
    let mut rates = Vec::new();
    for way in [kind, &bare] {
        let count = nodes.one_way(way)?;
        let (p50, p99) = nodes.round_trip(way)?;
        println!(
            "{way:>14} {:>14} {:>24}",
            rate(count, WINDOW),
            format!("{} / {}", micros(p50), micros(p99))
        );
        rates.push((count as f64, p50.as_secs_f64()));
    }
    println!(
        "{:>14} {:>13.0}% {:>22.2} x\n",
        "beside bare",
        100.0 * rates[0].0 / rates[1].0,
        rates[0].1 / rates[1].1
    );
    Ok(())
}

pub(crate) fn run() -> Outcome {
    println!("layers on networks, {SIZE} bytes, from program to program, batches of {BATCH}");
    println!("(iperf3: over IP on the same devices, two pairs at once, datagrams of {SIZE} bytes)");
    println!("{:>14} {:>14} {:>24}", "", "one way", "round trip p50/p99");
    measure("udp4")?;
    let with_iperf = iperf::is_installed();
    if with_iperf {
        iperf::run(&[], TWO, SIZE)?;
    }
    let cable = format!("link add {} type veth peer name {}", DEVICES[0], DEVICES[1]);
    if !ip(&cable) {
        println!("eth-dix is left out: 'ip {cable}' needs root's rights\n");
        return Ok(());
    }
    let outcome = if DEVICES
        .iter()
        .all(|device| ip(&format!("link set {device} up")))
    {
        measure("eth-dix").and_then(|()| match with_iperf {
            true => iperf_over_cable(),
            false => Ok(()),
        })
    } else {
        Err("the devices do not come up".into())
    };
    // It may be gone with the namespace of its other end.
    let _ = Command::new("ip")
        .args(["link", "del", DEVICES[0]])
        .stderr(Stdio::null())
        .status();
    outcome
}

/// iperf3 over the cable, which is lost afterwards. Between two addresses of one machine packets do not leave it: the other end goes
/// into a network namespace, which lives as long as a process that waits for the end of its input.
fn iperf_over_cable() -> Outcome {
    let mut holder = Command::new("unshare")
        .args(["-n", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (holder.stdin.as_mut(), holder.stdout.as_mut());
    // It answers once the namespace is there.
    std::io::Write::write_all(stdin.ok_or("no pipe")?, b"x")?;
    std::io::Read::read_exact(stdout.ok_or("no pipe")?, &mut [0])?;
    let pid = holder.id().to_string();
    let inside = ["nsenter", "-t", &pid, "-n"].map(str::to_owned);
    let [here, there] = DEVICES;
    let mut well = ip(&format!("link set {there} netns {pid}"));
    for words in [
        format!("addr add {CABLE_TWO}/30 dev {there}"),
        format!("link set {there} up"),
    ] {
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).arg("ip").args(words.split(' '));
        well &= command.status().is_ok_and(|status| status.success());
    }
    well &= ip(&format!("addr add {CABLE_ONE}/30 dev {here}"));
    let outcome = if well {
        iperf::run(&inside, CABLE_TWO, SIZE)
    } else {
        Err("the cable gets no addresses".into())
    };
    drop(holder.stdin.take());
    let _ = holder.wait();
    outcome
}

fn ip(words: &str) -> bool {
    let status = Command::new("ip").args(words.split(' ')).status();
    status.is_ok_and(|status| status.success())
}
