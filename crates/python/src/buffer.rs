//! Memory of Python objects, and memory given to Python, by the buffer protocol (PEP 3118).
//!
//! The stable interface has the buffer protocol from Python 3.11 on, and this module is built for
//! 3.9. The functions and the layout of `Py_buffer` are the same in 3.9 and 3.10, whose binary
//! interface is frozen, and part of the stable interface afterwards: they are declared here.

use std::{
    ffi::{c_char, c_int, c_void},
    marker::PhantomData,
};

use pyo3::{
    exceptions::{PyBufferError, PyTypeError, PyValueError},
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyString, PyTuple, PyType},
};

use crate::flow::Flow;

#[repr(C)]
struct RawBuffer {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: ffi::Py_ssize_t,
    itemsize: ffi::Py_ssize_t,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    suboffsets: *mut ffi::Py_ssize_t,
    internal: *mut c_void,
}

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut RawBuffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawBuffer);
    fn PyBuffer_FillInfo(
        view: *mut RawBuffer,
        object: *mut ffi::PyObject,
        address: *mut c_void,
        length: ffi::Py_ssize_t,
        readonly: c_int,
        flags: c_int,
    ) -> c_int;
}

const SIMPLE: c_int = 0;
const WRITABLE: c_int = 1;
/// Slot of a type: the function that exports its buffer.
const GET_BUFFER: c_int = 1;

/// Contiguous memory of an object, which cannot be moved or freed while this lives.
pub(crate) struct Buffer<'py> {
    raw: Box<RawBuffer>,
    // Given back with the interpreter attached.
    attached: PhantomData<Python<'py>>,
}

impl<'py> Buffer<'py> {
    /// The memory of a bytes-like object.
    pub(crate) fn readable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, SIMPLE)
    }

    /// The memory of an object that can be written to; `BufferError` if it cannot.
    pub(crate) fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, WRITABLE)
    }

    fn get(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut raw = Box::new(RawBuffer {
            buf: std::ptr::null_mut(),
            obj: std::ptr::null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: std::ptr::null_mut(),
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            suboffsets: std::ptr::null_mut(),
            internal: std::ptr::null_mut(),
        });
        // SAFETY: the object is alive, the interpreter attached, and `raw` is a `Py_buffer` that
        // stays where it is until `PyBuffer_Release`.
        if unsafe { PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, flags) } != 0 {
            let error = PyErr::fetch(object.py());
            return Err(if object.is_instance_of::<PyString>() && flags == SIMPLE {
                PyTypeError::new_err(
                    "a bytes-like object is required, not 'str'; use writeline() for text",
                )
            } else if error.is_instance_of::<PyBufferError>(object.py()) && flags == WRITABLE {
                PyBufferError::new_err(format!(
                    "the buffer ({}) is read-only; give a bytearray or another writable one",
                    object.get_type().name()?
                ))
            } else {
                error
            });
        }
        Ok(Self {
            raw,
            attached: PhantomData,
        })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.raw.len).unwrap_or(0)
    }

    /// The bytes. Others can change them whenever Python code runs: to be used at once.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.raw.buf.is_null() {
            return &[];
        }
        // SAFETY: a simple buffer is `len` contiguous bytes at `buf`, valid until the release. As
        // everywhere in Python, two threads that use one buffer at once get mixed bytes.
        unsafe { std::slice::from_raw_parts(self.raw.buf.cast::<u8>(), self.len()) }
    }

    /// The bytes of a buffer that was asked for as writable.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.raw.buf.is_null() || self.raw.readonly != 0 {
            return &mut [];
        }
        // SAFETY: as in `bytes`, and the exporter said that it is writable.
        unsafe { std::slice::from_raw_parts_mut(self.raw.buf.cast::<u8>(), self.len()) }
    }
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: filled by `PyObject_GetBuffer` and released once; `attached` keeps this value
        // where the interpreter is attached.
        unsafe { PyBuffer_Release(&raw mut *self.raw) };
    }
}

/// A packet where it lies in the flow. Its subtype [`packet_type`] exports it as a buffer.
#[pyclass(frozen, subclass, module = "ouroboros._native", name = "_Packet")]
pub(crate) struct Packet {
    view: o7s::PacketView,
}

#[pymethods]
impl Packet {
    #[new]
    fn new(py: Python<'_>, flow: &Bound<'_, Flow>) -> PyResult<Self> {
        Ok(Self {
            view: flow.get().view_packet(py)?,
        })
    }

    fn __len__(&self) -> usize {
        self.view.len()
    }
}

/// The next packet of a flow, as an object whose memoryview lies in the flow.
pub(crate) fn packet<'py>(flow: &Bound<'py, Flow>) -> PyResult<Bound<'py, PyAny>> {
    packet_type(flow.py())?.call1((flow,))
}

/// [`Packet`] with the buffer protocol, which PyO3 offers from Python 3.11 on only.
fn packet_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || {
        let bases = PyTuple::new(py, [py.get_type::<Packet>()])?;
        let export: unsafe extern "C" fn(*mut ffi::PyObject, *mut RawBuffer, c_int) -> c_int =
            export_packet;
        let mut slots = [
            ffi::PyType_Slot {
                slot: GET_BUFFER,
                pfunc: export as *mut c_void,
            },
            ffi::PyType_Slot::default(),
        ];
        let mut spec = ffi::PyType_Spec {
            name: c"ouroboros._native.Packet".as_ptr(),
            basicsize: 0,
            itemsize: 0,
            flags: u32::try_from(ffi::Py_TPFLAGS_DEFAULT).unwrap_or(0),
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the specification and its slots, which end with an empty one, are read during
        // the call only; the name is static; size and all else are the base's. The result is a
        // new reference to a type, or null with an exception.
        unsafe {
            let made = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
            Bound::from_owned_ptr_or_err(py, made)
        }
        .and_then(|made| Ok(made.cast_into::<PyType>()?.unbind()))
    })?;
    Ok(made.bind(py))
}

/// `bf_getbuffer` of [`packet_type`].
unsafe extern "C" fn export_packet(
    object: *mut ffi::PyObject,
    view: *mut RawBuffer,
    flags: c_int,
) -> c_int {
    // SAFETY: the interpreter calls this, attached, with an instance of the type.
    let (py, this) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, object))
    };
    let Ok(packet) = this.cast::<Packet>() else {
        PyValueError::new_err("not a packet").restore(py);
        return -1;
    };
    let packet = &packet.get().view;
    let length = ffi::Py_ssize_t::try_from(packet.len()).unwrap_or(0);
    // SAFETY: the packet stays where it is as long as the object lives, and the filled view holds
    // a reference to the object; the memory is given out for reading only.
    unsafe {
        PyBuffer_FillInfo(
            view,
            object,
            packet.as_ptr().cast_mut().cast(),
            length,
            1,
            flags,
        )
    }
}
