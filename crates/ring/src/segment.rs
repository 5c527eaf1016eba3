//! The memory of a flow: made and sealed by the daemon, mapped by the endpoints.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::OpenError;
use crate::layout::{
    CLOSED, CONTROL_LEN, Control, Direction, GONE, MAGIC, Side, VERSION, segment_len,
    valid_capacity,
};
use crate::ring::Memory;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::{SystemFutex, wake_always};

/// Makes a memfd of `len` bytes that nobody can resize.
///
/// `prepare` writes what it must hold before the last seal.
pub(crate) fn sealed_memfd(
    name: &str,
    len: usize,
    prepare: impl FnOnce(&Map),
) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    rustix::fs::ftruncate(&fd, len as u64)?;
    prepare(&Map::new(fd.as_fd(), len)?);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Checks that nobody can resize `fd`, and returns its size in bytes.
///
/// Without the seals the peer could truncate the file, and an access would be a `SIGBUS`.
pub(crate) fn sealed_size(fd: BorrowedFd<'_>) -> Result<u64, OpenError> {
    let seals = match rustix::fs::fcntl_get_seals(fd) {
        Ok(seals) => seals,
        // Not a memfd.
        Err(Errno::INVAL) => return Err(OpenError::NotSealed),
        Err(errno) => return Err(errno.into()),
    };
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err(OpenError::NotSealed);
    }
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

/// A shared mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed through atomics and
// raw pointers only.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes. The file must be at least that long and sealed against shrinking, or
    /// not yet be known to anyone else.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// The structure at the start of the mapping.
    ///
    /// # Safety
    ///
    /// `T` must be made of atomics only, so that any content is valid and others may write it.
    pub(crate) unsafe fn view<T>(&self) -> &T {
        assert!(size_of::<T>() <= self.len && align_of::<T>() <= 4096);
        // SAFETY: in bounds, page-aligned, and mapped as long as `self` lives; atomics may be
        // written by anyone while we hold a shared reference.
        unsafe { &*self.base.as_ptr().cast::<T>() }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours and no reference to it outlives `self`. An error is not
        // possible for a range that was mapped, and would leave it mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A validated mapping of a segment: of all of it, or of its control page.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    map: Map,
    capacity: u32,
}

impl SegmentMap {
    pub(crate) fn open(fd: BorrowedFd<'_>, control_only: bool) -> Result<Self, OpenError> {
        let size = sealed_size(fd)?;
        if size < CONTROL_LEN as u64 {
            return Err(OpenError::Size {
                size,
                expected: CONTROL_LEN as u64,
            });
        }
        // A file of any size may come; the whole of it is mapped only when its size is that of a
        // valid capacity. The size cannot change any more.
        let capacity = u32::try_from((size - CONTROL_LEN as u64) / 2).unwrap_or(u32::MAX);
        let consistent = valid_capacity(capacity) && segment_len(capacity) as u64 == size;
        let len = if control_only || !consistent {
            CONTROL_LEN
        } else {
            segment_len(capacity)
        };
        let map = Map::new(fd, len)?;
        // SAFETY: `Control` is made of atomics.
        let header = unsafe { &map.view::<Control>().header };
        // Each word of the header is read once here and never again.
        if header.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(OpenError::Magic);
        }
        let version = header.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let stated = header.capacity.load(Ordering::Relaxed);
        if !valid_capacity(stated) {
            return Err(OpenError::Capacity(stated));
        }
        if stated != capacity || !consistent {
            return Err(OpenError::Size {
                size,
                expected: segment_len(stated) as u64,
            });
        }
        Ok(Self { map, capacity })
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: `Control` is made of atomics.
        unsafe { self.map.view::<Control>() }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The ring in which `sender` writes.
    ///
    /// # Safety
    ///
    /// The ring must be dropped before the segment is.
    ///
    /// # Panics
    ///
    /// If only the control page is mapped.
    pub(crate) unsafe fn ring(&self, sender: Side) -> SharedRing {
        assert_eq!(self.map.len, segment_len(self.capacity));
        let start = CONTROL_LEN + sender.index() * self.capacity as usize;
        SharedRing {
            control: NonNull::from(&self.control().directions[sender.index()]),
            // SAFETY: `start` is within the mapping.
            data: unsafe { self.map.base.add(start) },
            capacity: self.capacity,
        }
    }
}

/// One ring of a mapped segment.
#[derive(Debug)]
pub(crate) struct SharedRing {
    control: NonNull<Direction>,
    data: NonNull<u8>,
    capacity: u32,
}

// SAFETY: as for `Map`.
unsafe impl Send for SharedRing {}

// SAFETY: `SegmentMap::ring` requires the mapping to outlive the ring; the capacity was validated
// and is private. The peer may write the bytes at any time, so they are only accessed through
// atomics and raw copies, and whatever comes out is treated as hostile.
unsafe impl Memory for SharedRing {
    #[inline]
    fn control(&self) -> &Direction {
        // SAFETY: the mapping is alive; a `Direction` is made of atomics.
        unsafe { self.control.as_ref() }
    }

    #[inline]
    fn capacity(&self) -> u32 {
        self.capacity
    }

    #[inline]
    unsafe fn load_header(&self, offset: u32) -> u64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.capacity);
        // SAFETY: in bounds and aligned, as the caller promises.
        let word = unsafe { AtomicU64::from_ptr(self.data.as_ptr().add(offset as usize).cast()) };
        word.load(Ordering::Relaxed)
    }

    #[inline]
    unsafe fn store_header(&self, offset: u32, header: u64) {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.capacity);
        // SAFETY: in bounds and aligned, as the caller promises.
        let word = unsafe { AtomicU64::from_ptr(self.data.as_ptr().add(offset as usize).cast()) };
        word.store(header, Ordering::Relaxed);
    }

    #[inline]
    unsafe fn copy_in(&self, offset: u32, src: *const u8, len: usize) {
        debug_assert!(offset as usize + len <= self.capacity as usize);
        // SAFETY: both sides are valid and do not overlap, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(src, self.data.as_ptr().add(offset as usize), len) };
    }

    #[inline]
    unsafe fn copy_out(&self, offset: u32, dst: *mut u8, len: usize) {
        debug_assert!(offset as usize + len <= self.capacity as usize);
        // SAFETY: both sides are valid and do not overlap, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(self.data.as_ptr().add(offset as usize), dst, len) };
    }

    #[inline]
    fn pointer(&self, offset: u32) -> *const u8 {
        self.data.as_ptr().wrapping_add(offset as usize)
    }
}

/// A flow segment: the file that the daemon makes for a flow and gives to both endpoints.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
}

impl Segment {
    /// Makes a segment with `capacity` bytes for each direction: a power of two between
    /// [`MIN_CAPACITY`](crate::MIN_CAPACITY) and [`MAX_CAPACITY`](crate::MAX_CAPACITY), usually
    /// [`DEFAULT_CAPACITY`](crate::DEFAULT_CAPACITY).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for another capacity; else what the system says.
    pub fn create(capacity: u32) -> io::Result<Self> {
        if !valid_capacity(capacity) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let fd = sealed_memfd("o7s-flow", segment_len(capacity), |map| {
            // SAFETY: `Control` is made of atomics.
            let header = unsafe { &map.view::<Control>().header };
            header.magic.store(MAGIC, Ordering::Relaxed);
            header.version.store(VERSION, Ordering::Relaxed);
            header.capacity.store(capacity, Ordering::Relaxed);
        })?;
        Ok(Self { fd })
    }

    /// The file descriptor, to be sent to an endpoint.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The file descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Which sides waited by a doorbell that the daemon, who has none, could not ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BellsArmed {
    /// Side A has to be told.
    pub a: bool,
    /// Side B has to be told.
    pub b: bool,
}

/// The daemon's view of a flow: its control page.
#[derive(Debug)]
pub struct Warden {
    map: SegmentMap,
}

impl Warden {
    /// Maps the control page of a segment.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(fd: BorrowedFd<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            map: SegmentMap::open(fd, true)?,
        })
    }

    /// The bytes per direction.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Records that the process of `side` died, and wakes whoever waits on the flow.
    pub fn mark_peer_gone(&self, side: Side) -> BellsArmed {
        self.mark(side, GONE)
    }

    /// Records that `side` has deallocated the flow, and wakes whoever waits on it.
    pub fn mark_closed(&self, side: Side) -> BellsArmed {
        self.mark(side, CLOSED)
    }

    /// Sets the flow down at `side`, whose process is dead, and wakes whoever waits on the flow.
    pub fn mark_down(&self, side: Side) -> BellsArmed {
        let state = &self.map.control().sides[side.index()];
        // Whoever could write the word too is dead.
        if state.down.load(Ordering::Acquire) & 1 == 0 {
            state.down.fetch_add(1, Ordering::AcqRel);
        }
        self.wake()
    }

    fn mark(&self, side: Side, bit: u32) -> BellsArmed {
        let side = &self.map.control().sides[side.index()];
        // Sync point: what `side` published happened before it died or told us that it closed.
        side.status.fetch_or(bit, Ordering::AcqRel);
        self.wake()
    }

    /// Wakes both sides, whatever they wait for.
    pub fn wake(&self) -> BellsArmed {
        let [a_to_b, b_to_a] = &self.map.control().directions;
        let wake = |word| wake_always(word, &SystemFutex);
        // Not `||`: all four words must be woken.
        BellsArmed {
            a: wake(&b_to_a.reader.word) | wake(&a_to_b.writer.word),
            b: wake(&a_to_b.reader.word) | wake(&b_to_a.writer.word),
        }
    }
}
