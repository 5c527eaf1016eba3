//! The server of `operf`.

use std::{
    fmt,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use o7s::{Error, ErrorKind, Flow, FlowFlags};
use o7s_wire::operf::{CONFIG_LEN, TestType, sequence};
use serde::Serialize;

use super::{
    args::ServerOptions,
    report::{Count, Received},
};
use crate::{load::passes, output::complain, serve::Server, stop::Stop};

/// Most flows at a time; further ones wait.
const FLOWS: usize = 256;
/// How long a client may take for its configuration, and from there to its first two packets.
const FIRST_LIMIT: Duration = Duration::from_secs(10);
/// A flow that was idle for this long, and for [`GAPS`] times its longest pause so far, is over:
/// over most layers nothing else tells the end.
const IDLE_LIMIT: Duration = Duration::from_secs(1);
const GAPS: u32 = 4;
/// How often idle flows and stopped tests are looked for.
const CHECK: Duration = Duration::from_secs(1);
/// Most lines about packets in a second, unless all are wanted.
const LINES: u32 = 1000;
/// Most packets read at once.
const BATCH: usize = 64;

/// Serves until a signal, and returns the exit status.
pub(super) fn run(options: &ServerOptions) -> ExitCode {
    let server = Server {
        flows: FLOWS,
        full: || complain("Can't accept any more flows, waiting."),
        work: |flow: &Flow, stop: &Stop| serve(options, flow, stop),
    };
    server.run(|| options.format.tell(&News::Started))
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started,
    Flow { fd: i32 },
    Test { fd: i32, test: &'static str },
    Packet { fd: i32, seqno: u32, time: f64 },
    Progress(Received),
    TimedOut { fd: i32 },
    Closed { fd: i32 },
    Summary(Received),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Ouroboros perf server started."),
            Self::Flow { fd } => write!(f, "New flow {fd}."),
            Self::Test { test, .. } => write!(f, "Doing a {test}directional test."),
            Self::Packet { fd, seqno, time } => write!(f, "Seqno {seqno} from fd {fd}: {time:.6}"),
            Self::Progress(received) => write!(f, "Flow {}: {received}", received.fd),
            Self::TimedOut { fd } => write!(f, "Flow {fd} timed out."),
            Self::Closed { fd } => write!(f, "Flow {fd} closed."),
            Self::Summary(received) => write!(f, "Flow {} in total: {received}", received.fd),
        }
    }
}

/// Serves a flow until it ends.
fn serve(options: &ServerOptions, flow: &Flow, stop: &Stop) {
    let (fd, format) = (flow.fd(), options.format);
    format.tell(&News::Flow { fd });
    let test = match configuration(flow) {
        Ok(test) => test,
        Err(_) if stop.is_stopped() => return,
        Err(refusal) => {
            complain(refusal);
            return;
        }
    };
    format.tell(&News::Test {
        fd,
        test: match test {
            TestType::Uni => "uni",
            TestType::Bi => "bi",
        },
    });
    let mut run = Run {
        options,
        flow,
        echo: test == TestType::Bi,
        count: Count::default(),
        before: Count::default(),
        begin: Instant::now(),
        last: Instant::now(),
        longest: Duration::ZERO,
        reported: Instant::now(),
        lines: (Instant::now(), 0),
    };
    let end = run.receive();
    // The time from the first to the last packet: the silence that ended the test is none of it.
    let time = run.last.saturating_duration_since(run.begin);
    match end {
        End::TimedOut => format.tell(&News::TimedOut { fd }),
        End::Failed(_) if stop.is_stopped() => {}
        End::Failed(error) if error.kind() == ErrorKind::FlowDown => {
            format.tell(&News::Closed { fd });
        }
        End::Failed(error) => complain(format_args!("Flow {fd} failed.\n{error}")),
    }
    format.tell(&News::Summary(run.count.received(fd, time)));
}

/// The first message of a flow; else what to say about it.
fn configuration(flow: &Flow) -> Result<TestType, String> {
    let fd = flow.fd();
    let failed = |error: Error| format!("No configuration on flow {fd}.\n{error}");
    let flags = FlowFlags::READ_WRITE | FlowFlags::NO_PARTIAL_READ;
    flow.set_flags(flags).map_err(failed)?;
    flow.set_read_timeout(Some(FIRST_LIMIT)).map_err(failed)?;
    let mut buffer = [0; CONFIG_LEN];
    match flow.read(&mut buffer) {
        Ok(length) => TestType::parse(buffer.get(..length).unwrap_or_default())
            .map_err(|error| format!("Invalid config message.\nFlow {fd}: {error}.")),
        Err(error) if error.kind() == ErrorKind::MessageSize => Err(format!(
            "Invalid config message.\nFlow {fd}: it is longer than {CONFIG_LEN} bytes."
        )),
        Err(error) => Err(failed(error)),
    }
}

/// Why a flow is not served any more.
enum End {
    TimedOut,
    Failed(Error),
}

/// A test that runs.
struct Run<'a> {
    options: &'a ServerOptions,
    flow: &'a Flow,
    echo: bool,
    count: Count,
    /// As of the last line of progress.
    before: Count,
    /// Of the first packet.
    begin: Instant,
    /// Of the last packet, or of the configuration.
    last: Instant,
    /// Longest pause between packets.
    longest: Duration,
    /// Of the last line of progress.
    reported: Instant,
    /// Lines about packets since a time.
    lines: (Instant, u32),
}

impl Run<'_> {
    fn receive(&mut self) -> End {
        let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
        loop {
            bytes.clear();
            lengths.clear();
            let read = self.flow.try_read_appended(BATCH, &mut bytes, &mut lengths);
            let now = Instant::now();
            let outcome = match read {
                Ok(()) => {
                    self.note(now);
                    self.take(&bytes, &lengths)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let limit = self.last + self.patience();
                    if now >= limit {
                        return End::TimedOut;
                    }
                    self.flow
                        .wait_readable(Some(limit.min(self.next_look(now))))
                }
                Err(error) => Err(error),
            };
            self.report(now);
            match outcome {
                Err(error) if !passes(&error) => return End::Failed(error),
                _ => {}
            }
        }
    }

    /// When to look again although nothing comes.
    fn next_look(&self, now: Instant) -> Instant {
        match self.options.interval {
            Some(interval) if self.count != self.before => self.reported + interval,
            _ => now + CHECK,
        }
    }

    /// Notes when packets came.
    fn note(&mut self, now: Instant) {
        if self.count.packets == 0 {
            self.begin = now;
            self.reported = now;
        } else {
            self.longest = self.longest.max(now.saturating_duration_since(self.last));
        }
        self.last = now;
    }

    /// How long the flow may be idle.
    fn patience(&self) -> Duration {
        if self.count.packets < 2 {
            FIRST_LIMIT
        } else {
            IDLE_LIMIT.max(self.longest.saturating_mul(GAPS))
        }
    }

    fn take(&mut self, bytes: &[u8], lengths: &[usize]) -> Result<(), Error> {
        let mut packets = Vec::with_capacity(lengths.len());
        let mut rest = bytes;
        for length in lengths {
            let Some((packet, after)) = rest.split_at_checked(*length) else {
                break;
            };
            rest = after;
            match sequence(packet) {
                Ok(seqno) => {
                    self.count.record(seqno, packet.len());
                    self.show(seqno);
                    packets.push(packet);
                }
                Err(error) => {
                    complain(format_args!(
                        "Invalid message on fd {}.\n{error}.",
                        self.flow.fd()
                    ));
                }
            }
        }
        if self.echo {
            self.send_back(&packets)?;
        }
        Ok(())
    }

    fn send_back(&self, mut packets: &[&[u8]]) -> Result<(), Error> {
        let deadline = Instant::now() + FIRST_LIMIT;
        while let Some(first) = packets.first() {
            let (written, error) = self.flow.try_write_packets(packets);
            packets = packets.get(written..).unwrap_or_default();
            match error {
                None => {}
                Some(error) if error.kind() == ErrorKind::WouldBlock => {
                    let length = packets.first().unwrap_or(first).len();
                    match self.flow.wait_writable(length, Some(deadline)) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        outcome => outcome?,
                    }
                }
                Some(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Shows a packet of a unidirectional test, within the limit of lines.
    fn show(&mut self, seqno: u32) {
        if self.echo || self.options.quiet {
            return;
        }
        if !self.options.verbose {
            let (since, lines) = &mut self.lines;
            if since.elapsed() >= Duration::from_secs(1) {
                (*since, *lines) = (Instant::now(), 0);
            }
            *lines += 1;
            if *lines > LINES {
                return;
            }
        }
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let fd = self.flow.fd();
        self.options.format.tell(&News::Packet { fd, seqno, time });
    }

    /// Shows the progress if it is time.
    fn report(&mut self, now: Instant) {
        let Some(interval) = self.options.interval else {
            return;
        };
        let time = now.saturating_duration_since(self.reported);
        if time < interval {
            return;
        }
        if self.count != self.before {
            let received = self
                .count
                .since(&self.before)
                .received(self.flow.fd(), time);
            self.options.format.tell(&News::Progress(received));
        }
        self.before = self.count;
        self.reported = now;
    }
}
