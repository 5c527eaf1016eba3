//! `oecho`: one message to the name `oecho` and back (`spec/irm-tools.md` §12.5).

use std::{ffi::OsString, fmt, process::ExitCode, time::Duration};

use o7s::{Error, ErrorKind, Flow, QosSpec};
use serde::Serialize;

use crate::{
    args::ArgError,
    output::{Format, c_text, complain, print, version},
};

/// The name that the server serves and the client allocates to.
const NAME: &str = "oecho";
/// The client's message, with the terminating NUL of C.
const MESSAGE: &[u8; 16] = b"Client says hi!\0";
/// Most bytes read at once.
const BUFFER: usize = 256;
/// How long the server waits for the message of a client: it serves one at a time.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: from, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Exit status of a client that failed.
const FAILED: u8 = 255;

const USAGE: &str = "\
Usage: oecho [OPTION]

Sends a message to the name \"oecho\" and prints the answer.

  -l, --listen   be the server: answer every message with itself
      --json     a JSON object per line instead of text
  -h, --help     this text
      --version  print the version

Before, the server is bound to the name and the name registered with a layer:
  irm bind program oecho name oecho
  irm name register oecho layer local
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Client(Format),
    Server(Format),
    Help,
    Version,
}

/// Runs `oecho` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args) {
        Ok(Mode::Client(format)) => client(format),
        Ok(Mode::Server(format)) => server(format),
        Ok(Mode::Help) => {
            print(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Mode::Version) => {
            print(&version("oecho"));
            ExitCode::SUCCESS
        }
        Err(error) => ArgError::from(error).of("oecho").refuse(USAGE),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Mode, lexopt::Error> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut listen, mut json) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('l') | Long("listen") => listen = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help),
            Long("version") => return Ok(Mode::Version),
            _ => return Err(arg.unexpected()),
        }
    }
    let format = Format::json(json);
    Ok(if listen {
        Mode::Server(format)
    } else {
        Mode::Client(format)
    })
}

/// What `oecho` says.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum News {
    Started,
    Flow,
    Message { text: String },
    Reply { text: String },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Starting the server."),
            Self::Flow => f.write_str("New flow."),
            Self::Message { text } => write!(f, "Message from client is {text}."),
            Self::Reply { text } => write!(f, "Server replied with {text}"),
        }
    }
}

fn client(format: Format) -> ExitCode {
    let fail = |what: &str, error: &Error| {
        complain(format_args!("{what}\n{error}"));
        ExitCode::from(FAILED)
    };
    let flow = match Flow::alloc(NAME, QosSpec::RAW, None) {
        Ok(flow) => flow,
        Err(error) => return fail("Failed to allocate flow.", &error),
    };
    if let Err(error) = flow.write(MESSAGE) {
        return fail("Failed to write packet.", &error);
    }
    let mut buffer = [0; BUFFER];
    match flow.read(&mut buffer) {
        Ok(length) => {
            let text = c_text(&buffer[..length]);
            format.tell(&News::Reply { text });
            ExitCode::SUCCESS
        }
        Err(error) => fail("Failed to read packet.", &error),
    }
}

fn server(format: Format) -> ExitCode {
    format.tell(&News::Started);
    let mut pause = BACK_OFF.0;
    loop {
        match Flow::accept(None) {
            Ok(flow) => {
                pause = BACK_OFF.0;
                if let Err((what, error)) = serve(&flow, format) {
                    complain(format_args!("{what}\n{error}"));
                }
            }
            Err(error) => {
                complain(format_args!("Failed to accept flow.\n{error}"));
                if error.kind() == ErrorKind::Daemon {
                    return ExitCode::FAILURE;
                }
                // One client's failure is not the server's; a lasting one must not spin.
                std::thread::sleep(pause);
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Answers one message of one client. The flow is deallocated with its last handle.
fn serve(flow: &Flow, format: Format) -> Result<(), (&'static str, Error)> {
    format.tell(&News::Flow);
    let read = |error| ("Failed to read packet.", error);
    let mut buffer = [0; BUFFER];
    flow.set_read_timeout(Some(CLIENT_LIMIT)).map_err(read)?;
    let length = flow.read(&mut buffer).map_err(read)?;
    let text = c_text(&buffer[..length]);
    format.tell(&News::Message { text });
    let write = |error| ("Failed to write packet.", error);
    flow.set_write_timeout(Some(CLIENT_LIMIT)).map_err(write)?;
    flow.write(&buffer[..length]).map_err(write)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let parsed = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert_eq!(parsed("").unwrap(), Mode::Client(Format::Text));
        assert_eq!(parsed("-l").unwrap(), Mode::Server(Format::Text));
        assert_eq!(
            parsed("--listen --json").unwrap(),
            Mode::Server(Format::Json)
        );
        assert_eq!(parsed("-h").unwrap(), Mode::Help);
        assert_eq!(parsed("--version").unwrap(), Mode::Version);
        assert!(parsed("-x").is_err());
        assert!(parsed("server").is_err());
        assert!(parsed("--listen=yes").is_err());
    }

    /// The captured message of `spec/irm-tools.md` §15.
    #[test]
    fn the_message_of_the_specification() {
        let hex: String = MESSAGE.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "436c69656e7420736179732068692100");
    }
}
