//! Carries a configuration out with the requests that any management client makes.

use std::path::Path;

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    irm::{Balance, DT_COMP, IpcpType, Irm, MGMT_COMP, NameInfo},
};

use super::{At, Config, IpcpEntry, Item, Join, NameEntry};

/// What became of a configuration.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that were begun.
    pub entries: usize,
    /// Those of them in which something failed.
    pub failed_entries: usize,
    /// Everything that failed, in its order.
    pub failures: Vec<Failed>,
}

/// An action that failed.
#[derive(Debug)]
pub struct Failed {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What was tried, and why it failed.
    pub message: String,
}

impl Report {
    /// An error unless everything worked.
    ///
    /// # Errors
    /// How many entries failed.
    pub fn outcome(&self, path: &Path) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "{} of {} entries of the configuration file {} failed; the log says which and why",
                self.failed_entries,
                self.entries,
                path.display()
            ),
        ))
    }
}

/// Carries out all entries in their order. One that fails is logged and does not stop the others;
/// only the end of the daemon does.
#[must_use]
pub fn apply(irm: &Irm, config: &Config) -> Report {
    let mut run = Run {
        irm,
        path: &config.path,
        report: Report::default(),
    };
    for entry in &config.entries {
        run.report.entries += 1;
        let before = run.report.failures.len();
        let outcome = match &entry.item {
            Item::Name(name) => run.name(entry.line, name),
            Item::Ipcp(ipcp) => run.ipcp(entry.line, ipcp),
        };
        if run.report.failures.len() > before {
            run.report.failed_entries += 1;
        }
        if outcome.is_err() {
            break;
        }
    }
    let Report {
        entries,
        failed_entries,
        ..
    } = &run.report;
    let path = config.path.display();
    if *failed_entries == 0 {
        tracing::info!("Configuration {path}: {entries} entries carried out.");
    } else {
        tracing::error!("Configuration {path}: {failed_entries} of {entries} entries failed.");
    }
    run.report
}

/// The daemon is gone.
struct Gone;

/// Whether an action worked; if not, the failure has been told.
type Step = std::result::Result<bool, Gone>;

struct Run<'a> {
    irm: &'a Irm,
    path: &'a Path,
    report: Report,
}

impl Run<'_> {
    /// Tells a failure.
    fn done<T>(&mut self, line: usize, what: &str, outcome: Result<T>) -> Step {
        let Err(error) = outcome else {
            return Ok(true);
        };
        let message = format!("cannot {what}: {error}");
        tracing::error!("{}:{line}: {message}", self.path.display());
        self.report.failures.push(Failed { line, message });
        if error.kind() == ErrorKind::Daemon {
            return Err(Gone);
        }
        Ok(false)
    }

    fn name(&mut self, line: usize, entry: &NameEntry) -> std::result::Result<(), Gone> {
        let name = &entry.info.name;
        let created = self.irm.create_name(&entry.info);
        if !self.done(line, &format!("create the name {name:?}"), created)? {
            return Ok(());
        }
        for At { line, value } in &entry.programs {
            let args = value.args.as_deref();
            let bound = self.irm.bind_program(
                Path::new(&value.path),
                name,
                args.is_some(),
                args.unwrap_or_default(),
            );
            let what = format!("bind the program {} to {name:?}", value.path);
            self.done(*line, &what, bound)?;
        }
        Ok(())
    }

    fn ipcp(&mut self, line: usize, entry: &IpcpEntry) -> std::result::Result<(), Gone> {
        let (name, kind) = (&entry.name, entry.ipcp_type.as_str());
        let created = self.irm.create_ipcp(name, entry.ipcp_type);
        let pid = created.as_ref().copied().unwrap_or_default();
        if !self.done(
            line,
            &format!("create the IPCP {name:?} of type {kind}"),
            created,
        )? {
            return Ok(());
        }
        let Some(At { line, value: join }) = &entry.join else {
            return Ok(());
        };
        let (what, joined) = match join {
            Join::Bootstrap(config) => (
                format!(
                    "bootstrap the IPCP {name:?} in layer {:?}",
                    config.layer.name
                ),
                self.irm.bootstrap_ipcp(pid, config),
            ),
            Join::Enroll(dst) => (
                format!("enroll the IPCP {name:?} with {dst:?}"),
                self.irm.enroll_ipcp(pid, dst),
            ),
        };
        let layer = joined
            .as_ref()
            .map(|layer| layer.name.clone())
            .unwrap_or_default();
        // The IPCP stays: it can be brought into a layer by hand.
        if !self.done(*line, &what, joined)? {
            return Ok(());
        }
        if entry.autobind {
            let mut names = vec![name, &layer];
            names.dedup();
            for bound in names {
                let outcome = self.irm.bind_process(pid, bound);
                self.done(
                    *line,
                    &format!("bind the IPCP {name:?} to {bound:?}"),
                    outcome,
                )?;
            }
        }
        for At { line, value } in &entry.reg {
            let outcome = self.register(value, pid);
            self.done(
                *line,
                &format!("register {value:?} with layer {layer:?}"),
                outcome,
            )?;
        }
        for At { line, value } in &entry.conn {
            let components: &[&str] = match entry.ipcp_type {
                // It has no management.
                IpcpType::Broadcast => &[DT_COMP],
                _ => &[MGMT_COMP, DT_COMP],
            };
            for component in components {
                let outcome = self.irm.connect_ipcp(pid, value, component, QosSpec::RAW);
                let what = format!("connect {component} of the IPCP {name:?} to {value:?}");
                if !self.done(*line, &what, outcome)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Registers a name, which is created first if it is unknown (policy spill).
    fn register(&self, name: &str, pid: i32) -> Result<()> {
        match self.irm.reg_name(name, pid) {
            Err(error) if error.kind() == ErrorKind::Name => {
                self.irm.create_name(&NameInfo {
                    name: name.to_owned(),
                    balance: Balance::Spill.into(),
                    ..NameInfo::default()
                })?;
                self.irm.reg_name(name, pid)
            }
            other => other,
        }
    }
}
