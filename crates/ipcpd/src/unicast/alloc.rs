//! Flows of users that are being allocated: between the daemon, which numbers them, and the node, which
//! names them by their EID.

use std::collections::BTreeMap;

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{FlowEnd, FlowResponse, IpcpFlowAlloc},
};
use o7s_proto::unicast::{Command, Op};
use o7s_wire::{dt::Eid, hash::NameHash};

use super::{Unicast, Waits, path::Order};
use crate::{
    data::End,
    framework::{FlowAllocator, Output, Turn},
};

/// Side of the IPCP's end of a flow that arrives.
const ARRIVED: u32 = 0;

/// Allocations under way.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// Asked for by programs here, by the daemon's number of the flow.
    asked: BTreeMap<u64, Asked>,
    /// Arrived, by the number of the question to the daemon.
    arrived: BTreeMap<u64, Eid>,
    /// Arrived and taken in by the daemon, by its number of the flow.
    waiting: BTreeMap<u64, Eid>,
    /// Accepted: the end, until the node opens the flow.
    accepted: BTreeMap<Eid, End>,
    next_number: u64,
}

#[derive(Debug)]
struct Asked {
    /// Until the request leaves.
    end: Option<End>,
    /// From then on.
    flow: Option<Eid>,
}

impl Allocations {
    /// The request of a flow leaves: its end goes to the data path.
    pub(super) fn opened(&mut self, id: u64, flow: Eid) -> Option<End> {
        let asked = self.asked.get_mut(&id)?;
        asked.flow = Some(flow);
        asked.end.take()
    }

    /// An accepted flow is opened.
    pub(super) fn accepted(&mut self, flow: Eid) -> Option<End> {
        self.accepted.remove(&flow)
    }

    /// The flow is allocated; false if the program has given it up.
    pub(super) fn granted(&mut self, id: u64) -> bool {
        self.asked.remove(&id).is_some()
    }

    /// The flow is refused: its EID if the data path has it. None: the program has given it up.
    pub(super) fn refused(&mut self, id: u64) -> Option<Option<Eid>> {
        self.asked.remove(&id).map(|asked| asked.flow)
    }

    /// A request arrived: the number of the question to the daemon.
    pub(super) fn arrived(&mut self, flow: Eid) -> u64 {
        self.next_number += 1;
        self.arrived.insert(self.next_number, flow);
        self.next_number
    }

    /// A request is over; what to give back to the daemon.
    pub(super) fn expired(&mut self, flow: Eid) -> Option<FlowEnd> {
        self.arrived.retain(|_, arrived| *arrived != flow);
        if let Some(end) = self.accepted.remove(&flow) {
            return Some(end.end());
        }
        let mut waiting = self.waiting.iter();
        let (id, _) = waiting.find(|(_, waiting)| **waiting == flow)?;
        let id = *id;
        self.waiting.remove(&id);
        Some(arrived_end(id))
    }
}

impl FlowAllocator for Unicast {
    fn alloc(&mut self, request: IpcpFlowAlloc, end: Option<End>, turn: &mut Turn) -> Result<()> {
        let id = request.flow_id;
        let invalid = |what: &str| Error::new(ErrorKind::Invalid, format!("flow {id} {what}"));
        let end = end.ok_or_else(|| invalid("is asked for without this IPCP's end of it"))?;
        if self.flows.asked.contains_key(&id) {
            return Err(invalid("is being allocated already"));
        }
        let qos = QosSpec::try_from(request.qos)?;
        let asked = Asked {
            end: Some(end),
            flow: None,
        };
        self.flows.asked.insert(id, asked);
        self.command(Waits::Alloc(id), turn, |op| Command::Alloc {
            op,
            hash: NameHash::from_bytes(&request.hash),
            qos,
            data: request.piggyback,
        });
        Ok(())
    }

    fn request_answered(&mut self, number: u64, answer: Result<u64>, turn: &mut Turn) {
        match (self.flows.arrived.remove(&number), answer) {
            (Some(flow), Ok(id)) => drop(self.flows.waiting.insert(id, flow)),
            // It expired meanwhile.
            (None, Ok(id)) => turn.push(Output::Ended(arrived_end(id))),
            (Some(flow), Err(error)) => {
                self.answer(flow, -error.errno().abs().max(1), Vec::new(), turn);
            }
            (None, Err(_)) => {}
        }
    }

    fn respond(&mut self, response: FlowResponse, end: Option<End>, turn: &mut Turn) -> Result<()> {
        let Some(flow) = self.flows.waiting.remove(&response.flow_id) else {
            // Whoever asked has given up meanwhile.
            if let Some(end) = end {
                turn.push(Output::Ended(end.end()));
            }
            return Ok(());
        };
        let answer = match (response.refusal, end) {
            (Some(failure), _) => -failure.errno.abs().max(1),
            (None, Some(end)) => {
                self.flows.accepted.insert(flow, end);
                0
            }
            (None, None) => -ErrorKind::Ipcp.errno(),
        };
        self.answer(flow, answer, response.piggyback, turn);
        Ok(())
    }

    fn dealloc(&mut self, end: FlowEnd, turn: &mut Turn) -> Result<()> {
        let id = end.flow_id;
        if end.side == ARRIVED {
            if let Some(flow) = self.flows.waiting.remove(&id) {
                self.node.command(turn.now(), Command::Dealloc { flow });
                self.carry_out(turn);
                return Ok(());
            }
        } else if let Some(asked) = self.flows.asked.remove(&id) {
            let op = self.operation_of(id);
            // In the data path it is given back there.
            match asked.flow {
                Some(flow) => self.order(Order::Close(flow))?,
                None => turn.push(Output::Ended(end)),
            }
            if let Some(op) = op {
                self.node.command(turn.now(), Command::Cancel { op });
                self.carry_out(turn);
            }
            return Ok(());
        }
        if let Some(data) = &self.data {
            data.dealloc(end);
        }
        Ok(())
    }
}

impl Unicast {
    /// Answers a request that arrived.
    fn answer(&mut self, flow: Eid, response: i32, data: Vec<u8>, turn: &mut Turn) {
        let command = Command::Respond {
            flow,
            response,
            data,
        };
        self.node.command(turn.now(), command);
        self.carry_out(turn);
    }

    /// The operation by which a flow is allocated.
    fn operation_of(&self, id: u64) -> Option<Op> {
        let mut operations = self.operations.iter();
        let of = operations.find(|(_, waits)| matches!(waits, Waits::Alloc(of) if *of == id));
        of.map(|(op, _)| *op)
    }
}

fn arrived_end(flow_id: u64) -> FlowEnd {
    FlowEnd {
        flow_id,
        side: ARRIVED,
        ..FlowEnd::default()
    }
}
