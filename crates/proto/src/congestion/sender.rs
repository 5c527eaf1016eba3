//! The sending end of a flow: what its receiver reports, and when the next packet may go.

use std::time::{Duration, Instant};

use super::{
    Controller, Policy,
    rate::{Rate, SLOT, SLOT_EXPONENT},
    slots::Slots,
};

/// Packets after which a report is too old.
const REPORT_LIFE: u32 = 32;

/// For our controller also this much time, ns. When most packets are lost, as many are sent between two
/// reports, and a sender that took that for the end of congestion would never stop.
const REPORT_TIME: u64 = 2_000_000_000;

/// Longest time that a packet is held back.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// What the controller does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// No report came yet: the window doubles.
    SlowStart,
    /// The last report told congestion: the window shrinks by a fraction.
    MultiplicativeDecrease,
    /// No congestion: the window grows by a constant.
    AdditiveIncrease,
}

/// Variables of the controller, for displays (`spec/unicast.md` §11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderState {
    /// Level that was last reported, 0 when that was too long ago.
    pub level: u16,
    /// Packets since that report.
    pub since_report: u32,
    /// log2 of the length of a slot in ns.
    pub exponent: u32,
    /// Number of the present slot.
    pub slot: u64,
    /// Packets in it.
    pub packets: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes allowed in it.
    pub window: u64,
    /// By how many bytes the window grows per slot.
    pub increase: u64,
    /// What the controller does.
    pub regime: Regime,
}

/// What follows from reports.
#[derive(Debug, Clone, PartialEq)]
enum Control {
    None,
    Rate(Rate),
    Slots(Slots),
}

/// Rate of one flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Sender {
    epoch: Instant,
    level: u16,
    since_report: u32,
    /// When the last report came, ns since the epoch.
    heard: u64,
    avoiding: bool,
    control: Control,
    /// The packet at the head of the queue has been counted and may go then.
    pub(super) held: Option<Instant>,
}

impl Sender {
    /// A flow that has sent nothing. Slots are aligned to `epoch`, which lies before `now`; which time it
    /// is does not matter.
    #[must_use]
    pub fn new(policy: Policy, epoch: Instant, now: Instant) -> Self {
        Self::with_controller(policy, Controller::default(), epoch, now)
    }

    /// The same with a controller of choice.
    #[must_use]
    pub fn with_controller(
        policy: Policy,
        controller: Controller,
        epoch: Instant,
        now: Instant,
    ) -> Self {
        let start = nanos(epoch, now);
        Self {
            epoch,
            level: 0,
            since_report: 0,
            heard: start,
            avoiding: false,
            control: match (policy, controller) {
                (Policy::None, _) => Control::None,
                (Policy::MultiBitEcn, Controller::Rate) => Control::Rate(Rate::new(start)),
                (Policy::MultiBitEcn, Controller::Slots) => Control::Slots(Slots::new(start)),
            },
            held: None,
        }
    }

    /// The other end reported this level of congestion.
    pub fn update(&mut self, now: Instant, level: u16) {
        self.level = level;
        self.since_report = 0;
        self.avoiding = true;
        self.heard = nanos(self.epoch, now);
        if let Control::Rate(rate) = &mut self.control {
            rate.report(level, self.heard);
        }
    }

    /// An answer from the other end has taken so long, as that to the request for the flow: the flow starts
    /// the faster, the shorter that was. Without it, as if that were 50 ms.
    pub fn answer_takes(&mut self, time: Duration) {
        if let Control::Rate(rate) = &mut self.control {
            rate.answer_takes(time.as_secs_f64());
        }
    }

    /// Whether the packet at the head of the flow's queue, of so many bytes without the header of data
    /// transfer, may go now. After `Ok` it must be sent or dropped; each `Ok` is for one packet.
    ///
    /// # Errors
    /// The time at which to ask again for the same packet, at most 1 s from when it was first asked for.
    #[inline]
    pub fn may_send(&mut self, now: Instant, bytes: usize) -> Result<(), Instant> {
        if let Some(until) = self.held {
            if now < until {
                return Err(until);
            }
            self.held = None;
            return Ok(());
        }
        self.since_report = self.since_report.saturating_add(1);
        let (time, bytes) = (nanos(self.epoch, now), bytes as u64);
        if self.since_report > REPORT_LIFE && self.level > 0 {
            match &mut self.control {
                Control::Rate(rate) if time.saturating_sub(self.heard) > REPORT_TIME => {
                    rate.silence();
                    self.level = 0;
                }
                Control::Rate(_) => {}
                Control::Slots(_) | Control::None => self.level = 0,
            }
        }
        let delay = match &mut self.control {
            Control::None => return Ok(()),
            Control::Rate(rate) => {
                let at = rate.count(time, bytes);
                Duration::from_nanos(at.saturating_sub(time))
            }
            Control::Slots(slots) => slots.count(time, bytes, self.level, self.avoiding),
        };
        if delay.is_zero() {
            return Ok(());
        }
        let until = now + delay.min(MAX_DELAY);
        self.held = Some(until);
        Err(until)
    }

    /// The variables.
    #[must_use]
    pub fn state(&self) -> SenderState {
        let none = SenderState {
            level: self.level,
            since_report: self.since_report,
            exponent: SLOT_EXPONENT,
            slot: 0,
            packets: 0,
            bytes: 0,
            window: 0,
            increase: 0,
            regime: match (self.avoiding, self.level) {
                (false, _) => Regime::SlowStart,
                (true, 0) => Regime::AdditiveIncrease,
                (true, _) => Regime::MultiplicativeDecrease,
            },
        };
        match &self.control {
            Control::None => none,
            Control::Rate(rate) => SenderState {
                slot: rate.slot,
                packets: rate.packets,
                bytes: rate.bytes,
                window: (rate.allowed() * SLOT) as u64,
                ..none
            },
            Control::Slots(slots) => SenderState {
                exponent: slots.exponent,
                slot: slots.slot,
                packets: slots.packets,
                bytes: slots.bytes,
                window: slots.window,
                increase: slots.increase,
                ..none
            },
        }
    }
}

/// 584 years in 64 bits.
#[inline]
fn nanos(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}
