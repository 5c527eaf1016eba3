//! What the command lines of the tools have in common: the choice between server and client,
//! numbers, times, rates and their errors.

use std::process::ExitCode;

use o7s::QosSpec;

use crate::{
    irm::closest,
    output::{complain, print, version},
};

/// A tool that is a server or a client.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    /// Exit status of `--help`.
    pub(crate) help: ExitCode,
}

/// What its command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed<S, C> {
    pub(crate) mode: Mode<S, C>,
    /// What was adjusted.
    pub(crate) notes: Vec<String>,
}

/// What the tool is to be.
#[derive(Debug, PartialEq)]
pub(crate) enum Mode<S, C> {
    Server(S),
    Client(C),
    Help,
    Version,
}

impl<S, C> From<Mode<S, C>> for Parsed<S, C> {
    fn from(mode: Mode<S, C>) -> Self {
        Self {
            mode,
            notes: Vec::new(),
        }
    }
}

impl Tool {
    /// Does what the command line asks for.
    pub(crate) fn run<S, C, E: Into<ExitCode>>(
        &self,
        parsed: Result<Parsed<S, C>, ArgError>,
        server: impl FnOnce(&S) -> E,
        client: impl FnOnce(&C) -> E,
    ) -> ExitCode {
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return error.of(self.name).refuse(self.usage),
        };
        for note in &parsed.notes {
            complain(note);
        }
        match parsed.mode {
            Mode::Server(options) => server(&options).into(),
            Mode::Client(options) => client(&options).into(),
            Mode::Help => {
                print(self.usage);
                self.help
            }
            Mode::Version => {
                print(&version(self.name));
                ExitCode::SUCCESS
            }
        }
    }
}

/// Why a command line cannot be followed.
#[derive(Debug, PartialEq)]
pub(crate) struct ArgError {
    /// What is wrong.
    pub(crate) message: String,
    /// Whether the usage follows.
    pub(crate) usage: bool,
    /// Whether the message is the parser's, which does not know the tool.
    nameless: bool,
}

impl From<lexopt::Error> for ArgError {
    fn from(error: lexopt::Error) -> Self {
        Self {
            message: error.to_string(),
            usage: true,
            nameless: true,
        }
    }
}

impl ArgError {
    /// An error after which the usage is shown.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            usage: true,
            nameless: false,
        }
    }

    /// An error that says all.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            usage: false,
            nameless: false,
        }
    }

    /// With the tool's name before what the parser says.
    pub(crate) fn of(mut self, tool: &str) -> Self {
        if std::mem::take(&mut self.nameless) {
            self.message = format!("{tool}: {}", self.message);
        }
        self
    }

    /// Prints it, with the first lines of `usage` if that helps; the status of a wrong command line.
    pub(crate) fn refuse(&self, usage: &str) -> ExitCode {
        complain(self.text(usage));
        ExitCode::FAILURE
    }

    fn text(&self, usage: &str) -> String {
        let mut text = self.message.clone();
        if let Some(option) = meant(&self.message, usage) {
            text += &format!("\nDid you mean '--{option}'?");
        }
        if self.usage {
            // All of it would move the message out of sight.
            let short = usage.split("\n\n").next().unwrap_or(usage);
            let tool = short.split_whitespace().nth(1).unwrap_or("the tool");
            text += &format!("\n\n{}\nSee '{tool} --help'.", short.trim_end());
        }
        text
    }
}

/// The option of `usage` that was probably meant by the one that `message` says is unknown.
fn meant<'a>(message: &str, usage: &'a str) -> Option<&'a str> {
    let (_, unknown) = message.split_once("invalid option '--")?;
    let unknown = unknown.split_once('\'')?.0;
    let known = || {
        let words = usage.split("--").skip(1);
        words.filter_map(|word| {
            word.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
                .next()
                .filter(|word| !word.is_empty())
        })
    };
    let part = |known: &&str| known.split(['-', '_']).any(|part| part == unknown);
    closest(unknown, known()).or_else(|| known().find(part))
}

/// The number given to an option.
pub(crate) fn number<T: std::str::FromStr>(text: &str, option: &str) -> Result<T, ArgError> {
    text.parse()
        .map_err(|_| ArgError::usage(format!("\"{text}\" is no number for --{option}.")))
}

/// Splits a number from its suffix.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn product(digits: &str, factor: u64) -> Option<u64> {
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A time in ms; a number without a unit counts `bare` ms.
pub(crate) fn time(text: &str, bare: u64) -> Result<u64, ArgError> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => bare,
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit if !digits.is_empty() => {
            return Err(ArgError::plain(format!(
                "Unknown time unit: {unit}.\nUse ms, s, m, h or d."
            )));
        }
        _ => 1,
    };
    product(digits, factor).ok_or_else(|| {
        ArgError::usage(format!(
            "\"{text}\" is no time; use a number with ms, s, m, h or d."
        ))
    })
}

/// A rate in bit/s, more than 0; a number without a unit counts `bare` bit/s.
pub(crate) fn rate(text: &str, bare: u64) -> Result<u64, ArgError> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => bare,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        unit if !digits.is_empty() => {
            return Err(ArgError::plain(format!(
                "Unknown rate unit: {unit}.\nUse k, M or G."
            )));
        }
        _ => 1,
    };
    match product(digits, factor) {
        Some(0) => Err(ArgError::plain("Invalid rate.\nUse more than 0 bit/s.")),
        Some(rate) => Ok(rate),
        None => Err(ArgError::usage(format!(
            "\"{text}\" is no rate; use a number with k, M or G."
        ))),
    }
}

/// The QoS with this name; else raw, and a note that says so.
pub(crate) fn qos(word: &str, notes: &mut Vec<String>) -> QosSpec {
    QosSpec::by_name(word).unwrap_or_else(|| {
        notes.push("Unknown QoS cube, defaulting to raw.".to_owned());
        QosSpec::RAW
    })
}

/// For the tests of the tools.
#[cfg(test)]
pub(crate) mod testing {
    use std::{ffi::OsString, fmt::Debug};

    use super::{Mode, Parsed};

    /// The words of a command line.
    pub(crate) fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split_whitespace().map(OsString::from)
    }

    impl<S: Debug, C: Debug> Parsed<S, C> {
        /// The options of a client, which it must be.
        pub(crate) fn client(self) -> C {
            match self.mode {
                Mode::Client(options) => options,
                other => panic!("no client: {other:?}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_said() {
        const USAGE: &str = "\
Usage: oping -n NAME [OPTION]...
       oping -l [OPTION]...

  -l, --listen            be the server
  -n, --server-name NAME  the name (also --server_apn)

      --json              see also --quiet.
";
        let text = |option: &str| {
            let error = ArgError::usage(format!("oping: invalid option '{option}'"));
            error.text(USAGE)
        };
        assert_eq!(
            text("--name"),
            "oping: invalid option '--name'\nDid you mean '--server-name'?\n\nUsage: oping -n \
             NAME [OPTION]...\n       oping -l [OPTION]...\nSee 'oping --help'."
        );
        for (typed, option) in [
            ("--lisen", "listen"),
            ("--josn", "json"),
            ("--quite", "quiet"),
            ("--apn", "server_apn"),
        ] {
            let meant = format!("\nDid you mean '--{option}'?\n");
            assert!(text(typed).contains(&meant), "{typed}");
        }
        for unknown in ["--frobnicate", "-x", "--"] {
            assert!(!text(unknown).contains("Did you mean"), "{unknown}");
        }
        let plain = ArgError::plain("Use k, M or G.");
        assert_eq!(plain.text(USAGE), "Use k, M or G.");
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("7", 7),
            ("7ms", 7),
            ("7s", 7000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(time(text, 1), Ok(expected), "{text}");
        }
        assert_eq!(time("7", 1000), Ok(7000));
        let error = time("7w", 1).unwrap_err();
        assert!(error.message.starts_with("Unknown time unit: w."));
        assert!(!error.usage);
        assert!(time("x", 1).is_err() && time("", 1).is_err());
        assert!(time("99999999999999999999", 1).is_err() && time("999999999999999d", 1).is_err());
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("7", 7),
            ("7k", 7000),
            ("7M", 7_000_000),
            ("7G", 7_000_000_000),
        ] {
            assert_eq!(rate(text, 1), Ok(expected), "{text}");
        }
        assert_eq!(rate("7", 1000), Ok(7000));
        let error = rate("7K", 1).unwrap_err();
        assert!(error.message.starts_with("Unknown rate unit: K."));
        assert!(!error.usage);
        assert!(
            rate("0", 1)
                .unwrap_err()
                .message
                .starts_with("Invalid rate.")
        );
        assert!(rate("", 1).is_err() && rate("-5", 1).is_err() && rate("k", 1).is_err());
        assert!(rate("99999999999G", 1).is_err());
    }
}
