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
            ("datagrams_not_delivered", self.undelivered),
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
        let protocol = self.protocol();
        let mut sections = vec![counters, flows, protocol];
        sections.extend(self.device());
        IpcpStatus { sections }
    }

    /// The device of an Ethernet layer.
    fn device(&self) -> Option<StatusSection> {
        let link = self.link.as_ref()?;
        let interface = link.interface();
        let state = match (link.is_gone(), interface.up) {
            (true, _) => "gone",
            (false, true) => "up",
            (false, false) => "down",
        };
        let mut section = StatusSection::new("device", &["device", "state", "address", "mtu"]);
        section.push([&link.device(), &state, &interface.mac, &interface.mtu]);
        Some(section)
    }

    /// What the machine counts.
    fn protocol(&self) -> StatusSection {
        let stats = self.shim.stats();
        let dropped = stats.discarded;
        let mut section = StatusSection::new("protocol", &["counter", "value"]);
        for (name, value) in [
            ("queries_sent", stats.queries_sent),
            ("queries_answered", stats.queries_answered),
            ("requests_sent", stats.requests_sent),
            ("requests_repeated", stats.requests_repeated),
            ("probes_sent", stats.probes_sent),
            ("requests_arrived", stats.requests_arrived),
            ("requests_expired", stats.requests_expired),
            ("requests_refused", stats.requests_refused),
            ("granted", stats.granted),
            ("refused", stats.refused),
            ("unanswered", stats.unanswered),
            ("unreachable", stats.unreachable),
            ("given_back", stats.given_back),
            ("early_packets", stats.early),
            ("messages_not_sent", stats.transmits_dropped),
            ("dropped_link_down", dropped.link_down),
            ("dropped_malformed", dropped.malformed),
            ("dropped_broadcast", dropped.broadcast),
            ("dropped_bad_endpoint", dropped.bad_endpoint),
            ("dropped_unknown_endpoint", dropped.unknown_endpoint),
            ("dropped_stale_endpoint", dropped.stale_endpoint),
            ("dropped_wrong_peer", dropped.wrong_peer),
            ("dropped_duplicate", dropped.duplicate),
            ("dropped_not_asked", dropped.not_asked),
            ("dropped_unknown_name", dropped.unknown_name),
            ("dropped_rate_limit", dropped.rate_limit),
            ("dropped_no_room", dropped.no_room),
        ] {
            section.push([&name, &value]);
        }
        for (name, value) in [
            ("names", stats.names),
            ("directory", stats.directory),
            ("queries_under_way", stats.queries),
            ("endpoints_in_use", stats.endpoints),
        ] {
            section.push([&name, &value]);
        }
        section
    }
}
