//! Sets of flows and queues of events.

use std::{
    ffi::{c_int, c_uint},
    ops::Deref,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU32, Ordering},
};

use o7s::{Error, ErrorKind, EventQueue, FlowSet, Result};
use o7s_capi::boundary::{duration, guarded, invalid};

use crate::{
    handle::{Handle, InUse, enter as enter_handle},
    table::{Role, enter, generation, spare_queues, spare_sets},
    turn::Turn,
};

/// What is behind a `struct flow_set`.
pub(crate) struct Set {
    set: FlowSet,
    generation: u32,
}

/// What is behind a `struct fqueue`.
pub(crate) struct Queue {
    events: EventQueue,
    generation: u32,
    /// Number of the type of the event that `fqueue_next` went to; 0 = none.
    kind: AtomicU32,
}

/// A set in use.
struct Own(InUse<Set>);

impl Deref for Own {
    type Target = FlowSet;

    fn deref(&self) -> &FlowSet {
        &self.0.set
    }
}

/// The set, unless it is none or the parent's: a child that waited with it would take the parent's
/// news.
///
/// # Safety
/// As for [`enter_handle`].
unsafe fn own(set: *const Handle<Set>) -> Result<Own> {
    // SAFETY: as the caller promises.
    let set = unsafe { enter_handle(set, "set") }?;
    if set.generation == generation() {
        Ok(Own(set))
    } else {
        Err(invalid(
            "the set belongs to the parent process; make a new one after fork",
        ))
    }
}

/// `fset_create`.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_fset_create() -> *mut Handle<Set> {
    let mut made = std::ptr::null_mut();
    guarded(|| {
        made = spare_sets().create(Set {
            generation: generation(),
            set: FlowSet::new()?,
        });
        Ok(0)
    });
    made
}

/// `fset_destroy`.
///
/// # Safety
/// `set` is NULL or a set, destroyed or not.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_destroy(set: *mut Handle<Set>) {
    guarded(|| {
        // SAFETY: as the caller promises. What a child has of a parent's set is left as it is: its
        // locks may be those of threads that are not there.
        drop(unsafe { own(set) }?);
        // SAFETY: as the caller promises.
        drop(unsafe { spare_sets().destroy(set, "set") }?);
        Ok(0)
    });
}

/// `fset_zero`.
///
/// # Safety
/// `set` is NULL or a set.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_zero(set: *mut Handle<Set>) {
    guarded(|| {
        // SAFETY: as the caller promises.
        unsafe { own(set) }?.clear();
        Ok(0)
    });
}

/// `fset_add`. Every descriptor without a flow is an invalid argument here (`spec/api.md` A7).
///
/// # Safety
/// `set` is NULL or a set.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_add(set: *mut Handle<Set>, fd: c_int) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let set = unsafe { own(set) }?;
        let flow = enter(fd, Role::Other).map_err(|_| no_flow())?;
        match set.add(&flow) {
            Err(error) if error.kind() == ErrorKind::NotAllocated => Err(no_flow()),
            outcome => outcome.map(|()| 0),
        }
    })
}

/// `fset_has`: 1 or 0.
///
/// # Safety
/// `set` is NULL or a set.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_has(set: *const Handle<Set>, fd: c_int) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let set = unsafe { own(set) }?;
        let flow = enter(fd, Role::Other)?;
        Ok(isize::from(set.contains(&flow)))
    })
    .max(0)
}

/// `fset_del`.
///
/// # Safety
/// `set` is NULL or a set.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_del(set: *mut Handle<Set>, fd: c_int) {
    guarded(|| {
        // SAFETY: as the caller promises.
        let set = unsafe { own(set) }?;
        let flow = enter(fd, Role::Other)?;
        if set.contains(&flow) {
            set.remove(&flow);
        }
        Ok(0)
    });
}

/// A descriptor of the operating system, readable while `fevent` would not wait.
///
/// # Safety
/// `set` is NULL or a set.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fset_fileno(set: *mut Handle<Set>) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let set = unsafe { own(set) }?;
        let fd = set.fileno()?.as_raw_fd();
        Ok(fd as isize)
    })
}

/// `fqueue_create`.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_fqueue_create() -> *mut Handle<Queue> {
    let mut made = std::ptr::null_mut();
    guarded(|| {
        made = spare_queues().create(Queue {
            events: EventQueue::new(),
            generation: generation(),
            kind: AtomicU32::new(0),
        });
        Ok(0)
    });
    made
}

/// `fqueue_destroy`.
///
/// # Safety
/// `queue` is NULL or a queue, destroyed or not.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fqueue_destroy(queue: *mut Handle<Queue>) {
    guarded(|| {
        // SAFETY: as the caller promises.
        let of_parent = unsafe { enter_handle(queue, "queue") }?.generation != generation();
        // Its users may be threads that are not there.
        if !of_parent {
            // SAFETY: as the caller promises.
            drop(unsafe { spare_queues().destroy(queue, "queue") }?);
        }
        Ok(0)
    });
}

/// `fqueue_next`.
///
/// # Safety
/// `queue` is NULL or a queue.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fqueue_next(queue: *mut Handle<Queue>) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let queue = unsafe { enter_handle(queue, "queue") }?;
        let event = queue.events.next_event();
        let kind = event.as_ref().map_or(0, |event| event.kind as u32);
        queue.kind.store(kind, Ordering::Relaxed);
        event.map(|event| event.flow.fd() as isize).ok_or(NO_EVENT)
    })
}

/// `fqueue_type`.
///
/// # Safety
/// `queue` is NULL or a queue.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fqueue_type(queue: *mut Handle<Queue>) -> c_uint {
    let outcome = guarded(|| {
        // SAFETY: as the caller promises.
        let queue = unsafe { enter_handle(queue, "queue") }?;
        match queue.kind.load(Ordering::Relaxed) {
            0 => Err(NO_EVENT),
            kind => Ok(kind as isize),
        }
    });
    outcome as c_uint
}

/// One turn of `fevent`.
///
/// # Safety
/// `set`, `queue` and `timeo` are NULL or what they should be; `turn` is a `struct turn`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fevent(
    set: *mut Handle<Set>,
    queue: *mut Handle<Queue>,
    timeo: *const libc::timespec,
    turn: *mut Turn,
) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises, here and below.
        let set = unsafe { own(set) }?;
        // SAFETY: see above.
        let queue = unsafe { enter_handle(queue, "queue") }?;
        // SAFETY: see above.
        let (limit, turn) = unsafe { (duration(timeo), &mut *turn) };
        turn.wait(|| Ok(limit), |until| set.wait_until(&queue.events, until))?;
        Ok(1)
    })
}

fn no_flow() -> Error {
    invalid("the descriptor is none of a flow")
}

const NO_EVENT: Error = Error::fixed(ErrorKind::Permission, "the queue has no event");
