//! One machine, a hand-made clock, and packets made by hand.

#![allow(dead_code, reason = "each test program uses a part")]

use std::time::{Duration, Instant};

use o7s_proto::frcp::{Config, Frcp, WriteError};
use o7s_wire::frcp::{Flags, Repr};

/// The machine and its time.
pub(crate) struct Rig {
    pub(crate) frcp: Frcp,
    pub(crate) now: Instant,
}

impl Rig {
    pub(crate) fn with(config: Config, isn: u32) -> Self {
        let now = Instant::now();
        Self {
            frcp: Frcp::new(config, isn, now),
            now,
        }
    }

    pub(crate) fn reliable(isn: u32) -> Self {
        Self::with(Config::default(), isn)
    }

    pub(crate) fn unreliable(isn: u32) -> Self {
        let config = Config {
            reliable: false,
            ..Config::default()
        };
        Self::with(config, isn)
    }

    /// Writes what must be taken.
    pub(crate) fn write(&mut self, message: &[u8]) {
        self.frcp.write(self.now, message).expect("taken");
    }

    /// Whether the message was taken now.
    pub(crate) fn try_write(&mut self, message: &[u8]) -> bool {
        match self.frcp.write(self.now, message) {
            Ok(()) => true,
            Err(WriteError::WindowShut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// All packets that are to be sent now.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let mut out = Vec::new();
        while self.frcp.poll_transmit(self.now, &mut out) {
            sent.push(out.clone());
            assert!(sent.len() < 10_000, "endless transmission");
        }
        sent
    }

    /// Hands in a packet that must not be dropped.
    pub(crate) fn receive(&mut self, packet: &[u8]) {
        self.frcp
            .handle_packet(self.now, packet)
            .expect("not dropped");
    }

    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        self.frcp.read(self.now, <[u8]>::to_vec)
    }

    /// Lets time pass, with the timers that are due on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(due) = self.frcp.poll_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.frcp.handle_timeout(self.now);
            steps += 1;
            // Packets that a timer has made due are left for `sent`; the timer must not stay due.
            assert!(steps < 10_000, "a timer stays due");
        }
        self.now = end;
        self.frcp.handle_timeout(self.now);
    }

    /// How many more messages the window takes, which are sent for it.
    pub(crate) fn open_window(&mut self) -> usize {
        let mut count = 0;
        while self.try_write(b"w") {
            count += 1;
        }
        self.sent();
        count
    }
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn repr(packet: &[u8]) -> Repr {
    Repr::parse(packet).expect("a header")
}

/// A packet without data.
pub(crate) fn control(flags: u8, edge: u32, seqno: u32, ackno: u32) -> Vec<u8> {
    data(flags, edge, seqno, ackno, &[])
}

/// An acknowledgement with the usual window, from a sender at `seqno`.
pub(crate) fn ack(seqno: u32, ackno: u32) -> Vec<u8> {
    control(0x0e, ackno.wrapping_add(256), seqno, ackno)
}

/// A packet of the given fields.
pub(crate) fn data(flags: u8, edge: u32, seqno: u32, ackno: u32, payload: &[u8]) -> Vec<u8> {
    let header = Repr {
        flags: Flags::from_bits(flags),
        window: edge & 0xff_ffff,
        seqno,
        ackno,
    };
    [&header.to_bytes()[..], payload].concat()
}
