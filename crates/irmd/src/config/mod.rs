//! The configuration file: names, programs and IPCPs that the daemon sets up at its start
//! (`spec/irm-tools.md` §9).
//!
//! The file is read and checked as a whole before anything is done: every error is shown with its
//! line, and the daemon does not start. The daemon's core carries it out and keeps it so
//! ([`crate::core::Core::configure`]).

mod ipcp;
mod name;
mod problem;
mod table;

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use o7s::irm::{IpcpConfig, IpcpType, NameInfo};
use toml::de::DeTable;

pub use problem::{Problem, Severity};

use table::{Reader, in_order};

/// The file that `irmd --check-config` looks at when none is named.
pub const DEFAULT_PATH: &str = "/etc/ouroboros/irmd.conf";

/// Most problems that are shown.
const SHOWN_MAX: usize = 50;

/// Longest file in bytes.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// A configuration file, read and found good.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// What to do, in the order of the file.
    pub entries: Vec<Entry>,
    /// What has no effect, one line each.
    pub warnings: Vec<String>,
    /// The same, several lines each, with the lines of the file.
    rendered: String,
}

/// One table of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its first line, from 1.
    pub line: usize,
    /// What it is about.
    pub item: Item,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A name.
    Name(NameEntry),
    /// An IPCP.
    Ipcp(IpcpEntry),
}

/// A value with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The line, from 1.
    pub line: usize,
    /// The value.
    pub value: T,
}

/// A name, and the programs bound to it in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct NameEntry {
    /// The name and its attributes.
    pub info: NameInfo,
    /// Programs; with arguments those that are started when needed.
    pub programs: Vec<At<ProgramEntry>>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramEntry {
    /// As written.
    pub path: String,
    /// Arguments of an automatic start; none = it is not started.
    pub args: Option<Vec<String>>,
}

/// An IPCP.
#[derive(Debug, Clone, PartialEq)]
pub struct IpcpEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ipcp_type: IpcpType,
    /// How it comes into a layer.
    pub join: Option<At<Join>>,
    /// Whether it is bound to its name and its layer's.
    pub autobind: bool,
    /// Names to register with its layer.
    pub reg: Vec<At<String>>,
    /// Neighbours to connect to.
    pub conn: Vec<At<String>>,
}

/// How an IPCP comes into a layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// As the first member.
    Bootstrap(Box<IpcpConfig>),
    /// Through the member, or the layer, of this name.
    Enroll(String),
}

/// A file that cannot be used: the text for the user, several lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Unusable`] with everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, Unusable> {
        let failed = |error: &io::Error| {
            Unusable(format!(
                "error: cannot read the configuration file {}: {error}\n",
                path.display()
            ))
        };
        let path = fs::canonicalize(path).map_err(|error| failed(&error))?;
        // Bounded also for files that have no size, such as pipes.
        let mut text = String::new();
        let file = fs::File::open(&path).map_err(|error| failed(&error))?;
        file.take(SIZE_MAX + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(&error))?;
        if text.len() as u64 > SIZE_MAX {
            return Err(failed(&io::Error::other(format!(
                "it is larger than {SIZE_MAX} bytes"
            ))));
        }
        Self::parse(&path, &text)
    }

    /// Checks a text; `path` is for messages.
    ///
    /// # Errors
    /// [`Unusable`] with everything that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Unusable> {
        let (entries, problems) = read(text);
        let mut rendered = String::new();
        for problem in problems.iter().take(SHOWN_MAX) {
            let _ = writeln!(rendered, "{}", problem.render(path, text));
        }
        if problems.len() > SHOWN_MAX {
            let _ = writeln!(rendered, "… and {} more\n", problems.len() - SHOWN_MAX);
        }
        let errors = problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count();
        if errors > 0 {
            let plural = if errors == 1 { "error" } else { "errors" };
            let _ = writeln!(rendered, "{}: {errors} {plural}", path.display());
            return Err(Unusable(rendered));
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
            warnings: problems
                .iter()
                .take(SHOWN_MAX)
                .map(|problem| problem.line(path, text))
                .collect(),
            rendered,
        })
    }

    /// What is in the file, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            number => format!("{number} {what}s"),
        };
        let names = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.item, Item::Name(_)))
            .count();
        let mut summary = format!(
            "{}: good: {}, {}",
            self.path.display(),
            count(names, "name"),
            count(self.entries.len() - names, "IPCP"),
        );
        if !self.warnings.is_empty() {
            let _ = write!(summary, "; {}", count(self.warnings.len(), "warning"));
        }
        summary
    }
}

/// Everything that a text says, and what is wrong with it.
fn read(text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text);
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        reader.tell(Problem::error(span, error.message()));
    }
    if !errors.is_empty() {
        // What was understood of a broken file is not worth further complaints.
        return (Vec::new(), reader.problems);
    }
    let mut entries = Vec::new();
    for (key, value) in in_order(root.get_ref()) {
        let word: &str = key.get_ref();
        let ipcp_type = IpcpType::by_word(word);
        if word != "name" && ipcp_type.is_none() {
            reader.unknown_section(key);
            continue;
        }
        let Some(tables) = value.get_ref().as_table() else {
            reader.tell(
                Problem::error(value.span(), format!("{word} must be a table of tables"))
                    .help(format!("write [{word}.\"NAME\"]")),
            );
            continue;
        };
        for (key, value) in in_order(tables) {
            let item = match ipcp_type {
                None => name::read(&mut reader, key, value).map(Item::Name),
                Some(kind) => ipcp::read(&mut reader, kind, key, value).map(Item::Ipcp),
            };
            entries.extend(item.map(|item| Entry {
                line: reader.line(key.span().start),
                item,
            }));
        }
    }
    reader.problems.sort_by_key(|problem| problem.span.start);
    (entries, reader.problems)
}

/// `irmd --check-config`: prints what is wrong, or that the file is good. True if it is.
#[must_use]
pub fn check(path: &Path) -> bool {
    match Config::load(path) {
        Ok(config) => {
            eprint!("{}", config.rendered);
            println!("{}", config.summary());
            true
        }
        Err(unusable) => {
            eprint!("{unusable}");
            false
        }
    }
}

/// A configuration to carry out when the daemon serves.
#[derive(Debug)]
pub struct Setup {
    config: Config,
    strict: bool,
}

impl Setup {
    /// With `strict` a failed entry ends the daemon. Logs the file's warnings.
    #[must_use]
    pub fn new(config: Config, strict: bool) -> Self {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        Self { config, strict }
    }

    /// Whether a failed entry ends the daemon.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// What is to be carried out.
    pub(crate) fn into_config(self) -> Config {
        self.config
    }
}

#[cfg(test)]
mod tests;
