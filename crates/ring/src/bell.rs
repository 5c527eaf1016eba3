//! The doorbell: one file descriptor by which a process learns which of its flows with another
//! process have something to do.
//!
//! There is one per pair of processes, not per flow. Each side has one end of a stream socket,
//! which becomes readable, and both map a page with a bitmap per side, in which each flow has a
//! slot. A side that is busy draining is not sent a byte again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::bits;
use crate::error::OpenError;
use crate::layout::Side;
use crate::segment::{Map, sealed_memfd, sealed_size};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The number of slots, and so of flows, per side.
pub const BELL_SLOTS: u32 = 16_384;

const MAGIC: u64 = u64::from_le_bytes(*b"o7s bell");
const VERSION: u32 = 1;

/// How many times a drain empties the socket at most; one time does unless the peer floods it.
const MAX_RECEIVES: u32 = 4;

/// The words of one side, at the start of their own page.
#[repr(C, align(4096))]
#[derive(Debug)]
struct BellSide {
    /// 1 if the side's socket must be sent a byte.
    armed: AtomicU32,
    /// The slots that were rung.
    bits: BellBits,
}

#[repr(C, align(128))]
#[derive(Debug)]
struct BellBits([AtomicU64; (BELL_SLOTS / 64) as usize]);

/// The memory of a bell.
#[repr(C)]
#[derive(Debug)]
struct BellMemory {
    sides: [BellSide; 2],
    magic: AtomicU64,
    version: AtomicU32,
}

/// The length of the memory in bytes: whole pages.
const MEMORY_LEN: usize = size_of::<BellMemory>();
const _: () = assert!(MEMORY_LEN == 3 * 4096);

/// What one process of a pair gets to open its [`Bell`].
#[derive(Debug)]
pub struct BellEnd {
    /// This process's end of the socket pair.
    pub socket: OwnedFd,
    /// The sealed memory, the same for both.
    pub memory: OwnedFd,
}

/// Makes bells.
#[derive(Debug)]
pub struct BellParts;

impl BellParts {
    /// Makes what side A and side B of a pair of processes need.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn create() -> io::Result<(BellEnd, BellEnd)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let memory = sealed_memfd("o7s-bell", MEMORY_LEN, |map| {
            // SAFETY: `BellMemory` is made of atomics.
            let memory = unsafe { map.view::<BellMemory>() };
            memory.magic.store(MAGIC, Ordering::Relaxed);
            memory.version.store(VERSION, Ordering::Relaxed);
            for side in &memory.sides {
                // A ring before the first drain must make the socket readable.
                side.armed.store(1, Ordering::Relaxed);
            }
        })?;
        let other = memory.try_clone()?;
        Ok((
            BellEnd { socket: a, memory },
            BellEnd {
                socket: b,
                memory: other,
            },
        ))
    }
}

/// Whether the other end of a bell still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// It does.
    Open,
    /// It does not: no more rings will come.
    PeerClosed,
}

/// One side's doorbell: heard by the own process, rung at the other.
#[derive(Debug)]
pub struct Bell {
    socket: OwnedFd,
    map: Map,
    side: Side,
}

impl Bell {
    /// Opens one end as `side` of the pair.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(end: BellEnd, side: Side) -> Result<Self, OpenError> {
        let size = sealed_size(end.memory.as_fd())?;
        if size != MEMORY_LEN as u64 {
            return Err(OpenError::Size {
                size,
                expected: MEMORY_LEN as u64,
            });
        }
        let map = Map::new(end.memory.as_fd(), MEMORY_LEN)?;
        // SAFETY: `BellMemory` is made of atomics.
        let memory = unsafe { map.view::<BellMemory>() };
        if memory.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(OpenError::Magic);
        }
        let version = memory.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        Ok(Self {
            socket: end.socket,
            map,
            side,
        })
    }

    fn words(&self, side: Side) -> &BellSide {
        // SAFETY: `BellMemory` is made of atomics.
        let memory = unsafe { self.map.view::<BellMemory>() };
        &memory.sides[side.index()]
    }

    /// Rings `slot` at the other process. A slot beyond [`BELL_SLOTS`] is ignored. Never blocks.
    pub fn ring(&self, slot: u32) {
        let peer = self.words(self.side.peer());
        if bits::ring(&peer.bits.0, &peer.armed, slot) {
            // A full socket is readable already; a closed one has nobody to tell.
            let _ = rustix::net::send(
                &self.socket,
                &[1],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            );
        }
    }

    /// Calls `rung` with each slot that was rung since the last time, and arms the bell: the file
    /// descriptor becomes readable at the next ring. Never blocks.
    ///
    /// A slot is a hint: a hostile peer can ring any of them for nothing.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn drain(&self, rung: impl FnMut(u32)) -> io::Result<Drain> {
        let mut drain = Drain::Open;
        let mut sink = [0u8; 256];
        for _ in 0..MAX_RECEIVES {
            let flags = RecvFlags::DONTWAIT;
            match rustix::net::recv(&self.socket, &mut sink[..], flags) {
                Ok((0, _)) | Err(Errno::CONNRESET) => {
                    drain = Drain::PeerClosed;
                    break;
                }
                // Less than a full buffer: the socket is empty.
                Ok((received, _)) if received < sink.len() => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        let own = self.words(self.side);
        bits::drain(&own.bits.0, &own.armed, rung);
        Ok(drain)
    }

    /// Whether the other end does not exist any more: the peer's process has ended.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&now)), Ok(1))
            && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// The file descriptor, readable when [`drain`](Self::drain) has something to do.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// How to ring for one flow.
#[derive(Debug, Clone)]
pub struct BellHandle {
    /// The bell of the pair of processes.
    pub bell: Arc<Bell>,
    /// The flow's slot at the peer.
    pub slot: u32,
}

impl BellHandle {
    /// Rings for the flow.
    pub fn ring(&self) {
        self.bell.ring(self.slot);
    }
}
