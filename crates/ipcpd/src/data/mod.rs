//! The data path of an IPCP: one thread that carries packets between flow ends and what lies below.
//!
//! The thread runs to completion: it takes what is there, a batch at a time, hands it on, and looks
//! for more; no lock is taken per packet. Management talks to it through a queue of commands, and
//! hears of flows that are over as [`Event`]s. A type implements [`DataPath`], which sees flow ends
//! ([`End`]) through a [`Context`]; sockets are watched in the same loop.

mod context;
mod end;
mod plane;

pub use context::{Context, Token};
pub use end::{End, Ends};
pub use plane::{Handle, Plane, start};

use std::{fmt, time::Duration};

use o7s::control::FlowEnd;

/// What the data path tells management.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The end was given up: the daemon is to be told.
    Ended(FlowEnd),
    /// The process at the other side of this doorbell is gone.
    BellClosed(u64),
    /// The thread ended without being asked to.
    Failed,
}

/// Where the data path tells what happens.
pub struct Events(Box<dyn Fn(Event) + Send>);

impl Events {
    /// Calls this for each event.
    #[must_use]
    pub fn new(tell: impl Fn(Event) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// Tells.
    pub(crate) fn send(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// Whether a look at something was worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Packets went on: look again soon.
    Some,
    /// There was nothing to do.
    None,
}

/// The packets of one IPCP type. All calls come from the data thread, one at a time, and none
/// waits.
pub trait DataPath: Send + 'static {
    /// What management tells it: above all, new flows, which it adds with [`Context::add`].
    type Command: Send + 'static;

    /// Takes a command.
    fn command(&mut self, cx: &mut Context, command: Self::Command);

    /// Something may have happened at a flow's end: packets from the program, room for packets to
    /// it, a change of its state, or the time of [`Context::set_timer`]. Takes a batch.
    ///
    /// An end whose packets cannot go on is paused ([`End::pause`]), not read.
    fn poll(&mut self, cx: &mut Context, flow: Token) -> Progress;

    /// The program gave its end back or died: what it wrote before is still to be carried on, then
    /// the end is removed. The layer may keep the flow's identifiers for `linger`.
    fn dealloc(&mut self, cx: &mut Context, flow: Token, linger: Duration);

    /// A watched descriptor ([`Context::watch`]) can be read. Takes a batch. Called again, without a
    /// look at the descriptor, until nothing has come of it.
    fn readable(&mut self, cx: &mut Context, source: u64) -> Progress {
        let _ = (cx, source);
        Progress::None
    }

    /// The time of [`Context::set_alarm`] has come.
    fn alarm(&mut self, cx: &mut Context) {
        let _ = cx;
    }

    /// Everything that was there has been looked at once: send what was gathered meanwhile.
    fn finish(&mut self, cx: &mut Context) -> Progress {
        let _ = cx;
        Progress::None
    }

    /// Once per turn, before the ends are polled: work on what the path reads without being told to,
    /// such as N-1 flows ([`crate::lower`]). Takes a batch of each.
    fn turn(&mut self, cx: &mut Context) -> Progress {
        let _ = cx;
        Progress::None
    }

    /// Whether [`DataPath::turn`] has something to look at; while the thread spins it then asks
    /// [`DataPath::is_ready`].
    fn is_active(&self) -> bool {
        false
    }

    /// Whether [`DataPath::turn`] would find something to do.
    fn is_ready(&self) -> bool {
        false
    }

    /// Whether the thread looks for a while before it sleeps. That pays where what comes next comes
    /// from another processor through memory, not from a socket: the system then needs the processor
    /// to bring it.
    fn spins(&self) -> bool {
        true
    }

    /// The thread is about to sleep: asks for a watched descriptor to become readable with the next
    /// thing to do; false if it is there already.
    fn arm(&mut self, cx: &mut Context) -> bool {
        let _ = cx;
        true
    }
}
