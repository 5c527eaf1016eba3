//! The client of `ocbr`.

use std::{
    fmt,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use o7s::Flow;
use o7s_wire::ocbr::set_sequence;
use serde::Serialize;

use super::args::ClientOptions;
use crate::{
    load::{Load, Pace, megabits},
    output::complain,
    stop::{Stop, with_signals},
};

/// Exit status if there is no flow.
const NO_FLOW: u8 = 255;

/// Sends and returns the exit status.
pub(super) fn run(options: &ClientOptions) -> ExitCode {
    let flow = match Flow::alloc(&options.name, options.qos, None) {
        Ok(flow) => flow,
        Err(error) => {
            complain(format_args!("Failed to allocate flow.\n{error}"));
            return ExitCode::from(NO_FLOW);
        }
    };
    let (format, load) = (options.format, &options.load);
    if let Ok(most) = flow.max_packet()
        && load.size > most
    {
        complain(format_args!(
            "Packets of {} bytes are too large for this flow; the most is {most}.",
            load.size
        ));
        return ExitCode::FAILURE;
    }
    let (stop, sent) = (Stop::default(), AtomicU64::new(0));
    let outcome = with_signals(
        || stop.stop(),
        || {
            format.tell(&News::Started {
                duration_s: load.duration.as_secs_f64(),
                rate: match load.pace {
                    Pace::Flood => None,
                    Pace::Rate { bits, .. } => Some(bits),
                },
                size: load.size,
            });
            load.send(&flow, &stop, &sent, stamp(load))
        },
    );
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            complain(format_args!("Failed to watch for signals: {error}."));
            return ExitCode::FAILURE;
        }
    };
    if let Some(error) = &outcome.error {
        complain(format_args!("Failed to send packet.\n{error}"));
    }
    let packets = sent.load(Ordering::Relaxed);
    let bytes = packets.saturating_mul(load.size as u64);
    format.tell(&News::Sent {
        packets,
        bytes,
        time_ms: u64::try_from(outcome.time.as_millis()).unwrap_or(u64::MAX),
        bandwidth_mbps: megabits(bytes, outcome.time),
    });
    if outcome.error.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// What goes into a packet: its number at a rate, nothing in a flood.
fn stamp(load: &Load) -> impl Fn(&mut [u8], u64) + use<> {
    let numbered = load.pace != Pace::Flood;
    move |packet, number| {
        if numbered {
            set_sequence(packet, number.cast_signed());
        }
    }
}

/// What the client says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started {
        duration_s: f64,
        /// bit/s; none in a flood.
        rate: Option<u64>,
        size: usize,
    },
    Sent {
        packets: u64,
        bytes: u64,
        time_ms: u64,
        bandwidth_mbps: f64,
    },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started {
                duration_s,
                rate: Some(rate),
                size,
            } => write!(
                f,
                "Client started, duration {duration_s}, rate {rate} b/s, size {size} B."
            ),
            Self::Started {
                duration_s,
                rate: None,
                size,
            } => write!(
                f,
                "Client started, duration {duration_s}, flooding, size {size} B."
            ),
            Self::Sent {
                packets,
                bytes,
                time_ms,
                bandwidth_mbps,
            } => write!(
                f,
                "sent statistics: {packets:9} packets, {bytes:12} bytes in {time_ms:9} ms, \
                 {bandwidth_mbps:4.4} Mb/s"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_lines_of_the_specification() {
        let started = News::Started {
            duration_s: 60.0,
            rate: Some(1_000_000),
            size: 1000,
        };
        assert_eq!(
            started.to_string(),
            "Client started, duration 60, rate 1000000 b/s, size 1000 B."
        );
        let sent = News::Sent {
            packets: 125,
            bytes: 125_000,
            time_ms: 1000,
            bandwidth_mbps: 1.0,
        };
        assert_eq!(
            sent.to_string(),
            "sent statistics:       125 packets,       125000 bytes in      1000 ms, 1.0000 Mb/s"
        );
    }

    #[test]
    fn floods_send_zeros() {
        let mut load = Load {
            size: 8,
            duration: Duration::ZERO,
            pace: Pace::Flood,
        };
        let mut packet = [0; 8];
        stamp(&load)(&mut packet, 7);
        assert_eq!(packet, [0; 8]);
        load.pace = Pace::Rate {
            bits: 1,
            spin: false,
        };
        stamp(&load)(&mut packet, 7);
        assert_eq!(packet, [7, 0, 0, 0, 0, 0, 0, 0]);
    }
}
