//! The command line of `ocbr`.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use o7s::QosSpec;

use crate::{
    args::{self, ArgError, Mode, Tool, rate, time},
    load::{Load, Pace},
    output::Format,
};

/// Largest message in bytes.
const SIZE_MAX: usize = 524_288;
/// Times without a unit are in seconds.
const SECONDS: u64 = 1000;

pub(super) const USAGE: &str = "\
Usage: ocbr -n NAME [OPTION]...
       ocbr -l [OPTION]...

Sends packets at a constant bit rate, or counts them.

  -l, --listen           be the server
  -i, --interval T       server: time between two lines (default 1 s)
  -t, --timeout T        server: a flow without a packet for so long is over
                         (default 1 s)

  -n, --server_apn NAME  the name to allocate a flow to (also --server-name)
  -d, --duration T       how long to send (default 60 s)
  -s, --size BYTES       size of a packet, at most 524288 (default 1000)
  -r, --rate R           how fast to send (default 1 Mb/s)
  -f, --flood            send as fast as it goes
      --sleep            sleep between packets (default)
      --spin             spin before each packet: more precise
  -q, --qos QOS          raw (default), best, video, voice, data

      --json             JSON objects, one per line, instead of text

  -h, --help             this text
      --version          print the version

T is a number with s (default), ms, m, h or d; R one of bits per second, or with
k, M or G.

  ocbr -n ocbr -d 10 -r 5M
";

/// What the command line asks for.
pub(super) type Parsed = args::Parsed<ServerOptions, ClientOptions>;

/// The tool.
pub(super) const TOOL: Tool = Tool {
    name: "ocbr",
    usage: USAGE,
    help: ExitCode::SUCCESS,
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerOptions {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) format: Format,
}

#[derive(Debug, PartialEq)]
pub(super) struct ClientOptions {
    pub(super) name: String,
    pub(super) load: Load,
    pub(super) qos: QosSpec,
    pub(super) format: Format,
}

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgError> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let mut notes = Vec::new();
    let (mut listen, mut name) = (false, None);
    let (mut interval, mut timeout) = (SECONDS, SECONDS);
    let (mut duration, mut bits, mut bytes) = (60 * SECONDS, 1_000_000, 1000);
    let (mut flood, mut spin, mut qos, mut json) = (false, false, QosSpec::RAW, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('l') | Long("listen") => listen = true,
            Short('i') | Long("interval") => interval = positive(&mut parser, "interval")?,
            Short('t') | Long("timeout") => timeout = positive(&mut parser, "timeout")?,
            Short('n') | Long("server_apn" | "server-apn" | "server-name") => {
                name = Some(parser.value()?.string()?);
            }
            Short('d') | Long("duration") => duration = time(&parser.value()?.string()?, SECONDS)?,
            Short('s') | Long("size") => bytes = size(&parser.value()?.string()?)?,
            Short('r') | Long("rate") => bits = rate(&parser.value()?.string()?, 1)?,
            Short('f') | Long("flood") => flood = true,
            Long("sleep") => spin = false,
            Long("spin") => spin = true,
            Short('q') | Long("qos") => qos = args::qos(&parser.value()?.string()?, &mut notes),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help.into()),
            Long("version") => return Ok(Mode::Version.into()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let format = Format::json(json);
    if listen {
        let mode = Mode::Server(ServerOptions {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
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
        load: Load {
            size: bytes,
            duration: Duration::from_millis(duration),
            pace,
        },
        qos,
        format,
    });
    Ok(Parsed { mode, notes })
}

/// A time of the server, more than 0.
fn positive(parser: &mut lexopt::Parser, option: &str) -> Result<u64, ArgError> {
    use lexopt::ValueExt;

    match time(&parser.value()?.string()?, SECONDS)? {
        0 => Err(ArgError::usage(format!("--{option} must be more than 0."))),
        time => Ok(time),
    }
}

fn size(text: &str) -> Result<usize, ArgError> {
    match text.parse::<i64>().map(usize::try_from) {
        Ok(Err(_)) => Err(ArgError::plain(format!(
            "Size overflow.\nUse 1 to {SIZE_MAX} bytes."
        ))),
        Ok(Ok(0)) => Err(ArgError::plain(format!(
            "A packet has at least a byte.\nUse 1 to {SIZE_MAX} bytes."
        ))),
        Ok(Ok(size)) if size > SIZE_MAX => {
            Err(ArgError::plain(format!("Maximum size: {SIZE_MAX}.")))
        }
        Ok(Ok(size)) => Ok(size),
        Err(_) => Err(ArgError::usage(format!(
            "\"{text}\" is no number for --size."
        ))),
    }
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
            load: Load {
                size: 1000,
                duration: Duration::from_secs(60),
                pace: Pace::Rate {
                    bits: 1_000_000,
                    spin: false,
                },
            },
            qos: QosSpec::RAW,
            format: Format::Text,
        };
        assert_eq!(client("-n srv"), expected);
        let server = ServerOptions {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            format: Format::Text,
        };
        assert_eq!(parsed("-l").unwrap().mode, Mode::Server(server));
    }

    #[test]
    fn all_options() {
        for line in ["--server_apn s", "--server-apn s", "--server-name s"] {
            assert_eq!(client(line).name, "s");
        }
        let options = client("-n s --duration 2 --size 1 --rate 5M --spin --qos data --json");
        assert_eq!(
            (options.load.size, options.qos),
            (1, QosSpec::by_name("data").unwrap())
        );
        assert_eq!(options.load.duration, Duration::from_secs(2));
        let pace = Pace::Rate {
            bits: 5_000_000,
            spin: true,
        };
        assert_eq!((options.load.pace, options.format), (pace, Format::Json));
        assert_eq!(client("-n s -f").load.pace, Pace::Flood);
        // Without a unit a rate is in bit/s here.
        let pace = Pace::Rate {
            bits: 100,
            spin: false,
        };
        assert_eq!(client("-n s -r 100 --spin --sleep").load.pace, pace);
        assert_eq!(
            client("-n s -d 50ms").load.duration,
            Duration::from_millis(50)
        );
        let Mode::Server(server) = parsed("-l -i 2 -t 100ms").unwrap().mode else {
            panic!("a server");
        };
        assert_eq!(server.interval, Duration::from_secs(2));
        assert_eq!(server.timeout, Duration::from_millis(100));
    }

    #[test]
    fn mistakes() {
        for (line, message, usage) in [
            ("", "No server specified.", true),
            ("-x", "ocbr: invalid option '-x'", true),
            ("-n", "ocbr: missing argument for option '-n'", true),
            ("-n s -s 524289", "Maximum size: 524288.", false),
            (
                "-n s -s=-1",
                "Size overflow.\nUse 1 to 524288 bytes.",
                false,
            ),
            (
                "-n s -s 0",
                "A packet has at least a byte.\nUse 1 to 524288 bytes.",
                false,
            ),
            ("-n s -s x", "\"x\" is no number for --size.", true),
            ("-n s -r 0", "Invalid rate.\nUse more than 0 bit/s.", false),
            ("-l -i 0", "--interval must be more than 0.", true),
            ("-l -t 0", "--timeout must be more than 0.", true),
            (
                "-l -t 1w",
                "Unknown time unit: w.\nUse ms, s, m, h or d.",
                false,
            ),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!((error.message.as_str(), error.usage), (message, usage));
        }
    }
}
