//! What an allocation does when the member that it asked says nothing, says no, or says yes too late:
//! other members of the name are asked, and what is not wanted is given back.

use std::time::Instant;

use o7s_wire::{hash::NameHash, shim::Message};

use super::{
    Address, Discard, DownReason, EAUTH, ECONNRESET, ECRYPT, ENAME, FlowKey, Format, MAX_MARKED,
    Path, Refusal, Shim, State, admission::Source, requester::Reply,
};

impl Shim {
    /// Asks a peer over UDP whether it has the name. Only one of ours answers, and to that the request can
    /// be repeated; one of 0.23 would make a second flow of it.
    pub(super) fn probe(&mut self, hash: &NameHash, to: Address) {
        let message = Message::NameQuery {
            hash: hash.as_bytes(),
            repeats: true,
        };
        self.stats.probes_sent += 1;
        if self.probed.len() >= MAX_MARKED {
            // Those who are still silent are asked again.
            self.probed.clear();
        }
        self.probed.insert(to);
        let sent = self.transmit(to, &message, true);
        debug_assert!(sent.is_ok(), "a name query fits into every datagram");
    }

    /// A peer has answered a probe: the request is repeated at once.
    pub(super) fn probe_answered(
        &mut self,
        now: Instant,
        from: Address,
        hash: &NameHash,
    ) -> Result<(), Discard> {
        // Anybody can send an answer; one that was not asked for costs next to nothing.
        if !self.probed.remove(&from) {
            return Err(Discard::NotAsked);
        }
        let flows: Vec<_> = self
            .flows
            .iter_mut()
            .filter_map(|(flow, it)| match &mut it.state {
                State::Asking(asking) if asking.hash == *hash => {
                    asking.attempts.hurry(now, from).then_some(*flow)
                }
                _ => None,
            })
            .collect();
        self.mark(from, true);
        for flow in flows {
            self.arm_flow(flow);
        }
        Ok(())
    }

    /// Our address is another one: answers to the requests of an allocation go to where nobody is. A node of
    /// 0.23 may make a flow of each, as it would if our program tried again.
    pub(super) fn ask_anew(&mut self, now: Instant, flow: FlowKey) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        if let Some(address) = asking.attempts.latest() {
            self.send_request(now, flow, address);
            self.arm_flow(flow);
        }
    }

    /// Asks another address of a name, if one is known; whether there was one.
    pub(super) fn ask_next(&mut self, now: Instant, flow: FlowKey, hash: &NameHash) -> bool {
        let known = self.directory.addresses(now, hash);
        let Some((_, asking)) = self.asking(flow) else {
            return false;
        };
        let mut known = known.into_iter();
        match known.find(|address| asking.attempts.may_ask(*address)) {
            Some(address) => {
                self.send_request(now, flow, address);
                true
            }
            None => false,
        }
    }

    /// Nobody takes datagrams at this address, says the network (UDP), and quotes the beginning of one of ours:
    /// if it is a request that waits for its answer, the allocation goes on elsewhere or fails. Whether it was.
    ///
    /// The network may be anybody: only a request that is quoted up to our endpoint counts, which nobody
    /// elsewhere can guess.
    pub fn unreachable(&mut self, now: Instant, address: Address, quoted: &[u8]) -> bool {
        if self.config.format != Format::Udp {
            return false;
        }
        let Some((&[0, 0, 0, 0], rest)) = quoted.split_first_chunk() else {
            return false;
        };
        let Some(eid) = rest.first_chunk().copied().map(u32::from_be_bytes) else {
            return false;
        };
        let Some(flow) = self.by_eid.get(&eid).copied() else {
            return false;
        };
        let asking = self.asking(flow);
        if !asking.is_some_and(|(_, asking)| asking.attempts.awaits(address)) {
            return false;
        }
        self.stats.unreachable += 1;
        self.try_elsewhere(now, flow, address, Refusal::Unreachable(address));
        true
    }

    /// One that was asked cannot give the flow: who else?
    fn try_elsewhere(&mut self, now: Instant, flow: FlowKey, gone: Address, reason: Refusal) {
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        asking.attempts.refuse(gone);
        asking.refused = Some(reason);
        let awaited = asking.attempts.awaits_any();
        let hash = asking.hash.clone();
        // One that has no room still has the name.
        let moved = matches!(reason, Refusal::Peer(ENAME) | Refusal::Unreachable(_));
        if moved {
            self.directory.drop_address(&hash, gone);
        }
        if !self.ask_next(now, flow, &hash) && !awaited {
            if let Some((_, asking)) = self.asking(flow) {
                asking.recheck = None;
            }
            // If the name was just asked for, it is asked for anew.
            self.forget_flow_query(&hash, flow);
            if !moved || self.ask_for_flow(now, &hash, flow).is_err() {
                self.refuse_flow(now, flow, reason);
            }
        }
        self.arm_flow(flow);
    }

    /// A member says no. Another one may say yes, unless it is about who we are.
    pub(super) fn refused_by(
        &mut self,
        now: Instant,
        flow: FlowKey,
        from: Address,
        reply: &Reply<'_>,
    ) {
        let reason = Refusal::Peer(reply.response);
        let of_us = [ECRYPT, EAUTH].contains(&reply.response) || !reply.piggyback.is_empty();
        let Some((_, asking)) = self.asking(flow) else {
            return;
        };
        if !of_us {
            self.try_elsewhere(now, flow, from, reason);
            return;
        }
        asking.attempts.refuse(from);
        asking.refused = Some(reason);
        if asking.attempts.awaits_any() {
            self.arm_flow(flow);
        } else {
            self.refuse_flow(now, flow, reason);
        }
    }

    /// A reply for a flow that is up: late, or from a requester that has its flow from another member.
    pub(super) fn reply_to_flow(
        &mut self,
        now: Instant,
        from: Address,
        flow: FlowKey,
        path: Path,
        reply: &Reply<'_>,
    ) -> Result<(), Discard> {
        let is_peer = (path.address, path.peer) == (from, reply.acceptor);
        if reply.response == 0 {
            if !is_peer {
                self.give_back(now, from, reply);
            }
            return Err(Discard::Duplicate);
        }
        // Only while the flow is new, so that old ones cannot be ended by a forged message.
        if is_peer && reply.repeats && self.was_accepted_lately(now, &path) {
            self.stats.given_back += 1;
            self.flow_down(now, flow, DownReason::PeerLeft);
            return Ok(());
        }
        Err(Discard::Duplicate)
    }

    /// Tells an acceptor whose answer came too late that there is no flow. One of 0.23 takes no such message
    /// and finds out by its timeout.
    pub(super) fn give_back(&mut self, now: Instant, from: Address, reply: &Reply<'_>) {
        let of_ours = reply.repeats && self.config.repeats && reply.response == 0;
        if !of_ours
            || !self.is_peer_endpoint(reply.acceptor)
            || !self.admission.admit(Source::from(from), now)
        {
            return;
        }
        let message = Message::FlowReply {
            requester: reply.acceptor,
            acceptor: reply.requester,
            response: ECONNRESET,
            piggyback: &[],
            repeats: true,
        };
        // Never longer than what it answers; if it is lost, so is nothing but time.
        let _ = self.transmit(from, &message, false);
    }
}
