//! The way in and out: panics end here, errors become numbers, C strings and times are read.

use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use o7s::{Error, ErrorKind, Result};

/// The answer "wait and call again with the same arguments". No error has this number.
pub const AGAIN: isize = i32::MIN as isize;

thread_local! {
    /// The last failure in this thread, and its text once somebody asked for it.
    static LAST: RefCell<(Option<Error>, CString)> = RefCell::default();
}

/// Runs the body of an entry point: errors become negative numbers, and a panic one too.
pub fn guarded(body: impl FnOnce() -> Result<isize>) -> isize {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) if error.kind() == ErrorKind::InProgress => AGAIN,
        Ok(Err(error)) => failed(error),
        Err(_) => failed(Error::new(
            ErrorKind::Other(libc::EIO),
            "the Ouroboros library has a defect; it printed where. Please report it",
        )),
    }
}

/// The number of an error, whose text is kept for [`last_error`].
#[cold]
fn failed(error: Error) -> isize {
    let number = error.errno();
    // Fails only while the thread ends.
    let _ = LAST.try_with(|last| last.borrow_mut().0 = Some(error));
    -(number as isize)
}

/// The text of the last failure in this thread; empty if there was none. It stays until the next
/// call of this function in the thread.
#[must_use]
pub fn last_error() -> *const c_char {
    LAST.with(|last| {
        let mut last = last.borrow_mut();
        let text = last.0.as_ref().map_or("", Error::message);
        let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
        last.1 = CString::new(text).unwrap_or_default();
        last.1.as_ptr()
    })
}

/// An argument that cannot be used.
#[must_use]
pub fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

/// Reads a C string.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is NULL or no UTF-8; `what` is what it should be.
///
/// # Safety
/// `string` is NULL or a C string that stays as it is for `'a`.
pub unsafe fn text<'a>(string: *const c_char, what: &str) -> Result<&'a str> {
    if string.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: as the caller promises.
    let bytes = unsafe { CStr::from_ptr(string) };
    bytes
        .to_str()
        .map_err(|_| invalid(format!("{what} is not UTF-8: {bytes:?}")))
}

/// Reads a C string in an array, which it may fill without a terminator.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is no UTF-8.
pub fn text_in<'a>(array: &'a [c_char], what: &str) -> Result<&'a str> {
    let length = array.iter().position(|c| *c == 0).unwrap_or(array.len());
    // SAFETY: `c_char` is `i8` or `u8`: same size and alignment as `u8`, every value is one.
    let bytes = unsafe { std::slice::from_raw_parts(array.as_ptr().cast::<u8>(), length) };
    std::str::from_utf8(bytes).map_err(|_| invalid(format!("{what} is not UTF-8")))
}

/// Writes text into an array as a C string, cut to what fits, and clears the rest.
pub fn put_text(array: &mut [c_char], text: &str) {
    let mut length = text.len().min(array.len().saturating_sub(1));
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    array.fill(0);
    for (to, from) in array.iter_mut().zip(&text.as_bytes()[..length]) {
        *to = *from as c_char;
    }
}

/// Reads a relative time; NULL is none. What is negative is 0.
///
/// # Safety
/// `time` is NULL or points to a `timespec`.
#[must_use]
pub unsafe fn duration(time: *const libc::timespec) -> Option<Duration> {
    // SAFETY: as the caller promises.
    let time = unsafe { time.as_ref() }?;
    let total = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    Some(Duration::from_nanos(
        total.clamp(0, i128::from(u64::MAX)) as u64
    ))
}

/// A relative time as C has it.
#[must_use]
pub fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_one_number() {
        assert_eq!(guarded(|| Ok(7)), 7);
        let progress = || Err(Error::new(ErrorKind::InProgress, "not yet"));
        assert_eq!(guarded(progress), AGAIN);
        let name = || Err(Error::new(ErrorKind::Name, "no name \0 \"x\""));
        assert_eq!(guarded(name), -1007);
        // SAFETY: it is a C string until the next call.
        let text = unsafe { CStr::from_ptr(last_error()) };
        assert_eq!(text.to_str().unwrap(), "no name  \"x\"");
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        assert_eq!(guarded(|| panic!("a defect")), -5);
        std::panic::set_hook(before);
    }

    #[test]
    fn texts_keep_to_their_arrays() {
        let mut array = [1; 4];
        put_text(&mut array, "aé…");
        assert_eq!(text_in(&array, "x").unwrap(), "aé");
        put_text(&mut array, "");
        assert_eq!(array, [0; 4]);
        assert_eq!(text_in(&[b'a' as c_char; 2], "x").unwrap(), "aa");
        assert!(text_in(&[-1_i8 as c_char], "x").is_err());
        // SAFETY: NULL is allowed, and the others are C strings.
        unsafe {
            assert!(text(std::ptr::null(), "x").is_err());
            assert!(text(c"\xff".as_ptr(), "x").is_err());
            assert_eq!(text(c"o".as_ptr(), "x").unwrap(), "o");
        }
    }

    #[test]
    fn times_of_every_kind() {
        let read = |tv_sec, tv_nsec| {
            // SAFETY: it points to a `timespec`.
            unsafe { duration(&libc::timespec { tv_sec, tv_nsec }) }
        };
        assert_eq!(read(1, 2), Some(Duration::new(1, 2)));
        assert_eq!(read(0, 1_500_000_000), Some(Duration::from_millis(1500)));
        assert_eq!(read(-1, 5), Some(Duration::ZERO));
        assert_eq!(read(i64::MAX, 0), Some(Duration::from_nanos(u64::MAX)));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { duration(std::ptr::null()) }, None);
        assert_eq!(timespec(Duration::new(3, 4)).tv_nsec, 4);
    }
}
