//! Flows that share a bottleneck: each gets its share, and the queue stays bounded, without anybody but
//! the two ends knowing of a flow.
//!
//! ```text
//!  sender 0 ──┐                            ┌── receiver 0
//!  ...        ├── queue ── bottleneck ─────┤   ...
//!  sender n ──┘                            └── receiver n
//! ```

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use o7s_proto::congestion::{Controller, Policy, Receiver, Sender};

/// Packets of the queue before the bottleneck, as the transmit rings of 0.23.
const QUEUE: usize = 1023;
const PACKET: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Setup {
    flows: usize,
    /// Bytes per second of the bottleneck. Senders could send ten times that each.
    rate: u64,
    /// One way, besides the queue.
    delay: Duration,
    /// When they start: evenly spread over this time.
    starts: Duration,
    /// So many of the flows have the controller of 0.23.
    slots: usize,
    /// After packets of so much time the bottleneck sends nothing for so long: its thread waits for a processor.
    stalls: Option<(Duration, Duration)>,
    duration: Duration,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A sender asks whether it may send.
    Ask(usize),
    /// The bottleneck has sent a packet.
    Departure,
    Arrival {
        flow: usize,
        ecn: u8,
    },
    Update {
        flow: usize,
        level: u16,
    },
}

#[derive(Debug)]
struct Outcome {
    /// Bytes per second of each flow, in the second half of the run.
    rates: Vec<f64>,
    /// Average length of the queue then, in packets.
    queue: f64,
    longest: usize,
    /// Of all packets then.
    lost: f64,
}

impl Outcome {
    /// Jain's index: 1 if all are equal, 1/n if one has everything.
    fn fairness(&self) -> f64 {
        let sum: f64 = self.rates.iter().sum();
        let squares: f64 = self.rates.iter().map(|rate| rate * rate).sum();
        sum * sum / (self.rates.len() as f64 * squares)
    }

    fn used(&self, setup: &Setup) -> f64 {
        self.rates.iter().sum::<f64>() / setup.rate as f64
    }
}

fn run(setup: &Setup) -> Outcome {
    let epoch = Instant::now();
    let at = |nanos: u64| epoch + Duration::from_nanos(nanos);
    let nanos = |time: Duration| time.as_nanos() as u64;
    let transmission = PACKET as u64 * 1_000_000_000 / setup.rate;
    let mut random = setup.seed | 1;
    let mut jitter = move |most: u64| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (random >> 33) % most.max(1)
    };
    let mut events = BinaryHeap::new();
    let mut number = 0_u64;
    let mut push = |events: &mut BinaryHeap<_>, time: u64, event: Event| {
        number += 1;
        events.push(Reverse((time, number, event)));
    };
    let mut ends: Vec<_> = (0..setup.flows)
        .map(|flow| {
            let start = nanos(setup.starts) * flow as u64 / setup.flows as u64 + jitter(1_000_000);
            push(&mut events, start, Event::Ask(flow));
            let controller = if flow < setup.slots {
                Controller::Slots
            } else {
                Controller::Rate
            };
            let mut sender =
                Sender::with_controller(Policy::MultiBitEcn, controller, epoch, at(start));
            sender.answer_takes(2 * setup.delay);
            (sender, Receiver::new(Policy::MultiBitEcn))
        })
        .collect();
    let mut queue: VecDeque<(usize, u8)> = VecDeque::new();
    let mut worked = 0;
    let half = nanos(setup.duration) / 2;
    let mut bytes = vec![0_u64; setup.flows];
    let (mut offered, mut lost, mut waited, mut longest) = (0_u64, 0_u64, 0, 0);
    while let Some(Reverse((now, _, event))) = events.pop() {
        if now >= 2 * half {
            break;
        }
        let measured = now >= half;
        match event {
            Event::Ask(flow) => match ends[flow].0.may_send(at(now), PACKET) {
                Ok(()) => {
                    offered += u64::from(measured);
                    if measured {
                        longest = longest.max(queue.len());
                        waited += queue.len() as u64;
                    }
                    if queue.len() >= QUEUE {
                        lost += u64::from(measured);
                    } else {
                        queue.push_back((flow, Policy::MultiBitEcn.mark(queue.len())));
                        if queue.len() == 1 {
                            push(&mut events, now + transmission, Event::Departure);
                        }
                    }
                    let next = transmission / 10 + jitter(transmission / 50);
                    push(&mut events, now + next.max(1), Event::Ask(flow));
                }
                Err(until) => {
                    push(&mut events, nanos(until - epoch), Event::Ask(flow));
                }
            },
            Event::Departure => {
                let Some((flow, ecn)) = queue.pop_front() else {
                    continue;
                };
                let arrival = now + nanos(setup.delay);
                push(&mut events, arrival, Event::Arrival { flow, ecn });
                if !queue.is_empty() {
                    let mut next = now + transmission;
                    if let Some((after, length)) = setup.stalls {
                        worked += transmission;
                        if worked >= nanos(after) {
                            worked = 0;
                            next += nanos(length);
                        }
                    }
                    push(&mut events, next, Event::Departure);
                }
            }
            Event::Arrival { flow, ecn } => {
                if measured {
                    bytes[flow] += PACKET as u64;
                }
                if let Some(level) = ends[flow].1.packet(ecn) {
                    let update = now + nanos(setup.delay);
                    push(&mut events, update, Event::Update { flow, level });
                }
            }
            Event::Update { flow, level } => ends[flow].0.update(at(now), level),
        }
    }
    let seconds = half as f64 / 1e9;
    Outcome {
        rates: bytes.iter().map(|bytes| *bytes as f64 / seconds).collect(),
        queue: waited as f64 / offered.max(1) as f64,
        longest,
        lost: lost as f64 / offered.max(1) as f64,
    }
}

const SETUP: Setup = Setup {
    flows: 2,
    rate: 12_500_000,
    delay: Duration::from_millis(5),
    starts: Duration::from_millis(200),
    slots: 0,
    stalls: None,
    duration: Duration::from_secs(20),
    seed: 1,
};

/// Every flow has its share, the link is used, and the queue is short: nothing is lost.
#[track_caller]
fn check(setup: &Setup) {
    let outcome = run(setup);
    let used = outcome.used(setup);
    assert!(outcome.fairness() >= 0.95, "{setup:?} {outcome:?}");
    assert!(used >= 0.85, "{used} {setup:?} {outcome:?}");
    assert!(outcome.queue < QUEUE as f64 * 0.25, "{setup:?} {outcome:?}");
    assert!(outcome.lost == 0.0, "{setup:?} {outcome:?}");
    assert!(outcome.longest < QUEUE, "{setup:?} {outcome:?}");
}

/// 0.25 Mbit/s each: a queue of 100 packets takes 1.6 s with two of them, and reports are a quarter of a
/// second apart.
#[test]
fn slow_flows_share_a_slow_link() {
    for (flows, delay) in [(2, 1), (4, 25), (4, 100), (16, 1), (64, 25)] {
        check(&Setup {
            flows,
            rate: 31_250 * flows as u64,
            delay: Duration::from_millis(delay),
            duration: Duration::from_secs(120),
            seed: flows as u64 + delay,
            ..SETUP
        });
    }
}

/// When much more is sent than gets through, reports come too rarely for the count of packets between them:
/// 0.23 takes that for the end of congestion, and never slows down again.
#[test]
fn a_flood_at_the_start_ends() {
    let setup = Setup {
        flows: 64,
        rate: 2_000_000,
        delay: Duration::from_millis(100),
        starts: Duration::from_millis(1),
        duration: Duration::from_secs(120),
        ..SETUP
    };
    let ours = run(&setup);
    assert!(ours.fairness() >= 0.9 && ours.lost == 0.0, "{ours:?}");
    assert!(
        ours.queue < QUEUE as f64 * 0.25 && ours.used(&setup) > 0.85,
        "{ours:?}"
    );
    let slots = run(&Setup {
        flows: 16,
        slots: 16,
        rate: 500_000,
        duration: Duration::from_secs(6),
        ..setup
    });
    assert!(slots.lost > 0.5, "{slots:?}");
}

#[test]
fn flows_of_a_slow_link_share_it() {
    for flows in [2, 3, 5, 10] {
        check(&Setup {
            flows,
            rate: 1_250_000,
            duration: Duration::from_secs(60),
            seed: flows as u64,
            ..SETUP
        });
    }
}

#[test]
fn flows_share_a_link_whatever_their_delay() {
    for delay in [1, 20] {
        for flows in [2, 10] {
            check(&Setup {
                flows,
                delay: Duration::from_millis(delay),
                duration: Duration::from_secs(40),
                seed: flows as u64 * 7919 + delay,
                ..SETUP
            });
        }
    }
}

#[test]
fn flows_of_a_fast_link_share_it() {
    for flows in [2, 10] {
        check(&Setup {
            flows,
            rate: 125_000_000,
            delay: Duration::from_millis(1),
            duration: Duration::from_secs(4),
            seed: flows as u64,
            ..SETUP
        });
    }
}

/// Who comes late finds a link that others have filled, and gets as much as they.
#[test]
fn latecomers_get_their_share() {
    check(&Setup {
        flows: 6,
        starts: Duration::from_secs(6),
        duration: Duration::from_secs(60),
        ..SETUP
    });
}

/// A flow alone has the link to itself.
#[test]
fn a_flow_alone_uses_the_link() {
    check(&Setup { flows: 1, ..SETUP });
}

/// Between two members of one machine the queue is as long as somebody else has the processor. That is no
/// congestion: the flow takes what the link can carry besides, from its first second on.
#[test]
fn stalls_do_not_slow_a_flow_down() {
    for (after, length) in [(1, 3), (5, 4), (30, 4)] {
        let setup = Setup {
            flows: 1,
            rate: 125_000_000,
            delay: Duration::from_micros(50),
            stalls: Some((Duration::from_millis(after), Duration::from_millis(length))),
            duration: Duration::from_secs(2),
            ..SETUP
        };
        let outcome = run(&setup);
        let most = after as f64 / (after + length) as f64;
        assert!(outcome.used(&setup) >= 0.9 * most, "{setup:?} {outcome:?}");
    }
}

/// On a link on which a sender of 0.23 is not too fast from the start, it does not push ours out.
#[test]
fn a_flow_of_0_23_leaves_ours_room() {
    let setup = Setup { slots: 1, ..SETUP };
    let outcome = run(&setup);
    assert!(outcome.rates[1] > 0.4 * setup.rate as f64, "{outcome:?}");
    assert!(outcome.used(&setup) > 0.85, "{outcome:?}");
}
