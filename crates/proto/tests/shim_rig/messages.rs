//! Messages as a stranger would send them.

use std::{net::SocketAddr, time::Instant};

use o7s_proto::shim::{Address, Config, Discard, Format};
use o7s_wire::{
    eth::{MacAddr, dix, llc},
    hash::NameHash,
    qos::QosSpec,
    shim::Message,
    udp,
};

use super::{Kind, Manner, Node, socket};

/// A frame with a message from node `from` to node `to`.
pub(crate) fn frame_to(kind: Kind, from: usize, to: Address, message: &Message<'_>) -> Vec<u8> {
    let format = kind.config(from).format;
    let mut payload = Vec::new();
    message
        .emit(format.layout(), &mut payload)
        .expect("it fits");
    let destination = match to {
        Address::Mac(mac) => mac,
        Address::Udp(_) => MacAddr::default(),
    };
    let len = payload.len() as u16;
    let header = match format {
        Format::Dix { mac, ethertype } => {
            let eid = dix::MANAGEMENT;
            let repr = dix::Repr {
                destination,
                source: mac,
                ethertype,
                eid,
            };
            repr.emit(len).to_vec()
        }
        Format::Llc { mac } => {
            let (dsap, ssap) = (llc::MANAGEMENT, llc::MANAGEMENT);
            let control = llc::CONTROL;
            let repr = llc::Repr {
                destination,
                source: mac,
                dsap,
                ssap,
                control,
            };
            repr.emit(len).to_vec()
        }
        Format::Udp => udp::Repr {
            eid: udp::MANAGEMENT,
        }
        .emit()
        .to_vec(),
    };
    [header, payload].concat()
}

pub(crate) fn frame(kind: Kind, from: usize, to: usize, message: &Message<'_>) -> Vec<u8> {
    frame_to(kind, from, kind.address(to), message)
}

pub(crate) fn source(kind: Kind, from: usize) -> Option<SocketAddr> {
    (kind == Kind::Udp).then(|| socket(from))
}

pub(crate) fn request<'a>(eid: u32, hash: &'a NameHash, piggyback: &'a [u8]) -> Message<'a> {
    Message::FlowRequest {
        requester: eid,
        qos: QosSpec::RAW,
        hash: hash.as_bytes(),
        piggyback,
        repeats: false,
    }
}

pub(crate) fn reply(requester: u32, acceptor: u32, response: i32) -> Message<'static> {
    Message::FlowReply {
        requester,
        acceptor,
        response,
        piggyback: b"oap",
        repeats: false,
    }
}

/// Gives a message of node 1 to node 0 and says what became of it.
pub(crate) fn give(
    node: &mut Node,
    kind: Kind,
    now: Instant,
    message: &Message<'_>,
) -> Result<(), Discard> {
    let frame = frame(kind, 1, 0, message);
    let result = node.shim.handle_frame(now, &frame, source(kind, 1));
    node.after(now);
    result
}

pub(crate) fn node(kind: Kind, change: impl Fn(&mut Config)) -> (Node, Instant) {
    let now = Instant::now();
    let mut config = kind.config(0);
    change(&mut config);
    let mut node = Node::new(config, 3, now);
    node.manner = Manner::Wait;
    node.shim.register(kind.hash("oping")).expect("room");
    (node, now)
}

pub(crate) fn request_with<'a>(message: &Message<'a>, piggyback: &'a [u8]) -> Message<'a> {
    let mut message = *message;
    if let Message::FlowRequest { piggyback: old, .. } = &mut message {
        *old = piggyback;
    }
    message
}
