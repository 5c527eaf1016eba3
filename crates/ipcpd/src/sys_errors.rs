//! System calls for what the network says of datagrams that were not delivered (ICMP): the error queue
//! of a UDP socket.

#![allow(unsafe_code, reason = "system calls")]

use std::{
    io,
    mem::{size_of, zeroed},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

use libc::{c_int, c_void, socklen_t};

use crate::sys;

/// Bytes of control messages: an error with the address of who tells it, and others that a socket may
/// have asked for.
const CONTROL: usize = 256;

/// A control buffer, aligned as its headers want it.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// Names of both families, as the system writes them.
#[repr(C)]
union Name {
    any: libc::sockaddr,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Bytes of a datagram that are kept.
const QUOTED: usize = 16;

/// A datagram that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undelivered {
    /// To whom it was.
    pub to: SocketAddr,
    /// Why, as a number of `errno`.
    pub errno: i32,
    quoted: [u8; QUOTED],
    length: usize,
}

impl Undelivered {
    /// Its beginning, as far as who tells of it has quoted it.
    #[must_use]
    pub fn quoted(&self) -> &[u8] {
        &self.quoted[..self.length]
    }

    /// Whether nobody takes datagrams there: no such port, no such host, or no way to it.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        const NOBODY: [i32; 4] = [
            libc::ECONNREFUSED,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::EHOSTDOWN,
        ];
        NOBODY.contains(&self.errno)
    }
}

/// Lets the system keep what it hears of datagrams of this socket, for [`take`].
///
/// # Errors
/// What the system says.
pub fn listen(socket: impl AsFd, v6: bool) -> io::Result<()> {
    if v6 {
        sys::set_number(&socket, libc::SOL_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        sys::set_number(&socket, libc::SOL_IP, libc::IP_RECVERR, 1)
    }
}

/// The next datagram that was not delivered; none if there is no more. Those of which the system does not
/// say to whom they were, or why, are left out.
pub fn take(socket: impl AsFd) -> Option<Undelivered> {
    let fd = socket.as_fd().as_raw_fd();
    loop {
        let mut name = Name {
            // SAFETY: all zeroes is a valid address.
            v6: unsafe { zeroed() },
        };
        let mut control = Control([0; CONTROL]);
        // What is longer is cut off.
        let mut quoted = [0; QUOTED];
        let mut iovec = libc::iovec {
            iov_base: quoted.as_mut_ptr().cast(),
            iov_len: QUOTED,
        };
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = std::ptr::from_mut(&mut name).cast::<c_void>();
        header.msg_namelen = size_of::<Name>() as socklen_t;
        header.msg_iov = &raw mut iovec;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        // SAFETY: the header points to buffers that live until the end of this turn, each with its length.
        let outcome =
            unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if outcome < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return None;
        }
        // SAFETY: the system has filled the header in, and its control buffer is still there.
        let errno = unsafe { errno(&header) };
        if let (Some(to), Some(errno)) = (address(&name, header.msg_namelen as usize), errno) {
            return Some(Undelivered {
                to,
                errno,
                quoted,
                length: usize::try_from(outcome).unwrap_or(0).min(QUOTED),
            });
        }
    }
}

/// The error of a message from the error queue.
///
/// # Safety
/// `header` is one that `recvmsg` filled in, with its control buffer.
unsafe fn errno(header: &libc::msghdr) -> Option<i32> {
    // SAFETY: by the contract; each header found lies within the control buffer, and holds an error if it
    // says so and is long enough.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let kind = ((*control).cmsg_level, (*control).cmsg_type);
            let length = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
            let wanted = kind == (libc::SOL_IP, libc::IP_RECVERR)
                || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR);
            if wanted && (*control).cmsg_len as usize >= length {
                let error = libc::CMSG_DATA(control).cast::<libc::sock_extended_err>();
                return i32::try_from(error.read_unaligned().ee_errno).ok();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// The address that the system wrote, which has `length` bytes.
fn address(name: &Name, length: usize) -> Option<SocketAddr> {
    // SAFETY: all of the union was zeroed and then written by the system at most: every field is
    // initialized, and every value of their numbers is valid.
    let (family, v4, v6) = unsafe { (c_int::from(name.any.sa_family), name.v4, name.v6) };
    if family == libc::AF_INET && length >= size_of::<libc::sockaddr_in>() {
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some((ip, u16::from_be(v4.sin_port)).into());
    }
    if family == libc::AF_INET6 && length >= size_of::<libc::sockaddr_in6>() {
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        return Some((ip, u16::from_be(v6.sin6_port)).into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::net::UdpSocket;

    #[test]
    fn a_port_where_nobody_is_has_a_name() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(local) else {
                eprintln!("skipped: no IPv6 here");
                continue;
            };
            listen(&socket, local.starts_with('[')).unwrap();
            assert_eq!(take(&socket), None);
            let gone = UdpSocket::bind(local).unwrap().local_addr().unwrap();
            socket.send_to(b"is anybody there?", gone).unwrap();
            let limit = Timespec {
                tv_sec: 10,
                tv_nsec: 0,
            };
            poll(
                &mut [PollFd::new(&socket, PollFlags::empty())],
                Some(&limit),
            )
            .unwrap();
            let undelivered = take(&socket).unwrap();
            assert_eq!(
                (undelivered.to, undelivered.errno),
                (gone, libc::ECONNREFUSED)
            );
            assert!(undelivered.is_nobody());
            assert_eq!(undelivered.quoted(), b"is anybody there");
            assert_eq!(take(&socket), None);
        }
    }
}
