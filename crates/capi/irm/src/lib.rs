//! The Rust part of `libouroboros-irm`: what `irm.c` calls, with cancellation disabled.
//!
//! A call begins with [`o7s_c_irm_open`]; each function is then called with the same arguments until
//! it no longer returns [`AGAIN`](o7s_capi::boundary::AGAIN), with a wait for [`o7s_c_irm_fd`] in
//! between.

mod ipcp;
mod list;
mod name;
mod program;

use std::{
    ffi::{c_char, c_int},
    os::fd::{AsRawFd, OwnedFd},
};

use o7s::{ErrorKind, Result, irm::Irm};
use o7s_capi::boundary::{guarded, last_error};

/// A call that is under way.
pub(crate) struct Call {
    irm: Irm,
    wake: Option<OwnedFd>,
}

/// Begins a call.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_irm_open() -> *mut Call {
    let mut call = std::ptr::null_mut();
    guarded(|| {
        call = Box::into_raw(Box::new(Call {
            irm: Irm::from_env().stepwise(),
            wake: None,
        }));
        Ok(0)
    });
    call
}

/// The descriptor to poll for reading before the next step; -1 if there is none, which ends the
/// call with the next step.
///
/// # Safety
/// `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_fd(call: *const Call) -> c_int {
    // SAFETY: as the caller promises.
    let wake = unsafe { &*call }.wake.as_ref();
    wake.map_or(-1, AsRawFd::as_raw_fd)
}

/// Ends a call, finished or not.
///
/// # Safety
/// `call` is one that is under way; it is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_close(call: *mut Call) {
    guarded(|| {
        if !call.is_null() {
            // SAFETY: it came from `Box::into_raw`.
            drop(unsafe { Box::from_raw(call) });
        }
        Ok(0)
    });
}

/// Why the last call in this thread failed.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_irm_last_error() -> *const c_char {
    last_error()
}

/// One step of a call.
///
/// # Safety
/// `call` is one that is under way.
unsafe fn step(call: *mut Call, body: impl FnOnce(&Irm) -> Result<isize>) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let Some(call) = (unsafe { call.as_mut() }) else {
            return Err(o7s_capi::boundary::invalid("no call is under way"));
        };
        let outcome = body(&call.irm);
        if call.wake.is_none()
            && matches!(&outcome, Err(error) if error.kind() == ErrorKind::InProgress)
        {
            call.wake = Some(call.irm.fd()?);
        }
        outcome
    })
}
