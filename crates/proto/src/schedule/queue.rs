//! The bounded queue in front of an N-1 flow.

use std::collections::VecDeque;

use o7s_wire::dt::QosCube;

use super::Shares;

/// How much a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Packets of each cube.
    pub packets: usize,
    /// Bytes of each cube.
    pub bytes: usize,
}

impl Default for Limits {
    /// As many packets as the transmit rings of 0.23, of which the marks are a measure; of a byte bound
    /// that lets them be Ethernet packets.
    fn default() -> Self {
        Self {
            packets: 1023,
            bytes: 2 << 20,
        }
    }
}

/// The queue has no room for a packet: here it is again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<P>(pub P);

/// Packets that wait for an N-1 flow, by cube: a flood of one cube leaves the others their room.
#[derive(Debug, Clone)]
pub struct Queue<P> {
    limits: Limits,
    shares: Shares,
    packets: [VecDeque<P>; QosCube::COUNT],
    bytes: [usize; QosCube::COUNT],
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl<P> Queue<P> {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            shares: Shares::default(),
            packets: Default::default(),
            bytes: [0; QosCube::COUNT],
        }
    }

    /// Packets that a new one of this cube waits behind: those of its cube and of higher ones. What to
    /// mark it by.
    #[must_use]
    pub fn ahead(&self, cube: QosCube) -> usize {
        self.packets[cube.index()..].iter().map(VecDeque::len).sum()
    }

    /// All packets in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.iter().map(VecDeque::len).sum()
    }

    /// Whether no packet waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.iter().all(VecDeque::is_empty)
    }
}

impl<P: AsRef<[u8]>> Queue<P> {
    /// Puts a packet at the end of its cube.
    ///
    /// # Errors
    /// [`Full`]: drop it, or hold its source back.
    pub fn push(&mut self, cube: QosCube, packet: P) -> Result<(), Full<P>> {
        let at = cube.index();
        let len = packet.as_ref().len();
        if self.packets[at].len() >= self.limits.packets || self.bytes[at] + len > self.limits.bytes
        {
            return Err(Full(packet));
        }
        self.bytes[at] += len;
        self.packets[at].push_back(packet);
        Ok(())
    }

    /// The packet that goes next. Taken back by [`unpop`](Self::unpop) if the flow does not take it.
    pub fn pop(&mut self) -> Option<(QosCube, P)> {
        let packets = &self.packets;
        let cube = self.shares.next(|cube| !packets[cube.index()].is_empty())?;
        let packet = self.packets[cube.index()].pop_front()?;
        let len = packet.as_ref().len();
        self.bytes[cube.index()] -= len;
        self.shares.charge(cube, len);
        Some((cube, packet))
    }

    /// Puts a packet back to the front of its cube.
    pub fn unpop(&mut self, cube: QosCube, packet: P) {
        self.bytes[cube.index()] += packet.as_ref().len();
        self.packets[cube.index()].push_front(packet);
    }
}
