//! Flow requests that arrived from the network, from their arrival to the program's answer.

use std::collections::HashMap;

use o7s_proto::shim::RequestKey;
use o7s_wire::qos::QosSpec;

/// The requests that arrived.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Each with the QoS that it asks for.
    by_key: HashMap<RequestKey, (Stage, QosSpec)>,
    by_flow: HashMap<u64, RequestKey>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The daemon has been told.
    Told,
    /// The daemon has been told; meanwhile the request is over.
    Over,
    /// It waits for a program, as this flow.
    Waits(u64),
}

impl Requests {
    /// A request has arrived, and the daemon is told.
    pub(super) fn arrived(&mut self, request: RequestKey, qos: QosSpec) {
        self.by_key.insert(request, (Stage::Told, qos));
    }

    /// The daemon took it in as this flow; false if it is over.
    pub(super) fn taken(&mut self, request: RequestKey, flow: u64) -> bool {
        if let Some((stage @ Stage::Told, _)) = self.by_key.get_mut(&request) {
            *stage = Stage::Waits(flow);
            self.by_flow.insert(flow, request);
            return true;
        }
        self.by_key.remove(&request);
        false
    }

    /// The daemon refused it; false if it is over.
    pub(super) fn refused(&mut self, request: RequestKey) -> bool {
        matches!(self.by_key.remove(&request), Some((Stage::Told, _)))
    }

    /// It is answered: which request this flow was, and the QoS that it asked for.
    pub(super) fn answered(&mut self, flow: u64) -> Option<(RequestKey, QosSpec)> {
        let request = self.by_flow.remove(&flow)?;
        let (_, qos) = self.by_key.remove(&request)?;
        Some((request, qos))
    }

    /// It is over before it was answered: the flow that the daemon knows it as.
    pub(super) fn gone(&mut self, request: RequestKey) -> Option<u64> {
        match &mut self.by_key.get_mut(&request)?.0 {
            Stage::Waits(flow) => {
                let flow = *flow;
                self.answered(flow);
                Some(flow)
            }
            stage => {
                *stage = Stage::Over;
                None
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RequestKey = RequestKey(1);

    #[test]
    fn every_order_of_answers() {
        let mut requests = Requests::default();
        requests.arrived(ONE, QosSpec::RAW);
        assert_eq!(requests.answered(7), None);
        assert!(requests.taken(ONE, 7));
        assert_eq!(requests.answered(7), Some((ONE, QosSpec::RAW)));
        assert_eq!(requests.answered(7), None);
        assert_eq!(requests.gone(ONE), None);

        requests.arrived(ONE, QosSpec::RAW);
        assert_eq!(requests.gone(ONE), None);
        assert!(!requests.taken(ONE, 7));
        assert_eq!(requests.answered(7), None);

        requests.arrived(ONE, QosSpec::RAW);
        assert!(requests.taken(ONE, 7));
        assert_eq!(requests.gone(ONE), Some(7));
        assert_eq!(requests.answered(7), None);

        requests.arrived(ONE, QosSpec::RAW);
        assert!(requests.refused(ONE));
        requests.arrived(ONE, QosSpec::RAW);
        requests.gone(ONE);
        assert!(!requests.refused(ONE));
        assert_eq!(requests.len(), 0);
    }
}
