//! Allocating and accepting N-1 flows beside everything else that the IPCP does.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Flow, Listener, Name, Node, QosSpec, Result};

/// Requests under way at once; each has a thread while it lasts.
const REQUESTS_MAX: usize = 64;
/// How long an N-1 flow is waited for: less than the daemon waits for the whole operation, 20 s.
const LIMIT: Duration = Duration::from_secs(15);
/// Pause before listening again after a failure; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What came of requests, and who came.
#[derive(Debug)]
pub enum News {
    /// The outcome of [`Requests::allocate`].
    Allocated {
        /// Number of the request.
        request: u64,
        /// The flow.
        outcome: Result<Flow>,
    },
    /// Somebody allocated a flow to this IPCP.
    Accepted(Flow),
}

type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// The requests of an IPCP for N-1 flows, and its ear for those of others.
pub struct Requests {
    shared: Arc<Shared>,
    listening: Option<(Arc<Ear>, JoinHandle<()>)>,
}

struct Shared {
    node: Node,
    tell: Tell,
    under_way: Mutex<BTreeSet<u64>>,
}

/// The accepting thread's state.
#[derive(Default)]
struct Ear {
    listener: Mutex<Option<Arc<Listener>>>,
    stopped: AtomicBool,
    stop: Condvar,
}

impl Requests {
    /// Nothing under way. `tell` is called, from threads of its own, with all that happens.
    #[must_use]
    pub fn new(node: Node, tell: impl Fn(News) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                node,
                tell: Arc::new(tell),
                under_way: Mutex::default(),
            }),
            listening: None,
        }
    }

    /// Accepts flows from now on, until this is dropped. It goes on through every failure: an IPCP that
    /// stops to listen cannot be reached any more (defect 6 of `spec/reference-defects.md`).
    ///
    /// The daemon knows when this returns: a flow that is asked for then waits until it is accepted.
    ///
    /// # Errors
    /// The daemon is gone, or no thread can be started.
    pub fn listen(&mut self) -> Result<()> {
        if self.listening.is_some() {
            return Ok(());
        }
        self.shared.node.announce()?;
        let (shared, ear) = (self.shared.clone(), Arc::new(Ear::default()));
        let hears = ear.clone();
        let thread = std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || hears.run(&shared))
            .map_err(|error| Error::system("start to accept flows", &error))?;
        self.listening = Some((ear, thread));
        Ok(())
    }

    /// Allocates a flow to `dst`; the outcome is [`News::Allocated`] with this number, after 15 s at the
    /// latest.
    pub fn allocate(&self, request: u64, dst: &Name, qos: QosSpec) {
        {
            let mut under_way = lock(&self.shared.under_way);
            if under_way.len() >= REQUESTS_MAX {
                drop(under_way);
                let full = Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{REQUESTS_MAX} N-1 flows are being allocated already; try again later"
                    ),
                );
                (self.shared.tell)(News::Allocated {
                    request,
                    outcome: Err(full),
                });
                return;
            }
            under_way.insert(request);
        }
        let (shared, dst) = (self.shared.clone(), dst.clone());
        let spawned = std::thread::Builder::new()
            .name("allocate".to_owned())
            .spawn(move || {
                let outcome = shared.node.alloc(dst.as_str(), qos, Some(LIMIT));
                shared.finish(request, outcome);
            });
        if let Err(error) = spawned {
            let error = Error::system("start to allocate an N-1 flow", &error);
            self.shared.finish(request, Err(error));
        }
    }

    /// Gives a request up: nothing is told of it any more, a flow that comes of it is deallocated.
    pub fn cancel(&self, request: u64) {
        lock(&self.shared.under_way).remove(&request);
    }
}

impl Shared {
    fn finish(&self, request: u64, outcome: Result<Flow>) {
        // A cancelled one drops its flow.
        if lock(&self.under_way).remove(&request) {
            (self.tell)(News::Allocated { request, outcome });
        }
    }
}

impl Ear {
    fn run(&self, shared: &Shared) {
        let mut pause = PAUSE_FIRST;
        while !self.is_stopped() {
            let since = Instant::now();
            if let Err(error) = self.accept(shared)
                && !self.is_stopped()
            {
                tracing::warn!("Cannot accept flows for now: {error}.");
            }
            if since.elapsed() > PAUSE_MAX {
                pause = PAUSE_FIRST;
            }
            self.rest(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Accepts until something fails.
    fn accept(&self, shared: &Shared) -> Result<()> {
        let listener = Arc::new(Listener::new(&shared.node)?);
        *lock(&self.listener) = Some(listener.clone());
        while !self.is_stopped() {
            match listener.accept_until(None) {
                Ok(flow) => (shared.tell)(News::Accepted(flow)),
                // One flow that failed says nothing about the next.
                Err(error)
                    if !matches!(error.kind(), ErrorKind::Daemon | ErrorKind::NotAllocated) =>
                {
                    tracing::debug!("A flow was not accepted: {error}.");
                    self.rest(PAUSE_FIRST);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits, unless it is to stop.
    fn rest(&self, pause: Duration) {
        let listener = lock(&self.listener);
        if !self.is_stopped() {
            drop(self.stop.wait_timeout(listener, pause));
        }
    }

    fn stop(&self) {
        let listener = {
            let mut listener = lock(&self.listener);
            self.stopped.store(true, Ordering::Release);
            self.stop.notify_all();
            listener.take()
        };
        if let Some(listener) = listener {
            listener.close();
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        lock(&self.shared.under_way).clear();
        if let Some((ear, _thread)) = self.listening.take() {
            // The thread ends by itself: nobody waits for a daemon that may be gone.
            ear.stop();
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("under_way", &lock(&self.shared.under_way).len())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
