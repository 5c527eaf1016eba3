//! Formats of the layers on real networks: what a frame is, and the bytes before each packet.
//!
//! This is all that the fast path of a driver needs.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    ops::{Deref, Range},
};

use o7s_wire::{
    eth::{
        FrameError, MacAddr,
        dix::{self, DEFAULT_ETHERTYPE},
        llc,
    },
    shim::{DIX, LLC, Layout, UDP},
    udp,
};

/// Largest management payload that a peer of 0.23 takes over Ethernet (`spec/shims.md` §11).
const MAX_ETH_MANAGEMENT: usize = 9000;

/// Where a peer is.
///
/// UDP addresses are compared by IP address and port only; scope and flow label are kept and used to send,
/// but differ between what is resolved and what a socket reports (trap 20).
#[derive(Clone, Copy)]
pub enum Address {
    /// An interface on the segment.
    Mac(MacAddr),
    /// A UDP socket.
    Udp(SocketAddr),
}

impl Address {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self::Mac(MacAddr::BROADCAST);

    fn rank(&self) -> (u8, [u8; 6], Option<(std::net::IpAddr, u16)>) {
        match self {
            Self::Mac(mac) => (0, mac.0, None),
            Self::Udp(socket) => (1, [0; 6], Some((socket.ip(), socket.port()))),
        }
    }
}

impl PartialEq for Address {
    /// For every packet: without [`rank`](Self::rank).
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mac(a), Self::Mac(b)) => a == b,
            (Self::Udp(SocketAddr::V4(a)), Self::Udp(SocketAddr::V4(b))) => a == b,
            (Self::Udp(SocketAddr::V6(a)), Self::Udp(SocketAddr::V6(b))) => {
                (a.ip(), a.port()) == (b.ip(), b.port())
            }
            _ => false,
        }
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Udp(socket) => socket.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<MacAddr> for Address {
    fn from(mac: MacAddr) -> Self {
        Self::Mac(mac)
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Self::Udp(socket)
    }
}

/// The format of a layer, with what is ours in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// eth-dix.
    Dix {
        /// Address of the interface.
        mac: MacAddr,
        /// Ethertype of the layer.
        ethertype: u16,
    },
    /// eth-llc.
    Llc {
        /// Address of the interface.
        mac: MacAddr,
    },
    /// udp4 and udp6.
    Udp,
}

/// Why a frame does not concern this layer; nothing needs to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Not for this interface, or from a group address.
    #[error("the frame is from {source_mac} to {destination}, which is not for this interface")]
    Address {
        /// From whom.
        source_mac: MacAddr,
        /// To whom.
        destination: MacAddr,
    },
    /// No frame of this layer, or a broken one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No datagram of this layer.
    #[error(transparent)]
    Datagram(#[from] udp::ShortDatagram),
    /// A datagram came without the address of its sender, or a frame came with one: the driver is wrong.
    #[error("the driver gives no address with frames, and one with each datagram")]
    Source,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// A packet of a flow.
    Data(Data),
    /// A message for [`Shim::handle_frame`](super::Shim::handle_frame).
    Management(Management),
}

/// A packet of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Our endpoint.
    pub eid: u32,
    /// Who sent it.
    pub source: Address,
    /// The sender's endpoint, where frames tell it (eth-llc).
    pub source_eid: Option<u32>,
    /// Where the packet is in the frame; it may be empty (a keepalive).
    pub payload: Range<usize>,
}

/// A management message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management {
    /// Who sent it.
    pub source: Address,
    /// Whether it was for everybody.
    pub broadcast: bool,
    /// Where the message is in the frame.
    pub payload: Range<usize>,
}

/// Where the packets of a flow go, and come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Our endpoint: what packets to us say.
    pub local: u32,
    /// The peer's address.
    pub address: Address,
    /// The peer's endpoint: what packets to the peer say.
    pub peer: u32,
}

impl Path {
    /// Whether a packet is one of this flow: from the peer, to our endpoint.
    #[inline]
    #[must_use]
    pub fn accepts(&self, data: &Data) -> bool {
        data.eid == self.local
            && data.source == self.address
            && data.source_eid.is_none_or(|eid| eid == self.peer)
    }
}

/// The bytes that go before a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; dix::HEADER_LEN],
    len: u8,
}

impl Header {
    fn new(header: &[u8]) -> Self {
        let mut bytes = [0; dix::HEADER_LEN];
        bytes[..header.len()].copy_from_slice(header);
        Self {
            bytes,
            len: header.len() as u8,
        }
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl Format {
    /// eth-dix with the default ethertype.
    #[must_use]
    pub fn dix(mac: MacAddr) -> Self {
        Self::Dix {
            mac,
            ethertype: DEFAULT_ETHERTYPE,
        }
    }

    /// Layout of the management messages.
    #[must_use]
    pub fn layout(&self) -> &'static Layout {
        match self {
            Self::Dix { .. } => &DIX,
            Self::Llc { .. } => &LLC,
            Self::Udp => &UDP,
        }
    }

    /// Largest packet for this MTU: that of the interface, or the largest datagram for UDP.
    #[must_use]
    pub fn max_payload(&self, mtu: usize) -> usize {
        match self {
            Self::Dix { .. } => mtu.min(u16::MAX.into()).saturating_sub(dix::OVERHEAD),
            Self::Llc { .. } => mtu.min(llc::MAX_SENT_LENGTH).saturating_sub(llc::OVERHEAD),
            Self::Udp => mtu.min(u16::MAX.into()).saturating_sub(udp::HEADER_LEN),
        }
    }

    /// Largest management message for this MTU that peers of 0.23 take.
    #[must_use]
    pub fn max_management(&self, mtu: usize) -> usize {
        let most = match self {
            Self::Dix { .. } | Self::Llc { .. } => MAX_ETH_MANAGEMENT,
            Self::Udp => udp::MAX_MANAGEMENT - udp::HEADER_LEN,
        };
        self.max_payload(mtu).min(most)
    }

    /// What a frame is. Ethernet frames come whole, from the destination address on, and without `from`;
    /// datagrams come with the address of their sender.
    ///
    /// # Errors
    /// [`Foreign`]: it does not concern this layer.
    #[inline]
    pub fn classify(&self, bytes: &[u8], from: Option<SocketAddr>) -> Result<Arrived, Foreign> {
        match (self, from) {
            (Self::Dix { mac, ethertype }, None) => {
                let frame = dix::Frame::new_checked(bytes, *ethertype)?;
                let source = frame.ethernet().source();
                let payload_at = frame.payload_at();
                let payload = payload_at..payload_at + frame.payload().len();
                let destination = frame.ethernet().destination();
                let eid = (frame.eid() != dix::MANAGEMENT).then(|| (frame.eid().into(), None));
                eth(*mac, source, destination, eid, payload)
            }
            (Self::Llc { mac }, None) => {
                let frame = llc::Frame::new_checked(bytes)?;
                let source = frame.ethernet().source();
                let payload_at = frame.payload_at();
                let payload = payload_at..payload_at + frame.payload().len();
                let destination = frame.ethernet().destination();
                let eid = (frame.dsap() != llc::MANAGEMENT)
                    .then(|| (frame.dsap().into(), Some(frame.ssap().into())));
                eth(*mac, source, destination, eid, payload)
            }
            (Self::Udp, Some(from)) => {
                let datagram = udp::Datagram::new_checked(bytes)?;
                let source = Address::Udp(from);
                let payload = udp::HEADER_LEN..bytes.len();
                Ok(match datagram.eid() {
                    udp::MANAGEMENT => Arrived::Management(Management {
                        source,
                        broadcast: false,
                        payload,
                    }),
                    eid => Arrived::Data(Data {
                        eid,
                        source,
                        source_eid: None,
                        payload,
                    }),
                })
            }
            _ => Err(Foreign::Source),
        }
    }

    /// The bytes before a packet of `len` bytes of a flow; `len` is at most
    /// [`max_payload`](Self::max_payload).
    #[inline]
    #[must_use]
    pub fn header(&self, path: &Path, len: usize) -> Header {
        self.header_to(path.address, path.peer, path.local, len)
    }

    /// The bytes before a management message of `len` bytes.
    pub(super) fn management_header(&self, to: Address, len: usize) -> Header {
        let endpoint = match self {
            Self::Dix { .. } => dix::MANAGEMENT.into(),
            Self::Llc { .. } => llc::MANAGEMENT.into(),
            Self::Udp => udp::MANAGEMENT,
        };
        self.header_to(to, endpoint, endpoint, len)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "endpoints come from the format's range or its messages, lengths are below the MTU"
    )]
    fn header_to(&self, to: Address, eid: u32, own: u32, len: usize) -> Header {
        let destination = match to {
            Address::Mac(mac) => mac,
            Address::Udp(_) => MacAddr::default(),
        };
        match *self {
            Self::Dix { mac, ethertype } => {
                let repr = dix::Repr {
                    destination,
                    source: mac,
                    ethertype,
                    eid: eid as u16,
                };
                Header::new(&repr.emit(len as u16))
            }
            Self::Llc { mac } => {
                let repr = llc::Repr {
                    destination,
                    source: mac,
                    dsap: eid as u8,
                    ssap: own as u8,
                    control: llc::CONTROL,
                };
                Header::new(&repr.emit(len as u16))
            }
            Self::Udp => Header::new(&udp::Repr { eid }.emit()),
        }
    }
}

/// An Ethernet frame: endpoints of a packet, or none for a management message.
#[inline]
fn eth(
    own: MacAddr,
    source: MacAddr,
    destination: MacAddr,
    eid: Option<(u32, Option<u32>)>,
    payload: Range<usize>,
) -> Result<Arrived, Foreign> {
    let broadcast = destination == MacAddr::BROADCAST;
    if (destination != own && !(broadcast && eid.is_none())) || source.is_group() {
        return Err(Foreign::Address {
            source_mac: source,
            destination,
        });
    }
    let source = Address::Mac(source);
    Ok(match eid {
        Some((eid, source_eid)) => Arrived::Data(Data {
            eid,
            source,
            source_eid,
            payload,
        }),
        None => Arrived::Management(Management {
            source,
            broadcast,
            payload,
        }),
    })
}
