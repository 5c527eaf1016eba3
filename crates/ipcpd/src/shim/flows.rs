//! The flows of a layer on a real network: by the daemon's number, the flow's end and our endpoint.

use std::{collections::HashMap, time::Duration};

use o7s_proto::shim::{FlowKey, Path};

use crate::data::Token;

/// A flow, granted or asked for.
#[derive(Debug)]
pub struct Flow {
    /// The daemon's and the machine's number.
    pub key: FlowKey,
    /// The end towards the program.
    pub token: Token,
    /// Where its packets go; none while it is being asked for.
    pub path: Option<Path>,
    /// Whether its packets wait when the network takes no more; else they are dropped.
    pub waits: bool,
    /// How long its endpoint is kept, once it is over.
    pub linger: Duration,
    /// What has become of its packets.
    pub counters: Counters,
}

/// What has become of the packets of a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that went to the network.
    pub sent: u64,
    /// Packets that the network gave.
    pub received: u64,
    /// Packets that were longer than the layer carries.
    pub too_long: u64,
    /// Packets that came while the network took none, of flows that do not wait.
    pub not_sent: u64,
    /// Packets for which the program had no room.
    pub no_room: u64,
}

impl Counters {
    /// Adds the packets of a flow that is over.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.too_long += other.too_long;
        self.not_sent += other.not_sent;
        self.no_room += other.no_room;
    }
}

/// All flows.
#[derive(Debug, Default)]
pub struct Flows {
    by_token: Vec<Option<Flow>>,
    by_key: HashMap<FlowKey, Token>,
    by_eid: HashMap<u32, Token>,
    /// The flow of the last packet.
    last: Option<(u32, Token)>,
}

impl Flows {
    /// Takes a flow in.
    pub fn insert(&mut self, flow: Flow) {
        let (key, token) = (flow.key, flow.token);
        let at = token.index();
        if self.by_token.len() <= at {
            self.by_token.resize_with(at + 1, || None);
        }
        self.by_token[at] = Some(flow);
        self.by_key.insert(key, token);
    }

    /// A flow by its end.
    pub fn get(&mut self, token: Token) -> Option<&mut Flow> {
        self.by_token.get_mut(token.index())?.as_mut()
    }

    /// The end of a flow.
    #[must_use]
    pub fn token(&self, key: FlowKey) -> Option<Token> {
        self.by_key.get(&key).copied()
    }

    /// From now on packets go and come on this path; the flow's end.
    pub fn set_path(&mut self, key: FlowKey, path: Path) -> Option<Token> {
        let token = self.token(key)?;
        self.get(token)?.path = Some(path);
        self.by_eid.insert(path.local, token);
        self.last = None;
        Some(token)
    }

    /// The flow of packets to this endpoint.
    #[inline]
    pub fn by_eid(&mut self, eid: u32) -> Option<&mut Flow> {
        let token = match self.last {
            Some((last, token)) if last == eid => token,
            _ => {
                let token = *self.by_eid.get(&eid)?;
                self.last = Some((eid, token));
                token
            }
        };
        self.get(token)
    }

    /// Takes a flow out.
    pub fn remove(&mut self, token: Token) -> Option<Flow> {
        let flow = self.by_token.get_mut(token.index())?.take()?;
        self.by_key.remove(&flow.key);
        if let Some(path) = flow.path {
            self.by_eid.remove(&path.local);
        }
        self.last = None;
        Some(flow)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.by_token.iter().flatten()
    }
}
