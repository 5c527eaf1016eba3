//! Announced processes: their life from the first connection to their death.

use std::collections::BTreeSet;

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, FlowEnd, FlowsChanged, Hello},
};

use super::{
    ConnId, Context, Core, Peer, Role, Side,
    copies::{self, pid_of},
    limits,
    request::{Key, What},
};

/// A process that announced itself.
#[derive(Debug)]
pub(super) struct Process {
    pub peer: Peer,
    /// Where it is in the tables (see [`copies`]).
    pub key: i32,
    pub program: String,
    pub instance: u64,
    pub image: u64,
    /// The connection that lives as long as the process, and takes notifications.
    pub announce: ConnId,
    /// It has called accept, or was bound by its pid: a server, not merely a client of the same
    /// program.
    pub serves: bool,
    /// Names it is bound to.
    pub names: BTreeSet<String>,
    /// Its flow ends.
    pub ends: BTreeSet<(u64, Side)>,
    /// Its accepts that wait.
    pub accepts: BTreeSet<Key>,
    /// Its requests that wait.
    pub pending: usize,
}

impl Core {
    /// A process announces itself on `conn`.
    pub(super) fn announce(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        hello: &Hello,
    ) -> Result<()> {
        let peer = self.conn(conn)?.peer.clone();
        let pid = peer.pid;
        if !(1..=copies::PID_MAX).contains(&pid) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "this irmd cannot see the process: it runs in another PID namespace; run irmd and \
                 programs in one",
            ));
        }
        if hello.program.len() > o7s_wire::name::NAME_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the program name is {} bytes long; the limit is {}",
                    hello.program.len(),
                    o7s_wire::name::NAME_MAX
                ),
            ));
        }
        for key in self.copies(pid) {
            match self.processes.get_mut(&key) {
                Some(process) if process.instance == hello.instance => {
                    // The same program connects anew.
                    process.announce = conn;
                    self.conn_mut(conn)?.process = key;
                    return Ok(());
                }
                // Another copy of the library in the same program.
                Some(process) if process.image == hello.image && hello.image != 0 => {}
                Some(_) => {
                    tracing::info!("Process {pid} runs another program now.");
                    self.remove_process(cx, key);
                }
                None => {}
            }
        }
        let mut keys = (0..copies::COPIES).map(|number| copies::key(pid, number));
        let Some(key) = keys.find(|key| !self.processes.contains_key(key)) else {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "process {pid} has {} copies of the Ouroboros library, the limit",
                    copies::COPIES
                ),
            ));
        };
        self.conn_mut(conn)?.process = key;
        let own = self.processes.values();
        let own = own.filter(|process| process.peer.uid == peer.uid);
        if !self.settings.trust.owns(&peer) && own.count() >= limits::PROCESSES_PER_USER {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "user {} has {} processes at this irmd, the limit; end some",
                    peer.uid,
                    limits::PROCESSES_PER_USER
                ),
            ));
        }
        tracing::info!("Process added: {pid} ({}).", hello.program);
        self.processes.insert(
            key,
            Process {
                peer,
                key,
                program: hello.program.clone(),
                instance: hello.instance,
                image: hello.image,
                announce: conn,
                serves: false,
                names: BTreeSet::new(),
                ends: BTreeSet::new(),
                accepts: BTreeSet::new(),
                pending: 0,
            },
        );
        cx.watch(key, hello.instance);
        Ok(())
    }

    /// Binds a process that has just announced itself to the names of its program, to those that
    /// its other copies are bound to, and to those that somebody waits to bind it to.
    pub(super) fn settle_announced(&mut self, cx: &mut dyn Context, key: i32) {
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        let pid = pid_of(key);
        let mut names = self.names.of_program(&process.program);
        names.extend(self.names_of_pid(pid));
        names.extend(self.program_announced(pid));
        // An IPCP may have been bound before it used flows itself.
        let before = self.names.of_process(pid);
        if let (false, Some(process)) = (before.is_empty(), self.processes.get_mut(&pid)) {
            process.serves = true;
        }
        names.extend(before);
        for name in names {
            self.bind(cx, key, &name);
        }
        let waiting: Vec<(Key, String)> = self
            .requests
            .iter()
            .filter_map(|(key, request)| match &request.what {
                What::Bind { pid: wanted, name } if *wanted == pid => Some((*key, name.clone())),
                _ => None,
            })
            .collect();
        for (key, name) in waiting {
            let asker = self.requests.get(&key).map(|request| request.conn);
            let asker = asker.and_then(|conn| self.conns.get(&conn));
            if let Some(peer) = asker.map(|conn| conn.peer.clone()) {
                let outcome = self.bind_known(cx, &peer, pid, &name);
                self.answer(
                    cx,
                    key,
                    outcome.map(|()| Body::Done(o7s::control::Empty {})),
                );
            }
        }
    }

    /// The process ended, or runs another program.
    pub fn process_exited(&mut self, cx: &mut dyn Context, key: i32, instance: u64) {
        let same = self.processes.get(&key);
        if same.is_some_and(|process| process.instance == instance) {
            self.remove_process(cx, key);
        }
    }

    /// Forgets a process: its requests, bindings, flows and doorbells.
    pub(super) fn remove_process(&mut self, cx: &mut dyn Context, key: i32) {
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        let pid = pid_of(key);
        tracing::info!("Process removed: {pid} ({}).", process.program);
        let names: Vec<String> = process.names.iter().cloned().collect();
        let conn_requests = self.conns.values();
        let waiting: BTreeSet<Key> = conn_requests
            .filter(|conn| conn.process == key && matches!(conn.role, Role::Client { .. }))
            .flat_map(|conn| conn.requests.values().copied())
            .filter(|key| {
                let what = self.requests.get(key).map(|request| &request.what);
                matches!(what, Some(What::Accept | What::Alloc(_)))
            })
            .collect();
        for key in waiting {
            let error = Error::new(ErrorKind::Interrupted, "the process ended");
            self.answer(cx, key, Err(error));
        }
        // Without those that went with a request.
        let ends = self.processes.get(&key).map(|process| &process.ends);
        let ends: Vec<(u64, Side)> = ends.into_iter().flatten().copied().collect();
        let mut changed = std::collections::BTreeMap::<i32, Vec<FlowEnd>>::new();
        for (flow, side) in ends {
            if let Some((survivor, end)) = self.end_lost(cx, flow, side) {
                changed.entry(survivor).or_default().push(end);
            }
        }
        self.bells.process_gone(cx, key);
        cx.unwatch(key);
        self.processes.remove(&key);
        for (survivor, ends) in changed {
            self.notify(cx, survivor, &ends);
        }
        for name in names {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.processes.remove(&key);
            }
            self.review_queue(cx, &name);
        }
    }

    /// Tells a process that the state of its ends changed.
    pub(super) fn notify(&self, cx: &mut dyn Context, key: i32, ends: &[FlowEnd]) {
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        for ends in ends.chunks(limits::ENDS_PER_NOTICE) {
            let ends = ends.to_vec();
            let notice = Body::FlowsChanged(FlowsChanged { ends });
            cx.send(process.announce, 0, notice);
        }
    }

    /// The announced process behind a connection.
    pub(super) fn process_of(&self, conn: ConnId) -> Result<&Process> {
        let state = self.conn(conn)?;
        let instance = match state.role {
            Role::Client { instance } => Some(instance),
            _ => None,
        };
        self.processes
            .get(&state.process)
            .filter(|process| Some(process.instance) == instance)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "process {} has not announced itself to this irmd",
                        state.peer.pid
                    ),
                )
            })
    }
}
