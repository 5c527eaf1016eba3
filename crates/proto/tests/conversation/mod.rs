//! What was said on the N-1 flows of a captured member, in order of time.

use std::{collections::BTreeMap, time::Duration};

use o7s_captures::frames;
use o7s_wire::{
    qos::QosSpec,
    shim::{DIX, Message},
};

const SHA3_256: usize = 32;

/// Something that happened to an N-1 flow.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is asked for, by the captured member itself or of it.
    Request {
        by_us: bool,
        hash: Vec<u8>,
        qos: QosSpec,
    },
    /// It is there.
    Reply,
    /// A packet of the captured member itself, or of its peer.
    Packet { ours: bool, bytes: Vec<u8> },
}

#[derive(Debug)]
pub(crate) struct Step {
    /// Capture and number of the frame, from 1.
    pub(crate) frame: (&'static str, usize),
    /// Since the Unix epoch.
    pub(crate) time: Duration,
    /// Number of the N-1 flow, from 0 in the order of requests.
    pub(crate) flow: usize,
    pub(crate) event: Event,
}

/// The conversation of the host with these MAC addresses, out of captures of all its links.
pub(crate) fn conversation(captures: &[&'static str], host: &[[u8; 6]]) -> Vec<Step> {
    let all = captures.iter().flat_map(|name| {
        let frames = frames(&format!("{name}.pcap")).into_iter().enumerate();
        frames.map(|(at, frame)| ((*name, at + 1), frame))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, frame)| frame.wall);
    let (mut steps, mut flows) = (Vec::new(), 0);
    // By the MAC address and EID of an end.
    let mut requests: BTreeMap<([u8; 6], u32), usize> = BTreeMap::new();
    let mut ends: BTreeMap<([u8; 6], u32), usize> = BTreeMap::new();
    for (number, frame) in all {
        let time = frame.wall;
        let dix = frame.dix();
        let by_us = host.contains(&dix.from);
        let (flow, event) = if dix.eid == 0 {
            match Message::parse(&DIX, dix.payload, SHA3_256).expect("of 0.23") {
                Message::FlowRequest {
                    requester,
                    qos,
                    hash,
                    ..
                } => {
                    requests.insert((dix.from, requester), flows);
                    flows += 1;
                    let hash = hash.to_vec();
                    (flows - 1, Event::Request { by_us, hash, qos })
                }
                Message::FlowReply {
                    requester,
                    acceptor,
                    ..
                } => {
                    let flow = requests[&(dix.to, requester)];
                    ends.insert((dix.to, requester), flow);
                    ends.insert((dix.from, acceptor), flow);
                    (flow, Event::Reply)
                }
                Message::NameQuery { .. } | Message::NameReply { .. } => continue,
            }
        } else {
            let flow = ends[&(dix.to, dix.eid.into())];
            let bytes = dix.payload.to_vec();
            (flow, Event::Packet { ours: by_us, bytes })
        };
        steps.push(Step {
            frame: number,
            time,
            flow,
            event,
        });
    }
    steps
}
