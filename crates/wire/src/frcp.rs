//! The header of FRCP packets (`spec/frcp.md` §2) and the selective acknowledgement of our own peers.
//!
//! All fields are big-endian. [`Packet`] is a view whose length was checked once; [`Repr`] is the
//! parsed form. A control packet between two peers that agreed on it may carry selective
//! acknowledgements after the header: [`Ranges`].

use std::fmt;

/// Bytes of the header.
pub const HEADER_LEN: usize = 12;

/// The window field has 24 bits.
pub const WINDOW_MASK: u32 = 0x00ff_ffff;

/// Bytes of one range of a selective acknowledgement.
pub const RANGE_LEN: usize = 8;

/// Most ranges that one control packet carries.
pub const MAX_RANGES: usize = 64;

/// Largest offset from ackno that a range may have: no window is larger than this.
pub const MAX_OFFSET: u32 = 1 << 20;

mod field {
    use std::ops::Range;

    pub(super) const FLAGS: usize = 0;
    pub(super) const WINDOW: Range<usize> = 1..4;
    pub(super) const SEQNO: Range<usize> = 4..8;
    pub(super) const ACKNO: Range<usize> = 8..12;
}

/// The flags byte (`spec/frcp.md` §2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Carries one application datagram, or a fragment of one.
    pub const DATA: Self = Self(0x01);
    /// Data run: everything the sender sent before is acknowledged.
    pub const DRF: Self = Self(0x02);
    /// The ackno field is valid.
    pub const ACK: Self = Self(0x04);
    /// The window field is valid.
    pub const FC: Self = Self(0x08);
    /// Rendezvous: "my window is shut, tell me your edge".
    pub const RDVS: Self = Self(0x10);
    /// First fragment, or with MFGM clear the last one (extension; 0.23 never sends it).
    pub const FFGM: Self = Self(0x20);
    /// More fragments follow (extension; 0.23 never sends it).
    pub const MFGM: Self = Self(0x40);
    /// The bit without a meaning.
    pub const RESERVED: Self = Self(0x80);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::DATA, "DATA"),
        (Self::DRF, "DRF"),
        (Self::ACK, "ACK"),
        (Self::FC, "FC"),
        (Self::RDVS, "RDVS"),
        (Self::FFGM, "FFGM"),
        (Self::MFGM, "MFGM"),
        (Self::RESERVED, "0x80"),
    ];

    /// The flags of a byte, whatever they are.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// No flag at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags that both have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                if !first {
                    f.write_str("|")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}

/// Why bytes are no FRCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrcpError {
    /// Fewer than [`HEADER_LEN`] bytes.
    #[error("an FRCP packet has at least {HEADER_LEN} bytes, got {0}")]
    Short(usize),
    /// The selective acknowledgement is no sequence of at most [`MAX_RANGES`] whole ranges.
    #[error(
        "a selective acknowledgement has 1 to {MAX_RANGES} ranges of {RANGE_LEN} bytes, \
         got {0} bytes"
    )]
    RangesLen(usize),
    /// A range is empty, starts at ackno itself or reaches too far.
    #[error(
        "selective acknowledgement of offsets {start} to {end}: need 0 < start < end <= {MAX_OFFSET}"
    )]
    Range {
        /// First offset from ackno.
        start: u32,
        /// Offset after the last.
        end: u32,
    },
}

/// A packet of at least [`HEADER_LEN`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`FrcpError::Short`] below [`HEADER_LEN`] bytes.
    pub fn new_checked(buffer: T) -> Result<Self, FrcpError> {
        let len = buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(FrcpError::Short(len));
        }
        Ok(Self { buffer })
    }

    /// The bytes back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The flags, also undefined ones.
    pub fn flags(&self) -> Flags {
        Flags(self.buffer.as_ref()[field::FLAGS])
    }

    /// Low 24 bits of the right window edge; valid with [`Flags::FC`].
    pub fn window(&self) -> u32 {
        let field = &self.buffer.as_ref()[field::WINDOW];
        u32::from_be_bytes([0, field[0], field[1], field[2]])
    }

    /// Sequence number of this packet.
    pub fn seqno(&self) -> u32 {
        word(&self.buffer.as_ref()[field::SEQNO])
    }

    /// Next sequence number expected; valid with [`Flags::ACK`].
    pub fn ackno(&self) -> u32 {
        word(&self.buffer.as_ref()[field::ACKNO])
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repr = Repr::of(self);
        write!(f, "{repr} len={}", self.payload().len())
    }
}

fn word(field: &[u8]) -> u32 {
    u32::from_be_bytes([field[0], field[1], field[2], field[3]])
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repr {
    /// What the packet is; undefined bits are kept.
    pub flags: Flags,
    /// Low 24 bits of the absolute right window edge, 0 without [`Flags::FC`].
    pub window: u32,
    /// Sequence number.
    pub seqno: u32,
    /// Next sequence number expected by the sender of the packet.
    pub ackno: u32,
}

impl Repr {
    /// Reads the header at the start of `packet`. Every value of every field parses; what a value
    /// means is judged by the protocol machine.
    ///
    /// # Errors
    /// [`FrcpError::Short`] below [`HEADER_LEN`] bytes.
    pub fn parse(packet: &[u8]) -> Result<Self, FrcpError> {
        Ok(Self::of(&Packet::new_checked(packet)?))
    }

    fn of<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            flags: packet.flags(),
            window: packet.window(),
            seqno: packet.seqno(),
            ackno: packet.ackno(),
        }
    }

    /// Writes the header; of the window the low 24 bits.
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        *header = self.to_bytes();
    }

    /// The header as bytes; of the window the low 24 bits.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[field::FLAGS] = self.flags.0;
        header[field::WINDOW].copy_from_slice(&self.window.to_be_bytes()[1..]);
        header[field::SEQNO].copy_from_slice(&self.seqno.to_be_bytes());
        header[field::ACKNO].copy_from_slice(&self.ackno.to_be_bytes());
        header
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FRCP[{}] seq={:#010x}", self.flags, self.seqno)?;
        if self.flags.contains(Flags::ACK) {
            write!(f, " ack={:#010x}", self.ackno)?;
        }
        if self.flags.contains(Flags::FC) {
            write!(f, " edge={:#08x}", self.window & WINDOW_MASK)?;
        }
        Ok(())
    }
}

/// Packets that arrived beyond a gap: `ackno + start` up to, not including, `ackno + end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// First packet, as its distance from ackno; at least 1, since ackno itself is missing.
    pub start: u32,
    /// After the last packet; above `start`, at most [`MAX_OFFSET`].
    pub end: u32,
}

impl Offsets {
    /// The eight bytes of the range.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RANGE_LEN] {
        let mut bytes = [0; RANGE_LEN];
        bytes[..4].copy_from_slice(&self.start.to_be_bytes());
        bytes[4..].copy_from_slice(&self.end.to_be_bytes());
        bytes
    }
}

/// The selective acknowledgement after the header of a control packet with [`Flags::ACK`], validated:
/// pairs of offsets from ackno in any order (an extension, never sent to a peer that has not agreed to
/// it). A packet tells a part of what arrived; what it does not tell is unknown.
///
/// ```text
///  0               4               8
///  +---------------+---------------+----
///  | start         | end           | ...  1 to 64 pairs, 0 < start < end <= 2^20
///  +---------------+---------------+----
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges<'a> {
    bytes: &'a [u8],
}

impl<'a> Ranges<'a> {
    /// Checks what follows the header of a control packet.
    ///
    /// # Errors
    /// [`FrcpError::RangesLen`] or [`FrcpError::Range`]; then no range of the packet may be used.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrcpError> {
        let count = bytes.len() / RANGE_LEN;
        if !bytes.len().is_multiple_of(RANGE_LEN) || count == 0 || count > MAX_RANGES {
            return Err(FrcpError::RangesLen(bytes.len()));
        }
        let ranges = Self { bytes };
        match ranges
            .iter()
            .find(|r| r.start == 0 || r.start >= r.end || r.end > MAX_OFFSET)
        {
            Some(Offsets { start, end }) => Err(FrcpError::Range { start, end }),
            None => Ok(ranges),
        }
    }

    /// The ranges in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Offsets> + 'a {
        self.bytes.chunks_exact(RANGE_LEN).map(|pair| Offsets {
            start: word(&pair[..4]),
            end: word(&pair[4..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use o7s_captures::unhex;
    use proptest::prelude::*;

    /// `spec/frcp.md` §18, examples 1 to 8, 12, 13, 16 and 17: bytes, fields and the text of a trace.
    #[test]
    fn worked_examples() {
        let examples: &[(&str, u8, u32, u32, u32, &str)] = &[
            (
                "03000000 9ed7609e 00000000",
                0x03,
                0,
                0x9ed7_609e,
                0,
                "DATA|DRF",
            ),
            (
                "0cd7619f 00000000 9ed7609f",
                0x0c,
                0xd7_619f,
                0,
                0x9ed7_609f,
                "ACK|FC",
            ),
            (
                "0fb61632 1a8988d4 d5b61532",
                0x0f,
                0xb6_1632,
                0x1a89_88d4,
                0xd5b6_1532,
                "DATA|DRF|ACK|FC",
            ),
            (
                "0f8989d5 d5b61532 1a8988d5",
                0x0f,
                0x89_89d5,
                0xd5b6_1532,
                0x1a89_88d5,
                "DATA|DRF|ACK|FC",
            ),
            (
                "01000000 25d06f44 00000000",
                0x01,
                0,
                0x25d0_6f44,
                0,
                "DATA",
            ),
            ("10000000 00000000 00000000", 0x10, 0, 0, 0, "RDVS"),
            ("089207c8 00000000 00000000", 0x08, 0x92_07c8, 0, 0, "FC"),
            ("04000000 00000000 2134b388", 0x04, 0, 0, 0x2134_b388, "ACK"),
            (
                "0f000000 81adb46c 00000000",
                0x0f,
                0,
                0x81ad_b46c,
                0,
                "DATA|DRF|ACK|FC",
            ),
            (
                "0b85cadf 239205c8 00000000",
                0x0b,
                0x85_cadf,
                0x2392_05c8,
                0,
                "DATA|DRF|FC",
            ),
            (
                "0eba8abe 11223344 33ba89be",
                0x0e,
                0xba_8abe,
                0x1122_3344,
                0x33ba_89be,
                "DRF|ACK|FC",
            ),
            (
                "0a791183 f0000001 00000000",
                0x0a,
                0x79_1183,
                0xf000_0001,
                0,
                "DRF|FC",
            ),
        ];
        for &(hex, flags, window, seqno, ackno, names) in examples {
            let bytes = unhex(hex);
            let repr = Repr::parse(&bytes).expect("12 bytes");
            let expected = Repr {
                flags: Flags::from_bits(flags),
                window,
                seqno,
                ackno,
            };
            assert_eq!(repr, expected, "{hex}");
            assert_eq!(repr.to_bytes()[..], bytes[..], "{hex}");
            assert_eq!(repr.flags.to_string(), names, "{hex}");
        }
    }

    #[test]
    fn display_reads_like_a_dissector() {
        let bytes = unhex("0fb61632 1a8988d4 d5b61532 727370");
        let packet = Packet::new_checked(&bytes).expect("15 bytes");
        assert_eq!(
            packet.to_string(),
            "FRCP[DATA|DRF|ACK|FC] seq=0x1a8988d4 ack=0xd5b61532 edge=0xb61632 len=3"
        );
        let repr = Repr::parse(&unhex("8a000001 00000002 00000003")).expect("12 bytes");
        assert_eq!(
            repr.to_string(),
            "FRCP[DRF|FC|0x80] seq=0x00000002 edge=0x000001"
        );
    }

    #[test]
    fn eleven_bytes_are_short() {
        assert_eq!(Repr::parse(&[0; 11]), Err(FrcpError::Short(11)));
        assert!(Repr::parse(&[0; 12]).is_ok());
    }

    #[test]
    fn ranges_are_validated() {
        let pair = |start: u32, end: u32| Offsets { start, end }.to_bytes();
        assert_eq!(Ranges::parse(&[]), Err(FrcpError::RangesLen(0)));
        assert_eq!(Ranges::parse(&[0; 7]), Err(FrcpError::RangesLen(7)));
        let many = vec![0; (MAX_RANGES + 1) * RANGE_LEN];
        assert_eq!(Ranges::parse(&many), Err(FrcpError::RangesLen(many.len())));
        for (start, end) in [(0, 1), (2, 2), (3, 2), (1, MAX_OFFSET + 1)] {
            assert_eq!(
                Ranges::parse(&pair(start, end)),
                Err(FrcpError::Range { start, end })
            );
        }
        let bytes = [pair(4, 6), pair(1, 2)].concat();
        let ranges: Vec<_> = Ranges::parse(&bytes).expect("valid").iter().collect();
        assert_eq!(
            ranges,
            [Offsets { start: 4, end: 6 }, Offsets { start: 1, end: 2 }]
        );
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_the_same(flags: u8, window in 0..=WINDOW_MASK, seqno: u32, ackno: u32) {
            let repr = Repr { flags: Flags::from_bits(flags), window, seqno, ackno };
            prop_assert_eq!(Repr::parse(&repr.to_bytes()), Ok(repr));
        }

        #[test]
        fn emit_of_parse_is_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            match Repr::parse(&bytes) {
                Ok(repr) => {
                    let mut header = [0; HEADER_LEN];
                    repr.emit(&mut header);
                    prop_assert_eq!(&header[..], &bytes[..HEADER_LEN]);
                    let packet = Packet::new_checked(&bytes).expect("long enough");
                    prop_assert_eq!(packet.payload(), &bytes[HEADER_LEN..]);
                    prop_assert!(packet.to_string().starts_with("FRCP["));
                }
                Err(error) => prop_assert_eq!(error, FrcpError::Short(bytes.len())),
            }
        }

        #[test]
        fn ranges_that_parse_are_sane(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(ranges) = Ranges::parse(&bytes) {
                let again: Vec<u8> = ranges.iter().flat_map(Offsets::to_bytes).collect();
                prop_assert_eq!(&again, &bytes);
                for Offsets { start, end } in ranges.iter() {
                    prop_assert!(start > 0 && start < end && end <= MAX_OFFSET);
                }
            }
        }
    }
}
