//! The data path of a broadcast IPCP: each packet of a neighbour goes to all others.
//!
//! A neighbour whose ring is full misses the packet; it holds up nobody (`spec/shims.md` §9 item 12). N-1
//! flows that are not neighbours yet are read too, for management.

use std::{collections::BTreeMap, fmt, time::Duration};

use o7s::{Error, Flow, Result};
use o7s_proto::{
    broadcast::{Event as LoopEvent, Flood, Kind, Neighbour, Stats, Verdict},
    unicast::Lower,
};
use o7s_ring::Record;

use super::PathNews;
use crate::{
    data::{Context, DataPath, End, Progress, Token},
    framework::Operation,
    lower::{Batch, Flows, Read, Serial},
};

/// Packets taken from a neighbour at once.
const BATCH: usize = 64;
/// Bytes after which a batch of a program ends.
const BATCH_BYTES: usize = 256 * 1024;
/// Number of the N-1 flows' doorbells among what the thread watches.
const NEWS: u64 = 0;
/// Packets of a flow that is being connected that management gets at most; a handshake has three.
const SETUP_MAX: u32 = 64;

/// What management tells the data path, in order.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time, from one queue")]
pub enum Order {
    /// A new N-1 flow: its packets go to management.
    Add(Serial, Flow),
    /// Send a packet on an N-1 flow.
    Send(Lower, Vec<u8>),
    /// The N-1 flow is a neighbour from now on; its name for people.
    Neighbour(Lower, String),
    /// A packet that had come to management is one of this neighbour.
    Arrived(Lower, Vec<u8>),
    /// Deallocate an N-1 flow.
    Remove(Lower),
    /// A program joins.
    Join(Box<End>),
    /// Tell the state.
    Status(Operation),
}

/// A neighbour in a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// For people.
    pub name: String,
    /// A program that joined; else another member.
    pub program: bool,
    /// Packets of it.
    pub received: u64,
    /// Packets to it.
    pub sent: u64,
    /// Packets that it missed.
    pub unsent: u64,
}

/// The state of the data path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Neighbours, in their order.
    pub neighbours: Vec<Row>,
    /// Counters of flooding.
    pub stats: Stats,
    /// There is a loop.
    pub looping: bool,
}

/// The data path.
pub struct Flooder {
    flood: Flood,
    flows: Flows,
    tell: Box<dyn Fn(PathNews) + Send>,
    /// N-1 flows that are no neighbours, and how many packets management may still get.
    setup: BTreeMap<u32, (Serial, u32)>,
    /// N-1 flows that are neighbours.
    members: BTreeMap<u32, Serial>,
    entries: BTreeMap<Neighbour, Entry>,
    batch: Batch,
}

/// A neighbour.
struct Entry {
    place: Place,
    row: Row,
}

/// Where a neighbour is.
#[derive(Clone, Copy)]
enum Place {
    Lower(u32),
    Program(Token),
}

/// N-1 flows have even numbers, programs odd ones.
fn member(lower: u32) -> Neighbour {
    Neighbour(lower << 1)
}

fn program(token: Token) -> Neighbour {
    Neighbour((token.index() as u32) << 1 | 1)
}

impl Flooder {
    /// No neighbours. `seed` must be random.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new(seed: u64, tell: impl Fn(PathNews) + Send + 'static) -> Result<Self> {
        Ok(Self {
            flood: Flood::new(seed, std::time::Instant::now()),
            flows: Flows::new()?,
            tell: Box::new(tell),
            setup: BTreeMap::new(),
            members: BTreeMap::new(),
            entries: BTreeMap::new(),
            batch: Batch::default(),
        })
    }

    fn add(&mut self, cx: &mut Context, serial: Serial, flow: Flow) {
        let number = serial.lower.0;
        match self.flows.insert(cx, NEWS, number, flow) {
            Ok(()) => {
                self.setup.insert(number, (serial, SETUP_MAX));
            }
            Err(error) => (self.tell)(PathNews::Over(serial, error)),
        }
    }

    /// Forgets an N-1 flow; what it was.
    fn remove(&mut self, number: u32) -> Option<Serial> {
        // Dropping it deallocates it.
        drop(self.flows.remove(number));
        self.flood.remove(member(number));
        self.entries.remove(&member(number));
        let setup = self.setup.remove(&number).map(|(serial, _)| serial);
        setup.or(self.members.remove(&number))
    }

    fn enter(&mut self, place: Place, name: String) -> bool {
        let (neighbour, kind) = match place {
            Place::Lower(number) => (member(number), Kind::Member),
            Place::Program(token) => (program(token), Kind::Program),
        };
        if let Err(full) = self.flood.add(neighbour, kind) {
            tracing::warn!("{name} is no neighbour: {full}.");
            return false;
        }
        let row = Row {
            name,
            program: kind == Kind::Program,
            received: 0,
            sent: 0,
            unsent: 0,
        };
        self.entries.insert(neighbour, Entry { place, row });
        true
    }

    fn join(&mut self, cx: &mut Context, end: End) {
        let name = format!("flow {}", end.end().flow_id);
        if let Some(token) = cx.add(end)
            && !self.enter(Place::Program(token), name)
        {
            cx.remove(token);
        }
    }

    /// Passes a batch of a neighbour on to all others.
    fn flood(&mut self, cx: &mut Context, from: Neighbour, batch: &mut Batch) {
        let now = cx.now();
        let mut packets = Vec::with_capacity(batch.lengths.len());
        let mut rest = batch.bytes.as_slice();
        for length in &batch.lengths {
            let (packet, others) = rest.split_at((*length).min(rest.len()));
            rest = others;
            if self.flood.packet(now, from, packet) == Verdict::Forward {
                packets.push(packet);
            }
        }
        if let Some(entry) = self.entries.get_mut(&from) {
            entry.row.received += batch.lengths.len() as u64;
        }
        if !packets.is_empty() {
            for to in self.flood.others(from) {
                let Some(Entry { place, row }) = self.entries.get_mut(&to) else {
                    continue;
                };
                let sent = match place {
                    Place::Lower(number) => self.flows.write(*number, &packets),
                    Place::Program(token) => send(cx, *token, &packets),
                };
                row.sent += sent as u64;
                row.unsent += (packets.len() - sent) as u64;
            }
        }
        self.news_of_loops(cx);
    }

    fn news_of_loops(&mut self, cx: &mut Context) {
        cx.set_alarm(self.flood.poll_timeout());
        if let Some(event) = self.flood.poll_event() {
            let name = |neighbour: Neighbour| {
                let entry = self.entries.get(&neighbour);
                entry.map_or_else(
                    || "one that is gone".to_owned(),
                    |entry| entry.row.name.clone(),
                )
            };
            let names = match event {
                LoopEvent::LoopFound { first, back } => [name(first), name(back)],
                LoopEvent::LoopGone => Default::default(),
            };
            (self.tell)(PathNews::Loop(event, names));
        }
    }

    /// Takes a batch of an N-1 flow.
    fn read(&mut self, cx: &mut Context, number: u32, batch: &mut Batch) -> Progress {
        match self.flows.read(number, BATCH, batch) {
            Read::None => return Progress::None,
            Read::Some => {}
            Read::Over(error) => {
                if let Some(serial) = self.remove(number) {
                    (self.tell)(PathNews::Over(serial, error));
                }
                return Progress::Some;
            }
        }
        if let Some((serial, left)) = self.setup.get_mut(&number) {
            let tell = &self.tell;
            batch.for_each(|packet| {
                if *left > 0 {
                    *left -= 1;
                    tell(PathNews::Packet(*serial, packet.to_vec()));
                }
            });
        } else {
            self.flood(cx, member(number), batch);
        }
        Progress::Some
    }

    /// Takes a batch of a program; false when there is nothing more, or nothing that can be trusted.
    fn take(&mut self, cx: &mut Context, token: Token, batch: &mut Batch) -> bool {
        batch.clear();
        let Some(end) = cx.end(token) else {
            return false;
        };
        let mut more = true;
        while batch.lengths.len() < BATCH && batch.bytes.len() < BATCH_BYTES {
            match end.rx.peek_record() {
                Ok(Some(Record::Data(_))) => {
                    batch.lengths.push(end.rx.append_to(&mut batch.bytes));
                }
                // A sign of life, which is for this flow alone (item 10).
                Ok(Some(Record::Keepalive)) => {}
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(corrupt) => {
                    tracing::warn!("A flow is over: {corrupt}.");
                    self.leave(cx, token);
                    return false;
                }
            }
            end.rx.consume_staged();
        }
        end.rx.flush();
        more
    }

    fn leave(&mut self, cx: &mut Context, token: Token) {
        self.flood.remove(program(token));
        self.entries.remove(&program(token));
        cx.remove(token);
    }
}

/// Packets to a program; how many went.
fn send(cx: &mut Context, token: Token, packets: &[&[u8]]) -> usize {
    let Some(end) = cx.end(token) else {
        return 0;
    };
    let mut sent = 0;
    for packet in packets {
        if end.tx.try_stage(packet).is_ok() {
            sent += 1;
        }
    }
    end.tx.flush();
    sent
}

impl DataPath for Flooder {
    type Command = Order;

    fn command(&mut self, cx: &mut Context, order: Order) {
        match order {
            Order::Add(serial, flow) => self.add(cx, serial, flow),
            Order::Send(lower, packet) => {
                self.flows.write(lower.0, &[packet]);
            }
            Order::Neighbour(lower, name) => {
                if let Some((serial, _)) = self.setup.remove(&lower.0) {
                    self.members.insert(lower.0, serial);
                    if !self.enter(Place::Lower(lower.0), name)
                        && let Some(serial) = self.remove(lower.0)
                    {
                        let full = o7s_proto::broadcast::Full.to_string();
                        let error = Error::new(o7s::ErrorKind::Busy, full);
                        (self.tell)(PathNews::Over(serial, error));
                    }
                }
            }
            Order::Arrived(lower, packet) => {
                let mut batch = Batch {
                    lengths: vec![packet.len()],
                    bytes: packet,
                };
                self.flood(cx, member(lower.0), &mut batch);
            }
            Order::Remove(lower) => {
                self.remove(lower.0);
            }
            Order::Join(end) => self.join(cx, *end),
            Order::Status(operation) => {
                let neighbours = self.flood.neighbours().iter();
                let entries = neighbours.filter_map(|(neighbour, _)| self.entries.get(neighbour));
                let snapshot = Snapshot {
                    neighbours: entries.map(|entry| entry.row.clone()).collect(),
                    stats: self.flood.stats(),
                    looping: self.flood.is_looping(cx.now()),
                };
                (self.tell)(PathNews::Status(operation, Box::new(snapshot)));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context, flow: Token) -> Progress {
        // Seen before the packets are: what was written before the end is carried on.
        let Some(end) = cx.end(flow) else {
            return Progress::None;
        };
        let over = end.is_over();
        if over {
            end.note_over();
        }
        let mut batch = std::mem::take(&mut self.batch);
        let more = self.take(cx, flow, &mut batch);
        let some = !batch.lengths.is_empty();
        if some {
            self.flood(cx, program(flow), &mut batch);
        }
        self.batch = batch;
        if over && !more {
            self.leave(cx, flow);
            return Progress::Some;
        }
        if some { Progress::Some } else { Progress::None }
    }

    fn dealloc(&mut self, _: &mut Context, _: Token, _: Duration) {
        // The end itself says that it is over, and nothing here outlives a flow.
    }

    fn readable(&mut self, _: &mut Context, _: u64) -> Progress {
        self.flows.hear();
        Progress::None
    }

    fn alarm(&mut self, cx: &mut Context) {
        self.flood.is_looping(cx.now());
        self.news_of_loops(cx);
    }

    fn turn(&mut self, cx: &mut Context) -> Progress {
        let mut batch = std::mem::take(&mut self.batch);
        let mut progress = Progress::None;
        let mut at = 0;
        while let Some(number) = self.flows.active().get(at).copied() {
            if self.read(cx, number, &mut batch) == Progress::Some {
                progress = Progress::Some;
            }
            // Unless the flow left the list, the next one is behind it.
            at += usize::from(self.flows.active().get(at) == Some(&number));
        }
        self.batch = batch;
        self.flows.settle();
        progress
    }

    fn is_active(&self) -> bool {
        !self.flows.active().is_empty()
    }

    fn is_ready(&self) -> bool {
        self.flows.is_ready()
    }

    fn arm(&mut self, _: &mut Context) -> bool {
        self.flows.arm()
    }
}

impl fmt::Debug for Flooder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flooder")
            .field("flood", &self.flood)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}
