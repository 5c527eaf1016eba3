//! The data thread: its loop, and the handle by which management reaches it.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use o7s::{Error, Result, control::FlowEnd};
use o7s_ring::wait::Spin;
use rustix::event::{EventfdFlags, eventfd};

use super::{Context, DataPath, Event, Events, Progress};

/// Turns of a busy loop after which it looks for doorbells.
const HEAR_EVERY: u32 = 16;

#[derive(Debug)]
enum Command<C> {
    Path(C),
    Dealloc(FlowEnd),
    Stop,
}

/// The commands on their way to the thread.
#[derive(Debug)]
struct Queue<C> {
    commands: Mutex<VecDeque<Command<C>>>,
    waiting: AtomicBool,
    wake: OwnedFd,
}

impl<C> Queue<C> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Command<C>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, command: Command<C>) {
        let mut commands = self.lock();
        commands.push_back(command);
        self.waiting.store(true, Ordering::Release);
        drop(commands);
        // Full means that it is readable.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The loop of a data thread, one turn at a time.
#[derive(Debug)]
pub struct Plane<P: DataPath> {
    path: P,
    cx: Context,
    queue: Arc<Queue<P::Command>>,
    turns: u32,
    stopped: bool,
}

/// How management reaches the data thread. Dropping it ends the thread; the flows go down.
#[derive(Debug)]
pub struct Handle<C> {
    queue: Arc<Queue<C>>,
    thread: Option<JoinHandle<()>>,
}

impl<C> Handle<C> {
    /// Sends the path a command.
    pub fn send(&self, command: C) {
        self.queue.push(Command::Path(command));
    }

    /// The program gave its end of a flow back or died; `end` is the IPCP's. An end that is gone
    /// already is none.
    pub fn dealloc(&self, end: FlowEnd) {
        self.queue.push(Command::Dealloc(end));
    }
}

impl<C> Drop for Handle<C> {
    fn drop(&mut self) {
        self.queue.push(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // How it ended was said by an event.
            let _ = thread.join();
        }
    }
}

impl<P: DataPath> Plane<P> {
    /// A loop without a thread, and its handle.
    ///
    /// # Errors
    /// No descriptors or memory.
    pub fn new(path: P, events: Events) -> io::Result<(Self, Handle<P::Command>)> {
        let queue = Arc::new(Queue {
            commands: Mutex::default(),
            waiting: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let plane = Self {
            path,
            cx: Context::new(events, queue.wake.as_fd())?,
            queue: queue.clone(),
            turns: 0,
            stopped: false,
        };
        let handle = Handle {
            queue,
            thread: None,
        };
        Ok((plane, handle))
    }

    /// Does what there is to do at `now`, a batch per flow; whether that was anything.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.cx.now = now;
        let mut busy = self.commands();
        self.turns += 1;
        if self.turns >= HEAR_EVERY {
            self.turns = 0;
            self.cx.hear(false);
        }
        self.cx.expire();
        if self.cx.alarm_due() {
            self.path.alarm(&mut self.cx);
        }
        let mut at = 0;
        while let Some(source) = self.cx.sources.get(at).copied() {
            if self.path.readable(&mut self.cx, source) == Progress::Some {
                busy = true;
                at += 1;
            } else {
                self.cx.sources.swap_remove(at);
            }
        }
        busy |= self.path.turn(&mut self.cx) == Progress::Some;
        self.cx.settle();
        let mut at = 0;
        while let Some(token) = self.cx.active.get(at).copied() {
            let worth = self.path.poll(&mut self.cx, token) == Progress::Some;
            self.cx.settle();
            busy |= worth;
            self.cx.polled(token, worth);
            // Unless the end left the list, the next one is behind it.
            at += usize::from(self.cx.active.get(at) == Some(&token));
        }
        busy |= self.path.finish(&mut self.cx) == Progress::Some;
        self.cx.settle();
        busy
    }

    /// What the path works with.
    pub fn context(&mut self) -> &mut Context {
        &mut self.cx
    }

    /// The path.
    pub fn path(&self) -> &P {
        &self.path
    }

    fn commands(&mut self) -> bool {
        if !self.queue.waiting.load(Ordering::Acquire) {
            return false;
        }
        let commands = {
            let mut commands = self.queue.lock();
            self.queue.waiting.store(false, Ordering::Relaxed);
            std::mem::take(&mut *commands)
        };
        for command in commands {
            match command {
                Command::Path(command) => self.path.command(&mut self.cx, command),
                Command::Dealloc(end) => {
                    if let Some(token) = self.cx.token(end.flow_id, end.side) {
                        let linger = Duration::from_secs(end.linger_s.into());
                        self.path.dealloc(&mut self.cx, token, linger);
                        self.cx.activate(token);
                    }
                }
                Command::Stop => self.stopped = true,
            }
        }
        true
    }

    /// Waits until there may be something to do.
    pub fn wait(&mut self) {
        if self.cx.arm_all()
            && self.path.arm(&mut self.cx)
            && !self.queue.waiting.load(Ordering::Acquire)
        {
            self.cx.hear(true);
        } else {
            self.cx.hear(false);
        }
    }

    fn run(&mut self) {
        let spin = Spin::new();
        while !self.stopped {
            if self.turn(Instant::now()) {
                continue;
            }
            let (cx, path, queue) = (&self.cx, &self.path, &self.queue);
            let ready =
                || cx.is_ready() || path.is_ready() || queue.waiting.load(Ordering::Relaxed);
            let looks = path.spins() && (!cx.active.is_empty() || path.is_active());
            let found = looks && spin.until(cx.next_timer(), ready);
            if !found {
                self.wait();
            }
        }
        self.cx.fail();
    }
}

/// Starts a data thread.
///
/// # Errors
/// No descriptors, memory or threads.
pub fn start<P: DataPath>(path: P, events: Events) -> Result<Handle<P::Command>> {
    let failed = |error: io::Error| Error::system("start the data path", &error);
    let (mut plane, mut handle) = Plane::new(path, events).map_err(failed)?;
    let body = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| plane.run()));
        if outcome.is_err() {
            plane.cx.tell(Event::Failed);
        }
    };
    let thread = std::thread::Builder::new()
        .name("data".to_owned())
        .spawn(body);
    handle.thread = Some(thread.map_err(failed)?);
    Ok(handle)
}
