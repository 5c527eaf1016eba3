//! Flow requests of a local layer whose programs share segments.

use std::collections::BTreeMap;

use o7s::{
    Error, ErrorKind, Result,
    control::{Failure, FlowEnd, FlowReqArr, FlowResponse, IpcpFlowAlloc},
};

use super::{MPL_MS, refusal};
use crate::{
    data::End,
    framework::{FlowAllocator, Output, Turn},
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
    fn alloc(&mut self, request: IpcpFlowAlloc, _end: Option<End>, turn: &mut Turn) -> Result<()> {
        if self.by_flow.contains_key(&request.flow_id) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("flow {} is being allocated already", request.flow_id),
            ));
        }
        self.by_flow.insert(request.flow_id, Stage::Told);
        turn.push(Output::Request(
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

    fn request_answered(&mut self, number: u64, answer: Result<u64>, turn: &mut Turn) {
        match (answer, self.by_flow.get_mut(&number)) {
            (Ok(_), Some(stage)) => *stage = Stage::Waiting,
            (Err(error), Some(_)) => {
                self.by_flow.remove(&number);
                turn.push(Output::Reply(refusal(number, Failure::from(&error))));
            }
            (_, None) => {}
        }
    }

    fn respond(
        &mut self,
        response: FlowResponse,
        _end: Option<End>,
        turn: &mut Turn,
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
        turn.push(Output::Reply(FlowResponse {
            mpl_ms: MPL_MS,
            ..response
        }));
        Ok(())
    }

    fn dealloc(&mut self, end: FlowEnd, turn: &mut Turn) -> Result<()> {
        // An allocated flow has no state here; one under way ends.
        if self.by_flow.remove(&end.flow_id).is_some() {
            let error = Error::new(ErrorKind::FlowDown, "the flow was deallocated");
            let failure = Failure::from(&error);
            turn.push(Output::Reply(refusal(end.flow_id, failure)));
        }
        Ok(())
    }
}
