//! Flows of users that send as fast as congestion control lets them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use o7s_proto::{
    congestion::{Policy, Receiver, Sender},
    forwarding::FlowToken,
    unicast::{Command, FlowRequest, Lower, NodeError, Op, Outcome},
};
use o7s_wire::{
    dt::{Address, Eid, QosCube},
    hash::NameHash,
    qos::QosSpec,
};

use crate::{
    agenda::Time,
    link::nanos,
    network::{Event, Network},
    steady::Steady,
};

/// A flow that wants to send without end.
struct Source {
    member: usize,
    name: NameHash,
    op: Op,
    eid: Option<Eid>,
    to: Option<(Address, Eid, QosCube)>,
    sender: Option<Sender>,
    payload: usize,
    sent: u64,
    /// It sends at a rate of its own, see [`crate::steady`].
    steady: bool,
}

/// The flows of a network.
#[derive(Default)]
pub struct Traffic {
    sources: Vec<Source>,
    /// Ends that receive: what congestion they meet, and their bytes.
    sinks: BTreeMap<(usize, Eid), (Receiver, u64)>,
    /// Which sink belongs to which source, by its order of arrival.
    requested: Vec<(usize, Eid, Vec<u8>)>,
    open: BTreeSet<(usize, Eid)>,
    pub(crate) steady: Steady,
}

impl Traffic {
    pub(crate) fn member_died(&mut self, member: usize) {
        self.sinks.retain(|(at, _), _| *at != member);
        self.open.retain(|(at, _)| *at != member);
        for source in &mut self.sources {
            if source.member == member {
                source.to = None;
            }
        }
    }

    /// The source whose operation it was, if it was one.
    pub(crate) fn allocated(
        &mut self,
        member: usize,
        op: Op,
        outcome: &Result<Outcome, NodeError>,
    ) -> Option<usize> {
        let source = |s: &Source| s.member == member && s.op == op;
        let number = self.sources.iter().position(source)?;
        if let Ok(Outcome::Allocated { flow, .. }) = outcome {
            self.sources[number].eid = Some(*flow);
        }
        Some(number)
    }

    pub(crate) fn opened(&mut self, member: usize, flow: Eid) {
        self.open.insert((member, flow));
    }

    pub(crate) fn closed(&mut self, member: usize, flow: Eid) {
        self.open.remove(&(member, flow));
        self.sinks.remove(&(member, flow));
    }

    pub(crate) fn congestion(&mut self, now: Instant, member: usize, flow: Eid, level: u16) {
        for source in &mut self.sources {
            if source.member == member
                && source.eid == Some(flow)
                && let Some(sender) = &mut source.sender
            {
                sender.update(now, level);
            }
        }
    }
}

impl Network {
    /// Allocates a flow from a member to a name; from then on it sends packets of `payload` bytes as fast as
    /// it may. The number of the flow.
    pub fn stream(&mut self, member: usize, name: &NameHash, payload: usize) -> usize {
        self.add_source(member, name, payload, false)
    }

    pub(crate) fn add_source(
        &mut self,
        member: usize,
        name: &NameHash,
        payload: usize,
        steady: bool,
    ) -> usize {
        let number = self.traffic.sources.len();
        self.traffic.sources.push(Source {
            member,
            name: name.clone(),
            op: Op(0),
            eid: None,
            to: None,
            sender: None,
            payload,
            sent: 0,
            steady,
        });
        self.ask_for_flow(number);
        number
    }

    /// Asks for the flow of a source; again, if that came to nothing.
    pub(crate) fn ask_for_flow(&mut self, number: usize) {
        let op = self.new_op();
        let source = &mut self.traffic.sources[number];
        source.op = op;
        let member = source.member;
        let command = Command::Alloc {
            op,
            hash: source.name.clone(),
            qos: QosSpec::RAW,
            data: number.to_be_bytes().to_vec(),
        };
        let now = self.now();
        if let Some(m) = &mut self.members[member] {
            m.node.command(now, command);
            self.settle(member);
        }
    }

    /// Bytes that have arrived of each flow, by its number.
    #[must_use]
    pub fn delivered(&self) -> Vec<u64> {
        let mut delivered = vec![0; self.traffic.sources.len()];
        for (member, eid, data) in &self.traffic.requested {
            let number = <[u8; 8]>::try_from(data.as_slice()).map(usize::from_be_bytes);
            if let (Ok(number), Some((_, bytes))) =
                (number, self.traffic.sinks.get(&(*member, *eid)))
                && let Some(place) = delivered.get_mut(number)
            {
                *place += bytes;
            }
        }
        delivered
    }

    /// Somebody wants a flow to a name here: everybody is welcome.
    pub(crate) fn flow_requested(&mut self, at: usize, request: &FlowRequest) {
        let sink = (Receiver::new(Policy::MultiBitEcn), 0);
        self.traffic.sinks.insert((at, request.flow), sink);
        let requested = (at, request.flow, request.data.clone());
        self.traffic.requested.push(requested);
        let now = self.now();
        if let Some(m) = &mut self.members[at] {
            let command = Command::Respond {
                flow: request.flow,
                response: 0,
                data: Vec::new(),
            };
            m.node.command(now, command);
        }
    }

    pub(crate) fn flow_up(
        &mut self,
        at: usize,
        flow: Eid,
        to: (Address, Eid, QosCube),
        answer: Option<Duration>,
    ) {
        let (now, epoch) = (
            self.now(),
            self.now() - Duration::from_nanos(self.agenda.now()),
        );
        let source = |s: &(usize, &mut Source)| s.1.member == at && s.1.eid == Some(flow);
        let mut sources = self.traffic.sources.iter_mut().enumerate();
        if let Some((number, source)) = sources.find(source) {
            source.to = Some(to);
            if source.steady {
                return;
            }
            let mut sender = Sender::new(Policy::MultiBitEcn, epoch, now);
            if let Some(answer) = answer {
                sender.answer_takes(answer);
            }
            source.sender = Some(sender);
            self.agenda.plan(self.agenda.now(), Event::Send(number));
        }
    }

    /// From where to where a flow goes, once it is allocated.
    pub(crate) fn route_of(&self, number: usize) -> Option<(usize, Address, Eid, QosCube)> {
        let source = self.traffic.sources.get(number)?;
        let (address, eid, cube) = source.to?;
        Some((source.member, address, eid, cube))
    }

    /// A flow sends its next packet, or waits until it may.
    pub(crate) fn send_next(&mut self, number: usize) {
        let now = self.now();
        let source = &self.traffic.sources[number];
        let (member, payload) = (source.member, source.payload);
        let Some((address, eid, cube)) = source.to else {
            return;
        };
        // As a write to a full flow: it waits for room.
        if let Some(room) = self.room(member, address) {
            self.agenda.plan(room, Event::Send(number));
            return;
        }
        let source = &mut self.traffic.sources[number];
        let Some(sender) = &mut source.sender else {
            return;
        };
        let next = match sender.may_send(now, payload) {
            Ok(()) => {
                source.sent += 1;
                self.send(member, address, cube, eid, &vec![0; payload]);
                /// What a program needs at least between two packets.
                const PACE: Duration = Duration::from_micros(10);
                self.agenda.now() + nanos(PACE)
            }
            Err(until) => self.time_of(until),
        };
        self.agenda.plan(next, Event::Send(number));
    }

    /// When there will be room on the link of a flow, if there is none.
    fn room(&mut self, member: usize, to: Address) -> Option<Time> {
        let now = self.agenda.now();
        let m = self.members[member].as_ref()?;
        let table = m.dt.as_ref()?.table();
        let flow: FlowToken = *table.flows(to).first()?;
        let end = m.ends.get(&Lower(flow.0))?;
        let link = &mut self.links[end.link];
        let direction = usize::from(link.ends[0] != member);
        link.directions[direction].room_at(now)
    }

    /// A packet for an end of a flow here; false: there is none.
    pub(crate) fn user_packet(&mut self, at: usize, eid: Eid, ecn: u8, payload: &[u8]) -> bool {
        let Some((receiver, received)) = self.traffic.sinks.get_mut(&(at, eid)) else {
            return self.traffic.open.contains(&(at, eid));
        };
        *received += payload.len() as u64;
        let now = self.agenda.now();
        self.traffic.steady.arrived(now, payload);
        if let Some(level) = receiver.packet(ecn) {
            let now = self.now();
            if let Some(m) = &mut self.members[at] {
                m.node.command(now, Command::Report { flow: eid, level });
            }
        }
        true
    }
}
