//! This process at one daemon: who it is there, its connections, the doorbells it shares.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use o7s_ring::{Bell, BellEnd, Endpoint, Side};

use crate::{
    Error, ErrorKind, Flow, Name, Pending, QosSpec, Result, RuntimeDir,
    control::{Body, Connection, FlowAccept, FlowAlloc, FlowEnd, FlowInfo, FlowJoin, Hello},
    doorbell::PeerBell,
    irm::Irm,
    life::FlowInner,
    link::Link,
    pending::Kind,
    process::{generation, lock, process},
    set::SetInner,
};

/// Greatest encryption strength, bits (`spec/api.md` B3).
const MAX_STRENGTH: u16 = 256;
/// Idle request connections that are kept for the next calls.
const IDLE_MAX: usize = 16;

/// This process at the daemon of one runtime directory. Clones are the same node; a process has
/// one per directory.
#[derive(Clone)]
pub struct Node(Arc<NodeInner>);

/// State behind [`Node`].
pub(crate) struct NodeInner {
    dir: RuntimeDir,
    generation: u32,
    announced: Mutex<Option<Announced>>,
    idle: Mutex<Vec<Connection>>,
    /// Flows accepted by a call that had given up.
    backlog: Mutex<VecDeque<Flow>>,
    bells: Mutex<HashMap<BellKey, Arc<PeerBell>>>,
    /// Ends of this process by flow id and side, for the daemon's notifications.
    ends: Mutex<HashMap<EndKey, Weak<FlowInner>>>,
}

/// The process connection.
struct Announced {
    connection: Connection,
    token: Option<u64>,
}

/// A doorbell of a daemon: the daemon's random number, the doorbell's id, our side.
type BellKey = (u64, u64, u32);
/// An end of a flow of a daemon: the daemon's random number, the flow's id, our side.
type EndKey = (u64, u64, u32);

impl Node {
    /// The node of the free functions: the one last given to [`Node::set_current`], else that of
    /// the environment as it is now.
    #[must_use]
    pub fn current() -> Self {
        process().current_node()
    }

    /// Chooses the node of the free functions; `None` = that of the environment.
    pub fn set_current(node: Option<&Self>) {
        process().choose_node(node);
    }

    /// The node for a runtime directory. Nothing is contacted yet.
    ///
    /// The process is known to that daemon, and bound to names there, as long as some clone of the
    /// node or a flow of it lives; the current node is held by the library.
    #[must_use]
    pub fn at(dir: RuntimeDir) -> Self {
        process().node(dir)
    }

    pub(crate) fn new(dir: RuntimeDir) -> Self {
        Self(Arc::new(NodeInner {
            dir,
            generation: generation(),
            announced: Mutex::default(),
            idle: Mutex::default(),
            backlog: Mutex::default(),
            bells: Mutex::default(),
            ends: Mutex::default(),
        }))
    }

    pub(crate) fn from_inner(inner: Arc<NodeInner>) -> Self {
        Self(inner)
    }

    pub(crate) fn downgrade(&self) -> Weak<NodeInner> {
        Arc::downgrade(&self.0)
    }

    /// The runtime directory.
    #[must_use]
    pub fn dir(&self) -> &RuntimeDir {
        &self.0.dir
    }

    /// The management client for the same daemon.
    #[must_use]
    pub fn irm(&self) -> Irm {
        Irm::at(self.0.dir.clone())
    }

    /// Makes the process known to the daemon now instead of at the first call, so that it can be
    /// bound to names.
    ///
    /// # Errors
    /// [`ErrorKind::Daemon`] if none is running.
    pub fn announce(&self) -> Result<()> {
        self.check_fork()?;
        let mut slot = lock(&self.0.announced);
        if let Some(announced) = &mut *slot {
            // Finds out whether the daemon that knew this process is gone; a new one may be there.
            match self.0.read_notifications(&mut announced.connection, None) {
                Ok(()) => return Ok(()),
                Err(_) => self.0.forget_daemon(slot.take()),
            }
        }
        let connection = Connection::open(
            &self.0.dir,
            Hello {
                announce: true,
                ..hello()
            },
        )?;
        *slot = Some(Announced {
            connection,
            token: None,
        });
        Ok(())
    }

    /// Allocates a flow to `name` and waits until it is there, at most `timeout` (none = 20 s, the
    /// daemon's limit).
    ///
    /// # Errors
    /// [`ErrorKind::Name`] and [`ErrorKind::Ipcp`] if nothing reaches the name,
    /// [`ErrorKind::TimedOut`] if nobody accepted in time, [`ErrorKind::NotSupported`] for a QoS
    /// that is not available, [`ErrorKind::Daemon`] if no daemon is running.
    pub fn alloc(&self, name: &str, qos: QosSpec, timeout: Option<Duration>) -> Result<Flow> {
        self.start_alloc(name, qos, timeout)?.finish()
    }

    /// Waits for a flow to any name that this process is bound to, at most `timeout` (none = for
    /// ever; zero = take what waits).
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`], [`ErrorKind::Daemon`].
    pub fn accept(&self, timeout: Option<Duration>) -> Result<Flow> {
        self.start_accept(timeout)?.finish()
    }

    /// Joins the broadcast layer `layer`, at most `timeout` (none = 20 s).
    ///
    /// # Errors
    /// [`ErrorKind::Ipcp`] if no such layer is here.
    pub fn join(&self, layer: &str, timeout: Option<Duration>) -> Result<Flow> {
        self.start_join(layer, timeout)?.finish()
    }

    /// Starts what [`Node::alloc`] does and returns at once.
    ///
    /// # Errors
    /// What can be said without waiting.
    pub fn start_alloc(
        &self,
        name: &str,
        qos: QosSpec,
        timeout: Option<Duration>,
    ) -> Result<Pending> {
        self.start_alloc_with(name, qos, timeout, "")
    }

    /// [`Node::start_alloc`] with a key exchange, by its name in `enc.conf`, that the flow must have
    /// at least (`spec/oap-crypto.md` §4.1); empty = as the QoS and the name's configuration say.
    ///
    /// # Errors
    /// What can be said without waiting.
    pub fn start_alloc_with(
        &self,
        name: &str,
        qos: QosSpec,
        timeout: Option<Duration>,
        kex: &str,
    ) -> Result<Pending> {
        let name = Name::new(name)?;
        if qos.cypher_s > MAX_STRENGTH {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "an encryption strength of {} bits cannot be had; cypher_s is 0 to \
                     {MAX_STRENGTH}",
                    qos.cypher_s
                ),
            ));
        }
        let body = Body::FlowAlloc(FlowAlloc {
            kex: kex.to_owned(),
            dst: name.as_str().to_owned(),
            qos: qos.into(),
            timeout_ns: timeout.map(nanos),
        });
        self.start(Kind::Alloc(qos.cypher_s), name.as_str(), body)
    }

    /// Starts what [`Node::accept`] does and returns at once.
    ///
    /// # Errors
    /// What can be said without waiting.
    pub fn start_accept(&self, timeout: Option<Duration>) -> Result<Pending> {
        if let Some(flow) = lock(&self.0.backlog).pop_front() {
            return Ok(Pending::ready(self.clone(), Kind::Accept, flow));
        }
        let body = Body::FlowAccept(FlowAccept {
            timeout_ns: timeout.map(nanos),
        });
        self.start(Kind::Accept, "", body)
    }

    /// Starts what [`Node::join`] does and returns at once.
    ///
    /// # Errors
    /// What can be said without waiting.
    pub fn start_join(&self, layer: &str, timeout: Option<Duration>) -> Result<Pending> {
        let layer = Name::new(layer)?;
        let body = Body::FlowJoin(FlowJoin {
            layer: layer.as_str().to_owned(),
            timeout_ns: timeout.map(nanos),
        });
        self.start(Kind::Join, layer.as_str(), body)
    }

    fn start(&self, kind: Kind, name: &str, body: Body) -> Result<Pending> {
        self.announce()?;
        let mut connection = self.connection()?;
        let id = connection.start(body)?;
        Ok(Pending::new(self.clone(), kind, name, connection, id))
    }

    /// Lets the waiters of this process hear the daemon's notifications.
    pub(crate) fn listen_to_daemon(&self) -> Result<()> {
        if let Some(announced) = &mut *lock(&self.0.announced)
            && announced.token.is_none()
        {
            let doorbells = process().doorbells()?;
            let fd = announced.connection.as_fd();
            announced.token = Some(doorbells.add_daemon(fd, self.downgrade())?);
        }
        Ok(())
    }

    /// An idle request connection, or a new one.
    fn connection(&self) -> Result<Connection> {
        let idle = lock(&self.0.idle).pop();
        idle.map_or_else(|| Connection::open(&self.0.dir, hello()), Ok)
    }

    /// Keeps a connection without a request under way for the next call.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = lock(&self.0.idle);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// Keeps an accepted flow for the next accept.
    pub(crate) fn keep_accepted(&self, flow: Flow) {
        lock(&self.0.backlog).push_back(flow);
    }

    /// Opens this process' end of a flow that the daemon granted.
    pub(crate) fn adopt(&self, info: FlowInfo, fds: Vec<OwnedFd>, daemon: u64) -> Result<Link> {
        let opened = self.open_end(&info, fds, daemon);
        if opened.is_err() {
            self.tell_dealloc(
                daemon,
                FlowEnd {
                    bell_lost: true,
                    ..end_of(&info)
                },
            );
        }
        opened
    }

    fn open_end(&self, info: &FlowInfo, fds: Vec<OwnedFd>, daemon: u64) -> Result<Link> {
        let expected = if info.new_bell { 3 } else { 1 };
        let mut fds = fds.into_iter();
        let (Some(segment), true) = (fds.next(), fds.len() + 1 >= expected) else {
            return Err(Error::system(
                format_args!("receive the flow to {:?}", info.name),
                &rustix::io::Errno::MFILE.into(),
            ));
        };
        let key = (daemon, info.bell_id, info.bell_side);
        let bell = self.bell(key, fds.next().zip(fds.next()))?;
        let qos = QosSpec::try_from(info.qos)?;
        let endpoint = Endpoint::open(segment.as_fd(), side(info.side)).map_err(|error| {
            Error::new(
                ErrorKind::NoMemory,
                format!("cannot map the flow to {:?}: {error}", info.name),
            )
        })?;
        Link::new(self.clone(), daemon, info, qos, endpoint, bell)
    }

    /// The doorbell `key`, opened from its descriptors if it is new.
    fn bell(&self, key: BellKey, fds: Option<(OwnedFd, OwnedFd)>) -> Result<Arc<PeerBell>> {
        let mut bells = lock(&self.0.bells);
        // The daemon sends a doorbell along until it is certain that it has arrived.
        if let Some(bell) = bells.get(&key) {
            return Ok(bell.clone());
        }
        if let Some((socket, memory)) = fds {
            let bell = Bell::open(BellEnd { socket, memory }, side(key.2)).map_err(|error| {
                Error::new(
                    ErrorKind::NoMemory,
                    format!("cannot open a doorbell: {error}"),
                )
            })?;
            let bell = Arc::new(PeerBell::new(bell));
            process().doorbells()?.add_bell(&bell)?;
            // Doorbells that no flow uses any more belong to peers that are gone, mostly.
            bells.retain(|_, bell| !bell.is_unused());
            bells.insert(key, bell);
        }
        bells.get(&key).cloned().ok_or_else(|| unknown_bell(key))
    }

    /// Lets notifications find a flow's end.
    pub(crate) fn enter(&self, daemon: u64, end: FlowEnd, flow: Weak<FlowInner>) {
        lock(&self.0.ends).insert((daemon, end.flow_id, end.side), flow);
    }

    /// Gives a flow's end back to its daemon. If that is gone, there is nobody to tell.
    pub(crate) fn tell_dealloc(&self, daemon: u64, end: FlowEnd) {
        lock(&self.0.ends).remove(&(daemon, end.flow_id, end.side));
        let Ok(mut connection) = self.connection() else {
            return;
        };
        // A new daemon in the same place has other flows under the same ids.
        if connection.daemon() == daemon {
            match connection.call(Body::FlowDealloc(end)) {
                Err(error) if error.kind() == ErrorKind::Daemon => return,
                _ => {}
            }
        }
        self.give_back(connection);
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.0.generation == generation() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotAllocated,
            "this node belongs to the parent process; after fork, use Node::current() anew",
        ))
    }
}

impl NodeInner {
    /// Reads the daemon's notifications and passes them on.
    pub(crate) fn hear_daemon(&self, own: Option<&SetInner>) {
        let mut slot = lock(&self.announced);
        if let Some(announced) = &mut *slot
            && self
                .read_notifications(&mut announced.connection, own)
                .is_err()
        {
            self.forget_daemon(slot.take());
        }
    }

    fn read_notifications(
        &self,
        connection: &mut Connection,
        own: Option<&SetInner>,
    ) -> Result<()> {
        while let Some((_, body, _)) = connection.next()? {
            let Body::FlowsChanged(changed) = body else {
                continue;
            };
            for end in changed.ends {
                let key = (connection.daemon(), end.flow_id, end.side);
                let flow = lock(&self.ends).get(&key).and_then(Weak::upgrade);
                if let Some(flow) = flow {
                    flow.notify(own);
                }
            }
        }
        Ok(())
    }

    /// The daemon is gone: its flows go on, its connections are of no use.
    fn forget_daemon(&self, announced: Option<Announced>) {
        lock(&self.idle).clear();
        if let Some(Announced {
            connection,
            token: Some(token),
            ..
        }) = announced
            && let Ok(doorbells) = process().doorbells()
        {
            doorbells.remove(token, connection.as_fd());
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.0.dir).finish()
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Node {}

/// The end that a granted flow gives us.
pub(crate) fn end_of(info: &FlowInfo) -> FlowEnd {
    FlowEnd {
        flow_id: info.flow_id,
        side: info.side,
        ..FlowEnd::default()
    }
}

fn side(number: u32) -> Side {
    if number == 0 { Side::A } else { Side::B }
}

fn hello() -> Hello {
    Hello {
        program: crate::program::name(),
        instance: process().instance,
        image: process().image,
        ..Hello::default()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn unknown_bell(key: BellKey) -> Error {
    Error::new(
        ErrorKind::Daemon,
        format!("the irmd named an unknown doorbell {}", key.1),
    )
}
