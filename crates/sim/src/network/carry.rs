//! What happens: packets arrive and leave, N-1 flows come and go.

use o7s_proto::{
    dt::{Component, Verdict},
    forwarding::FlowToken,
    unicast::{Lower, LowerError, LowerEvent, Output, Role},
};
use o7s_wire::dt::{Address, Eid, QosCube};

use super::{Event, Network};
use crate::{
    agenda::SECOND,
    link::nanos,
    member::{End, Member},
};

impl Network {
    /// Lets an event happen.
    pub(crate) fn happen(&mut self, event: Event) {
        self.trace.add(self.agenda.now());
        match event {
            Event::Start(member) => self.start(member),
            Event::Operate(member, life) => {
                if self.lives(member, life) {
                    self.operate(member);
                }
            }
            Event::Timer(member, life) => self.timer(member, life),
            Event::Packet {
                to,
                life,
                lower,
                bytes,
            } => {
                self.trace.add(to as u64);
                self.trace.add_bytes(&bytes);
                if self.lives(to, life) {
                    self.arrive(to, lower, bytes);
                    self.settle(to);
                }
            }
            Event::Accept {
                from,
                to,
                link,
                qos,
            } => self.accept(from, to, link, qos),
            Event::Allocated { at, result } => self.allocated(at, result),
            Event::Gone { at, life, lower } => {
                if self.lives(at, life) {
                    self.lower_gone(at, lower);
                }
            }
            Event::Notice { link, up } => self.notice(link, up),
            Event::Send(flow) => self.send_next(flow),
            Event::Beat(flow, run) => self.beat(flow, run),
            Event::Ask(flow) => self.ask_for_flow(flow),
        }
    }

    fn lives(&self, member: usize, life: u32) -> bool {
        matches!(&self.members[member], Some(m) if m.life == life)
    }

    fn timer(&mut self, member: usize, life: u32) {
        let now = self.now();
        if !self.lives(member, life) {
            return;
        }
        let Some(m) = &mut self.members[member] else {
            return;
        };
        m.timer = None;
        if m.node.poll_timeout().is_some_and(|at| at <= now) {
            self.trace.add(member as u64);
            m.node.handle_timeout(now);
        }
        self.settle(member);
    }

    /// A packet arrives on an N-1 flow.
    fn arrive(&mut self, at: usize, lower: Lower, mut bytes: Vec<u8>) {
        let now = self.now();
        let Some(m) = &mut self.members[at] else {
            return;
        };
        let Some(end) = m.ends.get(&lower) else {
            return;
        };
        let (Role::Data { .. }, Some(dt)) = (end.role, &mut m.dt) else {
            if !bytes.is_empty() {
                m.node.lower_packet(now, lower, &bytes);
            }
            return;
        };
        let header = dt.header_len();
        match dt.receive(FlowToken(lower.0), &mut bytes) {
            Verdict::Component { component, ecn } => {
                let eid = component.eid();
                m.node.dt_packet(now, eid, ecn, &bytes[header..]);
            }
            Verdict::Forward { flow, .. } => self.transfer(at, flow, bytes),
            Verdict::User { eid, ecn, .. } => {
                if !self.user_packet(at, eid, ecn, &bytes[header..])
                    && let Some(Some(dt)) = self.members[at].as_mut().map(|m| &mut m.dt)
                {
                    dt.unknown_eid(FlowToken(lower.0), bytes.len());
                }
            }
            Verdict::Keepalive | Verdict::Hello | Verdict::Drop(_) => {}
        }
    }

    /// Marks a packet and writes it to an N-1 flow.
    pub(crate) fn transfer(&mut self, at: usize, flow: FlowToken, mut bytes: Vec<u8>) {
        let now = self.agenda.now();
        let Some(m) = &mut self.members[at] else {
            return;
        };
        let (Some(end), Some(dt)) = (m.ends.get(&Lower(flow.0)), &mut m.dt) else {
            return;
        };
        let link = &mut self.links[end.link];
        let direction = &mut link.directions[usize::from(link.ends[0] != at)];
        let queued = direction.queued(now);
        dt.mark(&mut bytes, queued);
        if queued < direction.model().queue {
            dt.written(flow, bytes.len());
        } else {
            dt.write_failed(flow, bytes.len());
        }
        let eid = bytes.get(7..15).and_then(|eid| eid.try_into().ok());
        let eid = Eid(eid.map_or(u64::MAX, u64::from_le_bytes));
        match Component::at(eid) {
            Some(Component::Directory) => self.kinds.directory.add(bytes.len()),
            Some(Component::FlowAllocator) => self.kinds.allocation.add(bytes.len()),
            None => self.kinds.users.add(bytes.len()),
        }
        let end = *end;
        self.put(at, &end, bytes);
    }

    /// Puts a packet of an N-1 flow on its link.
    fn put(&mut self, at: usize, end: &End, bytes: Vec<u8>) {
        let now = self.agenda.now();
        let link = &mut self.links[end.link];
        let direction = usize::from(link.ends[0] != at);
        let arrives = link.directions[direction].send(now, bytes.len(), &mut self.dice);
        if let (Some(arrives), true) = (arrives, link.up) {
            let packet = Event::Packet {
                to: end.peer,
                life: self.lives[end.peer],
                lower: end.far,
                bytes,
            };
            self.agenda.plan(arrives, packet);
        }
    }

    /// Sends a packet of this member: of a component, or of a user. False: there is no way.
    pub(crate) fn send(
        &mut self,
        at: usize,
        destination: Address,
        cube: QosCube,
        eid: Eid,
        payload: &[u8],
    ) -> bool {
        let Some(dt) = self.members[at].as_mut().and_then(|m| m.dt.as_mut()) else {
            return false;
        };
        let mut packet = vec![0; dt.header_len()];
        packet.extend_from_slice(payload);
        match dt.send(destination, cube, eid, &mut packet) {
            Ok(flow) => {
                self.transfer(at, flow, packet);
                true
            }
            Err(_) => false,
        }
    }

    /// Does what a member says, and plans its deadline.
    pub(crate) fn settle(&mut self, member: usize) {
        while let Some(output) = self.members[member]
            .as_mut()
            .and_then(|m| m.node.poll_output())
        {
            self.carry_out(member, output);
        }
        let Some(m) = &self.members[member] else {
            return;
        };
        if let Some(at) = m.node.poll_timeout() {
            let at = self.time_of(at).max(self.agenda.now());
            let life = m.life;
            if let Some(m) = &mut self.members[member]
                && m.timer.is_none_or(|planned| at < planned)
            {
                m.timer = Some(at);
                self.agenda.plan(at, Event::Timer(member, life));
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let now = self.now();
        let Some(m) = &mut self.members[at] else {
            return;
        };
        match output {
            Output::Done { op, outcome } => match self.traffic.allocated(at, op, &outcome) {
                Some(_) if outcome.is_ok() => {}
                Some(source) => {
                    let again = self.agenda.now() + SECOND;
                    self.agenda.plan(again, Event::Ask(source));
                }
                None => self.operated(at, op, outcome),
            },
            Output::Started { address, config } => m.start(address, &config),
            Output::AllocateLower { request, dst, qos } => {
                let from = (at, m.life, request);
                let to = dst.to_string();
                let to = to.strip_prefix('n').and_then(|n| n.parse().ok());
                self.allocate(from, to, qos);
            }
            Output::CancelLower { .. }
            | Output::LowerDown { .. }
            | Output::Parted { .. }
            | Output::Warning(_) => {}
            Output::DeallocateLower { lower } => {
                if let Some(end) = m.remove(lower) {
                    let delay = self.links[end.link].directions[0].model().delay;
                    let gone = Event::Gone {
                        at: end.peer,
                        life: self.lives[end.peer],
                        lower: end.far,
                    };
                    // Behind what was sent on it.
                    let after = self.agenda.now() + nanos(delay) + 1_000_000;
                    self.agenda.plan(after, gone);
                }
            }
            Output::Role { lower, role } => m.set_role(lower, role),
            Output::SendOnLower { lower, packet } => {
                if let Some(end) = m.ends.get(&lower).copied() {
                    match end.role {
                        Role::Management => self.kinds.routing.add(packet.len()),
                        _ => self.kinds.setup.add(packet.len()),
                    }
                    self.put(at, &end, packet);
                }
            }
            Output::Arrived { lower, packet } => self.arrive(at, lower, packet),
            Output::SendDt {
                dst,
                cube,
                eid,
                payload,
                flow,
            } => {
                if !self.send(at, dst, cube, eid, &payload)
                    && let Some(m) = &mut self.members[at]
                {
                    m.node.unsent(now, dst, eid, flow);
                }
            }
            Output::Table(table) => {
                if let Some(dt) = &mut m.dt {
                    dt.set_table(table);
                }
            }
            Output::FlowOpened { flow, .. } => self.traffic.opened(at, flow),
            Output::FlowUp {
                flow,
                remote,
                remote_eid,
                cube,
                answer,
            } => self.flow_up(at, flow, (remote, remote_eid, cube), answer),
            Output::FlowClosed { flow } | Output::FlowExpired { flow } => {
                self.traffic.closed(at, flow);
            }
            Output::FlowRequest(request) => self.flow_requested(at, &request),
            Output::Congestion { flow, level } => self.traffic.congestion(now, at, flow, level),
        }
    }

    /// A member asks for an N-1 flow to a neighbour.
    fn allocate(
        &mut self,
        from: (usize, u32, o7s_proto::unicast::Request),
        to: Option<usize>,
        qos: o7s_wire::qos::QosSpec,
    ) {
        /// After this time without an answer there is none.
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
        let now = self.agenda.now();
        let number = to.and_then(|to| {
            let ends = (from.0.min(to), from.0.max(to));
            self.by_ends.get(&ends).copied().map(|number| (to, number))
        });
        match number {
            Some((to, link)) if self.links[link].up && self.members[to].is_some() => {
                let delay = nanos(self.links[link].directions[0].model().delay);
                let accept = Event::Accept {
                    from,
                    to,
                    link,
                    qos,
                };
                self.agenda.plan(now + delay, accept);
            }
            _ => {
                let result = Err("no answer");
                let at = now + nanos(PATIENCE);
                self.agenda.plan(at, Event::Allocated { at: from, result });
            }
        }
    }

    fn accept(
        &mut self,
        from: (usize, u32, o7s_proto::unicast::Request),
        to: usize,
        link: usize,
        qos: o7s_wire::qos::QosSpec,
    ) {
        let now = self.now();
        let delay = nanos(self.links[link].directions[0].model().delay);
        if !self.lives(from.0, from.1) {
            return;
        }
        // Both numbers at once, so that what overtakes the answer has somewhere to arrive.
        let mine = self.members[from.0].as_mut().map(Member::new_lower);
        let result = match (&mut self.members[to], mine) {
            (Some(member), Some(mine)) => {
                let theirs = member.new_lower();
                let end = End {
                    link,
                    peer: from.0,
                    far: mine,
                    role: Role::Setup,
                };
                member.ends.insert(theirs, end);
                let life = member.life;
                member.node.lower_accepted(now, theirs, qos);
                self.settle(to);
                Ok((mine, link, to, theirs, life))
            }
            _ => Err("no answer"),
        };
        let at = self.agenda.now() + delay;
        self.agenda.plan(at, Event::Allocated { at: from, result });
    }

    fn allocated(
        &mut self,
        at: (usize, u32, o7s_proto::unicast::Request),
        result: Result<(Lower, usize, usize, Lower, u32), &'static str>,
    ) {
        let now = self.now();
        let (member, life, request) = at;
        if !self.lives(member, life) {
            return;
        }
        let peer_lives = match &result {
            Ok((_, _, peer, _, life)) => self.lives(*peer, *life),
            Err(_) => false,
        };
        let Some(m) = &mut self.members[member] else {
            return;
        };
        let outcome = match result {
            Ok((mine, link, peer, far, _)) if peer_lives => {
                let end = End {
                    link,
                    peer,
                    far,
                    role: Role::Setup,
                };
                m.ends.insert(mine, end);
                Ok(mine)
            }
            Ok(_) => Err(LowerError("the neighbour died".to_owned())),
            Err(why) => Err(LowerError(why.to_owned())),
        };
        m.node.lower_allocated(now, request, outcome);
        self.settle(member);
    }

    /// The other end of an N-1 flow is gone.
    fn lower_gone(&mut self, at: usize, lower: Lower) {
        let now = self.now();
        let Some(m) = &mut self.members[at] else {
            return;
        };
        if m.remove(lower).is_some() {
            m.node.lower_event(now, lower, LowerEvent::Gone);
            self.settle(at);
        }
    }

    /// Both members at a link notice that it is up or down.
    fn notice(&mut self, number: usize, up: bool) {
        let now = self.now();
        if self.links[number].up != up {
            return;
        }
        for at in self.links[number].ends {
            let Some(m) = &mut self.members[at] else {
                continue;
            };
            let event = if up { LowerEvent::Up } else { LowerEvent::Down };
            let lowers: Vec<Lower> = m
                .ends
                .iter()
                .filter(|(_, end)| end.link == number)
                .map(|(lower, _)| *lower)
                .collect();
            for lower in lowers {
                if let Some(dt) = &mut m.dt {
                    dt.set_down(FlowToken(lower.0), !up);
                }
                m.node.lower_event(now, lower, event);
            }
            self.settle(at);
            if up {
                self.operate(at);
            }
        }
    }
}
