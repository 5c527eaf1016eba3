//! System calls that no safe library wraps: batches of messages on sockets, packet sockets.

#![allow(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    io,
    mem::{MaybeUninit, size_of, zeroed},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr::null_mut,
};

use libc::{c_int, c_void, socklen_t};

/// Most messages of one system call.
pub const BATCH: usize = 64;
/// Bytes for the control message about segments, header and alignment included.
const CONTROL: usize = 64;

/// A control buffer, aligned as its headers want it.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Messages received at once.
pub struct Inbox {
    buffer: Box<[u8]>,
    slot: usize,
    meta: Box<[Meta; BATCH]>,
    count: usize,
    /// Whether addresses and segments are asked for.
    datagrams: bool,
}

#[derive(Clone, Copy)]
struct Meta {
    length: usize,
    truncated: bool,
    from: Option<SocketAddr>,
    segment: Option<usize>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("count", &self.count).finish()
    }
}

/// A received message.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Its bytes; several messages one after another, each of `segment` bytes but for the last, if
    /// that is given.
    pub bytes: &'a [u8],
    /// Who sent it (UDP).
    pub from: Option<SocketAddr>,
    /// See `bytes`.
    pub segment: Option<usize>,
    /// It was longer than the buffer.
    pub truncated: bool,
}

impl Inbox {
    /// Room for [`BATCH`] messages of up to `slot` bytes; `datagrams` of a UDP socket.
    #[must_use]
    pub fn new(slot: usize, datagrams: bool) -> Self {
        let meta = Meta {
            length: 0,
            truncated: false,
            from: None,
            segment: None,
        };
        Self {
            buffer: vec![0; slot * BATCH].into_boxed_slice(),
            slot,
            meta: Box::new([meta; BATCH]),
            count: 0,
            datagrams,
        }
    }

    /// Takes what is there, up to [`BATCH`] messages, without waiting; how many.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] if there is nothing.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.count = 0;
        let mut iovecs = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
        let chunks = self.buffer.chunks_exact_mut(self.slot);
        for (at, chunk) in chunks.enumerate().take(BATCH) {
            let iovec = iovecs[at].write(libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: chunk.len(),
            });
            // SAFETY: all zeroes is a valid msghdr, for which the fields that matter are set below.
            let mut header: libc::msghdr = unsafe { zeroed() };
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            if self.datagrams {
                header.msg_name = names[at].as_mut_ptr().cast();
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
                header.msg_control = controls[at].as_mut_ptr().cast();
                header.msg_controllen = CONTROL as _;
            }
            headers[at].write(libc::mmsghdr {
                msg_hdr: header,
                msg_len: 0,
            });
        }
        // SAFETY: all `BATCH` headers are initialized (the buffer has `BATCH` slots) and point to
        // buffers that live until the end of this function, each with its length.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for at in 0..received.min(BATCH) {
            // SAFETY: initialized above, and the system has filled the first `received` ones in.
            let header = unsafe { headers[at].assume_init_ref() };
            let (from, segment) = if self.datagrams {
                // SAFETY: the system wrote `msg_namelen` bytes of an address; whatever it did not
                // write is not looked at, since the family says what is there.
                let from =
                    unsafe { address(names[at].as_ptr(), header.msg_hdr.msg_namelen as usize) };
                // SAFETY: the header's control buffer is still there, and its length is what the
                // system wrote.
                (from, unsafe { segment(&header.msg_hdr) })
            } else {
                (None, None)
            };
            self.meta[at] = Meta {
                length: (header.msg_len as usize).min(self.slot),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                from,
                segment,
            };
        }
        self.count = received.min(BATCH);
        Ok(self.count)
    }

    /// One of the messages received.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Incoming<'_>> {
        let meta = self.meta[..self.count].get(at)?;
        let start = at * self.slot;
        Some(Incoming {
            bytes: self.buffer.get(start..start + meta.length)?,
            from: meta.from,
            segment: meta.segment,
            truncated: meta.truncated,
        })
    }
}

/// The address that the system wrote.
///
/// # Safety
/// `length` bytes at `storage` are initialized.
unsafe fn address(storage: *const libc::sockaddr_storage, length: usize) -> Option<SocketAddr> {
    if length < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family comes first in every address, and is initialized.
    let family = c_int::from(unsafe { (*storage.cast::<libc::sockaddr>()).sa_family });
    if family == libc::AF_INET && length >= size_of::<libc::sockaddr_in>() {
        // SAFETY: as many bytes are initialized, and a sockaddr_storage is aligned for all.
        let v4 = unsafe { &*storage.cast::<libc::sockaddr_in>() };
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
    }
    if family == libc::AF_INET6 && length >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: as above.
        let v6 = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        let port = u16::from_be(v6.sin6_port);
        return Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into());
    }
    None
}

/// The segment size of a message that the system put together of several (`UDP_GRO`).
///
/// # Safety
/// `header` is one that `recvmmsg` filled in, with its control buffer.
unsafe fn segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: by the contract; each header found lies within the control buffer.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                let value = libc::CMSG_DATA(control).cast::<c_int>().read_unaligned();
                return usize::try_from(value).ok().filter(|size| *size > 0);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its bytes; with `segment`, several messages of that many bytes but for the last.
    pub bytes: &'a [u8],
    /// To whom; none: where the socket is bound.
    pub to: Option<SocketAddr>,
    /// See `bytes`.
    pub segment: Option<u16>,
}

#[repr(C)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Sends messages, up to [`BATCH`], without waiting; how many of the first ones went.
///
/// # Errors
/// Why the first of them did not go.
pub fn send<'a>(
    socket: impl AsFd,
    messages: impl IntoIterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut iovecs = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
    let mut count = 0;
    for message in messages.into_iter().take(BATCH) {
        let iovec = iovecs[count].write(libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: message.bytes.len(),
        });
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = iovec;
        header.msg_iovlen = 1;
        if let Some(to) = message.to {
            let (name, length) = name(to);
            header.msg_name = std::ptr::from_mut(names[count].write(name)).cast();
            header.msg_namelen = length;
        }
        if let Some(segment) = message.segment {
            let control = controls[count].write(Control([0; CONTROL]));
            header.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: the macros compute sizes; the buffer is aligned, zeroed and larger than one
            // control message of two bytes, which is written within it.
            unsafe {
                header.msg_controllen = libc::CMSG_SPACE(2) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const header);
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(first)
                    .cast::<u16>()
                    .write_unaligned(segment);
            }
        }
        headers[count].write(libc::mmsghdr {
            msg_hdr: header,
            msg_len: 0,
        });
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: `count` headers are initialized and point to buffers that live until the end of this
    // function or longer, which the system only reads.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as _,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn name(to: SocketAddr) -> (Name, socklen_t) {
    match to {
        SocketAddr::V4(to) => {
            // SAFETY: all zeroes is a valid address.
            let mut v4: libc::sockaddr_in = unsafe { zeroed() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            (Name { v4 }, size_of::<libc::sockaddr_in>() as socklen_t)
        }
        SocketAddr::V6(to) => {
            // SAFETY: all zeroes is a valid address.
            let mut v6: libc::sockaddr_in6 = unsafe { zeroed() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = to.port().to_be();
            v6.sin6_addr.s6_addr = to.ip().octets();
            v6.sin6_scope_id = to.scope_id();
            (Name { v6 }, size_of::<libc::sockaddr_in6>() as socklen_t)
        }
    }
}

/// A packet socket that hears nothing yet.
///
/// # Errors
/// What the system says; [`io::ErrorKind::PermissionDenied`] without CAP_NET_RAW.
pub fn packet_socket() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a packet socket to an interface and the protocol (ethertype, or `ETH_P_802_2`).
///
/// # Errors
/// What the system says.
pub fn bind_packet(socket: impl AsFd, index: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all zeroes is a valid address.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    name.sll_family = libc::AF_PACKET as _;
    name.sll_protocol = protocol.to_be();
    name.sll_ifindex = c_int::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the address lives during the call and has that length.
    let outcome = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as socklen_t,
        )
    };
    done(outcome)
}

/// Lets a socket hear only what the program accepts.
///
/// # Errors
/// What the system says.
pub fn attach_filter(socket: impl AsFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Sets an option whose value is a number.
///
/// # Errors
/// What the system says.
pub fn set_number(socket: impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, level, option, &value)
}

fn set_option<T>(socket: impl AsFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value lives during the call and has that length; what it points to (a filter's
    // program) outlives the call too and is only read.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as socklen_t,
        )
    };
    done(outcome)
}

/// Frames that a packet socket has heard and had no room for, since the last time it was asked.
///
/// # Errors
/// What the system says.
pub fn packet_drops(socket: impl AsFd) -> io::Result<u32> {
    let mut statistics = [0_u32; 2];
    let mut length = size_of::<[u32; 2]>() as socklen_t;
    // SAFETY: the option is a struct of two 32-bit numbers, and there is room for it.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    done(outcome).map(|()| statistics[1])
}

fn done(outcome: c_int) -> io::Result<()> {
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// A socket that hears of changes of network interfaces, and may ask; it waits.
///
/// # Errors
/// What the system says.
pub fn link_socket() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid address.
    let mut name: libc::sockaddr_nl = unsafe { zeroed() };
    name.nl_family = libc::AF_NETLINK as _;
    name.nl_groups = libc::RTMGRP_LINK as _;
    // SAFETY: the address lives during the call and has that length.
    let outcome = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_nl>() as socklen_t,
        )
    };
    done(outcome).map(|()| socket)
}

/// Calls on the descriptor wait no more.
///
/// # Errors
/// What the system says.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(fd, true).map_err(Into::into)
}

/// Number of a network device.
///
/// # Errors
/// There is none of that name.
pub fn interface_index(device: &str) -> io::Result<u32> {
    let name = CString::new(device).map_err(io::Error::other)?;
    // SAFETY: a terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Makes a socket's buffers as large as this, in bytes, as far as the system allows.
pub fn set_buffers(socket: impl AsFd, receive: c_int, send: c_int) {
    let socket = socket.as_fd();
    for (force, plain, bytes) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send),
    ] {
        if set_number(socket, libc::SOL_SOCKET, force, bytes).is_err() {
            // Without the capability up to the system's limit.
            let _ = set_number(socket, libc::SOL_SOCKET, plain, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> (UdpSocket, UdpSocket) {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        (one, other)
    }

    #[test]
    fn batches_keep_order_and_addresses() {
        let (one, other) = pair();
        let to = Some(other.local_addr().unwrap());
        let bytes: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n)]).collect();
        let messages = || {
            bytes.iter().map(|bytes| Outgoing {
                bytes,
                to,
                segment: None,
            })
        };
        assert_eq!(send(&one, messages()).unwrap(), BATCH);
        assert_eq!(send(&one, messages().skip(BATCH)).unwrap(), 100 - BATCH);
        let mut inbox = Inbox::new(50, true);
        let mut got = 0;
        while got < 100 {
            let count = inbox.receive(&other).unwrap();
            for at in 0..count {
                let message = inbox.get(at).unwrap();
                assert_eq!(message.from, Some(one.local_addr().unwrap()));
                assert_eq!(message.truncated, got > 50);
                assert_eq!(message.bytes, &bytes[got][..got.min(50)]);
                got += 1;
            }
            assert!(inbox.get(count).is_none());
        }
        let nothing = inbox.receive(&other).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send(&one, []).unwrap(), 0);
    }

    #[test]
    fn segments_are_taken_apart_or_told() {
        for gro in [0, 1] {
            let (one, other) = pair();
            if set_number(&other, libc::SOL_UDP, libc::UDP_GRO, gro).is_err() {
                eprintln!("skipped: this system has no UDP_GRO");
                return;
            }
            let bytes: Vec<u8> = (0..25).collect();
            let message = Outgoing {
                bytes: &bytes,
                to: Some(other.local_addr().unwrap()),
                segment: Some(10),
            };
            assert_eq!(send(&one, [message]).unwrap(), 1);
            let mut inbox = Inbox::new(65_536, true);
            let mut got: Vec<Vec<u8>> = Vec::new();
            while got.len() < 3 {
                let count = match inbox.receive(&other) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{error}"),
                };
                for message in (0..count).filter_map(|at| inbox.get(at)) {
                    let segment = message.segment.unwrap_or(message.bytes.len());
                    got.extend(message.bytes.chunks(segment).map(<[u8]>::to_vec));
                }
            }
            assert_eq!(got, [&bytes[..10], &bytes[10..20], &bytes[20..]]);
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let Ok(one) = UdpSocket::bind("[::1]:0") else {
            eprintln!("skipped: no IPv6 here");
            return;
        };
        let address = one.local_addr().unwrap();
        let message = Outgoing {
            bytes: b"six",
            to: Some(address),
            segment: None,
        };
        assert_eq!(send(&one, [message]).unwrap(), 1);
        let mut inbox = Inbox::new(64, true);
        assert_eq!(inbox.receive(&one).unwrap(), 1);
        assert_eq!(inbox.get(0).unwrap().from, Some(address));
    }
}
