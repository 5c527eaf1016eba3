//! An IPCP's end of a flow: its side of the segment that it shares with a program.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use o7s::{
    Error, ErrorKind, Result,
    control::{FlowEnd, FlowInfo},
};
use o7s_ring::{
    Bell, BellEnd, BellHandle, Drain, Endpoint, ReadWaiter, Receiver, Sender, Side, State,
    WriteWaiter,
};

/// An open end. Dropping it deallocates it: the program sees that once it has read everything.
pub struct End {
    /// Packets to the program.
    pub tx: Sender,
    /// Packets from the program.
    pub rx: Receiver,
    state: State,
    reader: ReadWaiter,
    writer: WriteWaiter,
    end: FlowEnd,
    bell: Arc<Bell>,
    bell_id: u64,
    slot: u32,
    /// Packets from the program are left where they are.
    paused: bool,
    /// A packet of this length waits for room.
    wants_room: Option<usize>,
    /// What the doorbell was asked for last: packets, and room for one of this length.
    asked: (bool, Option<usize>),
    /// The path knows that the program's end is over.
    over_seen: bool,
    failed: bool,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl End {
    fn open(info: &FlowInfo, segment: &OwnedFd, bell: Arc<Bell>) -> Result<Self> {
        let endpoint = Endpoint::open(segment.as_fd(), side(info.side)).map_err(|error| {
            Error::new(
                ErrorKind::NoMemory,
                format!("cannot map flow {}: {error}", info.flow_id),
            )
        })?;
        let (tx, rx, state) = endpoint.split();
        state.set_bell(Some(BellHandle {
            bell: bell.clone(),
            slot: info.bell_slot,
        }));
        Ok(Self {
            tx,
            rx,
            reader: state.read_waiter(),
            writer: state.write_waiter(),
            state,
            end: FlowEnd {
                flow_id: info.flow_id,
                side: info.side,
                ..FlowEnd::default()
            },
            bell,
            bell_id: info.bell_id,
            slot: info.bell_slot,
            paused: false,
            wants_room: None,
            asked: (false, None),
            over_seen: false,
            failed: false,
        })
    }

    /// Which end of which flow it is.
    #[must_use]
    pub fn end(&self) -> FlowEnd {
        self.end
    }

    /// Whether the program gave its end back or died. What it wrote before is there for whoever
    /// reads after this says so.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let peer = self.state.peer();
        peer.closed || peer.gone
    }

    /// The path knows that [`End::is_over`] and need not be told again.
    pub fn note_over(&mut self) {
        self.over_seen = true;
    }

    /// Leaves packets of the program where they are (back-pressure), or reads again.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Asks to be polled once a packet of `length` bytes fits, or no more.
    pub fn want_room(&mut self, length: Option<usize>) {
        self.wants_room = length;
    }

    /// The layer carries nothing for the moment (the program's calls fail), or again.
    pub fn set_down(&mut self, down: bool) {
        self.state.set_down(down);
    }

    pub(super) fn bell(&self) -> (u64, &Arc<Bell>, u32) {
        (self.bell_id, &self.bell, self.slot)
    }

    /// Whether it waits for more than what its doorbell was asked for.
    pub(super) fn wants_more(&self) -> bool {
        let (packets, room) = self.asked;
        (!self.paused && !packets) || (self.wants_room.is_some() && self.wants_room != room)
    }

    /// Whether a look is worth it.
    pub(super) fn is_ready(&self) -> bool {
        (!self.paused && self.reader.readable())
            || self
                .wants_room
                .is_some_and(|length| self.writer.writable(length))
            || (!self.over_seen && self.is_over())
    }

    /// Asks for the doorbell at the next thing to do; true, and no ring, if it is there already.
    #[must_use]
    pub(super) fn arm(&mut self) -> bool {
        self.asked = (!self.paused, self.wants_room);
        let read = !self.paused && self.reader.arm_bell(|| self.is_ready());
        let room = self.wants_room.is_some() && self.writer.arm_bell(|| self.is_ready());
        read || room || self.is_ready()
    }

    /// Leaves the end because the layer ends: the program sees the flow down.
    pub(super) fn fail(mut self) {
        self.failed = true;
        self.state.set_down(true);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tx.flush();
        self.rx.flush();
        if !self.failed {
            self.state.close();
        }
    }
}

/// The doorbells that this IPCP has, by which it opens its ends. Used by management.
#[derive(Debug, Default)]
pub struct Ends {
    bells: BTreeMap<u64, Arc<Bell>>,
}

impl Ends {
    /// Opens the end that the daemon sent with these descriptors.
    ///
    /// # Errors
    /// [`ErrorKind::NoDescriptors`] if descriptors are missing, [`ErrorKind::NoMemory`] if the
    /// memory cannot be mapped, [`ErrorKind::Invalid`] if they do not fit the message.
    pub fn open(&mut self, info: &FlowInfo, fds: Vec<OwnedFd>) -> Result<End> {
        let missing = || {
            Error::new(
                ErrorKind::NoDescriptors,
                format!(
                    "the descriptors of flow {} did not arrive; the IPCP has too many open: raise \
                     the limit (ulimit -n)",
                    info.flow_id
                ),
            )
        };
        let mut fds = fds.into_iter();
        let segment = fds.next().ok_or_else(missing)?;
        let bell = match self.bells.get(&info.bell_id) {
            Some(bell) => bell.clone(),
            None => {
                let (socket, memory) = fds.next().zip(fds.next()).ok_or_else(missing)?;
                let bell = Bell::open(BellEnd { socket, memory }, side(info.bell_side));
                let bell = bell.map_err(|error| {
                    Error::new(
                        ErrorKind::NoMemory,
                        format!("cannot open a doorbell: {error}"),
                    )
                })?;
                let bell = Arc::new(bell);
                // Those of processes that are gone without having had a flow.
                self.bells.retain(|_, bell| {
                    Arc::strong_count(bell) > 1 || matches!(bell.drain(|_| {}), Ok(Drain::Open))
                });
                self.bells.insert(info.bell_id, bell.clone());
                bell
            }
        };
        End::open(info, &segment, bell)
    }

    /// The process at the other side of a doorbell is gone.
    pub fn forget_bell(&mut self, bell: u64) {
        self.bells.remove(&bell);
    }

    /// Doorbells that are open.
    #[must_use]
    pub fn bells(&self) -> usize {
        self.bells.len()
    }
}

fn side(number: u32) -> Side {
    if number == 0 { Side::A } else { Side::B }
}
