//! What an administrator does: bootstrap, enroll, connect, and try again what failed.

use std::time::Duration;

use o7s_proto::unicast::{Command, Component, NodeError, Op, Outcome};
use o7s_wire::qos::QosSpec;

use super::{Event, Network, name};
use crate::{agenda::Time, link::nanos, member::Stage};

/// After this time what failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

impl Network {
    /// Does what is to be done next for a member.
    pub(crate) fn operate(&mut self, member: usize) {
        let Some(m) = &self.members[member] else {
            return;
        };
        match m.stage {
            Stage::Enrolling(_) => {}
            Stage::Inside => self.connect(member),
            Stage::Outside => {
                let inside: Vec<usize> = self.adjacent[member]
                    .iter()
                    .map(|link| &self.links[*link])
                    .filter(|link| link.up)
                    .map(|link| link.ends[usize::from(link.ends[0] == member)])
                    .filter(|other| self.is_inside(*other))
                    .collect();
                let op = self.new_op();
                let command = if let Some(other) = self.dice.one_of(&inside) {
                    Command::Enroll {
                        op,
                        dst: name(&format!("n{other}")),
                    }
                } else if member == 0 && self.next_op == 1 {
                    Command::Bootstrap {
                        op,
                        config: self.config(),
                    }
                } else {
                    return self.operate_later(member);
                };
                let now = self.now();
                if let Some(m) = &mut self.members[member] {
                    m.stage = Stage::Enrolling(op);
                    m.node.command(now, command);
                }
                self.settle(member);
            }
        }
    }

    fn operate_later(&mut self, member: usize) {
        if let Some(m) = &self.members[member] {
            let jitter = self.dice.number() % nanos(AGAIN);
            let at: Time = self.agenda.now() + nanos(AGAIN) + jitter;
            self.agenda.plan(at, Event::Operate(member, m.life));
        }
    }

    /// Connects a member to its neighbours that are inside, where that has not been done from either side.
    fn connect(&mut self, member: usize) {
        let mut commands = Vec::new();
        let mut waits = false;
        for number in self.adjacent[member].clone() {
            let link = &self.links[number];
            let other = link.ends[usize::from(link.ends[0] == member)];
            if !link.up || !self.is_inside(other) {
                continue;
            }
            for (data, component) in [(false, Component::Management), (true, Component::Data)] {
                if !self.links[number].connected[usize::from(data)] {
                    self.links[number].connected[usize::from(data)] = true;
                    let op = self.new_op();
                    commands.push((op, number, data, other, component));
                }
            }
            waits |= self.links[number].connected != [true; 2];
        }
        let now = self.now();
        for (op, link, data, other, component) in commands {
            if let Some(m) = &mut self.members[member] {
                m.connecting.insert(op, (link, data));
                let command = Command::Connect {
                    op,
                    dst: name(&format!("n{other}")),
                    component,
                    qos: QosSpec::RAW,
                };
                m.node.command(now, command);
            }
            self.settle(member);
        }
        if waits {
            self.operate_later(member);
        }
    }

    /// An operation is over.
    pub(crate) fn operated(&mut self, member: usize, op: Op, outcome: Result<Outcome, NodeError>) {
        let Some(m) = &mut self.members[member] else {
            return;
        };
        if m.stage == Stage::Enrolling(op) {
            if outcome.is_ok() {
                m.stage = Stage::Inside;
                self.connect(member);
            } else {
                m.stage = Stage::Outside;
                self.operate_later(member);
            }
        } else if let Some((link, data)) = m.connecting.remove(&op) {
            if outcome.is_err() {
                self.links[link].connected[usize::from(data)] = false;
                self.operate_later(member);
            }
        } else {
            m.done.insert(op, outcome);
        }
    }
}
