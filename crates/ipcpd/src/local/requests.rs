//! Flow requests of a local layer whose programs share segments.

use std::collections::{BTreeMap, VecDeque};

use o7s::{
    Error, ErrorKind, Result,
    control::{Failure, FlowEnd, FlowReqArr, FlowResponse, IpcpFlowAlloc},
};

use super::{MPL_MS, refusal};
use crate::{
    data::End,
    framework::{FlowAllocator, Output},
};

/// Flow requests under way, by the flow id of the requesting end, which is that of the other end
/// too.
#[derive(Debug, Default)]
pub struct Requests {
    by_flow: BTreeMap<u64, Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The daemon was told of the request.
    Told,
    /// The daemon took it in; the answer of the program is awaited.
    Waiting,
}

impl FlowAllocator for Requests {
    fn alloc(
        &mut self,
        request: IpcpFlowAlloc,
        _end: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()> {
        if self.by_flow.contains_key(&request.flow_id) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("flow {} is being allocated already", request.flow_id),
            ));
        }
        self.by_flow.insert(request.flow_id, Stage::Told);
        out.push_back(Output::Request(
            request.flow_id,
            FlowReqArr {
                hash: request.hash,
                qos: request.qos,
                mpl_ms: MPL_MS,
                piggyback: request.piggyback,
                local_flow_id: Some(request.flow_id),
                max_packet: 0,
            },
        ));
        Ok(())
    }

    fn request_answered(&mut self, number: u64, answer: Result<u64>, out: &mut VecDeque<Output>) {
        match (answer, self.by_flow.get_mut(&number)) {
            (Ok(_), Some(stage)) => *stage = Stage::Waiting,
            (Err(error), Some(_)) => {
                self.by_flow.remove(&number);
                out.push_back(Output::Reply(refusal(number, Failure::from(&error))));
            }
            (_, None) => {}
        }
    }

    fn respond(
        &mut self,
        response: FlowResponse,
        _end: Option<End>,
        out: &mut VecDeque<Output>,
    ) -> Result<()> {
        match self.by_flow.get(&response.flow_id) {
            Some(Stage::Waiting) => {}
            Some(Stage::Told) | None => {
                return Err(Error::new(
                    ErrorKind::NotAllocated,
                    format!("no flow request {} waits for an answer", response.flow_id),
                ));
            }
        }
        self.by_flow.remove(&response.flow_id);
        out.push_back(Output::Reply(FlowResponse {
            mpl_ms: MPL_MS,
            ..response
        }));
        Ok(())
    }

    fn dealloc(&mut self, end: FlowEnd, out: &mut VecDeque<Output>) -> Result<()> {
        // An allocated flow has no state here; one under way ends.
        if self.by_flow.remove(&end.flow_id).is_some() {
            let error = Error::new(ErrorKind::FlowDown, "the flow was deallocated");
            let failure = Failure::from(&error);
            out.push_back(Output::Reply(refusal(end.flow_id, failure)));
        }
        Ok(())
    }
}
