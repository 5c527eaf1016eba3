//! What the core is given instead of sockets, children and clocks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, FlowInfo, IpcpType},
};

use crate::{
    core::{
        ConnId, Context, Program, Side, Signal,
        security::{Half, Outcome, Work},
    },
    security::Engine,
};

#[derive(Debug)]
pub(in crate::core) struct Fake {
    pub now: Instant,
    pub sent: Vec<(ConnId, u64, Body)>,
    /// Connections that are gone without the core knowing it yet.
    pub broken: BTreeSet<ConnId>,
    pub closed: BTreeSet<ConnId>,
    pub watched: BTreeSet<i32>,
    pub flows: BTreeSet<u64>,
    pub gone_ends: Vec<(u64, Side)>,
    pub closed_ends: Vec<(u64, Side)>,
    pub down_ends: Vec<(u64, Side)>,
    /// Doorbell sides whose descriptors are still held.
    pub bells: BTreeMap<u64, [bool; 2]>,
    pub children: BTreeMap<i32, Vec<Signal>>,
    pub started: Vec<Program>,
    pub next_child: i32,
    pub(super) next_channel: u64,
    /// What fails next.
    pub no_descriptors: bool,
    pub no_program: bool,
    /// Steps of key exchanges that the workers have.
    pub work: VecDeque<(u64, Work)>,
    pub engine: Engine,
}

impl Context for Fake {
    fn now(&self) -> Instant {
        self.now
    }

    fn send(&mut self, conn: ConnId, id: u64, body: Body) -> bool {
        if self.broken.contains(&conn) {
            return false;
        }
        self.sent.push((conn, id, body));
        true
    }

    fn send_flow(&mut self, conn: ConnId, id: u64, info: FlowInfo) -> bool {
        assert!(self.flows.contains(&info.flow_id), "flow without memory");
        if info.new_bell {
            assert!(self.bells[&info.bell_id][info.bell_side as usize]);
        }
        self.send(conn, id, Body::Flow(info))
    }

    fn send_to_ipcp(&mut self, conn: ConnId, id: u64, body: Body, info: &FlowInfo) -> bool {
        assert!(self.flows.contains(&info.flow_id), "flow without memory");
        if info.new_bell {
            assert!(self.bells[&info.bell_id][info.bell_side as usize]);
        }
        self.send(conn, id, body)
    }

    fn close(&mut self, conn: ConnId) {
        self.closed.insert(conn);
    }

    fn watch(&mut self, pid: i32, _instance: u64) {
        assert!(self.watched.insert(pid));
    }

    fn unwatch(&mut self, pid: i32) {
        assert!(self.watched.remove(&pid));
    }

    fn make_flow(&mut self, flow: u64) -> Result<()> {
        if self.no_descriptors {
            return Err(Error::new(ErrorKind::NoDescriptors, "none left"));
        }
        assert!(self.flows.insert(flow));
        Ok(())
    }

    fn try_work(&mut self, work: Work) -> std::result::Result<Result<Outcome>, Box<Work>> {
        self.engine.try_now(work)
    }

    fn start_work(&mut self, number: u64, work: Work) {
        self.work.push_back((number, work));
    }

    fn check_files(&self, half: &Half) -> Result<()> {
        self.engine.check_files(half)
    }

    fn end_gone(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.gone_ends.push((flow, side));
        true
    }

    fn end_closed(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.closed_ends.push((flow, side));
        true
    }

    fn end_down(&mut self, flow: u64, side: Side) -> bool {
        assert!(self.flows.contains(&flow));
        self.down_ends.push((flow, side));
        true
    }

    fn drop_flow(&mut self, flow: u64) {
        assert!(self.flows.remove(&flow));
    }

    fn make_bell(&mut self, bell: u64) -> Result<()> {
        assert!(self.bells.insert(bell, [true; 2]).is_none());
        Ok(())
    }

    fn release_bell(&mut self, bell: u64, side: usize) {
        if let Some(sides) = self.bells.get_mut(&bell) {
            sides[side] = false;
        }
    }

    fn drop_bell(&mut self, bell: u64) {
        assert!(self.bells.remove(&bell).is_some());
    }

    fn spawn_ipcp(&mut self, _ipcp_type: IpcpType, _name: &str) -> Result<(i32, ConnId)> {
        let pid = self.spawn()?;
        self.next_channel += 1;
        Ok((pid, ConnId(self.next_channel)))
    }

    fn spawn_program(&mut self, program: &Program) -> Result<i32> {
        self.started.push(program.clone());
        self.spawn()
    }

    fn signal(&mut self, pid: i32, signal: Signal) {
        self.children.get_mut(&pid).expect("a child").push(signal);
    }

    fn descriptors(&self) -> u64 {
        7
    }
}

impl Fake {
    fn spawn(&mut self) -> Result<i32> {
        if self.no_program {
            return Err(Error::new(ErrorKind::NotFound, "cannot start it: missing"));
        }
        self.next_child += 1;
        self.children.insert(self.next_child, Vec::new());
        Ok(self.next_child)
    }
}
