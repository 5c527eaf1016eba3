//! Packets of programs, on their way into the layer: at the pace of the flow's controller, and as long as
//! there is room (`spec/unicast.md` §3.7).

use std::time::Instant;

use o7s_ring::Record;
use o7s_wire::dt::Eid;

use super::{super::user::Remote, BATCH, Forwarder, HEADER, LOCAL_MAX, ROOM_LOOK};
use crate::data::{Context, Progress, Token};

/// What came of one packet of a program.
enum Step {
    /// It went, or cannot go and is dropped.
    Sent,
    /// There is none.
    Empty,
    /// It goes at this time at the latest.
    Later(Instant),
    /// The flow is over.
    Broken,
}

impl Forwarder {
    /// Sends what a program wrote.
    pub(super) fn send(&mut self, cx: &mut Context, token: Token) -> Progress {
        let Some((eid, user)) = self.users.at(token) else {
            return Progress::None;
        };
        let (remote, now) = (user.remote, cx.now());
        let Some(end) = cx.end(token) else {
            return Progress::None;
        };
        // Seen before the packets are: what was written before the end is carried on.
        let over = end.is_over();
        if over {
            end.note_over();
        }
        let Some(remote) = remote else {
            end.pause(true);
            if over {
                self.close(cx, eid);
            }
            return Progress::None;
        };
        let mut progress = Progress::None;
        let mut paused = false;
        for _ in 0..BATCH {
            match self.send_one(cx, eid, remote, now) {
                Step::Sent => progress = Progress::Some,
                Step::Empty if over => {
                    self.close(cx, eid);
                    return Progress::Some;
                }
                Step::Empty => break,
                Step::Later(at) => {
                    cx.set_timer(token, Some(at));
                    paused = true;
                    break;
                }
                Step::Broken => {
                    self.close(cx, eid);
                    return Progress::Some;
                }
            }
        }
        if let Some(end) = cx.end(token) {
            end.rx.flush();
            end.pause(paused);
        }
        progress
    }

    fn send_one(&mut self, cx: &mut Context, eid: Eid, remote: Remote, now: Instant) -> Step {
        let (Some(user), Some(dt)) = (self.users.get_mut(eid), &mut self.dt) else {
            return Step::Broken;
        };
        let Some(end) = cx.end(user.token) else {
            return Step::Broken;
        };
        let length = match end.rx.peek_record() {
            Ok(Some(Record::Data(length))) => length,
            Ok(Some(Record::Keepalive)) => 0,
            Ok(None) => return Step::Empty,
            Err(corrupt) => {
                tracing::warn!("A flow is over: {corrupt}.");
                return Step::Broken;
            }
        };
        if !user.cleared {
            if let Err(at) = user.sender.may_send(now, length) {
                return Step::Later(at);
            }
            user.cleared = true;
        }
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        packet.resize(HEADER, 0);
        if length > 0 {
            end.rx.append_to(&mut packet);
        }
        let way = dt.send(remote.address, remote.cube, remote.eid, &mut packet);
        let step = match way {
            Ok(flow) => match self.ahead(flow.0) {
                Some(ahead) if ahead >= LOCAL_MAX => self.wait_for(flow.0, eid, now),
                Some(_) => {
                    self.enqueue(flow.0, &packet, LOCAL_MAX);
                    Step::Sent
                }
                None => Step::Sent,
            },
            Err(_) => Step::Sent,
        };
        self.scratch = packet;
        if let Step::Sent = step
            && let Some(user) = self.users.get_mut(eid)
        {
            user.cleared = false;
            if way.is_ok() {
                user.counters.sent += 1;
                user.counters.sent_bytes += length as u64;
            } else {
                user.counters.failed += 1;
            }
            if let Some(end) = cx.end(user.token) {
                end.rx.consume_staged();
            }
        }
        step
    }

    /// The flow goes on when there is room in the N-1 flow again.
    fn wait_for(&mut self, number: u32, eid: Eid, now: Instant) -> Step {
        if let Some(user) = self.users.get_mut(eid)
            && !std::mem::replace(&mut user.waits, true)
        {
            self.outgoing[number as usize].waiting.push_back(eid);
            if !self.full.contains(&number) {
                self.full.push(number);
            }
        }
        Step::Later(now + ROOM_LOOK)
    }

    /// Lets users go on for whose N-1 flow there is room again.
    pub(super) fn release(&mut self, cx: &mut Context) -> Progress {
        let mut progress = Progress::None;
        let mut full = std::mem::take(&mut self.full);
        full.retain(|number| {
            if self
                .ahead(*number)
                .is_some_and(|ahead| ahead > LOCAL_MAX / 2)
            {
                return true;
            }
            progress = Progress::Some;
            while let Some(eid) = self.outgoing[*number as usize].waiting.pop_front() {
                if let Some(user) = self.users.get_mut(eid) {
                    user.waits = false;
                    cx.activate(user.token);
                }
            }
            false
        });
        self.full = full;
        progress
    }
}
