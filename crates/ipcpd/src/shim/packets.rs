//! Packets between programs and the network, and the messages of the machine beside them.

use o7s_proto::shim::Arrived;
use o7s_ring::{Record, SendError};

use super::path::Network;
use crate::{
    data::{Context, Progress, Token},
    sys,
};

/// Packets of a flow that are taken at once.
const BATCH: usize = 64;

impl Network {
    /// Gives the program a packet of the network.
    pub(super) fn deliver(&mut self, cx: &mut Context, token: Token, packet: &[u8]) {
        let (Some(flow), Some(end)) = (self.flows.get(token), cx.end(token)) else {
            return;
        };
        match end.tx.try_stage(packet) {
            Ok(()) => flow.counters.received += 1,
            Err(SendError::Full) => flow.counters.no_room += 1,
            // It takes no more; its end says so too.
            Err(_) => {}
        }
        end.tx.flush();
    }

    /// Takes a batch from the socket.
    pub(super) fn receive(&mut self, cx: &mut Context) -> Progress {
        let count = self.port.receive();
        if count == 0 {
            return Progress::None;
        }
        // The ends to which packets went, one after another.
        let mut last: Option<Token> = None;
        for at in 0..count {
            let Self {
                port,
                flows,
                shim,
                format,
                ..
            } = self;
            let (mut foreign, mut stray, mut management) = (0, 0, false);
            port.each(at, |bytes, from| match format.classify(bytes, from) {
                Ok(Arrived::Data(data)) => {
                    let flow = flows.by_eid(data.eid);
                    let ours = flow.filter(|flow| flow.path.is_some_and(|p| p.accepts(&data)));
                    if let Some(flow) = ours {
                        if last.is_some_and(|last| last != flow.token) {
                            flush(cx, last);
                        }
                        last = Some(flow.token);
                        if let Some(end) = cx.end(flow.token) {
                            match end.tx.try_stage(&bytes[data.payload]) {
                                Ok(()) => flow.counters.received += 1,
                                Err(SendError::Full) => flow.counters.no_room += 1,
                                Err(_) => {}
                            }
                        }
                    } else {
                        // It may be one that overtook the answer to our request.
                        management = true;
                        stray += u64::from(shim.handle_frame(cx.now(), bytes, from).is_err());
                    }
                }
                Ok(Arrived::Management(_)) => {
                    management = true;
                    if let Err(discard) = shim.handle_frame(cx.now(), bytes, from) {
                        tracing::debug!("Dropped a message: {discard}.");
                    }
                }
                Err(_) => foreign += 1,
            });
            self.foreign += foreign;
            self.stray += stray;
            if management {
                self.dirty = true;
                // Before the next packet, which may be one of a flow that is up only now.
                self.events(cx);
            }
        }
        flush(cx, last);
        // A batch that is not full was all there is; whoever waits next looks again.
        if count < sys::BATCH {
            Progress::None
        } else {
            Progress::Some
        }
    }

    /// Takes a batch of packets of a program.
    pub(super) fn send(&mut self, cx: &mut Context, token: Token) -> Progress {
        let (Some(flow), Some(end)) = (self.flows.get(token), cx.end(token)) else {
            return Progress::None;
        };
        let over = end.is_over();
        let Some(path) = flow.path else {
            if over {
                self.end(cx, token);
            }
            return Progress::None;
        };
        if over {
            end.note_over();
        }
        let mut worth = false;
        for _ in 0..BATCH {
            let length = match end.rx.peek_record() {
                Ok(Some(Record::Data(length))) => length,
                Ok(Some(Record::Keepalive)) => 0,
                Ok(None) => {
                    end.rx.flush();
                    if over {
                        self.end(cx, token);
                    }
                    return if worth {
                        Progress::Some
                    } else {
                        Progress::None
                    };
                }
                Err(corrupt) => {
                    tracing::warn!("Flow {} is over: {corrupt}.", flow.key.0);
                    self.end(cx, token);
                    return Progress::Some;
                }
            };
            if length > self.max_packet {
                flow.counters.too_long += 1;
            } else {
                if !self.port.has_room() && !self.port.is_blocked() {
                    self.port.flush();
                }
                if self.port.has_room() && !self.port.is_blocked() {
                    let header = self.format.header(&path, length);
                    self.port.stage(path.address, header.len() + length, |out| {
                        out.extend_from_slice(&header);
                        if length > 0 {
                            end.rx.append_to(out);
                        }
                    });
                    flow.counters.sent += 1;
                } else if flow.waits {
                    // Unread, so that the program waits too.
                    end.rx.flush();
                    end.pause(true);
                    self.waiting.push(token);
                    return Progress::Some;
                } else {
                    flow.counters.not_sent += 1;
                }
            }
            end.rx.consume_staged();
            worth = true;
        }
        end.rx.flush();
        Progress::Some
    }

    /// Puts what the machine has to say on the way.
    pub(super) fn transmit(&mut self) {
        while self.dirty {
            if !self.port.has_room() {
                self.port.flush();
            }
            if !self.port.has_room() {
                return;
            }
            let Some(to) = self.shim.poll_transmit(&mut self.scratch) else {
                self.dirty = false;
                return;
            };
            let message = &self.scratch;
            self.port
                .stage(to, message.len(), |out| out.extend_from_slice(message));
        }
    }
}

fn flush(cx: &mut Context, token: Option<Token>) {
    if let Some(end) = token.and_then(|token| cx.end(token)) {
        end.tx.flush();
    }
}
