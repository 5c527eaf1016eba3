//! The least that two processes need to exchange messages over shared memory: a ring of fixed slots
//! per direction, and a futex to sleep on. What one would write by hand, and what flows are
//! measured against: it checks nothing, trusts the other side, and serves exactly two threads.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering, fence},
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap},
    thread::futex,
};

/// Bytes of all slots of one direction.
const DATA: usize = 2 << 20;
/// Positions, wait flags, each on cache lines of their own.
const CONTROL: usize = 4096;
const HALF: usize = CONTROL + DATA;
const TAIL: usize = 0;
const HEAD: usize = 128;
const READER_SLEEPS: usize = 256;
const WRITER_SLEEPS: usize = 384;

/// One end.
pub(crate) struct FutexRing {
    memory: *mut u8,
    slot: usize,
    slots: u32,
    out: usize,
    back: usize,
    tail: u32,
    head: u32,
}

/// The memory that both ends map.
pub(crate) fn memory() -> rustix::io::Result<OwnedFd> {
    let fd = memfd_create("bare-ring", MemfdFlags::CLOEXEC)?;
    ftruncate(&fd, 2 * HALF as u64)?;
    Ok(fd)
}

impl FutexRing {
    /// Maps one end, for messages of up to `size` bytes.
    pub(crate) fn open(fd: impl AsFd, first: bool, size: usize) -> rustix::io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice; the file is as long as
        // the mapping and nobody truncates it.
        let memory = unsafe {
            mmap(
                std::ptr::null_mut(),
                2 * HALF,
                protection,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let slot = (8 + size).next_multiple_of(64);
        let (out, back) = if first { (0, HALF) } else { (HALF, 0) };
        let slots = u32::try_from(DATA / slot).unwrap_or(u32::MAX);
        Ok(Self {
            memory: memory.cast(),
            slot,
            slots,
            out,
            back,
            tail: 0,
            head: 0,
        })
    }

    fn word(&self, half: usize, at: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and only ever used as an atomic by both sides.
        unsafe { AtomicU32::from_ptr(self.memory.add(half + at).cast()) }
    }

    fn slot(&self, half: usize, position: u32) -> *mut u8 {
        let at = (position % self.slots) as usize * self.slot;
        // SAFETY: `at` is below `DATA` because `slots` slots fit there.
        unsafe { self.memory.add(half + CONTROL + at) }
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        let head = self.word(self.out, HEAD);
        sleep_while(head, self.word(self.out, WRITER_SLEEPS), |head| {
            self.tail.wrapping_sub(head) >= self.slots
        });
        let slot = self.slot(self.out, self.tail);
        // SAFETY: the slot is ours until the tail is published, and holds 8 bytes and the message,
        // whose size both sides agreed on.
        unsafe {
            slot.cast::<u64>().write(message.len() as u64);
            std::ptr::copy_nonoverlapping(message.as_ptr(), slot.add(8), message.len());
        }
        self.tail = self.tail.wrapping_add(1);
        publish(
            self.word(self.out, TAIL),
            self.tail,
            self.word(self.out, READER_SLEEPS),
        );
    }

    pub(crate) fn receive(&mut self, message: &mut [u8]) -> usize {
        let tail = self.word(self.back, TAIL);
        sleep_while(tail, self.word(self.back, READER_SLEEPS), |tail| {
            tail == self.head
        });
        let slot = self.slot(self.back, self.head);
        // SAFETY: the slot is ours until the head is published; the length is cut to the buffer.
        let length = unsafe {
            let length = (slot.cast::<u64>().read() as usize).min(message.len());
            std::ptr::copy_nonoverlapping(slot.add(8), message.as_mut_ptr(), length);
            length
        };
        self.head = self.head.wrapping_add(1);
        publish(
            self.word(self.back, HEAD),
            self.head,
            self.word(self.back, WRITER_SLEEPS),
        );
        length
    }
}

fn sleep_while(word: &AtomicU32, sleeps: &AtomicU32, wait: impl Fn(u32) -> bool) {
    loop {
        let seen = word.load(Ordering::Acquire);
        if !wait(seen) {
            return;
        }
        sleeps.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if wait(word.load(Ordering::Acquire)) {
            let _ = futex::wait(word, futex::Flags::empty(), seen, None);
        }
        sleeps.store(0, Ordering::Relaxed);
    }
}

fn publish(word: &AtomicU32, value: u32, sleeps: &AtomicU32) {
    word.store(value, Ordering::Release);
    fence(Ordering::SeqCst);
    if sleeps.load(Ordering::Relaxed) != 0 {
        let _ = futex::wake(word, futex::Flags::empty(), 1);
    }
}
