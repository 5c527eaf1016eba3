//! The command line of `operf`.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use o7s::QosSpec;
use o7s_wire::operf::TestType;

use crate::{
    args::{self, ArgError, Mode, Tool, number, rate, time},
    load::{Load, Pace},
    output::Format,
};

/// Smallest and largest message in bytes.
const SIZES: std::ops::RangeInclusive<usize> = 64..=1_048_576;

pub(super) const USAGE: &str = "\
Usage: operf -n NAME [OPTION]...
       operf -l [OPTION]...

Measures the throughput to a name, or is the other end.

  -l, --listen            be the server

  -n, --server-name NAME  the name to allocate a flow to
  -t, --test TEST         uni (default): the server counts the packets;
                          bi: it sends them back
  -d, --duration T        how long to send (default 60 s)
  -r, --rate R            how fast to send (default 1 Mb/s)
  -f, --flood             send as fast as it goes
  -s, --size BYTES        size of a packet, 64 to 1048576 (default 1500)
  -q, --qos QOS           raw (default), best, video, voice, data
      --sleep             sleep before each packet; by default the last moments
                          of a pause are spent spinning, which is more precise

  -i, --interval T        a line of progress each T (default 1 s; 0: none)
  -Q, --quiet             only the summary
  -v, --verbose           server: a line for every packet, also for more than
                          1000 in a second
      --json              a summary in JSON, nothing else; server: a JSON object
                          per line

  -h, --help              this text
      --version           print the version

T is a number with ms (default), s, m, h or d; R one with k (default), M or G:
thousands, millions, thousands of millions of bits per second.

  operf -n operf -d 10s -f
  operf -n operf -t bi -r 10M -s 1000
";

/// What the command line asks for.
pub(super) type Parsed = args::Parsed<ServerOptions, ClientOptions>;

/// The tool.
pub(super) const TOOL: Tool = Tool {
    name: "operf",
    usage: USAGE,
    help: ExitCode::SUCCESS,
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerOptions {
    /// Time between lines of progress; none without them.
    pub(super) interval: Option<Duration>,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    pub(super) format: Format,
}

#[derive(Debug, PartialEq)]
pub(super) struct ClientOptions {
    pub(super) name: String,
    pub(super) test: TestType,
    pub(super) load: Load,
    pub(super) qos: QosSpec,
    /// Time between lines of progress; none without them.
    pub(super) interval: Option<Duration>,
    pub(super) quiet: bool,
    pub(super) format: Format,
}

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgError> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let mut notes = Vec::new();
    let (mut listen, mut name, mut test) = (false, None, TestType::Uni);
    let (mut duration, mut bits, mut size) = (60_000, 1_000_000, 1500);
    let (mut flood, mut spin, mut qos) = (false, true, QosSpec::RAW);
    let (mut interval, mut quiet, mut verbose, mut json) = (1000, false, false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('l') | Long("listen") => listen = true,
            Short('n') | Long("server-name") => name = Some(parser.value()?.string()?),
            Short('t') | Long("test") => {
                test = match parser.value()?.string()?.as_str() {
                    "uni" => TestType::Uni,
                    "bi" => TestType::Bi,
                    _ => return Err(ArgError::usage("Invalid test type.")),
                };
            }
            Short('d') | Long("duration") => duration = time(&parser.value()?.string()?, 1)?,
            Short('r') | Long("rate") => bits = rate(&parser.value()?.string()?, 1000)?,
            Short('s') | Long("size") => {
                size = number(&parser.value()?.string()?, "size")?;
                let (least, most) = (*SIZES.start(), *SIZES.end());
                if size > most {
                    notes.push(format!("Packet size truncated to {most} bytes."));
                } else if size < least {
                    notes.push(format!("Packet size set to {least} bytes."));
                }
                size = size.clamp(least, most);
            }
            Short('f') | Long("flood") => flood = true,
            Long("sleep") => spin = false,
            Short('q') | Long("qos") => qos = args::qos(&parser.value()?.string()?, &mut notes),
            Short('i') | Long("interval") => interval = time(&parser.value()?.string()?, 1)?,
            Short('Q') | Long("quiet") => quiet = true,
            Short('v') | Long("verbose") => verbose = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help.into()),
            Long("version") => return Ok(Mode::Version.into()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let format = Format::json(json);
    let interval = (interval > 0 && !quiet).then(|| Duration::from_millis(interval));
    if listen {
        let mode = Mode::Server(ServerOptions {
            interval,
            quiet,
            verbose,
            format,
        });
        return Ok(Parsed { mode, notes });
    }
    let Some(name) = name else {
        return Err(ArgError::usage("No server specified."));
    };
    let pace = if flood {
        Pace::Flood
    } else {
        Pace::Rate { bits, spin }
    };
    let mode = Mode::Client(ClientOptions {
        name,
        test,
        load: Load {
            size,
            duration: Duration::from_millis(duration),
            pace,
        },
        qos,
        interval,
        quiet,
        format,
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
        let expected = ClientOptions {
            name: "srv".to_owned(),
            test: TestType::Uni,
            load: Load {
                size: 1500,
                duration: Duration::from_secs(60),
                pace: Pace::Rate {
                    bits: 1_000_000,
                    spin: true,
                },
            },
            qos: QosSpec::RAW,
            interval: Some(Duration::from_secs(1)),
            quiet: false,
            format: Format::Text,
        };
        assert_eq!(client("-n srv"), expected);
        let server = ServerOptions {
            interval: Some(Duration::from_secs(1)),
            quiet: false,
            verbose: false,
            format: Format::Text,
        };
        assert_eq!(parsed("-l").unwrap().mode, Mode::Server(server));
    }

    #[test]
    fn all_options() {
        let options =
            client("--server-name s --test bi --duration 2s --rate 5M --size 100 --sleep -q data");
        assert_eq!(
            (options.test, options.qos),
            (TestType::Bi, QosSpec::by_name("data").unwrap())
        );
        assert_eq!(options.load.duration, Duration::from_secs(2));
        let pace = Pace::Rate {
            bits: 5_000_000,
            spin: false,
        };
        assert_eq!((options.load.size, options.load.pace), (100, pace));
        assert_eq!(client("-n s -f").load.pace, Pace::Flood);
        // A rate without a unit is in kb/s, as ever.
        let pace = Pace::Rate {
            bits: 100_000,
            spin: true,
        };
        assert_eq!(client("-n s -r 100").load.pace, pace);
        assert_eq!(client("-n s -r 100k").load.pace, pace);
        assert_eq!(client("-n s -i 0").interval, None);
        assert_eq!(client("-n s -Q").interval, None);
        assert_eq!(client("-n s --json").format, Format::Json);
        let Mode::Server(server) = parsed("-l -v -i 200 --json").unwrap().mode else {
            panic!("a server");
        };
        assert!(server.verbose && server.format == Format::Json);
        assert_eq!(server.interval, Some(Duration::from_millis(200)));
        assert_eq!(parsed("-l --help").unwrap().mode, Mode::Help);
    }

    #[test]
    fn what_is_out_of_range_is_adjusted_and_told() {
        for (line, size, note) in [
            (
                "-n s -s 1048577",
                1_048_576,
                "Packet size truncated to 1048576 bytes.",
            ),
            ("-n s -s 63", 64, "Packet size set to 64 bytes."),
            ("-n s -q gold", 1500, "Unknown QoS cube, defaulting to raw."),
        ] {
            assert_eq!(parsed(line).unwrap().notes, [note], "{line}");
            assert_eq!(client(line).load.size, size, "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for (line, message, usage) in [
            ("", "No server specified.", true),
            ("-x", "operf: invalid option '-x'", true),
            ("-n", "operf: missing argument for option '-n'", true),
            ("-n s -t tri", "Invalid test type.", true),
            ("-n s -s x", "\"x\" is no number for --size.", true),
            (
                "-n s -d 5w",
                "Unknown time unit: w.\nUse ms, s, m, h or d.",
                false,
            ),
            ("-n s -r 5K", "Unknown rate unit: K.\nUse k, M or G.", false),
            ("-n s -r 0", "Invalid rate.\nUse more than 0 bit/s.", false),
            ("-n s more", "operf: unexpected argument \"more\"", true),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!((error.message.as_str(), error.usage), (message, usage));
        }
    }
}
