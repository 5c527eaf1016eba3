//! What an IPCP type has to offer: the operations of `spec/shims.md` §1.4, all of which may be
//! answered later.

use std::{collections::VecDeque, time::Instant};

use o7s::{
    Error, ErrorKind, Name, Result,
    control::{
        ConnectIpcp, FlowEnd, FlowReqArr, FlowResponse, IpcpConfig, IpcpFlowAlloc, IpcpStatus,
        IpcpType, LayerInfo,
    },
};
use o7s_wire::hash::NameHash;

use crate::data::End;

/// Number of an operation that the daemon waits for. None is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation(pub u64);

/// What an operation came to, unless it failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T = ()> {
    /// It is done.
    Now(T),
    /// It is under way: [`Output::Done`] with its number will tell. The daemon goes on with other
    /// operations, and gives up on its own when it has waited long enough (`spec/shims.md` §11); an
    /// answer after that is ignored.
    Later,
}

/// What an operation came to that was answered with [`Answer::Later`].
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is done, and there is nothing to say.
    Done,
    /// Of [`Ipcp::enroll`]: the layer.
    Joined(LayerInfo),
    /// Of [`Ipcp::status`].
    Status(IpcpStatus),
}

/// What the IPCP asks of the daemon or tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The outcome of an operation that was answered with [`Answer::Later`].
    Done(Operation, Result<Outcome>),
    /// A flow request arrived for this machine. The answer comes as
    /// [`FlowAllocator::request_answered`] with the same number.
    Request(u64, FlowReqArr),
    /// The outcome of a flow request of this machine. A refusal gives the end back.
    Reply(FlowResponse),
    /// The end is given back, or the request that arrived is over.
    Ended(FlowEnd),
    /// A connection of [`Ipcp::connect`] is over, and not by [`Ipcp::disconnect`].
    Parted(ConnectIpcp),
}

/// One call of an IPCP: when it is, and what comes of it.
#[derive(Debug)]
pub struct Turn {
    now: Instant,
    pub(super) outputs: VecDeque<Output>,
}

impl Turn {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            now,
            outputs: VecDeque::new(),
        }
    }

    /// The time of the call.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Tells the daemon. In this order, after the answer to the operation of this call if that is
    /// [`Answer::Now`].
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Tells the outcome of an operation that was answered with [`Answer::Later`].
    pub fn done(&mut self, operation: Operation, outcome: Result<Outcome>) {
        self.push(Output::Done(operation, outcome));
    }

    /// What is to be told, first to last; for tests of types.
    pub fn drain(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.outputs.drain(..)
    }
}

/// An IPCP of one type. Every operation that a type lacks answers "not supported".
///
/// All calls come from one thread, one at a time, within a `tokio` runtime of one thread, and none
/// may wait. Whatever waits is a task of that runtime (`tokio::spawn`: sockets, timers), a thread
/// of its own (`tokio::task::spawn_blocking`: blocking calls of the library, when the type is a
/// program itself), or the data thread; it tells the IPCP what happened by the [`super::Post`] that
/// the type was made with, and the IPCP hears it as [`Ipcp::event`].
pub trait Ipcp {
    /// What the type's tasks and threads tell it; [`std::convert::Infallible`] if there are none.
    type Event: Send + 'static;

    /// The type.
    fn ipcp_type(&self) -> IpcpType;

    /// Starts a layer. The framework has checked type, layer name and hash; the IPCP becomes
    /// operational with the answer.
    ///
    /// # Errors
    /// What keeps the type from it. The IPCP waits for another bootstrap or enrollment then.
    fn bootstrap(
        &mut self,
        operation: Operation,
        config: &IpcpConfig,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let _ = (operation, config, turn);
        Err(self.unsupported("bootstrap"))
    }

    /// Whether the type has enrollment.
    fn enrolls(&self) -> bool {
        false
    }

    /// Becomes a member of the layer of `dst`; the outcome is what that layer is.
    ///
    /// # Errors
    /// As for [`Ipcp::bootstrap`].
    fn enroll(
        &mut self,
        operation: Operation,
        dst: &Name,
        turn: &mut Turn,
    ) -> Result<Answer<LayerInfo>> {
        let _ = (operation, dst, turn);
        Err(self.unsupported("enroll"))
    }

    /// Connects a component to a neighbour.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn connect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let _ = (operation, connect, turn);
        Err(self.unsupported("connect"))
    }

    /// Undoes [`Ipcp::connect`].
    ///
    /// # Errors
    /// What keeps the type from it.
    fn disconnect(
        &mut self,
        operation: Operation,
        connect: &ConnectIpcp,
        turn: &mut Turn,
    ) -> Result<Answer> {
        let _ = (operation, connect, turn);
        Err(self.unsupported("disconnect"))
    }

    /// Counters and tables, in any state.
    ///
    /// # Errors
    /// What keeps the type from telling them.
    fn status(&mut self, operation: Operation, turn: &mut Turn) -> Result<Answer<IpcpStatus>> {
        let _ = (operation, turn);
        Ok(Answer::Now(IpcpStatus::default()))
    }

    /// Whether the programs of a flow share its segment, so that no ends are wanted here.
    fn shares_segments(&self) -> bool {
        false
    }

    /// The directory, if the type has one.
    fn directory(&mut self) -> Option<&mut dyn Directory>;

    /// Flow allocation, if the type has it.
    fn flows(&mut self) -> Option<&mut dyn FlowAllocator>;

    /// A task or thread of the type tells something.
    ///
    /// # Errors
    /// The IPCP is of no use any more: the process ends with this error.
    fn event(&mut self, event: Self::Event, turn: &mut Turn) -> Result<()> {
        let _ = (event, turn);
        Ok(())
    }

    /// When [`Ipcp::timeout`] is to be called. Asked after every call.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time that [`Ipcp::next_timeout`] named has come.
    fn timeout(&mut self, turn: &mut Turn) {
        let _ = turn;
    }

    /// The error for an operation that the type lacks.
    fn unsupported(&self, operation: &str) -> Error {
        Error::new(
            ErrorKind::NotSupported,
            format!(
                "{operation} is not supported by IPCP type {}",
                self.ipcp_type().as_str()
            ),
        )
    }
}

/// The names that are reachable in the layer. Hashes have the length of the layer's algorithm.
pub trait Directory {
    /// Adds a hash; a second time changes nothing.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn register(&mut self, operation: Operation, hash: NameHash, turn: &mut Turn)
    -> Result<Answer>;

    /// Removes a hash; one that is not there changes nothing.
    ///
    /// # Errors
    /// What keeps the type from it.
    fn unregister(
        &mut self,
        operation: Operation,
        hash: &NameHash,
        turn: &mut Turn,
    ) -> Result<Answer>;

    /// Whether the hash is reachable.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if it is not.
    fn query(&mut self, operation: Operation, hash: &NameHash, turn: &mut Turn) -> Result<Answer>;
}

/// Flow allocation over the layer.
pub trait FlowAllocator {
    /// Asks for a flow, of which `end` is this IPCP's end unless the layer shares segments; `Ok` =
    /// the request is under way, [`Output::Reply`] tells the outcome.
    ///
    /// # Errors
    /// Why it cannot be.
    fn alloc(&mut self, request: IpcpFlowAlloc, end: Option<End>, turn: &mut Turn) -> Result<()>;

    /// Makes `end` a flow to the layer as such, whose name has this hash; `Ok` = under way,
    /// [`Output::Reply`] tells the outcome.
    ///
    /// # Errors
    /// Why it cannot be; as a rule the type has no such flows.
    fn join(&mut self, flow_id: u64, hash: &NameHash, end: End, turn: &mut Turn) -> Result<()> {
        let _ = (hash, end, turn);
        Err(Error::new(
            ErrorKind::NotSupported,
            format!("flow {flow_id} cannot join: only layers of type broadcast can be joined"),
        ))
    }

    /// The daemon took a request in, as this flow id, or refused it.
    fn request_answered(&mut self, number: u64, answer: Result<u64>, turn: &mut Turn);

    /// The answer of the accepting program; `end` as for [`FlowAllocator::alloc`].
    ///
    /// # Errors
    /// There is no such request.
    fn respond(&mut self, response: FlowResponse, end: Option<End>, turn: &mut Turn) -> Result<()>;

    /// The program gave its end back, or died, or gave the request up. `end` is this IPCP's, which
    /// it gives back in its time ([`Output::Ended`], or the data path's
    /// [`crate::data::Event::Ended`]).
    ///
    /// # Errors
    /// There is no such flow.
    fn dealloc(&mut self, end: FlowEnd, turn: &mut Turn) -> Result<()>;
}
