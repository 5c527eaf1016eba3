//! Captures of 0.23 replayed: our machine takes the place of node A in the line A–B–C of capture 07 and
//! hears what B sent, while the link B–C is cut and restored.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_captures::frames;
use o7s_proto::linkstate::{Config, LinkState, Output};
use o7s_wire::{
    address::Address,
    enroll::LinkStateConfig,
    linkstate::{LSU_LEN, Lsu},
};

const A: u64 = 0x7e1b_3b82;
const B: u64 = 0x3961_9e72;
const C: u64 = 0x0c8e_bf7b;

/// Our flows; what the driver calls them does not matter.
const MANAGEMENT: u8 = 1;
const DATA: u8 = 2;

struct Node {
    state: LinkState<u8>,
    start: Instant,
    routes: BTreeMap<u64, u64>,
    sent: Vec<Lsu>,
    /// When C came into the routes, and went.
    changes: Vec<(bool, Duration)>,
}

impl Node {
    /// Does what is due until `time` after the first frame.
    fn run(&mut self, time: Duration) {
        let end = self.start + time;
        loop {
            let due = self.state.poll_timeout();
            if due <= end {
                self.state.handle_timeout(due);
            }
            self.hear(due.min(end));
            if due > end {
                return;
            }
        }
    }

    fn hear(&mut self, now: Instant) {
        while let Some(output) = self.state.poll_output() {
            match output {
                Output::Send { packet, .. } => self.sent.push(Lsu::parse(&packet).unwrap()),
                Output::Routes(routes) => {
                    let known = self.routes.contains_key(&C);
                    self.routes = routes
                        .iter()
                        .map(|route| (route.destination.get(), route.next_hops[0].get()))
                        .collect();
                    if self.routes.contains_key(&C) != known {
                        self.changes.push((!known, now - self.start));
                    }
                }
                Output::Warning { warning, .. } => panic!("{warning}"),
            }
        }
    }
}

#[test]
fn our_node_in_the_line_finds_loses_and_finds_the_far_end() {
    let config = LinkStateConfig {
        t_recalc: 2,
        t_update: 3,
        t_timeo: 10,
        ..LinkStateConfig::default()
    };
    let start = Instant::now();
    let state = LinkState::new(Config::new(&config).unwrap(), Address::new(A), start);
    let mut node = Node {
        state,
        start,
        routes: BTreeMap::new(),
        sent: Vec::new(),
        changes: Vec::new(),
    };
    let mut heard = 0;
    for frame in frames("07-line-AB.pcap") {
        node.run(frame.time);
        let now = start + frame.time;
        let (receiver, payload) = (frame.dix().to[5], frame.dix().payload);
        // What A itself sent in the capture begins the adjacencies; the rest is for our node to say.
        if receiver == 0x0b && payload.starts_with(b"\x0a\x0aManagement") {
            node.state.management_up(now, MANAGEMENT);
        } else if receiver == 0x0b && payload.starts_with(b"\x0a\x0dData") {
            node.state.data_up(now, DATA, Address::new(B));
        } else if receiver == 0x0a && payload.starts_with(b"\x0a\x0aManagement") {
            node.state.management_up(now, MANAGEMENT);
        } else if receiver == 0x0a && payload.starts_with(b"\x0a\x0dData") {
            node.state.data_up(now, DATA, Address::new(B));
        } else if receiver == 0x0a && payload.len() == LSU_LEN {
            heard += 1;
            node.state.handle_packet(now, MANAGEMENT, payload);
        }
        node.hear(now);
    }
    assert!(heard > 40, "{heard}");
    assert_eq!(node.routes, BTreeMap::from([(B, B), (C, B)]));
    // C came with its first announcements at 5.18 s, went when it had been silent for 10 s (last heard at
    // 18.1 s; ages are looked at every 1.25 s), and came back with the first across the restored link.
    let changes: Vec<_> = node.changes.iter().map(|(known, _)| *known).collect();
    assert_eq!(changes, [true, false, true], "{:?}", node.changes);
    let at = |change: usize| node.changes[change].1.as_secs_f64();
    assert!((5.1..5.3).contains(&at(0)), "{:?}", node.changes);
    assert!((28.1..29.6).contains(&at(1)), "{:?}", node.changes);
    assert!((38.0..42.0).contains(&at(2)), "{:?}", node.changes);
    // What our node says of its own link: one number after the other, as A did.
    let own = node.sent.iter().filter(|lsu| lsu.source == Address::new(A));
    let numbers: Vec<_> = own.map(|lsu| lsu.seqno).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
    assert_eq!(numbers[0], 0);
}
