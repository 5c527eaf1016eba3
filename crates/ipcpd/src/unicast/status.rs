//! What `irm ipcp show` shows of a unicast IPCP.

use std::time::Instant;

use o7s::control::{IpcpStatus, StatusSection};
use o7s_proto::unicast::Status;

use super::{Unicast, path::Snapshot};

impl Unicast {
    /// Tables and counters; `path` is the state of the data path.
    pub(super) fn report(&self, now: Instant, path: Option<&Snapshot>) -> IpcpStatus {
        let status = self.node.status(now);
        let mut sections = vec![
            member(&status),
            self.neighbours(&status, path),
            links(&status),
            routes(&status),
            names(&status),
            contacts(&status),
        ];
        if let Some(path) = path {
            sections.push(flows(path));
        }
        sections.push(counters(&status, path));
        IpcpStatus { sections }
    }

    fn neighbours(&self, status: &Status, path: Option<&Snapshot>) -> StatusSection {
        let columns = [
            "address",
            "component",
            "name",
            "cube",
            "encryption_bits",
            "age_s",
            "state",
            "queue",
            "sent",
            "received",
            "failed_writes",
        ];
        let mut section = StatusSection::new("neighbours", &columns);
        for neighbour in &status.neighbours {
            let number = neighbour.lower;
            let known = self.lowers.get(number);
            let encryption = known.map_or(0, |known| known.more.encryption);
            let known = known.map_or("", |known| &known.name);
            let name = neighbour.dst.as_ref().map_or(known, |dst| dst.as_str());
            let queue = path.and_then(|path| {
                let mut queues = path.queues.iter();
                queues.find(|(lower, _)| *lower == number).map(|it| it.1)
            });
            let token = o7s_proto::forwarding::FlowToken(number.0);
            let counted = path.and_then(|path| path.dt.flow(token).copied());
            let counted = counted.unwrap_or_default();
            section.push([
                &neighbour.address,
                &neighbour.component.identity().component,
                &name,
                &neighbour.cube,
                &encryption,
                &neighbour.age.as_secs(),
                &if neighbour.down { "silent" } else { "up" },
                &queue.unwrap_or(0),
                &counted.sent.packets,
                &counted.received.packets,
                &counted.failed_writes.packets,
            ]);
        }
        section
    }
}

fn member(status: &Status) -> StatusSection {
    let mut section = StatusSection::new("member", &["address", "layer"]);
    if let (Some(address), Some(layer)) = (status.address, &status.layer) {
        section.push([&address, layer]);
    }
    section
}

fn links(status: &Status) -> StatusSection {
    let columns = ["source", "destination", "state", "seqno", "age_s"];
    let mut section = StatusSection::new("links", &columns);
    for link in &status.links {
        section.push([
            &link.lsu.source,
            &link.lsu.destination,
            &if link.gone { "gone" } else { "up" },
            &link.lsu.seqno,
            &link.age.as_secs(),
        ]);
    }
    section
}

fn routes(status: &Status) -> StatusSection {
    let mut section = StatusSection::new("routes", &["destination", "next_hops"]);
    for route in &status.routes {
        let hops: Vec<_> = route.next_hops.iter().map(ToString::to_string).collect();
        section.push([&route.destination, &hops.join(" ")]);
    }
    section
}

fn names(status: &Status) -> StatusSection {
    let mut section = StatusSection::new("names", &["hash"]);
    for hash in &status.registered {
        section.push([hash]);
    }
    section
}

fn contacts(status: &Status) -> StatusSection {
    let columns = ["address", "id", "proven", "failures"];
    let mut section = StatusSection::new("contacts", &columns);
    for it in &status.contacts {
        let proven = if it.proven { "yes" } else { "no" };
        section.push([&it.contact.address, &it.contact.id, &proven, &it.failures]);
    }
    section
}

fn flows(path: &Snapshot) -> StatusSection {
    let columns = [
        "eid",
        "remote",
        "remote_eid",
        "sent",
        "sent_bytes",
        "not_sent",
        "received",
        "received_bytes",
        "no_room",
        "reports_sent",
        "reports_received",
        "congestion_here",
        "congestion_there",
        "window_bytes",
    ];
    let mut section = StatusSection::new("flows", &columns);
    for flow in &path.flows {
        let (remote, remote_eid) = match flow.remote {
            Some((address, eid)) => (address.to_string(), eid.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let counters = &flow.counters;
        section.push([
            &flow.eid,
            &remote,
            &remote_eid,
            &counters.sent,
            &counters.sent_bytes,
            &counters.failed,
            &counters.received,
            &counters.received_bytes,
            &counters.no_room,
            &counters.reports_sent,
            &counters.reports_received,
            &flow.level,
            &flow.sender.level,
            &flow.sender.window,
        ]);
    }
    section
}

fn counters(status: &Status, path: Option<&Snapshot>) -> StatusSection {
    let mut section = StatusSection::new("counters", &["counter", "value"]);
    let allocator = &status.allocator;
    let routing = &status.routing;
    let mut values = vec![
        ("updates_received", routing.received),
        ("updates_sent", routing.sent),
        ("updates_malformed", routing.malformed),
        ("recalculations", routing.recalculations),
        ("flow_requests", allocator.requests),
        ("flow_messages_malformed", allocator.malformed),
        ("flow_requests_too_many", allocator.too_many),
        ("flow_refusals_sent", allocator.refusals_sent),
        ("flow_replies_unknown", allocator.unknown_replies),
    ];
    if let Some(path) = path {
        let drops = path.dt.drops();
        values.extend([
            ("dropped_short", drops.short.packets),
            ("dropped_hops_used_up", drops.expired.packets),
            (
                "dropped_unknown_destination",
                drops.unknown_destination.packets,
            ),
            ("dropped_path_down", drops.path_down.packets),
            ("dropped_unknown_component", drops.unknown_component.packets),
            ("dropped_unknown_flow", drops.unknown_eid.packets),
            ("failed_writes", drops.failed_writes.packets),
            ("management_overruns", path.overruns),
        ]);
    }
    for (name, value) in values {
        section.push([&name, &value]);
    }
    section
}
