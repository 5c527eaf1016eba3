//! Messages of `cep_snd` and `cep_rcv`.

use o7s_capi::{
    boundary::{guarded, invalid},
    cep,
    layout::ConnInfo,
};

/// Writes the message of a component to `buf`; returns its length.
///
/// # Safety
/// `info` is NULL or points to a `struct conn_info`, `buf` has room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_cep_encode(info: *const ConnInfo, buf: *mut u8, size: usize) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let info = unsafe { info.as_ref() }.ok_or_else(|| invalid("the information is NULL"))?;
        let message = cep::encode(info);
        if message.len() > size {
            return Err(invalid("the message is too long"));
        }
        // SAFETY: there is room for it, and it is no part of the buffer.
        unsafe { buf.copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        Ok(message.len().cast_signed())
    })
}

/// Reads the message of a component from `buf`.
///
/// # Safety
/// `buf` has `size` bytes; `info` points to a `struct conn_info`.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_cep_decode(buf: *const u8, size: usize, info: *mut ConnInfo) -> isize {
    guarded(|| {
        // SAFETY: as the caller promises.
        let packet = unsafe { std::slice::from_raw_parts(buf, size) };
        let decoded = cep::decode(packet)?;
        // SAFETY: as the caller promises.
        unsafe { info.write(decoded) };
        Ok(0)
    })
}
