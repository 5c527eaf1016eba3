//! The server of `ocbr`.

use std::{
    fmt,
    process::ExitCode,
    time::{Duration, Instant},
};

use o7s::{Error, ErrorKind, Flow};
use serde::Serialize;

use super::args::ServerOptions;
use crate::{
    load::{megabits, passes, per_second},
    output::{Format, complain},
    serve::Server,
    stop::Stop,
};

/// Most flows at a time; further ones wait.
const FLOWS: usize = 10;
/// Most packets read at once.
const BATCH: usize = 64;

/// Serves until a signal, and returns the exit status.
pub(super) fn run(options: &ServerOptions) -> ExitCode {
    let server = Server {
        flows: FLOWS,
        full: || complain("Can't accept any more flows, waiting."),
        work: |flow: &Flow, stop: &Stop| serve(options, flow, stop),
    };
    server.run(|| {
        options.format.tell(&News::Started {
            interval_s: options.interval.as_secs_f64(),
            timeout_s: options.timeout.as_secs_f64(),
        });
    })
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started { interval_s: f64, timeout_s: f64 },
    Flow { fd: i32 },
    Progress(Received),
    TimedOut { fd: i32 },
    Closed { fd: i32 },
    Total(Received),
}

/// What came on a flow in a time.
#[derive(Debug, Serialize)]
struct Received {
    fd: i32,
    packets: u64,
    bytes: u64,
    time_ms: u64,
    packets_per_second: f64,
    bandwidth_mbps: f64,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:9} packets ({:12} bytes) in {:9} ms => {:9.4} pps, {:9.4} Mbps",
            self.packets, self.bytes, self.time_ms, self.packets_per_second, self.bandwidth_mbps
        )
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started {
                interval_s,
                timeout_s,
            } => write!(
                f,
                "Server started, interval is {interval_s} s, timeout is {timeout_s} s."
            ),
            Self::Flow { .. } => f.write_str("New flow."),
            Self::Progress(received) => write!(f, "Flow {:4}: {received}", received.fd),
            Self::Total(received) => write!(f, "Flow {:4} in total: {received}", received.fd),
            Self::TimedOut { fd } => write!(f, "Test on flow {fd} timed out"),
            Self::Closed { fd } => write!(f, "Flow {fd} closed."),
        }
    }
}

/// Packets and bytes since a time.
#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    packets: u64,
    bytes: u64,
}

impl Count {
    fn new(since: Instant) -> Self {
        Self {
            since,
            packets: 0,
            bytes: 0,
        }
    }

    fn record(&mut self, lengths: &[usize]) {
        self.packets += lengths.len() as u64;
        self.bytes += lengths.iter().sum::<usize>() as u64;
    }

    fn received(&self, fd: i32, until: Instant) -> Received {
        let time = until.saturating_duration_since(self.since);
        Received {
            fd,
            packets: self.packets,
            bytes: self.bytes,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            packets_per_second: per_second(self.packets, time),
            bandwidth_mbps: megabits(self.bytes, time),
        }
    }
}

/// Serves a flow until it ends.
fn serve(options: &ServerOptions, flow: &Flow, stop: &Stop) {
    let (fd, format) = (flow.fd(), options.format);
    format.tell(&News::Flow { fd });
    let now = Instant::now();
    let mut run = Run {
        flow,
        timeout: options.timeout,
        interval: options.interval,
        format,
        total: Count::new(now),
        now: Count::new(now),
        last: now,
    };
    let end = run.receive();
    let until = run.last;
    if run.now.packets > 0 {
        format.tell(&News::Progress(run.now.received(fd, until)));
    }
    match end {
        End::TimedOut => format.tell(&News::TimedOut { fd }),
        End::Failed(_) if stop.is_stopped() => {}
        End::Failed(error) if error.kind() == ErrorKind::FlowDown => {
            format.tell(&News::Closed { fd });
        }
        End::Failed(error) => complain(format_args!("Flow {fd} failed.\n{error}")),
    }
    format.tell(&News::Total(run.total.received(fd, until)));
}

/// Why a flow is not served any more.
enum End {
    TimedOut,
    Failed(Error),
}

/// A test that runs.
struct Run<'a> {
    flow: &'a Flow,
    timeout: Duration,
    interval: Duration,
    format: Format,
    total: Count,
    /// In this interval.
    now: Count,
    /// When the last packet came, or the flow.
    last: Instant,
}

impl Run<'_> {
    fn receive(&mut self) -> End {
        let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
        loop {
            bytes.clear();
            lengths.clear();
            let read = self.flow.try_read_appended(BATCH, &mut bytes, &mut lengths);
            let now = Instant::now();
            self.report(now);
            let error = match read {
                Ok(()) => {
                    if self.total.packets == 0 {
                        (self.total.since, self.now.since) = (now, now);
                    }
                    self.last = now;
                    self.total.record(&lengths);
                    self.now.record(&lengths);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let limit = self.last + self.timeout;
                    if now >= limit {
                        return End::TimedOut;
                    }
                    let wake = limit.min(self.now.since + self.interval);
                    match self.flow.wait_readable(Some(wake)) {
                        Err(error) if !passes(&error) => error,
                        _ => continue,
                    }
                }
                Err(error) => error,
            };
            return End::Failed(error);
        }
    }

    /// Shows the interval if it is over.
    fn report(&mut self, now: Instant) {
        if now.saturating_duration_since(self.now.since) < self.interval {
            return;
        }
        if self.total.packets > 0 {
            let fd = self.flow.fd();
            self.format
                .tell(&News::Progress(self.now.received(fd, now)));
        }
        self.now = Count::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_specification() {
        let since = Instant::now();
        let mut count = Count::new(since);
        count.record(&[1000; 125]);
        let received = count.received(64, since + Duration::from_secs(1));
        assert_eq!(
            News::Progress(received).to_string(),
            "Flow   64:       125 packets (      125000 bytes) in      1000 ms =>  125.0000 pps,    \
             1.0000 Mbps"
        );
    }
}
