//! Frames of eth-dix: an ethertype of the layer, destination endpoint, length (`spec/shims.md` §4.1).

use std::fmt;

use super::{Content, Ethernet, FrameError, MacAddr};

/// Bytes before the payload, in a frame without a tag.
pub const HEADER_LEN: usize = super::HEADER_LEN + EID_LEN + LENGTH_LEN;

/// Bytes of the interface's MTU that are not payload.
pub const OVERHEAD: usize = EID_LEN + LENGTH_LEN;

/// The endpoint of management messages.
pub const MANAGEMENT: u16 = 0;

/// Ethertype of layers that say nothing else.
pub const DEFAULT_ETHERTYPE: u16 = 0xa000;

const EID_LEN: usize = 2;
const LENGTH_LEN: usize = 2;

/// Offsets from the end of the Ethernet header.
mod field {
    pub(super) const EID: usize = 0;
    pub(super) const LENGTH: usize = 2;
    pub(super) const PAYLOAD: usize = 4;
}

/// A frame whose header and length were checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<T: AsRef<[u8]>>(Content<T>);

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks that this is a whole frame of the layer with this ethertype. What follows the payload is
    /// padding.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn new_checked(buffer: T, ethertype: u16) -> Result<Self, FrameError> {
        let ethernet = Ethernet::new_checked(buffer)?;
        let found = ethernet.type_or_length();
        if found != ethertype {
            return Err(FrameError::Type(found));
        }
        Content::new_checked(ethernet, field::PAYLOAD, 0, |body| {
            usize::from(super::half(body, field::LENGTH))
        })
        .map(Self)
    }

    /// The Ethernet header.
    pub fn ethernet(&self) -> &Ethernet<T> {
        &self.0.ethernet
    }

    /// Destination endpoint; [`MANAGEMENT`] for a management message.
    pub fn eid(&self) -> u16 {
        super::half(self.ethernet().body(), field::EID)
    }

    /// Offset of the payload in the frame.
    pub fn payload_at(&self) -> usize {
        self.0.payload_at()
    }

    /// The payload without padding.
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Frame<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repr = Repr::of(self);
        write!(f, "{repr} len={}", self.payload().len())
    }
}

/// The header of a frame; its length field comes from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// To whom.
    pub destination: MacAddr,
    /// From whom.
    pub source: MacAddr,
    /// Ethertype of the layer.
    pub ethertype: u16,
    /// Destination endpoint.
    pub eid: u16,
}

impl Repr {
    /// The header of a frame.
    pub fn of<T: AsRef<[u8]>>(frame: &Frame<T>) -> Self {
        Self {
            destination: frame.ethernet().destination(),
            source: frame.ethernet().source(),
            ethertype: frame.ethernet().type_or_length(),
            eid: frame.eid(),
        }
    }

    /// The bytes that go before a payload of `length` bytes.
    #[must_use]
    pub fn emit(&self, length: u16) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let (ethernet, rest) = header.split_at_mut(super::HEADER_LEN);
        ethernet.copy_from_slice(&super::emit(self.destination, self.source, self.ethertype));
        rest[field::EID..field::LENGTH].copy_from_slice(&self.eid.to_be_bytes());
        rest[field::LENGTH..].copy_from_slice(&length.to_be_bytes());
        header
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DIX[{:#06x}] {} > {}",
            self.ethertype, self.source, self.destination
        )?;
        match self.eid {
            MANAGEMENT => f.write_str(" management"),
            eid => write!(f, " eid={eid}"),
        }
    }
}
