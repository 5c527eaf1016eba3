//! The command line of `oping`.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use o7s::QosSpec;

use crate::args::{self, ArgError, Mode, Tool, number, time};

/// Smallest and largest message in bytes.
pub(super) const SIZES: std::ops::RangeInclusive<usize> = 64..=1500;
/// Longest interval, ms.
const INTERVAL_MAX: u64 = 10_000;
/// Packets if nothing limits them.
const COUNT: u32 = 2_147_483_647;

pub(super) const USAGE: &str = "\
Usage: oping -n NAME [OPTION]...
       oping -l [OPTION]...

Measures round trips to a name, or answers them.

  -l, --listen            be the server
      --poll              server: look for packets all the time
      --busy              server: one flow, spinning on it

  -n, --server-name NAME  the name to allocate a flow to
  -c, --count N           packets (default 2147483647)
  -d, --duration T        as many packets as fit this time (default: no limit)
  -i, --interval T        time between packets (default 1000 ms, at most 10 s)
  -s, --size BYTES        size of a packet, 64 to 1500 (default 64)
  -q, --qos QOS           raw (default), best, video, voice, data
  -Q, --quiet             only the summary; server: no line per packet
  -D, --timeofday         the time of day before each line
  -f, --flood             the next packet when the answer is there
  -F, --flood-busy        the same, spinning
      --histogram         how the times are spread, with the summary
      --json              print a summary in JSON, nothing else; server: a JSON
                          object per line

  -h, --help              this text
      --version           print the version

T is a number with ms (default), s, m, h or d.

  oping -n oping -c 3
  oping -n oping -f -Q -d 10s
";

/// What the command line asks for.
pub(super) type Parsed = args::Parsed<ServerOptions, ClientOptions>;

/// The tool.
pub(super) const TOOL: Tool = Tool {
    name: "oping",
    usage: USAGE,
    // As the tool always did.
    help: ExitCode::FAILURE,
};

/// How a server waits for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Sleep,
    Poll,
    Busy,
}

#[derive(Debug, PartialEq)]
pub(super) struct ServerOptions {
    pub(super) quiet: bool,
    pub(super) waiting: Waiting,
    pub(super) json: bool,
}

/// When the client sends the next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Every interval.
    Interval,
    /// With the answer to the one before.
    Flood,
    /// The same, spinning.
    FloodBusy,
}

#[derive(Debug, PartialEq)]
pub(super) struct ClientOptions {
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) interval: Duration,
    pub(super) size: usize,
    pub(super) qos: QosSpec,
    pub(super) quiet: bool,
    pub(super) timeofday: bool,
    pub(super) pace: Pace,
    pub(super) histogram: bool,
    pub(super) json: bool,
}

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgError> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let mut notes = Vec::new();
    let (mut listen, mut waiting, mut quiet) = (false, Waiting::Sleep, false);
    let mut name = None;
    let (mut count, mut duration, mut interval) = (COUNT, None, 1000);
    let (mut size, mut qos) = (*SIZES.start(), QosSpec::RAW);
    let (mut timeofday, mut pace) = (false, Pace::Interval);
    let (mut histogram, mut json) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('l') | Long("listen") => listen = true,
            Long("poll") => waiting = Waiting::Poll,
            Long("busy") => waiting = Waiting::Busy,
            Short('n') | Long("server-name") => name = Some(parser.value()?.string()?),
            Short('c') | Long("count") => {
                count = number(&parser.value()?.string()?, "count")?;
            }
            Short('d') | Long("duration") => {
                duration = Some(time(&parser.value()?.string()?, 1)?);
            }
            Short('i') | Long("interval") => {
                interval = time(&parser.value()?.string()?, 1)?;
                if interval > INTERVAL_MAX {
                    interval = INTERVAL_MAX;
                    notes.push("Ping interval truncated to 10s.".to_owned());
                }
            }
            Short('s') | Long("size") => {
                size = number(&parser.value()?.string()?, "size")?;
                if size > *SIZES.end() {
                    size = *SIZES.end();
                    notes.push("Packet size truncated to 1500 bytes.".to_owned());
                } else if size < *SIZES.start() {
                    size = *SIZES.start();
                    notes.push("Packet size set to 64 bytes.".to_owned());
                }
            }
            Short('q') | Long("qos") => {
                qos = args::qos(&parser.value()?.string()?, &mut notes);
            }
            Short('Q') | Long("quiet") => quiet = true,
            Short('D') | Long("timeofday") => timeofday = true,
            Short('f') | Long("flood") => pace = Pace::Flood,
            Short('F') | Long("flood-busy") => pace = Pace::FloodBusy,
            Long("histogram") => histogram = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help.into()),
            Long("version") => return Ok(Mode::Version.into()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if let Some(duration) = duration {
        // An interval of 0 counts as a tenth of a millisecond.
        let packets = match interval {
            0 => duration.saturating_mul(10),
            interval => duration / interval,
        };
        count = u32::try_from(packets).unwrap_or(u32::MAX);
    }
    if listen {
        let mode = Mode::Server(ServerOptions {
            quiet,
            waiting,
            json,
        });
        return Ok(Parsed { mode, notes });
    }
    let Some(name) = name else {
        return Err(ArgError::usage("No server specified."));
    };
    let mode = Mode::Client(ClientOptions {
        name,
        count,
        interval: Duration::from_millis(interval),
        size,
        qos,
        quiet,
        timeofday,
        pace,
        histogram,
        json,
    });
    Ok(Parsed { mode, notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::testing::words;

    fn parsed(line: &str) -> Result<Parsed, ArgError> {
        parse(words(line)).map_err(|error| error.of(TOOL.name))
    }

    fn client(line: &str) -> ClientOptions {
        parsed(line).unwrap().client()
    }

    #[test]
    fn the_defaults() {
        assert_eq!(
            client("-n srv"),
            ClientOptions {
                name: "srv".to_owned(),
                count: 2_147_483_647,
                interval: Duration::from_secs(1),
                size: 64,
                qos: QosSpec::RAW,
                quiet: false,
                timeofday: false,
                pace: Pace::Interval,
                histogram: false,
                json: false
            }
        );
        let server = |waiting, quiet| {
            let json = false;
            Mode::Server(ServerOptions {
                quiet,
                waiting,
                json,
            })
        };
        assert_eq!(parsed("-l").unwrap().mode, server(Waiting::Sleep, false));
        assert_eq!(
            parsed("--listen --poll").unwrap().mode,
            server(Waiting::Poll, false)
        );
        assert_eq!(
            parsed("-l --busy -Q").unwrap().mode,
            server(Waiting::Busy, true)
        );
        assert_eq!(parsed("-l --help").unwrap().mode, Mode::Help);
    }

    #[test]
    fn all_options_of_the_client() {
        let options = client("--server-name s --count 5 --interval 20 --size 100 -q data -Q -D -f");
        assert_eq!((options.count, options.size), (5, 100));
        assert_eq!(options.interval, Duration::from_millis(20));
        assert_eq!(options.qos, QosSpec::by_name("data").unwrap());
        assert!(options.quiet && options.timeofday);
        assert_eq!(options.pace, Pace::Flood);
        assert_eq!(client("-n s --flood-busy").pace, Pace::FloodBusy);
        let options = client("-n s --json --histogram");
        assert!(options.json && options.histogram);
    }

    #[test]
    fn durations_are_counts() {
        assert_eq!(client("-n s -d 10s").count, 10);
        assert_eq!(client("-n s -d 10s -i 100").count, 100);
        assert_eq!(client("-n s -i 0 -d 3").count, 30);
        assert_eq!(client("-n s -i 0 -d 9999999d").count, u32::MAX);
    }

    #[test]
    fn what_is_out_of_range_is_adjusted_and_told() {
        for (line, note) in [
            ("-n s -i 11s", "Ping interval truncated to 10s."),
            ("-n s -s 1501", "Packet size truncated to 1500 bytes."),
            ("-n s -s 63", "Packet size set to 64 bytes."),
            ("-n s -q gold", "Unknown QoS cube, defaulting to raw."),
        ] {
            assert_eq!(parsed(line).unwrap().notes, [note], "{line}");
        }
        assert_eq!(client("-n s -i 11s").interval, Duration::from_secs(10));
        assert_eq!(client("-n s -s 1500").size, 1500);
        assert!(parsed("-n s -s 64").unwrap().notes.is_empty());
    }

    #[test]
    fn mistakes_show_the_usage() {
        for (line, message) in [
            ("", "No server specified."),
            ("-x", "oping: invalid option '-x'"),
            ("-n", "oping: missing argument for option '-n'"),
            ("-n s -c x", "\"x\" is no number for --count."),
            ("-n s -c -1", "\"-1\" is no number for --count."),
            ("-n s more", "oping: unexpected argument \"more\""),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.message, message, "{line}");
            assert!(error.usage, "{line}");
        }
    }
}
