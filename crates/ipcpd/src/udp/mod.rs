//! IPCPs of types udp4 and udp6: a layer over UDP (`spec/shims.md` §6).
//!
//! This is the way to the network: one socket, and how names are found ([`names`]). The rest is
//! [`crate::shim`]'s.

pub mod dns;
pub mod names;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
};

use o7s::{
    DirHash, Error, ErrorKind, Result,
    control::{IpcpConfig, IpcpType},
};
use o7s_proto::shim::Config;

use crate::{
    shim::port::{Port, RECEIVE_BUFFER, SEND_BUFFER},
    sys, sys_errors,
};
use names::Names;

/// Maximum packet lifetime of the layer, ms.
pub const MPL_MS: u32 = 5000;

/// A way to the network: what the machine has to know, the socket, and the names.
#[derive(Debug)]
pub struct Opened {
    /// For the machine.
    pub config: Config,
    /// The socket.
    pub port: Port,
    /// How names are found.
    pub names: Names,
}

/// Opens the socket of a configuration.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the address is none of this machine's, [`ErrorKind::Busy`] if another
/// uses it with this port, or what the system says.
pub fn open(ipcp_type: IpcpType, config: &IpcpConfig) -> Result<Opened> {
    config.check()?;
    let (own, server, hosts) = addresses(ipcp_type, config)?;
    let socket = UdpSocket::bind(own).map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable => Error::new(
            ErrorKind::Invalid,
            format!(
                "the address {} is none of this machine's; 'ip address' lists those that it has",
                own.ip()
            ),
        ),
        io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::Busy,
            format!(
                "another program or layer uses {own}; layers that lie side by side on one address \
                 need different ports"
            ),
        ),
        _ => Error::system(format!("open the UDP socket {own}"), &error),
    })?;
    sys::set_buffers(&socket, RECEIVE_BUFFER, SEND_BUFFER);
    // What it is for is told by the counters of a system that lacks it, not by an error.
    let _ = sys::set_number(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    if let Err(error) = sys_errors::listen(&socket, own.is_ipv6()) {
        tracing::warn!("Peers that are not there are found out by time only: {error}.");
    }
    tracing::info!("On {own}.");
    let machine = match ipcp_type {
        IpcpType::Udp6 => Config::udp6(),
        _ => Config::udp4(),
    };
    Ok(Opened {
        config: machine,
        port: Port::datagrams(socket.into()),
        names: Names::new(own, server, hosts),
    })
}

/// A name and the address of the member that has it.
type Host = (String, SocketAddr);

/// Own address, name server, and names with fixed addresses.
fn addresses(
    ipcp_type: IpcpType,
    config: &IpcpConfig,
) -> Result<(SocketAddr, Option<IpAddr>, Vec<Host>)> {
    let port = |port: u32| u16::try_from(port).unwrap_or(0);
    if ipcp_type == IpcpType::Udp4 {
        let udp = config.udp4.clone().unwrap_or_default();
        let own = port(udp.port);
        let hosts = udp.hosts.iter().map(|host| {
            let port = Some(port(host.port)).filter(|port| *port != 0);
            (host.name.clone(), (host.ip(), port.unwrap_or(own)).into())
        });
        let hosts = hosts.collect();
        return Ok(((udp.ip(), own).into(), udp.dns().map(IpAddr::V4), hosts));
    }
    let udp = config.udp6.clone().unwrap_or_default();
    let (ip, own) = (udp.ip()?, port(udp.port));
    let scope = scope_of(ip)?;
    let mut hosts = Vec::new();
    for host in &udp.hosts {
        let port = Some(port(host.port)).filter(|port| *port != 0);
        let address = scoped(host.ip()?, port.unwrap_or(own), scope);
        hosts.push((host.name.clone(), address));
    }
    let server = udp.dns()?.map(IpAddr::V6);
    Ok((scoped(ip, own, scope), server, hosts))
}

/// An address of the layer: those that are valid on one link only are on that of our own address.
fn scoped(ip: Ipv6Addr, port: u16, scope: u32) -> SocketAddr {
    let scope = if ip.is_unicast_link_local() { scope } else { 0 };
    SocketAddrV6::new(ip, port, 0, scope).into()
}

/// The number of the device that has a link-local address; 0 for others.
fn scope_of(ip: Ipv6Addr) -> Result<u32> {
    if !ip.is_unicast_link_local() {
        return Ok(0);
    }
    let none = || {
        Error::new(
            ErrorKind::Invalid,
            format!("no device has the address {ip}; 'ip -6 address' lists those that there are"),
        )
    };
    let table = std::fs::read_to_string("/proc/net/if_inet6").map_err(|_| none())?;
    device_of(&table, ip).ok_or_else(none)
}

/// Looks an address up in the system's table: address, device number, …, all hexadecimal.
fn device_of(table: &str, ip: Ipv6Addr) -> Option<u32> {
    let digits = format!("{:032x}", u128::from(ip));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == digits)
            .then(|| u32::from_str_radix(words.next()?, 16).ok())
            .flatten()
    })
}

/// The hash of a name in UDP layers.
fn hash(name: &str) -> o7s_wire::hash::NameHash {
    DirHash::Md5.digest(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_link_local_addresses() {
        let table = "fe800000000000000042acfffe110002 1c 40 20 80     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        let ip: Ipv6Addr = "fe80::42:acff:fe11:2".parse().unwrap();
        assert_eq!(device_of(table, ip), Some(0x1c));
        assert_eq!(device_of(table, "fe80::1".parse().unwrap()), None);
        assert_eq!(scope_of(Ipv6Addr::LOCALHOST).unwrap(), 0);
        let text = scope_of("fe80::dead:beef".parse().unwrap()).unwrap_err();
        assert!(text.message().contains("no device has the address"));
    }
}
