//! What the core asks of the world around it. The driver does it for real; tests have a fake.

use std::time::Instant;

use o7s::{
    Result,
    control::{Body, FlowInfo, IpcpType},
};

use super::security::{Half, Outcome, Work};

/// A connection to the daemon, unique while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A side of a flow: index of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The allocator.
    A = 0,
    /// The acceptor.
    B = 1,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// How to end a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute path.
    pub path: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// User who bound it, and who runs it.
    pub uid: u32,
    /// His group.
    pub gid: u32,
}

/// The world around the core. No call waits, and none calls the core back.
pub trait Context {
    /// The monotonic time.
    fn now(&self) -> Instant;

    /// Sends a message; false if the connection is known to be gone.
    fn send(&mut self, conn: ConnId, id: u64, body: Body) -> bool;

    /// Sends one end of a flow with its segment and, if `new_bell`, that side of its doorbell;
    /// false if the connection is known to be gone.
    fn send_flow(&mut self, conn: ConnId, id: u64, info: FlowInfo) -> bool;

    /// Sends a message to an IPCP with the descriptors of its end of a flow, which `info`, also in
    /// the message, describes; false if the connection is known to be gone.
    fn send_to_ipcp(&mut self, conn: ConnId, id: u64, body: Body, info: &FlowInfo) -> bool;

    /// Closes a connection once what was sent is delivered. `disconnected` follows.
    fn close(&mut self, conn: ConnId);

    /// Watches for the end of the process with this key ([`pid_of`] tells the pid):
    /// `process_exited` follows.
    ///
    /// [`pid_of`]: super::pid_of
    fn watch(&mut self, key: i32, instance: u64);

    /// Stops watching it.
    fn unwatch(&mut self, key: i32);

    /// Makes the segment of a flow.
    ///
    /// # Errors
    /// No descriptors, no memory.
    fn make_flow(&mut self, flow: u64) -> Result<()>;

    /// Does a step of a key exchange if it costs little: no file is there to be read and nothing
    /// to be computed. Else gives it back.
    ///
    /// # Errors
    /// The step, which is for [`Context::start_work`].
    fn try_work(&mut self, work: Work) -> std::result::Result<Result<Outcome>, Box<Work>>;

    /// Lets a worker do a step: `work_done` follows.
    fn start_work(&mut self, number: u64, work: Work);

    /// Checks the security files that somebody gives a name.
    ///
    /// # Errors
    /// A file that is missing or cannot be read, and what is wrong in it.
    fn check_files(&self, half: &Half) -> Result<()>;

    /// Marks the end `side` of a flow as gone and wakes the other end if it sleeps at the segment;
    /// true if the other end wants to be told through its doorbell.
    fn end_gone(&mut self, flow: u64, side: Side) -> bool;

    /// Marks the end `side` as deallocated; else as `end_gone`.
    fn end_closed(&mut self, flow: u64, side: Side) -> bool;

    /// Sets the flow down at the end `side`, whose process is dead; else as `end_gone`.
    fn end_down(&mut self, flow: u64, side: Side) -> bool;

    /// Forgets the segment.
    fn drop_flow(&mut self, flow: u64);

    /// Makes a doorbell.
    ///
    /// # Errors
    /// No descriptors, no memory.
    fn make_bell(&mut self, bell: u64) -> Result<()>;

    /// One side of a doorbell has reached its process for sure.
    fn release_bell(&mut self, bell: u64, side: usize);

    /// Forgets a doorbell.
    fn drop_bell(&mut self, bell: u64);

    /// Starts an IPCP: its pid and its control channel.
    ///
    /// # Errors
    /// The program is missing, no descriptors, no processes.
    fn spawn_ipcp(&mut self, ipcp_type: IpcpType, name: &str) -> Result<(i32, ConnId)>;

    /// Starts a program. `child_exited` follows, as for an IPCP.
    ///
    /// # Errors
    /// As above.
    fn spawn_program(&mut self, program: &Program) -> Result<i32>;

    /// Signals a child that has not been reaped.
    fn signal(&mut self, pid: i32, signal: Signal);

    /// Open descriptors of the daemon.
    fn descriptors(&self) -> u64;
}
