//! Flows: their two ends, and how the ends go.

use std::collections::BTreeSet;

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, FlowEnd, FlowInfo, Qos},
};

use super::{
    ConnId, Context, Core, Side, bell::Slot, copies::pid_of, ipcp::Call, limits, security::Agreed,
};

/// A flow: allocated, or with one end given back.
#[derive(Debug)]
pub(super) struct Flow {
    pub name: String,
    pub qos: Qos,
    /// Who holds each end; none = given back or dead.
    ends: [Option<Holder>; 2],
    /// The holders as they were, for the ends' information.
    holders: [Holder; 2],
    slot: Slot,
    /// Longest packet of the layer, bytes; 0 = what the segment can hold.
    max_packet: u32,
}

/// Who holds an end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Holder {
    /// A program's process, by its key (see [`super::copies`]).
    Process(i32),
    /// An IPCP, for its data path. If it also uses flows as a program does, it is a process too.
    Ipcp(i32),
}

impl Holder {
    fn pid(self) -> i32 {
        match self {
            Self::Process(key) => pid_of(key),
            Self::Ipcp(pid) => pid,
        }
    }
}

impl Flow {
    /// The process that uses this flow, if the IPCP `pid` carries it.
    pub(super) fn user_of(&self, pid: i32) -> Option<i32> {
        match self.ends {
            [Some(Holder::Process(user)), Some(Holder::Ipcp(carrier))]
            | [Some(Holder::Ipcp(carrier)), Some(Holder::Process(user))]
                if carrier == pid =>
            {
                Some(pid_of(user))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
impl Flow {
    pub(super) fn open_ends(&self) -> usize {
        self.ends.iter().flatten().count()
    }
}

impl Core {
    /// Makes a flow from `a` to `b`.
    pub(super) fn make_flow(
        &mut self,
        cx: &mut dyn Context,
        id: u64,
        (a, b): (Holder, Holder),
        name: &str,
        qos: Qos,
    ) -> Result<()> {
        self.check_flow_limits(a)?;
        self.check_flow_limits(b)?;
        cx.make_flow(id)?;
        let slot = match self.bells.take(cx, a, b) {
            Ok(slot) => slot,
            Err(error) => {
                cx.drop_flow(id);
                return Err(error);
            }
        };
        self.flows.insert(
            id,
            Flow {
                name: name.to_owned(),
                qos,
                ends: [Some(a), Some(b)],
                holders: [a, b],
                slot,
                max_packet: 0,
            },
        );
        for (holder, side) in [(a, Side::A), (b, Side::B)] {
            if let Some(ends) = self.ends_of(holder) {
                ends.insert((id, side));
            }
        }
        Ok(())
    }

    /// The ends of a holder, if it is there.
    fn ends_of(&mut self, holder: Holder) -> Option<&mut BTreeSet<(u64, Side)>> {
        match holder {
            Holder::Process(pid) => self
                .processes
                .get_mut(&pid)
                .map(|process| &mut process.ends),
            Holder::Ipcp(pid) => self.ipcp_ends(pid),
        }
    }

    /// The layer says how long its packets may be.
    pub(super) fn set_max_packet(&mut self, id: u64, max_packet: u32) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.max_packet = max_packet;
        }
    }

    fn check_flow_limits(&self, holder: Holder) -> Result<()> {
        if self.flows.len() >= limits::FLOWS {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "this irmd has {} flows, the limit; deallocate some",
                    limits::FLOWS
                ),
            ));
        }
        let pid = match holder {
            Holder::Process(pid) => pid,
            // It may have died while a request still names it.
            Holder::Ipcp(pid) => {
                return self.ipcp_conn(pid).map(drop).map_err(|_| {
                    Error::new(
                        ErrorKind::Ipcp,
                        format!("IPCP {pid} is gone; 'irm ipcp list' shows those there are"),
                    )
                });
            }
        };
        let Some(process) = self.processes.get(&pid) else {
            return Ok(());
        };
        if self.settings.trust.owns(&process.peer) {
            return Ok(());
        }
        let uid = process.peer.uid;
        let own = self.processes.values();
        let own = own.filter(|process| process.peer.uid == uid);
        let ends: usize = own.map(|process| process.ends.len()).sum();
        if ends >= limits::ENDS_PER_USER {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "user {uid} has {} flow ends, the limit; deallocate some",
                    limits::ENDS_PER_USER
                ),
            ));
        }
        Ok(())
    }

    /// Sends an end to its process; false if the connection is gone.
    #[allow(
        clippy::too_many_arguments,
        reason = "where to, which end, and what it is told"
    )]
    pub(super) fn send_end(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        flow_id: u64,
        side: Side,
        mpl_ms: u32,
        agreed: Agreed,
    ) -> bool {
        let Some(mut info) = self.end_info(flow_id, side) else {
            return false;
        };
        info.mpl_ms = mpl_ms;
        agreed.apply(&mut info);
        let bell_side = info.bell_side as usize;
        let sent_bell = info.new_bell.then_some((info.bell_id, bell_side));
        if !cx.send_flow(conn, id, info) {
            return false;
        }
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.bells_sent.extend(sent_bell);
        }
        true
    }

    /// What whoever holds an end needs to open it.
    pub(super) fn end_info(&self, flow_id: u64, side: Side) -> Option<FlowInfo> {
        let flow = self.flows.get(&flow_id)?;
        let bell_side = flow.slot.side(side);
        let between_processes = flow
            .holders
            .iter()
            .all(|holder| matches!(holder, Holder::Process(_)));
        Some(FlowInfo {
            flow_id,
            side: side as u32,
            qos: flow.qos,
            name: flow.name.clone(),
            peer_pid: flow.holders[side.other() as usize].pid(),
            bell_id: flow.slot.bell,
            bell_side: bell_side as u32,
            bell_slot: flow.slot.slot,
            new_bell: self.bells.must_send(flow.slot.bell, bell_side),
            direct: between_processes,
            max_packet: flow.max_packet,
            ..FlowInfo::default()
        })
    }

    /// A process gives its end back.
    pub(super) fn flow_dealloc(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        end: FlowEnd,
    ) -> Result<()> {
        let conn = self.conn(conn)?;
        let (key, asker) = (conn.process, conn.peer.pid);
        let unknown = || {
            Error::new(
                ErrorKind::NotAllocated,
                format!(
                    "there is no flow {} with an open end of process {}",
                    end.flow_id, asker
                ),
            )
        };
        let flow = self.flows.get(&end.flow_id).ok_or_else(unknown)?;
        let side = match end.side {
            0 => Side::A,
            1 => Side::B,
            _ => return Err(unknown()),
        };
        match flow.ends[side as usize] {
            Some(Holder::Process(owner)) if owner == key => {}
            Some(holder) => {
                return Err(Error::new(
                    ErrorKind::Permission,
                    format!(
                        "process {asker} may not deallocate flow {}: its end belongs to process {}",
                        end.flow_id,
                        holder.pid()
                    ),
                ));
            }
            None => return Err(unknown()),
        }
        if end.bell_lost {
            let bell = flow.slot.bell;
            self.bells.forget(cx, bell);
            // The process never had the flow's memory and so could not close it itself.
            self.abandon_end(cx, end.flow_id, side);
            return Ok(());
        }
        tracing::debug!(
            "Deallocating flow {} for process {} (timeout: {} s).",
            end.flow_id,
            asker,
            end.linger_s
        );
        self.end_closed(cx, end.flow_id, side);
        self.tell_ipcp(cx, end.flow_id, side.other(), end.linger_s);
        Ok(())
    }

    /// The other end of an IPCP's end was given back or lost: the IPCP carries on what was written
    /// before and gives its own back.
    fn tell_ipcp(&mut self, cx: &mut dyn Context, id: u64, side: Side, linger_s: u32) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        if let Some(Holder::Ipcp(pid)) = flow.ends[side as usize] {
            let end = FlowEnd {
                flow_id: id,
                side: side as u32,
                linger_s,
                bell_lost: false,
            };
            self.call_ipcp(cx, pid, Body::IpcpFlowDealloc(end), Call::Ignored);
        }
    }

    /// Sends an IPCP its end of a flow in a message of its own kind; false if the flow is over.
    pub(super) fn call_with_end(
        &mut self,
        cx: &mut dyn Context,
        (ipcp, call): (i32, Call),
        (flow_id, side): (u64, Side),
        mpl_ms: u32,
        body: impl FnOnce(FlowInfo) -> Body,
    ) -> bool {
        let Some(mut info) = self.end_info(flow_id, side) else {
            return false;
        };
        info.mpl_ms = mpl_ms;
        let bell = info
            .new_bell
            .then_some((info.bell_id, info.bell_side as usize));
        let body = body(info.clone());
        self.call_ipcp_with(cx, ipcp, body, call, Some(&info));
        // There is one channel, and it keeps the order: what comes later finds the doorbell there.
        if let Some((bell, side)) = bell {
            self.bells.confirm(cx, bell, side);
        }
        true
    }

    /// An IPCP gives its end back, or an arrived request that is over.
    pub(super) fn ipcp_dealloc(&mut self, cx: &mut dyn Context, ipcp: i32, end: FlowEnd) {
        let side = match end.side {
            0 => Side::A,
            _ => Side::B,
        };
        let held = self.flows.get(&end.flow_id);
        if held.is_some_and(|flow| flow.ends[side as usize] == Some(Holder::Ipcp(ipcp))) {
            tracing::debug!("IPCP {ipcp} gave its end of flow {} back.", end.flow_id);
            self.ipcp_end_over(cx, end.flow_id, side, false);
        } else {
            self.arrival_over(ipcp, end.flow_id);
        }
    }

    /// An IPCP refused a flow that it got the end `side` of, which it has not opened.
    pub(super) fn ipcp_refused(
        &mut self,
        cx: &mut dyn Context,
        ipcp: i32,
        (id, side): (u64, Side),
        kind: ErrorKind,
    ) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        if flow.ends[side as usize] != Some(Holder::Ipcp(ipcp)) {
            return;
        }
        if matches!(kind, ErrorKind::NoDescriptors | ErrorKind::NoMemory) {
            // It may have lost the doorbell too.
            let bell = flow.slot.bell;
            self.bells.forget(cx, bell);
        }
        self.ipcp_end_over(cx, id, side, false);
    }

    /// The end of an IPCP is over, in good order or (`down`) because the IPCP died: the layer
    /// failed, and its flows are down (`spec/frcp.md` §15 L10). The other end is told.
    fn ipcp_end_over(&mut self, cx: &mut dyn Context, id: u64, side: Side, down: bool) {
        let other = side.other();
        let survivor = self
            .flows
            .get(&id)
            .and_then(|flow| flow.ends[other as usize]);
        let told = if down {
            cx.end_down(id, side)
        } else {
            cx.end_closed(id, side)
        };
        self.end_closed(cx, id, side);
        if let (Some(Holder::Process(pid)), true) = (survivor, told) {
            let end = FlowEnd {
                flow_id: id,
                side: other as u32,
                ..FlowEnd::default()
            };
            self.notify(cx, pid, &[end]);
        }
    }

    /// An IPCP died with these ends: the flows are down.
    pub(super) fn ipcp_ends_lost(&mut self, cx: &mut dyn Context, ends: BTreeSet<(u64, Side)>) {
        for (id, side) in ends {
            let held = self.flows.get(&id);
            if held.is_some_and(|flow| flow.ends[side as usize].is_some()) {
                self.ipcp_end_over(cx, id, side, true);
            }
        }
    }

    /// Takes an end out; the flow goes with its last end.
    fn end_closed(&mut self, cx: &mut dyn Context, id: u64, side: Side) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let holder = flow.ends[side as usize].take();
        let over = flow.ends == [None, None];
        if let Some(holder) = holder
            && let Some(ends) = self.ends_of(holder)
        {
            ends.remove(&(id, side));
        }
        if over && let Some(flow) = self.flows.get(&id) {
            let slot = flow.slot;
            self.flows.remove(&id);
            cx.drop_flow(id);
            self.bells.give(cx, slot);
        }
    }

    /// An end's process is gone: marks it so, and returns whom to tell of which end.
    pub(super) fn end_lost(
        &mut self,
        cx: &mut dyn Context,
        id: u64,
        side: Side,
    ) -> Option<(i32, FlowEnd)> {
        let other = side.other();
        let survivor = self.flows.get(&id)?.ends[other as usize];
        let told = cx.end_gone(id, side);
        self.end_closed(cx, id, side);
        let end = FlowEnd {
            flow_id: id,
            side: other as u32,
            ..FlowEnd::default()
        };
        match survivor? {
            Holder::Process(pid) => told.then_some((pid, end)),
            Holder::Ipcp(_) => {
                self.tell_ipcp(cx, id, other, 0);
                None
            }
        }
    }

    /// Gives up an end that never reached its process.
    pub(super) fn abandon_end(&mut self, cx: &mut dyn Context, id: u64, side: Side) {
        let open = self.flows.get(&id);
        if open.is_none_or(|flow| flow.ends[side as usize].is_none()) {
            return;
        }
        if let Some((pid, end)) = self.end_lost(cx, id, side) {
            self.notify(cx, pid, &[end]);
        }
    }

    /// Undoes `make_flow` before anybody has an end.
    pub(super) fn unmake_flow(&mut self, cx: &mut dyn Context, id: u64) {
        self.end_closed(cx, id, Side::A);
        self.end_closed(cx, id, Side::B);
    }
}
