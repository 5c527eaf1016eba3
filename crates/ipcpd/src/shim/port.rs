//! The socket of a layer on a real network, with the messages that wait to be sent on it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use o7s_proto::shim::Address;

use crate::sys::{self, BATCH, Inbox, Incoming, Outgoing};

/// Received bytes that wait in the system; bursts of all members come at once.
pub const RECEIVE_BUFFER: i32 = 8 << 20;
/// Bytes that wait to be sent. Small, so that the socket is full before the queue of the device is,
/// whose losses a UDP socket does not hear of.
pub const SEND_BUFFER: i32 = 256 << 10;

/// Most datagrams that the system makes of one message (`UDP_SEGMENT`).
const SEGMENTS: usize = 64;
/// Most bytes of a message of several datagrams.
const SEGMENTED_BYTES: usize = 65_000;

/// A socket and its batches.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    inbox: Inbox,
    slots: Vec<Slot>,
    /// Slots that are in use; the rest is kept for its memory.
    used: usize,
    /// Longest datagram of a message of several; 0 = each goes alone.
    segment_limit: usize,
    /// What the system did not take waits for another try.
    blocked: bool,
    counters: Counters,
    overruns: u64,
}

/// What has become of the messages of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that the system took.
    pub sent: u64,
    /// Times that the system had no room for more.
    pub held_back: u64,
    /// Messages that the system refused.
    pub send_errors: u64,
    /// Messages heard.
    pub heard: u64,
    /// Messages longer than what was expected; dropped.
    pub too_long: u64,
    /// Failures to receive, other than that nothing is there.
    pub receive_errors: u64,
}

/// One or more messages to one destination.
#[derive(Debug, Default)]
struct Slot {
    bytes: Vec<u8>,
    to: Option<SocketAddr>,
    /// Length of each message but the last.
    segment: usize,
    messages: usize,
    /// The last one was shorter: none may follow.
    closed: bool,
}

impl Port {
    /// A packet socket, with frames of up to `longest` bytes.
    #[must_use]
    pub fn packets(socket: OwnedFd, longest: usize) -> Self {
        Self::new(socket, Inbox::new(longest, false), 0)
    }

    /// A UDP socket.
    #[must_use]
    pub fn datagrams(socket: OwnedFd) -> Self {
        // Several datagrams at once are up to 65,535 bytes.
        Self::new(socket, Inbox::new(1 << 16, true), SEGMENTED_BYTES)
    }

    fn new(socket: OwnedFd, inbox: Inbox, segment_limit: usize) -> Self {
        Self {
            socket,
            inbox,
            slots: (0..BATCH).map(|_| Slot::default()).collect(),
            used: 0,
            segment_limit,
            blocked: false,
            counters: Counters::default(),
            overruns: 0,
        }
    }

    /// What has become of the messages.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Messages for which the socket had no room (packet sockets).
    pub fn overruns(&mut self) -> u64 {
        if self.segment_limit == 0 {
            // The system forgets what it has told.
            self.overruns += u64::from(sys::packet_drops(&self.socket).unwrap_or(0));
        }
        self.overruns
    }

    /// Expects frames of up to `longest` bytes from now on.
    pub fn set_longest(&mut self, longest: usize) {
        self.inbox = Inbox::new(longest, false);
    }

    /// Takes a batch of what has arrived; how many messages, to be had by [`Port::get`].
    pub fn receive(&mut self) -> usize {
        let received = self.inbox.receive(&self.socket);
        match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                // The device went down, or a peer has no such port: nothing that lasts.
                tracing::debug!("Cannot receive: {error}.");
                self.counters.receive_errors += 1;
                0
            }
        }
    }

    /// Calls `take` with each datagram or frame of message `at` of the batch, and its sender.
    pub fn each(&mut self, at: usize, mut take: impl FnMut(&[u8], Option<SocketAddr>)) {
        let Some(Incoming {
            bytes,
            from,
            segment,
            truncated,
        }) = self.inbox.get(at)
        else {
            return;
        };
        if truncated {
            self.counters.too_long += 1;
        } else if bytes.is_empty() {
            self.counters.heard += 1;
        } else {
            for message in bytes.chunks(segment.unwrap_or(bytes.len()).max(1)) {
                self.counters.heard += 1;
                take(message, from);
            }
        }
    }

    /// Whether [`Port::stage`] may be called.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used < BATCH
    }

    /// Whether the system takes nothing at the moment: [`Port::flush`] may be tried again.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds a message of `length` bytes, which `fill` appends. There must be room.
    pub fn stage(&mut self, to: Address, length: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        let to = match to {
            Address::Udp(to) => Some(to),
            Address::Mac(_) => None,
        };
        if self.segment_limit != 0
            && let Some(slot) = self.slots[..self.used].last_mut()
            && slot.takes(to, length, self.segment_limit)
        {
            fill(&mut slot.bytes);
            slot.messages += 1;
            slot.closed = length < slot.segment;
            return;
        }
        if let Some(slot) = self.slots.get_mut(self.used) {
            slot.bytes.clear();
            fill(&mut slot.bytes);
            slot.to = to;
            slot.segment = length;
            slot.messages = 1;
            slot.closed = length == 0;
            self.used += 1;
        }
    }

    /// Sends what waits; what the system has no room for stays, and the port is blocked.
    pub fn flush(&mut self) {
        let mut first = 0;
        // The message that failed once.
        let mut failed = None;
        self.blocked = false;
        while first < self.used {
            let waiting = &self.slots[first..self.used];
            let outcome = sys::send(&self.socket, waiting.iter().map(Slot::outgoing));
            match outcome {
                // Never, with something to send.
                Ok(0) => break,
                Ok(sent) => {
                    let messages = waiting[..sent].iter().map(|slot| slot.messages as u64);
                    self.counters.sent += messages.sum::<u64>();
                    first += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => {
                    self.counters.held_back += 1;
                    self.blocked = true;
                    break;
                }
                // What the network says of an earlier message, the system tells once, with whatever comes
                // next: the same again.
                Err(_) if failed != Some(first) => failed = Some(first),
                Err(error) => {
                    self.refused(first, &error);
                    first += 1;
                }
            }
        }
        // Those that stay come first; the others keep their memory.
        self.slots[..self.used].rotate_left(first);
        self.used -= first;
    }

    /// A message could not be sent: if it is several, each is tried alone.
    fn refused(&mut self, at: usize, error: &io::Error) {
        let slot = &self.slots[at];
        if slot.messages == 1 {
            tracing::debug!("Cannot send: {error}.");
            self.counters.send_errors += 1;
            return;
        }
        // Longer than the way's MTU, or the device cannot.
        self.segment_limit = slot.segment.saturating_sub(1);
        let to = slot.to;
        for bytes in slot.bytes.chunks(slot.segment.max(1)) {
            let alone = Outgoing {
                bytes,
                to,
                segment: None,
            };
            match sys::send(&self.socket, [alone]) {
                Ok(_) => self.counters.sent += 1,
                Err(_) => self.counters.send_errors += 1,
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Slot {
    fn takes(&self, to: Option<SocketAddr>, length: usize, limit: usize) -> bool {
        !self.closed
            && self.to == to
            && length <= self.segment
            && length != 0
            && self.segment <= limit
            && self.messages < SEGMENTS
            && self.bytes.len() + length <= SEGMENTED_BYTES
    }

    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            bytes: &self.bytes,
            to: self.to,
            segment: (self.messages > 1)
                .then(|| u16::try_from(self.segment).ok())
                .flatten(),
        }
    }
}

/// The socket's buffer or the device's queue is full.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn port() -> (Port, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (Port::datagrams(socket.into()), address)
    }

    fn stage(port: &mut Port, to: SocketAddr, bytes: &[u8]) {
        port.stage(to.into(), bytes.len(), |out| out.extend_from_slice(bytes));
    }

    #[test]
    fn packets_of_one_size_to_one_peer_go_together() {
        let (mut one, _) = port();
        let (mut two, to) = port();
        let (_three, other) = port();
        let sizes = [10, 10, 10, 4, 10, 10, 30, 10, 0, 10, 10];
        let packets: Vec<Vec<u8>> = (0..).zip(sizes).map(|(n, size)| vec![n; size]).collect();
        for packet in &packets {
            stage(&mut one, to, packet);
        }
        // 10 10 10 4 | 10 10 | 30 10 | 0 | 10 10: a shorter one is the last of its message.
        assert_eq!(one.used, 5);
        stage(&mut one, other, &[1; 10]);
        assert_eq!(one.used, 6);
        one.flush();
        assert!(one.is_empty() && !one.is_blocked());
        assert_eq!(one.counters().sent, 12);
        let mut got = Vec::new();
        while got.len() < packets.len() - 1 {
            for at in 0..two.receive() {
                two.each(at, |bytes, _| got.push(bytes.to_vec()));
            }
        }
        let wanted: Vec<Vec<u8>> = packets.into_iter().filter(|p| !p.is_empty()).collect();
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_peer_that_is_gone_costs_others_nothing() {
        let (mut one, _) = port();
        let (mut two, to) = port();
        crate::sys_errors::listen(&one, false).unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for round in 0..10 {
            // The answer to the first is there when the second is sent.
            stage(&mut one, gone, &[round; 10]);
            one.flush();
            stage(&mut one, to, &[round; 10]);
            stage(&mut one, to, &[round; 10]);
            one.flush();
        }
        assert_eq!((one.counters().sent, one.counters().send_errors), (30, 0));
        assert_eq!(one.segment_limit, SEGMENTED_BYTES);
        let mut got = 0;
        while got < 20 {
            for at in 0..two.receive() {
                two.each(at, |_, _| got += 1);
            }
        }
    }

    #[test]
    fn what_cannot_go_in_segments_goes_alone() {
        let (mut one, _) = port();
        let (mut two, to) = port();
        // Together more than an IP packet of the loopback device holds a segment of.
        one.segment_limit = usize::MAX;
        for _ in 0..2 {
            stage(&mut one, to, &[5; 100]);
        }
        assert_eq!(one.used, 1);
        // As a way with a small MTU would have it: the segment is not allowed.
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        one.refused(0, &refused);
        assert_eq!(one.segment_limit, 99);
        assert_eq!(one.counters().sent, 2);
        let mut got = 0;
        while got < 2 {
            got += two.receive();
        }
        // From now on those of that size go alone.
        one.used = 0;
        for _ in 0..2 {
            stage(&mut one, to, &[5; 100]);
        }
        assert_eq!(one.used, 2);
    }

    #[test]
    fn a_full_socket_keeps_what_it_did_not_take() {
        let (one, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut port = Port::packets(one.into(), 64);
        let mut sent = 0_u16;
        while !port.is_blocked() {
            assert!(port.has_room());
            port.stage(o7s_wire::eth::MacAddr([2; 6]).into(), 2, |out| {
                out.extend_from_slice(&sent.to_be_bytes());
            });
            sent += 1;
            port.flush();
        }
        assert!(!port.is_empty());
        let mut number_of = [0; 2];
        for number in 0..sent {
            if number + 1 == sent {
                // The last one waits still.
                port.flush();
                assert!(port.is_empty() && !port.is_blocked());
            }
            assert_eq!(other.recv(&mut number_of).unwrap(), 2);
            assert_eq!(number_of, number.to_be_bytes());
        }
    }
}
