//! Flow flags, FRCP flags and event kinds, with the values of the C interface
//! (`spec/frcp.md` §13.4, §13.5, §14.2).

/// Flags of a flow: access mode, blocking, partial reads. A plain number with the C values, since
/// programs store, mask and combine them freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowFlags(pub u32);

impl FlowFlags {
    /// Only reading: own writes fail.
    pub const READ_ONLY: Self = Self(0);
    /// Only writing: the other end's writes fail.
    pub const WRITE_ONLY: Self = Self(1);
    /// Reading and writing.
    pub const READ_WRITE: Self = Self(2);
    /// The bits of the access mode.
    pub const ACCESS_MODE: Self = Self(3);
    /// The flow is down.
    pub const DOWN: Self = Self(4);
    /// Reads do not wait.
    pub const NON_BLOCKING_READ: Self = Self(0o1000);
    /// Writes do not wait.
    pub const NON_BLOCKING_WRITE: Self = Self(0o2000);
    /// Neither waits.
    pub const NON_BLOCKING: Self = Self(0o3000);
    /// A packet larger than the buffer of a read is an error, not read in parts.
    pub const NO_PARTIAL_READ: Self = Self(0o10000);
    /// Stored; writes are never partial.
    pub const NO_PARTIAL_WRITE: Self = Self(0o20000);
    /// Flags of a new flow.
    pub const DEFAULT: Self = Self(0o20002);

    /// Whether all bits of `flags` are set.
    #[must_use]
    pub fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for FlowFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// FRCP flags of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrctFlags(pub u16);

impl FrctFlags {
    /// Retransmission; set from the QoS only.
    pub const RETRANSMIT: Self = Self(1);
    /// The sender obeys the peer's window.
    pub const RES_CNTL: Self = Self(2);
    /// Deallocation waits for unacknowledged data.
    pub const LINGER: Self = Self(4);
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum EventKind {
    /// A packet can be read: one event per packet.
    Packet = 1,
    /// The other end took the flow down.
    Down = 2,
    /// The flow is up again.
    Up = 4,
    /// An asynchronous allocation succeeded.
    Alloc = 8,
    /// The other end deallocated the flow, or an asynchronous allocation failed.
    Dealloc = 16,
    /// The other end died or is silent.
    Peer = 32,
}
