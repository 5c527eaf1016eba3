//! A tunnel device of Linux (`/dev/net/tun`), which goes with its descriptor.
//!
//! The only place of the tools with system calls that the compiler cannot check: the `ioctl`
//! requests of `netdevice(7)`, all of which take an `ifreq`.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, open},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

/// Where tunnel devices come from.
const CLONE_DEVICE: &str = "/dev/net/tun";
/// The address family of IPv4, in the width of the field.
const AF_INET: libc::sa_family_t = 2;

/// A tunnel device whose reads and writes are whole IP packets and do not wait.
#[derive(Debug)]
pub(super) struct Tun {
    fd: OwnedFd,
    name: String,
}

impl Tun {
    /// Makes a device with a free name.
    pub(super) fn new() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = open(CLONE_DEVICE, flags, Mode::empty())
            .map_err(|error| explain("open /dev/net/tun", error.into()))?;
        let mut request = no_name();
        request.ifr_ifru.ifru_flags = flags_of(libc::IFF_TUN | libc::IFF_NO_PI);
        call(&fd, libc::TUNSETIFF, &mut request)
            .map_err(|error| explain("make a tunnel device", error))?;
        let name = request
            .ifr_name
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| char::from(byte.cast_unsigned()))
            .collect();
        Ok(Self { fd, name })
    }

    /// Name of the device.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the device its address, subnet mask and MTU (bytes), and takes it up.
    pub(super) fn set_up(&self, ip: Ipv4Addr, mask: Ipv4Addr, mtu: usize) -> io::Result<()> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let device = &self.name;
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = address(ip);
        call(&socket, libc::SIOCSIFADDR, &mut request)
            .map_err(|error| explain(&format!("give {device} the address {ip}"), error))?;
        let mut request = self.request();
        request.ifr_ifru.ifru_netmask = address(mask);
        call(&socket, libc::SIOCSIFNETMASK, &mut request)
            .map_err(|error| explain(&format!("give {device} the subnet mask {mask}"), error))?;
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = i32::try_from(mtu).unwrap_or(i32::MAX);
        call(&socket, libc::SIOCSIFMTU, &mut request)
            .map_err(|error| explain(&format!("set the MTU of {device} to {mtu}"), error))?;
        let mut request = self.request();
        request.ifr_ifru.ifru_flags = flags_of(libc::IFF_UP | libc::IFF_RUNNING);
        call(&socket, libc::SIOCSIFFLAGS, &mut request)
            .map_err(|error| explain(&format!("take {device} up"), error))?;
        Ok(())
    }

    /// The next packet that is routed to the device. `EAGAIN` if there is none.
    pub(super) fn read(&self, packet: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::io::read(&self.fd, packet)
    }

    /// Hands a packet to the system as if the device had received it.
    pub(super) fn write(&self, packet: &[u8]) -> rustix::io::Result<usize> {
        rustix::io::write(&self.fd, packet)
    }

    fn request(&self) -> libc::ifreq {
        let mut request = no_name();
        // The last byte stays the terminator.
        let room = request.ifr_name.len().saturating_sub(1);
        for (to, from) in request
            .ifr_name
            .iter_mut()
            .take(room)
            .zip(self.name.bytes())
        {
            *to = from.cast_signed();
        }
        request
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn explain(what: &str, error: io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; load the kernel module 'tun'",
        io::ErrorKind::PermissionDenied => "; it needs root or CAP_NET_ADMIN",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot {what}: {error}{hint}"))
}

/// The flag bits that fit in a request.
#[allow(clippy::cast_possible_truncation, reason = "all flags are below 2^15")]
fn flags_of(flags: libc::c_int) -> libc::c_short {
    flags as libc::c_short
}

/// A request without a name.
fn no_name() -> libc::ifreq {
    // SAFETY: an `ifreq` is integers, byte arrays and a pointer; all zeros is a value of each.
    unsafe { std::mem::zeroed() }
}

/// An IPv4 address as `ifreq` carries it.
fn address(ip: Ipv4Addr) -> libc::sockaddr {
    // A `sockaddr_in` in the 14 bytes of a `sockaddr`: port, then address, in network order.
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(ip.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr {
        sa_family: AF_INET,
        sa_data: data,
    }
}

/// Does `request`, one of those that take an `ifreq`.
fn call(fd: &impl AsRawFd, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; each request of this file
    // reads and writes at most one `ifreq`, which is borrowed exclusively for the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, std::ptr::from_mut(request)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_network_order() {
        let address = address(Ipv4Addr::new(10, 200, 0, 1));
        assert_eq!(address.sa_family, 2);
        assert_eq!(address.sa_data[..7], [0, 0, 10, -56, 0, 1, 0]);
    }

    #[test]
    fn failures_say_what_to_do() {
        let error = explain("open it", io::Error::from_raw_os_error(libc::EPERM));
        assert!(error.to_string().ends_with("CAP_NET_ADMIN"), "{error}");
        let error = explain("open it", io::Error::from_raw_os_error(libc::ENOENT));
        assert!(error.to_string().contains("module 'tun'"), "{error}");
    }
}
