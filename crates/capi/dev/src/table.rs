//! Flow descriptors: which flow a number is.
//!
//! Looking up takes no lock: a slot points to an entry, whose users are counted, those that read,
//! those that write and all others apart, so that a reader and a writer do not disturb each other.
//! Entries are never freed, only used again: a late user may count himself into an entry that has
//! left its slot, but sees that it has, and counts himself out again.

use std::{
    cell::UnsafeCell,
    ops::Deref,
    ptr,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

use o7s::{Error, ErrorKind, Flow, Result};

use crate::{
    handle::Spare,
    set::{Queue, Set},
};

/// Flow descriptors are below (`spec/api.md` A5).
const LIMIT: usize = 4096;

/// How often this process has been forked off since its oldest ancestor with this library.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The table of this process; null until it is needed, and again in a forked child, which has none
/// of its parent's flows.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

struct Table {
    slots: [AtomicPtr<Entry>; LIMIT],
    /// Entries without a flow.
    spare: Mutex<Vec<&'static Entry>>,
    sets: Spare<Set>,
    queues: Spare<Queue>,
}

/// Sets of this process that can be used again.
pub(crate) fn spare_sets() -> &'static Spare<Set> {
    &table().sets
}

/// Queues of this process that can be used again.
pub(crate) fn spare_queues() -> &'static Spare<Queue> {
    &table().queues
}

/// A flow and its users.
#[derive(Default)]
struct Entry {
    /// Changed only while no slot points here and nobody uses it.
    flow: UnsafeCell<Option<Flow>>,
    users: [Users; 3],
}

/// Users of one kind, on a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
struct Users(AtomicU32);

// SAFETY: `flow` is written by the one thread that has taken the entry out of its slot, or that
// took it from the spare ones, and read by users that the writer waits for (see `retire`).
unsafe impl Sync for Entry {}

/// What a flow is looked up for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Read = 0,
    Write = 1,
    Other = 2,
}

/// Why there is no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The number is none of a flow descriptor.
    Range,
    /// No flow has it.
    Unused,
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Range => Self::fixed(
                ErrorKind::Other(libc::EBADF),
                "a flow descriptor is 0 to 4095",
            ),
            Missing::Unused => Self::fixed(
                ErrorKind::NotAllocated,
                "no flow has this descriptor: it was never allocated, or is deallocated",
            ),
        }
    }
}

/// A flow in use: it stays until this goes.
pub(crate) struct Use {
    entry: &'static Entry,
    role: Role,
}

impl Deref for Use {
    type Target = Flow;

    #[inline]
    fn deref(&self) -> &Flow {
        // SAFETY: while users are counted nobody changes it, and `enter` saw it in its slot after
        // it was counted: it has a flow.
        unsafe { (*self.entry.flow.get()).as_ref().unwrap_unchecked() }
    }
}

impl Drop for Use {
    #[inline]
    fn drop(&mut self) {
        self.entry.users[self.role as usize]
            .0
            .fetch_sub(1, Ordering::Release);
    }
}

/// Runs in a new child, before `fork` returns there. Atomics only.
extern "C" fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    TABLE.store(ptr::null_mut(), Ordering::Release);
}

/// Counts forks; equal numbers mean the same process.
pub(crate) fn generation() -> u32 {
    table();
    GENERATION.load(Ordering::Relaxed)
}

#[inline]
fn table() -> &'static Table {
    let table = TABLE.load(Ordering::Acquire);
    if table.is_null() {
        return make_table();
    }
    // SAFETY: a published table is never freed.
    unsafe { &*table }
}

#[cold]
fn make_table() -> &'static Table {
    static FORK_HANDLER: Once = Once::new();
    FORK_HANDLER.call_once(|| {
        // SAFETY: the handler touches atomics only; registering it has no precondition. On failure
        // (no memory) children merely keep the numbers of flows that refuse to work there.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
    let fresh = Box::into_raw(Box::new(Table {
        slots: [const { AtomicPtr::new(ptr::null_mut()) }; LIMIT],
        spare: Mutex::default(),
        sets: Spare::default(),
        queues: Spare::default(),
    }));
    let won = TABLE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
    match won {
        // SAFETY: a published table is never freed.
        Ok(_) => unsafe { &*fresh },
        Err(theirs) => {
            // SAFETY: `fresh` came from `Box::into_raw` above and was not published.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: a published table is never freed.
            unsafe { &*theirs }
        }
    }
}

#[inline]
fn slot(fd: i32) -> Result<&'static AtomicPtr<Entry>, Missing> {
    let index = usize::try_from(fd).map_err(|_| Missing::Range)?;
    table().slots.get(index).ok_or(Missing::Range)
}

/// The flow with this descriptor.
#[inline]
pub(crate) fn enter(fd: i32, role: Role) -> Result<Use, Missing> {
    let slot = slot(fd)?;
    let entry = slot.load(Ordering::Acquire);
    // SAFETY: entries are never freed.
    let Some(entry) = (unsafe { entry.as_ref() }) else {
        return Err(Missing::Unused);
    };
    // Either `retire` sees the count, or this sees that the slot has changed.
    entry.users[role as usize].0.fetch_add(1, Ordering::SeqCst);
    let used = Use { entry, role };
    if ptr::eq(slot.load(Ordering::SeqCst), entry) {
        Ok(used)
    } else {
        // It left the slot in between, and another one may be there by now: as if that had come
        // just after this call.
        drop(used);
        Err(Missing::Unused)
    }
}

/// Gives a flow its descriptor.
///
/// # Errors
/// None is left; the flow is deallocated.
pub(crate) fn install(flow: Flow) -> Result<i32> {
    let fd = flow.fd();
    let Ok(slot) = slot(fd) else {
        return Err(Error::new(
            ErrorKind::Other(libc::EBADF),
            "this process has 4032 flows; deallocate some",
        ));
    };
    let mut spare = table().spare.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = spare
        .pop()
        .unwrap_or_else(|| Box::leak(Box::new(Entry::default())));
    drop(spare);
    // SAFETY: a spare entry is in no slot, and late users do not look at the flow.
    unsafe { *entry.flow.get() = Some(flow) };
    slot.store(ptr::from_ref(entry).cast_mut(), Ordering::SeqCst);
    Ok(fd)
}

/// Takes the descriptor from its flow. `end` must make all users of the flow return soon.
pub(crate) fn retire<T>(fd: i32, end: impl FnOnce(&Flow) -> T) -> Result<T, Missing> {
    let entry = slot(fd)?.swap(ptr::null_mut(), Ordering::SeqCst);
    // SAFETY: entries are never freed.
    let Some(entry) = (unsafe { entry.as_ref() }) else {
        return Err(Missing::Unused);
    };
    // SAFETY: the entry has a flow, as it was in a slot, and this thread alone may take it out.
    let outcome = unsafe { (*entry.flow.get()).as_ref() }.map(end);
    let unused = |users: &Users| users.0.load(Ordering::SeqCst) == 0;
    while !entry.users.iter().all(unused) {
        std::thread::yield_now();
    }
    // SAFETY: in no slot, and every user that saw it there has gone.
    drop(unsafe { (*entry.flow.get()).take() });
    let spare = &table().spare;
    spare
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(entry);
    outcome.ok_or(Missing::Unused)
}
