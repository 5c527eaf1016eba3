//! Flow requests of a local layer whose flows pass through the IPCP: as in a network, the request
//! that arrives is another flow for the daemon than the one that was asked for.

use std::collections::BTreeMap;

use o7s::{
    Error, ErrorKind, Result,
    control::{Failure, FlowEnd, FlowReqArr, FlowResponse, Impairment, IpcpFlowAlloc},
};

use super::{
    MPL_MS,
    path::{Connect, Passage},
    refusal,
};
use crate::{
    data::{self, End, Events, Handle},
    framework::{FlowAllocator, Output, Turn},
};

/// Side of the IPCP's end of a flow that a program asks for.
const ASKED: u32 = 1;
/// Side of the IPCP's end of a flow that arrives.
const ARRIVED: u32 = 0;

/// The requests under way, and the data path.
#[derive(Debug)]
pub struct Through {
    max_packet: u32,
    data: Handle<Connect>,
    /// By the flow id of the program that asks.
    asked: BTreeMap<u64, Asked>,
    /// The flow that asks for each flow that arrived.
    arrived: BTreeMap<u64, u64>,
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    /// None once the asking program gave up.
    end: Option<End>,
    /// The flow that arrived, once the daemon gave it an id.
    arrived: Option<u64>,
}

impl Through {
    /// Starts the data path.
    ///
    /// # Errors
    /// No descriptors, memory or threads.
    pub fn start(impairment: Impairment, events: Events) -> Result<Self> {
        Ok(Self {
            max_packet: impairment.mtu,
            data: data::start(Passage::new(impairment), events)?,
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
        })
    }

    fn refuse(&mut self, flow: u64, failure: Failure, turn: &mut Turn) {
        if let Some(asked) = self.asked.remove(&flow) {
            if let Some(arrived) = asked.arrived {
                self.arrived.remove(&arrived);
            }
            // Who gave up was told already.
            if asked.end.is_some() {
                turn.push(Output::Reply(refusal(flow, failure)));
            }
        }
    }
}

impl FlowAllocator for Through {
    fn alloc(&mut self, request: IpcpFlowAlloc, end: Option<End>, turn: &mut Turn) -> Result<()> {
        let flow = request.flow_id;
        let end = end.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("the request of flow {flow} came without this IPCP's end of it"),
            )
        })?;
        if self.asked.contains_key(&flow) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("flow {flow} is being allocated already"),
            ));
        }
        let asked = Asked {
            end: Some(end),
            arrived: None,
        };
        self.asked.insert(flow, asked);
        turn.push(Output::Request(
            flow,
            FlowReqArr {
                hash: request.hash,
                qos: request.qos,
                mpl_ms: MPL_MS,
                piggyback: request.piggyback,
                local_flow_id: None,
                max_packet: self.max_packet,
            },
        ));
        Ok(())
    }

    fn request_answered(&mut self, number: u64, answer: Result<u64>, turn: &mut Turn) {
        match (answer, self.asked.get_mut(&number)) {
            (Ok(arrived), Some(asked)) if asked.end.is_some() => {
                asked.arrived = Some(arrived);
                self.arrived.insert(arrived, number);
            }
            (Ok(arrived), _) => {
                self.asked.remove(&number);
                turn.push(Output::Ended(end(arrived, ARRIVED)));
            }
            (Err(error), _) => self.refuse(number, Failure::from(&error), turn),
        }
    }

    fn respond(
        &mut self,
        response: FlowResponse,
        accepting: Option<End>,
        turn: &mut Turn,
    ) -> Result<()> {
        let unknown = || {
            Error::new(
                ErrorKind::NotAllocated,
                format!("no flow request {} waits for an answer", response.flow_id),
            )
        };
        let flow = self.arrived.remove(&response.flow_id).ok_or_else(unknown)?;
        if let Some(failure) = response.refusal {
            self.refuse(flow, failure, turn);
            return Ok(());
        }
        let asked = self.asked.remove(&flow).ok_or_else(unknown)?;
        let (Some(asking), Some(accepting)) = (asked.end, accepting) else {
            let error = Error::new(
                ErrorKind::Invalid,
                format!(
                    "the answer to flow request {} came without this IPCP's end of it",
                    response.flow_id
                ),
            );
            turn.push(Output::Reply(refusal(flow, Failure::from(&error))));
            return Err(error);
        };
        self.data.send(Connect { asking, accepting });
        turn.push(Output::Reply(FlowResponse {
            flow_id: flow,
            mpl_ms: MPL_MS,
            max_packet: self.max_packet,
            piggyback: response.piggyback,
            ..FlowResponse::default()
        }));
        Ok(())
    }

    fn dealloc(&mut self, gone: FlowEnd, turn: &mut Turn) -> Result<()> {
        let flow = gone.flow_id;
        let Some(asked) = self.asked.get_mut(&flow).filter(|_| gone.side == ASKED) else {
            self.data.dealloc(gone);
            return Ok(());
        };
        if asked.end.take().is_some() {
            turn.push(Output::Ended(end(flow, ASKED)));
        }
        // Without an id yet it is given up when the id comes.
        if let Some(arrived) = asked.arrived {
            self.asked.remove(&flow);
            self.arrived.remove(&arrived);
            turn.push(Output::Ended(end(arrived, ARRIVED)));
        }
        Ok(())
    }
}

fn end(flow_id: u64, side: u32) -> FlowEnd {
    FlowEnd {
        flow_id,
        side,
        ..FlowEnd::default()
    }
}
