//! Ethernet frames of the layers on one segment: [`dix`] and [`llc`] (`spec/shims.md` §4).
//!
//! [`Ethernet`] is what both have in common: addresses, a priority tag that is skipped, type or length.
//! The management messages are in [`crate::shim`].

use std::{fmt, str::FromStr};

pub mod dix;
pub mod llc;

/// Bytes of the two addresses and the type or length.
pub const HEADER_LEN: usize = 14;

/// Bytes of an 802.1Q tag.
pub const TAG_LEN: usize = 4;

/// Largest value of the type field that is a length; above it is an ethertype (`spec/shims.md` §4.2).
pub const MAX_LENGTH: u16 = 0x05ff;

/// Ethertypes of a tag: 802.1Q and 802.1ad.
const TAG_TYPES: [u16; 2] = [0x8100, 0x88a8];

/// The 12 bits of the VLAN id in a tag.
const VLAN_MASK: u16 = 0x0fff;

mod field {
    use std::ops::Range;

    pub(super) const DESTINATION: Range<usize> = 0..6;
    pub(super) const SOURCE: Range<usize> = 6..12;
    pub(super) const TYPE: usize = 12;
}

/// The address of an Ethernet interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether this is a group address (broadcast is one), which nobody can have as his own.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no MAC address; write six pairs of hexadecimal digits, as 02:00:00:00:00:0a")]
pub struct BadMacAddr(pub String);

impl FromStr for MacAddr {
    type Err = BadMacAddr;

    fn from_str(text: &str) -> Result<Self, BadMacAddr> {
        let bad = || BadMacAddr(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

/// Why a frame is none of ours, or broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame ends before its header does.
    #[error("a frame with this header has at least {need} bytes, got {got}")]
    Short {
        /// Bytes of the headers.
        need: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// The frame belongs to a VLAN; it is for the VLAN's own interface.
    #[error("the frame belongs to VLAN {0}")]
    Vlan(u16),
    /// Another protocol's ethertype, or an LLC frame where an ethertype was wanted.
    #[error("type or length {0:#06x} is none of this layer")]
    Type(u16),
    /// The length field says more than there is (trap 5).
    #[error("the length field says {length} bytes, the frame has {got} after its header")]
    Length {
        /// Bytes according to the field.
        length: usize,
        /// Bytes that were there.
        got: usize,
    },
}

/// A frame whose header is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ethernet<T: AsRef<[u8]>> {
    buffer: T,
    /// Where the type or length field is: 12, or 16 after a priority tag.
    type_at: usize,
}

impl<T: AsRef<[u8]>> Ethernet<T> {
    /// Checks the header. One tag with VLAN id 0, which says a priority only, is skipped.
    ///
    /// # Errors
    /// [`FrameError::Short`], [`FrameError::Vlan`].
    pub fn new_checked(buffer: T) -> Result<Self, FrameError> {
        let bytes = buffer.as_ref();
        let short = |need| FrameError::Short {
            need,
            got: bytes.len(),
        };
        if bytes.len() < HEADER_LEN {
            return Err(short(HEADER_LEN));
        }
        let mut type_at = field::TYPE;
        if TAG_TYPES.contains(&half(bytes, type_at)) {
            if bytes.len() < HEADER_LEN + TAG_LEN {
                return Err(short(HEADER_LEN + TAG_LEN));
            }
            let vlan = half(bytes, type_at + 2) & VLAN_MASK;
            if vlan != 0 {
                return Err(FrameError::Vlan(vlan));
            }
            type_at += TAG_LEN;
        }
        Ok(Self { buffer, type_at })
    }

    /// To whom the frame is.
    pub fn destination(&self) -> MacAddr {
        mac(&self.buffer.as_ref()[field::DESTINATION])
    }

    /// Who sent it.
    pub fn source(&self) -> MacAddr {
        mac(&self.buffer.as_ref()[field::SOURCE])
    }

    /// Ethertype, or length up to [`MAX_LENGTH`].
    pub fn type_or_length(&self) -> u16 {
        half(self.buffer.as_ref(), self.type_at)
    }

    /// Offset of what follows the type or length.
    pub fn body_at(&self) -> usize {
        self.type_at + 2
    }

    /// What follows the type or length, padding included.
    pub fn body(&self) -> &[u8] {
        &self.buffer.as_ref()[self.body_at()..]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Ethernet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} type={:#06x}",
            self.source(),
            self.destination(),
            self.type_or_length()
        )
    }
}

/// A whole frame of a layer: behind the Ethernet header the layer's own, then the payload, then perhaps
/// padding.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Content<T: AsRef<[u8]>> {
    ethernet: Ethernet<T>,
    /// Bytes of the layer's header.
    header: usize,
    /// Bytes of the payload.
    length: usize,
}

impl<T: AsRef<[u8]>> Content<T> {
    /// Checks that the frame has as much as its length field says, which `length` finds behind the Ethernet
    /// header (or in it), and which counts `counted` bytes of the layer's header in.
    fn new_checked(
        ethernet: Ethernet<T>,
        header: usize,
        counted: usize,
        length: impl FnOnce(&[u8]) -> usize,
    ) -> Result<Self, FrameError> {
        let body = ethernet.body();
        let short = |got| FrameError::Short {
            need: ethernet.body_at() + header,
            got: ethernet.body_at() + got,
        };
        let Some(after) = body.len().checked_sub(header) else {
            return Err(short(body.len()));
        };
        let (length, got) = (length(body), after + counted);
        if length > got {
            return Err(FrameError::Length { length, got });
        }
        let length = length.checked_sub(counted).ok_or_else(|| short(length))?;
        Ok(Self {
            ethernet,
            header,
            length,
        })
    }

    fn payload_at(&self) -> usize {
        self.ethernet.body_at() + self.header
    }

    fn payload(&self) -> &[u8] {
        &self.ethernet.body()[self.header..self.header + self.length]
    }
}

fn mac(bytes: &[u8]) -> MacAddr {
    let mut address = [0; 6];
    address.copy_from_slice(bytes);
    MacAddr(address)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn emit(destination: MacAddr, source: MacAddr, type_or_length: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[field::DESTINATION].copy_from_slice(&destination.0);
    header[field::SOURCE].copy_from_slice(&source.0);
    header[field::TYPE..].copy_from_slice(&type_or_length.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let mac: MacAddr = "02:00:00:00:00:aA".parse().expect("an address");
        assert_eq!(mac, MacAddr([2, 0, 0, 0, 0, 0xaa]));
        assert_eq!(mac.to_string(), "02:00:00:00:00:aa");
        assert!(!mac.is_group() && MacAddr::BROADCAST.is_group());
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0a:0b",
            "+2:00:00:00:00:0a",
            "2:0:0:0:0:0",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(BadMacAddr(bad.to_owned())));
        }
    }

    #[test]
    fn a_priority_tag_is_skipped_and_a_vlan_is_not_ours() {
        let mut frame = emit(MacAddr::BROADCAST, MacAddr([2; 6]), 0x8100).to_vec();
        assert_eq!(
            Ethernet::new_checked(&frame).err(),
            Some(FrameError::Short { need: 18, got: 14 })
        );
        frame.extend_from_slice(&[0xa0, 0, 0xa0, 0, 7]);
        let ethernet = Ethernet::new_checked(&frame).expect("a tagged frame");
        assert_eq!(ethernet.type_or_length(), 0xa000);
        assert_eq!(ethernet.body(), [7]);
        frame[15] = 9;
        assert_eq!(
            Ethernet::new_checked(&frame).err(),
            Some(FrameError::Vlan(9))
        );
    }
}
