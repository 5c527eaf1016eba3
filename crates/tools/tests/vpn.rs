//! `ovpn`: pings and a TCP connection through a tunnel between two network namespaces.

mod common;

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use common::{Net, Running};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
        socket_with, sockopt,
    },
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 199, 7, 1);
const LIMIT: Duration = Duration::from_secs(30);

/// Whether this test can make network devices; says why not.
fn possible() -> bool {
    let why = if !rustix::process::geteuid().is_root() {
        "only root can make network namespaces and devices"
    } else if !Path::new("/dev/net/tun").exists() {
        "there is no /dev/net/tun"
    } else if std::process::Command::new("unshare")
        .args(["--net", "true"])
        .status()
        .map_or(true, |status| !status.success())
    {
        "'unshare --net' does not work here"
    } else {
        return true;
    };
    eprintln!("SKIPPED: {why}");
    false
}

/// Does `work` in the network namespace of a process.
fn within<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let space = File::open(format!("/proc/{pid}/ns/net")).unwrap();
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&space),
                    Some(LinkNameSpaceType::Network),
                )
                .unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// An ICMP echo request (RFC 792) with its checksum.
fn echo_request(sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0, 0x12, 0x34];
    packet.extend(sequence.to_be_bytes());
    packet.extend((0..payload).map(|at| u8::try_from(at % 251).unwrap()));
    let mut sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Pings `to` once and returns the echoed bytes.
fn ping(to: Ipv4Addr, sequence: u16, payload: usize) -> Vec<u8> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::ICMP),
    )
    .unwrap();
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT)).unwrap();
    let request = echo_request(sequence, payload);
    let to = SocketAddrV4::new(to, 0);
    sendto(&socket, &request, SendFlags::empty(), &to).unwrap();
    let mut buffer = [0; 2048];
    loop {
        let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty()).expect("an echo reply");
        // 20 bytes of IP header without options; type 0 is an echo reply.
        let message = &buffer[20..length];
        if message[0] == 0 && message[4..8] == request[4..8] {
            return message[8..].to_vec();
        }
    }
}

fn tunnel(net: &Net, line: &str) -> Running {
    net.start_apart("ovpn", line)
}

#[test]
fn pings_and_tcp_go_through_the_tunnel() {
    if !possible() {
        return;
    }
    let net = Net::with_name("vpn", "ovpn");
    let server = tunnel(&net, "-i 10.199.7.1 -m 255.255.255.0");
    assert_eq!(server.line(), "Waiting for a new flow...");
    let client = tunnel(&net, "-i 10.199.7.2 -m 255.255.255.0 -n vpn");
    assert_eq!(client.line(), "Allocating a flow to vpn.");
    for end in [&server, &client] {
        assert_eq!(end.line(), "Flow allocated.");
        let device = end.line();
        assert!(device.starts_with("Tunnel device name is tun"), "{device}");
        assert_eq!(end.line(), "Starting read/write threads.");
    }

    within(client.pid(), || {
        for (sequence, payload) in [(1, 56), (2, 0), (3, 1472)] {
            let echoed = ping(SERVER, sequence, payload);
            assert_eq!(echoed, echo_request(sequence, payload)[8..]);
        }
    });

    // A byte stream that fills the tunnel, both ways.
    let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    let (ready, port) = mpsc::channel();
    let (server_pid, client_pid) = (server.pid(), client.pid());
    thread::scope(|scope| {
        scope.spawn(move || {
            within(server_pid, move || {
                let listener = TcpListener::bind((SERVER, 0)).unwrap();
                ready.send(listener.local_addr().unwrap().port()).unwrap();
                let (mut stream, from) = listener.accept().unwrap();
                assert_eq!(from.ip(), Ipv4Addr::new(10, 199, 7, 2));
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
        });
        let sent = &sent;
        within(client_pid, move || {
            let port = port.recv_timeout(LIMIT).unwrap();
            let mut stream = TcpStream::connect((SERVER, port)).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.write_all(sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert!(back == *sent, "{} bytes came back", back.len());
        });
    });

    // Trap 21: it spun when the flow was down. Now the other end's end is its end.
    client.signal(Signal::TERM);
    assert_eq!(client.line(), "Shutting down...");
    let traffic = client.line();
    assert!(traffic.contains(" dropped."), "{traffic}");
    let ran = client.finish();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let ran = server.finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.starts_with("The tunnel is down.\n"), "{ran:?}");
}

/// What is no IP packet is dropped, and what is reported is reported as JSON.
#[test]
fn nonsense_does_not_end_the_tunnel() {
    if !possible() {
        return;
    }
    let net = Net::with_name("vpn", "ovpn");
    let server = tunnel(&net, "-i 10.199.7.1 -m 255.255.255.255 --json");
    let event = |kind: &str| {
        let line = server.line();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], kind, "{line}");
        value
    };
    event("waiting");
    let flow = net.node().alloc("vpn", o7s::QosSpec::RAW, None).unwrap();
    event("allocated");
    assert_eq!(event("device")["mtu"], 1500);
    event("started");
    for bad in [&b"not IP"[..], &[0], &[0xff; 70_000]] {
        flow.write(bad).unwrap();
    }
    // They are read in order, so a reply would come after the nonsense was handled.
    while flow.tx_queue_len().unwrap() > 0 {
        thread::yield_now();
    }
    server.signal(Signal::QUIT);
    event("shutting-down");
    let traffic = event("traffic");
    assert!(traffic["dropped"].as_u64().unwrap() >= 2, "{traffic}");
    let ran = server.finish();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn ovpn_failures_say_why() {
    let net = Net::new();
    for (line, start) in [
        ("", "Please specify an IP address.\n\nUsage: ovpn"),
        ("-i 10.0.0.1", "Please specify a subnetmask.\n\nUsage: ovpn"),
        ("-i 10.0.0 -m 255.0.0.0", "Invalid IP address: 10.0.0\n"),
        (
            "-i 10.0.0.1 -m 255.0.255.0",
            "Invalid subnet mask: 255.0.255.0\n",
        ),
        ("-n", "ovpn: missing argument for option '-n'\n"),
        ("--json=1", "ovpn: unexpected argument for option"),
        ("-x", "Unknown arguments specified: invalid option '-x'.\n"),
    ] {
        let error = net.run("ovpn", line).failed(1);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    assert!(net.run("ovpn", "-h").ok().starts_with("Usage: ovpn"));
    assert!(net.run("ovpn", "--version").ok().starts_with("ovpn "));
    let ran = net.run("ovpn", "-i 10.199.7.1 -m 255.255.255.0 -n none");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    if possible() {
        assert_eq!(ran.out, "Allocating a flow to none.\n");
        assert!(ran.err.starts_with("Failed to allocate flow.\n"), "{ran:?}");
    } else if !rustix::process::geteuid().is_root() {
        assert!(
            ran.err.starts_with("ovpn must be run as root.\n"),
            "{ran:?}"
        );
    }
}
