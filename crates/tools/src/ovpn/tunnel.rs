//! The tunnel: a thread per direction between a device and a flow.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use o7s::{Error, ErrorKind, Flow, FlowFlags};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
};
use serde::Serialize;

use super::tun::Tun;

/// Largest IP packet in bytes.
const PACKET_MAX: usize = 65_536;

/// A device and a flow between which packets go.
#[derive(Debug)]
pub(super) struct Tunnel {
    tun: Tun,
    flow: Flow,
    stopped: AtomicBool,
    /// Readable when it is the end.
    end: OwnedFd,
    failure: Mutex<Option<String>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    received: AtomicU64,
    received_bytes: AtomicU64,
    dropped: AtomicU64,
}

/// What has gone through a tunnel.
#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    /// Packets from the device to the flow.
    sent: u64,
    sent_bytes: u64,
    /// Packets from the flow to the device.
    received: u64,
    received_bytes: u64,
    /// Packets that the flow was too narrow for, or that were no IP packets.
    dropped: u64,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets ({} bytes) sent, {} packets ({} bytes) received, {} dropped.",
            self.sent, self.sent_bytes, self.received, self.received_bytes, self.dropped
        )
    }
}

impl Tunnel {
    /// A tunnel that does not run yet.
    pub(super) fn new(tun: Tun, flow: Flow) -> Result<Self, Error> {
        // Whole packets only, whatever their size.
        flow.set_flags(FlowFlags::READ_WRITE | FlowFlags::NO_PARTIAL_READ)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::system("make an eventfd", &error.into()))?;
        Ok(Self {
            tun,
            flow,
            stopped: AtomicBool::new(false),
            end,
            failure: Mutex::new(None),
            counters: Counters::default(),
        })
    }

    /// Ends the tunnel.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // The counter cannot be full; the flow may be deallocated already.
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
        let _ = self.flow.dealloc();
    }

    /// Whether it has been ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Moves packets until [`Tunnel::stop`] or a failure.
    ///
    /// # Errors
    /// What failed.
    pub(super) fn run(&self) -> Result<(), String> {
        thread::scope(|scope| {
            scope.spawn(|| self.end_with(self.to_flow()));
            self.end_with(self.to_device());
        });
        let failure = self.failure.lock();
        match failure.unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Ends the tunnel because one direction ended.
    fn end_with(&self, outcome: Result<(), String>) {
        if let Err(failure) = outcome
            && !self.is_stopped()
        {
            self.failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
        }
        self.stop();
    }

    /// What has gone through.
    pub(super) fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            sent: load(&self.counters.sent),
            sent_bytes: load(&self.counters.sent_bytes),
            received: load(&self.counters.received),
            received_bytes: load(&self.counters.received_bytes),
            dropped: load(&self.counters.dropped),
        }
    }

    fn to_flow(&self) -> Result<(), String> {
        let counters = &self.counters;
        let mut packet = vec![0; PACKET_MAX];
        loop {
            match self.tun.read(&mut packet) {
                Ok(length) => match self.flow.write(packet.get(..length).unwrap_or_default()) {
                    Ok(_) => count(&counters.sent, &counters.sent_bytes, length),
                    Err(error) if error.kind() == ErrorKind::MessageSize => drop_one(counters),
                    Err(error) => return Err(error.to_string()),
                },
                Err(Errno::AGAIN) => {
                    if self.wait_for_device().map_err(|error| error.to_string())? {
                        return Ok(());
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(format!("cannot read from {}: {error}", self.tun.name())),
            }
        }
    }

    /// Waits for a packet; true if it is the end.
    fn wait_for_device(&self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(&self.tun, PollFlags::IN),
            PollFd::new(&self.end, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(self.is_stopped()),
            Err(error) => Err(error.into()),
        }
    }

    fn to_device(&self) -> Result<(), String> {
        let counters = &self.counters;
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            match self.flow.read(&mut buffer) {
                Ok(length) => match self.tun.write(buffer.get(..length).unwrap_or_default()) {
                    Ok(_) => count(&counters.received, &counters.received_bytes, length),
                    // No IP packet, or no memory for it just now: the peer's matter, or a loss.
                    Err(Errno::INVAL | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN) => {
                        drop_one(counters);
                    }
                    Err(error) => {
                        return Err(format!("cannot write to {}: {error}", self.tun.name()));
                    }
                },
                Err(error) if error.kind() == ErrorKind::MessageSize => drop_one(counters),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn count(packets: &AtomicU64, bytes: &AtomicU64, length: usize) {
    packets.fetch_add(1, Ordering::Relaxed);
    bytes.fetch_add(length as u64, Ordering::Relaxed);
}

fn drop_one(counters: &Counters) {
    counters.dropped.fetch_add(1, Ordering::Relaxed);
}
