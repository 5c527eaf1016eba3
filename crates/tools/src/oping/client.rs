//! The client of `oping`.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use o7s::{Error, ErrorKind, Flow, FlowFlags};
use o7s_wire::oping::{HEADER_LEN, Kind, Ping};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    args::{ClientOptions, Pace, SIZES},
    spread::{Spread, Times},
    stats::{Reply, Stats, rtt},
};
use crate::output::{complain, print, say, shown};

/// What the reader waits for a reply, beyond the interval.
const REPLY_LIMIT: Duration = Duration::from_secs(2);
/// What a flood waits for a reply before the packet counts as lost.
const FLOOD_LIMIT: Duration = Duration::from_secs(1);
/// Lost packets in a row that end a flood: the server does not answer any more.
const FLOOD_LOSSES: u32 = 3;
/// Fruitless looks between two looks at the clock, and a chance for others on the same CPU.
const SPINS: u32 = 128;

/// Pings and returns the exit status.
pub(super) fn run(options: &ClientOptions) -> u8 {
    // Until here a signal ends the process as usual: there is nothing to sum up.
    let flow = match Flow::alloc(&options.name, options.qos, None) {
        Ok(flow) => flow,
        Err(error) => {
            complain(format_args!(
                "Failed to allocate flow: {}.\n{error}",
                -error.errno()
            ));
            return 1;
        }
    };
    let mut signals = match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        Ok(signals) => signals,
        Err(error) => {
            complain(format_args!("Failed to watch for signals: {error}."));
            return 1;
        }
    };
    let client = Client {
        options,
        shown: shown(&options.name),
        flow,
        start: Instant::now(),
        sent: AtomicU64::new(0),
        broken: AtomicBool::new(false),
        times: options.histogram.then(Mutex::default),
        stop: Mutex::new(false),
        stopped: Condvar::new(),
    };
    let handle = signals.handle();
    let stats = thread::scope(|scope| {
        scope.spawn(|| {
            if signals.forever().next().is_some() {
                client.stop();
            }
        });
        let stats = client.ping();
        handle.close();
        stats
    });
    let (sent, time) = (client.sent.load(Ordering::Relaxed), client.start.elapsed());
    let spread = client
        .times
        .map(|times| Spread::of(&times.into_inner().unwrap_or_else(PoisonError::into_inner)));
    print(&if options.json {
        stats.json(&options.name, sent, time, spread.as_ref())
    } else {
        let spread = spread.map_or_else(String::new, |spread| spread.to_string());
        stats.summary(&client.shown, sent, time) + &spread
    });
    u8::from(client.broken.load(Ordering::Relaxed))
}

struct Client<'a> {
    options: &'a ClientOptions,
    /// The name as it may go to a terminal.
    shown: String,
    flow: Flow,
    start: Instant,
    sent: AtomicU64,
    /// The flow failed; its first failure is told.
    broken: AtomicBool,
    /// All round-trip times, if their spread is wanted.
    times: Option<Mutex<Times>>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

/// Why no more replies are to come.
struct Over;

impl Client<'_> {
    /// Ends all that goes on: whoever waits on the flow returns when it is deallocated.
    fn stop(&self) {
        *self.lock() = true;
        self.stopped.notify_all();
        // An error says that it is deallocated already.
        let _ = self.flow.dealloc();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        *self.lock()
    }

    /// Sleeps, but not past the end; true if it is the end.
    fn sleep(&self, time: Duration) -> bool {
        let (stop, _) = self
            .stopped
            .wait_timeout_while(self.lock(), time, |stop| !*stop)
            .unwrap_or_else(PoisonError::into_inner);
        *stop
    }

    fn ping(&self) -> Stats {
        let options = self.options;
        if !options.json {
            let how = match options.pace {
                Pace::FloodBusy => ", busy-poll",
                Pace::Interval | Pace::Flood => "",
            };
            say(format_args!(
                "Pinging {} with {} bytes of data ({} packets{how}):\n",
                self.shown, options.size, options.count
            ));
        }
        let stats = match options.pace {
            Pace::Interval => thread::scope(|scope| {
                scope.spawn(|| self.send_all());
                let stats = self.read_all();
                self.stop();
                stats
            }),
            Pace::Flood => self.flood(|deadline| self.read_until(deadline)),
            Pace::FloodBusy => self.flood(|deadline| self.spin_until(deadline)),
        };
        self.stop();
        stats
    }

    /// Sends one packet every interval, waiting first.
    fn send_all(&self) {
        for id in 0..self.options.count {
            if self.sleep(self.options.interval) {
                return;
            }
            if let Err(error) = self.send(id) {
                self.fail("Failed to send packet.", &error);
                self.stop();
                return;
            }
        }
    }

    fn send(&self, id: u32) -> Result<(), Error> {
        let mut packet = [0; *SIZES.end()];
        let (sec, nsec) = now();
        let ping = Ping {
            kind: Kind::Request,
            id,
            sec,
            nsec,
        };
        if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
            ping.emit(header);
        }
        self.flow.write(&packet[..self.options.size])?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the first failure of the flow, unless we ended it ourselves.
    fn fail(&self, what: &str, error: &Error) {
        if !self.is_stopped() && !self.broken.swap(true, Ordering::Relaxed) {
            complain(format_args!("{what}\n{error}"));
        }
    }

    /// Reads until the last reply, a silence, or the end.
    fn read_all(&self) -> Stats {
        let mut stats = Stats::default();
        let limit = REPLY_LIMIT + Duration::from_secs(self.options.interval.as_secs());
        let mut buffer = [0; *SIZES.end()];
        // Whole packets only: one that fills the buffer has no end mark after it. An error says that
        // the flow is over, and so will the first read.
        let flags = FlowFlags::READ_WRITE | FlowFlags::NO_PARTIAL_READ;
        let _ = self.flow.set_flags(flags);
        let _ = self.flow.set_read_timeout(Some(limit));
        while stats.next < self.options.count {
            match self.flow.read(&mut buffer) {
                Ok(length) => drop(self.reply(&mut stats, &buffer[..length])),
                Err(error) if error.kind() == ErrorKind::MessageSize => self.invalid(),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    say("Server timed out.");
                    break;
                }
                Err(error) => {
                    self.lost_flow(&error);
                    break;
                }
            }
        }
        stats
    }

    fn lost_flow(&self, error: &Error) {
        self.fail(&format!("The flow to {} is down.", self.shown), error);
    }

    /// Sends each packet when the reply to the one before is there, or is given up.
    fn flood(&self, read: impl Fn(Instant) -> Result<Option<Vec<u8>>, Over>) -> Stats {
        let mut stats = Stats::default();
        let mut losses = 0;
        for id in 0..self.options.count {
            if let Err(error) = self.send(id) {
                self.fail("Failed to send packet.", &error);
                break;
            }
            let deadline = Instant::now() + FLOOD_LIMIT;
            let answered = loop {
                match read(deadline) {
                    // Late replies to earlier packets are counted on the way.
                    Ok(Some(packet)) => {
                        if self.reply(&mut stats, &packet) == Some(id) {
                            break true;
                        }
                    }
                    Ok(None) => break false,
                    Err(Over) => return stats,
                }
            };
            losses = if answered { 0 } else { losses + 1 };
            if losses == FLOOD_LOSSES {
                say("Server timed out.");
                break;
            }
        }
        stats
    }

    /// The next packet, none at `deadline`.
    fn read_until(&self, deadline: Instant) -> Result<Option<Vec<u8>>, Over> {
        loop {
            match self.flow.try_read_packet() {
                Ok(packet) => return Ok(Some(packet)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.lost_flow(&error);
                    return Err(Over);
                }
            }
            match self.flow.wait_readable(Some(deadline)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(error) => {
                    self.lost_flow(&error);
                    return Err(Over);
                }
            }
        }
    }

    /// The same without sleeping.
    fn spin_until(&self, deadline: Instant) -> Result<Option<Vec<u8>>, Over> {
        loop {
            for _ in 0..SPINS {
                match self.flow.try_read_packet() {
                    Ok(packet) => return Ok(Some(packet)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => {
                        self.lost_flow(&error);
                        return Err(Over);
                    }
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::yield_now();
        }
    }

    fn invalid(&self) {
        complain(format_args!("Invalid message on fd {}.", self.flow.fd()));
    }

    /// Counts and prints a reply; its id if it is one.
    fn reply(&self, stats: &mut Stats, packet: &[u8]) -> Option<u32> {
        let now = now();
        let ping = match Ping::parse(packet) {
            Ok(ping) if ping.kind == Kind::Reply => ping,
            _ => {
                self.invalid();
                return None;
            }
        };
        if ping.id >= self.options.count {
            complain("Invalid id.");
            return None;
        }
        let rtt = rtt(now, (ping.sec, ping.nsec));
        let late = stats.record(ping.id, rtt);
        if let Some(times) = &self.times {
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.record(rtt);
        }
        if !self.options.quiet && !self.options.json {
            let at = self.options.timeofday.then(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
            });
            say(Reply {
                length: packet.len(),
                name: &self.shown,
                id: ping.id,
                rtt,
                late,
                at,
            });
        }
        Some(ping.id)
    }
}

/// The monotonic clock, as it goes into packets.
fn now() -> (u64, u64) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    (part(now.tv_sec), part(now.tv_nsec))
}
