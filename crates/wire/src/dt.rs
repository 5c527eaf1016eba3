//! The header of data transfer packets in a unicast layer (`spec/unicast.md` §2.1), and the values in it:
//! addresses, endpoint ids, QoS cubes.
//!
//! ```text
//!  0          a     a+1   a+2   a+3          a+3+e
//!  +----------+-----+-----+-----+------------+---------
//!  | dst_addr | qc  | ttl | ecn | eid        | payload   a = 4 and e = 8 in 0.23: 15 bytes
//!  +----------+-----+-----+-----+------------+---------
//! ```
//!
//! Address and EID are little-endian here; inside the messages of the flow allocator and of link state
//! they are big-endian. [`Packet`] is a view whose length was checked once, with the two fields that a
//! forwarding node changes writable in place; [`Repr`] is the parsed form.

mod cube;
#[cfg(test)]
mod tests;

use std::fmt;

pub use crate::address::Address;
pub use cube::QosCube;

/// Bytes of the longest header: an address and an EID of 8 bytes each.
pub const MAX_HEADER_LEN: usize = 19;

/// Bytes between address and EID.
const MIDDLE: usize = 3;

/// Number of an endpoint inside a node: a component, or one end of a user's flow
/// (`spec/unicast.md` §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Eid(pub u64);

impl Eid {
    /// The flow allocator.
    pub const FLOW_ALLOCATOR: Self = Self(0);
    /// The directory.
    pub const DIRECTORY: Self = Self(1);
    /// The first one that is not reserved for components.
    pub const FIRST_USER: Self = Self(64);
    /// "No EID": no endpoint ever has this one.
    pub const NONE: Self = Self(u64::MAX);

    /// Whether the number is one of the 64 that are reserved for components.
    #[must_use]
    pub const fn is_component(self) -> bool {
        self.0 < Self::FIRST_USER.0
    }
}

impl fmt::Display for Eid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Why bytes are no data transfer packet, or sizes no sizes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtError {
    /// Fewer bytes than the header has.
    #[error("a data transfer packet of this layer has at least {header} bytes, got {got}")]
    Short {
        /// Length of the header in this layer.
        header: usize,
        /// Bytes that there were.
        got: usize,
    },
    /// An address or EID size that no layer can have.
    #[error(
        "a layer with addresses of {address} bytes and EIDs of {eid} bytes is not possible; \
         use 1 to 8 (0.23 has 4 and 8)"
    )]
    Sizes {
        /// Bytes of an address.
        address: usize,
        /// Bytes of an EID.
        eid: usize,
    },
}

/// How wide addresses and EIDs are in a layer: `addr_size` and `eid_size` of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sizes {
    address: u8,
    eid: u8,
}

impl Sizes {
    /// Addresses of 4 bytes, EIDs of 8: the only ones that 0.23 has (`spec/unicast.md` §1).
    pub const DEFAULT: Self = Self { address: 4, eid: 8 };

    /// Sizes in bytes, 1 to 8 each.
    ///
    /// # Errors
    /// [`DtError::Sizes`].
    pub const fn new(address: usize, eid: usize) -> Result<Self, DtError> {
        if address < 1 || address > 8 || eid < 1 || eid > 8 {
            return Err(DtError::Sizes { address, eid });
        }
        Ok(Self {
            address: address as u8,
            eid: eid as u8,
        })
    }

    /// Bytes of an address, 1 to 8.
    #[must_use]
    pub const fn address(self) -> usize {
        self.address as usize
    }

    /// Bytes of an EID, 1 to 8.
    #[must_use]
    pub const fn eid(self) -> usize {
        self.eid as usize
    }

    /// Bytes of the header, 5 to [`MAX_HEADER_LEN`]; 15 in 0.23.
    #[must_use]
    pub const fn header_len(self) -> usize {
        self.address() + MIDDLE + self.eid()
    }

    /// Whether a header has room for this address. One that is too large would be cut to another.
    #[must_use]
    pub const fn fits(self, address: Address) -> bool {
        self.address == 8 || address.get() >> (8 * self.address) == 0
    }

    const fn cube_at(self) -> usize {
        self.address()
    }

    const fn ttl_at(self) -> usize {
        self.address() + 1
    }

    const fn ecn_at(self) -> usize {
        self.address() + 2
    }

    const fn eid_at(self) -> usize {
        self.address() + MIDDLE
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The little-endian number of `size` bytes at `at`. One load where eight bytes are there.
#[inline]
fn read(bytes: &[u8], at: usize, size: usize) -> u64 {
    if let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        return word & (u64::MAX >> (64 - 8 * size));
    }
    bytes[at..at + size]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A packet at least as long as the header of its layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<T> {
    buffer: T,
    sizes: Sizes,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the length. A packet of 0 bytes is the keepalive of the N-1 flow and no data transfer
    /// packet: take it out before (`spec/unicast.md` §2.1).
    ///
    /// # Errors
    /// [`DtError::Short`].
    #[inline]
    pub fn new_checked(buffer: T, sizes: Sizes) -> Result<Self, DtError> {
        let got = buffer.as_ref().len();
        let header = sizes.header_len();
        if got < header {
            return Err(DtError::Short { header, got });
        }
        Ok(Self { buffer, sizes })
    }

    /// The bytes back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Address {
        Address::new(read(self.buffer.as_ref(), 0, self.sizes.address()))
    }

    /// Number of the QoS cube: any value may come, [`QosCube::from_number`] knows three.
    #[inline]
    pub fn cube(&self) -> u8 {
        self.buffer.as_ref()[self.sizes.cube_at()]
    }

    /// Hops left.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[self.sizes.ttl_at()]
    }

    /// Congestion met on the path, 0 = none (`spec/unicast.md` §7.2).
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.buffer.as_ref()[self.sizes.ecn_at()]
    }

    /// Endpoint at the destination.
    #[inline]
    pub fn eid(&self) -> Eid {
        let at = self.sizes.eid_at();
        Eid(read(self.buffer.as_ref(), at, self.sizes.eid()))
    }

    /// What follows the header; may be empty: the keepalive of a user's flow.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.sizes.header_len()..]
    }

    /// All fields of the header.
    pub fn repr(&self) -> Repr {
        Repr {
            destination: self.destination(),
            cube: self.cube(),
            ttl: self.ttl(),
            ecn: self.ecn(),
            eid: self.eid(),
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Overwrites the hops left.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let at = self.sizes.ttl_at();
        self.buffer.as_mut()[at] = ttl;
    }

    /// Adds a congestion mark: the marks of several hops are OR-ed (`spec/unicast.md` §7.2).
    #[inline]
    pub fn mark(&mut self, mark: u8) {
        let at = self.sizes.ecn_at();
        self.buffer.as_mut()[at] |= mark;
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} len={}", self.repr(), self.payload().len())
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({self})")
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub destination: Address,
    /// Number of the QoS cube, see [`QosCube`].
    pub cube: u8,
    /// Hops left.
    pub ttl: u8,
    /// Congestion met on the path, 0 = none.
    pub ecn: u8,
    /// Endpoint at the destination.
    pub eid: Eid,
}

impl Repr {
    /// Reads the header at the start of `packet`; every value of every field parses.
    ///
    /// # Errors
    /// [`DtError::Short`].
    pub fn parse(packet: &[u8], sizes: Sizes) -> Result<Self, DtError> {
        Ok(Packet::new_checked(packet, sizes)?.repr())
    }

    /// Writes the header to the start of `packet`: of address and EID the low-order bytes that the
    /// sizes give room for (see [`Sizes::fits`]).
    ///
    /// # Errors
    /// [`DtError::Short`] when `packet` has no room for it.
    #[inline]
    pub fn emit(&self, packet: &mut [u8], sizes: Sizes) -> Result<(), DtError> {
        let header = sizes.header_len();
        let got = packet.len();
        if got < header {
            return Err(DtError::Short { header, got });
        }
        let address = self.destination.get().to_le_bytes();
        packet[..sizes.address()].copy_from_slice(&address[..sizes.address()]);
        packet[sizes.cube_at()] = self.cube;
        packet[sizes.ttl_at()] = self.ttl;
        packet[sizes.ecn_at()] = self.ecn;
        packet[sizes.eid_at()..header].copy_from_slice(&self.eid.0.to_le_bytes()[..sizes.eid()]);
        Ok(())
    }

    /// A packet: the header and then `payload`.
    #[must_use]
    pub fn to_packet(&self, sizes: Sizes, payload: &[u8]) -> Vec<u8> {
        let mut header = [0; MAX_HEADER_LEN];
        // No sizes need more than the longest header.
        let _ = self.emit(&mut header, sizes);
        [&header[..sizes.header_len()], payload].concat()
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            destination,
            cube,
            ttl,
            ecn,
            eid,
        } = self;
        write!(f, "DT dst={destination} qc={cube} ttl={ttl} ecn={ecn}")?;
        match *eid {
            Eid::FLOW_ALLOCATOR => f.write_str(" eid=flow-allocator"),
            Eid::DIRECTORY => f.write_str(" eid=directory"),
            Eid(eid) => write!(f, " eid={eid:#x}"),
        }
    }
}
