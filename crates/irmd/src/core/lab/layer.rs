//! What an IPCP does in tests.

use o7s::control::{Body, FlowResponse, IpcpFlowAlloc};

use super::{ConnId, Lab};

impl Lab {
    /// A layer says that it reaches the destination, and takes the request in that it gets then.
    pub(in crate::core) fn reached(&mut self, channel: ConnId) -> IpcpFlowAlloc {
        let (query, body) = self.asked(channel);
        assert!(matches!(body, Body::IpcpQuery(_)), "{body:?}");
        self.done(channel, query);
        self.work_all();
        match self.asked(channel) {
            (id, Body::IpcpFlowAlloc(request)) => {
                self.done(channel, id);
                request
            }
            other => panic!("{other:?}"),
        }
    }

    /// A layer takes the answer to a request in.
    pub(in crate::core) fn responded(&mut self, channel: ConnId) -> FlowResponse {
        match self.asked(channel) {
            (id, Body::IpcpFlowAllocResp(response)) => {
                self.done(channel, id);
                response
            }
            other => panic!("{other:?}"),
        }
    }
}
