//! Functions about names and processes.

use std::ffi::{c_char, c_int};

use o7s::ErrorKind;
use o7s_capi::{
    boundary::{invalid, text},
    layout::NameInfo,
    name,
};

use crate::{Call, ipcp::of_ipcp, step};

/// A step of `irm_create_name`. A name that exists is no error, whatever its attributes.
///
/// # Safety
/// `info` is NULL or points to a `struct name_info`; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_create_name(call: *mut Call, info: *const NameInfo) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let info = info
                .as_ref()
                .ok_or_else(|| invalid("the information is NULL"))?;
            match irm.create_name(&name::from_c(info)?) {
                Err(error) if error.kind() == ErrorKind::Exists => Ok(0),
                outcome => outcome.map(|()| 0),
            }
        })
    }
}

/// A step of `irm_destroy_name`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_destroy_name(call: *mut Call, name: *const c_char) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe { step(call, |irm| irm.destroy_name(text(name, NAME)?).map(|()| 0)) }
}

/// A step of `irm_reg_name`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_reg_name(call: *mut Call, name: *const c_char, pid: c_int) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            irm.reg_name(text(name, NAME)?, pid).map_err(of_ipcp)?;
            Ok(0)
        })
    }
}

/// A step of `irm_unreg_name`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_unreg_name(
    call: *mut Call,
    name: *const c_char,
    pid: c_int,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            irm.unreg_name(text(name, NAME)?, pid).map_err(of_ipcp)?;
            Ok(0)
        })
    }
}

/// A step of `irm_bind_process`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_bind_process(
    call: *mut Call,
    pid: c_int,
    name: *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            irm.bind_process(pid, text(name, NAME)?).map(|()| 0)
        })
    }
}

/// A step of `irm_unbind_process`.
///
/// # Safety
/// `name` is NULL or a C string; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_unbind_process(
    call: *mut Call,
    pid: c_int,
    name: *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let name = Some(text(name, NAME)?);
            irm.unbind_process(pid, name).map(|()| 0)
        })
    }
}

const NAME: &str = "the name";
