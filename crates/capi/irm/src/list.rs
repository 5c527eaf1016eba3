//! The lists, in arrays that the caller frees.

use std::{
    mem::{align_of, size_of},
    ptr,
};

use o7s::{Error, ErrorKind, Result};
use o7s_capi::{
    boundary::{invalid, put_text},
    layout::{IpcpListInfo, NameInfo},
    name,
};

use crate::{Call, step};

/// What the list says of an IPCP that is in no layer (`spec/api.md` A9).
const NO_LAYER: &str = "Not enrolled.";

/// A step of `irm_list_ipcps`.
///
/// # Safety
/// `ipcps` is NULL or points to where the array goes; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_list_ipcps(call: *mut Call, ipcps: *mut *mut IpcpListInfo) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            clear(ipcps)?;
            let list = irm.list_ipcps()?;
            let rows = list.iter().map(|ipcp| {
                let mut row = IpcpListInfo {
                    pid: ipcp.pid,
                    ipcp_type: ipcp.ipcp_type as u32,
                    name: [0; 255],
                    layer: [0; 255],
                };
                put_text(&mut row.name, &ipcp.name);
                let layer = match ipcp.layer.as_str() {
                    "" => NO_LAYER,
                    layer => layer,
                };
                put_text(&mut row.layer, layer);
                row
            });
            give(rows, ipcps)
        })
    }
}

/// A step of `irm_list_names`.
///
/// # Safety
/// `names` is NULL or points to where the array goes; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_list_names(call: *mut Call, names: *mut *mut NameInfo) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            clear(names)?;
            let list = irm.list_names()?;
            give(list.iter().map(name::to_c), names)
        })
    }
}

/// # Safety
/// `array` is NULL or points to where the array goes.
unsafe fn clear<T>(array: *mut *mut T) -> Result<()> {
    if array.is_null() {
        return Err(invalid("the place for the list is NULL"));
    }
    // SAFETY: as the caller promises.
    unsafe { array.write(ptr::null_mut()) };
    Ok(())
}

/// Puts the rows into memory that `free` of the C library takes; returns their number. No array for
/// no rows.
///
/// # Safety
/// `array` points to where the array goes.
unsafe fn give<T>(rows: impl ExactSizeIterator<Item = T>, array: *mut *mut T) -> Result<isize> {
    const { assert!(align_of::<T>() <= 16, "what malloc aligns to") };
    let count = rows.len();
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: a size that is not 0; it cannot overflow, as the list was in memory.
    let memory: *mut T = unsafe { libc::malloc(count * size_of::<T>()) }.cast();
    if memory.is_null() {
        return Err(Error::new(ErrorKind::NoMemory, "no memory for the list"));
    }
    for (index, row) in rows.enumerate().take(count) {
        // SAFETY: there is room for `count` rows, and memory of `malloc` is aligned for all types.
        unsafe { memory.add(index).write(row) };
    }
    // SAFETY: as the caller promises.
    unsafe { array.write(memory) };
    Ok(count.cast_signed())
}
