//! The N-1 flows in the data thread: which have packets, reading and writing in batches.

use std::fmt;

use o7s::{Error, ErrorKind, Flow, Reactor, Result, Watch};

use crate::data::Context;

/// Looks in vain after which a flow is left until its doorbell rings.
const IDLE_LOOKS: u32 = 64;

/// N-1 flows by number: small, chosen by whoever inserts them.
///
/// Flows with something to read are *active*: the path looks at them at each turn, until they were idle for
/// long; then they ring the doorbells of the process, which hang in the thread's epoll instance.
pub struct Flows {
    reactor: Reactor,
    /// The thread watches for doorbells.
    watching: bool,
    slots: Vec<Option<Slot>>,
    /// Numbers of the active ones.
    active: Vec<u32>,
}

struct Slot {
    flow: Flow,
    watch: Watch,
    active: bool,
    /// Looks in vain.
    idle: u32,
    /// Whoever waits for room for a packet of this length.
    wants_room: Option<usize>,
}

/// What a read found.
#[derive(Debug)]
pub enum Read {
    /// Packets.
    Some,
    /// Nothing for now.
    None,
    /// Nothing ever again: the flow is over, and this is why.
    Over(Error),
}

/// Packets that were read, one behind the other; kept from batch to batch, so that none allocates.
#[derive(Debug, Default)]
pub struct Batch {
    /// The packets.
    pub bytes: Vec<u8>,
    /// Their lengths.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Makes it empty.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
    }

    /// Calls `each` with every packet.
    pub fn for_each(&mut self, mut each: impl FnMut(&mut [u8])) {
        let mut rest = self.bytes.as_mut_slice();
        for length in &self.lengths {
            let (packet, others) = rest.split_at_mut((*length).min(rest.len()));
            each(packet);
            rest = others;
        }
    }
}

impl Flows {
    /// No flows.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> Result<Self> {
        Ok(Self {
            reactor: Reactor::new()?,
            watching: false,
            slots: Vec::new(),
            active: Vec::new(),
        })
    }

    /// Hears which flows have news: they become active. [`crate::data::DataPath::readable`] calls it.
    pub fn hear(&mut self) {
        for number in self.reactor.take() {
            if let Ok(number) = u32::try_from(number) {
                self.activate(number);
            }
        }
    }

    /// Takes a flow in, which becomes active; one with this number that is there is replaced. With the first
    /// one the data thread begins to watch for news, under the number `source`.
    ///
    /// # Errors
    /// The flow is not allocated, or its doorbell or its daemon's notifications cannot be heard.
    pub fn insert(&mut self, cx: &mut Context, source: u64, number: u32, flow: Flow) -> Result<()> {
        self.remove(number);
        if !self.watching {
            for fd in self.reactor.descriptors() {
                cx.watch(fd, source)
                    .map_err(|error| Error::system("watch N-1 flows", &error))?;
            }
            self.watching = true;
        }
        let watch = self.reactor.watch(&flow, number.into())?;
        let at = number as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Slot {
            flow,
            watch,
            active: false,
            idle: 0,
            wants_room: None,
        });
        self.activate(number);
        Ok(())
    }

    /// Gives a flow back. It is deallocated when nobody else holds it.
    pub fn remove(&mut self, number: u32) -> Option<Flow> {
        let slot = self.slots.get_mut(number as usize)?.take()?;
        self.active.retain(|active| *active != number);
        Some(slot.flow)
    }

    /// A flow.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Flow> {
        self.slots
            .get(number as usize)?
            .as_ref()
            .map(|slot| &slot.flow)
    }

    /// The active flows.
    #[must_use]
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Makes a flow active.
    pub fn activate(&mut self, number: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(number as usize) {
            slot.idle = 0;
            if !slot.active {
                slot.active = true;
                self.active.push(number);
            }
        }
    }

    /// Reads up to `max` packets into `batch`, which it empties first. Keepalives are not seen.
    pub fn read(&mut self, number: u32, max: usize, batch: &mut Batch) -> Read {
        batch.clear();
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else {
            return Read::None;
        };
        let read = slot
            .flow
            .try_read_appended(max, &mut batch.bytes, &mut batch.lengths);
        match read {
            Ok(()) => {
                slot.idle = 0;
                Read::Some
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                slot.idle += 1;
                Read::None
            }
            Err(error) => Read::Over(error),
        }
    }

    /// Writes packets in order with one wake-up of the reader; how many went. The others found no room, or
    /// the flow is over, which a read tells. An empty packet is a sign of life.
    pub fn write<T: AsRef<[u8]>>(&mut self, number: u32, packets: &[T]) -> usize {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else {
            return 0;
        };
        let mut sent = 0;
        loop {
            let (more, failed) = slot.flow.try_write_packets(&packets[sent..]);
            sent += more;
            match failed {
                // Too long for this flow: lost, as a packet that the layer below cannot carry.
                Some(error) if error.kind() == ErrorKind::MessageSize => sent += 1,
                Some(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        self.activate(number);
                    }
                    return sent;
                }
                None => return sent,
            }
        }
    }

    /// Packets that the other end has not taken yet.
    #[must_use]
    pub fn queued(&self, number: u32) -> usize {
        self.get(number)
            .and_then(|flow| flow.tx_queue_len().ok())
            .unwrap_or(0)
    }

    /// Makes the flow active once a packet of `length` bytes fits, or never will.
    pub fn want_room(&mut self, number: u32, length: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(number as usize) {
            slot.wants_room = Some(length);
        }
        self.activate(number);
    }

    /// Whether a flow wants room and there is none.
    #[must_use]
    pub fn lacks_room(&mut self, number: u32) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else {
            return false;
        };
        let Some(length) = slot.wants_room else {
            return false;
        };
        if slot.watch.writable(length).unwrap_or(true) {
            slot.wants_room = None;
        }
        slot.wants_room.is_some()
    }

    /// Leaves flows that were idle for long to their doorbells. Once per turn.
    pub fn settle(&mut self) {
        let slots = &mut self.slots;
        self.active.retain(|number| {
            let Some(Some(slot)) = slots.get_mut(*number as usize) else {
                return false;
            };
            slot.active = slot.idle < IDLE_LOOKS || slot.must_look();
            slot.active
        });
    }

    /// Whether an active flow has something to do.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.active.iter().any(|number| {
            let slot = self.slots.get(*number as usize).and_then(Option::as_ref);
            slot.is_some_and(|slot| slot.flow.is_readable())
        })
    }

    /// Leaves all to their doorbells before the thread sleeps; false if one has something to do.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        let slots = &mut self.slots;
        self.active.retain(|number| {
            let Some(Some(slot)) = slots.get_mut(*number as usize) else {
                return false;
            };
            slot.idle = 0;
            slot.active = slot.must_look();
            slot.active
        });
        self.active.is_empty()
    }
}

impl Slot {
    /// Asks for the doorbell; true if there is something to do already.
    fn must_look(&mut self) -> bool {
        let read = self.watch.readable().unwrap_or(true);
        let room = self.wants_room.is_some_and(|length| {
            let fits = self.watch.writable(length).unwrap_or(true);
            if fits {
                self.wants_room = None;
            }
            fits
        });
        read || room
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
