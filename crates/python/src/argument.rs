//! Arguments as Python programs give them: time limits, counts, names, buffers, QoS.

use std::time::Duration;

use o7s::{ErrorKind, QosSpec};
use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyList, PyString, PyTuple},
};

use crate::error::{Doing, raise};

/// Longest time limit that is taken literally: some 31 years.
pub(crate) const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// A time limit in seconds: none = for ever, ≤ 0 = do not wait, more than [`LONGEST`] counts as
/// that; NaN is a `ValueError`.
pub(crate) fn timeout(limit: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(limit) = limit else {
        return Ok(None);
    };
    let seconds = match limit.extract::<f64>() {
        Ok(seconds) => seconds,
        // An int too large for a float.
        Err(error) if error.is_instance_of::<PyOverflowError>(limit.py()) => {
            if limit.lt(0)? {
                0.0
            } else {
                f64::INFINITY
            }
        }
        Err(_) => {
            return Err(PyTypeError::new_err(format!(
                "a time limit must be a number of seconds or None, not {}",
                limit.get_type().name()?
            )));
        }
    };
    if seconds.is_nan() {
        return Err(PyValueError::new_err(
            "a time limit must be a number of seconds or None, not NaN",
        ));
    }
    if seconds <= 0.0 {
        return Ok(Some(Duration::ZERO));
    }
    Ok(Some(
        Duration::try_from_secs_f64(seconds).map_or(LONGEST, |limit| limit.min(LONGEST)),
    ))
}

/// A text to write.
pub(crate) fn text<'a, 'py>(text: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    match text.cast::<PyString>() {
        Ok(text) => Ok(text),
        Err(_) => Err(PyTypeError::new_err(format!(
            "writeline() takes a str, not {}; use write()",
            text.get_type().name()?
        ))),
    }
}

/// A number of bytes or characters; no count = no limit.
pub(crate) fn count(count: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    let Some(count) = count else {
        return Ok(None);
    };
    match count.extract::<usize>() {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_instance_of::<PyOverflowError>(count.py()) => {
            if count.lt(0)? {
                Err(PyValueError::new_err(format!(
                    "count must not be negative, it is {count}"
                )))
            } else {
                Ok(Some(usize::MAX))
            }
        }
        Err(_) => Err(PyTypeError::new_err(format!(
            "count must be an int or None, not {}",
            count.get_type().name()?
        ))),
    }
}

/// The text of a name. The library checks its length; here only what Rust cannot represent.
pub(crate) fn name<'a>(name: &'a Bound<'_, PyString>) -> PyResult<std::borrow::Cow<'a, str>> {
    name.to_cow().map_err(|error| {
        if error.is_instance_of::<PyUnicodeEncodeError>(name.py()) {
            raise(
                name.py(),
                ErrorKind::Invalid,
                Doing::Io,
                format!(
                    "the name {} has lone surrogates; names are UTF-8",
                    name.repr()
                        .map_or_else(|_| "given".to_owned(), |repr| repr.to_string())
                ),
            )
        } else {
            error
        }
    })
}

/// The elements of what `write_many` takes, as a tuple.
#[pyfunction]
#[pyo3(name = "_packets")]
pub(crate) fn packet_tuple<'py>(packets: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    self::packets(packets)
}

/// What `write_many` takes: any iterable but one packet, whose bytes are numbers.
pub(crate) fn packets<'py>(packets: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    if packets.is_instance_of::<PyBytes>()
        || packets.is_instance_of::<PyByteArray>()
        || packets.is_instance_of::<PyString>()
    {
        return Err(PyTypeError::new_err(format!(
            "write_many() takes an iterable of bytes-like objects, not one {}; use write()",
            packets.get_type().name()?
        )));
    }
    if let Ok(list) = packets.cast::<PyList>() {
        return Ok(list.to_tuple());
    }
    match packets.cast::<PyTuple>() {
        Ok(tuple) => Ok(tuple.clone()),
        Err(_) => PyTuple::new(
            packets.py(),
            packets.try_iter()?.collect::<PyResult<Vec<_>>>()?,
        ),
    }
}

/// QoS fields in the order of `QoSSpec`, with `cypher_s` last.
pub(crate) type QosFields = (u32, u64, u8, u32, u32, u8, u32, u32, u16);

/// QoS from its fields.
pub(crate) fn qos(fields: QosFields) -> QosSpec {
    let (delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout, cypher_s) = fields;
    QosSpec {
        delay,
        bandwidth,
        availability,
        loss,
        ber,
        in_order,
        max_gap,
        timeout,
        cypher_s,
    }
}

/// The fields of a QoS.
pub(crate) fn qos_fields(qos: QosSpec) -> QosFields {
    (
        qos.delay,
        qos.bandwidth,
        qos.availability,
        qos.loss,
        qos.ber,
        qos.in_order,
        qos.max_gap,
        qos.timeout,
        qos.cypher_s,
    )
}
