//! Flows between two mappings of a segment: states, waiting, bells, and a peer that writes at
//! random.
#![cfg(not(loom))]

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use o7s_ring::layout::segment_len;
use o7s_ring::{
    Bell, BellHandle, BellParts, DEFAULT_CAPACITY, Drain, Endpoint, MIN_CAPACITY, OpenError,
    ReadWaiter, Receiver, Record, Segment, SendError, Sender, Side, State, WaitOutcome, Warden,
    WriteWaiter, max_message,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, SealFlags};

type Ends = ((Sender, Receiver, State), (Sender, Receiver, State));

fn flow(capacity: u32) -> (Segment, Ends) {
    let segment = Segment::create(capacity).unwrap();
    let a = Endpoint::open(segment.fd(), Side::A).unwrap().split();
    let b = Endpoint::open(segment.fd(), Side::B).unwrap().split();
    (segment, (a, b))
}

fn bells() -> (Arc<Bell>, Arc<Bell>) {
    let (a, b) = BellParts::create().unwrap();
    (
        Arc::new(Bell::open(a, Side::A).unwrap()),
        Arc::new(Bell::open(b, Side::B).unwrap()),
    )
}

fn readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
}

fn slots(bell: &Bell) -> Vec<u32> {
    let mut slots = Vec::new();
    bell.drain(|slot| slots.push(slot)).unwrap();
    slots
}

#[test]
fn handles_go_to_other_threads() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + Clone>() {}
    send::<Endpoint>();
    send::<Sender>();
    send::<Receiver>();
    share::<State>();
    share::<ReadWaiter>();
    share::<WriteWaiter>();
    share::<Arc<Bell>>();
    share::<Arc<Warden>>();
}

#[test]
fn both_directions() {
    let (_segment, ((mut atx, mut arx, _), (mut btx, mut brx, _))) = flow(DEFAULT_CAPACITY);
    atx.try_send(b"to b").unwrap();
    btx.try_send_vectored(&[IoSlice::new(b"to "), IoSlice::new(b"a")])
        .unwrap();
    assert_eq!(brx.queued_packets().unwrap(), 1);
    assert_eq!(atx.queued_packets().unwrap(), 1);
    let mut buf = [0; 3];
    let recv = brx.try_recv(&mut buf).unwrap().unwrap();
    assert_eq!((recv.copied, recv.total, &buf), (3, 4, b"to "));
    assert_eq!(atx.queued_packets().unwrap(), 0);
    let mut packet = b"+".to_vec();
    assert_eq!(arx.try_recv_vec(&mut packet).unwrap(), Some(4));
    assert_eq!(packet, b"+to a");
    assert_eq!(arx.try_recv(&mut buf).unwrap(), None);
    // An empty packet is a packet; a keepalive is not.
    atx.try_keepalive().unwrap();
    atx.try_send(b"").unwrap();
    assert_eq!(brx.queued_packets().unwrap(), 1);
    assert_eq!(brx.peek().unwrap(), Some(0));
    assert_eq!(brx.keepalives(), 1);
    brx.consume();
    assert_eq!(brx.peek().unwrap(), None);
}

#[test]
fn batches() {
    let (_segment, ((mut tx, _, _), (_, mut rx, _))) = flow(MIN_CAPACITY);
    let packets: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 50]).collect();
    let (sent, error) = tx.try_send_batch(&packets);
    assert_eq!(error, Some(SendError::Full));
    assert!(sent > 50 && sent < 100);
    let mut received = Vec::new();
    let count = rx.recv_many(10, |packet| {
        let mut bytes = Vec::new();
        packet.append_to(&mut bytes);
        received.push(bytes);
    });
    assert_eq!(count.unwrap(), 10);
    assert_eq!(received, packets[..10]);
    assert_eq!(rx.recv_many(usize::MAX, |_| {}).unwrap(), sent - 10);
    assert_eq!(rx.recv_many(1, |_| {}).unwrap(), 0);
    assert_eq!(tx.queued_packets().unwrap(), 0);
}

#[test]
fn the_longest_packet() {
    let (_segment, ((mut tx, _, state), (_, mut rx, _))) = flow(DEFAULT_CAPACITY);
    let max = max_message(DEFAULT_CAPACITY);
    assert!(max >= 1_048_260 && max == state.max_message() && max == tx.max_message());
    let mut packet = Vec::new();
    for round in 0..5 {
        tx.try_send(&vec![round; max]).unwrap();
        assert_eq!(
            tx.try_send(&vec![0; max + 1]),
            Err(SendError::TooLarge { len: max + 1, max })
        );
        packet.clear();
        rx.try_recv_vec(&mut packet).unwrap();
        assert_eq!(packet, vec![round; max]);
    }
}

#[test]
fn states_are_seen_after_the_data() {
    let (_segment, ((mut atx, _, astate), (mut btx, mut brx, bstate))) = flow(MIN_CAPACITY);
    assert!(!bstate.peer().down);
    astate.set_down(true);
    astate.set_down(true);
    assert!(astate.is_down());
    let first = bstate.peer();
    assert!(first.down);
    astate.set_down(false);
    astate.set_down(true);
    let second = bstate.peer();
    assert!(second.down && second.down_epoch == first.down_epoch + 2);

    astate.set_refuse(true);
    assert_eq!(btx.try_send(b"no"), Err(SendError::Refused));
    astate.set_refuse(false);
    btx.try_send(b"yes").unwrap();

    atx.try_send(b"last").unwrap();
    astate.close();
    assert!(bstate.peer().closed);
    assert_eq!(btx.try_send(b"late"), Err(SendError::PeerClosed));
    assert_eq!(brx.peek().unwrap(), Some(4));
}

#[test]
fn a_reader_sleeps_until_there_is_a_packet() {
    let (_segment, ((mut tx, _, _), (_, mut rx, state))) = flow(MIN_CAPACITY);
    let (back, got) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let waiter = state.read_waiter();
        for number in 0..2000u32 {
            while rx.peek().unwrap().is_none() {
                waiter.wait(None, || waiter.readable(), || false);
            }
            let mut buf = [0; 4];
            rx.try_recv(&mut buf).unwrap();
            assert_eq!(u32::from_ne_bytes(buf), number);
            back.send(()).unwrap();
        }
    });
    for number in 0..2000u32 {
        tx.try_send(&number.to_ne_bytes()).unwrap();
        got.recv().unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn a_writer_sleeps_until_there_is_space() {
    let (_segment, ((mut tx, _, wstate), (_, mut rx, rstate))) = flow(MIN_CAPACITY);
    let writer = std::thread::spawn(move || {
        let waiter = wstate.write_waiter();
        for number in 0..20_000u64 {
            let packet = vec![number as u8; (number * 97 % 2000) as usize];
            while let Err(error) = tx.try_send(&packet) {
                assert_eq!(error, SendError::Full);
                waiter.wait(None, || waiter.writable(packet.len()), || false);
            }
        }
    });
    let waiter = rstate.read_waiter();
    let mut packet = Vec::new();
    for number in 0..20_000u64 {
        packet.clear();
        while rx.try_recv_vec(&mut packet).unwrap().is_none() {
            waiter.wait(None, || waiter.readable(), || false);
        }
        assert_eq!(packet, vec![number as u8; (number * 97 % 2000) as usize]);
    }
    writer.join().unwrap();
}

#[test]
fn waits_end() {
    let (segment, ((_, _, astate), (_, _, bstate))) = flow(MIN_CAPACITY);
    let waiter = bstate.read_waiter();
    let past = Some(Instant::now());
    assert_eq!(waiter.wait(past, || false, || false), WaitOutcome::TimedOut);
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(
        waiter.wait(Some(soon), || false, || false),
        WaitOutcome::TimedOut
    );
    assert!(Instant::now() >= soon);
    assert_eq!(waiter.wait(None, || false, || true), WaitOutcome::Cancelled);

    let warden = Warden::open(segment.fd()).unwrap();
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let peer = bstate.clone();
        // Each returns only because it is woken.
        let closed = scope.spawn(move || {
            let waiter = peer.read_waiter();
            while waiter.wait(None, || peer.peer().closed, || false) != WaitOutcome::Ready {}
        });
        let peer = bstate.clone();
        let gone = scope.spawn(move || {
            let waiter = peer.write_waiter();
            while waiter.wait(None, || peer.peer().gone, || false) != WaitOutcome::Ready {}
        });
        let waiter = astate.read_waiter();
        let cancel = &cancel;
        let cancelled = scope.spawn(move || {
            let stop = || cancel.load(Ordering::Acquire);
            while waiter.wait(None, || false, stop) != WaitOutcome::Cancelled {}
        });
        astate.close();
        closed.join().unwrap();
        warden.mark_peer_gone(Side::A);
        gone.join().unwrap();
        cancel.store(true, Ordering::Release);
        astate.kick();
        cancelled.join().unwrap();
    });
}

#[test]
fn the_warden_speaks_for_the_dead() {
    let (segment, ((mut atx, _, _), (mut btx, mut brx, bstate))) = flow(MIN_CAPACITY);
    let warden = Warden::open(segment.fd()).unwrap();
    assert_eq!(warden.capacity(), MIN_CAPACITY);
    atx.try_send(b"last words").unwrap();
    assert!(!bstate.read_waiter().arm_bell(|| false));
    let armed = warden.mark_peer_gone(Side::A);
    assert!(armed.b && !armed.a);
    assert!(!warden.wake().b);
    assert!(bstate.peer().gone && !bstate.peer().closed);
    assert_eq!(btx.try_send(b"?"), Err(SendError::PeerGone));
    assert_eq!(brx.peek().unwrap(), Some(10));
    warden.mark_closed(Side::A);
    assert!(bstate.peer().closed);
}

#[test]
fn a_bell_rings_once_for_what_was_asked() {
    let (_segment, ((mut atx, _, astate), (mut btx, mut brx, bstate))) = flow(MIN_CAPACITY);
    let (abell, bbell) = bells();
    astate.set_bell(Some(BellHandle {
        bell: abell,
        slot: 777,
    }));
    let waiter = bstate.read_waiter();
    let ready = || waiter.readable();
    assert!(!waiter.arm_bell(ready));
    assert!(!readable(&*bbell));
    atx.try_send(b"1").unwrap();
    assert!(readable(&*bbell));
    assert_eq!(slots(&bbell), [777]);
    assert!(!readable(&*bbell));
    // Not armed: no ring; and arming finds the packets.
    atx.try_send(b"2").unwrap();
    assert!(!readable(&*bbell));
    assert!(waiter.arm_bell(ready));
    assert_eq!(waiter.packets_written().unwrap(), 2);
    assert_eq!(waiter.packets_read(), 0);
    brx.recv_many(2, |_| {}).unwrap();
    assert_eq!(waiter.packets_read(), 2);
    assert!(!waiter.arm_bell(ready));
    waiter.disarm_bell();
    atx.try_send(b"3").unwrap();
    assert!(!readable(&*bbell));
    brx.recv_many(1, |_| {}).unwrap();
    // A change of state rings too, and so does space.
    assert!(!waiter.arm_bell(ready));
    astate.set_down(true);
    assert_eq!(slots(&bbell), [777]);
    while btx.try_send(&[0; 100]).is_ok() {}
    let space = bstate.write_waiter();
    assert!(!space.arm_bell(|| space.writable(100)));
    assert_eq!(slots(&bbell), []);
}

#[test]
fn a_ring_without_a_bell_is_made_up_for() {
    let (_segment, ((mut atx, _, astate), (_, _, bstate))) = flow(MIN_CAPACITY);
    assert!(!bstate.read_waiter().arm_bell(|| false));
    atx.try_send(b"1").unwrap();
    let (abell, bbell) = bells();
    astate.set_bell(Some(BellHandle {
        bell: abell,
        slot: 5,
    }));
    assert_eq!(slots(&bbell), [5]);
}

#[test]
fn bells_drain_bound_and_close() {
    let (abell, bbell) = bells();
    assert!(slots(&bbell).is_empty());
    for slot in [0, 63, 64, 16_383, 16_384, u32::MAX] {
        abell.ring(slot);
    }
    assert!(readable(&*bbell));
    assert!(!readable(&*abell));
    assert_eq!(slots(&bbell), [0, 63, 64, 16_383]);
    abell.ring(1);
    drop(abell);
    let mut rung = 0;
    assert_eq!(
        bbell.drain(|slot| rung += slot).unwrap(),
        Drain::Open,
        "the byte of the last ring comes first"
    );
    assert_eq!(rung, 1);
    assert_eq!(bbell.drain(|_| {}).unwrap(), Drain::PeerClosed);
    bbell.ring(3);
}

#[test]
fn bells_between_threads_lose_nothing() {
    const COUNT: u64 = 20_000;
    let (abell, bbell) = bells();
    let rung = Arc::new(AtomicU64::new(0));
    let ringer = {
        let rung = Arc::clone(&rung);
        std::thread::spawn(move || {
            for number in 1..=COUNT {
                rung.store(number, Ordering::Release);
                abell.ring(9);
            }
            abell
        })
    };
    let mut seen = 0;
    while seen < COUNT {
        let mut fds = [PollFd::new(&*bbell, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        bbell
            .drain(|slot| {
                assert_eq!(slot, 9);
                seen = rung.load(Ordering::Acquire);
            })
            .unwrap();
    }
    ringer.join().unwrap();
}

fn memfd(len: usize, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::fs::ftruncate(&fd, len as u64).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

#[test]
fn other_files_are_refused() {
    let sealed = SealFlags::SHRINK | SealFlags::GROW;
    let open = |fd: &OwnedFd| {
        let whole = Endpoint::open(fd.as_fd(), Side::A).unwrap_err();
        let warden = Warden::open(fd.as_fd()).unwrap_err();
        assert_eq!(whole.to_string(), warden.to_string());
        whole
    };
    let good = segment_len(MIN_CAPACITY);
    for seals in [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW] {
        assert!(matches!(open(&memfd(good, seals)), OpenError::NotSealed));
    }
    let size = open(&memfd(100, sealed));
    assert!(matches!(size, OpenError::Size { size: 100, .. }));
    assert!(matches!(open(&memfd(0, sealed)), OpenError::Size { .. }));
    assert!(matches!(open(&memfd(good, sealed)), OpenError::Magic));
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert!(matches!(open(&null), OpenError::NotSealed));

    let header = |capacity: u32, version: u32, len: usize| {
        let fd = memfd(len, SealFlags::empty());
        let mut bytes = b"o7s flow".to_vec();
        bytes.extend(version.to_ne_bytes());
        bytes.extend(capacity.to_ne_bytes());
        rustix::io::pwrite(&fd, &bytes, 0).unwrap();
        rustix::fs::fcntl_add_seals(&fd, sealed).unwrap();
        fd
    };
    assert!(Endpoint::open(header(MIN_CAPACITY, 1, good).as_fd(), Side::A).is_ok());
    let version = open(&header(MIN_CAPACITY, 2, good));
    assert!(matches!(version, OpenError::Version(2)));
    for capacity in [0, 5000, MIN_CAPACITY / 2, u32::MAX, 1 << 31] {
        let error = open(&header(capacity, 1, good));
        assert!(matches!(error, OpenError::Capacity(found) if found == capacity));
    }
    for (capacity, len) in [
        (2 * MIN_CAPACITY, good),
        (MIN_CAPACITY, good + 1),
        (MIN_CAPACITY, 2 * good),
    ] {
        let error = open(&header(capacity, 1, len));
        assert!(matches!(error, OpenError::Size { .. }), "{error}");
    }

    let (end, _) = BellParts::create().unwrap();
    let bad = o7s_ring::BellEnd {
        socket: end.socket,
        memory: memfd(2 * good, sealed),
    };
    assert!(matches!(
        Bell::open(bad, Side::A),
        Err(OpenError::Size { .. })
    ));
    assert!(Segment::create(5000).is_err());
}

/// A thread writes at random through its own file descriptor while both sides work: whatever they
/// then say, they say it without harm, and stick to it.
#[test]
fn a_scribbling_peer_does_no_harm() {
    for seed in 1..40u64 {
        let (segment, ((mut tx, _, wstate), (_, mut rx, rstate))) = flow(MIN_CAPACITY);
        let fd = segment.into_fd();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let mut next = || {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random
                };
                while !stop.load(Ordering::Relaxed) {
                    let area = if next() % 4 == 0 { 1408 } else { 12_288 };
                    let at = 128 + next() % (area - 136) / 8 * 8;
                    let value = match next() % 3 {
                        0 => next(),
                        1 => next() % 20_000,
                        _ => (next() % 2000) | ((next() % 5) << 32),
                    };
                    rustix::io::pwrite(&fd, &value.to_ne_bytes(), at).unwrap();
                }
            });
            let packet = [7; 300];
            let mut buf = [0; 4000];
            let soon = || Some(Instant::now() + Duration::from_micros(10));
            for _ in 0..2000 {
                let sent = tx.try_send(&packet);
                if sent == Err(SendError::Full) {
                    let waiter = wstate.write_waiter();
                    waiter.wait(soon(), || waiter.writable(300), || false);
                }
                match rx.try_recv(&mut buf) {
                    Ok(Some(recv)) => assert!(recv.total <= max_message(MIN_CAPACITY)),
                    Ok(None) => {
                        let waiter = rstate.read_waiter();
                        waiter.wait(soon(), || waiter.readable(), || false);
                    }
                    Err(corrupt) => {
                        assert!(rstate.corrupt().is_some());
                        assert!(rx.peek().is_err(), "{corrupt}");
                    }
                }
                let _ = rx.queued_packets();
                let _ = tx.queued_packets();
                let _ = rstate.read_waiter().packets_written();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn records_are_forwarded_in_order_with_keepalives() {
    let (_s1, ((mut tx, _, _), (_, mut from, _))) = flow(MIN_CAPACITY);
    let (_s2, ((mut to, _, _), (_, mut rx, _))) = flow(MIN_CAPACITY);
    tx.try_keepalive().unwrap();
    tx.try_send(b"one").unwrap();
    tx.try_keepalive().unwrap();
    tx.try_send(b"two").unwrap();
    let mut seen = Vec::new();
    while let Some(record) = from.peek_record().unwrap() {
        seen.push(record);
        to.try_forward(&from).unwrap();
        from.consume_staged();
    }
    assert_eq!(
        seen,
        [
            Record::Keepalive,
            Record::Data(3),
            Record::Keepalive,
            Record::Data(3)
        ]
    );
    assert_eq!((from.keepalives(), from.packets_read()), (2, 2));
    // Not there before it is flushed.
    assert_eq!(rx.peek().unwrap(), None);
    to.flush();
    from.flush();
    assert_eq!(tx.queued_packets().unwrap(), 0);
    let mut packet = Vec::new();
    assert_eq!(rx.peek_record().unwrap(), Some(Record::Keepalive));
    // A reader of packets goes past a keepalive that was looked at.
    assert_eq!(rx.peek().unwrap(), Some(3));
    assert_eq!(rx.append_to(&mut packet), 3);
    rx.consume();
    assert_eq!(rx.peek_record().unwrap(), Some(Record::Keepalive));
    rx.consume_staged();
    assert_eq!(rx.try_recv_vec(&mut packet).unwrap(), Some(3));
    assert_eq!(packet, b"onetwo");
    assert_eq!(rx.keepalives(), 2);
}

#[test]
fn forwarding_says_when_there_is_no_room() {
    let (_s1, ((mut tx, _, _), (_, mut from, _))) = flow(MIN_CAPACITY);
    let (_s2, ((mut to, _, _), (_, mut rx, _))) = flow(MIN_CAPACITY);
    let packet = [3; 1000];
    let mut sent = 0_u64;
    loop {
        if tx.try_send(&packet).is_err() {
            from.peek_record().unwrap().unwrap();
            match to.try_forward(&from) {
                Ok(()) => from.consume_staged(),
                Err(SendError::Full) => break,
                Err(other) => panic!("{other}"),
            }
            from.flush();
            continue;
        }
        sent += 1;
    }
    // What found no room is still there.
    to.flush();
    let mut got = 0_u64;
    let mut buf = Vec::new();
    loop {
        while rx.try_recv_vec(&mut buf).unwrap().is_some() {
            got += 1;
        }
        if from.peek_record().unwrap().is_none() {
            break;
        }
        to.try_forward(&from).unwrap();
        from.consume_staged();
        to.flush();
    }
    while rx.try_recv_vec(&mut buf).unwrap().is_some() {
        got += 1;
    }
    assert_eq!(got, sent);
    assert!(to.try_stage(&[]).is_ok() && to.try_stage(b"x").is_ok());
    assert_eq!(rx.peek().unwrap(), None);
    to.flush();
    assert_eq!(rx.peek().unwrap(), Some(1));
}

#[test]
fn a_dead_side_can_be_set_down() {
    let (segment, ((_, _, a), (_, _, b))) = flow(MIN_CAPACITY);
    let warden = Warden::open(segment.fd()).unwrap();
    warden.mark_down(Side::B);
    let seen = a.peer();
    assert!(seen.down && !seen.closed && !seen.gone);
    warden.mark_down(Side::B);
    assert_eq!(a.peer().down_epoch, seen.down_epoch);
    assert!(!b.peer().down);
}
