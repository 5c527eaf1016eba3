//! Counters and tables of a layer on a real network.

use o7s::control::{IpcpStatus, StatusSection};

use super::path::Network;

impl Network {
    /// What `irm ipcp show` shows.
    pub(super) fn status(&mut self) -> IpcpStatus {
        let port = self.port.counters();
        let mut packets = self.past;
        let mut flows = StatusSection::new(
            "flows",
            &[
                "flow", "eid", "peer", "peer_eid", "sent", "received", "too_long", "not_sent",
                "no_room",
            ],
        );
        for flow in self.flows.iter() {
            let counters = &flow.counters;
            packets.add(counters);
            let (eid, peer, peer_eid) = match &flow.path {
                Some(path) => (
                    path.local.to_string(),
                    path.address.to_string(),
                    path.peer.to_string(),
                ),
                None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            };
            flows.push([
                &flow.key.0,
                &eid,
                &peer,
                &peer_eid,
                &counters.sent,
                &counters.received,
                &counters.too_long,
                &counters.not_sent,
                &counters.no_room,
            ]);
        }
        let mut counters = StatusSection::new("counters", &["counter", "value"]);
        for (name, value) in [
            ("packets_sent", packets.sent),
            ("packets_received", packets.received),
            ("packets_too_long", packets.too_long),
            ("packets_not_sent_network_full", packets.not_sent),
            ("packets_not_received_program_full", packets.no_room),
            ("packets_stray", self.stray),
            ("messages_sent", port.sent),
            ("messages_heard", port.heard),
            ("messages_foreign", self.foreign),
            ("messages_longer_than_mtu", port.too_long),
            ("send_errors", port.send_errors),
            ("times_network_full", port.held_back),
            ("receive_errors", port.receive_errors),
            ("socket_overruns", self.port.overruns()),
            ("requests_waiting", self.requests.len() as u64),
        ] {
            counters.push([&name, &value]);
        }
        IpcpStatus {
            sections: vec![counters, flows],
        }
    }
}
