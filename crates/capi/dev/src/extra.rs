//! What goes beyond the interface of 0.23 (`<ouroboros/o7s.h>`).

use std::{
    ffi::{c_char, c_int},
    os::fd::AsRawFd,
};

use o7s_capi::boundary::{guarded, invalid, last_error, put_text};

use crate::table::{Role, enter};

/// A descriptor of the operating system, readable while `flow_read` would not wait.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_flow_fileno(fd: c_int) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Other)?;
        Ok(flow.fileno()?.as_raw_fd() as isize)
    })
}

/// Bits of the flow's encryption; 0 = none.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_flow_cypher(fd: c_int) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Other)?;
        Ok(flow.qos()?.cypher_s as isize)
    })
}

/// Writes the name that the other end proved to have, as a C string cut to `size`; returns its
/// length.
///
/// # Safety
/// `buf` has room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_flow_peer(fd: c_int, buf: *mut c_char, size: usize) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Other)?;
        let name = flow.peer_name()?;
        if size > 0 {
            if buf.is_null() {
                return Err(invalid("the buffer is NULL"));
            }
            // A name is short.
            let size = size.min(name.len() + 1);
            // SAFETY: as the caller promises.
            put_text(unsafe { std::slice::from_raw_parts_mut(buf, size) }, name);
        }
        Ok(name.len().cast_signed())
    })
}

/// Why the last call in this thread failed.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_last_error() -> *const c_char {
    last_error()
}
