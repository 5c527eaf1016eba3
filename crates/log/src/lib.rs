//! Log lines in the classic form (`spec/irm-tools.md` §11), or as JSON.
//!
//! `==04069== irmd(II): Process added: 4166 (operf).`

use std::{
    fmt,
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Writer},
        writer::BoxMakeWriter,
    },
    registry::LookupSpan,
};

/// Where and how to log, as options of a command line.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Logging {
    /// Log to standard output instead of standard error
    #[arg(long)]
    pub stdout: bool,
    /// Least important messages to log
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// Log one JSON object per line
    #[arg(long)]
    pub json: bool,
}

/// A log level.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// Also what an operator should look into.
    Warn,
    /// Also what happens.
    Info,
    /// Also why.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl Logging {
    /// The options that give a child the same logging.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let level = Level::from(self.log_level).to_string().to_lowercase();
        let mut args = vec!["--log-level".to_owned(), level];
        args.extend(self.stdout.then(|| "--stdout".to_owned()));
        args.extend(self.json.then(|| "--json".to_owned()));
        args
    }
}

/// Starts logging for the rest of the process' life.
pub fn init(prefix: &'static str, logging: Logging) {
    let terminal = if logging.stdout {
        io::stdout().is_terminal()
    } else {
        io::stderr().is_terminal()
    };
    let writer = if logging.stdout {
        BoxMakeWriter::new(io::stdout)
    } else {
        BoxMakeWriter::new(io::stderr)
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(logging.log_level.into()))
        .with_writer(writer);
    // A second call keeps the first subscriber.
    let _ = if logging.json {
        builder.json().flatten_event(true).try_init_boxed()
    } else {
        builder
            .with_ansi(false)
            .event_format(Classic {
                prefix,
                colour: terminal,
            })
            .try_init_boxed()
    };
}

/// One name for the end of both builders.
trait TryInitBoxed {
    fn try_init_boxed(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl<N, E> TryInitBoxed
    for tracing_subscriber::fmt::SubscriberBuilder<N, E, LevelFilter, BoxMakeWriter>
where
    N: for<'writer> FormatFields<'writer> + Send + Sync + 'static,
    E: FormatEvent<tracing_subscriber::Registry, N> + Send + Sync + 'static,
{
    fn try_init_boxed(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.try_init()
    }
}

/// The classic line.
#[derive(Debug, Clone, Copy)]
pub struct Classic {
    prefix: &'static str,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Classic
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (code, colour) = code(*event.metadata().level());
        let (start, end) = if self.colour && !colour.is_empty() {
            (colour, "\x1b[0m")
        } else {
            ("", "")
        };
        write!(
            writer,
            "{start}=={:05}== {}({code}): ",
            std::process::id(),
            self.prefix
        )?;
        DefaultFields::new().format_fields(writer.by_ref(), event)?;
        writeln!(writer, "{end}")
    }
}

fn code(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("EE", "\x1b[31m"),
        Level::WARN => ("WW", "\x1b[33m"),
        Level::INFO => ("II", "\x1b[32m"),
        Level::DEBUG => ("DB", ""),
        Level::TRACE => ("PP", "\x1b[34m"),
    }
}
