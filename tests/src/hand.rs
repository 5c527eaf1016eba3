//! A member of a layer on a network that a test plays by hand: whole frames, or datagrams.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use o7s_ipcpd::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::Netns;

/// Longest frame or datagram.
const LONGEST: usize = 1 << 16;

/// A socket on the way to a node under test.
#[derive(Debug)]
pub enum Hand {
    /// On an Ethernet device.
    Frames(OwnedFd),
    /// Over UDP, to and from one address only.
    Datagrams(UdpSocket, SocketAddr),
}

impl Hand {
    /// On a device of a namespace; hears frames of `protocol` (an ethertype, or `ETH_P_802_2`), but
    /// for its own.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn on(netns: &Netns, device: &str, protocol: u16) -> Self {
        let socket = netns.inside(|| {
            let socket = sys::packet_socket().expect("a packet socket");
            let index = sys::interface_index(device).expect("a device");
            sys::bind_packet(&socket, index, protocol).expect("it can be bound");
            socket
        });
        Self::Frames(socket)
    }

    /// Sends.
    ///
    /// # Errors
    /// What the system says, above all that its queue is full.
    pub fn try_send(&self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Frames(socket) => rustix::io::write(socket, bytes).map(drop)?,
            Self::Datagrams(socket, to) => socket.send_to(bytes, to).map(drop)?,
        }
        Ok(())
    }

    /// Sends.
    ///
    /// # Panics
    /// If the system does not take it.
    pub fn send(&self, bytes: &[u8]) {
        self.try_send(bytes).expect("it is sent");
    }

    /// The next frame or datagram; none, if none comes within the time.
    ///
    /// # Panics
    /// If the socket fails.
    #[must_use]
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let limit = Instant::now() + within;
        let mut buffer = vec![0; LONGEST];
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a short time");
            let fd = self.as_fd();
            let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left));
            if ready.expect("it can be waited for") == 0 {
                return None;
            }
            let length = match self {
                Self::Frames(socket) => rustix::io::read(socket, &mut *buffer).expect("a frame"),
                Self::Datagrams(socket, other) => {
                    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
                    if from != *other {
                        continue;
                    }
                    length
                }
            };
            buffer.truncate(length);
            return Some(buffer);
        }
    }
}

impl AsFd for Hand {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Frames(socket) => socket.as_fd(),
            Self::Datagrams(socket, _) => socket.as_fd(),
        }
    }
}
