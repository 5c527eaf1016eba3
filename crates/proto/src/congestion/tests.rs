//! Vectors of `spec/unicast.md` §7.2 and §7.5, and bounds.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[test]
fn marks_grow_with_the_queue() {
    for (queued, mark) in [
        (0, 0),
        (15, 0),
        (16, 1),
        (31, 1),
        (32, 2),
        (47, 2),
        (100, 6),
        (1023, 63),
        (1024, 63),
        (usize::MAX, 63),
    ] {
        assert_eq!(Policy::MultiBitEcn.mark(queued), mark, "{queued}");
        assert_eq!(Policy::None.mark(queued), 0);
    }
    assert_eq!(Policy::from_number(0), Some(Policy::None));
    assert_eq!(Policy::from_number(1), Some(Policy::MultiBitEcn));
    assert_eq!(Policy::from_number(2), None);
}

#[test]
fn receiver_reports() {
    let mut receiver = Receiver::new(Policy::MultiBitEcn);
    let mut reports = Vec::new();
    let marks = [[0; 2].as_slice(), &[5; 18]].concat();
    for (at, mark) in marks.into_iter().enumerate() {
        reports.extend(receiver.packet(mark).map(|level| (at - 1, level)));
    }
    assert_eq!(reports, [(1, 5), (3, 15), (11, 51)]);
    assert_eq!(receiver.level(), 76);
    let levels: Vec<_> = (0..5)
        .map(|_| (receiver.packet(0), receiver.level()))
        .collect();
    assert_eq!(
        levels,
        [(None, 19), (None, 4), (None, 1), (Some(0), 0), (None, 0)]
    );
    let mut silent = Receiver::new(Policy::None);
    assert_eq!(silent.packet(63), None);
}

/// The average of the captured run: a constant mark of 63 settles below 32 times 63.
#[test]
fn level_settles_at_32_times_the_mark() {
    let mut receiver = Receiver::new(Policy::MultiBitEcn);
    for _ in 0..10_000 {
        receiver.packet(63);
    }
    assert!(
        (1985..=2016 + 31).contains(&receiver.level()),
        "{}",
        receiver.level()
    );
    for _ in 0..10_000 {
        receiver.packet(255);
    }
    assert!(receiver.level() <= 32 * 255 + 31);
}

/// A sender, and the time since the base of a vector in ns.
struct Rig {
    sender: Sender,
    base: Instant,
    last: u64,
}

impl Rig {
    fn new(slots: u64) -> Self {
        let epoch = Instant::now();
        let base = epoch + Duration::from_nanos(slots << 24);
        Self {
            sender: Sender::with_controller(Policy::MultiBitEcn, Controller::Slots, epoch, base),
            base,
            last: 0,
        }
    }

    /// A packet at a time in ns, as a driver would send it that does not wait; its delay in ns.
    fn packet(&mut self, at: u64, bytes: u64) -> u64 {
        assert!(at >= self.last);
        self.last = at;
        let now = self.base + Duration::from_nanos(at);
        self.sender.held = None;
        match self.sender.may_send(now, bytes as usize) {
            Ok(()) => 0,
            Err(until) => (until - now).as_nanos() as u64,
        }
    }

    #[track_caller]
    fn expect(
        &self,
        exponent: u32,
        slot: u64,
        window: u64,
        increase: u64,
        bytes: u64,
        packets: u64,
    ) {
        let state = self.sender.state();
        assert_eq!(
            (
                state.exponent,
                state.slot,
                state.window,
                state.increase,
                state.bytes,
                state.packets
            ),
            (exponent, slot, window, increase, bytes, packets)
        );
    }
}

const MS: u64 = 1_000_000;

#[test]
fn slots_grow_when_packets_are_few() {
    let mut rig = Rig::new(95);
    for at in [0, 4, 8] {
        assert_eq!(rig.packet(at * MS, 500), 0);
    }
    rig.expect(24, 95, 65536, 65536, 1500, 3);
    assert_eq!(rig.packet(17 * MS, 500), 0);
    rig.expect(25, 49, 131_072, 131_072, 2000, 4);
    for at in [30, 60, 70] {
        assert_eq!(rig.packet(at * MS, 500), 0);
    }
    rig.expect(25, 49, 131_072, 131_072, 3500, 7);
    assert_eq!(rig.packet(84 * MS, 500), 0);
    rig.expect(25, 50, 131_072, 131_072, 0, 0);
}

#[test]
fn slow_start_doubles_and_slots_shrink_when_packets_are_many() {
    let mut rig = Rig::new(96);
    for i in 0..150 {
        let delay = rig.packet(i * 100_000, 1500);
        match i {
            43 => {
                assert_eq!(delay, 12_477_216);
                rig.expect(24, 96, 65536, 65536, 66000, 44);
            }
            149 => assert_eq!(delay, 1_877_216),
            0..43 => assert_eq!(delay, 0),
            _ => {}
        }
    }
    rig.expect(24, 96, 65536, 65536, 225_000, 150);
    assert_eq!(rig.sender.state().regime, Regime::SlowStart);
    assert_eq!(rig.packet(17 * MS, 1500), 0);
    rig.expect(22, 388, 32768, 16384, 0, 0);
    assert_eq!(rig.packet(18 * MS, 1500), 0);
    assert_eq!(rig.packet(22 * MS, 1500), 0);
    rig.expect(24, 97, 131_072, 65536, 0, 0);
}

#[test]
fn window_shrinks_with_the_level_and_grows_when_the_report_is_old() {
    let mut rig = Rig::new(96);
    for i in 0..20 {
        rig.packet(i * MS / 2, 1000);
    }
    let now = rig.base + Duration::from_nanos(rig.last);
    rig.sender.update(now, 160);
    assert_eq!(rig.sender.state().regime, Regime::MultiplicativeDecrease);
    rig.packet(17 * MS, 1000);
    rig.expect(24, 97, 64256, 65536, 0, 0);
    for at in 18..=29 {
        rig.packet(at * MS, 1000);
    }
    rig.packet(34 * MS, 1000);
    rig.expect(24, 98, 63001, 65536, 0, 0);
    for i in 0..16 {
        rig.packet(35 * MS + i * 900_000, 1000);
    }
    rig.packet(51 * MS, 1000);
    rig.expect(24, 99, 61771, 65536, 0, 0);
    for i in 0..9 {
        rig.packet(52 * MS + i * 1_500_000, 1000);
    }
    assert_eq!(rig.sender.state().regime, Regime::AdditiveIncrease);
    rig.packet(68 * MS, 1000);
    rig.expect(24, 100, 75536, 65536, 0, 0);
    let mut delay = 0;
    for i in 1..=79 {
        delay = rig.packet(68 * MS + i * 200_000, 1000);
    }
    rig.expect(24, 100, 75536, 65536, 79000, 79);
    assert_eq!(delay, 86_080);
}

#[test]
fn one_answer_holds_for_one_packet() {
    let now = Instant::now();
    let mut sender = Sender::with_controller(Policy::MultiBitEcn, Controller::Slots, now, now);
    assert_eq!(sender.may_send(now, 65_536), Ok(()));
    let until = sender.may_send(now, 1).expect_err("the window is used up");
    assert_eq!(until, now + Duration::from_nanos(1 << 24));
    // Asking again, be it in vain, counts nothing.
    let bytes = sender.state().bytes;
    assert_eq!(sender.may_send(now, 1), Err(until));
    assert_eq!(sender.may_send(until, 1), Ok(()));
    assert_eq!(sender.state().bytes, bytes);
    let mut free = Sender::new(Policy::None, now, now);
    assert_eq!(free.may_send(now, usize::MAX), Ok(()));
}

/// A receiver that reports nonsense slows its own flow down to a crawl, but not for good.
#[test]
fn a_flow_recovers_from_any_report() {
    for controller in [Controller::Rate, Controller::Slots] {
        let start = Instant::now();
        let mut now = start;
        let mut sender = Sender::with_controller(Policy::MultiBitEcn, controller, start, start);
        let mut send_for = |seconds: u64, report: u16| {
            let end = now + Duration::from_secs(seconds);
            let mut sent = 0_u64;
            while now < end {
                sender.update(now, report);
                match sender.may_send(now, 60_000) {
                    Ok(()) => sent += 60_000,
                    Err(until) => now = until,
                }
                now += Duration::from_micros(10);
            }
            sent
        };
        send_for(60, u16::MAX);
        let crawl = send_for(10, u16::MAX);
        assert!(crawl <= 40 * 60_000, "{controller:?} {crawl}");
        send_for(10, 0);
        let recovered = send_for(10, 0);
        assert!(recovered > 20_000_000, "{controller:?} {recovered}");
    }
}

/// A path without marks is used whatever its rate, also after it was congested once.
#[test]
fn a_free_path_has_no_highest_rate() {
    let start = Instant::now();
    let mut now = start;
    let mut sender = Sender::new(Policy::MultiBitEcn, start, start);
    sender.update(now, 5);
    sender.update(now, 0);
    while now < start + Duration::from_secs(100) {
        if let Err(until) = sender.may_send(now, 60_000) {
            now = until;
        }
        // A gigabyte per second, of 16.8 ms.
        if sender.state().window > 16_800_000 {
            return;
        }
    }
    panic!("{:?}", sender.state());
}

/// A rate that nobody uses does not grow: the path has not been asked.
#[test]
fn an_idle_flow_saves_nothing() {
    let start = Instant::now();
    let mut sender = Sender::new(Policy::MultiBitEcn, start, start);
    let mut now = start;
    for _ in 0..1000 {
        now += Duration::from_millis(10);
        assert_eq!(sender.may_send(now, 1000), Ok(()));
    }
    // About 4 MB/s times 16.8 ms, as at the start.
    assert!(sender.state().window <= 65_536, "{:?}", sender.state());
    now += Duration::from_secs(10);
    let mut burst = 0;
    while sender.may_send(now, 1000).is_ok() {
        burst += 1000;
    }
    assert!(burst < 20_000, "{burst}");
}

proptest! {
    /// Whatever the other end reports and however packets come: no panic, no delay above 1 s, and the
    /// flow gets on.
    #[test]
    fn hostile_reports_cannot_stop_a_flow(
        steps in proptest::collection::vec(
            (any::<Option<u16>>(), prop_oneof![0u64..1000, 0..MS, 0..100_000 * MS], 0usize..70_000),
            0..400,
        ),
        start in 0u64..u64::from(u32::MAX),
        controller in prop_oneof![Just(Controller::Rate), Just(Controller::Slots)],
    ) {
        let epoch = Instant::now();
        let mut now = epoch + Duration::from_nanos(start);
        let mut sender = Sender::with_controller(Policy::MultiBitEcn, controller, epoch, now);
        for (report, pause, bytes) in steps {
            if let Some(level) = report {
                sender.update(now, level);
            }
            now += Duration::from_nanos(pause);
            if let Err(until) = sender.may_send(now, bytes) {
                prop_assert!(until > now && until - now <= Duration::from_secs(1));
                now = until;
                prop_assert_eq!(sender.may_send(now, bytes), Ok(()));
            }
            let state = sender.state();
            prop_assert!((10..=30).contains(&state.exponent));
        }
    }
}
