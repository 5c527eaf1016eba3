//! This process at a daemon.
#![allow(
    missing_docs,
    unused_variables,
    clippy::missing_errors_doc,
    clippy::todo
)]

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use crate::{Flow, QosSpec, Result, RuntimeDir, irm::Irm};

/// This process at one daemon. Cheap to clone; one per runtime directory and process.
#[derive(Debug, Clone)]
pub struct Node {}

impl Node {
    /// The node that free functions use: the last one set, else that of the environment.
    pub fn current() -> Self {
        todo!()
    }
    pub fn set_current(node: Option<&Self>) {
        todo!()
    }
    pub fn at(dir: RuntimeDir) -> Self {
        todo!()
    }
    pub fn dir(&self) -> &RuntimeDir {
        todo!()
    }
    /// Makes the process known to the daemon now instead of at the first call.
    pub fn announce(&self) -> Result<()> {
        todo!()
    }
    /// None = the daemon's limit (20 s). Blocks; not interrupted by signals.
    pub fn alloc(&self, name: &str, qos: QosSpec, timeout: Option<Duration>) -> Result<Flow> {
        todo!()
    }
    pub fn accept(&self, timeout: Option<Duration>) -> Result<Flow> {
        todo!()
    }
    pub fn join(&self, layer: &str, timeout: Option<Duration>) -> Result<Flow> {
        todo!()
    }
    /// Starts a request and returns at once.
    pub fn start_alloc(
        &self,
        name: &str,
        qos: QosSpec,
        timeout: Option<Duration>,
    ) -> Result<Pending> {
        todo!()
    }
    pub fn start_accept(&self, timeout: Option<Duration>) -> Result<Pending> {
        todo!()
    }
    pub fn start_join(&self, layer: &str, timeout: Option<Duration>) -> Result<Pending> {
        todo!()
    }
    pub fn irm(&self) -> Irm {
        todo!()
    }
}

/// A request for a flow that is under way. Dropping it cancels the request; a flow that was
/// accepted meanwhile goes to the next accept.
#[derive(Debug)]
pub struct Pending {}

impl Pending {
    /// Waits until `deadline`. `TimedOut` because of `deadline` and `Interrupted` (a signal
    /// arrived) leave the request under way; anything else ends it.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Flow> {
        todo!()
    }
    /// The flow if the request is answered.
    pub fn try_finish(&mut self) -> Result<Option<Flow>> {
        todo!()
    }
}

impl AsFd for Pending {
    /// Readable when the request is answered.
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
