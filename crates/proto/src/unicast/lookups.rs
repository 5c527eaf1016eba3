//! Names that are being registered and looked up, and the flow requests that follow.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use o7s_wire::{
    dt::{Address, Eid},
    hash::NameHash,
    qos::QosSpec,
};

use super::{NodeError, Op, Outcome, Output, member::Member};
use crate::{dht, fa::Refusal};

/// Look-ups under way at once.
const WAITING_MAX: usize = 4096;
/// A registration is answered after this time although nobody said that he has it: the directory goes on.
const PUBLISH_LIMIT: Duration = Duration::from_secs(3);
/// "I do not know the name": another member that the directory named may.
const UNKNOWN_NAME: i32 = -1007;

/// What waits for the directory, or for an answer to a flow request.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    waiting: BTreeMap<NameHash, Vec<Waiter>>,
    count: usize,
    asked: BTreeMap<Eid, Asked>,
    pub(super) registered: BTreeSet<NameHash>,
    publishing: BTreeMap<NameHash, (Instant, Vec<Op>)>,
}

/// Somebody who waits for the directory.
#[derive(Debug)]
struct Waiter {
    op: Op,
    /// The flow that is wanted; none = a query.
    flow: Option<(QosSpec, Vec<u8>)>,
}

/// A flow request that is under way.
#[derive(Debug)]
struct Asked {
    op: Op,
    hash: NameHash,
    qos: QosSpec,
    data: Vec<u8>,
    peer: Address,
    /// Members to ask if this one does not know the name.
    others: VecDeque<Address>,
}

impl Lookups {
    /// The operation that asked for a flow.
    pub(super) fn operation(&self, flow: Eid) -> Option<Op> {
        self.asked.get(&flow).map(|asked| asked.op)
    }

    /// A flow was granted: the operation that asked for it is over.
    pub(super) fn granted(&mut self, flow: Eid) -> Option<Op> {
        self.asked.remove(&flow).map(|asked| asked.op)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.publishing.values().map(|(at, _)| *at).min()
    }
}

impl Member {
    pub(super) fn register(
        &mut self,
        now: Instant,
        op: Op,
        hash: NameHash,
        outputs: &mut VecDeque<Output>,
    ) {
        if let Err(error) = self.dht.register(now, &hash) {
            return outputs.push_back(failed(op, error.into()));
        }
        if self.lookups.registered.insert(hash.clone()) {
            let limit = now + PUBLISH_LIMIT;
            let (_, ops) = self
                .lookups
                .publishing
                .entry(hash)
                .or_insert((limit, Vec::new()));
            ops.push(op);
        } else if let Some((_, ops)) = self.lookups.publishing.get_mut(&hash) {
            ops.push(op);
        } else {
            outputs.push_back(done(op));
        }
    }

    pub(super) fn unregister(
        &mut self,
        now: Instant,
        op: Op,
        hash: &NameHash,
        outputs: &mut VecDeque<Output>,
    ) {
        self.lookups.registered.remove(hash);
        self.published(hash, outputs);
        outputs.push_back(match self.dht.unregister(now, hash) {
            // It is not there, as was wanted (`spec/shims.md` §1.4).
            Ok(()) | Err(dht::CommandError::NotRegistered) => done(op),
            Err(error) => failed(op, error.into()),
        });
    }

    /// Whoever waits for a registration waits no longer.
    fn published(&mut self, hash: &NameHash, outputs: &mut VecDeque<Output>) {
        let ops = self.lookups.publishing.remove(hash);
        outputs.extend(ops.into_iter().flat_map(|(_, ops)| ops).map(done));
    }

    /// Registrations that have waited long enough.
    pub(super) fn expire_lookups(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        let publishing = self.lookups.publishing.iter();
        let due = publishing.filter(|(_, (at, _))| *at <= now);
        for hash in due.map(|(hash, _)| hash.clone()).collect::<Vec<_>>() {
            self.published(&hash, outputs);
        }
    }

    pub(super) fn look_up(
        &mut self,
        now: Instant,
        op: Op,
        hash: &NameHash,
        flow: Option<(QosSpec, Vec<u8>)>,
        outputs: &mut VecDeque<Output>,
    ) {
        if self.lookups.count >= WAITING_MAX {
            return outputs.push_back(failed(op, TOO_MANY));
        }
        if let Err(error) = self.dht.query(now, hash) {
            return outputs.push_back(failed(op, error.into()));
        }
        self.lookups.count += 1;
        let waiting = self.lookups.waiting.entry(hash.clone()).or_default();
        waiting.push(Waiter { op, flow });
    }

    pub(super) fn settle_directory(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        while let Some(event) = self.dht.poll_event() {
            match event {
                dht::Event::Found { name, addresses } => {
                    self.found(now, &name, &addresses, outputs);
                }
                dht::Event::Published { name, .. } => self.published(&name, outputs),
            }
        }
        let mut payload = Vec::new();
        while let Some(dst) = self.dht.poll_transmit(&mut payload) {
            outputs.push_back(Output::SendDt {
                dst,
                cube: o7s_wire::dt::QosCube::BestEffort,
                eid: Eid::DIRECTORY,
                payload: std::mem::take(&mut payload),
                flow: None,
            });
        }
    }

    fn found(
        &mut self,
        now: Instant,
        name: &NameHash,
        addresses: &[Address],
        outputs: &mut VecDeque<Output>,
    ) {
        let waiting = self.lookups.waiting.remove(name).unwrap_or_default();
        self.lookups.count -= waiting.len();
        // Those to which there is a way come first (`spec/directory-enrollment.md` §9).
        let (near, far): (Vec<_>, Vec<_>) = addresses.iter().partition(|it| self.is_reached(**it));
        let addresses = near.into_iter().chain(far).copied();
        for Waiter { op, flow } in waiting {
            match flow {
                None if addresses.clone().next().is_some() => outputs.push_back(done(op)),
                None => outputs.push_back(failed(op, NodeError::Unreachable)),
                Some((qos, data)) => {
                    let others = addresses.clone().collect();
                    self.ask(now, op, name, qos, data, others, outputs);
                }
            }
        }
    }

    /// Asks the next member for a flow.
    #[allow(clippy::too_many_arguments, reason = "the parts of a request")]
    fn ask(
        &mut self,
        now: Instant,
        op: Op,
        hash: &NameHash,
        qos: QosSpec,
        data: Vec<u8>,
        mut others: VecDeque<Address>,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some(peer) = others.pop_front() else {
            return outputs.push_back(failed(op, NodeError::Unreachable));
        };
        match self.fa.allocate(now, peer, hash.as_bytes(), &qos, &data) {
            Ok(flow) => {
                let asked = Asked {
                    op,
                    hash: hash.clone(),
                    qos,
                    data,
                    peer,
                    others,
                };
                self.lookups.asked.insert(flow, asked);
            }
            Err(error) => outputs.push_back(failed(op, error.into())),
        }
    }

    /// A flow request came to nothing.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        flow: Eid,
        reason: Refusal,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some(asked) = self.lookups.asked.remove(&flow) else {
            return;
        };
        let elsewhere = matches!(reason, Refusal::Peer(UNKNOWN_NAME) | Refusal::NoPath);
        if elsewhere || reason == Refusal::TimedOut {
            self.dht.suspect(now, &asked.hash, asked.peer);
        }
        if !elsewhere || asked.others.is_empty() {
            return outputs.push_back(failed(asked.op, reason.into()));
        }
        let Asked {
            op,
            hash,
            qos,
            data,
            others,
            ..
        } = asked;
        self.ask(now, op, &hash, qos, data, others, outputs);
    }

    /// Gives an operation up.
    pub(super) fn cancel(&mut self, op: Op, outputs: &mut VecDeque<Output>) {
        let mut is_there = false;
        for waiting in self.lookups.waiting.values_mut() {
            let before = waiting.len();
            waiting.retain(|waiter| waiter.op != op);
            self.lookups.count -= before - waiting.len();
            is_there |= before != waiting.len();
        }
        self.lookups
            .waiting
            .retain(|_, waiting| !waiting.is_empty());
        for (_, ops) in self.lookups.publishing.values_mut() {
            let before = ops.len();
            ops.retain(|waiting| *waiting != op);
            is_there |= before != ops.len();
        }
        let asked = self.lookups.asked.iter();
        let flow = asked
            .filter(|(_, asked)| asked.op == op)
            .map(|(flow, _)| *flow);
        if let Some(flow) = flow.collect::<Vec<_>>().first() {
            self.lookups.asked.remove(flow);
            self.fa.deallocate(*flow);
            is_there = true;
        }
        if is_there {
            outputs.push_back(failed(op, NodeError::Cancelled));
        }
    }
}

fn done(op: Op) -> Output {
    Output::Done {
        op,
        outcome: Ok(Outcome::Done),
    }
}

fn failed(op: Op, error: NodeError) -> Output {
    Output::Done {
        op,
        outcome: Err(error),
    }
}

const TOO_MANY: NodeError =
    NodeError::Full("too many names are being looked up at once; try again later");
