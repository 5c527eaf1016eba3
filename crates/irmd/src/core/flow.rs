//! Flows: their two ends, and how the ends go.

use o7s::{
    Error, ErrorKind, Result,
    control::{FlowEnd, FlowInfo, Qos},
};

use super::{ConnId, Context, Core, Peer, Side, bell::Slot, limits, security::Agreed};

/// A flow: allocated, or with one end given back.
#[derive(Debug)]
pub(super) struct Flow {
    pub name: String,
    pub qos: Qos,
    /// The process of each end; none = given back or dead.
    ends: [Option<i32>; 2],
    /// The processes as they were, for the ends' information.
    pids: [i32; 2],
    slot: Slot,
}

#[cfg(test)]
impl Flow {
    pub(super) fn open_ends(&self) -> usize {
        self.ends.iter().flatten().count()
    }
}

impl Core {
    /// Makes a flow from process `a` to process `b`.
    pub(super) fn make_flow(
        &mut self,
        cx: &mut dyn Context,
        id: u64,
        (a, b): (i32, i32),
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
                pids: [a, b],
                slot,
            },
        );
        for (pid, side) in [(a, Side::A), (b, Side::B)] {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.ends.insert((id, side));
            }
        }
        Ok(())
    }

    fn check_flow_limits(&self, pid: i32) -> Result<()> {
        if self.flows.len() >= limits::FLOWS {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "this irmd has {} flows, the limit; deallocate some",
                    limits::FLOWS
                ),
            ));
        }
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
        let Some(flow) = self.flows.get(&flow_id) else {
            return false;
        };
        let bell_side = flow.slot.side(side);
        let mut info = FlowInfo {
            flow_id,
            side: side as u32,
            qos: flow.qos,
            mpl_ms,
            name: flow.name.clone(),
            peer_pid: flow.pids[side.other() as usize],
            bell_id: flow.slot.bell,
            bell_side: bell_side as u32,
            bell_slot: flow.slot.slot,
            new_bell: self.bells.must_send(flow.slot.bell, bell_side),
            direct: true,
            ..FlowInfo::default()
        };
        agreed.apply(&mut info);
        let sent_bell = info.new_bell.then_some((info.bell_id, bell_side));
        if !cx.send_flow(conn, id, info) {
            return false;
        }
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.bells_sent.extend(sent_bell);
        }
        true
    }

    /// A process gives its end back.
    pub(super) fn flow_dealloc(
        &mut self,
        cx: &mut dyn Context,
        peer: &Peer,
        end: FlowEnd,
    ) -> Result<()> {
        let unknown = || {
            Error::new(
                ErrorKind::NotAllocated,
                format!(
                    "there is no flow {} with an open end of process {}",
                    end.flow_id, peer.pid
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
            Some(pid) if pid == peer.pid => {}
            Some(pid) => {
                return Err(Error::new(
                    ErrorKind::Permission,
                    format!(
                        "process {} may not deallocate flow {}: its end belongs to process {pid}",
                        peer.pid, end.flow_id
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
            peer.pid,
            end.linger_s
        );
        self.end_closed(cx, end.flow_id, side);
        Ok(())
    }

    /// Takes an end out; the flow goes with its last end.
    fn end_closed(&mut self, cx: &mut dyn Context, id: u64, side: Side) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if let Some(pid) = flow.ends[side as usize].take()
            && let Some(process) = self.processes.get_mut(&pid)
        {
            process.ends.remove(&(id, side));
        }
        if flow.ends == [None, None] {
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
        survivor.filter(|_| told).map(|pid| (pid, end))
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
