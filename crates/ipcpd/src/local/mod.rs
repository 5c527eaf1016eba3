//! IPCPs of type local: a layer within one machine (`spec/shims.md` §7).
//!
//! As a rule packets never pass through: both ends of a flow share its segment. What is left is the
//! directory and the passing of flow requests and answers between the daemon and itself
//! ([`requests`]). With an impairment in its configuration the layer lets flows pass through this
//! process ([`through`]), which loses, delays and damages packets as it is told ([`direction`]).

pub mod direction;
pub mod path;
pub mod requests;
pub mod through;

use std::{collections::BTreeSet, convert::Infallible};

use o7s::{
    Error, ErrorKind, Result,
    control::{Failure, FlowResponse, Impairment, IpcpConfig, IpcpType},
};
use o7s_ring::{DEFAULT_CAPACITY, max_message};
use o7s_wire::hash::NameHash;

use crate::framework::{Answer, Directory, FlowAllocator, Ipcp, Operation, Post, Turn};
use requests::Requests;
use through::Through;

/// Maximum packet lifetime of the layer, ms.
pub const MPL_MS: u32 = 100;

/// Longest delay and jitter, µs.
pub const DELAY_MAX_US: u32 = 60_000_000;
/// One in probabilities.
const MILLION: u32 = 1_000_000;

/// An IPCP of type local.
#[derive(Debug)]
pub struct Local {
    names: Names,
    flows: Flows,
    post: Post<Infallible>,
}

/// How the ends of a flow meet.
#[derive(Debug)]
enum Flows {
    /// In one segment.
    Shared(Requests),
    /// In this process.
    Through(Through),
}

impl Local {
    /// An IPCP whose data path, if it gets one, tells what happens by `post`.
    #[must_use]
    pub fn new(post: Post<Infallible>) -> Self {
        Self {
            names: Names::default(),
            flows: Flows::Shared(Requests::default()),
            post,
        }
    }
}

/// The registered names.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<NameHash>);

impl Ipcp for Local {
    type Event = Infallible;

    fn ipcp_type(&self) -> IpcpType {
        IpcpType::Local
    }

    fn bootstrap(&mut self, _: Operation, config: &IpcpConfig, _: &mut Turn) -> Result<Answer> {
        if let Some(impairment) = config.local {
            check(&impairment)?;
            tracing::info!("Flows pass through this process: {impairment:?}.");
            self.flows = Flows::Through(Through::start(impairment, self.post.events())?);
        }
        Ok(Answer::Now(()))
    }

    fn shares_segments(&self) -> bool {
        matches!(self.flows, Flows::Shared(_))
    }

    fn directory(&mut self) -> Option<&mut dyn Directory> {
        Some(&mut self.names)
    }

    fn flows(&mut self) -> Option<&mut dyn FlowAllocator> {
        Some(match &mut self.flows {
            Flows::Shared(flows) => flows,
            Flows::Through(flows) => flows,
        })
    }
}

impl Directory for Names {
    fn register(&mut self, _: Operation, hash: NameHash, _: &mut Turn) -> Result<Answer> {
        self.0.insert(hash);
        Ok(Answer::Now(()))
    }

    fn unregister(&mut self, _: Operation, hash: &NameHash, _: &mut Turn) -> Result<Answer> {
        self.0.remove(hash);
        Ok(Answer::Now(()))
    }

    fn query(&mut self, _: Operation, hash: &NameHash, _: &mut Turn) -> Result<Answer> {
        if self.0.contains(hash) {
            return Ok(Answer::Now(()));
        }
        Err(Error::new(
            ErrorKind::Name,
            format!("{hash} is not registered in this layer"),
        ))
    }
}

/// Refuses values out of their range.
fn check(impairment: &Impairment) -> Result<()> {
    let longest = u32::try_from(max_message(DEFAULT_CAPACITY)).unwrap_or(u32::MAX);
    for (what, value, limit, unit) in [
        ("loss", impairment.loss, MILLION, "millionths"),
        ("reorder", impairment.reorder, MILLION, "millionths"),
        ("duplicate", impairment.duplicate, MILLION, "millionths"),
        ("corrupt", impairment.corrupt, MILLION, "millionths"),
        ("delay", impairment.delay_us, DELAY_MAX_US, "µs"),
        ("jitter", impairment.jitter_us, DELAY_MAX_US, "µs"),
        ("mtu", impairment.mtu, longest, "bytes"),
    ] {
        if value > limit {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{what} is {value} {unit}; it must be 0 to {limit}"),
            ));
        }
    }
    Ok(())
}

fn refusal(flow_id: u64, failure: Failure) -> FlowResponse {
    FlowResponse {
        flow_id,
        refusal: Some(failure),
        ..FlowResponse::default()
    }
}
