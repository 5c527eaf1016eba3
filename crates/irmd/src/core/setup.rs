//! Carrying out the configuration file: its entries one by one in their order, names at once, IPCPs as far as
//! they get at the first try ([`super::keep`] goes on with them).

use std::{collections::VecDeque, path::PathBuf};

use o7s::{Error, ErrorKind, Result, control::BindProgram};

use super::{Context, Core, keep::KeptId};
use crate::config::{At, Config, Entry, Item, NameEntry};

/// The configuration file, as far as it is carried out.
#[derive(Debug, Default)]
pub(super) struct Setup {
    path: PathBuf,
    entries: VecDeque<Entry>,
    /// Entries that were begun.
    begun: usize,
    /// Entries of names in which something failed.
    failed_names: usize,
    /// Entries of IPCPs of which something was missing after the first try.
    late: usize,
    /// The IPCP whose first try is under way.
    current: Option<KeptId>,
    /// Entries are being begun: whoever is over at once does not begin the next.
    beginning: bool,
    /// What there is to tell, once.
    report: Option<Report>,
    /// What there is to tell at the daemon's end.
    outcome: Option<Error>,
}

/// What the first try of every entry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Entries of the file.
    pub entries: usize,
    /// Those of names that failed.
    pub failed: usize,
    /// Those of IPCPs that are tried again.
    pub late: usize,
}

impl Setup {
    /// The file, for messages.
    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl Core {
    /// Begins to carry out a configuration.
    pub fn configure(&mut self, cx: &mut dyn Context, config: Config) {
        self.setup = Setup {
            path: config.path,
            entries: config.entries.into(),
            ..Setup::default()
        };
        self.next_entry(cx);
    }

    /// What the first try came to, when it is over; once.
    pub fn take_report(&mut self) -> Option<Report> {
        self.setup.report.take()
    }

    /// Whether all of the file was as it says when the daemon began to stop.
    ///
    /// # Errors
    /// How many entries were not.
    pub fn configured(&self) -> Result<()> {
        self.setup.outcome.clone().map_or(Ok(()), Err)
    }

    /// The daemon begins to stop: what is missing now stays so.
    pub(super) fn close_setup(&mut self) {
        let (names, ipcps) = (self.setup.failed_names, self.keeper.incomplete());
        if names + ipcps > 0 {
            self.setup.outcome = Some(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{} of {} entries of the configuration file {} failed; the log says which and \
                     why",
                    names + ipcps,
                    self.setup.begun,
                    self.setup.path()
                ),
            ));
        }
    }

    fn next_entry(&mut self, cx: &mut dyn Context) {
        self.setup.beginning = true;
        while let Some(Entry { line, item }) = self.setup.entries.pop_front() {
            let id = KeptId(self.setup.begun);
            self.setup.begun += 1;
            match item {
                Item::Name(name) => {
                    if !self.configure_name(cx, line, &name) {
                        self.setup.failed_names += 1;
                    }
                }
                Item::Ipcp(entry) => {
                    self.setup.current = Some(id);
                    self.keep(cx, id, line, entry);
                    if self.setup.current.is_some() {
                        self.setup.beginning = false;
                        return;
                    }
                }
            }
        }
        self.setup.beginning = false;
        let report = Report {
            entries: self.setup.begun,
            failed: self.setup.failed_names,
            late: self.setup.late,
        };
        let path = self.setup.path();
        if report.failed > 0 {
            tracing::error!(
                "Configuration {path}: {} of {} entries failed.",
                report.failed,
                report.entries
            );
        }
        if report.late > 0 {
            tracing::warn!(
                "Configuration {path}: {} of {} entries are tried again until they work.",
                report.late,
                report.entries
            );
        }
        if report.failed + report.late == 0 {
            tracing::info!(
                "Configuration {path}: {} entries carried out.",
                report.entries
            );
        }
        self.setup.report = Some(report);
    }

    /// All that could be done of an IPCP was tried. With its first try the next entry's turn comes.
    pub(super) fn round_over(&mut self, cx: &mut dyn Context, id: KeptId, complete: bool) {
        if self.setup.current != Some(id) {
            return;
        }
        self.setup.current = None;
        if !complete {
            self.setup.late += 1;
        }
        if !self.setup.beginning {
            self.next_entry(cx);
        }
    }

    /// Makes a name and binds its programs; false if something failed, which is told.
    fn configure_name(&mut self, cx: &mut dyn Context, line: usize, entry: &NameEntry) -> bool {
        let path = self.setup.path();
        let told = |line: usize, what: String, outcome: Result<()>| match outcome {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("{path}:{line}: cannot {what}: {error}");
                false
            }
        };
        let (owner, name) = (self.itself(), &entry.info.name);
        let created = self.create_name(cx, &owner, entry.info.clone());
        if !told(line, format!("create the name {name:?}"), created) {
            return false;
        }
        let mut well = true;
        for At { line, value } in &entry.programs {
            let bind = BindProgram {
                program: value.path.clone(),
                name: name.clone(),
                auto: value.args.is_some(),
                args: value.args.clone().unwrap_or_default(),
            };
            let bound = self.bind_program(cx, &owner, bind);
            let what = format!("bind the program {} to {name:?}", value.path);
            well &= told(*line, what, bound);
        }
        well
    }
}
