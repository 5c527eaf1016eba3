//! The client of `operf`.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Flow};
use o7s_wire::operf::{TestType, set_sequence};

use super::{
    args::ClientOptions,
    report::{Progress, Summary},
};
use crate::{
    load::{Load, Pace, passes},
    output::{complain, shown},
    stop::{Stop, with_signals},
};

/// Between the configuration and the first packet. A server in C that gets packets before it has
/// the flow in its set reads one of them at each event, so it lags behind for ever; and it drops
/// flows that are idle for a second, so the pause of a second of the client in C is too long.
const PAUSE: Duration = Duration::from_millis(200);
/// Silence after the last packet that ends a bidirectional test.
const REPLY_LIMIT: Duration = Duration::from_secs(2);
/// How often the reader looks whether all is sent.
const LOOK: Duration = Duration::from_millis(20);
/// Most packets read at once.
const BATCH: usize = 64;

/// Tests and returns the exit status.
pub(super) fn run(options: &ClientOptions) -> ExitCode {
    // Until here a signal ends the process as usual: there is nothing to sum up.
    let flow = match Flow::alloc(&options.name, options.qos, None) {
        Ok(flow) => flow,
        Err(error) => {
            complain(format_args!(
                "Failed to allocate flow: {}.\n{error}",
                -error.errno()
            ));
            return ExitCode::FAILURE;
        }
    };
    let mut load = options.load.clone();
    if let Ok(most) = flow.max_packet()
        && load.size > most
    {
        complain(format_args!(
            "Packet size truncated to {most} bytes, the most that this flow carries."
        ));
        load.size = most;
    }
    let client = Client {
        options,
        load,
        shown: shown(&options.name),
        flow,
        stop: Stop::default(),
        sending: AtomicBool::new(true),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        failure: Mutex::new(None),
    };
    // The first signal ends the sending, the second the waiting for replies.
    let on_signal = || {
        if client.stop.is_stopped() {
            // An error says that it is deallocated already.
            let _ = client.flow.dealloc();
        }
        client.stop.stop();
    };
    match with_signals(on_signal, || client.test()) {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("Failed to watch for signals: {error}."));
            ExitCode::FAILURE
        }
    }
}

struct Client<'a> {
    options: &'a ClientOptions,
    /// What is sent, as the flow allows it.
    load: Load,
    /// The name as it may go to a terminal.
    shown: String,
    flow: Flow,
    stop: Stop,
    /// Packets may still be sent.
    sending: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    /// The first failure of the flow.
    failure: Mutex<Option<(&'static str, Error)>>,
}

impl Client<'_> {
    fn test(&self) -> ExitCode {
        let format = self.options.format;
        let bi = self.options.test == TestType::Bi;
        format.remark(if bi {
            "Doing a bidirectional test."
        } else {
            "Doing a unidirectional test."
        });
        if let Err(error) = self.flow.write(&self.options.test.emit()) {
            complain(format_args!("Failed to send configuration.\n{error}"));
            return ExitCode::FAILURE;
        }
        self.stop.sleep(PAUSE);
        format.remark(format_args!("{}\n", self.announcement()));
        let done = Stop::default();
        let time = thread::scope(|scope| {
            let reader = bi.then(|| scope.spawn(|| self.read()));
            let progress = scope.spawn(|| self.show_progress(&done));
            let sent = self
                .load
                .send(&self.flow, &self.stop, &self.sent, |packet, number| {
                    #[allow(clippy::cast_possible_truncation, reason = "it wraps at 2^32")]
                    set_sequence(packet, number as u32);
                });
            if let Some(error) = sent.error {
                self.fail("Failed to send packet.", error);
            }
            self.sending.store(false, Ordering::Release);
            done.stop();
            let _ = progress.join();
            format.remark("Test finished.");
            if let Some(reader) = reader {
                let _ = reader.join();
            }
            sent.time
        });
        let failure = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((what, error)) = &failure {
            complain(format_args!("{what}\n{error}"));
        }
        let name = match format {
            crate::output::Format::Text => &self.shown,
            crate::output::Format::Json => &self.options.name,
        };
        format.tell(&Summary::new(
            name,
            self.load.size,
            self.sent.load(Ordering::Relaxed),
            bi.then(|| self.received.load(Ordering::Relaxed)),
            time,
        ));
        // Not before the summary: packets of a reliable flow may still be on their way.
        let _ = self.flow.dealloc();
        if failure.is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn announcement(&self) -> String {
        let (name, size) = (&self.shown, self.load.size);
        let seconds = self.load.duration.as_secs_f64();
        match self.load.pace {
            Pace::Flood => {
                format!("Flooding {name} with {size} byte packets for {seconds} seconds.")
            }
            Pace::Rate { bits, .. } => {
                #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
                let rate = bits as f64 / 1e6;
                format!("Sending {size} byte packets for {seconds} s to {name} at {rate:.3} Mb/s.")
            }
        }
    }

    /// Keeps the first failure, unless we ended the flow ourselves.
    fn fail(&self, what: &'static str, error: Error) {
        if error.kind() == ErrorKind::NotAllocated {
            return;
        }
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((what, error));
        self.stop.stop();
    }

    /// Counts replies until all are there, none comes any more, or the flow fails.
    fn read(&self) {
        let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
        let mut last = Instant::now();
        loop {
            // In this order: what is sent after the look at `sending` is not missed.
            let sending = self.sending.load(Ordering::Acquire);
            let sent = self.sent.load(Ordering::Relaxed);
            if sending {
                last = Instant::now();
            } else if self.received.load(Ordering::Relaxed) >= sent {
                return;
            }
            bytes.clear();
            lengths.clear();
            let error = match self.flow.try_read_appended(BATCH, &mut bytes, &mut lengths) {
                Ok(()) => {
                    last = Instant::now();
                    self.count(&lengths);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if last.elapsed() >= REPLY_LIMIT {
                        self.options.format.remark("Server timed out.");
                        return;
                    }
                    match self.flow.wait_readable(Some(Instant::now() + LOOK)) {
                        Err(error) if !passes(&error) => error,
                        _ => continue,
                    }
                }
                Err(error) => error,
            };
            self.fail("Failed to read packet.", error);
            return;
        }
    }

    fn count(&self, lengths: &[usize]) {
        let replies = lengths
            .iter()
            .filter(|length| **length == self.load.size)
            .count();
        for _ in replies..lengths.len() {
            complain(format_args!("Invalid message on fd {}.", self.flow.fd()));
        }
        self.received.fetch_add(replies as u64, Ordering::Relaxed);
    }

    fn show_progress(&self, done: &Stop) {
        let Some(interval) = self.options.interval else {
            return;
        };
        let start = Instant::now();
        let (mut at, mut sent, mut received) = (Duration::ZERO, 0, 0);
        while !done.sleep(interval) {
            let now = start.elapsed();
            let now_sent = self.sent.load(Ordering::Relaxed);
            let now_received = self.received.load(Ordering::Relaxed);
            self.options.format.remark(Progress {
                at: now,
                time: now.saturating_sub(at),
                size: self.load.size,
                sent: now_sent - sent,
                received: (self.options.test == TestType::Bi).then_some(now_received - received),
            });
            (at, sent, received) = (now, now_sent, now_received);
        }
    }
}
