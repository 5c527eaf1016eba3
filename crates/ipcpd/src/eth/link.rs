//! What becomes of a network interface: its address, MTU and state, by rtnetlink.
//!
//! One socket asks once and listens from then on (`spec/shims.md` §5.7; beyond it, no carrier is
//! down, and a new MTU, address or name is used).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use o7s_wire::eth::MacAddr;

use crate::sys;

/// Room for one datagram of the system.
const BUFFER: usize = 32 << 10;

/// Offsets in messages (`linux/netlink.h`, `linux/rtnetlink.h`); native byte order.
mod field {
    /// Of the header: length, type.
    pub(super) const LENGTH: usize = 0;
    pub(super) const TYPE: usize = 4;
    pub(super) const FLAGS: usize = 6;
    pub(super) const HEADER: usize = 16;
    /// Of an error: its number, negative.
    pub(super) const ERROR: usize = HEADER;
    /// Of an interface's message, after the header.
    pub(super) const INDEX: usize = HEADER + 4;
    pub(super) const INTERFACE_FLAGS: usize = HEADER + 8;
    pub(super) const ATTRIBUTES: usize = HEADER + 16;
    /// Of an attribute: length, type.
    pub(super) const ATTRIBUTE: usize = 4;
}

/// What is known of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its address.
    pub mac: MacAddr,
    /// Longest payload of a frame, bytes.
    pub mtu: usize,
    /// Whether it is up, and has a carrier.
    pub up: bool,
    /// Whether it is the machine's own (`lo`).
    pub loopback: bool,
}

/// What has become of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Packets go, or no more.
    Up(bool),
    /// It has another MTU.
    Mtu(usize),
    /// It has another address.
    Address(MacAddr),
}

/// An interface that is watched.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    index: u32,
    device: String,
    known: Interface,
    gone: bool,
    buffer: Box<[u8]>,
}

impl Link {
    /// Watches an interface.
    ///
    /// # Errors
    /// There is none of that name, or what the system says.
    pub fn open(device: &str, index: u32) -> io::Result<Self> {
        let socket = sys::link_socket()?;
        let mut buffer = vec![0; BUFFER].into_boxed_slice();
        rustix::io::write(&socket, &request(index))?;
        // Changes of other interfaces may come before the answer.
        let known = loop {
            let length = match rustix::io::read(&socket, &mut *buffer) {
                Ok(length) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            match find(&buffer[..length], index) {
                Found::Interface(interface, _) => break interface,
                Found::Error(error) => return Err(error),
                Found::Gone => return Err(io::ErrorKind::NotFound.into()),
                Found::Nothing => {}
            }
        };
        sys::set_nonblocking(&socket)?;
        Ok(Self {
            socket,
            index,
            device: device.to_owned(),
            known,
            gone: false,
            buffer,
        })
    }

    /// What is known of it.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.known
    }

    /// Its name now, or its last one.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Whether it was removed. It does not come back: another device of that name is another one.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// What has become of it since the last look; nothing, if there is nothing to read.
    pub fn read(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let length = match rustix::io::read(&self.socket, &mut *self.buffer) {
                Ok(length) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::NOBUFS) => {
                    // Something was lost: ask again.
                    let _ = rustix::io::write(&self.socket, &request(self.index));
                    continue;
                }
                Err(_) => return changes,
            };
            let found = find(&self.buffer[..length], self.index);
            let new = match found {
                // The socket of the packets does not hear it any more.
                _ if self.gone => continue,
                Found::Interface(interface, name) => {
                    if let Some(name) = name.filter(|name| *name != self.device) {
                        tracing::info!("The device {} is {name} now.", self.device);
                        self.device = name;
                    }
                    interface
                }
                Found::Gone => {
                    tracing::error!(
                        "The device {} is gone, and with it what this IPCP is for; destroy it, and \
                         create another one once there is a device again.",
                        self.device
                    );
                    self.gone = true;
                    Interface {
                        up: false,
                        ..self.known
                    }
                }
                Found::Nothing | Found::Error(_) => continue,
            };
            if new.mac != self.known.mac {
                tracing::warn!(
                    "The address of {} is {} now, no more {}; flows of peers that know the old one \
                     end.",
                    self.device,
                    new.mac,
                    self.known.mac
                );
                changes.push(Change::Address(new.mac));
            }
            if new.mtu != self.known.mtu {
                changes.push(Change::Mtu(usable_mtu(&new)));
            }
            if new.up != self.known.up {
                changes.push(Change::Up(new.up));
            }
            self.known = new;
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The MTU that is used of an interface (`spec/shims.md` §4.3).
#[must_use]
pub fn usable_mtu(interface: &Interface) -> usize {
    if interface.loopback {
        interface.mtu.min(super::LOOPBACK_MTU)
    } else {
        interface.mtu
    }
}

/// Asks for one interface.
fn request(index: u32) -> [u8; field::ATTRIBUTES] {
    let mut request = [0; field::ATTRIBUTES];
    let length = field::ATTRIBUTES as u32;
    request[field::LENGTH..field::TYPE].copy_from_slice(&length.to_ne_bytes());
    request[field::TYPE..field::FLAGS].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    let flags = libc::NLM_F_REQUEST as u16;
    request[field::FLAGS..field::FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
    request[field::INDEX..field::INTERFACE_FLAGS].copy_from_slice(&index.to_ne_bytes());
    request
}

enum Found {
    Nothing,
    /// With its name.
    Interface(Interface, Option<String>),
    Gone,
    Error(io::Error),
}

/// The last that a datagram says of an interface.
fn find(mut datagram: &[u8], index: u32) -> Found {
    let mut found = Found::Nothing;
    while let Some(length) = word(datagram, field::LENGTH) {
        let length = length as usize;
        let Some(message) = datagram.get(..length).filter(|_| length >= field::HEADER) else {
            break;
        };
        let kind = half(message, field::TYPE).unwrap_or(0);
        if i32::from(kind) == libc::NLMSG_ERROR {
            let number = word(message, field::ERROR).unwrap_or(0) as i32;
            if number != 0 {
                found = Found::Error(io::Error::from_raw_os_error(number.saturating_neg()));
            }
        } else if word(message, field::INDEX) == Some(index) {
            if kind == libc::RTM_DELLINK {
                found = Found::Gone;
            } else if kind == libc::RTM_NEWLINK
                && let Some((interface, name)) = interface(message)
            {
                found = Found::Interface(interface, name);
            }
        }
        datagram = datagram.get(align(length)..).unwrap_or_default();
    }
    found
}

fn interface(message: &[u8]) -> Option<(Interface, Option<String>)> {
    let flags = word(message, field::INTERFACE_FLAGS)?;
    let has = |flag: libc::c_int| flags & flag as u32 != 0;
    let mut mac = None;
    let mut mtu = None;
    let mut name = None;
    let mut attributes = message.get(field::ATTRIBUTES..)?;
    while let Some(length) = half(attributes, 0) {
        let length = usize::from(length);
        let Some(value) = attributes.get(field::ATTRIBUTE..length) else {
            break;
        };
        match half(attributes, 2) {
            Some(libc::IFLA_ADDRESS) => mac = <[u8; 6]>::try_from(value).ok().map(MacAddr),
            Some(libc::IFLA_MTU) => mtu = word(value, 0),
            Some(libc::IFLA_IFNAME) => name = text(value),
            _ => {}
        }
        attributes = attributes.get(align(length)..).unwrap_or_default();
    }
    let interface = Interface {
        mac: mac?,
        mtu: mtu? as usize,
        up: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
        loopback: has(libc::IFF_LOOPBACK),
    };
    Some((interface, name))
}

/// A text that ends with a zero.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&value[..end]).into_owned())
}

fn align(length: usize) -> usize {
    (length + 3) & !3
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loopback_device_is_known() {
        let index = sys::interface_index("lo").unwrap();
        let link = Link::open("lo", index).unwrap();
        let interface = link.interface();
        assert!(interface.loopback);
        assert_eq!(interface.mac, MacAddr::default());
        assert!(interface.mtu >= 1500);
        assert!(usable_mtu(&interface) <= 9000);
        assert_eq!((link.device(), link.is_gone()), ("lo", false));
        assert!(sys::interface_index("no-such-device").is_err());
        assert!(Link::open("x", 0x7fff_fff0).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_datagram_says(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = find(&bytes, 1);
            let _ = interface(&bytes);
        }
    }
}
