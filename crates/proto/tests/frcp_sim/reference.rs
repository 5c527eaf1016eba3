//! A peer that behaves as `spec/frcp.md` says that 0.23 does: 256 packets of window, acknowledgement on
//! read, a time-out floor of 250 µs, no volunteered windows, and its traps T1, T3, T4 and T5.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use o7s_wire::frcp::{Flags, Repr};

use super::End;

type Micros = u64;

const TICK: Micros = 5_000;
const SECOND: Micros = 1_000_000;

pub(crate) struct Sent {
    seqno: u32,
    flags: Flags,
    window: u32,
    first: Micros,
    due: Micros,
    payload: Vec<u8>,
}

/// The peer.
pub(crate) struct Reference {
    reliable: bool,
    isn: u32,
    base: Instant,
    una: u32,
    nxt: u32,
    edge: u32,
    sender_active: Option<Micros>,
    rcv_nxt: u32,
    rcv_edge: u32,
    rcv_acked: u32,
    receiver_active: Option<Micros>,
    queue: Vec<Option<Vec<u8>>>,
    pub(crate) kept: VecDeque<Sent>,
    srtt: Micros,
    mdev: Micros,
    rto: Micros,
    probe: Option<(u32, Micros)>,
    ack_check: Option<Micros>,
    shut_since: Option<Micros>,
    heard_edge: bool,
    last_rendezvous: Micros,
    out: VecDeque<Vec<u8>>,
    pub(crate) down: bool,
    pub(crate) retransmitted: u64,
}

fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Reference {
    pub(crate) fn new(reliable: bool, isn: u32, base: Instant) -> Self {
        Self {
            reliable,
            isn,
            base,
            una: 0,
            nxt: 0,
            edge: 64,
            sender_active: None,
            rcv_nxt: 0,
            rcv_edge: 0,
            rcv_acked: 0,
            receiver_active: None,
            queue: (0..256).map(|_| None).collect(),
            kept: VecDeque::new(),
            srtt: 0,
            mdev: 10_000,
            rto: SECOND,
            probe: None,
            ack_check: None,
            shut_since: None,
            heard_edge: false,
            last_rendezvous: 0,
            out: VecDeque::new(),
            down: false,
            retransmitted: 0,
        }
    }

    fn micros(&self, now: Instant) -> Micros {
        now.saturating_duration_since(self.base).as_micros() as u64
    }

    fn receiver_live(&self, now: Micros) -> bool {
        self.receiver_active
            .is_some_and(|active| now / SECOND - active / SECOND <= 131)
    }

    fn send(&mut self, repr: Repr, payload: &[u8]) {
        let mut packet = repr.to_bytes().to_vec();
        packet.extend_from_slice(payload);
        self.out.push_back(packet);
    }

    /// 8.2: a bare acknowledgement, if one is due.
    fn check_ack(&mut self, now: Micros) {
        let quiet = self.sender_active.is_none_or(|active| now >= active + TICK);
        let recent = self
            .receiver_active
            .is_some_and(|active| now - active <= 10 * SECOND);
        if before(self.rcv_acked, self.rcv_nxt) && recent && quiet {
            self.rcv_acked = self.rcv_nxt;
            let repr = Repr {
                flags: Flags::ACK | Flags::FC,
                window: self.rcv_edge & 0xff_ffff,
                seqno: 0,
                ackno: self.rcv_nxt,
            };
            self.send(repr, &[]);
        }
    }

    fn sample(&mut self, measured: Micros) {
        if self.srtt == 0 {
            self.srtt = measured.max(1);
            self.mdev = measured / 2;
        } else {
            let d = measured as i64 - self.srtt as i64;
            self.srtt = (self.srtt as i64 + (d >> 3)).max(1) as u64;
            let mut e = (d.abs() - self.mdev as i64) >> 2;
            if e < 0 {
                e >>= 3;
            }
            self.mdev = (self.mdev as i64 + e).max(1) as u64;
        }
        self.rto = (self.srtt + 4 * self.mdev).max(250);
    }
}

impl End for Reference {
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let now = self.micros(now);
        let Ok(repr) = Repr::parse(packet) else {
            return;
        };
        let payload = &packet[12..];
        let Repr { flags, seqno, .. } = repr;
        if !self.receiver_live(now) {
            if flags.contains(Flags::DRF) {
                self.rcv_nxt = seqno;
                self.rcv_acked = seqno;
                self.rcv_edge = seqno.wrapping_add(256);
                self.queue.iter_mut().for_each(|slot| *slot = None);
            } else if flags.contains(Flags::DATA) {
                return;
            }
        }
        self.receiver_active = Some(now);
        if flags.contains(Flags::RDVS) {
            let repr = Repr {
                flags: Flags::FC,
                window: self.rcv_edge & 0xff_ffff,
                ..Repr::default()
            };
            self.send(repr, &[]);
            return;
        }
        if flags.contains(Flags::ACK) && before(self.una, repr.ackno) {
            self.una = repr.ackno;
            while self
                .kept
                .front()
                .is_some_and(|sent| before(sent.seqno, self.una))
            {
                self.kept.pop_front();
            }
            if let Some((probe, when)) = self.probe
                && before(probe, repr.ackno)
            {
                self.probe = None;
                self.sample(now - when);
            }
        }
        if flags.contains(Flags::FC) {
            let mut edge = self.edge & 0xff00_0000 | repr.window;
            if before(edge, self.edge) && self.edge.wrapping_sub(edge) > (1 << 23) - 1 {
                edge = edge.wrapping_add(1 << 24);
            }
            // T5: also backwards.
            self.edge = edge;
            self.heard_edge = true;
            self.shut_since = None;
        }
        if !flags.contains(Flags::DATA) {
            self.check_ack(now);
            return;
        }
        if before(seqno, self.rcv_nxt) {
            self.rcv_acked = seqno;
            self.check_ack(now);
            return;
        }
        let slot = seqno as usize % 256;
        if self.reliable {
            if !before(seqno, self.rcv_edge)
                || !before(seqno, self.rcv_nxt.wrapping_add(256))
                || self.queue[slot].is_some()
            {
                self.check_ack(now);
                return;
            }
            self.ack_check = Some(self.ack_check.unwrap_or(u64::MAX).min(now + 2 * TICK));
        } else {
            self.rcv_nxt = seqno;
        }
        self.queue[slot] = Some(payload.to_vec());
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        match self.out.pop_front() {
            Some(packet) => {
                *out = packet;
                true
            }
            None => false,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.kept.iter().map(|sent| sent.due).min();
        let due = [timer, self.ack_check].into_iter().flatten().min()?;
        // Timers are looked at once per tick.
        Some(self.base + Duration::from_micros(due.div_ceil(TICK) * TICK))
    }

    fn handle_timeout(&mut self, now: Instant) {
        let now = self.micros(now);
        if self.ack_check.is_some_and(|due| due <= now) {
            self.ack_check = None;
            self.check_ack(now);
        }
        for i in 0..self.kept.len() {
            if self.kept[i].due > now {
                continue;
            }
            if now - self.kept[i].first > 120 * SECOND {
                self.down = true;
                return;
            }
            if self
                .probe
                .is_some_and(|(probe, _)| probe == self.kept[i].seqno)
            {
                self.rto *= 2;
                self.probe = None;
            }
            let (ackno, rto) = (self.rcv_nxt, self.rto);
            let sent = &mut self.kept[i];
            sent.due = now + rto;
            let repr = Repr {
                flags: sent.flags,
                window: sent.window,
                seqno: sent.seqno,
                ackno,
            };
            let payload = sent.payload.clone();
            self.retransmitted += 1;
            self.send(repr, &payload);
        }
    }

    fn write(&mut self, now: Instant, message: &[u8]) -> bool {
        let now = self.micros(now);
        let expired = self
            .sender_active
            .is_none_or(|active| now / SECOND - active / SECOND > 131);
        if !expired && !before(self.nxt, self.edge) {
            if self.heard_edge {
                let since = *self.shut_since.get_or_insert(now);
                if now - since <= SECOND && now >= self.last_rendezvous.max(since) + 100_000 {
                    self.last_rendezvous = now;
                    let repr = Repr {
                        flags: Flags::RDVS,
                        ..Repr::default()
                    };
                    self.send(repr, &[]);
                }
            }
            return false;
        }
        if expired {
            self.isn = self.isn.wrapping_mul(0x0101_0101).wrapping_add(77);
            self.nxt = self.isn;
            self.una = self.isn;
            self.edge = self.isn.wrapping_add(64);
        }
        let mut flags = Flags::DATA;
        if self.una == self.nxt {
            flags |= Flags::DRF;
        }
        let seqno = self.nxt;
        self.nxt = self.nxt.wrapping_add(1);
        self.sender_active = Some(now);
        let mut window = 0;
        let mut ackno = 0;
        if self.receiver_live(now) {
            flags |= Flags::FC;
            window = self.rcv_edge & 0xff_ffff;
        }
        let recent = self
            .receiver_active
            .is_some_and(|active| now - active <= 10 * SECOND);
        if self.reliable && recent {
            flags |= Flags::ACK;
            ackno = self.rcv_nxt;
            self.rcv_acked = self.rcv_nxt;
        }
        if self.reliable {
            self.probe.get_or_insert((seqno, now));
            self.kept.push_back(Sent {
                seqno,
                flags,
                window,
                first: now,
                due: now + self.rto,
                payload: message.to_vec(),
            });
        } else {
            self.una = self.una.wrapping_add(1);
        }
        let repr = Repr {
            flags,
            window,
            seqno,
            ackno,
        };
        self.send(repr, message);
        true
    }

    fn read(&mut self, _now: Instant) -> Option<Vec<u8>> {
        let slot = self.rcv_nxt as usize % 256;
        let message = self.queue[slot].take()?;
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        self.rcv_edge = self.rcv_edge.wrapping_add(1);
        Some(message)
    }

    fn is_drained(&self) -> bool {
        self.kept.is_empty() && self.out.is_empty()
    }

    fn failed(&self) -> bool {
        self.down
    }

    fn describe(&self) -> String {
        format!(
            "reference: una {:#x} nxt {:#x} edge {:#x}, rcv {:#x} edge {:#x}, kept {}, rto {} us, again {}",
            self.una,
            self.nxt,
            self.edge,
            self.rcv_nxt,
            self.rcv_edge,
            self.kept.len(),
            self.rto,
            self.retransmitted
        )
    }
}
