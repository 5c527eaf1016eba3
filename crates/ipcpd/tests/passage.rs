//! The data path of a local layer whose flows pass through: by hand with a hand-made clock, and in
//! its thread.

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s::control::{FlowEnd, Impairment};
use o7s_ipcpd::{
    data::{Event, Events, Handle, Plane, start},
    local::{
        direction::REORDER_HOLD,
        path::{Connect, Passage},
    },
};
use o7s_ring::SendError;
use support::{Maker, Program};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SOON: Duration = Duration::from_micros(1);

/// A data path without a thread, and a flow through it.
struct Bench {
    plane: Plane<Passage>,
    handle: Handle<Connect>,
    events: UnboundedReceiver<Event>,
    maker: Maker,
    now: Instant,
    a: Program,
    b: Program,
}

impl Bench {
    fn new(impairment: Impairment) -> Self {
        let (sender, events) = unbounded_channel();
        let tell = Events::new(move |event| sender.send(event).unwrap_or_default());
        let (plane, handle) = Plane::new(Passage::new(impairment), tell).unwrap();
        let mut maker = Maker::default();
        let (asking, a) = maker.open(1, 10);
        let (accepting, b) = maker.open(2, 11);
        handle.send(Connect { asking, accepting });
        let mut bench = Self {
            plane,
            handle,
            events,
            maker,
            now: Instant::now(),
            a,
            b,
        };
        bench.settle();
        bench
    }

    /// Lets time pass, and everything happen that there is to do then.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn settle(&mut self) {
        while self.plane.turn(self.now) {}
    }

    /// So many turns that idle ends are left to their doorbells, and those are heard.
    fn idle(&mut self) {
        for _ in 0..200 {
            self.plane.turn(self.now);
        }
    }

    fn ended(&mut self) -> Vec<(u64, u32)> {
        let mut ended = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Ended(end) => ended.push((end.flow_id, end.side)),
                Event::BellClosed(_) => {}
                Event::Failed => panic!("the data path failed"),
            }
        }
        ended
    }

    fn send(&mut self, count: u32) {
        for number in 0..count {
            self.a.tx.try_send(&number.to_le_bytes()).unwrap();
        }
        self.settle();
    }

    /// The numbers that arrived.
    fn numbers(&mut self) -> Vec<u32> {
        let packets = self.b.received();
        let number = |packet: Vec<u8>| u32::from_le_bytes(packet.try_into().unwrap());
        packets.into_iter().map(number).collect()
    }
}

#[test]
fn without_impairment_everything_arrives_in_order_both_ways() {
    let mut bench = Bench::new(Impairment::default());
    bench.send(1000);
    assert_eq!(bench.numbers(), (0..1000).collect::<Vec<_>>());
    let long = vec![7; bench.b.tx.max_message()];
    bench.b.tx.try_send(&long).unwrap();
    bench.settle();
    assert_eq!(bench.a.received(), [long]);
}

#[test]
fn keepalives_are_carried_in_their_order() {
    for impairment in [
        Impairment::default(),
        Impairment {
            delay_us: 1000,
            ..Impairment::default()
        },
    ] {
        let mut bench = Bench::new(impairment);
        bench.a.tx.try_keepalive().unwrap();
        bench.a.tx.try_send(b"x").unwrap();
        bench.a.tx.try_send(b"").unwrap();
        bench.settle();
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.b.received()[0], b"x");
        // An empty packet is a keepalive, too.
        assert_eq!(bench.b.received(), Vec::<Vec<u8>>::new());
        assert_eq!((bench.b.rx.keepalives(), bench.b.rx.packets_read()), (2, 1));
    }
    let mut bench = Bench::new(Impairment {
        loss: 1_000_000,
        ..Impairment::default()
    });
    bench.a.tx.try_keepalive().unwrap();
    bench.send(100);
    assert!(bench.numbers().is_empty());
    assert_eq!(bench.b.rx.keepalives(), 0);
    assert_eq!(bench.a.tx.queued_packets().unwrap(), 0, "they were taken");
}

#[test]
fn loss_follows_probability_and_seed() {
    let arrived = |seed| {
        let mut bench = Bench::new(Impairment {
            loss: 100_000,
            seed,
            ..Impairment::default()
        });
        bench.send(10_000);
        bench.numbers()
    };
    let one = arrived(1);
    assert_eq!(one, arrived(1));
    assert_ne!(one, arrived(2));
    assert!((8_800..9_200).contains(&one.len()), "{}", one.len());
    assert!(one.is_sorted());
}

#[test]
fn the_decisions_about_one_thing_do_not_depend_on_another() {
    let lost = |duplicate, corrupt| {
        let mut bench = Bench::new(Impairment {
            loss: 300_000,
            duplicate,
            corrupt,
            seed: 5,
            ..Impairment::default()
        });
        for number in 0..500_u32 {
            // The number is there often enough that one bit does not hide it.
            bench
                .a
                .tx
                .try_send(&number.to_le_bytes().repeat(3))
                .unwrap();
        }
        bench.settle();
        let packets = bench.b.received();
        let vote = |packet: &[u8]| {
            let words: Vec<&[u8]> = packet.chunks(4).collect();
            let word = if words[0] == words[1] {
                words[0]
            } else {
                words[2]
            };
            u32::from_le_bytes(word.try_into().unwrap())
        };
        let mut numbers: Vec<u32> = packets.iter().map(|packet| vote(packet)).collect();
        numbers.dedup();
        numbers
    };
    assert_eq!(lost(0, 0), lost(400_000, 400_000));
}

#[test]
fn the_two_directions_and_two_flows_have_their_own_fates() {
    let impairment = Impairment {
        loss: 500_000,
        ..Impairment::default()
    };
    let mut bench = Bench::new(impairment);
    let (asking, mut c) = bench.maker.open(1, 20);
    let (accepting, mut d) = bench.maker.open(2, 21);
    bench.handle.send(Connect { asking, accepting });
    for number in 0..200_u8 {
        for tx in [&mut bench.a.tx, &mut bench.b.tx, &mut c.tx] {
            tx.try_send(&[number]).unwrap();
        }
    }
    bench.settle();
    let fates = [bench.a.received(), bench.b.received(), d.received()];
    assert!(fates.iter().all(|fate| (50..150).contains(&fate.len())));
    assert!(fates[0] != fates[1] && fates[1] != fates[2] && fates[0] != fates[2]);
    assert!(c.received().is_empty());
}

#[test]
fn delay_and_jitter_keep_the_order() {
    let mut bench = Bench::new(Impairment {
        delay_us: 10_000,
        jitter_us: 2_000,
        ..Impairment::default()
    });
    bench.send(100);
    bench.pass(Duration::from_micros(7_999));
    assert!(bench.numbers().is_empty());
    bench.pass(Duration::from_micros(3_000));
    let mut numbers = bench.numbers();
    assert!(
        !numbers.is_empty() && numbers.len() < 100,
        "{}",
        numbers.len()
    );
    bench.pass(Duration::from_micros(1_001));
    numbers.extend(bench.numbers());
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn reordered_packets_are_overtaken_or_come_late() {
    let mut bench = Bench::new(Impairment {
        reorder: 1_000_000,
        ..Impairment::default()
    });
    bench.send(5);
    // Each is overtaken by the next, which then waits for nobody.
    assert_eq!(bench.numbers(), [1, 0, 3, 2]);
    bench.pass(REORDER_HOLD - SOON);
    assert!(bench.numbers().is_empty());
    bench.pass(SOON);
    assert_eq!(bench.numbers(), [4]);
}

#[test]
fn duplicates_and_flipped_bits() {
    let mut bench = Bench::new(Impairment {
        duplicate: 1_000_000,
        ..Impairment::default()
    });
    bench.send(3);
    assert_eq!(bench.numbers(), [0, 0, 1, 1, 2, 2]);

    let mut bench = Bench::new(Impairment {
        corrupt: 1_000_000,
        ..Impairment::default()
    });
    let sent = [0xa5; 100];
    for _ in 0..50 {
        bench.a.tx.try_send(&sent).unwrap();
    }
    bench.settle();
    let received = bench.b.received();
    assert_eq!(received.len(), 50);
    let mut places = std::collections::BTreeSet::new();
    for packet in received {
        let flipped: Vec<usize> = (0..100).filter(|at| packet[*at] != sent[*at]).collect();
        assert_eq!(flipped.len(), 1);
        assert_eq!((packet[flipped[0]] ^ sent[flipped[0]]).count_ones(), 1);
        places.insert(flipped[0]);
    }
    assert!(places.len() > 20);
}

#[test]
fn longer_packets_than_the_mtu_are_dropped() {
    let mut bench = Bench::new(Impairment {
        mtu: 1500,
        ..Impairment::default()
    });
    for length in [1500, 1501, 0, 1] {
        bench.a.tx.try_send(&vec![1; length]).unwrap();
    }
    bench.settle();
    let lengths: Vec<usize> = bench.b.received().iter().map(Vec::len).collect();
    assert_eq!(lengths, [1500, 1]);
    assert_eq!(bench.b.rx.keepalives(), 1);
}

#[test]
fn a_receiver_that_does_not_read_holds_the_sender_back() {
    for impairment in [
        Impairment::default(),
        Impairment {
            delay_us: 1,
            ..Impairment::default()
        },
        Impairment {
            duplicate: 1_000_000,
            ..Impairment::default()
        },
    ] {
        let mut bench = Bench::new(impairment);
        let mut packet = vec![0; 50_000];
        let (mut sent, mut full) = (0_u32, 0);
        while full < 3 {
            packet[..4].copy_from_slice(&sent.to_le_bytes());
            match bench.a.tx.try_send(&packet) {
                Ok(()) => (sent, full) = (sent + 1, 0),
                Err(SendError::Full) => full += 1,
                Err(error) => panic!("{error}"),
            }
            bench.pass(SOON);
        }
        // Two rings hold them, and nothing in between grows.
        assert!((60..100).contains(&sent), "{sent}");
        bench.idle();
        let mut numbers = Vec::new();
        loop {
            let packets = bench.b.received();
            if packets.is_empty() {
                break;
            }
            let number = |packet: &Vec<u8>| u32::from_le_bytes(packet[..4].try_into().unwrap());
            numbers.extend(packets.iter().map(number));
            bench.idle();
            bench.pass(SOON);
        }
        numbers.dedup();
        assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_written_before_the_end_still_arrives() {
    for (delay_us, reorder) in [(0, 0), (5_000, 0), (5_000, 1_000_000)] {
        let mut bench = Bench::new(Impairment {
            delay_us,
            reorder,
            ..Impairment::default()
        });
        bench.send(3);
        bench.a.tx.try_send(&9_u32.to_le_bytes()).unwrap();
        bench.a.state.close();
        let end = FlowEnd {
            flow_id: 10,
            side: 1,
            linger_s: 3,
            ..FlowEnd::default()
        };
        bench.handle.dealloc(end);
        bench.settle();
        if delay_us > 0 {
            assert!(!bench.b.state.peer().closed);
            assert!(bench.ended().is_empty());
            bench.pass(Duration::from_millis(5));
        }
        let mut numbers = bench.numbers();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 9]);
        assert!(bench.b.state.peer().closed);
        assert_eq!(bench.ended(), [(10, 1), (11, 1)]);
        assert!(bench.plane.context().is_empty());
        // Told of what is gone already.
        bench.handle.dealloc(end);
        bench.settle();
    }
}

#[test]
fn a_process_that_dies_ends_the_flow_of_its_peer() {
    let mut bench = Bench::new(Impairment::default());
    bench.b.tx.try_send(b"last words").unwrap();
    bench.a.tx.try_send(b"too late").unwrap();
    bench.b.warden.mark_peer_gone(o7s_ring::Side::A);
    bench.maker.forget(2);
    bench.handle.dealloc(FlowEnd {
        flow_id: 11,
        side: 1,
        ..FlowEnd::default()
    });
    bench.settle();
    assert_eq!(bench.a.received(), [b"last words"]);
    assert!(bench.a.state.peer().closed);
    assert_eq!(bench.ended(), [(10, 1), (11, 1)]);
}

#[test]
fn a_broken_ring_ends_its_flow_only() {
    let mut bench = Bench::new(Impairment::default());
    let (asking, mut c) = bench.maker.open(1, 20);
    let (accepting, mut d) = bench.maker.open(2, 21);
    bench.handle.send(Connect { asking, accepting });
    bench.settle();
    // The program opens its side a second time: its positions go back.
    bench.send(100);
    bench.a.reopen().try_send(b"again").unwrap();
    bench.settle();
    assert_eq!(bench.ended(), [(10, 1), (11, 1)]);
    assert!(bench.b.state.peer().closed);
    c.tx.try_send(b"on").unwrap();
    bench.settle();
    assert_eq!(d.received(), [b"on"]);
}

#[test]
fn descriptors_that_do_not_arrive_are_an_error() {
    let mut maker = Maker::default();
    let (info, mut fds, program) = maker.flow(1, 1);
    fds.truncate(1);
    let error = maker.ends.open(&info, fds).unwrap_err();
    assert_eq!(error.kind(), o7s::ErrorKind::NoDescriptors);
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    assert!(maker.ends.open(&info, Vec::new()).is_err());
    drop(program);
    // The doorbells of those who are gone do not stay.
    for bell in 2..20 {
        let (end, _program) = maker.open(bell, bell);
        drop(end);
        maker.forget(bell);
    }
    assert!(maker.ends.bells() <= 2, "{}", maker.ends.bells());
}

/// Waits for a packet as a program does.
fn wait(program: &mut Program) -> Vec<u8> {
    let waiter = program.state.read_waiter();
    let limit = Some(Instant::now() + Duration::from_secs(20));
    let mut packet = Vec::new();
    while program.rx.try_recv_vec(&mut packet).unwrap().is_none() {
        let outcome = waiter.wait(limit, || waiter.readable(), || false);
        assert_ne!(outcome, o7s_ring::WaitOutcome::TimedOut);
    }
    packet
}

#[test]
fn the_thread_sleeps_wakes_and_keeps_time() {
    let (sender, mut events) = unbounded_channel();
    let tell = Events::new(move |event| sender.send(event).unwrap_or_default());
    let impairment = Impairment {
        delay_us: 2_000,
        ..Impairment::default()
    };
    let handle = start(Passage::new(impairment), tell).unwrap();
    let mut maker = Maker::default();
    let mut flows = BTreeMap::new();
    for number in 0..50 {
        let (asking, a) = maker.open(1, number * 2);
        let (accepting, b) = maker.open(2, number * 2 + 1);
        handle.send(Connect { asking, accepting });
        flows.insert(number, (a, b));
    }
    for (number, (a, b)) in &mut flows {
        let start = Instant::now();
        a.tx.try_send(&number.to_le_bytes()).unwrap();
        assert_eq!(wait(b), number.to_le_bytes());
        b.tx.try_send(b"back").unwrap();
        assert_eq!(wait(a), b"back");
        assert!(start.elapsed() >= Duration::from_millis(4));
    }
    for (number, (a, b)) in &mut flows {
        a.state.close();
        let flow_id = number * 2;
        handle.dealloc(FlowEnd {
            flow_id,
            side: 1,
            ..FlowEnd::default()
        });
        for _ in 0..2 {
            assert!(matches!(events.blocking_recv(), Some(Event::Ended(_))));
        }
        assert!(b.state.peer().closed);
    }
    // With the layer its flows are down.
    let (asking, a) = maker.open(1, 1000);
    let (accepting, b) = maker.open(2, 1001);
    handle.send(Connect { asking, accepting });
    drop(handle);
    for state in [&a.state, &b.state] {
        let peer = state.peer();
        assert!(peer.down && !peer.closed);
    }
}
