//! What else may happen on an Ethernet: strangers, tags, broken frames, a slow device, no rights.

mod support;

use std::os::fd::OwnedFd;

use o7s::{
    ErrorKind, QosSpec,
    control::{EthConfig, IpcpConfig, IpcpType},
};
use o7s_ipcpd::{
    eth::link::Link,
    sys::{self, Outgoing},
};
use o7s_wire::eth::{MacAddr, dix};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::{
    namespace::{cable, command, own_network},
    node::{Node, connect, next},
};

const ETHERTYPE: u16 = dix::DEFAULT_ETHERTYPE;

fn dix_on(dev: &str) -> IpcpConfig {
    let mut config = IpcpConfig::new(IpcpType::EthDix, "segment");
    config.eth = Some(EthConfig {
        dev: dev.to_owned(),
        ..EthConfig::default()
    });
    config
}

/// Whoever writes what he wants on the cable.
struct Stranger {
    socket: OwnedFd,
    /// Addresses of the devices.
    left: MacAddr,
    right: MacAddr,
}

impl Stranger {
    fn new() -> Self {
        let mac = |device| {
            let link = Link::open(device, sys::interface_index(device).unwrap()).unwrap();
            link.interface().mac
        };
        let socket = sys::packet_socket().unwrap();
        let index = sys::interface_index("left").unwrap();
        sys::bind_packet(&socket, index, ETHERTYPE).unwrap();
        Self {
            socket,
            left: mac("left"),
            right: mac("right"),
        }
    }

    fn frame(&self, source: MacAddr, destination: MacAddr, eid: u16, payload: &[u8]) -> Vec<u8> {
        let repr = dix::Repr {
            destination,
            source,
            ethertype: ETHERTYPE,
            eid,
        };
        let mut frame = repr.emit(u16::try_from(payload.len()).unwrap()).to_vec();
        frame.extend_from_slice(payload);
        frame
    }

    fn send(&self, bytes: &[u8]) {
        let message = Outgoing {
            bytes,
            to: None,
            segment: None,
        };
        assert_eq!(sys::send(&self.socket, [message]).unwrap(), 1);
    }
}

/// Puts a tag in a frame.
fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend_from_slice(&0x8100_u16.to_be_bytes());
    tagged.extend_from_slice(&vlan.to_be_bytes());
    tagged.extend_from_slice(&frame[12..]);
    tagged
}

#[test]
fn only_the_peer_reaches_a_flow() {
    if !cable() {
        return;
    }
    let mut one = Node::start(&dix_on("left")).unwrap();
    let mut two = Node::start(&dix_on("right")).unwrap();
    two.register("n");
    let ((_, _a), (accepted, mut b)) = connect(&mut one, &mut two, "n");
    let flows = two.status().sections.remove(1);
    let row = flows
        .rows
        .iter()
        .find(|row| row.cells[0] == accepted.to_string());
    let eid: u16 = row.unwrap().cells[1].parse().unwrap();

    let stranger = Stranger::new();
    let (left, right) = (stranger.left, stranger.right);
    let other = MacAddr([2, 0, 0, 0, 0, 9]);
    let mut padded = stranger.frame(left, right, eid, b"padded");
    padded.resize(60, 0xee);
    let mut long = stranger.frame(left, right, eid, b"longer than it is");
    long.truncate(long.len() - 1);
    for unwanted in [
        // Another machine, another destination, everybody, an endpoint of nobody.
        stranger.frame(other, right, eid, b"from another"),
        stranger.frame(left, other, eid, b"for another"),
        stranger.frame(left, MacAddr::BROADCAST, eid, b"for everybody"),
        stranger.frame(left, right, eid ^ 0x4000, b"to nobody"),
        stranger.frame(MacAddr::BROADCAST, right, eid, b"from everybody"),
        // Too short for its header, shorter than it says.
        long,
        stranger.frame(left, right, eid, b"")[..17].to_vec(),
        // Nonsense where a message should be.
        stranger.frame(left, right, 0, &[0xff; 100]),
        stranger.frame(left, right, 0, b""),
        // Another network on the same cable.
        tagged(&stranger.frame(left, right, eid, b"vlan"), 5),
    ] {
        stranger.send(&unwanted);
    }
    stranger.send(&padded);
    stranger.send(&tagged(
        &stranger.frame(left, right, eid, b"urgent"),
        7 << 13,
    ));
    stranger.send(&stranger.frame(left, right, eid, b"last"));
    for wanted in [&b"padded"[..], b"urgent", b"last"] {
        assert_eq!(next(&mut b), wanted);
    }
    // From another, to nobody.
    assert_eq!(two.counter("packets_stray"), 2);
    // Nothing of it was for the others' ears.
    assert_eq!(one.counter("messages_foreign"), 0);
}

#[test]
fn a_full_device_holds_the_program_back() {
    if !cable()
        || !command(
            "tc",
            "qdisc add dev left root tbf rate 20mbit burst 4kb limit 8kb",
        )
    {
        return;
    }
    let mut one = Node::start(&dix_on("left")).unwrap();
    let mut two = Node::start(&dix_on("right")).unwrap();
    two.register("n");
    let ((_, mut a), (_, mut b)) = connect(&mut one, &mut two, "n");
    let mut sent = 0_u32;
    let mut packet = [0; 1400];
    for number in 0..200_u32 {
        packet[..4].copy_from_slice(&number.to_be_bytes());
        a.tx.try_send(&packet).unwrap();
        sent += 1;
    }
    for number in 0..sent {
        assert_eq!(next(&mut b)[..4], number.to_be_bytes());
    }
    assert!(one.counter("times_network_full") > 0);
    assert_eq!(one.counter("packets_not_sent_network_full"), 0);

    // Voice does not wait.
    let (asked, mut a) = one.ask("n", QosSpec::VOICE);
    let (id, _) = two.arrival();
    let accepted = two.take(id);
    let mut b = two.accept(accepted);
    assert_eq!(one.outcome(asked).refusal, None);
    while one.counter("packets_not_sent_network_full") == 0 {
        while a.tx.try_send(&packet).is_ok() {}
    }
    // What comes when there is room again arrives.
    loop {
        let _ = a.tx.try_send(b"again");
        if next(&mut b) == b"again" {
            break;
        }
    }
}

#[test]
fn without_the_capability_it_says_which_and_how() {
    if !own_network() {
        return;
    }
    // Of this thread alone.
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::NET_RAW);
    set_capabilities(None, sets).unwrap();
    let Err(failure) = Node::start(&dix_on("lo")) else {
        panic!("it started");
    };
    assert_eq!(failure.errno, ErrorKind::Permission.errno());
    for word in ["CAP_NET_RAW", "setcap", "AmbientCapabilities"] {
        assert!(failure.message.contains(word), "{failure:?}");
    }
}
