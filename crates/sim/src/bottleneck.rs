//! Senders and receivers of congestion control alone at one queue: for rates, numbers of flows and delays at
//! which whole networks would take too long.
//!
//! ```text
//!  sender 0 ──┐                            ┌── receiver 0
//!  ...        ├── queue ── bottleneck ─────┤   ...
//!  sender n ──┘                            └── receiver n
//! ```
//!
//! Senders may send ten times as fast as the bottleneck. A packet for which the queue has no room is lost.
//! Reports go back without a queue. The answer to the request of a flow takes as long as a packet there and
//! an answer back at its start.

use std::time::{Duration, Instant};

use o7s_proto::congestion::{Controller, Policy, Receiver, Sender};

use crate::{
    agenda::{Agenda, SECOND, Time},
    dice::Dice,
    growth::fairness,
    link::{Direction, Model, nanos},
    scenario::Sharing,
};

/// Packets that may wait, as in the transmit rings of 0.23.
const QUEUE: usize = 1_000;

/// Bytes of a packet.
const PACKET: usize = 1_000;

/// A flow through the bottleneck.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// There and back, besides the queue.
    pub round_trip: Duration,
    /// When it begins.
    pub start: Duration,
    /// When it ends, if it does.
    pub stop: Option<Duration>,
    /// How it reacts to reports.
    pub controller: Controller,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Rate of the bottleneck, bit/s.
    pub rate: u64,
    /// The flows.
    pub flows: Vec<Flow>,
    /// What is measured begins then,
    pub settle: Duration,
    /// and takes so long.
    pub measure: Duration,
    /// Seed of all chance.
    pub seed: u64,
}

enum Event {
    /// A sender asks whether it may send.
    Ask(usize),
    Arrival(usize, u8),
    Update(usize, u16),
}

struct End {
    sender: Sender,
    receiver: Receiver,
    begun: bool,
    bytes: u64,
}

/// Runs flows through a bottleneck. The rates are those of flows that go on to the end.
#[must_use]
pub fn share(setup: &Setup) -> Sharing {
    let epoch = Instant::now();
    let at = |time: Time| epoch + Duration::from_nanos(time);
    let mut dice = Dice::new(setup.seed);
    let mut agenda = Agenda::default();
    let mut queue = Direction::new(Model {
        rate: Some(setup.rate),
        delay: Duration::ZERO,
        queue: QUEUE,
        loss: 0.0,
    });
    let mut ends: Vec<End> = Vec::new();
    for (number, flow) in setup.flows.iter().enumerate() {
        let start = nanos(flow.start) + dice.number() % (SECOND / 1_000);
        agenda.plan(start, Event::Ask(number));
        ends.push(End {
            sender: Sender::with_controller(Policy::MultiBitEcn, flow.controller, epoch, at(start)),
            receiver: Receiver::new(Policy::MultiBitEcn),
            begun: false,
            bytes: 0,
        });
    }
    let takes = PACKET as u64 * 8 * SECOND / setup.rate.max(1);
    let begin = nanos(setup.settle);
    let end = begin + nanos(setup.measure);
    let (mut refused_before, mut waiting, mut looks, mut longest) = (0, 0.0, 0_u64, 0);
    while let Some(event) = agenda.next(end) {
        let now = agenda.now();
        let measured = now >= begin;
        match event {
            Event::Ask(number) => {
                let (flow, it) = (&setup.flows[number], &mut ends[number]);
                if flow.stop.is_some_and(|stop| now >= nanos(stop)) {
                    continue;
                }
                let queued = queue.queued(now);
                if !it.begun {
                    it.begun = true;
                    let waits = Duration::from_nanos(queued as u64 * takes);
                    it.sender.answer_takes(flow.round_trip + waits);
                }
                if let Err(until) = it.sender.may_send(at(now), PACKET) {
                    agenda.plan(nanos(until - epoch), Event::Ask(number));
                    continue;
                }
                if measured {
                    waiting += queued as f64;
                    looks += 1;
                    longest = longest.max(queued);
                } else {
                    refused_before = queue.tally.refused + u64::from(queued >= QUEUE);
                }
                let mark = Policy::MultiBitEcn.mark(queued);
                if let Some(leaves) = queue.send(now, PACKET, &mut dice) {
                    let arrives = leaves + nanos(flow.round_trip) / 2;
                    agenda.plan(arrives, Event::Arrival(number, mark));
                }
                let pause = takes / 10 + dice.number() % (takes / 50).max(1);
                agenda.plan(now + pause.max(1), Event::Ask(number));
            }
            Event::Arrival(number, ecn) => {
                let it = &mut ends[number];
                if measured {
                    it.bytes += PACKET as u64;
                }
                if let Some(level) = it.receiver.packet(ecn) {
                    let arrives = now + nanos(setup.flows[number].round_trip) / 2;
                    agenda.plan(arrives, Event::Update(number, level));
                }
            }
            Event::Update(number, level) => ends[number].sender.update(at(now), level),
        }
    }
    let seconds = setup.measure.as_secs_f64();
    let staying = |flow: &Flow| flow.stop.is_none_or(|stop| nanos(stop) > end);
    let rates: Vec<f64> = ends
        .iter()
        .zip(&setup.flows)
        .filter(|(_, flow)| staying(flow))
        .map(|(it, _)| it.bytes as f64 * 8.0 / seconds)
        .collect();
    Sharing {
        fairness: fairness(&rates),
        utilization: rates.iter().sum::<f64>() / setup.rate as f64,
        refused: queue.tally.refused - refused_before,
        mean_queue: waiting / looks.max(1) as f64,
        longest_queue: longest,
        longest_ever: queue.tally.longest,
        rates,
    }
}
