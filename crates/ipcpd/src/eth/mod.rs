//! IPCPs of types eth-dix and eth-llc: a layer on one Ethernet segment (`spec/shims.md` §4, §5).
//!
//! This is the way to the network: the packet socket ([`filter`]: what it hears) and the interface
//! ([`link`]). The rest is [`crate::shim`]'s.

pub mod filter;
pub mod link;

use std::io;

use o7s::{
    DirHash, Error, ErrorKind, Result,
    control::{IpcpConfig, IpcpType},
};
use o7s_proto::shim::Config;
use o7s_wire::eth::{HEADER_LEN, TAG_LEN};

use crate::{
    shim::port::{Port, RECEIVE_BUFFER, SEND_BUFFER},
    sys,
};
use link::{Link, usable_mtu};

/// Maximum packet lifetime of the layer, ms.
pub const MPL_MS: u32 = 100;
/// Most of the MTU of the loopback device that is used.
pub const LOOPBACK_MTU: usize = 9000;
/// Names of devices are shorter.
const NAME_LIMIT: usize = libc::IFNAMSIZ;

/// A way to the network: what the machine has to know, the socket, and the interface.
#[derive(Debug)]
pub struct Opened {
    /// For the machine.
    pub config: Config,
    /// The socket.
    pub port: Port,
    /// The interface.
    pub link: Link,
}

/// Room for a frame of an interface with this MTU.
#[must_use]
pub fn frame_room(mtu: usize) -> usize {
    // Multiples of a cache line, so that no two frames share one.
    (mtu + HEADER_LEN + TAG_LEN).next_multiple_of(64)
}

/// Opens the interface of a configuration.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such device, [`ErrorKind::Permission`] without the
/// capability for it, [`ErrorKind::Invalid`] if it is no Ethernet device, or what the system says.
pub fn open(ipcp_type: IpcpType, config: &IpcpConfig) -> Result<Opened> {
    config.check()?;
    let hash = DirHash::from_number(config.layer.dir_hash).unwrap_or_default();
    let eth = config.eth.clone().unwrap_or_default();
    let device = eth.dev.as_str();
    let no_device = || {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no network device {device}; 'ip link' lists those that there are"),
        )
    };
    if device.len() >= NAME_LIMIT {
        return Err(no_device());
    }
    let index = sys::interface_index(device).map_err(|_| no_device())?;
    let failed = |what: &str, error: &io::Error| Error::system(format!("{what} {device}"), error);
    let link = Link::open(device, index).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "cannot learn the address and MTU of {device} ({error}); it must be an Ethernet \
                 device, or lo"
            ),
        )
    })?;
    let interface = link.interface();
    let ethertype = u16::try_from(eth.ethertype).unwrap_or(0);
    let (protocol, program) = match ipcp_type {
        IpcpType::EthLlc => (libc::ETH_P_802_2 as u16, filter::llc()),
        _ => (ethertype, filter::dix(ethertype)),
    };
    let socket = sys::packet_socket().map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return no_permission(ipcp_type);
        }
        failed("open a packet socket for", &error)
    })?;
    sys::attach_filter(&socket, &program)
        .map_err(|error| failed("filter the frames of", &error))?;
    sys::set_buffers(&socket, RECEIVE_BUFFER, SEND_BUFFER);
    sys::bind_packet(&socket, index, protocol).map_err(|error| failed("listen on", &error))?;
    let mtu = usable_mtu(&interface);
    let config = match ipcp_type {
        IpcpType::EthLlc => Config::llc(interface.mac, mtu, hash),
        _ => Config::dix(interface.mac, ethertype, mtu, hash),
    };
    tracing::info!(
        "On {device}: address {}, MTU {mtu}, {}.",
        interface.mac,
        if interface.up { "up" } else { "down" }
    );
    Ok(Opened {
        config,
        port: Port::packets(socket, frame_room(mtu)),
        link,
    })
}

fn no_permission(ipcp_type: IpcpType) -> Error {
    Error::new(
        ErrorKind::Permission,
        format!(
            "an IPCP of type {} sends and hears Ethernet frames, for which it needs the capability \
             CAP_NET_RAW: give it to the program ('setcap cap_net_raw+ep $(command -v ipcpd)'), or \
             to the daemon's unit ('AmbientCapabilities=CAP_NET_RAW'), or run irmd as root",
            ipcp_type.as_str()
        ),
    )
}
