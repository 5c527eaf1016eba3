//! The ring's algorithm over memory of the heap that checks each access: against a model, and
//! with a hostile other side.
//!
//! The tests named `miri_*` make no system call: `cargo miri test -p o7s-ring --test heap miri_`.
#![cfg(not(loom))]

use std::alloc::Layout;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use o7s_ring::layout::{Direction, MIN_CAPACITY};
use o7s_ring::ring::{Consumer, Memory, Producer, fits};
use o7s_ring::{SendError, max_message};
use proptest::prelude::*;

struct Inner {
    control: Direction,
    data: *mut u8,
    capacity: u32,
}

impl Inner {
    fn layout(capacity: u32) -> Layout {
        Layout::from_size_align(capacity as usize, 8).unwrap()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: allocated in `HeapMemory::new` with this layout.
        unsafe { std::alloc::dealloc(self.data, Self::layout(self.capacity)) };
    }
}

// SAFETY: the ring's algorithm orders the accesses to `data`; Miri sees if it does not.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

#[derive(Clone)]
struct HeapMemory(Arc<Inner>);

impl HeapMemory {
    fn new(capacity: u32) -> Self {
        // SAFETY: the layout is not empty.
        let data = unsafe { std::alloc::alloc_zeroed(Inner::layout(capacity)) };
        assert!(!data.is_null());
        Self(Arc::new(Inner {
            control: Direction::new(),
            data,
            capacity,
        }))
    }

    fn at(&self, offset: u32, len: usize) -> *mut u8 {
        assert!(
            offset as usize + len <= self.0.capacity as usize,
            "out of bounds"
        );
        // SAFETY: in bounds.
        unsafe { self.0.data.add(offset as usize) }
    }

    fn word(&self, offset: u32) -> &AtomicU64 {
        assert_eq!(offset % 8, 0, "unaligned");
        // SAFETY: aligned and in bounds.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }
}

// SAFETY: all accesses are checked; the memory lives as long as the value.
unsafe impl Memory for HeapMemory {
    fn control(&self) -> &Direction {
        &self.0.control
    }
    fn capacity(&self) -> u32 {
        self.0.capacity
    }
    unsafe fn load_header(&self, offset: u32) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }
    unsafe fn store_header(&self, offset: u32, header: u64) {
        self.word(offset).store(header, Ordering::Relaxed);
    }
    unsafe fn copy_in(&self, offset: u32, src: *const u8, len: usize) {
        // SAFETY: `src` is the caller's promise, the ring's side was checked.
        unsafe { std::ptr::copy_nonoverlapping(src, self.at(offset, len), len) };
    }
    unsafe fn copy_out(&self, offset: u32, dst: *mut u8, len: usize) {
        // SAFETY: `dst` is the caller's promise, the ring's side was checked.
        unsafe { std::ptr::copy_nonoverlapping(self.at(offset, len), dst, len) };
    }
    fn pointer(&self, offset: u32) -> *const u8 {
        self.at(offset, 0)
    }
}

type Ends = (Producer<HeapMemory>, Consumer<HeapMemory>, HeapMemory);

fn ring(capacity: u32) -> Ends {
    let memory = HeapMemory::new(capacity);
    (
        Producer::new(memory.clone()),
        Consumer::new(memory.clone()),
        memory,
    )
}

fn packet(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (number.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8)
        .collect()
}

fn receive(consumer: &mut Consumer<HeapMemory>) -> Option<Vec<u8>> {
    let len = consumer.peek().expect("a sound ring");
    let packet = len.map(|len| {
        let mut packet = vec![0; len];
        assert_eq!(consumer.copy_out(0, &mut packet), len);
        consumer.consume();
        packet
    });
    consumer.publish();
    packet
}

#[test]
fn miri_packets_pass_in_order() {
    let (mut producer, mut consumer, _) = ring(MIN_CAPACITY);
    for number in 0..200 {
        let sent = packet(number, (number as usize * 37) % 700);
        producer.push(&sent).unwrap();
        producer.publish();
        assert_eq!(producer.queued_packets().unwrap(), 1);
        assert_eq!(receive(&mut consumer).unwrap(), sent);
        assert_eq!(producer.queued_packets().unwrap(), 0);
    }
    assert_eq!(receive(&mut consumer), None);
}

#[test]
fn miri_two_threads() {
    let count = if cfg!(miri) { 200 } else { 200_000 };
    let (mut producer, mut consumer, _) = ring(MIN_CAPACITY);
    let writer = std::thread::spawn(move || {
        for number in 0..count {
            let sent = packet(number, (number as usize * 37) % 500);
            while producer.push(&sent) == Err(SendError::Full) {
                std::thread::yield_now();
            }
            producer.publish();
        }
    });
    for number in 0..count {
        let found = loop {
            if let Some(found) = receive(&mut consumer) {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found, packet(number, (number as usize * 37) % 500));
    }
    writer.join().unwrap();
}

#[test]
fn miri_full_ring_and_longest_packet() {
    let (mut producer, mut consumer, memory) = ring(MIN_CAPACITY);
    let max = max_message(MIN_CAPACITY);
    assert_eq!(
        producer.push(&vec![0; max + 1]),
        Err(SendError::TooLarge { len: max + 1, max })
    );
    // The longest packet fits into an empty ring at whatever offset.
    for step in 0..300 {
        let sent = packet(step, max);
        producer.push(&sent).unwrap();
        producer.publish();
        assert_eq!(receive(&mut consumer).unwrap(), sent);
        producer.push(&[1; 5]).unwrap();
        producer.push_keepalive().unwrap();
        producer.publish();
        assert_eq!(receive(&mut consumer).unwrap(), [1; 5]);
        assert_eq!(receive(&mut consumer), None);
        assert_eq!(consumer.keepalives(), step + 1);
    }
    let mut sent = 0;
    while producer.push(&[9; 56]).is_ok() {
        sent += 1;
    }
    producer.publish();
    assert!((63..=64).contains(&sent), "{sent}");
    assert_eq!(producer.push(&[9; 56]), Err(SendError::Full));
    let room = |producer: &Producer<HeapMemory>| {
        let head = memory.control().consumer.head.load(Ordering::Acquire);
        fits(MIN_CAPACITY, producer.tail(), producer.base(), head, 56)
    };
    assert!(!room(&producer));
    assert!(receive(&mut consumer).is_some());
    assert!(receive(&mut consumer).is_some());
    assert!(room(&producer));
    producer.push(&[8; 56]).unwrap();
    producer.publish();
    while let Some(found) = receive(&mut consumer) {
        assert_eq!(found.len(), 56);
        sent -= 1;
    }
    assert_eq!(sent, 1);
}

#[test]
fn miri_parts_and_partial_reads() {
    let (mut producer, mut consumer, _) = ring(MIN_CAPACITY);
    producer
        .push_parts(&[&b"ab"[..], &b""[..], &b"cdef"[..]])
        .unwrap();
    producer.publish();
    assert_eq!(consumer.peek().unwrap(), Some(6));
    let mut part = [0; 4];
    assert_eq!(consumer.copy_out(0, &mut part), 4);
    assert_eq!(&part, b"abcd");
    assert_eq!(consumer.copy_out(4, &mut part), 2);
    assert_eq!(&part, b"efcd");
    assert_eq!(consumer.copy_out(7, &mut part), 0);
    consumer.consume();
    assert_eq!(consumer.peek().unwrap(), None);
}

/// A flow that is used lightly does not walk through all of its ring.
#[test]
fn a_light_flow_stays_at_the_start() {
    let capacity = 1 << 20;
    let (mut producer, mut consumer, memory) = ring(capacity);
    for number in 0..20_000 {
        let sent = packet(number, 100);
        producer.push(&sent).unwrap();
        producer.publish();
        assert_eq!(receive(&mut consumer).unwrap(), sent);
    }
    let touched = (0..capacity)
        .step_by(8)
        .filter(|&offset| memory.word(offset).load(Ordering::Relaxed) != 0)
        .max()
        .unwrap();
    assert!(touched < 40 << 10, "{touched}");
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Keepalive,
    Publish,
    Receive,
    ReceiveAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..600).prop_map(Step::Send),
        2 => (0usize..=max_message(MIN_CAPACITY)).prop_map(Step::Send),
        1 => Just(Step::Keepalive),
        4 => Just(Step::Publish),
        5 => Just(Step::Receive),
        1 => Just(Step::ReceiveAll),
    ]
}

/// What a hostile peer does to the memory.
#[derive(Debug, Clone)]
enum Attack {
    Tail(u64),
    Base(u64),
    Written(u64),
    Head(u64),
    Read(u64),
    Header { word: u32, len: u32, kind: u32 },
    Word { word: u32, value: u64 },
}

fn position() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..3 * u64::from(MIN_CAPACITY) / 8).prop_map(|at| at * 8),
        1 => 0u64..3 * u64::from(MIN_CAPACITY),
        1 => any::<u64>(),
        1 => Just(u64::MAX - 7),
    ]
}

fn attack() -> impl Strategy<Value = Attack> {
    let word = || 0..MIN_CAPACITY / 8;
    let len = prop_oneof![0u32..3000, any::<u32>(), Just(u32::MAX), Just(u32::MAX - 7)];
    prop_oneof![
        position().prop_map(Attack::Tail),
        position().prop_map(Attack::Base),
        position().prop_map(Attack::Written),
        position().prop_map(Attack::Head),
        position().prop_map(Attack::Read),
        (word(), len, prop_oneof![4 => 0u32..5, 1 => any::<u32>()])
            .prop_map(|(word, len, kind)| Attack::Header { word, len, kind }),
        (word(), any::<u64>()).prop_map(|(word, value)| Attack::Word { word, value }),
    ]
}

fn perform(memory: &HeapMemory, attack: &Attack) {
    let control = memory.control();
    let (target, value) = match *attack {
        Attack::Tail(at) => (&control.producer.tail, at),
        Attack::Base(at) => (&control.producer.base, at),
        Attack::Written(count) => (&control.producer.packets, count),
        Attack::Head(at) => (&control.consumer.head, at),
        Attack::Read(count) => (&control.consumer.packets, count),
        Attack::Header { word, len, kind } => (
            memory.word(word * 8),
            u64::from(len) | u64::from(kind) << 32,
        ),
        Attack::Word { word, value } => (memory.word(word * 8), value),
    };
    target.store(value, Ordering::Relaxed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_queue(steps in prop::collection::vec(step(), 1..300)) {
        let (mut producer, mut consumer, _) = ring(MIN_CAPACITY);
        let mut queue = VecDeque::new();
        let mut unpublished = VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(len) => {
                    let sent = packet(number as u64, len);
                    match producer.push(&sent) {
                        Ok(()) => unpublished.push_back(sent),
                        Err(error) => {
                            prop_assert_eq!(error, SendError::Full);
                            prop_assert!(!(queue.is_empty() && unpublished.is_empty())
                                || consumer.peek().unwrap().is_none());
                        }
                    }
                }
                Step::Keepalive => {
                    if producer.push_keepalive().is_ok() {
                        producer.publish();
                        queue.append(&mut unpublished);
                    }
                }
                Step::Publish => {
                    producer.publish();
                    queue.append(&mut unpublished);
                }
                Step::Receive => prop_assert_eq!(receive(&mut consumer), queue.pop_front()),
                Step::ReceiveAll => {
                    while let Some(found) = receive(&mut consumer) {
                        prop_assert_eq!(Some(found), queue.pop_front());
                    }
                    prop_assert!(queue.is_empty());
                }
            }
            prop_assert_eq!(
                consumer.packets_written().unwrap() - consumer.packets(),
                queue.len() as u64
            );
        }
    }

    /// Whatever the peer writes: no access out of bounds (`HeapMemory` would panic), no panic, no
    /// endless loop; and what is corrupt stays so.
    #[test]
    fn a_hostile_peer_does_no_harm(
        steps in prop::collection::vec((step(), prop::option::of(attack())), 1..200)
    ) {
        let (mut producer, mut consumer, memory) = ring(MIN_CAPACITY);
        let mut read_corrupt = None;
        let mut write_corrupt = None;
        for (step, attack) in steps {
            if let Some(attack) = attack {
                perform(&memory, &attack);
            }
            let sent = match step {
                Step::Send(len) => producer.push(&packet(1, len)),
                Step::Keepalive => producer.push_keepalive(),
                Step::Publish => {
                    producer.publish();
                    Ok(())
                }
                Step::Receive | Step::ReceiveAll => {
                    // A peer can queue no more than what fits, in one look.
                    for _ in 0..MIN_CAPACITY / 8 {
                        match consumer.peek() {
                            Ok(Some(len)) => {
                                prop_assert!(read_corrupt.is_none());
                                prop_assert!(len <= max_message(MIN_CAPACITY));
                                let mut found = vec![0; len];
                                prop_assert_eq!(consumer.copy_out(0, &mut found), len);
                                consumer.consume();
                            }
                            Ok(None) => {
                                prop_assert!(read_corrupt.is_none());
                                break;
                            }
                            Err(corrupt) => {
                                prop_assert!(read_corrupt.is_none_or(|old| old == corrupt));
                                read_corrupt = Some(corrupt);
                                break;
                            }
                        }
                        consumer.publish();
                    }
                    Ok(())
                }
            };
            match sent {
                Err(SendError::Corrupt(corrupt)) => {
                    prop_assert!(write_corrupt.is_none_or(|old| old == corrupt));
                    write_corrupt = Some(corrupt);
                }
                Err(_) => {}
                Ok(()) if matches!(step, Step::Send(_) | Step::Keepalive) => {
                    prop_assert!(write_corrupt.is_none());
                }
                Ok(()) => {}
            }
            if let Err(corrupt) = producer.queued_packets() {
                prop_assert!(write_corrupt.is_none_or(|old| old == corrupt));
                write_corrupt = Some(corrupt);
            }
            let _ = consumer.packets_written();
        }
    }
}
