//! Carries commands out with the daemon.

use std::fmt::{self, Write as _};

use o7s::{
    Error, ErrorKind,
    irm::{Balance, IpcpInfo, IpcpList, IpcpType, Irm, NameInfo, SecurityPaths},
};

use super::{
    command::{Bootstrap, Command, Component, Enroll, Paths, Selection},
    grammar::{is_pattern, selects},
    keyword::suggestion,
    list, parse, program, show,
};
use crate::output::complain;

/// What went wrong, as a text for the user.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

/// The text that a command prints.
type Outcome = Result<String, Failure>;

/// First line of every failure to reach the daemon.
const NO_DAEMON: &str = "Failed to communicate with the Ouroboros IPC Resource Manager daemon.";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Daemon {
            Self(format!("{NO_DAEMON}\n{error}"))
        } else {
            Self(error.to_string())
        }
    }
}

impl Failure {
    /// A failed step: its classic text, then the reason.
    fn of(what: impl fmt::Display, error: Error) -> Self {
        Self(format!("{what}\n{}", Self::from(error).0))
    }
}

/// Carries commands out.
pub(super) struct Executor {
    irm: Irm,
}

impl Executor {
    pub(super) fn from_env() -> Self {
        Self {
            irm: Irm::from_env(),
        }
    }

    /// Carries a command out and returns what it prints.
    pub(super) fn run(&self, command: Command, json: bool) -> Outcome {
        let irm = &self.irm;
        match command {
            Command::CreateIpcp { name, ipcp_type } => {
                irm.create_ipcp(&name, ipcp_type)?;
            }
            Command::DestroyIpcp { name } => match self.ipcp(&name) {
                Ok(ipcp) => irm.destroy_ipcp(ipcp.pid)?,
                // One of the configuration file may wait to be started again.
                Err(none) => match irm.forget_ipcp(&name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Err(none),
                    outcome => outcome?,
                },
            },
            Command::BootstrapIpcp(bootstrap) => self.bootstrap(&bootstrap)?,
            Command::EnrollIpcp(enroll) => self.enroll(&enroll)?,
            Command::ConnectIpcp {
                name,
                dst,
                components,
                qos,
            } => {
                let ipcp = self.ipcp(&name)?;
                let pid = ipcp.pid;
                let mut said = String::new();
                for component in had(&ipcp, components) {
                    let qos = match component {
                        Component::Mgmt => o7s::QosSpec::RAW,
                        Component::Dt => qos,
                    };
                    let what = component.name();
                    let new = irm.connect_ipcp(pid, &dst, what, qos).map_err(|error| {
                        Failure::of(format_args!("Failed to connect {what} to {dst}."), error)
                    })?;
                    if !new {
                        let _ = writeln!(said, "{what} is connected to {dst} already.");
                    }
                }
                return Ok(said);
            }
            Command::DisconnectIpcp {
                name,
                dst,
                components,
            } => {
                let ipcp = self.ipcp(&name)?;
                let pid = ipcp.pid;
                for component in had(&ipcp, components) {
                    irm.disconnect_ipcp(pid, &dst, component.name())
                        .map_err(|error| {
                            let what = component.name();
                            let what = format!("Failed to disconnect {what} from {dst}.");
                            Failure::of(what, error)
                        })?;
                }
            }
            Command::ListIpcps {
                ipcp_type,
                name,
                layer,
            } => {
                let IpcpList {
                    mut ipcps,
                    mut absent,
                } = irm.all_ipcps()?;
                let any = !ipcps.is_empty();
                let fits = |filter: &Option<String>, text: &str| {
                    filter.as_ref().is_none_or(|filter| selects(filter, text))
                };
                let wanted = |ipcp: &IpcpInfo| {
                    ipcp_type.is_none_or(|wanted| ipcp.ipcp_type == wanted as i32)
                        && fits(&name, &ipcp.name)
                        && fits(&layer, &ipcp.layer)
                };
                ipcps.retain(wanted);
                absent.retain(wanted);
                return Ok(if json {
                    list::ipcps_json(&ipcps, &absent)
                } else {
                    list::ipcps(&ipcps, any) + &list::waiting(&ipcps, &absent)
                });
            }
            Command::ShowIpcp { name } => {
                let status = irm.show_ipcp(self.ipcp(&name)?.pid)?;
                return Ok(if json {
                    show::json(&status)
                } else {
                    show::tables(&status)
                });
            }
            Command::BindProgram {
                program,
                name,
                auto,
                args,
            } => {
                let path = program::resolve(&program).map_err(Failure)?;
                irm.bind_program(&path, &name, auto, &args)?;
            }
            Command::BindProcess { pid, name } => {
                if !is_alive(pid) {
                    let text = parse::not_a_pid(&pid.to_string());
                    return Err(Failure(format!("{text}\nThere is no such process.")));
                }
                irm.bind_process(pid, &name)?;
            }
            Command::BindIpcp { ipcp, name } => irm.bind_process(self.ipcp(&ipcp)?.pid, &name)?,
            Command::UnbindProgram { program, name } => {
                irm.unbind_program(&program, name.as_deref())?;
            }
            Command::UnbindProcess { pid, name } => irm.unbind_process(pid, name.as_deref())?,
            Command::UnbindIpcp { ipcp, name } => {
                irm.unbind_process(self.ipcp(&ipcp)?.pid, name.as_deref())?;
            }
            Command::CreateName {
                name,
                balance,
                server,
                client,
            } => irm.create_name(&NameInfo {
                name,
                balance: balance.into(),
                server: security(&server)?,
                client: security(&client)?,
                ..NameInfo::default()
            })?,
            Command::DestroyName { name } => irm.destroy_name(&name)?,
            Command::RegisterName { name, selection } => self.register(&name, &selection)?,
            Command::UnregisterName { name, selection } => {
                for ipcp in self.selected(&selection)? {
                    irm.unreg_name(&name, ipcp.pid).map_err(|error| {
                        Failure::of(
                            format_args!("Failed to unregister from {}.", shown(&ipcp)),
                            error,
                        )
                    })?;
                }
            }
            Command::ListNames { filter } => {
                let mut names = irm.list_names()?;
                let any = !names.is_empty();
                if let Some(filter) = filter {
                    names.retain(|info| super::pattern::filters(&filter, &info.name));
                }
                return Ok(if json {
                    list::names_json(&names)
                } else {
                    list::names(&names, any)
                });
            }
            Command::Status => {
                let status = irm.status()?;
                return Ok(if json {
                    list::status_json(&status)
                } else {
                    list::status(&status)
                });
            }
            // Answered without the daemon.
            Command::Help(_)
            | Command::Version
            | Command::Completions(_)
            | Command::Complete(_) => {}
        }
        Ok(String::new())
    }

    /// The IPCP with exactly this name.
    fn ipcp(&self, name: &str) -> Result<IpcpInfo, Failure> {
        let ipcps = self.irm.list_ipcps()?;
        match ipcps.iter().find(|ipcp| ipcp.name == name) {
            Some(ipcp) => Ok(ipcp.clone()),
            None => Err(no_ipcp(name, &ipcps)),
        }
    }

    /// The IPCPs that a selection means, in list order.
    fn selected(&self, selection: &Selection) -> Result<Vec<IpcpInfo>, Failure> {
        let mut ipcps = self
            .irm
            .list_ipcps()
            .map_err(|error| Failure::of("Failed to list IPCPs.", error))?;
        if ipcps.is_empty() {
            return Err(Failure(
                "Failed to list IPCPs.\nNo IPCPs in system; make one, for example with \"irm ipcp \
                 bootstrap type local name local layer local\"."
                    .to_owned(),
            ));
        }
        let has = |patterns: &[String], text: &str| {
            !text.is_empty() && patterns.iter().any(|pattern| selects(pattern, text))
        };
        let all = ipcps.clone();
        ipcps.retain(|ipcp| {
            let named =
                selection.layers.contains(&ipcp.layer) || selection.ipcps.contains(&ipcp.name);
            // Broadcast layers have no names: a pattern does not mean them.
            let has_names = ipcp.ipcp_type != IpcpType::Broadcast as i32;
            named
                || has_names
                    && (has(&selection.layers, &ipcp.layer) || has(&selection.ipcps, &ipcp.name))
        });
        if ipcps.is_empty() {
            let given: Vec<String> = [("layer", &selection.layers), ("ipcp", &selection.ipcps)]
                .into_iter()
                .flat_map(|(word, list)| list.iter().map(move |text| format!("{word} \"{text}\"")))
                .collect();
            let mut known: Vec<&str> = all.iter().map(|ipcp| ipcp.layer.as_str()).collect();
            known.retain(|layer| !layer.is_empty());
            known.dedup();
            let hint = selection
                .layers
                .iter()
                .map(|layer| suggestion(layer, known.iter().copied()))
                .find(|hint| !hint.is_empty())
                .unwrap_or_default();
            return Err(Failure(format!(
                "There is no {} here, try \"irm ipcp list\".{hint}",
                given.join(" or ")
            )));
        }
        Ok(ipcps)
    }

    fn register(&self, name: &str, selection: &Selection) -> Result<(), Failure> {
        let ipcps = self.selected(selection)?;
        let known = self.irm.list_names()?;
        if known.iter().all(|info| info.name != name) {
            let info = NameInfo {
                name: name.to_owned(),
                balance: Balance::Spill.into(),
                ..NameInfo::default()
            };
            self.irm
                .create_name(&info)
                .map_err(|error| Failure::of("Error creating name.", error))?;
        }
        for ipcp in ipcps {
            self.irm.reg_name(name, ipcp.pid).map_err(|error| {
                Failure::of(
                    format_args!("Failed to register with {}", shown(&ipcp)),
                    error,
                )
            })?;
        }
        Ok(())
    }

    /// The IPCPs that a name or pattern means; if there are none, a new one. The flag says that it
    /// is new.
    fn candidates(
        &self,
        name: &str,
        ipcp_type: Option<IpcpType>,
        may_be: impl Fn(&IpcpInfo) -> bool,
    ) -> Result<(Vec<IpcpInfo>, bool), Failure> {
        let mut ipcps = self.irm.list_ipcps()?;
        ipcps.retain(|ipcp| selects(name, &ipcp.name) && may_be(ipcp));
        if !ipcps.is_empty() {
            return Ok((ipcps, false));
        }
        let Some(ipcp_type) = ipcp_type.filter(|_| !is_pattern(name)) else {
            let way_out = if is_pattern(name) {
                "A new IPCP is made for a name without * only."
            } else {
                "Give its type to make one."
            };
            return Err(Failure(format!(
                "No IPCPs matching {name} found.\n{way_out}"
            )));
        };
        let pid = self.irm.create_ipcp(name, ipcp_type)?;
        let ipcp = IpcpInfo {
            pid,
            ipcp_type: ipcp_type.into(),
            name: name.to_owned(),
            ..IpcpInfo::default()
        };
        Ok((vec![ipcp], true))
    }

    /// Ends an IPCP that was made for a command that failed.
    fn undo_create(&self, ipcp: &IpcpInfo, failure: Failure) -> Failure {
        match self.irm.destroy_ipcp(ipcp.pid) {
            Ok(()) => failure,
            Err(error) => Failure(format!(
                "{}\nThe new IPCP {} ({}) is still there: {error}",
                failure.0, ipcp.name, ipcp.pid
            )),
        }
    }

    fn bootstrap(&self, bootstrap: &Bootstrap) -> Result<(), Failure> {
        let (ipcps, new) = self.candidates(&bootstrap.name, bootstrap.ipcp_type, |_| true)?;
        for ipcp in &ipcps {
            self.bootstrap_one(bootstrap, ipcp).map_err(|failure| {
                if new {
                    self.undo_create(ipcp, failure)
                } else {
                    failure
                }
            })?;
        }
        Ok(())
    }

    fn bootstrap_one(&self, bootstrap: &Bootstrap, ipcp: &IpcpInfo) -> Result<(), Failure> {
        let actual = ipcp.ipcp_type();
        if bootstrap.ipcp_type.is_some_and(|wanted| wanted != actual) {
            return Err(Failure(format!(
                "Types do not match.\nThe IPCP {} is of type {}.",
                ipcp.name,
                actual.as_str()
            )));
        }
        let config = bootstrap.config(actual).map_err(Failure)?;
        let foreign = bootstrap.foreign_options(actual);
        if !foreign.is_empty() {
            complain(format_args!(
                "No option of type {}, ignored: {}.",
                actual.as_str(),
                foreign.join(", ")
            ));
        }
        let mut autobind = bootstrap.autobind;
        if autobind && !matches!(actual, IpcpType::Unicast | IpcpType::Broadcast) {
            complain("Can not bind this IPCP type,autobind disabled.");
            autobind = false;
        }
        let names: &[&str] = if autobind {
            &[&ipcp.name, &bootstrap.layer]
        } else {
            &[]
        };
        self.bind_all(ipcp, names)?;
        self.irm
            .bootstrap_ipcp(ipcp.pid, &config)
            .map(drop)
            .map_err(|error| {
                self.unbind_all(ipcp, names);
                Failure::of(
                    format_args!(
                        "Failed to bootstrap IPCP {} in layer {}.",
                        ipcp.name, bootstrap.layer
                    ),
                    error,
                )
            })
    }

    /// Binds an IPCP to all of these names, or to none.
    fn bind_all(&self, ipcp: &IpcpInfo, names: &[&str]) -> Result<(), Failure> {
        for (done, name) in names.iter().enumerate() {
            self.irm.bind_process(ipcp.pid, name).map_err(|error| {
                self.unbind_all(ipcp, &names[..done]);
                Failure::of(
                    format_args!("Failed to bind {} to {name}.", ipcp.pid),
                    error,
                )
            })?;
        }
        Ok(())
    }

    fn unbind_all(&self, ipcp: &IpcpInfo, names: &[&str]) {
        for name in names {
            if let Err(error) = self.irm.unbind_process(ipcp.pid, Some(name)) {
                complain(format_args!(
                    "Failed to unbind {} from {name}: {error}",
                    ipcp.pid
                ));
            }
        }
    }

    fn enroll(&self, enroll: &Enroll) -> Result<(), Failure> {
        let fits = |ipcp: &IpcpInfo| ipcp.ipcp_type == enroll.ipcp_type as i32;
        let (ipcps, new) = self.candidates(&enroll.name, Some(enroll.ipcp_type), fits)?;
        for ipcp in &ipcps {
            let joined = self.irm.enroll_ipcp(ipcp.pid, &enroll.dst);
            let layer = joined
                .map_err(|error| Failure::of("Failed to enroll IPCP.", error))
                .map_err(|failure| {
                    if new {
                        self.undo_create(ipcp, failure)
                    } else {
                        failure
                    }
                })?;
            if let Some(wanted) = enroll
                .layer
                .as_ref()
                .filter(|wanted| **wanted != layer.name)
            {
                return Err(Failure(format!(
                    "Enrollment destination does not match requested layer.\nIPCP {} is a member \
                     of {:?} now, not of {wanted:?}.",
                    ipcp.name, layer.name
                )));
            }
            if enroll.autobind {
                self.bind_all(ipcp, &[&ipcp.name, &layer.name])?;
            }
        }
        Ok(())
    }
}

fn no_ipcp(name: &str, ipcps: &[IpcpInfo]) -> Failure {
    let names = ipcps.iter().map(|ipcp| ipcp.name.as_str());
    Failure(format!(
        "There is no IPCP named \"{name}\", try \"irm ipcp list\".{}",
        suggestion(name, names)
    ))
}

/// Of several components those that the IPCP has: a broadcast IPCP has no management.
fn had(ipcp: &IpcpInfo, mut components: Vec<Component>) -> Vec<Component> {
    if components.len() > 1 && ipcp.ipcp_type == IpcpType::Broadcast as i32 {
        components.retain(|component| *component == Component::Dt);
    }
    components
}

/// An IPCP as messages name it: by its layer, else by its own name.
fn shown(ipcp: &IpcpInfo) -> &str {
    if ipcp.layer.is_empty() {
        &ipcp.name
    } else {
        &ipcp.layer
    }
}

/// Whether a process exists, ours or not.
fn is_alive(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| {
        !matches!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        )
    })
}

/// The security files of one role with their full paths; none if none is given.
fn security(paths: &Paths) -> Result<Option<SecurityPaths>, Failure> {
    if *paths == Paths::default() {
        return Ok(None);
    }
    let full = |path: &Option<String>| {
        path.as_ref().map_or(Ok(String::new()), |path| {
            program::security_file(path).map_err(Failure)
        })
    };
    Ok(Some(SecurityPaths {
        encryption: full(&paths.encryption)?,
        key: full(&paths.key)?,
        certificate: full(&paths.certificate)?,
    }))
}
