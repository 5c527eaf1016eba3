//! The data path of a middle member of a unicast layer, with real rings: packets from one neighbour to
//! another, and what each step of it costs, on one core.
//!
//! The neighbours are this process, too: it fills the ring of the one, lets the data path have its turns,
//! and empties the ring of the other. Only the turns are timed; steps are the same turns on packets that end
//! there.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use o7s::{
    Flow, Node, QosSpec, RuntimeDir,
    irm::{Irm, NameInfo},
};
use o7s_ipcpd::{
    data::{Events, Handle, Plane},
    lower::Serial,
    unicast::{
        Signs, Waiting,
        path::{Forwarder, Order},
    },
};
use o7s_proto::{
    dt,
    forwarding::{FlowToken, Policy, Route, Table},
    unicast::{Lower, Role},
};
use o7s_wire::dt::{Address, Eid, QosCube, Repr, Sizes};

use crate::{Outcome, transport::pin};

const NAME: &str = "forward";
const OWN: Address = Address::new(1);
const SIZES: [usize; 2] = [64, 1400];
/// Packets that are in a ring at a time.
const BURST: usize = 256;
const ROUNDS: usize = 500;
const TURNS: usize = 8;

/// A flow whose ends are both here.
fn pair(node: &Node) -> Result<(Flow, Flow), Box<dyn std::error::Error>> {
    thread::scope(|scope| {
        let accept = scope.spawn(|| node.accept(None));
        let one = node.alloc(NAME, QosSpec::RAW, None)?;
        let other = accept
            .join()
            .map_err(|_| "the accepting thread broke off")?;
        Ok((one, other?))
    })
}

struct Middle {
    plane: Plane<Forwarder>,
    _handle: Handle<Order>,
    from: Flow,
    to: Flow,
}

impl Middle {
    fn start(node: &Node) -> Result<Self, Box<dyn std::error::Error>> {
        let forwarder = Forwarder::new(|_| {}, Waiting::default(), Signs::default())?;
        let (plane, handle) = Plane::new(forwarder, Events::new(|_| {}))?;
        handle.send(Order::Start(dt::Config::new(OWN)));
        let mut ends = Vec::new();
        for number in 0..2 {
            let (mine, neighbours) = pair(node)?;
            let lower = Lower(number);
            let serial = u64::from(number);
            handle.send(Order::Add(Serial { lower, serial }, neighbours));
            let neighbour = Address::new(u64::from(number) + 2);
            let cube = QosCube::BestEffort;
            handle.send(Order::Role(lower, Role::Data { neighbour, cube }));
            ends.push(mine);
        }
        let to = Address::new(3);
        let route = Route {
            destination: to,
            next_hops: vec![to],
        };
        let table = Table::build(Policy::Simple, &[route], 4711, |_| &[FlowToken(1)]);
        handle.send(Order::Table(Arc::new(table)));
        let (Some(to), Some(from)) = (ends.pop(), ends.pop()) else {
            return Err("a flow is missing".into());
        };
        Ok(Self {
            plane,
            _handle: handle,
            from,
            to,
        })
    }

    /// ns per packet, and packets that arrived at the other neighbour.
    fn measure(&mut self, packet: &[u8]) -> Result<(f64, usize), Box<dyn std::error::Error>> {
        let packets = vec![packet; BURST];
        let (mut best, mut arrived) = (Duration::MAX, 0);
        let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (sent, failed) = self.from.try_write_packets(&packets);
            if sent < BURST {
                return Err(format!("only {sent} packets fit the ring: {failed:?}").into());
            }
            let start = Instant::now();
            while self.plane.turn(start) {}
            best = best.min(start.elapsed());
            bytes.clear();
            lengths.clear();
            // Nothing is there if the packets ended on their way.
            let _ = self.to.try_read_appended(BURST, &mut bytes, &mut lengths);
            arrived += lengths.len();
        }
        Ok((best.as_secs_f64() * 1e9 / BURST as f64, arrived))
    }
}

fn packet(destination: Address, ttl: u8, eid: Eid, size: usize) -> Vec<u8> {
    let header = Repr {
        destination,
        cube: 0,
        ttl,
        ecn: 0,
        eid,
    };
    header.to_packet(Sizes::DEFAULT, &vec![7; size])
}

pub(crate) fn run(dir: &RuntimeDir) -> Outcome {
    pin(0)?;
    let node = Node::at(dir.clone());
    let irm = Irm::at(dir.clone());
    node.announce()?;
    irm.create_name(&NameInfo {
        name: NAME.to_owned(),
        ..NameInfo::default()
    })?;
    irm.bind_process(i32::try_from(std::process::id())?, NAME)?;
    let mut middle = Middle::start(&node)?;
    println!("a middle member's data path from ring to ring on one core");
    println!(
        "{:>7} {:>10} {:>14} {:>12} {:>12} {:>12}",
        "bytes", "ns/packet", "packets/s", "read ns", "decide ns", "write ns"
    );
    for size in SIZES {
        let (member, eid) = (Address::new(3), Eid(4711));
        let kinds = [
            // Read and dropped at the first look: too short for a header.
            vec![7; 14],
            // Read, looked up, and dropped since the end of the flow is not here.
            packet(OWN, 60, eid, size),
            packet(member, 60, eid, size),
        ];
        // In turns: the processor is not equally fast all the time, and the steps are differences.
        let (mut best, mut arrived) = ([f64::MAX; 3], [0; 3]);
        for _ in 0..TURNS {
            for (kind, packet) in kinds.iter().enumerate() {
                let (took, came) = middle.measure(packet)?;
                best[kind] = best[kind].min(took);
                arrived[kind] += came;
            }
        }
        let sent = BURST * ROUNDS * TURNS;
        if arrived != [0, 0, sent] {
            return Err(format!("{arrived:?} of {sent} packets arrived").into());
        }
        let [read, decided, all] = best;
        println!(
            "{size:>7} {all:>10.1} {:>14.0} {read:>12.1} {:>12.1} {:>12.1}",
            1e9 / all,
            decided - read,
            all - decided
        );
    }
    println!();
    irm.unbind_process(i32::try_from(std::process::id())?, Some(NAME))?;
    irm.destroy_name(NAME)?;
    Ok(())
}
