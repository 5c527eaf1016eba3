//! The tables of a broadcast IPCP that `irm ipcp show` prints.

use o7s::control::{IpcpStatus, StatusSection};
use o7s_wire::enroll::LayerConfig;

use super::path::Snapshot;

pub(super) fn status(config: Option<&LayerConfig>, snapshot: &Snapshot) -> IpcpStatus {
    let mut layer = StatusSection::new("layer", &["name", "loop"]);
    if let Some(config) = config {
        let looping = if snapshot.looping { "yes" } else { "no" };
        layer.push([&config.name, &looping]);
    }
    let titles = ["neighbour", "kind", "received", "sent", "unsent"];
    let mut neighbours = StatusSection::new("neighbours", &titles);
    for row in &snapshot.neighbours {
        let kind = if row.program { "program" } else { "member" };
        neighbours.push([&row.name, &kind, &row.received, &row.sent, &row.unsent]);
    }
    let stats = snapshot.stats;
    let titles = ["forwarded", "echoes", "dropped", "empty", "loops"];
    let mut flooding = StatusSection::new("flooding", &titles);
    flooding.push([
        &stats.forwarded,
        &stats.echoes,
        &stats.dropped,
        &stats.empty,
        &stats.loops,
    ]);
    IpcpStatus {
        sections: vec![layer, neighbours, flooding],
    }
}
