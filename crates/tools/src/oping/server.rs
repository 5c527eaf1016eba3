//! The server of `oping`.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Event, EventKind, EventQueue, Flow, FlowFlags, FlowSet};
use o7s_wire::oping::{HEADER_LEN, Kind, Ping};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::args::{SIZES, ServerOptions, Waiting};
use serde::Serialize;

use crate::output::{Format, complain};

/// Flows without a packet for this long are deallocated.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How often that is checked.
const CHECK: Duration = Duration::from_secs(1);
/// Pause after a failed accept: from, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Fruitless looks in busy mode before others on the same CPU get a chance.
const SPINS: u32 = 1024;

/// Serves until a signal, and returns the exit status.
pub(super) fn run(options: &ServerOptions) -> u8 {
    let server = Arc::new(Server {
        quiet: options.quiet,
        format: Format::json(options.json),
        flows: Mutex::default(),
        no_daemon: AtomicBool::new(false),
    });
    if let Err(error) = server.clone().end_on_signal() {
        complain(format_args!("Failed to watch for signals: {error}."));
        return 1;
    }
    match options.waiting {
        Waiting::Busy => {
            server.format.tell(&News::Started { busy: true });
            server.busy()
        }
        Waiting::Sleep => {
            server.format.tell(&News::Started { busy: false });
            server.serve(CHECK)
        }
        Waiting::Poll => {
            server.format.tell(&News::Started { busy: false });
            server.serve(Duration::ZERO)
        }
    }
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started { busy: bool },
    Flow { fd: i32, busy: bool },
    Received { fd: i32, bytes: usize },
    Closed { fd: i32 },
    TimedOut { fd: i32 },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { busy } => {
                f.write_str("Ouroboros ping server started.")?;
                f.write_str(if *busy { " [busy-poll]" } else { "" })
            }
            Self::Flow { fd, busy } => {
                let how = if *busy { " (busy-poll)" } else { "" };
                write!(f, "New flow {fd}{how}.")
            }
            Self::Received { fd, bytes } => write!(f, "Received {bytes} bytes on fd {fd}."),
            Self::Closed { fd } => write!(f, "Flow {fd} closed."),
            Self::TimedOut { fd } => write!(f, "Flow {fd} timed out."),
        }
    }
}

struct Server {
    quiet: bool,
    format: Format,
    /// Flows in use with the time of their last packet.
    flows: Mutex<HashMap<i32, (Flow, Instant)>>,
    /// No more flows can come.
    no_daemon: AtomicBool,
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, (Flow, Instant)>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a signal: says goodbye on all flows and ends the process.
    fn end_on_signal(self: Arc<Self>) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if signals.forever().next().is_some() {
                    for (flow, _) in self.lock().values() {
                        // An error says that it is deallocated already.
                        let _ = flow.dealloc();
                    }
                    std::process::exit(0);
                }
            })?;
        Ok(())
    }

    /// The next flow; none when there will never be one.
    fn accept(&self) -> Option<Flow> {
        let mut pause = BACK_OFF.0;
        loop {
            match Flow::accept(None) {
                Ok(flow) => return Some(flow),
                Err(error) => {
                    let code = -error.errno();
                    complain(format_args!("Failed to accept flow: {code} \n{error}"));
                    if error.kind() == ErrorKind::Daemon {
                        return None;
                    }
                    // One client's failure is not the server's; a lasting one must not spin.
                    thread::sleep(pause);
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Serves all flows from one set; `wait` is how long it waits for events at once.
    fn serve(self: Arc<Self>, wait: Duration) -> u8 {
        let fail = |error: &dyn std::fmt::Display| {
            complain(format_args!("Failed to wait for packets.\n{error}"));
            1
        };
        let set = match FlowSet::new() {
            Ok(set) => Arc::new(set),
            Err(error) => return fail(&error),
        };
        let acceptor = (self.clone(), set.clone());
        let started = thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || acceptor.0.accept_all(&acceptor.1));
        if let Err(error) = started {
            return fail(&error);
        }
        let queue = EventQueue::new();
        let mut checked = Instant::now();
        loop {
            match set.wait(&queue, Some(wait)) {
                Ok(()) => {
                    while let Some(event) = queue.next_event() {
                        self.handle(&event);
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => return fail(&error),
            }
            if checked.elapsed() >= CHECK {
                checked = Instant::now();
                self.drop_idle();
                // Running flows do not need the daemon; new ones do.
                if self.no_daemon.load(Ordering::Acquire) && self.lock().is_empty() {
                    return 1;
                }
            }
        }
    }

    fn accept_all(&self, set: &FlowSet) {
        while let Some(flow) = self.accept() {
            let fd = flow.fd();
            self.format.tell(&News::Flow { fd, busy: false });
            self.lock().insert(fd, (flow.clone(), Instant::now()));
            let flags =
                FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING | FlowFlags::NO_PARTIAL_READ;
            if let Err(error) = flow.set_flags(flags).and_then(|()| set.add(&flow)) {
                complain(format_args!("Cannot serve flow {fd}: {error}"));
                self.drop_flow(fd);
            }
        }
        self.no_daemon.store(true, Ordering::Release);
    }

    fn handle(&self, event: &Event) {
        let fd = event.flow.fd();
        match event.kind {
            EventKind::Packet => {
                if let Some((_, last)) = self.lock().get_mut(&fd) {
                    *last = Instant::now();
                }
                let mut buffer = [0; *SIZES.end()];
                match event.flow.try_read(&mut buffer) {
                    Ok(length) => self.answer(&event.flow, &mut buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::MessageSize => invalid(fd),
                    // The end of the flow has its own event.
                    Err(_) => {}
                }
            }
            EventKind::Dealloc | EventKind::Peer | EventKind::Down => {
                if self.drop_flow(fd) {
                    self.format.tell(&News::Closed { fd });
                }
            }
            EventKind::Up | EventKind::Alloc => {}
        }
    }

    /// Sends a request back as a reply. A client that does not read loses replies.
    fn answer(&self, flow: &Flow, packet: &mut [u8]) {
        let fd = flow.fd();
        if !self.quiet {
            let bytes = packet.len();
            self.format.tell(&News::Received { fd, bytes });
        }
        if !make_reply(packet) {
            invalid(fd);
            return;
        }
        match flow.try_write(packet) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                complain(format_args!(
                    "The client of flow {fd} does not read; a reply is lost."
                ));
            }
            // The end of the flow has its own event.
            _ => {}
        }
    }

    fn drop_idle(&self) {
        let idle: Vec<i32> = self
            .lock()
            .iter()
            .filter(|(_, (_, last))| last.elapsed() > IDLE_LIMIT)
            .map(|(fd, _)| *fd)
            .collect();
        for fd in idle {
            self.format.tell(&News::TimedOut { fd });
            self.drop_flow(fd);
        }
    }

    /// Ends a flow; false if it is none of ours any more.
    fn drop_flow(&self, fd: i32) -> bool {
        let Some((flow, _)) = self.lock().remove(&fd) else {
            return false;
        };
        // Takes it out of the set, too. An error says that it is deallocated already.
        let _ = flow.dealloc();
        true
    }

    /// Serves one flow, spinning on it until it fails.
    fn busy(&self) -> u8 {
        let Some(flow) = self.accept() else {
            return 1;
        };
        let fd = flow.fd();
        self.format.tell(&News::Flow { fd, busy: true });
        self.lock().insert(fd, (flow.clone(), Instant::now()));
        let error = self.spin(&flow);
        complain(format_args!("Flow {fd} ended.\n{error}"));
        0
    }

    fn spin(&self, flow: &Flow) -> Error {
        let flags = FlowFlags::READ_WRITE | FlowFlags::NON_BLOCKING | FlowFlags::NO_PARTIAL_READ;
        if let Err(error) = flow.set_flags(flags) {
            return error;
        }
        let mut buffer = [0; *SIZES.end()];
        let mut spins = 0;
        loop {
            match flow.try_read(&mut buffer) {
                Ok(length) => {
                    spins = 0;
                    self.answer(flow, &mut buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::hint::spin_loop();
                    spins += 1;
                    if spins == SPINS {
                        spins = 0;
                        thread::yield_now();
                    }
                }
                Err(error) if error.kind() == ErrorKind::MessageSize => invalid(flow.fd()),
                Err(error) => return error,
            }
        }
    }
}

fn invalid(fd: i32) {
    complain(format_args!("Invalid message on fd {fd}."));
}

/// Turns a request into its reply; false if it is none.
fn make_reply(packet: &mut [u8]) -> bool {
    let Ok(ping) = Ping::parse(packet) else {
        return false;
    };
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
        return false;
    };
    if ping.kind != Kind::Request {
        return false;
    }
    let reply = Ping {
        kind: Kind::Reply,
        ..ping
    };
    reply.emit(header);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_the_request_with_another_type() {
        let mut packet: Vec<u8> = (0..64).collect();
        packet[..4].fill(0);
        let mut expected = packet.clone();
        expected[3] = 1;
        assert!(make_reply(&mut packet));
        assert_eq!(packet, expected);
        // A reply is no request, and neither are too few bytes or another type.
        assert!(!make_reply(&mut packet));
        assert!(!make_reply(&mut [0; 23]));
        assert!(!make_reply(&mut [7; 64]));
    }
}
