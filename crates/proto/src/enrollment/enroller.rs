//! A member that lets others in: several at once, each for a limited time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use o7s_wire::enroll::{
    Ack, Answer, EnrollError, EnrollmentId, LayerConfig, Request, Response, WallTime,
};

/// How long an enrollee may take for its request, and again for its acknowledgement: what the
/// enrollee's daemon waits at most.
pub const ENROLLER_TIMEOUT: Duration = Duration::from_secs(20);

/// Enrollees that are served at once.
pub const ENROLLEES_MAX: usize = 256;

/// What the driver is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K> {
    /// Send a packet.
    Send {
        /// On this flow.
        flow: K,
        /// The packet.
        packet: Vec<u8>,
    },
    /// It is over: deallocate the flow, after what was sent on it.
    Close {
        /// The flow.
        flow: K,
        /// How it ended; for the log, nothing else depends on it.
        outcome: Result<EnrollmentId, Trouble>,
    },
}

/// What went wrong with an enrollee. It may be a member all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It was silent.
    #[error("an enrollee was silent for {} s", ENROLLER_TIMEOUT.as_secs())]
    Silent,
    /// It deallocated the flow, or its process died.
    #[error("an enrollee gave up before its acknowledgement")]
    GaveUp,
    /// Not the message that is due.
    #[error("an enrollee sent what is no message of enrollment: {0}")]
    Message(#[from] EnrollError),
    /// An acknowledgement of another enrollment.
    #[error("an enrollee acknowledged enrollment {theirs} instead of {ours}")]
    Id {
        /// Identifier in the acknowledgement.
        theirs: EnrollmentId,
        /// Identifier of this enrollment.
        ours: EnrollmentId,
    },
    /// The enrollee says it failed.
    #[error("an enrollee could not become a member (result {0})")]
    Failed(i32),
    /// Too many at once.
    #[error("{ENROLLEES_MAX} enrollees are being served already; this one may try again")]
    Busy,
}

#[derive(Debug)]
struct Enrollee {
    /// Of the request, once it was answered.
    answered: Option<EnrollmentId>,
    deadline: Instant,
}

/// Serves enrollees; `K` is what the driver calls a flow.
#[derive(Debug)]
pub struct Enroller<K> {
    config: LayerConfig,
    enrollees: BTreeMap<K, Enrollee>,
    outputs: VecDeque<Output<K>>,
}

impl<K: Copy + Ord> Enroller<K> {
    /// Serves with this configuration; in that of a unicast layer `dht.peer` is the own address.
    #[must_use]
    pub fn new(config: LayerConfig) -> Self {
        Self {
            config,
            enrollees: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// An enrollee has connected to the component.
    pub fn connected(&mut self, now: Instant, flow: K) {
        if self.enrollees.len() >= ENROLLEES_MAX {
            self.close(flow, Err(Trouble::Busy));
            return;
        }
        let enrollee = Enrollee {
            answered: None,
            deadline: now + ENROLLER_TIMEOUT,
        };
        self.enrollees.insert(flow, enrollee);
    }

    /// Whether the flow is that of an enrollee.
    #[must_use]
    pub fn contains(&self, flow: K) -> bool {
        self.enrollees.contains_key(&flow)
    }

    /// A packet arrived; `wall` is the own clock. Empty ones are signs of life of the flow and ignored, as
    /// are those on other flows.
    pub fn handle_packet(&mut self, now: Instant, wall: WallTime, flow: K, packet: &[u8]) {
        let Some(enrollee) = self.enrollees.get_mut(&flow) else {
            return;
        };
        if packet.is_empty() {
            return;
        }
        if let Some(ours) = enrollee.answered {
            let outcome = acknowledged(ours, packet);
            self.close(flow, outcome);
            return;
        }
        match Request::parse(packet) {
            Ok(Request { id }) => {
                enrollee.answered = Some(id);
                enrollee.deadline = now + ENROLLER_TIMEOUT;
                let response = Response {
                    id,
                    time: wall,
                    answer: Answer::Accepted(self.config.clone()),
                };
                let packet = response.emit();
                self.outputs.push_back(Output::Send { flow, packet });
            }
            Err(error) => self.close(flow, Err(error.into())),
        }
    }

    /// The flow is gone; nothing needs to be deallocated.
    pub fn gone(&mut self, flow: K) -> Option<Trouble> {
        self.enrollees.remove(&flow).map(|_| Trouble::GaveUp)
    }

    fn close(&mut self, flow: K, outcome: Result<EnrollmentId, Trouble>) {
        self.enrollees.remove(&flow);
        self.outputs.push_back(Output::Close { flow, outcome });
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.enrollees.values().map(|each| each.deadline).min()
    }

    /// Gives up those that were silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self
            .enrollees
            .iter()
            .filter(|(_, each)| each.deadline <= now)
            .map(|(flow, _)| *flow)
            .collect::<Vec<_>>();
        for flow in due {
            self.close(flow, Err(Trouble::Silent));
        }
    }

    /// What the driver is to do next.
    pub fn poll_output(&mut self) -> Option<Output<K>> {
        self.outputs.pop_front()
    }
}

fn acknowledged(ours: EnrollmentId, packet: &[u8]) -> Result<EnrollmentId, Trouble> {
    let Ack { id, result } = Ack::parse(packet)?;
    if id != ours {
        return Err(Trouble::Id { theirs: id, ours });
    }
    if result != 0 {
        return Err(Trouble::Failed(result));
    }
    Ok(ours)
}
