//! Reading, writing and deallocating.

use std::ffi::{c_int, c_void};

use o7s::{Error, ErrorKind, FlowFlags, Result};
use o7s_capi::boundary::{guarded, invalid};

use crate::{
    table::{Missing, Role, enter, retire},
    turn::Turn,
};

/// One turn of `flow_read`.
///
/// # Safety
/// `buf` has room for `count` bytes or `count` is 0; `turn` is a `struct turn`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_read(
    fd: c_int,
    buf: *mut c_void,
    count: usize,
    turn: *mut Turn,
) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Read)?;
        let buf = match (buf.is_null(), count) {
            (_, 0) => &mut [],
            (true, _) => return Err(invalid("the buffer is NULL")),
            // SAFETY: as the caller promises; bytes are written there before they are read.
            _ => unsafe { std::slice::from_raw_parts_mut(buf.cast(), longest(count)) },
        };
        loop {
            let outcome = flow.try_read(buf);
            if !would_block(&outcome) || flow.flags()?.contains(FlowFlags::NON_BLOCKING_READ) {
                return outcome.map(usize::cast_signed);
            }
            // SAFETY: as the caller promises.
            let turn = unsafe { &mut *turn };
            turn.wait(|| flow.read_timeout(), |until| flow.wait_readable(until))?;
        }
    })
}

/// One turn of `flow_write`.
///
/// # Safety
/// `buf` has `count` bytes or `count` is 0; `turn` is a `struct turn`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_write(
    fd: c_int,
    buf: *const c_void,
    count: usize,
    turn: *mut Turn,
) -> isize {
    guarded(|| {
        let packet = match (buf.is_null(), count) {
            (_, 0) => &[],
            (true, _) => return Err(invalid("the buffer is NULL")),
            // SAFETY: as the caller promises.
            _ => unsafe { std::slice::from_raw_parts(buf.cast(), longest(count)) },
        };
        let flow = enter(fd, Role::Write)?;
        loop {
            let outcome = flow.try_write(packet);
            if !would_block(&outcome) || flow.flags()?.contains(FlowFlags::NON_BLOCKING_WRITE) {
                return outcome.map(usize::cast_signed);
            }
            // SAFETY: as the caller promises.
            let turn = unsafe { &mut *turn };
            turn.wait(
                || flow.write_timeout(),
                |until| flow.wait_writable(packet.len(), until),
            )?;
        }
    })
}

/// One turn of `flow_dealloc`: lingers, and ends the flow when that is over.
///
/// # Safety
/// `turn` is a `struct turn`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_dealloc(fd: c_int, turn: *mut Turn) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Other).map_err(of_dealloc)?;
        // SAFETY: as the caller promises.
        let turn = unsafe { &mut *turn };
        match turn.wait(|| Ok(None), |until| flow.linger(until)) {
            Err(error) if error.kind() == ErrorKind::InProgress => return Err(error),
            // Done, or it never will be.
            _ => drop(flow),
        }
        retire(fd, o7s::Flow::start_dealloc).map_err(of_dealloc)??;
        Ok(0)
    })
}

/// `flow_dealloc` has a number of its own for a descriptor that is none (`spec/api.md` A5).
fn of_dealloc(missing: Missing) -> Error {
    match missing {
        Missing::Range => invalid("a flow descriptor is 0 to 4095"),
        Missing::Unused => missing.into(),
    }
}

/// No slice is longer. A packet that is so long is refused anyway, and no packet fills such a
/// buffer.
fn longest(count: usize) -> usize {
    count.min(isize::MAX.unsigned_abs())
}

fn would_block(outcome: &Result<usize>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
