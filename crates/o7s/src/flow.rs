//! A flow.
#![allow(
    missing_docs,
    unused_variables,
    clippy::missing_errors_doc,
    clippy::todo
)]

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{FlowFlags, FrctFlags, Node, QosSpec, Result, node::Pending};

/// A flow, or one that is being allocated. Clones are the same flow; it is deallocated with
/// `dealloc` or when the last clone goes. All methods may be called from any thread.
#[derive(Debug, Clone)]
pub struct Flow {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    Pending,
    Allocated,
    Down,
    PeerGone,
    Deallocated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowStats {
    pub packets_read: u64,
    pub bytes_read: u64,
    pub packets_written: u64,
    pub bytes_written: u64,
    pub rx_queue: usize,
    pub tx_queue: usize,
}

impl Flow {
    pub fn alloc(name: &str, qos: QosSpec, timeout: Option<Duration>) -> Result<Self> {
        todo!()
    }
    pub fn accept(timeout: Option<Duration>) -> Result<Self> {
        todo!()
    }
    pub fn join(layer: &str, timeout: Option<Duration>) -> Result<Self> {
        todo!()
    }
    /// A flow whose request is still under way: `state()` is `Pending`, I/O fails with
    /// `NotAllocated`-like `InProgress`; completion raises event Alloc (or Dealloc on failure).
    pub fn pending(request: Pending) -> Result<Self> {
        todo!()
    }
    /// For a pending flow: the outcome if it is known (error = allocation failed).
    pub fn finish(&self) -> Result<bool> {
        todo!()
    }

    /// Flow descriptor: a small number from 64, lowest free first; not an OS descriptor.
    pub fn fd(&self) -> i32 {
        todo!()
    }
    /// The daemon's flow id.
    pub fn id(&self) -> u64 {
        todo!()
    }
    pub fn name(&self) -> String {
        todo!()
    }
    pub fn peer_pid(&self) -> i32 {
        todo!()
    }
    pub fn node(&self) -> &Node {
        todo!()
    }
    pub fn state(&self) -> FlowState {
        todo!()
    }
    pub fn qos(&self) -> Result<QosSpec> {
        todo!()
    }

    /// C rules: partial reads, 0-length end mark, flags, read timeout. Not interrupted by signals.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }
    /// One whole packet (or the rest of a partially read one), flags and timeout obeyed.
    pub fn read_packet(&self) -> Result<Vec<u8>> {
        todo!()
    }
    /// One attempt; `WouldBlock` if nothing is there, whatever the flags.
    pub fn try_read(&self, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }
    pub fn try_read_packet(&self) -> Result<Vec<u8>> {
        todo!()
    }
    /// Puts bytes back in front: they are what the next reads return first, as the rest of a
    /// partially read packet.
    pub fn unread(&self, rest: &[u8]) -> Result<()> {
        todo!()
    }
    /// Waits until a read would not block: `TimedOut` at the deadline, `Interrupted` on a signal.
    pub fn wait_readable(&self, deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// One packet; returns its length. Flags and write timeout obeyed.
    pub fn write(&self, buf: &[u8]) -> Result<usize> {
        todo!()
    }
    pub fn try_write(&self, buf: &[u8]) -> Result<usize> {
        todo!()
    }
    pub fn wait_writable(&self, len: usize, deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// Largest packet in bytes.
    pub fn max_packet(&self) -> usize {
        todo!()
    }

    pub fn read_timeout(&self) -> Result<Option<Duration>> {
        todo!()
    }
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        todo!()
    }
    pub fn write_timeout(&self) -> Result<Option<Duration>> {
        todo!()
    }
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        todo!()
    }
    pub fn flags(&self) -> Result<FlowFlags> {
        todo!()
    }
    /// Replaces all flags.
    pub fn set_flags(&self, flags: FlowFlags) -> Result<()> {
        todo!()
    }
    pub fn frct_flags(&self) -> Result<FrctFlags> {
        todo!()
    }
    pub fn set_frct_flags(&self, flags: FrctFlags) -> Result<()> {
        todo!()
    }
    /// Packets that wait to be read here / at the other end.
    pub fn rx_queue_len(&self) -> Result<usize> {
        todo!()
    }
    pub fn tx_queue_len(&self) -> Result<usize> {
        todo!()
    }
    pub fn stats(&self) -> FlowStats {
        todo!()
    }
    pub fn dealloc(&self) -> Result<()> {
        todo!()
    }
    /// An OS descriptor, level-triggered readable while a read would not block. Made at first use.
    pub fn fileno(&self) -> Result<BorrowedFd<'_>> {
        todo!()
    }
}

impl PartialEq for Flow {
    fn eq(&self, other: &Self) -> bool {
        todo!()
    }
}
impl Eq for Flow {}
