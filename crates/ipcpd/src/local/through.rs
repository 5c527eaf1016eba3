//! Flow requests of a local layer whose flows pass through the IPCP: as in a network, the request
//! that arrives is another flow for the daemon than the one that was asked for.

use std::collections::{BTreeMap, VecDeque};

use o7s::{
    Error, ErrorKind, Result,
    control::{Failure, FlowEnd, FlowReqArr, FlowResponse, Impairment, IpcpFlowAlloc},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    MPL_MS,
    path::{Connect, Passage},
    refusal,
};
use crate::{
    data::{self, End, Event, Handle},
    framework::{FlowAllocator, Output},
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
    pub fn start(impairment: Impairment, events: UnboundedSender<Event>) -> Result<Self> {
        Ok(Self {
            max_packet: impairment.mtu,
            data: data::start(Passage::new(impairment), events)?,
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
        })
    }

    fn refuse(&mut self, flow: u64, failure: Failure, out: &mut VecDeque<Output>) {
        if let Some(asked) = self.asked.remove(&flow) {
            if let Some(arrived) = asked.arrived {
                self.arrived.remove(&arrived);
            }
            // Who gave up was told already.
            if asked.end.is_some() {
                out.push_back(Output::Reply(refusal(flow, failure)));
            }
        }
    }
}

impl FlowAllocator for Through {
    fn alloc(
        &mut self,
        request: IpcpFlowAlloc,
        end: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()> {
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
        out.push_back(Output::Request(
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

    fn request_answered(&mut self, number: u64, answer: Result<u64>, out: &mut VecDeque<Output>) {
        match (answer, self.asked.get_mut(&number)) {
            (Ok(arrived), Some(asked)) if asked.end.is_some() => {
                asked.arrived = Some(arrived);
                self.arrived.insert(arrived, number);
            }
            (Ok(arrived), _) => {
                self.asked.remove(&number);
                out.push_back(Output::Ended(end(arrived, ARRIVED)));
            }
            (Err(error), _) => self.refuse(number, Failure::from(&error), out),
        }
    }

    fn respond(
        &mut self,
        response: FlowResponse,
        accepting: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()> {
        let unknown = || {
            Error::new(
                ErrorKind::NotAllocated,
                format!("no flow request {} waits for an answer", response.flow_id),
            )
        };
        let flow = self.arrived.remove(&response.flow_id).ok_or_else(unknown)?;
        if let Some(failure) = response.refusal {
            self.refuse(flow, failure, out);
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
            out.push_back(Output::Reply(refusal(flow, Failure::from(&error))));
            return Err(error);
        };
        self.data.send(Connect { asking, accepting });
        out.push_back(Output::Reply(FlowResponse {
            flow_id: flow,
            mpl_ms: MPL_MS,
            max_packet: self.max_packet,
            piggyback: response.piggyback,
            ..FlowResponse::default()
        }));
        Ok(())
    }

    fn dealloc(&mut self, gone: FlowEnd, out: &mut VecDeque<Output>) -> Result<()> {
        let flow = gone.flow_id;
        let Some(asked) = self.asked.get_mut(&flow).filter(|_| gone.side == ASKED) else {
            self.data.dealloc(gone);
            return Ok(());
        };
        if asked.end.take().is_some() {
            out.push_back(Output::Ended(end(flow, ASKED)));
        }
        // Without an id yet it is given up when the id comes.
        if let Some(arrived) = asked.arrived {
            self.asked.remove(&flow);
            self.arrived.remove(&arrived);
            out.push_back(Output::Ended(end(arrived, ARRIVED)));
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
