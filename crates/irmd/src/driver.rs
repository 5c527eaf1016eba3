//! The event loop: connections, timers, signals, children.
//!
//! Everything runs on one thread. A task takes the state, hands one event to the core, and gives
//! the state back; nothing waits while it holds it.

use std::{
    cell::RefCell,
    fs::File,
    future::poll_fn,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixListener as StdUnixListener},
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use o7s::{
    Error, Result,
    control::{Decoder, Envelope, REQUEST_MAX},
};
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::{LocalSet, spawn_local, yield_now},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    config::Setup,
    core::{ConnId, Core, Report, Settings, limits},
    descriptor,
    link::{CHUNK, Link, Phase},
    peer,
    security::Engine,
    world::{Children, World},
};

/// How long a closed connection may take to read what was sent on it.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);
/// Pause when not even a connection can be refused.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How long a worker without work stays.
const WORKER_IDLE: Duration = Duration::from_secs(60);

/// Everything that one daemon needs to run.
#[derive(Debug)]
pub struct Daemon {
    /// For the core.
    pub settings: Settings,
    /// For children.
    pub children: Children,
    /// Does the key exchanges.
    pub security: Engine,
    /// The listening socket.
    pub listener: StdUnixListener,
    /// Told "ready" once the daemon serves.
    pub ready: Option<OwnedFd>,
    /// Its end of file stops the daemon.
    pub die_with: Option<OwnedFd>,
    /// What the configuration file says; carried out before the daemon is ready.
    pub setup: Option<Setup>,
}

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RefCell<State>,
    /// The first deadline is earlier than the timer task knows.
    sooner: Notify,
    stopped: Notify,
    /// The first try of every entry of the configuration file is over.
    configured: Notify,
}

#[derive(Debug)]
struct State {
    core: Core,
    world: World,
    armed: Option<Instant>,
    /// What the first try of every entry came to.
    report: Option<Report>,
}

impl Shared {
    /// Hands one event to the core.
    pub(crate) fn with<T>(&self, event: impl FnOnce(&mut Core, &mut World) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let State {
            core,
            world,
            armed,
            report,
        } = &mut *state;
        let outcome = event(core, world);
        let next = core.next_deadline();
        if next.is_some_and(|next| armed.is_none_or(|armed| next < armed)) {
            *armed = next;
            self.sooner.notify_one();
        }
        if let Some(first) = core.take_report() {
            *report = Some(first);
            self.configured.notify_one();
        }
        if core.is_stopped() {
            self.stopped.notify_one();
        }
        outcome
    }
}

/// Runs a daemon until a signal or the end of `die_with` stops it.
///
/// # Errors
/// The event loop cannot be set up, or an entry of the configuration file failed: that is told at
/// the end.
pub fn run(daemon: Daemon) -> Result<()> {
    let failed = |error: io::Error| Error::system("start the event loop", &error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(workers())
        .thread_name("worker")
        .thread_keep_alive(WORKER_IDLE)
        .build()
        .map_err(failed)?;
    let outcome = LocalSet::new()
        .block_on(&runtime, serve_all(daemon))
        .map_err(failed)?;
    // A worker may wait for a file that never comes.
    runtime.shutdown_background();
    outcome
}

/// Threads that do the steps of key exchanges.
fn workers() -> usize {
    let processors = std::thread::available_parallelism();
    processors
        .map_or(1, usize::from)
        .clamp(2, limits::STEPS_RUNNING)
}

/// The inner result is that of the configuration.
async fn serve_all(daemon: Daemon) -> io::Result<Result<()>> {
    let Daemon {
        settings,
        children,
        security,
        listener,
        ready,
        die_with,
        setup,
    } = daemon;
    let shared = Rc::new_cyclic(|weak| Shared {
        state: RefCell::new(State {
            core: Core::new(settings),
            world: World::new(weak.clone(), children, security),
            armed: None,
            report: None,
        }),
        sooner: Notify::new(),
        stopped: Notify::new(),
        configured: Notify::new(),
    });
    let listener = UnixListener::from_std(listener)?;
    let reserve = File::open("/dev/null")?;
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ] {
        let mut signals = signal(kind)?;
        let shared = shared.clone();
        spawn_local(async move {
            while signals.recv().await.is_some() {
                stop(&shared, "a signal");
            }
        });
    }
    if let Some(fd) = die_with {
        let fd = descriptor::readable(fd)?;
        let shared = shared.clone();
        spawn_local(async move {
            wait_for_end(&fd).await;
            stop(&shared, "the end of its parent");
        });
    }
    spawn_local(keep_time(shared.clone()));
    let accepting = spawn_local(accept_all(shared.clone(), listener, reserve));
    tracing::info!("Ouroboros IPC Resource Manager daemon started...");
    let configuring = shared.clone();
    spawn_local(async move {
        if let Some(setup) = setup {
            let strict = setup.is_strict();
            configuring.with(|core, world| core.configure(world, setup.into_config()));
            configuring.configured.notified().await;
            let report = configuring.state.borrow().report;
            if strict && report.is_some_and(|report| report.failed + report.late > 0) {
                stop(&configuring, "a failed configuration");
                return;
            }
        }
        tell_ready(ready);
    });
    shared.stopped.notified().await;
    accepting.abort();
    tracing::info!("Ouroboros IPC Resource Manager daemon exited. Bye.");
    let outcome = shared.state.borrow().core.configured();
    Ok(outcome)
}

fn tell_ready(ready: Option<OwnedFd>) {
    if let Some(fd) = ready
        && let Err(error) = File::from(fd).write_all(b"ready\n")
    {
        tracing::warn!("Cannot tell that the daemon is ready: {error}.");
    }
}

fn stop(shared: &Shared, why: &str) {
    tracing::info!("IRMd shutting down ({why})...");
    shared.with(|core, world| core.stop(world));
}

/// Reads until the end of file.
async fn wait_for_end(fd: &AsyncFd<OwnedFd>) {
    let mut buffer = [0; 64];
    while let Ok(mut guard) = fd.readable().await {
        match rustix::io::read(fd.get_ref(), &mut buffer) {
            Ok(0) => return,
            Ok(_) => guard.clear_ready(),
            Err(rustix::io::Errno::WOULDBLOCK) => guard.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

async fn keep_time(shared: Rc<Shared>) {
    loop {
        let next = {
            let mut state = shared.state.borrow_mut();
            state.armed = state.core.next_deadline();
            state.armed
        };
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next.into()) => shared.with(|core, world| core.expire(world)),
                () = shared.sooner.notified() => {}
            },
            None => shared.sooner.notified().await,
        }
    }
}

/// Accepts connections. Without a free descriptor the reserve is given up for a moment, so that
/// the client is refused at once instead of waiting for ever.
async fn accept_all(shared: Rc<Shared>, listener: UnixListener, reserve: File) {
    let group = peer::managing_group();
    let mut reserve = Some(reserve);
    let mut warned = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                warned = false;
                if reserve.is_none() {
                    reserve = File::open("/dev/null").ok();
                }
                match peer::identify(&stream, group) {
                    Ok(peer) => begin(&shared, stream, peer),
                    Err(error) => tracing::warn!("Cannot identify a client: {error}."),
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::error!(
                        "Cannot accept a connection: {error}; refusing clients until descriptors \
                         are free."
                    );
                }
                if reserve.take().is_some() {
                    // With the reserve's descriptor free, one client can be turned away. There may
                    // be none: accept fails without a descriptor even if nobody waits.
                    let refused = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx)));
                    drop(refused.await);
                } else {
                    sleep(EXHAUSTED_PAUSE).await;
                }
                reserve = File::open("/dev/null").ok();
            }
        }
    }
}

fn begin(shared: &Rc<Shared>, stream: UnixStream, peer: crate::core::Peer) {
    let (conn, link) = shared.with(|core, world| {
        let (conn, link) = world.adopt(stream);
        core.connected(world, conn, peer);
        (conn, link)
    });
    spawn_local(serve(shared.clone(), conn, link));
}

/// Serves a connection until its end.
pub(crate) async fn serve(shared: Rc<Shared>, conn: ConnId, link: Rc<Link>) {
    let mut decoder = Decoder::new(REQUEST_MAX);
    let mut buffer = vec![0; CHUNK];
    // Whether the other side left data unread.
    let mut reset = false;
    loop {
        let phase = link.phase();
        tokio::select! {
            biased;
            () = link.flush(), if phase == Phase::Writing => {}
            read = link.read(&mut buffer), if matches!(phase, Phase::Open | Phase::Writing) => {
                match read {
                    Ok(0) => break,
                    Ok(length) => {
                        decoder.push(&buffer[..length], []);
                        if let Err(error) = take_messages(&shared, conn, &link, &mut decoder) {
                            tracing::warn!("Closing a connection: {error}.");
                            break;
                        }
                        yield_now().await;
                    }
                    Err(_) => {
                        reset = true;
                        break;
                    }
                }
            }
            () = link.changed(), if phase != Phase::Over => {}
            else => break,
        }
        if link.phase() == Phase::Closing {
            let flushed = timeout(CLOSING_LIMIT, async {
                while link.phase() == Phase::Closing {
                    link.flush().await;
                }
            });
            // Whoever does not read in time loses the rest.
            drop(flushed.await);
            break;
        }
        if link.phase() == Phase::Over {
            reset = true;
            break;
        }
    }
    let undelivered = link.undelivered(reset);
    let all_read = !reset && undelivered.is_empty();
    shared.with(|core, world| {
        world.links.remove(&conn);
        core.disconnected(world, conn, all_read, &undelivered);
    });
}

/// Hands every whole message to the core.
fn take_messages(
    shared: &Shared,
    conn: ConnId,
    link: &Link,
    decoder: &mut Decoder,
) -> Result<(), o7s::control::FrameError> {
    while matches!(link.phase(), Phase::Open | Phase::Writing)
        && let Some((envelope, _)) = decoder.next_envelope()?
    {
        if let Envelope {
            id,
            body: Some(body),
            ..
        } = envelope
        {
            shared.with(|core, world| core.message(world, conn, id, body));
        }
    }
    Ok(())
}
