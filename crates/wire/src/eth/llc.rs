//! Frames of eth-llc: 802.3 with a length, LLC service access points, UI (`spec/shims.md` §4.2).

use std::fmt;

use super::{Content, Ethernet, FrameError, MAX_LENGTH, MacAddr};

/// Bytes before the payload, in a frame without a tag.
pub const HEADER_LEN: usize = super::HEADER_LEN + OVERHEAD;

/// Bytes of the LLC header, which the length field counts in.
pub const OVERHEAD: usize = 3;

/// The SAP of management messages, in both directions.
pub const MANAGEMENT: u8 = 1;

/// The control field: unnumbered information. Not looked at on reception.
pub const CONTROL: u8 = 0x03;

/// Largest value of the length field that is sent.
pub const MAX_SENT_LENGTH: usize = 1500;

/// Offsets from the end of the Ethernet header.
mod field {
    pub(super) const DSAP: usize = 0;
    pub(super) const SSAP: usize = 1;
    pub(super) const CONTROL: usize = 2;
    pub(super) const PAYLOAD: usize = 3;
}

/// A frame whose header and length were checked. SAPs are given as numbers; on the wire their bits are
/// reversed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<T: AsRef<[u8]>>(Content<T>);

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks that this is a whole LLC frame. What follows the payload is padding.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn new_checked(buffer: T) -> Result<Self, FrameError> {
        let ethernet = Ethernet::new_checked(buffer)?;
        let found = ethernet.type_or_length();
        if found > MAX_LENGTH {
            return Err(FrameError::Type(found));
        }
        Content::new_checked(ethernet, field::PAYLOAD, OVERHEAD, |_| found.into()).map(Self)
    }

    /// The Ethernet header.
    pub fn ethernet(&self) -> &Ethernet<T> {
        &self.0.ethernet
    }

    /// Destination SAP; [`MANAGEMENT`] for a management message.
    pub fn dsap(&self) -> u8 {
        self.ethernet().body()[field::DSAP].reverse_bits()
    }

    /// Source SAP.
    pub fn ssap(&self) -> u8 {
        self.ethernet().body()[field::SSAP].reverse_bits()
    }

    /// The control field.
    pub fn control(&self) -> u8 {
        self.ethernet().body()[field::CONTROL]
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
    /// Destination SAP as a number.
    pub dsap: u8,
    /// Source SAP as a number.
    pub ssap: u8,
    /// Control field.
    pub control: u8,
}

impl Repr {
    /// The header of a frame.
    pub fn of<T: AsRef<[u8]>>(frame: &Frame<T>) -> Self {
        Self {
            destination: frame.ethernet().destination(),
            source: frame.ethernet().source(),
            dsap: frame.dsap(),
            ssap: frame.ssap(),
            control: frame.control(),
        }
    }

    /// The bytes that go before a payload of `length` bytes, at most [`MAX_SENT_LENGTH`] less
    /// [`OVERHEAD`].
    #[must_use]
    pub fn emit(&self, length: u16) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let (ethernet, rest) = header.split_at_mut(super::HEADER_LEN);
        let length = length.saturating_add(OVERHEAD as u16);
        ethernet.copy_from_slice(&super::emit(self.destination, self.source, length));
        rest[field::DSAP] = self.dsap.reverse_bits();
        rest[field::SSAP] = self.ssap.reverse_bits();
        rest[field::CONTROL] = self.control;
        header
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LLC {} > {}", self.source, self.destination)?;
        if self.dsap == MANAGEMENT {
            f.write_str(" management")?;
        } else {
            write!(f, " dsap={} ssap={}", self.dsap, self.ssap)?;
        }
        match self.control {
            CONTROL => Ok(()),
            other => write!(f, " control={other:#04x}"),
        }
    }
}
