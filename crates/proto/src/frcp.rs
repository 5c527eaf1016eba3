//! The Flow and Retransmission Control Protocol (`spec/frcp.md`), one machine per flow and end.
//!
//! [`Frcp`] does no I/O and has no clock. Its driver, under one lock per flow,
//!
//! 1. gives every packet that arrives to [`handle_packet`](Frcp::handle_packet), in the clear,
//! 2. takes packets to send from [`poll_transmit`](Frcp::poll_transmit) until there is none or the layer
//!    takes no more, and encrypts each afresh,
//! 3. calls [`handle_timeout`](Frcp::handle_timeout) at [`poll_timeout`](Frcp::poll_timeout),
//!
//! and does 2 and 3 again after every call that takes `&mut self`.
//!
//! ```text
//!  write ──► Outstanding ──► Sender ──► poll_transmit
//!                              ▲  acknowledgement, edge
//!  read ◄── Unread ◄── Reorder ◄── Receiver ◄── handle_packet
//! ```
//!
//! It keeps the rules I1 to I12 of `spec/frcp.md` §11, so both ends may be ours or 0.23.
//!
//! # Beyond 0.23
//!
//! Only what both ends agreed on ([`Extensions`]) changes the wire; without it every packet is one of 0.23.
//!
//! | extension | on the wire |
//! | --- | --- |
//! | `fragments` | a message longer than a packet is sent as FFGM\|MFGM, MFGM ..., FFGM in consecutive seqnos; a message in one packet has neither bit. In a reliable flow fragments in another order, or of a message that is too long, end the flow; in an unreliable one they are dropped |
//! | `selective` | a packet without DATA but with ACK may carry up to 64 [`Ranges`] after the header: pairs of big-endian 32-bit offsets from ackno (start, end) of packets that arrived beyond it. A receiver never takes back what it has told. Ranges that are malformed drop the packet, ranges beyond what was sent are ignored |
//! | `window` | edges of up to that many packets beyond the next expected; less when memory is short. A sender believes [`MAX_WINDOW`] at most |
//!
//! Two rules of the specification are read more narrowly, so that garbage (trap T8) does less harm: a new run
//! replaces a live one (I5) only when nothing new of the live one came for 10 s, which holds for every peer
//! that keeps R; and in unreliable flows, where nothing waits for an acknowledgement, an ackno counts as
//! sane (I6) when it is at most [`MAX_WINDOW`] behind the next seqno.

mod config;
mod error;
mod outstanding;
mod receiver;
mod reorder;
mod rtt;
mod sender;
mod seq;
mod stats;
mod unread;

use std::time::{Duration, Instant};

use o7s_wire::frcp::{Flags, HEADER_LEN, MAX_RANGES, Packet, RANGE_LEN, Ranges, Repr, WINDOW_MASK};

pub use config::{Config, DELTA_T_ACK, DELTA_T_RTX, Extensions, MAX_WINDOW, START_WINDOW, WINDOW};
pub use error::{Discard, Failure, WriteError};
pub use stats::{Discards, Stats};

use receiver::Receiver;
use rtt::{Nanos, SECOND};
use sender::{Acked, Sender, earlier, nanos};

/// How often the last acknowledgement is sent: a peer that misses it lingers.
const LAST_ACKS: u8 = 2;

/// One end of a flow.
#[derive(Debug)]
pub struct Frcp {
    epoch: Instant,
    fragments: bool,
    reliable: bool,
    max_payload: usize,
    max_message: usize,
    sender_inactivity: Nanos,
    receiver_inactivity: Nanos,
    sender: Sender,
    receiver: Receiver,
    last_acks: u8,
    stats: Stats,
}

impl Frcp {
    /// A new machine. `isn` is the first sequence number and must be random; `now` the time from which the
    /// machine counts.
    #[must_use]
    pub fn new(config: Config, isn: u32, now: Instant) -> Self {
        let max_payload = config.max_packet.max(HEADER_LEN + 1) - HEADER_LEN;
        let most = config
            .max_message
            .min(config.buffer)
            .min(u32::MAX as usize / 2);
        let config = Config {
            max_message: most,
            max_packet: max_payload + HEADER_LEN,
            ..config
        };
        let fragments = config.extensions.fragments;
        Self {
            epoch: now,
            fragments,
            reliable: config.reliable,
            max_payload,
            max_message: if fragments {
                most
            } else {
                most.min(max_payload)
            },
            sender_inactivity: nanos(config.sender_inactivity()),
            receiver_inactivity: nanos(config.receiver_inactivity()),
            sender: Sender::new(&config, isn),
            receiver: Receiver::new(&config),
            last_acks: 0,
            stats: Stats::default(),
        }
    }

    #[inline]
    fn nanos(&self, now: Instant) -> Nanos {
        nanos(now.saturating_duration_since(self.epoch))
    }

    /// Longest message that [`write`](Self::write) takes, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.max_message
    }

    fn packets(&self, len: usize) -> u32 {
        u32::try_from(len.div_ceil(self.max_payload).max(1)).unwrap_or(u32::MAX)
    }

    /// Takes a message for transmission: all of it or nothing. An empty message is a message of length 0
    /// (which 0.23 never sends; the empty packet that its API sends instead is the caller's affair).
    ///
    /// # Errors
    /// [`WriteError::WindowShut`]: not now; [`WriteError::TooLarge`]: never; [`WriteError::Down`]: no more.
    pub fn write(&mut self, now: Instant, message: &[u8]) -> Result<(), WriteError> {
        if let Some(failure) = self.down() {
            return Err(failure.into());
        }
        if message.len() > self.max_message {
            return Err(WriteError::TooLarge {
                max: self.max_message,
            });
        }
        if message.len() <= self.max_payload {
            if !self.sender.has_room(message.len(), 1) {
                let now = self.nanos(now);
                self.sender.refuse(now, message.len(), 1);
                return Err(WriteError::WindowShut);
            }
            self.sender.held.push(0, message);
            return Ok(());
        }
        let packets = self.packets(message.len());
        if !self.sender.has_room(message.len(), packets) {
            let now = self.nanos(now);
            self.sender.refuse(now, message.len(), packets);
            return Err(WriteError::WindowShut);
        }
        let mut flags = Flags::FFGM | Flags::MFGM;
        let mut chunks = message.chunks(self.max_payload).peekable();
        while let Some(chunk) = chunks.next() {
            if chunks.peek().is_none() {
                flags = Flags::FFGM;
            }
            self.sender.held.push(flags.bits(), chunk);
            flags = Flags::MFGM;
        }
        Ok(())
    }

    /// Whether [`write`](Self::write) takes a message of `len` bytes now.
    #[must_use]
    pub fn can_write(&self, len: usize) -> bool {
        self.down().is_none()
            && len <= self.max_message
            && self.sender.has_room(len, self.packets(len))
    }

    /// Puts the next packet to send into `out`, whose content is replaced: header and payload. False, and
    /// `out` empty: there is none now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.is_broken() {
            return false;
        }
        let now = self.nanos(now);
        if self.receiver.ranges_due() {
            self.emit_control(now, out);
            if !out.is_empty() {
                return true;
            }
        }
        if let Some(seqno) = self.sender.next(now) {
            self.emit_data(now, seqno, out);
            return true;
        }
        if self.receiver.control_due() {
            self.emit_control(now, out);
            if !out.is_empty() {
                return true;
            }
        }
        if self.last_acks > 0 {
            self.last_acks -= 1;
            if let Some(ackno) = self.receiver.last_ack(now) {
                let flags = Flags::DRF | Flags::ACK;
                self.emit_header(flags, 0, ackno, out);
                return true;
            }
            self.last_acks = 0;
        }
        if self.sender.take_rendezvous(now) {
            self.stats.rendezvous_sent += 1;
            self.emit_header(Flags::DRF | Flags::RDVS, 0, 0, out);
            return true;
        }
        false
    }

    #[inline]
    fn emit_data(&mut self, now: Nanos, seqno: u32, out: &mut Vec<u8>) {
        let (news, ackno, window) = self.receiver.piggyback(now);
        let mut flags = Flags::DATA | news;
        if seqno == self.sender.held.una {
            // S2; also in a retransmission, where it is as true.
            flags |= Flags::DRF;
        }
        flags |= Flags::from_bits(self.sender.held.slot(seqno).fragment);
        let header = Repr {
            flags,
            window: window & WINDOW_MASK,
            seqno,
            ackno,
        };
        out.extend_from_slice(&header.to_bytes());
        let (first, second) = self.sender.held.payload(seqno);
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        if self.sender.transmitted(seqno, now) {
            self.stats.retransmitted += 1;
        } else {
            self.stats.data_sent += 1;
        }
        if !self.reliable {
            self.sender.forget_sent();
        }
    }

    fn emit_control(&mut self, now: Nanos, out: &mut Vec<u8>) {
        let (flags, ackno, edge) = self.receiver.control(now);
        if flags == Flags::empty() {
            // The run has expired: nothing is known that could be told (I4).
            return;
        }
        self.emit_header(Flags::DRF | flags, edge, ackno, out);
        if flags.contains(Flags::ACK) {
            let most = (self.max_payload / RANGE_LEN).min(MAX_RANGES);
            self.receiver
                .ranges(most, |range| out.extend_from_slice(&range.to_bytes()));
        }
    }

    /// A packet without data: always with DRF and our oldest unacknowledged seqno (I3).
    fn emit_header(&mut self, flags: Flags, edge: u32, ackno: u32, out: &mut Vec<u8>) {
        let header = Repr {
            flags,
            window: if flags.contains(Flags::FC) {
                edge & WINDOW_MASK
            } else {
                0
            },
            seqno: self.sender.held.una,
            ackno,
        };
        out.extend_from_slice(&header.to_bytes());
        self.sender.started = true;
        self.stats.control_sent += 1;
    }

    /// Takes a packet that arrived: header and payload, decrypted, its CRC checked.
    ///
    /// # Errors
    /// Why the packet, or its data, was dropped; counted in [`Stats::discarded`]. Nothing needs to be
    /// done about it.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), Discard> {
        let result = self.take_packet(now, packet);
        if let Err(why) = result {
            self.stats.discarded.count(why);
        }
        result
    }

    #[inline]
    fn take_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), Discard> {
        let Ok(packet) = Packet::new_checked(packet) else {
            return Err(match packet.len() {
                0 => Discard::Empty,
                len => Discard::Short(len),
            });
        };
        if self.is_broken() {
            return Err(Discard::Down);
        }
        let flags = packet.flags();
        let data = flags.contains(Flags::DATA);
        let fragment = flags.intersects(Flags::FFGM | Flags::MFGM);
        if flags.contains(Flags::RESERVED) || (fragment && !(self.fragments && data)) {
            return Err(Discard::Flags(flags.bits()));
        }
        let now = self.nanos(now);
        let seqno = packet.seqno();
        self.receiver.heard(now, flags, seqno);
        if flags.contains(Flags::RDVS) {
            self.stats.control_received += 1;
            self.receiver.rendezvous();
            return Ok(());
        }
        let told = self.take_news(now, &packet, flags, data);
        if !data {
            self.stats.control_received += 1;
            return told;
        }
        self.stats.data_received += 1;
        if let Err(why) = told {
            // The data is judged by itself: a deaf peer of 0.23 sends an edge and an ackno of 0
            // with good data (trap T1).
            self.stats.discarded.count(why);
        }
        self.receiver.data(now, flags, seqno, packet.payload())
    }

    /// R4b, R4c with I6: acknowledgement and window.
    #[inline]
    fn take_news(
        &mut self,
        now: Nanos,
        packet: &Packet<&[u8]>,
        flags: Flags,
        data: bool,
    ) -> Result<(), Discard> {
        if flags.contains(Flags::ACK) {
            let payload = packet.payload();
            let ranges = if data || payload.is_empty() {
                None
            } else if self.reliable && self.receiver.selective() {
                Some(Ranges::parse(payload).map_err(|_| Discard::BadRanges)?)
            } else {
                return Err(Discard::BadRanges);
            };
            let acked = self.sender.acknowledged(now, packet.ackno(), ranges, !data);
            if acked == Acked::Ignored {
                return if self.sender.is_outdated(packet.ackno()) {
                    Ok(())
                } else {
                    Err(Discard::BadAck)
                };
            }
        }
        if flags.contains(Flags::FC) && !self.sender.set_edge(now, packet.window()) {
            return Err(Discard::BadAck);
        }
        Ok(())
    }

    /// Length of the next message to read, in bytes.
    #[must_use]
    pub fn readable(&self) -> Option<usize> {
        self.peek().map(<[u8]>::len)
    }

    /// The next message, which stays.
    #[must_use]
    pub fn peek(&self) -> Option<&[u8]> {
        self.receiver.unread.peek()
    }

    /// Shows the next message to `f` and drops it. What arrived before a failure can still be read.
    pub fn read<R>(&mut self, _now: Instant, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let result = f(self.receiver.unread.peek()?);
        self.receiver.unread.consume();
        self.receiver.consumed();
        self.stats.messages_read += 1;
        Some(result)
    }

    /// How many messages have become readable since the flow began. Only grows; events are derived from it.
    #[must_use]
    pub fn messages_arrived(&self) -> u64 {
        self.receiver.arrived
    }

    /// How many messages have been read since the flow began.
    #[must_use]
    pub fn messages_read(&self) -> u64 {
        self.stats.messages_read
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest; it may turn out that nothing is
    /// due then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_broken() {
            return None;
        }
        let due = earlier(self.sender.deadline(), self.receiver.deadline())?;
        self.epoch.checked_add(Duration::from_nanos(due))
    }

    /// Does what is due at `now`; packets may be there to send, or the flow may have failed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_broken() {
            return;
        }
        let now = self.nanos(now);
        self.stats.timeouts += self.sender.handle_timeout(now);
        self.receiver.handle_timeout(now);
    }

    /// Ends this end (`spec/frcp.md` §10): what was not read is dropped, the peer gets a last
    /// acknowledgement. The machine goes on to retransmit and to acknowledge until
    /// [`is_drained`](Self::is_drained) or the [linger limit](Self::linger_limit).
    pub fn finish(&mut self, now: Instant) {
        if self.receiver.finished {
            return;
        }
        self.receiver.finish();
        self.sender.finish();
        if self.receiver.last_ack(self.nanos(now)).is_some() {
            self.last_acks = LAST_ACKS;
        }
    }

    /// Whether nothing is left to do for a finished flow: everything written has been sent and, if reliable,
    /// acknowledged, and no packet waits in [`poll_transmit`](Self::poll_transmit); or the flow has failed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_broken()
            || (self.sender.is_drained() && self.last_acks == 0 && !self.receiver.control_due())
    }

    /// For how long after `now` the peer may still send packets of this flow, or need ours: the larger of
    /// the remaining sender and receiver inactivity in whole seconds (`spec/frcp.md` §10.2). A finished flow
    /// lingers no longer than that, and its endpoint id stays reserved that long.
    #[must_use]
    pub fn linger_limit(&self, now: Instant) -> Duration {
        let now = self.nanos(now);
        let rest = |last: Option<Nanos>, inactivity: Nanos| {
            let elapsed = |last: Nanos| (now / SECOND).saturating_sub(last / SECOND);
            last.map_or(0, |last| {
                (inactivity / SECOND).saturating_sub(elapsed(last))
            })
        };
        let sender = rest(self.sender.last_new, self.sender_inactivity);
        let receiver = rest(self.receiver.last_active(), self.receiver_inactivity);
        Duration::from_secs(sender.max(receiver))
    }

    fn is_broken(&self) -> bool {
        self.sender.failure.is_some() || self.receiver.failure.is_some()
    }

    /// Why the flow has ended without [`finish`](Self::finish), if it has. Never [`Failure::Finished`].
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.sender.failure.or(self.receiver.failure)
    }

    /// Why no more can be written.
    fn down(&self) -> Option<Failure> {
        self.failure()
            .or(self.receiver.finished.then_some(Failure::Finished))
    }

    /// Whether writes obey the peer's window (on at first; FRCTFRESCNTL, `spec/frcp.md` §13.5).
    pub fn set_resource_control(&mut self, on: bool) {
        self.sender.set_resource_control(on);
    }

    /// Whether writes obey the peer's window.
    #[must_use]
    pub fn resource_control(&self) -> bool {
        self.sender.resource_control()
    }

    /// Counters and present state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.messages_arrived = self.receiver.arrived;
        stats.skipped = self.receiver.skipped;
        stats.out_of_order = self.receiver.out_of_order;
        stats.receive_bytes = self.receiver.bytes();
        self.sender.fill(&mut stats);
        stats
    }
}
