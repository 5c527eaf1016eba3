//! Allocating, accepting and joining: a request that the C side waits for in `poll`.

use std::{
    ffi::{c_char, c_int, c_uint},
    os::fd::AsRawFd,
};

use o7s::{Error, ErrorKind, Node, Pending, QosSpec, Result};
use o7s_capi::{
    boundary::{AGAIN, duration, guarded, invalid, text},
    layout::Qos,
};

use crate::table::install;

/// A request that is under way.
pub(crate) struct Request(Pending);

/// Starts `flow_alloc`, with the least encryption strength.
///
/// # Safety
/// `dst` is NULL or a C string, `qs` and `timeo` are NULL or point to their types; `request` points
/// to where the request goes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_alloc(
    dst: *const c_char,
    qs: *const Qos,
    cypher_s: c_uint,
    timeo: *const libc::timespec,
    request: *mut *mut Request,
) -> isize {
    // SAFETY: as the caller promises.
    let (qs, timeo) = unsafe { (qs.as_ref(), duration(timeo)) };
    start(request, || {
        // SAFETY: as the caller promises.
        let dst = unsafe { text(dst, "the destination name") }?;
        let qos = QosSpec {
            cypher_s: u16::try_from(cypher_s).unwrap_or(u16::MAX),
            ..qs.copied().map_or(QosSpec::RAW, QosSpec::from)
        };
        Node::current().start_alloc(dst, qos, timeo)
    })
}

/// Starts `flow_accept`.
///
/// # Safety
/// `timeo` is NULL or points to a `timespec`; `request` points to where the request goes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_accept(
    timeo: *const libc::timespec,
    request: *mut *mut Request,
) -> isize {
    // SAFETY: as the caller promises.
    let timeo = unsafe { duration(timeo) };
    start(request, || Node::current().start_accept(timeo))
}

/// Starts `flow_join`.
///
/// # Safety
/// `bc` is NULL or a C string, `timeo` is NULL or points to a `timespec`; `request` points to where
/// the request goes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_join(
    bc: *const c_char,
    timeo: *const libc::timespec,
    request: *mut *mut Request,
) -> isize {
    // SAFETY: as the caller promises.
    let timeo = unsafe { duration(timeo) };
    start(request, || {
        // SAFETY: as the caller promises.
        let layer = unsafe { text(bc, "the name of the layer") }?;
        Node::current().start_join(layer, timeo)
    })
}

fn start(request: *mut *mut Request, begin: impl FnOnce() -> Result<Pending>) -> isize {
    guarded(|| {
        if request.is_null() {
            return Err(invalid("no place for the request"));
        }
        let pending = begin().map_err(of_request)?;
        // SAFETY: it points to where the request goes, as the callers' callers promise.
        unsafe { *request = Box::into_raw(Box::new(Request(pending))) };
        Ok(0)
    })
}

/// The descriptor to poll for reading before the next [`o7s_c_finish`].
///
/// # Safety
/// `request` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_request_fd(request: *const Request) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { &*request }.0.fd().map_or(-1, |fd| fd.as_raw_fd())
}

/// The flow's descriptor, and its QoS in `qs`, if the request is answered; then the request is over
/// and freed, as after an error.
///
/// # Safety
/// `request` is one that is under way, `qs` is NULL or points to a `qosspec_t`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_finish(request: *mut Request, qs: *mut Qos) -> isize {
    let outcome = guarded(|| {
        // SAFETY: as the caller promises, here and below.
        let flow = unsafe { &mut *request }.0.try_finish();
        let Some(flow) = flow.map_err(of_request)? else {
            return Ok(AGAIN);
        };
        let qos = flow.qos()?;
        let fd = install(flow)?;
        // SAFETY: as the caller promises.
        if let Some(qs) = unsafe { qs.as_mut() } {
            *qs = qos.into();
        }
        Ok(fd as isize)
    });
    if outcome != AGAIN {
        // SAFETY: it came from `Box::into_raw`, and the caller does not use it again.
        unsafe { o7s_c_request_drop(request) };
    }
    outcome
}

/// Cancels a request.
///
/// # Safety
/// `request` is one that is under way; it is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_request_drop(request: *mut Request) {
    guarded(|| {
        // SAFETY: it came from `Box::into_raw`.
        drop(unsafe { Box::from_raw(request) });
        Ok(0)
    });
}

/// An error as this interface counts it (`spec/api.md` A5).
fn of_request(error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::NoDescriptors => ErrorKind::Other(libc::EBADF),
        // Only the daemon's end does that.
        ErrorKind::Interrupted | ErrorKind::InProgress => ErrorKind::Daemon,
        _ => return error,
    };
    Error::new(kind, error.message().to_owned())
}
