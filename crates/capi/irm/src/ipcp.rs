//! Functions about IPCPs.

use std::ffi::{c_char, c_int, c_uint};

use o7s::{Error, ErrorKind};
use o7s_capi::{
    boundary::{invalid, text},
    config,
    layout::{IpcpConfig, Qos},
};

use crate::{Call, step};

/// A step of `irm_create_ipcp`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_create_ipcp(
    call: *mut Call,
    name: *const c_char,
    kind: c_uint,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let name = text(name, "the name of the IPCP")?;
            let pid = irm.create_ipcp(name, config::ipcp_type(kind)?)?;
            Ok(pid as isize)
        })
    }
}

/// A step of `irm_destroy_ipcp`.
///
/// # Safety
/// `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_destroy_ipcp(call: *mut Call, pid: c_int) -> isize {
    // SAFETY: as the caller promises.
    unsafe {
        step(call, |irm| {
            if pid < 0 {
                return Err(invalid(format!("{pid} is no pid")));
            }
            irm.destroy_ipcp(pid).map(|()| 0)
        })
    }
}

/// A step of `irm_bootstrap_ipcp`.
///
/// # Safety
/// `conf` is NULL or points to a `struct ipcp_config`; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_bootstrap_ipcp(
    call: *mut Call,
    pid: c_int,
    conf: *const IpcpConfig,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let conf = conf
                .as_ref()
                .ok_or_else(|| invalid("the configuration is NULL"))?;
            irm.bootstrap_ipcp(checked(pid)?, &config::from_c(conf)?)
                .map(|_| 0)
        })
    }
}

/// A step of `irm_enroll_ipcp`.
///
/// # Safety
/// `dst` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_enroll_ipcp(
    call: *mut Call,
    pid: c_int,
    dst: *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let dst = text(dst, "the destination")?;
            irm.enroll_ipcp(checked(pid)?, dst).map(|_| 0)
        })
    }
}

/// A step of `irm_connect_ipcp`.
///
/// # Safety
/// The strings are NULL or C strings, `qos` points to a `qosspec_t`; `call` is one that is under
/// way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_connect_ipcp(
    call: *mut Call,
    pid: c_int,
    dst: *const c_char,
    component: *const c_char,
    qos: *const Qos,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let dst = text(dst, "the destination")?;
            let component = text(component, "the component")?;
            irm.connect_ipcp(pid, dst, component, (*qos).into())
                .map_err(of_ipcp)?;
            Ok(0)
        })
    }
}

/// A step of `irm_disconnect_ipcp`.
///
/// # Safety
/// The strings are NULL or C strings; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_disconnect_ipcp(
    call: *mut Call,
    pid: c_int,
    dst: *const c_char,
    component: *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let dst = text(dst, "the destination")?;
            let component = text(component, "the component")?;
            irm.disconnect_ipcp(pid, dst, component).map_err(of_ipcp)?;
            Ok(0)
        })
    }
}

/// The number -1 stands for no pid (`spec/api.md` A9).
fn checked(pid: c_int) -> o7s::Result<c_int> {
    if pid == -1 {
        return Err(invalid("-1 is no pid"));
    }
    Ok(pid)
}

/// Functions that name an IPCP beside something else say with a number of its own that it is the
/// IPCP that there is not, or that cannot do it.
pub(crate) fn of_ipcp(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotSupported => {
            Error::new(ErrorKind::Ipcp, error.message().to_owned())
        }
        _ => error,
    }
}
