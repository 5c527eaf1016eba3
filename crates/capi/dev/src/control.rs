//! `fccntl`.

use std::ffi::{c_int, c_void};

use o7s::{Error, ErrorKind, FlowFlags, FrctFlags, Result};
use o7s_capi::{
    boundary::{duration, guarded, invalid, timespec},
    layout::Qos,
};

use crate::table::{Role, enter};

// Commands (`spec/api.md` A2).
const FLOWSRCVTIMEO: c_int = 1;
const FLOWGRCVTIMEO: c_int = 2;
const FLOWSSNDTIMEO: c_int = 3;
const FLOWGSNDTIMEO: c_int = 4;
const FLOWGQOSSPEC: c_int = 5;
const FLOWSFLAGS: c_int = 6;
const FLOWGFLAGS: c_int = 7;
const FLOWGRXQLEN: c_int = 8;
const FLOWGTXQLEN: c_int = 9;
const FRCTSFLAGS: c_int = 0o1000;
const FRCTGFLAGS: c_int = 0o2000;

/// `fccntl`, with the third argument where `dev.c` put it by the command.
///
/// # Safety
/// `pointer` is NULL or points to what the command takes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_fccntl(
    fd: c_int,
    command: c_int,
    pointer: *mut c_void,
    value: u32,
) -> isize {
    guarded(|| {
        let flow = enter(fd, Role::Other)?;
        // SAFETY, for all that follow: the command says what the pointer points to.
        match command {
            FLOWSRCVTIMEO => {
                // SAFETY: see above.
                flow.set_read_timeout(unsafe { duration(pointer.cast()) })?;
            }
            FLOWSSNDTIMEO => {
                // SAFETY: see above.
                flow.set_write_timeout(unsafe { duration(pointer.cast()) })?;
            }
            FLOWGRCVTIMEO | FLOWGSNDTIMEO => {
                let timeout = if command == FLOWGRCVTIMEO {
                    flow.read_timeout()?
                } else {
                    flow.write_timeout()?
                };
                let value = timeout.map(timespec).ok_or(NO_TIMEOUT);
                // SAFETY: see above.
                unsafe { put(pointer, || value) }?;
            }
            // SAFETY: see above.
            FLOWGQOSSPEC => unsafe { put(pointer, || flow.qos().map(Qos::from)) }?,
            FLOWSFLAGS => flow.set_flags(FlowFlags(value))?,
            // SAFETY: see above.
            FLOWGFLAGS => unsafe { put(pointer, || flow.flags().map(|flags| flags.0)) }?,
            // SAFETY: see above.
            FLOWGRXQLEN => unsafe { put(pointer, || flow.rx_queue_len()) }?,
            // SAFETY: see above.
            FLOWGTXQLEN => unsafe { put(pointer, || flow.tx_queue_len()) }?,
            FRCTSFLAGS => flow.set_frct_flags(FrctFlags(value as u16))?,
            // SAFETY: see above.
            FRCTGFLAGS => unsafe { put(pointer, || flow.frct_flags().map(|flags| flags.0)) }?,
            _ => {
                return Err(Error::new(
                    ErrorKind::NotSupported,
                    format!("fccntl has no command {command}"),
                ));
            }
        }
        Ok(0)
    })
}

/// Writes a value where the caller wants it.
///
/// # Safety
/// `pointer` is NULL or points to a `T`.
unsafe fn put<T>(pointer: *mut c_void, value: impl FnOnce() -> Result<T>) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid("the third argument is NULL"));
    }
    // SAFETY: as the caller promises.
    unsafe { pointer.cast::<T>().write(value()?) };
    Ok(())
}

const NO_TIMEOUT: Error = Error::fixed(ErrorKind::Permission, "the flow has no timeout");
