//! The algorithms under loom: every interleaving and every value that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p o7s-ring --test loom`
//!
//! That the models can fail was tried by breaking the code by hand, one change at a time: the
//! comment of each says by which.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use o7s_ring::layout::{CLOSED, Direction};
use o7s_ring::ring::{Consumer, Memory, Producer, fits};
use o7s_ring::wait::{self, Futex, FutexWait, Limit};
use o7s_ring::{SendError, WaitOutcome, bits};

/// Small enough that a few records wrap: packets of up to 16 bytes, two at once.
const CAPACITY: u32 = 64;

struct Inner {
    control: Direction,
    /// The bytes of the ring in words whose accesses loom checks for races.
    words: Vec<UnsafeCell<u64>>,
}

#[derive(Clone)]
struct LoomMemory(Arc<Inner>);

impl LoomMemory {
    fn new() -> Self {
        Self(Arc::new(Inner {
            control: Direction::new(),
            words: (0..CAPACITY / 8).map(|_| UnsafeCell::new(0)).collect(),
        }))
    }
}

// SAFETY: all accesses are checked by `Vec` and by loom. Payloads are whole words.
unsafe impl Memory for LoomMemory {
    fn control(&self) -> &Direction {
        &self.0.control
    }
    fn capacity(&self) -> u32 {
        CAPACITY
    }
    unsafe fn load_header(&self, offset: u32) -> u64 {
        // SAFETY: loom panics if another thread writes.
        self.0.words[offset as usize / 8].with(|word| unsafe { *word })
    }
    unsafe fn store_header(&self, offset: u32, header: u64) {
        // SAFETY: loom panics if another thread accesses it.
        self.0.words[offset as usize / 8].with_mut(|word| unsafe { *word = header });
    }
    unsafe fn copy_in(&self, offset: u32, src: *const u8, len: usize) {
        assert_eq!(len % 8, 0);
        for index in 0..len / 8 {
            // SAFETY: `src` is valid for `len` bytes.
            let value = unsafe { src.cast::<u64>().add(index).read_unaligned() };
            // SAFETY: as in `store_header`.
            self.0.words[offset as usize / 8 + index].with_mut(|word| unsafe { *word = value });
        }
    }
    unsafe fn copy_out(&self, offset: u32, dst: *mut u8, len: usize) {
        assert_eq!(len % 8, 0);
        for index in 0..len / 8 {
            // SAFETY: as in `load_header`.
            let value = self.0.words[offset as usize / 8 + index].with(|word| unsafe { *word });
            // SAFETY: `dst` is valid for `len` bytes.
            unsafe { dst.cast::<u64>().add(index).write_unaligned(value) };
        }
    }
    fn pointer(&self, _offset: u32) -> *const u8 {
        std::ptr::null()
    }
}

/// A futex made of a lock and a condition variable. A lost wake-up is a deadlock, which loom
/// reports.
#[derive(Clone)]
struct LoomFutex(Arc<(Mutex<()>, Condvar)>);

impl LoomFutex {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(()), Condvar::new())))
    }
}

impl Futex for LoomFutex {
    fn wait(
        &self,
        word: &AtomicU32,
        expected: u32,
        timeout: Option<std::time::Duration>,
    ) -> FutexWait {
        assert!(timeout.is_none());
        let guard = self.0.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(self.0.1.wait(guard).unwrap());
        }
        FutexWait::Woken
    }
    fn wake_all(&self, _word: &AtomicU32) {
        let _guard = self.0.0.lock().unwrap();
        self.0.1.notify_all();
    }
}

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(3);
    }
    builder.check(test);
}

fn packet(number: u64, words: usize) -> Vec<u8> {
    (0..words as u64)
        .flat_map(|word| (number * 16 + word).to_ne_bytes())
        .collect()
}

/// Records arrive once, in order, whole; over the end of the ring and over a new start.
///
/// Fails with a race report when the store of `tail` or of `head` is relaxed, and with a corrupt
/// ring when the writer starts over while the ring is not empty.
#[test]
fn records_are_neither_lost_nor_torn() {
    model(|| {
        let memory = LoomMemory::new();
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory);
        let writer = thread::spawn(move || {
            for number in 0..4 {
                let packet = packet(number, 1 + number as usize % 2);
                loop {
                    match producer.push(&packet) {
                        Ok(()) => break,
                        Err(SendError::Full) => thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
                producer.publish();
            }
        });
        for number in 0..4 {
            let expected = packet(number, 1 + number as usize % 2);
            loop {
                match consumer.peek() {
                    Ok(Some(len)) => {
                        assert_eq!(len, expected.len());
                        let mut found = vec![0; len];
                        assert_eq!(consumer.copy_out(0, &mut found), len);
                        assert_eq!(found, expected);
                        consumer.consume();
                        consumer.publish();
                        break;
                    }
                    Ok(None) => {
                        if consumer.unpublished() {
                            consumer.publish();
                        }
                        thread::yield_now();
                    }
                    Err(corrupt) => panic!("{corrupt}"),
                }
            }
        }
        writer.join().unwrap();
        assert!(consumer.peek().unwrap().is_none());
    });
}

/// A reader that sleeps is woken by the packet that it waits for.
///
/// Deadlocks when the fence in `wake` or the one in `park` is removed.
#[test]
fn a_sleeping_reader_is_woken() {
    model(|| {
        let memory = LoomMemory::new();
        let futex = LoomFutex::new();
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        let waker = futex.clone();
        let writer = thread::spawn(move || {
            for number in 0..2 {
                producer.push(&packet(number, 1)).unwrap();
                producer.publish();
                let _ = wait::wake(&producer.memory().control().reader.word, &waker);
            }
        });
        for _ in 0..2 {
            while consumer.peek().unwrap().is_none() {
                let control = memory.control();
                let head = consumer.head();
                let done = wait::park(
                    &control.reader.word,
                    &futex,
                    Limit::Never,
                    || control.producer.tail.load(Ordering::Acquire) != head,
                    || false,
                );
                assert_eq!(done, WaitOutcome::Ready);
            }
            consumer.consume();
            consumer.publish();
        }
        writer.join().unwrap();
    });
}

/// A writer that sleeps on a full ring is woken when it is read from.
///
/// Deadlocks when the fence in `wake` or the one in `park` is removed.
#[test]
fn a_sleeping_writer_is_woken() {
    model(|| {
        let memory = LoomMemory::new();
        let futex = LoomFutex::new();
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        for number in 0..2 {
            producer.push(&packet(number, 2)).unwrap();
        }
        producer.publish();
        let waker = futex.clone();
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                assert!(consumer.peek().unwrap().is_some());
                consumer.consume();
                consumer.publish();
                let _ = wait::wake(&consumer.memory().control().writer.word, &waker);
            }
        });
        while let Err(error) = producer.push(&packet(2, 2)) {
            assert_eq!(error, SendError::Full);
            let control = memory.control();
            let (tail, base) = (producer.tail(), producer.base());
            let done = wait::park(
                &control.writer.word,
                &futex,
                Limit::Never,
                || {
                    let head = control.consumer.head.load(Ordering::Acquire);
                    fits(CAPACITY, tail, base, head, 16)
                },
                || false,
            );
            assert_eq!(done, WaitOutcome::Ready);
        }
        reader.join().unwrap();
    });
}

/// A kick wakes a sleeper whose cancel predicate has come true.
#[test]
fn a_kick_is_not_lost() {
    model(|| {
        let word = Arc::new(AtomicU32::new(0));
        let cancelled = Arc::new(AtomicU32::new(0));
        let futex = LoomFutex::new();
        let kicker = {
            let (word, cancelled, futex) = (word.clone(), cancelled.clone(), futex.clone());
            thread::spawn(move || {
                cancelled.store(1, Ordering::Release);
                wait::kick(&word, &futex);
            })
        };
        let done = wait::park(
            &word,
            &futex,
            Limit::Never,
            || false,
            || cancelled.load(Ordering::Acquire) == 1,
        );
        assert_eq!(done, WaitOutcome::Cancelled);
        kicker.join().unwrap();
    });
}

/// Two threads of one side sleep on one word; neither is forgotten.
///
/// Deadlocks when a wake-up steps the sequence before it clears the flags, and when it does not
/// step it at all.
#[test]
fn two_sleepers_are_both_woken() {
    model(|| {
        let word = Arc::new(AtomicU32::new(0));
        let position = Arc::new(AtomicU64::new(0));
        let futex = LoomFutex::new();
        let sleeper = |until: u64| {
            let (word, position, futex) = (word.clone(), position.clone(), futex.clone());
            move || {
                let ready = || position.load(Ordering::Acquire) >= until;
                assert_eq!(
                    wait::park(&word, &futex, Limit::Never, ready, || false),
                    WaitOutcome::Ready
                );
            }
        };
        let first = thread::spawn(sleeper(1));
        let second = thread::spawn(sleeper(2));
        for value in 1..=2 {
            position.store(value, Ordering::Release);
            let _ = wait::wake(&word, &futex);
        }
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// A flow's bell flag: either the waiting side finds the packet, or the writer has to ring.
///
/// Fails when the fence in `wake` or the one in `arm_bell` is removed.
#[test]
fn an_armed_flow_is_rung_for() {
    model(|| {
        let word = Arc::new(AtomicU32::new(0));
        let position = Arc::new(AtomicU64::new(0));
        let writer = {
            let (word, position) = (word.clone(), position.clone());
            thread::spawn(move || {
                position.store(1, Ordering::Release);
                wait::wake(&word, &LoomFutex::new())
            })
        };
        let ready = wait::arm_bell(&word, || position.load(Ordering::Acquire) == 1);
        assert!(writer.join().unwrap() || ready);
    });
}

/// Each ring is drained, sleeping on the socket only when nothing is left.
///
/// Deadlocks when the fence in `bits::ring` or the one in `bits::drain` is removed.
#[test]
fn no_ring_is_lost() {
    model(|| {
        let bits = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let armed = Arc::new(AtomicU32::new(1));
        let socket = Arc::new((Mutex::new(0u32), Condvar::new()));
        let ringer = {
            let (bits, armed, socket) = (bits.clone(), armed.clone(), socket.clone());
            thread::spawn(move || {
                for slot in [3, 70] {
                    if bits::ring(&*bits, &armed, slot) {
                        *socket.0.lock().unwrap() += 1;
                        socket.1.notify_one();
                    }
                }
            })
        };
        let mut found = Vec::new();
        while found.len() < 2 {
            let mut bytes = socket.0.lock().unwrap();
            while *bytes == 0 {
                bytes = socket.1.wait(bytes).unwrap();
            }
            *bytes = 0;
            drop(bytes);
            bits::drain(&*bits, &armed, |slot| found.push(slot));
        }
        ringer.join().unwrap();
        found.sort_unstable();
        assert_eq!(found, [3, 70]);
    });
}

/// A reader that sees the peer closed and then looks at the ring finds all that was sent.
///
/// Fails when the store of the status, or its load, is relaxed.
#[test]
fn close_comes_after_the_data() {
    model(|| {
        let memory = LoomMemory::new();
        let status = Arc::new(AtomicU32::new(0));
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory);
        let writer = {
            let status = status.clone();
            thread::spawn(move || {
                producer.push(&packet(0, 1)).unwrap();
                producer.publish();
                status.fetch_or(CLOSED, Ordering::AcqRel);
            })
        };
        let early = consumer.peek().unwrap();
        if early.is_none() && status.load(Ordering::Acquire) & CLOSED != 0 {
            assert_eq!(consumer.peek().unwrap(), Some(8));
        }
        writer.join().unwrap();
    });
}
