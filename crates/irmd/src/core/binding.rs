//! Requests about names and bindings.

use std::path::Path;

use o7s::{
    Error, ErrorKind, Name, Result,
    control::{Balance, BindProcess, BindProgram, Body, Empty, NameInfo, NameList, UnbindProgram},
};

use super::{
    ConnId, Context, Core, Peer, Program,
    autostart::Auto,
    copies::pid_of,
    limits,
    request::What,
    security::{Half, Role},
};

/// Most arguments of an automatic start.
const ARGS_MAX: usize = 1024;

impl Core {
    pub(super) fn create_name(
        &mut self,
        cx: &mut dyn Context,
        peer: &Peer,
        info: NameInfo,
    ) -> Result<()> {
        Name::new(&info.name)?;
        for (role, paths) in [(Role::Server, &info.server), (Role::Client, &info.client)] {
            if let Some(paths) = paths {
                cx.check_files(&Half {
                    role,
                    name: info.name.clone(),
                    paths: paths.clone(),
                })?;
            }
        }
        let limited = !self.settings.trust.owns(peer);
        self.names.create(info, peer.uid, limited)
    }

    pub(super) fn destroy_name(&mut self, cx: &mut dyn Context, name: &str) -> Result<()> {
        let error = Error::new(
            ErrorKind::Name,
            format!("the name {name:?} was destroyed while the flow request waited"),
        );
        if self.names.get(name).is_none() {
            return Err(no_name(name));
        }
        self.refuse_queue(cx, name, &error);
        if let Some(entry) = self.names.remove(name) {
            self.drop_starter(&entry.starter);
            for pid in entry.processes {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.names.remove(name);
                }
            }
        }
        Ok(())
    }

    pub(super) fn list_names(&self) -> NameList {
        self.names.list()
    }

    /// Makes a name that a binding or registration mentions first, with policy spill (§4.2).
    pub(super) fn ensure_name(&mut self, peer: &Peer, name: &str) -> Result<bool> {
        let name = Name::new(name)?;
        if self.names.get(name.as_str()).is_some() {
            return Ok(false);
        }
        let info = NameInfo {
            name: name.as_str().to_owned(),
            balance: Balance::Spill.into(),
            ..NameInfo::default()
        };
        let limited = !self.settings.trust.owns(peer);
        self.names.create(info, peer.uid, limited).map(|()| true)
    }

    pub(super) fn bind_program(
        &mut self,
        cx: &mut dyn Context,
        peer: &Peer,
        bind: BindProgram,
    ) -> Result<()> {
        let base = base_name(&bind.program)?;
        let auto = if bind.auto {
            if !bind.program.starts_with('/') {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "the program {:?} cannot be started automatically: give its absolute path",
                        bind.program
                    ),
                ));
            }
            if bind.args.len() > ARGS_MAX || bind.args.iter().any(|arg| arg.contains('\0')) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("a program takes at most {ARGS_MAX} arguments, without NUL bytes"),
                ));
            }
            Some(Auto {
                base: base.clone(),
                program: Program {
                    path: bind.program.clone(),
                    args: bind.args,
                    uid: peer.uid,
                    gid: peer.gid,
                },
            })
        } else {
            None
        };
        self.ensure_name(peer, &bind.name)?;
        if !self.names.bind_program(&base, &bind.name, auto) {
            return Err(Error::new(
                ErrorKind::Exists,
                format!(
                    "program {base} is bound to {:?} already; unbind it first to change how",
                    bind.name
                ),
            ));
        }
        tracing::info!("Bound program {base} to name {}.", bind.name);
        // Processes of it that run already serve the name too.
        let running: Vec<i32> = self
            .processes
            .iter()
            .filter_map(|(pid, process)| (process.program == base).then_some(*pid))
            .collect();
        for pid in running {
            self.bind(cx, pid, &bind.name);
        }
        Ok(())
    }

    pub(super) fn unbind_program(
        &mut self,
        cx: &mut dyn Context,
        unbind: &UnbindProgram,
    ) -> Result<()> {
        let base = base_name(&unbind.program)?;
        let names = match &unbind.name {
            Some(name) => {
                if self.names.get(name).is_none() {
                    return Err(no_name(name));
                }
                vec![name.clone()]
            }
            None => self.names.of_program(&base),
        };
        let mut found = false;
        for name in names {
            if !self.names.unbind_program(&base, &name) {
                continue;
            }
            found = true;
            tracing::info!("Unbound program {base} from name {name}.");
            // What is bound because of the program goes with it.
            let bound: Vec<i32> = self
                .processes
                .iter()
                .filter(|(_, process)| process.program == base && process.names.contains(&name))
                .map(|(pid, _)| *pid)
                .collect();
            for pid in bound {
                self.unbind(pid, &name);
            }
            self.review_queue(cx, &name);
        }
        if found {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            match &unbind.name {
                Some(name) => format!("program {base} is not bound to {name:?}"),
                None => format!("program {base} is not bound to any name"),
            },
        ))
    }

    pub(super) fn bind_process(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        bind: &BindProcess,
    ) -> Result<Option<Body>> {
        let peer = self.conn(conn)?.peer.clone();
        let Some(name) = &bind.name else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "to bind a process, give a name",
            ));
        };
        Name::new(name)?;
        if !self.copies(bind.pid).is_empty() {
            self.bind_known(cx, &peer, bind.pid, name)?;
            return Ok(Some(Body::Done(Empty {})));
        }
        let what = What::Bind {
            pid: bind.pid,
            name: name.clone(),
        };
        self.defer(cx, conn, id, what, Some(limits::BIND_WAIT))?;
        Ok(None)
    }

    /// Binds a process that the daemon knows, with all its copies.
    pub(super) fn bind_known(
        &mut self,
        cx: &mut dyn Context,
        peer: &Peer,
        pid: i32,
        name: &str,
    ) -> Result<()> {
        self.check_binds(peer, pid)?;
        let copies = self.copies(pid);
        let entry = self.names.get(name);
        if entry.is_some_and(|entry| copies.iter().all(|key| entry.processes.contains(key))) {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("process {pid} is bound to {name:?} already"),
            ));
        }
        self.ensure_name(peer, name)?;
        for key in copies {
            if let Some(process) = self.processes.get_mut(&key) {
                process.serves = true;
            }
            self.bind(cx, key, name);
        }
        Ok(())
    }

    fn check_binds(&self, peer: &Peer, pid: i32) -> Result<()> {
        let mut copies = self.copies(pid).into_iter();
        if let Some(process) = copies.find_map(|key| self.processes.get(&key)) {
            return self.settings.trust.check_binds(peer, pid, process.peer.uid);
        }
        self.settings.trust.check_manages(peer)
    }

    pub(super) fn unbind_process(
        &mut self,
        cx: &mut dyn Context,
        peer: &Peer,
        bind: &BindProcess,
    ) -> Result<()> {
        let copies = self.copies(bind.pid);
        if copies.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("this irmd knows no process {}", bind.pid),
            ));
        }
        self.check_binds(peer, bind.pid)?;
        let names = match &bind.name {
            Some(name) => vec![name.clone()],
            None => self.names_of_pid(bind.pid),
        };
        let mut found = false;
        for name in names {
            for key in &copies {
                if self.unbind(*key, &name) {
                    found = true;
                    self.review_queue(cx, &name);
                }
            }
        }
        if found {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            match &bind.name {
                Some(name) => format!("process {} is not bound to {name:?}", bind.pid),
                None => format!("process {} is not bound to any name", bind.pid),
            },
        ))
    }

    /// Binds a known process to an existing name and lets its waiting accepts serve it.
    pub(super) fn bind(&mut self, cx: &mut dyn Context, key: i32, name: &str) {
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        if entry.processes.insert(key) {
            tracing::info!("Bound process {} to name {name}.", pid_of(key));
        }
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        if !process.names.insert(name.to_owned()) {
            return;
        }
        let accepts: Vec<_> = process.accepts.iter().copied().collect();
        entry.waiting.extend(&accepts);
        for accept in accepts {
            self.serve(cx, accept);
        }
    }

    /// Undoes it; true if it was bound.
    fn unbind(&mut self, key: i32, name: &str) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        let bound = entry.processes.remove(&key);
        if let Some(process) = self.processes.get_mut(&key) {
            process.names.remove(name);
            entry.waiting.retain(|key| !process.accepts.contains(key));
        }
        if bound {
            tracing::info!("Unbound process {} from name {name}.", pid_of(key));
        }
        bound
    }
}

/// There is no such name.
pub(super) fn no_name(name: &str) -> Error {
    Error::new(
        ErrorKind::Name,
        format!("this irmd has no name {name:?}; 'irm name list' shows those it has"),
    )
}

/// The base name of a program's path.
fn base_name(path: &str) -> Result<String> {
    let base = Path::new(path).file_name().and_then(|base| base.to_str());
    match base {
        Some(base) if base.len() <= o7s_wire::name::NAME_MAX && !path.contains('\0') => {
            Ok(base.to_owned())
        }
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("{path:?} is no path of a program with a name of 1 to 255 bytes"),
        )),
    }
}
