//! What C programs hold by pointer: sets and queues.
//!
//! Servers written for 0.23 cancel a thread that waits in `fevent`, destroy the set and the queue,
//! and only then join the thread. So a pointer may be used while it is destroyed, and after: the
//! memory behind it is used again but never freed, and says whether there is something in it.

use std::{
    cell::UnsafeCell,
    ops::Deref,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use o7s::Result;
use o7s_capi::boundary::invalid;

/// The memory behind a pointer of a C program.
pub(crate) struct Handle<T> {
    /// Changed only while not alive and without users.
    value: UnsafeCell<Option<T>>,
    alive: AtomicBool,
    users: AtomicU32,
}

// SAFETY: `value` is written by the one thread that made the handle, or that has ended its life and
// waited for its users; users read it (see `enter` and `destroy`).
unsafe impl<T: Send + Sync> Sync for Handle<T> {}

/// Handles without a value.
pub(crate) struct Spare<T: 'static>(Mutex<Vec<&'static Handle<T>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A value in use: it stays until this goes.
pub(crate) struct InUse<T: 'static>(&'static Handle<T>);

impl<T> Deref for InUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while users are counted nobody changes it, and `enter` saw the handle alive after
        // it was counted: it has a value.
        unsafe { (*self.0.value.get()).as_ref().unwrap_unchecked() }
    }
}

impl<T> Drop for InUse<T> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Spare<T> {
    /// A pointer for a C program.
    pub(crate) fn create(&self, value: T) -> *mut Handle<T> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let handle = spare.unwrap_or_else(|| {
            Box::leak(Box::new(Handle {
                value: UnsafeCell::new(None),
                alive: AtomicBool::new(false),
                users: AtomicU32::new(0),
            }))
        });
        // SAFETY: not alive, and late users do not look at the value.
        unsafe { *handle.value.get() = Some(value) };
        handle.alive.store(true, Ordering::SeqCst);
        ptr::from_ref(handle).cast_mut()
    }

    /// Ends the life of what `pointer` points to, once nobody uses it any more.
    ///
    /// # Errors
    /// As [`enter`].
    ///
    /// # Safety
    /// As for [`enter`].
    pub(crate) unsafe fn destroy(&self, pointer: *const Handle<T>, what: &str) -> Result<T> {
        // SAFETY: as the caller promises.
        let handle = unsafe { pointer.as_ref() };
        let handle = handle.filter(|handle| handle.alive.swap(false, Ordering::SeqCst));
        let handle = handle.ok_or_else(|| nothing(what))?;
        while handle.users.load(Ordering::SeqCst) != 0 {
            std::thread::sleep(WAIT);
        }
        // SAFETY: not alive, every user that saw it alive has gone, and this thread alone ended its
        // life.
        let value = unsafe { (*handle.value.get()).take() };
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(handle);
        drop(spare);
        value.ok_or_else(|| nothing(what))
    }
}

/// How often a destroyer looks whether the last user has gone: a wait ends within a slice.
const WAIT: std::time::Duration = std::time::Duration::from_millis(1);

/// What `pointer` points to.
///
/// # Errors
/// [`o7s::ErrorKind::Invalid`] if it is NULL or destroyed.
///
/// # Safety
/// `pointer` is NULL or came from [`Spare::create`] in this process or an ancestor of it.
pub(crate) unsafe fn enter<T>(pointer: *const Handle<T>, what: &str) -> Result<InUse<T>> {
    // SAFETY: as the caller promises; handles are never freed.
    let handle: Option<&'static Handle<T>> = unsafe { pointer.as_ref() };
    let handle = handle.ok_or_else(|| nothing(what))?;
    // Either a destroyer sees the count, or this sees that it is not alive.
    handle.users.fetch_add(1, Ordering::SeqCst);
    let used = InUse(handle);
    if handle.alive.load(Ordering::SeqCst) {
        Ok(used)
    } else {
        Err(nothing(what))
    }
}

#[cold]
fn nothing(what: &str) -> o7s::Error {
    invalid(format!("the {what} is NULL or destroyed"))
}
