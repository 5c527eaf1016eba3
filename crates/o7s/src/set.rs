//! Sets of flows, and queues of their events.
#![allow(
    missing_docs,
    unused_variables,
    clippy::missing_errors_doc,
    clippy::todo
)]

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{EventKind, Flow, Result};

/// A set of flows to wait for. Dropping it removes all; the flows stay allocated.
#[derive(Debug)]
pub struct FlowSet {}

impl FlowSet {
    pub fn new() -> Result<Self> {
        todo!()
    }
    /// `Permission` if the flow is in a set already, `Invalid` if it is not allocated.
    pub fn add(&self, flow: &Flow) -> Result<()> {
        todo!()
    }
    pub fn remove(&self, flow: &Flow) {
        todo!()
    }
    pub fn contains(&self, flow: &Flow) -> bool {
        todo!()
    }
    pub fn clear(&self) {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn flows(&self) -> Vec<Flow> {
        todo!()
    }
    /// Waits until there are events and moves all of them into `queue`; returns at once while
    /// `queue` still has some. Not interrupted by signals.
    pub fn wait(&self, queue: &EventQueue, timeout: Option<Duration>) -> Result<()> {
        todo!()
    }
    /// The same; `TimedOut` at the deadline, `Interrupted` on a signal.
    pub fn wait_until(&self, queue: &EventQueue, deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// An OS descriptor, level-triggered readable while `wait` would not block.
    pub fn fileno(&self) -> Result<BorrowedFd<'_>> {
        todo!()
    }
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    pub flow: Flow,
    pub kind: EventKind,
}

/// Events fetched from a set. Independent of the set; events of flows that were deallocated here
/// meanwhile are skipped.
#[derive(Debug, Default)]
pub struct EventQueue {}

impl EventQueue {
    pub fn new() -> Self {
        todo!()
    }
    pub fn next_event(&self) -> Option<Event> {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
