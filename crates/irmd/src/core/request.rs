//! Requests that wait: for a flow, an acceptor, a process, or an IPCP.

use std::time::{Duration, Instant};

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, Qos},
};

use super::{ConnId, Context, Core, limits, security::Exchange, timer::Timer, timer::TimerKey};

/// Names a waiting request; lower = older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

/// A request that waits.
#[derive(Debug)]
pub(super) struct Request {
    pub conn: ConnId,
    /// The client's id of the request.
    pub id: u64,
    /// Who asks.
    pub pid: i32,
    pub what: What,
    pub timer: Option<TimerKey>,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum What {
    /// A flow to one of the process' names.
    Accept,
    /// A flow to a name.
    Alloc(Alloc),
    /// A process that is about to announce itself.
    Bind { pid: i32, name: String },
    /// The end of an IPCP.
    Destroy { pid: i32 },
    /// The first message of an IPCP.
    Create { pid: i32 },
    /// An IPCP's answer.
    Ipcp { pid: i32 },
}

/// A flow that is being allocated.
#[derive(Debug)]
pub(super) struct Alloc {
    pub name: String,
    pub qos: Qos,
    pub limit: Duration,
    pub route: Route,
    pub exchange: Box<Exchange>,
    /// It joins the broadcast layer of this name rather than asking for a flow to the name.
    pub joins: bool,
    /// When a request that waits for a server to turn up is refused.
    pub arrival: Option<TimerKey>,
}

/// How far an allocation has come.
#[derive(Debug)]
pub(super) enum Route {
    /// Layers are being asked, in registry order: IPCP and its answer.
    Queries {
        layers: Vec<(i32, Said)>,
        timer: Option<TimerKey>,
    },
    /// In the name's queue.
    Direct,
    /// An IPCP has the request.
    Layer {
        ipcp: i32,
        flow: u64,
        stage: Stage,
        mpl_ms: u32,
        /// Longest packet of the layer, bytes; 0 = what the segment can hold.
        max_packet: u32,
    },
}

/// What an IPCP said when it was asked for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet.
    Nothing,
    /// Nothing in time.
    Late,
    /// It does not reach it, or failed.
    No,
    /// It reaches it.
    Yes,
}

/// How far an allocation over a layer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request of the key exchange is being made.
    Preparing,
    /// The IPCP was asked.
    Asked,
    /// The request came back from the layer and is being checked.
    Checking,
    /// It is in the name's queue.
    Queued,
    /// The acceptor, or an IPCP that flows end in, has its end; the layer's reply is awaited.
    Accepted,
    /// The layer has granted the flow; the response in its reply is being checked.
    Completing,
}

impl Core {
    /// Enters a request that cannot be answered now.
    pub(super) fn defer(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        what: What,
        limit: Option<Duration>,
    ) -> Result<Key> {
        let deadline = limit.and_then(|limit| cx.now().checked_add(limit));
        let key = Key(self.next_key);
        let state = self.conn_mut(conn)?;
        let pid = state.process;
        if state.requests.contains_key(&id) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("request id {id} is in use on this connection"),
            ));
        }
        if state.requests.len() >= limits::PENDING_PER_CONNECTION {
            return Err(too_many(pid));
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            if process.pending >= limits::PENDING_PER_PROCESS {
                return Err(too_many(pid));
            }
            process.pending += 1;
        }
        self.conn_mut(conn)?.requests.insert(id, key);
        self.next_key += 1;
        let timer = deadline.map(|at: Instant| self.timers.arm(at, Timer::Request(key)));
        self.requests.insert(
            key,
            Request {
                conn,
                id,
                pid,
                what,
                timer,
            },
        );
        Ok(key)
    }

    /// Takes a request out of every table, without an answer.
    pub(super) fn take_request(&mut self, key: Key) -> Option<Request> {
        let request = self.requests.remove(&key)?;
        self.timers.disarm(request.timer);
        if let Some(conn) = self.conns.get_mut(&request.conn)
            && conn.requests.get(&request.id) == Some(&key)
        {
            conn.requests.remove(&request.id);
        }
        if let Some(process) = self.processes.get_mut(&request.pid) {
            process.pending = process.pending.saturating_sub(1);
        }
        match &request.what {
            What::Accept => self.leave_accept(request.pid, key),
            What::Alloc(alloc) => self.leave_alloc(key, alloc),
            _ => {}
        }
        Some(request)
    }

    /// Forgets a request whose asker is gone.
    pub(super) fn drop_request(&mut self, cx: &mut dyn Context, key: Key) {
        if let Some(request) = self.take_request(key) {
            self.give_up(cx, &request);
        }
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, cx: &mut dyn Context, key: Key, answer: Result<Body>) {
        let Some(request) = self.take_request(key) else {
            return;
        };
        match answer {
            Ok(body) => {
                cx.send(request.conn, request.id, body);
            }
            Err(error) if self.is_arrival(&request) => {
                self.refuse_arrival(cx, &request, &error);
            }
            Err(error) => {
                self.fail(cx, request.conn, request.id, &error);
                self.give_up(cx, &request);
            }
        }
    }

    /// Cancels the request `id` of a connection.
    pub(super) fn cancel(&mut self, cx: &mut dyn Context, conn: ConnId, id: u64) {
        let key = self
            .conns
            .get(&conn)
            .and_then(|state| state.requests.get(&id));
        if let Some(key) = key.copied() {
            let error = Error::new(ErrorKind::Interrupted, "the request was cancelled");
            self.answer(cx, key, Err(error));
        }
    }

    /// The time limit of a request has come.
    pub(super) fn request_expired(&mut self, cx: &mut dyn Context, key: Key) {
        let Some(request) = self.requests.get(&key) else {
            return;
        };
        let error = match &request.what {
            What::Accept => Error::new(
                ErrorKind::TimedOut,
                "no flow was allocated to a name of this process in time",
            ),
            What::Alloc(alloc) => self.alloc_timed_out(alloc),
            What::Bind { pid, name } => Error::new(
                ErrorKind::NotFound,
                format!(
                    "cannot bind process {pid} to {name:?}: no Ouroboros program with this pid \
                     uses this irmd"
                ),
            ),
            What::Destroy { pid } | What::Create { pid } | What::Ipcp { pid } => Error::new(
                ErrorKind::TimedOut,
                format!("IPCP {pid} did not answer in time"),
            ),
        };
        self.answer(cx, key, Err(error));
    }
}

fn too_many(pid: i32) -> Error {
    Error::new(
        ErrorKind::NoMemory,
        format!(
            "process {pid} has {} requests waiting, the limit; wait for some of them",
            limits::PENDING_PER_PROCESS
        ),
    )
}
