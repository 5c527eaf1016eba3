//! `obc`: sends a text to all members of a broadcast layer, or prints what they send
//! (`spec/irm-tools.md` §12.5).

use std::{ffi::OsString, fmt, process::ExitCode};

use o7s::{Error, ErrorKind, Flow};
use serde::Serialize;

use crate::{
    args::ArgError,
    output::{Format, c_text, complain, print, version},
    stop::{Stop, with_signals},
};

/// Sent if nothing else is given.
const MESSAGE: &str = "Ouroboros multicast rocks!";
/// Most bytes read at once.
const BUFFER: usize = 256;
/// Exit status if the layer cannot be joined.
const NOT_JOINED: u8 = 255;

const USAGE: &str = "\
Usage: obc -n LAYER [-m TEXT] [OPTION]...
       obc -n LAYER -l [OPTION]...

Sends a text to all members of a broadcast layer, or prints what they send.

  -n, --name LAYER    the broadcast layer
  -m, --message TEXT  what to send (default \"Ouroboros multicast rocks!\")
  -l, --listen        print what is sent, until a signal
      --json          a JSON object per line instead of text

  -h, --help          this text
      --version       print the version
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Writer {
        layer: String,
        message: String,
        format: Format,
    },
    Reader {
        layer: String,
        format: Format,
    },
    Help,
    Version,
}

/// Runs `obc` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args) {
        Ok(Mode::Writer {
            layer,
            message,
            format,
        }) => writer(&layer, &message, format),
        Ok(Mode::Reader { layer, format }) => reader(&layer, format),
        Ok(Mode::Help) => {
            print(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Mode::Version) => {
            print(&version("obc"));
            ExitCode::SUCCESS
        }
        Err(error) => error.of("obc").refuse(USAGE),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Mode, ArgError> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut layer, mut message) = (None, MESSAGE.to_owned());
    let (mut listen, mut json) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('n') | Long("name") => layer = Some(parser.value()?.string()?),
            Short('m') | Long("message") => message = parser.value()?.string()?,
            Short('l') | Long("listen") => listen = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help),
            Long("version") => return Ok(Mode::Version),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let layer = layer.ok_or_else(|| ArgError::usage("Please specify a name."))?;
    let format = Format::json(json);
    Ok(if listen {
        Mode::Reader { layer, format }
    } else {
        Mode::Writer {
            layer,
            message,
            format,
        }
    })
}

/// What is said.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started,
    Flow,
    Message { text: String },
    Sent { bytes: usize },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Starting a reader."),
            Self::Flow => f.write_str("New flow."),
            Self::Message { text } => write!(f, "Message is {text}."),
            Self::Sent { bytes } => write!(f, "{bytes} bytes sent."),
        }
    }
}

fn not_joined(error: &Error) -> ExitCode {
    complain(format_args!("Failed to join broadcast.\n{error}"));
    ExitCode::from(NOT_JOINED)
}

/// The packet with a text: a C string.
fn packet(text: &str) -> Vec<u8> {
    let mut packet = text.as_bytes().to_vec();
    packet.push(0);
    packet
}

fn writer(layer: &str, message: &str, format: Format) -> ExitCode {
    let flow = match Flow::join(layer, None) {
        Ok(flow) => flow,
        Err(error) => return not_joined(&error),
    };
    match flow.write(&packet(message)) {
        Ok(bytes) => {
            // The tool has ever been silent here.
            if format == Format::Json {
                format.tell(&News::Sent { bytes });
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("Failed to write packet.\n{error}"));
            ExitCode::FAILURE
        }
    }
}

fn reader(layer: &str, format: Format) -> ExitCode {
    format.tell(&News::Started);
    let flow = match Flow::join(layer, None) {
        Ok(flow) => flow,
        Err(error) => return not_joined(&error),
    };
    let stop = Stop::default();
    let on_signal = || {
        stop.stop();
        // Ends the read that waits. An error says that it is deallocated already.
        let _ = flow.dealloc();
    };
    let read = with_signals(on_signal, || {
        format.tell(&News::Flow);
        read_all(&flow, format)
    });
    match read {
        Ok(_) if stop.is_stopped() => ExitCode::SUCCESS,
        Ok(error) => {
            complain(format_args!("Failed to read.\n{error}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(format_args!("Failed to watch for signals: {error}."));
            ExitCode::FAILURE
        }
    }
}

/// Prints messages until the flow fails. A longer one comes in parts, a line each.
fn read_all(flow: &Flow, format: Format) -> Error {
    let mut buffer = [0; BUFFER];
    loop {
        match flow.read(&mut buffer) {
            // The end of a message that filled the buffer.
            Ok(0) => {}
            Ok(length) => {
                let text = c_text(buffer.get(..length).unwrap_or_default());
                format.tell(&News::Message { text });
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Mode, ArgError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line() {
        let layer = "bc".to_owned();
        let writer = |message: &str| Mode::Writer {
            layer: layer.clone(),
            message: message.to_owned(),
            format: Format::Text,
        };
        assert_eq!(parsed("-n bc").unwrap(), writer(MESSAGE));
        assert_eq!(parsed("--name bc --message x").unwrap(), writer("x"));
        let reader = |format| Mode::Reader {
            layer: layer.clone(),
            format,
        };
        assert_eq!(parsed("-n bc -l").unwrap(), reader(Format::Text));
        assert_eq!(
            parsed("-n bc --listen --json").unwrap(),
            reader(Format::Json)
        );
        assert_eq!(parsed("-h").unwrap(), Mode::Help);
        assert_eq!(parsed("--version").unwrap(), Mode::Version);
        for (line, message) in [
            ("-l", "Please specify a name."),
            ("-n", "obc: missing argument for option '-n'"),
            ("-n bc -m", "obc: missing argument for option '-m'"),
            ("-n bc -x", "obc: invalid option '-x'"),
            ("-n bc hi", "obc: unexpected argument \"hi\""),
        ] {
            assert_eq!(parsed(line).unwrap_err().of("obc").message, message);
        }
    }

    /// The captured message of `spec/irm-tools.md` §15.
    #[test]
    fn the_message_of_the_specification() {
        let hex: String = packet(MESSAGE)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "4f75726f626f726f73206d756c74696361737420726f636b732100"
        );
    }
}
